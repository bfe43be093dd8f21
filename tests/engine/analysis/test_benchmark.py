from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.analysis.benchmark import buy_and_hold, hold_closes
from engine.bars import HOUR, Bars, Stream

Make = Callable[..., Any]


def joined(*parts: Bars) -> Bars:
    """Return several streams as one set of bars, in publishing order."""
    streams = tuple(part.streams[0] for part in parts)
    stream = np.concatenate([np.full(len(part), place, np.int32) for place, part in enumerate(parts)])
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in
               ("open_time", "close_time", "open", "high", "low", "close", "volume")]
    order = np.lexsort((stream, columns[1]))
    return Bars(streams, *(column[order] for column in columns), stream=stream[order])


def test_one_symbol_is_its_close_over_its_first_close(make_bars: Make) -> None:
    bars = make_bars([50, 55, 40])
    held = buy_and_hold(bars, bars.close_time)
    assert held is not None
    assert held.name == "buy & hold BTC/USDT"
    assert held.value.tolist() == pytest.approx([1, 1.1, 0.8])


def test_a_symbol_that_starts_late_is_cash_until_then_and_one_that_stops_keeps_its_last_close(make_bars: Make) -> None:
    early, late = make_bars([10, 20, 30, 40], "A")[slice(0, 2)], make_bars([1, 1, 5, 10], "B")[slice(2, 4)]
    held = buy_and_hold(joined(early, late), early.close_time[0] + HOUR * np.arange(4))
    assert held is not None
    assert held.name == "equal-weight buy & hold of 2 symbols"
    assert held.value.tolist() == pytest.approx([1, (2 + 1) / 2, (2 + 1) / 2, (2 + 2) / 2])


def test_a_symbol_in_two_timeframes_is_held_once(make_bars: Make) -> None:
    fine, coarse = make_bars([10, 11, 12, 13], "A"), make_bars([10, 13], "A", "2h")
    both = joined(fine, coarse)
    assert both.streams == (Stream("A", "1h"), Stream("A", "2h"))
    held = buy_and_hold(both, fine.close_time)
    assert held is not None
    assert held.value.tolist() == pytest.approx([1, 1.1, 1.2, 1.3])


def test_nothing_to_hold_is_no_benchmark(make_bars: Make) -> None:
    bars = make_bars([10, 11])
    assert hold_closes({}, bars.close_time) is None
    assert buy_and_hold(bars, bars.close_time[:0]) is None
