"""The work as Barcast does it."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.market import SYMBOL, row_of
from benchmarks.measuring import Stopwatch
from engine import Bar, Bars, Fill, FloatArray, Instrument, Param, Slice, Strategy
from engine.costs import MakerTakerFees
from engine.exchange import SimulatedExchange
from engine.interfaces import Feed, Journal
from engine.journal.lineage import unresolved_fills
from engine.journal.sql import SqlJournal
from engine.journal.tables import FACTS
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.records import Batch, RunEnd, RunStart
from engine.results import RunResult
from engine.risk import headroom
from engine.semantics import Switches

FEE = Decimal("0.0005")
CASH = Decimal(100_000)
AMPLE = Decimal(1_000_000)
"""Pays for one unit of the reference market and the fees of all its fills."""


# ── strategies ──────────────────────────────────────────────────────────────────────────────────────────────────────


class OneUnit(Strategy):
    """The reference rule with a quantity of one, by buying and selling: what every engine can do to the last digit."""

    def on_start(self) -> None:
        self.fast_line = self.indicator("SMA", "close", 20)
        self.slow_line = self.indicator("SMA", "close", 50)
        self.holds = False

    def on_bar(self, bar: Bar) -> None:
        if self.fast_line[-1] > self.slow_line[-1]:
            if not self.holds:
                self.holds = True
                self.buy(bar.symbol, 1.0, why="fast above slow")
        elif self.holds:
            self.holds = False
            self.sell(bar.symbol, 1.0, why="fast below slow")


class OnlyBars(Strategy):
    """Is told of every bar, and does nothing."""

    def on_bar(self, bar: Bar) -> None:
        return


class WithLines(OnlyBars):
    """The same, with the two averages declared."""

    def on_start(self) -> None:
        self.fast_line = self.indicator("SMA", "close", 20)
        self.slow_line = self.indicator("SMA", "close", 50)


class Comparing(WithLines):
    """The same, and looks at them."""

    def on_bar(self, bar: Bar) -> None:
        self.is_above = self.fast_line[-1] > self.slow_line[-1]


class Unchanging(WithLines):
    """The same, and sets a target that never changes."""

    def on_bar(self, bar: Bar) -> None:
        if self.fast_line[-1] > self.slow_line[-1]:
            self.target(bar.symbol, 0.0, why="fast above slow")
        else:
            self.target(bar.symbol, 0.0, why="fast below slow")


class SomeTrades(Strategy):
    """Trades at every bar, in and out, until it has made so many trades; then looks on.

    It is told of its fills, so each order has to be dealt with when it comes, never in bulk.
    """

    trades: int = Param(1000, ge=0)

    def on_start(self) -> None:
        self.left, self.wanted = self.trades, 0.01

    def on_bar(self, bar: Bar) -> None:
        if self.left:
            self.left -= 1
            self.target(bar.symbol, self.wanted, why="the bar is there")
            self.wanted = 0.01 - self.wanted

    def on_fill(self, fill: Fill) -> None:
        self.last = fill


class SomeTargets(Strategy):
    """The same trades as a column of targets, dealt with in bulk. An even number of them."""

    trades: int = Param(1000, ge=0)

    def targets(self, bars: Bars) -> FloatArray:
        exposure = np.zeros(len(bars))
        exposure[: self.trades : 2] = 0.01
        return exposure


class LooksOn(Strategy):
    """Takes every cross-section and does nothing with it."""

    def on_slice(self, slice: Slice) -> None:
        self.last = slice


# ── a run ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class OurRun:
    """What is kept of a run: enough to compare its fills with anybody's."""

    bars: int
    fills: int
    fills_hash: str
    keys: Any
    """int64 [fills, 6], see RunResult."""
    final_equity: float
    rows: int
    """Journal rows read back after the run; 0 without a journal."""


def engine_of(
    feed: Feed,
    strategy: Strategy,
    *,
    cash: Decimal = CASH,
    fee: Decimal = FEE,
    journal: Journal | None = None,
    mode: str = "auto",
    compile_from: int = 0,
) -> Engine:
    """Return an engine over a feed under the reference terms: next open, 5 basis points, no slippage."""
    symbols = dict.fromkeys(stream.symbol for stream in feed.streams)
    instruments = [_instrument(symbol) for symbol in symbols]
    fees = MakerTakerFees(fee, fee)
    portfolio = Portfolio({"USDT": cash}, instruments)
    broker = SimulatedExchange(portfolio, Switches(), fees=fees)
    share = headroom(fees, broker.slippage, instruments[0].symbol)
    return Engine(
        Parts(feed, strategy, broker, portfolio, journal=journal, headroom=share, mode=mode, compile_from=compile_from)
    )


def _instrument(symbol: str) -> Instrument:
    return Instrument(symbol, "USDT", price_increment=Decimal("0.01"), quantity_increment=Decimal("1e-8"))


def run_ours(
    feed: Feed, strategy: Callable[[], Strategy], *, with_sqlite: bool = False, **terms: Any
) -> tuple[OurRun, float, float]:
    """Run, and return the run with its CPU and wall seconds.

    Counted is Engine.run: indicators, loop, books, and with a journal everything until its file is closed and on the
    disk. Not counted: checking the bars and taking their fingerprint, which loading does; opening the file.
    """
    feed.fingerprint  # noqa: B018  taken once, when the bars are loaded
    if not with_sqlite:
        engine = engine_of(feed, strategy(), **terms)
        with Stopwatch() as watch:
            result = engine.run()
        return _kept(result, 0), watch.cpu, watch.wall
    with TemporaryDirectory() as folder:
        file = Path(folder) / "journal.db"
        journal = SqlJournal(file)
        engine = engine_of(feed, strategy(), journal=journal, **terms)
        with Stopwatch() as watch:
            result = engine.run()
            journal.close()
            _sync(file)
        return _kept(result, rows_in(file)), watch.cpu, watch.wall


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kept(result: RunResult, rows: int) -> OurRun:
    keys = result.fill_keys
    return OurRun(result.bars, len(keys), result.fills_hash, keys, float(result.final_equity), rows)


def trades_of(run: OurRun, bars: Bars) -> list[tuple[int, str, float]]:
    """Return (row of the bar, side, price) of every fill of a run over the reference market."""
    _, when, side, ticks, _, _ = np.asarray(run.keys).T
    instrument = _instrument(SYMBOL)
    prices = [instrument.float_price(tick) for tick in ticks.tolist()]
    sides = ["buy" if sign > 0 else "sell" for sign in side.tolist()]
    return list(zip(row_of(bars, when), sides, prices, strict=True))


# ── the journal by itself ───────────────────────────────────────────────────────────────────────────────────────────


class Catcher:
    """A journal that keeps the batches as they come, to be written elsewhere."""

    def __init__(self) -> None:
        self.start: RunStart | None = None
        self.batches: list[Batch] = []

    def begin(self, start: RunStart) -> int:
        self.start = start
        return 1

    def write(self, batch: Batch) -> None:
        self.batches.append(batch)

    def end(self, end: RunEnd) -> None:
        self.last = end


def write_batches(caught: Catcher) -> tuple[int, float, float]:
    """Write what was caught into a new SQLite file.

    Returns:
        The rows read back; CPU and wall seconds until everything is on the disk.
    """
    assert caught.start is not None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "journal.db"
        journal = SqlJournal(file)
        with Stopwatch() as watch:
            journal.begin(caught.start)
            for batch in caught.batches:
                journal.write(batch)
            journal.end(caught.last)
            journal.close()
            _sync(file)
        return rows_in(file), watch.cpu, watch.wall


def rows_in(file: Path) -> int:
    """Return how many rows the only run of a journal has, all tables together; 0 if a fill leads to no decision."""
    with SqlJournal(file, create=False) as journal:
        if unresolved_fills(journal):
            return 0
    with closing(sqlite3.connect(file)) as connection:
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in FACTS)
