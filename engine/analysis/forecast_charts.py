"""Figures of the report's forecast page: calibration, coverage, skill and rank correlation, model by model.

Made of the record that a run keeps of each model (engine/forecasting/record.py). A figure that a model's kind has
nothing for is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.analysis.charts import Figure
from engine.analysis.page_parts import escaped, numbers

_HEIGHT = 300
_MOST_DAYS, _MOST_MONTHS = 5, 7
"""Names of periods that stand beside each other without touching."""


class ForecastChart(NamedTuple):
    """A figure with its title and what it shows; `name` is its place on the page."""

    name: str
    title: str
    about: str
    figure: Figure


class ModelCharts(NamedTuple):
    """The figures of a model."""

    model: str
    charts: list[ForecastChart]


def model_charts(forecasts: Mapping[str, Any]) -> list[ModelCharts]:
    """Return the figures of every model that has a record."""
    found = []
    for place, (name, model) in enumerate(forecasts.get("models", {}).items()):
        record = model.get("record") or {}
        charts = [chart for chart in _charts_of(record, f"forecasts-{place}") if chart is not None] if record else []
        if charts:
            found.append(ModelCharts(name, charts))
    return found


def _charts_of(record: Mapping[str, Any], prefix: str) -> list[ForecastChart | None]:
    return [
        _calibration(record, f"{prefix}-calibration"),
        _reliability(record, f"{prefix}-reliability"),
        _coverage(record, f"{prefix}-coverage"),
        _skill(record, f"{prefix}-skill"),
        _ic(record, f"{prefix}-ic"),
    ]


def _calibration(record: Mapping[str, Any], name: str) -> ForecastChart | None:
    told = record.get("calibration")
    if not told:
        return None
    levels, below, band = (np.array(told[key], np.float64) for key in ("levels", "below", "band"))
    x = numbers(levels)
    edge = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0}, "hoverinfo": "skip"}
    data: list[dict[str, Any]] = [
        edge | {"y": numbers(np.minimum(levels + band, 1)), "showlegend": False},
        edge | {
            "y": numbers(np.maximum(levels - band, 0)), "fill": "tonexty", "fillcolor": "--accent-soft",
            "name": "by chance, 95 %",
        },
        _diagonal("honest"),
        {
            "type": "scatter", "mode": "lines+markers", "name": "forecasts", "x": x, "y": numbers(below),
            "line": {"color": "--accent", "width": 2.2}, "marker": {"color": "--accent", "size": 6},
            "hovertemplate": "%{y:.1%} of the outcomes lay below the level of %{x:.0%}<extra></extra>",
        },
    ]
    about = (
        f"The share of {told['count']:,} outcomes below each level of the forecast. On the line, what is given 10 % "
        "comes one time in ten; a flat curve is a forecast too sure of itself."
    )
    layout = _square("level of the forecast", "outcomes below it")
    return ForecastChart(name, "Calibration", about, {"data": data, "layout": layout})


def _reliability(record: Mapping[str, Any], name: str) -> ForecastChart | None:
    bins = record.get("reliability")
    if not bins:
        return None
    counts = np.array([one["count"] for one in bins])
    sizes = 7 + 17 * np.sqrt(counts / counts.max())
    data = [
        _diagonal("honest"),
        {
            "type": "scatter", "mode": "lines+markers", "name": "forecasts",
            "x": numbers(np.array([one["said"] for one in bins])),
            "y": numbers(np.array([one["came"] for one in bins])), "customdata": counts.tolist(),
            "line": {"color": "--accent", "width": 1.6}, "marker": {"color": "--accent", "size": numbers(sizes)},
            "hovertemplate": "said %{x:.0%}, came %{y:.0%}, of %{customdata}<extra></extra>",
        },
    ]
    about = f"How often the market rose when the model gave a rise that chance; {int(counts.sum()):,} forecasts."
    layout = _square("chance of a rise", "rose")
    return ForecastChart(name, "Calibration of probabilities", about, {"data": data, "layout": layout})


def _diagonal(name: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
        "line": {"color": "--muted", "width": 1.2, "dash": "dot"},
    }


def _square(across: str, up: str) -> dict[str, Any]:
    axis = {"range": [0, 1], "tickformat": ".0%"}
    return {
        "height": _HEIGHT, "xaxis": axis | {"title": {"text": across}}, "yaxis": axis | {"title": {"text": up}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }


def _coverage(record: Mapping[str, Any], name: str) -> ForecastChart | None:
    periods, covered = _column(record, "coverage")
    if not periods:
        return None
    nominal = next(one["nominal"] for one in record["periods"] if one["nominal"] is not None)
    layout = _by_period(record, periods)
    layout["yaxis"] = {"tickformat": ".0%", "range": [0, 1.02]}
    layout["shapes"] = [_level(nominal)]
    layout |= {"annotations": [_note(nominal, f"claimed {nominal:.0%}")], "margin": _BESIDE}
    about = f"The share of outcomes inside the interval that should hold {nominal:.0%} of them. {_tones(record)}"
    bars = _bars(record, periods, covered, "coverage", "%{y:.1%}")
    return ForecastChart(name, f"Coverage by {record['unit']}", about, {"data": [bars], "layout": layout})


def _skill(record: Mapping[str, Any], name: str) -> ForecastChart | None:
    periods, walk = _column(record, "skill_walk")
    _, cone = _column(record, "skill_cone")
    if not periods:
        return None
    data = [_bars(record, periods, walk, "over a random walk", "%{y:+.3f}")]
    if len(cone) == len(periods):
        data.append({
            "type": "scatter", "mode": "markers", "name": "over a volatility cone", "x": _names(periods),
            "y": numbers(cone), "marker": {"color": "--ink", "size": 8, "symbol": "diamond"},
            "hovertemplate": "%{y:+.3f}",
        })
    layout = _by_period(record, periods)
    layout["yaxis"] = {"title": {"text": "share of the loss saved"}, "zeroline": True, "zerolinecolor": "--muted"}
    layout["showlegend"] = len(data) > 1
    about = (
        "How much smaller the squared error is than that of expecting no change; diamonds: the CRPS, than that of a "
        f"cone as wide as the volatility. Above 0 is better than knowing nothing. {_tones(record)}"
    )
    return ForecastChart(name, f"Skill by {record['unit']}", about, {"data": data, "layout": layout})


def _ic(record: Mapping[str, Any], name: str) -> ForecastChart | None:
    periods, values = _column(record, "ic")
    if not periods:
        return None
    mean = float(np.mean(values))
    layout = _by_period(record, periods)
    layout["yaxis"] = {"tickformat": "+.2f", "zeroline": True, "zerolinecolor": "--muted"}
    layout["shapes"] = [_level(mean)]
    layout |= {"annotations": [_note(mean, f"mean {mean:+.3f}")], "margin": _BESIDE}
    what = "of forecasts and outcomes across symbols" if record["ic_of"] == "symbols" else (
        "over time of what was expected and what came")
    about = f"Rank correlation {what}: 0 is no skill, 1 a perfect ranking. {_tones(record)}"
    bars = _bars(record, periods, values, "rank IC", "%{y:+.3f}")
    return ForecastChart(name, f"Rank IC by {record['unit']}", about, {"data": [bars], "layout": layout})


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _column(record: Mapping[str, Any], key: str) -> tuple[list[Mapping[str, Any]], Any]:
    """Return the periods that have a value, and the values."""
    periods = [one for one in record["periods"] if one[key] is not None]
    return periods, np.array([one[key] for one in periods], np.float64)


def _names(periods: Sequence[Mapping[str, Any]]) -> list[str]:
    return [escaped(one["period"]) for one in periods]


def _bars(
    record: Mapping[str, Any], periods: Sequence[Mapping[str, Any]], values: Any, name: str, shown: str
) -> dict[str, Any]:
    """Draw a bar a period; pale where the model may have seen what it spoke of, unless it may have seen everything."""
    is_divided = _is_divided(record)
    colours = ["--benchmark" if is_divided and one["seen"] > 0 else "--accent" for one in periods]
    return {
        "type": "bar", "name": name, "x": _names(periods), "y": numbers(values), "marker": {"color": colours},
        "hovertemplate": shown, "opacity": 0.85,
    }


def _is_divided(record: Mapping[str, Any]) -> bool:
    seen = [one["seen"] for one in record["periods"]]
    return max(seen) > 0 and min(seen) < 1


def _tones(record: Mapping[str, Any]) -> str:
    return "Grey: the model may have seen it in training." if _is_divided(record) else ""


def _by_period(record: Mapping[str, Any], periods: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    axis: dict[str, Any] = {"type": "category", "showgrid": False, "tickangle": 0}
    names = _names(periods)
    most = _MOST_DAYS if names and len(names[0]) > len("2024-01") else _MOST_MONTHS
    if len(names) > most:  # name some of them
        axis |= {"tickmode": "array", "tickvals": names[:: -(-len(names) // most)]}
    return {
        "height": _HEIGHT, "hovermode": "x unified", "showlegend": False, "xaxis": axis, "bargap": 0.35,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }


def _level(value: float) -> dict[str, Any]:
    return {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value,
        "line": {"color": "--ink", "width": 1.2, "dash": "dot"},
    }


def _note(value: float, text: str) -> dict[str, Any]:
    return {
        "xref": "paper", "x": 1, "xshift": 4, "xanchor": "left", "y": value, "text": text, "showarrow": False,
        "font": {"color": "--ink", "size": 11},
    }


_BESIDE = {"r": 84}
"""The margin in which a note stands: beside the bars, not over them."""
