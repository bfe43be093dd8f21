"""Whose fault a leak is: both runs are followed to the statement that makes another value."""

import numpy as np

from engine.conformance.comparing import Change, rows_of
from engine.conformance.observing import Observation, observe
from engine.conformance.probes import Future
from engine.conformance.processes import in_copy
from engine.conformance.subject import Subject
from engine.conformance.tracing import Call, Suspect, Tracer, suspect
from engine.lines import Line
from engine.strategy import Strategy


def blame(subject: Subject, time: int, future: Future, change: Change) -> Suspect | None:
    """Return the statement that makes another value, followed first where columns are computed, then at the instant.

    A spoilt future is followed rather than a deleted one, where both tell: it leaves lengths as they are.
    """
    order = [one for one in (Future.SCALED, Future.NAN, Future.DELETED) if one is not future]
    for one in (*order[:1], future, *order[1:]) if future is Future.DELETED else (future, *order):
        found = in_copy(lambda one=one: _followed(subject, time, one, change))  # type: ignore[misc]
        if found is not None:
            return found
    return None


def _followed(subject: Subject, time: int, future: Future, change: Change) -> Suspect | None:
    full, other = (_calls(subject, time, change.time, one) for one in (Future.KEPT, future))
    rows = rows_of(subject, time, future)
    for place, ahead in ((0, True), (1, False)):
        found = suspect(full[place], other[place], rows, ahead=ahead)
        if found is not None:
            return found
    return None


def _calls(subject: Subject, time: int, at: int, future: Future) -> tuple[list[Call], list[Call]]:
    """Return the author's calls ahead of the run, and those of the handlers at the instant."""

    def work() -> tuple[list[Call], list[Call]]:
        ahead, handlers = Tracer(subject.is_own_code), Tracer(subject.is_own_code)
        place = int(np.searchsorted(subject.times, at))
        before = int(subject.times[place - 1]) if place > 0 else None

        def at_pause(strategy: Strategy, now: int) -> None:
            handlers.stop()
            if now == before:
                handlers.start()

        def after_start(strategy: Strategy, lines: list[Line]) -> None:
            ahead.start()

        def at_begin() -> None:
            ahead.stop()
            if before is None:
                handlers.start()

        pauses = [now for now in (before, at, time) if now is not None]
        observe(
            subject,
            Observation(
                until=time, future=future, pauses=pauses, at_pause=at_pause, after_start=after_start, at_begin=at_begin
            ),
        )
        handlers.stop()
        return ahead.calls, handlers.calls

    if future is Future.KEPT:
        return in_copy(work)
    return work()
