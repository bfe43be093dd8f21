"""The broker of live sessions: what each report does to an order, to the books and to other orders."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Instrument, Order, OrderStatus, OrderType, Side
from engine.bars import HOUR
from engine.errors import OrderError, VenueError
from engine.events import (
    CashMoved,
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderHeld,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    OrderUnresolved,
    RequestRefused,
)
from engine.live.broker import VenueBroker, differences
from engine.live.messages import AMEND, CANCEL, NEW
from engine.live.reports import Report, ReportKind
from engine.orders import TimeInForce
from engine.portfolio import Portfolio
from engine.testing import make_bars

STEP = Decimal("0.001")
BTC = Instrument("BTC/USDT", quote="USDT", base="BTC", quantity_increment=STEP, min_notional=Decimal(5))
ETH = Instrument("ETH/USDT", quote="USDT", base="ETH", quantity_increment=STEP)


class Session:
    """A broker, its books, and the shortest way to say what a test is about."""

    def __init__(self) -> None:
        self.portfolio = Portfolio({"USDT": Decimal(100_000)}, [BTC, ETH])
        self.broker = VenueBroker(self.portfolio, "testtest")
        self.number = self.trade = 0
        self.time = 1_000

    def order(self, kind: OrderType = OrderType.MARKET, side: Side = Side.BUY, lots: int = 1000, **terms: Any) -> Order:
        self.number += 1
        instrument = terms.pop("instrument", BTC)
        return Order(self.number, 1, instrument, side, kind, lots, self.time, 10_000, **terms)

    def sent(self, *args: Any, **terms: Any) -> Order:
        """Return an order that the venue has been sent."""
        order = self.order(*args, **terms)
        self.broker.submit(order)
        self.broker.take_messages()
        return order

    def told(self, kind: ReportKind, order: Order | None = None, **terms: Any) -> Sequence[Any]:
        self.time += 1
        number = order.id if order else terms.pop("order_id", 0)
        return self.broker.apply(Report(kind, self.time, self.time, number, **terms))

    def fill(self, order: Order, lots: int, ticks: int = 10_000, **terms: Any) -> Sequence[Any]:
        self.trade += 1
        terms.setdefault("trade_id", f"t{self.trade}")
        return self.told(ReportKind.FILLED, order, lots=lots, ticks=ticks, **terms)

    def messages(self) -> list[tuple[str, int, int]]:
        return [(message.kind, message.order_id, message.lots) for message in self.broker.take_messages()]

    @property
    def cash(self) -> Decimal:
        return self.portfolio.accounts["USDT"].cash

    def held(self, symbol: str = "BTC/USDT") -> int:
        return self.portfolio.positions[symbol].lots


@pytest.fixture
def live() -> Session:
    return Session()


def kinds(events: Sequence[Any]) -> list[type]:
    return [type(event) for event in events]


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_leaves_as_one_message_with_an_id_that_follows_from_session_and_number(live: Session) -> None:
    order = live.order(OrderType.LIMIT, limit_ticks=9_900, post_only=True)
    assert list(live.broker.submit(order)) == []
    assert order.status is OrderStatus.IN_FLIGHT
    (message,) = live.broker.take_messages()
    assert (message.id, message.kind, message.client_order_id) == (1, NEW, "bctesttest00000001")
    assert (message.side, message.type, message.lots, message.limit_ticks) == (1, "limit", 1000, 9_900)
    assert message.post_only
    assert live.broker.take_messages() == ()


def test_an_order_that_has_not_left_is_withdrawn_and_changed_without_asking_anybody(live: Session) -> None:
    first, second = live.order(OrderType.LIMIT, limit_ticks=9_000), live.order(OrderType.LIMIT, limit_ticks=9_100)
    live.broker.submit(first)
    live.broker.submit(second)
    assert kinds(live.broker.cancel(first, 1_000, "no more")) == [OrderCancelled]
    assert kinds(live.broker.amend(second, 1_000, lots=500, limit_ticks=9_200, stop_ticks=None)) == [OrderAmended]
    (message,) = live.broker.take_messages()
    assert (message.kind, message.order_id, message.lots, message.limit_ticks) == (NEW, 2, 500, 9_200)
    assert list(live.broker.working) == [2]


def test_a_cancel_is_a_wish_and_is_sent_once(live: Session) -> None:
    order = live.sent(OrderType.LIMIT, limit_ticks=9_000)
    assert list(live.broker.cancel(order, 1_000, "no more")) == []
    assert list(live.broker.cancel(order, 1_000, "really")) == []
    assert live.messages() == [(CANCEL, 1, 1000)]
    assert order.is_open
    (event,) = live.told(ReportKind.CANCELLED, order, reason="user request")
    assert (type(event), event.reason) == (OrderCancelled, "no more")
    assert live.broker.working == {}


def test_a_refused_cancel_leaves_the_order_as_it_was_and_may_be_asked_again(live: Session) -> None:
    order = live.sent(OrderType.LIMIT, limit_ticks=9_000)
    live.broker.cancel(order, 1_000, "no more")
    live.broker.take_messages()
    (event,) = live.told(ReportKind.CHANGE_REFUSED, order, reason="busy")
    assert (type(event), event.reason) == (RequestRefused, "the venue refused the change: busy")
    assert order.is_open
    live.broker.cancel(order, 1_000, "again")
    assert live.messages() == [(CANCEL, 1, 1000)]


def test_an_amendment_takes_effect_when_the_venue_says_so(live: Session) -> None:
    order = live.sent(OrderType.LIMIT, limit_ticks=9_000)
    live.told(ReportKind.ACCEPTED, order)
    assert list(live.broker.amend(order, 1_000, lots=500, limit_ticks=9_100, stop_ticks=None)) == []
    assert (order.lots, order.limit_ticks) == (1000, 9_000)
    assert live.messages() == [(AMEND, 1, 500)]
    (event,) = live.told(ReportKind.AMENDED, order, lots=500, ticks=9_100)
    assert (type(event), event.reason) == (OrderAmended, "now 0.500 limit 91.00")
    assert (order.lots, order.limit_ticks) == (500, 9_100)
    assert live.broker.known().orders[0].message.lots == 500


def test_an_amendment_below_what_has_filled_ends_the_order(live: Session) -> None:
    order = live.sent(OrderType.LIMIT, limit_ticks=9_000)
    live.broker.amend(order, 1_000, lots=500, limit_ticks=9_000, stop_ticks=None)
    live.fill(order, 600)
    (event,) = live.told(ReportKind.AMENDED, order, lots=500, ticks=9_000)
    assert (type(event), event.reason) == (OrderCancelled, "amended to 0.600, and as much had filled")


def test_a_reduce_only_order_is_cut_to_the_position_or_not_sent_at_all(live: Session) -> None:
    nothing = live.order(side=Side.SELL, reduce_only=True)
    assert kinds(live.broker.submit(nothing)) == [OrderCancelled]
    assert live.messages() == []
    live.fill(live.sent(lots=300), 300)
    some = live.order(side=Side.SELL, reduce_only=True)
    (event,) = live.broker.submit(some)
    assert (type(event), event.reason) == (OrderReduced, "from 1.000 to 0.300: reduce-only, to the position held")
    assert live.messages() == [(NEW, 3, 300)]


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "event", "status"),
    [
        (ReportKind.ACCEPTED, OrderAccepted, OrderStatus.ACCEPTED),
        (ReportKind.REJECTED, OrderRejected, OrderStatus.REJECTED),
        (ReportKind.UNRESOLVED, OrderUnresolved, OrderStatus.UNRESOLVED),
        (ReportKind.CANCELLED, OrderCancelled, OrderStatus.CANCELLED),
        (ReportKind.EXPIRED, OrderExpired, OrderStatus.EXPIRED),
    ],
)
def test_what_the_venue_says_of_a_new_order_is_told_once(
    live: Session, kind: ReportKind, event: type, status: OrderStatus
) -> None:
    order = live.sent(OrderType.LIMIT, limit_ticks=9_000)
    assert kinds(live.told(kind, order, reason="so it is")) == [event]
    assert order.status is status
    assert list(live.told(kind, order, reason="so it is")) == []
    assert (order.id in live.broker.working) is order.is_open


@pytest.mark.parametrize("kind", [ReportKind.ACCEPTED, ReportKind.REJECTED, ReportKind.CANCELLED, ReportKind.EXPIRED])
def test_an_unresolved_order_takes_whatever_turns_out_to_be_true(live: Session, kind: ReportKind) -> None:
    order = live.sent()
    live.told(ReportKind.UNRESOLVED, order, reason="no answer")
    assert live.broker.unresolved_count == 1
    assert live.broker.known().orders[0].status == "unresolved"
    live.told(kind, order)
    assert order.status.value == kind.value
    assert live.broker.unresolved_count == 0


def test_a_lost_answer_about_an_order_that_is_known_to_be_there_changes_nothing(live: Session) -> None:
    order = live.sent(OrderType.LIMIT, limit_ticks=9_000)
    live.told(ReportKind.ACCEPTED, order)
    assert list(live.told(ReportKind.UNRESOLVED, order)) == []
    assert order.status is OrderStatus.ACCEPTED


def test_a_fill_may_overtake_the_acceptance_and_counts_once(live: Session) -> None:
    order = live.sent()
    assert kinds(live.fill(order, 400, trade_id="a")) == [Fill]
    assert list(live.fill(order, 400, trade_id="a")) == []
    assert list(live.told(ReportKind.ACCEPTED, order)) == []
    assert order.status is OrderStatus.PARTIALLY_FILLED
    (fill,) = live.fill(order, 600, trade_id="b")
    assert (fill.id, fill.lots_after, order.status) == (2, 1000, OrderStatus.FILLED)
    assert live.cash == 100_000 - 100
    assert list(live.fill(order, 600, trade_id="b")) == []


def test_one_trade_id_may_belong_to_both_sides_of_a_trade_with_oneself(live: Session) -> None:
    buy, sell = live.sent(), live.sent(side=Side.SELL)
    live.fill(buy, 1000, trade_id="same")
    live.fill(sell, 1000, trade_id="same")
    assert live.held() == 0


def test_an_end_waits_for_the_executions_from_before_it(live: Session) -> None:
    order = live.sent(OrderType.LIMIT, limit_ticks=9_000)
    assert list(live.told(ReportKind.CANCELLED, order, lots=400)) == []
    assert order.is_open
    assert kinds(live.fill(order, 300)) == [Fill]
    assert kinds(live.fill(order, 100)) == [Fill, OrderCancelled]
    assert order.filled_lots == 400


def test_an_execution_told_of_after_the_end_is_booked_all_the_same(live: Session) -> None:
    order = live.sent()
    live.told(ReportKind.CANCELLED, order)
    assert kinds(live.fill(order, 400)) == [Fill]
    assert (order.status, live.held()) == (OrderStatus.CANCELLED, 400)
    live.fill(order, 600)
    assert (order.status, live.held()) == (OrderStatus.FILLED, 1000)


def test_a_fill_of_what_was_said_to_be_rejected_or_of_more_than_was_asked_is_booked_and_differs(live: Session) -> None:
    rejected, small = live.sent(), live.sent(lots=100)
    live.told(ReportKind.REJECTED, rejected, reason="never reached the venue")
    events = live.fill(rejected, 1000)
    assert live.held() == 1000
    assert differences(events)[0].note == "the venue filled order 1, which it had said it never took"
    events = live.fill(small, 150)
    assert differences(events)[0].note == "the venue filled 0.150 of order 2, which asked for 0.100"
    assert (live.held(), small.status) == (1150, OrderStatus.FILLED)


def test_a_fill_beyond_the_old_quantity_is_no_surprise_while_a_larger_one_is_asked_for(live: Session) -> None:
    order = live.sent(OrderType.LIMIT, lots=100, limit_ticks=10_000)
    live.broker.amend(order, 1_000, lots=200, limit_ticks=10_000, stop_ticks=None)
    assert differences(live.fill(order, 150)) == []
    live.told(ReportKind.AMENDED, order, lots=200, ticks=10_000)
    assert order.lots == 200


def test_the_venue_goes_on_being_asked_about_an_order_that_filled_more_than_we_knew_of(live: Session) -> None:
    small, plain = live.sent(lots=100), live.sent(lots=1)
    amended = live.sent(OrderType.LIMIT, lots=100, limit_ticks=9_000)
    live.fill(small, 150)
    live.broker.amend(amended, 1_000, lots=300, limit_ticks=9_000, stop_ticks=None)
    live.fill(amended, 100)
    live.fill(plain, 1)
    assert [each.message.order_id for each in live.broker.known().orders] == [small.id, amended.id]
    assert not live.broker.working


def test_an_execution_without_an_id_is_an_error(live: Session) -> None:
    with pytest.raises(VenueError, match="execution of order 1 came as 5 lots at 10000 ticks with trade id ''"):
        live.fill(live.sent(), 5, trade_id="")


def test_word_of_an_order_that_nobody_made_is_a_difference(live: Session) -> None:
    (event,) = live.told(ReportKind.ACCEPTED, order_id=77)
    assert differences([event])[0].note == "the venue says accepted of order 77, which this session does not have"


def test_a_triggered_stop_is_there_and_told_once(live: Session) -> None:
    order = live.sent(OrderType.STOP, Side.SELL, stop_ticks=9_000)
    assert kinds(live.told(ReportKind.TRIGGERED, order)) == [OrderAccepted, OrderTriggered]
    assert list(live.told(ReportKind.TRIGGERED, order)) == []
    assert order.is_triggered


def test_an_order_whose_time_is_over_is_withdrawn_where_the_venue_does_not(live: Session) -> None:
    order = live.sent(
        OrderType.LIMIT, limit_ticks=9_000, time_in_force=TimeInForce.GTD, expire_at=5_000
    )
    assert list(live.broker.on_time(4_999)) == []
    assert live.messages() == []
    live.broker.on_time(5_000)
    live.broker.on_time(5_001)
    assert live.messages() == [(CANCEL, 1, 1000)]
    (event,) = live.told(ReportKind.CANCELLED, order)
    assert (type(event), event.reason) == (OrderExpired, "gtd ended")


def test_a_fill_belongs_to_the_bar_that_is_forming(live: Session) -> None:
    bar = next(iter(make_bars([100], symbol="BTC/USDT", timeframe="1h").rows()))
    live.broker.on_bar(bar)
    order, close = live.sent(), bar.close_time
    ends = []
    for time in (close - 5, close, close + HOUR - 1, close + HOUR):
        report = Report(ReportKind.FILLED, time, time, order.id, lots=1, ticks=10_000, trade_id=str(time))
        (fill,) = live.broker.apply(report)
        ends.append((fill.bar_close_time - close) // HOUR)
    assert ends == [1, 1, 1, 2], "what is told late counts in the bar that is forming: the one before has been valued"


# ── money ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fee_in_base_leaves_whole_increments_and_dust(live: Session) -> None:
    order = live.sent(lots=1000)
    fill, dust = live.fill(order, 1000, fee=Decimal("0.0014"), fee_currency="BTC")
    assert (fill.lots, live.held()) == (998, 998), "0.9986 BTC arrived"
    assert order.filled_lots == 1000
    assert live.broker.dust == {"BTC/USDT": Decimal("0.0006")}
    assert fill.fee_units * Decimal("1e-8") == Decimal("0.14")
    assert (dust.kind, dust.amount) == ("dust", Decimal("-0.06"))
    assert live.cash == 100_000 - 100, "what was paid"
    sale = live.sent(side=Side.SELL, lots=998)
    live.fill(sale, 998, fee=Decimal("0.0998"), fee_currency="USDT")
    assert live.held() == 0
    assert live.cash == Decimal(100_000) - 100 + Decimal("99.8") - Decimal("0.0998")


def test_a_fee_that_eats_up_a_purchase_of_one_increment_is_dust_alone(live: Session) -> None:
    events = live.fill(live.sent(lots=1), 1, fee=Decimal("0.000001"), fee_currency="BTC")
    assert [(type(event), event.amount) for event in events] == [(CashMoved, Decimal("-0.1"))]
    assert (live.held(), live.broker.dust["BTC/USDT"]) == (0, Decimal("0.000999"))
    live.fill(live.sent(lots=1), 1, fee=Decimal(0), fee_currency="BTC")
    assert live.held() == 1
    live.fill(live.sent(lots=10), 10, fee=Decimal("0.000001"), fee_currency="BTC")
    assert (live.held(), live.broker.dust["BTC/USDT"]) == (11, Decimal("0.000998")), "dust comes to count"


def test_a_fee_in_a_third_currency_is_noted_or_taken_from_its_account(live: Session) -> None:
    fill, noted = live.fill(live.sent(), 1000, fee=Decimal("0.01"), fee_currency="BNB")
    assert (fill.fee_units, noted.kind, noted.units) == (0, "fee", 0)
    assert noted.note == "-0.01 BNB, which has no account here; of order 1"


def test_fees_finer_than_a_unit_add_up(live: Session) -> None:
    for _ in range(10):
        live.fill(live.sent(lots=1), 1, fee=Decimal("0.000000004"), fee_currency="USDT")
    assert live.cash == Decimal(100_000) - 1 - Decimal("0.00000004")


def test_funding_and_transfers_move_cash(live: Session) -> None:
    (event,) = live.told(
        ReportKind.CASH, reason="funding", currency="USDT", amount=Decimal("-1.5"), symbol="BTC/USDT", note="0.01 %"
    )
    assert (event.kind, event.amount, event.symbol, event.note) == ("funding", Decimal("-1.5"), "BTC/USDT", "0.01 %")
    assert live.cash == Decimal("99998.5")
    (event,) = live.told(ReportKind.CASH, currency="DOGE", amount=Decimal(3))
    assert (event.kind, event.units) == ("transfer", 0)
    assert event.note == "3 DOGE, which has no account here; transfer"


executions = st.lists(
    st.tuples(
        st.sampled_from(list(Side)), st.integers(1, 5_000), st.integers(1, 20_000),
        st.decimals(0, "0.004", places=9), st.sampled_from(["BTC", "USDT"]),
    ),
    min_size=1, max_size=30,
)


@given(executions)
def test_books_are_what_the_venue_s_are_to_the_last_unit(script: list[tuple[Side, int, int, Decimal, str]]) -> None:
    live = Session()
    base, cash, told = Decimal(0), Decimal(100_000), []
    for side, lots, ticks, fee, currency in script:
        order = live.sent(side=side, lots=lots)
        told += live.fill(order, lots, ticks, fee=fee, fee_currency=currency)
        base += side * lots * STEP - (fee if currency == "BTC" else 0)
        cash -= side * lots * STEP * ticks / 100 + (fee if currency == "USDT" else 0)
        assert live.held() * STEP + live.broker.dust.get("BTC/USDT", Decimal(0)) == base
        assert abs(live.cash - cash) <= Decimal("0.5e-8")
    moved = sum(event.units for event in told if isinstance(event, CashMoved))
    paid = sum(int(event.side) * event.lots * event.price_ticks * 1000 for event in told if isinstance(event, Fill))
    fees = sum(event.fee_units for event in told if isinstance(event, Fill))
    assert live.portfolio.accounts["USDT"].cash_units == 100_000 * 10**8 + moved - paid - fees, "as rebuild does"


# ── orders that depend on each other ────────────────────────────────────────────────────────────────────────────────


def bracket(live: Session, lots: int = 1000) -> tuple[Order, Order, Order]:
    entry = live.sent(OrderType.LIMIT, lots=lots, limit_ticks=10_000)
    stop = live.order(
        OrderType.STOP, Side.SELL, lots, stop_ticks=9_000, parent_id=entry.id, group=99, reduce_only=True
    )
    target = live.order(
        OrderType.LIMIT, Side.SELL, lots, limit_ticks=11_000, parent_id=entry.id, group=99, reduce_only=True
    )
    for child in (stop, target):
        assert kinds(live.broker.submit(child)) == [OrderHeld]
    assert live.messages() == []
    return entry, stop, target


def test_children_are_sent_over_what_their_parent_fills_and_grow_with_it(live: Session) -> None:
    entry, stop, target = bracket(live)
    live.fill(entry, 400, fee=Decimal("0.0004"), fee_currency="BTC")
    assert live.messages() == [(NEW, 2, 399), (NEW, 3, 399)]
    assert list(live.broker.working) == [1, 2, 3]
    live.fill(entry, 600)
    assert live.messages() == [(AMEND, 2, 999), (AMEND, 3, 999)]
    for child in (stop, target):
        live.told(ReportKind.AMENDED, child, lots=999)
    live.fill(target, 999, 11_000)
    assert live.messages() == [(CANCEL, 2, 999)]
    assert kinds(live.told(ReportKind.CANCELLED, stop)) == [OrderCancelled]
    assert live.held() == 0


def test_children_wait_until_what_filled_is_large_enough_for_the_venue(live: Session) -> None:
    entry, stop, target = bracket(live)
    live.fill(entry, 40)
    assert live.messages() == [], "0.04 at 100 are 4 USDT, and the venue asks for 5"
    live.fill(entry, 20)
    assert live.messages() == [(NEW, 2, 60), (NEW, 3, 60)]
    assert stop.is_open
    assert target.is_open


def test_children_that_never_became_large_enough_end_with_their_parent(live: Session) -> None:
    entry, stop, _ = bracket(live)
    live.fill(entry, 40)
    events = live.told(ReportKind.CANCELLED, entry)
    assert kinds(events) == [OrderCancelled] * 3
    assert events[1].reason == "what order 1 filled is below the smallest order"
    assert stop.status is OrderStatus.CANCELLED


def test_children_end_with_a_parent_that_filled_nothing(live: Session) -> None:
    entry, *_ = bracket(live)
    events = live.told(ReportKind.REJECTED, entry, reason="no")
    assert [(type(event), event.order.id) for event in events] == [
        (OrderRejected, 1), (OrderCancelled, 2), (OrderCancelled, 3),
    ]


def test_a_child_that_fills_withdraws_an_entry_that_still_works(live: Session) -> None:
    entry, stop, _ = bracket(live)
    live.fill(entry, 400)
    live.messages()
    live.fill(stop, 400, 8_990)
    assert live.messages() == [(CANCEL, 3, 400), (CANCEL, 1, 1000)]
    assert live.held() == 0


def test_a_sibling_follows_a_partial_fill_and_must_go_after_the_whole(live: Session) -> None:
    entry, stop, target = bracket(live)
    live.fill(entry, 1000)
    live.messages()
    live.fill(target, 400, 11_000)
    assert live.messages() == [(AMEND, 2, 600)]
    live.told(ReportKind.AMENDED, stop, lots=600)
    live.fill(target, 600, 11_000)
    assert live.messages() == [(CANCEL, 2, 600)]
    live.told(ReportKind.CHANGE_REFUSED, stop, reason="busy")
    live.broker.on_time(9_999)
    assert live.messages() == [(CANCEL, 2, 600)], "asked again: it must not open a position"
    live.told(ReportKind.CANCELLED, stop)
    live.broker.on_time(10_000)
    assert live.messages() == []


def test_reduce_only_orders_go_with_the_position_that_another_order_closes(live: Session) -> None:
    entry, *_ = bracket(live)
    live.fill(entry, 1000)
    live.messages()
    live.fill(live.sent(side=Side.SELL, lots=300), 300)
    assert live.messages() == [(AMEND, 2, 700), (AMEND, 3, 700)]
    live.fill(live.sent(side=Side.SELL, lots=700), 700)
    assert live.messages() == [(CANCEL, 2, 1000), (CANCEL, 3, 1000)]


def test_a_group_over_several_symbols_withdraws_the_others(live: Session) -> None:
    first = live.sent(OrderType.LIMIT, limit_ticks=9_000, group=1)
    second = live.sent(OrderType.LIMIT, limit_ticks=9_000, group=1, instrument=ETH)
    live.fill(first, 1)
    assert live.messages() == [(CANCEL, 2, 1000)]
    assert second.is_open


def test_a_trailing_stop_starts_from_the_last_close_or_from_its_entry_s_price(live: Session) -> None:
    alone = live.sent(OrderType.TRAILING_STOP, trail_fraction=0.1)
    assert (alone.reference, alone.stop_ticks) == (10_000, 11_000)
    entry = live.sent()
    child = live.order(
        OrderType.TRAILING_STOP, Side.SELL, trail_fraction=0.1, parent_id=entry.id, group=5, reduce_only=True
    )
    live.broker.submit(child)
    live.fill(entry, 1000, 10_500)
    (message,) = live.broker.take_messages()
    assert (message.order_id, message.stop_ticks) == (child.id, 9_450)


# ── reconciliation ──────────────────────────────────────────────────────────────────────────────────────────────────


class Forced:
    """Makes forced orders, as the desk does."""

    def forced_order(
        self, symbol: str, side: Side, lots: int, ticks: int, time: int, bar_close_time: int, why: str,
        action: str = "liquidate",
    ) -> Order:
        assert action == "reconcile"
        return Order(1_000, 7, {"BTC/USDT": BTC, "ETH/USDT": ETH}[symbol], side, OrderType.MARKET, lots, time, ticks)


def test_a_position_that_differs_is_put_right_by_an_order_of_the_engine_and_moves_no_cash(live: Session) -> None:
    live.broker.forced = Forced()
    entry, *_ = bracket(live)
    live.fill(entry, 1000)
    live.messages()
    events = live.told(
        ReportKind.DIFFERENCE, symbol="BTC/USDT", lots=-400, ticks=9_900, note="sold by hand, it seems"
    )
    fill, moved = events
    assert (fill.order.id, fill.side, fill.lots, fill.lots_after) == (1_000, Side.SELL, 400, 600)
    assert (moved.kind, moved.amount, moved.note) == ("difference", Decimal("-39.6"), "sold by hand, it seems")
    assert live.cash == 99_900
    assert live.messages() == [(AMEND, 2, 600), (AMEND, 3, 600)]
    assert differences(events) == [moved]


def test_cash_that_differs_is_made_equal_and_said(live: Session) -> None:
    (event,) = live.told(ReportKind.DIFFERENCE, currency="USDT", amount=Decimal("-0.5"), note="unexplained")
    assert (event.kind, event.amount) == ("difference", Decimal("-0.5"))
    assert live.cash == Decimal("99999.5")


def test_what_is_known_names_open_orders_with_what_was_booked(live: Session) -> None:
    entry, *_ = bracket(live)
    live.told(ReportKind.ACCEPTED, entry, venue_order_id="v1")
    live.fill(entry, 400, trade_id="a")
    live.fill(live.sent(), 1000)
    known = live.broker.known()
    assert [(each.message.order_id, each.status, each.filled_lots) for each in known.orders] == [
        (1, "partially_filled", 400), (2, "in_flight", 0), (3, "in_flight", 0),
    ]
    assert (known.orders[0].trade_ids, known.orders[0].venue_order_id) == ({"a"}, "v1")
    assert known.positions == {"BTC/USDT": 1400, "ETH/USDT": 0}
    assert known.cash == {"USDT": Decimal(99_860)}


def test_a_second_submission_is_an_error(live: Session) -> None:
    order = live.sent()
    with pytest.raises(OrderError, match="order 1 is in_flight and cannot take in_flight"):
        live.broker.submit(order)
