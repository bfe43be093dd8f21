"""A venue for tests that fills from bars: the simulated exchange at the far end of messages and reports.

The laws of backtests can so be held against the broker of live sessions, message by message.
"""

from collections.abc import Sequence
from typing import Any

from brokers.simulated import simulated_broker
from engine import Bar, Order, OrderType, Side
from engine.events import (
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
)
from engine.live.broker import VenueBroker
from engine.live.messages import AMEND, NEW, OrderMessage
from engine.live.reports import Report, ReportKind
from engine.orders import TimeInForce
from engine.portfolio import Portfolio
from engine.semantics import Switches

KINDS = {
    OrderAccepted: ReportKind.ACCEPTED,
    OrderRejected: ReportKind.REJECTED,
    OrderTriggered: ReportKind.TRIGGERED,
    OrderCancelled: ReportKind.CANCELLED,
    OrderExpired: ReportKind.EXPIRED,
    OrderAmended: ReportKind.AMENDED,
    OrderReduced: ReportKind.AMENDED,
}


class BarVenue:
    """Takes messages, fills from bars, and says what became of them."""

    def __init__(self, portfolio: Portfolio, switches: Switches | None = None) -> None:
        cash = {currency: account.cash for currency, account in portfolio.accounts.items()}
        self.portfolio = Portfolio(cash, portfolio.instruments.values())
        self.exchange = simulated_broker(self.portfolio, switches or Switches())
        self.orders: dict[int, Order] = {}

    def take(self, message: OrderMessage) -> list[Report]:
        if message.kind == NEW:
            instrument = self.portfolio.instruments[message.symbol]
            order = self.orders[message.order_id] = Order(
                message.order_id, 0, instrument, Side(message.side), OrderType(message.type), message.lots,
                message.time, message.decision_ticks, limit_ticks=message.limit_ticks, stop_ticks=message.stop_ticks,
                trail_fraction=message.trail_fraction, trail_ticks=message.trail_ticks,
                time_in_force=TimeInForce(message.time_in_force), expire_at=message.expire_at,
                post_only=message.post_only, reduce_only=message.reduce_only,
            )
            return self._reports(self.exchange.submit(order))
        order = self.orders[message.order_id]
        if not order.is_open:
            reason = f"it is {order.status.value}"
            return [Report(ReportKind.CHANGE_REFUSED, message.time, message.time, message.order_id, reason)]
        if message.kind == AMEND:
            return self._reports(
                self.exchange.amend(
                    order, message.time, lots=message.lots, limit_ticks=message.limit_ticks,
                    stop_ticks=message.stop_ticks,
                )
            )
        return self._reports(self.exchange.cancel(order, message.time, message.why))

    def on_bar(self, bar: Bar) -> list[Report]:
        return self._reports(self.exchange.on_bar(bar))

    def _reports(self, events: Sequence[Any]) -> list[Report]:
        return [self._report(event) for event in events]

    def _report(self, event: Any) -> Report:
        order = event.order
        report = Report(ReportKind.FILLED, event.time, event.time, order.id, venue_order_id=f"v{order.id}")
        if isinstance(event, Fill):
            fee = event.fee_units * self.portfolio.accounts[order.instrument.quote].unit
            return report._replace(
                lots=event.lots, ticks=event.price_ticks, trade_id=str(event.id), fee=fee,
                fee_currency=order.instrument.quote, liquidity=event.liquidity.value,
            )
        kind = KINDS[type(event)]
        report = report._replace(kind=kind, reason=event.reason)
        if kind is ReportKind.AMENDED:
            return report._replace(lots=order.lots, ticks=order.limit_ticks, stop_ticks=order.stop_ticks)
        return report._replace(lots=order.filled_lots) if kind is ReportKind.CANCELLED else report


class AnsweredBroker:
    """A broker whose venue answers at once: what a live session does between two inputs, with the waiting left out."""

    def __init__(self, portfolio: Portfolio, switches: Switches | None = None) -> None:
        self.inner = VenueBroker(portfolio, "contract")
        self.venue = BarVenue(portfolio, switches)
        self.working = self.inner.working
        self.needs_every_bar = self.inner.needs_every_bar
        self.messages: list[OrderMessage] = []

    def submit(self, order: Order) -> list[Any]:
        return self._settled(self.inner.submit(order))

    def cancel(self, order: Order, time: int, reason: str, *, arrives_at: int | None = None) -> list[Any]:
        return self._settled(self.inner.cancel(order, time, reason))

    def amend(
        self, order: Order, time: int, *, lots: int, limit_ticks: int | None, stop_ticks: int | None,
        arrives_at: int | None = None,
    ) -> list[Any]:
        return self._settled(
            self.inner.amend(order, time, lots=lots, limit_ticks=limit_ticks, stop_ticks=stop_ticks)
        )

    def on_bar(self, bar: Bar) -> list[Any]:
        # The venue tells of what filled inside a bar before it is over: the one before is what is known then.
        length = bar.close_time - bar.open_time
        self.inner.on_bar(bar._replace(open_time=bar.open_time - length, close_time=bar.open_time))
        events = [event for report in self.venue.on_bar(bar) for event in self.inner.apply(report)]
        return self._settled([*events, *self.inner.on_bar(bar)])

    def _settled(self, events: Sequence[Any]) -> list[Any]:
        """Let the venue take what is to be sent until nothing is left."""
        happened = list(events)
        while messages := self.inner.take_messages():
            self.messages += messages
            for message in messages:
                for report in self.venue.take(message):
                    happened += self.inner.apply(report)
        return happened
