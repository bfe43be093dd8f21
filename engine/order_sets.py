"""Orders that belong together, as they were asked for, and how they may have ended. Prices in ticks, quantities in
lots.
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from engine.bars import IntArray
from engine.orders import OrderType


class Leg(NamedTuple):
    """One order of a set, as it was asked for.

    Args:
        side: 1 buys, -1 sells; limit, stop: in ticks; trail_ticks, trail_fraction: distance of a trailing stop.
        parent: place in the set of the order whose fill wakes this one; group: of which the first to fill ends the
            others.
        reference: the price from which a trailing stop without parent starts, ticks.
        live_from: the open time of the first bar that it meets, UTC ns.
        gone_at: when it was withdrawn from outside, if it was; expire_at: when its time in force ends.
    """

    order_id: int
    side: int
    type: OrderType
    lots: int
    limit: int | None = None
    stop: int | None = None
    trail_ticks: int | None = None
    trail_fraction: float | None = None
    parent: int | None = None
    group: int | None = None
    reference: int | None = None
    live_from: int = 0
    expire_at: int | None = None
    gone_at: int | None = None
    decided_at: int = 0
    at_once: bool = False
    """Immediate or cancel: what the first open does not fill is gone."""

    def trailing_level(self, reference: int) -> int:
        """Return the stop that trails behind a price."""
        distance = self.trail_ticks
        if distance is None:
            assert self.trail_fraction is not None
            distance = ceil(reference * self.trail_fraction - 1e-9)
        return reference + self.side * distance


@dataclass(frozen=True)
class OrderSet:
    """Orders that belong together: an entry with its children, or a group of which one cancels the others.

    Args:
        symbol: whose bars decide.
        closed_at, closed_for, closed_bar: when (UTC ns), at which price (ticks) and in the bar of which close time an
            order from outside closed the position that the set had opened; None if none did.
    """

    symbol: str
    legs: tuple[Leg, ...]
    closed_at: int | None = None
    closed_for: int = 0
    closed_bar: int = 0


class Step(NamedTuple):
    """A fill in one world: of which leg (-1: an order from outside), when, in the bar that closes when (UTC ns), and
    at which price (ticks)."""

    leg: int
    time: int
    bar: int
    price: int


class Way(NamedTuple):
    """One way that things may have gone: `value` in ticks × lots, what is still held valued at the last close."""

    value: int
    steps: tuple[Step, ...]
    position: int


class Outcome(NamedTuple):
    """The lowest and the highest way, and the close times of the bars that left it open which."""

    low: Way
    high: Way
    bars: tuple[int, ...]

    @property
    def is_open(self) -> bool:
        """Whether bars alone do not tell what became of the orders."""
        return self.low.value != self.high.value


class TickBars(NamedTuple):
    """Bars of one symbol in ticks; columns of shape [bars], times in UTC ns."""

    open_time: IntArray
    close_time: IntArray
    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray


class Span(NamedTuple):
    """A bar's open and close time, and the open time of the bar before it (-1 for none), UTC ns."""

    opened: int
    closed: int
    before: int
