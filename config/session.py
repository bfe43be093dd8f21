"""A live session out of settings and of what it was begun with; the same from a journal, to go on or to run it again.

What no setting says and yet decides orders (the venue's increments and fees of the day, the opening balances, the
session's own name) is looked up once, when a session begins, and kept with the run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from config.accounts import make_margin
from config.assembly import make_strategy
from config.costs import make_latency, make_slippage
from config.forecasts import determinism, forecast_terms, make_forecasters, make_policies, model_hashes
from config.manifest import code_version, library_versions, rules_of, run_inputs, seeds_of
from config.risk import make_gate
from config.session_training import Artefacts
from config.settings import ROOT, Settings, VenueData, settings_from
from engine.analysis.assumptions import assumption_card
from engine.bars import Stream, Timeframe
from engine.clearing import Clearing
from engine.costs import MakerTakerFees
from engine.errors import JournalError, SettingsError
from engine.forecasting.book import ForecastTerms
from engine.instruments import Instrument
from engine.interfaces import Broker, Journal
from engine.journal.reading import JournalReader, RunInfo
from engine.live.broker import VenueBroker
from engine.live.core import LiveCore
from engine.live.session import Recording, Timings
from engine.live.streams import LiveStreams
from engine.portfolio import Portfolio
from engine.records import Batch, RunStart
from engine.risk import headroom
from engine.running import Parts
from engine.strategy import Strategy

KIND = "paper"
"""What the journal calls the runs that are live sessions."""


@dataclass(frozen=True)
class SessionFacts:
    """What a session was begun with.

    Args:
        name: its own, eight letters and digits; part of every client order id.
        broker: who fills: "paper", "simulated" or "sandbox".
        instruments: with the venue's increments and minimums of that day; maker, taker: its fees, by symbol.
        cash: opening balances, by currency; the first is reported in. began_at: our clock, UTC ns.
    """

    name: str
    venue: str
    broker: str
    streams: tuple[Stream, ...]
    instruments: tuple[Instrument, ...]
    fees: Mapping[str, tuple[Decimal, Decimal]]
    cash: Mapping[str, Decimal]
    began_at: int

    def as_data(self) -> dict[str, Any]:
        """Return the facts that no other part of a run's manifest has, JSON-ready."""
        return {
            "source": "venue",
            "venue": self.venue,
            "streams": [{"symbol": stream.symbol, "timeframe": stream.timeframe} for stream in self.streams],
            "session": {
                "name": self.name,
                "broker": self.broker,
                "fees": {symbol: [f"{maker:f}", f"{taker:f}"] for symbol, (maker, taker) in self.fees.items()},
                "cash": {currency: f"{amount:f}" for currency, amount in self.cash.items()},
            },
        }


def facts_of(run: RunInfo) -> SessionFacts:
    """Return what a recorded session was begun with.

    Raises:
        JournalError: the run is no session.
    """
    data = run.start.data
    if run.start.kind != KIND or "session" not in data:
        raise JournalError(f"run {run.id} is a {run.start.kind}; expected a live session, which `paper` makes")
    own = data["session"]
    return SessionFacts(
        own["name"], data["venue"], own["broker"],
        tuple(Stream(one["symbol"], one["timeframe"]) for one in data["streams"]),
        tuple(_instrument(rules) for rules in run.start.instruments.values()),
        {symbol: (Decimal(maker), Decimal(taker)) for symbol, (maker, taker) in own["fees"].items()},
        {currency: Decimal(amount) for currency, amount in own["cash"].items()},
        run.start.started_at,
    )


def settings_of(run: RunInfo) -> Settings:
    """Return the settings of a recorded run."""
    return settings_from(run.start.settings, folder=ROOT, origin=f"the settings of run {run.id}")


def venue_data(settings: Settings) -> VenueData:
    """Return where a session's bars come from.

    Raises:
        SettingsError: the settings are those of a backtest.
    """
    if not isinstance(settings.data, VenueData):
        raise SettingsError(
            f'data.source is "{settings.data.source}"; expected "venue" for a live session: see '
            "config/examples/paper"
        )
    return settings.data


def streams_of(data: VenueData) -> tuple[Stream, ...]:
    """Return the streams that settings ask for, in feed order: shorter timeframes first."""
    if data.resample:
        raise SettingsError("data.resample is for backtests; name every timeframe in data.timeframe")
    frames = sorted(data.timeframe, key=lambda name: Timeframe.parse(name).duration)
    symbols = [*data.symbols, *(f"{one.prefix}{symbol}" for one in data.further for symbol in one.symbols)]
    return tuple(Stream(symbol, frame) for frame in frames for symbol in symbols)


def opening_cash(settings: Settings, instruments: Sequence[Instrument]) -> dict[str, Decimal]:
    """Return the balances that settings open a session with: none in a currency that is quoted in is a balance of 0."""
    cash = settings.account.cash
    if not isinstance(cash, dict):
        cash = {settings.account.currency or instruments[0].quote: cash}
    return {**cash, **{one.quote: Decimal(0) for one in instruments if one.quote not in cash}}


def check_goes_on(facts: SessionFacts, settings: Settings) -> None:
    """Refuse to go on with a session under settings that would have begun another one.

    Raises:
        SettingsError: names the first setting that differs, what it was and what it is.
    """
    data = venue_data(settings)
    for name, was, now in (
        ("data.venue", facts.venue, data.venue),
        ("live.broker", facts.broker, settings.live.broker),
        ("data.symbols and data.timeframe", _named(facts.streams), _named(streams_of(data))),
        ("account.cash", _written(facts.cash), _written(opening_cash(settings, facts.instruments))),
    ):
        if was != now:
            raise SettingsError(
                f"session {settings.run.name!r} was begun with {name} of {was}, and the settings say {now}; go back to "
                f"what it was, or begin a new session with --fresh"
            )


def _named(streams: Sequence[Stream]) -> str:
    return ", ".join(f"{stream.symbol} {stream.timeframe}" for stream in streams)


def _written(cash: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{amount.normalize():f} {currency}" for currency, amount in sorted(cash.items()))


@dataclass(frozen=True)
class Made:
    """A session's engine, and what is kept with the run beside its manifest."""

    core: LiveCore
    artefacts: Artefacts
    recording: Recording
    timings: Timings
    strategy: Strategy
    start: RunStart
    inputs: Batch


@contextmanager
def session_core(settings: Settings, facts: SessionFacts, journal: Any) -> Iterator[Made]:
    """Yield the engine of a session, its forecast store open meanwhile.

    Args:
        journal: where its rows go once it runs; a MemoryJournal for a replay.
    Raises:
        SettingsError, PluginError: as for a backtest.
    """
    strategy = make_strategy(settings)
    portfolio = Portfolio(
        facts.cash, facts.instruments, allow_short=settings.account.allow_short,
        margin=make_margin(settings, [instrument.symbol for instrument in facts.instruments]), converts=True,
    )
    base = Timeframe.parse(facts.streams[0].timeframe).name
    forecasters, policies = make_forecasters(settings, base), make_policies(settings)
    recording, timings, artefacts = Recording(journal), Timings(), Artefacts(settings, base)
    with forecast_terms(settings) as terms:
        parts = _parts(settings, facts, strategy, portfolio, recording, replace(terms, timed=timings, load=artefacts))
        parts = replace(parts, forecasters=forecasters, policies=policies)
        models: dict[str, Any] = {**forecasters, **policies}
        start = _manifest(settings, facts, strategy, portfolio, parts, determinism(models))
        inputs = run_inputs(settings, strategy, parts.feed, known=lambda _: None, models=model_hashes(models))
        late_after = Timeframe.parse(settings.live.late_after).duration
        yield Made(LiveCore(parts, late_after=late_after), artefacts, recording, timings, strategy, start, inputs)


def _parts(
    settings: Settings, facts: SessionFacts, strategy: Strategy, portfolio: Portfolio, recording: Journal,
    terms: ForecastTerms,
) -> Parts:
    fees, slippage = _fees(facts), make_slippage(settings.costs)
    broker: Broker
    latency = None
    switches = settings.fills.switches(settings.run.seed)
    if facts.broker == "simulated":
        from brokers.simulated import simulated_broker

        clearing = Clearing(portfolio) if portfolio.margin is not None else None
        broker = simulated_broker(portfolio, switches, fees=fees, slippage=slippage, clearing=clearing)
        latency = make_latency(settings.costs, settings.run.seed)
    else:
        broker = VenueBroker(portfolio, facts.name)
    leverage = float(portfolio.margin.leverage) if portfolio.margin is not None else 1.0
    return Parts(
        LiveStreams(facts.streams), strategy, broker, portfolio, journal=recording, latency=latency,
        headroom=min(headroom(fees, slippage, symbol, leverage) for symbol in portfolio.instruments),
        checks_brackets=switches.checks_brackets, risk=make_gate(settings.risk), forecast_terms=terms,
    )


def _fees(facts: SessionFacts) -> MakerTakerFees:
    """Return the venue's fees; of symbols that it names none for, the dearest that it does."""
    dearest = max(facts.fees.values(), key=lambda rates: rates[1])
    return MakerTakerFees(*dearest, dict(facts.fees))


def _manifest(
    settings: Settings, facts: SessionFacts, strategy: Strategy, portfolio: Portfolio, parts: Parts, kind: str
) -> RunStart:
    instruments = {
        symbol: {**rules_of(instrument), "kind": instrument.kind}
        for symbol, instrument in portfolio.instruments.items()
    }
    costs: dict[str, Any] = {"fees": _fees(facts).card()}
    switches: dict[str, Any] = {"broker": facts.broker}
    if facts.broker == "simulated":
        switches |= settings.fills.switches(settings.run.seed).card()
        costs |= {"slippage": make_slippage(settings.costs).card(), "latency": make_latency(settings.costs, 0).card()}
    else:
        costs |= {"slippage": {"kind": "venue"}, "latency": {"kind": "measured"}}
    risk = parts.risk.card() if parts.risk is not None else {}
    account = {"kind": settings.account.kind, "allow_short": settings.account.allow_short}
    commit, is_dirty = code_version()
    return RunStart(
        kind=KIND,
        strategy=type(strategy).__name__,
        settings=settings.model_dump(mode="json"),
        assumptions=assumption_card(
            switches, costs, instruments, {"start": facts.began_at}, risk=risk, account=account,
            filters_as_of=facts.began_at, profile=facts.broker,
        ),
        data_fingerprint="live",
        data=facts.as_data(),
        instruments=instruments,
        code_version=commit,
        is_dirty=is_dirty,
        seeds=seeds_of(settings),
        libraries=library_versions(),
        determinism=kind,
        started_at=facts.began_at,
    )


_AMOUNTS = ("price_increment", "quantity_increment", "min_quantity", "min_notional", "multiplier")


def _instrument(rules: Mapping[str, str]) -> Instrument:
    return Instrument(**{name: Decimal(value) if name in _AMOUNTS else value for name, value in rules.items()})  # type: ignore[arg-type]


def open_sessions(reader: JournalReader, name: str) -> Sequence[RunInfo]:
    """Return the sessions of a name that were left and can be gone on with, newest first."""
    return _sessions(reader, name, "interrupted", "crashed", "failed")


def running_sessions(reader: JournalReader, name: str) -> Sequence[RunInfo]:
    """Return the sessions of a name that run, or whose end nobody here could see, newest first."""
    return _sessions(reader, name, "running")


def _sessions(reader: JournalReader, name: str, *statuses: str) -> Sequence[RunInfo]:
    return [
        run for run in reader.runs()
        if run.start.kind == KIND and run.start.settings.get("run", {}).get("name") == name and run.status in statuses
    ]
