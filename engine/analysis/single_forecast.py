"""One forecast, with what led to it and what came of it: what `forecast` prints and draws.

Returns are log returns from the forecast's last close; in words they are simple ones. Steps count bars from there: 0 is
the last bar that the model saw, 1 the first one ahead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.analysis.formatting import NOTHING, percent, price
from engine.bars import FloatArray, IntArray, iso
from engine.forecasting.scores import Score
from engine.forecasts import Explanation, Forecast, ForecastKind

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Of the fan that is drawn, where the model gives paths; one of quantiles has its own."""


@dataclass(frozen=True)
class PricePath:
    """Bars as columns: close times int64 [T], and open, high, low, close float64 [T, 4]."""

    time: IntArray
    prices: FloatArray

    @property
    def close(self) -> FloatArray:
        return np.asarray(self.prices[:, 3])

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class PanelRow:
    """What the model said of a symbol at the same instant, and the log return that came of it, if known."""

    symbol: str
    strength: float
    realised: float | None


@dataclass(frozen=True)
class ForecastView:
    """A forecast and what surrounds it.

    Args:
        past: bars up to the forecast; ahead: those of the horizon that have closed, none if it is the newest.
        due: when the bars of the horizon close, int64 [H]: as they did, else as they should.
        panel: all symbols at this instant, the strongest first; empty if there is one alone.
        score: None while the horizon is open. stamp: why the model may have seen this before; empty if it has not.
        window: hash of what the model was shown; seed: what it drew with.
        explanation: what it was made of, None of a model that cannot say. window_times: close times of the bars that
            the model was shown, int64 [lookback].
    """

    forecast: Forecast
    past: PricePath
    ahead: PricePath
    due: IntArray
    panel: tuple[PanelRow, ...] = ()
    score: Score | None = None
    stamp: tuple[str, ...] = ()
    window: str = ""
    seed: int = 0
    explanation: Explanation | None = None
    window_times: IntArray | None = None

    @property
    def realised(self) -> FloatArray:
        """The log returns that came, one a closed bar of the horizon."""
        return np.asarray(np.log(self.ahead.close / self.forecast.last_close))


def path_returns(forecast: Forecast) -> FloatArray:
    """Return log returns of every sample path at every step, float64 [S, H] (PATHS)."""
    closes = forecast.values[:, :, 3].astype(np.float64)
    return np.asarray(np.log(closes / forecast.last_close))


class Fan(NamedTuple):
    """Where a forecast sees the market: at steps int64 [S], log returns float64 [S, levels] at levels ascending."""

    steps: IntArray
    levels: tuple[float, ...]
    returns: FloatArray

    @property
    def middle(self) -> float:
        """The median at the last step."""
        return float(np.interp(0.5, self.levels, self.returns[-1]))


def fan(forecast: Forecast) -> Fan | None:
    """Return what a forecast says of prices: at every step, or, of several targets, at the horizon's end alone. None
    if it says nothing of them."""
    spec = forecast.spec
    every = np.arange(1, spec.horizon + 1)
    match spec.kind:
        case ForecastKind.PATHS:
            return Fan(every, LEVELS, np.quantile(path_returns(forecast), LEVELS, axis=0).T)
        case ForecastKind.QUANTILES:
            return Fan(every, spec.levels, forecast.values.astype(np.float64))
        case ForecastKind.RETURN:
            return Fan(every, (0.5,), forecast.values.astype(np.float64)[:, None])
        case ForecastKind.MULTI if spec.return_quantiles:
            return Fan(every[-1:], tuple(spec.return_quantiles), forecast.end_quantiles[None])
        case ForecastKind.MULTI if spec.return_output in spec.outputs:
            return Fan(every[-1:], (0.5,), np.array([[forecast[spec.return_output]]]))
    return None


def outputs(forecast: Forecast) -> dict[str, float]:
    """Return the named outputs, those of a hidden state left out; empty where there are none."""
    values = zip(forecast.spec.outputs, forecast.values.tolist(), strict=True) if forecast.spec.outputs else ()
    return {name: float(value) for name, value in values if not name.startswith("hidden_")}


def other_outputs(forecast: Forecast) -> dict[str, float]:
    """Return the named outputs that the fan does not say already."""
    spec = forecast.spec
    told: set[str] = set()
    if spec.kind is ForecastKind.MULTI:
        told = {spec.return_output, *(spec.outputs[place] for place in spec.return_quantiles.values())}
    return {name: value for name, value in outputs(forecast).items() if name not in told}


def headline(view: ForecastView) -> str:
    """Return what the forecast says, and what came of it, in a sentence or two."""
    if "nan" in view.forecast.flags:
        return f"{view.forecast.spec.name} answered with what is no number; a strategy would not be told of it."
    return f"{_said(view)} {_came(view)}"


def _said(view: ForecastView) -> str:
    forecast = view.forecast
    spec = forecast.spec
    name, symbol = spec.name, forecast.symbol
    end = f"{spec.horizon} bar{'s' if spec.horizon > 1 else ''}"
    if spec.kind is ForecastKind.SCORE:
        places = [row.symbol for row in view.panel]
        rank = f", {places.index(symbol) + 1} of {len(places)}" if symbol in places else ""
        return f"{name} scores {symbol} {forecast.score:+.4g}{rank}."
    drawn = fan(forecast)
    others = ", ".join(f"{label} {value:.4g}" for label, value in list(other_outputs(forecast).items())[:4])
    if drawn is None:
        return f"{name} says of {symbol}, {end} ahead: {others}."
    levels, returns, middle = drawn.levels, drawn.returns, drawn.middle
    words = f"{name} expects {symbol} at {price_at(forecast, middle)} in {end} ({_simple(middle)})"
    if len(levels) > 1:
        share = levels[-1] - levels[0]
        words += f", with {share:.0%} of the outcomes between {_simple(returns[-1, 0])} and {_simple(returns[-1, -1])}"
    if spec.kind is ForecastKind.PATHS:
        words += f"; {forecast.probability_up:.0%} of {spec.samples} paths rise"
    if others:
        words += f"; {others}"
    return f"{words}."


def _came(view: ForecastView) -> str:
    realised = view.realised
    if not len(realised):
        return "What came of it is not known yet."
    spec, score = view.forecast.spec, view.score
    if len(realised) < spec.horizon:
        return f"After {len(realised)} of {spec.horizon} bars it stands at {_simple(realised[-1])}."
    words = f"It came out at {_simple(realised[-1])}"
    if score is not None and score.covered is not None:
        words += f", {_place(score, tuple(spec.return_quantiles))}"
    return f"{words}."


def _place(score: Score, levels: tuple[float, ...]) -> str:
    if score.pit is None:
        return f"{'inside' if score.covered else 'outside'} that range"
    if score.pit in (0.0, 1.0):
        return f"{'above' if score.pit else 'below'} all that it held possible"
    if levels and score.pit < levels[0]:
        return f"below {1 - levels[0]:.0%} of what it held possible"
    return f"above {min(score.pit, levels[-1]) if levels else score.pit:.0%} of what it held possible"


def heaviest(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the inputs of a group with their shares, the heaviest first."""
    return sorted(shares.items(), key=lambda one: -one[1])


def price_at(forecast: Forecast, log_return: float) -> str:
    """Return the price that a log return from the last close comes to, in words."""
    return price(float(f"{forecast.last_close * np.exp(log_return):.6g}"))


def _simple(log_return: float) -> str:
    return percent(float(np.expm1(log_return)), signed=True)


def facts(view: ForecastView) -> dict[str, str]:
    """Return what a reader wants to know beside the picture, by name, in words."""
    forecast, score = view.forecast, view.score
    spec = forecast.spec
    found = {
        "Model": f"{spec.name} ({spec.model_hash[:12] or 'no hash'})",
        "Gives": f"{spec.kind}, {spec.horizon} bars of {spec.timeframe} ahead",
        "Made at": f"{iso(forecast.as_of)}, from {spec.lookback} bars",
        "Last close": price(forecast.last_close),
        "Horizon ends": iso(forecast.horizon_end),
        "Flags": ", ".join(sorted(forecast.flags)) or "none",
        "Window": f"{view.window[:16]}, seed {view.seed}",
        "Computed on": f"{spec.device}, {spec.dtype}",
    }
    if spec.about:
        found["Note"] = spec.about
    return found if score is None else found | _scored(score)


def _scored(score: Score) -> dict[str, str]:
    known = {
        "Came out at": NOTHING if score.realised is None else _simple(score.realised),
        "Error (log return)": percent(score.error, signed=True),
        "Direction": NOTHING if score.direction is None else "right" if score.direction else "wrong",
        "Place in the forecast": NOTHING if score.pit is None else f"{score.pit:.0%}",
        "CRPS": _both(score.crps, score.cone),
        "Brier score": NOTHING if score.brier is None else f"{score.brier:.3f}",
    }
    return {name: text for name, text in known.items() if text != NOTHING}


def _both(crps: float | None, cone: float | None) -> str:
    if crps is None:
        return NOTHING
    told = f"{1e4 * crps:.1f} bp"
    return told if cone is None else f"{told}; of a volatility cone {1e4 * cone:.1f} bp"
