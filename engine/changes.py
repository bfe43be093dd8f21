"""Changes asked of the venue: to cancel an order, or to amend it. They take as long to arrive as orders do.

Until then the order is as it was, and may fill; a change that finds it gone comes to nothing.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from engine.ambiguity import AmbiguityWatch
from engine.events import OrderAmended
from engine.links import OrderLinks
from engine.orders import Order
from engine.working import WorkingOrders


class Terms(NamedTuple):
    """What an amendment makes of an order; None leaves as it is, which for a trailing stop may move on the way."""

    lots: int | None
    limit_ticks: int | None
    stop_ticks: int | None


class Change(NamedTuple):
    """A change on its way; the earlier first, and of two at one time the one asked for first."""

    arrives_at: int
    number: int
    order: Order
    terms: Terms | None
    """None: it is to be cancelled."""
    reason: str


class OrderChanges:
    """Applies changes to working orders, at once or when they arrive.

    Args:
        events: where what happens is appended.
    """

    def __init__(self, working: WorkingOrders, links: OrderLinks, watch: AmbiguityWatch, events: list[Any]) -> None:
        self._working = working
        self._links = links
        self._watch = watch
        self._events = events
        self._count = 0
        self.underway: dict[str, list[Change]] = {}
        """What has not arrived yet, by symbol, as heaps; always the same object."""

    def send(self, order: Order, terms: Terms | None, arrives_at: int, reason: str = "") -> None:
        """Let a change arrive later, but not before the order itself. `terms` None: cancel it."""
        self._count += 1
        change = Change(max(arrives_at, order.arrives_at), self._count, order, terms, reason)
        heappush(self.underway.setdefault(order.symbol, []), change)
        order.changes_at = min(order.changes_at or change.arrives_at, change.arrives_at)

    def arrive(self, symbol: str, until: int) -> None:
        """Apply the changes of a symbol that arrive up to an instant, inclusive, in order of arrival."""
        queue = self.underway.get(symbol)
        if queue is None:
            return
        while queue and queue[0].arrives_at <= until:
            change = heappop(queue)
            order = change.order
            order.changes_at = min((other.arrives_at for other in queue if other.order is order), default=None)
            if not order.is_open:
                continue
            if change.terms is None:
                self.cancel(order, change.arrives_at, change.reason)
            else:
                self.amend(order, change.arrives_at, change.terms)
        if not queue:
            del self.underway[symbol]

    def cancel(self, order: Order, time: int, reason: str) -> None:
        """Withdraw an open order, and with it the children that wait for it."""
        self._watch.withdrawn(order, time)
        self._links.withdraw(order, time, reason)

    def amend(self, order: Order, time: int, terms: Terms) -> None:
        """Change an open order's total quantity and prices; it keeps its place in the queue.

        With a new price it arrives anew, so that it may take liquidity, and meets no price known when that was asked
        for. One that has filled as much as it is to be, or more, is done: the rest of it is withdrawn.
        """
        lots = order.lots if terms.lots is None else terms.lots
        if lots <= order.filled_lots:
            asked = order.instrument.to_quantity(lots)
            self.cancel(order, time, f"amended to {asked}, and {order.filled_quantity} had filled")
            return
        self._watch.amended(order)
        limit_ticks = order.limit_ticks if terms.limit_ticks is None else terms.limit_ticks
        stop_ticks = order.stop_ticks if terms.stop_ticks is None else terms.stop_ticks
        if limit_ticks != order.limit_ticks or stop_ticks != order.stop_ticks:
            order.has_rested = False
            order.decided_at, order.arrives_at = time, max(order.arrives_at, time)
        for child in self._waiting_children(order):
            if child.lots == order.lots:
                child.lots = lots
        order.lots, order.limit_ticks, order.stop_ticks = lots, limit_ticks, stop_ticks
        prices = "".join(
            f" {name} {value}" for name, value in (("limit", order.limit), ("stop", order.stop)) if value is not None
        )
        self._events.append(OrderAmended(order, time, f"now {order.quantity}{prices}"))

    def _waiting_children(self, order: Order) -> Sequence[Order]:
        return [child for child in self._links.children.get(order.id, ()) if child.id not in self._working.all]
