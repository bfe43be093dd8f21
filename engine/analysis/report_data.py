"""Everything a report or a summary shows, gathered once: from a run in memory or from the journal's rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from engine.analysis.assumptions import assumption_card
from engine.analysis.benchmark import Benchmark, buy_and_hold
from engine.analysis.forecast_view import with_split
from engine.analysis.metrics import Statistics, statistics
from engine.analysis.trades import Trades, round_trips
from engine.bars import Bars, FloatArray, IntArray
from engine.records import AccountEventRow, DecisionRow, EquityRow, FillRow, OrderRow, RunStart
from engine.results import EquityCurve, RunResult
from engine.risk.facts import Halt

Rows = Sequence[tuple[Any, ...]]


class Reason(NamedTuple):
    """Why an order was made: the strategy's words, and what its indicator lines said ("" if it has none)."""

    why: str
    saw: str


@dataclass(frozen=True)
class ReportData:
    """A run, ready to be shown.

    Args:
        curve: equity at every close, or the thinned rows of a journal (`is_thinned`).
        card: the assumption card with its hash and warnings.
        refused_by: orders that the risk gate refused, by rule; halts: how often it halted trading.
        manifest: what the run was made of: the fields of `RunStart`, as a dict; empty if unknown.
        reasons: order id → why it was made.
        bars: None when they are not at hand; the page then says so instead of drawing candles.
        notes: what the report lacks, and why.
    """

    strategy: str
    symbols: tuple[str, ...]
    curve: EquityCurve
    trades: Trades
    statistics: Statistics
    card: Mapping[str, Any]
    data_fingerprint: str
    run_id: int | None = None
    kind: str = "backtest"
    status: str = "completed"
    timeframes: tuple[str, ...] = ()
    benchmark: Benchmark | None = None
    bars: Bars | None = None
    reasons: Mapping[int, Reason] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    bar_count: int = 0
    loop_seconds: float = 0.0
    order_count: int = 0
    refused_count: int = 0
    refused_by: Mapping[str, int] = field(default_factory=dict)
    halts: int = 0
    fills_hash: str = ""
    is_thinned: bool = False
    notes: tuple[str, ...] = ()
    bounds: Mapping[str, Any] = field(default_factory=dict)
    """What bars leave open, as `backtest --json` has it (config.bounds); empty if it was not asked."""
    forecasts: Mapping[str, Any] = field(default_factory=dict)
    """What models were asked and how good they were, with the statistics split where they are clean; empty without."""

    @property
    def flattering(self) -> tuple[str, ...]:
        """The warnings of the assumption card under which results look better than trading would."""
        found = [warning for warning in self.card.get("warnings", ()) if warning["level"] == "optimistic"]
        return tuple(": ".join(filter(None, (_set_to(warning), warning["text"]))) for warning in found)

    @property
    def bars_per_second(self) -> float:
        return self.bar_count / self.loop_seconds if self.loop_seconds > 0 else 0.0


def report_from_result(
    result: RunResult,
    *,
    bars: Bars | None = None,
    benchmark: Benchmark | None = None,
    manifest: RunStart | Mapping[str, Any] | None = None,
    orders: Sequence[OrderRow] | Rows = (),
    decisions: Sequence[DecisionRow] | Rows = (),
    account_events: Sequence[AccountEventRow] | Rows = (),
) -> ReportData:
    """Return the report of a run that has just finished.

    Args:
        bars: what it traded on: draws candles and excursions, and is the benchmark unless one is given.
        manifest: what the journal was told at the start.
        orders, decisions: for the reasons; account_events: for funding and borrow.
    """
    made_of = _as_mapping(manifest)
    factors = _multipliers(made_of)
    trades = _trades(result.fills, result.curve, bars, factors, _contracts(made_of))
    if benchmark is None and bars is not None:
        benchmark = buy_and_hold(bars, result.curve.time)
    figures = statistics(
        result.curve, trades=trades, fills=result.fills, benchmark=benchmark, account_events=account_events,
        multipliers=factors,
    )
    return ReportData(
        result.strategy,
        result.symbols,
        result.curve,
        trades,
        figures,
        complete_card(result.assumptions),
        result.data_fingerprint,
        run_id=result.run_id,
        kind=str(made_of.get("kind", "backtest")),
        timeframes=_timeframes(bars, made_of),
        benchmark=benchmark,
        bars=bars,
        reasons=_reasons(orders, decisions, made_of),
        manifest=made_of,
        bar_count=result.bars,
        loop_seconds=result.loop_seconds,
        order_count=result.order_count,
        refused_count=result.refused_count,
        refused_by=result.refused_by,
        halts=sum(isinstance(event, Halt) for event in result.risk_events),
        fills_hash=result.fills_hash,
        notes=_lacking(bars, decisions, result.fills),
        forecasts=with_split(result.forecasts, result.curve),
    )


def report_from_journal(
    manifest: RunStart | Mapping[str, Any],
    *,
    fills: Sequence[FillRow] | Rows,
    equity: Sequence[EquityRow] | Rows,
    orders: Sequence[OrderRow] | Rows = (),
    decisions: Sequence[DecisionRow] | Rows = (),
    account_events: Sequence[AccountEventRow] | Rows = (),
    result: Mapping[str, Any] | None = None,
    bars: Bars | None = None,
    run_id: int | None = None,
    status: str = "completed",
    bar_count: int = 0,
) -> ReportData:
    """Return the report of a run from the rows that it left in the journal.

    Args:
        manifest: the fields of `RunStart`.
        equity: thinned rows; those of the first row's currency are used.
        result: `RunEnd.result`. Its "statistics" are shown as they were computed at the run, from every close; without
            them they are computed anew from the thinned equity, and the page says so.
        bars: the data set of the run, if it is still there.
    """
    made_of = _as_mapping(manifest)
    ended = dict(result or {})
    curve = _curve(equity)
    factors = _multipliers(made_of)
    trades = _trades(fills, curve, bars, factors, _contracts(made_of))
    benchmark = buy_and_hold(bars, curve.time) if bars is not None else None
    notes = _lacking(bars, decisions, fills)
    stored = ended.get("statistics")
    if stored:
        figures = Statistics.from_dict(stored)
    else:
        figures = statistics(
            curve, trades=trades, fills=fills, benchmark=benchmark, account_events=account_events, multipliers=factors
        )
        notes += (f"Statistics were computed from {len(curve.time):,} thinned points of equity, not from every close.",)
    if status != "completed":
        notes = (f"This run did not complete (status: {status}); it is shown as far as it came.", *notes)
    symbols = tuple(made_of.get("symbols") or made_of.get("instruments") or trades.symbols)
    return ReportData(
        str(made_of.get("strategy", "unnamed strategy")),
        symbols,
        curve,
        trades,
        figures,
        complete_card(made_of.get("assumptions", {})),
        str(made_of.get("data_fingerprint", "")),
        run_id=run_id,
        kind=str(made_of.get("kind", "backtest")),
        status=status,
        timeframes=_timeframes(bars, made_of),
        benchmark=benchmark,
        bars=bars,
        reasons=_reasons(orders, decisions, made_of),
        manifest=made_of,
        bar_count=int(ended.get("bars", bar_count)),
        loop_seconds=float(ended.get("loop_seconds", 0.0)),
        order_count=int(ended.get("orders", len(orders))),
        refused_count=int(ended.get("refused", 0)),
        refused_by=dict(ended.get("refused_by", {})),
        halts=int(ended.get("halts", 0)),
        fills_hash=str(ended.get("fills_hash", "")),
        is_thinned=True,
        notes=notes,
        bounds=ended.get("bounds") or {},
        forecasts=ended.get("forecasts") or {},
    )


def with_statistics(
    result: RunResult,
    *,
    bars: Bars | None = None,
    benchmark: Benchmark | None = None,
    account_events: Sequence[AccountEventRow] | Rows = (),
    multipliers: Mapping[str, float] | None = None,
) -> RunResult:
    """Return the result with its `statistics` filled in, JSON-ready: what the command line and the journal keep."""
    trades = _trades(result.fills, result.curve, bars, multipliers or {})
    if benchmark is None and bars is not None:
        benchmark = buy_and_hold(bars, result.curve.time)
    figures = statistics(
        result.curve, trades=trades, fills=result.fills, benchmark=benchmark, account_events=account_events,
        multipliers=multipliers,
    )
    return replace(result, statistics=figures.as_dict())


def complete_card(assumptions: Mapping[str, Any]) -> dict[str, Any]:
    """Return an assumption card with its hash and warnings, whether or not it came with them."""
    if "hash" in assumptions and "warnings" in assumptions:
        return dict(assumptions)
    made = assumption_card(
        assumptions.get("switches", {}), assumptions.get("costs", {}), assumptions.get("instruments"),
        assumptions.get("data"), profile=str(assumptions.get("profile", "")), risk=assumptions.get("risk"),
        account=assumptions.get("account"),
    )
    return {**assumptions, **made}


def _set_to(warning: Mapping[str, str]) -> str:
    return f"{warning['setting']} = {warning['value']}" if warning["setting"] else ""


def _as_mapping(manifest: RunStart | Mapping[str, Any] | None) -> dict[str, Any]:
    return asdict(manifest) if isinstance(manifest, RunStart) else dict(manifest or {})


def _multipliers(manifest: Mapping[str, Any]) -> dict[str, float]:
    found = {symbol: float(rules.get("multiplier", 1)) for symbol, rules in manifest.get("instruments", {}).items()}
    return {symbol: factor for symbol, factor in found.items() if factor != 1}


def _contracts(manifest: Mapping[str, Any]) -> frozenset[str]:
    """Return the symbols of contracts, whose notional never was in cash."""
    kinds = {symbol: rules.get("kind", "spot") for symbol, rules in manifest.get("instruments", {}).items()}
    return frozenset(symbol for symbol, kind in kinds.items() if kind != "spot")


def _trades(
    fills: Rows, curve: EquityCurve, bars: Bars | None, multipliers: Mapping[str, float],
    contracts: frozenset[str] = frozenset(),
) -> Trades:
    last_prices = None
    if bars is None:
        known = _last_price(fills, curve, multipliers)
        last_prices = {symbol: price for symbol, price in known.items() if symbol not in contracts}
    return round_trips(fills, bars=bars, multipliers=multipliers, last_prices=last_prices)


def _last_price(fills: Rows, curve: EquityCurve, multipliers: Mapping[str, float]) -> dict[str, float]:
    """Work out the last close from equity and cash, which can be done while a single position is open."""
    held = {row.symbol: row.position_after for row in (FillRow(*fill) for fill in fills)}
    still = {symbol: quantity for symbol, quantity in held.items() if quantity}
    if len(still) != 1 or not len(curve.time):
        return {}
    ((symbol, quantity),) = still.items()
    return {symbol: float(curve.equity[-1] - curve.cash[-1]) / (quantity * multipliers.get(symbol, 1.0))}


def _curve(equity: Rows) -> EquityCurve:
    rows = [EquityRow(*row) for row in equity]
    currency = rows[0].currency if rows else ""
    own = [row for row in rows if row.currency == currency]

    def column(name: str) -> FloatArray:
        return np.array([getattr(row, name) for row in own], np.float64)

    time: IntArray = np.array([row.time for row in own], np.int64)
    return EquityCurve(currency, time, column("equity"), column("cash"), column("exposure"))


def _timeframes(bars: Bars | None, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    if bars is not None:
        return tuple(dict.fromkeys(stream.timeframe for stream in bars.streams))
    named = [
        stream.get("timeframe") if isinstance(stream, Mapping) else stream[1]
        for stream in manifest.get("data", {}).get("streams", ())
        if isinstance(stream, Mapping) or (isinstance(stream, list | tuple) and len(stream) == 2)
    ]
    return tuple(dict.fromkeys(str(name) for name in named if name))


def _reasons(orders: Rows, decisions: Rows, manifest: Mapping[str, Any]) -> dict[int, Reason]:
    said = {row.id: row for row in (DecisionRow(*row) for row in decisions)}
    lines = tuple(manifest.get("lines", ()))
    reasons = {}
    for order in (OrderRow(*row) for row in orders):
        decision = said.get(order.decision_id)
        if decision is not None:
            reasons[order.id] = Reason(decision.why or decision.action, _saw(decision.saw, lines))
    return reasons


def _saw(saw: Sequence[float | None] | str | None, lines: tuple[str, ...]) -> str:
    """Return "SMA(20) 42,100.5 · SMA(50) 42,050" from what a decision saw: numbers, or SQL's JSON array of them."""
    values = json.loads(saw) if isinstance(saw, str) and saw else saw
    if not isinstance(values, Sequence) or not values:
        return ""
    names = lines if len(lines) == len(values) else ("",) * len(values)
    shown = ("none" if value is None or value != value else f"{value:,.7g}" for value in values)
    return " · ".join(f"{name} {value}".strip() for name, value in zip(names, shown, strict=True))


def _lacking(bars: Bars | None, decisions: Rows, fills: Rows) -> tuple[str, ...]:
    notes = []
    if bars is None:
        notes.append("The bars are not at hand: there are no candles, no benchmark and no excursions.")
    if fills and not decisions:
        notes.append("The decisions are not at hand: trades are shown without their reasons.")
    return tuple(notes)
