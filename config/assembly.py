"""Assembly: builds the parts of a run out of settings, and runs it. The one file that imports every package.

Settings say what; the constructors below get exactly what they need, and nothing under `config` sees a settings object.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from brokers.simulated import simulated_broker
from config.costs import make_fees, make_latency, make_slippage
from config.data import Survey, bars_of, known_increments, make_feed, survey
from config.faults import dotted
from config.manifest import run_manifest
from config.settings import DEFAULT_JOURNAL, ROOT, InstrumentSettings, Settings, journal_url, settings_from
from engine.analysis.benchmark import Benchmark, buy_and_hold
from engine.analysis.report_data import ReportData, report_from_journal, report_from_result
from engine.bars import Bars
from engine.errors import EngineError, SettingsError, nearest_name
from engine.instruments import Instrument
from engine.interfaces import Feed
from engine.journal.lineage import load_run
from engine.journal.reading import Readable
from engine.journal.sql import SqlJournal
from engine.loop import Engine, Parts, Progress
from engine.portfolio import Portfolio
from engine.records import Batch, DecisionRow, OrderRow, RunEnd, RunStart
from engine.results import RunResult
from engine.risk import headroom
from engine.strategy import Strategy
from strategies.registry import StrategyInfo, available, find


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
    check_symbols(settings, feed)
    seen = survey(feed, known=known_increments(settings, feed))
    portfolio = make_portfolio(settings, feed, seen.price_increments)
    with ExitStack() as stack:
        held = None
        if settings.journal.enabled:
            held = _HeldJournal(stack.enter_context(SqlJournal(_with_folder(settings.journal.url))))
        parts = make_parts(settings, strategy, feed, portfolio, seen)
        parts = replace(parts, journal=held)
        result = Engine(parts).run(progress)
        backtest = _finished(settings, parts, result, held)
        if held is not None:
            held.close_run(backtest.summary())
    return backtest


def make_parts(settings: Settings, strategy: Strategy, feed: Feed, portfolio: Portfolio, seen: Survey) -> Parts:
    """Return the parts of a run, the journal left out."""
    fees, slippage = make_fees(settings.costs), make_slippage(settings.costs)
    latency = make_latency(settings.costs, settings.run.seed)
    switches = settings.fills.switches(settings.run.seed)
    return Parts(
        feed, strategy, simulated_broker(portfolio, switches, fees=fees, slippage=slippage), portfolio, latency=latency,
        headroom=min(headroom(fees, slippage, symbol) for symbol in portfolio.instruments),
        start=run_manifest(settings, strategy, feed, seen, portfolio, switches.card(), fees, slippage, latency),
        mode=settings.run.mode, checks_brackets=switches.checks_brackets,
    )


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_strategy(settings: Settings) -> Strategy:
    """Return the strategy with its parameters.

    Raises:
        PluginError: it cannot be found or loaded.
        SettingsError: a parameter is unknown or out of range.
    """
    return find(settings.strategy.name, settings.strategy.folders)(**settings.strategy.parameters)


def check_symbols(settings: Settings, feed: Feed) -> None:
    """Refuse settings about symbols that are not in the feed.

    Raises:
        SettingsError: naming the nearest that is.
    """
    symbols = list(dict.fromkeys(stream.symbol for stream in feed.streams))
    described = {f"instruments.{dotted([symbol])}": symbol for symbol in settings.instruments if symbol != "default"}
    if settings.report.benchmark != "buy_and_hold":
        described["report.benchmark"] = settings.report.benchmark
    for setting, symbol in described.items():
        if symbol not in symbols:
            raise SettingsError(
                f"{setting} names {symbol!r}, which is not in the data; expected one of {_some(symbols)}"
                f"{nearest_name(symbol, symbols)}")


def make_portfolio(settings: Settings, feed: Feed, price_increments: Mapping[str, Decimal]) -> Portfolio:
    """Return the accounts and positions before the first bar.

    Args:
        price_increments: of every symbol, as settings give them or the prices show.
    Raises:
        SettingsError: an instrument is paid in a currency without account.
    """
    symbols = list(dict.fromkeys(stream.symbol for stream in feed.streams))
    cash = settings.account.cash
    if not isinstance(cash, dict):
        cash = {settings.account.currency or _quote_of(symbols[0], _described(settings, symbols[0])) or "USD": cash}
    currency = next(iter(cash))
    instruments = [
        make_instrument(symbol, _described(settings, symbol), price_increments[symbol], currency) for symbol in symbols
    ]
    return Portfolio(cash, instruments, allow_short=settings.account.allow_short)


def make_instrument(
    symbol: str, described: InstrumentSettings, price_increment: Decimal, currency: str
) -> Instrument:
    """Return an instrument; what its settings leave open comes from its name and its prices."""
    return Instrument(
        symbol,
        quote=_quote_of(symbol, described) or currency,
        base=described.base or symbol.partition("/")[0],
        price_increment=price_increment,
        quantity_increment=described.quantity_increment,
        min_quantity=described.min_quantity,
        min_notional=described.min_notional,
        multiplier=described.multiplier,
        venue=described.venue,
    )


def _described(settings: Settings, symbol: str) -> InstrumentSettings:
    known = settings.instruments
    return known.get(symbol) or known.get("default") or InstrumentSettings()


def _quote_of(symbol: str, described: InstrumentSettings) -> str:
    """Return what the symbol is paid in: BTC/USDT and ccxt's BTC/USDT:USDT in USDT; empty if the name does not say."""
    return described.quote or symbol.partition("/")[2].partition(":")[0]


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


def known_strategies(folders: Sequence[Path]) -> list[StrategyInfo]:
    """Return the strategies there are, broken ones with their fault."""
    return available(folders)


def open_journal(url: str | None) -> SqlJournal:
    """Return a journal to read, the usual one if none is named.

    Raises:
        JournalError: there is none.
    """
    return SqlJournal(journal_url(url, Path.cwd()) if url else DEFAULT_JOURNAL, create=False)


def report_of_run(journal: Readable, run_id: int | None) -> ReportData:
    """Return the report of a run from what it left in the journal, with its bars if they are still what they were.

    Args:
        run_id: None for the newest.
    Raises:
        JournalError: there is no such run.
    """
    record = load_run(journal, run_id)
    run = record.run
    bars, note = _bars_again(run.start)
    report = report_from_journal(
        run.start, fills=record.fills, equity=record.equity, orders=record.orders, decisions=record.decisions,
        account_events=record.account_events, result=run.result, bars=bars, run_id=run.id, status=run.status,
        bar_count=run.bars or 0,
    )
    return replace(report, notes=(*report.notes, note)) if note else report


def _bars_again(start: RunStart) -> tuple[Bars | None, str]:
    """Return the bars of an earlier run, or None and why not."""
    try:
        feed = make_feed(settings_from(start.settings, folder=ROOT, origin="the run's settings"))
    except EngineError as exc:
        return None, f"The data cannot be read again: {exc}"
    if feed.fingerprint != start.data_fingerprint:
        return None, "The data have changed since the run."
    return bars_of(feed), ""


def _benchmark(settings: Settings, bars: Bars | None, result: RunResult) -> Benchmark | None:
    """Return what equity is compared with; None leaves the usual one, equal parts of every symbol, to the report."""
    if bars is None or settings.report.benchmark == "buy_and_hold":
        return None
    stream = next(stream for stream in bars.streams if stream.symbol == settings.report.benchmark)
    return buy_and_hold(bars.of(stream), result.curve.time)


def _with_folder(url: str) -> str:
    """Make the folder of an SQLite file, and return the URL."""
    if url.startswith("sqlite:///") and ":memory:" not in url:
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return url


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


