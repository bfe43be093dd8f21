"""What a fill costs in ticks and units: where rounding, limits and the floor of prices meet. Sums made by hand."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from engine import Instrument, Order, OrderType, Side
from engine.bars import DAY, HOUR
from engine.charges import Charges, in_quote, round_half_even
from engine.costs import (
    EquityFees,
    FeeTier,
    FillTerms,
    MakerTakerFees,
    Market,
    MarketGauge,
    NoSlippage,
    PriceCosts,
    TieredFees,
)
from engine.events import Liquidity
from engine.portfolio import Portfolio
from engine.testing import make_bars

D = Decimal
INSTRUMENT = Instrument("X", price_increment=D("0.5"), quantity_increment=D("0.1"))
CONTRACTS = replace(INSTRUMENT, multiplier=D("0.25"))
BUY, SELL = Side.BUY, Side.SELL


@dataclass
class Told:
    """Slippage of the costs it is given, in quote currency per unit of base; notes what it was asked."""

    costs_now: PriceCosts
    asked: list[tuple[float, float, Market]] = field(default_factory=list)
    needs_market = True

    def costs(self, price: float, quantity: float, market: Market) -> PriceCosts:
        self.asked.append((price, quantity, market))
        return self.costs_now

    def constant_basis_points(self) -> None:
        return None

    def card(self) -> dict[str, Any]:
        return {}


def order(side: Side = BUY, instrument: Instrument = INSTRUMENT, **terms: Any) -> Order:
    kind = OrderType.LIMIT if "limit_ticks" in terms else OrderType.MARKET
    return Order(1, 1, instrument, side, kind, 100, 0, 100, **terms)


def priced(costs: PriceCosts, one: Order, reference: int) -> tuple[int, PriceCosts]:
    return Charges(MakerTakerFees(), Told(costs)).price(one, reference, 40)


@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (7, 3, 2), (8, 3, 3), (6, 3, 2), (-8, 3, -3), (1, 2, 0)],
)
def test_halves_go_to_the_even_neighbour(numerator: int, denominator: int, rounded: int) -> None:
    assert round_half_even(numerator, denominator) == rounded


# ── prices ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("side", "costs", "price", "paid"),
    [
        # increments of 0.5: 1.0 is two of them, and nothing is added by rounding
        (BUY, PriceCosts(0.5, 0.25, 0.25), 102, PriceCosts(0.5, 0.25, 0.25)),
        (SELL, PriceCosts(0.5, 0.25, 0.25), 98, PriceCosts(0.5, 0.25, 0.25)),
        # 0.75 is one and a half: the half that rounding adds, 0.25, is slippage
        (BUY, PriceCosts(0.5, 0.125, 0.125), 102, PriceCosts(0.5, 0.375, 0.125)),
        (SELL, PriceCosts(0.25, 0.0, 0.0), 99, PriceCosts(0.25, 0.25, 0.0)),
        (BUY, PriceCosts(), 100, PriceCosts()),
    ],
)
def test_costs_move_the_price_against_us_by_whole_increments(
    side: Side, costs: PriceCosts, price: int, paid: PriceCosts
) -> None:
    assert priced(costs, order(side), 100) == (price, paid)


@pytest.mark.parametrize(
    ("side", "limit", "price", "paid"),
    [
        # costs of 0.75 end at 102, rounded. A limit there is kept, and rounding is slippage as ever
        (BUY, 102, 102, PriceCosts(0.25, 0.375, 0.375)),
        (SELL, 98, 98, PriceCosts(0.25, 0.375, 0.375)),
        # one increment nearer: 0.5 of 0.75 was paid, two thirds of each cause
        (BUY, 101, 101, PriceCosts(0.25 * 2 / 3, 0.125 * 2 / 3, 0.25)),
        (SELL, 99, 99, PriceCosts(0.25 * 2 / 3, 0.125 * 2 / 3, 0.25)),
        (BUY, 100, 100, PriceCosts()),
    ],
)
def test_costs_stop_at_the_limit(side: Side, limit: int, price: int, paid: PriceCosts) -> None:
    found, costs = priced(PriceCosts(0.25, 0.125, 0.375), order(side, limit_ticks=limit), 100)
    assert found == price
    assert costs == pytest.approx(paid)


@pytest.mark.parametrize(("steps", "price"), [(1, 2), (2, 1), (3, 1), (9, 1)])
def test_what_is_sold_fetches_one_increment_at_the_least(steps: int, price: int) -> None:
    assert priced(PriceCosts(0.5 * steps), order(SELL), 3)[0] == price


def test_costs_are_asked_for_at_the_reference_and_in_base_asset_of_an_unknown_market_at_first() -> None:
    slippage = Told(PriceCosts())
    Charges(MakerTakerFees(), slippage).price(order(instrument=CONTRACTS), 101, 40)
    assert slippage.asked == [(50.5, 4 * 0.25, Market(0.0, 0.0))], "4 contracts of 0.25 each"


@pytest.mark.parametrize("duration", [DAY, 6 * HOUR])
def test_costs_see_the_market_of_their_symbol_up_to_the_last_closed_bar(duration: int) -> None:
    slippage, gauge = Told(PriceCosts()), MarketGauge(duration)
    charges = Charges(MakerTakerFees(), slippage)
    assert charges.has_price_costs
    for bar in make_bars([100, 110, 99, 105], symbol="X").rows():
        charges.watch(bar._replace(open_time=bar.close_time - duration))
        gauge.update(bar)
    for bar in make_bars([100, 200], symbol="Y").rows():
        charges.watch(bar)
    charges.price(order(), 100, 10)
    assert slippage.asked[-1][2] == gauge.market
    assert gauge.market.volatility > 0


def test_costs_of_a_fill_are_those_of_a_unit_of_base_times_what_was_filled() -> None:
    costs = PriceCosts(0.5, 0.25, 0.125)
    assert in_quote(costs, order(), 40) == (2.0, 1.0, 0.5)
    assert in_quote(costs, order(instrument=CONTRACTS), 40) == (0.5, 0.25, 0.125)
    assert not Charges(MakerTakerFees(), NoSlippage()).has_price_costs


# ── fees ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("liquidity", "lots", "fee"),
    [
        (Liquidity.TAKER, 40, "0.2"),  # 0.1 % of 4 × 50
        (Liquidity.MAKER, 40, "-0.02"),
        (Liquidity.TAKER, 1, "0.005"),
    ],
)
def test_constant_rates_are_charged_in_units(liquidity: Liquidity, lots: int, fee: str) -> None:
    charges = Charges(MakerTakerFees(D("-0.0001"), D("0.001")), NoSlippage())
    position = Portfolio({"USD": D(0)}, [INSTRUMENT]).positions["X"]
    assert not charges.depend_on_past
    units = charges.fee_units(order(), position, 100, lots, liquidity, 0)
    assert units * position.account.unit == D(fee)


def test_a_schedule_that_depends_on_the_past_is_told_of_time_and_liquidity() -> None:
    fees = TieredFees([FeeTier(D(0), D("0.01"), D("0.02")), FeeTier(D(100), D("0.001"), D("0.002"))], window=10)
    charges = Charges(fees, NoSlippage())
    assert charges.depend_on_past
    position = Portfolio({"USD": D(0)}, [INSTRUMENT]).positions["X"]
    one = order()
    one.record_fill(40)
    charges.record(one, position, 100, 40, Liquidity.TAKER, 5)  # 4 × 50 = 200, until 15
    asked = ((Liquidity.TAKER, 14), (Liquidity.MAKER, 14), (Liquidity.TAKER, 15), (Liquidity.MAKER, 15))
    paid = [charges.fee_units(order(), position, 100, 20, liquidity, time) for liquidity, time in asked]
    assert [units * position.account.unit for units in paid] == [D("0.2"), D("0.1"), 2, 1]


class Noting(EquityFees):
    """Equity fees that note every fill they are told of."""

    def __init__(self, **terms: Decimal) -> None:
        super().__init__(**terms)
        object.__setattr__(self, "noted", [])

    def record(self, terms: FillTerms) -> None:
        self.noted.append(terms)  # type: ignore[attr-defined]


def test_an_order_in_parts_tells_its_schedule_what_was_filled_before() -> None:
    fees = Noting(minimum=D(5), rate=D("0.01"), stamp_duty=D("0.001"))
    charges = Charges(fees, NoSlippage())
    position = Portfolio({"USD": D(0)}, [CONTRACTS]).positions["X"]
    selling = order(SELL, CONTRACTS)
    paid = []
    for price, lots in ((100, 40), (96, 60)):
        paid.append(charges.fee_units(selling, position, price, lots, Liquidity.TAKER, 7) * position.account.unit)
        selling.record_fill(lots)
        charges.record(selling, position, price, lots, Liquidity.TAKER, 7)
    # 4 at 50.0, then 6 at 48.0, a quarter of a unit each: 50 and 72. 1 % of 122 is less than the minimum
    assert paid == [5 + D("0.05"), D("0.072")]
    parts = (("4.0", "50", "0", "0"), ("6.0", "72", "4.0", "50"))
    assert fees.noted == [  # type: ignore[attr-defined]
        FillTerms("X", SELL, D(size), D(worth), Liquidity.TAKER, 7, D(before), D(worth_before))
        for size, worth, before, worth_before in parts
    ]
    assert selling.filled_notional_units * position.account.unit == 122


def test_a_fee_that_is_no_whole_number_of_units_is_rounded_half_to_even() -> None:
    charges = Charges(EquityFees(per_share=D("0.00000005"), rate=D(0)), NoSlippage())
    position = Portfolio({"USD": D(0)}, [INSTRUMENT]).positions["X"]
    units = [charges.fee_units(order(), position, 100, lots, Liquidity.TAKER, 0) for lots in (1, 2, 3, 5, 6)]
    assert units == [0, 1, 2, 2, 3], "half a unit, 1, 1.5, 2.5 and 3"
