"""The conformance kit: checks that any strategy can be put through, ours and those of plugin authors.

`run_checks(subject_of(MyStrategy, bars))` returns a report. docs/check.md says what each check does.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.conformance.costing import MemoryGrowth, TimePerBar
from engine.conformance.leaks import LeakSearch
from engine.conformance.observing import observe
from engine.conformance.processes import in_copy
from engine.conformance.repeating import Determinism, SharedState
from engine.conformance.restoring import Restoring
from engine.conformance.results import CheckResult, ConformanceReport, Finding
from engine.conformance.subject import Subject, subject_of
from engine.conformance.traces import Trace
from engine.conformance.warming import WarmUp


class Check(Protocol):
    """One check. `reference` is a run of the subject over its whole market."""

    @property
    def name(self) -> str: ...

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return what was found."""


CHECKS: tuple[Check, ...] = (
    LeakSearch(), SharedState(), Determinism(), WarmUp(), Restoring(), TimePerBar(), MemoryGrowth(),
)


def run_checks(
    subject: Subject, checks: Sequence[Check] = CHECKS, told: Callable[[str], None] | None = None
) -> ConformanceReport:
    """Put a strategy through checks, each run in a copy of the process.

    Args:
        told: told of each check's name as it begins.
    Raises:
        PluginError: the strategy cannot be made, or ends its process.
    """
    reference = reference_of(subject)
    results = []
    for check in checks:
        if told is not None:
            told(check.name)
        results.append(run_check(check, subject, reference))
    return ConformanceReport(subject.name, subject.market, tuple(results))


def reference_of(subject: Subject) -> Trace:
    """Return a run over the whole market, which every check starts from."""
    return in_copy(lambda: observe(subject))


def run_check(check: Check, subject: Subject, reference: Trace) -> CheckResult:
    """Return what one check finds, or that its author switched it off and why."""
    reason = subject.exemptions.get(check.name)
    if reason is not None:
        return CheckResult(check.name, "skipped", f"switched off by the author: {reason}")
    return check.run(subject, reference)


__all__ = [
    "CHECKS",
    "Check",
    "CheckResult",
    "ConformanceReport",
    "Determinism",
    "Finding",
    "LeakSearch",
    "MemoryGrowth",
    "Restoring",
    "SharedState",
    "Subject",
    "TimePerBar",
    "Trace",
    "WarmUp",
    "observe",
    "reference_of",
    "run_check",
    "run_checks",
    "subject_of",
]
