"""Determinism: the same run again, in the same process and in others, gives the same decisions and orders."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from engine.bars import iso
from engine.conformance.comparing import Change, change_between
from engine.conformance.observing import Observation, observe
from engine.conformance.probes import Future
from engine.conformance.processes import in_copy
from engine.conformance.results import CheckResult, Finding
from engine.conformance.statements import source_of
from engine.conformance.subject import Subject
from engine.conformance.traces import TABLES, Trace
from engine.conformance.values import Opaque, difference, plain

HASH_SEEDS = (1, 2)

_CUTS = 3


@dataclass(frozen=True)
class Determinism:
    """Runs the strategy in two new processes with different PYTHONHASHSEEDs, and twice in copies of this one."""

    name: str = "determinism"

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return whether all runs made the same decisions and orders."""
        again = in_copy(lambda: observe(subject))
        if reference.fault is not None:
            return CheckResult(self.name, "failed", "the strategy does not run", (Finding(reference.fault.text),))
        if (finding := _first_difference(reference, again)) is not None:
            return CheckResult(self.name, "failed", "two runs in equal processes differ", (finding,))
        if subject.elsewhere is None:
            return CheckResult(
                self.name, "passed", "two runs in equal processes are equal",
                notes=("the strategy cannot be loaded by another process, so hash seeds were not tried",),
            )
        digests = [subject.elsewhere(seed) for seed in HASH_SEEDS]
        evidence = {"digests": dict(zip(map(str, HASH_SEEDS), digests, strict=True))}
        if len(set(digests)) > 1:
            what = (
                f"processes with PYTHONHASHSEED {HASH_SEEDS[0]} and {HASH_SEEDS[1]} make other orders; the usual cause "
                f"is the order of a set, or a generator of random numbers without a seed"
            )
            return CheckResult(self.name, "failed", "the order depends on the process", (Finding(what),), (), evidence)
        if digests[0] != reference.digest:
            what = "a new process makes other orders than this one; does the strategy use the clock or the process id?"
            return CheckResult(self.name, "failed", "the order depends on the process", (Finding(what),), (), evidence)
        return CheckResult(
            self.name, "passed", "two processes, two hash seeds: the same decisions and orders", evidence=evidence
        )


def _first_difference(one: Trace, other: Trace) -> Finding | None:
    for table in TABLES:
        for first, second in zip(one.rows[table], other.rows[table], strict=False):
            if repr(first) != repr(second):
                return Finding(f"{table}: {first} in one, {second} in the other", "", first[1])
        if len(one.rows[table]) != len(other.rows[table]):
            return Finding(f"{len(one.rows[table])} {table} in one, {len(other.rows[table])} in the other")
    return None


# ── state that outlives a run ───────────────────────────────────────────────────────────────────────────────────────


class Shared(NamedTuple):
    """Something in a class or a module that a run changed."""

    owner: str
    name: str
    file: str
    line: int
    before: str
    after: str


@dataclass(frozen=True)
class SharedState:
    """Looks for what one run hands on to the next in the same process, which is a leak as soon as runs follow one
    another: in a sweep, in walk-forward, in a notebook."""

    name: str = "shared state"

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return whether a run after another is what it is in a fresh process."""
        if reference.fault is not None:
            return CheckResult(self.name, "skipped", "the strategy does not run")
        times = subject.times
        cuts = [int(times[len(times) * part // (_CUTS + 1)]) for part in range(1, _CUTS + 1)]
        fresh = {time: in_copy(partial(_cut, subject, time)) for time in (*cuts, int(times[-1]))}
        changed, change = in_copy(lambda: _after_another(subject, fresh))
        if change is None:
            notes = tuple(f"a run changes {one.owner}.{one.name}, without effect on the next" for one in changed)
            return CheckResult(self.name, "passed", "a run after another is the same as in a new process", notes=notes)
        what = (
            f"{change.said} at {iso(change.time)} is {change.with_future} in a new process and {change.without} after "
            f"another run"
        )
        where = ""
        if changed:
            one = changed[0]
            where = source_of(one.file).shown(one.line) if one.line else f"{one.owner}.{one.name}"
            what += f"; a run changes {one.owner}.{one.name} from {one.before} to {one.after}: keep it on the instance"
        evidence = {
            "kind": change.kind, "name": change.name, "instant": iso(change.time),
            "line": changed[0].line if changed else None, "changed": [f"{one.owner}.{one.name}" for one in changed],
        }
        return CheckResult(
            self.name, "failed", "a run depends on those before it", (Finding(what, where, change.time),), (), evidence
        )


def _cut(subject: Subject, time: int) -> Trace:
    """Return a run whose data end at an instant."""
    return observe(subject, Observation(until=time, future=Future.DELETED, pauses=(time,)))


def _after_another(subject: Subject, fresh: dict[int, Trace]) -> tuple[list[Shared], Change | None]:
    """Return what a run changes for good, and the first thing that is another in the runs after it."""
    before = _state_of(subject)
    observe(subject)
    changed = _changes(before, _state_of(subject))
    for time, alone in fresh.items():
        change = change_between(subject, alone, _cut(subject, time), time, Future.DELETED)
        if change is not None:
            return changed, change
    return changed, None


def _state_of(subject: Subject) -> dict[tuple[str, str, str], Any]:
    """Return everything that outlives a run: attributes of the author's classes, globals of his modules, defaults of
    functions, and what `functools.cache` holds."""
    found: dict[tuple[str, str, str], Any] = {}
    for kind in subject.classes:
        file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
        _add(found, file, kind.__name__, vars(kind))
    for name in subject.modules:
        module = sys.modules[name]
        _add(found, module.__file__ or "", name, vars(module))
    return found


def _add(found: dict[tuple[str, str, str], Any], file: str, owner: str, names: Mapping[str, Any]) -> None:
    for name, value in list(names.items()):
        if name.startswith("__") or isinstance(value, type):
            continue
        function = getattr(value, "__func__", value)
        if callable(value) and hasattr(value, "cache_info"):
            found[file, owner, name] = repr(value.cache_info().currsize)
        elif hasattr(function, "__defaults__"):
            found[file, owner, name] = plain([function.__defaults__, function.__kwdefaults__, vars(function)])
        else:
            made = plain(value)
            if not isinstance(made, Opaque):
                found[file, owner, name] = made


def _changes(
    before: dict[tuple[str, str, str], Any], after: dict[tuple[str, str, str], Any]
) -> list[Shared]:
    changed = []
    for key, value in after.items():
        found = difference(before[key], value) if key in before else difference(None, plain(str(type(value))))
        if found is not None:
            file, owner, name = key
            changed.append(Shared(owner, name, file, line_that_writes(file, name), found.one, found.other))
    return changed


def line_that_writes(file: str, name: str, *, last: bool = False) -> int:
    """Return the first (or last) statement inside a function that writes an attribute or global of that name, else its
    definition; 0 if there is none."""
    statements = source_of(file).statements if file else []
    writers = [one for one in statements if any(written.rpartition(".")[2] == name for written in one.writes)]
    inside = [one.line for one in writers if one.function]
    return (max if last else min)(inside or [one.line for one in writers], default=0)

