"""The only sources of "now"."""

import time

import pytest

from engine import DataError
from engine.clock import SimulatedClock, WallClock
from engine.testing import NEW_YEAR_2024


def test_a_simulated_clock_moves_when_told_to_and_never_back() -> None:
    clock = SimulatedClock(NEW_YEAR_2024)
    clock.advance_to(NEW_YEAR_2024)
    clock.advance_to(NEW_YEAR_2024 + 60 * 10**9)
    assert clock.now == NEW_YEAR_2024 + 60 * 10**9
    message = "an event of 2024-01-01T00:00Z came after one of 2024-01-01T00:01Z; expected times that never go back"
    with pytest.raises(DataError, match=message):
        clock.advance_to(NEW_YEAR_2024)
    assert clock.now == NEW_YEAR_2024 + 60 * 10**9


def test_a_wall_clock_moves_by_itself_and_takes_no_orders() -> None:
    clock = WallClock()
    before = time.time_ns()
    clock.advance_to(before + 10**18)
    clock.advance_to(0)
    assert before <= clock.now <= time.time_ns()
