"""Choosing features, nested: everything that chooses looks at the training part alone; the judging part is looked at
once, when the choice has been made, and only to tell what it is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.bars import DAY, FloatArray
from engine.errors import DataError, SettingsError
from models.training.data.splits import Fold, Part, Split, walk_forward
from models.training.data.table import Table
from models.training.selection.core import CorePlan, Ranked, aggregate
from models.training.selection.evidence import Evidence, Question, evidence, fitted_score
from models.training.selection.genetic import Breeding, breed
from models.training.selection.trees import TreePlan

Told = Callable[[str], None]


@dataclass(frozen=True)
class SelectionPlan:
    """How features are chosen.

    Args:
        trees, core: see there. folds: within training, for evidence. judging_folds: rounds over the judging part.
        block, repeats: of what is moved out of step. most_rows: of each question, evenly spread over time.
        rounds: how often the weakest `share` of the core is tried to do without; 0 keeps the core. breeding: of sets of
            features, which takes the place of that where it has generations.
    """

    trees: TreePlan = field(default_factory=TreePlan)
    core: CorePlan = field(default_factory=CorePlan)
    folds: int = 3
    judging_folds: int = 5
    block: int = 36
    repeats: int = 5
    most_rows: int = 40_000
    rounds: int = 10
    share: float = 0.1
    seed: int = 0
    breeding: Breeding = field(default_factory=Breeding)

    def __post_init__(self) -> None:
        for name in ("folds", "judging_folds", "block", "repeats", "most_rows"):
            if getattr(self, name) < 1:
                raise SettingsError(f"select: {name} is {getattr(self, name)}; expected 1 or more")


@dataclass(frozen=True)
class Judged:
    """Scores of the choice, of all features, and of as many drawn at random, on one target of one period, in rounds
    over the judging part."""

    target: str
    period: str
    chosen: tuple[float, ...]
    every: tuple[float, ...]
    random: tuple[float, ...]


@dataclass(frozen=True)
class Selection:
    """What was chosen and why.

    Args:
        chosen: names, the best first. ranked: the core before it was thinned out. evidence: of every question.
        steps: features and score, inside training, of each thinning that held, or of each generation's best.
        judged: on the judging part.
    """

    chosen: tuple[str, ...]
    ranked: tuple[Ranked, ...]
    evidence: tuple[Evidence, ...]
    steps: tuple[tuple[int, float], ...]
    judged: tuple[Judged, ...]


def select(
    table: Table,
    split: Split,
    plan: SelectionPlan,
    *,
    gating: Mapping[str, float] | None = None,
    told: Told = lambda text: None,
) -> Selection:
    """Return the features that tell most of a table's targets.

    Args:
        gating: a transformer's mean weight of each variable, by name. told: how far it is.
    Raises:
        DataError: too few rows. SettingsError: a plan that cannot be.
    """
    whole = questions(table, plan.most_rows)
    inner = [one.part(split.train) for one in whole]
    embargo = _longest_label(table)
    folds = inner_folds(inner, plan.folds, embargo)
    found = []
    for number, one in enumerate(inner, 1):
        told(f"{one.target} at {one.period}: {len(one):,} rows ({number} of {len(inner)})")
        found.append(
            evidence(
                one, folds, plan.trees, block=plan.block, repeats=plan.repeats, best=plan.core.keep, seed=plan.seed
            )
        )
    ranked = aggregate(found, table.names, plan.core, gating)
    if not ranked:
        raise SettingsError(
            f"select: no feature is among the best in {plan.core.appearance:.0%} of questions and folds; lower "
            "select.appearance"
        )
    names = [one.name for one in ranked]
    if plan.breeding.generations:
        told(f"breeding sets of {len(names)} features, {plan.breeding.generations} generations")
        chosen, steps = breed(
            names, lambda some: _mean_score(some, inner, folds, table, plan), plan.breeding, plan.seed)
    else:
        told(f"thinning out {len(names)} features")
        chosen, steps = _thinned(names, inner, folds, table, plan)
    told("judging")
    judged = tuple(_judged(one, chosen, split, table, plan, embargo) for one in whole)
    return Selection(tuple(chosen), ranked, tuple(found), tuple(steps), judged)


def questions(table: Table, most_rows: int) -> list[Question]:
    """Return a question for every target and period of a table, of rows whose target is known."""
    windows = table.windows()
    rows = windows.rows.numpy()
    values, targets = table.values[rows].astype(np.float64), table.targets[rows].astype(np.float64)
    periods = np.array([group.timeframe for group in table.groups])[windows.groups]
    made = []
    for period in dict.fromkeys(periods.tolist()):
        for place, spec in enumerate(table.plan.targets):
            known = np.flatnonzero((periods == period) & np.isfinite(targets[:, place]))
            order = known[np.lexsort((windows.groups[known], windows.times[known]))]
            # Whole instants are kept, so that every group has its rows as far apart as the others.
            number = np.unique(windows.times[order], return_inverse=True)[1]
            order = order[number % max(-(-len(order) // most_rows), 1) == 0]
            made.append(
                Question(
                    spec.name, period, spec.family.sort == "event", values[order], targets[order, place],
                    windows.times[order], windows.label_times[order], windows.groups[order],
                )
            )  # fmt: skip
    return made


def inner_folds(of: Sequence[Question], folds: int, embargo: int) -> list[Fold]:
    """Return folds within training whose tests follow one another.

    Raises:
        DataError: there is nothing to fold.
    """
    if not any(len(one) for one in of):
        raise DataError("no row is left to choose features by; training has none with a target known")
    start = min(int(one.times.min()) for one in of if len(one)) - 1
    end = max(int(one.label_times.max()) for one in of if len(one))
    return list(walk_forward(start, end, folds=folds, embargo=embargo))


def _longest_label(table: Table) -> int:
    windows = table.windows()
    return int((windows.label_times - windows.times).max()) if len(windows) else DAY


def _thinned(
    names: list[str], inner: Sequence[Question], folds: Sequence[Fold], table: Table, plan: SelectionPlan
) -> tuple[list[str], list[tuple[int, float]]]:
    """Leave out the weakest as long as that costs nothing inside training; names come best first."""
    best = _mean_score(names, inner, folds, table, plan)
    steps = [(len(names), best)]
    for _ in range(plan.rounds):
        count = max(int(len(names) * plan.share), 1)
        if len(names) - count < 1:
            break
        fewer = names[:-count]
        score = _mean_score(fewer, inner, folds, table, plan)
        if score < best:
            break
        names, best = fewer, score
        steps.append((len(names), best))
    return names, steps


def _mean_score(
    names: Sequence[str], of: Sequence[Question], folds: Sequence[Fold], table: Table, plan: SelectionPlan
) -> float:
    """Return the score of some features, the weighted mean over targets of that over periods and folds."""
    places = sorted(table.names.index(name) for name in names)
    weights = dict(plan.core.weights or {})
    summed = total = 0.0
    for one in of:
        scores = [_fold_score(one.columns(places), fold, plan) for fold in folds]
        known = [score for score in scores if score is not None]
        if known:
            weight = weights.get(one.target, 1.0)
            summed, total = summed + weight * float(np.mean(known)), total + weight
    return summed / total if total else 0.0


def _fold_score(of: Question, fold: Fold, plan: SelectionPlan) -> float | None:
    train, test = of.part(fold.train), of.part(fold.test)
    if min(len(train), len(test)) < 50 or (of.is_event and len(np.unique(train.came)) < 2):
        return None
    return fitted_score(train, test, plan.trees)


def _judged(
    of: Question, chosen: Sequence[str], split: Split, table: Table, plan: SelectionPlan, embargo: int
) -> Judged:
    """Say what the choice is worth on the judging part: rounds that are each trained on all before."""
    start, end = split.valid.start, split.valid.end
    last = int(of.label_times.max())
    end = last if end is None else min(end, last)
    assert start is not None
    begin = split.train.start
    length = (end - start) // plan.judging_folds
    rng = np.random.default_rng(plan.seed)
    places = sorted(table.names.index(name) for name in chosen)
    drawn = sorted(rng.choice(len(table.names), len(places), replace=False).tolist())
    scores: dict[str, list[float]] = {"chosen": [], "every": [], "random": []}
    for number in range(plan.judging_folds):
        cut = start + number * length
        until = end if number + 1 == plan.judging_folds else cut + length
        fold = Fold(Part(begin, cut), Part(cut, until, min(embargo, max(until - cut - 1, 0))))
        for name, columns in (("chosen", places), ("every", range(len(table.names))), ("random", drawn)):
            found = _fold_score(of.columns(list(columns)), fold, plan)
            if found is not None:
                scores[name].append(found)
    return Judged(of.target, of.period, *(tuple(scores[name]) for name in ("chosen", "every", "random")))


def as_allow_list(selection: Selection) -> str:
    """Return the choice as a file that `tft.allow_list` reads."""
    scores = {one.name: one.score for one in selection.ranked}
    width = max(len(name) for name in selection.chosen)
    lines = [f"{name:<{width}}  # {scores[name]:.3f}" for name in selection.chosen]
    return "\n".join([f"# {len(lines)} of the features; the best first, with their scores", *lines]) + "\n"


def mean_scores(judged: Sequence[Judged]) -> dict[str, FloatArray]:
    """Return mean scores over rounds of each question, by "chosen", "every" and "random", float64 [questions]."""
    return {
        name: np.array([np.mean(getattr(one, name)) if getattr(one, name) else np.nan for one in judged])
        for name in ("chosen", "every", "random")
    }
