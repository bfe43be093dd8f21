"""What a feature tells of a target: its share in trees, and what is lost when it is out of step with time.

Everything is seen inside the training part: trees are fitted on the past of each fold and asked on what comes after it,
purged and embargoed. Numbers are scored by their correlation with what came, events by 2 · AUC − 1: both from −1 to 1,
so that targets can be weighed against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.errors import DataError
from models.training.data.splits import Fold, Part
from models.training.selection.trees import TreePlan
from models.training.tft.metrics import roc_auc

_FEWEST = 50
_WIDEST = 8.0


@dataclass(frozen=True)
class Question:
    """One target of one period.

    Args:
        target, period: names. is_event: whether it is 0 or 1. rows: features float64 [N, F]; came: [N], no NaN.
        times, label_times: int64 [N], UTC ns. groups: int64 [N].
    """

    target: str
    period: str
    is_event: bool
    rows: FloatArray
    came: FloatArray
    times: IntArray
    label_times: IntArray
    groups: IntArray

    def part(self, part: Part) -> "Question":
        """Return the rows of a part."""
        chosen = part.mask(self.times, self.label_times)
        named = {name: getattr(self, name)[chosen] for name in ("rows", "came", "times", "label_times", "groups")}
        return Question(self.target, self.period, self.is_event, **named)

    def columns(self, places: Sequence[int]) -> "Question":
        """Return it with some of the features."""
        return Question(
            self.target, self.period, self.is_event, self.rows[:, list(places)], self.came, self.times,
            self.label_times, self.groups,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.came)


@dataclass(frozen=True)
class Evidence:
    """What one question says of every feature.

    Args:
        base: the score with all features, mean over folds. tree: share of gain [F], None where not known.
        lost: what the score loses without the feature, mean over folds and repeats [F]; deviation: of the repeats.
        top: share of folds in which the feature is among the best [F].
    """

    target: str
    period: str
    base: float
    tree: FloatArray | None
    lost: FloatArray
    deviation: FloatArray
    top: FloatArray
    repeats: int

    @property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """95 % of the mean of `lost`."""
        reach = 1.96 * self.deviation / np.sqrt(max(self.repeats, 1))
        return self.lost - reach, self.lost + reach


def score(said: FloatArray, came: FloatArray, *, is_event: bool) -> float:
    """Return how well outcomes were told, −1 … 1; 0 where nothing can be said."""
    if is_event:
        auc = roc_auc(said, came)
        return 0.0 if np.isnan(auc) else 2 * auc - 1
    if said.std() < 1e-12 or came.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(said, came)[0, 1])


def fitted_score(train: Question, test: Question, plan: TreePlan) -> float:
    """Return the score on one set of trees fitted on another."""
    return score(plan.fit(train.rows, _bounded(train), is_event=train.is_event).predict(test.rows), test.came,
                 is_event=test.is_event)  # fmt: skip


def evidence(
    of: Question, folds: Sequence[Fold], plan: TreePlan, *, block: int, repeats: int, best: int, seed: int
) -> Evidence:
    """Return what a question says of its features.

    Args:
        block: rows by which a feature is moved against time within its group, at least. repeats: how often.
        best: how many features count as among the best of a fold.
    Raises:
        DataError: no fold has enough rows.
    """
    rng = np.random.default_rng(seed)
    bases, trees, lost, tops = [], [], [], []
    for fold in folds:
        train, test = of.part(fold.train), of.part(fold.test)
        if min(len(train), len(test)) < _FEWEST or (of.is_event and len(np.unique(train.came)) < 2):
            continue
        model = plan.fit(train.rows, _bounded(train), is_event=of.is_event)
        base = score(model.predict(test.rows), test.came, is_event=of.is_event)
        found = np.array([
            [base - _moved(model.predict, test, place, block, rng) for _ in range(repeats)]
            for place in range(of.rows.shape[1])
        ])  # fmt: skip
        bases.append(base)
        lost.append(found)
        if (gain := model.importance) is not None:
            trees.append(gain)
        tops.append(found.mean(axis=1) >= np.sort(found.mean(axis=1))[::-1][min(best, len(found)) - 1])
    if not bases:
        raise DataError(
            f"{of.target} at {of.period}: {len(of)} rows with the target known are too few to choose features by; "
            f"expected {_FEWEST} or more in each fold's training and test"
        )
    every = np.concatenate(lost, axis=1)
    return Evidence(
        of.target, of.period, float(np.mean(bases)), np.mean(trees, axis=0) if trees else None, every.mean(axis=1),
        every.std(axis=1), np.mean(tops, axis=0), every.shape[1],
    )  # fmt: skip


def _moved(predict, test: Question, place: int, block: int, rng: np.random.Generator) -> float:  # type: ignore[no-untyped-def]
    """Return the score with one feature turned round in time within each group: its own values, its own rhythm, but at
    the wrong time."""
    rows = test.rows.copy()
    for group in np.unique(test.groups):
        at = np.flatnonzero(test.groups == group)
        reach = min(block, len(at) // 2)
        by = int(rng.integers(reach, max(len(at) - reach, reach) + 1)) if len(at) > 1 else 0
        rows[at, place] = np.roll(rows[at, place], by)
    return score(predict(rows), test.came, is_event=test.is_event)


def _bounded(of: Question) -> FloatArray:
    """Return targets of numbers cut off eight deviations from their mean."""
    if of.is_event:
        return of.came
    centre, spread = of.came.mean(), max(float(of.came.std()), 1e-12)
    return np.clip(of.came, centre - _WIDEST * spread, centre + _WIDEST * spread)
