"""The report of a run as one HTML file that needs nothing else: no network, no server, opens from a disk in ten years.

plotly.js is embedded (it is 4.8 MB of the file), and the page's own policy forbids it to fetch anything. Series are thinned,
extremes kept, so that a million bars make a page as small as a thousand. Whatever a user named is escaped.
"""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from engine.analysis import charts
from engine.analysis.assumptions import SIMPLIFICATIONS
from engine.analysis.findings import findings, headline
from engine.analysis.formatting import NOTHING, duration, money, number, percent, price, short, statistic
from engine.analysis.metrics import DEFINITIONS, GROUPS, sample
from engine.analysis.report_data import Reason, ReportData
from engine.analysis.trades import Trade
from engine.bars import DAY, SECOND, iso
from engine.semantics import Switches

LISTED_TRADES = 500
"""Trades in the list: the first of them, the best and the worst 25 always among them."""

LAST = 2**53
"""Sorts trades without an exit behind all others."""

_HERE = Path(__file__).parent
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def write_report(data: ReportData, path: Path) -> Path:
    """Write the page and return its path; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(data), encoding="utf-8")
    return path


def render_report(data: ReportData) -> str:
    """Return the whole page, about 5 MB of which 4.8 are plotly.js."""
    from plotly.offline import get_plotlyjs  # deferred: only reports need it

    figures = {name: figure for name, figure in _figures(data).items() if figure is not None}
    candles = charts.candle_views(data)
    body = "\n".join(_sections(data, figures, candles))
    title = f"{data.strategy} · {_symbols(data, 3)} · Barcast"
    return _PAGE.format(
        title=escape(title), palette_css=_palette_css(), css=(_HERE / "page.css").read_text(encoding="utf-8"), nav=_nav(data, figures, candles),
        body=body, plotly=get_plotlyjs(), palette=_json(list(charts.PALETTE)), figures=_json({"charts": figures, "candles": candles}),
        run=_json(_machine_readable(data)), js=(_HERE / "page.js").read_text(encoding="utf-8"),
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; form-action 'none'; base-uri 'none'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{palette_css}
{css}
</style>
</head>
<body>
{nav}
{body}
<script>{plotly}</script>
<script type="application/json" id="palette">{palette}</script>
<script type="application/json" id="figures">{figures}</script>
<script type="application/json" id="run">{run}</script>
<script>
{js}
</script>
</body>
</html>
"""


def _figures(data: ReportData) -> dict[str, charts.Figure | None]:
    if not len(data.curve.time):
        return {}
    return {
        "equity": charts.equity_figure(data), "exposure": charts.exposure_figure(data), "costs": charts.costs_figure(data),
        "returns": charts.returns_figure(data), "excursions": charts.excursions_figure(data), "symbols": charts.symbols_figure(data),
    }


def _sections(data: ReportData, figures: Mapping[str, Any], candles: list[dict[str, Any]]) -> Iterable[str]:
    yield _header(data)
    yield "<main>"
    yield _tiles(data)
    yield _findings(data)
    yield _equity(data, figures)
    yield _chart(figures, "exposure", "Exposure", "Net notional ÷ equity at every close: 100 % is fully invested, below 0 is short.", "No position was held.")
    yield _candles(data, candles)
    yield _calendar(data)
    yield _costs(data, figures)
    yield _pair(
        _chart(figures, "returns", "Trade returns", "Net profit ÷ entry notional of finished trades; the outermost half percent is in the end bars.", "Fewer than two trades were finished."),
        _chart(
            figures, "excursions", "How far trades went against us",
            "Each dot a trade: the worst price while it was held, and how it ended. Winners far to the left were lucky to survive.",
            "There are no excursions: fewer than two trades, or no bars.",
        ),
    )
    if "symbols" in figures:
        yield _chart(figures, "symbols", "Profit by symbol", "Net, open positions at their last close included" + ("; the 20 best and the 20 worst." if len(data.trades.symbols) > 40 else "."), "")
    yield _trade_list(data)
    yield _statistics(data)
    yield _assumptions(data)
    yield _provenance(data)
    yield "</main>"
    yield "<footer>Written by Barcast. A simulation of the past, not a promise; nothing on this page is advice.</footer>"


# ── top ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _nav(data: ReportData, figures: Mapping[str, Any], candles: list[dict[str, Any]]) -> str:
    links = (("equity", "Equity"), ("candles", "Trades on candles"), ("calendar", "Returns"), ("costs", "Costs"), ("trades", "Trades"),
             ("statistics", "Statistics"), ("assumptions", "Assumptions"), ("provenance", "Provenance"))
    shown = "".join(f'<a href="#{name}">{label}</a>' for name, label in links)
    return f'<nav><div><span class="brand">Barcast</span>{shown}<span class="space"></span><button type="button" id="theme">Theme: system</button></div></nav>'


def _header(data: ReportData) -> str:
    time = data.curve.time
    chips = [f"run {data.run_id}" if data.run_id is not None else "", data.kind, ", ".join(data.timeframes)]
    if len(time):
        chips += [f"{_day(time[0])} to {_day(time[-1])}", duration(int(time[-1] - time[0]))]
    if data.bar_count:
        chips.append(f"{data.bar_count:,} bars")
    if data.loop_seconds > 0:
        chips.append(f"{data.loop_seconds:.3g} s, {short(data.bars_per_second)} bars/s")
    marks = [escape(chip) for chip in chips if chip]
    shown = "".join(f'<span class="chip">{chip}</span>' for chip in marks)
    if data.status != "completed":
        shown += f'<span class="chip warn">{escape(data.status)}</span>'
    if any(warning.get("value") == "synthetic" for warning in data.card.get("warnings", ())):
        shown += '<span class="chip warn">synthetic market</span>'
    return (
        f'<header><div><div class="muted">{escape(_symbols(data, 6))}</div><h1>{escape(data.strategy)}</h1>'
        f'<p class="lead">{escape(headline(data))}</p><div class="chips">{shown}</div></div></header>'
    )


def _tiles(data: ReportData) -> str:
    get, currency = data.statistics.get, data.curve.currency
    made, held, net = get("total_return"), get("benchmark_return"), get("net_profit")
    chance, trades, wins = get("probabilistic_sharpe"), get("trades"), get("win_rate")
    tiles = [
        ("Total return", percent(made, signed=True), f"holding {percent(held, signed=True)}" if held is not None else "no benchmark", _tone(made)),
        ("Net profit", money(net, signed=True), f"{currency}, from {money(get('start_equity'))}", _tone(net)),
        ("Annual return", percent(get("cagr"), signed=True), "compounded" if get("cagr") is not None else "below 30 days", _tone(get("cagr"))),
        ("Sharpe ratio", number(get("sharpe")), f"{percent(chance, decimals=0)} chance above 0" if chance is not None else "annualised", ""),
        ("Max drawdown", percent(get("max_drawdown")), f"longest {duration(get('max_drawdown_duration'))}" if get("max_drawdown") else "never below its peak", "loss" if get("max_drawdown") else ""),
        ("Trades", f"{trades:,}" if trades is not None else NOTHING, f"{percent(wins, decimals=0)} won" if wins is not None else "none finished", ""),
        ("Profit factor", number(get("profit_factor")), f"{money(get('expectancy'), signed=True)} a trade" if trades else "no finished trade", ""),
        ("All costs", money(get("total_costs")), f"{number(get('cost_rate'))} bp of notional" if get("cost_rate") is not None else currency, ""),
    ]
    shown = "".join(
        f'<div class="tile"><span>{label}</span><b class="{tone}">{escape(value)}</b><span>{escape(below)}</span></div>'
        for label, value, below, tone in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _findings(data: ReportData) -> str:
    found = findings(data)
    items = "".join(f'<li class="{finding.level}">{escape(finding.text)}</li>' for finding in found)
    items += "".join(f"<li>{escape(note)}</li>" for note in (*data.notes, *data.statistics.notes))
    return f'<section><h2>Before you believe it</h2><ul class="findings">{items}</ul></section>' if items else ""


def _equity(data: ReportData, figures: Mapping[str, Any]) -> str:
    if "equity" not in figures:
        return '<section id="equity"><h2>Equity</h2><p class="muted">There is no equity curve.</p></section>'
    can_log = bool(np.all(data.curve.equity > 0))
    toggle = '<button type="button" id="log" aria-pressed="false">Log scale</button>' if can_log else ""
    against = f"against {data.benchmark.name}, without costs" if data.benchmark else "without a benchmark"
    thinned = "journalled points" if data.is_thinned else "closes"
    return (
        f'<section id="equity"><div class="head"><h2>Equity</h2><span class="muted small">{escape(against)}; {len(data.curve.time):,} {thinned}, extremes kept</span>'
        f'<span class="space"></span>{toggle}</div><div class="chart" id="chart-equity"></div>'
        "<noscript><p>The charts need JavaScript; the tables below do not.</p></noscript></section>"
    )


def _candles(data: ReportData, candles: list[dict[str, Any]]) -> str:
    if not candles:
        return (
            '<section id="candles"><h2>Trades on candles</h2><p class="muted">The bars of this run are not at hand, so there are no candles to draw its '
            "trades on. They are listed below.</p></section>"
        )
    options = "".join(f"<option>{escape(entry['symbol'])}</option>" for entry in candles)
    chooser = f'<select id="candle-symbol" aria-label="Symbol">{options}</select>' if len(candles) > 1 else ""
    return (
        '<section id="candles"><div class="head"><h2>Trades on candles</h2><span class="muted small" id="candle-note"></span><span class="space"></span>'
        f'{chooser}</div><div class="buttons" id="candle-views"></div><div class="chart" id="chart-candles"></div></section>'
    )


def _chart(figures: Mapping[str, Any], name: str, title: str, about: str, otherwise: str) -> str:
    if name not in figures:
        return f'<section><h2>{title}</h2><p class="muted">{otherwise}</p></section>'
    return f'<section><h2>{title}</h2><p class="muted small">{about}</p><div class="chart" id="chart-{name}"></div></section>'


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


# ── returns by month ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _calendar(data: ReportData) -> str:
    curve = data.curve
    if len(curve.time) < 2 or not np.all(np.isfinite(curve.equity)) or curve.equity.min() <= 0:
        return '<section id="calendar"><h2>Returns by month</h2><p class="muted">There is no equity to take returns from.</p></section>'
    _, places = sample(curve.time, frequency="daily")
    days = ((curve.time[places] - 1) // DAY).astype("datetime64[D]")
    equity = curve.equity[places]
    months = days.astype("datetime64[M]")
    if len(np.unique(months)) >= 2:
        keys, returns = _by_key(months.astype(np.int64), equity)
        cells = {(1970 + key // 12, key % 12): value for key, value in zip(keys, returns, strict=True)}
        return _heat_table("Returns by month", cells, _MONTHS, lambda year: str(year), "Year")
    keys, returns = _by_key(days.astype(np.int64), equity)
    cells = {((key + 3) // 7, (key + 3) % 7): value for key, value in zip(keys, returns, strict=True)}
    return _heat_table(
        "Returns by day", cells, _WEEKDAYS, lambda week: f"{np.datetime64(week * 7 - 3, 'D').astype(object):%d %b}", "Week",
    )


def _by_key(keys: np.ndarray[Any, Any], equity: np.ndarray[Any, Any]) -> tuple[list[int], list[float]]:
    """Return the return over each run of equal keys, from the last value of the run before."""
    ends = np.append(np.flatnonzero(keys[1:] != keys[:-1]), len(keys) - 1)
    values = np.concatenate((equity[:1], equity[ends]))
    return keys[ends].tolist(), (values[1:] / values[:-1] - 1).tolist()


def _heat_table(title: str, cells: dict[tuple[int, int], float], columns: tuple[str, ...], name_of: Any, total: str) -> str:
    largest = max(0.001, float(np.percentile(np.abs(list(cells.values())), 95)))
    used = [place for place in range(len(columns)) if len(columns) == 12 or any(column == place for _, column in cells)]
    head = "".join(f"<th>{columns[place]}</th>" for place in used)
    rows = []
    for row in sorted({row for row, _ in cells}):
        values = [cells.get((row, place)) for place in used]
        together = float(np.prod([1 + value for value in values if value is not None])) - 1
        rows.append(f"<tr><th>{name_of(row)}</th>{''.join(_heat_cell(value, largest) for value in values)}<td class='total {_tone(together)}'>{_brief(together)}</td></tr>")
    return (
        f'<section id="calendar"><h2>{title}</h2><p class="muted small">UTC; a close at midnight belongs to the day it ends.</p>'
        f'<div class="scroll"><table class="heat"><thead><tr><th></th>{head}<th>{total}</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _heat_cell(value: float | None, largest: float) -> str:
    if value is None:
        return '<td class="none"></td>'
    share = min(1.0, abs(value) / largest) * 62 + (4 if value else 0)
    return f'<td style="--tone:var(--{"gain" if value > 0 else "loss"});--share:{share:.0f}%">{_brief(value)}</td>'


def _brief(value: float) -> str:
    return f"{100 * value:+.1f}" if abs(value) < 10 else f"{100 * value:+,.0f}"


# ── costs, trades, statistics ────────────────────────────────────────────────────────────────────────────────────────────


def _costs(data: ReportData, figures: Mapping[str, Any]) -> str:
    get, currency = data.statistics.get, data.curve.currency
    total, traded, gross = get("total_costs"), get("traded_notional"), get("gross_profit")
    if "costs" not in figures or total is None:
        reason = data.statistics.undefined.get("total_costs") or "nothing was traded"
        return f'<section id="costs"><h2>Costs</h2><p class="muted">No costs to show: {escape(reason)}.</p></section>'
    names = ("spread_cost", "slippage_cost", "impact_cost", "fees", "holding_cost", "total_costs")
    rows = []
    for name in names:
        value = get(name)
        if value is None or (name == "holding_cost" and not value):
            continue
        rate = number(1e4 * value / traded) if traded else NOTHING
        share = percent(value / gross, decimals=1) if gross is not None and gross > 0 else NOTHING
        weight = " style='font-weight:600'" if name == "total_costs" else ""
        rows.append(
            f"<tr{weight}><td>{DEFINITIONS[name].label}</td><td class='n'>{money(value)}</td><td class='n'>{rate}</td><td class='n'>{share}</td></tr>"
        )
    facts = (
        f"{get('fills'):,} fills traded {money(traded)} {escape(currency)}, {number(get('turnover'), decimals=1)} times equity a year. "
        f"Before costs each unit traded earned {number(get('gross_edge'))} bp."
    )
    return (
        '<section id="costs"><h2>From gross to net</h2><p class="muted small">Gross is what the same fills would have made at their reference prices without fees.</p>'
        f'<div class="pair"><div class="chart" id="chart-costs"></div><div><table><thead><tr><th>Cost</th><th class="n">{escape(currency)}</th><th class="n">bp of notional</th>'
        f'<th class="n">of gross</th></tr></thead><tbody>{"".join(rows)}</tbody></table><p class="small muted" style="margin-top:14px">{facts}</p></div></div></section>'
    )


def _trade_list(data: ReportData) -> str:
    trades = data.trades
    if not len(trades):
        return '<section id="trades"><h2>Trade list</h2><p class="muted">There were no trades.</p></section>'
    chosen = _listed(data)
    kind = "long one" if len(trades.symbols) == 1 else "long"
    rows = "".join(_trade_row(trade, data.reasons) for place, trade in enumerate(trades.rows()) if chosen[place])
    note = f"{len(trades):,} trades"
    if len(trades) > LISTED_TRADES:
        note = f"the first {LISTED_TRADES - 50} of {len(trades):,}, and the 25 best and 25 worst; all of them are in the journal"
    names = (
        ("#", "n"), ("Symbol", ""), ("Side", ""), ("Entry", ""), ("Exit", ""), ("Held", "n"), ("Return", "n"), ("Net", "n"), ("Costs", "n"),
        ("Worst", "n"), ("Best", "n"), ("Why in", ""), ("Why out", ""),
    )
    head = "".join(f'<th class="{kind}" scope="col"><button type="button">{name}</button></th>' for name, kind in names)
    return (
        f'<section id="trades"><div class="head"><h2>Trade list</h2><span class="muted small">{note}; {escape(data.curve.currency)}</span><span class="space"></span>'
        f'<input id="trade-filter" type="search" placeholder="Filter" aria-label="Filter trades"></div>'
        f'<div class="{kind}"><table id="trade-list"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _listed(data: ReportData) -> np.ndarray[Any, np.dtype[np.bool_]]:
    trades = data.trades
    chosen = np.ones(len(trades), bool)
    if len(trades) > LISTED_TRADES:
        chosen[LISTED_TRADES - 50 :] = False
        order = np.argsort(np.nan_to_num(trades.net_profit), kind="stable")
        chosen[order[:25]] = True
        chosen[order[-25:]] = True
    return chosen


def _trade_row(trade: Trade, reasons: Mapping[int, Reason]) -> str:
    into, out = reasons.get(trade.entry_order_id), None if trade.is_open else reasons.get(trade.exit_order_id)
    held = trade.duration
    return (
        f"<tr>{_cell(trade.id, str(trade.id))}<td>{escape(trade.symbol)}</td><td>{'long' if trade.direction > 0 else 'short'}<small>{price(trade.quantity)}</small></td>"
        f"<td class='t' data-v='{trade.entry_time // SECOND}'>{_minute(trade.entry_time)}<small>{price(trade.entry_price)}</small></td>"
        f"<td class='t' data-v='{LAST if trade.exit_time is None else trade.exit_time // SECOND}'>"
        f"{'open' if trade.exit_time is None else _minute(trade.exit_time)}<small>{price(trade.exit_price)}</small></td>"
        f"{_cell((held or 0) // SECOND, duration(held))}"
        f"{_cell(trade.return_on_entry, percent(trade.return_on_entry, signed=True), _tone(trade.net_profit))}"
        f"{_cell(trade.net_profit, money(trade.net_profit, signed=True), _tone(trade.net_profit))}{_cell(trade.costs, money(trade.costs))}"
        f"{_cell(trade.worst_excursion, percent(trade.worst_excursion))}{_cell(trade.best_excursion, percent(trade.best_excursion))}"
        f"{_why(into)}{_why(out)}</tr>"
    )


def _cell(value: float, shown: str, tone: str = "") -> str:
    sortable = f"{value:.9g}" if np.isfinite(value) else "-1e308"
    return f'<td class="n {tone}" data-v="{sortable}">{shown}</td>'


def _why(reason: Reason | None) -> str:
    if reason is None:
        return "<td></td>"
    whole = escape(reason.why + (f" ({reason.saw})" if reason.saw else ""))
    return f'<td class="why" title="{whole}">{escape(reason.why)}</td>'


def _statistics(data: ReportData) -> str:
    figures, currency = data.statistics, data.curve.currency
    sampling = figures.sampling
    period = "day" if sampling.frequency == "daily" else "bar"
    basis = f"Returns are per {period}{' (UTC)' if period == 'day' else ''}: {sampling.reason}. {sampling.periods:,} of them, {sampling.periods_per_year:,.6g} to a year."
    blocks = []
    for group in GROUPS:
        rows = []
        for name, definition in DEFINITIONS.items():
            if definition.group != group or name not in figures.values:
                continue
            reason = figures.undefined.get(name, "")
            why = f" <em>No value: {escape(reason)}.</em>" if reason else ""
            rows.append(
                f"<div><dt>{definition.label.replace('period', period)}</dt><dd>{escape(statistic(name, figures.get(name), currency))}</dd>"
                f"<small>{escape(definition.text)}{why}</small></div>"
            )
        blocks.append(f"<div><h3>{group}</h3><dl>{''.join(rows)}</dl></div>")
    return (
        f'<section id="statistics"><div class="head"><h2>Statistics</h2><span class="muted small">{escape(basis)} '
        f'Drawdowns are taken at every close.</span></div><div class="columns">{"".join(blocks)}</div></section>'
    )


# ── what it rests on ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _assumptions(data: ReportData) -> str:
    card = data.card
    warnings = "".join(
        f'<div class="warning {escape(warning["level"])}"><b>{escape(warning["setting"])}{" = " if warning["setting"] else ""}'
        f'{escape(str(warning["value"]))}</b> {escape(warning["text"])}.</div>'
        for warning in card.get("warnings", ())
    ) or '<p class="muted">No setting in force is known to flatter the result.</p>'
    left = _table_of("Switch", card.get("switches", {}), Switches().card()) + _table_of("Data", card.get("data", {}))
    right = _table_of("Cost", card.get("costs", {})) + _instruments(card.get("instruments", {}))
    rows = "".join(
        f"<tr><td>{escape(line.assumption)}</td><td>{escape(line.reality)}</td><td>{escape(line.effect)}</td><td>{escape(line.what_to_do)}</td></tr>"
        for line in SIMPLIFICATIONS
    )
    profile = f"profile {card['profile']}, " if card.get("profile") else ""
    return (
        f'<section id="assumptions"><div class="head"><h2>Assumption card</h2><span class="muted small">{escape(profile)}compare results only under the same hash</span></div>'
        f'<p class="mono hash muted">sha256 {escape(str(card.get("hash", "")))}</p><div class="warnings">{warnings}</div><div class="pair"><div>{left}</div><div>{right}</div></div>'
        '<h3 style="margin-top:24px">What the simulator leaves out</h3><div class="scroll"><table><thead><tr><th>Assumption</th><th>Reality</th><th>Effect on the result</th>'
        f"<th>What to do</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _table_of(title: str, entries: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    if not entries:
        return ""
    rows = []
    for name, value in entries.items():
        differs = defaults is not None and name in defaults and defaults[name] != value
        note = f" <span class='chip warn'>default {escape(_said(name, defaults[name]))}</span>" if defaults is not None and differs else ""
        rows.append(f"<tr><td>{escape(str(name))}</td><td class='mono'>{escape(_said(name, value))}{note}</td></tr>")
    return f'<table style="margin-bottom:16px"><thead><tr><th>{title}</th><th>In force</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _said(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(key, part)}" if key != "kind" else str(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        shown = ", ".join(_said("", part) for part in value[:6])
        return f"{shown}, and {len(value) - 6} more" if len(value) > 6 else shown
    if name in ("start", "end") and isinstance(value, int):
        return iso(value)
    return "none" if value is None else str(value)


def _instruments(instruments: Mapping[str, Mapping[str, Any]]) -> str:
    if not instruments:
        return ""
    columns = list(dict.fromkeys(key for rules in instruments.values() for key in rules))[:6]
    head = "".join(f"<th>{escape(key.replace('_', ' '))}</th>" for key in columns)
    rows = "".join(
        f"<tr><td>{escape(symbol)}</td>{''.join(f'<td class=mono>{escape(str(rules.get(key, NOTHING)))}</td>' for key in columns)}</tr>"
        for symbol, rules in list(instruments.items())[:60]
    )
    more = f'<p class="muted small">and {len(instruments) - 60} more</p>' if len(instruments) > 60 else ""
    return f'<div class="scroll"><table><thead><tr><th>Instrument</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>{more}'


def _provenance(data: ReportData) -> str:
    made_of = data.manifest
    dirty = {True: " with uncommitted changes", False: ", clean", None: ", unknown whether clean"}[made_of.get("is_dirty")]
    facts = {
        "Data fingerprint": data.data_fingerprint or NOTHING,
        "Fills hash": data.fills_hash or NOTHING,
        "Assumption hash": str(data.card.get("hash", NOTHING)),
        "Code": f"{made_of.get('code_version', 'unknown')}{dirty}" if made_of else "unknown",
        "Determinism": str(made_of.get("determinism", NOTHING)),
        "Seeds": ", ".join(f"{name} {seed}" for name, seed in made_of.get("seeds", {}).items()) or "none",
        "Libraries": ", ".join(f"{name} {version}" for name, version in made_of.get("libraries", {}).items()) or NOTHING,
        "Started": iso(made_of["started_at"]) if made_of.get("started_at") else NOTHING,
        "Orders": f"{data.order_count:,}, {data.refused_count:,} refused",
    }
    rows = "".join(f"<tr><td>{name}</td><td class='mono hash'>{escape(value)}</td></tr>" for name, value in facts.items())
    settings = made_of.get("settings")
    shown = (
        f"<details><summary>Settings, whole</summary><pre>{escape(json.dumps(settings, indent=2, default=str, ensure_ascii=False))}</pre></details>"
        if settings else ""
    )
    read = made_of.get("data")
    if read:
        shown += f"<details><summary>Data, as it was read</summary><pre>{escape(json.dumps(read, indent=2, default=str, ensure_ascii=False))}</pre></details>"
    return (
        '<section id="provenance"><h2>Provenance</h2><p class="muted small">A run is a pure function of what is named here: the same again gives the same fills hash.</p>'
        f"<table><tbody>{rows}</tbody></table>{shown}</section>"
    )


def _machine_readable(data: ReportData) -> dict[str, Any]:
    """Return what a program would want from the page: `JSON.parse(document.getElementById("run").textContent)`."""
    return {
        "run_id": data.run_id, "strategy": data.strategy, "symbols": list(data.symbols), "statistics": data.statistics.as_dict(),
        "assumption_card": data.card, "data_fingerprint": data.data_fingerprint, "fills_hash": data.fills_hash,
    }


# ── small parts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _palette_css() -> str:
    light = "".join(f"{name}:{colours[0]};" for name, colours in charts.PALETTE.items())
    dark = "".join(f"{name}:{colours[1]};" for name, colours in charts.PALETTE.items())
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}color-scheme:dark}}\n:root[data-theme=light]{{color-scheme:light}}"
    )


def _symbols(data: ReportData, most: int) -> str:
    more = len(data.symbols) - most
    return ", ".join(data.symbols[:most]) + (f" and {more} more" if more > 0 else "")


def _tone(value: float | None) -> str:
    return "" if not value or not np.isfinite(value) else "gain" if value > 0 else "loss"


def _day(time: Any) -> str:
    return iso(int(time)).partition("T")[0]


def _minute(time: int) -> str:
    return iso(time).replace("T", " ").removesuffix("Z")
