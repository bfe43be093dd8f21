from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.analysis.thinning import busiest, candles, duration_name, extremes
from engine.bars import DAY, HOUR, MINUTE

Make = Callable[..., Any]


@given(st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_both_ends_and_both_extremes(values: list[float], most: int) -> None:
    whole = np.array(values)
    places = extremes(whole, most)
    assert len(places) <= most + 2
    assert (np.diff(places) > 0).all()
    assert (places[0], places[-1]) == (0, len(whole) - 1)
    if np.isfinite(whole).any():
        assert np.nanmax(whole[places]) == np.nanmax(whole)
        assert np.nanmin(whole[places]) == np.nanmin(whole)


def test_joined_candles_hold_what_their_bars_held(make_bars: Make) -> None:
    bars = make_bars(100 + np.arange(1000) % 37, timeframe="1m", wick=0.01)
    joined, name = candles(bars, 100)
    assert name == "15m"
    assert len(joined) == 67
    assert (joined.open_time % (15 * MINUTE) == 0).all()
    first = bars[slice(0, 15)]
    assert joined.open[0] == first.open[0]
    assert joined.high[0] == first.high.max()
    assert joined.low[0] == first.low.min()
    assert joined.close[0] == first.close[-1]
    assert joined.volume.sum() == pytest.approx(bars.volume.sum())
    assert joined.close_time[-1] == bars.close_time[-1]


def test_few_bars_are_left_as_they_are(make_bars: Make) -> None:
    bars = make_bars([1, 2, 3])
    assert candles(bars, 3) == (bars, "1h")


def test_the_busiest_stretch_holds_most_times() -> None:
    assert busiest(np.array([0, 50, 60, 65, 200], np.int64), 20) == 1
    assert busiest(np.array([], np.int64), 20) == 0


@pytest.mark.parametrize(("length", "name"), [(5 * MINUTE, "5m"), (4 * HOUR, "4h"), (DAY, "1d"), (14 * DAY, "2w")])
def test_durations_are_named_as_timeframes_are(length: int, name: str) -> None:
    assert duration_name(length) == name
