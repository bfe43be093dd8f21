"""Garbage is looked for while nothing waits, and Python's own settings come back."""

import gc

import pytest

from engine.live.sweeping import OFTEN, SELDOM, Sweeping


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_it_looks_soon_after_bars_and_seldom_without() -> None:
    clock, looks = Clock(), []
    with Sweeping(clock=clock, look=lambda: looks.append(clock.now)) as sweeping:
        sweeping.idle(500)
        assert looks == []
        clock.now += OFTEN
        sweeping.busy()
        assert looks == [], "bars may be waiting"
        sweeping.idle(500)
        assert looks == [1_000.0 + OFTEN]
        clock.now += SELDOM - 1
        sweeping.idle(500)
        assert len(looks) == 1, "no bars have come since"
        sweeping.idle(1_000)
        assert len(looks) == 2
        clock.now += SELDOM
        sweeping.busy()
        assert len(looks) == 3, "however busy it is"
        clock.now += SELDOM
        sweeping.idle(1_000)
        assert len(looks) == 4


def test_settings_of_the_collector_come_back_also_after_an_error() -> None:
    before = gc.get_threshold()
    seen = []

    def fails() -> None:
        with Sweeping():
            seen.append(gc.get_threshold())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert seen[0][:2] == before[:2]
    assert seen[0][2] > before[2]
    assert gc.get_threshold() == before
