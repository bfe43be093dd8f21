"""Orders that depend on each other, live: groups of which one cancels the rest, children that protect what their parent
fills, and reduce-only orders that follow the position.

The law is that of backtests (engine.links). What differs: withdrawing asks the venue, so that a sibling may still fill
meanwhile; and children wait here, where the session's record keeps them, not at the venue.
"""

from engine.live.sending import Sending
from engine.matching import trail
from engine.orders import Order, OrderStatus, OrderType
from engine.portfolio import Portfolio
from engine.working import WorkingOrders


class LinkedOrders:
    """Who cancels, protects and waits for whom."""

    def __init__(self, sending: Sending, working: WorkingOrders, portfolio: Portfolio) -> None:
        self._sending = sending
        self._working = working
        self._portfolio = portfolio
        self._groups: dict[int, list[Order]] = {}
        self._children: dict[int, list[Order]] = {}
        """Of every parent that may still fill, those that wait for it or protect what it has filled."""
        self._protected: dict[int, int] = {}
        """How much each such parent has brought in, fees taken out, in lots."""
        sending.when_ended = self.ended

    def join_group(self, order: Order) -> None:
        """Note the group that an order names."""
        if order.group is not None:
            self._groups.setdefault(order.group, []).append(order)

    def wait(self, child: Order) -> None:
        """Let a child wait for its parent."""
        assert child.parent_id is not None
        self._children.setdefault(child.parent_id, []).append(child)
        self._sending.hold(child)

    def waits_for(self, order: Order) -> list[Order]:
        """Return the children of an order that the venue has not heard of."""
        return [child for child in self._children.get(order.id, ()) if child.id not in self._working.all]

    def reducible(self, order: Order) -> int:
        """Return how many lots of its position an order can close."""
        return max(0, -self._portfolio.positions[order.symbol].lots * order.side)

    def filled(self, order: Order, lots: int, ticks: int, time: int) -> None:
        """Let an execution of `lots` (what arrived) do to other orders what follows from it."""
        if order.group is not None:
            self._settle_group(order, time)
        parent = self._working.all.get(order.parent_id or 0)
        if parent is not None:  # what it filled later would be unprotected
            self._sending.withdraw(parent, time, f"order {order.id} that protects it filled", insists=True)
        if order.id in self._children:
            self._protected[order.id] = self._protected.get(order.id, 0) + lots
            self._protect(order, ticks, time)
        self.follow_position(order.symbol, time)

    def ended(self, order: Order, time: int, what: str) -> None:
        """Let the end of an order do what follows from it: with nothing filled, its children go too."""
        members = self._groups.get(order.group) if order.group is not None else None
        if members is not None and order in members:
            members.remove(order)
            if not members:
                del self._groups[order.group]  # type: ignore[arg-type]
        children = self._children.get(order.id, ())
        for child in tuple(children):
            if not order.filled_lots:
                self._sending.withdraw(child, time, f"order {order.id} it depends on was {what}")
        self._done_protecting(order, time)

    def _settle_group(self, order: Order, time: int) -> None:
        """Withdraw the siblings of an order that filled. After a part of it, those that ask for the same trade go on
        asking for the rest of it."""
        assert order.group is not None
        is_done = order.status is OrderStatus.FILLED
        what = f"order {order.id} of its group filled"
        siblings = self._groups.pop(order.group, []) if is_done else self._groups.get(order.group, [])
        for sibling in tuple(siblings):
            if sibling is order or not sibling.is_open:
                continue
            is_same_trade = sibling.side is order.side and sibling.symbol == order.symbol
            if is_same_trade and not is_done and sibling.open_lots > order.open_lots:
                self._sending.resize(sibling, order.open_lots, time, what)
            elif is_done or not is_same_trade:
                self._sending.withdraw(sibling, time, what, insists=True)

    def _protect(self, parent: Order, ticks: int, time: int) -> None:
        """Send the children that wait for a parent over what it has brought in, or let them grow to it."""
        lots = self._protected[parent.id]
        for child in tuple(self._children[parent.id]):
            wanted = min(lots, child.filled_lots + self.reducible(child)) if child.reduce_only else lots
            if not child.is_open or wanted <= 0:
                continue
            if child.id in self._working.all:
                self._sending.resize(child, wanted - child.filled_lots, time, f"order {parent.id} filled more")
            elif _is_large_enough(child, wanted, ticks):
                child.lots = wanted
                if child.type is OrderType.TRAILING_STOP:
                    trail(child, ticks)
                self._sending.send(child, time, f"order {parent.id} filled")
        if parent.status is OrderStatus.FILLED:
            self._done_protecting(parent, time)

    def _done_protecting(self, parent: Order, time: int) -> None:
        """Let go of a parent that can fill no more; a child that never became large enough for the venue ends."""
        self._protected.pop(parent.id, None)
        for child in self._children.pop(parent.id, ()):
            if child.is_open and child.id not in self._working.all:
                self._sending.withdraw(child, time, f"what order {parent.id} filled is below the smallest order")

    def follow_position(self, symbol: str, time: int) -> None:
        """Let reduce-only orders that the venue has be no larger than the position they reduce."""
        for order in tuple(self._working.of_symbol[symbol].values()):
            if not order.reduce_only or not order.is_open:
                continue
            reducible = self.reducible(order)
            if not reducible:
                self._sending.withdraw(order, time, "the position it reduces is closed", insists=True)
            elif order.open_lots > reducible:
                self._sending.resize(order, reducible, time, "reduce-only, to the position held")


def _is_large_enough(child: Order, lots: int, ticks: int) -> bool:
    """Return whether a venue takes a child of so many lots; the market is at `ticks`."""
    instrument = child.instrument
    quantity = instrument.to_quantity(lots)
    price = instrument.to_price(child.limit_ticks or child.stop_ticks or ticks)
    worth = quantity * price * instrument.multiplier
    return quantity * instrument.multiplier >= instrument.min_quantity and worth >= instrument.min_notional
