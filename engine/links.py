"""Links between orders: groups of which one cancels the rest, and children that wait for a parent and protect it.

Whatever ends or shrinks an order for another's sake happens here, and the event that says why.
"""

from collections.abc import Sequence
from typing import Any

from engine.entries import OpenEntries
from engine.events import OrderCancelled, OrderExpired, OrderReduced, OrderRejected
from engine.orders import Order, OrderStatus
from engine.portfolio import Portfolio, Position
from engine.working import WorkingOrders


class OrderLinks:
    """Who cancels, protects and waits for whom.

    Args:
        events: where what happens is appended.
        oldest_entry_first: whether a position is kept as the entries it was opened with (`netting`).
    """

    def __init__(
        self, working: WorkingOrders, portfolio: Portfolio, events: list[Any], *, oldest_entry_first: bool
    ) -> None:
        self._working = working
        self._portfolio = portfolio
        self._events = events
        self.children: dict[int, list[Order]] = {}
        """Of every parent that may still fill, those that wait for it or protect what it has filled."""
        self._protected: dict[int, int] = {}
        """How much of a parent that has filled in part its children protect, in lots."""
        self._groups: dict[int, list[Order]] = {}
        self._spanning: set[int] = set()
        """Groups that have had orders of several symbols."""
        self.entries: dict[str, OpenEntries] = {}
        """Of every symbol; empty where a position is one signed quantity."""
        if oldest_entry_first:
            self.entries = {symbol: OpenEntries() for symbol in portfolio.instruments}

    @property
    def span_symbols(self) -> bool:
        """Whether there may be a group with orders of several symbols."""
        return bool(self._spanning)

    @property
    def is_empty(self) -> bool:
        """Whether no order is linked to another any more."""
        return not (self.children or self._protected or self._groups)

    def take_over(self) -> None:
        """Go on from positions that were made elsewhere."""
        for symbol, entries in self.entries.items():
            entries.restart(self._portfolio.positions[symbol].lots)

    # ── groups ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def join_group(self, order: Order) -> None:
        """Note the group that an order names."""
        if order.group is not None:
            members = self._groups.setdefault(order.group, [])
            members.append(order)
            if members[0].symbol != order.symbol:
                self._spanning.add(order.group)

    def spanning_since(self, symbol: str) -> int | None:
        """Return the oldest order of a symbol that is in a group with other symbols' orders; None if there is none."""
        self._spanning.intersection_update(self._groups)
        return min(
            (order.id for group in self._spanning for order in self._groups[group] if order.symbol == symbol),
            default=None,
        )

    def siblings(self, order: Order) -> Sequence[Order]:
        """Return the orders of its group, itself among them; none if it is in no group."""
        return () if order.group is None else self._groups.get(order.group, ())

    def settle_group(self, order: Order, lots: int, time: int) -> None:
        """Withdraw the siblings of an order that filled.

        After a part of it, those that ask for the same trade go on asking for the rest of it.
        """
        group = order.group
        assert group is not None
        is_done = order.status is OrderStatus.FILLED
        what = f"order {order.id} of its group filled"
        for sibling in self._groups.pop(group, ()) if is_done else tuple(self._groups.get(group, ())):
            if sibling is order or not sibling.is_open:
                continue
            is_same_trade = sibling.side is order.side and sibling.symbol == order.symbol
            if is_same_trade and not is_done and sibling.open_lots > lots:
                quantity = order.instrument.to_quantity(lots)
                self.cut(sibling, sibling.open_lots - lots, time, f"{what} {quantity}")
            else:
                self.withdraw(sibling, time, what)

    def _leave_group(self, order: Order) -> None:
        members = self._groups.get(order.group) if order.group is not None else None
        if members is not None and order in members:
            members.remove(order)
            if not members:
                del self._groups[order.group]  # type: ignore[arg-type]

    # ── parents and children ────────────────────────────────────────────────────────────────────────────────────────

    def wait(self, child: Order) -> None:
        """Let a child wait for its parent, which is working."""
        assert child.parent_id is not None
        self.children.setdefault(child.parent_id, []).append(child)

    def newly_protected(self, parent: Order) -> int:
        """Return how many lots a parent has filled that its children were not told of yet; now they are."""
        more = parent.filled_lots - self._protected.pop(parent.id, 0)
        if parent.status is OrderStatus.FILLED:
            del self.children[parent.id]
        elif parent.is_open:
            self._protected[parent.id] = parent.filled_lots
        return more

    def end_protection(self, position: Position, time: int) -> None:
        """Withdraw the children that protected a position which is gone: they must not close the next one."""
        for child in list(self._working.of_symbol[position.instrument.symbol].values()):
            if child.reduce_only and child.parent_id is not None and position.lots * child.side >= 0:
                self.withdraw(child, time, "the position it protects is closed")

    def net(self, order: Order, lots: int, time: int) -> None:
        """Book a fill against the entries it closes; the children of an entry follow its quantity."""
        children = self.children.get(order.id, ())
        opened, smaller = self.entries[order.symbol].book(order, lots, children)
        for entry in smaller:
            self._shrink(entry.children, entry.lots, time, f"order {order.id} closed what it protects")
        if order.status is OrderStatus.FILLED and order.lots > opened:
            self._shrink(children, opened, time, f"order {order.id} closed older entries")

    def _shrink(self, children: Sequence[Order], lots: int, time: int, reason: str) -> None:
        """Lower the quantity of protecting orders to what is left to protect."""
        for child in children:
            if child.is_open and not lots:
                self.withdraw(child, time, reason)
            elif child.is_open and child.open_lots > lots:
                self.cut(child, lots, time, reason)

    def _release_children(self, parent: Order, time: int, what: str) -> None:
        """Withdraw the children of a parent that ended with nothing filled; others go on protecting what has."""
        self._protected.pop(parent.id, None)
        for child in self.children.pop(parent.id, ()):
            if child.is_open and not parent.filled_lots:
                self.withdraw(child, time, f"order {parent.id} it depends on {what}")

    # ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def withdraw(self, order: Order, time: int, reason: str) -> None:
        """Cancel an order, and with it the children that wait for it."""
        order.become(OrderStatus.CANCELLED, "OrderCancelled")
        self._end(order)
        self._events.append(OrderCancelled(order, time, reason))
        self._release_children(order, time, "was cancelled")

    def reject(self, order: Order, time: int, reason: str) -> None:
        """Turn an order away, and with it the children that wait for it."""
        order.become(OrderStatus.REJECTED, "OrderRejected")
        self._end(order)
        self._events.append(OrderRejected(order, time, reason))
        self._release_children(order, time, "was rejected")

    def expire(self, symbol: str, time: int) -> None:
        """End the orders of a symbol whose time in force is over at `time`."""
        orders = self._working.of_symbol[symbol].values()
        for order in [order for order in orders if order.expire_at is not None and order.expire_at <= time]:
            order.become(OrderStatus.EXPIRED, "OrderExpired")
            self._end(order)
            assert order.expire_at is not None
            self._events.append(OrderExpired(order, order.expire_at, f"{order.time_in_force.value} ended"))
            self._release_children(order, order.expire_at, "expired")

    def cut(self, order: Order, lots: int, time: int, reason: str) -> None:
        """Lower an order's quantity so that `lots` of it stay open."""
        before = order.quantity
        order.lots = order.filled_lots + lots
        self._events.append(OrderReduced(order, time, f"from {before} to {order.quantity}: {reason}"))

    def _end(self, order: Order) -> None:
        self._working.remove(order)
        self._leave_group(order)
