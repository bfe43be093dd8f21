"""The record of a model over a run, small enough to keep with its result: what the report's forecast page draws.

How honest its distributions were (calibration), and how good it was period by period: months, or weeks and days where
a run is short. JSON-ready.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from engine.bars import DAY
from engine.forecasting.scores import FEWEST_RANKED, Score, rank_correlation
from engine.forecasting.skill import summary_of
from engine.forecasts import ForecastSpec

_LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
_BINS = 10
_MONTHS_FROM, _WEEKS_FROM = 75, 10
"""Days that a record spans, from which it is told by months, by weeks."""
_TOLD = ("scored", "hit_rate", "skill_walk", "skill_cone", "coverage", "nominal", "crps")


def record_of(spec: ForecastSpec, scores: Sequence[Score]) -> dict[str, Any]:
    """Return the record; empty without a score.

    calibration: `levels` of the forecast distribution, the share of outcomes at or `below` each, and `band`: how far
    that share lies from the level by chance alone, in 19 cases of 20 (as if forecasts did not overlap).
    reliability: of probabilities of a rise: what was `said` on average, how often it `came`, of how many, bin by bin.
    periods: by `period`, what `summary_of` says; `ic`: mean rank correlation across symbols, or, of a single symbol,
    the rank correlation over time of what was expected and what came; `seen`: the share of its forecasts that speak of
    what the model may have seen.
    """
    if not scores:
        return {}
    return {
        "calibration": _calibration(spec, scores), "reliability": _reliability(scores), **_periods(spec, scores),
    }


def _calibration(spec: ForecastSpec, scores: Sequence[Score]) -> dict[str, Any]:
    pits = np.array([score.pit for score in scores if score.pit is not None])
    if not len(pits):
        return {}
    levels = tuple(spec.return_quantiles) or _LEVELS
    return {
        "count": len(pits), "levels": list(levels), "below": [float((pits <= level).mean()) for level in levels],
        "band": [1.96 * sqrt(level * (1 - level) / len(pits)) for level in levels],
    }


def _reliability(scores: Sequence[Score]) -> list[dict[str, float]]:
    pairs = [
        (1 - sqrt(score.brier) if score.realised > 0 else sqrt(score.brier), float(score.realised > 0))
        for score in scores if score.brier is not None and score.realised is not None
    ]
    if not pairs:
        return []
    said, came = np.array(pairs).T
    place = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)
    return [
        {"said": float(said[place == one].mean()), "came": float(came[place == one].mean()),
         "count": int((place == one).sum())}
        for one in np.unique(place)
    ]


def _periods(spec: ForecastSpec, scores: Sequence[Score]) -> dict[str, Any]:
    made = np.array([score.as_of for score in scores], np.int64)
    days = (made - 1) // DAY  # a forecast made at midnight belongs to the day that ends
    span = int(days.max() - days.min())
    unit = "month" if span >= _MONTHS_FROM else "week" if span >= _WEEKS_FROM else "day"
    parts: dict[str, list[Score]] = {}
    for score, name in zip(scores, _names(days, unit), strict=True):
        parts.setdefault(name, []).append(score)
    found = []
    for name, some in sorted(parts.items()):
        told = summary_of(some)
        seen = [spec.trained_until is None or score.as_of < spec.trained_until for score in some]
        found.append({
            "period": name, **{key: told[key] for key in _TOLD}, "ic": _ic(some, told["rank_ic"]),
            "seen": float(np.mean(seen)),
        })
    is_across = any(score.rank_ic is not None for score in scores)
    return {"unit": unit, "ic_of": "symbols" if is_across else "time", "periods": found}


def _names(days: Any, unit: str) -> list[str]:
    if unit == "week":
        days = days - (days + 3) % 7  # its Monday
    dates = days.astype("datetime64[D]")
    return [str(date) for date in (dates.astype("datetime64[M]") if unit == "month" else dates)]


def _ic(scores: Sequence[Score], across: float | None) -> float | None:
    if across is not None:
        return across
    pairs = [(one.point, one.realised) for one in scores if one.point is not None and one.realised is not None]
    if len(pairs) < FEWEST_RANKED:
        return None
    said, came = np.array(pairs).T
    return rank_correlation(said, came)
