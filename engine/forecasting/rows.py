"""Forecasts, scores and skill as rows of the journal, ids left to the recorder."""

import json
from typing import Any

import numpy as np

from engine.forecasting.scores import Score
from engine.forecasting.skill import SkillRule, SkillState
from engine.forecasting.windows import Cut
from engine.forecasts import Forecast, ForecastKind

_SHOWN_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
_MOST = 64
"""Numbers of an answer that the journal keeps; all of them are in the store, under the key."""


def forecast_row(forecast: Forecast, cut: Cut) -> tuple[Any, ...]:
    """Return a row of `forecasts`."""
    spec = forecast.spec
    return (
        forecast.id, spec.name, spec.hash_at(forecast.as_of), spec.kind.value, forecast.symbol, spec.timeframe,
        forecast.as_of, forecast.available_at, spec.horizon, forecast.horizon_end, forecast.last_close, spec.lookback,
        cut.window, cut.key.hex(), cut.seed, ",".join(sorted(forecast.flags)), json.dumps(said_by(forecast)),
    )


def said_by(forecast: Forecast) -> dict[str, Any]:
    """Return what a forecast says, for people; a number that is none is None."""
    spec, values = forecast.spec, forecast.values.astype(np.float64)
    if "nan" in forecast.flags:
        return {"finite": float(np.isfinite(values).mean())}
    match spec.kind:
        case ForecastKind.SCORE:
            return {"score": float(values[0])}
        case ForecastKind.RETURN:
            return {"return": values[:_MOST].tolist()}
        case ForecastKind.QUANTILES:
            last = dict(zip((f"q{level:g}" for level in spec.levels), values[-1].tolist(), strict=True))
            return {"at the end": last}
        case ForecastKind.PATHS:
            returns = forecast.path_returns
            quantiles = np.quantile(returns, _SHOWN_LEVELS).tolist()
            return {
                "samples": spec.samples, "expected_return": float(returns.mean()),
                "probability_up": forecast.probability_up,
                "quantiles": dict(zip((f"q{level:g}" for level in _SHOWN_LEVELS), quantiles, strict=True)),
            }
        case _:
            return dict(zip(spec.outputs[:_MOST], values[:_MOST].tolist(), strict=True))


def score_row(score: Score) -> tuple[Any, ...]:
    """Return a row of `forecast_scores`, without its id."""
    return (
        score.forecast_id, score.model, score.symbol, score.as_of, score.time, score.members, score.realised,
        score.point, score.error, score.direction, score.pinball, score.crps, score.cone, score.covered, score.nominal,
        score.pit, score.brier, score.rank_ic,
    )


def skill_row(model: str, time: int, state: SkillState, rule: SkillRule) -> tuple[Any, ...]:
    """Return a row of `forecast_skill`, without its id."""
    words = (
        f"skill {state.skill:+.4f} over the last {min(state.scored, rule.window)} scored"
        f"{' is below' if state.scale != 1.0 else ' is no longer below'} {rule.floor:g}: targets × {state.scale:g}"
    )
    return (time, model, state.skill, rule.floor, state.scored, state.scale, words)
