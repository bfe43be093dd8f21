"""The engine of a live session: what one input means. A function of the inputs, and of nothing else.

Whoever gives it the same inputs in the same order gets the same decisions, orders and messages: a session that runs,
one that recovers from its journal, and one that is replayed as a proof.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from engine.bars import Stream, iso
from engine.errors import SettingsError
from engine.interfaces import ForcedOrders
from engine.live.broker import differences
from engine.live.inputs import (
    BarsClosed,
    ClockTold,
    Commanded,
    FeedTold,
    ForecastsTimed,
    Input,
    ModelSwapped,
    SeriesTold,
    TrainingTold,
    VenueTold,
)
from engine.live.messages import OrderMessage
from engine.live.ports import Known
from engine.live.reports import Report
from engine.live.streams import LiveStreams
from engine.risk import RiskGate
from engine.risk.facts import CANCEL, FLATTEN, REFUSE, Refusal
from engine.risk.watch import RiskWatch
from engine.running import Parts, wire
from engine.stepping import InstantStepper, fire_timers, next_due

RECONCILIATION = "reconciliation"
"""By whom trading is halted when the venue's books and ours differ."""
_ACTIONS = {"halt": REFUSE, "cancel_all": CANCEL, "flatten": FLATTEN}


@runtime_checkable
class LiveBroker(Protocol):
    """A broker whose fills come from a venue, as reports."""

    forced: ForcedOrders | None
    """Makes the orders by which a position that the venue has otherwise is put right."""

    def take_messages(self) -> Sequence[OrderMessage]:
        """Return the messages noted since the last call, oldest first."""

    def apply(self, report: Report) -> Sequence[Any]:
        """Book what a venue reports, and return the events that follow."""

    def on_time(self, time: int) -> Sequence[Any]:
        """Do what is due by a time, and return the events that follow."""

    def known(self) -> Known:
        """Return what our books say, for asking the venue about it."""


class LiveCore:
    """Takes inputs one at a time.

    Args:
        parts: as of a backtest; the feed is a LiveStreams.
        late_after: nanoseconds after a bar's close from which it is too late to act on it: the strategy is told of the
            bar, and what it asks for is refused.
    Raises:
        SettingsError: the feed is none of a live session.
    """

    def __init__(self, parts: Parts, *, late_after: int) -> None:
        if not isinstance(parts.feed, LiveStreams):
            raise SettingsError("a live session needs a live feed; this one is known ahead")
        self.feed = parts.feed
        self.gate = gate = parts.risk or RiskGate()
        self.parts = parts = replace(parts, risk=gate)
        self.running = running = wire(parts)
        self._late_after = late_after
        if running.watch is None:  # a person may halt whatever rules there are
            running.watch = RiskWatch(gate, running.portfolio, running.desk, running.recorder)
        self._watch = running.watch
        self.venue = parts.broker if isinstance(parts.broker, LiveBroker) else None
        """The broker, if a venue fills its orders; asked once, for a Protocol is slow to tell."""
        if self.venue is not None:
            self.venue.forced = running.desk
            running.desk.waits_for_ends = True
        self._stepper = InstantStepper(running)
        self.has_traded = False
        """Whether a bar has been decided on: those before are history."""
        self.lags: dict[Stream, int] = {}
        """How long after its close each stream's last bar was heard, ns."""
        self.stale: dict[str, str] = {}
        """Why a symbol (or "", all) is not decided on now: its data are stale."""
        self.swaps: list[ModelSwapped] = []
        """The models that took over so far."""

    # ── the start ───────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, time: int) -> None:
        """Let the strategy declare what it needs, and book what the accounts begin with.

        Args:
            time: when the session was begun, UTC ns.
        """
        running, strategy = self.running, self.running.strategy
        running.guard.call("on_start", strategy.on_start)
        running.context.is_starting = False
        running.recorder.watch(running.lines.by_symbol())
        running.guard.call("on_start", lambda: running.lines.compute(checked=self.parts.checks_causality))
        if running.book is not None:
            running.book.start()
        running.warm_up = dict.fromkeys(self.feed.streams, strategy.warm_up)
        for currency, account in running.portfolio.accounts.items():
            running.recorder.account_event(time, "deposit", currency, account.cash, "opening balance")

    # ── inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, given: Input) -> None:
        """Do what an input asks for, and everything that follows from it."""
        match given:
            case BarsClosed():
                self._bars(given)
            case VenueTold(report=report):
                self._report(report)
            case ClockTold(time=time):
                self.running.guard.call("", lambda: self._clock(time))
            case Commanded():
                self.running.guard.call("", lambda: self._command(given))
            case FeedTold():
                self._feed_told(given)
            case ModelSwapped():
                self._swap(given)
            case SeriesTold():
                if self.running.book is not None:
                    self.running.book.series_told(given.columns, given.available_at, given.values)
            case TrainingTold():
                self._alert(given.time, given.level, "training", f"{given.model}: {given.text}")
            case ForecastsTimed():
                pass  # it says how long what was taken before took; see `ForecastTerms.timed`

    @property
    def next_due(self) -> int | None:
        """When the next timer or forecast is due, UTC ns; None before the first bar that was decided on, or if none
        is."""
        return next_due(self.running) if self.has_traded else None

    def messages(self) -> Sequence[OrderMessage]:
        """Return what is to be sent to the venue, oldest first."""
        return self.venue.take_messages() if self.venue is not None else ()

    def _clock(self, time: int) -> None:
        if self.venue is not None:
            self.running.desk.handle(self.venue.on_time(time))
        if self.running.book is not None:
            self.running.book.settle()
        if self.has_traded:
            fire_timers(self.running, time, inclusive=True)

    def _bars(self, given: BarsClosed) -> None:
        columns = self.feed.append(given.bars)
        if given.is_history:
            self._stepper.observe(columns)
            return
        self.has_traded = True
        lag = given.received_at - given.time
        self.lags.update(dict.fromkeys((Stream(bar.symbol, bar.timeframe) for bar in given.bars), lag))
        desk = self.running.desk
        desk.refuses = self._pause(lag)
        self._stepper.step(columns)
        if desk.refuses is not None:
            # A target that was refused would count as set; the next bar asks again.
            self.running.strategy._wanted.clear()
            desk.refuses = None
        self._value(given.time)

    def _pause(self, lag: int) -> Refusal | None:
        """Return why nothing is sent at the bars at hand, or None."""
        if lag > self._late_after:
            return Refusal("late", f"the bar was known {lag / 1e9:.1f} s after its close; expected at most "
                                   f"{self._late_after / 1e9:g} s")
        if self.stale:
            symbol, reason = next(iter(self.stale.items()))
            return Refusal("stale", f"data of {symbol or 'the venue'} are stale: {reason}")
        return None

    def _value(self, time: int) -> None:
        running = self.running
        portfolio, price_of = running.portfolio, running.moment.price
        for currency in portfolio.accounts:
            if portfolio.conversion is not None and currency != portfolio.currency:
                continue
            account = portfolio.accounts[currency]
            equity = float(portfolio.equity(currency, price_of))
            worth = equity - float(account.cash)
            running.recorder.equity(
                [(time, currency, equity, float(account.cash), worth / equity if equity else 0.0)]
            )

    def _report(self, report: Report) -> None:
        broker, desk = self.venue, self.running.desk
        assert broker is not None, "only a broker that deals with a venue is told of reports"
        events = broker.apply(report)
        self.running.guard.call("", lambda: desk.handle(events))
        for found in differences(events):
            self._alert(found.time, "error", "reconciliation", found.note)
            self._watch.halt(found.note, RECONCILIATION, time=found.time, symbol=found.symbol)
        if events and self.has_traded:
            self.running.guard.call("", lambda: self._watch.after(self.running.moment.time))

    def _feed_told(self, told: FeedTold) -> None:
        if told.kind == "stale":
            self.stale[told.symbol] = told.reason
        elif told.kind == "fresh":
            self.stale.pop(told.symbol, None)
        level = "info" if told.kind in ("fresh", "reconnected") else "warning"
        self._alert(told.time, level, "feed", f"{told.kind}{f' {told.symbol}' if told.symbol else ''}: {told.reason}")
        self.running.guard.call("", lambda: self._watch.on_feed(told))

    def _swap(self, given: ModelSwapped) -> None:
        """Let a model take over; bars of the instant at hand that come late are still the old one's."""
        book, load = self.running.book, self.parts.forecast_terms.load
        if book is None or load is None:
            raise SettingsError(f"a model was swapped for {given.model}, and these settings have no models to swap")
        last = self.running.moment.time
        book.swap(given.model, load(given.model, given.artefact, given.hash), last + 1)
        self.swaps.append(given)
        self._alert(
            given.time, "info", "training",
            f"{given.model}: {given.hash[:12]}, trained until {iso(given.trained_until)}, answers for bars that close "
            f"after {iso(last)}",
        )

    # ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _command(self, given: Commanded) -> None:
        said = f"{given.kind} by {given.actor}: {given.why or 'no reason given'}"
        self._alert(given.time, "warning", "operator", said)
        if given.kind in _ACTIONS:
            self._watch.halt(
                given.why or "asked for", given.actor, time=given.time, action=_ACTIONS[given.kind], symbol=given.symbol
            )
        elif given.kind == "lift":
            try:
                self._watch.lift(given.why, given.actor, time=given.time, rule=given.rule, symbol=given.symbol)
            except SettingsError as exc:  # what a person asks for in vain must not end the session
                self._alert(given.time, "error", "operator", str(exc))

    def _alert(self, time: int, level: str, source: str, text: str) -> None:
        self.running.recorder.alert(time, level, source, text)

    def stop(self) -> None:
        """Tell the strategy that the session is over, and score what can be."""
        self.running.guard.call("on_stop", self.running.strategy.on_stop)
        if self.running.book is not None:
            self.running.book.settle()

    def describe(self) -> str:
        """Return where the session is, for people: when its last bar closed."""
        last = max(self.feed.last_closed.values(), default=0)
        return f"the last bar closed {iso(last)}" if last else "no bar has closed yet"
