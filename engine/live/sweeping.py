"""When Python may look for garbage in a live session: not between a bar and its orders.

A session keeps hundreds of thousands of objects, and a look through all of them takes a tenth of a second and more
(measured at 500 symbols: 44 ms in the first minute, 250 ms after an hour). Left to itself it comes in the middle of an
instant. While a session runs it comes when nothing waits, soon after bars were dealt with: the next are then far away.
"""

import gc
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

OFTEN = 60.0
"""Seconds between two looks at least."""
SELDOM = 600.0
"""Seconds after which it looks even if no bars have come, or something always waits."""
_NEVER = 1_000_000


class Sweeping:
    """A context in which looks through everything happen when `idle` or `busy` says so; young objects are looked at as
    ever.

    Args:
        clock: seconds that only rise. look: what looks through everything.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, look: Callable[[], object] = gc.collect
    ) -> None:
        self._clock, self._look = clock, look
        self._last = clock()
        self._bars = 0
        self._before = gc.get_threshold()

    def __enter__(self) -> Self:
        self._before = gc.get_threshold()
        gc.set_threshold(*self._before[:2], _NEVER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.set_threshold(*self._before)

    def idle(self, bars: int) -> None:
        """Nothing waits now, and so many bars have been taken so far."""
        if self._clock() - self._last >= (OFTEN if bars > self._bars else SELDOM):
            self._bars = bars
            self._now()

    def busy(self) -> None:
        """Something waits."""
        if self._clock() - self._last >= SELDOM:
            self._now()

    def _now(self) -> None:
        self._look()
        self._last = self._clock()
