"""A simulated exchange: it holds orders, lets them meet bars, and books what fills.

The order of things within a bar is that of docs/fills.md: expiry, the gap at the open (stops, limits, market
orders), the path, the close, trailing stops. Prices come from engine.matching, costs from engine.costs; this file
owns sequence and state.
"""

import itertools
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from engine.bars import FORWARD_FILLED, Bar
from engine.costs import FeeSchedule, FillTerms, MakerTakerFees, Market, MarketGauge, NoSlippage, PriceCosts, Slippage
from engine.entries import OpenEntries
from engine.events import (
    Fill,
    Liquidity,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
)
from engine.instruments import Instrument
from engine.matching import (
    TickBar,
    at_open,
    certain_after,
    on_leg,
    over_whole_bar,
    path_points,
    stop_fill,
    trail,
    trail_point,
    within_range,
)
from engine.orders import Order, OrderStatus, OrderType, Side, TimeInForce
from engine.portfolio import Portfolio, Position
from engine.semantics import Switches

_NO_EVENTS: tuple[Any, ...] = ()
_FREE = PriceCosts()
_AT_ONCE = {TimeInForce.IOC: "immediate or cancel", TimeInForce.FOK: "fill or kill"}
_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


def _round_half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient & 1))


class SimulatedExchange:
    """A venue that fills orders from bars; a Broker.

    Every fill is booked into `portfolio` at the moment it happens, so that the next order in the same bar meets the
    cash and the position it left. Order ids are the queue: lower ids go first where nothing else decides.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        switches: Switches | None = None,
        *,
        fees: FeeSchedule | None = None,
        slippage: Slippage | None = None,
    ) -> None:
        self.portfolio = portfolio
        self.switches = switches or Switches()
        self.fees: FeeSchedule = fees or MakerTakerFees()
        self.slippage: Slippage = slippage or NoSlippage()
        self.working: dict[int, Order] = {}
        """Every order that may still fill, children that wait for their parent left out; oldest first."""
        self.needs_every_bar = self.slippage.needs_market
        self._by_symbol: dict[str, dict[int, Order]] = {symbol: {} for symbol in portfolio.instruments}
        self._children: dict[int, list[Order]] = {}
        """Of every parent that may still fill, those that wait for it or protect what it has filled."""
        self._protected: dict[int, int] = {}
        """How much of a parent that has filled in part its children protect, in lots."""
        self._groups: dict[int, list[Order]] = {}
        self._entries: dict[str, OpenEntries] = {}
        if self.switches.netting == "oldest_entry_first":
            self._entries = {symbol: OpenEntries() for symbol in portfolio.instruments}
        self._gauges: dict[str, MarketGauge] = {}
        self._rates = self.fees.constant_rates()
        self._fills_at_close = self.switches.market_fill == "next_close"
        self._fills_when_decided = self.switches.market_fill == "same_close"
        self._meets_bars_whole = self.switches.path in ("queue", "queue_stops_first")
        self._volume_share = self.switches.volume_cap
        self._has_price_costs = not isinstance(self.slippage, NoSlippage)
        self._fill_count = 0
        self._expiring = 0
        """Working orders that have an `expire_at`."""
        # The bar being matched: what follows is only valid within on_bar.
        self._events: list[Any] = []
        self._cap_lots: int | None = None
        self._known_after: dict[int, TickBar] = {}
        self._woken_inside: set[int] = set()
        """Children whose entry filled after the bar's open."""
        self._has_woken = False
        """Whether children woke that may meet the bar their entry filled in."""

    # ── Broker ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, order: Order) -> Sequence[Any]:
        """Take an order. A post-only order that would take liquidity at the last close is rejected."""
        if order.status is not OrderStatus.CREATED:
            order.become(OrderStatus.IN_FLIGHT)  # raises: an order is submitted once
        order.status = OrderStatus.IN_FLIGHT
        if order.group is not None:
            self._groups.setdefault(order.group, []).append(order)
        if (
            order.post_only
            and order.limit_ticks is not None
            and (order.decision_ticks - order.limit_ticks) * order.side <= 0
        ):
            order.become(OrderStatus.REJECTED)
            self._leave_group(order)
            price = order.instrument.to_price(order.decision_ticks)
            return (
                OrderRejected(
                    order, order.decided_at, f"post-only limit {order.limit} would take liquidity at {price}"
                ),
            )
        order.status = OrderStatus.ACCEPTED  # nobody saw it in flight
        if order.parent_id is not None:
            order.reduce_only = order.reduce_only and self.switches.children_reduce_only
            if order.parent_id in self.working:
                self._children.setdefault(order.parent_id, []).append(order)
                return (OrderAccepted(order, order.arrives_at),)
        # A child whose parent is working no more: it filled as it was decided (market_fill="same_close").
        if order.type is OrderType.TRAILING_STOP:
            trail(order, order.decision_ticks)
        self._enlist(order)
        if self._fills_when_decided and order.type is OrderType.MARKET and order.arrives_at == order.decided_at:
            self._events = [OrderAccepted(order, order.arrives_at)]
            self._cap_lots = None
            self._execute(order, order.decision_ticks, order.decided_at, order.decided_at, Liquidity.TAKER)
            return self._events
        return (OrderAccepted(order, order.arrives_at),)

    def take_over(self, fill_count: int, order: Order | None) -> None:
        """Go on from fills that were made elsewhere, and hold the order they left open."""
        self._fill_count = fill_count
        for symbol, entries in self._entries.items():
            entries.restart(self.portfolio.positions[symbol].lots)
        if order is not None:
            self._enlist(order)

    def cancel(self, order: Order, time: int, reason: str = "asked for") -> Sequence[Any]:
        """Withdraw an order, and with it the children that wait for it. One that is final stays as it is."""
        if not order.is_open:
            return _NO_EVENTS
        self._events = []
        self._withdraw(order, time, reason)
        return self._events

    def amend(
        self, order: Order, time: int, *, lots: int, limit_ticks: int | None, stop_ticks: int | None
    ) -> Sequence[Any]:
        """Change a working order's total quantity and prices; it keeps its place in the queue.

        With a new price it arrives anew, so that it may take liquidity, and meets no price known when that was asked
        for.
        """
        if limit_ticks != order.limit_ticks or stop_ticks != order.stop_ticks:
            order.has_rested = False
            order.decided_at, order.arrives_at = time, max(order.arrives_at, time)
        for child in self._children.get(order.id, ()):
            if child.lots == order.lots and child.id not in self.working:
                child.lots = lots
        order.lots = lots
        order.limit_ticks = limit_ticks
        order.stop_ticks = stop_ticks
        prices = "".join(
            f" {name} {value}" for name, value in (("limit", order.limit), ("stop", order.stop)) if value is not None
        )
        return (OrderAmended(order, time, f"now {order.quantity}{prices}"),)

    def on_bar(self, bar: Bar) -> Sequence[Any]:
        """Let the working orders of the bar's symbol meet it; return what happened, in order."""
        orders = self._by_symbol[bar.symbol]
        if not orders:
            if self.needs_every_bar:
                self._gauge(bar).update(bar)
            return _NO_EVENTS
        events: list[Any] = []
        self._events = events
        # A bar that a gap policy made up was never traded in: nothing can fill there.
        if not bar.flags & FORWARD_FILLED:
            if self._expiring:
                self._expire(bar.open_time, orders)
            if len(orders) != 1 or not self._market_order_alone(bar, next(iter(orders.values()))):
                self._match(bar, orders)
        if self._expiring:
            self._expire(bar.close_time, orders)
        if self.needs_every_bar:
            self._gauge(bar).update(bar)
        return events

    # ── one bar ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _match(self, bar: Bar, orders: dict[int, Order]) -> None:
        if not orders:
            return
        instrument = next(iter(orders.values())).instrument
        ticks = TickBar(
            instrument.to_ticks(bar.open),
            instrument.to_ticks(bar.high),
            instrument.to_ticks(bar.low),
            instrument.to_ticks(bar.close),
        )
        if not _may_act(orders, ticks):
            return
        self._cap_lots = self._volume_cap(bar, instrument)
        at_the_open, at_the_close = self._live(bar, orders)
        self._known_after = {}
        if at_the_open and self._meets_bars_whole:
            self._whole_bar(orders, ticks, bar)
        elif at_the_open:
            self._gap_step(at_the_open, ticks, bar)
            if self.switches.trail_reference == "high_same_bar":
                self._follow(orders, ticks, bar)
            if self.switches.path == "worst":
                self._worst_path(orders, ticks, bar)
            else:
                self._declared_path(orders, ticks, bar)
        self._close_step(orders, at_the_close, ticks, bar)
        if self.switches.trail_reference != "high_same_bar":
            self._follow(orders, ticks, bar)
        spent = []
        for order in orders.values():
            if order.arrives_at < bar.close_time:
                order.has_rested = True
                if order.time_in_force in _AT_ONCE and (order.is_triggered or order.type not in _STOPS):
                    spent.append(order)
        for order in spent:  # they met the close alone, or triggered inside the bar
            self._withdraw(order, bar.close_time, _AT_ONCE[order.time_in_force])

    def _market_order_alone(self, bar: Bar, order: Order) -> bool:
        """Match a market order that is alone and there at the open; return False if it is not. As `_match` would, in
        a tenth of the steps."""
        if (
            order.type is not OrderType.MARKET
            or order.arrives_at > bar.open_time
            or order.id in self._children
            or order.expire_at
        ):
            return False
        instrument = order.instrument
        self._cap_lots = self._volume_cap(bar, instrument)
        if self._fills_at_close:
            self._execute(order, round(bar.close / instrument.tick), bar.close_time, bar.close_time, Liquidity.TAKER)
        else:
            self._execute(order, round(bar.open / instrument.tick), bar.open_time, bar.close_time, Liquidity.TAKER)
        if order.time_in_force is not TimeInForce.GTC and order.is_open and order.time_in_force in _AT_ONCE:
            time = bar.close_time if self._fills_at_close else bar.open_time
            self._withdraw(order, time, _AT_ONCE[order.time_in_force])
        order.has_rested = True
        return True

    def _volume_cap(self, bar: Bar, instrument: Instrument) -> int | None:
        share = self._volume_share
        return None if share is None else instrument.to_lots(bar.volume * share)

    def _live(self, bar: Bar, orders: dict[int, Order]) -> tuple[list[Order], list[Order]]:
        """Return the orders that meet the open, and those that arrive so late in the bar that they meet its close
        alone.

        A latency shorter than a bar still meets the open that follows the decision (docs/fills.md, rule 0).
        """
        open_time, close_time = bar.open_time, bar.close_time
        at_the_open, at_the_close = [], []
        for order in orders.values():
            arrives_at = order.arrives_at
            if arrives_at <= open_time or (
                order.decided_at <= open_time and arrives_at - order.decided_at < close_time - open_time
            ):
                at_the_open.append(order)
            elif arrives_at < close_time:
                at_the_close.append(order)
        return at_the_open, at_the_close

    def _gap_step(self, live: list[Order], ticks: TickBar, bar: Bar) -> None:
        """At the open: stops it crosses, then limits it crosses, then market orders."""
        for wanted in (_STOPS, (OrderType.LIMIT,), (OrderType.MARKET,)):
            for order in live:
                if order.type in wanted and order.is_open:
                    self._meet_open(order, ticks, bar)
        for order in live:
            waits = order.type in _STOPS or (order.type is OrderType.MARKET and self._fills_at_close)
            if order.time_in_force in _AT_ONCE and not waits and order.is_open and not order.has_rested:
                self._withdraw(order, bar.open_time, _AT_ONCE[order.time_in_force])

    def _meet_open(self, order: Order, ticks: TickBar, bar: Bar, time: int | None = None) -> None:
        """Let an order meet the open; or, at a later `time`, the one price of `ticks`."""
        if order.type is OrderType.MARKET and self._fills_at_close:
            return
        time = bar.open_time if time is None else time
        was_triggered = order.is_triggered
        price = at_open(order, _seen_by(order, ticks), not order.has_rested, self.switches)
        if order.is_triggered and not was_triggered:
            self._events.append(OrderTriggered(order, time))
        if price is None:
            return
        if order.post_only and not order.has_rested:
            self._turn_away(order, price * order.side, time)
            return
        liquidity = Liquidity.MAKER if order.has_rested and _is_limit(order, was_triggered) else Liquidity.TAKER
        self._execute(order, price * order.side, time, bar.close_time, liquidity)
        self._activate_children(order, None, ticks, bar)

    def _turn_away(self, order: Order, price: int, time: int) -> None:
        """Reject a post-only order that would take liquidity where it arrives; cancel one that has filled in part."""
        reason = f"post-only limit {order.limit} would take liquidity at {order.instrument.to_price(price)}"
        if order.filled_lots:
            self._withdraw(order, time, reason)
            return
        order.become(OrderStatus.REJECTED)
        self._delist(order)
        self._leave_group(order)
        self._events.append(OrderRejected(order, time, reason))
        self._release_children(order, time, "was rejected")

    def _worst_path(self, orders: dict[int, Order], ticks: TickBar, bar: Bar) -> None:
        """After the open, the order of high and low unknown: every stop before any limit, so that a loss comes
        before a gain."""
        done: set[int] = set()
        while True:
            order = self._next_reached(orders, done, ticks, bar)
            if order is None:
                return
            done.add(order.id)
            known = self._known_after.get(order.id, ticks)
            was_triggered = order.is_triggered
            price = within_range(order, _seen_by(order, known), self._is_lucky(order, bar), self.switches)
            if order.is_triggered and not was_triggered:
                self._events.append(OrderTriggered(order, bar.close_time))
            if price is None:
                continue
            order = self._worse_sibling(order, ticks, done)
            if order.id not in done:  # the sibling's stop stands in for it
                done.add(order.id)
                order.is_triggered = True
                self._events.append(OrderTriggered(order, bar.close_time))
                price = stop_fill(order.side * (order.stop_ticks or 0), False, _seen_by(order, ticks), self.switches)
            liquidity = Liquidity.MAKER if _is_limit(order, was_triggered) else Liquidity.TAKER
            level = price * order.side
            self._execute(order, level, bar.close_time, bar.close_time, liquidity)
            self._activate_children(order, level, ticks, bar)

    def _whole_bar(self, orders: dict[int, Order], ticks: TickBar, bar: Bar) -> None:
        """Let each order in the queue meet the whole bar at once.

        In the order in which they were sent; or stops that protect an entry first, the newest of them foremost, and
        then the others, targets from their entry's fill on. There the whole queue is tried again once children have
        woken in the bar.
        """
        stops_first = self.switches.path == "queue_stops_first"
        self._woken_inside.clear()
        done: set[int] = set()
        self._has_woken = True
        while self._has_woken:
            self._has_woken = False
            queue = [order for order in orders.values() if order.id not in done and self._meets_path(order, bar)]
            if stops_first:
                protecting = [order for order in queue if order.parent_id is not None and order.type in _STOPS]
                queue = protecting[::-1] + [order for order in queue if order not in protecting]
            else:
                queue.sort(key=lambda order: order.id)
                done.update(order.id for order in queue)
            for order in queue:
                if order.is_open:
                    self._meet_whole_bar(order, ticks, bar)
            if stops_first and self._has_woken:
                self._known_after.update((order.id, ticks) for order in orders.values() if order.parent_id is not None)

    def _meet_whole_bar(self, order: Order, ticks: TickBar, bar: Bar) -> None:
        was_triggered = order.is_triggered
        price = over_whole_bar(order, _seen_by(order, ticks), self.switches)
        level = None if price is None else price * order.side
        time = bar.open_time if level == ticks.open and order.id not in self._woken_inside else bar.close_time
        if order.is_triggered and not was_triggered:
            self._events.append(OrderTriggered(order, time))
        if level is None or (order.type is OrderType.MARKET and self._fills_at_close):
            return
        limit = order.limit_ticks
        arrives_crossing = not order.has_rested and limit is not None and (ticks.open - limit) * order.side <= 0
        if order.post_only and arrives_crossing:
            self._turn_away(order, ticks.open, bar.open_time)
            return
        is_maker = _is_limit(order, was_triggered) and not arrives_crossing
        self._execute(order, level, time, bar.close_time, Liquidity.MAKER if is_maker else Liquidity.TAKER)
        self._activate_children(order, level, ticks, bar)

    def _next_reached(self, orders: dict[int, Order], done: set[int], ticks: TickBar, bar: Bar) -> Order | None:
        """Return a stop, else a limit, that the bar reaches after the open and that was not tried in it yet.

        The oldest; or one of the same side that lies nearer, which the price passes before it. What is out of reach is
        done with, so that it is looked at once a bar however many others act.
        """
        stop: tuple[Order, int] | None = None
        limit: tuple[Order, int] | None = None
        for order in orders.values():
            if order.id in done or order.type is OrderType.MARKET or not self._meets_path(order, bar):
                continue
            seen = _seen_by(order, self._known_after.get(order.id, ticks))
            if order.stop_ticks is not None and not order.is_triggered:
                if seen.high >= order.stop_ticks * order.side:
                    stop = _nearer(stop, order, -order.stop_ticks)
                    continue
            elif order.limit_ticks is not None and seen.low <= order.limit_ticks * order.side:
                limit = _nearer(limit, order, order.limit_ticks)
                continue
            done.add(order.id)
        found = stop or limit
        return found[0] if found else None

    def _meets_path(self, order: Order, bar: Bar) -> bool:
        if order.type is OrderType.TRAILING_STOP and order.stop_ticks is None:
            return False  # it has nothing to trail from yet
        if order.id in self._known_after:
            return True
        return not _expires_within(order, bar) and (
            order.arrives_at <= bar.open_time
            or (
                order.decided_at <= bar.open_time
                and order.arrives_at - order.decided_at < bar.close_time - bar.open_time
            )
        )

    def _worse_sibling(self, order: Order, ticks: TickBar, done: set[int]) -> Order:
        """Return the stop that protects the same position if the bar reached it at an unknown time, else the order
        itself.

        A target that was surely reached after an entry inside the bar may still have come after the stop.
        """
        if order.type is not OrderType.LIMIT or order.id not in self._known_after or order.group is None:
            return order
        for sibling in self._groups[order.group]:
            if (
                sibling.is_open
                and sibling.type in (OrderType.STOP, OrderType.TRAILING_STOP)
                and sibling.stop_ticks is not None
            ) and _seen_by(sibling, ticks).high >= sibling.stop_ticks * sibling.side:
                done.discard(sibling.id)
                return sibling
        return order

    def _declared_path(self, orders: dict[int, Order], ticks: TickBar, bar: Bar) -> None:
        """Walk open → extreme → extreme → close; at every level the orders act that lie there."""
        points = path_points(ticks, self.switches.path, self.switches.path == "random" and self._draw(bar, 0) < 0.5)
        done: set[int] = set()
        for start, end in itertools.pairwise(points):
            here = start
            while True:
                found = self._nearest_on_leg(orders, done, here, end, bar)
                if found is None:
                    break
                order, level = found
                here = level
                if order.type in _STOPS and not order.is_triggered:
                    order.is_triggered = True
                    self._events.append(OrderTriggered(order, bar.close_time))
                    if order.limit_ticks is not None and (level - order.limit_ticks) * order.side > 0:
                        continue  # now a limit order the price has to come back to
                    price = stop_fill(level * order.side, False, _seen_by(order, ticks), self.switches) * order.side
                    if order.limit_ticks is not None:
                        price = level
                    liquidity = Liquidity.TAKER
                else:
                    price, liquidity = level, Liquidity.MAKER
                self._execute(order, price, bar.close_time, bar.close_time, liquidity)
                self._activate_children(order, level, ticks, bar)
                done.add(order.id)  # what is still open of it lacks volume, and waits for the next bar

    def _nearest_on_leg(
        self, orders: dict[int, Order], done: set[int], start: int, end: int, bar: Bar
    ) -> tuple[Order, int] | None:
        best: tuple[int, bool, int] | None = None
        found: tuple[Order, int] | None = None
        for order in orders.values():
            if order.id in done or order.type is OrderType.MARKET or not self._meets_path(order, bar):
                continue
            side = order.side
            level = on_leg(order, start * side, end * side, self._is_lucky(order, bar), self.switches)
            if level is None:
                continue
            key = (abs(level * side - start), order.type is OrderType.LIMIT, order.id)
            if best is None or key < best:
                best, found = key, (order, level * side)
        return found

    def _close_step(self, orders: dict[int, Order], late: list[Order], ticks: TickBar, bar: Bar) -> None:
        """At the close: market orders that wait for it, and orders that arrived in the middle of the bar."""
        last = TickBar(ticks.close, ticks.close, ticks.close, ticks.close)
        for order in late:
            if order.is_open and not _expires_within(order, bar):
                was_triggered = order.is_triggered
                price = at_open(order, _seen_by(order, last), True, self.switches)
                if order.is_triggered and not was_triggered:
                    self._events.append(OrderTriggered(order, bar.close_time))
                if price is not None and order.post_only:
                    self._turn_away(order, price * order.side, bar.close_time)
                elif price is not None:
                    self._execute(order, price * order.side, bar.close_time, bar.close_time, Liquidity.TAKER)
                    self._activate_children(order, ticks.close, ticks, bar, later=True)
        if self._fills_at_close:
            for order in list(orders.values()):
                if order.type is not OrderType.MARKET or order in late or _expires_within(order, bar):
                    continue
                if order.is_open and order.arrives_at < bar.close_time:
                    self._execute(order, ticks.close, bar.close_time, bar.close_time, Liquidity.TAKER)
                    self._activate_children(order, ticks.close, ticks, bar, later=True)

    def _follow(self, orders: dict[int, Order], ticks: TickBar, bar: Bar) -> None:
        """Move the trailing stops that were there during the bar."""
        from_entry = self.switches.trail_reference == "close_after_entry"
        moved = []
        for order in orders.values():
            is_trailing = order.type is OrderType.TRAILING_STOP and not order.is_triggered
            if is_trailing and (from_entry or self._meets_path(order, bar)):
                before = order.stop_ticks
                trail(order, trail_point(order, self._known_after.get(order.id, ticks), self.switches))
                if order.stop_ticks != before:
                    moved.append(order)
        if moved and self._entries:  # one that moved is the newest: it was replaced by another, oldest entry first
            age = {entry.order_id: place for place, entry in enumerate(self._entries[bar.symbol])}
            for order in sorted(moved, key=lambda order: age.get(order.parent_id or 0, 0)):
                orders[order.id] = orders.pop(order.id)

    # ── children, siblings, expiry ──────────────────────────────────────────────────────────────────────────────────

    def _activate_children(
        self, parent: Order, entry: int | None, ticks: TickBar, bar: Bar, *, later: bool = False
    ) -> None:
        """Make the protecting orders of a parent that just filled live, in this bar or from the next one on.

        They protect what has filled, and grow as more of the parent fills.

        Args:
            entry: the level inside the bar's path at which the parent filled; None at the open.
        """
        children = self._children.get(parent.id)
        if children is None or not parent.filled_lots:
            return
        if parent.status is OrderStatus.FILLED:
            del self._children[parent.id]
        more = parent.filled_lots - self._protected.pop(parent.id, 0)
        if parent.is_open:
            self._protected[parent.id] = parent.filled_lots
        known = None if later else self._known_to_children(parent, children, entry, ticks)
        is_at_open = entry is None or (self._meets_bars_whole and entry == ticks.open)
        time = bar.open_time if is_at_open else bar.close_time
        for child in children:
            if not child.is_open:
                continue
            if child.id in self.working:
                child.lots += more
                if more:
                    reason = f"now {child.quantity}: order {parent.id} filled more"
                    self._events.append(OrderAmended(child, time, reason))
                continue
            if child.lots > parent.filled_lots:
                self._cut(child, parent.filled_lots, time, f"what order {parent.id} has filled")
            self._enlist(child)
            if child.type is OrderType.TRAILING_STOP and self.switches.trail_reference != "close_after_entry":
                is_lagging = self.switches.trail_reference == "close"
                trail(child, child.decision_ticks if is_lagging else ticks.open if entry is None else entry)
            child.decided_at = child.arrives_at = bar.close_time
            if self._meets_bars_whole and not is_at_open:
                self._woken_inside.add(child.id)
            if known is not None:
                self._known_after[child.id] = known
                self._has_woken |= child.stop_ticks is not None or child.limit_ticks is not None
                if not self._meets_bars_whole and (child.stop_ticks is not None or child.limit_ticks is not None):
                    # The first price it meets is its entry's: one that lies beyond already fills there.
                    point = ticks if entry is None else TickBar(entry, entry, entry, entry)
                    self._meet_open(child, point, bar, time)
                    child.has_rested = True

    def _known_to_children(
        self, parent: Order, children: Sequence[Order], entry: int | None, ticks: TickBar
    ) -> TickBar | None:
        """Return the prices of this bar that children may meet, or None if they have to wait for the next."""
        rule = self.switches.children_same_bar
        if rule == "next_bar":
            return None
        if rule == "if_unambiguous":
            is_alone = parent.type is OrderType.STOP and _target_alone_in_range(children, ticks)
            return ticks if parent.type is OrderType.MARKET or is_alone else None
        if entry is None or rule == "always" or self.switches.path != "worst":
            return ticks
        return certain_after(entry, parent, ticks)

    def _withdraw(self, order: Order, time: int, reason: str) -> None:
        order.become(OrderStatus.CANCELLED, "OrderCancelled")
        self._delist(order)
        self._leave_group(order)
        self._events.append(OrderCancelled(order, time, reason))
        self._release_children(order, time, "was cancelled")

    def _release_children(self, parent: Order, time: int, what: str) -> None:
        """Withdraw the children of a parent that ended with nothing filled; others go on protecting what has."""
        self._protected.pop(parent.id, None)
        for child in self._children.pop(parent.id, ()):
            if child.is_open and not parent.filled_lots:
                self._withdraw(child, time, f"order {parent.id} it depends on {what}")

    def _settle_group(self, order: Order, group: int, lots: int, time: int) -> None:
        """Withdraw the siblings of an order that filled.

        After a part of it, those that ask for the same trade go on asking for the rest of it.
        """
        is_done = order.status is OrderStatus.FILLED
        what = f"order {order.id} of its group filled"
        for sibling in self._groups.pop(group, ()) if is_done else tuple(self._groups.get(group, ())):
            if sibling is order or not sibling.is_open:
                continue
            is_same_trade = sibling.side is order.side and sibling.symbol == order.symbol
            if is_same_trade and not is_done and sibling.open_lots > lots:
                quantity = order.instrument.to_quantity(lots)
                self._cut(sibling, sibling.open_lots - lots, time, f"{what} {quantity}")
            else:
                self._withdraw(sibling, time, what)

    def _leave_group(self, order: Order) -> None:
        members = self._groups.get(order.group) if order.group is not None else None
        if members is not None and order in members:
            members.remove(order)
            if not members:
                del self._groups[order.group]  # type: ignore[arg-type]

    def _end_protection(self, position: Position, time: int) -> None:
        """Withdraw the children that protected a position which is gone: they must not close the next one."""
        for child in list(self._by_symbol[position.instrument.symbol].values()):
            if child.reduce_only and child.parent_id is not None and position.lots * child.side >= 0:
                self._withdraw(child, time, "the position it protects is closed")

    def _expire(self, time: int, orders: dict[int, Order]) -> None:
        """End the orders whose time in force is over at `time`."""
        due = [order for order in orders.values() if order.expire_at is not None and order.expire_at <= time]
        for order in due:
            order.become(OrderStatus.EXPIRED, "OrderExpired")
            self._delist(order)
            self._leave_group(order)
            assert order.expire_at is not None
            self._events.append(OrderExpired(order, order.expire_at, f"{order.time_in_force.value} ended"))
            self._release_children(order, order.expire_at, "expired")

    def _enlist(self, order: Order) -> None:
        self.working[order.id] = order
        self._expiring += order.expire_at is not None
        self._by_symbol[order.symbol][order.id] = order

    def _delist(self, order: Order) -> None:
        if self.working.pop(order.id, None) is not None:
            self._expiring -= order.expire_at is not None
        self._by_symbol[order.symbol].pop(order.id, None)

    # ── executing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _execute(self, order: Order, reference: int, time: int, bar_close_time: int, liquidity: Liquidity) -> None:
        """Fill as much of an order as volume, position and cash allow, at `reference` ticks and the costs on top."""
        position = self.portfolio.positions[order.symbol]
        lots = order.lots - order.filled_lots
        if order.reduce_only:
            lots = self._reduced_to_position(order, position, lots, time)
        if self._cap_lots is not None and lots > self._cap_lots:
            if order.time_in_force is TimeInForce.FOK:
                return
            lots = self._cap_lots
        if lots <= 0:
            return
        price, costs = reference, _FREE
        if self._has_price_costs and liquidity is Liquidity.TAKER:
            price, costs = self._with_costs(order, reference, lots)
        fee_units = self._fee_units(order, position, price, lots, liquidity, time)
        held, side = position.lots, order.side
        if held * side >= 0 or lots > abs(held):  # some of it opens: it has to be paid for
            affordable = self._reduced_to_cash(order, position, price, lots, fee_units, liquidity, time)
            if affordable != lots:
                if not affordable:
                    return
                lots = affordable
                fee_units = self._fee_units(order, position, price, lots, liquidity, time)
        order.record_fill(lots)
        position.apply(side, price, lots, fee_units)
        if self._cap_lots is not None:
            self._cap_lots -= lots
        self._fill_count = number = self._fill_count + 1
        if self._rates is None:
            notional_units = abs(price * lots * position.value_units)
            self.fees.record(self._terms(order, position, notional_units, lots, liquidity, time))
        if costs is not _FREE:
            size = order.instrument.float_quantity(lots) * float(order.instrument.multiplier)
            costs = PriceCosts(costs.spread * size, costs.slippage * size, costs.impact * size)
        self._events.append(
            Fill(
                number,
                order,
                time,
                bar_close_time,
                side,
                price,
                lots,
                liquidity,
                fee_units,
                reference,
                *costs,
                position.lots,
                position.account.cash_units,
            )
        )
        if order.status is OrderStatus.FILLED:
            self._delist(order)
        if order.group is not None:
            self._settle_group(order, order.group, lots, time)
        if order.parent_id is not None and order.parent_id in self._children:
            # Its entry is still working: what it filled later would be unprotected.
            self._withdraw(self.working[order.parent_id], time, f"order {order.id} that protects it filled")
        if self._entries:
            self._net(order, lots, time)
        if held * side < 0 and lots >= abs(held) and self._by_symbol[order.symbol]:
            self._end_protection(position, time)

    def _net(self, order: Order, lots: int, time: int) -> None:
        """Book a fill against the entries it closes; the children of an entry follow its quantity."""
        children = self._children.get(order.id, ())
        opened, smaller = self._entries[order.symbol].book(order, lots, children)
        for entry in smaller:
            self._shrink(entry.children, entry.lots, time, f"order {order.id} closed what it protects")
        if order.status is OrderStatus.FILLED and order.lots > opened:
            self._shrink(children, opened, time, f"order {order.id} closed older entries")

    def _shrink(self, children: Sequence[Order], lots: int, time: int, reason: str) -> None:
        """Lower the quantity of protecting orders to what is left to protect."""
        for child in children:
            if child.is_open and not lots:
                self._withdraw(child, time, reason)
            elif child.is_open and child.open_lots > lots:
                self._cut(child, lots, time, reason)

    def _reduced_to_position(self, order: Order, position: Position, lots: int, time: int) -> int:
        """Return how much a reduce-only order may fill; cancel it when there is nothing to reduce."""
        reducible = max(0, -position.lots * order.side)
        if not reducible:
            self._withdraw(order, time, "reduce-only, and there is no position left to reduce")
            return 0
        if lots > reducible:
            if order.time_in_force is TimeInForce.FOK:
                self._withdraw(order, time, f"fill or kill: reduce-only, and the position is {position.quantity}")
                return 0
            self._cut(order, reducible, time, "reduce-only, to the position held")
        return min(lots, reducible)

    def _cut(self, order: Order, lots: int, time: int, reason: str) -> None:
        """Lower an order's quantity so that `lots` of it stay open."""
        before = order.quantity
        order.lots = order.filled_lots + lots
        self._events.append(OrderReduced(order, time, f"from {before} to {order.quantity}: {reason}"))

    def _reduced_to_cash(
        self, order: Order, position: Position, price: int, lots: int, fee_units: int, liquidity: Liquidity, time: int
    ) -> int:
        """Return how many lots the account can pay for; the rest of the order is cut off, or the order cancelled.

        Args:
            fee_units: the fee of all the lots.
        """
        held, side = position.lots, order.side
        closing = min(lots, max(0, -held * side))
        opening = lots - closing
        account = position.account
        lot_units = price * position.value_units
        if side < 0 and not self.portfolio.allow_short:
            affordable, reason, lack = 0, "short selling is off", "short selling is off"
        else:
            free = account.cash_units - account.locked_units
            if closing:
                if held > 0:
                    free += closing * lot_units
                else:
                    free += 2 * (position.cost_units * closing // -held) - closing * lot_units
            if opening * lot_units + fee_units <= free:
                return lots
            affordable = self._affordable(order, position, price, closing, opening, free, liquidity, time)
            reason = f"{account.free:f} {account.currency} free"
            lack = f"not enough cash: {reason}"
        lots = closing + affordable
        if lots and order.time_in_force is TimeInForce.FOK:
            self._withdraw(order, time, f"fill or kill: {lack}")
            return 0
        if lots:
            self._cut(order, lots, time, reason)
        else:
            self._withdraw(order, time, lack)
        return lots

    def _affordable(
        self,
        order: Order,
        position: Position,
        price: int,
        closing: int,
        opening: int,
        free: int,
        liquidity: Liquidity,
        time: int,
    ) -> int:
        """Return the largest opening quantity, in lots, whose cost and fee fit into `free` units; 0 if none does."""
        lot_units = price * position.value_units
        low, high = 0, min(opening, max(0, free) // lot_units) if lot_units > 0 else opening
        while low < high:  # fees may have minimums and steps: search, do not solve
            middle = (low + high + 1) // 2
            fee = self._fee_units(order, position, price, closing + middle, liquidity, time)
            if middle * lot_units + fee <= free:
                low = middle
            else:
                high = middle - 1
        return low

    def _with_costs(self, order: Order, reference: int, lots: int) -> tuple[int, PriceCosts]:
        """Return the price in ticks after spread, slippage and impact, and what they are per unit of base."""
        instrument = order.instrument
        gauge = self._gauges.get(order.symbol)
        market = gauge.market if gauge else Market(0.0, 0.0)
        quantity = instrument.float_quantity(lots)
        costs = self.slippage.costs(instrument.float_price(reference), quantity, market)
        # Rounded away from us; the share of a step that rounding adds is counted as slippage.
        total = costs.spread + costs.slippage + costs.impact
        steps = ceil(total / float(instrument.price_increment) - 1e-9)
        price = reference + order.side * steps
        if price <= 0:
            price = min(reference, 1)
        limit = order.limit_ticks
        if limit is not None and (price - limit) * order.side > 0:  # never worse than its limit: the costs stop there
            share = instrument.float_price(abs(limit - reference)) / total
            return limit, PriceCosts(costs.spread * share, costs.slippage * share, costs.impact * share)
        paid = instrument.float_price(abs(price - reference))
        return price, PriceCosts(costs.spread, costs.slippage + max(0.0, paid - total), costs.impact)

    def _fee_units(
        self, order: Order, position: Position, price: int, lots: int, liquidity: Liquidity, time: int
    ) -> int:
        notional_units = abs(price * lots * position.value_units)
        if self._rates is not None:
            rate: Fraction = self._rates[liquidity is Liquidity.TAKER]
            return _round_half_even(notional_units * rate.numerator, rate.denominator)
        terms = self._terms(order, position, notional_units, lots, liquidity, time)
        return int((self.fees.fee(terms) / position.account.unit).to_integral_value(ROUND_HALF_EVEN))

    def _terms(
        self, order: Order, position: Position, notional_units: int, lots: int, liquidity: Liquidity, time: int
    ) -> FillTerms:
        quantity = order.instrument.to_quantity(lots)
        notional: Decimal = notional_units * position.account.unit
        return FillTerms(order.symbol, order.side, quantity, notional, liquidity, time)

    # ── chance and gauges ───────────────────────────────────────────────────────────────────────────────────────────

    def _draw(self, bar: Bar, salt: int) -> float:
        """Return a number in [0, 1) that depends on the seed, the bar and the salt alone, not on what happened
        before."""
        return float(np.random.default_rng((self.switches.seed, bar.close_time, salt)).random())

    def _is_lucky(self, order: Order, bar: Bar) -> bool:
        if self.switches.limit_touch != "probability":
            return False
        return self._draw(bar, order.id) < self.switches.touch_probability

    def _gauge(self, bar: Bar) -> MarketGauge:
        gauge = self._gauges.get(bar.symbol)
        if gauge is None:
            gauge = self._gauges[bar.symbol] = MarketGauge(bar.close_time - bar.open_time)
        return gauge


def _seen_by(order: Order, ticks: TickBar) -> TickBar:
    return ticks if order.side is Side.BUY else ticks.mirrored()


def _may_act(orders: dict[int, Order], ticks: TickBar) -> bool:
    """Return whether the bar reaches an order, or has one that must be seen in any case. Most bars do not."""
    high, low = ticks.high, ticks.low
    for order in orders.values():
        level, rises = order.limit_ticks, order.side < 0
        if order.type is OrderType.STOP or order.type is OrderType.STOP_LIMIT:
            level, rises = order.stop_ticks, not rises
        if not order.has_rested or order.is_triggered or order.type is OrderType.TRAILING_STOP or level is None:
            return True
        if high >= level if rises else low <= level:
            return True
    return False


def _is_limit(order: Order, was_triggered: bool) -> bool:
    """Return whether an order stood in the book as a limit order: a stop-limit does once it has triggered."""
    return order.type is OrderType.LIMIT or (order.type is OrderType.STOP_LIMIT and was_triggered)


def _expires_within(order: Order, bar: Bar) -> bool:
    return order.expire_at is not None and order.expire_at < bar.close_time


def _nearer(best: tuple[Order, int] | None, order: Order, level: int) -> tuple[Order, int]:
    """Return what the price reaches first: the order given if it is of the same side and its level, for a buyer,
    higher."""
    if best is None or (order.side is best[0].side and (level - best[1]) * order.side > 0):
        return order, level
    return best


def _target_alone_in_range(children: Sequence[Order], ticks: TickBar) -> bool:
    """Return whether the bar reached a target while it reached no stop."""
    reached = {OrderType.LIMIT: False}
    for child in children:
        seen = _seen_by(child, ticks)
        if child.limit_ticks is not None:
            reached[child.type] = seen.low <= child.limit_ticks * child.side
        elif child.stop_ticks is not None:
            reached[child.type] = seen.high >= child.stop_ticks * child.side
    return reached.pop(OrderType.LIMIT) and not any(reached.values())
