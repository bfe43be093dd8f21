"""The gate before the broker: what the venue would reject, and rules of one's own."""

from decimal import Decimal
from typing import Any

import pytest

from engine import Instrument, Order, OrderType, Side
from engine.costs import EquityFees, FixedSlippage, MakerTakerFees, NoSlippage
from engine.portfolio import Portfolio
from engine.risk import RiskGate, headroom

D = Decimal
VENUE = Instrument("X", "USDT", quantity_increment=D("0.001"), min_quantity=D("0.01"), min_notional=D(10))
BOOKS = Portfolio({"USDT": D(1000)}, [VENUE])


def order(lots: int, kind: OrderType = OrderType.MARKET, **terms: Any) -> Order:
    return Order(1, 1, VENUE, Side.BUY, kind, lots, 0, **terms)


@pytest.mark.parametrize(
    ("asked", "price", "reason"),
    [
        (order(0), 100.0, "quantity rounds to 0; the step of X is 0.001"),
        (order(9), 10_000.0, "quantity 0.009 is below the venue's minimum 0.01"),
        (order(99), 100.0, "notional 9.9 USDT is below the venue's minimum 10"),
        (order(100), 100.0, None),
        # a limit counts at its limit, a stop at its stop
        (order(100, OrderType.LIMIT, limit_ticks=9_999), 200.0, "notional 9.999 USDT is below the venue's minimum 10"),
        (order(100, OrderType.LIMIT, limit_ticks=10_000), 50.0, None),
        (order(100, OrderType.STOP, stop_ticks=9_000), 200.0, "notional 9 USDT is below the venue's minimum 10"),
        (order(100, OrderType.STOP_LIMIT, stop_ticks=9_000, limit_ticks=10_000), 50.0, None),
    ],
)
def test_the_venue_s_filters(asked: Order, price: float, reason: str | None) -> None:
    assert RiskGate().refusal(asked, price, BOOKS) == reason


def test_a_contract_s_multiplier_counts() -> None:
    contract = Instrument("X", quantity_increment=D(1), min_notional=D(10), multiplier=D("0.01"))
    asked = Order(1, 1, contract, Side.BUY, OrderType.MARKET, 9, 0)
    assert RiskGate().refusal(asked, 100.0, BOOKS) == "notional 9 USD is below the venue's minimum 10"


class NoMore:
    def __init__(self, reason: str | None) -> None:
        self.reason = reason

    def refusal(self, order: Order, price: float, portfolio: Portfolio) -> str | None:
        return self.reason


def test_the_first_refusal_counts_and_filters_come_first() -> None:
    gate = RiskGate([NoMore(None), NoMore("enough for today"), NoMore("never asked")])
    assert gate.refusal(order(100), 100.0, BOOKS) == "enough for today"
    assert gate.refusal(order(0), 100.0, BOOKS) == "quantity rounds to 0; the step of X is 0.001"
    assert gate.has_rules
    assert not RiskGate().has_rules


@pytest.mark.parametrize(
    ("fees", "slippage", "share"),
    [
        (MakerTakerFees(), NoSlippage(), 1.0),
        (MakerTakerFees(D(0), D("0.001")), NoSlippage(), 1 / 1.001),
        (MakerTakerFees(D(0), D("-0.001")), NoSlippage(), 1.0),  # a rebate buys nothing ahead
        (MakerTakerFees(), FixedSlippage(7, 3), 1 / 1.001),
        (MakerTakerFees(D(0), D("0.001")), FixedSlippage(10), 1 / 1.001**2),
        (MakerTakerFees(per_symbol={"X": (D(0), D("0.01"))}), NoSlippage(), 1 / 1.01),
        (EquityFees(rate=D("0.0003")), NoSlippage(), 1 / 1.0003),
    ],
)
def test_headroom_leaves_what_costs_take(fees: Any, slippage: Any, share: float) -> None:
    assert headroom(fees, slippage, "X") == pytest.approx(share, rel=1e-12)
