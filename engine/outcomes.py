"""What may have become of orders that belong together, given bars alone: the lowest and the highest outcome.

A bar says which prices were traded, not in which order. Here every order is tried (engine.worlds). Money is in ticks ×
lots. Pure: no run is needed, no clock, no chance.
"""

from collections.abc import Callable

import numpy as np

from engine.matching import TickBar
from engine.order_sets import OrderSet, Outcome, Span, TickBars, Way
from engine.semantics import Switches
from engine.worlds import Solver

Finer = Callable[[int], TickBars | None]
"""Place of a bar → the finer bars that make it up, or None where there are none."""


def possible_outcomes(orders: OrderSet, bars: TickBars, switches: Switches, finer: Finer | None = None) -> Outcome:
    """Return the lowest and the highest outcome that the bars allow.

    Of the switches, those about touches and gaps hold; `path` and `children_same_bar` are what is asked here.

    Args:
        bars: of the symbol, oldest first; finer: asked for the bars in which something may happen, and no others.
    Raises:
        TooManyWorlds: more states are possible than are worth following.
    """
    solver = Solver(orders, switches)
    place = int(np.searchsorted(bars.open_time, min(leg.live_from for leg in orders.legs if leg.parent is None)))
    worlds = [solver.first()]
    unclear: list[int] = []
    before = int(bars.open_time[place - 1]) if place else -1
    while place < len(bars.open_time) and not all(world.is_over and not world.position for world in worlds):
        reached = solver.next_bar(worlds, bars, place)
        if reached >= len(bars.open_time):
            break
        if reached > place:
            before = int(bars.open_time[reached - 1])
        place = reached
        parts = finer(place) if finer is not None else None
        for row in zip(*(parts or TickBars(*(column[place : place + 1] for column in bars))), strict=True):
            opened, closed, *prices = map(int, row)
            known = len({(world.key, world.cash) for world in worlds})
            worlds = solver.meet(worlds, TickBar(*prices), Span(opened, closed, before))
            before = opened
            if len({(world.key, world.cash) for world in worlds}) > known:
                unclear.append(closed)
        place += 1
    last = int(bars.close[-1]) if len(bars.close) else 0
    ways = [Way(world.cash + world.position * last, world.steps, world.position) for world in worlds]
    return Outcome(min(ways, key=lambda way: way.value), max(ways, key=lambda way: way.value), tuple(unclear))
