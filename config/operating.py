"""What a person does to a session from another process: look, halt, resume, flatten, stop.

Wishes are rows of the journal's `commands`; the session reads them within a second or so, records them among its
inputs, and does what they ask. A session that is not there hears them when it goes on.
"""

import getpass
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config.risk import ask_lift
from config.settings import RUNS
from config.twins import TWIN
from engine.errors import JournalError, SettingsError, nearest_name
from engine.journal.reading import JournalReader, RunInfo, no_such_run
from engine.journal.sql import SqlJournal
from engine.live.coding import decoded
from engine.live.controls import STOP
from engine.live.inputs import Commanded
from engine.live.status import Status, read_status, status_path
from engine.records import CommandRow, SessionInputRow

PAPER = "paper"


@dataclass(frozen=True)
class Found:
    """A session, and what it said of itself last; None where it has left no status."""

    run: RunInfo
    status: Status | None
    path: Path

    @property
    def is_running(self) -> bool:
        return self.run.status == "running"

    @property
    def kill_switch(self) -> Path | None:
        """The file that halts it, if it is there now."""
        name = self.run.start.settings.get("live", {}).get("kill_switch")
        return Path(name) if name and Path(name).exists() else None


def find_session(journal: SqlJournal, run_id: int | None) -> Found:
    """Return a session by its number; the newest that is running, else the newest, if None.

    Raises:
        JournalError: there is no such run, or it is no session.
    """
    with journal.snapshot() as reader:
        run = _newest(reader) if run_id is None else reader.run(run_id)
        if run is None and run_id is None:
            raise JournalError("this journal has no session; `python main.py paper CONFIG.toml` begins one")
        if run is None:
            raise no_such_run(run_id or 0, reader)
    if run.start.kind != PAPER:
        raise JournalError(f"run {run.id} is a {run.start.kind}; expected a session, which `paper` makes")
    path = status_path(journal.url, run.id, RUNS)
    return Found(run, read_status(path), path)


def _newest(reader: JournalReader) -> RunInfo | None:
    sessions = [run for run in reader.runs() if run.start.kind == PAPER and TWIN not in run.start.data]
    return next((run for run in sessions if run.status == "running"), sessions[0] if sessions else None)


def ask(journal: SqlJournal, run_id: int | None, kind: str, why: str, symbol: str = "") -> tuple[Found, int]:
    """Write down that a session is to halt, flatten, cancel all its orders or stop; return it and the command's number.

    Raises:
        JournalError: there is no such session; or it is not running, and is asked to stop.
        SettingsError: no reason is given.
    """
    if not why.strip():
        raise SettingsError(f'{kind} needs a reason, for the record: --why "strange prints"')
    found = find_session(journal, run_id)
    if kind == STOP and not found.is_running:
        raise JournalError(f"run {found.run.id} is {found.run.status}; there is nothing to stop")
    if symbol:
        _check_symbol(found.run, symbol)
    row = CommandRow(0, time.time_ns(), kind, symbol, "", why, getpass.getuser())
    return found, journal.add_command(found.run.id, row)


def ask_resume(
    journal: SqlJournal, run_id: int | None, why: str, rule: str = "", symbol: str = ""
) -> tuple[Found, int, tuple[str, ...]]:
    """Write down that halts are to be lifted; return the session, the command's number, and the halts that are meant.

    Raises:
        JournalError: there is no such session, nothing of the kind is halted, or the kill-switch file is still there.
        SettingsError: no reason is given.
    """
    found = find_session(journal, run_id)
    if found.kill_switch is not None:
        raise JournalError(
            f"the kill switch {found.kill_switch} is still there and would halt run {found.run.id} again; remove the "
            "file first")
    halts = ask_lift(journal, found.run.id, why, rule, symbol)
    with journal.snapshot() as reader:
        span = reader.span(CommandRow, found.run.id)
    return found, span[1] if span else 0, tuple(f"{halt.rule} ({halt.symbol or 'all'})" for halt in halts)


def _check_symbol(run: RunInfo, symbol: str) -> None:
    known = list(run.start.instruments)
    if known and symbol not in known:
        raise SettingsError(f"run {run.id} does not trade {symbol!r}{nearest_name(symbol, known)}")


def was_heard(
    journal: SqlJournal, run_id: int, number: int, *, within: float, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Return whether a session has taken a command, waiting for it a while.

    Args:
        within: seconds.
    """
    deadline = time.monotonic() + within
    seen = 0
    while True:
        with journal.snapshot() as reader:
            last = reader.span(SessionInputRow, run_id)
            # A command is heard at once or not at all: the last inputs are enough to look through at first.
            rows = reader.rows_between(SessionInputRow, run_id, max(seen, (last[1] if last else 0) - 2_000) + 1, 2**62)
        for row in rows:
            seen = row.id
            if row.kind == "commanded":
                given = decoded(row.kind, row.body)
                if isinstance(given, Commanded) and given.number == number:
                    return True
        if time.monotonic() >= deadline:
            return False
        sleep(0.2)
