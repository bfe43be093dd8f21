"""What holds an execution back, in whole runs: the part that fills; and what was said of which order, when and why.

A time is told as the number of days since the first bar began. Bars are daily: the open of the second, where what is
asked at 0 arrives, is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from engine import Instrument, TimeInForce
from engine.bars import DAY
from engine.costs import EquityFees, FeeTier, FillTerms, FixedSlippage, MakerTakerFees, TieredFees
from engine.events import Liquidity, OrderCancelled, OrderHeld, OrderReduced
from engine.margin import MarginSchedule, MarginTerms
from engine.testing import NEW_YEAR_2024
from engine.trading_rules import TradingRules
from tests.engine.cases import Outcome, buy, run, sell
from tests.engine.test_trading_rules import hourly

D = Decimal
FOK = TimeInForce.FOK
STOCK = Instrument("TEST", price_increment=D("0.01"), quantity_increment=D(1))
PERPETUAL = replace(STOCK, kind="perpetual")
FIVE = MarginTerms(schedule=MarginSchedule(D(5)), liquidation_fee=D(0))
SHORT_OFF = {"allow_short": False}
ON_MARGIN = {"margin": FIVE}
UNSETTLED = {"rules": {"TEST": TradingRules(settlement_days=1)}, **SHORT_OFF}
LIMITS = {"rules": {"TEST": TradingRules(price_limit=D("0.1"))}}
WORDS = {OrderCancelled: "cancelled", OrderReduced: "reduced", OrderHeld: "held"}


def days(time: int) -> float:
    return (time - NEW_YEAR_2024) / DAY


def told(outcome: Outcome) -> list[tuple[Any, ...]]:
    """(what, order, days, reason) of everything that held an order back."""
    return [
        (WORDS[type(event)], event.order.id, days(event.time), event.reason)
        for event in outcome.strategy.events
        if type(event) in WORDS
    ]


def filled(outcome: Outcome) -> list[tuple[Any, ...]]:
    """(order, days, quantity, price) of every fill."""
    return [(row.order_id, days(row.time), row.quantity, row.price) for row in outcome.result.fills]


@dataclass(frozen=True)
class Row:
    """What is asked, over which bars and under which terms, and what came of it."""

    name: str
    asks: Any
    bars: Sequence[Any]
    fills: Sequence[tuple[Any, ...]]
    told: Sequence[tuple[Any, ...]]
    terms: Any = None
    instrument: Instrument = STOCK


ROWS = [
    # ── reduce-only ──
    Row(
        "reduce_only_with_nothing_to_reduce",
        {0: sell(5, reduce_only=True)},
        [100, 100, 100],
        [],
        [("cancelled", 1, 1, "reduce-only, and there is no position left to reduce")],
    ),
    Row(
        "reduce_only_is_cut_to_the_position",
        {0: buy(3), 1: sell(5, reduce_only=True)},
        [100, 100, 101, 100],
        [(1, 1, 3, 100), (2, 2, 3, 101)],
        [("reduced", 2, 2, "from 5 to 3: reduce-only, to the position held")],
    ),
    Row(
        "reduce_only_or_nothing",
        {0: buy(3), 1: [sell(5, reduce_only=True, time_in_force=FOK), sell(3, reduce_only=True, time_in_force=FOK)]},
        [100, 100, 101, 100],
        [(1, 1, 3, 100), (3, 2, 3, 101)],
        [("cancelled", 2, 2, "fill or kill: reduce-only, and the position is 3")],
    ),
    # ── links ──
    Row(
        "one_of_a_group_ends_the_other",
        {0: [buy(3, limit=99, oco_group="a"), sell(3, limit=104, oco_group="a")]},
        [100, (100, 101, 98, 100), (100, 105, 100, 105)],
        [(1, 2, 3, 99)],
        [("cancelled", 2, 2, "order 1 of its group filled")],
    ),
    Row(
        "a_part_of_one_of_a_group_shrinks_the_other_that_asks_for_the_same",
        {0: [buy(5, oco_group="a"), buy(5, limit=90, oco_group="a")]},
        [100, (100, 101, 99, 100, 30), (100, 101, 99, 100, 0), (100, 101, 80, 90, 0)],
        [(1, 1, 3, 100)],
        [("reduced", 2, 1, "from 5 to 2: order 1 of its group filled 3")],
    ),
    Row(
        "a_child_that_fills_ends_what_is_left_of_its_entry",
        {0: buy(5, stop_loss=95)},
        [100, (100, 101, 99, 100, 30), (100, 101, 94, 95, 0), (94, 94, 94, 94, 1000)],
        [(1, 1, 3, 100), (2, 3, 3, 94)],
        [
            ("reduced", 2, 1, "from 5 to 3: what order 1 has filled"),
            ("cancelled", 1, 3, "order 2 that protects it filled"),
        ],
    ),
    Row(
        "a_position_that_is_closed_by_hand_needs_no_protection",
        {0: buy(5, stop_loss=90), 1: sell(5)},
        [100, 100, 100, (100, 100, 80, 80)],
        [(1, 1, 5, 100), (3, 2, 5, 100)],
        [("cancelled", 2, 2, "the position it protects is closed")],
    ),
    Row(
        "an_entry_that_closes_a_part_of_a_position_leaves_all_protection_alone",
        {0: buy(5, stop_loss=90), 1: sell(2, stop_loss=110), 2: sell(1), 3: buy(1)},
        [100, 100, 100, 100, 100],
        [(1, 1, 5, 100), (3, 2, 2, 100), (5, 3, 1, 100), (6, 4, 1, 100)],
        [],
    ),
    Row(
        "the_oldest_entry_is_closed_first_and_its_children_with_it",
        {0: buy(5, stop_loss=90), 1: buy(5, stop_loss=80), 2: sell(7)},
        [100, 100, 100, 100, 100],
        [(1, 1, 5, 100), (3, 2, 5, 100), (5, 3, 7, 100)],
        [
            ("cancelled", 2, 3, "order 5 closed what it protects"),
            ("reduced", 4, 3, "from 5 to 3: order 5 closed what it protects"),
        ],
        {"switches": {"netting": "oldest_entry_first"}},
    ),
    # ── cash ──
    Row(
        "a_purchase_is_cut_to_the_cash",
        {0: buy(15), 1: buy(1)},
        [100, 100, 100, 100],
        [(1, 1, 10, 100)],
        [
            ("reduced", 1, 1, "from 15 to 10: 1000.00000000 USD free"),
            ("cancelled", 2, 2, "not enough cash: 0.00000000 USD free"),
        ],
    ),
    Row(
        "a_purchase_for_all_or_nothing",
        {0: [buy(11, time_in_force=FOK), buy(10, time_in_force=FOK)]},
        [100, 100, 100],
        [(2, 1, 10, 100)],
        [("cancelled", 1, 1, "fill or kill: not enough cash: 1000.00000000 USD free")],
    ),
    Row(
        "the_fee_has_to_be_paid_too",
        {0: buy(10)},
        [100, 100, 100],
        [(1, 1, 9, 100)],
        [("reduced", 1, 1, "from 10 to 9: 1000.00000000 USD free")],
        {"fees": MakerTakerFees(D(0), D("0.0001"))},
    ),
    Row(
        "a_purchase_that_is_cut_is_not_given_more_for_its_rebate",
        {0: buy(200)},
        [10, 10, 10],
        [(1, 1, 100, 10)],  # with 90 paid back, 109 could be paid for
        [("reduced", 1, 1, "from 200 to 100: 1000.00000000 USD free")],
        {"fees": MakerTakerFees(D(0), D("-0.09"))},
    ),
    Row(
        "what_is_sold_pays_for_what_is_sold_short",
        {0: buy(10), 1: sell(25)},
        [100, 100, 100, 100],
        [(1, 1, 10, 100), (2, 2, 20, 100)],  # 1 000 from the sale, and as much again is kept as collateral
        [("reduced", 2, 2, "from 25 to 20: 0.00000000 USD free")],
    ),
    Row(
        "collateral_that_is_freed_pays_for_what_is_bought",
        {0: sell(10), 1: buy(25)},
        [100, 100, 80, 80],
        [(1, 1, 10, 100), (2, 2, 25, 80)],  # 2 000 - 800 pay for 15 at 80 exactly
        [],
    ),
    Row(
        "one_more_than_collateral_pays_for",
        {0: sell(10), 1: buy(26)},
        [100, 100, 80, 80],
        [(1, 1, 10, 100), (2, 2, 25, 80)],
        [("reduced", 2, 2, "from 26 to 25: 0.00000000 USD free")],
    ),
    Row(
        "where_short_selling_is_off_a_sale_ends_with_the_position",
        {0: buy(3), 1: sell(5), 2: sell(1)},
        [100, 100, 100, 100, 100],
        [(1, 1, 3, 100), (2, 2, 3, 100)],
        [("reduced", 2, 2, "from 5 to 3: short selling is off"), ("cancelled", 3, 3, "short selling is off")],
        SHORT_OFF,
    ),
    Row(
        "where_short_selling_is_off_and_it_is_all_or_nothing",
        {0: buy(3), 1: sell(5, time_in_force=FOK)},
        [100, 100, 100, 100],
        [(1, 1, 3, 100)],
        [("cancelled", 2, 2, "fill or kill: short selling is off")],
        SHORT_OFF,
    ),
    Row(
        "a_short_sale_beside_one_that_is_held",
        {0: buy(1), 1: sell(25)},
        [100, 100, 100, 100],
        [(1, 1, 1, 100), (2, 2, 11, 100)],
        [("reduced", 2, 2, "from 25 to 11: 900.00000000 USD free")],
    ),
    # ── volume ──
    Row(
        "all_of_what_may_be_traded_or_nothing",
        {0: [buy(4, time_in_force=FOK), buy(3, time_in_force=FOK)]},
        [100, (100, 100, 100, 100, 30), 100],
        [(2, 1, 3, 100)],
        [("cancelled", 1, 1, "fill or kill")],
    ),
    Row(
        "lots_of_a_hundred_share_the_volume",
        {0: buy(500)},
        [1, (1, 1, 1, 1, 3000), (1, 1, 1, 1, 1000), (1, 1, 1, 1, 5000)],
        [(1, 1, 300, 1), (1, 2, 100, 1), (1, 3, 100, 1)],
        [],
        None,
        replace(STOCK, quantity_increment=D(100)),
    ),
    Row(
        "one_more_than_a_million_that_may_be_traded",
        {0: buy(1_000_001)},
        [1, (1, 1, 1, 1, 10_000_000), (1, 1, 1, 1, 10_000_000)],
        [(1, 1, 1_000_000, 1), (1, 2, 1, 1)],
        [],
        {"cash": D(10**7)},
    ),
    # ── price costs ──
    Row(
        "who_rests_pays_no_slippage_at_a_better_open",
        {0: [buy(3, limit=99), buy(3, limit=98.5)]},
        [100, (100, 101, 99.5, 100), (98, 99, 98, 98.5)],
        [(1, 2, 3, 98), (2, 2, 3, 98)],
        [],
        {"slippage": FixedSlippage(50.0)},
    ),
    # ── margin ──
    Row(
        "there_is_margin_for_a_part",
        {0: buy(60), 1: buy(1)},
        [100, 100, 100, 100],
        [(1, 1, 50, 100)],
        [
            ("reduced", 1, 1, "from 60 to 50: not enough margin: 1000.00000000 USD available"),
            ("cancelled", 2, 2, "not enough margin: 0.00000000 USD available"),
        ],
        ON_MARGIN,
        PERPETUAL,
    ),
    Row(
        "there_is_margin_for_a_part_and_it_is_all_or_nothing",
        {0: [buy(51, time_in_force=FOK), buy(50, time_in_force=FOK)]},
        [100, 100, 100],
        [(2, 1, 50, 100)],
        [("cancelled", 1, 1, "fill or kill: not enough margin: 1000.00000000 USD available")],
        ON_MARGIN,
        PERPETUAL,
    ),
    Row(
        "there_is_no_margin_and_it_is_all_or_nothing",
        {0: buy(50), 1: buy(1, time_in_force=FOK)},
        [100, 100, 100, 100],
        [(1, 1, 50, 100)],
        [("cancelled", 2, 2, "not enough margin: 0.00000000 USD available")],
        ON_MARGIN,
        PERPETUAL,
    ),
    Row(
        "nothing_is_borrowed_to_sell_where_short_selling_is_off",
        {0: buy(3), 1: sell(5), 2: sell(1)},
        [100, 100, 100, 100, 100],
        [(1, 1, 3, 100), (2, 2, 3, 100)],
        [("reduced", 2, 2, "from 5 to 3: short selling is off"), ("cancelled", 3, 3, "short selling is off")],
        {**ON_MARGIN, **SHORT_OFF},
    ),
    Row(
        "a_contract_is_sold_short_all_the_same",
        {0: sell(5)},
        [100, 100, 100],
        [(1, 1, 5, 100)],
        [],
        {**ON_MARGIN, **SHORT_OFF},
        PERPETUAL,
    ),
    Row(
        "a_fee_an_order_has_to_fit_beside_the_margin",
        {0: buy(50)},
        [100, 100, 100],
        [(1, 1, 49, 100)],  # 49 × 20 + 5; 5 for the order, however large
        [("reduced", 1, 1, "from 50 to 49: not enough margin: 1000.00000000 USD available")],
        {**ON_MARGIN, "fees": EquityFees(minimum=D(5))},
        PERPETUAL,
    ),
    Row(
        "the_fee_of_the_day_has_to_fit_beside_the_margin",
        {0: buy(25), 1: buy(25)},
        [100, 100, 100, 100],
        [(1, 1, 25, 100), (2, 2, 25, 100)],  # 2 500 have been traded: from then on there is no fee
        [],
        {
            **ON_MARGIN,
            "cash": D(1025),
            "fees": TieredFees([FeeTier(D(0), D("0.01"), D("0.01")), FeeTier(D(2000), D(0), D(0))]),
        },
        PERPETUAL,
    ),
    Row(
        "what_is_liquidated_is_told_of_at_the_end_of_its_bar",
        {0: buy(50)},
        [100, 100, (100, 100, 70, 80), 80],
        [(1, 1, 50, 100), (2, 3, 50, 88.88)],  # (5 000 - 1 000) ÷ 45, and one increment below
        [],
        ON_MARGIN,
        PERPETUAL,
    ),
    # ── the exchange's rules ──
    Row(
        "nobody_sells_at_the_upper_limit",
        {1: buy(5)},
        [100, 100, 110, (110, 111, 109, 110), 110],
        [(1, 3, 5, 110)],
        [("held", 1, 2, "110.00 is today's upper price limit, where nobody takes the other side")],
        LIMITS,
    ),
    Row(
        "nobody_buys_at_the_lower_limit",
        {0: buy(5), 1: sell(5)},
        [100, 100, 90, (90, 91, 89, 90), 90],
        [(1, 1, 5, 100), (2, 3, 5, 90)],
        [("held", 2, 2, "90.00 is today's lower price limit, where nobody takes the other side")],
        LIMITS,
    ),
    Row(
        "who_holds_all_that_may_be_sold_is_not_told_of_settlement",
        {0: buy(3), 2: sell(5)},
        [100, 100, 100, 100, 100],
        [(1, 1, 3, 100), (2, 3, 3, 100)],
        [("reduced", 2, 3, "from 5 to 3: short selling is off")],
        UNSETTLED,
    ),
    Row(
        "a_close_that_is_filled_at_once_is_told_at_that_time",
        {0: buy(5), 1: sell(5)},
        [100, 101, 102],
        [(1, 1, 5, 100), (2, 2, 5, 101)],
        [],
        {"switches": {"market_fill": "same_close"}},
    ),
    Row(
        "a_close_takes_what_its_bar_has_left",
        {0: [buy(5), buy(5), buy(2)]},
        [(100, 100, 100, 100, 70), (101, 101, 101, 101, 1000)],
        [(1, 1, 5, 100), (2, 1, 2, 100), (2, 1, 3, 101), (3, 1, 2, 101)],  # a tenth of 70, the rest at the next open
        [],
        {"switches": {"market_fill": "same_close"}, "cash": D(5000)},
    ),
]


class TakenSoFar(TieredFees):
    """Charges a dollar for every fill that took liquidity before."""

    def __init__(self) -> None:
        super().__init__([FeeTier(D(0), D(0), D(0))])
        self.taken = 0

    def record(self, terms: FillTerms) -> None:
        self.taken += terms.liquidity is Liquidity.TAKER

    def fee(self, terms: FillTerms) -> Decimal:
        return D(self.taken)


def test_a_schedule_that_depends_on_the_past_is_told_of_every_fill() -> None:
    rows = [100, 100, (100, 105, 100, 104), 104, 104]
    outcome = run(rows, {0: [buy(5), sell(2, limit=103)], 2: [buy(1), buy(1)]}, instruments=[STOCK], fees=TakenSoFar())
    assert [(row.id, row.liquidity, row.fee) for row in outcome.result.fills] == [
        (1, "taker", 0),
        (2, "maker", 1),
        (3, "taker", 1),
        (4, "taker", 2),
    ]


def test_the_last_share_is_sold_though_it_is_worth_less_than_the_fee() -> None:
    terms = {"cash": D(15), "fees": EquityFees(minimum=D(5))}
    outcome = run([10, 10, 3, 3], {0: buy(1), 1: sell(1)}, instruments=[STOCK], **terms)
    assert [(row.quantity, row.price, row.fee) for row in outcome.result.fills] == [(1, 10, 5), (1, 3, 3)]
    assert outcome.portfolio.accounts["USD"].cash == 0


def test_what_was_bought_today_waits_and_more_may_be_bought() -> None:
    steps = {0: buy(3), 1: [sell(2), sell(3, time_in_force=FOK), buy(4)]}
    outcome = run(hourly([10] * 8), steps, instruments=[STOCK], cash=D(1000), **UNSETTLED)
    fills = [(number, 24 * time, quantity) for number, time, quantity, _ in filled(outcome)]
    assert fills == [(1, 2.5, 3), (4, 3.5, 4), (2, 25.5, 2)]
    held = [
        (event.order.id, 24 * days(event.time)) for event in outcome.strategy.events if isinstance(event, OrderHeld)
    ]
    assert held == [(2, 3.5), (3, 3.5), (2, 4.5)], "once for each reason: 0 of 3, then 0 of 7"
    assert [number for number, _ in outcome.cancelled] == [3], "a part of it could have been sold, or none at all"


def test_an_order_for_all_or_nothing_does_not_take_the_part_that_has_settled() -> None:
    steps = {0: buy(3), 4: [buy(2), sell(5, time_in_force=FOK)], 5: sell(5, time_in_force=FOK)}
    outcome = run(hourly([10] * 8), steps, instruments=[STOCK], cash=D(1000), **UNSETTLED)
    assert [row.order_id for row in outcome.result.fills] == [1, 2]
    assert [number for number, _ in outcome.cancelled] == [3, 4]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_fills_and_what_is_said(row: Row) -> None:
    terms = {"cash": D(1000), **(row.terms or {})}
    outcome = run(row.bars, row.asks, instruments=[row.instrument], **terms)
    assert filled(outcome) == row.fills
    assert told(outcome) == row.told
