"""`paper`: a live session, from its start or from where it was left, until somebody stops it.

Crash-only: there is one way to begin, which is to recover. Whatever goes wrong with the journal or the venue ends the
engine's work at once, with nothing sent that was not committed; then everything is built anew from the journal.
"""

import secrets
import string
import time as wall_time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from config.jobs import report_yesterday, start_training
from config.scheduling import (
    BAR_CLOSE,
    DAILY_REPORT,
    HEARTBEAT,
    RECONCILE,
    RETRAIN,
    SCORE,
    TRAININGS,
    Schedule,
    next_close,
)
from config.session import (
    SessionFacts,
    check_goes_on,
    facts_of,
    open_sessions,
    opening_cash,
    running_sessions,
    session_core,
    streams_of,
    venue_data,
)
from config.session_series import SeriesFiles
from config.session_training import FOLDER, Artefacts, Trainer, retrained_models
from config.settings import Settings
from engine.bars import Stream, Timeframe, iso, nanoseconds, utc
from engine.errors import DivergenceError, JournalError, SettingsError, VenueUnavailable
from engine.instruments import Instrument
from engine.journal.process import can_be_seen
from engine.journal.reading import RunInfo
from engine.journal.sql import SqlJournal
from engine.live.controls import Controls
from engine.live.inputs import ClockTold, Input
from engine.live.ports import InputSource, VenueLink
from engine.live.session import Checkpoint, Session

NOT_AS_IT_WAS = (
    "the session cannot be gone on with as things are: its settings, its strategy, its models or Barcast itself have "
    "changed so that it would have decided otherwise; go back to what they were, or begin a new session with --fresh"
)
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between attempts to go on while the journal or the venue is away."""
CLOSE_PATIENCE = 10.0
"""Seconds beyond the feed's own grace, after which a bar that has not come is told of."""
SCORE_EVERY = 60.0
"""Seconds between two looks for forecasts whose horizon has closed."""


@dataclass(frozen=True)
class VenueTerms:
    """What a venue says of the instruments of a session today: increments and minimums, maker and taker fees."""

    instruments: tuple[Instrument, ...]
    fees: Mapping[str, tuple[Decimal, Decimal]]


class Edge(Protocol):
    """The outside world of one session. I/O happens behind it, in threads of its own."""

    def terms(self) -> VenueTerms:
        """Ask the venue what holds today.

        Raises:
            VenueUnavailable: it does not answer. DataError: it does not have a symbol or a timeframe.
        """

    def open(self, facts: SessionFacts, last_closed: Mapping[Stream, int]) -> tuple[InputSource, VenueLink | None]:
        """Begin to listen, and return where inputs come from and where messages go.

        Args:
            last_closed: of a session that is gone on with: when the last bar of each stream closed that it has.
        """

    def describe(self) -> dict[str, Any]:
        """Return what the edge knows for a status: clock_offset, queue_depth, reconnects."""

    def close(self) -> None:
        """Let go of everything."""


class Watching(Protocol):
    """What looks on: a dashboard, a status file, metrics, notifications. It never stops a session."""

    def began(self, session: Session, facts: SessionFacts, run_id: int) -> None: ...
    def beat(self, session: Session, edge: Edge, state: str) -> None: ...
    def told(self, level: str, text: str) -> None: ...
    def ended(self, state: str) -> None: ...


@dataclass
class PaperRun:
    """How a session is run.

    Args:
        make_edge: returns a new edge. fresh: begin a new session though one was left that could be gone on with.
        take_over: a session of this name that says it runs where nobody here can see it is gone; go on with it.
        stop: set by whoever wants the process to end; the session can be gone on with.
        until: our clock's time at which to stop, UTC ns; None for never.
        now, sleep: the wall's; others in tests.
    """

    settings: Settings
    make_edge: Callable[[], Edge]
    watching: Sequence[Watching] = ()
    fresh: bool = False
    take_over: bool = False
    stop: Event | None = None
    until: int | None = None
    now: Callable[[], int] = wall_time.time_ns
    sleep: Callable[[float], None] = wall_time.sleep
    checkpoint: Checkpoint = lambda place: None
    run_id: int | None = None

    def run(self) -> int:
        """Run until it is stopped; return the run's number.

        Raises:
            SettingsError, PluginError, DataError: before anything is traded, if something does not fit.
            JournalError: a session of this name may still be running.
            DivergenceError: a session was left by another engine or other settings and cannot be gone on with.
            StrategyError: the strategy raised; the session can be gone on with once it is mended.
        """
        pause = FIRST_PAUSE
        while True:
            began = wall_time.monotonic()
            try:
                self._once()
            except DivergenceError:
                self._tell("error", NOT_AS_IT_WAS)
                raise
            except (JournalError, VenueUnavailable) as exc:
                if self._is_over or (isinstance(exc, JournalError) and self.run_id is None):
                    raise
                if wall_time.monotonic() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                self._tell("error", f"{exc}; trying again in {pause:g} s. Nothing is decided until then.")
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            assert self.run_id is not None
            return self.run_id

    @property
    def _is_over(self) -> bool:
        return (self.stop is not None and self.stop.is_set()) or (self.until is not None and self.now() >= self.until)

    def _wait(self, seconds: float) -> None:
        if self.stop is not None:
            self.stop.wait(seconds)
        else:
            self.sleep(seconds)

    def _tell(self, level: str, text: str) -> None:
        for one in self.watching:
            one.told(level, text)

    # ── one life of the engine ──────────────────────────────────────────────────────────────────────────────────────

    def _once(self) -> None:
        """Begin or go on, and run until it is stopped, or until something is away."""
        settings = self.settings
        with ExitStack() as stack:
            journal = stack.enter_context(SqlJournal(settings.journal.url, durable=True))
            edge = self.make_edge()
            stack.callback(edge.close)
            left = self._left(journal)
            if left is None:
                facts = self._new_facts(edge)
            else:
                check_goes_on(facts := facts_of(left), settings)
            made = stack.enter_context(session_core(settings, facts, journal))
            session = Session(
                made.core, made.recording, timings=made.timings, now=self.now, checkpoint=self.checkpoint
            )
            if left is None:
                self.run_id = session.begin(made.start)
                journal.write(made.inputs)
                journal.flush()
            else:
                self._tell("info", f"recovering session {facts.name} from run {left.id}")
                count = session.resume(left.id, journal)
                self.run_id = left.id
                self._tell("info", f"{count:,} recorded inputs led to the recorded rows; {session.core.describe()}")
            source, session.link = edge.open(facts, session.last_closed)
            self._live(session, source, journal, edge, facts, self._trainer(session, facts, made.artefacts))

    def _left(self, journal: SqlJournal) -> Any:
        """Return the session to go on with; None to begin one."""
        name = self.settings.run.name
        with journal.snapshot() as reader:
            if self.run_id is not None:
                return reader.run(self.run_id)
            running = running_sessions(reader, name)
        for run in running:
            self._make_way(journal, run)
        if self.fresh:
            return None
        with journal.snapshot() as reader:
            found = open_sessions(reader, name)
        return found[0] if found else None

    def _make_way(self, journal: SqlJournal, run: RunInfo) -> None:
        """Refuse to trade beside a session of the same name, unless it is gone for certain."""
        process = f"process {run.process.pid} of {run.process.host}"
        said = f"session {self.settings.run.name!r} is run {run.id}, and {process}"
        if can_be_seen(run.process):
            raise JournalError(
                f"{said} is running it; stop that process first, or trade under another name: --set run.name=…"
            )
        if not self.take_over:
            raise JournalError(
                f"{said} was running it, which cannot be seen from here; if it is gone for certain, --take-over goes "
                f"on with the session"
            )
        journal.mark_crashed(run.id)

    def _new_facts(self, edge: Edge) -> SessionFacts:
        settings, data = self.settings, venue_data(self.settings)
        terms = edge.terms()
        cash = opening_cash(settings, terms.instruments)
        alphabet = string.ascii_lowercase + string.digits
        name = "".join(secrets.choice(alphabet) for _ in range(8))
        return SessionFacts(
            name, data.venue, settings.live.broker, streams_of(data), terms.instruments, terms.fees, cash, self.now()
        )

    def _live(
        self, session: Session, source: InputSource, journal: SqlJournal, edge: Edge, facts: SessionFacts,
        trainer: Trainer | None,
    ) -> None:
        assert self.run_id is not None
        for one in self.watching:
            one.began(session, facts, self.run_id)
        count = session.reconcile()
        if count:
            self._tell("info", f"the venue said {count} things that our books lacked")
        series = SeriesFiles(self.settings.series, session.core, now=self.now, tell=self._tell)
        session.take(series.look())
        beat = _Beat(self, session, journal, edge, trainer, series)
        try:
            with closing(beat):
                session.run(source, beat=beat, until=lambda: self._is_over)
        except (JournalError, VenueUnavailable):
            raise
        except BaseException as exc:  # whatever it is, the record must say how this life of the session ended
            is_interrupt = isinstance(exc, KeyboardInterrupt)
            session.abandon("interrupted" if is_interrupt else "failed", f"{type(exc).__name__}: {exc}")
            self._finish("stopped" if is_interrupt else "failed")
            raise
        status = "completed" if session.is_over else "interrupted"
        session.end(status, "" if status == "completed" else "stopped; `paper` goes on from here")
        self._finish("stopped")

    def _trainer(self, session: Session, facts: SessionFacts, artefacts: Artefacts) -> Trainer | None:
        models = retrained_models(self.settings)
        if not models:
            return None
        folder = runs_folder(self.settings) / FOLDER / facts.name
        return Trainer(models, session.core, artefacts, folder, now=self.now, checkpoint=self.checkpoint)

    def _finish(self, state: str) -> None:
        for one in self.watching:
            one.ended(state)


class _Beat:
    """What is done now and then between inputs: hear commands, and whatever the schedule says is due."""

    def __init__(
        self, run: PaperRun, session: Session, journal: SqlJournal, edge: Edge, trainer: Trainer | None = None,
        series: SeriesFiles | None = None,
    ) -> None:
        assert run.run_id is not None
        live = run.settings.live
        self._run = run
        self._session = session
        self._edge = edge
        self._trainer = trainer
        self._series = series
        self._controls = Controls(
            journal, run.run_id, now=run.now, heard=commands_heard(session), kill_switch=live.kill_switch
        )
        self._late: dict[str, set[str]] = {}
        """Symbols whose last bar is missing, by timeframe."""
        is_wall = run.now is wall_time.time_ns  # closes of a market that is played here are not the wall's
        seconds = {
            RECONCILE: Timeframe.parse(live.reconcile_every).duration / 1e9, HEARTBEAT: live.heartbeat_seconds,
            SCORE: SCORE_EVERY, **({} if trainer is None else {TRAININGS: live.heartbeat_seconds}),
        }
        self._schedule = Schedule(
            [stream.timeframe for stream in session.core.feed.streams] if is_wall else [],
            grace=live.feed.grace_seconds + CLOSE_PATIENCE, seconds=seconds, retrain=live.retrain_every,
        )
        self._schedule.start()

    def __call__(self) -> Sequence[Input]:
        inputs: list[Input] = []
        for name in self._schedule.due():
            job, _, timeframe = name.partition(":")
            if job == RECONCILE:
                self._session.reconcile()
            elif job == HEARTBEAT:
                self._look()
                inputs += self._series.look() if self._series is not None else []
            elif job == SCORE:
                inputs += self._score()
            elif job == TRAININGS and self._trainer is not None:
                inputs += self._trainer.look()
            elif job == BAR_CLOSE:
                self._check_close(timeframe)
            elif job == DAILY_REPORT:
                self._report()
            elif job == RETRAIN and self._run.settings.live.retrain_command:
                folder = runs_folder(self._run.settings)
                start_training(self._run.settings.live.retrain_command, folder, self._run.now(), self._run._tell)
        return [*inputs, *self._controls.poll()]

    def close(self) -> None:
        """Let nothing become due any more, and end a training that goes on."""
        self._schedule.close()
        if self._trainer is not None:
            self._trainer.close()

    def _look(self) -> None:
        state = "halted" if self._session.core.gate.halts else "running"
        for one in self._run.watching:
            one.beat(self._session, self._edge, state)

    def _score(self) -> list[Input]:
        """Return the tick at which forecasts whose horizon has closed are scored: the instant that the session is at,
        so that no timer fires for it."""
        running = self._session.core.running
        return [ClockTold(running.moment.time)] if running.book is not None and running.moment.time else []

    def _check_close(self, timeframe: str) -> None:
        """Say which bars should have closed by now and have not come: the feed should have asked for them itself."""
        duration = Timeframe.parse(timeframe).duration
        expected = next_close(utc(self._run.now()), timeframe)
        due = nanoseconds(expected) - duration
        late = [
            stream.symbol for stream, closed in self._session.last_closed.items()
            if stream.timeframe == timeframe and closed < due
        ]
        # A quiet market has no bar for hours: each symbol is told of once, until it has one again.
        new = [symbol for symbol in late if symbol not in self._late.get(timeframe, ())]
        self._late[timeframe] = set(late)
        if new:
            more = f" and {len(new) - 5:,} more" if len(new) > 5 else ""
            self._run._tell("warning", f"no {timeframe} bar that closed at {iso(due)} yet: {', '.join(new[:5])}{more}")

    def _report(self) -> None:
        run = self._run
        folder = run.settings.live.daily_report
        if folder is not None and run.run_id is not None:
            report_yesterday(run.settings.journal.url, run.run_id, run.now(), folder, run._tell)


def commands_heard(session: Session) -> int:
    """Return how many commands the session has dealt with: those of the kill switch are not numbered."""
    return session.commands_taken


def check_paper(settings: Settings) -> None:
    """Refuse settings that no session can be made of, before anything is asked or opened.

    Raises:
        SettingsError: naming the setting.
    """
    streams_of(venue_data(settings))
    retrained_models(settings)
    if not settings.journal.enabled:
        raise SettingsError("journal.enabled is false; a session lives in its journal, and cannot be without one")
    if settings.live.broker == "sandbox" and settings.account.kind == "margin":
        raise SettingsError('live.broker is "sandbox" and account.kind "margin"; expected a cash account there')


def runs_folder(settings: Settings) -> Path:
    """Return the folder that a session's files lie in, beside its journal where that is a file."""
    from config.settings import RUNS

    url = settings.journal.url
    return Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else RUNS

