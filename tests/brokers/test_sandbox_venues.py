"""Sandbox orders on OKX's and Bybit's protocols, through unmodified ccxt; and OKX's dead-man's switch."""

import time

import pytest

from engine import OrderStatus, OrderType, Side
from tests.brokers.sandboxes import trading
from tests.brokers.test_sandbox import truth_equals_books

S = OrderStatus


@pytest.mark.parametrize("name", ["okx", "bybit"])
def test_orders_fill_rest_are_amended_and_cancelled(name: str) -> None:
    with trading(name) as (venue, session):
        order = session.order()
        session.until(lambda: order.status is S.FILLED)
        truth_equals_books(venue, session)
        resting = session.order(OrderType.LIMIT, Side.BUY, 2000, limit_ticks=3_500_000)
        session.until(lambda: resting.status is S.ACCEPTED)
        session.broker.amend(resting, 0, lots=3000, limit_ticks=3_400_000, stop_ticks=None)
        session.send()
        session.until(lambda: resting.lots == 3000)
        session.broker.cancel(resting, 0, "enough")
        session.send()
        session.until(lambda: resting.status is S.CANCELLED)
        assert venue.truth.open_orders() == []
        assert session.reconcile() == []
        truth_equals_books(venue, session)


@pytest.mark.parametrize("name", ["okx", "bybit"])
@pytest.mark.parametrize("fault", ["lost_reply", "truncated", "timeout_after"])
def test_an_order_whose_answer_is_lost_is_found_and_never_sent_twice(name: str, fault: str) -> None:
    with trading(name, timeout=1.5) as (venue, session):
        venue.faults.add(fault, on="create_order")
        order = session.order()
        session.until(lambda: order.status is S.FILLED)
        assert len(venue.truth.orders()) == 1
        truth_equals_books(venue, session)


def test_a_venue_withdraws_what_rests_when_nothing_is_heard_of_us_any_more() -> None:
    with trading("okx", dead_man_seconds=5.0) as (venue, session):
        resting = session.order(OrderType.LIMIT, Side.BUY, 2000, limit_ticks=3_500_000)
        session.until(lambda: resting.status is S.ACCEPTED)

        def told() -> int:
            return venue.faults.calls.get(("okx", "cancel_all_orders_after"), 0)

        wanted = told() + 3
        session.until(lambda: told() >= wanted)
        assert len(venue.truth.open_orders()) == 1, "it is told again and again that we live"
        session.link.close()
        end = time.monotonic() + 120
        while venue.truth.open_orders():
            assert time.monotonic() < end, "the venue never withdrew it"
            time.sleep(0.1)
