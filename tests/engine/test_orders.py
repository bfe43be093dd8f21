"""What may follow what in an order's life: the transition table, pair by pair."""

from decimal import Decimal

import pytest

from engine import Instrument, Order, OrderStatus, OrderType, Side
from engine.errors import OrderError
from engine.orders import FINAL, TRANSITIONS

S = OrderStatus
BTC = Instrument("BTC", quantity_increment=Decimal("0.1"))

ALLOWED = {
    (S.CREATED, S.REFUSED),
    (S.CREATED, S.IN_FLIGHT),
    # a fill, a cancellation or an expiry can overtake the acceptance
    (S.IN_FLIGHT, S.ACCEPTED),
    (S.IN_FLIGHT, S.REJECTED),
    (S.IN_FLIGHT, S.PARTIALLY_FILLED),
    (S.IN_FLIGHT, S.FILLED),
    (S.IN_FLIGHT, S.CANCELLED),
    (S.IN_FLIGHT, S.EXPIRED),
    (S.IN_FLIGHT, S.UNRESOLVED),
    # nobody knows, until the venue says what became of it
    (S.UNRESOLVED, S.ACCEPTED),
    (S.UNRESOLVED, S.REJECTED),
    (S.UNRESOLVED, S.PARTIALLY_FILLED),
    (S.UNRESOLVED, S.FILLED),
    (S.UNRESOLVED, S.CANCELLED),
    (S.UNRESOLVED, S.EXPIRED),
    (S.ACCEPTED, S.PARTIALLY_FILLED),
    (S.ACCEPTED, S.FILLED),
    (S.ACCEPTED, S.CANCELLED),
    (S.ACCEPTED, S.EXPIRED),
    (S.ACCEPTED, S.REJECTED),  # post-only, found to take liquidity where it arrives
    (S.PARTIALLY_FILLED, S.PARTIALLY_FILLED),
    (S.PARTIALLY_FILLED, S.FILLED),
    (S.PARTIALLY_FILLED, S.CANCELLED),
    (S.PARTIALLY_FILLED, S.EXPIRED),
}


def order_that_is(status: OrderStatus, lots: int = 10) -> Order:
    order = Order(7, 1, BTC, Side.BUY, OrderType.LIMIT, lots, 0, limit_ticks=10_000)
    order.status = status
    return order


@pytest.mark.parametrize("after", list(S))
@pytest.mark.parametrize("before", list(S))
def test_every_pair_of_states(before: OrderStatus, after: OrderStatus) -> None:
    order = order_that_is(before)
    if (before, after) in ALLOWED:
        order.become(after)
        assert order.status is after
    else:
        with pytest.raises(OrderError, match=f"order 7 is {before.value} and cannot take {after.value}"):
            order.become(after)
        assert order.status is before, "a step that is refused changes nothing"


def test_the_states_that_nothing_follows() -> None:
    assert {S.REFUSED, S.FILLED, S.CANCELLED, S.EXPIRED, S.REJECTED} == FINAL
    assert set(TRANSITIONS) == set(S)
    assert [status for status in S if order_that_is(status).is_open] == [status for status in S if status not in FINAL]


def test_the_message_names_the_event_that_came_too_late() -> None:
    with pytest.raises(OrderError, match="^order 7 is filled and cannot take OrderCancelled$"):
        order_that_is(S.FILLED).become(S.CANCELLED, "OrderCancelled")


@pytest.mark.parametrize("before", [status for status in S if (status, S.FILLED) in ALLOWED])
def test_fills_count_up_to_the_quantity(before: OrderStatus) -> None:
    order = order_that_is(before)
    order.record_fill(4)
    assert (order.status, order.open_lots, order.filled_quantity) == (S.PARTIALLY_FILLED, 6, Decimal("0.4"))
    order.record_fill(6)
    assert (order.status, order.open_lots, order.is_open) == (S.FILLED, 0, False)


@pytest.mark.parametrize("before", sorted(FINAL, key=str))
def test_a_final_order_takes_no_fill(before: OrderStatus) -> None:
    with pytest.raises(OrderError, match=f"order 7 is {before.value} and cannot take Fill"):
        order_that_is(before).record_fill(1)


@pytest.mark.parametrize(("lots", "said"), [(7, "0.7"), (0, "0.0"), (-1, "-0.1")])
def test_a_fill_larger_than_what_is_open_is_refused(lots: int, said: str) -> None:
    order = order_that_is(S.ACCEPTED)
    order.record_fill(4)
    with pytest.raises(OrderError, match=f"order 7 has 0.6 open and cannot take a fill of {said}"):
        order.record_fill(lots)


def test_an_order_is_made_of_known_terms() -> None:
    with pytest.raises(TypeError, match="an order has no 'limti_ticks'"):
        Order(1, 1, BTC, Side.BUY, OrderType.LIMIT, 1, 0, limti_ticks=5)


def test_what_an_order_says_of_itself() -> None:
    order = Order(7, 1, BTC, Side.SELL, OrderType.STOP_LIMIT, 15, 5, limit_ticks=9_950, stop_ticks=10_000)
    assert repr(order) == "<Order 7 sell 1.5 BTC stop_limit limit 99.50 stop 100.00, created>"
    assert (order.quantity, order.limit, order.stop, order.decided_at, order.arrives_at) == (
        Decimal("1.5"),
        Decimal("99.50"),
        Decimal(100),
        5,
        5,
    )
    assert Side.BUY.opposite is Side.SELL
    assert {Side.BUY: 1}[Side(1)] == 1, "a side hashes as its number"
