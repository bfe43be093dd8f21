"""Single bars as columns."""

from collections.abc import Sequence

import numpy as np

from engine.bars import Bar, Bars, Stream


def bars_as_columns(bars: Sequence[Bar], streams: tuple[Stream, ...]) -> Bars:
    """Return bars as columns, by close time and then in the order of `streams`."""
    place = {stream: number for number, stream in enumerate(streams)}
    ordered = sorted(bars, key=lambda bar: (bar.close_time, place[Stream(bar.symbol, bar.timeframe)]))
    times = np.array([(bar.open_time, bar.close_time) for bar in ordered], np.int64)
    prices = np.array([bar[3:8] for bar in ordered], np.float64)
    flags = np.array([bar.flags for bar in ordered], np.uint8)
    of_stream = np.array([place[Stream(bar.symbol, bar.timeframe)] for bar in ordered], np.int32)
    return Bars(
        streams, times[:, 0], times[:, 1], prices[:, 0], prices[:, 1], prices[:, 2], prices[:, 3], prices[:, 4],
        of_stream if len(streams) > 1 else None, flags if flags.any() else None,
    )
