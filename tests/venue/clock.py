"""The venue's two clocks.

Virtual time is the market's: candles, trades, orders and fills carry it. It passes `speed` times as fast as wall time,
stands still while paused, and can be set forward by hand. Wall time, with a skew that a fault may add, is what
`/time` answers and what signatures are checked against: ccxt's rate limiters and signatures live in wall time, and a
virtual time there would poison them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class VenueClock:
    """Times in milliseconds since 1970, UTC.

    Args:
        start: the virtual time when the venue starts.
        speed: virtual seconds in one second of wall time.
        paused: whether virtual time waits for `resume` or `advance`.
        play: is called with the virtual time to play up to.
        dispatch: runs something in the venue's thread, from any other.
    """

    def __init__(self, start: int, *, speed: float = 1.0, paused: bool = False,
                 play: Callable[[int], None] = lambda _: None,
                 dispatch: Callable[[Callable[[], Any]], Any] = lambda work: work()) -> None:
        self._now = start
        self._speed, self._paused = speed, paused
        self._play, self._dispatch = play, dispatch
        self._mark = (time.monotonic(), start)
        self.skew = 0
        """What `/time` and signature checks are wrong by."""

    @property
    def now(self) -> int:
        """Return the virtual time up to which everything has happened."""
        return self._now

    @property
    def wall(self) -> int:
        """Return wall time as this venue has it."""
        return time.time_ns() // 1_000_000 + self.skew

    @property
    def speed(self) -> float:
        return self._speed

    @property
    def is_paused(self) -> bool:
        return self._paused

    def due(self) -> int:
        """Return the virtual time it should be by now."""
        if self._paused:
            return self._now
        real, virtual = self._mark
        return max(self._now, virtual + int((time.monotonic() - real) * 1000 * self._speed))

    def pause(self) -> None:
        self._paused = True

    def start_running(self) -> None:
        """Count wall time from here on."""
        self._mark = (time.monotonic(), self._now)

    def resume(self) -> None:
        self._paused = False
        self._mark = (time.monotonic(), self._now)

    def set_speed(self, speed: float) -> None:
        self._speed = speed
        self._mark = (time.monotonic(), self._now)

    def advance(self, milliseconds: int) -> int:
        """Let virtual time pass at once; return the new time."""
        return self._dispatch(lambda: self._go_to(self._now + milliseconds))

    def advance_to(self, time_ms: int) -> int:
        """Play everything up to a virtual time, which must not lie in the past; return it.

        Raises:
            ValueError: it does.
        """
        return self._dispatch(lambda: self._go_to(time_ms))

    def _go_to(self, time_ms: int) -> int:
        if time_ms < self._now:
            raise ValueError(f"the virtual time is {self._now} and cannot go back to {time_ms}")
        self._play(time_ms)
        self._now = time_ms
        self._mark = (time.monotonic(), time_ms)
        return time_ms

    def keep_up(self, at_most: int) -> None:
        """Play what is due, but not more than so many milliseconds at once."""
        target = min(self.due(), self._now + at_most)
        if target > self._now:
            self._play(target)
            self._now = target
            if target < self.due():
                self._mark = (time.monotonic(), target)
