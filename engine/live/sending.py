"""Messages to a venue, as a session's orders cause them: what was noted, what is on its way, and what that means.

An order whose message has not left yet is ours alone: it can be changed or withdrawn without asking anybody. From then
on a change is a wish, which the venue grants or refuses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.events import OrderAmended, OrderCancelled
from engine.live.messages import AMEND, CANCEL, NEW, OrderMessage, client_order_id, message_of
from engine.live.reports import Report
from engine.orders import Order, OrderStatus
from engine.working import WorkingOrders

MOST_FINISHED = 20_000
"""Orders that are over and kept in mind, so that what is told of them late or twice is known for what it is."""


@dataclass(slots=True)
class Sent:
    """An order and what was said about it.

    Args:
        message: the one that made it, with its terms as they are now; None while the order waits here.
        cancel_reason: why it was asked to be cancelled, if it was; expires: because its time was over.
        asked_lots: the quantity that the amendments on their way ask for.
    """

    order: Order
    message: OrderMessage | None = None
    venue_order_id: str = ""
    trade_ids: set[str] = field(default_factory=set)
    cancel_reason: str | None = None
    expires: bool = False
    asked_lots: int | None = None
    ending: Report | None = None
    """What ended it at the venue, while our books still lack executions from before."""


class Sending:
    """Notes messages, and ends orders.

    Args:
        session: the session's own name, eight letters and digits.
        events: where what happens is appended.
    """

    def __init__(self, session: str, working: WorkingOrders, events: list[Any]) -> None:
        client_order_id(session, 1)  # refuses a name that no venue would take
        self.session = session
        self._working = working
        self._events = events
        self._outbox: list[OrderMessage] = []
        self._count = 0
        self._finished: dict[int, None] = {}
        self.insisted: dict[int, str] = {}
        """Orders that have to go for another's sake, and why: where a venue refuses, it is asked again."""
        self.sent: dict[int, Sent] = {}
        """Every order there was, those that are over up to a limit."""
        self.when_ended: Callable[[Order, int, str], None] = lambda order, time, what: None
        """Told of an order that has ended, when, and how in words."""

    def take(self) -> tuple[OrderMessage, ...]:
        """Return what was noted since the last call, oldest first; from now on it counts as sent."""
        messages = tuple(self._outbox)
        self._outbox.clear()
        return messages

    def hold(self, order: Order) -> None:
        """Keep an order here until something else happens."""
        self.sent[order.id] = Sent(order)

    def send(self, order: Order, time: int, why: str = "") -> None:
        """Note the message that makes an order."""
        entry = self.sent.setdefault(order.id, Sent(order))
        entry.message = self._note(NEW, order, time, why=why)
        self._working.add(order)

    def is_here(self, order: Order) -> bool:
        """Whether the venue cannot have heard of an order yet."""
        message = self.sent[order.id].message
        return message is None or message in self._outbox

    def withdraw(
        self, order: Order, time: int, reason: str, *, expires: bool = False, insists: bool = False
    ) -> None:
        """End an order: at once if the venue has not heard of it, else by asking the venue; where that is refused and
        we insist, again and again."""
        if not order.is_open:
            return
        if insists:
            self.insisted[order.id] = reason
        entry = self.sent[order.id]
        if self.is_here(order):
            self.end(order, OrderStatus.CANCELLED, OrderCancelled(order, time, reason))
        elif entry.cancel_reason is None:
            entry.cancel_reason, entry.expires = reason, expires
            self._note(CANCEL, order, time, why=reason)

    def insist(self, time: int) -> None:
        """Ask again to withdraw the orders that have to go and are not on their way out."""
        for number, reason in tuple(self.insisted.items()):
            self.withdraw(self.sent[number].order, time, reason)

    def amend(
        self, order: Order, time: int, lots: int, limit_ticks: int | None, stop_ticks: int | None, why: str = ""
    ) -> None:
        """Change an order's terms: at once if the venue has not heard of it, else by asking the venue."""
        entry = self.sent[order.id]
        if not order.is_open or entry.cancel_reason is not None:
            return
        if not self.is_here(order):
            entry.asked_lots = lots
            self._note(AMEND, order, time, lots=lots, limit_ticks=limit_ticks, stop_ticks=stop_ticks, why=why)
            return
        order.lots, order.limit_ticks, order.stop_ticks = lots, limit_ticks, stop_ticks
        if entry.message is not None:
            place = self._outbox.index(entry.message)
            entry.message = entry.message._replace(lots=lots, limit_ticks=limit_ticks, stop_ticks=stop_ticks)
            self._outbox[place] = entry.message
        self._events.append(OrderAmended(order, time, terms_of(order)))

    def resize(self, order: Order, open_lots: int, time: int, reason: str) -> None:
        """Make so much of an order open, unless that is what it has or was asked for."""
        entry = self.sent[order.id]
        lots = order.filled_lots + open_lots
        if lots != (order.lots if entry.asked_lots is None else entry.asked_lots):
            self.amend(order, time, lots, order.limit_ticks, order.stop_ticks, reason)

    def end(self, order: Order, status: OrderStatus, event: Any) -> None:
        """Let an order end; what was noted for it and has not left is dropped."""
        order.become(status, type(event).__name__)
        self._events.append(event)
        self.forget(order)
        self.when_ended(order, event.time, status.value)

    def forget(self, order: Order) -> None:
        """Take an order that is over off the working list."""
        self._working.remove(order)
        self.insisted.pop(order.id, None)
        self._outbox[:] = [message for message in self._outbox if message.order_id != order.id]
        self._finished[order.id] = None
        if len(self._finished) > MOST_FINISHED:
            oldest = next(iter(self._finished))
            del self._finished[oldest], self.sent[oldest]

    def _note(self, kind: str, order: Order, time: int, **terms: Any) -> OrderMessage:
        self._count += 1
        message = message_of(kind, self._count, self.session, order, time, **terms)
        self._outbox.append(message)
        return message


def terms_of(order: Order) -> str:
    """Return an order's terms after a change, in words."""
    prices = "".join(
        f" {name} {value}" for name, value in (("limit", order.limit), ("stop", order.stop)) if value is not None
    )
    return f"now {order.quantity}{prices}"
