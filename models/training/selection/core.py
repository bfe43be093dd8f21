"""From what every question says to one list of features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.bars import FloatArray
from engine.errors import SettingsError, nearest_name
from models.training.selection.evidence import Evidence


@dataclass(frozen=True)
class CorePlan:
    """How evidence is put together.

    Args:
        keep: most features kept. appearance: share of questions and folds in which one must be among the best; 0 for
            no such rule. weights: of targets, by name; one that is left out weighs 1.
        bonus: what a transformer's own choice of variables adds, at most.
    """

    keep: int = 128
    appearance: float = 0.0
    weights: Mapping[str, float] | None = None
    bonus: float = 0.15


@dataclass(frozen=True)
class Ranked:
    """A feature's place. `score` is what the list is sorted by, `by_target` its parts; `appearance` as in CorePlan."""

    name: str
    score: float
    appearance: float
    by_target: Mapping[str, float]
    gating: float | None = None


def aggregate(
    found: Sequence[Evidence], names: Sequence[str], plan: CorePlan, gating: Mapping[str, float] | None = None
) -> tuple[Ranked, ...]:
    """Return features from the best down, as many as are kept.

    Of each question the ranks by trees and by loss, half and half, from 0 to 1; their mean over periods; the weighted
    mean over targets; and what a transformer's gates add.

    Raises:
        SettingsError: a weight is given to a target that there is not.
    """
    targets = tuple(dict.fromkeys(one.target for one in found))
    weights = dict(plan.weights or {})
    for name in weights:
        if name not in targets:
            raise SettingsError(
                f"select.weights: there is no target {name!r}{nearest_name(name, list(targets))}; there are "
                f"{', '.join(targets)}"
            )
    local = {target: np.mean([_local(one) for one in found if one.target == target], axis=0) for target in targets}
    total = sum(weights.get(target, 1.0) for target in targets)
    combined = sum(weights.get(target, 1.0) * local[target] for target in targets) / total
    shares = None
    if gating is not None:
        given = np.array([gating.get(name, 0.0) for name in names])
        span = float(np.ptp(given))
        shares = (given - given.min()) / span if span > 0 else np.zeros(len(names))
        combined = combined + plan.bonus * shares
    appearance = np.mean([one.top for one in found], axis=0)
    order = sorted(range(len(names)), key=lambda place: (-float(combined[place]), names[place]))
    ranked = [
        Ranked(
            names[place], float(combined[place]), float(appearance[place]),
            {target: float(local[target][place]) for target in targets},
            None if shares is None else float(shares[place]),
        )
        for place in order if appearance[place] >= plan.appearance
    ]  # fmt: skip
    return tuple(ranked[: plan.keep])


def _local(one: Evidence) -> FloatArray:
    lost = _ranks(one.lost)
    return lost if one.tree is None else 0.5 * _ranks(one.tree) + 0.5 * lost


def _ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 0 (least) to 1, ties at their mean."""
    order = np.sort(values)
    low, high = (np.searchsorted(order, values, side=side) for side in ("left", "right"))
    return (low + high - 1) / 2 / max(len(values) - 1, 1)
