"""The moment: which instant the loop is at, and the last close of every symbol at it."""

from collections.abc import Sequence

from engine.bars import Bar


class SingleMoment:
    """For a run of one stream: the current bar says everything, and the loop stores one reference a bar."""

    __slots__ = ("bar", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.bar: Bar | None = None

    @property
    def time(self) -> int:
        return self.bar.close_time if self.bar is not None else 0

    def price(self, symbol: str) -> float | None:
        """Return the last close of a symbol; None before its first bar."""
        return self.bar.close if self.bar is not None and symbol == self.symbol else None

    def bar_close_time(self, symbol: str) -> int:
        """Return when the last bar of a symbol closed."""
        return self.bar.close_time if self.bar is not None else 0


class ManyMoment:
    """For a run of several streams.

    Args:
        symbols: of each stream, in feed order.
    """

    __slots__ = ("_bar_close_times", "_closes", "_complete_at", "_first", "_place_of", "_prices", "time")

    def __init__(self, symbols: Sequence[str]) -> None:
        self.time = 0
        self._place_of = {symbol: place for place, symbol in enumerate(symbols)}
        self._prices: dict[str, float] = {}
        self._bar_close_times: dict[str, int] = {}
        # Where every stream had a bar, its row says all: nothing is copied for symbols nobody asks about.
        self._closes: Sequence[float] | None = None
        self._first = 0
        self._complete_at = 0

    def move_to_some(self, time: int, symbols: Sequence[str], closes: Sequence[float]) -> None:
        """Move to an instant at which these symbols had a bar."""
        if self._closes is not None:
            self._prices = {symbol: self._closes[self._first + place] for symbol, place in self._place_of.items()}
            self._closes = None
        self.time = time
        self._prices.update(zip(symbols, closes, strict=True))
        self._bar_close_times.update(dict.fromkeys(symbols, time))

    def move_to_all(self, time: int, closes: Sequence[float], first: int) -> None:
        """Move to an instant at which every stream had a bar, whose closes stand in feed order from `first` on."""
        self.time = self._complete_at = time
        self._closes, self._first = closes, first

    def price(self, symbol: str) -> float | None:
        """Return the last close of a symbol; None before its first bar."""
        if self._closes is None:
            return self._prices.get(symbol)
        place = self._place_of.get(symbol)
        return None if place is None else self._closes[self._first + place]

    def bar_close_time(self, symbol: str) -> int:
        """Return when the last bar of a symbol closed."""
        return max(self._bar_close_times.get(symbol, 0), self._complete_at)


Moment = SingleMoment | ManyMoment
