"""Random worlds for the property tests: bars, a script of orders, and the terms they are traded under.

A world is drawn by hypothesis out of small whole numbers, so that what fails shrinks to a few bars and an order. Prices
are walks in increments; an order's are distances from the close at which it is decided, so that a world can be scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from engine.bars import HOUR, Bar, Bars, Stream
from engine.costs import (
    ConstantLatency,
    EquityFees,
    FeeSchedule,
    FeeTier,
    FixedSlippage,
    Latency,
    LognormalLatency,
    MakerTakerFees,
    NoSlippage,
    Slippage,
    SquareRootImpact,
    TieredFees,
    VolatilitySlippage,
)
from engine.events import Fill, OrderEvent
from engine.exchange import SimulatedExchange
from engine.instruments import Instrument
from engine.journal.memory import MemoryJournal
from engine.journal.reading import ROW_TYPES
from engine.loop import Engine, Parts
from engine.orders import Order, OrderType, Side, TimeInForce
from engine.portfolio import Portfolio
from engine.records import RunStart
from engine.results import RunResult
from engine.semantics import CHOICES, PROFILES, Switches, profile
from engine.strategy import Strategy, Timer
from engine.testing import NEW_YEAR_2024, BarsFeed

START = NEW_YEAR_2024
LOWEST = 40
"""Increments below which no price of a world falls."""


class _Short:
    """Shows only what differs from the defaults: a counter-example is to be read by people."""

    def __repr__(self) -> str:
        given = [(name, field.default, getattr(self, name)) for name, field in self.__dataclass_fields__.items()]
        shown = ", ".join(f"{name}={value!r}" for name, default, value in given if value != default)
        return f"{type(self).__name__}({shown})"


# ── the market ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Step(_Short):
    """A bar as moves in increments: gap from the close before, body, and how far it reaches beyond both ends."""

    gap: int = 0
    body: int = 0
    above: int = 0
    below: int = 0
    volume: int = 1000
    is_missing: bool = False


@dataclass(frozen=True, repr=False)
class Walk(_Short):
    """One symbol's bars, one an hour."""

    symbol: str
    steps: tuple[Step, ...]
    first: int = 1000
    increment: Decimal = Decimal("0.01")
    lot: Decimal = Decimal("0.01")
    quote: str = "USD"

    def instrument(self, scale: int = 0) -> Instrument:
        """Return the instrument, its price increment scaled by 2 to the power of `scale`."""
        return Instrument(
            self.symbol, self.quote, price_increment=self.increment * 2**scale, quantity_increment=self.lot)

    def rows(self, scale: int = 0) -> Iterator[tuple[int, list[float]]]:
        """Yield the place of every bar that there is, and its open, high, low, close and volume."""
        instrument = self.instrument(scale)
        close = self.first
        for place, step in enumerate(self.steps):
            opened = max(close + step.gap, LOWEST)
            close = max(opened + step.body, LOWEST)
            if not step.is_missing:
                ticks = opened, max(opened, close) + step.above, max(min(opened, close) - step.below, 1), close
                yield place, [*map(instrument.float_price, ticks), step.volume * float(self.lot)]


def bars_of(walks: Sequence[Walk], scale: int = 0) -> Bars:
    """Return the walks as bars, in the order of their close, then of the walks."""
    streams = tuple(Stream(walk.symbol, "1h") for walk in walks)
    rows = sorted(
        (place, stream, *values) for stream, walk in enumerate(walks) for place, values in walk.rows(scale))
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    open_time = START + HOUR * table[:, 0].astype(np.int64)
    columns = [np.ascontiguousarray(table[:, place]) for place in range(2, 7)]
    stream = table[:, 1].astype(np.int32) if len(walks) > 1 else None
    return Bars(streams, open_time, open_time + HOUR, *columns, stream)


# ── the script ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Place(_Short):
    """An order; its prices are distances in increments from the last close, its quantity a count of lots."""

    side: Side = Side.BUY
    lots: int = 1
    limit: int | None = None
    stop: int | None = None
    trail: int | None = None
    trail_fraction: float | None = None
    stop_loss: int | None = None
    take_profit: int | None = None
    trail_stop_fraction: float | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    lifetime: int = 3
    """Of a GTD order, in half bars."""
    post_only: bool = False
    reduce_only: bool = False
    oco_group: str | None = None


@dataclass(frozen=True, repr=False)
class Cancel(_Short):
    """Withdraw one of the symbol's working orders, counted round."""

    which: int = 0


@dataclass(frozen=True, repr=False)
class Amend(_Short):
    """Change one of the symbol's working orders, counted round; what it has no such price for stays as it is."""

    which: int = 0
    more_lots: int | None = None
    limit: int | None = None
    stop: int | None = None


@dataclass(frozen=True, repr=False)
class Target(_Short):
    """Hold a share of equity."""

    exposure: float = 0.0


@dataclass(frozen=True)
class Close:
    """Leave the position."""


Action = Place | Cancel | Amend | Target | Close


class Actor(Strategy):
    """Follows a script: what to do at the close of which bar of which symbol. Remembers what it was told."""

    def __init__(
        self, script: Mapping[tuple[int, str], Sequence[Action]], walks: Sequence[Walk], scale: int = 0
    ) -> None:
        super().__init__()
        self._script = script
        self._instruments = {walk.symbol: walk.instrument(scale) for walk in walks}
        self.told: list[Fill | OrderEvent] = []
        self.orders: list[Order] = []
        self.stops: list[tuple[int, int]] = []
        """(order, its stop in increments) of every trailing stop at every bar."""

    def on_bar(self, bar: Bar) -> None:
        for order in self.open_orders(bar.symbol):
            if order.type is OrderType.TRAILING_STOP and order.stop_ticks is not None:
                self.stops.append((order.id, order.stop_ticks))
        self.act(bar.symbol, (bar.close_time - START) // HOUR - 1)

    def act(self, symbol: str, place: int) -> None:
        """Do what the script says for a symbol at the close of its bar."""
        for action in self._script.get((place, symbol), ()):
            self._do(symbol, action)

    def _do(self, symbol: str, action: Action) -> None:
        match action:
            case Place():
                self.orders.append(self._place(symbol, action))
            case Target(exposure):
                self.target(symbol, exposure)
            case Close():
                self.close(symbol)
            case Cancel(which):
                if working := list(self.open_orders(symbol)):
                    self.cancel(working[which % len(working)])
            case Amend(which):
                if working := list(self.open_orders(symbol)):
                    self._amend(working[which % len(working)], action)

    def _place(self, symbol: str, action: Place) -> Order:
        instrument = self._instruments[symbol]
        trade = self.buy if action.side is Side.BUY else self.sell
        is_dated = action.time_in_force is TimeInForce.GTD
        prices = {name: self._price(symbol, getattr(action, name))
                  for name in ("limit", "stop", "stop_loss", "take_profit")}
        return trade(
            symbol, instrument.to_quantity(action.lots), **prices,
            trail_amount=None if action.trail is None else action.trail * instrument.price_increment,
            trail_fraction=action.trail_fraction, trail_stop_fraction=action.trail_stop_fraction,
            time_in_force=action.time_in_force,
            expire_at=self.now + action.lifetime * HOUR // 2 if is_dated else None,
            post_only=action.post_only, reduce_only=action.reduce_only, oco_group=action.oco_group)

    def _amend(self, order: Order, action: Amend) -> None:
        is_trailing = order.type is OrderType.TRAILING_STOP
        self.amend(
            order,
            quantity=None if action.more_lots is None
            else order.instrument.to_quantity(order.filled_lots + action.more_lots),
            limit=self._price(order.symbol, action.limit) if order.limit_ticks is not None else None,
            stop=self._price(order.symbol, action.stop) if order.stop_ticks is not None and not is_trailing else None,
        )

    def _price(self, symbol: str, distance: int | None) -> Decimal | None:
        if distance is None:
            return None
        instrument = self._instruments[symbol]
        return instrument.to_price(max(instrument.to_ticks(self.price(symbol)) + distance, 1))

    def on_fill(self, fill: Fill) -> None:
        self.told.append(fill)

    def on_order(self, event: OrderEvent) -> None:
        self.told.append(event)


class Looker(Actor):
    """Follows its script only where an indicator and the past of the highs say so."""

    def on_start(self) -> None:
        self.averages = {symbol: self.indicator("SMA", "close", 3, symbol=symbol) for symbol in self.symbols}

    def on_bar(self, bar: Bar) -> None:
        highs = self.history("high", 4, symbol=bar.symbol)
        assert highs[-1] == bar.high
        if bar.close >= self.averages[bar.symbol][-1] or highs.argmax() == 0:
            super().on_bar(bar)


class Sleeper(Actor):
    """Acts on timers alone, so that the engine may jump from one to the next."""

    def on_start(self) -> None:
        for place, symbol in self._script:
            self.set_timer(symbol, at=START + (place + 1) * HOUR)

    on_bar = Strategy.on_bar

    def on_timer(self, timer: Timer) -> None:
        self.act(timer.name, (timer.time - START) // HOUR - 1)


# ── the terms ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Terms(_Short):
    """Under which terms a world is traded. Fees and slippage are made anew for each run: some have a memory."""

    switches: Switches = field(default_factory=Switches)
    fees: str = "none"
    slippage: str = "none"
    latency: str = "none"
    cash: int = 1_000_000
    allow_short: bool = True
    headroom: float = 1.0


FEES: Mapping[str, Any] = {
    "none": MakerTakerFees,
    "maker_taker": lambda: MakerTakerFees(Decimal("0.0002"), Decimal("0.0005")),
    "rebate": lambda: MakerTakerFees(Decimal("-0.0001"), Decimal("0.0007")),
    "tiered": lambda: TieredFees([
        FeeTier(Decimal(0), Decimal("0.001"), Decimal("0.002")),
        FeeTier(Decimal(50), Decimal("0.0003"), Decimal("0.0007"))], window=20 * HOUR),
    "equity": lambda: EquityFees(Decimal("0.005"), Decimal("0.0003"), Decimal(1), Decimal("0.0005")),
}
SLIPPAGES: Mapping[str, Any] = {
    "none": NoSlippage,
    "fixed": lambda: FixedSlippage(3.0, 1.5),
    "volatility": lambda: VolatilitySlippage(0.5, 3600.0, 1.0),
    "impact": lambda: SquareRootImpact(1.0, 0.5, 1.0),
}
LATENCIES: Mapping[str, Any] = {
    "none": lambda: None,
    "short": lambda: ConstantLatency(HOUR // 3),
    "bar": lambda: ConstantLatency(HOUR),
    "long": lambda: ConstantLatency(HOUR * 5 // 2),
    "drawn": lambda: LognormalLatency(HOUR // 2, 1.0, seed=5),
}


# ── a world, and a run of it ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class World:
    """Bars, a script and terms."""

    walks: tuple[Walk, ...]
    script: tuple[tuple[int, int, Action], ...] = ()
    """(place of the bar, number of the walk, what to do at its close), in order."""
    terms: Terms = field(default_factory=Terms)

    def actions(self) -> dict[tuple[int, str], list[Action]]:
        """Return the script by place and symbol."""
        found: dict[tuple[int, str], list[Action]] = {}
        for place, number, action in self.script:
            found.setdefault((place, self.walks[number % len(self.walks)].symbol), []).append(action)
        return found

    def until(self, place: int) -> World:
        """Return the world as it is known once the bar at a place has closed."""
        return replace(self, walks=tuple(replace(walk, steps=walk.steps[: place + 1]) for walk in self.walks))


@dataclass
class Outcome:
    """What a run left behind."""

    result: RunResult
    rows: dict[str, list[tuple[Any, ...]]]
    actor: Actor
    portfolio: Portfolio
    journal: MemoryJournal
    bars: Bars

    def orders_made(self) -> dict[int, Any]:
        """Return the order rows by id."""
        return {order.id: order for order in self.rows["orders"]}


def run(world: World, *, scale: int = 0, actor: type[Actor] = Actor, chunk: int | None = None, **parts: Any) -> Outcome:
    """Run a world and return everything it left.

    Args:
        scale: prices, increments and cash are those of the world times 2 to this power.
        parts: of engine.loop.Parts, such as mode and compile_from.
    """
    bars = bars_of(world.walks, scale)
    instruments = [walk.instrument(scale) for walk in world.walks]
    strategy = actor(world.actions(), world.walks, scale)
    return run_strategy(bars, strategy, world.terms, instruments, scale=scale, chunk=chunk, **parts)


def run_strategy(
    bars: Bars, strategy: Any, terms: Terms, instruments: Sequence[Instrument], *, scale: int = 0,
    chunk: int | None = None, **parts: Any,
) -> Outcome:
    """Run any strategy over bars and return everything it left."""
    cash = {instrument.quote: Decimal(terms.cash) * 2**scale for instrument in instruments}
    portfolio = Portfolio(cash, instruments, allow_short=terms.allow_short)
    fees: FeeSchedule = FEES[terms.fees]()
    slippage: Slippage = SLIPPAGES[terms.slippage]()
    latency: Latency | None = LATENCIES[terms.latency]()
    broker = SimulatedExchange(portfolio, terms.switches, fees=fees, slippage=slippage)
    journal = MemoryJournal()
    feed = BarsFeed(bars, chunk=chunk)
    start = RunStart(
        "backtest", "Actor", {}, {}, feed.fingerprint, {},
        instruments={instrument.symbol: _rules(instrument) for instrument in instruments})
    engine = Engine(Parts(
        feed, strategy, broker, portfolio, journal=journal, start=start, latency=latency, headroom=terms.headroom,
        checks_brackets=terms.switches.checks_brackets, **parts))
    result = engine.run()
    with journal.snapshot() as reader:
        rows: dict[str, list[Any]] = {table: reader.rows(row_type, 1) for table, row_type in ROW_TYPES.items()}
    return Outcome(result, rows, strategy, portfolio, journal, bars)


def _rules(instrument: Instrument) -> dict[str, str]:
    return {
        "quote": instrument.quote, "price_increment": f"{instrument.price_increment:f}",
        "quantity_increment": f"{instrument.quantity_increment:f}",
    }


def bars_by_key(bars: Bars) -> dict[tuple[str, int], Bar]:
    """Return the bars by symbol and close_time."""
    return {(bar.symbol, bar.close_time): bar for bar in bars.rows()}


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Pick = Callable[[Sequence[Any]], Any]
"""Takes one of several options: as hypothesis likes, or at random."""

GAPS = (0, 0, 0, 1, -1, 3, -3, 8, -8, 30, -30)
VOLUMES = (1000, 1000, 100_000, 30, 0)
KINDS = ("market", "market", "limit", "limit", "stop", "stop_limit", "stop_limit", "trailing")
TRAILS: tuple[dict[str, Any], ...] = ({"trail": 4}, {"trail": 9}, {"trail_fraction": 0.01}, {"trail_fraction": 0.003})
FORCES = (*[TimeInForce.GTC] * 6, *TimeInForce)
LOTS = (1, 2, 7, 50, 50, 400, 20_000)


def around(size: int) -> tuple[int, ...]:
    """Return 0, 1, -1, 2, … up to a size: what shrinks, shrinks to nothing."""
    return (0, *(sign * number for number in range(1, size + 1) for sign in (1, -1)))


def a_step(pick: Pick) -> Step:
    return Step(
        pick(GAPS), pick(around(10)), pick(range(9)), pick(range(9)), pick(VOLUMES), pick((False,) * 5 + (True,)))


def a_place(pick: Pick) -> Place:
    """Draw an order of any kind."""
    side, kind = pick(tuple(Side)), pick(KINDS)
    prices: dict[str, Any] = {}
    if kind in ("limit", "stop_limit"):
        prices["limit"] = pick(around(12))
    if kind in ("stop", "stop_limit"):
        prices["stop"] = pick(around(12))
    if kind == "trailing":
        prices |= pick(TRAILS)
    elif pick((False, True)):
        prices |= _children(pick, side, prices.get("limit", prices.get("stop", 0)))
    return Place(
        side, pick(LOTS), **prices, time_in_force=pick(FORCES), lifetime=pick(range(1, 10)),
        post_only=kind == "limit" and pick((False, False, False, True)), reduce_only=pick((False,) * 7 + (True,)),
        oco_group=pick((None, None, None, None, "a", "b")))


def _children(pick: Pick, side: Side, entry: int) -> dict[str, Any]:
    """Draw a stop-loss, a target, a trailing stop, or several; now and then on the wrong side of the entry."""
    distances = (*range(1, 13), -1, 0)
    children: dict[str, Any] = {}
    which = pick(("both", "both", "stop_loss", "take_profit", "trailing", "trailing and target"))
    if which in ("both", "stop_loss"):
        children["stop_loss"] = entry - side * pick(distances)
    if which in ("both", "take_profit", "trailing and target"):
        children["take_profit"] = entry + side * pick(distances)
    if which.startswith("trailing"):
        children["trail_stop_fraction"] = pick((0.003, 0.01, 0.05))
    return children


def an_action(pick: Pick) -> Action:
    kind = pick(("place",) * 6 + ("cancel", "amend", "target", "close"))
    if kind == "place":
        return a_place(pick)
    if kind == "cancel":
        return Cancel(pick(range(6)))
    if kind == "amend":
        return Amend(
            pick(range(6)), pick((None, *range(1, 30))), pick((None, *around(12))), pick((None, *around(12))))
    return Target(pick((0.0, 0.5, 1.0, -0.5, -1.0))) if kind == "target" else Close()


def any_switches(pick: Pick) -> Switches:
    """Draw the defaults, a profile, or anything."""
    kind = pick(("default", "profile", "any", "any"))
    if kind == "profile":
        return profile(pick(sorted(PROFILES)))
    if kind == "default":
        return Switches()
    chosen = {name: pick(choices) for name, choices in CHOICES.items()}
    return Switches(
        **chosen, volume_cap=pick((None, 0.1, 0.5, 1.0)), children_reduce_only=pick((True, False)),
        checks_brackets=pick((True, False)), touch_probability=pick((0.0, 0.5, 1.0)))


def any_terms(pick: Pick) -> Terms:
    """Draw terms: any switches, costs, latency and cash."""
    return Terms(
        any_switches(pick), pick(tuple(FEES)), pick(tuple(SLIPPAGES)),
        pick(("none", "none", "none", *LATENCIES)), pick((1_000_000, 1_000_000, 1_000_000, 2_000, 20)),
        pick((True, True, False)), pick((1.0, 0.95)))


def a_world(
    pick: Pick, terms: Callable[[Pick], Terms] = any_terms, most_symbols: int = 3, currencies: bool = True
) -> World:
    """Draw a world of one symbol or several, on 5 to 30 bars."""
    length = pick(range(5, 31))
    walks = []
    for number in range(pick(range(1, most_symbols + 1))):
        first, *steps = [a_step(pick) for _ in range(length)]
        walks.append(Walk(
            f"S{number}", (replace(first, is_missing=False), *steps),
            increment=pick((Decimal("0.01"), Decimal("0.5"), Decimal(1))),
            lot=pick((Decimal("0.01"), Decimal(1), Decimal("0.00001"))),
            quote=pick(("USD", "EUR")) if currencies else "USD"))
    script = [
        (pick(range(length * 3 // 4)), pick(range(len(walks))), an_action(pick)) for _ in range(pick(range(4, 17)))]
    return World(tuple(walks), tuple(sorted(script, key=lambda entry: entry[:2])), terms(pick))


@st.composite
def worlds(draw: st.DrawFn, **kind: Any) -> World:
    """Draw a world: one that hypothesis can shrink, or, five times as dense with trades, one that a seed stands for."""
    return a_world(draw(picks()), **kind)


@st.composite
def picks(draw: st.DrawFn) -> Pick:
    """Draw a way to choose."""
    if draw(st.booleans()):
        return Random(draw(st.integers(0, 2**64))).choice
    return lambda options: draw(st.sampled_from(options))
