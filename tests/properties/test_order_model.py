"""The life of orders, step by step, beside a second broker that was written from docs/fills.md alone.

Hypothesis plays strategy and market: it places, amends and cancels orders of every kind in two symbols, and makes bars
of small whole prices with gaps and touches. After every step both brokers must agree on every order, fill and position
and on the cash. `HYPOTHESIS_PROFILE=long` plays for minutes; docs/reliability.md has the figures.
"""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.bars import HOUR, Bars, Stream
from engine.costs import MakerTakerFees
from engine.events import Fill, Liquidity
from engine.exchange import SimulatedExchange
from engine.instruments import Instrument
from engine.loop import Engine, Parts
from engine.orders import TRANSITIONS, Order, OrderStatus, TimeInForce
from engine.portfolio import Portfolio
from engine.semantics import Switches, profile
from engine.slices import Slice
from engine.strategy import Strategy
from engine.testing import NEW_YEAR_2024
from tests.properties.reference_broker import Candle, ReferenceBroker, RefFill, RefOrder

SYMBOLS = ("AAA", "BBB")
BAR = 8 * HOUR
FIRST_PRICE, LOWEST = 100, 30
DAY = 24 * HOUR


def _reachable(status: OrderStatus) -> set[OrderStatus]:
    """Return a status and those that may follow: all events of a bar have been booked before the first is told."""
    return {status}.union(*map(_reachable, TRANSITIONS[status] - {status}))


REACHABLE = {status: _reachable(status) for status in OrderStatus}


class Conversation(Strategy):
    """Does in its own thread, at the close of a bar, what the test asks for; then waits for the next bar."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: queue.Queue[Callable[[Conversation], Any] | None] = queue.Queue()
        self.answered: queue.Queue[Any] = queue.Queue()
        self.fills: list[Fill] = []
        self.early: list[Fill] = []
        self.seen: dict[int, Order] = {}
        self.statuses: list[tuple[int, OrderStatus]] = []

    def on_slice(self, slice: Slice) -> None:
        self.answered.put(None)
        while (asked := self.asked.get()) is not None:
            self.answered.put(asked(self))

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill)
        self.seen[fill.order.id] = fill.order
        if fill.order.parent_id is None and fill.time < fill.order.arrives_at:
            self.early.append(fill)

    def on_order(self, event: Any) -> None:
        self.seen[event.order.id] = event.order
        self.statuses.append((event.order.id, event.order.status))


class BarsOnDemand:
    """A feed of which nobody knows the end: it yields what it is given."""

    row_count = None
    fingerprint = "live"
    streams = tuple(Stream(symbol, "8h") for symbol in SYMBOLS)

    def __init__(self) -> None:
        self.given: queue.Queue[Bars | None] = queue.Queue()

    def chunks(self) -> Iterator[Bars]:
        while (bars := self.given.get()) is not None:
            yield bars

    def column(self, stream: Stream, field: str) -> None:
        return None


class Live:
    """An engine that runs in a thread of its own, one bar at a time."""

    def __init__(self, cash: int, switches: Switches) -> None:
        instruments = [
            Instrument(symbol, "USD", price_increment=Decimal(1), quantity_increment=Decimal(1)) for symbol in SYMBOLS]
        self.portfolio = Portfolio({"USD": Decimal(cash)}, instruments)
        broker = SimulatedExchange(
            self.portfolio, switches, fees=MakerTakerFees(Decimal("0.01"), Decimal("0.02")))
        self.strategy, self.feed = Conversation(), BarsOnDemand()
        self._engine = Engine(Parts(
            self.feed, self.strategy, broker, self.portfolio, checks_brackets=switches.checks_brackets))
        self._is_waiting = False
        self._thread = ThreadPoolExecutor(1)
        self._run = self._thread.submit(self._engine.run)
        self._run.add_done_callback(lambda _: self.strategy.answered.put(None))

    def bar(self, candles: dict[str, Candle]) -> None:
        """Let bars close."""
        self._release()
        names = [symbol for symbol in SYMBOLS if symbol in candles]
        rows = [candles[symbol] for symbol in names]
        columns = [np.array([float(row[place]) for row in rows]) for place in range(2, 7)]
        times = [np.array([row[place] for row in rows], np.int64) for place in (0, 1)]
        self.feed.given.put(Bars(
            self.feed.streams, *times, *columns, np.array([SYMBOLS.index(name) for name in names], np.int32)))
        self._wait()
        self._is_waiting = True

    def ask(self, what: Callable[[Conversation], Any]) -> Any:
        """Have something done at the close of the last bar."""
        self.strategy.asked.put(what)
        return self._wait()

    def stop(self) -> None:
        """End the run, if it has not failed."""
        self._release()
        self.feed.given.put(None)
        self._thread.shutdown()

    def _release(self) -> None:
        if self._is_waiting:
            self.strategy.asked.put(None)
        self._is_waiting = False

    def _wait(self) -> Any:
        answer = self.strategy.answered.get(timeout=60)
        if self._run.done():
            self._run.result()  # raises what stopped the run
        return answer


offsets = st.integers(-9, 9)
maybe = st.none() | offsets
distances = st.integers(1, 10)
sides = st.sampled_from([1, -1])
symbols = st.sampled_from(SYMBOLS)
quantities = st.integers(1, 9)
groups = st.none() | st.sampled_from(["one", "two"])
lifetimes = st.integers(1, 7)
gaps_to_children = st.none() | st.integers(-1, 8)
tifs = st.sampled_from(["gtc"] * 4 + ["ioc", "fok", "gtd", "day"])
steps = st.tuples(st.sampled_from([0, 0, 0, 1, -1, 3, -3, 8, -8]), st.integers(-7, 7), st.integers(0, 6),
                  st.integers(0, 6), st.sampled_from([1000, 1000, 1000, 90, 40, 10, 0]))


class OrderModel(RuleBasedStateMachine):
    """Both brokers, and what is done to them."""

    switches: ClassVar[Switches] = Switches()
    whole_bars: ClassVar[bool] = False
    played: ClassVar[Counter[str]] = Counter()
    """What has been played so far, for the long command."""

    def __init__(self) -> None:
        super().__init__()
        self.bar_count = self.change_count = 0
        self.now = NEW_YEAR_2024
        self.closes = dict.fromkeys(SYMBOLS, FIRST_PRICE)

    @initialize(cash=st.sampled_from([100_000, 100_000, 3000, 900]))
    def begin(self, cash: int) -> None:
        """Open an account, and let one quiet bar pass, so that there is a price."""
        self.reference = ReferenceBroker(cash, whole_bars=self.whole_bars)
        self.live = Live(cash, self.switches)
        self.orders: list[tuple[Order, RefOrder]] = []
        self.next_id = 1
        self.bars(dict.fromkeys(SYMBOLS, (0, 0, 0, 0, 1000)))

    def teardown(self) -> None:
        if hasattr(self, "live"):
            self.live.stop()
            self.played.update(games=1, bars=self.bar_count, orders=len(self.orders),
                               fills=len(self.reference.fills), changes=self.change_count)

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(symbol=symbols, side=sides, quantity=quantities, limit=maybe, stop=maybe, tif=tifs, lifetime=lifetimes,
          post_only=st.booleans(), reduce_only=st.sampled_from([False, False, True]), group=groups)
    def order(self, symbol: str, side: int, quantity: int, limit: int | None, stop: int | None, tif: str, lifetime: int,
              post_only: bool, reduce_only: bool, group: str | None) -> None:
        """Market, limit, stop or stop-limit, alone or in a group."""
        self._place(symbol, side, quantity, limit, stop, tif=tif, lifetime=lifetime,
                    post_only=post_only and stop is None and limit is not None, reduce_only=reduce_only,
                    group=group and f"{group} {symbol}")

    @rule(symbol=symbols, side=sides, quantity=quantities, trail=distances, reduce_only=st.booleans(),
          by_percent=st.booleans())
    def trailing_stop(self, symbol: str, side: int, quantity: int, trail: int, reduce_only: bool,
                      by_percent: bool) -> None:
        """A stand-alone trailing stop."""
        self._place(symbol, side, quantity, None, None, reduce_only=reduce_only,
                    **{"trail_percent" if by_percent else "trail": trail})

    @rule(symbol=symbols, side=sides, quantity=quantities, limit=maybe, stop=maybe, tif=tifs, lifetime=lifetimes,
          loss=gaps_to_children, gain=gaps_to_children, trail=st.none() | distances)
    def bracket(self, symbol: str, side: int, quantity: int, limit: int | None, stop: int | None, tif: str,
                lifetime: int, loss: int | None, gain: int | None, trail: int | None) -> None:
        """An entry of any kind with a stop-loss, a target, a trailing stop, or some of them."""
        self._place(symbol, side, quantity, limit, stop, tif=tif, lifetime=lifetime, loss=loss, gain=gain,
                    child_trail=trail if loss is None else None)

    def _place(self, symbol: str, side: int, quantity: int, limit: int | None, stop: int | None, *, tif: str = "gtc",
               lifetime: int = 1, post_only: bool = False, reduce_only: bool = False, group: str | None = None,
               trail: int | None = None, trail_percent: int | None = None, loss: int | None = None,
               gain: int | None = None, child_trail: int | None = None) -> None:
        close = self.closes[symbol]
        limit, stop = (None if offset is None else close + offset for offset in (limit, stop))
        until = {"gtd": self.now + lifetime * BAR // 2, "day": (self.now // DAY + 1) * DAY}.get(tif)
        entry = close if limit is None and stop is None else limit if limit is not None else stop
        assert entry is not None
        stop_loss = None if loss is None else entry - side * loss
        take_profit = None if gain is None else entry + side * gain
        mine = RefOrder(self.next_id, symbol, side, quantity, self.now, close, limit, stop, trail, trail_percent, tif,
                        until, post_only, reduce_only, group)
        protects_nothing = any(distance is not None and distance <= 0 for distance in (loss, gain))
        refused = self.switches.checks_brackets and protects_nothing
        children = [
            RefOrder(self.next_id + 1 + place, symbol, -side, quantity, self.now, close, limit=target, stop=level,
                     trail_percent=percent, parent=mine)
            for place, (level, percent, target) in enumerate(
                child for child in ((stop_loss, None, None), (None, child_trail, None), (None, None, take_profit))
                if child != (None, None, None))]
        options = {
            "limit": limit, "stop": stop, "trail_amount": trail, "stop_loss": stop_loss, "take_profit": take_profit,
            "trail_fraction": None if trail_percent is None else trail_percent / 100,
            "trail_stop_fraction": None if child_trail is None else child_trail / 100,
            "time_in_force": TimeInForce(tif), "expire_at": until if tif == "gtd" else None, "post_only": post_only,
            "reduce_only": reduce_only, "oco_group": group}
        theirs = self.live.ask(
            lambda strategy: (strategy.buy if side > 0 else strategy.sell)(symbol, Decimal(quantity), **options))
        self.reference.submit(mine, children, refused)
        self.orders.append((theirs, mine))
        kept = [] if mine.status in ("refused", "rejected") else children
        self.orders += [(self.live.strategy.seen[child.id], child) for child in kept]
        self.next_id += 1 + len(kept)

    def _working(self) -> list[tuple[Order, RefOrder]]:
        return [(theirs, mine) for theirs, mine in self.orders if mine.is_open]

    @precondition(lambda self: any(mine.is_open for _, mine in getattr(self, "orders", ())))
    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        """Withdraw an order that works."""
        theirs, mine = self._working()[which % len(self._working())]
        self.live.ask(lambda strategy: strategy.cancel(theirs))
        self.reference.cancel(mine)
        self.change_count += 1

    @precondition(lambda self: any(mine.is_open for _, mine in getattr(self, "orders", ())))
    @rule(which=st.integers(0, 20), more=st.none() | st.integers(1, 5), limit=maybe, stop=maybe)
    def amend(self, which: int, more: int | None, limit: int | None, stop: int | None) -> None:
        """Change the quantity or the prices of an order that works."""
        theirs, mine = self._working()[which % len(self._working())]
        close = self.closes[mine.symbol]
        quantity = mine.quantity if more is None else mine.filled + more
        price = mine.limit if mine.limit is None or limit is None else close + limit
        level = mine.stop if mine.stop is None or stop is None or mine.trails or mine.triggered else close + stop
        self.live.ask(lambda strategy: strategy.amend(
            theirs, quantity=Decimal(quantity), limit=None if price is None else Decimal(price),
            stop=None if level is None or mine.trails else Decimal(level)))
        self.reference.amend(mine, quantity, price, level, self.now)
        self.change_count += 1

    # ── the market ──────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(first=steps, second=st.none() | steps)
    def bar(self, first: Any, second: Any) -> None:
        """A bar of both symbols, or of the first alone."""
        self.bars({name: step for name, step in zip(SYMBOLS, (first, second), strict=True) if step is not None})

    def bars(self, moves: dict[str, tuple[int, int, int, int, int]]) -> None:
        """Make bars of moves: gap, body, wick above, wick below, volume."""
        candles = {}
        for symbol, (gap, body, above, below, volume) in moves.items():
            opened = max(self.closes[symbol] + gap, LOWEST)
            close = self.closes[symbol] = max(opened + body, LOWEST)
            candles[symbol] = Candle(self.now, self.now + BAR, opened, max(opened, close) + above,
                                     min(opened, close) - below, close, volume)
        self.now += BAR
        self.bar_count += len(candles)
        self.live.bar(candles)
        self.reference.instant(candles)

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def agree(self) -> None:
        """Every order, every fill, every position and the cash."""
        if not hasattr(self, "live"):
            return
        live, book = self.live, self.reference.book
        _same("orders as (id, status, quantity, filled)", [_state(theirs) for theirs, _ in self.orders],
              [self.reference.state(mine) for _, mine in self.orders])
        _same("fills", [_fill(fill) for fill in live.strategy.fills], self.reference.fills)
        _same("positions", [int(live.portfolio.positions[symbol].quantity) for symbol in SYMBOLS],
              [book.held.get(symbol, 0) for symbol in SYMBOLS])
        _same("cash, in hundredths", [live.portfolio.accounts["USD"].cash * 100], [book.cash])

    @invariant()
    def laws_hold(self) -> None:
        """Steps are legal, ends are final, nothing fills before it arrives or beyond its quantity."""
        if not hasattr(self, "live"):
            return
        last: dict[int, OrderStatus] = {}
        for number, status in self.live.strategy.statuses:
            before = last.get(number, OrderStatus.CREATED)
            assert status in REACHABLE[before], f"order {number} went from {before} to {status}"
            last[number] = status
        filled: dict[int, int] = {}
        for fill in self.live.strategy.fills:
            filled[fill.order.id] = filled.get(fill.order.id, 0) + fill.lots
        assert all(filled.get(theirs.id, 0) == theirs.filled_lots <= theirs.lots for theirs, _ in self.orders)
        assert self.live.strategy.early == []


def _same(what: str, engine: list[Any], reference: list[Any]) -> None:
    for place, (ours, theirs) in enumerate(zip(engine, reference, strict=False)):
        assert ours == theirs, f"{what}, number {place}: the engine has {ours}, the reference {theirs}"
    assert len(engine) == len(reference), f"{what}: the engine has {engine}, the reference {reference}"


def _state(order: Order) -> tuple[Any, ...]:
    return order.id, order.status.value, order.lots, order.filled_lots


def _fill(fill: Fill) -> RefFill:
    return RefFill(fill.order.id, fill.time, int(fill.side), fill.price_ticks, fill.lots,
                   fill.liquidity is Liquidity.MAKER)


class OrderModelAsBacktrader(OrderModel):
    """The same under the profile of backtrader: bars are met whole, children outlive what they protect."""

    switches: ClassVar[Switches] = profile("backtrader", on_increments=True)
    whole_bars: ClassVar[bool] = True
    played: ClassVar[Counter[str]] = Counter()


QUICK = settings(deadline=None, derandomize=True, max_examples=120, stateful_step_count=25, print_blob=True,
                 suppress_health_check=list(HealthCheck))

TestDefaults = OrderModel.TestCase
TestDefaults.settings = QUICK
TestAsBacktrader = OrderModelAsBacktrader.TestCase
TestAsBacktrader.settings = QUICK


@pytest.mark.parametrize("altered", [
    {"limit_touch": "touch"}, {"limit_gap": "limit"}, {"stop_gap": "trigger"}, {"stop_touch": "through"},
    {"path": "ohlc"}, {"children_same_bar": "next_bar"}, {"trail_reference": "high_same_bar"}, {"volume_cap": None},
    {"children_reduce_only": False},
], ids=lambda altered: "=".join(map(str, *altered.items())))
def test_the_model_notices_a_broker_that_follows_another_rule(altered):
    class Altered(OrderModel):
        switches = Switches(**altered)

    quickly = settings(QUICK, phases=(Phase.generate,), max_examples=400)

    with pytest.raises(AssertionError, match="the engine has"):
        run_state_machine_as_test(Altered, settings=quickly)
