"""Scenario files: a few bars, a few orders, and the fills that follow, for comparison with other engines.

A file is a JSON list. Each entry has a `name`, a `price_increment`, `bars` as [open, high, low, close, volume], one a
day from 2024-01-01 UTC, and `orders`, each with `decided_at_close_of`: the index of the bar after whose close it is
decided. A fill is [side, bar index, price]. Nothing costs anything and there is cash enough.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from engine import Bar, DataError, EngineError
from engine.errors import nearest_name
from engine.semantics import Switches, profile
from engine.testing import ScriptedStrategy, Terms, daily_index, make_bars, run_bars
from feeds.memory import MemoryFeed

Fill = tuple[str, int, float]
Script = Mapping[str, Any]

AMPLE_CASH = Decimal(10**9)

NEEDED: dict[str, tuple[str, ...]] = {
    "market": (), "limit": ("limit",), "stop": ("stop",), "stop_limit": ("limit", "stop"),
    "trailing": ("trail_fraction",), "bracket": (),
}
"""Order type → what it cannot do without. A bracket may enter at a limit or a stop, and have one child or two."""

FINER = Decimal("0.000001")
"""How much finer prices are counted for engines that know no increments: a trailing stop may lie between two."""

LARGEST = 2**53
"""Beyond it whole numbers have no float64 of their own. Prices, counted in increments, stay below it."""

OPTIONS = {"limit": "limit", "stop": "stop", "stop_loss": "stop_loss", "take_profit": "take_profit",
           "trail_fraction": "trail_stop_fraction"}
"""A scenario's word for an option → `Strategy.buy`'s. A trailing order is a market entry with a trailing stop."""


def run_scenarios(path: Path, profile_name: str = "default") -> list[dict[str, Any]]:
    """Return {"name", "fills"} for every scenario of a file.

    Raises:
        DataError: the file is not a list of scenarios, or one of them is not understood.
        SettingsError: no such profile.
    """
    switches = profile(profile_name)
    try:
        scenarios = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RecursionError) as exc:
        raise DataError(f"{path}: cannot be read as JSON: {exc}") from exc
    if not isinstance(scenarios, list):
        raise DataError(f"{path}: holds a {type(scenarios).__name__}; expected a list of scenarios")
    results = []
    for place, scenario in enumerate(scenarios):
        name = scenario.get("name", place) if isinstance(scenario, dict) else place
        if not isinstance(name, str | int):
            raise DataError(f"{path}: scenario {place} has the name {name!r}; expected text")
        try:
            results.append({"name": name, "fills": run_scenario(scenario, switches)})
        except EngineError as exc:
            raise DataError(f"{path}: scenario {name}: {exc}") from exc
    return results


def run_scenario(scenario: Script, switches: Switches) -> list[Fill]:
    """Return the fills of one scenario, in the order in which they happen.

    Raises:
        DataError: a key is missing, a type unknown, or the bars are not possible.
    """
    rows, orders = _checked(scenario)
    increment = _increment(scenario, switches)
    terms = Terms(cash=AMPLE_CASH, switches=switches, price_increment=increment)
    bars = MemoryFeed(make_bars(rows)).bars  # refuses what cannot be a bar
    seen = [order for order in orders if order["decided_at_close_of"] >= switches.unseen_bars]
    strategy = ScriptedStrategy({order["decided_at_close_of"]: _step(orders, order) for order in seen})
    return [(fill.side, daily_index(fill.bar_close_time), fill.price) for fill in run_bars(bars, strategy, terms).fills]


def _step(orders: list[Script], first: Script) -> Callable[[ScriptedStrategy, Bar], None]:
    """Return what a strategy does after a bar: place all orders decided there."""
    due = [order for order in orders if order["decided_at_close_of"] == first["decided_at_close_of"]]

    def place(strategy: ScriptedStrategy, bar: Bar) -> None:
        for order in due:
            trade = strategy.buy if order["side"] == "buy" else strategy.sell
            trade(bar.symbol, order["quantity"], **{OPTIONS[name]: order[name] for name in OPTIONS if name in order})

    return place


def _checked(scenario: Any) -> tuple[list[list[float]], list[Script]]:
    if not isinstance(scenario, dict):
        raise DataError(f"it is {scenario!r}; expected a table with bars and orders")
    for key in ("bars", "orders"):
        if not isinstance(scenario.get(key), list):
            raise DataError(f"{key} is {scenario.get(key)!r}; expected a list")
    for place, bar in enumerate(scenario["bars"]):
        if not isinstance(bar, list) or len(bar) != 5 or not all(map(_is_number, bar)):
            raise DataError(f"bar {place} is {bar!r}; expected [open, high, low, close, volume]")
    orders = [_stated(order) for order in scenario["orders"]]
    for place, order in enumerate(orders):
        _check_order(f"order {place}", order)
    return scenario["bars"], orders


def _stated(order: Any) -> Any:
    """Return an order without the options that are null, as some programs write what is not given."""
    return {key: value for key, value in order.items() if value is not None} if isinstance(order, dict) else order


def _increment(scenario: Script, switches: Switches) -> Decimal:
    """Return the step in which prices are counted: the scenario's, or a finer one under a profile that knows none."""
    given = scenario.get("price_increment", "0.01")
    try:
        increment = Decimal(str(given))
    except InvalidOperation:
        increment = Decimal("NaN")
    highest = max((bar[1] for bar in scenario["bars"]), default=0)
    if not increment.is_finite() or not highest / LARGEST < increment <= LARGEST:
        raise DataError(f"price_increment is {given!r}; expected a number such as 0.01")
    if not switches.on_increments and highest / LARGEST < increment * FINER:
        return increment * FINER
    return increment


def _check_order(name: str, order: Any) -> None:
    if not isinstance(order, dict):
        raise DataError(f"{name} is {order!r}; expected a table")
    kind = order.get("type")
    if not isinstance(kind, str) or kind not in NEEDED:
        raise DataError(
            f"{name} has type {kind!r}; expected one of {', '.join(NEEDED)}{nearest_name(str(kind), list(NEEDED))}")
    if order.get("side") not in ("buy", "sell"):
        raise DataError(f"{name} has side {order.get('side')!r}; expected buy or sell")
    known = {"decided_at_close_of", "side", "type", "quantity", *OPTIONS}
    for key in order:
        if key not in known:
            raise DataError(f"{name} has an unknown key {key!r}{nearest_name(key, sorted(known))}")
    decided = order.get("decided_at_close_of")
    if not isinstance(decided, int) or isinstance(decided, bool) or decided < 0:
        raise DataError(f"{name} has decided_at_close_of {decided!r}; expected the number of a bar, from 0 on")
    for key in sorted({"quantity", *NEEDED[kind], *OPTIONS} & {"quantity", *NEEDED[kind], *order}):
        if not _is_number(order.get(key)):
            raise DataError(f"{name} of type {kind} has {key} {order.get(key)!r}; expected a number")


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that a price or quantity can be: finite, and not too large for the books."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
