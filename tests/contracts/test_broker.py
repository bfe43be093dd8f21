"""What every broker keeps to: read engine/interfaces.py beside it.

A broker of one's own is tested here by adding a line to BROKERS: a function that makes it over a portfolio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from brokers.simulated import simulated_broker
from engine import Bar, Instrument, Order, OrderStatus, OrderType, Side
from engine.errors import OrderError
from engine.events import Fill, OrderAccepted, OrderAmended, OrderCancelled
from engine.interfaces import Broker
from engine.orders import FINAL
from engine.portfolio import Portfolio
from engine.semantics import Switches
from engine.testing import make_bars
from tests.engine.live.bar_venue import AnsweredBroker

BTC = Instrument("BTC", quantity_increment=Decimal("0.001"))
ETH = Instrument("ETH", quantity_increment=Decimal("0.001"))

BROKERS: dict[str, Callable[[Portfolio], Broker]] = {
    "simulated": lambda portfolio: simulated_broker(portfolio, Switches()),
    "simulated, declared path": lambda portfolio: simulated_broker(portfolio, Switches(path="ohlc")),
    "simulated, whole bars": lambda portfolio: simulated_broker(
        portfolio, Switches(path="queue", limit_touch="touch", volume_cap=None)
    ),
    "live, a venue that answers at once": AnsweredBroker,
}


@dataclass
class Desk:
    """A broker with the books it fills into, and what it has said so far."""

    broker: Broker
    portfolio: Portfolio
    bars: list[Bar]
    place: int = 0
    number: int = 0

    def order(
        self,
        kind: OrderType = OrderType.MARKET,
        side: Side = Side.BUY,
        lots: int = 1000,
        symbol: Instrument = BTC,
        **terms: Any,
    ) -> Order:
        self.number += 1
        bar = self.bars[self.place]
        return Order(self.number, 1, symbol, side, kind, lots, bar.close_time, symbol.to_ticks(bar.close), **terms)

    def next_bar(self) -> Sequence[Any]:
        self.place += 1
        return self.broker.on_bar(self.bars[self.place])

    @property
    def now(self) -> int:
        return self.bars[self.place].close_time


@pytest.fixture(params=BROKERS.values(), ids=BROKERS)
def desk(request: pytest.FixtureRequest) -> Desk:
    portfolio = Portfolio({"USD": Decimal(100_000)}, [BTC, ETH])
    rows = [100, (100, 101, 99, 100), (100, 103, 97, 101), (101, 102, 100, 101), (101, 120, 80, 100)]
    return Desk(request.param(portfolio), portfolio, list(make_bars(rows, symbol="BTC").rows()))


def test_a_broker_begins_with_nothing_to_do(desk: Desk) -> None:
    assert len(desk.broker.working) == 0
    assert list(desk.next_bar()) == []
    assert desk.broker.needs_every_bar in (True, False)


def test_an_order_taken_is_accepted_and_working(desk: Desk) -> None:
    working, order = desk.broker.working, desk.order(OrderType.LIMIT, limit_ticks=9_000)
    events = desk.broker.submit(order)
    assert [type(event) for event in events] == [OrderAccepted]
    assert events[0].order is order
    assert order.status is OrderStatus.ACCEPTED
    assert dict(working) == {1: order}
    assert desk.broker.working is working, "always the same object: the loop binds it once"


def test_an_order_is_submitted_once(desk: Desk) -> None:
    order = desk.order(OrderType.LIMIT, limit_ticks=9_000)
    desk.broker.submit(order)
    with pytest.raises(OrderError, match="order 1 is accepted and cannot take in_flight"):
        desk.broker.submit(order)
    assert dict(desk.broker.working) == {1: order}


def test_a_fill_is_booked_before_it_is_told(desk: Desk) -> None:
    order = desk.order()
    desk.broker.submit(order)
    (fill,) = desk.next_bar()
    assert isinstance(fill, Fill)
    assert (fill.order, fill.side, fill.price, fill.quantity) == (order, Side.BUY, 100, 1)
    assert fill.bar_close_time == desk.now
    assert order.decided_at <= fill.time <= desk.now
    assert desk.portfolio.positions["BTC"].lots == 1000
    assert desk.portfolio.accounts["USD"].cash == 99_900
    assert (fill.lots_after, fill.cash_units_after) == (1000, desk.portfolio.accounts["USD"].cash_units)
    assert order.status is OrderStatus.FILLED
    assert len(desk.broker.working) == 0


def test_working_orders_stand_oldest_first_and_may_still_fill(desk: Desk) -> None:
    for price in (9_000, 9_900, 9_100):
        desk.broker.submit(desk.order(OrderType.LIMIT, limit_ticks=price))
    assert list(desk.broker.working) == [1, 2, 3]
    while desk.place + 1 < len(desk.bars):
        desk.next_bar()
        assert all(order.is_open for order in desk.broker.working.values())
        assert list(desk.broker.working) == sorted(desk.broker.working)
    assert len(desk.broker.working) == 0


def test_a_bar_is_met_by_the_orders_of_its_symbol_alone(desk: Desk) -> None:
    desk.broker.submit(desk.order(symbol=ETH))
    assert list(desk.next_bar()) == []
    assert list(desk.broker.working) == [1]


def test_a_cancelled_order_is_final_and_never_fills(desk: Desk) -> None:
    order = desk.order(OrderType.LIMIT, limit_ticks=9_800)
    desk.broker.submit(order)
    events = desk.broker.cancel(order, desk.now, "changed my mind")
    assert [(type(event), event.order, event.time, event.reason) for event in events] == [
        (OrderCancelled, order, desk.now, "changed my mind")
    ]
    assert order.status is OrderStatus.CANCELLED
    assert list(desk.broker.cancel(order, desk.now, "again")) == []
    assert [list(desk.next_bar()) for _ in range(4)] == [[]] * 4


def test_cancelling_what_has_filled_changes_nothing(desk: Desk) -> None:
    order = desk.order()
    desk.broker.submit(order)
    desk.next_bar()
    assert list(desk.broker.cancel(order, desk.now, "too late")) == []
    assert order.status is OrderStatus.FILLED


def test_an_amended_order_fills_under_its_new_terms(desk: Desk) -> None:
    order = desk.order(OrderType.LIMIT, limit_ticks=5_000)
    desk.broker.submit(order)
    desk.next_bar()
    events = desk.broker.amend(order, desk.now, lots=500, limit_ticks=9_800, stop_ticks=None)
    assert [(type(event), event.order, event.time) for event in events] == [(OrderAmended, order, desk.now)]
    (fill,) = desk.next_bar()
    assert (fill.price, fill.quantity) == (98, Decimal("0.5"))
    assert order.status is OrderStatus.FILLED


def test_children_wait_for_their_parent_and_the_first_to_fill_cancels_the_other(desk: Desk) -> None:
    desk.broker.submit(desk.order())
    desk.broker.submit(desk.order(OrderType.STOP, Side.SELL, stop_ticks=9_000, parent_id=1, group=2, reduce_only=True))
    desk.broker.submit(
        desk.order(OrderType.LIMIT, Side.SELL, limit_ticks=10_200, parent_id=1, group=2, reduce_only=True)
    )
    assert list(desk.broker.working) == [1], "an order that waits for another cannot fill"
    desk.next_bar()
    assert list(desk.broker.working) == [2, 3]
    events = desk.next_bar()
    assert [(type(event), event.order.id) for event in events] == [(Fill, 3), (OrderCancelled, 2)]
    assert desk.portfolio.positions["BTC"].lots == 0


def test_cancelling_a_parent_cancels_what_waits_for_it(desk: Desk) -> None:
    parent = desk.order(OrderType.LIMIT, limit_ticks=5_000)
    desk.broker.submit(parent)
    child = desk.order(OrderType.STOP, Side.SELL, stop_ticks=4_000, parent_id=1, group=2, reduce_only=True)
    desk.broker.submit(child)
    assert [event.order.id for event in desk.broker.cancel(parent, desk.now, "")] == [1, 2]
    assert child.status is OrderStatus.CANCELLED


def test_events_come_in_the_order_of_happening_and_every_order_ends_once(desk: Desk) -> None:
    kinds = [
        (OrderType.LIMIT, Side.BUY, {"limit_ticks": 9_850}),
        (OrderType.STOP, Side.SELL, {"stop_ticks": 9_750}),
        (OrderType.STOP, Side.BUY, {"stop_ticks": 11_000}),
        (OrderType.LIMIT, Side.SELL, {"limit_ticks": 11_500}),
        (OrderType.MARKET, Side.BUY, {}),
        (OrderType.STOP_LIMIT, Side.SELL, {"stop_ticks": 9_000, "limit_ticks": 8_500}),
    ]
    orders = [desk.order(kind, side, **terms) for kind, side, terms in kinds]
    for order in orders:
        desk.broker.submit(order)
    fills: list[Fill] = []
    while desk.place + 1 < len(desk.bars):
        opened, events = desk.now, list(desk.next_bar())
        times = [event.time for event in events]
        assert times == sorted(times)
        assert all(opened <= time <= desk.now for time in times)
        fills += [event for event in events if isinstance(event, Fill)]
    assert [fill.id for fill in fills] == list(range(1, len(fills) + 1))
    assert len({fill.order.id for fill in fills}) == len(orders)
    assert all(order.status in FINAL for order in orders)
    held = sum(int(fill.side) * fill.lots for fill in fills)
    assert desk.portfolio.positions["BTC"].lots == held
    paid = sum(int(fill.side) * fill.price * fill.quantity for fill in fills)
    assert desk.portfolio.accounts["USD"].cash == 100_000 - paid
