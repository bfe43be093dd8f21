"""Liquidation: planted cases whose figures are worked out by hand, through whole runs.

Leverage 5 keeps 10 % of notional (half of the initial 20 %). A long of q at p with cash c is liquidated at the price x
where c + q (x - p) = 0.1 q x, so x = (q p - c) ÷ 0.9 q; a short at (q p + c) ÷ 1.1 q. Bars are daily.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Instrument, OrderCancelled, Strategy, StrategyError
from engine.bars import DAY
from engine.carry import CarryTerms, FixedFunding, FundingHistory
from engine.clearing import Clearing
from engine.costs import FixedSlippage, MakerTakerFees
from engine.detail import DetailBars
from engine.exchange import SimulatedExchange
from engine.journal.lineage import load_run, why
from engine.journal.memory import MemoryJournal
from engine.journal.rebuild import rebuild
from engine.liquidation import Pool, Reach, first_breach, liquidation_ticks, pools_of
from engine.loop import Engine, Parts
from engine.margin import MarginSchedule, MarginTerms, MarginTier
from engine.portfolio import Portfolio
from engine.records import RunStart
from engine.semantics import Switches
from engine.testing import NEW_YEAR_2024, BarsFeed, ScriptedStrategy, Terms, engine_for, make_bars
from feeds.mark_prices import BarMarks
from tests.engine.cases import merged, scripted

D = Decimal
FREE = MarginTerms(schedule=MarginSchedule(D(5)), liquidation_fee=D(0))


def perpetual(symbol: str = "TEST", **terms: Any) -> Instrument:
    return Instrument(symbol, "USD", **{
        "price_increment": D("0.01"), "quantity_increment": D("0.001"), "kind": "perpetual", **terms})


class Ran:
    """A run that is over, with its journal."""

    def __init__(
        self, bars: Any, strategy: Any, terms: Terms, instruments: Sequence[Instrument] = (), chunk: int | None = None
    ) -> None:
        bars = bars if not isinstance(bars, list) else make_bars(bars)
        instruments = instruments or [perpetual(symbol) for symbol in bars.symbols]
        self.journal = MemoryJournal()
        self.strategy = strategy
        engine = engine_for(bars, strategy, terms, instruments=instruments, journal=self.journal, chunk=chunk)
        rules = {
            one.symbol: {
                "quote": one.quote, "kind": one.kind, "price_increment": str(one.price_increment),
                "quantity_increment": str(one.quantity_increment), "multiplier": str(one.multiplier),
            } for one in instruments}
        engine._parts.start = RunStart("backtest", "S", {}, {}, "", {}, instruments=rules)
        self.result = engine.run()
        self.portfolio = engine.portfolio
        self.record = load_run(self.journal, 1)

    @property
    def fills(self) -> list[tuple[Any, ...]]:
        return [(fill.side, day(fill.bar_close_time), fill.quantity, fill.price) for fill in self.record.fills]

    @property
    def cash(self) -> Decimal:
        return self.portfolio.accounts["USD"].cash

    def moved(self, kind: str) -> list[float]:
        return [event.amount for event in self.record.account_events if event.kind == kind]


def day(time: int) -> int:
    return (time - NEW_YEAR_2024) // DAY - 1


def long(quantity: float = 40, **more: Any) -> ScriptedStrategy:
    return scripted({0: lambda s: s.buy("TEST", quantity, **more)})


def short(quantity: float = 40, **more: Any) -> ScriptedStrategy:
    return scripted({0: lambda s: s.sell("TEST", quantity, **more)})


TERMS = Terms(cash=D(1000), margin=FREE, allow_short=False)


# ── one position ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_long_is_liquidated_at_its_liquidation_price_inside_the_bar():
    # (40 × 100 - 1 000) ÷ (0.9 × 40) = 83.33…; the first increment that is not above it is 83.33
    ran = Ran([100, 100, [100, 101, 80, 95], 95], long(), TERMS)
    assert ran.fills == [("buy", 1, 40, 100), ("sell", 2, 40, 83.33)]
    assert ran.cash == 1000 + 40 * (D("83.33") - 100) == D("333.2")
    assert ran.moved("insurance") == ran.moved("liquidation_fee") == []
    assert ran.result.final_equity == D("333.2")


def test_a_short_is_liquidated_at_its_liquidation_price_inside_the_bar():
    # (40 × 100 + 1 000) ÷ (1.1 × 40) = 113.6363…; the first increment at or beyond it is 113.64
    ran = Ran([100, 100, [100, 120, 99, 95], 95], short(), TERMS)
    assert ran.fills == [("sell", 1, 40, 100), ("buy", 2, 40, 113.64)]
    assert ran.cash == 1000 - 40 * D("13.64")


@pytest.mark.parametrize(("low", "is_liquidated"), [(83.34, False), (83.33, True)])
def test_one_increment_decides(low, is_liquidated):
    ran = Ran([100, 100, [100, 100, low, 100], 100], long(), TERMS)
    assert (len(ran.fills) == 2) is is_liquidated


def test_at_a_gap_the_open_is_the_price_and_the_venue_covers_what_is_lost_beyond_the_margin():
    # 40 × (70 - 100) = -1 200: 200 more than there was
    ran = Ran([100, 100, [70, 75, 65, 72], 72], long(), TERMS)
    assert ran.fills == [("buy", 1, 40, 100), ("sell", 2, 40, 70)]
    assert ran.moved("insurance") == [200]
    assert ran.cash == 0
    fill = ran.record.fills[1]
    assert (fill.time, fill.bar_close_time) == (NEW_YEAR_2024 + 2 * DAY, NEW_YEAR_2024 + 3 * DAY)


def test_a_loss_beyond_the_margin_may_be_owed_instead():
    ran = Ran([100, 100, [70, 75, 65, 72], 72], long(), replace(TERMS, margin=replace(FREE, shortfall="owed")))
    assert ran.moved("insurance") == []
    assert ran.cash == -200


def test_the_liquidation_fee_is_charged_as_far_as_what_is_left_goes():
    fee = replace(FREE, liquidation_fee=D("0.01"))
    ran = Ran([100, 100, [100, 101, 80, 95], 95], long(), replace(TERMS, margin=fee))
    assert ran.moved("liquidation_fee") == [-33.332]  # 1 % of 40 × 83.33
    assert ran.cash == D("333.2") - D("33.332")
    # at 75.10 there are 4 left of the margin, and 1 % of 3 004 would be 30.04
    ran = Ran([100, 100, [75.10, 76, 75, 76], 76], long(), replace(TERMS, margin=fee))
    assert ran.moved("liquidation_fee") == [-4]
    assert ran.cash == 0


def test_fees_and_slippage_are_those_of_an_order_that_takes_liquidity():
    terms = replace(TERMS, fees=MakerTakerFees(D(0), D("0.001")), slippage=FixedSlippage(10))
    ran = Ran([100, 100, [100, 101, 80, 95], 95], long(), terms)
    entry, exit_ = ran.record.fills
    assert (entry.price, entry.fee) == (100.10, 4.004)
    # (40 × 100.1 - 995.996) ÷ 36 = 83.5557…, so 83.55; ten basis points lower is 83.46645, rounded away to 83.46
    assert (exit_.reference_price, exit_.price, exit_.fee) == (83.55, 83.46, 3.3384)
    assert exit_.liquidity == "taker"


def test_no_volume_is_too_thin_for_a_liquidation():
    bars = make_bars([100, 100, [100, 101, 80, 95, 1], 95])
    assert Ran(bars, long(), TERMS).fills[-1] == ("sell", 2, 40, 83.33)


def test_tiers_decide_when_a_large_position_goes():
    # 1 % up to 2 000 and 20 % less 380 beyond: c + q (x - p) = 0.2 q x - 380 → x = (q p - c - 380) ÷ 0.8 q = 81.875
    tiers = (MarginTier(D(0), D("0.01"), D(50)), MarginTier(D(2000), D("0.2"), D("4.5")))
    terms = replace(TERMS, margin=replace(FREE, schedule=MarginSchedule(D(5), tiers)))
    ran = Ran([100, 100, [100, 100, 70, 80], 80], long(), terms)
    assert ran.fills[-1] == ("sell", 2, 40, 81.87)


# ── in the order of the bar's path ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stop", "fills"),
    [
        (90, [("sell", 2, 40, 90)]),                # nearer than 83.33: it acts first
        (83.34, [("sell", 2, 40, 83.34)]),
        (83.33, [("sell", 2, 40, 83.33)]),          # at the same price the liquidation goes first
        (82, [("sell", 2, 40, 83.33)]),             # beyond it: too late
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["worst", "ohlc", "olhc", "adaptive", "candle_colour", "queue", "queue_stops_first"])
def test_a_stop_acts_before_the_liquidation_only_if_it_is_nearer(path, stop, fills):
    terms = replace(TERMS, switches=Switches(path=path, volume_cap=None))
    ran = Ran([100, 100, [100, 101, 80, 95], 95], long(stop_loss=stop), terms)
    assert ran.fills[1:] == fills
    is_liquidation = stop <= 83.33
    assert [row.strategy for row in ran.record.decisions] == ["ScriptedStrategy", *(["engine"] * is_liquidation)]


@pytest.mark.parametrize(
    ("path", "price"),
    [("worst", 83.33), ("olhc", 83.33), ("ohlc", 110)],
)
def test_a_target_comes_before_it_where_the_path_says_so_and_never_under_worst(path, price):
    terms = replace(TERMS, switches=Switches(path=path))
    ran = Ran([100, 100, [100, 112, 80, 95], 95], long(take_profit=110), terms)
    assert ran.fills[1:] == [("sell", 2, 40, price)]


def test_a_stop_that_closes_a_part_lowers_the_liquidation_price():
    # 20 of 40 go at 90: cash 800, and (20 × 100 - 800) ÷ 18 = 66.67
    def act(s):
        s.buy("TEST", 40)
        s.sell("TEST", 20, stop=90, reduce_only=True)

    ran = Ran([100, 100, [100, 101, 80, 95], [70, 70, 60, 65], 65], scripted({0: act}), TERMS)
    assert ran.fills == [("buy", 1, 40, 100), ("sell", 2, 20, 90), ("sell", 3, 20, 66.66)]


def test_a_position_opened_in_the_bar_may_be_liquidated_in_it():
    ran = Ran([100, [100, 101, 80, 95], 95], long(), TERMS)
    assert ran.fills == [("buy", 1, 40, 100), ("sell", 1, 40, 83.33)]


@pytest.mark.parametrize(
    ("path", "exits"), [("worst", [101.99]), ("ohlc", [101.99]), ("olhc", []), ("queue", [101.99])]
)
def test_the_price_falls_from_the_entry_and_not_from_the_open(path, exits):
    # 180 bought by a stop at 105 at leverage 20: (180 × 105 - 1 000) ÷ (180 × 0.975) = 101.99…, above the open
    terms = replace(
        TERMS, margin=replace(FREE, schedule=MarginSchedule(D(20))), switches=Switches(path=path, volume_cap=None))
    ran = Ran([100, [100, 106, 99, 104], 104], scripted({0: lambda s: s.buy("TEST", 180, stop=105)}), terms)
    assert [fill.price for fill in ran.record.fills] == [105, *exits]


def test_working_orders_of_the_pool_are_withdrawn_first():
    def act(s):
        s.buy("TEST", 40, take_profit=120)
        s.buy("TEST", 1, limit=50)

    strategy = scripted({0: act})
    ran = Ran([100, 100, [100, 101, 80, 95], 40], strategy, TERMS)
    cancelled = [(e.order.id, e.reason) for e in strategy.events if isinstance(e, OrderCancelled)]
    assert sorted(cancelled) == [(2, "liquidation of the USD account"), (3, "liquidation of the USD account")]
    assert len(ran.fills) == 2


def test_the_order_says_where_it_comes_from():
    ran = Ran([100, 100, [100, 101, 80, 95], 95], long(), TERMS)
    chain = why(ran.journal, "2")
    assert chain.decision.strategy == "engine"
    assert chain.decision.action == "liquidate"
    assert chain.decision.why == (
        "liquidation: margin of the USD account: equity 333.20000000 of 333.32000000 USD to maintain it")
    assert [event.kind for event in chain.events] == ["accepted"]
    assert chain.order.reduce_only
    assert "decision 2 of engine: liquidate; why: liquidation: margin of the USD account" in str(chain)


def test_the_journal_rebuilds_the_books():
    terms = replace(TERMS, margin=replace(FREE, liquidation_fee=D("0.01")), fees=MakerTakerFees(D(0), D("0.0005")))
    for rows in ([100, 100, [100, 101, 80, 95], 95], [100, 100, [70, 75, 65, 72], 72]):
        ran = Ran(rows, long(), terms)
        assert rebuild(ran.record).cash == {"USD": ran.cash}
        assert ran.record.fills[-1].cash_after + sum(
            event.amount for event in ran.record.account_events[1:]) == pytest.approx(float(ran.cash))


# ── funding, and the price it leaves ────────────────────────────────────────────────────────────────────────────────


def test_funding_is_paid_on_the_position_held_at_that_instant_at_the_close_known_then():
    # bought at the open of the second day; two payments inside it, one at its end, and one after the sale
    day_two = NEW_YEAR_2024 + DAY
    times = [day_two, day_two + DAY // 3, day_two + DAY // 2, day_two + DAY, day_two + DAY + DAY // 2]
    funding = FundingHistory(times, [D("0.001")] * 5)
    strategy = scripted({0: lambda s: s.buy("TEST", 1), 1: lambda s: s.sell("TEST", 1)})
    ran = Ran([100, [101, 130, 90, 120], 110, 110], strategy, replace(TERMS, carry=CarryTerms({"TEST": funding})))
    events = [event for event in ran.record.account_events if event.kind == "funding"]
    # at its very open the position is not there yet; inside the bar the close before is known; at its end its own
    assert [(event.time, event.amount) for event in events] == [
        (times[1], -0.1), (times[2], -0.1), (times[3], -0.12)]
    assert events[0].note == "TEST: rate 0.001 on 1 at 100.00"
    assert ran.cash == 1000 + (110 - 101) - D("0.32")


def test_funding_inside_a_bar_comes_after_its_open_and_before_its_path():
    # 10 at 100 are there from before; 5 more at the open pay, 5 more by a limit on the path do not
    def add(s):
        s.buy("TEST", 5)
        s.buy("TEST", 5, limit=95)

    funding = FundingHistory([NEW_YEAR_2024 + 2 * DAY + 1], [D("0.01")])
    strategy = scripted({0: lambda s: s.buy("TEST", 10), 1: add})
    ran = Ran([100, 100, [100, 100, 90, 100], 100], strategy, replace(TERMS, carry=CarryTerms({"TEST": funding})))
    assert ran.moved("funding") == [-15.0]


def test_funding_may_be_what_leaves_too_little_margin():
    # 83.33 would do; 40 less cash makes it (4 000 - 960) ÷ 36 = 84.44
    funding = FundingHistory([NEW_YEAR_2024 + 2 * DAY], [D("0.01")])
    ran = Ran([100, 100, [100, 101, 84, 95], 95], long(), replace(TERMS, carry=CarryTerms({"TEST": funding})))
    assert ran.fills[-1] == ("sell", 2, 40, 84.44)


# ── isolated margins ────────────────────────────────────────────────────────────────────────────────────────────────

ISOLATED = replace(TERMS, cash=D(10_000), margin=replace(FREE, mode="isolated"))


def test_an_isolated_position_goes_with_its_own_margin_alone():
    # margin 800 of 4 000: (4 000 - 800) ÷ 36 = 88.88…, whatever else is in the account
    ran = Ran([100, 100, [100, 101, 80, 95], 95], long(), ISOLATED)
    assert ran.fills == [("buy", 1, 40, 100), ("sell", 2, 40, 88.88)]
    assert ran.cash == 10_000 - 40 * D("11.12")
    assert ran.portfolio.accounts["USD"].locked_units == 0
    assert ran.portfolio.positions["TEST"].margin_units == 0


def test_at_a_gap_an_isolated_position_loses_no_more_than_its_margin():
    ran = Ran([100, 100, [60, 61, 59, 60], 60], long(), ISOLATED)
    assert ran.moved("insurance") == [800]  # lost 1 600, margin 800
    assert ran.cash == 9_200


def test_funding_of_an_isolated_position_is_taken_from_its_margin():
    funding = FundingHistory([NEW_YEAR_2024 + 2 * DAY], [D("0.01")])
    terms = replace(ISOLATED, carry=CarryTerms({"TEST": funding}))
    ran = Ran([100, 100, [100, 101, 80, 95], 95], long(), terms)
    assert ran.fills[-1] == ("sell", 2, 40, 90)  # (4 000 - 760) ÷ 36: at 90 there is 360 of 360
    assert ran.moved("funding") == [-40]


def test_isolated_positions_do_not_stand_surety_for_one_another():
    one = make_bars([100, 100, [100, 100, 80, 80], 80], symbol="A")
    two = make_bars([100, 100, [100, 150, 100, 150], 150], symbol="B")
    strategy = scripted({0: lambda s: (s.buy("A", 40), s.buy("B", 40))})
    ran = Ran(merged(one, two), strategy, ISOLATED)
    assert [(fill.symbol, fill.side, fill.price) for fill in ran.record.fills] == [
        ("A", "buy", 100), ("B", "buy", 100), ("A", "sell", 88.88)]


# ── cross margins over several symbols ──────────────────────────────────────────────────────────────────────────────


def two(first: Sequence[Any], second: Sequence[Any]) -> Any:
    return merged(make_bars(first, symbol="A"), make_bars(second, symbol="B"))


def both(s: ScriptedStrategy) -> None:
    s.buy("A", 20)
    s.buy("B", 20)


def test_all_positions_of_a_cross_account_fall_together_in_step():
    # Both fall from 100, A to 80 and B to 90. After a share t of the way: equity 1 000 - 400 t - 200 t, to be kept
    # 0.1 × (4 000 - 600 t): 1 000 - 600 t = 400 - 60 t → t = 1.11: both bars end before it.
    bars = two([100, 100, [100, 100, 80, 85], 85], [100, 100, [100, 100, 90, 95], 95])
    strategy = scripted({0: both})
    assert len(Ran(bars, strategy, TERMS).fills) == 2
    # A to 60 and B to 90: 1 000 - 1 000 t = 400 - 100 t → t = 2/3: A at 73.33, B at 93.33
    bars = two([100, 100, [100, 100, 60, 85], 85], [100, 100, [100, 100, 90, 95], 95])
    ran = Ran(bars, scripted({0: both}), TERMS)
    assert [(fill.symbol, fill.price) for fill in ran.record.fills[2:]] == [("A", 73.33), ("B", 93.33)]


def test_a_gap_is_judged_by_all_opens_of_the_instant():
    bars = two([100, 100, [85, 85, 85, 85], 85], [100, 100, [84, 84, 84, 84], 84])
    # 1 000 - 300 - 320 = 380 > 0.1 × 3 380: it holds; with B at 83.9 … 82: 1 000 - 300 - 360 = 340 ≥ 334; 81: 320 < 332
    assert len(Ran(bars, scripted({0: both}), TERMS).fills) == 2
    bars = two([100, 100, [85, 85, 85, 85], 85], [100, 100, [81, 81, 81, 81], 84])
    ran = Ran(bars, scripted({0: both}), TERMS)
    assert [(fill.symbol, fill.price) for fill in ran.record.fills[2:]] == [("A", 85), ("B", 81)]


def test_a_hedge_keeps_both():
    bars = two([100, 100, [100, 100, 60, 60], 60], [100, 100, [100, 100, 60, 60], 60])
    strategy = scripted({0: lambda s: (s.buy("A", 20), s.sell("B", 20))})
    ran = Ran(bars, strategy, TERMS)
    # A's bad end is 60, B's is its open: 1 000 - 800 = 200 < 0.1 × (1 200 + 2 000): as a bound that is a liquidation
    assert len(ran.fills) == 4
    smaller = scripted({0: lambda s: (s.buy("A", 10), s.sell("B", 10))})
    assert len(Ran(bars, smaller, TERMS).fills) == 2


@pytest.mark.parametrize("first", ["A", "B"])
def test_of_several_symbols_the_nearest_stop_acts_first_whatever_their_order(first):
    # Both fall to 60 in step; the pool would go at 1 000 - 1 600 t = 400 - 160 t: t = 0.417, A and B at 83.33. B's stop
    # at 90 comes at t = 0.25 and leaves 800 beside A: 800 + 20 (x - 100) = 2 x at x = 66.67.
    def act(s):
        s.buy("A", 20)
        s.buy("B", 20, stop_loss=90)

    rows = [100, 100, [100, 100, 60, 60], 60]
    names = ("A", "B") if first == "A" else ("B", "A")
    bars = merged(*(make_bars(rows, symbol=name) for name in names))
    ran = Ran(bars, scripted({0: act}), TERMS)
    assert [(fill.symbol, fill.price) for fill in ran.record.fills[2:]] == [("B", 90), ("A", 66.66)]


# ── the search itself ───────────────────────────────────────────────────────────────────────────────────────────────


def pool_of(*held: tuple[str, int, int], cash: int = 1000) -> Pool:
    one = D(1)
    instruments = [perpetual(symbol, price_increment=one, quantity_increment=one) for symbol, _, _ in held]
    portfolio = Portfolio({"USD": D(cash)}, instruments, margin=FREE)
    for symbol, lots, price in held:
        portfolio.positions[symbol].apply(1 if lots > 0 else -1, price, abs(lots), 0)
    [pool] = pools_of(portfolio.accounts["USD"])
    return pool


def test_the_search_finds_what_trying_every_increment_finds():
    for lots in (40, 33, 21, -40, -33, -21):
        pool = pool_of(("A", lots, 100))
        for end in range(60, 140):
            low, high = min(100, end), max(100, end)
            found = first_breach(pool, {"A": Reach(100, low, high)})
            way = range(100, low - 1, -1) if lots > 0 else range(100, high + 1)
            tried = next((price for price in way if pool.excess_units({"A": price}) <= 0), None)
            assert (None if found is None else found["A"]) == tried


def test_a_pool_without_margin_at_the_start_goes_there():
    pool = pool_of(("A", 40, 100), cash=100)
    assert first_breach(pool, {"A": Reach(100, 90, 110)}) == {"A": 100}
    assert first_breach(pool, {"A": Reach(100, 100, 100)}) == {"A": 100}


def test_the_liquidation_price_is_there_for_people_too():
    prices: Mapping[str, int] = {"A": 100, "B": 50}
    pool = pool_of(("A", 40, 100), ("B", 1, 50))
    assert liquidation_ticks(pool, "A", prices) == 83
    assert liquidation_ticks(pool_of(("A", 5, 100)), "A", {"A": 100}) is None  # more cash than it costs


# ── mark prices ─────────────────────────────────────────────────────────────────────────────────────────────────────


def marks(*rows: Any) -> BarMarks:
    return BarMarks({"TEST": make_bars(rows)})


def test_margins_go_by_the_mark_price_where_there_is_one():
    bars = [100, 100, [100, 101, 80, 95], 95]
    calm = replace(TERMS, marks=marks(100, 100, [100, 101, 90, 95], 95))
    assert len(Ran(bars, long(), calm).fills) == 1
    wild = replace(TERMS, marks=marks(100, 100, [100, 101, 80, 95], 95))
    assert Ran([100, 100, [100, 101, 99, 100], 100], long(), wild).fills[1:] == [("sell", 2, 40, 83.33)]


def test_equity_and_funding_go_by_the_mark_price_known_then():
    funding = FundingHistory([NEW_YEAR_2024 + 2 * DAY, NEW_YEAR_2024 + 2 * DAY + 1], [D("0.01")] * 2)
    terms = replace(TERMS, marks=marks(100, [101, 104, 101, 104], 120, 110), carry=CarryTerms({"TEST": funding}))
    ran = Ran([100, 100, 100, 100], scripted({0: lambda s: s.buy("TEST", 10)}), terms)
    assert ran.moved("funding") == [-10.4, -10.4]
    assert ran.result.curve.equity.tolist() == pytest.approx([1000, 1000 + 40 - 10.4, 1200 - 20.8, 1100 - 20.8])
    assert ran.result.final_equity == D("1079.2")


# ── with finer bars ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_finer_bars_decide_what_a_coarse_one_leaves_open():
    finer = make_bars([[100, 112, 100, 110], [110, 110, 80, 95]], timeframe="12h", start=NEW_YEAR_2024 + 2 * DAY)
    bars = make_bars([100, 100, [100, 112, 80, 95], 95])
    strategy = scripted({0: lambda s: s.buy("TEST", 40, take_profit=110)})
    portfolio = Portfolio({"USD": D(1000)}, [perpetual()], margin=FREE)
    broker = SimulatedExchange(portfolio, Switches(path="detail"), detail=DetailBars({"TEST": finer}))
    result = Engine(Parts(BarsFeed(bars), strategy, broker, portfolio, headroom=5.0)).run()
    assert [(fill.side, fill.price) for fill in result.fills] == [("buy", 100), ("sell", 110)]


# ── bars by the thousand ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_long_run_of_targets_is_not_settled_in_bulk():
    rows = [100 + (n * 7) % 13 for n in range(400)]

    class Targets(Strategy):
        def targets(self, bars: Any) -> Any:
            return np.where(np.arange(len(bars)) % 20 < 10, 3.0, -2.0)

    results = []
    for mode in ("auto", "step"):
        portfolio = Portfolio({"USD": D(1000)}, [perpetual()], margin=FREE)
        parts = Parts(BarsFeed(make_bars(rows)), Targets(), SimulatedExchange(portfolio), portfolio, headroom=5.0,
                      mode=mode, compile_from=1)
        results.append(Engine(parts).run())
    assert len(results[0].fills) > 20
    assert results[0].fills_hash == results[1].fills_hash
    assert results[0].final_equity == results[1].final_equity


def test_what_was_journalled_of_a_run_that_failed_rebuilds_the_books_it_had():
    def fail(s: ScriptedStrategy) -> None:
        raise ValueError("enough")

    funding = CarryTerms({"TEST": FixedFunding(D("0.001"))})
    bars = make_bars([100, 100, [100, 101, 80, 95], 95, 95, 95])
    portfolio = Portfolio({"USD": D(1000)}, [perpetual()], margin=FREE)
    broker = SimulatedExchange(portfolio, clearing=Clearing(portfolio, funding))
    journal = MemoryJournal()
    rules = {"TEST": {"quote": "USD", "kind": "perpetual", "price_increment": "0.01", "quantity_increment": "0.001"}}
    strategy = scripted({0: lambda s: s.buy("TEST", 40), 4: fail})
    parts = Parts(BarsFeed(bars), strategy, broker, portfolio, journal=journal, headroom=5.0,
                  start=RunStart("backtest", "S", {}, {}, "", {}, instruments=rules))
    with pytest.raises(StrategyError, match="enough"):
        Engine(parts).run()
    record = load_run(journal, 1)
    assert record.run.status == "failed"
    assert len(record.fills) == 2
    assert rebuild(record).cash == {"USD": portfolio.accounts["USD"].cash}
