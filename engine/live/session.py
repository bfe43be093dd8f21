"""A live session: takes inputs, records them, lets the engine deal with them, commits, and only then sends.

    input ─▶ recorded ─▶ core (strategy, risk gate, books) ─▶ one transaction: input, decisions, orders, messages
                                                              └─▶ committed ─▶ messages to the venue

What is not committed was not sent, so a process that dies at any moment leaves a journal that says no less than the
venue knows. Start-up is recovery: the recorded inputs run through the same engine again, whose rows must be those in
the journal; then the venue is asked what became of the orders; and only then anything is decided.
"""

import time as wall_time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from engine.bars import Stream
from engine.errors import EngineError, JournalError
from engine.journal.reading import JournalReader, Readable, no_such_run
from engine.live.coding import decoded, encoded, encoded_message
from engine.live.controls import KILL_SWITCH, STOP
from engine.live.core import LiveCore
from engine.live.inputs import BarsClosed, ClockTold, Commanded, ForecastsTimed, Input, VenueTold
from engine.live.messages import OrderMessage
from engine.live.ports import InputSource, Known, VenueLink
from engine.live.rows import RowCheck
from engine.live.sweeping import Sweeping
from engine.records import AccountEventRow, Batch, RunEnd, RunStart, SessionInputRow

GROUP = 256
"""Inputs that are committed together at most, while more of them wait."""
GRACE = 2_000_000_000
"""Nanoseconds after a timer is due in which the bars of its instant may still come; they go first."""

Checkpoint = Callable[[str], None]
"""Told where in the order path the session is; a test kills the process there."""


class SessionJournal(Protocol):
    """What a session needs of a journal."""

    def begin(self, start: RunStart) -> int: ...
    def resume(self, run_id: int) -> None: ...
    def write(self, batch: Batch) -> None: ...
    def flush(self) -> None: ...
    def end(self, end: RunEnd) -> None: ...


class Recording:
    """Where the rows of the engine go: into the journal, or, while a session recovers, against what is there.

    Satisfies engine.interfaces.Journal.
    """

    def __init__(self, journal: SessionJournal) -> None:
        self.journal = journal
        self.check: RowCheck | None = None
        self._dealt_with = Batch()

    def begin(self, start: RunStart) -> int:
        return self.journal.begin(start)

    def write(self, batch: Batch) -> None:
        """Take the rows of an input that was dealt with whole."""
        if self.check is not None:
            self.check.compare(batch)
            return
        for table, rows in vars(self._dealt_with).items():
            rows.extend(getattr(batch, table))

    def commit(self) -> None:
        """Write the rows of all inputs since the last commit in one transaction, and wait until they are safe."""
        batch, self._dealt_with = self._dealt_with, Batch()
        self.journal.write(batch)
        self.journal.flush()

    def end(self, end: RunEnd) -> None:
        self.journal.end(end)


class Timings:
    """How long models took: measured while a session runs, and recorded; what was recorded while it is run again."""

    def __init__(self) -> None:
        self.recorded: dict[tuple[str, int], list[int]] = {}
        """By model and close of its bars, in order, while recorded inputs are run again."""
        self.note: Callable[[ForecastsTimed], None] = lambda timed: None
        self.is_recorded = False

    def __call__(self, model: str, as_of: int, took: int) -> int:
        if self.is_recorded:
            known = self.recorded.get((model, as_of))
            took = known.pop(0) if known else took
        self.note(ForecastsTimed(as_of, model, as_of, took))
        return took


class RunAgain(NamedTuple):
    """What was run again: so many inputs, whose `rows` rows all came out as they were recorded."""

    run_id: int
    inputs: int
    rows: int


class Session:
    """One session, from its start to its end; several processes may have it, one after the other.

    Args:
        core: its parts write to `recording`; link: None where the broker fills from bars.
        timings: what the forecasts of the core are timed by; None where there are none.
        now: our clock, UTC ns. checkpoint: told where the session is.
    """

    def __init__(
        self, core: LiveCore, recording: Recording, *, link: VenueLink | None = None, timings: Timings | None = None,
        now: Callable[[], int] = wall_time.time_ns, checkpoint: Checkpoint = lambda place: None,
    ) -> None:
        self.core = core
        self.run_id: int | None = None
        self.inputs_taken = 0
        self.is_over = False
        self.messages_sent = 0
        self.commands_taken = 0
        """Commands that came by way of the journal, numbered there."""
        self.link = link
        """How messages reach the venue; given before the first is sent."""
        self._recording = recording
        self._timings = timings or Timings()
        self._timings.note = self._note
        self._now = now
        self._checkpoint = checkpoint
        self.bars_taken = 0
        self._arrived_at = 0
        """When the bars at hand arrived, by our clock; 0 where something else is dealt with."""
        self._latencies: deque[float] = deque(maxlen=1_000)

    # ── beginnings ──────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, start: RunStart) -> int:
        """Open a new run, let the strategy start, and return the run's number."""
        self.core.start(start.started_at)
        lines = self.core.running.lines.names()
        self.run_id = self._recording.begin(replace(start, lines=lines))
        self._finish()
        self._commit()
        return self.run_id

    def resume(self, run_id: int, journal: Readable) -> int:
        """Go on with a run: run its recorded inputs through the engine again, and hold its rows equal to those in the
        journal; return how many inputs there were.

        Raises:
            DivergenceError: the engine decides otherwise now: its code, settings or models are not those of the run.
            JournalError: the run cannot be gone on with.
        """
        self._recording.journal.resume(run_id)
        with journal.snapshot() as reader:
            run = reader.run(run_id)
            if run is not None and _never_began(reader, run_id):
                self.core.start(run.start.started_at)  # its process died before the opening was safe
                inputs = 0
            else:
                inputs = self.run_again(run_id, reader).inputs
        self.run_id = run_id
        self._checkpoint("recovered from the journal")
        if not inputs:
            self._finish()
            self._commit()
        return inputs

    def run_again(self, run_id: int, reader: JournalReader) -> "RunAgain":
        """Run the recorded inputs of a session through the engine, and hold each of its rows equal to the recorded one.

        Raises:
            DivergenceError: at the first row that differs. JournalError: there is no such session.
        """
        run = reader.run(run_id)
        if run is None:
            raise no_such_run(run_id, reader)
        rows = reader.rows(SessionInputRow, run_id)
        if run.start.kind == "backtest":
            raise JournalError(f"run {run_id} is a {run.start.kind} without recorded inputs; only sessions have them")
        self._timings.recorded = recorded_timings(rows)
        self._timings.is_recorded = True
        self._recording.check = check = RowCheck(reader, run_id)
        self.core.start(run.start.started_at)
        self.core.running.recorder.flush()
        for given in recorded_inputs(rows):
            self._deal_with(given)
            self.core.messages()  # they were committed; whether they were sent, the venue is asked
            self.core.running.recorder.flush()
        if run.status == "completed":
            self.core.stop()
            self.core.running.recorder.flush()
        check.finish()
        self._recording.check = None
        self._timings.is_recorded = False
        return RunAgain(run_id, len(rows), check.compared)

    def reconcile(self) -> int:
        """Ask the venue about every order and the account, and take what it says as inputs; return how many reports
        there were.

        Raises:
            VenueUnavailable: it does not answer; nothing may be decided until it does.
        """
        if self.link is None:
            return 0
        self._checkpoint("before reconciling")
        reports = self.link.reconcile(self.known())
        self._checkpoint("reconciled, before the reports")
        self.take([VenueTold(report.received_at, report) for report in reports])
        return len(reports)

    def known(self) -> Known:
        """Return what our books say."""
        broker = self.core.venue
        assert broker is not None, "a link goes with a broker that deals with a venue"
        return broker.known()

    # ── while it runs ───────────────────────────────────────────────────────────────────────────────────────────────

    def run(
        self, source: InputSource, *, beat: Callable[[], Sequence[Input]] = lambda: (), pause: float = 0.5,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take inputs until one of them says stop, or `until` does.

        Args:
            beat: called about every `pause` seconds; what it returns (commands heard, say) is taken as inputs.
        Raises:
            EngineError: the journal, the strategy or the edge has failed. What was committed stays, and what was not
                was not sent.
        """
        heard = wall_time.monotonic()
        with Sweeping() as sweeping:
            while not self.is_over and not until():
                given = source.take(self._patience(pause))
                group = [] if given is None else [given]
                while given is not None and len(group) < GROUP and not _stops(given):
                    given = source.take(0.0)
                    group.extend(() if given is None else (given,))
                if wall_time.monotonic() - heard >= pause:
                    heard = wall_time.monotonic()
                    group.extend(beat())
                self.take([*group, *self._timers()])
                if group:
                    sweeping.busy()
                else:
                    sweeping.idle(self.bars_taken)

    def take(self, group: Sequence[Input]) -> None:
        """Deal with inputs in turn; commit; send. Messages leave as soon as the input that caused them is committed."""
        for given in group:
            self._checkpoint("before an input")
            self._deal_with(given)
            self._checkpoint("an input dealt with")
            messages = self.core.messages()
            self._finish(messages)
            if messages:
                self._commit()
                self._send(messages)
            if _stops(given):
                self.is_over = True
        if group:
            self._commit()

    def end(self, status: str = "completed", error: str = "") -> None:
        """Close the run: the strategy hears of it, and nothing it asks for then is sent.

        A session that is to be gone on with ends as "interrupted".
        """
        if status == "completed":
            self.core.stop()
        self._finish()
        self._commit()
        result = {"fills": self.core.running.recorder.fill_count, "inputs": self.inputs_taken}
        self._recording.end(RunEnd(status, self._now(), self.bars_taken, error, result))

    def abandon(self, status: str, error: str) -> None:
        """Close the run after the last input that was dealt with whole: what one caused in part, before something
        failed, is dropped, and it comes again when the session is gone on with."""
        self._recording.commit()
        self._recording.end(RunEnd(status, self._now(), self.bars_taken, error))

    def _deal_with(self, given: Input) -> None:
        self._arrived_at = given.received_at if isinstance(given, BarsClosed) else 0
        self._note(given)
        self.bars_taken += len(getattr(given, "bars", ()))
        self.core.take(given)

    def _note(self, given: Input) -> None:
        self.inputs_taken += 1
        if isinstance(given, Commanded) and given.actor != KILL_SWITCH:
            self.commands_taken += 1
        self.core.running.recorder.session_input(given.time, *encoded(given))

    def _finish(self, messages: Sequence[OrderMessage] = ()) -> None:
        """Hand over the rows of an input that has been dealt with, and of the messages it led to."""
        recorder = self.core.running.recorder
        for message in messages:
            recorder.order_message(
                (message.id, message.order_id, message.time, message.kind, message.client_order_id,
                 encoded_message(message))
            )
        recorder.flush()

    def _commit(self) -> None:
        self._checkpoint("before a commit")
        self._recording.commit()
        self._checkpoint("committed")

    def _send(self, messages: Sequence[OrderMessage]) -> None:
        if self.link is None:
            raise EngineError("the broker has messages, and the session no link to send them by")
        self._checkpoint("before sending")
        self.link.send(messages)
        self.messages_sent += len(messages)
        if self._arrived_at:
            self._latencies.append(max(self._now() - self._arrived_at, 0) / 1e9)
        self._checkpoint("sent")

    def _timers(self) -> list[Input]:
        """Return the tick that a timer waits for whose bars have not come in time."""
        due, now = self.core.next_due, self._now()
        return [ClockTold(due)] if due is not None and now >= due + GRACE else []

    def _patience(self, pause: float) -> float:
        due = self.core.next_due
        return pause if due is None else min(pause, max((due + GRACE - self._now()) / 1e9, 0.0))

    @property
    def decision_latency(self) -> tuple[float, float] | None:
        """Seconds from a bar's arrival until the orders that follow have left: median and 99th percentile of the last
        ones."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        return ordered[len(ordered) // 2], ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]

    @property
    def last_closed(self) -> dict[Stream, int]:
        """When the last bar of each stream closed that was taken, UTC ns: a feed goes on from there."""
        return dict(self.core.feed.last_closed)


def _never_began(reader: JournalReader, run_id: int) -> bool:
    """Say whether a session left nothing but its run's row: neither an input nor its opening balances."""
    return not reader.rows(SessionInputRow, run_id) and not reader.rows(AccountEventRow, run_id)


def _stops(given: Input) -> bool:
    return isinstance(given, Commanded) and given.kind == STOP


def recorded_inputs(rows: Sequence[SessionInputRow]) -> list[Input]:
    """Return the inputs of a session in their order; what was measured while one was dealt with is left out."""
    inputs = [decoded(row.kind, row.body) for row in rows]
    return [given for given in inputs if not isinstance(given, ForecastsTimed)]


def recorded_timings(rows: Sequence[SessionInputRow]) -> dict[tuple[str, int], list[int]]:
    """Return how long models took, by model and close of the bars, in order."""
    found: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        if row.kind == "forecasts_timed":
            timed = decoded(row.kind, row.body)
            assert isinstance(timed, ForecastsTimed)
            found.setdefault((timed.model, timed.as_of), []).append(timed.latency)
    return found

