"""Skipping bars at which nothing can happen changes nothing: every journal row is that of stepping through them all."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Bar, Bars, Instrument, Order, OrderType, Side, Strategy, TimeInForce, Timer
from engine.bars import FORWARD_FILLED, HOUR, FloatArray
from engine.costs import ConstantLatency, EquityFees, FixedSlippage, MakerTakerFees
from engine.jump import bar_at, next_reached, target_rows
from engine.testing import NEW_YEAR_2024, Terms, engine_for, make_bars
from tests.engine.cases import ListJournal

D = Decimal
X = Instrument("TEST")


def market(count: int = 300, seed: int = 1, volume: float = 3000.0, holes: bool = False) -> Bars:
    """Return an hour's bars of a wandering price on the grid, with dull stretches in which nothing can happen."""
    generator = np.random.default_rng(seed)
    moves = generator.normal(0, 1, count) * np.repeat(generator.choice([0.1, 1.0, 2.0], count // 20 + 1), 20)[:count]
    close = np.maximum(20, np.round(100 + np.cumsum(moves), 2))
    open_ = np.round(np.concatenate([close[:1], close[:-1]]) + generator.normal(0, 0.2, count), 2)
    high = np.round(np.maximum(open_, close) + generator.exponential(0.4, count), 2)
    low = np.round(np.minimum(open_, close) - generator.exponential(0.4, count), 2)
    rows = np.column_stack([open_, high, low, close, np.round(generator.exponential(volume, count), 2)])
    bars = make_bars(rows.tolist(), timeframe="1h")
    if holes:
        keep = np.flatnonzero(generator.random(count) > 0.1)
        names = ("open_time", "close_time", "open", "high", "low", "close", "volume")
        flags = np.where(generator.random(len(keep)) < 0.05, FORWARD_FILLED, 0).astype(np.uint8)
        bars = replace(bars, **{name: getattr(bars, name)[keep] for name in names}, flags=flags)
    return bars


class Brackets(Strategy):
    """Acts on a timer alone, and asks for every kind of order."""

    def __init__(self, every: str = "13h") -> None:
        super().__init__()
        self.every, self.count = every, 0

    def on_start(self) -> None:
        self.line = self.indicator("SMA", "close", 5)
        self.set_timer("act", every=self.every)
        self.set_timer("once", at=NEW_YEAR_2024 + round(20.5 * HOUR))

    def on_timer(self, timer: Timer) -> None:
        if not self.line:
            return
        price, step = self.price("TEST"), self.count % 9
        self.count += 1
        if step == 0:
            self.buy("TEST", 3, stop_loss=price - 3, take_profit=price + 3, why=timer.name)
        elif step == 1:
            self.sell("TEST", 700, limit=price + 1.5, expire_at=self.now + 30 * HOUR)
        elif step == 2:
            self.buy("TEST", 900, limit=price - 1, stop_loss=price - 4, take_profit=price + 2)
        elif step == 3:
            self.sell("TEST", 4, trail_fraction=0.02)
        elif step == 4:
            self.target("TEST", 0.4, why=f"line at {self.line[-1]:.4f}")
        elif step == 5:
            self.buy("TEST", 2, stop=price + 1, limit=price + 1.2, oco_group="g")
            self.sell("TEST", 2, stop=price - 1, oco_group="g", time_in_force=TimeInForce.DAY)
        elif step == 6:
            self.target("TEST", -0.6)
            for order in self.open_orders("TEST"):
                if order.type is OrderType.LIMIT:
                    self.amend(order, limit=price * (0.99 if order.side is Side.BUY else 1.01))
        elif step == 7:
            self.buy("TEST", 5, limit=price - 0.3, post_only=True)
            self.sell("TEST", 5, limit=price + 0.2, time_in_force=TimeInForce.IOC)
        else:
            self.cancel_all(why="new week")
            self.close("TEST")


class Column(Strategy):
    """Holds a share by the hour; sometimes without opinion."""

    def __init__(self, pattern: tuple[float, ...] = (0.5, np.nan, np.nan, 1.0, 0.0, -0.5, np.nan, 0.3)) -> None:
        super().__init__()
        self.pattern = pattern

    def targets(self, bars: Bars) -> FloatArray:
        return np.resize(np.repeat(np.array(self.pattern), 7), len(bars))


class WarmColumn(Column):
    warm_up = 5

    def on_start(self) -> None:
        self.line = self.indicator("SMA", "close", 20)


class TimedColumn(Column):
    """Targets, and timers that add orders of their own."""

    def on_start(self) -> None:
        self.set_timer("t", every="19h")

    def on_timer(self, timer: Timer) -> None:
        if self.now > NEW_YEAR_2024 + HOUR:
            self.buy("TEST", 2, limit=self.price("TEST") - 0.5, stop_loss=self.price("TEST") - 2)


class Watching(Column):
    """Targets, and a handler that answers every fill."""

    def on_fill(self, fill: Any) -> None:
        if fill.side is Side.BUY and fill.order.type is OrderType.MARKET:
            self.sell("TEST", 1, limit=float(fill.price) + 1)


def journal_of(
    bars: Bars, strategy: Strategy, mode: str, terms: Terms | None = None, chunk: int | None = None
) -> tuple[Any, ...]:
    journal = ListJournal()
    engine = engine_for(bars, strategy, terms, journal=journal, chunk=chunk)
    engine._parts.mode = mode
    engine._parts.compile_from = 1
    result = engine.run()
    return (
        journal.tables(),
        result.fills_hash,
        result.final_equity,
        result.curve.equity.tolist(),
        result.curve.exposure.tolist(),
    )


TERMS = {
    "plain": Terms(cash=D(50_000)),
    "fees and slippage": Terms(
        cash=D(50_000), fees=MakerTakerFees(D("-0.0001"), D("0.0005")), slippage=FixedSlippage(2, 1)
    ),
    "no shorts": Terms(cash=D(5_000), allow_short=False),
    "little cash": Terms(cash=D(300), fees=EquityFees(D("0.001"), D("0.0001"), D(1), D("0.0005"))),
    "latency": Terms(cash=D(50_000), latency=ConstantLatency(100 * HOUR // 60)),
}


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize(
    "make",
    [Brackets, lambda: Brackets("1h"), Column, WarmColumn, Watching],
    ids=["timers", "hourly timers", "targets", "warm", "watching"],
)
@pytest.mark.parametrize(
    "world", [{}, {"seed": 2, "volume": 40.0}, {"seed": 3, "holes": True}], ids=["plenty", "thin", "holes"]
)
def test_jumping_leaves_the_journal_of_stepping(make: Callable[[], Strategy], terms: Terms, world: Any) -> None:
    bars = market(**world)
    stepped, jumped = (journal_of(bars, make(), mode, terms) for mode in ("step", "jump"))
    for table, rows in stepped[0].items():
        assert jumped[0][table] == rows, table
    assert stepped[1:] == jumped[1:]
    assert stepped[0]["fills"]


@pytest.mark.parametrize(
    "switches",
    [
        {"path": "ohlc"},
        {"limit_touch": "touch"},
        {"limit_touch": "probability"},
        {"market_fill": "next_close"},
        {"market_fill": "same_close"},
        {"stop_touch": "through"},
        {"volume_cap": None},
        {"trail_reference": "close"},
        {"path": "queue"},
        {"children_same_bar": "next_bar"},
    ],
)
def test_jumping_under_other_switches(switches: Any) -> None:
    from engine.semantics import Switches

    terms = Terms(cash=D(50_000), switches=Switches(**switches))
    stepped, jumped = (journal_of(market(seed=4), Brackets(), mode, terms) for mode in ("step", "jump"))
    assert stepped == jumped


def test_jumping_does_not_depend_on_chunks() -> None:
    whole, chunked = (journal_of(market(), Brackets(), "jump", chunk=chunk) for chunk in (None, 33))
    assert whole == chunked


def test_targets_beside_timers() -> None:
    stepped, jumped = (journal_of(market(), TimedColumn(), mode) for mode in ("step", "jump"))
    assert stepped == jumped


def test_a_position_closed_by_hand_is_taken_up_again_alike() -> None:
    class ClosesAtOnce(Column):
        def on_fill(self, fill: Any) -> None:
            if fill.side is Side.BUY:
                self.close("TEST")

    stepped, jumped = (journal_of(market(60), ClosesAtOnce((0.5,)), mode) for mode in ("step", "jump"))
    assert stepped[1] == jumped[1]


# ── which rows are visited ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("exposures", "first", "rows"),
    [
        ([0.5, 0.5, 1.0, 1.0, 0.0], 0, [0, 2, 4]),
        ([np.nan, 0.5, np.nan, 0.5, 1.0], 0, [1, 4]),  # no opinion keeps the one before
        ([np.nan, np.nan], 0, []),
        ([0.5, 0.5, 0.5], 1, [1]),  # what was wished while warming up was never asked for
        ([0.0, -0.0, 0.0], 0, [0]),
        ([], 0, []),
    ],
)
def test_rows_at_which_the_target_changes(exposures: list[float], first: int, rows: list[int]) -> None:
    assert target_rows(np.array(exposures, np.float64), first).tolist() == rows


def rested(kind: OrderType, side: Side = Side.BUY, **terms: Any) -> Order:
    order = Order(1, 1, X, side, kind, 1, 0, **terms)
    order.has_rested = True
    return order


BARS = make_bars([(100, 101, 99, 100), (100, 102, 99, 101), (100, 105, 98, 101), (100, 110, 90, 101)])


@pytest.mark.parametrize(
    ("order", "row"),
    [
        (rested(OrderType.LIMIT, limit_ticks=9_800), 2),
        (rested(OrderType.LIMIT, limit_ticks=9_799), 3),
        (rested(OrderType.LIMIT, limit_ticks=8_000), 4),
        (rested(OrderType.LIMIT, Side.SELL, limit_ticks=10_200), 1),
        (rested(OrderType.STOP, stop_ticks=10_500), 2),
        (rested(OrderType.STOP, Side.SELL, stop_ticks=9_000), 3),
        (
            rested(OrderType.STOP_LIMIT, stop_ticks=10_500, limit_ticks=10_500),
            0,
        ),  # the limit is in reach; too early does no harm
        (rested(OrderType.MARKET), 0),
        (rested(OrderType.TRAILING_STOP, trail_ticks=1, stop_ticks=20_000), 0),
        (rested(OrderType.STOP, stop_ticks=20_000, is_triggered=True), 0),
        (rested(OrderType.LIMIT, limit_ticks=8_000, expire_at=int(BARS.close_time[1])), 1),
        (rested(OrderType.LIMIT, limit_ticks=8_000, expire_at=int(BARS.close_time[1]) + 1), 2),
        (Order(1, 1, X, Side.BUY, OrderType.LIMIT, 1, 0, limit_ticks=8_000), 0),  # arrives
    ],
)
def test_the_next_row_at_which_an_order_may_act(order: Order, row: int) -> None:
    assert next_reached(BARS, [order], 0) == row


@pytest.mark.parametrize("seed", range(3))
def test_a_scan_is_never_too_late(seed: int) -> None:
    # prices off the grid, half-way between increments above all: the exchange snaps before it compares
    generator = np.random.default_rng(seed)
    coarse = Instrument("TEST", price_increment=D("0.05"))
    prices = np.round(100 + generator.integers(-200, 200, 4000) * 0.025, 3)
    bars = make_bars([float(price) for price in prices])
    for limit in generator.integers(1_900, 2_100, 60).tolist():
        for side in (Side.BUY, Side.SELL):
            order = Order(1, 1, coarse, side, OrderType.LIMIT, 1, 0, limit_ticks=limit)
            order.has_rested = True
            ticks = coarse.ticks_of(prices)
            met = np.flatnonzero(ticks <= limit if side is Side.BUY else ticks >= limit)
            assert next_reached(bars, [order], 0) <= (met[0] if len(met) else len(prices))


def test_a_row_as_a_bar() -> None:
    assert bar_at(BARS, 2) == list(BARS.rows())[2]
    assert isinstance(bar_at(BARS, 2), Bar)
