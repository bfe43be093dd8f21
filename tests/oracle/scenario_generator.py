"""Random scenarios in the form of `shared/scenarios/random.json`: valid bars on the price grid, any order, no fills.

The bars are a walk in whole increments with gaps between them. Prices of orders lie near the close at which the order
is decided; every other one is a price that a later bar touches exactly, because that is where engines differ.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

Scenario = dict[str, Any]
TickBar = tuple[int, int, int, int]    # open, high, low, close in price increments

KINDS = ("market", "limit", "stop", "stop_limit", "bracket", "trailing")    # what the recorded scenarios hold
MORE_KINDS = ("bracket_on_limit", "bracket_on_stop", "bracket_on_stop_limit", "bracket_half")    # waits; has one child
GAPS = (0, 0, 0, 1, -1, 2, -2, 5, -5)              # from close to next open, as in random.json
LARGE_GAPS = (0, 0, 0, 1, -1, 5, -5, 12, -12, 20, -20)
TRAIL_FRACTIONS = (0.02, 0.03, 0.05, 0.1)


def random_scenario(rng: Random, *, kinds: tuple[str, ...] = KINDS, n_orders: int = 1, increment: str = "1",
                    gaps: tuple[int, ...] = LARGE_GAPS, n_bars: tuple[int, int] = (4, 16),
                    max_quantity: int = 1, decided_at: int | None = None, name: str = "random") -> Scenario:
    """Return a scenario with `n_orders` independent orders, in the order in which they are decided.

    Args:
        kinds: what an order may be, from KINDS and MORE_KINDS; drawn evenly.
        increment: the price increment, "1" as in random.json or "0.01". The walk is scaled to it, so that with "0.01"
            prices have two decimals and bars are some tens of increments tall.
        gaps: steps from a close to the next open, in hundredths of the first price.
        n_bars: fewest and most bars.
        max_quantity: quantities are drawn from 1 to this.
        decided_at: the bar at whose close every order is decided; None draws any bar, the first and the last included.
    """
    start = int(100 / Decimal(increment))
    step = max(start // 1000, 1)    # how far prices move, in increments
    bars = _random_bars(rng, rng.randint(*n_bars), start, step, gaps)
    indices = sorted(decided_at if decided_at is not None else rng.randrange(len(bars)) for _ in range(n_orders))
    orders = [_random_order(rng, rng.choice(kinds), index, bars, step, rng.randint(1, max_quantity))
              for index in indices]

    def price(ticks: int) -> int | float:
        return ticks if increment == "1" else float(ticks * Decimal(increment))

    for order in orders:
        for key in {"limit", "stop", "stop_loss", "take_profit"} & order.keys():
            order[key] = price(order[key])
    return {"name": name, "price_increment": increment,
            "bars": [[*map(price, bar), 1000] for bar in bars], "orders": orders}


def _random_bars(rng: Random, count: int, start: int, step: int, gaps: tuple[int, ...]) -> list[TickBar]:
    bars = []
    close = start
    for _ in range(count):
        open_ = max(close + rng.choice(gaps) * _wobble(rng, step), start // 4)
        close = max(open_ + rng.randint(-6 * step, 6 * step), start // 4)
        high = max(open_, close) + rng.randint(0, 5 * step)
        low = max(min(open_, close) - rng.randint(0, 5 * step), 1)
        bars.append((open_, high, low, close))
    return bars


def _wobble(rng: Random, step: int) -> int:
    """Return about one step, so that fine grids do not only gap by round numbers."""
    return step if step == 1 else rng.randint(step // 2, step + step // 2)


def _random_order(rng: Random, kind: str, index: int, bars: list[TickBar], step: int, quantity: int) -> dict[str, Any]:
    side = rng.choice(("buy", "sell"))
    close = bars[index][3]

    def level(lowest: int, highest: int) -> int:
        """Draw a price between two distances from the close, one that a later bar touches if there is such a one."""
        lowest, highest = max(close + lowest * step, 1), max(close + highest * step, 1)
        touched = [price for bar in bars[index + 1:] for price in bar if lowest <= price <= highest]
        return rng.choice(touched) if touched and rng.random() < 0.5 else rng.randint(lowest, highest)

    order: dict[str, Any] = {"decided_at_close_of": index, "side": side, "type": kind, "quantity": quantity}
    if kind == "limit":
        order["limit"] = level(-8, 8)
    elif kind == "stop":
        order["stop"] = level(-8, 8)
    elif kind == "stop_limit":
        order["stop"] = level(-8, 8)
        order["limit"] = max(order["stop"] + (rng.randint(-4 * step, 4 * step) if rng.random() < 0.9 else 0), 1)
    elif kind == "trailing":
        order["trail_fraction"] = rng.choice(TRAIL_FRACTIONS)
    elif kind.startswith("bracket"):
        order["type"] = "bracket"
        entry = close
        if kind == "bracket_on_limit":
            entry = order["limit"] = level(-6, 6)
        elif kind == "bracket_on_stop":
            entry = order["stop"] = level(-6, 6)
        elif kind == "bracket_on_stop_limit":
            order["stop"] = level(-6, 6)
            entry = order["limit"] = max(order["stop"] + rng.randint(-4 * step, 4 * step), 1)
        below, above = max(entry - _distance(rng, step), 1), entry + _distance(rng, step)
        order["stop_loss"], order["take_profit"] = (below, above) if side == "buy" else (above, below)
        if kind == "bracket_half":
            del order[rng.choice(("stop_loss", "take_profit"))]
    return order


def _distance(rng: Random, step: int) -> int:
    """Return how far a child lies from its entry, in increments: backtesting.py refuses 0."""
    return rng.randint(1, 12 * step)
