"""Candles as exchanges send them, held against what a candle must be before anything believes them.

An exchange that is ill answers HTTP 200 with an advertisement, nothing, or half of its JSON, and ccxt turns that into
an empty list or rows of None without a word. So every row is looked at.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from engine.bars import FORWARD_FILLED, Bar, Stream, Timeframe, iso
from engine.errors import VenueUnavailable

MILLISECOND = 1_000_000
_NUMBERS = frozenset((int, float))  # a bool is neither


class Candle(NamedTuple):
    """A bar that may still be forming. `open_time` is UTC nanoseconds; prices in quote currency, volume in base."""

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    def bar(self, stream: Stream, duration: int, flags: int = 0) -> Bar:
        """Return it as a bar that has closed."""
        return Bar(
            stream.symbol, self.open_time, self.open_time + duration, self.open, self.high, self.low, self.close,
            self.volume, stream.timeframe, flags,
        )


def filled(bar: Bar, duration: int) -> Bar:
    """Return the bar after one in which nothing traded: its close repeated, volume 0, flagged."""
    return bar._replace(
        open_time=bar.close_time, close_time=bar.close_time + duration, open=bar.close, high=bar.close, low=bar.close,
        volume=0.0, flags=FORWARD_FILLED,
    )


def candle_of(row: Sequence[Any]) -> Candle | None:
    """Return a row of ccxt's, [ms, open, high, low, close, volume], as a candle; None if it cannot be one."""
    if len(row) < 6 or not _NUMBERS.issuperset(map(type, row[:6])):
        return None
    time = int(row[0]) * MILLISECOND
    opened, high, low, close, volume = map(float, row[1:6])
    if not (0 < low <= opened <= high < float("inf") and low <= close <= high and 0 <= volume < float("inf")):
        return None
    return Candle(time, opened, high, low, close, volume)


def candles_of_reply(reply: Any, name: str, timeframe: str, *, since: int | None = None) -> list[Candle]:
    """Return the rows of an answer of fetch_ohlcv, checked, oldest first, each time once.

    Args:
        name: what was asked for, such as "binance BTC/USDT 1h", for messages.
        since: UTC nanoseconds; older rows are left out: some venues send what was not asked for.
    Raises:
        VenueUnavailable: it is not a list of candles, so the venue is ill; asking again may help.
    """
    if not isinstance(reply, list):
        raise VenueUnavailable(f"{name}: the venue answered {str(reply)[:60]!r}; expected a list of candles")
    duration = Timeframe.parse(timeframe).duration
    found: dict[int, Candle] = {}
    for row in reply:
        candle = candle_of(row) if isinstance(row, list | tuple) else None
        if candle is None:
            raise VenueUnavailable(
                f"{name}: the venue sent the candle {str(row)[:100]}; expected [ms, open, high, low, close, volume] "
                "with low ≤ open, close ≤ high")
        if since is None or candle.open_time >= since:
            found[candle.open_time] = candle
    candles = [found[time] for time in sorted(found)]
    for before, after in pairwise(candles):
        if (after.open_time - before.open_time) % duration:
            raise VenueUnavailable(
                f"{name}: the venue sent candles of {iso(before.open_time)} and {iso(after.open_time)}; expected "
                f"whole {timeframe} between them")
    return candles
