"""Candles built from trades: where a venue has no candle of a span, or its stream of candles cannot be trusted.

Pure; times are UTC nanoseconds by the venue's clock. Quantities are added as the decimal numbers that they are, so that
a volume is the venue's own to the last digit.
"""

from collections.abc import Sequence
from decimal import Decimal

from engine.live.market import Trade
from feeds.candles import Candle


def candles_of_trades(
    trades: Sequence[tuple[int, float, float]], duration: int, start: int, end: int
) -> list[Candle]:
    """Return the candles of (time, price, quantity), oldest first, whose open lies within [start, end).

    The trades must be all that there were. A bar in which nothing traded has no candle.
    """
    found: dict[int, _Forming] = {}
    for time, price, quantity in trades:
        if start <= time < end:
            opened = start + (time - start) // duration * duration
            if opened in found:
                found[opened].add(price, quantity)
            else:
                found[opened] = _Forming(opened, price, quantity)
    return [found[opened].candle() for opened in sorted(found)]


class TradeBars:
    """The candle of one stream that forms, built trade by trade.

    A candle is whole if it opened after the first trade that was heard, and after the first one since any was missed.

    Args:
        anchor: any open time of the stream: where its grid lies.
    """

    def __init__(self, duration: int, *, anchor: int) -> None:
        self._duration = duration
        self._anchor = anchor
        self._since: int | None = None
        self._forming: _Forming | None = None
        self._last_id = ""
        self.holes = 0
        """How often trades were found to be missing."""

    def add(self, trade: Trade) -> tuple[Candle, bool] | None:
        """Take a trade; return the candle it belongs to, and whether that is whole.

        None for one that was heard before, and for one of a candle that is over: its bar has been made or asked for.
        """
        if trade.id and trade.id == self._last_id:
            return None
        if trade.id.isdigit() and self._last_id.isdigit():
            step = int(trade.id) - int(self._last_id)
            if step <= 0:
                return None
            if step > 1:
                self.missed()
        self._last_id = trade.id
        if self._since is None:
            self._since = trade.time
        opened = self._anchor + (trade.time - self._anchor) // self._duration * self._duration
        forming = self._forming
        if forming is not None and opened < forming.opened:
            return None
        if forming is not None and opened == forming.opened:
            forming.add(trade.price, trade.quantity)
        else:
            forming = self._forming = _Forming(opened, trade.price, trade.quantity)
        return forming.candle(), self._since < opened

    def missed(self) -> None:
        """Take note that trades may have been missed: what forms now is not whole."""
        self.holes += 1
        self._since = None


class _Forming:
    """A candle to which trades are added."""

    __slots__ = ("_close", "_high", "_low", "_open", "_volume", "opened")

    def __init__(self, opened: int, price: float, quantity: float) -> None:
        self.opened = opened
        self._open = self._high = self._low = self._close = price
        self._volume = Decimal(str(quantity))

    def add(self, price: float, quantity: float) -> None:
        self._high = max(self._high, price)
        self._low = min(self._low, price)
        self._close = price
        self._volume += Decimal(str(quantity))

    def candle(self) -> Candle:
        return Candle(self.opened, self._open, self._high, self._low, self._close, float(self._volume))
