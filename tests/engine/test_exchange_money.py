"""What fills cost and who can pay for them: cash, collateral, fees, slippage, each against sums made in Decimal."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import pytest

from engine import Instrument
from engine.bars import DAY, Bars
from engine.costs import (
    EquityFees,
    FeeTier,
    FixedSlippage,
    MakerTakerFees,
    NoSlippage,
    SquareRootImpact,
    TieredFees,
    VolatilitySlippage,
)
from engine.events import Fill, Liquidity
from engine.testing import make_bars
from tests.engine.cases import Outcome, buy, merged, run, sell, target

D = Decimal
FLAT = 100.0
SPOT = Instrument("TEST", price_increment=D("0.01"), quantity_increment=D("0.001"))


def spot(rows: Any, asks: Any, **terms: Any) -> Outcome:
    return run(rows, asks, instruments=[SPOT], **terms)


def two_symbols(one: list[Any], other: list[Any], names: tuple[str, str] = ("A", "B")) -> Bars:
    """Return the daily bars of two symbols."""
    return merged(make_bars(one, symbol=names[0]), make_bars(other, symbol=names[1]))


# ── cash ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asks", "rows", "quantities", "told"),
    [
        # as much as the cash pays for
        ({0: buy(20)}, [FLAT, FLAT], [("buy", 1, 10, 100)], "from 20.000 to 10.000: 1000.00000000 USD free"),
        (
            {0: buy(10)},
            [FLAT, (101, 101, 100, 100)],
            [("buy", 1, 9.9, 101)],
            "from 10.000 to 9.900: 1000.00000000 USD free",
        ),
        # the second finds nothing left
        ({0: [buy(10), buy(1)]}, [FLAT, FLAT], [("buy", 1, 10, 100)], "not enough cash: 0.00000000 USD free"),
        # a sale in the same bar pays for a purchase after it
        (
            {0: buy(10), 1: [sell(10), buy(10)]},
            [FLAT, FLAT, FLAT],
            [("buy", 1, 10, 100), ("sell", 2, 10, 100), ("buy", 2, 10, 100)],
            None,
        ),
        # cash is needed when it fills, not when it is asked for
        ({0: [buy(10, limit=50), buy(5)]}, [FLAT, (100, 100, 40, 45)], [("buy", 1, 5, 100), ("buy", 1, 10, 50)], None),
        # a part that volume left for later is cut too
        (
            {0: buy(20)},
            [FLAT, (100, 101, 99, 100, 120)],
            [("buy", 1, 10, 100)],
            "from 20.000 to 10.000: 1000.00000000 USD free",
        ),
    ],
)
def test_buying_is_cut_to_the_cash(asks: Any, rows: Any, quantities: Any, told: str | None) -> None:
    outcome = spot(rows, asks, cash=D(1000))
    assert outcome.quantities == quantities
    assert [reason for _, reason in outcome.reduced + outcome.cancelled] == ([told] if told else [])
    assert outcome.portfolio.accounts["USD"].cash >= 0


@pytest.mark.parametrize(
    "fees",
    [
        MakerTakerFees(D("0.001"), D("0.002")),
        EquityFees(per_share=D("0.005"), minimum=D("7.77")),
        EquityFees(rate=D("0.0003"), minimum=D(5)),
        TieredFees([FeeTier(D(0), D("0.001"), D("0.0015")), FeeTier(D(500), D("0.0005"), D("0.001"))]),
    ],
)
def test_what_is_bought_and_its_fee_fit_and_one_increment_more_would_not(fees: Any) -> None:
    outcome = spot([FLAT, (99.37, 100, 99, 100)], {0: buy(1000)}, cash=D(1000), fees=fees)
    fill, cash = outcome.strategy.fills[0], outcome.portfolio.accounts["USD"].cash
    fee = 1000 - cash - fill.price * fill.quantity
    assert 0 <= cash < (D("99.37") * D("0.001")) * D("1.01")
    assert fee > 0
    assert outcome.cancelled == []


def test_a_fee_that_eats_all_cash_cancels_the_order() -> None:
    outcome = spot([FLAT, FLAT], {0: buy(1)}, cash=D(100), fees=EquityFees(minimum=D(100)))
    assert outcome.cancelled == [(1, "not enough cash: 100.00000000 USD free")]


# ── short ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_short_position_locks_its_proceeds_and_as_much_again() -> None:
    outcome = spot([FLAT, FLAT], {0: sell(20)}, cash=D(1000))
    account = outcome.portfolio.accounts["USD"]
    assert outcome.quantities == [("sell", 1, 10, 100)], "1000 of collateral back 10 at 100"
    assert (account.cash, account.free) == (2000, 0)


def test_buying_back_releases_the_collateral() -> None:
    outcome = spot([FLAT, FLAT, 90.0, 90.0], {0: sell(10), 1: buy(4), 2: buy(6)}, cash=D(1000))
    assert outcome.quantities == [("sell", 1, 10, 100), ("buy", 2, 4, 90), ("buy", 3, 6, 90)]
    assert outcome.portfolio.accounts["USD"].free == 1100


def test_a_short_that_went_wrong_can_be_bought_back_though_no_cash_is_free() -> None:
    outcome = spot([FLAT, FLAT, 130.0], {0: sell(10), 1: buy(10)}, cash=D(1000))
    assert outcome.position == 0
    assert outcome.portfolio.accounts["USD"].cash == 700


@pytest.mark.parametrize(
    ("asks", "quantities", "told"),
    [
        ({0: sell(1)}, [], "short selling is off"),
        (
            {0: buy(4), 1: sell(10)},
            [("buy", 1, 4, 100), ("sell", 2, 4, 100)],
            "from 10.000 to 4.000: short selling is off",
        ),
        ({0: buy(4), 1: sell(4)}, [("buy", 1, 4, 100), ("sell", 2, 4, 100)], None),
        ({0: target(-1.0)}, [], "short selling is off"),
    ],
)
def test_without_short_selling_only_what_is_held_is_sold(asks: Any, quantities: Any, told: str | None) -> None:
    outcome = spot([FLAT, FLAT, FLAT], asks, allow_short=False)
    assert outcome.quantities == quantities
    assert [reason for _, reason in outcome.reduced + outcome.cancelled] == ([told] if told else [])


@pytest.mark.parametrize(
    ("asks", "last", "position", "cash", "free"),
    [
        ({0: buy(5), 1: sell(10)}, 120.0, -5, 1000 - 500 + 1200, 1000 - 500 + 1200 - 2 * 600),
        ({0: sell(5), 1: buy(10)}, 80.0, 5, 1000 + 500 - 800, 1000 + 500 - 800),
        # long 5 at 100, sold at 40: 700 in all back a short of 17.5
        ({0: buy(5), 1: sell(1000)}, 40.0, D("-17.5"), 500 + D("22.5") * 40, 0),
        # short 5 at 100, bought at 160: 700 are left for 4.375
        ({0: sell(5), 1: buy(1000)}, 160.0, D("4.375"), 0, 0),
    ],
)
def test_a_reversal_is_one_order(asks: Any, last: float, position: Any, cash: Any, free: Any) -> None:
    outcome = spot([FLAT, FLAT, last], asks, cash=D(1000))
    account = outcome.portfolio.accounts["USD"]
    assert (outcome.position, account.cash, account.free) == (position, cash, free)


# ── several currencies and instruments ──────────────────────────────────────────────────────────────────────────────


def test_each_currency_pays_for_what_is_quoted_in_it() -> None:
    bars = two_symbols([FLAT] * 3, [50.0] * 3, ("BTC/USD", "BTC/EUR"))
    instruments = [Instrument("BTC/USD", "USD"), Instrument("BTC/EUR", "EUR")]
    asks = {0: [lambda s: s.buy("BTC/USD", 30), lambda s: s.buy("BTC/EUR", 10)]}
    outcome = run(bars, asks, cash=D(1000), instruments=instruments)
    cash = {name: account.cash for name, account in outcome.portfolio.accounts.items()}
    assert cash == {"USD": 0, "EUR": 500}
    assert outcome.result.final_equity == 1000, "in the first currency alone"
    assert outcome.strategy.equity("EUR") == 1000


def test_a_sale_frees_the_cash_of_a_purchase_at_the_same_instant_whatever_the_feed_order() -> None:
    bars = two_symbols([FLAT] * 4, [50.0] * 4)
    for held, wanted, count in (("A", "B", 20), ("B", "A", 10)):
        asks = {
            0: lambda s, held=held: s.target(held, 1.0),  # on A's bar of the first day, so before B has one
            3: [lambda s, w=wanted: s.target(w, 1.0), lambda s, h=held: s.target(h, 0.0)],
        }
        asks = {1: asks[0], 3: asks[3]}
        outcome = run(bars, asks, cash=D(1000))
        assert float(outcome.portfolio.positions[wanted].quantity) == count
        assert outcome.reduced == []


def test_a_multiplier_scales_every_sum() -> None:
    contract = Instrument("TEST", price_increment=D("0.5"), quantity_increment=D(1), multiplier=D("0.01"))
    fees = MakerTakerFees(D(0), D("0.0005"))
    outcome = run(
        [20_000.0, (20_100, 20_200, 20_000, 20_150), 20_300.0],
        {0: buy(3), 1: sell(5)},
        instruments=[contract],
        fees=fees,
        cash=D(5000),
    )
    bought, sold = D(20_100) * 3 / 100, D(20_300) * 5 / 100
    account = outcome.portfolio.accounts["USD"]
    assert account.cash == 5000 - bought + sold - (bought + sold) * D("0.0005")
    assert outcome.portfolio.positions["TEST"].average_price == 20_300
    assert outcome.portfolio.positions["TEST"].realised_units * account.unit == (D(20_300) - D(20_100)) * 3 / 100


# ── fees ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fees", "expected"),
    [
        # bought 10 at 100 (taker), sold 10 at 110 (maker)
        (MakerTakerFees(D("0.001"), D("0.002")), [D(2), D("1.1")]),
        (MakerTakerFees(D("-0.0001"), D("0.0005")), [D("0.5"), D("-0.11")]),  # a rebate is paid out
        (MakerTakerFees(D("0.001"), D("0.002"), {"TEST": (D("0.01"), D("0.02"))}), [D(20), D(11)]),
        (MakerTakerFees(D("0.001"), D("0.002"), {"OTHER": (D("0.01"), D("0.02"))}), [D(2), D("1.1")]),
        (
            TieredFees([FeeTier(D(0), D("0.001"), D("0.002")), FeeTier(D(1000), D("0.0005"), D("0.001"))]),
            [D(2), D("0.55")],
        ),
        (
            TieredFees([FeeTier(D(0), D("0.001"), D("0.002")), FeeTier(D(1001), D("0.0005"), D("0.001"))]),
            [D(2), D("1.1")],
        ),
        (EquityFees(per_share=D("0.05")), [D("0.5"), D("0.5")]),
        (EquityFees(per_share=D("0.05"), minimum=D(1)), [D(1), D(1)]),
        (EquityFees(rate=D("0.001"), stamp_duty=D("0.0005")), [D(1), D("1.1") + D("0.55")]),  # duty on the sale alone
        (
            EquityFees(rate=D("0.0001"), minimum=D(5), stamp_duty=D("0.0005")),
            [D(5), D(5) + D("0.55")],
        ),  # beside the minimum
    ],
)
def test_fees_of_every_schedule(fees: Any, expected: list[Decimal]) -> None:
    outcome = spot([FLAT, FLAT, (100, 111, 100, 105)], {0: buy(10), 1: sell(10, limit=110)}, fees=fees)
    unit = outcome.portfolio.accounts["USD"].unit
    assert [fill.fee_units * unit for fill in outcome.strategy.fills] == expected
    assert outcome.portfolio.accounts["USD"].cash == 1_000_000 - 1000 + 1100 - sum(expected)


@pytest.mark.parametrize(
    ("quantity", "rate", "units"),
    [
        ("0.001", "0.000005", 0),
        ("0.003", "0.000005", 2),
        ("0.005", "0.000005", 2),
        ("0.003", "-0.000005", -2),
        ("0.001", "-0.000005", 0),
    ],
)
@pytest.mark.parametrize("is_fraction", [True, False])
def test_a_fee_is_rounded_half_to_even(quantity: str, rate: str, units: int, is_fraction: bool) -> None:
    # 0.001 at 1.00 is 0.001 USD, of which five millionths are half of 1e-8
    fees = MakerTakerFees(D(0), D(rate), {} if is_fraction else {"OTHER": (D(0), D(0))})
    outcome = spot([1.0, 1.0], {0: buy(float(quantity))}, fees=fees)
    assert [fill.fee_units for fill in outcome.strategy.fills] == [units]


def test_a_tier_looks_back_thirty_days_and_no_further() -> None:
    fees = TieredFees([FeeTier(D(0), D("0.01"), D("0.01")), FeeTier(D(100), D("0.001"), D("0.001"))])
    outcome = spot([FLAT] * 35, {0: buy(1), 1: buy(1), 30: buy(1), 31: sell(1), 33: sell(1)}, fees=fees)
    unit = outcome.portfolio.accounts["USD"].unit
    # the fill of day 31 comes thirty days after the first, which has just left; the second still counts
    assert [fill.fee_units * unit for fill in outcome.strategy.fills] == [D(1), D("0.1"), D("0.1"), D("0.1"), D("0.1")]
    lonely = TieredFees([FeeTier(D(0), D("0.01"), D("0.01")), FeeTier(D(100), D("0.001"), D("0.001"))])
    outcome = spot([FLAT] * 35, {0: buy(1), 30: buy(1)}, fees=lonely)
    assert [fill.fee_units * unit for fill in outcome.strategy.fills] == [D(1), D(1)], (
        "thirty days later to the instant: gone"
    )


# ── slippage ────────────────────────────────────────────────────────────────────────────────────────────────────────

WILD = [(100, 103, 98, 101, 1e6), (101, 104, 99, 100, 1e6), (100, 105, 97, 103, 1e6), (103, 104, 99, 100, 1e6)] * 3

SLIPPAGES = [
    FixedSlippage(basis_points=7),
    FixedSlippage(half_spread_basis_points=3),
    FixedSlippage(7, 3),
    VolatilitySlippage(0.5, 600.0, 2.0),
    SquareRootImpact(1.0, 0.5, 2.0),
    SquareRootImpact(0.5, 0.6),
]


@pytest.mark.parametrize("slippage", SLIPPAGES, ids=lambda s: f"{s.card()}")
@pytest.mark.parametrize(
    "ask", [buy(20), sell(20), buy(20, stop=103), sell(20, stop=98)], ids=lambda a: f"{a.method} {dict(a.terms)}"
)
def test_costs_inside_the_price_add_up_to_it(slippage: Any, ask: Any) -> None:
    outcome = spot(WILD, {8: ask}, slippage=slippage)
    (fill,) = outcome.strategy.fills
    distance = (fill.price_ticks - fill.reference_ticks) * int(fill.side)
    assert distance > 0, "always against us, and at least by an increment"
    parts = (fill.spread_cost, fill.slippage_cost, fill.impact_cost)
    assert all(part >= 0 for part in parts)
    assert sum(parts) == pytest.approx(distance * 0.01 * 20, rel=1e-12)


@pytest.mark.parametrize(
    ("slippage", "expected"),
    [
        # at a reference of 100.00: 7 bp are 0.07, rounded away from us where they do not fit
        (FixedSlippage(7), "100.07"),
        (FixedSlippage(7, 3), "100.10"),
        (FixedSlippage(7.1), "100.08"),
        (FixedSlippage(0.001), "100.01"),
        (NoSlippage(), "100.00"),
    ],
)
def test_fixed_slippage_to_the_increment(slippage: Any, expected: str) -> None:
    assert spot([FLAT, FLAT], {0: buy(1)}, slippage=slippage).strategy.fills[0].price == D(expected)


def test_resting_orders_pay_no_slippage() -> None:
    outcome = spot(
        [FLAT, (100, 101, 97, 98), (97, 97, 95, 96)],
        {0: buy(1, limit=98), 1: buy(1, limit=96.5)},
        slippage=FixedSlippage(50, 50),
    )
    assert [fill.price for fill in outcome.strategy.fills] == [98, D("96.5")]
    assert [fill.spread_cost + fill.slippage_cost for fill in outcome.strategy.fills] == [0, 0]


@pytest.mark.parametrize(
    ("ask", "bar", "price"),
    [
        (buy(1, limit=100.05), (100, 101, 99, 100), "100.05"),  # 20 bp would be 100.20
        (buy(1, limit=100.50), (100, 101, 99, 100), "100.20"),
        (sell(1, limit=99.95), (100, 101, 99, 100), "99.95"),
        (buy(1, stop=102, limit=102.10), (100, 103, 99, 102), "102.10"),
    ],
)
def test_no_order_fills_beyond_its_limit_whatever_the_slippage(ask: Any, bar: Any, price: str) -> None:
    (fill,) = spot([FLAT, bar], {0: ask}, slippage=FixedSlippage(10, 10)).strategy.fills
    assert fill.price == D(price)
    assert fill.spread_cost + fill.slippage_cost == pytest.approx(abs(float(fill.price) - fill.reference_ticks * 0.01))
    assert fill.spread_cost == pytest.approx(fill.slippage_cost, abs=0.011)


def test_slippage_knows_only_bars_before_the_one_it_fills_in() -> None:
    calm = [(100, 100.5, 99.5, 100.2), (100, 100.5, 99.5, 99.9)] * 4
    crash, surge = (100, 101, 60, 61), (100, 160, 99, 159)
    prices = {
        float(spot([*calm, last], {7: buy(1)}, slippage=VolatilitySlippage(1.0, 3600.0)).strategy.fills[0].price)
        for last in (crash, surge)
    }
    assert len(prices) == 1


def test_impact_grows_with_the_square_root_of_the_size() -> None:
    def impact(quantity: float) -> float:
        outcome = run(
            WILD,
            {8: buy(quantity)},
            slippage=SquareRootImpact(),
            price_increment=D("1e-8"),
            switches={"volume_cap": None},
        )
        return outcome.strategy.fills[0].impact_cost / quantity

    assert impact(40) / impact(10) == pytest.approx(2, rel=1e-5)


# ── everything at once, against sums made here ──────────────────────────────────────────────────────────────────────


def fee_of(fill: Fill, volume_before: Decimal, fees: Any, earlier: Sequence[Fill] = ()) -> Decimal:
    """Return the fee, said again from the schedule's own words.

    Args:
        earlier: the fills of the same order before this one.
    """
    notional = fill.price * fill.quantity
    is_maker = fill.liquidity is Liquidity.MAKER
    if isinstance(fees, MakerTakerFees):
        return notional * (fees.maker if is_maker else fees.taker)
    if isinstance(fees, EquityFees):
        duty = notional * fees.stamp_duty if fill.side < 0 else D(0)

        def commission(fills: Sequence[Fill]) -> Decimal:
            charged = [each.quantity * fees.per_share + each.price * each.quantity * fees.rate for each in fills]
            return max(fees.minimum, sum(charged, D(0))) if fills else D(0)

        return commission([*earlier, fill]) - commission(earlier) + duty
    rates = [(D(0), "0.001", "0.002"), (D(50_000), "0.0006", "0.0011"), (D(200_000), "-0.0001", "0.0005")]
    maker, taker = next((maker, taker) for volume, maker, taker in reversed(rates) if volume_before >= volume)
    return notional * D(maker if is_maker else taker)


def tiers() -> TieredFees:
    return TieredFees(
        [
            FeeTier(D(0), D("0.001"), D("0.002")),
            FeeTier(D(50_000), D("0.0006"), D("0.0011")),
            FeeTier(D(200_000), D("-0.0001"), D("0.0005")),
        ]
    )


def random_script(generator: np.random.Generator, bars: int) -> Mapping[int, list[Any]]:
    """Return orders of every kind at random bars."""
    asks: dict[int, list[Any]] = {}
    for bar in range(bars):
        for _ in range(int(generator.integers(0, 3))):
            make = buy if generator.random() < 0.5 else sell
            away = round(float(generator.normal(0, 2)), 2)
            quantity = round(float(generator.exponential(40)) + 0.001, 3)
            kind = int(generator.integers(0, 6))
            terms: dict[str, Any] = [
                {},
                {"limit": 100 + away},
                {"stop": 100 + away},
                {"limit": 100 + away, "stop": 100 + 2 * away},
                {"trail_amount": abs(away) + 0.5},
                {"stop_loss": 90.0 if make is buy else 110.0, "take_profit": 110.0 if make is buy else 90.0},
            ][kind]
            asks.setdefault(bar, []).append(make(quantity, **terms))
    return asks


def random_rows(generator: np.random.Generator, bars: int) -> list[list[float]]:
    rows, price = [], 100.0
    for _ in range(bars):
        open_ = round(price + float(generator.normal(0, 0.4)), 2)
        close = round(100 + 0.9 * (open_ - 100) + float(generator.normal(0, 1)), 2)
        high = round(max(open_, close) + float(generator.exponential(0.7)), 2)
        low = round(min(open_, close) - float(generator.exponential(0.7)), 2)
        rows.append([open_, high, low, close, round(float(generator.exponential(600)), 1)])
        price = close
    return rows


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "fees",
    [
        lambda: MakerTakerFees(D("-0.0002"), D("0.00075")),
        lambda: EquityFees(D("0.003"), D("0.0001"), D("1.23"), D("0.0005")),
        tiers,
    ],
)
@pytest.mark.parametrize("path", ["worst", "ohlc", "random"])
def test_cash_fees_and_positions_equal_sums_made_independently(seed: int, fees: Any, path: str) -> None:
    generator = np.random.default_rng(seed)
    schedule = fees()
    slippage = [NoSlippage(), FixedSlippage(2, 1), SquareRootImpact()][seed % 3]
    outcome = spot(
        random_rows(generator, 60),
        random_script(generator, 58),
        fees=schedule,
        slippage=slippage,
        cash=D(20_000),
        allow_short=seed % 2 == 0,
        switches={"path": path},
    )
    assert len(outcome.strategy.fills) > 15
    unit = outcome.portfolio.accounts["USD"].unit
    cash, held, past = D(20_000), D(0), []
    for fill, row in zip(outcome.strategy.fills, outcome.result.fills, strict=True):
        notional = fill.price * fill.quantity
        window = sum((amount for time, amount in past if time > fill.time - 30 * DAY), D(0))
        earlier = [one for one in outcome.strategy.fills if one.order is fill.order and one.id < fill.id]
        fee = (fee_of(fill, window, schedule, earlier) / unit).to_integral_value(ROUND_HALF_EVEN) * unit
        past.append((fill.time, notional))
        cash -= int(fill.side) * notional + fee
        held += int(fill.side) * fill.quantity
        assert fill.fee_units * unit == fee
        assert (D(str(row.cash_after)), D(str(row.position_after))) == (cash, held), "as it was right after this fill"
        assert D(str(row.price)) == fill.price
    account, position = outcome.portfolio.accounts["USD"], outcome.portfolio.positions["TEST"]
    assert (account.cash, position.quantity) == (cash, held)
    assert account.locked_units == (2 * position.cost_units if position.lots < 0 else 0)
    if not outcome.portfolio.allow_short:
        assert min(row.position_after for row in outcome.result.fills) >= 0
        assert min(row.cash_after for row in outcome.result.fills) >= 0


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("path", ["worst", "adaptive", "queue"])
def test_no_fill_leaves_its_bar_and_no_order_overfills(seed: int, path: str) -> None:
    generator = np.random.default_rng(1000 + seed)
    rows = random_rows(generator, 60)
    outcome = spot(rows, random_script(generator, 58), switches={"path": path})
    filled: dict[int, Decimal] = {}
    taken: dict[int, Decimal] = {}
    for fill in outcome.strategy.fills:
        bar = (fill.bar_close_time - fill.order.decided_at) // DAY
        row = rows[(fill.bar_close_time - 1_704_067_200_000_000_000) // DAY - 1]
        assert D(str(row[2])) <= fill.price <= D(str(row[1]))
        assert bar >= 0
        filled[fill.order.id] = filled.get(fill.order.id, D(0)) + fill.quantity
        taken[fill.bar_close_time] = taken.get(fill.bar_close_time, D(0)) + fill.quantity
        assert taken[fill.bar_close_time] <= D(str(row[4])) / 10
        limit = fill.order.limit
        assert limit is None or (limit - fill.price) * int(fill.side) >= 0, "never worse than the limit"
    for fill in outcome.strategy.fills:
        assert filled[fill.order.id] == fill.order.filled_quantity <= fill.order.quantity


def test_a_fill_row_carries_the_books_right_after_that_fill() -> None:
    outcome = spot([FLAT, FLAT], {0: [buy(1), buy(2)]}, cash=D(1000))
    assert [(row.position_after, row.cash_after) for row in outcome.result.fills] == [(1, 900), (3, 700)]


def test_sales_go_first_under_slippage_that_follows_the_market_too() -> None:
    asks = {1: lambda s: s.target("B", 1.0), 3: [lambda s: s.target("A", 1.0), lambda s: s.target("B", 0.0)]}
    outcome = run(two_symbols([FLAT] * 4, [50.0] * 4), asks, cash=D(1000), slippage=VolatilitySlippage(0.0, 0.0))
    assert outcome.reduced == []
    assert float(outcome.portfolio.positions["A"].quantity) == 10
