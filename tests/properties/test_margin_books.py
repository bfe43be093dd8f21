"""Margin accounts: nothing is lost, nothing is made up, and no more is lost than was put up unless the market gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import HOUR, Bar
from engine.carry import CarryTerms, FundingHistory
from engine.clearing import Clearing
from engine.costs import MakerTakerFees
from engine.exchange import SimulatedExchange
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.journal.reading import RunRecord
from engine.journal.rebuild import Books, rebuild, snapped
from engine.loop import Engine, Parts
from engine.margin import MarginSchedule, MarginTerms
from engine.portfolio import Portfolio
from engine.records import RunStart
from engine.results import RunResult
from engine.semantics import Switches
from engine.strategy import Strategy
from engine.testing import BarsFeed
from tests.properties.worlds import START, Step, Walk, bars_of

D = Decimal
CASH = 1_000
PATHS = ("worst", "ohlc", "olhc", "adaptive", "queue")


@dataclass(frozen=True)
class Market:
    """Bars, orders and terms on margin. Orders are (place, symbol, kind, lots signed, distance in increments)."""

    walks: tuple[Walk, ...]
    orders: tuple[tuple[int, int, str, int, int], ...]
    funding: tuple[tuple[int, int], ...] = ()
    """(half hours from the start, rate in hundred-thousandths), of every symbol."""
    kind: str = "perpetual"
    mode: str = "cross"
    leverage: int = 5
    path: str = "worst"
    fee: str = "0.0005"
    liquidation_fee: str = "0.01"
    shortfall: str = "covered"


@dataclass
class Outcome:
    result: RunResult
    record: RunRecord
    portfolio: Portfolio


class Trader(Strategy):
    """Sends the orders of a market."""

    def __init__(self, market: Market, scale: int) -> None:
        super().__init__()
        self._market = market
        self._instruments = {walk.symbol: walk.instrument(scale) for walk in market.walks}

    def on_bar(self, bar: Bar) -> None:
        here = (bar.close_time - START) // HOUR - 1
        for place, number, kind, lots, distance in self._market.orders:
            if place == here and self._market.walks[number % len(self._market.walks)].symbol == bar.symbol:
                self._send(bar, kind, lots, distance)

    def _send(self, bar: Bar, kind: str, lots: int, distance: int) -> None:
        instrument = self._instruments[bar.symbol]
        trade, quantity = (self.buy if lots > 0 else self.sell), instrument.to_quantity(abs(lots))
        price = instrument.to_price(max(instrument.to_ticks(bar.close) + distance, 1))
        if kind == "target":
            self.target(bar.symbol, max(-1.0, min(1.0, lots / 1000)))
        elif kind == "bracket":
            away = (abs(distance) + 1) * (1 if lots > 0 else -1)
            trade(bar.symbol, quantity, stop_loss=instrument.to_price(max(instrument.to_ticks(bar.close) - away, 1)))
        else:
            trade(bar.symbol, quantity, **({kind: price} if kind != "market" else {}))


def run(market: Market, scale: int = 0) -> Outcome:
    instruments = [replace(walk.instrument(scale), kind=market.kind) for walk in market.walks]
    terms = MarginTerms(
        market.mode, MarginSchedule(D(market.leverage)), liquidation_fee=D(market.liquidation_fee),
        shortfall=market.shortfall)
    portfolio = Portfolio({"USD": D(CASH) * 2**scale}, instruments, margin=terms)
    times = sorted({START + half * HOUR // 2 for half, _ in market.funding})
    rates = [D(rate) / 100_000 for _, rate in market.funding][: len(times)]
    funding = {walk.symbol: FundingHistory(times, rates) for walk in market.walks} if market.kind == "perpetual" else {}
    clearing = Clearing(portfolio, CarryTerms(funding, D("0.1"), D("0.2")))
    broker = SimulatedExchange(
        portfolio, Switches(path=market.path, volume_cap=None),
        fees=MakerTakerFees(D(market.fee), D(market.fee)), clearing=clearing)
    journal = MemoryJournal()
    rules = {
        one.symbol: {
            "quote": one.quote, "kind": one.kind, "price_increment": f"{one.price_increment:f}",
            "quantity_increment": f"{one.quantity_increment:f}"} for one in instruments}
    start = RunStart("backtest", "Trader", {}, {}, "", {}, instruments=rules)
    parts = Parts(BarsFeed(bars_of(market.walks, scale)), Trader(market, scale), broker, portfolio, journal=journal,
                  start=start, headroom=float(market.leverage))
    result = Engine(parts).run()
    return Outcome(result, load_run(journal, 1), portfolio)


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

moves = st.sampled_from([0, 0, 1, -1, 5, -5, 20, -20, 80, -80])
reaches = st.sampled_from([0, 0, 1, 5, 30, 120])
steps = st.builds(Step, gap=st.sampled_from([0, 0, 0, 3, -3, 150, -150, 300]), body=moves, above=reaches, below=reaches)
orders = st.tuples(
    st.integers(0, 8), st.integers(0, 1), st.sampled_from(["market", "market", "target", "limit", "stop", "bracket"]),
    st.sampled_from([100, -100, 1000, -1000, 5000, -5000, 40_000, -40_000]), st.sampled_from([0, -3, 3, 40, -40]))


@st.composite
def markets(draw: Any, *, gaps: bool = True, symbols: int = 2, kinds: Sequence[str] = ("perpetual", "spot")) -> Market:
    walks = []
    for number in range(draw(st.integers(1, symbols))):
        drawn = draw(st.lists(steps, min_size=4, max_size=10))
        walks.append(Walk(f"S{number}", tuple(drawn if gaps else (replace(step, gap=0) for step in drawn))))
    kind = draw(st.sampled_from(list(kinds)))
    mode = draw(st.sampled_from(["cross", "isolated"])) if kind == "perpetual" else "cross"
    return Market(
        tuple(walks), tuple(draw(st.lists(orders, min_size=1, max_size=6))),
        tuple(draw(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([10, -10, 80, 300])), max_size=4))),
        kind, mode, draw(st.sampled_from([1, 2, 5, 10])), draw(st.sampled_from(PATHS)))


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(markets())
def test_cash_is_the_opening_balance_results_fees_and_what_was_charged_exactly(market):
    outcome = run(market)
    account = outcome.portfolio.accounts["USD"]
    cash = D(CASH)
    for event in outcome.record.account_events[1:]:
        cash += snapped(event.amount, account.unit)
    for fill in outcome.record.fills:
        instrument = outcome.portfolio.instruments[fill.symbol]
        value = snapped(fill.price, instrument.price_increment) * snapped(fill.quantity, instrument.quantity_increment)
        cash -= value * (1 if fill.side == "buy" else -1) + snapped(fill.fee, account.unit)
    # What was paid for open contracts has not left cash.
    for position in outcome.portfolio.positions.values():
        if position.instrument.is_contract:
            cash += position.signed_cost_units * account.unit
    assert cash == account.cash


@given(markets())
def test_replaying_the_journal_rebuilds_the_books(market):
    outcome = run(market)
    traded = {fill.symbol for fill in outcome.record.fills}
    assert rebuild(outcome.record) == Books(
        {"USD": outcome.portfolio.accounts["USD"].cash},
        {symbol: outcome.portfolio.positions[symbol].quantity for symbol in outcome.portfolio.instruments
         if symbol in traded})


@given(markets())
def test_the_equity_curve_ends_where_the_books_do(market):
    outcome = run(market)
    final = float(outcome.result.final_equity)
    assert abs(outcome.result.curve.equity[-1] - final) <= 1e-9 * max(abs(final), CASH)
    cash = float(outcome.portfolio.accounts["USD"].cash)
    assert abs(outcome.result.curve.cash[-1] - cash) <= 1e-9 * max(abs(cash), CASH)


@given(markets())
def test_locked_cash_is_the_margin_of_isolated_positions_and_nothing_else(market):
    outcome = run(market)
    margins = [getattr(position, "margin_units", 0) for position in outcome.portfolio.positions.values()]
    assert outcome.portfolio.accounts["USD"].locked_units == sum(margins)
    for position in outcome.portfolio.positions.values():
        assert position.lots or not (position.cost_units or getattr(position, "margin_units", 0))


@given(markets(gaps=False))
def test_without_gaps_the_venue_covers_nothing(market):
    """An increment of these markets is less than the maintenance margin, so that a liquidation leaves something."""
    outcome = run(replace(market, leverage=min(market.leverage, 5)))
    assert [event for event in outcome.record.account_events if event.kind == "insurance"] == []
    assert outcome.result.curve.equity.min() > 0


@given(markets())
def test_what_is_covered_is_never_owed(market):
    outcome = run(replace(market, kind="perpetual", shortfall="covered"))
    insured = sum(event.amount for event in outcome.record.account_events if event.kind == "insurance")
    owed = run(replace(market, kind="perpetual", shortfall="owed"))
    assert insured >= 0
    assert [event for event in owed.record.account_events if event.kind == "insurance"] == []
    liquidated = {order.id for order in outcome.record.orders if order.decision_id in {
        decision.id for decision in outcome.record.decisions if decision.strategy == "engine"}}
    for fill in outcome.record.fills:
        if fill.order_id in liquidated:
            assert fill.position_after == 0


@given(markets())
def test_every_liquidation_leads_to_its_decision_and_withdraws_the_pool_s_orders(market):
    outcome = run(market)
    decisions = {decision.id: decision for decision in outcome.record.decisions}
    for order in outcome.record.orders:
        decision = decisions[order.decision_id]
        if decision.strategy == "engine":
            assert decision.why.startswith("liquidation: margin of the ")
            assert order.reduce_only
            assert any(fill.order_id == order.id and fill.position_after == 0 for fill in outcome.record.fills)


@given(markets(), st.integers(1, 3))
def test_scaling_prices_and_cash_by_a_power_of_two_scales_the_result_exactly(market, scale):
    market = replace(market, fee="0")
    factor = 2.0**scale
    plain, scaled = run(market), run(market, scale)
    assert np.array_equal(plain.result.fill_keys[:, :5], scaled.result.fill_keys[:, :5])
    assert plain.result.final_equity * D(factor) == scaled.result.final_equity
    assert [event.amount * factor for event in plain.record.account_events] == [
        event.amount for event in scaled.record.account_events]


@given(markets(kinds=["perpetual"]))
def test_isolated_positions_do_not_depend_on_the_order_of_symbols(market):
    small = tuple((place, number, kind, lots // 100 or 1, far) for place, number, kind, lots, far in market.orders
                  if kind != "target")
    market = replace(market, mode="isolated", orders=small, leverage=10)
    other = replace(market, walks=market.walks[::-1], orders=tuple(
        (place, len(market.walks) - 1 - number % len(market.walks), kind, lots, far)
        for place, number, kind, lots, far in small))

    def of_each(outcome: Outcome) -> dict[str, list[Any]]:
        return {symbol: [(fill.time, fill.side, fill.price, fill.quantity, fill.fee) for fill in outcome.record.fills
                         if fill.symbol == symbol] for symbol in outcome.portfolio.instruments}

    first, second = run(market), run(other)
    assert of_each(first) == of_each(second)
    assert first.result.final_equity == second.result.final_equity


# ── against the formula ─────────────────────────────────────────────────────────────────────────────────────────────


def expected_exit(market: Market, side: int, lots: int, funding: dict[int, Fraction]) -> tuple[int, int] | None:
    """Return (bar, price in increments) at which one position held from the second bar on is liquidated, by the formula
    of docs/accounts.md; None if it never is."""
    [walk] = market.walks
    rows = [[round(price / 0.01) for price in values[:4]] for _, values in walk.rows()]
    worth = D("0.0001")  # of one increment of one lot
    entry, size = rows[1][0], Fraction(lots) * Fraction(worth)
    cash = CASH - Fraction(market.fee) * entry * size
    rate = Fraction(1, 2 * market.leverage)
    for bar in range(1, len(rows)):
        opened, high, low, close = rows[bar]

        def is_gone(price: int, cash: Fraction = cash) -> bool:
            return cash + side * size * (price - entry) <= rate * size * price

        if bar > 1 and is_gone(opened):
            return bar, opened
        # (q p - c) ÷ q (1 - m) for a long, (q p + c) ÷ q (1 + m) for a short
        exact = (size * entry - side * cash) / (size * (1 - side * rate))
        level = floor(exact) if side > 0 else ceil(exact)
        if (low <= level if side > 0 else high >= level):
            return bar, min(level, opened) if side > 0 else max(level, opened)
        cash -= side * size * close * funding.get(bar, Fraction(0))
    return None


@given(
    st.lists(steps, min_size=3, max_size=9), st.sampled_from([1, -1]), st.integers(1, 40), st.integers(2, 10),
    st.dictionaries(st.integers(1, 8), st.sampled_from([-0.01, 0.002, 0.03])))
def test_one_position_is_liquidated_where_the_formula_says(drawn, side, share, leverage, paid):
    walk = Walk("S0", tuple(drawn), lot=D("0.01"))
    lots = share * CASH * leverage * 100 // (41 * 10)  # up to about all that the margin allows at 10.00
    market = Market((walk,), ((0, 0, "market", side * lots, 0),), kind="perpetual", leverage=leverage, fee="0",
                    liquidation_fee="0")
    payments = tuple((2 * (bar + 1), round(rate * 100_000)) for bar, rate in sorted(paid.items()))
    market = replace(market, funding=payments)
    outcome = run(market)
    fills = outcome.record.fills
    if not fills or any(event.kind == "reduced" for event in outcome.record.order_events):
        return  # the open gapped: there was not margin for all of it
    expected = expected_exit(market, side, lots, {bar: Fraction(str(rate)) for bar, rate in paid.items()})
    found = None
    if len(fills) == 2:
        found = (fills[1].bar_close_time - START) // HOUR - 1, round(fills[1].price / 0.01)
    assert found == expected
