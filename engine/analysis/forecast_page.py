"""One forecast as a page of HTML that needs nothing else: history, fan, sample paths, and what came of it.

Made as the report is (engine/analysis/report.py): plotly.js is embedded, nothing is fetched, and whatever a user named
is escaped.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.analysis.charts import PALETTE, Figure, line_of, named_ticks
from engine.analysis.explanation_charts import attention_figure, weights_figure
from engine.analysis.formatting import NOTHING, minute, percent, price
from engine.analysis.page_parts import PAGE, embedded_json, escaped, numbers, palette_css
from engine.analysis.single_forecast import (
    ForecastView,
    PanelRow,
    facts,
    fan,
    headline,
    other_outputs,
    outputs,
    path_returns,
)
from engine.bars import FloatArray
from engine.forecasts import ForecastKind

MOST_PATHS = 60
"""Sample paths that are drawn; the fan is made of all."""
MOST_ROWS = 40
"""Symbols of a cross-section that are drawn."""
_FEWEST_BINS, _MOST_BINS = 8, 40
_TICKS = 9
_LABEL = 0.34
"""Share of the bars' span that a number beside a bar is given."""


def write_forecast(view: ForecastView, path: Path) -> Path:
    """Write the page and return its path; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_forecast(view), encoding="utf-8")
    return path


def render_forecast(view: ForecastView) -> str:
    """Return the whole page."""
    import jinja2  # deferred, as plotly is: only pages need them
    from plotly.offline import get_plotlyjs

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn_fan = fan(view.forecast)
    drawn = {
        "path": path_figure(view), "end": end_figure(view), "outputs": outputs_figure(view),
        "weights": weights_figure(view), "attention": attention_figure(view), "panel": panel_figure(view),
    }
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    return pages.get_template("forecast.html").render(
        view=view,
        charts=figures,
        headline=headline(view),
        tiles=_tiles(view),
        facts=facts(view),
        css=palette_css() + (PAGE / "report.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        script=(PAGE / "report.js").read_text(encoding="utf-8"),
        palette=embedded_json(list(PALETTE)),
        figures=embedded_json({"charts": figures, "candles": []}),
        is_of_the_end=drawn_fan is not None and len(drawn_fan.steps) < view.forecast.spec.horizon,
    )


class _Tile(NamedTuple):
    value: str
    about: str
    tone: str = ""


def _tiles(view: ForecastView) -> list[_Tile]:
    forecast, drawn = view.forecast, fan(view.forecast)
    tiles = []
    if drawn is not None:
        levels, returns, middle = drawn.levels, drawn.returns, float(np.expm1(drawn.middle))
        tiles.append(_Tile(percent(middle, signed=True), "expected to the horizon's end", _tone(middle)))
        if len(levels) > 1:
            low, high = (float(np.expm1(returns[-1, place])) for place in (0, -1))
            share = f"{levels[-1] - levels[0]:.0%} of the outcomes"
            tiles.append(_Tile(f"{100 * low:+.2f} … {100 * high:+.2f} %", share))
    if forecast.spec.kind is ForecastKind.PATHS:
        tiles.append(_Tile(percent(forecast.probability_up, decimals=0), f"of {forecast.spec.samples} paths rise"))
    if forecast.spec.kind is ForecastKind.SCORE:
        tiles.append(_Tile(f"{forecast.score:+.4g}", "score, for ranking alone", _tone(forecast.score)))
        place = [row.symbol for row in view.panel].index(forecast.symbol) + 1 if view.panel else 1
        tiles.append(_Tile(f"{place} of {max(len(view.panel), 1)}", "rank at this instant"))
    found = list(other_outputs(forecast).items())[: 3 - len(tiles)]
    tiles += [_Tile(f"{value:.4g}", name.replace("_", " ")) for name, value in found]
    realised = view.realised
    if len(realised):
        came = float(np.expm1(realised[-1]))
        open_ = len(realised) < forecast.spec.horizon
        about = f"after {len(realised)} of {forecast.spec.horizon} bars" if open_ else "is what came of it"
        tiles.append(_Tile(percent(came, signed=True), about, _tone(came)))
    else:
        tiles.append(_Tile(NOTHING, "not known yet"))
    return tiles[:4]


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def path_figure(view: ForecastView) -> Figure:
    """Draw the past as candles, the forecast as fan and paths from its last close on, and what came of it."""
    past, ahead = ([minute(int(time)) for time in times] for times in (view.past.time, view.due))
    now = past[-1]
    traces = [_candles(past, view.past.prices, "Past")]
    traces += _fan_traces(view, [now, *ahead])
    if len(view.ahead):
        came = [now, *ahead[: len(view.ahead)]]
        traces.append(_candles(came[1:], view.ahead.prices, "What came", opacity=0.55))
        closes = np.concatenate([[view.forecast.last_close], view.ahead.close])
        traces.append(line_of([], closes, "What came", "--ink", 2.4, "%{y:,.6~g}") | {"x": came})
    line = {"color": "--muted", "width": 1.2, "dash": "dot"}
    return {
        "data": traces,
        "layout": {
            "height": 520,
            "hovermode": "x unified",
            "shapes": [{"type": "line", "x0": now, "x1": now, "yref": "paper", "y0": 0, "y1": 1, "line": line}],
            "annotations": [{
                "x": now, "y": 1, "yref": "paper", "text": "forecast made", "showarrow": False, "xanchor": "right",
                "yanchor": "top", "xshift": -6, "font": {"color": "--muted", "size": 11}, "bgcolor": "--panel",
            }],
            "xaxis": {
                "type": "category", "categoryorder": "array", "categoryarray": [*past, *ahead],
                **named_ticks([*past, *ahead], _TICKS),
                "rangeslider": {"visible": False}, "tickangle": 0, "showgrid": False,
            },
            "yaxis": {"tickformat": ",.6~g", "side": "right"},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        },
    }


def _fan_traces(view: ForecastView, x: list[str]) -> list[dict[str, Any]]:
    forecast, drawn = view.forecast, fan(view.forecast)
    if drawn is None:
        return []
    levels = drawn.levels
    x = [x[step] for step in (0, *drawn.steps)]
    prices = forecast.last_close * np.exp(np.vstack([np.zeros(len(levels)), drawn.returns]))  # from the last close on
    traces = []
    if forecast.spec.kind is ForecastKind.PATHS:
        traces.append(_paths_trace(view, x))
    for place in range(len(levels) // 2):
        low, high = prices[:, place], prices[:, -1 - place]
        name = f"{levels[place]:.0%} to {levels[-1 - place]:.0%}"
        edge = {"type": "scatter", "mode": "lines", "x": x, "line": {"width": 0}, "legendgroup": name}
        traces.append(edge | {"y": numbers(high), "hoverinfo": "skip", "showlegend": False})
        told = [f"{price(float(one))} … {price(float(other))}" for one, other in zip(
            np.round(low, 6), np.round(high, 6), strict=True)]
        traces.append(edge | {
            "y": numbers(low), "fill": "tonexty", "fillcolor": "--accent-soft", "name": name, "customdata": told,
            "hovertemplate": "%{customdata}",
        })
    middle = np.array([np.interp(0.5, levels, row) for row in prices])
    name = "Median" if len(levels) > 1 else "Expected"
    traces.append(line_of([], middle, name, "--accent", 2.4, "%{y:,.6~g}") | {"x": x})
    return traces


def _paths_trace(view: ForecastView, x: list[str]) -> dict[str, Any]:
    """Draw the paths as one line with gaps: sixty traces of their own would fill the legend."""
    every = path_returns(view.forecast)
    shown = every[np.unique(np.linspace(0, len(every) - 1, min(len(every), MOST_PATHS)).astype(np.int64))]
    xs: list[str | None] = []
    ys: list[float | None] = []
    for path in shown:
        xs += [*x, None]
        ys += [*numbers(view.forecast.last_close * np.exp(np.concatenate([[0.0], path]))), None]
    count = f"{len(every)} paths" if len(shown) == len(every) else f"{len(shown)} of {len(every)} paths"
    return {
        "type": "scatter", "mode": "lines", "name": count, "x": xs, "y": ys, "hoverinfo": "skip", "opacity": 0.35,
        "line": {"color": "--accent", "width": 0.9},
    }


def _candles(x: list[str], prices: FloatArray, name: str, *, opacity: float = 1.0) -> dict[str, Any]:
    columns = {field: numbers(prices[:, place]) for place, field in enumerate(("open", "high", "low", "close"))}
    return {
        "type": "candlestick", "name": name, "x": x, **columns, "showlegend": False, "opacity": opacity,
        "hoverinfo": "y" if opacity == 1.0 else "skip",
        "increasing": {"line": {"color": "--gain-candle", "width": 1}, "fillcolor": "--gain-candle"},
        "decreasing": {"line": {"color": "--loss-candle", "width": 1}, "fillcolor": "--loss-candle"},
    }


def end_figure(view: ForecastView) -> Figure | None:
    """Draw where the paths end, or the quantiles, as returns; and where the market did."""
    forecast, drawn = view.forecast, fan(view.forecast)
    if drawn is None or len(drawn.levels) < 2:
        return None
    if forecast.spec.kind is ForecastKind.PATHS:
        ends = np.expm1(forecast.path_returns)
        bins = int(np.clip(2 * np.sqrt(len(ends)), _FEWEST_BINS, _MOST_BINS))
        counts, edges = np.histogram(ends, bins)
        middles = (edges[:-1] + edges[1:]) / 2
        trace = {
            "type": "bar", "x": numbers(middles), "y": (counts / len(ends)).tolist(), "name": "Paths",
            "width": float(edges[1] - edges[0]), "marker": {"color": "--accent-soft", "line": {
                "color": "--accent", "width": 1}}, "hovertemplate": "%{x:.2%}: %{y:.0%} of the paths<extra></extra>",
        }
        axis: dict[str, Any] = {"title": {"text": "share of the paths"}, "tickformat": ".0%"}
    else:
        trace = line_of([], np.asarray(drawn.levels), "Quantiles", "--accent", 2, "%{x:.2%}: below with %{y:.0%}") | {
            "x": numbers(np.expm1(drawn.returns[-1])), "mode": "lines+markers"}
        axis = {"title": {"text": "chance of less"}, "tickformat": ".0%", "range": [0, 1]}
    shapes, notes = _marks(view)
    return {
        "data": [trace],
        "layout": {
            "height": 320, "showlegend": False, "shapes": shapes, "annotations": notes, "yaxis": axis, "bargap": 0,
            "xaxis": {"tickformat": "+.2%", "title": {"text": "return at the horizon's end"}},
        },
    }


def _marks(view: ForecastView) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return upright lines, with words, where nothing would have changed and where the market came out."""
    marks: list[tuple[float, str, str, str, float]] = [(0.0, "unchanged", "--muted", "dot", 0.9)]
    if len(view.realised) == view.forecast.spec.horizon:
        marks.append((float(np.expm1(view.realised[-1])), "came out", "--ink", "solid", 1.0))
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for x, text, colour, dash, height in marks:
        line = {"color": colour, "width": 1.6, "dash": dash}
        shapes.append({"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line})
        notes.append({
            "x": x, "y": height, "yref": "paper", "text": text, "showarrow": False, "yanchor": "top",
            "font": {"color": colour, "size": 11}, "bgcolor": "--panel", "opacity": 0.9,
        })
    return shapes, notes


def outputs_figure(view: ForecastView) -> Figure | None:
    """Draw the named outputs of a model as bars; None where it has none."""
    found = outputs(view.forecast)
    if not found:
        return None
    names = [escaped(name) for name in found]
    values = np.array(list(found.values()))
    return {
        "data": [{
            "type": "bar", "orientation": "h", "y": names, "x": numbers(values), "hovertemplate": "%{y}: %{x:.4g}",
            "marker": {"color": ["--gain" if value >= 0 else "--loss" for value in values]}, "name": "",
            "text": [f"{value:.4g}" for value in values], "textposition": "outside", "cliponaxis": False,
        }],
        "layout": {
            "height": max(220, 60 + 24 * len(names)), "yaxis": {"autorange": "reversed"}, "showlegend": False,
            "xaxis": {"title": {"text": "each in its own unit"}, "zeroline": True, "range": _with_room(values)},
        },
    }


def _with_room(values: FloatArray) -> list[float]:
    """Return an axis' range that leaves room for a number beyond the end of every bar."""
    known = values[np.isfinite(values)]
    low, high = float(known.min(initial=0.0)), float(known.max(initial=0.0))
    room = _LABEL * ((high - low) or 1.0)
    return [low - room if low < 0 else 0.0, high + room if high > 0 or low == 0 else 0.0]


def panel_figure(view: ForecastView) -> Figure | None:
    """Draw the cross-section, strongest first, and beside it what came of each; None for a single symbol."""
    if not view.panel:
        return None
    rows = _nearest(view.panel, view.forecast.symbol)
    names = [escaped(row.symbol) for row in rows]
    colours = ["--accent" if row.symbol == view.forecast.symbol else "--benchmark" for row in rows]
    came = np.array([np.nan if row.realised is None else np.expm1(row.realised) for row in rows])
    traces: list[dict[str, Any]] = [{
        "type": "bar", "x": names, "y": numbers(np.array([row.strength for row in rows])), "name": "Forecast",
        "marker": {"color": colours}, "hovertemplate": "%{y:.4g}",
    }]
    if np.isfinite(came).any():
        traces.append({
            "type": "scatter", "mode": "markers", "x": names, "y": numbers(came), "yaxis": "y2", "name": "What came",
            "marker": {"color": "--ink", "size": 8, "symbol": "diamond"}, "hovertemplate": "%{y:+.2%}",
        })
    return {
        "data": traces,
        "layout": {
            "height": 340, "hovermode": "x unified", "yaxis": {"title": {"text": "forecast"}},
            "yaxis2": {"title": {"text": "return that came"}, "overlaying": "y", "side": "right", "tickformat": "+.1%",
                       "showgrid": False},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        },
    }


def _nearest(panel: tuple[PanelRow, ...], symbol: str) -> tuple[PanelRow, ...]:
    """Return the strongest and the weakest of a large cross-section, and the symbol itself."""
    if len(panel) <= MOST_ROWS:
        return panel
    half = MOST_ROWS // 2
    return tuple(row for place, row in enumerate(panel) if (
        place < half or place >= len(panel) - half or row.symbol == symbol))
