"""A feed of which nobody knows the future, bar by bar, runs through the same loop to the same journal."""

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest

from engine import Bar, Bars, Instrument, Param, PluginError, Strategy, Stream
from engine.exchange import SimulatedExchange
from engine.journal.memory import MemoryJournal
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.records import DecisionRow, FillRow, OrderEventRow, OrderRow
from engine.testing import BarsFeed, make_bars


class OneByOne:
    """Yields one bar at a time and can say nothing ahead, as a live feed does."""

    row_count = None
    fingerprint = "live"

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self.streams = bars.streams

    def chunks(self) -> Iterator[Bars]:
        for row in range(len(self._bars)):
            yield self._bars[row : row + 1]

    def column(self, stream: Stream, field: str) -> None:
        return None


class Cross(Strategy):
    """Crossing averages with a protected entry, so that targets, brackets and recursive lines all take part."""

    fast: int = Param(3, ge=2)

    def on_start(self) -> None:
        self.quick = self.indicator("SMA", "close", self.fast)
        self.slow = self.indicator("EMA", "close", 8)
        self.range = self.indicator("ATR", 5)

    def on_bar(self, bar: Bar) -> None:
        if self.quick[-1] > self.slow[-1] and not self.position(bar.symbol) and not self.open_orders():
            self.buy(
                bar.symbol, 10, stop_loss=bar.close - 2 * self.range[-1], take_profit=bar.close + 3 * self.range[-1]
            )
        elif self.quick[-1] < self.slow[-1] and self.position(bar.symbol) > 0:
            self.cancel_all()
            self.close(bar.symbol, why="crossed down")


def random_walk(rows: int = 300) -> Bars:
    generator = np.random.default_rng(4)
    close = np.round(100 + np.cumsum(generator.normal(0, 1, rows)), 2)
    open_ = np.round(close + generator.normal(0, 0.3, rows), 2)
    high, low = np.maximum(open_, close) + 0.5, np.minimum(open_, close) - 0.5
    return make_bars(np.column_stack([open_, high, low, close]).tolist())


def journal_of(feed: BarsFeed | OneByOne, strategy: Strategy) -> MemoryJournal:
    portfolio = Portfolio({"USD": Decimal(100_000)}, [Instrument("TEST")])
    journal = MemoryJournal()
    Engine(Parts(feed, strategy, SimulatedExchange(portfolio), portfolio, journal=journal)).run()
    return journal


def test_bar_by_bar_and_ahead_of_time_leave_the_same_decisions_orders_and_fills() -> None:
    bars = random_walk()
    live, known = journal_of(OneByOne(bars), Cross()), journal_of(BarsFeed(bars), Cross())
    with live.snapshot() as there, known.snapshot() as here:
        for table in (OrderRow, OrderEventRow, FillRow):
            assert there.rows(table, 1) == here.rows(table, 1)
        assert len(here.rows(FillRow, 1)) > 20
        for one, other in zip(there.rows(DecisionRow, 1), here.rows(DecisionRow, 1), strict=True):
            assert one[:7] == other[:7]
            np.testing.assert_allclose(one.saw, other.saw, rtol=1e-9)


class LooksBack(Strategy):
    def on_bar(self, bar: Bar) -> None:
        self.history("close", 5)


def test_a_live_feed_keeps_no_history_and_says_so() -> None:
    with pytest.raises(PluginError, match="history.. of a live feed is not kept; declare an indicator"):
        journal_of(OneByOne(random_walk(10)), LooksBack())
