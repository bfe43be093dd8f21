"""The broker of a live session: it notes what is to be sent to a venue, and books what the venue reports.

It does no I/O and knows no clock: what it does follows from the orders it is given and the reports it is told, so that
a session that was killed gets it back, as it was, by taking the recorded ones again. The states of an order, and what
each report does to it, are a table in docs/order_path.md.

    desk ──submit, cancel, amend──▶ VenueBroker ──take_messages──▶ (committed) ──▶ VenueLink
    desk ◀──────── events ───────── VenueBroker ◀──── apply ────── (recorded) ◀──── reports
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from engine.bars import Bar
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
from engine.interfaces import ForcedOrders
from engine.live.booking import Booking, count_execution
from engine.live.linked import LinkedOrders
from engine.live.messages import OrderMessage
from engine.live.ports import Known, KnownOrder
from engine.live.reports import Report, ReportKind
from engine.live.sending import Sending, Sent, terms_of
from engine.matching import trail
from engine.orders import Order, OrderStatus, OrderType, Side
from engine.portfolio import Portfolio
from engine.working import WorkingOrders

_NOTHING: tuple[Any, ...] = ()
OUTSIDE = "outside"
MOST_DOUBTFUL = 200
_UNHEARD = (OrderStatus.IN_FLIGHT, OrderStatus.UNRESOLVED)


class VenueBroker:
    """A Broker whose orders a venue has.

    Args:
        session: the session's own name, eight letters and digits: it is part of every client order id.
    """

    needs_every_bar = True

    def __init__(self, portfolio: Portfolio, session: str) -> None:
        self.portfolio = portfolio
        self._events: list[Any] = []
        """What the call at hand has caused so far."""
        self._orders = WorkingOrders(portfolio.instruments)
        self.working: Mapping[int, Order] = self._orders.all
        """Every order that the venue may fill, oldest first; children that wait here are not among them."""
        self._sending = Sending(session, self._orders, self._events)
        self._links = LinkedOrders(self._sending, self._orders, portfolio)
        self._last_bars: dict[str, tuple[int, int]] = {}
        """Close time and length of every symbol's last bar."""
        self._booking = Booking(portfolio, self._bar_close_of)
        self._outside: dict[str, Decimal] = {}
        self._doubtful: dict[int, None] = {}
        """Orders that are filled as far as we know, and may be larger at the venue: it goes on being asked."""
        self.forced: ForcedOrders | None = None
        """Makes the orders by which a position that the venue has otherwise is put right; the desk."""
        self._apply = {
            ReportKind.ACCEPTED: self._accepted,
            ReportKind.REJECTED: self._rejected,
            ReportKind.FILLED: self._filled,
            ReportKind.TRIGGERED: self._triggered,
            ReportKind.CANCELLED: self._ended,
            ReportKind.EXPIRED: self._ended,
            ReportKind.AMENDED: self._amended,
            ReportKind.CHANGE_REFUSED: self._change_refused,
            ReportKind.UNRESOLVED: self._unresolved,
        }

    # ── Broker ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, order: Order) -> Sequence[Any]:
        """Note an order for sending. A child waits here until its parent fills; a reduce-only order is cut to the
        position first, and withdrawn if there is none."""
        order.become(OrderStatus.IN_FLIGHT)
        time = order.decided_at
        self._links.join_group(order)
        if order.parent_id in self.working:
            self._links.wait(order)
            self._events.append(OrderHeld(order, time, f"waits here until order {order.parent_id} fills"))
            return self._handed_out()
        if order.type is OrderType.TRAILING_STOP:
            trail(order, order.decision_ticks)
        if order.reduce_only and self._reduced_to_nothing(order, time):
            return self._handed_out()
        self._sending.send(order, time)
        return self._handed_out()

    def cancel(
        self, order: Order, time: int, reason: str = "asked for", *, arrives_at: int | None = None
    ) -> Sequence[Any]:
        """Ask the venue to withdraw an order: it is open until the venue says otherwise. One that has not left yet, and
        one that waits here, ends at once."""
        self._sending.withdraw(order, time, reason)
        return self._handed_out()

    def amend(
        self, order: Order, time: int, *, lots: int, limit_ticks: int | None, stop_ticks: int | None,
        arrives_at: int | None = None,
    ) -> Sequence[Any]:
        """Ask the venue to change an order: it is as it was until the venue says otherwise."""
        before = order.lots
        self._sending.amend(order, time, lots, limit_ticks, stop_ticks)
        if order.lots != before:
            self._children_follow(order, before)
        return self._handed_out()

    def on_bar(self, bar: Bar) -> Sequence[Any]:
        """Take note of a bar. Nothing fills here: the venue tells of that."""
        self._last_bars[bar.symbol] = (bar.close_time, bar.close_time - bar.open_time)
        return self.on_time(bar.close_time) if self._orders.expiring or self._sending.insisted else _NOTHING

    # ── the session ─────────────────────────────────────────────────────────────────────────────────────────────────

    def take_messages(self) -> tuple[OrderMessage, ...]:
        """Return what is to be sent, oldest first. The session commits it and hands it to the venue; it is not returned
        again."""
        return self._sending.take()

    def on_time(self, time: int) -> Sequence[Any]:
        """Withdraw orders whose time in force is over, where the venue has not done so by itself; ask again to withdraw
        those that must go, where it has refused."""
        self._sending.insist(time)
        due = [order for order in self.working.values() if order.expire_at is not None and order.expire_at <= time]
        for order in due:
            self._sending.withdraw(order, time, f"{order.time_in_force.value} ended", expires=True)
        return self._handed_out()

    def apply(self, report: Report) -> Sequence[Any]:
        """Book what a venue reports; return the events that follow, in order.

        What was told before, or has been overtaken, changes nothing. A fill is booked whatever state our books have its
        order in: the venue's word wins.

        Raises:
            VenueError: an execution has no price, quantity or trade id.
        """
        time = report.time or report.received_at
        if report.kind is ReportKind.CASH and report.reason == OUTSIDE:
            self._outside[report.currency] = report.amount
        elif report.kind is ReportKind.CASH:
            kind = report.reason or "transfer"
            self._events += self._booking.money(
                time, kind, report.currency, report.amount, report.symbol, report.note or kind
            )
        elif report.kind is ReportKind.DIFFERENCE:
            self._differs(report, time)
        elif report.order_id not in self._sending.sent:
            note = f"the venue says {report.kind} of order {report.order_id}, which this session does not have"
            self._events += self._booking.money(
                time, "difference", self.portfolio.currency, report.amount * 0, report.symbol, note
            )
        else:
            entry = self._sending.sent[report.order_id]
            entry.venue_order_id = report.venue_order_id or entry.venue_order_id
            self._apply[report.kind](entry, report, time)
        return self._handed_out()

    def known(self) -> Known:
        """Return what our books say, for asking the venue about it: orders it may still have, positions and cash."""
        doubtful = [number for number in self._doubtful if number not in self.working and number in self._sending.sent]
        orders = [self._known_order(self._sending.sent[number]) for number in (*self.working, *doubtful)]
        positions = {symbol: position.lots for symbol, position in self.portfolio.positions.items()}
        cash = {currency: account.cash for currency, account in self.portfolio.accounts.items()}
        return Known(tuple(orders), positions, cash, dict(self.dust), dict(self._outside))

    @property
    def unresolved_count(self) -> int:
        """How many orders nobody knows the state of."""
        return sum(order.status is OrderStatus.UNRESOLVED for order in self.working.values())

    @property
    def dust(self) -> Mapping[str, Decimal]:
        """Base asset beyond whole increments, Decimal by symbol: no part of the position, for it cannot be sold."""
        return self._booking.dust

    def _known_order(self, entry: Sent) -> KnownOrder:
        order, message = entry.order, entry.message
        assert message is not None, "it is working, so it was sent"
        return KnownOrder(
            message, order.status.value, order.filled_lots, frozenset(entry.trade_ids), entry.venue_order_id
        )

    # ── reports ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _accepted(self, entry: Sent, report: Report, time: int) -> None:
        if entry.order.status in _UNHEARD:
            entry.order.become(OrderStatus.ACCEPTED)
            self._events.append(OrderAccepted(entry.order, time, report.reason))

    def _rejected(self, entry: Sent, report: Report, time: int) -> None:
        order = entry.order
        if order.status is OrderStatus.PARTIALLY_FILLED:  # it was there: what is left of it has ended
            self._sending.end(order, OrderStatus.CANCELLED, OrderCancelled(order, time, report.reason))
        elif order.is_open:
            self._sending.end(order, OrderStatus.REJECTED, OrderRejected(order, time, report.reason))

    def _unresolved(self, entry: Sent, report: Report, time: int) -> None:
        order = entry.order
        if order.status is OrderStatus.IN_FLIGHT:
            order.become(OrderStatus.UNRESOLVED)
            self._events.append(OrderUnresolved(order, time, report.reason))

    def _triggered(self, entry: Sent, report: Report, time: int) -> None:
        order = entry.order
        if order.is_open and not order.is_triggered:
            order.is_triggered = True
            self._accepted(entry, report._replace(reason=""), time)
            self._events.append(OrderTriggered(order, time, report.reason))

    def _filled(self, entry: Sent, report: Report, time: int) -> None:
        order = entry.order
        if report.trade_id in entry.trade_ids:
            return
        was_open, after = order.is_open, order.filled_lots + report.lots
        if was_open and order.lots < after <= (entry.asked_lots or 0):  # it overtook the word of its amendment
            self._amended(entry, report._replace(lots=entry.asked_lots or 0, ticks=None), time)
        odd = count_execution(order, report)
        entry.trade_ids.add(report.trade_id)
        if odd or (not order.is_open and entry.asked_lots is not None):
            self._doubtful[order.id] = None
            if len(self._doubtful) > MOST_DOUBTFUL:
                del self._doubtful[next(iter(self._doubtful))]
        if odd:
            self._events.append(OrderHeld(order, time, odd))
            self._events += self._booking.money(
                time, "difference", self.portfolio.currency, report.fee * 0, order.symbol, odd
            )
        told = self._booking.fill(order, report, time)
        self._events += told
        if was_open and not order.is_open:
            self._sending.forget(order)
        arrived = next((event.lots for event in told if isinstance(event, Fill)), 0)
        assert report.ticks is not None, "count_execution has seen to it"
        self._links.filled(order, arrived, report.ticks, time)
        if entry.ending is not None and order.is_open:
            self._ended(entry, entry.ending, entry.ending.time or time)

    def _ended(self, entry: Sent, report: Report, time: int) -> None:
        order = entry.order
        if not order.is_open:
            return
        if report.lots > order.filled_lots:  # executions from before the end have not been told of yet
            entry.ending = report
            return
        if report.kind is ReportKind.EXPIRED or entry.expires:
            reason = report.reason or entry.cancel_reason or f"{order.time_in_force.value} ended"
            self._sending.end(order, OrderStatus.EXPIRED, OrderExpired(order, time, reason))
        else:
            reason = entry.cancel_reason or report.reason or "the venue withdrew it"
            self._sending.end(order, OrderStatus.CANCELLED, OrderCancelled(order, time, reason))

    def _amended(self, entry: Sent, report: Report, time: int) -> None:
        order, before = entry.order, entry.order.lots
        terms = (order.lots, order.limit_ticks, order.stop_ticks)
        entry.asked_lots = None
        if not order.is_open:
            return
        self._accepted(entry, report, time)
        order.lots = max(report.lots or order.lots, order.filled_lots)
        order.limit_ticks = order.limit_ticks if report.ticks is None else report.ticks
        order.stop_ticks = order.stop_ticks if report.stop_ticks is None else report.stop_ticks
        if entry.message is not None:
            entry.message = entry.message._replace(
                lots=order.lots, limit_ticks=order.limit_ticks, stop_ticks=order.stop_ticks
            )
        if not order.open_lots:
            reason = f"amended to {order.quantity}, and as much had filled"
            self._sending.end(order, OrderStatus.CANCELLED, OrderCancelled(order, time, reason))
            return
        if terms == (order.lots, order.limit_ticks, order.stop_ticks):
            return
        self._children_follow(order, before)
        self._events.append(OrderAmended(order, time, terms_of(order)))

    def _change_refused(self, entry: Sent, report: Report, time: int) -> None:
        entry.asked_lots = entry.cancel_reason = None
        entry.expires = False
        if entry.order.is_open:
            self._events.append(RequestRefused(entry.order, time, f"the venue refused the change: {report.reason}"))

    def _differs(self, report: Report, time: int) -> None:
        """Make our books what the venue's are, and say so. Whoever reads the events halts trading."""
        note = report.note or "the venue's books differ"
        if report.symbol and report.lots:
            assert self.forced is not None, "the session hands the desk over"
            side = Side.BUY if report.lots > 0 else Side.SELL
            close = self._last_bars.get(report.symbol, (time, 0))[0]
            ticks = report.ticks or 1
            order = self.forced.forced_order(
                report.symbol, side, abs(report.lots), ticks, time, close, note, "reconcile"
            )
            order.status = OrderStatus.ACCEPTED
            self._events += self._booking.position_difference(order, ticks, time, note)
            self._links.follow_position(report.symbol, time)
        else:
            self._events += self._booking.money(
                time, "difference", report.currency or self.portfolio.currency, report.amount, report.symbol, note
            )

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _reduced_to_nothing(self, order: Order, time: int) -> bool:
        """Cut a reduce-only order to the position; withdraw it, and return True, if there is none."""
        reducible = self._links.reducible(order)
        if not reducible:
            self._sending.hold(order)
            self._sending.withdraw(order, time, "reduce-only, and there is no position left to reduce")
            return True
        if order.lots > reducible:
            before, order.lots = order.quantity, reducible
            reason = f"from {before} to {order.quantity}: reduce-only, to the position held"
            self._events.append(OrderReduced(order, time, reason))
        return False

    def _children_follow(self, order: Order, before: int) -> None:
        """Let children that wait for an order be as large as it is, as they were."""
        for child in self._links.waits_for(order):
            if child.lots == before:
                child.lots = order.lots

    def _bar_close_of(self, symbol: str, time: int) -> int:
        """Return when the bar closes that an instant belongs to: none that has closed already, for its equity has been
        told."""
        close, length = self._last_bars.get(symbol, (time, 0))
        if not length:
            return time
        return close + (max(0, time - close) // length + 1) * length

    def _handed_out(self) -> Sequence[Any]:
        if not self._events:
            return _NOTHING
        events = self._events.copy()
        self._events.clear()
        return events


def differences(events: Sequence[Any]) -> list[CashMoved]:
    """Return those of the events that say that the venue's books and ours were found to differ: trading halts."""
    return [event for event in events if isinstance(event, CashMoved) and event.kind == "difference"]
