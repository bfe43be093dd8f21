"""Worlds: every state that orders may be in after bars that do not tell in which order their prices came.

Between two prices of a bar every increment is taken to have traded; between two bars the price may jump. Inside a bar
all ways are tried that lead from its open over its high and its low to its close; of the ways that lead to one state
those with the least and with the most money are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from engine.matching import TickBar, limit_at_open, stop_fill
from engine.order_sets import Leg, OrderSet, Span, Step, TickBars
from engine.orders import OrderType
from engine.semantics import Switches

WAITING, LIVE, TRIGGERED, FILLED, GONE = range(5)
"""A leg's state: it waits for its entry; works; is a stop-limit that has triggered; has filled; can fill no more."""

MOST_WORLDS = 512
FINE_POINTS = 48
"""Points of a bar at which a trailing stop may start that wakes inside it, where the bar spans more increments."""
_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


class TooManyWorlds(ArithmeticError):
    """Signals that more states are possible than are worth following."""


class World(NamedTuple):
    """One state that the orders may be in, and what it took to get there."""

    status: tuple[int, ...]
    reference: tuple[int | None, ...]
    position: int
    cash: int
    steps: tuple[Step, ...]

    @property
    def key(self) -> tuple[tuple[int, ...], tuple[int | None, ...], int]:
        return self.status, self.reference, self.position

    @property
    def is_over(self) -> bool:
        return not any(state in (WAITING, LIVE, TRIGGERED) for state in self.status)


class Solver:
    """Follows the worlds of one order set from bar to bar."""

    def __init__(self, orders: OrderSet, switches: Switches) -> None:
        self.orders = orders
        self.legs = orders.legs
        self.switches = switches
        self._through = int(switches.limit_touch == "through")
        self._by_chance = switches.limit_touch == "probability"
        self._stop_through = int(switches.stop_touch == "through")
        self._has_trailing = any(leg.type is OrderType.TRAILING_STOP for leg in self.legs)
        self._lags_only = switches.trail_reference in ("close", "close_after_entry")
        # A trailing stop follows every price, as one at a venue does; or it is moved once a bar, as is declared.
        self._ways = (True,) if self._lags_only else (False, True) if self._has_trailing else (False,)

    def first(self) -> World:
        """Return the state before the first bar."""
        return World(
            tuple(LIVE if leg.parent is None else WAITING for leg in self.legs),
            tuple(leg.reference for leg in self.legs), 0, 0, (),
        )

    # ── one bar ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def meet(self, worlds: Sequence[World], bar: TickBar, span: Span) -> list[World]:
        """Return the worlds after a bar."""
        found: list[World] = []
        closes = self.orders.closed_at
        for world in worlds:
            if world.is_over and not world.position:
                found.append(world)
                continue
            start = self._at_the_open(self._without_withdrawn(world, span.opened), bar, span)
            if closes is not None and span.opened <= closes < span.closed:
                start = self._close_out(start, closes, span.closed)
            for lags in self._ways:
                for after in self._inside(start, bar, span, lags=lags):
                    found += self._at_the_close(after, start, bar, span.closed, lags=lags)
        return _extremes(found)

    def _without_withdrawn(self, world: World, opened: int) -> World:
        status = list(world.status)
        for place, leg in enumerate(self.legs):
            is_late = leg.expire_at is not None and leg.expire_at <= opened
            is_gone = is_late or (leg.gone_at is not None and leg.gone_at <= opened)
            if is_gone and status[place] in (WAITING, LIVE, TRIGGERED):
                self._end(status, place)
        return world._replace(status=tuple(status))

    def _end(self, status: list[int], place: int) -> None:
        """End a leg, and with it those that wait for it."""
        status[place] = GONE
        for other, leg in enumerate(self.legs):
            if leg.parent == place and status[other] == WAITING:
                status[other] = GONE

    def _at_the_open(self, world: World, bar: TickBar, span: Span) -> World:
        """Let the legs meet the open: stops it crosses, limits it crosses, market orders. Nothing is unknown here."""
        there = [
            place for place, state in enumerate(world.status)
            if state in (LIVE, TRIGGERED) and self.legs[place].live_from <= span.opened
        ]
        for wanted in (_STOPS, (OrderType.LIMIT,), (OrderType.MARKET,)):
            for place in there:
                if self.legs[place].type in wanted and world.status[place] in (LIVE, TRIGGERED):
                    world = self._meet_open(world, place, bar, span)
        status = list(world.status)
        for place in there:
            if self.legs[place].at_once and status[place] == LIVE and self.legs[place].type not in _STOPS:
                self._end(status, place)
        return world._replace(status=tuple(status))

    def _meet_open(self, world: World, place: int, bar: TickBar, span: Span) -> World:
        leg, side = self.legs[place], self.legs[place].side
        seen = bar if side > 0 else bar.mirrored()
        if leg.type is OrderType.MARKET:
            if self.switches.market_fill == "next_close":
                return world
            return self._filled(world, place, bar.open, bar.open, span.opened, span.closed)
        stop = self._stop_of(world, place)
        if leg.type in _STOPS and world.status[place] == LIVE:
            if stop is None or (bar.open - stop) * side < self._stop_through:
                return world
            if leg.limit is None:
                price = stop_fill(stop * side, True, seen, self.switches) * side
                return self._filled(world, place, price, bar.open, span.opened, span.closed)
            if (bar.open - leg.limit) * side <= 0:
                return self._filled(world, place, bar.open, bar.open, span.opened, span.closed)
            return self._with_status(world, place, TRIGGERED)
        assert leg.limit is not None
        is_arriving = leg.parent is None and span.before < leg.live_from
        crossed = limit_at_open(leg.limit * side, seen, is_arriving, self.switches)
        if crossed is None:
            return world
        return self._filled(world, place, crossed * side, bar.open, span.opened, span.closed)

    def _close_out(self, world: World, time: int, closed: int) -> World:
        """Let an order from outside close what the set still holds."""
        cash = world.cash + world.position * self.orders.closed_for
        steps = (*world.steps, Step(-1, time, closed, self.orders.closed_for)) if world.position else world.steps
        status = tuple(FILLED if state == FILLED else GONE for state in world.status)
        return World(status, world.reference, 0, cash, steps)

    def _at_the_close(self, world: World, before: World, bar: TickBar, closed: int, *, lags: bool) -> list[World]:
        if self.switches.market_fill == "next_close":
            for place, leg in enumerate(self.legs):
                if leg.type is OrderType.MARKET and world.status[place] == LIVE:
                    world = self._filled(world, place, bar.close, bar.close, closed, closed)
        if self.orders.closed_at == closed:
            world = self._close_out(world, closed, closed)
        if not lags:
            return [world]
        # A trailing stop that moves once a bar: it has seen all of the bar, or, if it woke inside, perhaps a part.
        both = []
        for sees_all in (True, False):
            reference = list(world.reference)
            for place, leg in enumerate(self.legs):
                if leg.type is OrderType.TRAILING_STOP and world.status[place] == LIVE:
                    woke = before.status[place] == WAITING and world.reference[place] != bar.open
                    extreme = bar.high if leg.side < 0 else bar.low
                    point = bar.close if self._lags_only or (woke and not sees_all) else extreme
                    reference[place] = _better(leg.side, reference[place], point)
            both.append(world._replace(reference=tuple(reference)))
        return both if both[0] != both[1] else both[:1]

    # ── inside a bar ────────────────────────────────────────────────────────────────────────────────────────────────

    def _inside(self, world: World, bar: TickBar, span: Span, *, lags: bool) -> Iterable[World]:
        """Return every world that some way from open over high and low to close leads to."""
        if not lags:
            world = self._followed(world, bar.open)
        if world.is_over or not self._may_act(world, bar, span, lags=lags):
            return (world,) if lags else (self._followed(world, bar.high, bar.low),)
        points = self._points(world, bar, lags=lags)
        place_of = {price: place for place, price in enumerate(points)}
        ends: dict[tuple[object, int], World] = {}
        start = (place_of[bar.open], bar.open == bar.low, bar.open == bar.high, world)
        seen = {(*start[:3], world.key, world.cash)}
        waiting = [start]
        while waiting:
            here, saw_low, saw_high, state = waiting.pop()
            if state.is_over or (saw_low and saw_high and points[here] == bar.close):
                ends.setdefault((state.key, state.cash), state)
                if state.is_over:
                    continue
            for there in (here - 1, here + 1):
                if not 0 <= there < len(points):
                    continue
                price = points[there]
                for after in self._moved(state, points[here], price, span, lags=lags):
                    node = (there, saw_low or price == bar.low, saw_high or price == bar.high)
                    mark = (*node, after.key, after.cash)
                    if mark not in seen:
                        seen.add(mark)
                        waiting.append((*node, after))
            if len(seen) > 200_000:
                raise TooManyWorlds(f"a bar from {bar.low} to {bar.high} leaves too much open")
        return ends.values()

    def _points(self, world: World, bar: TickBar, *, lags: bool) -> list[int]:
        """Return the prices of the bar at which something may change, ascending."""
        points = set(bar)
        for place, leg in enumerate(self.legs):
            if world.status[place] not in (WAITING, LIVE, TRIGGERED):
                continue
            if leg.limit is not None:
                points |= {leg.limit, leg.limit - leg.side}
            if leg.stop is not None:
                points |= {leg.stop, leg.stop + leg.side}
            if leg.type is OrderType.TRAILING_STOP and not lags:
                points |= self._turning_points(world, place, bar)
        return sorted(point for point in points if bar.low <= point <= bar.high)

    def _turning_points(self, world: World, place: int, bar: TickBar) -> set[int]:
        """Return the prices at which a trailing stop that follows every price may turn."""
        leg = self.legs[place]
        if world.status[place] == WAITING:  # it may wake anywhere
            step = max(1, -(-(bar.high - bar.low) // FINE_POINTS))
            return set(range(bar.low, bar.high + 1, step))
        # The least extreme from which falling back to the bar's other end would be enough: lower, it cannot be hit.
        best, end = (bar.high, bar.low) if leg.side < 0 else (bar.low, bar.high)
        known = world.reference[place]
        start = bar.open if known is None else known
        near, far = 0, max(0, (start - best) * leg.side)
        while near < far:
            middle = (near + far) // 2
            if (leg.trailing_level(start - leg.side * middle) - end) * leg.side <= 0:
                far = middle
            else:
                near = middle + 1
        return {start - leg.side * near, best}

    def _moved(
        self, world: World, start: int, end: int, span: Span, *, lags: bool,
        skipped: frozenset[int] = frozenset(),
    ) -> Iterator[World]:
        """Yield what may be after the price moved from one point to the next. Of several that act at one price any may
        be first."""
        acting = [one for one in self._acting(world, start, end, span) if one[1] not in skipped]
        if not acting:
            yield world if lags else self._followed(world, end)
            return
        nearest = min(abs(price - start) for price, *_ in acting)
        for at, place, price, is_certain in acting:
            if abs(at - start) != nearest:
                continue
            leg = self.legs[place]
            triggers = leg.type is OrderType.STOP_LIMIT and world.status[place] == LIVE
            if triggers and leg.limit is not None and (price - leg.limit) * leg.side > 0:
                after = self._with_status(world, place, TRIGGERED)  # the price has to come back to its limit
            else:
                after = self._filled(world, place, price, price, span.closed, span.closed)
            yield from self._moved(after, at, end, span, lags=lags, skipped=skipped)
            if not is_certain:
                yield from self._moved(world, start, end, span, lags=lags, skipped=skipped | {place})

    def _acting(
        self, world: World, start: int, end: int, span: Span
    ) -> Iterator[tuple[int, int, int, bool]]:
        """Yield where, which leg, at which price, and whether for certain, of all that act on the way."""
        for place, leg in enumerate(self.legs):
            state, side = world.status[place], leg.side
            if state not in (LIVE, TRIGGERED) or not self._meets_path(leg, span):
                continue
            if leg.type in _STOPS and state == LIVE:
                stop = self._stop_of(world, place)
                if stop is not None and (end - stop) * side >= self._stop_through:
                    at = stop + side * self._stop_through
                    yield at if (at - start) * side >= 0 else start, place, stop, True
            elif leg.limit is not None and (leg.limit - end) * side >= self._through:
                at = leg.limit - side * self._through
                is_certain = not self._by_chance or (leg.limit - end) * side > 0
                yield at if (start - at) * side >= 0 else start, place, leg.limit, is_certain

    def _may_act(self, world: World, bar: TickBar, span: Span, *, lags: bool) -> bool:
        """Return whether any leg can act after the open."""
        seen = world if lags else self._followed(world, bar.high, bar.low)
        return any(True for end in (bar.low, bar.high) for _ in self._acting(seen, bar.open, end, span))

    def _meets_path(self, leg: Leg, span: Span) -> bool:
        return leg.live_from <= span.opened and (leg.expire_at is None or leg.expire_at >= span.closed)

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _stop_of(self, world: World, place: int) -> int | None:
        leg = self.legs[place]
        if leg.type is not OrderType.TRAILING_STOP:
            return leg.stop
        reference = world.reference[place]
        return None if reference is None else leg.trailing_level(reference)

    def _with_status(self, world: World, place: int, state: int) -> World:
        return world._replace(status=(*world.status[:place], state, *world.status[place + 1 :]))

    def _followed(self, world: World, *prices: int) -> World:
        """Return the world with its trailing stops moved to where prices take them."""
        if not self._has_trailing:
            return world
        reference = list(world.reference)
        for place, leg in enumerate(self.legs):
            if leg.type is OrderType.TRAILING_STOP and world.status[place] == LIVE:
                for price in prices:
                    reference[place] = _better(leg.side, reference[place], price)
        return world._replace(reference=tuple(reference))

    def _filled(self, world: World, place: int, price: int, here: int, time: int, bar: int) -> World:
        """Return the world after a fill at a price, the market being `here`: siblings end; children wake, and fill at
        once where the market is beyond them."""
        leg = self.legs[place]
        status, reference = list(world.status), list(world.reference)
        status[place] = FILLED
        woken = []
        for other, its in enumerate(self.legs):
            if other != place and its.group is not None and its.group == leg.group and status[other] < FILLED:
                self._end(status, other)
            if its.parent == place and status[other] == WAITING:
                status[other] = LIVE
                woken.append(other)
                if self.switches.trail_reference not in ("close", "close_after_entry"):
                    reference[other] = here
        world = World(
            tuple(status), tuple(reference), world.position + leg.side * leg.lots,
            world.cash - leg.side * leg.lots * price, (*world.steps, Step(place, time, bar, price)),
        )
        for other in woken:
            crossed = self._crossed_on_waking(world, other, here)
            if world.status[other] == LIVE and crossed is not None:
                world = self._filled(world, other, crossed, here, time, bar)
        return world

    def _crossed_on_waking(self, world: World, place: int, price: int) -> int | None:
        """Return the price at which a child fills at once, as its entry's price lies beyond its own; None if it does
        not."""
        leg, side = self.legs[place], self.legs[place].side
        point = TickBar(price, price, price, price) if side > 0 else TickBar(-price, -price, -price, -price)
        stop = self._stop_of(world, place)
        if leg.type in _STOPS:
            is_beyond = stop is not None and (price - stop) * side >= self._stop_through
            return stop_fill(stop * side, True, point, self.switches) * side if stop is not None and is_beyond else None
        crossed = None if leg.limit is None else limit_at_open(leg.limit * side, point, True, self.switches)
        return None if crossed is None else crossed * side

    # ── skipping ────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_bar(self, worlds: Sequence[World], bars: TickBars, place: int) -> int:
        """Return the next bar that may matter to any world. Where something trails, that is every bar."""
        opened = int(bars.open_time[place])
        if any(
            leg.type in (OrderType.MARKET, OrderType.TRAILING_STOP) and world.status[number] == LIVE
            for world in worlds for number, leg in enumerate(self.legs)
        ):
            return place
        turns = [leg.gone_at for leg in self.legs] + [leg.expire_at for leg in self.legs] + [self.orders.closed_at]
        turns += [leg.live_from for leg in self.legs]
        due = min((turn for turn in turns if turn is not None and turn >= opened), default=None)
        ups: list[int] = []
        downs: list[int] = []
        for world in worlds:
            for number, leg in enumerate(self.legs):
                state = world.status[number]
                if state not in (LIVE, TRIGGERED):
                    continue
                is_stop = leg.type in _STOPS and state == LIVE
                level = leg.stop if is_stop else leg.limit
                if level is not None:
                    (ups if (leg.side > 0) == is_stop else downs).append(level)
        end = len(bars.open_time)
        if due is not None:
            end = min(end, int(np.searchsorted(bars.close_time, due)))
        while place < end:
            stop = min(place + 512, end)
            reached = np.zeros(stop - place, bool)
            if ups:
                reached |= bars.high[place:stop] >= min(ups)
            if downs:
                reached |= bars.low[place:stop] <= max(downs)
            if reached.any():
                return place + int(reached.argmax())
            place = stop
        return place


def _better(side: int, known: int | None, price: int) -> int:
    """Return the price that a trailing stop follows: for a seller the highest so far."""
    if known is None:
        return price
    return max(known, price) if side < 0 else min(known, price)


def _extremes(worlds: Iterable[World]) -> list[World]:
    """Return, of the worlds in one state, the one with the least and the one with the most money."""
    low: dict[object, World] = {}
    high: dict[object, World] = {}
    for world in worlds:
        # How a world that is over got there makes no difference any more.
        key: object = world.position if world.is_over else world.key
        if key not in low or world.cash < low[key].cash:
            low[key] = world
        if key not in high or world.cash > high[key].cash:
            high[key] = world
    found = [*low.values(), *(world for key, world in high.items() if world.cash != low[key].cash)]
    if len(found) > MOST_WORLDS:
        raise TooManyWorlds(f"{len(found)} states are possible; at most {MOST_WORLDS} are followed")
    return found
