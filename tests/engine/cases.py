"""Small runs in a trader's words: what is asked after which bar, and what came of it.

A bar is [open, high, low, close] or [open, high, low, close, volume], or one number that it stays at; there is one a
day. What is asked "at 0" is asked after the close of the first bar, and meets the second at the earliest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from engine import Bars, Order
from engine.events import (
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    RequestRefused,
)
from engine.loop import Engine
from engine.records import Batch, RunEnd, RunStart
from engine.results import RunResult
from engine.semantics import Switches
from engine.testing import ScriptedStrategy, Terms, daily_index, engine_for, make_bars

Row = Sequence[float] | float
Filled = tuple[Any, ...]


@dataclass(frozen=True)
class Ask:
    """Something a strategy asks for: a method of `Strategy` and its arguments."""

    method: str
    quantity: float = 1.0
    terms: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, strategy: ScriptedStrategy) -> Any:
        return getattr(strategy, self.method)("TEST", self.quantity, **self.terms)

    def mirrored(self, about: float) -> "Ask":
        """Return the same wish of a trader who sees the market upside down."""
        prices = {"limit", "stop", "stop_loss", "take_profit"}
        terms = {name: 2 * about - value if name in prices else value for name, value in self.terms.items()}
        return Ask({"buy": "sell", "sell": "buy"}[self.method], self.quantity, terms)


def buy(quantity: float = 1.0, **terms: Any) -> Ask:
    return Ask("buy", quantity, terms)


def sell(quantity: float = 1.0, **terms: Any) -> Ask:
    return Ask("sell", quantity, terms)


def target(exposure: float, **terms: Any) -> Ask:
    return Ask("target", exposure, terms)


@dataclass(frozen=True)
class Case:
    """One row of a table: what is asked after the first bar, the bars, the fills, and why."""

    why: str
    ask: Ask
    bars: Sequence[Row]
    fills: Sequence[Filled]
    """(side, bar, price) or (side, bar, price, liquidity)."""
    switches: Mapping[str, Any] = field(default_factory=dict)

    def mirrored(self, about: float = 100.0) -> "Case":
        """Return the case seen upside down: a buyer's rule must be a seller's."""
        words = {"buy": "sell", "sell": "buy"}
        fills = [(words[side], bar, 2 * about - price, *rest) for side, bar, price, *rest in self.fills]
        return Case(
            self.why, self.ask.mirrored(about), [upside_down(row, about) for row in self.bars], fills, self.switches
        )


def upside_down(row: Row, about: float) -> Row:
    if isinstance(row, int | float):
        return 2 * about - row
    open_, high, low, close, *volume = row
    return [2 * about - open_, 2 * about - low, 2 * about - high, 2 * about - close, *volume]


Step = Ask | Callable[[ScriptedStrategy], Any]


class Outcome:
    """A run that is over, with what the strategy was told."""

    def __init__(self, engine: Engine, strategy: ScriptedStrategy) -> None:
        self.engine = engine
        self.strategy = strategy
        self.result: RunResult = engine.run()
        self.portfolio = engine.portfolio

    @property
    def fills(self) -> list[Filled]:
        """(side, bar, price, liquidity) of every fill."""
        return [(row.side, daily_index(row.bar_close_time), row.price, row.liquidity) for row in self.result.fills]

    @property
    def quantities(self) -> list[Filled]:
        """(side, bar, quantity, price) of every fill."""
        return [(row.side, daily_index(row.bar_close_time), row.quantity, row.price) for row in self.result.fills]

    def told(self, *kinds: type) -> list[tuple[int, str]]:
        """(order, reason) of every event of the kinds named."""
        return [(event.order.id, event.reason) for event in self.strategy.events if isinstance(event, kinds)]

    @property
    def cancelled(self) -> list[tuple[int, str]]:
        return self.told(OrderCancelled)

    @property
    def reduced(self) -> list[tuple[int, str]]:
        return self.told(OrderReduced)

    @property
    def amended(self) -> list[tuple[int, str]]:
        return self.told(OrderAmended)

    @property
    def expired(self) -> list[tuple[int, str]]:
        return self.told(OrderExpired)

    @property
    def rejected(self) -> list[tuple[int, str]]:
        return self.told(OrderRejected)

    @property
    def refused(self) -> list[tuple[int, str]]:
        return self.told(RequestRefused)

    @property
    def triggered(self) -> list[int]:
        return [number for number, _ in self.told(OrderTriggered)]

    def order(self, number: int) -> Order:
        return order_of(self.strategy, number)

    @property
    def position(self) -> Decimal:
        return self.portfolio.positions["TEST"].quantity


def order_of(strategy: ScriptedStrategy, number: int) -> Order:
    """Return an order that the strategy was told of."""
    return next(event.order for event in strategy.events if event.order.id == number)


def cancel(number: int) -> Step:
    return lambda strategy: strategy.cancel(order_of(strategy, number))


def amend(number: int, **terms: Any) -> Step:
    return lambda strategy: strategy.amend(order_of(strategy, number), **terms)


def scripted(asks: Mapping[int, Step | Sequence[Step]]) -> ScriptedStrategy:
    """Return a strategy that asks for something after the bars named."""

    def step(wanted: Step | Sequence[Step]) -> Callable[[ScriptedStrategy, Any], None]:
        def act(strategy: ScriptedStrategy, bar: Any) -> None:
            for ask in wanted if isinstance(wanted, Sequence) else [wanted]:
                ask(strategy)

        return act

    return ScriptedStrategy({bar: step(wanted) for bar, wanted in asks.items()})


def run(
    rows: Sequence[Row] | Bars,
    asks: Mapping[int, Step | Sequence[Step]],
    *,
    switches: Mapping[str, Any] | None = None,
    strategy: ScriptedStrategy | None = None,
    instruments: Sequence[Any] = (),
    **terms: Any,
) -> Outcome:
    """Run a script over bars and return what came of it."""
    bars = rows if isinstance(rows, Bars) else make_bars(rows)  # type: ignore[arg-type]
    strategy = strategy or scripted(asks)
    return Outcome(
        engine_for(bars, strategy, Terms(switches=Switches(**(switches or {})), **terms), instruments=instruments),
        strategy,
    )


def play(case: Case) -> list[Filled]:
    """Return the fills of a case, with as much detail as it asks for."""
    outcome = run(case.bars, {0: case.ask}, switches=case.switches)
    detail = max((len(fill) for fill in case.fills), default=4)
    return [fill[:detail] for fill in outcome.fills]


def both_sides(cases: Sequence[Case]) -> list[Case]:
    """Return every case and its mirror image."""
    return [seen for case in cases for seen in (case, case.mirrored())]


def name_of(value: Any) -> str | None:
    return f"{value.ask.method} {value.why}".replace(" ", "_") if isinstance(value, Case) else None


class ListJournal:
    """Keeps every row, and how the run ended."""

    def __init__(self) -> None:
        self.rows = Batch()
        self.started: RunStart | None = None
        self.ended: RunEnd | None = None

    def begin(self, start: RunStart) -> int:
        self.started = start
        return 1

    def write(self, batch: Batch) -> None:
        for table in vars(self.rows):
            getattr(self.rows, table).extend(getattr(batch, table))

    def end(self, end: RunEnd) -> None:
        self.ended = end

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row as plain tuples, what a decision saw with None for NaN, so that equal rows are equal."""

        def plain(value: Any) -> Any:
            return (
                tuple(None if number != number else number for number in value) if isinstance(value, tuple) else value
            )

        return {name: [tuple(map(plain, row)) for row in rows] for name, rows in vars(self.rows).items()}


def merged(*parts: Bars) -> Bars:
    """Return several streams as one feed: by close time, then in the order given."""
    stream = np.concatenate([np.full(len(part), place, np.int32) for place, part in enumerate(parts)])
    times = np.concatenate([part.close_time for part in parts])
    order = np.lexsort((stream, times))

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    names = ("open_time", "close_time", "open", "high", "low", "close", "volume")
    return Bars(
        tuple(part.streams[0] for part in parts), **{name: joined(name) for name in names}, stream=stream[order]
    )
