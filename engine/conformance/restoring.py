"""Save and restore in mid-run: a strategy that is replaced by a fresh one, given its saved state, goes on the same.

The instance is emptied, started anew and given its state, as after a restart. Lines, timers, positions, orders and the
targets already asked for belong to the engine and stay.
"""

import json
from dataclasses import dataclass
from typing import Any

from engine.bars import iso
from engine.conformance.observing import Observation, observe
from engine.conformance.processes import in_copy
from engine.conformance.repeating import line_that_writes
from engine.conformance.results import CheckResult, Finding
from engine.conformance.statements import source_of
from engine.conformance.subject import Subject, file_of, own_names
from engine.conformance.traces import TABLES, Trace
from engine.conformance.values import difference, plain
from engine.errors import PluginError
from engine.lines import Line
from engine.strategy import Strategy, overrides

_REPLACED = ("on_start", "targets")
"""Methods that the kit has put its own in front of, on the instance."""

_INSTANTS = (0.2, 0.45, 0.7, 0.9)


@dataclass(frozen=True)
class Restoring:
    """Restarts the strategy at several instants and compares what it does afterwards."""

    name: str = "save and restore"

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return whether the remaining orders, and the attributes at the end, are equal."""
        if reference.fault is not None:
            return CheckResult(self.name, "skipped", "the strategy does not run")
        times = [int(subject.times[int(len(subject.times) * part)]) for part in _INSTANTS]
        start, full = in_copy(lambda: _changing(subject, times))
        changing = sorted(
            name for name in full.attributes
            if name not in start or any(
                difference(start[name], mark.attributes.get(name)) is not None for mark in full.marks.values()
            )
        )
        saves = overrides(subject.make(), "save_state") or overrides(subject.make(), "load_state")
        if not changing and not saves:
            return CheckResult(self.name, "skipped", "the strategy keeps no state of its own")
        for time in times:
            finding = in_copy(lambda time=time: _restored(subject, full, time, changing))  # type: ignore[misc]
            if finding is not None:
                return CheckResult(
                    self.name, "failed", "does not go on as before after a restart", (finding,),
                    evidence={"restored_at": iso(time), "state": changing},
                )
        return CheckResult(
            self.name, "passed", f"restored at {len(times)} instants, it goes on the same",
            evidence={"restored_at": [iso(time) for time in times], "state": changing},
        )


def _changing(subject: Subject, times: list[int]) -> tuple[dict[str, Any], Trace]:
    """Return the attributes after the start, and a full run."""
    start: dict[str, Any] = {}

    def after_start(strategy: Strategy, lines: list[Line]) -> None:
        start.update({name: plain(value) for name, value in own_names(strategy).items()})

    full = observe(subject, Observation(pauses=times, after_start=after_start))
    return start, full


def _restored(subject: Subject, full: Trace, time: int, changing: list[str]) -> Finding | None:
    """Return what differs when the strategy is restarted at an instant."""
    fault: list[Finding] = []
    declared: list[Line] = []

    def at_pause(strategy: Strategy, now: int) -> None:
        if now == time:
            try:
                restart(strategy, declared)
            except Exception as error:  # noqa: BLE001  told as what is wrong with the strategy
                fault.append(Finding(f"a restart at {iso(time)} raises {type(error).__name__}: {error}", "", time))

    other = observe(subject, Observation(
        pauses=(time,), at_pause=at_pause, after_start=lambda _, lines: declared.extend(lines)
    ))
    if fault:
        return fault[0]
    lost = [
        name for name in changing
        if difference(full.marks[time].attributes.get(name), other.marks[time].attributes.get(name)) is not None
        and difference(full.attributes.get(name), other.attributes.get(name)) is not None
    ]
    where = _place_of(subject, lost[0]) if lost else ""
    names = ", ".join(f"self.{name}" for name in lost)
    advice = f"; {names} changes from bar to bar and is not saved: add it to save_state and load_state" if lost else ""
    if other.fault is not None:
        return Finding(f"after a restart at {iso(time)}: {other.fault.text}{advice}", where, other.fault.time)
    for table in TABLES:
        for one, two in zip(full.rows[table], other.rows[table], strict=False):
            if repr(one) != repr(two):
                return Finding(
                    f"restarted at {iso(time)}, {table} differ: {one} before and {two} after{advice}", where, one[1]
                )
        if len(full.rows[table]) != len(other.rows[table]):
            return Finding(
                f"restarted at {iso(time)}, there are {len(other.rows[table])} {table} instead of "
                f"{len(full.rows[table])}{advice}", where, time,
            )
    if lost:
        return Finding(f"restarted at {iso(time)}, its orders are the same on this market{advice}", where, time)
    return None


def _place_of(subject: Subject, name: str) -> str:
    for kind in subject.classes:
        file = file_of(kind)
        if file and (line := line_that_writes(file, name)):
            return source_of(file).shown(line)
    return ""


def restart(strategy: Strategy, declared: list[Line]) -> None:
    """Empty a running strategy, start it anew and give it the state that it saved, which goes through JSON.

    Args:
        declared: the lines it asked for when it started, in order.
    Raises:
        PluginError: the state is no JSON, or `on_start` declares other lines than before.
    """
    state = strategy.save_state()
    try:
        text = json.dumps(state, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{type(strategy).__name__}.save_state returned what is no JSON: {error}") from error
    context, wanted, parameters = strategy._context, strategy._wanted, dict(strategy.parameters)
    handlers: dict[str, Any] = {name: vars(strategy)[name] for name in _REPLACED if name in vars(strategy)}
    vars(strategy).clear()
    type(strategy).__init__(strategy, **parameters)
    strategy._context = _Restart(context, declared)
    strategy.on_start()
    strategy._context, strategy._wanted = context, wanted
    vars(strategy).update(handlers)
    strategy.load_state(json.loads(text))


class _Restart:
    """The context of a restart: lines are there already, timers go on, and nothing is asked for."""

    def __init__(self, context: Any, declared: list[Line]) -> None:
        self._context = context
        self._declared = iter(declared)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def line(self, *arguments: Any) -> Line:
        """Return the line that was asked for at this place before.

        Raises:
            PluginError: there were fewer.
        """
        line = next(self._declared, None)
        if line is None:
            raise PluginError("on_start declares more lines after a restart than before; expected the same")
        return line

    def set_timer(self, name: str, at: int | None, every: str | None) -> None:
        """Do nothing: the timers of the run go on."""
