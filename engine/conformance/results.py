"""What the checks found: one result a check, and the report of them all."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """Something wrong, and where.

    Args:
        what: one sentence, with the values.
        where: "file, line N: the statement", or an indicator's name; empty if neither is known.
        instant: UTC nanoseconds of the first bar at which it shows; None if it belongs to none.
    """

    what: str
    where: str = ""
    instant: int | None = None


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Args:
        summary: what was done and what came out, in a line; for a skipped check, why.
        findings: what is wrong, the gravest first; empty unless it failed.
        notes: worth knowing, and no fault.
        evidence: numbers, JSON-ready.
    """

    check: str
    status: Status
    summary: str
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ConformanceReport:
    """The results of all checks of one strategy.

    Args:
        strategy: its name; market: on what it was run, in words.
    """

    strategy: str
    market: str
    results: tuple[CheckResult, ...]

    @property
    def is_passed(self) -> bool:
        """Whether no check failed."""
        return all(result.status != "failed" for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "strategy": self.strategy,
            "market": self.market,
            "passed": self.is_passed,
            "results": [asdict(result) for result in self.results],
        }
