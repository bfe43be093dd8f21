"""Scenario files: a few bars, a few orders, and the fills that follow, for comparison with other engines.

A file is a JSON list. Each entry has a `name`, a `price_increment`, `bars` as [open, high, low, close, volume], one a
day from 2024-01-01 UTC, and `orders`, each with `decided_at_close_of`: the index of the bar after whose close it is
decided. A fill is [side, bar index, price]. Nothing costs anything and there is cash enough.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from brokers.simulated import simulated_broker
from engine import Bar, Instrument, Strategy
from engine.bars import DAY, nanoseconds
from engine.errors import DataError, SettingsError, nearest_name
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.semantics import profile
from feeds.memory import MemoryFeed, bars_of_arrays

Fill = tuple[str, int, float]

SYMBOL = "SCENARIO"
FIRST_DAY = nanoseconds(datetime(2024, 1, 1, tzinfo=UTC))
AMPLE_CASH = Decimal(10**9)
FINER = Decimal("0.000001")
"""Under another engine's profile prices are counted this much finer: those engines know no increments, and a trailing
stop of theirs may lie between two."""

NEEDED: dict[str, tuple[str, ...]] = {
    "market": (), "limit": ("limit",), "stop": ("stop",), "stop_limit": ("limit", "stop"),
    "trailing": ("trail_fraction",), "bracket": (),
}
"""Order type → what it cannot do without. A bracket may enter at a limit or a stop, and have one child or two."""

OPTIONS = {"limit": "limit", "stop": "stop", "stop_loss": "stop_loss", "take_profit": "take_profit",
           "trail_fraction": "trail_stop_fraction"}
"""A scenario's word for an option → `Strategy.buy`'s. A trailing order is a market entry with a trailing stop."""


class Script(Strategy):
    """Places given orders after given bars."""

    def __init__(self, orders: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self._due: dict[int, list[Mapping[str, Any]]] = {}
        for order in orders:
            self._due.setdefault(order["decided_at_close_of"], []).append(order)

    def on_bar(self, bar: Bar) -> None:
        for order in self._due.get((bar.open_time - FIRST_DAY) // DAY, ()):
            trade = self.buy if order["side"] == "buy" else self.sell
            options = {OPTIONS[name]: value for name, value in order.items() if name in OPTIONS}
            trade(bar.symbol, order["quantity"], **options)


def run_scenarios(path: Path, profile_name: str = "default") -> list[dict[str, Any]]:
    """Return {"name", "fills"} for every scenario of a file.

    Raises:
        DataError: the file is not a list of scenarios, or one of them is not understood.
        SettingsError: no such profile.
    """
    profile(profile_name)  # an unknown name is refused before any file is read
    try:
        scenarios = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as exc:
        raise DataError(f"{path}: cannot be read as JSON: {exc}") from exc
    if not isinstance(scenarios, list):
        raise DataError(f"{path}: holds a {type(scenarios).__name__}; expected a list of scenarios")
    results = []
    for place, scenario in enumerate(scenarios):
        name = scenario.get("name", place) if isinstance(scenario, dict) else place
        try:
            results.append({"name": name, "fills": run_scenario(scenario, profile_name)})
        except (DataError, SettingsError) as exc:
            raise DataError(f"{path}: scenario {name}: {exc}") from exc
    return results


def run_scenario(scenario: Mapping[str, Any], profile_name: str = "default") -> list[Fill]:
    """Return the fills of one scenario, in the order in which they happen.

    Args:
        profile_name: whose rules apply: our own, or another engine's.

    Raises:
        DataError: a key is missing, a type unknown, or the bars are not possible.
    """
    bars, orders = _checked(scenario)
    columns = np.array(bars, dtype=np.float64).reshape(-1, 5).T
    open_time = FIRST_DAY + DAY * np.arange(len(bars), dtype=np.int64)
    names = ("open", "high", "low", "close", "volume")
    feed = MemoryFeed(bars_of_arrays(SYMBOL, "1d", open_time, **dict(zip(names, columns, strict=True))))
    increment = Decimal(str(scenario.get("price_increment", "0.01"))) * (1 if profile_name == "default" else FINER)
    instrument = Instrument(SYMBOL, price_increment=increment)
    portfolio = Portfolio({instrument.quote: AMPLE_CASH}, [instrument])
    engine = Engine(Parts(feed, Script(orders), simulated_broker(portfolio, profile(profile_name)), portfolio))
    return [
        (fill.side, (fill.bar_close_time - FIRST_DAY) // DAY - 1, fill.price)
        for fill in engine.run().fills
    ]


def _checked(scenario: Any) -> tuple[list[list[float]], list[Mapping[str, Any]]]:
    if not isinstance(scenario, dict):
        raise DataError(f"it is {scenario!r}; expected a table with bars and orders")
    for key in ("bars", "orders"):
        if not isinstance(scenario.get(key), list):
            raise DataError(f"{key} is {scenario.get(key)!r}; expected a list")
    try:
        Decimal(str(scenario.get("price_increment", "0.01")))
    except InvalidOperation:
        raise DataError(f"price_increment is {scenario['price_increment']!r}; expected a number") from None
    for place, bar in enumerate(scenario["bars"]):
        if not isinstance(bar, list) or len(bar) != 5 or not all(isinstance(value, int | float) for value in bar):
            raise DataError(f"bar {place} is {bar!r}; expected [open, high, low, close, volume]")
    for place, order in enumerate(scenario["orders"]):
        _check_order(f"order {place}", order)
    return scenario["bars"], scenario["orders"]


def _check_order(name: str, order: Any) -> None:
    if not isinstance(order, dict):
        raise DataError(f"{name} is {order!r}; expected a table")
    kind = order.get("type")
    if kind not in NEEDED:
        raise DataError(
            f"{name} has type {kind!r}; expected one of {', '.join(NEEDED)}{nearest_name(str(kind), list(NEEDED))}")
    if order.get("side") not in ("buy", "sell"):
        raise DataError(f"{name} has side {order.get('side')!r}; expected buy or sell")
    known = {"decided_at_close_of", "side", "type", "quantity", *OPTIONS}
    for key in order:
        if key not in known:
            raise DataError(f"{name} has an unknown key {key!r}{nearest_name(key, sorted(known))}")
    for key in sorted({"decided_at_close_of", "quantity", *NEEDED[kind]}):
        if not isinstance(order.get(key), int | float):
            raise DataError(f"{name} of type {kind} has {key} {order.get(key)!r}; expected a number")
