"""The mirror image of the worst path: every limit before any stop, so that a gain comes before a loss.

For bounds, not for results: what may have been reached after an entry counts when it is good, and does not when it is
bad.
"""

from engine.chance import Chance
from engine.encounter import Encounter, Meeting, is_limit, seen_by
from engine.events import Liquidity
from engine.margin_watch import MarginWatch
from engine.matching import TickBar, trail, within_range
from engine.orders import Order, OrderType
from engine.semantics import Switches


class BestPath:
    """The order of high and low unknown, and taken to be the one that suits the orders best."""

    def __init__(
        self, switches: Switches, chance: Chance, encounter: Encounter, margins: MarginWatch | None = None
    ) -> None:
        self._switches = switches
        self._chance = chance
        self._encounter = encounter
        self._margins = margins
        self._trails_every_price = switches.trail_reference in ("high_lagged", "high_same_bar")

    def walk(self, meeting: Meeting) -> None:
        """Let the orders of a meeting act."""
        encounter, bar = self._encounter, meeting.bar
        done: set[int] = set()
        while (order := self._next_reached(meeting, done)) is not None:
            done.add(order.id)
            was_triggered = order.is_triggered
            if order.type is OrderType.TRAILING_STOP and self._trails_every_price:
                trail(order, meeting.ticks.high if order.side < 0 else meeting.ticks.low)
            seen = seen_by(order, self._within_reach(order, meeting))
            price = within_range(order, seen, self._chance.is_lucky(order, bar), self._switches)
            encounter.note_trigger(order, was_triggered, bar.close_time)
            if price is not None:
                liquidity = Liquidity.MAKER if is_limit(order, was_triggered) else Liquidity.TAKER
                level = price * order.side
                encounter.fill_inside(order, level, level, meeting, liquidity)

    def _next_reached(self, meeting: Meeting, done: set[int]) -> Order | None:
        """Return a limit, else a stop, that the bar reaches after the open and that was not tried in it yet.

        Of several the one that the price passes last is no better than the one before it: the oldest of those that are
        nearest goes first.
        """
        stop: tuple[int, int, Order] | None = None
        limit: tuple[int, int, Order] | None = None
        for order in meeting.orders.values():
            if order.id in done or order.type is OrderType.MARKET or not meeting.meets_path(order):
                continue
            seen, side = seen_by(order, self._within_reach(order, meeting)), order.side
            if order.stop_ticks is not None and not order.is_triggered:
                if seen.high >= order.stop_ticks * side or self._must_trail_into(order, seen):
                    key = (order.stop_ticks * side, order.id, order)
                    stop = key if stop is None or key[:2] < stop[:2] else stop
                    continue
            elif order.limit_ticks is not None and seen.low <= order.limit_ticks * side:
                key = (-order.limit_ticks * side, order.id, order)
                limit = key if limit is None or key[:2] < limit[:2] else limit
                continue
            done.add(order.id)
        if limit is not None:
            return limit[2]
        # Only then the margin: a position that a target has closed cannot be liquidated any more.
        protecting = self._margins.nearer_stop(meeting, done) if self._margins is not None else None
        return protecting or (stop[2] if stop else None)

    def _within_reach(self, order: Order, meeting: Meeting) -> TickBar:
        """Return the prices that an order meets: all of the bar for a limit, what surely came later for a stop."""
        is_stop = order.stop_ticks is not None and not order.is_triggered
        return meeting.known_after.get(order.id, meeting.ticks) if is_stop else meeting.ticks

    def _must_trail_into(self, order: Order, seen: TickBar) -> bool:
        """Return whether the bar closes beyond where a trailing stop is that followed its extreme."""
        if order.type is not OrderType.TRAILING_STOP or not self._trails_every_price:
            return False
        best = min(seen.low, (order.reference or seen.low * order.side) * order.side)
        distance = order.trail_ticks
        if distance is None:
            distance = int(abs(best) * (order.trail_fraction or 0.0)) + 1
        return seen.close >= best + distance
