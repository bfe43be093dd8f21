"""What came of a golden run, as text: every order, event and fill on a line of its own, statistics, counts and hashes.

Numbers are written with as many digits as are exact: what is money or price to the last one, what came out of floating
point (statistics, the cost of slippage) to nine, so that another version of a library changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.analysis.metrics import statistics
from engine.analysis.trades import round_trips
from engine.bars import iso
from engine.clearing import Clearing
from engine.exchange import SimulatedExchange
from engine.instruments import Instrument
from engine.journal.memory import MemoryJournal
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.records import AccountEventRow, FillRow, OrderEventRow, OrderRow
from engine.results import RunResult
from engine.risk import headroom
from engine.testing import BarsFeed
from tests.golden.runs import Setup

EXPECTED = Path(__file__).resolve().parent / "expected"
UPDATE = "python -m tests.golden --update"

STATISTICS = (
    "final_equity", "total_return", "max_drawdown", "volatility", "sharpe", "sortino", "trades", "win_rate",
    "profit_factor", "expectancy", "fees", "spread_cost", "slippage_cost", "impact_cost", "exposure_time",
)
"""Those whose definition is not likely to change; the whole list has tests of its own."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """What the journal holds of a run."""

    orders: list[OrderRow]
    events: list[OrderEventRow]
    fills: list[FillRow]
    account: list[AccountEventRow]


def play(setup: Setup) -> tuple[RunResult, Rows]:
    """Run a setup."""
    terms, bars = setup.terms, setup.bars
    named = {instrument.symbol: instrument for instrument in setup.instruments}
    instruments = [
        named.get(symbol) or Instrument(
            symbol, terms.currency, price_increment=terms.price_increment,
            quantity_increment=terms.quantity_increment, min_notional=terms.min_notional)
        for symbol in bars.symbols]
    cash = dict.fromkeys([terms.currency, *(instrument.quote for instrument in instruments)], terms.cash)
    account: dict[str, Any] = {"allow_short": terms.allow_short, "margin": terms.margin, "converts": terms.converts}
    portfolio = Portfolio(cash, instruments, **{**account, **setup.portfolio})
    clearing = None
    if terms.margin or terms.carry or terms.rules or terms.marks:
        clearing = Clearing(portfolio, terms.carry, terms.rules, terms.marks)
    venue = {"fees": terms.fees, "slippage": terms.slippage, "clearing": clearing, "detail": terms.detail}
    broker = SimulatedExchange(portfolio, terms.switches, **{**venue, **setup.broker})
    journal = MemoryJournal()
    parts = {
        "journal": journal, "risk": terms.risk, "latency": terms.latency,
        "headroom": headroom(
            terms.fees, terms.slippage, bars.symbols[0], float(terms.margin.leverage) if terms.margin else 1.0),
        "checks_brackets": terms.switches.checks_brackets, **setup.parts}
    result = Engine(Parts(BarsFeed(bars), setup.strategy, broker, portfolio, **parts)).run()
    with journal.snapshot() as reader:
        return result, Rows(reader.rows(OrderRow, 1), reader.rows(OrderEventRow, 1), reader.rows(FillRow, 1),
                            reader.rows(AccountEventRow, 1))


def record(about: str, setup: Setup) -> Record:
    """Run a setup and return what came of it, JSON-ready."""
    result, rows = play(setup)
    orders = [_order(row) for row in rows.orders]
    events = [f"order {row.order_id} {row.kind} {iso(row.time)}" + (f": {row.reason}" if row.reason else "")
              for row in rows.events]
    fills = [_fill(row) for row in rows.fills]
    account = [f"{iso(row.time)} {row.kind} {row.amount:.10g} {row.currency}" for row in rows.account]
    figures = statistics(
        result.curve, trades=round_trips(result.fills), fills=result.fills, account_events=rows.account).values
    return {
        "about": about,
        "draws": setup.draws,
        "bars": result.bars,
        "counts": {"orders": len(orders), "refused": result.refused_count, "fills": len(fills),
                   **dict(sorted(Counter(row.kind for row in rows.events).items()))},
        "statistics": {name: _figure(figures.get(name)) for name in STATISTICS},
        "final_equity": f"{result.final_equity.normalize():f}",
        "orders_hash": _hash(orders + events),
        "fills_hash": _hash(fills),
        "account": account,
        "orders": orders,
        "events": events,
        "fills": fills,
    }


def _order(row: OrderRow) -> str:
    terms = {
        "limit": row.limit_price, "stop": row.stop_price, "trail": row.trail, "parent": row.parent_id,
        "group": row.oco_group, "until": None if row.expire_at is None else iso(row.expire_at)}
    words = [f"order {row.id} {iso(row.time)} {row.side} {row.quantity:.10g} {row.symbol} {row.type}"]
    words += [f"{name} {value if isinstance(value, str | int) else f'{value:.10g}'}"
              for name, value in terms.items() if value is not None]
    words += [] if row.time_in_force == "gtc" else [row.time_in_force]
    words += [name for name, holds in (("post-only", row.post_only), ("reduce-only", row.reduce_only)) if holds]
    return " ".join(words)


def _fill(row: FillRow) -> str:
    costs = "".join(
        f", {name} {value:.9g}" for name, value in (
            ("spread", row.spread_cost), ("slippage", row.slippage_cost), ("impact", row.impact_cost)) if value)
    return (f"fill {row.id} of order {row.order_id} {iso(row.time)} {row.side} {row.quantity:.10g} {row.symbol} at "
            f"{row.price:.10g} {row.liquidity}, fee {row.fee:.12g} {row.currency}{costs}; holds "
            f"{row.position_after:.10g}, cash {row.cash_after:.14g}")


def _figure(value: float | int | None) -> float | int | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.9g}")


def _hash(lines: list[str]) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()


# ── against what is expected ────────────────────────────────────────────────────────────────────────────────────────


def expected(name: str, folder: Path = EXPECTED) -> Record | None:
    """Return what is expected of a run, or None if nothing is yet."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def save(name: str, found: Record, folder: Path = EXPECTED) -> None:
    """Make a record the expectation."""
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def changes(before: Record | None, after: Record) -> list[str]:
    """Return what differs, in words: the first differing order, event and fill, then counts and statistics."""
    if before is None:
        return ["there was no such run before"]
    words = []
    for table in ("orders", "events", "fills", "account"):
        words += _first_difference(table, before[table], after[table])
    for table in ("counts", "statistics"):
        for name in dict.fromkeys([*before[table], *after[table]]):
            old, new = before[table].get(name), after[table].get(name)
            if not _same(old, new):
                words.append(f"{table}: {name} was {old}, is {new}")
    words += [f"{name} was {before[name]}, is {after[name]}"
              for name in ("about", "draws", "bars", "final_equity") if before[name] != after[name]]
    hashes = [name for name in ("orders_hash", "fills_hash") if before[name] != after[name]]
    if hashes and not words:
        words.append(f"{' and '.join(hashes)} of the file do not belong to its lines")
    return words


def _first_difference(table: str, before: list[str], after: list[str]) -> list[str]:
    for place, (old, new) in enumerate(zip(before, after, strict=False)):
        if old != new:
            return [f"{table}, line {place + 1} of {len(before)}: was  {old}", f"{' ' * len(table)}  now  {new}"]
    if len(before) != len(after):
        longer, word = (before, "no more") if len(before) > len(after) else (after, "new")
        place = min(len(before), len(after))
        return [f"{table}: {len(before)} lines before, {len(after)} now; {word}: {longer[place]}"]
    return []


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float | int):
        return abs(old - new) <= 1e-7 * max(abs(old), abs(new))
    return bool(old == new)
