"""Skill: how much better than knowing nothing a model's forecasts have been, and what becomes of positions if they are
not.

Every figure is made of scored forecasts alone (scores.py): those whose horizon had closed. 0 is no better than the
baseline, 1 perfect, below 0 worse.
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from engine.errors import SettingsError
from engine.forecasting.scores import FEWEST_RANKED, Score
from engine.forecasts import ForecastKind, ForecastSpec


@dataclass(frozen=True)
class SkillRule:
    """When a model has shown no skill, targets that rest on it are made smaller.

    Args:
        window: scored forecasts looked back on (SCORE: instants with a rank IC). least: of them needed to judge;
            before, positions are not scaled.
        floor: skill below which it counts as none. scale: what targets are multiplied with then, 0…1.
    """

    window: int = 200
    least: int = 50
    floor: float = 0.0
    scale: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.window:
            raise SettingsError(
                f"skill rule: least is {self.least} and window {self.window}; expected 1 ≤ least ≤ window"
            )
        if not 0 <= self.scale <= 1:
            raise SettingsError(f"skill rule: scale is {self.scale}; expected a factor between 0 and 1")


@dataclass(frozen=True)
class SkillState:
    """The skill of a model by now: over so many scored forecasts; None before the first. `scale` is what its targets
    are multiplied with."""

    scored: int = 0
    skill: float | None = None
    scale: float = 1.0


def check_judged(spec: ForecastSpec, every: str, symbols: int) -> None:
    """Refuse a rule on the skill of forecasts that can never be judged.

    Raises:
        SettingsError: they say neither a return nor the chance of a rise, or are never ranked.
    """
    if spec.kind is ForecastKind.SCORE and (every == "ask" or symbols < FEWEST_RANKED):
        how = "only when the strategy asks" if every == "ask" else f"of {symbols} symbols"
        raise SettingsError(
            f"models.{spec.name}.skill: scores {how} are never ranked, so their skill cannot be judged; expected "
            f"{FEWEST_RANKED} symbols or more on a schedule, or no such table"
        )
    named = spec.kind in (ForecastKind.PROBABILITY, ForecastKind.MULTI)
    says_return = spec.kind is ForecastKind.MULTI and (spec.return_quantiles or spec.return_output in spec.outputs)
    if named and not says_return and spec.up_output not in spec.outputs:
        wanted = [spec.up_output] if spec.kind is ForecastKind.PROBABILITY else [spec.up_output, spec.return_output]
        raise SettingsError(
            f"models.{spec.name}.skill: the outputs {', '.join(spec.outputs[:8])} of this {spec.kind} are never "
            f"scored, so its skill cannot be judged; expected {' or '.join(wanted)} among them (up_output and "
            "return_output of its spec say which they are), or no such table"
        )


class _BaseRate:
    """How often prices rose, by what was known at an instant."""

    def __init__(self) -> None:
        self._known: list[int] = []
        self._rises: list[int] = []

    def add(self, time: int, is_rise: bool) -> None:
        """Take in an outcome that was known from a time on."""
        insort(self._known, time)
        if is_rise:
            insort(self._rises, time)

    def at(self, time: int) -> float:
        """Return the rate: ½ before the first outcome, and drawn towards it while they are few (rule of succession)."""
        return (bisect_right(self._rises, time) + 1) / (bisect_right(self._known, time) + 2)


class SkillWatch:
    """Follows the skill of one model over its last scored forecasts."""

    def __init__(self, kind: ForecastKind, rule: SkillRule | None) -> None:
        self._kind = kind
        self._rule = rule
        self._scored: deque[Score] = deque(maxlen=rule.window if rule else 1000)
        self._base = _BaseRate()
        self._count = 0
        self._scale = 1.0

    def add(self, score: Score) -> Score:
        """Take in a score; those that say nothing of this kind's skill are passed over. Return it with its `base`."""
        if score.brier is not None and score.realised is not None:
            is_rise = score.realised > 0
            score = replace(score, base=(self._base.at(score.as_of) - is_rise) ** 2)
            self._base.add(score.time, is_rise)
        if self._kind is ForecastKind.SCORE:
            is_of_use = score.rank_ic is not None
        else:
            is_of_use = score.error is not None or score.brier is not None
        if is_of_use:
            self._scored.append(score)
            self._count += 1
        return score

    def judge(self) -> SkillState | None:
        """Return the state if what it means for positions has changed since the last judgement."""
        rule = self._rule
        if rule is None or len(self._scored) < rule.least:
            return None
        skill = skill_of(self._kind, self._scored)
        scale = rule.scale if skill is not None and skill < rule.floor else 1.0
        if scale == self._scale:
            return None
        self._scale = scale
        return SkillState(self._count, skill, scale)

    @property
    def missing(self) -> tuple[int, int] | None:
        """How many scored forecasts there were and how many the rule needs to judge, where there were too few."""
        rule = self._rule
        return (self._count, rule.least) if rule is not None and self._count < rule.least else None

    @property
    def state(self) -> SkillState:
        """The state by now."""
        return SkillState(self._count, skill_of(self._kind, self._scored), self._scale)

    @property
    def scale(self) -> float:
        """What targets that rest on the model are multiplied with."""
        return self._scale


def skill_of(kind: ForecastKind, scores: Sequence[Score] | deque[Score]) -> float | None:
    """Return the skill that a kind is judged by, None without a score that has it.

    SCORE: the mean rank IC. QUANTILES, PATHS: 1 − CRPS ÷ that of a volatility cone. RETURN, and MULTI that says a
    return: 1 − squared error ÷ that of a random walk. PROBABILITY, and MULTI that says but a chance: 1 − squared error
    of the chance of a rise ÷ that of the base rate known when each was made.
    """
    if kind is ForecastKind.SCORE:
        ranks = [score.rank_ic for score in scores if score.rank_ic is not None]
        return float(np.mean(ranks)) if ranks else None
    if kind in (ForecastKind.QUANTILES, ForecastKind.PATHS):
        return _against_cone(scores)
    if kind is ForecastKind.RETURN or any(score.error is not None for score in scores):
        return _against_walk(scores)
    return _against_base(scores)


def _against_base(scores: Sequence[Score] | deque[Score]) -> float | None:
    pairs = [(one.brier, one.base) for one in scores if one.brier is not None and one.base is not None]
    return _gain(sum(brier for brier, _ in pairs), sum(base for _, base in pairs))


def _against_walk(scores: Sequence[Score] | deque[Score]) -> float | None:
    pairs = [(one.error, one.realised) for one in scores if one.error is not None and one.realised is not None]
    return _gain(sum(error * error for error, _ in pairs), sum(moved * moved for _, moved in pairs))


def _against_cone(scores: Sequence[Score] | deque[Score]) -> float | None:
    pairs = [(one.crps, one.cone) for one in scores if one.crps is not None and one.cone is not None]
    return _gain(sum(crps for crps, _ in pairs), sum(cone for _, cone in pairs))


def _gain(loss: float, baseline: float) -> float | None:
    return 1 - loss / baseline if baseline > 0 else None


def summary_of(scores: Sequence[Score]) -> dict[str, Any]:
    """Return what the scores of a model come to, JSON-ready; a figure that none of them has is None.

    hit_rate: share of directions that were right. skill_walk, skill_cone, skill_base: see `skill_of`. rank_ic,
    rank_ic_t: mean over instants, and its t statistic. coverage, nominal: share of outcomes inside the interval, and
    what it claims. pit: the mean of the probability integral transform, ½ if honest; pit_distance: largest distance of
    its distribution from the uniform one (Kolmogorov–Smirnov).
    """
    single = [score for score in scores if score.rank_ic is None]
    ranks = np.array([score.rank_ic for score in scores if score.rank_ic is not None])
    pits = np.sort([score.pit for score in single if score.pit is not None])
    spread = float(ranks.std(ddof=1)) if len(ranks) > 1 else 0.0
    return {
        "scored": len(single),
        "instants": len(ranks),
        "bias": _mean([score.error for score in single]),
        "mae": _mean([None if score.error is None else abs(score.error) for score in single]),
        "hit_rate": _mean([score.direction for score in single]),
        "skill_walk": _against_walk(single),
        "skill_cone": _against_cone(single),
        "skill_base": _against_base(single),
        "brier": _mean([score.brier for score in single]),
        "crps": _mean([score.crps for score in single]),
        "pinball": _mean([score.pinball for score in single]),
        "coverage": _mean([score.covered for score in single]),
        "nominal": _mean([score.nominal for score in single]),
        "pit": _mean([score.pit for score in single]),
        "pit_distance": _distance_from_uniform(pits) if len(pits) else None,
        "rank_ic": float(ranks.mean()) if len(ranks) else None,
        "rank_ic_t": float(ranks.mean() / spread * sqrt(len(ranks))) if spread else None,
    }


def _distance_from_uniform(ordered: Any) -> float:
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max()))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def shown(summary: Mapping[str, Any]) -> str:
    """Return a summary in a line of words."""
    said = [
        f"{name} {summary[key]:{form}}"
        for name, key, form in (
            ("hits", "hit_rate", ".1%"), ("skill over a random walk", "skill_walk", "+.3f"),
            ("over a volatility cone", "skill_cone", "+.3f"), ("over the base rate", "skill_base", "+.3f"),
            ("rank IC", "rank_ic", "+.3f"), ("coverage", "coverage", ".1%"),
        )
        if summary.get(key) is not None
    ]
    return f"{summary['scored']} scored: {', '.join(said) or 'nothing to say'}"
