"""The leak search: with everything after an instant deleted or spoilt, nothing up to it may change.

A hundred instants and more are tried, spread over the run and around its decisions, each with the future deleted,
multiplied by 1000 and set to NaN. A cut run goes no further than its instant. At the first one that differs from the
full run, the instants between it and the last clean one are halved until two neighbours are left; then both runs are
followed statement by statement to the one that leaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.bars import iso
from engine.conformance.blaming import blame
from engine.conformance.comparing import Change, change_between, differing_attributes
from engine.conformance.observing import Observation, observe
from engine.conformance.probes import VARIANTS, Future
from engine.conformance.processes import in_copy
from engine.conformance.results import CheckResult, Finding
from engine.conformance.statements import source_of
from engine.conformance.subject import Subject
from engine.conformance.traces import Trace

SPREAD = 100
"""Instants over the run, evenly."""
AROUND = 24
"""Decisions, each with the instant before it."""

@dataclass(frozen=True)
class LeakSearch:
    """Looks for anything that uses what comes later."""

    name: str = "leaks"
    spread: int = SPREAD
    around: int = AROUND

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return what was found; `reference` is a full run."""
        return _Search(subject, self, reference).result()


@dataclass
class _Search:
    subject: Subject
    check: LeakSearch
    reference: Trace
    refused: dict[Future, str] = field(default_factory=dict)
    tried: int = 0
    noisy: frozenset[str] = frozenset()
    """Attributes that differ between two equal runs, such as a time of the wall clock."""

    def result(self) -> CheckResult:
        if self.reference.fault is not None:
            fault = self.reference.fault
            return CheckResult(self.check.name, "failed", "the strategy does not run", (Finding(fault.text),))
        places = self._places()
        self.reference = self._full_run([int(self.subject.times[place]) for place in places])
        again = self._full_run([int(self.subject.times[place]) for place in places])
        if again.digest != self.reference.digest:
            return CheckResult(
                self.check.name, "skipped", "two equal runs make other orders: nothing can be compared; see determinism"
            )
        self.noisy = differing_attributes(self.reference, again)
        clean = -1
        for place in places:
            for future in VARIANTS:
                if (change := self._changed(place, future)) is not None:
                    return self._failed(*self._first(clean, place, future, change))
            clean = place
        return self._passed(places)

    def _places(self) -> list[int]:
        """Return the instants to try, by place: spread over the run, and around decisions."""
        times = self.subject.times
        spread = np.linspace(0, len(times) - 2, self.check.spread + 1).round().astype(int).tolist()
        decided = np.unique([row[1] for row in self.reference.decisions]).astype(np.int64)
        at = np.searchsorted(times, decided)
        at = at[np.linspace(0, len(at) - 1, min(len(at), self.check.around)).round().astype(int)] if len(at) else at
        near = [place for one in at.tolist() for place in (one - 1, one)]
        return sorted({place for place in (*spread, *near) if 0 <= place < len(times) - 1})

    def _full_run(self, pauses: Sequence[int]) -> Trace:
        return in_copy(lambda: observe(self.subject, Observation(pauses=pauses)))

    def _changed(self, place: int, future: Future) -> Change | None:
        """Return what is another when everything after an instant is dealt with, or None."""
        if future in self.refused:
            return None
        time = int(self.subject.times[place])
        self.tried += 1

        def work() -> tuple[Change | None, str]:
            other = observe(self.subject, Observation(until=time, future=future, pauses=(time,)))
            if other.fault is not None and other.fault.is_ahead:
                return None, other.fault.text
            return change_between(self.subject, self.reference, other, time, future, self.noisy), ""

        change, refusal = in_copy(work)
        if refusal and future is Future.NAN:
            self.refused[future] = refusal  # it takes no NaN at all; the other two ways remain
        return change

    def _first(self, clean: int, dirty: int, future: Future, change: Change) -> tuple[int, Future, Change]:
        """Return the earliest instant at which the change shows, by halving what lies between."""
        times = self.subject.times
        self.reference = self._full_run([int(time) for time in times[clean + 1 : dirty + 1]])
        while dirty - clean > 1:
            middle = (clean + dirty) // 2
            found = self._changed(middle, future)
            clean, dirty, change = (clean, middle, found) if found is not None else (middle, dirty, change)
        return dirty, future, change

    def _failed(self, place: int, future: Future, change: Change) -> CheckResult:
        time = int(self.subject.times[place])
        guilty = blame(self.subject, time, future, change)
        what = (
            f"{change.said} at {iso(change.time)} is {change.with_future} with the future and "
            f"{change.without} when everything after {iso(time)} is {future.value}"
        )
        where = ""
        if guilty is not None:
            where = source_of(guilty.file).shown(guilty.line)
            what += f"; the statement makes {guilty.name} {guilty.with_future} and {guilty.without}"
        elif change.kind == "indicator":
            where = change.name
        return CheckResult(
            self.check.name, "failed", f"uses what comes later: {change.said}",
            (Finding(what, where, change.time),),
            evidence={
                "kind": change.kind, "name": change.name, "instant": iso(change.time), "cut_after": iso(time),
                "future": future.value, "with_future": change.with_future, "without": change.without,
                "line": source_of(guilty.file).start(guilty.line) if guilty is not None else None,
                "file": guilty.file if guilty is not None else None,
            },
        )

    def _passed(self, places: Sequence[int]) -> CheckResult:
        ways = [future.value for future in VARIANTS if future not in self.refused]
        notes = [
            f"the future could not be {future.value}, since the strategy takes no such prices: {text}"
            for future, text in self.refused.items()
        ]
        if not self.reference.decisions:
            notes.append("no decision was made on this market; indicators, targets and attributes were compared")
        if files := self.reference.not_understood:
            notes.append(f"reads {', '.join(files)}, whose future could not be hidden; what comes of it is not checked")
        kept = sorted(self.subject.known_in_advance)
        if kept:
            notes.append(f"declared as known in advance, and left as they are: {', '.join(kept)}")
        return CheckResult(
            self.check.name, "passed",
            f"nothing up to {len(places)} instants changes with the future {', '.join(ways[:-1])} or {ways[-1]}",
            notes=tuple(notes),
            evidence={
                "instants": len(places), "runs": self.tried, "decisions": len(self.reference.decisions),
                "lines": [line.label for line in self.reference.lines], "ways": ways,
            },
        )
