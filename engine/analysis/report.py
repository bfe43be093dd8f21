"""The report of a run as one HTML file that needs nothing else: no network, no server, opens from a disk in ten years.

plotly.js is embedded (4.8 MB of the file), and the page's own policy forbids it to fetch or send anything. Series are
thinned, extremes kept, so that a million bars make a page as small as a thousand. Whatever a user named is escaped: in
the page by the template, in figures by engine.analysis.charts.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.analysis import charts
from engine.analysis.assumptions import SIMPLIFICATIONS
from engine.analysis.bounds_view import (
    bounds_figure,
    bounds_headline,
    bounds_notes,
    bounds_sides,
    is_told,
    open_trades,
)
from engine.analysis.definitions import DEFINITIONS, GROUPS
from engine.analysis.findings import findings, headline
from engine.analysis.forecast_charts import ModelCharts, model_charts
from engine.analysis.forecast_view import PERIODS, ModelLine, divided, is_divided, model_lines, split_rows
from engine.analysis.formatting import (
    NOTHING,
    duration,
    listed,
    minute,
    money,
    number,
    percent,
    price,
    short,
    statistic,
)
from engine.analysis.metrics import sample
from engine.analysis.page_parts import PAGE, embedded_json, palette_css
from engine.analysis.report_data import ReportData
from engine.analysis.trades import Trades
from engine.bars import DAY, FloatArray, iso
from engine.semantics import Switches

LISTED_TRADES = 500
"""Trades in the list: the first of them, and always the 25 best and the 25 worst."""
LISTED_INSTRUMENTS = 60

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TOLD_OTHERWISE = ("start", "end", "from_ns")
"""Entries of the card's data that stand there a second time for programs."""
_TRADE_COLUMNS = (
    ("#", "n"), ("Symbol", ""), ("Side", ""), ("Entry", ""), ("Exit", ""), ("Held", "n"), ("Return", "n"), ("Net", "n"),
    ("Costs", "n"), ("Worst", "n"), ("Best", "n"), ("Why in", ""), ("Why out", ""),
)


def write_report(data: ReportData, path: Path) -> Path:
    """Write the page and return its path; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(data), encoding="utf-8")
    return path


def render_report(data: ReportData) -> str:
    """Return the whole page."""
    import jinja2  # deferred, as plotly is: only reports need them
    from plotly.offline import get_plotlyjs

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "money": money, "number": number, "percent": percent, "price": price, "duration": duration, "listed": listed,
        "minute": minute, "told": _told, "tone": _tone, "brief": _brief, "share": _share, "sortable": _sortable,
    }
    figures, candles = _figures(data), charts.candle_views(data)
    return pages.get_template("report.html").render(
        **_story(data),
        charts=figures,
        candles=candles,
        css=palette_css() + (PAGE / "report.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        script=(PAGE / "report.js").read_text(encoding="utf-8"),
        palette=embedded_json(list(charts.PALETTE)),
        figures=embedded_json({"charts": figures, "candles": candles}),
        run=embedded_json(_machine_readable(data)),
    )


def _figures(data: ReportData) -> dict[str, charts.Figure]:
    if not len(data.curve.time):
        return {}
    drawn = {
        "equity": charts.equity_figure(data),
        "bounds": bounds_figure(data),
        "exposure": charts.exposure_figure(data),
        "costs": charts.costs_figure(data),
        "returns": charts.returns_figure(data),
        "excursions": charts.excursions_figure(data),
        "symbols": charts.symbols_figure(data),
    }
    of_models = {chart.name: chart.figure for model in model_charts(data.forecasts) for chart in model.charts}
    return {name: figure for name, figure in drawn.items() if figure is not None} | of_models


def _story(data: ReportData) -> dict[str, Any]:
    """Return what the template tells, all but the figures."""
    figures, trades = data.statistics, data.trades
    count = len(data.curve.time)
    note = f"{len(trades):,} trades"
    if len(trades) > LISTED_TRADES:
        note = (
            f"the first {LISTED_TRADES - 50} of {len(trades):,}, the 25 best and the 25 worst; the journal has them all"
        )
    chosen = _chosen(trades).tolist()
    return {
        "data": data, "get": figures.get, "currency": data.curve.currency, "headline": headline(data),
        "chips": _chips(data), "alarms": _alarms(data), "tiles": _tiles(data), "findings": findings(data),
        "bounds": _bounds(data), "forecasts": _forecasts(data), "notes": (*data.notes, *figures.notes),
        "can_log": bool(count and np.all(data.curve.equity > 0)),
        "calendar": _calendar(data), "costs": _costs(data), "trade_note": note, "trade_columns": _TRADE_COLUMNS,
        "trades": [trade for trade, is_listed in zip(trades.rows(), chosen, strict=True) if is_listed],
        "sampling": _sampling(data), "groups": _groups(data), "card": data.card, "default_switches": Switches().card(),
        "instruments": _instruments(data.card.get("instruments", {})), "simplifications": SIMPLIFICATIONS,
        "further": _further(data.card), "provenance": _provenance(data), "documents": _documents(data),
        "read": {name: value for name, value in data.card.get("data", {}).items() if name not in _TOLD_OTHERWISE},
    }


# ── top ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Tile(NamedTuple):
    label: str
    value: str
    below: str
    tone: str = ""


def _tiles(data: ReportData) -> list[_Tile]:
    get, currency = data.statistics.get, data.curve.currency
    made, held, net, annual = get("total_return"), get("benchmark_return"), get("net_profit"), get("cagr")
    chance, trades, depth = get("probabilistic_sharpe"), get("trades"), get("max_drawdown")
    is_short = "30 days" in data.statistics.undefined.get("cagr", "")
    if is_divided(data.forecasts):
        return _divided_tiles(data)
    return [
        _Tile(
            "Total return",
            percent(made, signed=True),
            "no benchmark" if held is None else f"holding {percent(held, signed=True)}",
            _tone(made),
        ),
        _Tile("Net profit", money(net, signed=True), f"{currency}, from {money(get('start_equity'))}", _tone(net)),
        _Tile(
            "Annual return",
            percent(annual, signed=True),
            "compounded" if annual is not None else "below 30 days" if is_short else "no value",
            _tone(annual),
        ),
        _Tile(
            "Sharpe ratio",
            number(get("sharpe")),
            "annualised" if chance is None else f"{percent(chance, decimals=0)} chance above 0",
        ),
        _Tile(
            "Max drawdown",
            percent(depth),
            f"longest {duration(get('max_drawdown_duration'))}" if depth else "never below its peak",
            "loss" if depth else "",
        ),
        _trades_tile(data),
        _Tile(
            "Profit factor",
            number(get("profit_factor")),
            f"{money(get('expectancy'), signed=True)} a trade" if trades else "no finished trade",
        ),
        _costs_tile(data),
    ]


def _divided_tiles(data: ReportData) -> list[_Tile]:
    """Return tiles whose figures are told apart, before and after the models are clean."""
    titles = {
        "total_return": "Total return", "cagr": "Annual return", "sharpe": "Sharpe ratio",
        "max_drawdown": "Max drawdown", "volatility": "Volatility", "sortino": "Sortino ratio",
    }
    tiles = []
    for name, title in titles.items():
        def show(value: float | None, name: str = name) -> str:
            return percent(value, signed=name in ("total_return", "cagr"), decimals=1) if DEFINITIONS[
                name].unit == "percent" else number(value)

        tiles.append(_Tile(title, divided(data.forecasts, name, show) or NOTHING, f"{PERIODS} by its models"))
    return [*tiles, _trades_tile(data), _costs_tile(data)]


def _trades_tile(data: ReportData) -> _Tile:
    trades, wins = data.statistics.get("trades"), data.statistics.get("win_rate")
    below = "none finished" if wins is None else f"{percent(wins, decimals=0)} won"
    return _Tile("Trades", NOTHING if trades is None else f"{trades:,}", below)


def _costs_tile(data: ReportData) -> _Tile:
    rate = data.statistics.get("cost_rate")
    below = data.curve.currency if rate is None else f"{number(rate)} bp of notional"
    return _Tile("All costs", money(data.statistics.get("total_costs")), below)




def _chips(data: ReportData) -> list[str]:
    time = data.curve.time
    chips = [f"run {data.run_id}" if data.run_id is not None else "", data.kind, ", ".join(data.timeframes)]
    if len(time):
        first, last = (iso(int(moment)).partition("T")[0] for moment in (time[0], time[-1]))
        chips += [f"{first} to {last}", duration(int(time[-1] - time[0]))]
    if data.bar_count:
        chips.append(f"{data.bar_count:,} bars")
    if data.loop_seconds > 0:
        chips.append(f"{data.loop_seconds:.3g} s, {short(data.bars_per_second)} bars/s")
    return [chip for chip in chips if chip]


def _alarms(data: ReportData) -> list[str]:
    is_synthetic = any(warning.get("value") == "synthetic" for warning in data.card.get("warnings", ()))
    alarms = [data.status] if data.status != "completed" else []
    alarms += ["synthetic market"] if is_synthetic else []
    return alarms + (["contaminated"] if data.forecasts.get("contaminated") else [])


# ── returns by month ────────────────────────────────────────────────────────────────────────────────────────────────


class _Row(NamedTuple):
    name: str
    cells: list[float | None]
    total: float


class _Calendar(NamedTuple):
    title: str
    columns: list[str]
    total: str
    rows: list[_Row]
    largest: float
    """The return that gets the full colour: large, but not the single largest, which would pale all others."""


def _calendar(data: ReportData) -> _Calendar | None:
    """Return the returns by month, or by day where there is only one month."""
    curve = data.curve
    if len(curve.time) < 2 or not np.all(np.isfinite(curve.equity)) or curve.equity.min() <= 0:
        return None
    _, places = sample(curve.time, frequency="daily")
    day, equity = (curve.time[places] - 1) // DAY, curve.equity[places]
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    if month[0] != month[-1]:
        months = {(1970 + key // 12, key % 12): value for key, value in _by_key(month, equity)}
        return _grid("Returns by month", months, _MONTHS, "Year", names={year: str(year) for year, _ in months})
    days = {((key + 3) // 7, (key + 3) % 7): value for key, value in _by_key(day, equity)}
    mondays = {week: f"{np.datetime64(week * 7 - 3, 'D').astype(object):%d %b}" for week, _ in days}
    return _grid("Returns by day", days, _WEEKDAYS, "Week", names=mondays)


def _by_key(keys: npt.NDArray[np.int64], equity: FloatArray) -> list[tuple[int, float]]:
    """Return the return over each run of equal keys, from the last value of the run before."""
    ends = np.append(np.flatnonzero(keys[1:] != keys[:-1]), len(keys) - 1)
    values = np.concatenate((equity[:1], equity[ends]))
    return list(zip(keys[ends].tolist(), (values[1:] / values[:-1] - 1).tolist(), strict=True))


def _grid(
    title: str, cells: dict[tuple[int, int], float], columns: Sequence[str], total: str, *, names: Mapping[int, str]
) -> _Calendar:
    largest = max(0.001, float(np.percentile(np.abs(list(cells.values())), 95)))
    rows = []
    for key in sorted(names):
        values = [cells.get((key, column)) for column in range(len(columns))]
        rows.append(_Row(names[key], values, float(np.prod([1 + value for value in values if value is not None])) - 1))
    return _Calendar(title, list(columns), total, rows, largest)


# ── costs, trades, statistics ───────────────────────────────────────────────────────────────────────────────────────


class _Cost(NamedTuple):
    label: str
    value: float
    rate: float | None
    share: float | None


def _costs(data: ReportData) -> list[_Cost]:
    get = data.statistics.get
    traded, gross = get("traded_notional"), get("gross_profit")
    shown = []
    for name in ("spread_cost", "slippage_cost", "impact_cost", "fees", "holding_cost", "total_costs"):
        value = get(name)
        if value is not None and (value or name != "holding_cost"):
            rate = 1e4 * value / traded if traded else None
            shown.append(_Cost(DEFINITIONS[name].label, value, rate, value / gross if gross and gross > 0 else None))
    return shown


def _chosen(trades: Trades) -> npt.NDArray[np.bool_]:
    chosen = np.ones(len(trades), bool)
    if len(trades) > LISTED_TRADES:
        chosen[LISTED_TRADES - 50 :] = False
        order = np.argsort(np.nan_to_num(trades.net_profit), kind="stable")
        chosen[order[:25]] = True
        chosen[order[-25:]] = True
    return chosen


class _Line(NamedTuple):
    label: str
    value: str
    text: str
    reason: str


class _Group(NamedTuple):
    name: str
    lines: list[_Line]


def _groups(data: ReportData) -> list[_Group]:
    figures = data.statistics
    period = "day" if figures.sampling.frequency == "daily" else "bar"
    groups = {name: _Group(name, []) for name in GROUPS}
    for name, definition in DEFINITIONS.items():
        if name in figures.values:
            label = definition.label.replace("period", period)
            value, reason = statistic(name, figures.get(name), data.curve.currency), figures.undefined.get(name, "")
            both = divided(data.forecasts, name, functools.partial(statistic, name))
            if both is not None:
                label, value, reason = f"{label}, {PERIODS}", both, ""
            elif _mixes(name, data):
                value, reason = NOTHING, "models may have seen a part of the run; it is told of the whole alone"
            groups[definition.group].lines.append(_Line(label, value, definition.text, reason))
    return list(groups.values())


def _mixes(name: str, data: ReportData) -> bool:
    """Return whether a figure would mix what models may have seen with what they had not, and has no halves."""
    is_of_curve = DEFINITIONS[name].group == "Benchmark" and not name.startswith("benchmark_")
    return is_of_curve and is_divided(data.forecasts)


def _sampling(data: ReportData) -> str:
    how = data.statistics.sampling
    period = "day (UTC)" if how.frequency == "daily" else "bar"
    year = f"{how.periods:,} of them, {how.periods_per_year:,.6g} to a year"
    return f"Returns are per {period}: {how.reason}. {year}. Drawdowns are taken at every close."


class _Forecasts(NamedTuple):
    is_contaminated: bool
    reasons: list[str]
    split: list[tuple[str, str, str, str, str]]
    models: list[ModelLine]
    charts: list[ModelCharts]


def _forecasts(data: ReportData) -> _Forecasts | None:
    """Return what the run's models were worth; None where it had none."""
    told = data.forecasts
    if not told:
        return None
    return _Forecasts(
        told["contaminated"], list(told["reasons"]), split_rows(told), model_lines(told), model_charts(told)
    )


class _Bounds(NamedTuple):
    headline: str
    sides: list[Any]
    notes: list[str]
    trades: list[Any]
    more: int


def _bounds(data: ReportData) -> _Bounds | None:
    """Return what bars leave open; None of a run whose bounds were never asked for."""
    if not data.bounds:
        return None
    if not is_told(data):
        return _Bounds(bounds_headline(data), [], [], [], 0)
    listed_trades = open_trades(data)
    more = len(data.bounds.get("trades", ())) - len(listed_trades)
    return _Bounds(bounds_headline(data), list(bounds_sides(data)), bounds_notes(data), list(listed_trades), more)


# ── what it rests on ────────────────────────────────────────────────────────────────────────────────────────────────


class _InstrumentRow(NamedTuple):
    symbol: str
    cells: list[str]


class _Instruments(NamedTuple):
    columns: list[str]
    rows: list[_InstrumentRow]
    more: int


def _instruments(instruments: Mapping[str, Mapping[str, Any]]) -> _Instruments:
    used = (key for rules in instruments.values() for key, value in rules.items() if key != "symbol" and value)
    columns = list(dict.fromkeys(used))[:7]
    rows = [
        _InstrumentRow(symbol, [str(rules.get(key, NOTHING)) for key in columns])
        for symbol, rules in list(instruments.items())[:LISTED_INSTRUMENTS]
    ]
    return _Instruments(columns, rows, max(0, len(instruments) - LISTED_INSTRUMENTS))


def _further(card: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the parts of a card beside switches, costs, instruments and data, whatever they are, by their titles."""
    titles = {"risk": "Risk rule"}
    return {
        titles.get(name, name.replace("_", " ").capitalize()): part for name, part in card.items()
        if isinstance(part, Mapping) and name not in ("switches", "costs", "instruments", "data")
    }


def _provenance(data: ReportData) -> dict[str, str]:
    made_of = data.manifest
    is_dirty = made_of.get("is_dirty")
    state = ", unknown whether clean" if is_dirty is None else ", with uncommitted changes" if is_dirty else ", clean"
    return {
        "Data fingerprint": data.data_fingerprint or NOTHING,
        "Fills hash": data.fills_hash or NOTHING,
        "Assumption hash": str(data.card.get("hash", NOTHING)),
        "Code": f"{made_of['code_version']}{state}" if "code_version" in made_of else "unknown",
        "Determinism": str(made_of.get("determinism", NOTHING)),
        "Seeds": _told(made_of.get("seeds") or "none"),
        "Libraries": _told(made_of.get("libraries") or NOTHING),
        "Started": iso(made_of["started_at"]) if made_of.get("started_at") else NOTHING,
        "Orders": f"{data.order_count:,}, {data.refused_count:,} refused",
        **({"Refused by rule": _told(dict(data.refused_by))} if data.refused_by else {}),
        **({"Halts": f"{data.halts:,}"} if data.halts else {}),
    }


def _documents(data: ReportData) -> list[tuple[str, str]]:
    titles = {"settings": "Settings, whole", "data": "Data, as it was read"}
    return [
        (title, json.dumps(data.manifest[name], indent=2, default=str, ensure_ascii=False))
        for name, title in titles.items() if data.manifest.get(name)
    ]


def _machine_readable(data: ReportData) -> dict[str, Any]:
    """Return what a program would want from the page: `JSON.parse(document.getElementById("run").textContent)`."""
    return {
        "run_id": data.run_id,
        "strategy": data.strategy,
        "symbols": list(data.symbols),
        "statistics": data.statistics.as_dict(),
        "assumption_card": data.card,
        "bounds": data.bounds,
        "data_fingerprint": data.data_fingerprint,
        "fills_hash": data.fills_hash,
    }


# ── small parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _told(value: Any) -> str:
    """Return a setting as a person would write it: {"kind": "fixed", "bp": 1} as "fixed, bp 1"."""
    if isinstance(value, Mapping):
        return ", ".join(str(part) if key == "kind" else f"{key} {_told(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        shown = ", ".join(_told(part) for part in value[:6])
        return f"{shown}, and {len(value) - 6} more" if len(value) > 6 else shown
    return "none" if value is None else str(value)


def _tone(value: float | None) -> str:
    return "" if not value or not np.isfinite(value) else "gain" if value > 0 else "loss"


def _brief(value: float) -> str:
    return f"{100 * value:+.1f}" if abs(value) < 10 else f"{100 * value:+,.0f}"


def _share(value: float, largest: float) -> int:
    """Return how much colour a return gets, per cent."""
    return round(min(1.0, abs(value) / largest) * 62 + (4 if value else 0))


def _sortable(value: float) -> str:
    return f"{value:.9g}" if np.isfinite(value) else "-1e308"
