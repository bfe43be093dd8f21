"""The order of things in one bar: the gap at the open, the path, the close, trailing stops (docs/fills.md).

Sequence alone: what an order does at a price is engine.encounter, the ways through the bar are engine.paths.
"""

from engine.ambiguity import AmbiguityWatch
from engine.bars import Bar
from engine.changes import OrderChanges
from engine.encounter import STOPS, Encounter, Meeting
from engine.events import Liquidity
from engine.execution import Execution
from engine.instruments import Instrument
from engine.links import OrderLinks
from engine.margin_watch import MarginWatch
from engine.matching import TickBar, trail, trail_point
from engine.orders import Order, OrderType, TimeInForce
from engine.paths import Path, WholeBar
from engine.semantics import Switches

AT_ONCE = {TimeInForce.IOC: "immediate or cancel", TimeInForce.FOK: "fill or kill"}


class BarMatching:
    """Lets the working orders of a symbol meet one bar, step by step."""

    def __init__(
        self,
        switches: Switches,
        links: OrderLinks,
        execution: Execution,
        encounter: Encounter,
        path: Path,
        changes: OrderChanges,
        watch: AmbiguityWatch,
        margins: MarginWatch | None = None,
    ) -> None:
        self._switches = switches
        self._links = links
        self._execution = execution
        self._encounter = encounter
        self._path = path
        self._changes = changes
        self._watch = watch
        self._margins = margins
        is_whole = switches.path in ("queue", "queue_stops_first")
        self._whole_bar = WholeBar(switches, encounter, margins) if is_whole else None
        self._fills_at_close = switches.market_fill == "next_close"

    def match(self, bar: Bar, orders: dict[int, Order], whole: Bar) -> None:
        """Let the orders meet a bar that was traded in.

        Args:
            whole: the bar of the run that this one is, or is a finer part of.
        """
        meeting = self.open(bar, orders, whole)
        if meeting is not None:
            self.go_on(meeting)

    def open(self, bar: Bar, orders: dict[int, Order], whole: Bar) -> Meeting | None:
        """Let the orders meet the open of a bar; return how they go on in it, None if no order acts in it."""
        if not orders:
            self._pass_through(bar)
            return None
        instrument = next(iter(orders.values())).instrument
        ticks = ticks_of(bar, instrument)
        if not _may_act(orders, ticks):
            self._pass_through(bar)
            return None
        if bar is whole and (len(orders) > 1 or self._watch.has_ideas):  # finer bars leave less open than it does
            self._watch.bar(bar, ticks, orders.values(), self._links.children)
        self._execution.begin_bar(bar.volume, instrument)
        meeting = Meeting(bar, ticks, orders, whole.close_time)
        at_the_open = [order for order in orders.values() if meeting.meets_open(order)]
        meeting.met_open = bool(at_the_open)
        if at_the_open and self._whole_bar is None:
            self._gap_step(at_the_open, meeting)
        return meeting

    def go_on(self, meeting: Meeting) -> None:
        """Let the orders meet the rest of a bar: the path, the close; then trailing stops follow it."""
        bar = meeting.bar
        if self._changes.underway:  # what arrives inside the bar comes after its open and before its path
            self._changes.arrive(bar.symbol, bar.close_time - 1)
        if not meeting.met_open:
            self._pass_through(bar)
        elif self._whole_bar is not None:
            self._whole_bar.walk(meeting)
        else:
            self._walk(meeting)
        self._close_step(meeting)
        if self._switches.trail_reference != "high_same_bar":
            self._follow(meeting)
        self._end_bar(meeting)

    def _walk(self, meeting: Meeting) -> None:
        if self._margins is not None:
            self._margins.after_gap(meeting.bar)
        if self._switches.trail_reference == "high_same_bar":
            self._follow(meeting)
        self._path.walk(meeting)

    def _pass_through(self, bar: Bar) -> None:
        """Let a bar pass in which no order acts; margins may still be short in it."""
        if self._margins is not None:
            self._margins.pass_through(bar)

    def match_market_order(self, bar: Bar, order: Order) -> bool:
        """Match a market order that is alone and there at the open; return False if it is not. As `match` would, in
        a tenth of the steps."""
        if (
            order.type is not OrderType.MARKET
            or self._margins is not None
            or order.arrives_at > bar.open_time
            or order.id in self._links.children
            or order.expire_at
            or order.changes_at
        ):
            return False
        execution, tick = self._execution, order.instrument.tick
        execution.begin_bar(bar.volume, order.instrument)
        if self._fills_at_close:
            execution.execute(order, round(bar.close / tick), bar.close_time, bar.close_time, Liquidity.TAKER)
        else:
            execution.execute(order, round(bar.open / tick), bar.open_time, bar.close_time, Liquidity.TAKER)
        if order.time_in_force is not TimeInForce.GTC and order.is_open and order.time_in_force in AT_ONCE:
            time = bar.close_time if self._fills_at_close else bar.open_time
            self._links.withdraw(order, time, AT_ONCE[order.time_in_force])
        order.has_rested = True
        return True

    def _gap_step(self, live: list[Order], meeting: Meeting) -> None:
        """At the open: stops it crosses, then limits it crosses, then market orders."""
        time = meeting.bar.open_time
        for wanted in (STOPS, (OrderType.LIMIT,), (OrderType.MARKET,)):
            for order in live:
                if order.type in wanted and order.is_open:
                    self._encounter.meet_open(order, meeting.ticks, meeting, time)
        for order in live:
            waits = order.type in STOPS or (order.type is OrderType.MARKET and self._fills_at_close)
            if order.time_in_force in AT_ONCE and not waits and order.is_open and not order.has_rested:
                self._links.withdraw(order, time, AT_ONCE[order.time_in_force])

    def _close_step(self, meeting: Meeting) -> None:
        """At the close: market orders that wait for it, and orders that arrived in the middle of the bar."""
        close_time = meeting.bar.close_time
        late = [
            order
            for order in meeting.orders.values()
            if order.arrives_at < close_time and not meeting.meets_open(order)
        ]
        for order in late:
            if order.is_open and not meeting.outlasts(order):
                self._encounter.meet_close(order, meeting)
        if self._fills_at_close and close_time == meeting.known_at:
            for order in list(meeting.orders.values()):
                if order.type is not OrderType.MARKET or order in late or meeting.outlasts(order):
                    continue
                if order.is_open and order.arrives_at < meeting.bar.close_time:
                    self._encounter.fill_at_close(order, meeting.ticks.close, meeting)

    def _follow(self, meeting: Meeting) -> None:
        """Move the trailing stops that were there during the bar."""
        orders = meeting.orders
        from_entry = self._switches.trail_reference == "close_after_entry"
        moved = []
        for order in orders.values():
            is_trailing = order.type is OrderType.TRAILING_STOP and not order.is_triggered
            if is_trailing and (from_entry or meeting.meets_path(order)):
                before = order.stop_ticks
                trail(order, trail_point(order, meeting.known_after.get(order.id, meeting.ticks), self._switches))
                if order.stop_ticks != before:
                    moved.append(order)
        entries = self._links.entries
        if moved and entries:  # one that moved is the newest: it was replaced by another, oldest entry first
            age = {entry.order_id: place for place, entry in enumerate(entries[meeting.bar.symbol])}
            for order in sorted(moved, key=lambda order: age.get(order.parent_id or 0, 0)):
                orders[order.id] = orders.pop(order.id)

    def _end_bar(self, meeting: Meeting) -> None:
        """Note who has met a price by now; withdraw what had its one chance."""
        spent = []
        for order in meeting.orders.values():
            if order.arrives_at < meeting.bar.close_time:
                order.has_rested = True
                if order.time_in_force in AT_ONCE and (order.is_triggered or order.type not in STOPS):
                    spent.append(order)
        for order in spent:  # they met the close alone, or triggered inside the bar
            self._links.withdraw(order, meeting.bar.close_time, AT_ONCE[order.time_in_force])


def ticks_of(bar: Bar, instrument: Instrument) -> TickBar:
    """Return the prices of a bar, in ticks."""
    to_ticks = instrument.to_ticks
    return TickBar(to_ticks(bar.open), to_ticks(bar.high), to_ticks(bar.low), to_ticks(bar.close))


def may_act(orders: dict[int, Order], bar: Bar) -> bool:
    """Return whether a bar reaches an order, or has one that must be seen in any case."""
    return bool(orders) and _may_act(orders, ticks_of(bar, next(iter(orders.values())).instrument))


def _may_act(orders: dict[int, Order], ticks: TickBar) -> bool:
    """Return whether the bar reaches an order, or has one that must be seen in any case. Most bars do not."""
    high, low = ticks.high, ticks.low
    for order in orders.values():
        level, rises = order.limit_ticks, order.side < 0
        if order.type is OrderType.STOP or order.type is OrderType.STOP_LIMIT:
            level, rises = order.stop_ticks, not rises
        if not order.has_rested or order.is_triggered or order.type is OrderType.TRAILING_STOP or level is None:
            return True
        if order.changes_at is not None:
            return True
        if high >= level if rises else low <= level:
            return True
    return False
