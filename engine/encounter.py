"""One order meets a price: at the open, at the close, or as the last of a path; and its children wake.

A `Meeting` is one bar with the orders that meet it; it lives as long as the bar is being matched.
"""

from collections.abc import Sequence
from typing import Any

from engine.bars import Bar
from engine.events import Liquidity, OrderAmended, OrderTriggered
from engine.execution import Execution
from engine.links import OrderLinks
from engine.matching import TickBar, at_open, certain_after, trail
from engine.orders import Order, OrderType, Side
from engine.semantics import Switches
from engine.working import WorkingOrders

STOPS = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


class Meeting:
    """A bar, its prices in ticks, and the working orders of its symbol.

    `known_at` is when the bar of the run closes that this one is, or is a part of: what happens in it is known then.
    """

    __slots__ = ("bar", "has_woken", "known_after", "known_at", "met_open", "orders", "ticks", "woken_inside")

    def __init__(self, bar: Bar, ticks: TickBar, orders: dict[int, Order], known_at: int) -> None:
        self.bar = bar
        self.known_at = known_at
        self.met_open = False
        """Whether any order was there when the bar opened."""
        self.ticks = ticks
        self.orders = orders
        self.known_after: dict[int, TickBar] = {}
        """Of children that may meet the bar their entry filled in: the prices known to have traded after it."""
        self.woken_inside: set[int] = set()
        """Children whose entry filled after the bar's open."""
        self.has_woken = False
        """Whether children woke that may meet this bar."""

    def meets_open(self, order: Order) -> bool:
        """Return whether an order is there when the bar opens."""
        return meets_open(order, self.bar)

    def meets_path(self, order: Order) -> bool:
        """Return whether an order may act after the open."""
        if order.type is OrderType.TRAILING_STOP and order.stop_ticks is None:
            return False  # it has nothing to trail from yet
        if order.id in self.known_after:
            return True
        return not self.outlasts(order) and self.meets_open(order)

    def outlasts(self, order: Order) -> bool:
        """Return whether an order's time in force ends before the bar does."""
        return order.expire_at is not None and order.expire_at < self.bar.close_time


def meets_open(order: Order, bar: Bar) -> bool:
    """Return whether an order is there when a bar opens.

    A latency shorter than a bar still meets the open that follows the decision (docs/fills.md, rule 0).
    """
    open_time = bar.open_time
    return order.arrives_at <= open_time or (
        order.decided_at <= open_time and order.arrives_at - order.decided_at < bar.close_time - open_time
    )


def seen_by(order: Order, ticks: TickBar) -> TickBar:
    """Return the bar as a buyer would see it."""
    return ticks if order.side is Side.BUY else ticks.mirrored()


def is_limit(order: Order, was_triggered: bool) -> bool:
    """Return whether an order stood in the book as a limit order: a stop-limit does once it has triggered."""
    return order.type is OrderType.LIMIT or (order.type is OrderType.STOP_LIMIT and was_triggered)


class Encounter:
    """Lets orders act at prices, and wakes the children of what filled."""

    def __init__(
        self, switches: Switches, working: WorkingOrders, links: OrderLinks, execution: Execution, events: list[Any]
    ) -> None:
        self._switches = switches
        self._working = working
        self._links = links
        self._execution = execution
        self._events = events
        self._fills_at_close = switches.market_fill == "next_close"
        self._meets_bars_whole = switches.path in ("queue", "queue_stops_first")

    def trigger(self, order: Order, time: int) -> None:
        """Mark a stop whose price has traded."""
        order.is_triggered = True
        self._events.append(OrderTriggered(order, time))

    def note_trigger(self, order: Order, was_triggered: bool, time: int) -> None:
        """Say so if a rule has marked a stop as triggered."""
        if order.is_triggered and not was_triggered:
            self._events.append(OrderTriggered(order, time))

    def meet_open(self, order: Order, ticks: TickBar, meeting: Meeting, time: int) -> None:
        """Let an order meet the open of `ticks`, in ticks; at `time`."""
        if order.type is OrderType.MARKET and self._fills_at_close:
            return
        was_triggered = order.is_triggered
        price = at_open(order, seen_by(order, ticks), not order.has_rested, self._switches)
        self.note_trigger(order, was_triggered, time)
        if price is None:
            return
        if order.post_only and not order.has_rested:
            self.turn_away(order, price * order.side, time)
            return
        liquidity = Liquidity.MAKER if order.has_rested and is_limit(order, was_triggered) else Liquidity.TAKER
        self._execution.execute(order, price * order.side, time, meeting.known_at, liquidity)
        self.wake_children(order, None, ticks, meeting)

    def meet_close(self, order: Order, meeting: Meeting) -> None:
        """Let an order that arrived inside the bar meet its last price."""
        time, last = meeting.bar.close_time, meeting.ticks.close
        was_triggered = order.is_triggered
        point = seen_by(order, TickBar(last, last, last, last))
        price = at_open(order, point, True, self._switches)
        self.note_trigger(order, was_triggered, time)
        if price is not None and order.post_only:
            self.turn_away(order, price * order.side, time)
        elif price is not None:
            self.fill_at_close(order, price * order.side, meeting)

    def fill_at_close(self, order: Order, price: int, meeting: Meeting) -> None:
        """Fill an order at the bar's end; its children meet the next bar."""
        time = meeting.bar.close_time
        self._execution.execute(order, price, time, meeting.known_at, Liquidity.TAKER)
        self.wake_children(order, meeting.ticks.close, meeting.ticks, meeting, later=True)

    def fill_inside(
        self, order: Order, price: int, level: int, meeting: Meeting, liquidity: Liquidity, time: int | None = None
    ) -> None:
        """Fill an order inside the bar.

        Args:
            price: in ticks, before costs; level: where the path was then.
            time: of the fill; None for the bar's close, when it became known.
        """
        time = meeting.bar.close_time if time is None else time
        self._execution.execute(order, price, time, meeting.known_at, liquidity)
        self.wake_children(order, level, meeting.ticks, meeting)

    def turn_away(self, order: Order, price: int, time: int) -> None:
        """Reject a post-only order that would take liquidity where it arrives; cancel one that has filled in part."""
        reason = f"post-only limit {order.limit} would take liquidity at {order.instrument.to_price(price)}"
        if order.filled_lots:
            self._links.withdraw(order, time, reason)
        else:
            self._links.reject(order, time, reason)

    # ── children ────────────────────────────────────────────────────────────────────────────────────────────────────

    def wake_children(
        self, parent: Order, entry: int | None, ticks: TickBar, meeting: Meeting, *, later: bool = False
    ) -> None:
        """Make the protecting orders of a parent that just filled live, in this bar or from the next one on.

        They protect what has filled, and grow as more of the parent fills.

        Args:
            entry: the level inside the bar's path at which the parent filled; None at the open.
            later: from the next bar on, whatever the switches say.
        """
        children = self._links.children.get(parent.id)
        if children is None or not parent.filled_lots:
            return
        more = self._links.newly_protected(parent)
        known = None if later else self._known_to_children(parent, children, entry, ticks)
        is_at_open = entry is None or (self._meets_bars_whole and entry == ticks.open)
        bar = meeting.bar
        time = bar.open_time if is_at_open else bar.close_time
        for child in children:
            if not child.is_open:
                continue
            if child.id in self._working.all:
                child.lots += more
                if more:
                    reason = f"now {child.quantity}: order {parent.id} filled more"
                    self._events.append(OrderAmended(child, time, reason))
                continue
            if child.lots > parent.filled_lots:
                self._links.cut(child, parent.filled_lots, time, f"what order {parent.id} has filled")
            self._working.add(child)
            self._start_trailing(child, ticks.open if entry is None else entry)
            child.decided_at = child.arrives_at = bar.close_time
            if self._meets_bars_whole and not is_at_open:
                meeting.woken_inside.add(child.id)
            if known is not None:
                self._let_in(child, entry, ticks, known, meeting, time)

    def _start_trailing(self, child: Order, entry: int) -> None:
        if child.type is OrderType.TRAILING_STOP and self._switches.trail_reference != "close_after_entry":
            trail(child, child.decision_ticks if self._switches.trail_reference == "close" else entry)

    def _let_in(
        self, child: Order, entry: int | None, ticks: TickBar, known: TickBar, meeting: Meeting, time: int
    ) -> None:
        """Let a child meet the bar in which its entry filled, as far as its prices are known to have come later."""
        meeting.known_after[child.id] = known
        has_price = child.stop_ticks is not None or child.limit_ticks is not None
        meeting.has_woken |= has_price
        if has_price and not self._meets_bars_whole:
            # The first price it meets is its entry's: one that lies beyond already fills there.
            point = ticks if entry is None else TickBar(entry, entry, entry, entry)
            self.meet_open(child, point, meeting, time)
            child.has_rested = True

    def _known_to_children(
        self, parent: Order, children: Sequence[Order], entry: int | None, ticks: TickBar
    ) -> TickBar | None:
        """Return the prices of this bar that children may meet, or None if they have to wait for the next."""
        rule = self._switches.children_same_bar
        if rule == "next_bar":
            return None
        if rule == "if_unambiguous":
            is_alone = parent.type is OrderType.STOP and _target_alone_in_range(children, ticks)
            return ticks if parent.type is OrderType.MARKET or is_alone else None
        if entry is None or rule == "always" or self._switches.path not in ("worst", "detail", "best"):
            return ticks
        return certain_after(entry, parent, ticks)


def _target_alone_in_range(children: Sequence[Order], ticks: TickBar) -> bool:
    """Return whether the bar reached a target while it reached no stop."""
    reached = {OrderType.LIMIT: False}
    for child in children:
        seen = seen_by(child, ticks)
        if child.limit_ticks is not None:
            reached[child.type] = seen.low <= child.limit_ticks * child.side
        elif child.stop_ticks is not None:
            reached[child.type] = seen.high >= child.stop_ticks * child.side
    return reached.pop(OrderType.LIMIT) and not any(reached.values())
