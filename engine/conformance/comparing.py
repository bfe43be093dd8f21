"""What is compared between a run and one with another future, and in which order."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from engine.conformance.own_data import Instants
from engine.conformance.probes import Future
from engine.conformance.subject import Subject
from engine.conformance.traces import TABLES, Trace
from engine.conformance.values import Rows, difference, shown

ROUNDING = 1e-9
"""Of a line's largest value: sums that a function takes in another order. Decisions are compared bit by bit."""

_KINDS = {"decisions": "decision", "orders": "order", "order_events": "step of an order", "fills": "fill"}


class Change(NamedTuple):
    """The first thing that is another without the future.

    Args:
        kind: "indicator", "targets", "attribute", "decision", "order", "step of an order", "fill" or "error".
        time: when it happened, UTC ns.
    """

    kind: str
    name: str
    time: int
    with_future: str
    without: str

    @property
    def said(self) -> str:
        """What changed, in words: targets[7], decision 3, attribute self.level."""
        return f"{self.kind}{'' if self.name.startswith('[') else ' '}{self.name}"


def change_between(
    subject: Subject, full: Trace, cut: Trace, time: int, future: Future, besides: frozenset[str] = frozenset()
) -> Change | None:
    """Return the first thing up to `time` that differs between the full run and one with another future.

    Args:
        besides: attributes that are not compared.
    """
    return next(_changes(subject, full, cut, time, future, besides), None)


def differing_attributes(one: Trace, other: Trace) -> frozenset[str]:
    """Return the attributes that two runs which should be equal do not agree on."""
    return frozenset(
        name for time, mark in one.marks.items() if time in other.marks for name, value in mark.attributes.items()
        if difference(value, other.marks[time].attributes.get(name)) is not None
    )


def _changes(
    subject: Subject, full: Trace, cut: Trace, time: int, future: Future, besides: frozenset[str]
) -> Iterator[Change]:
    yield from _of_lines(subject, full, cut, time)
    rows = rows_of(subject, time, future)
    if full.exposures is not None and cut.exposures is not None:
        known_rows = int(np.searchsorted(subject.bars.close_time, time, side="right"))
        found = difference(full.exposures[:known_rows], cut.exposures[:known_rows])
        if found is not None and found.row is not None:
            yield Change("targets", found.path, int(subject.bars.close_time[found.row]), found.one, found.other)
    if cut.fault is not None:
        yield Change("error", cut.fault.kind, cut.fault.time or time, "none", cut.fault.text)
        return
    yield from _of_rows(full, cut, time)
    if time in full.marks and time in cut.marks:
        one, other = full.marks[time].attributes, cut.marks[time].attributes
        known = Instants(subject.times, time, Future.DELETED)  # of data that a strategy brings along
        for name in one:
            if name not in other or name in besides or name in subject.known_in_advance:
                continue
            found = difference(known.hide(one[name]), known.hide(other[name]), rows, name)
            if found is not None:
                yield Change("attribute", f"self.{found.path}", time, found.one, found.other)


def _of_lines(subject: Subject, full: Trace, cut: Trace, time: int) -> Iterator[Change]:
    first: Change | None = None
    for one, other in zip(full.lines, cut.lines, strict=False):
        closes = subject.bars.of(subject.bars.streams[one.stream]).close_time
        known = int(np.searchsorted(closes, time, side="right"))
        a, b = one.values[:known], other.values[:known]
        finite = np.abs(a[np.isfinite(a)])
        slack = ROUNDING * float(finite.max()) if len(finite) else 0.0
        with np.errstate(invalid="ignore"):
            differs = ~((a == b) | (np.abs(a - b) <= slack) | (np.isnan(a) & np.isnan(b)))
        if differs.any():
            row = int(np.argmax(differs))
            found = Change("indicator", one.label, int(closes[row]), shown(float(a[row])), shown(float(b[row])))
            first = found if first is None or found.time < first.time else first
    if first is not None:
        yield first


def _of_rows(full: Trace, cut: Trace, time: int) -> Iterator[Change]:
    if time not in full.marks or time not in cut.marks:
        return
    for table in TABLES:
        one = full.rows[table][: full.marks[time].rows[table]]
        other = cut.rows[table][: cut.marks[time].rows[table]]
        for place in range(max(len(one), len(other))):
            a = one[place] if place < len(one) else None
            b = other[place] if place < len(other) else None
            if repr(a) != repr(b):
                row = a or b
                assert row is not None
                when = next(value for value in row[1:4] if isinstance(value, int) and value > 10**15)
                yield Change(_KINDS[table], str(place + 1), when, _in_words(a), _in_words(b))
                return


def _in_words(row: tuple[object, ...] | None) -> str:
    return "none" if row is None else "(" + ", ".join(shown(value) for value in row[1:] if value is not None) + ")"


def rows_of(subject: Subject, time: int, future: Future) -> tuple[Rows, ...]:
    """Return the lengths of what runs along the bars: all rows, those of each stream, the instants."""
    bars = subject.bars
    columns = [bars.close_time, subject.times, *(bars.of(stream).close_time for stream in bars.streams[:20])]
    found = []
    for column in columns:
        known = int(np.searchsorted(column, time, side="right"))
        found.append(Rows(len(column), known if future is Future.DELETED else len(column), known))
    return tuple(dict.fromkeys(found))
