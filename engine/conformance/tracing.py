"""Which statement leaks: the author's code is followed statement by statement, twice, with and without the future.

Up to an instant both runs are given the same data, so the first statement that makes another value of it has used what
came later. Columns are compared as far as both runs can know them.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from engine.conformance.statements import source_of
from engine.conformance.subject import own_names
from engine.conformance.values import Opaque, Rows, difference, plain
from engine.strategy import Strategy

_MOST_VISITS = 3
"""How often a statement in a loop is looked at; it is counted on."""
_MOST_FRAMES = 400
_FEW = 16
"""Values of an array that are no column, such as fitted coefficients."""
_MOST_STEPS = 20_000


class Step(NamedTuple):
    """A statement that was executed, and the names whose values it changed."""

    line: int
    changes: dict[str, Any]


@dataclass
class Call:
    """One call of a function of the author's."""

    file: str
    function: str
    line: int
    steps: list[Step] = field(default_factory=list)
    visits: Counter[int] = field(default_factory=Counter)

    @property
    def key(self) -> tuple[str, str, int]:
        return self.file, self.function, self.line


class Suspect(NamedTuple):
    """A statement, and what it made with the future and without. `row` is the first row of a column that differs."""

    file: str
    line: int
    name: str
    with_future: str
    without: str
    row: int | None


class Tracer:
    """Follows the author's code while it is on."""

    def __init__(self, is_own_code: Callable[[str], bool]) -> None:
        self._is_own_code = is_own_code
        self._known: dict[str, bool] = {}
        self.calls: list[Call] = []

    def start(self) -> None:
        sys.settrace(self._entered)

    def stop(self) -> None:
        sys.settrace(None)

    def _entered(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        if event != "call" or len(self.calls) >= _MOST_FRAMES or code.co_name in _COMPREHENSIONS:
            return None
        is_own = self._known.get(code.co_filename)
        if is_own is None:
            is_own = self._known[code.co_filename] = self._is_own_code(code.co_filename)
        if not is_own:
            return None
        call = Call(code.co_filename, code.co_name, code.co_firstlineno)
        self.calls.append(call)
        return _Follower(call, frame).event


_COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<module>")


class _Follower:
    """Notes the steps of one call."""

    def __init__(self, call: Call, frame: FrameType) -> None:
        self._call = call
        self._source = source_of(call.file)
        self._line = call.line
        self._values = _values(frame)

    def event(self, frame: FrameType, event: str, answer: Any) -> Callable[..., Any]:
        if event == "line":
            line = self._source.start(frame.f_lineno)
            if line != self._line:
                self._finish(frame)
                self._line = line
        elif event == "return":
            self._finish(frame, {"return": plain(answer)} if answer is not None else {})
        return self.event

    def _finish(self, frame: FrameType, more: dict[str, Any] | None = None) -> None:
        call = self._call
        call.visits[self._line] += 1
        if not more and (call.visits[self._line] > _MOST_VISITS or len(call.steps) > _MOST_STEPS):
            return
        values = _values(frame)
        changes = {
            name: value for name, value in values.items()
            if name not in self._values or difference(value, self._values[name]) is not None
        }
        call.steps.append(Step(self._line, {**changes, **(more or {})}))
        self._values = values


def _values(frame: FrameType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in frame.f_locals.items():
        if isinstance(value, Strategy):
            found.update({f"{name}.{own}": plain(one, 2) for own, one in own_names(value).items()})
        else:
            found[name] = plain(value, 2)
    return found


def suspect(full: list[Call], other: list[Call], rows: tuple[Rows, ...], *, ahead: bool) -> Suspect | None:
    """Return the first statement that made another value without the future.

    Args:
        full, other: the calls with the future and without.
        ahead: whether they are calls that compute whole columns. In the loops of such, numbers belong to one row or
            another; only what stands behind the loop is compared.
    """
    waiting: dict[tuple[str, str, int], list[Call]] = {}
    for call in other:
        waiting.setdefault(call.key, []).append(call)
    for call in full:
        twins = waiting.get(call.key)
        if twins:
            found = (_in_columns if ahead else _in_order)(call, twins.pop(0), rows)
            if found is not None:
                return found
    return None


def _in_order(one: Call, other: Call, rows: tuple[Rows, ...]) -> Suspect | None:
    """Compare two calls that should do the same."""
    last = one.line
    for first, second in zip(one.steps, other.steps, strict=False):
        if first.line != second.line:
            return Suspect(one.file, last, "the way taken", f"to line {first.line}", f"to line {second.line}", None)
        found = _changed(one, first, second, rows)
        if found is not None:
            return found
        last = first.line
    if len(one.steps) != len(other.steps):
        return Suspect(one.file, last, "the way taken", "goes on", "ends here", None)
    return None


def _in_columns(one: Call, other: Call, rows: tuple[Rows, ...]) -> Suspect | None:
    once = {line for line in one.visits if one.visits[line] == 1 == other.visits.get(line)}
    twins = {step.line: step for step in other.steps if step.line in once}
    for step in one.steps:
        if step.line in twins:
            found = _changed(one, step, twins[step.line], rows, in_columns=True)
            if found is not None:
                return _in_loop(one, found, once)
    return None


def _changed(
    call: Call, first: Step, second: Step, rows: tuple[Rows, ...], *, in_columns: bool = False
) -> Suspect | None:
    for name in first.changes:
        if name not in second.changes:
            continue
        one, other = first.changes[name], second.changes[name]
        if isinstance(one, Opaque) or isinstance(other, Opaque) or _is_market(one, other):
            continue
        if in_columns and not _runs_along(one, rows):
            continue  # such as bars of a longer timeframe: which of them are known cannot be told
        found = difference(one, other, rows, name)
        if found is not None:
            return Suspect(call.file, first.line, found.path, found.one, found.other, found.row)
    return None


def _runs_along(value: Any, rows: tuple[Rows, ...]) -> bool:
    """Return whether every array in a value has a row a bar, or is no column at all."""
    if isinstance(value, dict):
        return all(_runs_along(one, rows) for one in value.values())
    if not isinstance(value, np.ndarray) or value.ndim == 0 or len(value) <= _FEW:
        return True
    return any(0 <= total.one - len(value) <= max(total.one // 4, 2) for total in rows)


def _is_market(one: Any, other: Any) -> bool:
    """Return whether values are `Bars` as they were given, which differ by right."""
    return isinstance(one, dict) and isinstance(other, dict) and "streams" in one and "streams" in other


def _in_loop(call: Call, found: Suspect, once: set[int]) -> Suspect:
    """Move a finding to the loop before it, if that is where its name was last written."""
    name = found.name.partition("[")[0]
    source = source_of(call.file)
    here = source.at(found.line)
    if here is not None and name in here.writes:
        return found
    writers = [
        line for line in call.visits
        if line < found.line and line not in once and (there := source.at(line)) and name in there.writes
    ]
    return found._replace(line=max(writers)) if writers else found
