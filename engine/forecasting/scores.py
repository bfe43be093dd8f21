"""Scores: a forecast held against what happened, once its horizon has closed. Pure functions, natural units.

Returns are log returns from the forecast's last close to the close of the horizon's last bar. Losses (pinball, CRPS)
are in units of that return: smaller is better.
"""

from dataclasses import dataclass
from math import erf, exp, log, pi, sqrt

import numpy as np

from engine.bars import FloatArray
from engine.forecasts import Forecast, ForecastKind

NOMINAL = 0.8
"""Of the central interval whose coverage is scored, for paths and for quantiles that reach as far."""
FEWEST_RANKED = 3
"""Symbols at one instant from which ranks say anything."""


@dataclass(frozen=True, slots=True)
class Score:
    """How one forecast did; what its kind does not say is None.

    Args:
        forecast_id: None for the cross-section of an instant, which has `rank_ic` and `members` alone.
        time: when the horizon closed, UTC ns. realised: the log return to there.
        point: the return expected (median of QUANTILES, mean of PATHS, MULTI's named return); error: realised − point.
        direction: 1 for the right sign, 0 for the wrong one; None where either did not move.
        pinball: mean over the levels. crps: of PATHS exact, of QUANTILES twice the pinball loss, of a point its
            absolute error. cone: CRPS of a normal distribution as wide as the window's volatility says.
        covered: whether the central interval that claims `nominal` held the outcome. pit: its place in the forecast
            distribution, 0…1.
        brier: squared error of the chance of a rise (PROBABILITY, MULTI). base: that of the base rate, the share of
            rises among the outcomes of this model's forecasts that were known when this one was made.
        rank_ic: Spearman's correlation of forecasts and outcomes over `members` symbols.
    """

    forecast_id: int | None
    model: str
    symbol: str
    as_of: int
    time: int
    members: int = 1
    realised: float | None = None
    point: float | None = None
    error: float | None = None
    direction: float | None = None
    pinball: float | None = None
    crps: float | None = None
    cone: float | None = None
    covered: float | None = None
    nominal: float | None = None
    pit: float | None = None
    brier: float | None = None
    rank_ic: float | None = None
    base: float | None = None


def score(forecast: Forecast, realised: float, time: int, past: FloatArray) -> Score:
    """Return how a forecast did.

    Args:
        realised: log return to the close of the horizon's last bar, which closed at `time`.
        past: closes of the window that it was made from, oldest first.
    """
    spec = forecast.spec
    said: dict[str, float | None] = {"realised": realised}
    match spec.kind:
        case ForecastKind.RETURN:
            point = forecast.expected_return
            said |= _of_point(point, realised) | {"crps": abs(realised - point)}
        case ForecastKind.QUANTILES:
            said |= _of_quantiles(forecast, realised)
        case ForecastKind.PATHS:
            said |= _of_paths(forecast.path_returns, realised)
        case ForecastKind.PROBABILITY:
            said |= _of_chance(forecast, realised)
        case ForecastKind.MULTI:
            said |= _of_chance(forecast, realised) | _of_named_return(forecast, realised)
    if said.get("crps") is not None:
        said["cone"] = cone_crps(past, spec.horizon, realised)
    return Score(forecast.id, spec.name, forecast.symbol, forecast.as_of, time, **said)  # type: ignore[arg-type]


def _of_point(point: float, realised: float) -> dict[str, float | None]:
    direction = float((point > 0) == (realised > 0)) if point and realised else None
    return {"point": point, "error": realised - point, "direction": direction}


def _of_chance(forecast: Forecast, realised: float) -> dict[str, float | None]:
    name = forecast.spec.up_output
    if name not in forecast.spec.outputs or not realised:
        return {}
    up = forecast[name]
    return {
        "brier": (up - (realised > 0)) ** 2, "direction": float((up > 0.5) == (realised > 0)) if up != 0.5 else None,
    }


def _of_named_return(forecast: Forecast, realised: float) -> dict[str, float | None]:
    spec = forecast.spec
    if spec.return_quantiles:
        return _of_quantiles(forecast, realised)
    if spec.return_output not in spec.outputs:
        return {}
    point = forecast[spec.return_output]
    return _of_point(point, realised) | {"crps": abs(realised - point)}


def _of_quantiles(forecast: Forecast, realised: float) -> dict[str, float | None]:
    levels = np.array(list(forecast.spec.return_quantiles))
    values = forecast.end_quantiles
    loss = pinball(values, levels, realised)
    low = max((1 - NOMINAL) / 2, float(levels.min()), 1 - float(levels.max()))
    ends = np.interp((low, 1 - low), levels, values)
    said: dict[str, float | None] = {"pinball": loss, "crps": 2 * loss}
    if low < 0.5:
        said |= {"covered": float(ends[0] <= realised <= ends[1]), "nominal": 1 - 2 * low}
    # Beyond the outermost levels nothing is said but that it lies there: the middle of what is left.
    tails = levels[0] / 2, (1 + levels[-1]) / 2
    said["pit"] = float(np.interp(realised, values, levels, *tails)) if (np.diff(values) > 0).all() else None
    return said | _of_point(float(np.interp(0.5, levels, values)), realised)


def _of_paths(returns: FloatArray, realised: float) -> dict[str, float | None]:
    said = _of_point(float(returns.mean()), realised) | {"crps": crps_of_samples(returns, realised)}
    if len(returns) > 1:
        low, high = np.quantile(returns, ((1 - NOMINAL) / 2, (1 + NOMINAL) / 2))
        below, level = float((returns < realised).mean()), float((returns == realised).mean())
        said |= {"covered": float(low <= realised <= high), "nominal": NOMINAL, "pit": below + level / 2}
    return said


def pinball(values: FloatArray, levels: FloatArray, realised: float) -> float:
    """Return the pinball loss of quantiles at their levels, the mean over the levels."""
    miss = realised - values
    return float(np.maximum(levels * miss, (levels - 1) * miss).mean())


def crps_of_samples(samples: FloatArray, realised: float) -> float:
    """Return the CRPS of the samples' own distribution: E|X − x| − ½ E|X − X'|. Source: Gneiting and Raftery, 2007."""
    ordered = np.sort(samples)
    count = len(ordered)
    # Σ|xᵢ − xⱼ| over ordered pairs = 2 Σ (2i − n + 1) xᵢ, without the n × n table.
    spread = 2 * float(((2 * np.arange(count) - count + 1) * ordered).sum()) / count**2
    return float(np.abs(ordered - realised).mean()) - spread / 2


def crps_of_normal(deviation: float, realised: float) -> float:
    """Return the CRPS of a normal distribution around 0. Source: Gneiting et al., 2005, equation 5."""
    if deviation <= 0:
        return abs(realised)
    z = realised / deviation
    density, below = exp(-z * z / 2) / sqrt(2 * pi), (1 + erf(z / sqrt(2))) / 2
    return deviation * (z * (2 * below - 1) + 2 * density - 1 / sqrt(pi))


def cone_crps(past: FloatArray, horizon: int, realised: float) -> float:
    """Return the CRPS of a volatility cone: no drift, as wide as the window's log returns say, times √horizon."""
    returns = np.diff(np.log(past))
    deviation = float(returns.std()) if len(returns) > 1 else 0.0
    return crps_of_normal(deviation * sqrt(horizon), realised)


def log_return(first: float, last: float) -> float:
    """Return the log return between two prices above 0."""
    return log(last / first)


def rank_correlation(first: FloatArray, second: FloatArray) -> float | None:
    """Return Spearman's correlation, ties at their mean rank; None if either does not vary."""
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (first, second)]
    one, other = (rank - rank.mean() for rank in ranks)
    size = sqrt(float((one * one).sum() * (other * other).sum()))
    return float((one * other).sum() / size) if size > 0 else None


def _ranks(values: FloatArray) -> FloatArray:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (counts - 1) / 2, counts)
    return ranks
