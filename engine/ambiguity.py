"""Bars that leave open what happened to orders: which they are, and the ideas that hang on them.

The exchange shows every order that is linked to others, and every bar in which some of them may act. What is kept is
enough to work out afterwards, with `engine.outcomes`, how each idea might have ended. A run without stops, targets
and groups shows nothing and pays nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.bars import Bar
from engine.events import Fill
from engine.matching import TickBar
from engine.order_sets import Leg, OrderSet
from engine.orders import Order, OrderType, TimeInForce

MOST_NOTES = 100_000
"""Bars that are kept as notes; beyond them they are only counted."""

_FORGET_AT = 4096
"""Ideas from which on those that are over, and were never in doubt, are let go of."""
_AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


class Contested(NamedTuple):
    """A bar in which the order of prices may decide between orders.

    Args:
        time: its close, UTC ns.
        orders: ids of those that it reaches, and of the children of an entry that it reaches; levels: the price of
            each in quote currency, None for a stop that trails from a price not known yet.
    """

    time: int
    symbol: str
    orders: tuple[int, ...]
    levels: tuple[float | None, ...]


class Idea(NamedTuple):
    """Orders that belong together, and the bars that may have decided between them.

    Args:
        legs: the orders as they were asked for, in the quantity that was traded; orders: what became of them, in the
            same places.
        bars: close times, UTC ns, ascending.
        is_amended: whether terms were changed on the way, so that outcomes cannot be told from what was first asked.
    """

    legs: OrderSet
    orders: tuple[Order, ...]
    bars: tuple[int, ...]
    is_amended: bool


@dataclass
class _Linked:
    """Orders that belong together, as they were when they were sent."""

    symbol: str
    orders: dict[int, Order] = field(default_factory=dict)
    legs: dict[int, Leg] = field(default_factory=dict)
    is_amended: bool = False
    closed_at: int | None = None
    closed_for: int = 0
    closed_bar: int = 0
    held: int = 0
    """What its own orders have opened and not closed, in lots, signed."""
    bars: list[int] = field(default_factory=list)


class AmbiguityWatch:
    """Remembers linked orders, and the bars that may decide between them. One for each run."""

    def __init__(self) -> None:
        self.notes: list[Contested] = []
        self.count = 0
        """Bars that may decide, those beyond `MOST_NOTES` included."""
        self._linked: list[_Linked] = []
        self._linked_of: dict[int, _Linked] = {}
        self._linked_of_group: dict[int, _Linked] = {}
        self.has_ideas = False
        """Whether any orders were linked yet."""
        self.asked: list[tuple[int, str, int, str, int]] = []
        """Of every idea: when it was decided (UTC ns), symbol, side, type of its first order, lots."""
        self._forget_at = _FORGET_AT
        self._holding: dict[str, dict[int, _Linked]] = {}
        """Of each symbol, the ideas that may hold a position."""

    # ── shown by the exchange ───────────────────────────────────────────────────────────────────────────────────────

    def linked(self, order: Order, parent: Order | None) -> None:
        """Take note of an order that protects another, is one of a group, trails the price or has two prices; before it
        can fill."""
        linked = self._linked_of.get(parent.id) if parent is not None else None
        if linked is None and order.group is not None:
            linked = self._linked_of_group.get(order.group)
        if linked is None or linked.symbol != order.symbol:
            if len(self._linked) >= self._forget_at:
                self._forget()
            linked = _Linked(order.symbol)
            self._linked.append(linked)
            self.has_ideas = True
            first = parent or order
            self.asked.append((first.decided_at, first.symbol, int(first.side), first.type.value, first.lots))
        if parent is not None and parent.id not in linked.legs:
            self._add(linked, parent)
        if order.id not in linked.legs:
            self._add(linked, order)

    def _add(self, linked: _Linked, order: Order) -> None:
        trails = order.type is OrderType.TRAILING_STOP
        places = {number: place for place, number in enumerate(linked.legs)}
        parent = places.get(order.parent_id) if order.parent_id is not None else None
        linked.orders[order.id] = order
        linked.legs[order.id] = Leg(
            order.id, int(order.side), order.type, order.lots, order.limit_ticks, None if trails else order.stop_ticks,
            order.trail_ticks, order.trail_fraction, parent, order.group, order.decision_ticks if trails else None,
            order.arrives_at if parent is None else 0, order.expire_at, at_once=order.time_in_force in _AT_ONCE,
            decided_at=order.decided_at,
        )
        self._linked_of[order.id] = linked
        if order.group is not None:
            self._linked_of_group[order.group] = linked

    def amended(self, order: Order) -> None:
        """Take note that an order's terms were changed: what the old ones might have led to says little."""
        if (linked := self._linked_of.get(order.id)) is not None:
            linked.is_amended = True

    def withdrawn(self, order: Order, time: int) -> None:
        """Take note that the strategy withdrew an order."""
        linked = self._linked_of.get(order.id)
        if linked is not None and linked.legs[order.id].gone_at is None:
            linked.legs[order.id] = linked.legs[order.id]._replace(gone_at=time)

    def told(self, events: Sequence[Any]) -> None:
        """Take note of what filled: a position that one idea holds may be closed by an order that is not of it."""
        for event in events:
            if type(event) is Fill:
                linked = self._linked_of.get(event.order.id)
                if linked is not None:
                    linked.held += event.side * event.lots
                    self._holding.setdefault(event.symbol, {})[id(linked)] = linked
                holding = self._holding.get(event.symbol, {})
                if len(holding) > (linked is not None):
                    self._met(event, linked, [other for other in holding.values() if other is not linked])

    def _met(self, fill: Fill, own: _Linked | None, others: list[_Linked]) -> None:
        """Settle what a fill does to the ideas of its symbol that it is not of."""
        before = fill.lots_after - fill.side * fill.lots
        for other in others:
            if not other.held or other.closed_at is not None:
                del self._holding[fill.symbol][id(other)]
            elif before * fill.side >= 0:
                continue  # it adds to the position, and is none of their business
            elif before * fill.lots_after <= 0:
                other.closed_at, other.closed_for, other.closed_bar = fill.time, fill.price_ticks, fill.bar_close_time
            elif own is None or own.held * fill.side > 0:
                other.is_amended = True  # whose part it closed, nobody can say
                if own is not None:
                    own.is_amended = True

    def bar(
        self, bar: Bar, ticks: TickBar, orders: Iterable[Order], children: Mapping[int, Sequence[Order]]
    ) -> None:
        """Take note of a bar, before it is matched, if the order of its prices may decide."""
        reached = [order for order in orders if _is_reached(order, ticks)]
        if not reached:
            return
        known = {order.id for order in reached}
        inside = [
            child for order in reached for child in children.get(order.id, ())
            if child.id not in known and _is_reached(child, ticks)
        ]
        if not _may_decide(reached, inside):
            return
        together = [order for order in (*reached, *inside) if order.type is not OrderType.MARKET]
        self.count += 1
        if self.count <= MOST_NOTES:
            levels = tuple(_level(order) for order in together)
            self.notes.append(Contested(bar.close_time, bar.symbol, tuple(order.id for order in together), levels))
        for order in together:
            linked = self._linked_of.get(order.id)
            if linked is not None and (not linked.bars or linked.bars[-1] != bar.close_time):
                linked.bars.append(bar.close_time)

    # ── asked for after the run ─────────────────────────────────────────────────────────────────────────────────────

    def ideas(self, bar_lengths: Mapping[str, int]) -> list[Idea]:
        """Return every idea that a bar may have decided, in the order in which they were asked for.

        Args:
            bar_lengths: of each symbol, nanoseconds; a latency below it still meets the open that follows
                (docs/fills.md, rule 0).
        """
        found = []
        for linked in self._linked:
            if linked.bars:
                length = bar_lengths.get(linked.symbol, 0)
                legs = tuple(_as_traded(linked, leg, length) for leg in linked.legs.values())
                orders = OrderSet(linked.symbol, legs, linked.closed_at, linked.closed_for, linked.closed_bar)
                asked = tuple(linked.orders.values())
                found.append(Idea(orders, asked, tuple(linked.bars), linked.is_amended))
        return found

    def _forget(self) -> None:
        """Let go of what is over and was never in doubt."""
        kept = [linked for linked in self._linked if linked.bars or any(o.is_open for o in linked.orders.values())]
        self._forget_at = max(_FORGET_AT, 2 * len(kept))
        self._linked = kept
        self._linked_of = {number: linked for linked in kept for number in linked.orders}
        groups = ((order.group, linked) for linked in kept for order in linked.orders.values())
        self._linked_of_group = {group: linked for group, linked in groups if group is not None}


def _as_traded(linked: _Linked, leg: Leg, bar_length: int) -> Leg:
    """Return a leg in the quantity that was traded, and from the bar on that it meets first."""
    entry = linked.orders[leg.order_id]
    while entry.parent_id is not None and entry.parent_id in linked.orders:
        entry = linked.orders[entry.parent_id]
    lots = entry.filled_lots or linked.orders[leg.order_id].filled_lots or leg.lots
    if leg.parent is None and leg.live_from - leg.decided_at < bar_length:
        leg = leg._replace(live_from=leg.decided_at)
    return leg._replace(lots=lots)


def _may_decide(reached: Sequence[Order], inside: Sequence[Order]) -> bool:
    """Return whether the order in which a bar reaches orders may change what becomes of them."""
    resting = [order for order in reached if order.type is not OrderType.MARKET]
    if any(order.type is OrderType.TRAILING_STOP or _comes_back(order) for order in (*resting, *inside)):
        return True
    if inside and (resting or len(inside) > 1):
        return True
    if len(resting) < 2:
        return False
    groups = [order.group for order in resting if order.group is not None]
    return len(set(groups)) < len(groups) or any(order.reduce_only for order in resting)


def _comes_back(order: Order) -> bool:
    """Return whether the price has to come back to a stop-limit's limit after its stop."""
    if order.type is not OrderType.STOP_LIMIT or order.is_triggered:
        return False
    assert order.stop_ticks is not None
    assert order.limit_ticks is not None
    return (order.stop_ticks - order.limit_ticks) * order.side > 0


def _is_reached(order: Order, ticks: TickBar) -> bool:
    """Return whether a bar touches an order's price; of a trailing stop, any price that it may follow to."""
    if order.type is OrderType.MARKET:
        return True
    sells = order.side < 0
    if order.type is OrderType.TRAILING_STOP:
        distance = order.trail_ticks
        best = ticks.high if sells else ticks.low
        if order.reference is not None:
            best = max(best, order.reference) if sells else min(best, order.reference)
        if distance is None:
            distance = int(best * (order.trail_fraction or 0.0))
        return ticks.low <= best - distance if sells else ticks.high >= best + distance
    if order.stop_ticks is not None and not order.is_triggered:
        return ticks.low <= order.stop_ticks if sells else ticks.high >= order.stop_ticks
    if order.limit_ticks is None:  # a stop that has triggered, and lacked volume
        return True
    return ticks.high >= order.limit_ticks if sells else ticks.low <= order.limit_ticks


def _level(order: Order) -> float | None:
    ticks = order.limit_ticks if order.stop_ticks is None or order.is_triggered else order.stop_ticks
    return None if ticks is None else order.instrument.float_price(ticks)
