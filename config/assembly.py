"""Assembly: builds the parts of a run out of settings, and runs it. The one file that imports every package.

Settings say what; the constructors below get exactly what they need, and nothing under `config` sees a settings object.
"""

import glob
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from brokers.simulated import simulated_broker
from config.settings import (
    ROOT,
    CatalogData,
    ConstantLatencySettings,
    EquityFeeSettings,
    FileData,
    FixedSlippageSettings,
    InstrumentSettings,
    MakerTakerFeeSettings,
    NoSlippageSettings,
    Settings,
    SyntheticData,
    TieredFeeSettings,
    VolatilitySlippageSettings,
)
from engine.analysis.assumptions import assumption_card
from engine.analysis.benchmark import Benchmark, buy_and_hold
from engine.analysis.report_data import ReportData, report_from_result
from engine.bars import DAY, Bars, Stream, iso, nanoseconds
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
from engine.errors import DataError, SettingsError, nearest_name
from engine.instruments import Instrument, infer_price_increment
from engine.interfaces import Feed
from engine.journal.sql import SqlJournal
from engine.loop import Engine, Parts, Progress
from engine.portfolio import Portfolio
from engine.records import Batch, DecisionRow, OrderRow, RunEnd, RunStart
from engine.results import RunResult
from engine.risk import headroom
from engine.strategy import Strategy
from feeds.catalog import Catalog
from feeds.chunks import join
from feeds.files import read_bars
from feeds.layout import FileLayout
from feeds.memory import MemoryFeed
from feeds.resample import ResampledFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from strategies.registry import find

LIBRARIES = ("numpy", "numba", "TA-Lib", "pandas", "pyarrow", "SQLAlchemy")
"""What a result may depend on beside our own code."""

MOST_BARS_TO_SHOW = 5_000_000
"""Of more bars than these a report has no candles, excursions and benchmark: they would all have to be in memory."""

_FILE_ENDINGS = ("csv", "csv.gz", "feather", "json", "parquet", "txt", "zip")
_BLOCK = 1_000_000


@dataclass(frozen=True)
class Backtest:
    """A finished backtest: the result with its statistics, and everything that a summary or a report shows."""

    settings: Settings
    result: RunResult
    report: ReportData

    def summary(self) -> dict[str, Any]:
        """Return what `backtest --json` writes and the journal keeps; JSON-ready."""
        result = self.result
        return {
            "run_id": result.run_id,
            "name": self.settings.run.name,
            "strategy": result.strategy,
            "symbols": list(result.symbols),
            "bars": result.bars,
            "loop_seconds": result.loop_seconds,
            "bars_per_second": result.bars_per_second,
            "orders": result.order_count,
            "refused": result.refused_count,
            "fills": len(result.fills),
            "final_equity": f"{result.final_equity:f}",
            "currency": result.curve.currency,
            "fills_hash": result.fills_hash,
            "data_fingerprint": result.data_fingerprint,
            "statistics": result.statistics,
            "assumption_card": result.assumptions,
        }


def run_backtest(settings: Settings, progress: Progress | None = None) -> Backtest:
    """Run a backtest, journal it, and return it with its statistics.

    Raises:
        SettingsError, DataError, PluginError: before the first bar, if anything does not fit.
        StrategyError: the strategy raised; what was journalled is kept, and the run marked failed.
    """
    strategy = make_strategy(settings)
    feed = make_feed(settings)
    portfolio = make_portfolio(settings, feed)
    with ExitStack() as stack:
        held = None
        if settings.journal.enabled:
            held = _HeldJournal(stack.enter_context(SqlJournal(_with_folder(settings.journal.url))))
        parts = make_parts(settings, strategy, feed, portfolio)
        parts = replace(parts, journal=held)
        result = Engine(parts).run(progress)
        backtest = _finished(settings, parts, result, held)
        if held is not None:
            held.close_run(backtest.summary())
    return backtest


def make_parts(settings: Settings, strategy: Strategy, feed: Feed, portfolio: Portfolio) -> Parts:
    """Return the parts of a run, the journal left out."""
    fees, slippage, latency = make_fees(settings), make_slippage(settings), make_latency(settings)
    switches = settings.fills.switches(settings.run.seed)
    return Parts(
        feed, strategy, simulated_broker(portfolio, switches, fees=fees, slippage=slippage), portfolio, latency=latency,
        headroom=min(headroom(fees, slippage, symbol) for symbol in portfolio.instruments),
        start=_manifest(settings, strategy, feed, portfolio, switches.card(), fees, slippage, latency),
    )


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_strategy(settings: Settings) -> Strategy:
    """Return the strategy with its parameters.

    Raises:
        PluginError: it cannot be found or loaded.
        SettingsError: a parameter is unknown or out of range.
    """
    return find(settings.strategy.name, settings.strategy.folders)(**settings.strategy.parameters)


def make_feed(settings: Settings) -> Feed:
    """Return the feed, checked.

    Raises:
        DataError: bars are missing or cannot be bars.
    """
    data = settings.data
    feed: Feed
    match data:
        case SyntheticData():
            feed = SyntheticFeed(make_market(data, settings.run.seed))
        case CatalogData():
            feed = Catalog(data.folder).feed(
                data.symbols, data.timeframe, start=data.start, end=data.end, gap_policy=data.gap_policy,
                calendar=data.calendar,
            )
        case FileData():
            feed = MemoryFeed(_bars_of_files(data), gap_policy=data.gap_policy, calendar=data.calendar)
    for timeframe in data.resample:
        feed = ResampledFeed(feed, timeframe)
    return feed


def make_market(data: SyntheticData, seed: int) -> SyntheticMarket:
    """Return the made-up market."""
    if len(data.timeframe) > 1:
        raise SettingsError(
            f"data.timeframe is {list(data.timeframe)}; a synthetic market has one; make the others with data.resample")
    chosen: dict[str, Any] = {"start": data.start} if data.start else {}
    market = SyntheticMarket(
        data.symbols, data.timeframe[0], data.bars, seed=seed if data.seed is None else data.seed,
        volatility=data.volatility, drift=data.drift, correlation=data.correlation, jumps_per_day=data.jumps_per_day,
        daily_volume=data.daily_volume, **chosen,
    )
    if data.end is None:
        return market
    duration = market.duration
    rows = (nanoseconds(data.end) - nanoseconds(market.start)) // duration
    return replace(market, rows=max(min(rows, market.rows), 1))


def make_portfolio(settings: Settings, feed: Feed) -> Portfolio:
    """Return the accounts and positions before the first bar.

    Raises:
        SettingsError: an instrument that is not in the feed is described, or one is paid in a currency without account.
    """
    symbols = list(dict.fromkeys(stream.symbol for stream in feed.streams))
    for symbol in settings.instruments:
        if symbol not in symbols and symbol != "default":
            raise SettingsError(
                f'instruments."{symbol}" describes what the data have not{nearest_name(symbol, symbols)}; '
                f"they have {_some(symbols)}")
    cash = settings.account.cash
    if not isinstance(cash, dict):
        cash = {settings.account.currency or _quote_of(symbols[0], _described(settings, symbols[0])) or "USD": cash}
    currency = next(iter(cash))
    instruments = [make_instrument(symbol, _described(settings, symbol), feed, currency) for symbol in symbols]
    return Portfolio(cash, instruments, allow_short=settings.account.allow_short)


def make_instrument(symbol: str, described: InstrumentSettings, feed: Feed, currency: str) -> Instrument:
    """Return an instrument; what its settings leave open comes from its name and its prices."""
    return Instrument(
        symbol,
        quote=_quote_of(symbol, described) or currency,
        base=described.base or symbol.partition("/")[0],
        price_increment=described.price_increment or _price_increment(symbol, feed),
        quantity_increment=described.quantity_increment,
        min_quantity=described.min_quantity,
        min_notional=described.min_notional,
        multiplier=described.multiplier,
        venue=described.venue,
    )


def make_fees(settings: Settings) -> FeeSchedule:
    """Return what the venue charges."""
    match settings.costs.fees:
        case MakerTakerFeeSettings(maker=maker, taker=taker, symbols=symbols):
            return MakerTakerFees(maker, taker, {name: (rates.maker, rates.taker) for name, rates in symbols.items()})
        case TieredFeeSettings(tiers=tiers, window_days=days):
            return TieredFees([FeeTier(tier.volume, tier.maker, tier.taker) for tier in tiers], window=days * DAY)
        case EquityFeeSettings(per_share=per_share, rate=rate, minimum=minimum, stamp_duty=duty):
            return EquityFees(per_share, rate, minimum, duty)


def make_slippage(settings: Settings) -> Slippage:
    """Return how taking liquidity moves the price."""
    chosen = settings.costs.slippage
    match chosen:
        case NoSlippageSettings():
            return NoSlippage()
        case FixedSlippageSettings():
            return FixedSlippage(chosen.basis_points, chosen.half_spread_basis_points)
        case VolatilitySlippageSettings():
            return VolatilitySlippage(chosen.fraction, chosen.horizon_seconds, chosen.half_spread_basis_points)
    return SquareRootImpact(chosen.coefficient, chosen.exponent, chosen.half_spread_basis_points)


def make_latency(settings: Settings) -> Latency:
    """Return the delay before the venue sees an order."""
    chosen = settings.costs.latency
    if isinstance(chosen, ConstantLatencySettings):
        return ConstantLatency(round(chosen.milliseconds * 1e6))
    seed = settings.run.seed if chosen.seed is None else chosen.seed
    return LognormalLatency(round(chosen.median_milliseconds * 1e6), chosen.sigma, seed)


def _described(settings: Settings, symbol: str) -> InstrumentSettings:
    known = settings.instruments
    return known.get(symbol) or known.get("default") or InstrumentSettings()


def _quote_of(symbol: str, described: InstrumentSettings) -> str:
    """Return what the symbol is paid in: BTC/USDT and ccxt's BTC/USDT:USDT in USDT; empty if the name does not say."""
    return described.quote or symbol.partition("/")[2].partition(":")[0]


def _price_increment(symbol: str, feed: Feed) -> Decimal:
    """Return the coarsest power of ten that all prices of a symbol are multiples of."""
    finest = Decimal(1)
    for stream in feed.streams:
        for field in ("open", "high", "low", "close") if stream.symbol == symbol else ():
            column = feed.column(stream, field)
            for start in range(0, 0 if column is None else len(column), _BLOCK):
                assert column is not None
                finest = min(finest, infer_price_increment(column[start : start + _BLOCK]))
    return finest


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def expand(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths, folders and patterns mean, sorted within each.

    Raises:
        DataError: a folder or pattern has no file of bars in it.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for ending in _FILE_ENDINGS for file in path.glob(f"*.{ending}"))
        elif glob.has_magic(str(path)):
            found = [Path(name) for name in sorted(glob.glob(str(path)))]
        else:
            found = [path]
        if not found:
            raise DataError(f"{path}: no file of bars is there; expected one of {', '.join(_FILE_ENDINGS)}")
        files.extend(found)
    return files


def _bars_of_files(data: FileData) -> list[Bars]:
    files = expand(data.paths)
    if len(data.symbols) not in (0, 1, len(files)):
        raise SettingsError(
            f"data.symbols names {len(data.symbols)} symbols for {len(files)} files; expected none, one, or one a file")
    if len(data.timeframe) > 1:
        raise SettingsError(
            f"data.timeframe is {list(data.timeframe)}; files of one setting have one; make others with data.resample")
    symbols = data.symbols or (None,)
    layout = FileLayout(**data.layout.model_dump())
    timeframe = data.timeframe[0] if data.timeframe else None
    of_stream: dict[Stream, list[Path]] = {}
    one_by_one: dict[Path, Bars] = {}
    for place, file in enumerate(files):
        bars = read_bars(
            file, symbol=symbols[place % len(symbols)], timeframe=timeframe, layout=layout, sort=data.sort,
            bad_rows=data.bad_rows,
        )
        one_by_one[file] = bars
        of_stream.setdefault(bars.streams[0], []).append(file)
    sets = []
    for stream, parts in of_stream.items():
        bars = one_by_one[parts[0]] if len(parts) == 1 else read_bars(
            parts, symbol=stream.symbol, timeframe=stream.timeframe, layout=layout, sort=data.sort, bad_rows=data.bad_rows)
        sets.append(_between(bars, data.start, data.end))
    return sets


def _between(bars: Bars, start: datetime | None, end: datetime | None) -> Bars:
    first = np.searchsorted(bars.open_time, nanoseconds(start)) if start else 0
    last = np.searchsorted(bars.close_time, nanoseconds(end), side="right") if end else len(bars)
    if first >= last:
        stream = bars.streams[0]
        raise DataError(
            f"{stream.symbol} {stream.timeframe}: no bars within data.start and data.end; there are some from "
            f"{iso(int(bars.open_time[0]))} to {iso(int(bars.close_time[-1]))}")
    return bars[int(first) : int(last)]


# ── manifest ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _manifest(
    settings: Settings, strategy: Strategy, feed: Feed, portfolio: Portfolio, switches: Mapping[str, Any],
    fees: FeeSchedule, slippage: Slippage, latency: Latency,
) -> RunStart:
    """Return everything that the run is a pure function of."""
    first, last = _span(feed)
    gaps = getattr(feed, "gaps", ())
    data = {
        "source": settings.data.source,
        "streams": [{"symbol": stream.symbol, "timeframe": stream.timeframe} for stream in feed.streams],
        "rows": feed.row_count,
        "start": first,
        "end": last,
        "from_ns": first,
        "from": iso(first),
        "to": iso(last),
        "gap_policy": settings.data.gap_policy,
        "missing_bars": sum(gap.missing for gap in gaps),
        "is_synthetic": settings.data.source == "synthetic",
    }
    instruments = {symbol: _rules_of(instrument) for symbol, instrument in portfolio.instruments.items()}
    costs = {"fees": fees.card(), "slippage": slippage.card(), "latency": latency.card()}
    commit, is_dirty = code_version()
    return RunStart(
        kind="backtest",
        strategy=type(strategy).__name__,
        settings=settings.model_dump(mode="json"),
        assumptions=assumption_card(switches, costs, instruments, data),
        data_fingerprint=feed.fingerprint,
        data=data,
        instruments=instruments,
        code_version=commit,
        is_dirty=is_dirty,
        seeds=_seeds(settings),
        libraries=library_versions(),
        started_at=time.time_ns(),
    )


def _rules_of(instrument: Instrument) -> dict[str, str]:
    names = ("quote", "base", "price_increment", "quantity_increment", "min_quantity", "min_notional", "multiplier", "venue")
    rules = {name: getattr(instrument, name) for name in names}
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in rules.items()}


def _seeds(settings: Settings) -> dict[str, int]:
    seed = settings.run.seed
    chosen = {"run": seed, "fills": settings.fills.seed, "latency": getattr(settings.costs.latency, "seed", None)}
    if isinstance(settings.data, SyntheticData):
        chosen["market"] = settings.data.seed
    return {name: seed if value is None else value for name, value in chosen.items()}


def _span(feed: Feed) -> tuple[int, int]:
    """Return the first open time and the last close time, UTC nanoseconds."""
    first, last = None, 0
    for chunk in feed.chunks():
        first = int(chunk.open_time.min()) if first is None else first
        last = int(chunk.close_time[-1])
    return first or 0, last


def code_version() -> tuple[str, bool | None]:
    """Return the commit of the checkout and whether anything in it differs from that; ("unknown", None) outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", None


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result may depend on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}}


# ── after the run ───────────────────────────────────────────────────────────────────────────────────────────────────


class _HeldJournal:
    """A journal whose run is closed only once its statistics are known, which is after the loop has ended.

    A run that failed or was interrupted has none, and is closed at once.
    """

    def __init__(self, journal: SqlJournal) -> None:
        self._journal = journal
        self._end: RunEnd | None = None

    def begin(self, start: RunStart) -> int:
        return self._journal.begin(start)

    def write(self, batch: Batch) -> None:
        self._journal.write(batch)

    def end(self, end: RunEnd) -> None:
        if end.status == "completed":
            self._journal.flush()
            self._end = end
        else:
            self._journal.end(end)

    def close_run(self, summary: Mapping[str, Any]) -> None:
        """Close the run with what came out of it."""
        assert self._end is not None
        self._journal.end(replace(self._end, result={**self._end.result, **summary}))

    def reasons(self, run_id: int) -> tuple[Sequence[OrderRow], Sequence[DecisionRow]]:
        """Return why every order was made."""
        with self._journal.snapshot() as reader:
            return reader.rows(OrderRow, run_id), reader.rows(DecisionRow, run_id)


def _finished(settings: Settings, parts: Parts, result: RunResult, held: _HeldJournal | None) -> Backtest:
    bars = bars_of(parts.feed)
    orders: Sequence[OrderRow] = ()
    decisions: Sequence[DecisionRow] = ()
    if held is not None and result.run_id is not None and settings.report.html is not None:
        orders, decisions = held.reasons(result.run_id)
    report = report_from_result(
        result, bars=bars, benchmark=_benchmark(settings, bars, result), manifest=parts.start, orders=orders,
        decisions=decisions,
    )
    return Backtest(settings, replace(result, statistics=report.statistics.as_dict()), report)


def bars_of(feed: Feed) -> Bars | None:
    """Return all bars of a feed, None if they are too many to have in memory."""
    if feed.row_count is None or feed.row_count > MOST_BARS_TO_SHOW:
        return None
    return join(list(feed.chunks()))


def _benchmark(settings: Settings, bars: Bars | None, result: RunResult) -> Benchmark | None:
    chosen = settings.report.benchmark
    if bars is None or chosen == "buy_and_hold":
        return None
    symbols = list(bars.symbols)
    if chosen not in symbols:
        raise SettingsError(
            f"report.benchmark is {chosen!r}{nearest_name(chosen, symbols)}; expected buy_and_hold or one of "
            f"{_some(symbols)}")
    stream = next(stream for stream in bars.streams if stream.symbol == chosen)
    return buy_and_hold(bars.of(stream), result.curve.time)


def _with_folder(url: str) -> str:
    """Make the folder of an SQLite file, and return the URL."""
    if url.startswith("sqlite:///") and ":memory:" not in url:
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return url


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


