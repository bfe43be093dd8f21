"""What bars leave open, in words, rows and a figure: for the terminal and for the page.

`ReportData.bounds` is plain JSON (config.bounds makes it, the journal keeps it); here it is told.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.analysis.charts import Figure, line_of
from engine.analysis.forecast_view import is_divided
from engine.analysis.formatting import NOTHING, minute, money, number, percent, price
from engine.analysis.report_data import ReportData
from engine.analysis.thinning import extremes

SIDES = ("pessimistic", "declared", "optimistic")
LISTED = 200
"""Ambiguous trades in the page's table, those between whose outcomes most lies."""


class Side(NamedTuple):
    """One of the three results, as text."""

    name: str
    equity: str
    total_return: str
    sharpe: str
    max_drawdown: str
    trades: str


class OpenTrade(NamedTuple):
    """A trade that bars leave open, as text; `between` is what lies between its outcomes."""

    orders: str
    symbol: str
    side: str
    quantity: str
    entered: str
    bars: str
    endings: tuple[tuple[str, str, str], ...]
    """Of each side: net, price, when."""
    between: str


def is_told(data: ReportData) -> bool:
    """Return whether the run met bars that leave something open, or could have."""
    return bool(data.bounds) and bool(data.bounds.get("contested") or data.bounds.get("resolved"))


def bounds_headline(data: ReportData) -> str:
    """Return how much hangs on what bars do not tell, in one sentence."""
    bounds = data.bounds
    count, contested, resolved = (int(bounds.get(name) or 0) for name in ("ambiguous", "contested", "resolved"))
    bars = f"{contested:,} bar{'s' if contested != 1 else ''}"
    told = f"; finer bars told what happened in {resolved:,}" if resolved else ""
    if not contested and not resolved:
        same = "pessimistic, declared and optimistic are the same"
        return f"No bar leaves open which of several orders filled first: {same}."
    corrected = int(bounds.get("corrected") or 0)
    rest = "nothing hangs on the order of prices inside them"
    if corrected:
        rest = f"{corrected:,} trades end otherwise there"
    if not contested:
        return f"Finer bars told what happened in {resolved:,} bars; {rest}."
    if bounds.get("note"):
        return f"Several orders could act in {bars}; the bounds were not worked out: {bounds['note']}."
    if not any(bounds.get(name) for name in ("ambiguous", "unknown", "unlinked")):
        return f"Several orders could act in {bars}{told}; {rest}."
    hang = "hangs" if count == 1 else "hang"
    every = f" of {len(data.trades):,}" if len(data.trades) >= count else ""
    return f"{count:,}{every} trades {hang} on the order of prices inside a bar ({bars} could decide{told})."


def bounds_sides(data: ReportData) -> list[Side]:
    """Return the three results; empty where they were not worked out."""
    bounds = data.bounds
    if not all(bounds.get(name) for name in SIDES):
        return []
    sides = [_side(name, bounds[name]) for name in SIDES]
    return [side._replace(sharpe=NOTHING) for side in sides] if is_divided(data.forecasts) else sides


def _side(name: str, told: Mapping[str, Any]) -> Side:
    trades = told.get("trades")
    return Side(
        name, money(told.get("final_equity")), percent(told.get("total_return"), signed=True),
        number(told.get("sharpe")), percent(told.get("max_drawdown")), NOTHING if trades is None else f"{trades:,}",
    )


def bounds_notes(data: ReportData) -> list[str]:
    """Return what to know about the bounds, in sentences."""
    notes = [ask(data.bounds, data.curve.currency) for ask in (_again, _unknown, _unlinked, _corrected)]
    return [note for note in notes if note]


def _again(bounds: Mapping[str, Any], currency: str) -> str:
    again = bounds.get("again") or {}
    if not all(again.get(name) for name in ("pessimistic", "optimistic")):
        return ""
    low, high = (money(again[name]["final_equity"]) for name in ("pessimistic", "optimistic"))
    text = f"Made again, so that the strategy can react, the run ends at {low} {currency} at worst and {high} at best"
    found = {name: run["differs"] for name, run in again.items() if run.get("differs")}
    if not found:
        return f"{text}; it asks for the same orders."
    told = [f"{differs['what']} from {minute(differs['from'])} on ({name})" for name, differs in found.items()]
    return f"{text}; it then asks for {' and '.join(told)}."


def _unknown(bounds: Mapping[str, Any], currency: str) -> str:
    count = int(bounds.get("unknown") or 0)
    return f"{count:,} more, changed or closed in part by other orders, are as declared in all three." if count else ""


def _unlinked(bounds: Mapping[str, Any], currency: str) -> str:
    count = int(bounds.get("unlinked") or 0)
    if not count:
        return ""
    return f"In {count:,} bars orders met that are not linked to each other; the three do not know what those might do."


def _corrected(bounds: Mapping[str, Any], currency: str) -> str:
    count = int(bounds.get("corrected") or 0)
    said = "trades ended otherwise in the finer bars, which the bounds include and the declared result does not"
    return f'{count:,} {said}; path = "detail" trades by them.' if count else ""


def bounds_lines(data: ReportData) -> list[str]:
    """Return the lines that the terminal shows: what is open, the three results, what to know."""
    lines = [bounds_headline(data)]
    lines += [
        f"{side.name:<12}{side.equity:>14} {data.curve.currency}{side.total_return:>12}   "
        f"Sharpe {side.sharpe:>6}   deepest fall {side.max_drawdown}"
        for side in bounds_sides(data)
    ]
    return lines + bounds_notes(data)


def open_trades(data: ReportData) -> list[OpenTrade]:
    """Return the trades that bars leave open: of many those between whose outcomes most lies, in order of time."""
    trades = list(data.bounds.get("trades", ()))
    trades.sort(key=lambda trade: trade["pessimistic"]["net"] - trade["optimistic"]["net"])
    return [_open_trade(trade, data) for trade in sorted(trades[:LISTED], key=lambda trade: trade["entry_time"])]


def _open_trade(trade: Mapping[str, Any], data: ReportData) -> OpenTrade:
    run, numbers = f"r{data.run_id}-" if data.run_id is not None else "", trade["orders"]
    in_a_row = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
    bars = [minute(time) for time in trade["bars"]]
    return OpenTrade(
        f"{run}{numbers[0]} to {numbers[-1]}" if in_a_row else ", ".join(f"{run}{number}" for number in numbers),
        trade["symbol"],
        trade["side"],
        price(trade["quantity"]),
        minute(trade["entry_time"]),
        bars[0] + (f" and {len(bars) - 1} more" if len(bars) > 1 else "") if bars else NOTHING,
        tuple(_ending(trade[name]) for name in SIDES),
        money(trade["optimistic"]["net"] - trade["pessimistic"]["net"]),
    )


def _ending(ending: Mapping[str, Any]) -> tuple[str, str, str]:
    net, time = ending["net"], ending["time"]
    if time is None:
        return money(0.0), NOTHING, "nothing filled"
    when = "still held at the end" if ending["is_held"] else minute(time)
    return money(net, signed=True), price(ending["price"]), when


def bounds_figure(data: ReportData) -> Figure | None:
    """Draw the band of equity from pessimistic to optimistic, and the declared curve in it; None where nothing is
    open."""
    curve, bounds = data.curve, data.bounds
    if not is_told(data) or not bounds_sides(data) or not len(curve.time):
        return None
    places = extremes(curve.equity, 1200)
    own = [int(time) // 1_000_000 for time in curve.time[places].tolist()], curve.equity[places]
    traces = []
    for name in ("pessimistic", "optimistic"):
        again = bounds[name].get("curve")
        x, y = own
        if again:
            x, y = [int(time) // 1_000_000 for time in again["time"]], np.array(again["equity"], np.float64)
        shown = line_of(x, y, name.capitalize(), "--loss" if name == "pessimistic" else "--gain", 1, "%{y:,.2f}")
        if name == "optimistic":
            shown |= {"fill": "tonexty", "fillcolor": "--accent-soft"}
        traces.append(shown)
    traces.append(line_of(*own, "Declared", "--accent", 2, "%{y:,.2f}"))
    return {
        "data": traces,
        "layout": {
            "height": 340,
            "hovermode": "x unified",
            "xaxis": {"type": "date"},
            "yaxis": {"tickformat": ",~s", "title": {"text": curve.currency}},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        },
    }
