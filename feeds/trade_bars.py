"""Candles built from trades: where a venue has no candle of a span, or its stream of candles cannot be trusted.

Pure; times are UTC nanoseconds by the venue's clock.
"""

from collections.abc import Sequence

from engine.live.market import Trade
from feeds.candles import Candle


def candles_of_trades(
    trades: Sequence[tuple[int, float, float]], duration: int, start: int, end: int
) -> list[Candle]:
    """Return the candles of (time, price, quantity), oldest first, whose open lies within [start, end).

    The trades must be all that there were. A bar in which nothing traded has no candle.
    """
    found: dict[int, Candle] = {}
    for time, price, quantity in trades:
        if start <= time < end:
            opened = start + (time - start) // duration * duration
            found[opened] = _with(found.get(opened), opened, price, quantity)
    return [found[opened] for opened in sorted(found)]


class TradeBars:
    """The candle of one stream that forms, built trade by trade.

    Args:
        anchor: any open time of the stream: where its grid lies.
        since: from when on every trade has been heard; candles that opened before are not whole.
    """

    def __init__(self, duration: int, *, anchor: int, since: int) -> None:
        self._duration = duration
        self._anchor = anchor
        self._since = since
        self._candle: Candle | None = None
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
                self.missed(trade.time)
        self._last_id = trade.id
        opened = self._anchor + (trade.time - self._anchor) // self._duration * self._duration
        if self._candle is not None and opened < self._candle.open_time:
            return None
        same = self._candle if self._candle is not None and self._candle.open_time == opened else None
        self._candle = _with(same, opened, trade.price, trade.quantity)
        return self._candle, self._since <= opened

    def missed(self, time: int) -> None:
        """Take note that trades before a time may have been missed: what formed until then is not whole."""
        self.holes += 1
        self._since = max(self._since, time)


def _with(candle: Candle | None, opened: int, price: float, quantity: float) -> Candle:
    if candle is None:
        return Candle(opened, price, price, price, price, quantity)
    return Candle(
        opened, candle.open, max(candle.high, price), min(candle.low, price), price, candle.volume + quantity)
