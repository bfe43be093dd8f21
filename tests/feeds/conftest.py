"""Bars by hand for the tests of feeds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.bars import Bars, Stream, Timeframe, nanoseconds
from engine.bars import utc as moment_of
from feeds.memory import bars_of_arrays

MakeBars = Callable[..., Bars]


@pytest.fixture
def make_bars() -> MakeBars:
    return bars_by_hand


def bars_by_hand(
    symbol: str = "BTC/USDT",
    timeframe: str = "1h",
    rows: int = 5,
    *,
    start: str = "2024-03-31T00:00",
    missing: tuple[int, ...] = (),
) -> Bars:
    """Return rows whose closes are 100.5, 101.5, …; the rows numbered in `missing` are left out."""
    first = nanoseconds(moment_of(int(np.datetime64(start, "ns").astype(np.int64))))
    places = np.array([row for row in range(rows) if row not in missing])
    opens = first + places * Timeframe.parse(timeframe).duration
    price = 100.0 + places
    return bars_of_arrays(
        symbol, timeframe, opens, open=price, high=price + 1, low=price - 1, close=price + 0.5, volume=10.0 + places
    )


def renamed(bars: Bars, symbol: str) -> Bars:
    return replace(bars, streams=(Stream(symbol, bars.streams[0].timeframe),))
