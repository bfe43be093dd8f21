"""A small real run, and a broker-less desk, for the tests of the sample strategies."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Bars, Instrument, Slice, Strategy, Stream, Timeframe
from engine.bars import FloatArray
from engine.costs import MakerTakerFees
from engine.exchange import SimulatedExchange
from engine.loop import Engine, Parts
from engine.portfolio import Portfolio
from engine.records import FillRow
from engine.semantics import Switches
from feeds.memory import MemoryFeed


def bars_of(symbol: str, closes: Sequence[float] | FloatArray, *, wick: float = 0.0, rows: slice = slice(None)) -> Bars:
    """Return hourly bars that open at the close before, with wicks and random volume; of them, some rows."""
    close = np.round(np.asarray(closes, np.float64), 2)
    open_ = np.concatenate([close[:1], close[:-1]])
    high = np.round(np.maximum(open_, close) * (1 + wick), 2)
    low = np.round(np.minimum(open_, close) * (1 - wick), 2)
    hour = Timeframe.parse("1h").duration
    times = np.arange(len(close)) * hour
    volume = np.random.default_rng(0).lognormal(13, 1, len(close))
    return Bars((Stream(symbol, "1h"),), times, times + hour, open_, high, low, close, volume)[rows]


def walk(rows: int, seed: int, *, volatility: float = 0.01, start: float = 100.0) -> FloatArray:
    """Return closes of a random walk."""
    return start * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, volatility, rows)))


@dataclass(frozen=True)
class Ran:
    """What a run left behind. Bars are counted from 0, by the hour they closed."""

    fills: list[FillRow]
    fills_hash: str
    final_equity: Decimal
    trades: list[tuple[str, str, int]]
    """(side, symbol, bar) of every fill."""


def run(strategy: Strategy, *bars: Bars, cash: int = 100_000, fee: str = "0", gap_policy: Any = "error") -> Ran:
    """Run a strategy over bars on the simulated exchange, default switches without the volume cap."""
    feed = MemoryFeed(bars, gap_policy=gap_policy)
    symbols = dict.fromkeys(stream.symbol for stream in feed.streams)
    instruments = [Instrument(symbol, quantity_increment=Decimal("0.000001")) for symbol in symbols]
    portfolio = Portfolio({"USD": Decimal(cash)}, instruments)
    fees = MakerTakerFees(Decimal(fee), Decimal(fee))
    broker = SimulatedExchange(portfolio, Switches(volume_cap=None), fees=fees)
    result = Engine(Parts(feed, strategy, broker, portfolio, headroom=1 / (1 + float(fee)))).run()
    hour = Timeframe.parse("1h").duration
    trades = [(fill.side, fill.symbol, fill.bar_close_time // hour - 1) for fill in result.fills]
    return Ran(result.fills, result.fills_hash, result.final_equity, trades)


class Desk:
    """A context without a market: a target is held from the next slice on, and written down."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = tuple(symbols)
        self.streams = tuple(Stream(symbol, "1h") for symbol in symbols)
        self.now = 0
        self.asked: list[tuple[int, str, float]] = []
        self.held: dict[str, float] = {}
        self.pending: dict[str, float] = {}
        self.fails: set[str] = set()
        """Symbols whose purchases come to nothing."""

    def target(self, symbol: str, exposure: float, why: str) -> None:
        self.asked.append((self.now, symbol, exposure))
        self.pending[symbol] = exposure

    def settle(self) -> None:
        for symbol, exposure in self.pending.items():
            if symbol not in self.fails or exposure == 0:
                self.held[symbol] = exposure
        self.pending.clear()

    def position(self, symbol: str) -> Decimal:
        return Decimal(str(self.held.get(symbol, 0.0)))

    def open_orders(self, symbol: str | None) -> list[Any]:
        return []

    def cash(self, currency: str | None) -> Decimal:
        return Decimal(1000)

    def equity(self, currency: str | None) -> Decimal:
        return Decimal(1000)


def drive(strategy: Strategy, closes: FloatArray, *, desk: Desk | None = None, first: int = 0) -> Desk:
    """Show a started strategy the rows [instants, symbols] from `first` on as slices; NaN is no bar."""
    desk = desk or Desk([f"S{place}" for place in range(closes.shape[1])])
    if first == 0:
        strategy._context = desk  # type: ignore[assignment]
        strategy.on_start()
    for instant in range(first, len(closes)):
        desk.settle()
        desk.now = instant
        row = closes[instant]
        strategy.on_slice(Slice(instant, "1h", desk.symbols, ~np.isnan(row), row, row, row, row, row))
    return desk


class Tools:
    """The helpers above, for tests: pytest's importlib mode gives test files no way to import one another."""

    bars_of = staticmethod(bars_of)
    walk = staticmethod(walk)
    run = staticmethod(run)
    drive = staticmethod(drive)
    Desk = Desk
    Slice = Slice


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    return Tools
