"""A toolbox for tests, ours and those of plugin authors: hand-made bars, scripted strategies, a run in one call."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from engine.bars import DAY, Bar, Bars, FloatArray, Stream, Timeframe
from engine.carry import CarryTerms
from engine.clearing import Clearing
from engine.costs import FeeSchedule, Latency, MakerTakerFees, NoSlippage, Slippage
from engine.errors import PluginError, nearest_name
from engine.events import Fill, OrderEvent
from engine.exchange import SimulatedExchange
from engine.forecasting.book import ForecastTerms
from engine.forecasts import Forecaster
from engine.instruments import Instrument
from engine.interfaces import Detail, Feed, Journal, MarkPrices
from engine.loop import Engine, Parts
from engine.margin import MarginTerms
from engine.portfolio import Portfolio
from engine.results import RunResult
from engine.risk import RiskGate, headroom
from engine.semantics import Switches
from engine.strategy import Strategy
from engine.trading_rules import TradingRules

NEW_YEAR_2024 = 1_704_067_200_000_000_000
"""2024-01-01 UTC in nanoseconds: where hand-made bars begin."""


def make_bars(
    rows: Sequence[float | Sequence[float]],
    *,
    symbol: str = "TEST",
    timeframe: str = "1d",
    start: int = NEW_YEAR_2024,
    volume: float = 1e6,
) -> Bars:
    """Return bars from rows of [open, high, low, close] or [open, high, low, close, volume], one timeframe apart.

    Args:
        rows: a row may also be one number: a bar that stays at that price.
        volume: of rows that have none.
    """
    table = np.array([_full_row(row, volume) for row in rows], dtype=np.float64).reshape(-1, 5)
    duration = Timeframe.parse(timeframe).duration
    open_time = start + duration * np.arange(len(table), dtype=np.int64)
    columns = [np.ascontiguousarray(table[:, place]) for place in range(5)]
    open_, high, low, close, volumes = columns
    stream = Stream(symbol, timeframe)
    return Bars((stream,), open_time, open_time + duration, open_, high, low, close, volumes)


def _full_row(row: Any, volume: float) -> list[float]:
    if isinstance(row, int | float):
        return [row, row, row, row, volume]
    return [*row, volume] if len(row) == 4 else list(row)


class BarsFeed:
    """A feed over bars in memory, cut into chunks of any size. For tests; feeds.memory checks what it is given."""

    def __init__(self, bars: Bars, *, chunk: int | None = None) -> None:
        self.bars = bars
        self.streams = bars.streams
        self.row_count = len(bars)
        self._chunk = chunk

    @property
    def fingerprint(self) -> str:
        digest = sha256(repr(self.streams).encode())
        for name in ("open_time", "close_time", "open", "high", "low", "close", "volume"):
            digest.update(np.ascontiguousarray(getattr(self.bars, name)).tobytes())
        return digest.hexdigest()

    def chunks(self) -> Iterator[Bars]:
        start = 0
        while start < len(self.bars):
            end = min(start + (self._chunk or len(self.bars)), len(self.bars))
            while end < len(self.bars) and self.bars.close_time[end] == self.bars.close_time[end - 1]:
                end += 1  # all rows of one instant stay in one chunk
            yield self.bars[start:end]
            start = end

    def column(self, stream: Stream, field: str) -> FloatArray:
        return np.asarray(getattr(self.bars.of(stream), field))


class ScriptedStrategy(Strategy):
    """Does what a script says at given bars, and remembers every event it was told of."""

    def __init__(self, steps: Mapping[int, Callable[["ScriptedStrategy", Bar], Any]]) -> None:
        super().__init__()
        self.steps = dict(steps)
        self.bars_seen = 0
        self.fills: list[Fill] = []
        self.events: list[OrderEvent] = []

    def on_bar(self, bar: Bar) -> None:
        step = self.steps.get(self.bars_seen)
        self.bars_seen += 1
        if step is not None:
            step(self, bar)

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill)

    def on_order(self, event: OrderEvent) -> None:
        self.events.append(event)


@dataclass(frozen=True)
class Terms:
    """Under which terms `run_bars` runs."""

    cash: Decimal = Decimal(1_000_000)
    currency: str = "USD"
    switches: Switches = field(default_factory=Switches)
    fees: FeeSchedule = field(default_factory=MakerTakerFees)
    slippage: Slippage = field(default_factory=NoSlippage)
    latency: Latency | None = None
    risk: RiskGate | None = None
    allow_short: bool = True
    price_increment: Decimal = Decimal("0.01")
    quantity_increment: Decimal = Decimal("0.00000001")
    min_notional: Decimal = Decimal(0)
    detail: Detail | None = None
    """Finer bars, for `path="detail"`."""
    margin: MarginTerms | None = None
    carry: CarryTerms | None = None
    rules: Mapping[str, TradingRules] = field(default_factory=dict)
    marks: MarkPrices | None = None
    converts: bool = False


def run_bars(
    bars: Bars,
    strategy: Strategy,
    terms: Terms | None = None,
    *,
    instruments: Sequence[Instrument] = (),
    journal: Journal | None = None,
    chunk: int | None = None,
    forecasters: Mapping[str, Forecaster] | None = None,
    forecast_terms: ForecastTerms | None = None,
) -> RunResult:
    """Run a strategy over bars on a simulated exchange and return the result.

    Args:
        instruments: those that differ from what `terms` says for every symbol.
        chunk: rows a chunk; the result does not depend on it.
        forecasters: models that the strategy may ask for, by name (engine.forecasting.testing has small ones);
            forecast_terms: their seed, store, latency and so on.
    """
    feed = BarsFeed(bars, chunk=chunk)
    parts = parts_for(feed, strategy, terms, instruments=instruments, journal=journal)
    terms_of_forecasts = forecast_terms or ForecastTerms()
    return Engine(replace(parts, forecasters=forecasters or {}, forecast_terms=terms_of_forecasts)).run()


def engine_for(
    bars: Bars,
    strategy: Strategy,
    terms: Terms | None = None,
    *,
    instruments: Sequence[Instrument] = (),
    journal: Journal | None = None,
    chunk: int | None = None,
) -> Engine:
    """Return the engine that `run_bars` runs, with its portfolio and broker to look at."""
    return Engine(parts_for(BarsFeed(bars, chunk=chunk), strategy, terms, instruments=instruments, journal=journal))


def parts_for(
    feed: Feed,
    strategy: Strategy,
    terms: Terms | None = None,
    *,
    instruments: Sequence[Instrument] = (),
    journal: Journal | None = None,
) -> Parts:
    """Return the parts of a run over any feed, with new books and a simulated exchange."""
    terms = terms or Terms()
    symbols = tuple(dict.fromkeys(stream.symbol for stream in feed.streams))
    named = {instrument.symbol: instrument for instrument in instruments}
    every = [
        named.get(symbol)
        or Instrument(
            symbol,
            terms.currency,
            price_increment=terms.price_increment,
            quantity_increment=terms.quantity_increment,
            min_notional=terms.min_notional,
        )
        for symbol in symbols
    ]
    cash = dict.fromkeys(dict.fromkeys([terms.currency, *(i.quote for i in every)]), terms.cash)
    portfolio = Portfolio(cash, every, allow_short=terms.allow_short, margin=terms.margin, converts=terms.converts)
    clearing = None
    if terms.margin or terms.carry or terms.rules or terms.marks:
        clearing = Clearing(portfolio, terms.carry, terms.rules, terms.marks)
    broker = SimulatedExchange(
        portfolio, terms.switches, fees=terms.fees, slippage=terms.slippage, clearing=clearing, detail=terms.detail
    )
    return Parts(
        feed,
        strategy,
        broker,
        portfolio,
        journal=journal,
        risk=terms.risk,
        latency=terms.latency,
        headroom=headroom(
                terms.fees, terms.slippage, symbols[0], float(terms.margin.leverage) if terms.margin else 1.0
            ),
        checks_brackets=terms.switches.checks_brackets,
    )


def strategy_in(file: Path, name: str) -> type[Strategy]:
    """Return a strategy out of a file, wherever the file lies and however tests are imported.

    Raises:
        PluginError: there is no such file, or no such strategy in it.
    """
    spec = spec_from_file_location(f"strategy_in_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise PluginError(f"{file} is no Python file; expected that of a strategy")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise PluginError(f"{file} has no strategy {name!r}{nearest_name(name, list(vars(module)))}")
    return found


def daily_index(time: int) -> int:
    """Return which of the hand-made daily bars closed at a time."""
    return (time - NEW_YEAR_2024) // DAY - 1
