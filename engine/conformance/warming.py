"""Warm-up honesty: with a longer history before it, nothing after the warm-up may change.

A recursive indicator (EMA, RSI, ATR …) never quite forgets where it began. Its effect after the warm-up is measured in
standard deviations of the line, and the warm-up that would make it small is found by looking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from engine.bars import FloatArray
from engine.conformance.observing import Observation, observe
from engine.conformance.processes import in_copy
from engine.conformance.results import CheckResult, Finding
from engine.conformance.subject import Subject
from engine.conformance.traces import Trace

TOLERANCE = 0.01
"""Standard deviations of the line; less than that moves few decisions."""

_STARTS = (0.11, 0.23, 0.37, 0.5)
"""Where shorter histories begin, as parts of the run."""


class Effect(NamedTuple):
    """How far a line is from what a longer history makes of it.

    Args:
        warm_up: bars that passed before the strategy saw it; size: the most that it is off after these, in standard
            deviations of the line.
        settled: bars after which it is within the tolerance; None if it never is.
    """

    label: str
    warm_up: int
    size: float
    settled: int | None
    with_longer: float
    with_shorter: float


@dataclass(frozen=True)
class WarmUp:
    """Compares lines and targets of runs that begin at different bars."""

    name: str = "warm-up"
    tolerance: float = TOLERANCE

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return whether lines and targets are settled when the strategy first sees them."""
        if reference.fault is not None:
            return CheckResult(self.name, "skipped", "the strategy does not run")
        if not reference.lines and reference.exposures is None:
            return CheckResult(self.name, "skipped", "the strategy declares no lines and returns no targets")
        worst: dict[str, Effect] = {}
        compared = 0
        for part in _STARTS:
            start = int(subject.times[int(len(subject.times) * part)])
            bars = subject.bars[int(np.searchsorted(subject.bars.close_time, start)) :]
            shorter = in_copy(lambda bars=bars: observe(subject, Observation(bars=bars)))  # type: ignore[misc]
            if shorter.fault is not None and shorter.fault.is_ahead:
                continue
            compared += 1
            for effect in self._effects(subject, reference, shorter):
                known = worst.get(effect.label)
                if known is None or (effect.settled or 10**9) > (known.settled or 10**9):
                    worst[effect.label] = effect
        unsettled = [one for one in worst.values() if one.size > self.tolerance]
        evidence: dict[str, Any] = {
            "warm_up": reference.warm_up, "histories": compared,
            "lines": [one._asdict() for one in worst.values()],
        }
        if not unsettled:
            return CheckResult(
                self.name, "passed", f"{compared} shorter histories change nothing after {reference.warm_up} bars",
                evidence=evidence,
            )
        findings = tuple(Finding(_told(one), one.label) for one in unsettled)
        return CheckResult(
            self.name, "failed", f"{len(unsettled)} unsettled after {reference.warm_up} bars of warm-up", findings, (),
            evidence,
        )

    def _effects(self, subject: Subject, longer: Trace, shorter: Trace) -> list[Effect]:
        warm = longer.warm_up
        found: list[Effect] = []
        for one, other in zip(longer.lines, shorter.lines, strict=False):
            found += self._effect(one.label, one.values[-len(other.values) :], other.values, warm)
        if longer.exposures is not None and shorter.exposures is not None and len(subject.bars.streams) == 1:
            opinions = np.flatnonzero(~np.isnan(shorter.exposures))
            first = int(opinions[0]) if len(opinions) else len(shorter.exposures)  # before that, NaN says it is warming
            longer_part = longer.exposures[-len(shorter.exposures) :]
            found += self._effect("targets", longer_part, shorter.exposures, max(warm, first))
        return found

    def _effect(self, label: str, longer: FloatArray, shorter: FloatArray, warm: int) -> Sequence[Effect]:
        if len(shorter) <= warm:
            return ()
        spread = float(np.nanstd(longer)) if np.isfinite(longer).any() else 0.0
        with np.errstate(invalid="ignore"):
            apart = np.abs(longer - shorter)
        one_only = np.isnan(longer) != np.isnan(shorter)
        apart = np.where(one_only, np.inf, np.nan_to_num(apart)) / (spread or 1.0)
        apart[~one_only & (np.abs(np.nan_to_num(longer - shorter)) <= 1e-9 * np.nan_to_num(np.abs(longer)))] = 0.0
        later = apart[warm:]
        if not (later > self.tolerance).any():
            return (Effect(label, warm, float(later.max()), warm, float(longer[warm]), float(shorter[warm])),)
        last = int(np.flatnonzero(later > self.tolerance)[-1])
        settled = warm + last + 1 if last < 0.8 * len(later) else None
        row = warm + int(np.argmax(later > self.tolerance))
        return (Effect(label, warm, float(later.max()), settled, float(longer[row]), float(shorter[row])),)


def _told(effect: Effect) -> str:
    size = "has a value in one and none in the other" if np.isinf(effect.size) else (
        f"is up to {effect.size:.2g} of its standard deviations away ({effect.with_longer:.6g} against "
        f"{effect.with_shorter:.6g})"
    )
    told = f"{effect.label} after {effect.warm_up} bars {size} from what a longer history makes of it"
    if effect.settled is None:
        return (
            f"{told}, and never forgets where the data began; use how it changes instead of its level, or say why in "
            f"check_exemptions"
        )
    suggestion = ceil(effect.settled * 1.1 / 10) * 10
    return f"{told}; it is settled after {effect.settled}: set warm_up = {suggestion}"
