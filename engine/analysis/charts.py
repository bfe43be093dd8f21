"""The report's figures, as the JSON that plotly.js draws: {"data": traces, "layout": …}.

Plain dicts rather than plotly.graph_objects: building those costs half a second of import and validation, and a test
does the validating. Times are milliseconds since the epoch (plotly's own unit), colours are names of PALETTE ("--gain")
that the page turns into the light or the dark one. Every text that a user chose is escaped: plotly draws a subset of
HTML.
"""

from collections.abc import Iterable, Sequence
from html import escape
from textwrap import shorten, wrap
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.analysis.formatting import duration, minute, money, percent, price
from engine.analysis.metrics import drawdowns
from engine.analysis.report_data import Reason, ReportData
from engine.analysis.symbols import bars_by_symbol
from engine.analysis.thinning import busiest, candles, extremes
from engine.analysis.trades import Trade, Trades
from engine.bars import Bars, FloatArray, IntArray

Figure = dict[str, Any]

PALETTE: dict[str, tuple[str, str]] = {
    # name: (light, dark)
    "--page": ("#f5f6f8", "#0e1116"),
    "--panel": ("#ffffff", "#161b22"),
    "--ink": ("#161b24", "#e8ebf0"),
    "--muted": ("#606b7b", "#97a2b2"),
    "--line": ("#e2e6ec", "#2a323d"),
    "--accent": ("#2457d6", "#7fa6ff"),
    "--accent-soft": ("rgba(36, 87, 214, 0.14)", "rgba(127, 166, 255, 0.20)"),
    "--benchmark": ("#98a1ae", "#7a8595"),
    "--gain": ("#0d8a5c", "#43c595"),
    "--loss": ("#c63a32", "#f2766b"),
    "--gain-candle": ("#53b08a", "#349a75"),
    "--loss-candle": ("#dc8a84", "#b65f58"),
    "--loss-soft": ("rgba(198, 58, 50, 0.22)", "rgba(242, 118, 107, 0.28)"),
    "--warn": ("#a86400", "#e5ab4a"),
}

MOST_POINTS = 1200
"""Points kept of each line that a figure is made of."""
MOST_CANDLES = 3600
MOST_MARKERS = 250
MOST_STEPS = 400
"""Entries and exits from where on exposure is drawn as a mean and a range."""
MOST_SYMBOLS = 8
"""Symbols that get candles of their own: those traded most."""
_MILLISECOND = 1_000_000


def equity_figure(data: ReportData) -> Figure:
    """Draw equity against the benchmark, and both drawdowns beneath, on one time axis."""
    curve = data.curve
    equity = curve.equity
    held = data.benchmark.value * equity[0] if data.benchmark is not None and len(equity) else None
    fall = _drawdown(equity)
    others = [] if held is None else [extremes(held, MOST_POINTS)]
    # The same places for all lines, so that one hover box can show them together.
    places = np.unique(np.concatenate([extremes(equity, MOST_POINTS), extremes(fall, MOST_POINTS), *others]))
    times = _times(curve.time[places])
    traces: list[dict[str, Any]] = []
    if held is not None and data.benchmark is not None:
        name = _text(data.benchmark.name[0].upper() + data.benchmark.name[1:])
        traces.append(line_of(times, held[places], name, "--benchmark", 1.4, "%{y:,.2f}"))
    traces.append(line_of(times, equity[places], "Strategy", "--accent", 2, "%{y:,.2f}"))
    if held is not None:
        traces.append(
            line_of(times, _drawdown(held)[places], "Benchmark drawdown", "--benchmark", 1, "%{y:.2%}")
            | {"yaxis": "y2", "showlegend": False}
        )
    traces.append(
        line_of(times, fall[places], "Drawdown", "--loss", 1.2, "%{y:.2%}")
        | {"yaxis": "y2", "fill": "tozeroy", "fillcolor": "--loss-soft", "showlegend": False}
    )
    depths = [fall] if held is None else [fall, _drawdown(held)]
    floor = min([-0.001, *(float(np.nanmin(depth)) for depth in depths if np.isfinite(depth).any())])
    deepest = int(np.nanargmin(fall)) if np.isfinite(fall).any() else 0
    marks = []
    if len(fall) and fall[deepest] < 0:
        marks.append(
            {
                "x": int(curve.time[deepest]) // _MILLISECOND, "y": float(fall[deepest]), "yref": "y2",
                "text": percent(float(fall[deepest])), "showarrow": False, "yanchor": "top", "yshift": -3,
                "font": {"color": "--loss", "size": 11}, "bgcolor": "--panel", "opacity": 0.9,
            }
        )
    return {
        "data": traces,
        "layout": {
            "height": 520,
            "hovermode": "x unified",
            "annotations": marks,
            "xaxis": {"type": "date", "anchor": "y2"},
            "yaxis": {"domain": [0.34, 1], "title": {"text": _text(curve.currency)}, "tickformat": ",~s"},
            "yaxis2": {
                "domain": [0, 0.27],
                "title": {"text": "Drawdown"},
                "tickformat": ".0%" if floor < -0.05 else ".1%",
                "range": [1.22 * floor, -0.02 * floor],
            },
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        },
    }


def exposure_figure(data: ReportData) -> Figure | None:
    """Draw net notional ÷ equity over time."""
    exposure = data.curve.exposure
    if not np.isfinite(exposure).any() or not np.any(exposure != 0):
        return None
    is_held = exposure != 0
    if np.count_nonzero(is_held[1:] != is_held[:-1]) > MOST_STEPS:
        traces = _exposure_band(data.curve.time, exposure)
    else:
        places = extremes(exposure, 2 * MOST_POINTS)
        line = line_of(_times(data.curve.time[places]), exposure[places], "Exposure", "--accent", 1, "%{y:.1%}")
        traces = [line | {"fill": "tozeroy", "fillcolor": "--accent-soft", "line": {**line["line"], "shape": "hv"}}]
    return {
        "data": traces,
        "layout": {
            "height": 240,
            "hovermode": "x unified",
            "showlegend": False,
            "xaxis": {"type": "date"},
            "yaxis": {"tickformat": ".0%"},
        },
    }


def _exposure_band(time: IntArray, exposure: FloatArray) -> list[dict[str, Any]]:
    """Draw the mean and the range of each stretch of time, where positions would run into one block of colour."""
    starts = np.unique(np.linspace(0, len(exposure) - 1, 500).astype(np.int64))
    known = np.nan_to_num(exposure)
    counts = np.diff(np.append(starts, len(exposure)))
    times = _times(time[starts])
    low = line_of(times, np.minimum.reduceat(known, starts), "lowest", "--accent-soft", 0, "%{y:.1%}")
    high = line_of(times, np.maximum.reduceat(known, starts), "highest", "--accent-soft", 0, "%{y:.1%}")
    mean = line_of(times, np.add.reduceat(known, starts) / counts, "mean", "--accent", 1.4, "%{y:.1%}")
    return [low, high | {"fill": "tonexty", "fillcolor": "--accent-soft"}, mean]


def costs_figure(data: ReportData) -> Figure | None:
    """Draw the way from gross to net profit."""
    get = data.statistics.get
    gross, net = get("gross_profit"), get("net_profit")
    if gross is None or net is None or not get("fills"):
        return None
    steps = [
        (label, -value)
        for label, value in (
            ("Spread", get("spread_cost") or 0.0),
            ("Slippage", get("slippage_cost") or 0.0),
            ("Impact", get("impact_cost") or 0.0),
            ("Fees", get("fees") or 0.0),
            ("Funding", get("holding_cost") or 0.0),
        )
        if value or label != "Funding"
    ]
    values = [gross, *(value for _, value in steps), net]
    return {
        "data": [{
            "type": "waterfall",
            "x": ["Gross profit", *(label for label, _ in steps), "Net profit"],
            "y": _numbers(np.array(values)),
            "measure": ["absolute", *(["relative"] * len(steps)), "total"],
            "text": [money(value, signed=True) for value in values],
            "textposition": "outside", "cliponaxis": False, "hoverinfo": "x+text",
            "connector": {"line": {"color": "--line", "width": 1}},
            "increasing": {"marker": {"color": "--gain"}},
            "decreasing": {"marker": {"color": "--loss"}},
            "totals": {"marker": {"color": "--accent"}},
        }],
        "layout": {
            "height": 320, "showlegend": False, "xaxis": {"type": "category"},
            "yaxis": {"tickformat": ",~s", "title": {"text": _text(data.curve.currency)}},
        },
    }


def returns_figure(data: ReportData) -> Figure | None:
    """Draw how the returns of finished trades are distributed. The outermost half percent is in the end bars."""
    returns = data.trades.closed.return_on_entry
    returns = returns[np.isfinite(returns)]
    if len(returns) < 2:
        return None
    low, high = np.percentile(returns, [0.5, 99.5])
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if low == high:
        low, high = -0.01, 0.01
    width = (high - low) / min(60, max(12, int(2 * np.sqrt(len(returns)))))
    # Edges are multiples of the width, so that no bar mixes losses with gains.
    edges = np.arange(np.floor(low / width), np.ceil(high / width) + 1) * width
    counts, _ = np.histogram(np.clip(returns, edges[0], edges[-1]), edges)
    middle = (edges[:-1] + edges[1:]) / 2
    mean, median = float(np.mean(returns)), float(np.median(returns))
    return {
        "data": [{
            "type": "bar", "x": _numbers(middle), "y": counts.tolist(), "width": width * 0.92,
            "marker": {"color": ["--gain" if value > 0 else "--loss" for value in middle], "opacity": 0.85},
            "hovertemplate": "about %{x:.2%}: %{y} trades<extra></extra>",
        }],
        "layout": {
            "height": 320, "showlegend": False, "bargap": 0,
            "xaxis": {"tickformat": "~%", "title": {"text": "Net return on entry"}, "zeroline": True},
            "yaxis": {"title": {"text": "Trades"}},
            "shapes": [
                _upright(mean, "--ink", "solid"), _upright(median, "--muted", "dot"),
            ],
            "annotations": [
                _flag(mean, f"mean {percent(mean)}", "--ink", "left" if mean >= median else "right", 1.0),
                _flag(median, f"median {percent(median)}", "--muted", "right" if mean >= median else "left", 0.93),
            ],
        },
    }


def excursions_figure(data: ReportData) -> Figure | None:
    """Draw how far each trade went against us, against how it ended."""
    trades = data.trades.closed
    trades = trades.where(np.isfinite(trades.worst_excursion) & np.isfinite(trades.return_on_entry))
    if len(trades) < 2:
        return None
    trades = trades.where(np.unique(np.linspace(0, len(trades) - 1, 1500).astype(np.int64)))
    shown = []
    for name, colour, chosen in (("Won", "--gain", trades.net_profit > 0), ("Lost", "--loss", trades.net_profit <= 0)):
        some = trades.where(chosen)
        shown.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": _numbers(some.worst_excursion),
                "y": _numbers(some.return_on_entry),
                "marker": {"color": colour, "size": 5, "opacity": 0.55},
                "hovertemplate": "at worst %{x:.2%}, in the end %{y:.2%}<extra></extra>",
            }
        )
    return {
        "data": shown,
        "layout": {
            "height": 320, "showlegend": False,
            "xaxis": {"tickformat": "~%", "title": {"text": "Worst excursion"}, "zeroline": True},
            "yaxis": {"tickformat": "~%", "title": {"text": "Net return"}, "zeroline": True},
        },
    }


def symbols_figure(data: ReportData) -> Figure | None:
    """Draw the net profit of each symbol, open positions at their last close included."""
    trades = data.trades
    if len(trades.symbols) < 2:
        return None
    totals = np.zeros(len(trades.symbols))
    np.add.at(totals, trades.symbol, np.nan_to_num(trades.net_profit))
    counts = np.bincount(trades.symbol, minlength=len(totals))
    order = np.argsort(totals, kind="stable")
    if len(order) > 40:
        order = np.concatenate((order[:20], order[-20:]))
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": [_text(trades.symbols[place]) for place in order],
                "x": _numbers(totals[order]),
                "marker": {"color": ["--gain" if totals[place] > 0 else "--loss" for place in order], "opacity": 0.85},
                "customdata": counts[order].tolist(),
                "hovertemplate": "%{y}: %{x:,.2f}, %{customdata} trades<extra></extra>",
            }
        ],
        "layout": {
            "height": max(220, 90 + 17 * len(order)),
            "showlegend": False,
            "bargap": 0.25,
            "xaxis": {
                "tickformat": ",~s",
                "zeroline": True,
                "title": {"text": _text(f"Net profit, {data.curve.currency}")},
            },
            "yaxis": {"type": "category", "automargin": True, "dtick": 1, "showgrid": False},
        },
    }


# ── trades on candles ───────────────────────────────────────────────────────────────────────────────────────────────


def candle_views(data: ReportData) -> list[dict[str, Any]]:
    """Return [{symbol, views: [{label, note, figure}]}] for the symbols traded most; empty without bars.

    A short run is one view of every bar. A long one is the whole in joined candles, and windows of its own bars: where
    trading was busiest, the best and the worst trade, the end.
    """
    if data.bars is None or not len(data.bars):
        return []
    by_symbol = bars_by_symbol(data.bars)
    trades = data.trades
    counts = np.bincount(trades.symbol, minlength=len(trades.symbols))
    traded = [
        trades.symbols[place] for place in np.argsort(-counts, kind="stable") if trades.symbols[place] in by_symbol
    ]
    names = traded[:MOST_SYMBOLS] or list(by_symbol)[:1]
    budget = MOST_CANDLES // len(names)
    found = []
    for name in names:
        rows = by_symbol[name]
        if len(rows):
            own = trades.where(trades.symbol == (trades.symbols.index(name) if name in trades.symbols else -1))
            found.append({"symbol": name, "views": _views(data, rows, own, budget)})
    return found


def _views(data: ReportData, bars: Bars, trades: Trades, budget: int) -> list[dict[str, Any]]:
    whole = min(budget, 1500) if len(bars) <= 1500 else min(budget // 3, 900)
    joined, length = candles(bars, max(whole, 60))
    views = [_view(data, joined, trades, f"Whole run · {length}")]
    if joined is bars:
        return views
    native = bars.streams[0].timeframe
    most = max(40, min(budget // 6, 320))
    windows: list[tuple[str, int, int]] = []
    if len(trades):
        step = int(np.median(np.diff(bars.close_time[:1000]))) if len(bars) > 1 else 1
        first = busiest(np.sort(trades.entry_time), most * step)
        start = int(np.searchsorted(bars.close_time, np.sort(trades.entry_time)[first], side="right"))
        windows.append(("Busiest", max(0, start - 5), start + most - 5))
        profit = np.nan_to_num(trades.net_profit)
        for label, place in (("Best trade", int(profit.argmax())), ("Worst trade", int(profit.argmin()))):
            begin, end = np.searchsorted(bars.close_time, [trades.entry_bar[place], trades.exit_bar[place]])
            around = max(20, int(0.4 * (end - begin)))
            windows.append((label, max(0, int(begin) - around), int(end) + around))
    windows.append(("Last", max(0, len(bars) - most), len(bars)))
    for label, begin, end in windows:
        part, length = candles(bars[slice(begin, min(end, len(bars)))], most)
        views.append(_view(data, part, trades, f"{label} · {length if length != native else native}"))
    return views


def _view(data: ReportData, shown: Bars, trades: Trades, label: str) -> dict[str, Any]:
    start, end = int(shown.open_time[0]), int(shown.close_time[-1])
    inside = trades.where((trades.exit_time >= start) & (trades.entry_time <= end))
    note = f"{len(shown):,} candles, {len(inside):,} trades"
    if len(inside) > MOST_MARKERS:
        # Evenly, not the largest: those would flatter or damn what they are picked from.
        inside = inside.where(np.linspace(0, len(inside) - 1, MOST_MARKERS).astype(np.int64))
        note += f"; {MOST_MARKERS} of them, evenly picked, are marked"
    axis = _Axis(shown)
    traces = [
        {
            "type": "candlestick",
            "name": "Price",
            "x": axis.of_candles(),
            "open": _numbers(shown.open),
            "high": _numbers(shown.high),
            "low": _numbers(shown.low),
            "close": _numbers(shown.close),
            "showlegend": False,
            "increasing": {"line": {"color": "--gain-candle", "width": 1}, "fillcolor": "--gain-candle"},
            "decreasing": {"line": {"color": "--loss-candle", "width": 1}, "fillcolor": "--loss-candle"},
        }
    ]
    traces += _marks(list(inside.rows()), axis, data, start, end)
    return {
        "label": label, "note": note,
        "figure": {
            "data": traces,
            "layout": {
                "height": 480, "hovermode": "closest",
                "xaxis": {"rangeslider": {"visible": False}, **axis.layout},
                "yaxis": {"tickformat": ",~r", "title": {"text": _text(data.curve.currency)}},
                "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            },
        },
    }


class _Axis:
    """Where a time lies on the candles' axis: a date, or, in a market with nights and weekends, a candle's own name."""

    def __init__(self, shown: Bars) -> None:
        traded = float((shown.close_time - shown.open_time).sum())
        self._has_gaps = traded < 0.8 * float(shown.close_time[-1] - shown.open_time[0])
        self._open_time = shown.open_time
        self._names = [minute(time).removesuffix(" 00:00") for time in shown.open_time.tolist()]
        self.layout: dict[str, Any] = {"type": "category", "nticks": 8} if self._has_gaps else {"type": "date"}

    def of_candles(self) -> list[Any]:
        return self._names if self._has_gaps else _times(self._open_time)

    def __call__(self, time: int) -> Any:
        if not self._has_gaps:
            return time // _MILLISECOND
        return self._names[max(0, int(np.searchsorted(self._open_time, time, side="right")) - 1)]


def _marks(trades: list[Trade], axis: _Axis, data: ReportData, start: int, end: int) -> list[dict[str, Any]]:
    currency = data.curve.currency
    ways: dict[str, tuple[list[Any], list[Any]]] = {"--gain": ([], []), "--loss": ([], [])}
    entries: dict[int, list[tuple[Any, float, str]]] = {1: [], -1: []}
    exits: dict[str, list[tuple[Any, float, str]]] = {"--gain": [], "--loss": []}
    for trade in trades:
        colour = "--gain" if trade.net_profit > 0 else "--loss"
        at_entry, leaves = axis(trade.entry_time), trade.exit_time if trade.exit_time is not None else end
        if trade.entry_time >= start and leaves <= end and np.isfinite(trade.exit_price):
            ways[colour][0].extend((at_entry, axis(leaves), None))
            ways[colour][1].extend((trade.entry_price, trade.exit_price, None))
        if trade.entry_time >= start:
            verb = "Bought" if trade.direction > 0 else "Sold short"
            told = _told(
                f"{verb} {price(trade.quantity)} at {price(trade.entry_price)}",
                trade.entry_time,
                data.reasons.get(trade.entry_order_id),
                [],
            )
            entries[trade.direction].append((at_entry, trade.entry_price, told))
        if trade.exit_time is not None and trade.exit_time <= end:
            made = f"{money(trade.net_profit, currency, signed=True)} ({percent(trade.return_on_entry, signed=True)})"
            lines = [f"net {made}, costs {money(trade.costs)}", f"held {duration(trade.duration)}"]
            told = _told(
                f"Closed at {price(trade.exit_price)}", trade.exit_time, data.reasons.get(trade.exit_order_id), lines
            )
            exits[colour].append((axis(trade.exit_time), trade.exit_price, told))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "x": xs, "y": ys, "line": {"color": colour, "width": 1, "dash": "dot"},
            "hoverinfo": "skip", "showlegend": False,
        }
        for colour, (xs, ys) in ways.items() if xs
    ]
    size = 8.0 if len(trades) <= 60 else 5.0
    # Exits are hollow, so that the entry of a reversal shows inside them.
    kinds: Iterable[tuple[str, str, str, list[tuple[Any, float, str]]]] = (
        ("Long entry", "triangle-up", "--accent", entries[1]),
        ("Short entry", "triangle-down", "--warn", entries[-1]),
        ("Exit, profit", "circle-open", "--gain", exits["--gain"]),
        ("Exit, loss", "square-open", "--loss", exits["--loss"]),
    )
    for name, symbol, colour, points in kinds:
        if points:
            marker: dict[str, Any] = {"symbol": symbol, "size": size, "color": colour}
            if symbol.endswith("open"):
                marker |= {"size": 1.5 * size, "line": {"width": 1.8, "color": colour}}
            places, prices, texts = zip(*points, strict=True)
            traces.append(
                {
                    "type": "scatter", "mode": "markers", "name": name, "x": list(places), "text": list(texts),
                    "y": _numbers(np.array(prices)), "hovertemplate": "%{text}<extra></extra>", "marker": marker,
                }
            )
    return traces


def _told(what: str, time: int, reason: Reason | None, lines: list[str]) -> str:
    told = [f"<b>{_text(what)}</b>", f"{minute(time)} UTC", *map(_text, lines)]
    if reason is not None:
        told += [f"<i>{_text(line)}</i>" for line in wrap(shorten(reason.why, 240, placeholder=" …"), 60)]
        told += [_text(line) for line in wrap(shorten(reason.saw, 240, placeholder=" …"), 60)]
    return "<br>".join(told)


# ── small parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def line_of(x: list[int], y: FloatArray, name: str, colour: str, width: float, shown: str) -> dict[str, Any]:
    """Return a line: `x` in milliseconds, `colour` a name of PALETTE, `shown` plotly's template for the hover box."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": _numbers(y),
        "line": {"color": colour, "width": width},
        "hovertemplate": shown,
    }


def _drawdown(values: FloatArray) -> FloatArray:
    if not len(values) or not values[0] > 0:
        return np.zeros(len(values))
    return drawdowns(values)


def _upright(x: float, colour: str, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.2, "dash": dash}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _flag(x: float, text: str, colour: str, anchor: str, height: float) -> dict[str, Any]:
    return {
        "x": x, "y": height, "yref": "paper", "text": text, "showarrow": False, "xanchor": anchor, "yanchor": "top",
        "xshift": 4 if anchor == "left" else -4, "font": {"color": colour, "size": 11}, "bgcolor": "--panel",
        "opacity": 0.9,
    }


def named_ticks(labels: Sequence[str], most: int) -> dict[str, Any]:
    """Name some of the bars of an axis, about so many, from the first label on: the day above the time of day."""
    every = max(1, -(-len(labels) // most))
    values = list(labels[::every])
    return {"tickmode": "array", "tickvals": values, "ticktext": [label.replace(" ", "<br>") for label in values]}


def _times(times: IntArray) -> list[int]:
    return (times // _MILLISECOND).tolist()


def _numbers(values: npt.NDArray[Any]) -> list[float | None]:
    """Return nine significant digits of each, None for what JSON has no word for."""
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in values.tolist()]


def _text(text: str) -> str:
    return escape(text, quote=False)
