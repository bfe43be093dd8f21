"""When the bars ahead open: one after another, on weekdays, or in the sessions of an exchange.

An exchange says on which days it trades and when it closes early. At which times of day bars open there, the window's
own bars say: files stamp the first and the last bar of a session in more ways than any rule knows. Times are UTC
nanoseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from engine.bars import DAY, IntArray

ALWAYS, WEEKDAYS = "24/7", "weekdays"


class Sessions(NamedTuple):
    """The sessions of an exchange, in order: `day` that it counts for, in days since 1970; when it opens and closes;
    `offset` of its wall clock from UTC. int64 [S] each."""

    day: IntArray
    open: IntArray
    close: IntArray
    offset: IntArray


class Ahead(Protocol):
    """Says when bars open."""

    def opens(self, known: IntArray, as_of: int, count: int) -> IntArray:
        """Return when the next bars open, int64 [count].

        Args:
            known: open times of the window's bars, oldest first; as_of: when the last of them closed.
        """

    def missing(self, known: IntArray) -> int:
        """Return how many bars should be between the first and the last of these and are not."""


@dataclass(frozen=True)
class OneAfterAnother:
    """A market that never closes. `duration`: of a bar."""

    duration: int

    def opens(self, known: IntArray, as_of: int, count: int) -> IntArray:
        return as_of + np.arange(count, dtype=np.int64) * self.duration

    def missing(self, known: IntArray) -> int:
        return int((known[-1] - known[0]) // self.duration) + 1 - len(known) if len(known) else 0


@dataclass(frozen=True)
class OnWeekdays:
    """A market that never closes but on Saturday and Sunday (UTC). Its holidays are not known."""

    duration: int

    def opens(self, known: IntArray, as_of: int, count: int) -> IntArray:
        stamps: list[int] = []
        time = as_of
        while len(stamps) < count:
            if (time // DAY + 3) % 7 < 5:
                stamps.append(time)
            time += self.duration
        return np.array(stamps, np.int64)

    def missing(self, known: IntArray) -> int:
        return 0


@dataclass(frozen=True)
class AtExchange:
    """The sessions of an exchange.

    Args:
        sessions: those that lie around an instant: as many as a horizon may need on either side. Beyond the last that
            is known, every weekday counts as one.
    """

    duration: int
    sessions: Callable[[int], Sessions]

    def opens(self, known: IntArray, as_of: int, count: int) -> IntArray:
        sessions = self.sessions(int(known[-1]))
        slots = self._slots(known, sessions)
        first = int(np.searchsorted(sessions.day, self._days(known[-1:], sessions)[0]))
        days = len(slots)
        most = first + -(-count // days) + 2
        found: IntArray = np.empty(0, np.int64)
        while len(found) < count:  # days on which it closes early have fewer
            found = _bars_of(_reaching(sessions, most), slots, slice(first, most))
            found = found[found > known[-1]][:count]
            most += -(-count // days) + 2
        return found

    def missing(self, known: IntArray) -> int:
        if len(known) < 2:
            return 0
        sessions = self.sessions(int(known[-1]))
        days = self._days(known[[0, -1]], sessions)
        first, last = np.searchsorted(sessions.day, days[0]), np.searchsorted(sessions.day, days[1], side="right")
        expected = _bars_of(sessions, self._slots(known, sessions), slice(int(first), int(last)))
        inside = expected[(expected >= known[0]) & (expected <= known[-1])]
        return int(np.setdiff1d(inside, known).size)

    def _slots(self, known: IntArray, sessions: Sessions) -> IntArray:
        """Return the times of day at which bars open, by the exchange's clock, ascending: those of the window's bars,
        and where it may not have one whole day, steps of a bar's duration through a session."""
        days = self._days(known, sessions)
        local = known + _offsets(known, sessions) - days * DAY
        if self.duration >= DAY:
            return local[-1:]
        slots = np.unique(local)
        if len(np.unique(days)) >= 3:  # neither the first nor the last of them need be whole
            return slots
        place = min(int(np.searchsorted(sessions.day, days[-1])), len(sessions.day) - 1)
        midnight = int(sessions.day[place] * DAY - sessions.offset[place])
        start, end = int(sessions.open[place]) - midnight, int(sessions.close[place]) - midnight
        first = start - (start - int(local[-1])) % self.duration  # the bar within which it opens
        return np.union1d(slots, np.arange(first, end, self.duration, dtype=np.int64))

    def _days(self, times: IntArray, sessions: Sessions) -> IntArray:
        """Return the local days of some times."""
        return np.asarray((times + _offsets(times, sessions)) // DAY, np.int64)


def _offsets(times: IntArray, sessions: Sessions) -> IntArray:
    """Return the offsets of the wall clock in force at some times: those of the session that is next to close."""
    place = np.searchsorted(sessions.close, times, side="left").clip(0, len(sessions.close) - 1)
    return sessions.offset[place]


def _bars_of(sessions: Sessions, slots: IntArray, part: slice) -> IntArray:
    """Return when the bars of some sessions open. Where one closes early, none opens from then on; elsewhere all slots
    count, for a file may stamp a bar at the very close."""
    midnight = sessions.day * DAY - sessions.offset
    closes = sessions.close - midnight
    is_early = (closes < np.sort(closes)[len(closes) // 2])[part]
    opens = midnight[part, None] + slots[None, :]
    return np.asarray(opens[~is_early[:, None] | (opens < sessions.close[part, None])], np.int64)


def _reaching(sessions: Sessions, count: int) -> Sessions:
    """Return sessions with weekdays added at their end, so that there are `count`."""
    more = count - len(sessions.day)
    if more <= 0:
        return sessions
    days: list[int] = []
    day = int(sessions.day[-1])
    while len(days) < more:
        day += 1
        if (day + 3) % 7 < 5:
            days.append(day)
    added = np.array(days, np.int64)
    shift = (added - sessions.day[-1]) * DAY
    columns = (added, sessions.open[-1] + shift, sessions.close[-1] + shift, np.repeat(sessions.offset[-1:], more))
    return Sessions(*(np.concatenate(pair) for pair in zip(sessions, columns, strict=True)))
