"""Who looks on while a session runs: a status file for other processes, and lines for people. Nobody here stops it."""

import os
import sys
import time as wall_time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from config.dashboard import Dashboard
from config.metrics import Metrics
from config.notifying import make_notifier
from config.onlookers import Board, Notices
from config.paper import Edge, Watching, runs_folder
from config.session import SessionFacts
from config.settings import Settings
from config.terminal import screen
from engine.bars import iso
from engine.live.broker import VenueBroker
from engine.live.messages import client_order_id
from engine.live.session import Session
from engine.live.status import (
    AlertStatus,
    DecisionStatus,
    ForecastStatus,
    HaltStatus,
    OrderStatusRow,
    PositionStatus,
    Status,
    StreamStatus,
    status_path,
    write_status,
)
from engine.records import AlertRow, DecisionRow

NEWEST = 20
"""Decisions and alerts that a status shows."""


def status_of(session: Session, facts: SessionFacts, edge: Edge | None, state: str, heartbeat: float) -> Status:
    """Return a session at this moment.

    Args:
        state: one of engine.live.status.STATES; heartbeat: seconds between two of these.
    """
    running = session.core.running
    portfolio, recorder, price_of = running.portfolio, running.recorder, running.moment.price
    broker, now = running.broker, wall_time.time_ns()
    outside: dict[str, Any] = edge.describe() if edge is not None else {}
    assert session.run_id is not None, "it has begun"
    cash = portfolio.accounts[portfolio.currency].cash
    lags = session.core.lags
    return Status(
        run_id=session.run_id,
        session=facts.name,
        strategy=type(running.strategy).__name__,
        venue=facts.venue,
        broker=facts.broker,
        state=state,
        started_at=facts.began_at,
        written_at=now,
        pid=os.getpid(),
        heartbeat=heartbeat,
        time=running.moment.time,
        currency=portfolio.currency,
        cash=float(cash),
        equity=float(portfolio.equity(portfolio.currency, price_of)) if _is_priced(session) else float(cash),
        bars=session.bars_taken,
        decisions_made=recorder.decision_count,
        orders_sent=session.messages_sent,
        fills=recorder.fill_count,
        clock_offset=outside.get("clock_offset"),
        queue_depth=outside.get("queue_depth", 0),
        reconnects=outside.get("reconnects", 0),
        unresolved=broker.unresolved_count if isinstance(broker, VenueBroker) else 0,
        decision_latency=session.decision_latency,
        positions=tuple(_positions(session)),
        orders=tuple(_orders(session, facts)),
        decisions=tuple(
            DecisionStatus(row.time, row.symbol, row.action, row.why)
            for row in map(DecisionRow._make, reversed(recorder.latest("decisions", NEWEST)))
        ),
        forecasts=tuple(_forecasts(session)),
        streams=tuple(
            StreamStatus(*stream, closed, lags.get(stream, 0) / 1e9, stream.symbol in session.core.stale)
            for stream, closed in session.last_closed.items()
        ),
        halts=tuple(
            HaltStatus(halt.time, halt.rule, halt.symbol, halt.action, halt.reason, halt.lift_at or 0)
            for halt in session.core.gate.halts.values()
        ),
        alerts=tuple(
            AlertStatus(row.time, row.level, row.source, row.text)
            for row in map(AlertRow._make, reversed(recorder.latest("alerts", NEWEST)))
        ),
    )


def _is_priced(session: Session) -> bool:
    running = session.core.running
    return all(
        running.moment.price(position.instrument.symbol) is not None
        for account in running.portfolio.accounts.values() for position in account.open_positions
    )


def _positions(session: Session) -> list[PositionStatus]:
    running, found = session.core.running, []
    for symbol, position in running.portfolio.positions.items():
        price = running.moment.price(symbol)
        if position.lots and price is not None and position.average_price is not None:
            quantity = float(position.quantity * position.instrument.multiplier)
            entry = float(position.average_price)
            found.append(
                PositionStatus(symbol, quantity, entry, price, quantity * price, quantity * (price - entry))
            )
    return found


def _orders(session: Session, facts: SessionFacts) -> list[OrderStatusRow]:
    return [
        OrderStatusRow(
            order.id, client_order_id(facts.name, order.id), order.symbol, order.side.word, order.type.value,
            float(order.quantity), float(order.filled_quantity),
            None if (price := order.limit if order.limit is not None else order.stop) is None else float(price),
            order.status.value, order.decided_at,
        )
        for order in session.core.running.broker.working.values()
    ]


def _forecasts(session: Session) -> list[ForecastStatus]:
    book = session.core.running.book
    if book is None:
        return []
    return [ForecastStatus(model, as_of, latency, made) for model, as_of, latency, made in book.state()]


class StatusFile:
    """Writes a session's status beside its journal.

    Args:
        path_of: gives the file of a run. shows: are given every status, too.
    """

    def __init__(
        self, path_of: Callable[[int], Path], heartbeat: float, shows: Sequence[Callable[[Status], None]] = ()
    ) -> None:
        self._path_of = path_of
        self._shows = shows
        self._heartbeat = heartbeat
        self._session: Session | None = None
        self._facts: SessionFacts | None = None

    def began(self, session: Session, facts: SessionFacts, run_id: int) -> None:
        self._session, self._facts = session, facts
        self._write(None, "recovering" if session.inputs_taken else "warming_up")

    def beat(self, session: Session, edge: Edge, state: str) -> None:
        self._write(edge, state)

    def told(self, level: str, text: str) -> None:
        pass

    def ended(self, state: str) -> None:
        self._write(None, state)

    def _write(self, edge: Edge | None, state: str) -> None:
        if self._session is None or self._facts is None or self._session.run_id is None:
            return
        status = status_of(self._session, self._facts, edge, state, self._heartbeat)
        for show in self._shows:
            show(status)
        try:
            write_status(status, self._path_of(status.run_id))
        except OSError as exc:  # a full disk under the status must not stop a session: its journal says so itself
            sys.stderr.write(f"the status cannot be written: {exc}\n")


class Lines:
    """Says in plain lines what happens, for a log or a terminal that is none."""

    def __init__(self, output: TextIO, *, every: float = 60.0) -> None:
        self._output = output
        self._every = every
        self._said = 0.0
        self._alerts_seen = 0

    def began(self, session: Session, facts: SessionFacts, run_id: int) -> None:
        self._alerts_seen = session.core.running.recorder.alert_count  # those of its life before were told
        names = ", ".join(dict.fromkeys(stream.symbol for stream in facts.streams))
        self._say("info", f"run {run_id}, session {facts.name}: {names} of {facts.venue}, broker {facts.broker}")

    def beat(self, session: Session, edge: Edge, state: str) -> None:
        recorder = session.core.running.recorder
        new = recorder.alert_count - self._alerts_seen
        self._alerts_seen = recorder.alert_count
        for row in map(AlertRow._make, recorder.latest("alerts", new)) if new else ():
            self._say(row.level, f"{row.source}: {row.text}")
        now = wall_time.monotonic()
        if now - self._said >= self._every:
            self._said = now
            running = session.core.running
            equity = running.portfolio.equity(running.portfolio.currency, running.moment.price) if _is_priced(
                session) else running.portfolio.accounts[running.portfolio.currency].cash
            self._say(
                "info",
                f"{state}; {session.core.describe()}; equity {equity:f} {running.portfolio.currency}; "
                f"{recorder.decision_count} decisions, {recorder.fill_count} fills",
            )

    def told(self, level: str, text: str) -> None:
        self._say(level, text)

    def ended(self, state: str) -> None:
        self._say("info", state)

    def _say(self, level: str, text: str) -> None:
        self._output.write(f"{iso(wall_time.time_ns() // 10**9 * 10**9)} {level:<7} {text}\n")
        self._output.flush()


def watchers(settings: Settings, *, is_plain: bool) -> list[Watching]:
    """Return who looks on at a session of these settings: its status file, a dashboard or lines, and, where they are
    asked for, metrics and notifications.

    Raises:
        SettingsError: an address to notify is not in the environment, or the port for metrics is taken.
    """
    live = settings.live
    folder = runs_folder(settings)
    path_of = partial(status_path, settings.journal.url, folder=folder)
    shows: list[Callable[[Status], None]] = []
    found: list[Watching] = []
    if is_plain:
        found.append(Lines(sys.stdout))
    else:
        board = Board(Dashboard(screen))
        shows.append(board.show)
        found.append(board)
    complain = found[0].told
    notifier = make_notifier(live.notify, f"barcast {settings.run.name}", partial(complain, "warning"))
    if notifier is not None:
        found.append(Notices(notifier))
    if live.metrics_port is not None:
        shows.append(Metrics(live.metrics_port).show)
    return [StatusFile(lambda run_id: path_of(run_id), live.heartbeat_seconds, shows), *found]
