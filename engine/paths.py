"""The way from a bar's open to its close, one class for each way to answer what bars leave open (`path`).

Under `worst` every stop comes before any limit; a declared path is walked from level to level; and where bars are met
whole there is no path, but a queue.
"""

import itertools
from typing import Protocol

from engine.best_path import BestPath
from engine.chance import Chance
from engine.encounter import STOPS, Encounter, Meeting, is_limit, seen_by
from engine.events import Liquidity
from engine.links import OrderLinks
from engine.margin_watch import MarginWatch
from engine.matching import TickBar, on_leg, over_whole_bar, path_points, stop_fill, within_range
from engine.orders import Order, OrderType
from engine.semantics import Switches


class Path(Protocol):
    """How the orders that are there meet the bar after its open."""

    def walk(self, meeting: Meeting) -> None:
        """Let the orders of a meeting act."""


class WorstPath:
    """The order of high and low unknown: every stop before any limit, so that a loss comes before a gain."""

    def __init__(
        self,
        switches: Switches,
        chance: Chance,
        links: OrderLinks,
        encounter: Encounter,
        margins: MarginWatch | None = None,
    ) -> None:
        self._switches = switches
        self._chance = chance
        self._links = links
        self._encounter = encounter
        self._margins = margins

    def walk(self, meeting: Meeting) -> None:
        encounter, bar = self._encounter, meeting.bar
        done: set[int] = set()
        while True:
            # A stop nearer than the liquidation price acts before it, whatever the queue says.
            protecting = self._margins.nearer_stop(meeting, done) if self._margins is not None else None
            order = protecting or self._next_reached(meeting, done)
            if order is None:
                return
            done.add(order.id)
            known = _may_meet(order, meeting)
            was_triggered = order.is_triggered
            price = within_range(order, seen_by(order, known), self._chance.is_lucky(order, bar), self._switches)
            encounter.note_trigger(order, was_triggered, bar.close_time)
            if price is None:
                continue
            liquidity = Liquidity.MAKER if is_limit(order, was_triggered) else Liquidity.TAKER
            level = price * order.side
            encounter.fill_inside(order, level, level, meeting, liquidity)

    def _next_reached(self, meeting: Meeting, done: set[int]) -> Order | None:
        """Return a stop, else a limit, that the bar reaches after the open and that was not tried in it yet.

        The oldest; or one of the same side that lies nearer, which the price passes before it. What is out of reach is
        done with, so that it is looked at once a bar however many others act.
        """
        stop: tuple[Order, int] | None = None
        limit: tuple[Order, int] | None = None
        for order in meeting.orders.values():
            if order.id in done or order.type is OrderType.MARKET or not meeting.meets_path(order):
                continue
            seen = seen_by(order, _may_meet(order, meeting))
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


class DeclaredPath:
    """Open → extreme → extreme → close; at every level the orders act that lie there."""

    def __init__(
        self, switches: Switches, chance: Chance, encounter: Encounter, margins: MarginWatch | None = None
    ) -> None:
        self._switches = switches
        self._chance = chance
        self._encounter = encounter
        self._margins = margins

    def walk(self, meeting: Meeting) -> None:
        up_first = self._switches.path == "random" and self._chance.rises_first(meeting.bar)
        done: set[int] = set()
        for start, end in itertools.pairwise(path_points(meeting.ticks, self._switches.path, up_first)):
            here = start
            while True:
                found = self._nearest(meeting, done, here, end)
                if self._margins is not None and self._margins.on_leg(meeting, here, found[1] if found else end):
                    continue
                if found is None:
                    break
                order, level = found
                here = level
                if self._act(order, level, meeting):
                    done.add(order.id)  # what is still open of it lacks volume, and waits for the next bar

    def _act(self, order: Order, level: int, meeting: Meeting) -> bool:
        """Let an order act at a level; return False if it goes on as a limit order that the price has to come back
        to."""
        price, liquidity = level, Liquidity.MAKER
        if order.type in STOPS and not order.is_triggered:
            self._encounter.trigger(order, meeting.bar.close_time)
            if order.limit_ticks is None:
                seen = seen_by(order, meeting.ticks)
                price = stop_fill(level * order.side, False, seen, self._switches) * order.side
            elif (level - order.limit_ticks) * order.side > 0:
                return False
            liquidity = Liquidity.TAKER
        self._encounter.fill_inside(order, price, level, meeting, liquidity)
        return True

    def _nearest(self, meeting: Meeting, done: set[int], start: int, end: int) -> tuple[Order, int] | None:
        """Return the order that acts first while the price moves from start to end, and where."""
        best: tuple[int, bool, int] | None = None
        found: tuple[Order, int] | None = None
        for order in meeting.orders.values():
            if order.id in done or order.type is OrderType.MARKET or not meeting.meets_path(order):
                continue
            side = order.side
            level = on_leg(order, start * side, end * side, self._chance.is_lucky(order, meeting.bar), self._switches)
            if level is None:
                continue
            key = (abs(level * side - start), order.type is OrderType.LIMIT, order.id)
            if best is None or key < best:
                best, found = key, (order, level * side)
        return found


class WholeBar:
    """No path: each order in the queue meets the whole bar at once, its open included.

    In the order in which they were sent; or stops that protect an entry first, the newest of them foremost, and then
    the others, targets from their entry's fill on. There the whole queue is tried again once children have woken in
    the bar.
    """

    def __init__(self, switches: Switches, encounter: Encounter, margins: MarginWatch | None = None) -> None:
        self._switches = switches
        self._encounter = encounter
        self._margins = margins
        self._stops_first = switches.path == "queue_stops_first"
        self._fills_at_close = switches.market_fill == "next_close"

    def walk(self, meeting: Meeting) -> None:
        orders = meeting.orders
        done: set[int] = set()
        meeting.has_woken = True
        while meeting.has_woken:
            meeting.has_woken = False
            queue = [order for order in orders.values() if order.id not in done and meeting.meets_path(order)]
            if self._stops_first:
                protecting = [order for order in queue if order.parent_id is not None and order.type in STOPS]
                queue = protecting[::-1] + [order for order in queue if order not in protecting]
            else:
                queue.sort(key=lambda order: order.id)
                done.update(order.id for order in queue)
            for order in queue:
                self._protect(meeting)
                if order.is_open:
                    self._meet(order, meeting)
            if self._stops_first and meeting.has_woken:
                woken = (order.id for order in orders.values() if order.parent_id is not None)
                meeting.known_after.update((number, meeting.ticks) for number in woken)
        self._protect(meeting)

    def _protect(self, meeting: Meeting) -> None:
        """Let stops act that lie nearer than a liquidation price in the bar; else liquidate."""
        tried: set[int] = set()
        while self._margins is not None and (stop := self._margins.nearer_stop(meeting, tried)) is not None:
            tried.add(stop.id)
            self._meet(stop, meeting)

    def _meet(self, order: Order, meeting: Meeting) -> None:
        ticks, bar, encounter = meeting.ticks, meeting.bar, self._encounter
        was_triggered = order.is_triggered
        price = over_whole_bar(order, seen_by(order, ticks), self._switches)
        level = None if price is None else price * order.side
        is_at_open = level == ticks.open and order.id not in meeting.woken_inside
        time = bar.open_time if is_at_open else bar.close_time
        encounter.note_trigger(order, was_triggered, time)
        if level is None or (order.type is OrderType.MARKET and self._fills_at_close):
            return
        limit = order.limit_ticks
        arrives_crossing = not order.has_rested and limit is not None and (ticks.open - limit) * order.side <= 0
        if order.post_only and arrives_crossing:
            encounter.turn_away(order, ticks.open, bar.open_time)
            return
        is_maker = is_limit(order, was_triggered) and not arrives_crossing
        encounter.fill_inside(order, level, level, meeting, Liquidity.MAKER if is_maker else Liquidity.TAKER, time)


def path_for(
    switches: Switches, chance: Chance, links: OrderLinks, encounter: Encounter, margins: MarginWatch | None = None
) -> Path:
    """Return the path that the switches declare, for what comes after the open."""
    if switches.path in ("worst", "detail"):  # a finer bar too may hold a stop and a target
        return WorstPath(switches, chance, links, encounter, margins)
    if switches.path == "best":
        return BestPath(switches, chance, encounter, margins)
    return DeclaredPath(switches, chance, encounter, margins)


def _may_meet(order: Order, meeting: Meeting) -> TickBar:
    """Return the prices of the bar that an order meets when nobody knows their order.

    Of a child whose entry filled inside the bar: a stop meets all that may have come after the entry, a target only
    what certainly did.
    """
    if order.type is OrderType.LIMIT or order.type is OrderType.STOP_LIMIT:
        return meeting.known_after.get(order.id, meeting.ticks)
    return meeting.ticks


def _nearer(best: tuple[Order, int] | None, order: Order, level: int) -> tuple[Order, int]:
    """Return what the price reaches first: the order given if it is of the same side and its level, for a buyer,
    higher."""
    if best is None or (order.side is best[0].side and (level - best[1]) * order.side > 0):
        return order, level
    return best
