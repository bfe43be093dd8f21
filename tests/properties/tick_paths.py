"""Markets known tick by tick, and the bars that are left of them: the truth beside what a backtest gets to see.

Inside a bar the price moves by whole increments, one at a time; from one bar to the next it may jump. Each move is a
bar of its own in the true market: it has one direction, so nothing about it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from engine import Bar
from engine.bars import HOUR, MINUTE, Bars, Stream
from engine.exchange import SimulatedExchange
from engine.instruments import Instrument
from engine.loop import Engine, Parts
from engine.order_sets import TickBars
from engine.portfolio import Portfolio
from engine.results import RunResult
from engine.semantics import Switches
from engine.strategy import Strategy
from engine.testing import NEW_YEAR_2024, BarsFeed

CASH = 10**9
FIRST = 100
LOWEST = 40
PRICES = ("limit", "stop", "stop_loss", "take_profit")
KINDS = ("market", "limit", "stop", "stop_limit")


@dataclass(frozen=True)
class Hour:
    """One bar as it was traded: a jump from the close before, then moves of one increment (-1, 0, 1)."""

    gap: int
    moves: tuple[int, ...]


@dataclass(frozen=True)
class Ask:
    """An idea, asked for at the close of hour `at`: orders, each with "buy" or "sell" as its method, and prices that
    are distances from that close, in increments."""

    at: int
    orders: Sequence[Mapping[str, Any]]


def walked(hours: Sequence[Hour]) -> list[list[int]]:
    """Return the prices of every hour, the first of them its open."""
    price, found = FIRST, []
    for hour in hours:
        price = max(LOWEST, price + hour.gap)
        path = [price]
        for move in hour.moves:
            price = max(LOWEST, price + move)
            path.append(price)
        found.append(path)
    return found


def coarse(hours: Sequence[Hour], symbol: str = "TEST") -> Bars:
    """Return one bar for every hour."""
    rows = [(path[0], max(path), min(path), path[-1]) for path in walked(hours)]
    opened = [NEW_YEAR_2024 + HOUR * place for place in range(len(rows))]
    return _bars(symbol, "1h", opened, [time + HOUR for time in opened], rows)


def fine(hours: Sequence[Hour], symbol: str = "TEST") -> Bars:
    """Return one bar for every move; an hour's last one ends with the hour."""
    rows, opened, closed = [], [], []
    for place, path in enumerate(walked(hours)):
        start = NEW_YEAR_2024 + HOUR * place
        moves = list(pairwise(path)) or [(path[0], path[0])]
        for number, (before, after) in enumerate(moves):
            rows.append((before, max(before, after), min(before, after), after))
            opened.append(start + MINUTE * number)
            closed.append(start + (MINUTE * (number + 1) if number + 1 < len(moves) else HOUR))
    return _bars(symbol, "1m", opened, closed, rows)


def _bars(symbol: str, timeframe: str, opened: list[int], closed: list[int], rows: list[Any]) -> Bars:
    table = np.array(rows, np.float64).reshape(-1, 4)
    columns = [np.ascontiguousarray(table[:, place]) for place in range(4)]
    times = np.array(opened, np.int64), np.array(closed, np.int64)
    return Bars((Stream(symbol, timeframe),), *times, *columns, np.full(len(table), 1e9))


def tick_bars(bars: Bars) -> TickBars:
    prices = (np.rint(column).astype(np.int64) for column in (bars.open, bars.high, bars.low, bars.close))
    return TickBars(bars.open_time, bars.close_time, *prices)


class Scheduled(Strategy):
    """Asks for ideas at fixed times, whatever has become of those before."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        super().__init__()
        self._due: dict[int, list[Ask]] = {}
        for ask in asks:
            self._due.setdefault(NEW_YEAR_2024 + HOUR * (ask.at + 1), []).append(ask)

    def on_bar(self, bar: Bar) -> None:
        for ask in self._due.get(bar.close_time, ()):
            for order in ask.orders:
                terms = {name: bar.close + value if name in PRICES else value for name, value in order.items()}
                method = terms.pop("method")
                if all(value > 0 for name, value in terms.items() if name in PRICES):
                    getattr(self, method)(bar.symbol, 1, **terms)


@dataclass(frozen=True)
class Run:
    """A finished run of one symbol."""

    result: RunResult
    exchange: SimulatedExchange

    @property
    def made(self) -> int:
        """Return what the run made, in increments: all fills, what is left valued at the last close."""
        return int(self.result.final_equity) - CASH


def run(bars: Bars, asks: Sequence[Ask], **switches: Any) -> Run:
    """Run the ideas over bars: whole increments of 1, quantities of 1, no costs, cash enough."""
    instrument = Instrument(
        "TEST", "USD", price_increment=Decimal(1), quantity_increment=Decimal(1))
    portfolio = Portfolio({"USD": Decimal(CASH)}, [instrument])
    exchange = SimulatedExchange(portfolio, Switches(**{"volume_cap": None, **switches}))
    engine = Engine(Parts(BarsFeed(bars), Scheduled(asks), exchange, portfolio))
    return Run(engine.run(), exchange)


# ── drawing them ────────────────────────────────────────────────────────────────────────────────────────────────────

_MOVES = st.lists(st.sampled_from((-1, -1, 1, 1, 0)), min_size=0, max_size=24).map(tuple)
_TREND = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.sampled_from((1, -1))).map(
    lambda legs: (legs[3],) * legs[0] + (-legs[3],) * legs[1] + (legs[3],) * legs[2])
HOURS = st.lists(
    st.builds(Hour, st.sampled_from((0, 0, 0, 1, -1, 2, -3, 5, -5)), st.one_of(_MOVES, _TREND)), min_size=3, max_size=8)


@st.composite
def brackets(
    draw: st.DrawFn, *, trailing: bool = True, side: str = "", kinds: Sequence[str] = KINDS
) -> dict[str, Any]:
    """Return the terms of a bracket: an entry of any kind, and one or two children."""
    method = side or draw(st.sampled_from(("buy", "sell")))
    sign = 1 if method == "buy" else -1
    kind = draw(st.sampled_from(kinds))
    terms: dict[str, Any] = {}
    entry = 0
    if kind in ("stop", "stop_limit"):
        entry = terms["stop"] = sign * draw(st.integers(1, 5))
    if kind in ("limit", "stop_limit"):
        near = terms["limit"] = entry + sign * draw(st.integers(-5, 2))
        entry = near
    if trailing and not draw(st.integers(0, 3)):
        terms["trail_stop_fraction"] = draw(st.sampled_from((0.02, 0.03, 0.05)))
    elif draw(st.integers(0, 3)):
        terms["stop_loss"] = entry - sign * draw(st.integers(1, 6))
    if draw(st.integers(0, 3)):
        terms["take_profit"] = entry + sign * draw(st.integers(1, 6))
    return {"method": method, **terms}


@st.composite
def ideas(
    draw: st.DrawFn, *, trailing: bool = True, groups: bool = True, side: str = "", kinds: Sequence[str] = KINDS
) -> Ask:
    """Return a bracket, or a group of orders of which the first to fill cancels the others.

    Args:
        side: "buy" or "sell", or either.
    """
    at = draw(st.integers(0, 2))
    if not groups or draw(st.integers(0, 2)):
        return Ask(at, [draw(brackets(trailing=trailing, side=side, kinds=kinds))])
    method = side or draw(st.sampled_from(("buy", "sell")))
    other = method if side else draw(st.sampled_from(("buy", "sell")))
    below, above = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return Ask(at, [
        {"method": method, "limit": -below if method == "buy" else below, "oco_group": f"of {at}"},
        {"method": other, "stop": above if other == "buy" else -above, "oco_group": f"of {at}"},
    ])
