"""A contender's statements held against what came, all at once: figures of points, ranks, chances and distributions.

Returns are log returns to the horizon's end, as in scores.py, whose losses these are. NaN stands for a figure that the
statements or outcomes do not give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.forecasting.ranking import ranking_metrics, ranks
from engine.forecasting.scores import NOMINAL, crps_of_samples
from engine.forecasts import Forecast, ForecastKind

LEVELS = tuple(percent / 100 for percent in range(1, 100))
"""Of the quantiles that baselines say and sample paths are read at: so many that twice the pinball loss is the CRPS. A
model that says quantiles is held against baselines at its own levels."""
_BINS = 10
"""Of chances, for the calibration error."""


@dataclass(frozen=True)
class Said:
    """What one contender said of N outcomes.

    Args:
        strength: [N], what is ranked by. point: [N], the return expected. up: [N], the chance that it is above 0.
        quantiles: [N, Q] of the return, at `levels`, ascending. crps: [N], where it is known better than by quantiles.
    """

    name: str
    strength: FloatArray
    point: FloatArray | None = None
    up: FloatArray | None = None
    quantiles: FloatArray | None = None
    levels: tuple[float, ...] = LEVELS
    crps: FloatArray | None = None


class Came(NamedTuple):
    """What happened: log returns [N], and the instant of each decision, int64 [N]."""

    returns: FloatArray
    instants: IntArray


def is_usable(forecast: Forecast) -> bool:
    """Return whether a forecast says numbers that a price can have: a path may end at or below 0 where a model's own
    normalisation does not suit prices as small as 0.00001."""
    if not np.isfinite(forecast.values).all():
        return False
    return forecast.spec.kind is not ForecastKind.PATHS or bool((forecast.values[:, -1, 3] > 0).all())


def said_by(forecasts: Sequence[Forecast], returns: FloatArray) -> Said:
    """Return what forecasts of one model said; outcomes are asked for to score sample paths exactly."""
    spec = forecasts[0].spec
    strength = np.array([one.strength for one in forecasts])
    match spec.kind:
        case ForecastKind.RETURN:
            return Said(spec.name, strength, point=strength)
        case ForecastKind.QUANTILES:
            levels, quantiles = _distribution(forecasts)
            return Said(spec.name, strength, strength, _chances(levels, quantiles), quantiles, levels)
        case ForecastKind.PATHS:
            paths = [one.path_returns for one in forecasts]
            crps = np.array([crps_of_samples(some, came) for some, came in zip(paths, returns, strict=True)])
            quantiles = np.stack([np.quantile(some, LEVELS) for some in paths])
            up = np.array([one.probability_up for one in forecasts])
            return Said(spec.name, strength, strength, up, quantiles, LEVELS, crps)
        case ForecastKind.PROBABILITY | ForecastKind.MULTI:
            point, chance = (_named(forecasts, name) for name in (spec.return_output, spec.up_output))
            if not spec.return_quantiles:
                return Said(spec.name, strength, point, chance)
            levels, quantiles = _distribution(forecasts)
            up = _chances(levels, quantiles) if chance is None else chance
            return Said(spec.name, strength, point, up, quantiles, levels)
    return Said(spec.name, strength)


def _named(forecasts: Sequence[Forecast], output: str) -> FloatArray | None:
    return np.array([one[output] for one in forecasts]) if output in forecasts[0].spec.outputs else None


def _distribution(forecasts: Sequence[Forecast]) -> tuple[tuple[float, ...], FloatArray]:
    return tuple(forecasts[0].spec.return_quantiles), np.stack([one.end_quantiles for one in forecasts])


def _chances(levels: tuple[float, ...], quantiles: FloatArray) -> FloatArray:
    return np.array([1 - np.interp(0.0, row, levels) for row in quantiles])


def judge(said: Said, came: Came) -> dict[str, float]:
    """Return every figure that the statements have.

    mae, mse, r2 (over the mean outcome), skill_walk (1 − mse ÷ that of a random walk), direction: of points. ic,
    rank_ic and their ratios: over instants with three names or more, over time for a single one. auc: of chances, else
    of `strength`; f1, mcc, brier, ece: of chances. pinball, coverage (of the interval claiming `nominal`), crps: of
    distributions.
    """
    returns = came.returns
    figures = {"count": float(len(returns)), **ranking_metrics(said.strength, returns, came.instants)}
    if said.point is not None:
        figures |= _of_points(said.point, returns)
    figures["auc"] = auc(said.strength if said.up is None else said.up, returns > 0)
    if said.up is not None:
        figures |= _of_chances(said.up, returns > 0)
    if said.quantiles is not None:
        figures |= _of_quantiles(said, returns)
    return figures


def _of_points(point: FloatArray, returns: FloatArray) -> dict[str, float]:
    error = returns - point
    squared, spread, walk = (float((one**2).mean()) for one in (error, returns - returns.mean(), returns))
    moved = (point != 0) & (returns != 0)
    right = (point > 0) == (returns > 0)
    return {
        "mae": float(np.abs(error).mean()), "mse": squared, "r2": 1 - squared / spread if spread else float("nan"),
        "skill_walk": 1 - squared / walk if walk else float("nan"),
        "direction": float(right[moved].mean()) if moved.any() else float("nan"),
    }


def auc(strength: FloatArray, rose: np.ndarray) -> float:
    """Return the chance that a rise was given more strength than a fall, ties counting one half."""
    rises, falls = int(rose.sum()), int((~rose).sum())
    if not rises or not falls:
        return float("nan")
    placed = ranks(strength, np.zeros(len(strength), np.int64))
    return float((placed[rose].sum() - rises * (rises + 1) / 2) / (rises * falls))


def _of_chances(up: FloatArray, rose: np.ndarray) -> dict[str, float]:
    said = up > 0.5
    right, wrong = float((said & rose).sum()), float((said & ~rose).sum())
    missed, refused = float((~said & rose).sum()), float((~said & ~rose).sum())
    below = np.sqrt((right + wrong) * (right + missed) * (refused + wrong) * (refused + missed))
    return {
        "f1": 2 * right / (2 * right + wrong + missed) if right + wrong + missed else float("nan"),
        "mcc": float((right * refused - wrong * missed) / below) if below else 0.0,
        "brier": float(((up - rose) ** 2).mean()), "ece": calibration_error(up, rose),
    }


def calibration_error(up: FloatArray, rose: np.ndarray) -> float:
    """Return how far chances lie from how often it rose, over ten bins of chances weighed by their counts."""
    places = np.minimum((up * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(places, minlength=_BINS)
    apart = np.bincount(places, weights=up, minlength=_BINS) - np.bincount(places, weights=rose, minlength=_BINS)
    return float(np.abs(apart).sum() / counts.sum())


def _of_quantiles(said: Said, returns: FloatArray) -> dict[str, float]:
    assert said.quantiles is not None
    levels = np.array(said.levels)
    miss = returns[:, None] - said.quantiles
    loss = float(np.maximum(levels * miss, (levels - 1) * miss).mean())
    low = max((1 - NOMINAL) / 2, float(levels.min()), 1 - float(levels.max()))
    ends = np.stack([np.interp((low, 1 - low), levels, row) for row in said.quantiles])
    return {
        "pinball": loss, "crps": 2 * loss if said.crps is None else float(said.crps.mean()),
        "coverage": float(((returns >= ends[:, 0]) & (returns <= ends[:, 1])).mean()), "nominal": 1 - 2 * low,
    }


# ── significance ────────────────────────────────────────────────────────────────────────────────────────────────────


class Resampled(NamedTuple):
    """A mean or ratio of a series: what it is, the 95 % interval of its resamples, and how often a series without it
    would have come this far (one-sided)."""

    value: float
    low: float
    high: float
    p: float


def block_bootstrap(
    values: FloatArray, block: int, *, ratio: bool = False, times: int = 2000, seed: int = 0
) -> Resampled:
    """Return the significance of a series' mean, or of its ratio to the deviation, by circular blocks of neighbours.

    Source: Politis and Romano 1992. p is of the mean, resampled from the series less its mean.
    """
    count = len(values)
    if count < 2:
        return Resampled(float(values.mean()) if count else float("nan"), float("nan"), float("nan"), float("nan"))
    block = min(max(block, 1), count)
    starts = np.random.default_rng(seed).integers(0, count, (times, -(-count // block)))
    places = ((starts[..., None] + np.arange(block)) % count).reshape(times, -1)[:, :count]
    drawn = values[places]
    means = drawn.mean(axis=1)
    figures = means / np.maximum(drawn.std(axis=1), 1e-300) if ratio else means
    spread = float(values.std())
    value = float(values.mean()) / spread if ratio and spread else float(values.mean())
    low, high = np.quantile(figures, (0.025, 0.975))
    p = float(((means - values.mean()) >= values.mean()).mean())
    return Resampled(value, float(low), float(high), p)
