"""What a run is assembled from, and what it consists of while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.bars import Bar, FloatArray, Stream
from engine.bus import Bus
from engine.clock import SimulatedClock
from engine.context import EngineContext, Lines
from engine.costs import Latency
from engine.deciding import WatchedPolicy
from engine.desk import OrderDesk
from engine.errors import SettingsError
from engine.events import (
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderHeld,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    OrderUnresolved,
    RequestRefused,
)
from engine.exchange import SimulatedExchange
from engine.forecasting.book import ForecastBook, ForecastTerms
from engine.forecasts import Forecaster
from engine.guard import Guard
from engine.interfaces import Broker, Clock, Feed, Journal
from engine.moment import ManyMoment, Moment, SingleMoment
from engine.policies import Policy
from engine.portfolio import Portfolio
from engine.recorder import Recorder
from engine.records import RunStart
from engine.risk import RiskGate
from engine.risk.watch import RiskWatch
from engine.strategy import Strategy, overrides

COMPILING_PAYS = 100_000
"""Rows from which loading the compiled run (about half a second, once) costs less than it saves."""

_ORDER_EVENTS = (
    OrderAccepted,
    OrderRejected,
    OrderUnresolved,
    RequestRefused,
    OrderTriggered,
    OrderReduced,
    OrderAmended,
    OrderHeld,
    OrderCancelled,
    OrderExpired,
)


@dataclass
class Parts:
    """What a run is assembled from. The three replaceable ones are the feed, the clock and the broker."""

    feed: Feed
    strategy: Strategy
    broker: Broker
    portfolio: Portfolio
    clock: Clock | None = None
    journal: Journal | None = None
    start: RunStart | None = None
    risk: RiskGate | None = None
    latency: Latency | None = None
    headroom: float = 1.0
    """The largest share of equity a target may use, so that fees fit beside it (see engine.risk.headroom)."""
    checks_brackets: bool = True
    """Whether a bracket whose children lie on the wrong side of its entry is refused (the switch of that name)."""
    mode: str = "auto"
    """"step" visits every bar; "jump" and "auto" skip those at which nothing can happen, where the strategy allows
    it."""
    checks_causality: bool = True
    """Whether an indicator or `targets` that looks ahead is refused before the run; the conformance kit lets it run, to
    find out where."""
    compile_from: int = COMPILING_PAYS
    """Rows from which orders of simple terms are dealt with in bulk by the compiled run."""
    forecasters: Mapping[str, Forecaster] = field(default_factory=dict)
    """Models that the strategy may ask for, by the name it knows them by."""
    forecast_terms: ForecastTerms = field(default_factory=ForecastTerms)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """Likewise, of networks that decide what to hold."""


@dataclass
class Running:
    """The parts of a run, wired to each other."""

    parts: Parts
    feed: Feed
    strategy: Strategy
    broker: Broker
    portfolio: Portfolio
    clock: Clock
    bus: Bus
    moment: Moment
    lines: Lines
    recorder: Recorder
    desk: OrderDesk
    context: EngineContext
    guard: Guard
    exposures: FloatArray | None = None
    """Of a strategy with vectorised targets: the new target at the rows where it changes, NaN elsewhere."""
    watch: RiskWatch | None = None
    """Looks at the account at every close; None where no risk rule asks for it."""
    book: ForecastBook | None = None
    """The forecasts of the run; None where there are no models."""
    warm_up: dict[Stream, int] = field(default_factory=dict)
    """Bars of each stream that pass before its lines have values."""

    def overrides_any(self, *handlers: str) -> bool:
        """Return whether the strategy has its own version of one of the handlers."""
        return any(overrides(self.strategy, handler) for handler in handlers)


def wire(parts: Parts) -> Running:
    """Connect the parts of a run.

    Raises:
        SettingsError: a stream of the feed has no instrument.
    """
    feed, strategy, portfolio = parts.feed, parts.strategy, parts.portfolio
    for stream in feed.streams:
        if stream.symbol not in portfolio.instruments:
            raise SettingsError(f"the feed has {stream.symbol}, but no instrument of that name was given")
    is_single = len(feed.streams) == 1 and feed.row_count is not None
    is_single = is_single and not overrides(strategy, "on_timer") and not parts.forecasters
    moment: Moment = SingleMoment(feed.streams[0].symbol) if is_single else ManyMoment([s.symbol for s in feed.streams])
    gate = parts.risk or RiskGate()
    bus = _subscribed(strategy, gate)
    recorder = Recorder(parts.journal, portfolio, type(strategy).__name__, {})
    desk = OrderDesk(
        portfolio,
        parts.broker,
        recorder,
        moment,
        bus,
        risk=gate,
        latency=parts.latency,
        headroom=parts.headroom,
        checks_brackets=parts.checks_brackets,
    )
    if isinstance(parts.broker, SimulatedExchange) and parts.broker.margins is not None:
        parts.broker.margins.forced = desk
    lines = Lines(feed)
    context = EngineContext(feed, portfolio, parts.broker, moment, lines, desk)
    context.policies = {name: WatchedPolicy(name, policy, recorder) for name, policy in parts.policies.items()}
    clock = parts.clock or SimulatedClock()
    guard = Guard(strategy, moment)
    strategy._context = context
    running = Running(
        parts, feed, strategy, parts.broker, portfolio, clock, bus, moment, lines, recorder, desk, context, guard
    )
    if gate.watches:
        running.watch = RiskWatch(gate, portfolio, desk, recorder)
    if parts.forecasters or parts.policies:
        running.book = context.book = ForecastBook(
            feed, strategy, parts.forecasters, parts.forecast_terms, recorder, moment, context.asked_policies
        )
        recorder.behind = running.book.behind
        gate.view.forecast_times = running.book.times_behind
    return running


def _subscribed(strategy: Strategy, gate: RiskGate) -> Bus:
    """Return a bus on which the strategy hears what it has handlers for; a risk gate that watches hears of fills
    first."""
    bus = Bus()
    if gate.watches:
        bus.subscribe(Fill, gate.on_fill)
    if overrides(strategy, "on_fill"):
        bus.subscribe(Fill, strategy.on_fill)
    if overrides(strategy, "on_order"):
        for kind in _ORDER_EVENTS:
            bus.subscribe(kind, strategy.on_order)
    if overrides(strategy, "on_bar"):
        bus.subscribe(Bar, strategy.on_bar)
    return bus
