"""Assembly: builds the parts of a run out of settings, and runs it. The one file that imports every package.

Settings say what; the constructors below get exactly what they need, and nothing under `config` sees a settings object.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from brokers.simulated import simulated_broker
from config.accounts import clearing_card, contract_kind, funding_gaps, make_clearing, make_margin
from config.bounds import Asked, Declared, asked_of, bounds_of
from config.costs import make_fees, make_latency, make_slippage
from config.data import Survey, bars_of, known_increments, make_feed, survey
from config.detail import make_detail
from config.faults import dotted
from config.forecasts import determinism, forecast_terms, make_forecasters, make_policies, model_hashes
from config.manifest import run_inputs, run_manifest
from config.risk import make_gate, named_symbols
from config.settings import DEFAULT_JOURNAL, ROOT, InstrumentSettings, Settings, journal_url, settings_from
from engine.ambiguity import AmbiguityWatch
from engine.analysis.benchmark import Benchmark, buy_and_hold
from engine.analysis.report_data import ReportData, report_from_journal, report_from_result
from engine.bars import Bars
from engine.errors import EngineError, SettingsError, nearest_name
from engine.exchange import SimulatedExchange
from engine.forecasting.computing import Told
from engine.forecasts import Forecaster
from engine.instruments import Instrument
from engine.interfaces import Detail, Feed
from engine.journal.lineage import load_run
from engine.journal.reading import Readable
from engine.journal.sql import SqlJournal
from engine.live.recorded import session_bars
from engine.loop import Engine, Parts, Progress
from engine.policies import Policy
from engine.portfolio import Portfolio
from engine.records import Batch, DecisionRow, OrderRow, RunEnd, RunStart
from engine.results import RunResult
from engine.risk import Halt, headroom
from engine.strategy import Strategy
from strategies.registry import StrategyInfo, available, find


@dataclass(frozen=True)
class Backtest:
    """A finished backtest: the result with its statistics, and everything that a summary or a report shows."""

    settings: Settings
    result: RunResult
    report: ReportData
    asked: Asked = ()

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
            "refused_by": result.refused_by,
            "halts": sum(isinstance(event, Halt) for event in result.risk_events),
            "fills": len(result.fills),
            "final_equity": f"{result.final_equity:f}",
            "currency": result.curve.currency,
            "fills_hash": result.fills_hash,
            "data_fingerprint": result.data_fingerprint,
            "statistics": result.statistics,
            "assumption_card": result.assumptions,
            "bounds": self.report.bounds,
            "detail": result.detail._asdict() if result.detail is not None else None,
            "forecasts": dict(self.report.forecasts),
        }


def run_backtest(
    settings: Settings, progress: Progress | None = None, *, rerun: Mapping[str, str] | None = None,
    journal_at: Callable[[str], Any] = SqlJournal, forecasts_told: Told | None = None,
) -> Backtest:
    """Run a backtest, journal it, and return it with its statistics.

    Args:
        forecasts_told: told of the forecasts that are ready, from another thread.
        rerun: what the journal is to say of the run that this one is a rerun of.
        journal_at: opens the journal at a URL; another for a run whose journal another process writes.
    Raises:
        SettingsError, DataError, PluginError: before the first bar, if anything does not fit.
        StrategyError: the strategy raised; what was journalled is kept, and the run marked failed.
    """
    strategy = make_strategy(settings)
    feed = make_feed(settings)
    check_symbols(settings, feed)
    seen = survey(feed, known=known_increments(settings, feed))
    portfolio = make_portfolio(settings, feed, seen.price_increments)
    forecasters, policies = make_forecasters(settings, feed.streams[0].timeframe), make_policies(settings)
    models: dict[str, Forecaster | Policy] = {**forecasters, **policies}
    with ExitStack() as stack:
        held = None
        if settings.journal.enabled:
            journal = stack.enter_context(journal_at(_with_folder(settings.journal.url)))
            with journal.snapshot() as reader:
                inputs = run_inputs(
                    settings, strategy, feed, known=reader.checked_stream, rerun=rerun, models=model_hashes(models)
                )
            held = _HeldJournal(journal, inputs)
        parts = make_parts(settings, strategy, feed, portfolio, seen)
        assert parts.start is not None
        start = replace(parts.start, determinism=determinism(models))
        terms = stack.enter_context(forecast_terms(settings, forecasts_told))
        parts = replace(
            parts, journal=held, start=start, forecasters=forecasters, forecast_terms=terms, policies=policies
        )
        result = Engine(parts).run(progress)
        backtest = _with_bounds(_finished(settings, parts, result, held), parts)
        if held is not None:
            held.close_run(backtest.summary())
    return backtest


def make_parts(settings: Settings, strategy: Strategy, feed: Feed, portfolio: Portfolio, seen: Survey) -> Parts:
    """Return the parts of a run, the journal left out."""
    fees, slippage = make_fees(settings.costs), make_slippage(settings.costs)
    latency = make_latency(settings.costs, settings.run.seed)
    switches = settings.fills.switches(settings.run.seed)
    gate = make_gate(settings.risk)
    clearing = make_clearing(settings, portfolio, seen)
    detail = make_detail(settings, feed)
    broker = simulated_broker(
        portfolio, switches, fees=fees, slippage=slippage, clearing=clearing, detail=detail.bars if detail else None
    )
    fills = {**switches.card(), **({"detail": detail.label} if detail else {})}
    leverage = float(portfolio.margin.leverage) if portfolio.margin is not None else 1.0
    return Parts(
        feed, strategy, broker, portfolio, latency=latency,
        headroom=min(headroom(fees, slippage, symbol, leverage) for symbol in portfolio.instruments),
        start=run_manifest(settings, strategy, feed, seen, portfolio, fills, fees, slippage, latency,
                           gate.card(), clearing_card(portfolio, clearing), funding_gaps(clearing, seen)),
        mode=settings.run.mode, checks_brackets=switches.checks_brackets, risk=gate,
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
    for setting, symbol in (*described.items(), *named_symbols(settings.risk)):
        if symbol not in symbols:
            raise SettingsError(
                f"{setting} names {symbol!r}, which is not in the data; expected one of {_some(symbols)}"
                f"{nearest_name(symbol, symbols)}")


def make_portfolio(settings: Settings, feed: Feed, price_increments: Mapping[str, Decimal]) -> Portfolio:
    """Return the accounts and positions before the first bar.

    Args:
        price_increments: of every symbol, as settings give them or the prices show.
    Raises:
        SettingsError: an instrument is paid in a currency without account, a currency cannot be converted, or the
            account cannot hold an instrument.
    """
    symbols = list(dict.fromkeys(stream.symbol for stream in feed.streams))
    cash = settings.account.cash
    if not isinstance(cash, dict):
        cash = {settings.account.currency or _quote_of(symbols[0], _described(settings, symbols[0])) or "USD": cash}
    currency = next(iter(cash))
    instruments = [
        make_instrument(symbol, _described(settings, symbol), price_increments[symbol], currency) for symbol in symbols
    ]
    return Portfolio(
        cash, instruments, allow_short=settings.account.allow_short, margin=make_margin(settings, symbols),
        converts=True,
    )


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
        kind=contract_kind(symbol, described, currency),
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

    def __init__(self, journal: SqlJournal, inputs: Batch) -> None:
        self._journal = journal
        self._inputs = inputs
        self._end: RunEnd | None = None

    def begin(self, start: RunStart) -> int:
        run_id = self._journal.begin(start)
        self._journal.write(self._inputs)
        return run_id

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
        decisions=decisions, account_events=result.account_events,
    )
    watch = parts.broker.watch if isinstance(parts.broker, SimulatedExchange) else AmbiguityWatch()
    return Backtest(settings, replace(result, statistics=report.statistics.as_dict()), report, asked_of(watch))


def _with_bounds(backtest: Backtest, parts: Parts) -> Backtest:
    """Return the backtest with what its bars leave open, and its result at worst and at best."""
    if not isinstance(parts.broker, SimulatedExchange):
        return backtest
    run = Declared(
        backtest.settings, backtest.result, parts.broker, parts.portfolio, bars_of(parts.feed),
        lambda: _finer_bars(backtest.settings, parts.feed),
    )
    return replace(backtest, report=replace(backtest.report, bounds=bounds_of(run, run_backtest)))


def _finer_bars(settings: Settings, feed: Feed) -> Detail | None:
    """Return the finer bars that settings name, whether or not the run traded by them."""
    if settings.data.detail is None:
        return None
    by_them = settings.fills.model_copy(update={"path": "detail"})
    detail = make_detail(settings.model_copy(update={"fills": by_them}), feed)
    return detail.bars if detail is not None else None


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
    bars, note = _bars_again(run.start) if not record.session_inputs else (session_bars(record), "")
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


