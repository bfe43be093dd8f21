"""Metrics of each target and period, by name: val_binarytrend_f1@1h. Plain functions of arrays; NaN is left out."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.forecasting.ranking import FEWEST as FEWEST_SYMBOLS
from engine.forecasting.ranking import ranking_metrics
from models.features.targets import TargetSpec

FEWEST = 10
"""Rows from which a metric says anything; of fewer it is NaN."""
_BINS = 10


def metric_names(targets: Sequence[TargetSpec], periods: Sequence[str]) -> tuple[str, ...]:
    """Return every name there can be, "val_loss" with them."""
    names = [f"val_{one.name}_{metric}@{period}" for one in targets for metric in one.metrics for period in periods]
    return ("val_loss", *names)


def of_target(spec: TargetSpec, said: FloatArray, came: FloatArray, times: IntArray) -> dict[str, float]:
    """Return a target's metrics by their short names.

    Args:
        said: [N, 1] numbers or probabilities, [N, Q] quantiles. came: [N]; times: int64 [N], of the decisions.
    """
    there = np.isfinite(came) & np.isfinite(said).all(axis=1)
    if there.sum() < FEWEST:
        return dict.fromkeys(spec.metrics, float("nan"))
    said, came, times = said[there], came[there], times[there]
    if spec.family.sort == "event":
        return {name: function(said[:, 0], came) for name, function in _OF_EVENTS.items()}
    middle = said[:, 0]
    found: dict[str, float] = {}
    if spec.quantiles:
        middle = _median(said, spec.quantiles)
        found["pinball"] = pinball(said, came, spec.quantiles)
        found["coverage"] = float(((came >= said[:, 0]) & (came <= said[:, -1])).mean())
    error = middle - came
    spread = float(((came - came.mean()) ** 2).mean())
    together = np.unique(times, return_counts=True)[1].max() >= FEWEST_SYMBOLS
    # Of one or two symbols no instant says anything; then all rows are taken together.
    ranked = ranking_metrics(middle, came, times if together else np.zeros_like(times))
    found |= {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - float((error**2).mean()) / spread if spread > 0 else float("nan"),
        "ic": ranked["ic"],
        "rank_ic": ranked["rank_ic"],
    }
    return {name: found[name] for name in spec.metrics}


def unknowable(spec: TargetSpec, came: FloatArray, times: IntArray) -> list[str]:
    """Return a target's metrics that are NaN of these outcomes whatever is said, by their short names."""
    width = max(len(spec.quantiles), 1)
    anything = np.random.default_rng(0).random((len(came), width))
    return [name for name, value in of_target(spec, anything, came, times).items() if value != value]


def pinball(said: FloatArray, came: FloatArray, levels: Sequence[float]) -> float:
    """Return the mean quantile loss over rows and levels."""
    error = came[:, None] - said
    level = np.asarray(levels)
    return float(np.maximum(level * error, (level - 1) * error).mean())


def _median(said: FloatArray, levels: Sequence[float]) -> FloatArray:
    if 0.5 in levels:
        return said[:, list(levels).index(0.5)]
    return np.array([np.interp(0.5, levels, row) for row in said])


# ── events: probabilities [N] against 0 or 1 [N] ────────────────────────────────────────────────────────────────────


def _counts(said: FloatArray, came: FloatArray) -> tuple[float, float, float, float]:
    yes, true = said > 0.5, came > 0.5
    return tuple(float(np.count_nonzero(one)) for one in (yes & true, yes & ~true, ~yes & true, ~yes & ~true))  # type: ignore[return-value]


def accuracy(said: FloatArray, came: FloatArray) -> float:
    """Return the share of rows on the right side of ½."""
    return float(((said > 0.5) == (came > 0.5)).mean())


def precision(said: FloatArray, came: FloatArray) -> float:
    """Return how much of what was called happened; 0 if nothing was called."""
    hit, false, _, _ = _counts(said, came)
    return hit / (hit + false) if hit + false else 0.0


def recall(said: FloatArray, came: FloatArray) -> float:
    """Return how much of what happened was called; NaN if nothing happened."""
    hit, _, missed, _ = _counts(said, came)
    return hit / (hit + missed) if hit + missed else float("nan")


def f1(said: FloatArray, came: FloatArray) -> float:
    """Return the harmonic mean of precision and recall; NaN if nothing happened."""
    hit, false, missed, _ = _counts(said, came)
    return 2 * hit / (2 * hit + false + missed) if hit + missed else float("nan")


def mcc(said: FloatArray, came: FloatArray) -> float:
    """Return Matthews' correlation; 0 if all calls are one, NaN if all outcomes are."""
    hit, false, missed, right = _counts(said, came)
    if not (hit + missed) or not (false + right):
        return float("nan")
    below = np.sqrt((hit + false) * (hit + missed) * (right + false) * (right + missed))
    return float((hit * right - false * missed) / below) if below else 0.0


def roc_auc(said: FloatArray, came: FloatArray) -> float:
    """Return the chance that a row that happened was given more than one that did not, ties counting half."""
    true = came > 0.5
    happened, not_happened = int(true.sum()), int((~true).sum())
    if not happened or not not_happened:
        return float("nan")
    order = np.sort(said)
    ranks = (np.searchsorted(order, said, side="left") + np.searchsorted(order, said, side="right") + 1) / 2
    return float((ranks[true].sum() - happened * (happened + 1) / 2) / (happened * not_happened))


def average_precision(said: FloatArray, came: FloatArray) -> float:
    """Return Σ (recall step · precision) from the surest row down, ties taken together; NaN if nothing happened."""
    if not (came > 0.5).any():
        return float("nan")
    order = np.argsort(-said, kind="stable")
    true, sorted_ = came[order] > 0.5, said[order]
    last = np.append(np.flatnonzero(np.diff(sorted_)), len(sorted_) - 1)
    hits = np.cumsum(true)[last]
    steps = np.diff(np.concatenate([[0], hits])) / hits[-1]
    return float((steps * hits / (last + 1)).sum())


def brier(said: FloatArray, came: FloatArray) -> float:
    """Return the mean squared error of probabilities."""
    return float(((said - came) ** 2).mean())


def calibration(said: FloatArray, came: FloatArray, bins: int = _BINS) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return of each bin of probability its mean, the share that happened, and its rows; empty bins left out."""
    place = np.minimum((said * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    mean = np.bincount(place, weights=said, minlength=bins)[filled] / count[filled]
    share = np.bincount(place, weights=came, minlength=bins)[filled] / count[filled]
    return mean, share, count[filled]


def ece(said: FloatArray, came: FloatArray) -> float:
    """Return the mean distance between what was said and how often it happened, over bins of probability."""
    mean, share, count = calibration(said, came)
    return float((np.abs(mean - share) * count).sum() / count.sum())


_OF_EVENTS: Mapping[str, Callable[[FloatArray, FloatArray], float]] = {
    "f1": f1, "accuracy": accuracy, "precision": precision, "recall": recall, "roc_auc": roc_auc,
    "ap": average_precision, "mcc": mcc, "brier": brier, "ece": ece,
}  # fmt: skip
