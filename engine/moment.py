"""The moment: which instant the loop is at, and the last close of every symbol at it."""

from collections.abc import Mapping

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

    @property
    def prices(self) -> Mapping[str, float]:
        return {self.symbol: self.bar.close} if self.bar is not None else {}

    def price(self, symbol: str) -> float | None:
        """Return the last close of a symbol; None before its first bar."""
        return self.bar.close if self.bar is not None and symbol == self.symbol else None

    def bar_close_time(self, symbol: str) -> int:
        """Return when the last bar of a symbol closed."""
        return self.bar.close_time if self.bar is not None else 0


class ManyMoment:
    """For a run of several streams."""

    __slots__ = ("bar_close_times", "complete_at", "prices", "time")

    def __init__(self) -> None:
        self.time = 0
        self.prices: dict[str, float] = {}
        self.bar_close_times: dict[str, int] = {}
        self.complete_at = 0
        """The last instant at which every stream had a bar; it spares noting the time of each."""

    def price(self, symbol: str) -> float | None:
        """Return the last close of a symbol; None before its first bar."""
        return self.prices.get(symbol)

    def bar_close_time(self, symbol: str) -> int:
        """Return when the last bar of a symbol closed."""
        return max(self.bar_close_times.get(symbol, 0), self.complete_at)


Moment = SingleMoment | ManyMoment
