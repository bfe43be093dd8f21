"""How a venue is doing: its clock against ours, and whether it still speaks.

Silence alone proves nothing: a market may be quiet. So a venue that has been silent for long is asked; what it answers
is held against what was heard, and only one that does not answer, or answers what the stream kept to itself, is ill.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from engine.bars import SECOND
from engine.errors import VenueError, VenueUnavailable
from feeds.asking import Asker
from feeds.candles import MILLISECOND
from feeds.listening import Tap
from feeds.live_options import FeedOptions

Tell = Callable[[str, float, str], None]
"""Takes a kind of FeedTold, its value and the reason."""
_SAMPLES = 3


class VenueHealth:
    """Clock and silence of one venue."""

    def __init__(self, exchange: Any, asker: Asker, tap: Tap, options: FeedOptions) -> None:
        self.offset = 0
        """Nanoseconds that our clock is ahead of the venue's; 0 until measured."""
        self.is_stale = False
        self._exchange = exchange
        self._asker = asker
        self._tap = tap
        self._options = options
        self._answered_at = time.monotonic()
        self._is_skewed = False

    @property
    def seconds_silent(self) -> float:
        """How long ago anything was heard of the venue's markets."""
        return min(self._tap.seconds_silent, time.monotonic() - self._answered_at)

    def heard_answer(self) -> None:
        """Take note that the venue has answered a question about its markets."""
        self._answered_at = time.monotonic()

    async def measure_clock(self) -> bool:
        """Ask for the venue's time, and take the answer that came quickest; say whether there was one."""
        if not self._exchange.has.get("fetchTime"):
            return False
        best: tuple[int, int] | None = None
        for _ in range(_SAMPLES):
            sent = received = 0

            async def call() -> Any:
                nonlocal sent, received
                sent = time.time_ns()
                answer = await self._exchange.fetch_time()
                received = time.time_ns()
                return answer

            try:
                theirs = await self._asker.ask("its time", call, _milliseconds, attempts=1)
            except VenueError:
                continue  # bars do not depend on it
            took = received - sent
            if best is None or took < best[0]:
                best = took, (sent + received) // 2 - theirs
        if best is None:
            return False
        # ccxt tells whole milliseconds: on average, half of one is cut off.
        self.offset = best[1] - MILLISECOND // 2
        return True

    async def watch_clock(self, tell: Tell) -> None:
        """Measure now and then, and at once when our own clock has jumped; tell of a difference that is too large."""
        while True:
            self._tell_skew(tell)
            await self._until_next_measurement()
            await self.measure_clock()

    async def watch_silence(self, tell: Tell, probe: Callable[[], Awaitable[bool]]) -> None:
        """Tell when the venue is silent and does not answer, and when it is back.

        Args:
            probe: asks the venue, and says whether the stream has missed something.
        """
        limit = self._options.stale_after / SECOND
        probed_at = time.monotonic()
        while True:
            if self.is_stale and self.seconds_silent < limit:
                self._be_fresh(tell)
            if self._tap.seconds_silent < limit or time.monotonic() - probed_at < limit / 4:
                await asyncio.sleep(min(limit / 8, 1.0))
                continue
            probed_at = time.monotonic()
            silent = self.seconds_silent
            try:
                has_missed = await probe()
            except VenueError as problem:
                if not self.is_stale and self.seconds_silent >= limit:
                    self.is_stale = True
                    tell("stale", silent, f"nothing heard for {silent:.1f} s, and {problem}")
                continue
            self.heard_answer()
            if has_missed:
                self._tap.restart(f"the stream was silent for {self._tap.seconds_silent:.1f} s while the venue traded")

    def _be_fresh(self, tell: Tell) -> None:
        self.is_stale = False
        tell("fresh", self.seconds_silent, "the venue is heard again")

    def _tell_skew(self, tell: Tell) -> None:
        is_skewed = abs(self.offset) > self._options.skew
        if is_skewed or self._is_skewed:
            seconds = self.offset / SECOND
            state = "ahead of" if seconds > 0 else "behind"
            tell("skew", seconds, f"our clock is {abs(seconds):.3f} s {state} the venue's")
        self._is_skewed = is_skewed

    async def _until_next_measurement(self) -> None:
        end = time.monotonic() + self._options.clock_every / SECOND
        apart = time.time_ns() - time.monotonic_ns()
        while time.monotonic() < end:
            await asyncio.sleep(min(1.0, self._options.clock_every / SECOND))
            if abs(time.time_ns() - time.monotonic_ns() - apart) > self._options.skew // 2:
                return


def _milliseconds(answer: Any) -> int:
    if not isinstance(answer, int) or answer < 1_000_000_000_000:
        raise VenueUnavailable(f"the venue's time is {str(answer)[:60]!r}; expected milliseconds since 1970")
    return answer * MILLISECOND
