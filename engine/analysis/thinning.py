"""A million points seen on a thousand pixels: fewer points that draw the same picture."""

import numpy as np

from engine.bars import DAY, HOUR, MINUTE, SECOND, Bars, FloatArray, IntArray, Stream

NICE_DURATIONS = tuple(
    [count * SECOND for count in (1, 5, 15, 30)] + [count * MINUTE for count in (1, 3, 5, 15, 30)]
    + [count * HOUR for count in (1, 2, 4, 8, 12)] + [count * DAY for count in (1, 2, 3, 7, 14, 28, 91, 365)]
)


def extremes(values: FloatArray, most: int) -> IntArray:
    """Return the places of at most about `most` points that keep every bucket's minimum and maximum, and both ends.

    A drawdown that lasted one bar in a million is still there. NaN counts as neither; all places are returned where
    they are few enough. Ascending, int64.
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    buckets = max(1, (most - 2) // 2)
    width = -(-count // buckets)
    # The last bucket is filled up with a value that wins neither way.
    padded = np.full(width * -(-count // width), np.nan)
    padded[:count] = values
    grid = padded.reshape(-1, width)
    first = np.arange(len(grid)) * width
    is_blank = np.isnan(grid)
    low = first + np.argmin(np.where(is_blank, np.inf, grid), axis=1)
    high = first + np.argmax(np.where(is_blank, -np.inf, grid), axis=1)
    return np.unique(np.concatenate(([0], low, high, [count - 1])))


def candles(bars: Bars, most: int) -> tuple[Bars, str]:
    """Return one symbol's bars joined into at most about `most` longer ones, and the name of their length.

    The length is a nice one (5m, 1h, 4h, 1d, …); candles begin at whole multiples of it since the epoch, weeks on
    Thursdays. Bars that are few enough come back as they are. Time without a bar makes no candle.
    """
    own = bars.streams[0].timeframe
    if len(bars) <= most:
        return bars, own
    span = int(bars.close_time[-1] - bars.open_time[0])
    length = next((nice for nice in NICE_DURATIONS if span / nice <= most), NICE_DURATIONS[-1])
    slot = bars.open_time // length
    starts = np.flatnonzero(np.concatenate(([True], slot[1:] != slot[:-1])))
    if len(starts) > 0.9 * len(bars):  # sparse bars: joining would change next to nothing, so cut evenly
        starts = np.arange(0, len(bars), -(-len(bars) // most))
        length = 0
    ends = np.append(starts[1:], len(bars)) - 1
    name = duration_name(length) if length else "joined"
    joined = Bars(
        (Stream(bars.streams[0].symbol, name),), bars.open_time[starts], bars.close_time[ends], bars.open[starts],
        np.maximum.reduceat(bars.high, starts), np.minimum.reduceat(bars.low, starts), bars.close[ends],
        np.add.reduceat(bars.volume, starts),
    )
    return joined, name


def duration_name(length: int) -> str:
    """Return a duration as timeframes are written: 5m, 4h, 1d, 1w."""
    for suffix, unit in (("w", 7 * DAY), ("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if length % unit == 0:
            return f"{length // unit}{suffix}"
    return f"{length // SECOND}s"


def busiest(times: IntArray, span: int) -> int:
    """Return the place of the first of the times whose following `span` holds most of them. `times` ascend."""
    counts = np.searchsorted(times, times + span, side="right") - np.arange(len(times))
    return int(np.argmax(counts)) if len(times) else 0
