"""Bars of many streams, closed one by one, put together into what a session takes: all that closed at one instant.

No I/O and no clock of its own. Instants leave in order, each once, their bars in feed order. One waits until every
stream has its bar or is known to have none; a stream that says neither is given up `deadline` after the close (or
after its first bar, whichever is later), so that a silent one does not hold up the others. Times are UTC nanoseconds by
the venue's clock, except `received_at`, which is ours.
"""

from collections.abc import Callable, Sequence

from engine.bars import SECOND, Bar, iso
from engine.live.inputs import BarsClosed, FeedTold, Input
from feeds.bar_closing import BarCloser, Closed, Missing, Revised

MORE_PATIENCE = 6
"""How many times longer a stream is waited for while its venue is being asked for what was missed."""


class _Instant:
    """What is known of one close time."""

    __slots__ = ("bars", "first_heard", "waiting")

    def __init__(self, waiting: set[int], first_heard: int) -> None:
        self.waiting = waiting
        self.bars: dict[int, Bar] = {}
        self.first_heard = first_heard


class BarGatherer:
    """Puts the bars of several closers, of one or several venues, into one order.

    Args:
        closers: one a stream, in feed order.
        deadline: ns that a silent stream is waited for.
        lag: ns after its close from which on an instant is told to come late.
        history_until: instants up to here are history: they lie before the session's first decision, and are waited
            for as long as their venue is being asked.
        is_catching_up: says of a stream whether its venue is being asked for what was missed.
    """

    def __init__(
        self, closers: Sequence[BarCloser], *, deadline: int, lag: int, history_until: int = 0,
        is_catching_up: Callable[[int], bool] = lambda index: False,
    ) -> None:
        self._closers = tuple(closers)
        self._deadline = deadline
        self._lag = lag
        self._history_until = history_until
        self._is_catching_up = is_catching_up
        self._active = set(range(len(self._closers)))
        self._resolved = [closer.next_open for closer in self._closers]
        self._anchor = list(self._resolved)
        self._instants: dict[int, _Instant] = {}
        self._emitted = 0
        self._out: list[Input] = []

    @property
    def waiting(self) -> int:
        """How many instants have begun to close and are not complete."""
        return len(self._instants)

    @property
    def last_instant(self) -> int:
        """The close time that left last; 0 before the first."""
        return self._emitted

    def collect(self, index: int, now: int, received_at: int) -> None:
        """Take what a stream's closer has; see `take`."""
        closer = self._closers[index]
        for outcome in closer.take():
            match outcome:
                case Closed(bar):
                    self._resolve(index, bar.close_time, bar, now, received_at)
                case Missing(open_time, count, reason):
                    self._tell_missing(index, open_time, count, reason, received_at)
                    for nth in range(1, count + 1):
                        self._resolve(index, open_time + nth * closer.duration, None, now, received_at)
                case Revised(old, new):
                    self._out.append(FeedTold(
                        received_at, "revised", closer.stream.symbol, abs(new.close / old.close - 1),
                        f"{closer.stream.timeframe} {iso(old.open_time)}: {_differences(old, new)}"))

    def poll(self, now: int, received_at: int) -> None:
        """Let go of streams that have been waited for long enough."""
        self._emit(now, received_at)
        while self._instants:
            time = min(self._instants)
            instant = self._instants[time]
            overdue = [index for index in instant.waiting if self._is_overdue(time, instant, index, now)]
            for index in sorted(overdue):
                self._closers[index].give_up(time, f"not heard of within {(now - time) / SECOND:.1f} s of its close")
                self.collect(index, now, received_at)
            if time in self._instants:
                return

    def remove(self, index: int, reason: str, now: int, received_at: int) -> None:
        """Wait for a stream no longer: it is not traded any more."""
        self._active.discard(index)
        self._out.append(FeedTold(received_at, "gap", self._closers[index].stream.symbol, 0.0, reason))
        for instant in self._instants.values():
            instant.waiting.discard(index)
        self._emit(now, received_at)

    def is_active(self, index: int) -> bool:
        """Say whether a stream is still waited for."""
        return index in self._active

    def take(self) -> list[Input]:
        """Return what is ready, in the order in which a session takes it."""
        taken, self._out = self._out, []
        return taken

    def _resolve(self, index: int, time: int, bar: Bar | None, now: int, received_at: int) -> None:
        self._resolved[index] = time
        if index not in self._active or time <= self._emitted:
            if bar is not None:
                reason = "it closed before bars of other streams that have left already"
                self._tell_missing(index, bar.open_time, 1, reason, received_at)
            return
        instant = self._instants.get(time)
        if instant is None:
            instant = self._instants[time] = _Instant(self._expected_at(time, index), now)
        if bar is not None:
            instant.bars[index] = bar
        instant.waiting.discard(index)
        if not instant.waiting:
            self._emit(now, received_at)

    def _expected_at(self, time: int, but: int) -> set[int]:
        return {
            index for index in self._active
            if index != but and self._resolved[index] < time
            and not (time - self._anchor[index]) % self._closers[index].duration
        }

    def _emit(self, now: int, received_at: int) -> None:
        """Let every complete instant go that no earlier one holds back."""
        while self._instants:
            time = min(self._instants)
            instant = self._instants[time]
            if instant.waiting or self._is_behind(time):
                return
            del self._instants[time]
            self._emitted = time
            if instant.bars:
                late = now - time
                is_history = time <= self._history_until
                if late > self._lag and not is_history:
                    reason = f"the bars of {iso(time)} came {late / SECOND:.1f} s late"
                    self._out.append(FeedTold(received_at, "lag", "", late / SECOND, reason))
                bars = tuple(instant.bars[index] for index in sorted(instant.bars, key=self._place))
                self._out.append(BarsClosed(time, received_at, bars, is_history))

    def _is_behind(self, time: int) -> bool:
        """Say whether the history of a stream that begins earlier, one of longer bars say, is still to come."""
        return time <= self._history_until and any(
            self._is_catching_up(index) and self._resolved[index] + self._closers[index].duration <= time
            for index in self._active
        )

    def _place(self, index: int) -> tuple[int, int]:
        return self._closers[index].duration, index

    def _is_overdue(self, time: int, instant: _Instant, index: int, now: int) -> bool:
        patience = self._deadline
        if self._is_catching_up(index):
            if time <= self._history_until:
                return False
            patience *= MORE_PATIENCE
        return now >= max(time, instant.first_heard) + patience

    def _tell_missing(self, index: int, open_time: int, count: int, reason: str, received_at: int) -> None:
        closer = self._closers[index]
        bars = "1 bar" if count == 1 else f"{count:,} bars"
        self._out.append(FeedTold(
            received_at, "gap", closer.stream.symbol, float(count),
            f"{bars} of {closer.stream.timeframe} missing from {iso(open_time)}: {reason}"))


def _differences(old: tuple[float, ...], new: tuple[float, ...]) -> str:
    names = ("open", "high", "low", "close", "volume")
    pairs = zip(names, old[1:], new[1:], strict=True)
    return ", ".join(f"{name} {before:g} is now {after:g}" for name, before, after in pairs if before != after)
