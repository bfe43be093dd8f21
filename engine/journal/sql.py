"""The journal in SQL: SQLite by path or URL, PostgreSQL by URL.

The loop hands over batches; one thread appends each in a transaction of its own, so that a run that dies leaves whole
batches.
"""

import atexit
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from engine.errors import JournalError
from engine.journal.backends import backend_for
from engine.journal.ending import ending_of
from engine.journal.process import ProcessMark, has_ended, this_process
from engine.journal.reading import JournalReader
from engine.journal.schema import SCHEMA, Schema, bring_up_to_date
from engine.journal.sql_reader import GONE, SqlReader
from engine.journal.tables import FACTS, commands, runs
from engine.journal.writer import Writer
from engine.records import Batch, Columns, CommandRow, RunEnd, RunStart

Job = Callable[[Connection], None]
Answer = TypeVar("Answer")

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
"""Seconds between attempts while another process is in the way."""


class SqlJournal:
    """Appends runs to a database and reads them back. Satisfies engine.interfaces.Journal and reading.Readable.

    Opening it creates or upgrades the tables and marks runs whose process is gone as crashed. One run at a time;
    several processes may write runs into one journal at once.

    Args:
        url: a path, sqlite:///path, or postgresql://user:password@host/database.
        durable: a batch survives a power cut once `flush` or `end` returned. False is for backtests, which can be run
            again: a batch survives the death of the process, and a power cut may take the last ones, whole.
        create: make a journal if there is none (SQLite; a PostgreSQL database must exist).
        lock_timeout: seconds to wait while another process writes.
        schema: the migrations; given by tests.
    Raises:
        JournalError: the database cannot be opened, or a newer version of Barcast made it.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        durable: bool = False,
        create: bool = True,
        lock_timeout: float = 30.0,
        schema: Schema = SCHEMA,
    ) -> None:
        self._backend = backend_for(url, durable=durable, create=create, lock_timeout=lock_timeout)
        self._lock_timeout = lock_timeout
        self._pid = os.getpid()
        self._run_id: int | None = None
        self._writer: Writer[Job] | None = None
        self._write_connection: Connection | None = None
        self._broken: JournalError | None = None
        self._database = self._backend.open()
        self._writing = self._database.execution_options(writes=True)
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, OSError, *self._backend.errors)
        try:
            with self._reporting("open it"):
                self._retry(lambda: bring_up_to_date(self._database, schema))
                self._mark_crashed()
        except JournalError:
            self._database.dispose()
            raise

    @property
    def url(self) -> str:
        """The URL for people: its password is hidden."""
        return self._backend.shown

    def begin(self, start: RunStart) -> int:
        """Open a run and return its number.

        Raises:
            JournalError: the run before has not ended, or the database does not take the row.
        """
        if self._run_id is not None:
            raise JournalError(f"run {self._run_id} has not ended; call end() before another begin()")
        with self._reporting("begin a run"):
            if self._write_connection is None:
                self._write_connection = self._writing.connect()
            self._run_id = self._in_transaction(lambda connection: _insert_run(connection, start))
        self._broken = None
        self._writer = Writer(self._in_transaction)
        atexit.register(self.close)
        return self._run_id

    def resume(self, run_id: int) -> None:
        """Go on with a run that its process has left, as a live session does after a crash or a stop.

        Raises:
            JournalError: there is no such run, its process may still be there, or it has ended for good.
        """
        if self._run_id is not None:
            raise JournalError(f"run {self._run_id} has not ended; call end() before resume()")
        with self._reporting(f"go on with run {run_id}"):
            if self._write_connection is None:
                self._write_connection = self._writing.connect()
            self._in_transaction(lambda connection: _take_over(connection, run_id))
        self._run_id, self._broken = run_id, None
        self._writer = Writer(self._in_transaction)
        atexit.register(self.close)

    def write(self, batch: Batch) -> None:
        """Hand over rows; they are appended in one transaction, soon.

        Raises:
            JournalError: no run is open, or something handed over earlier could not be written.
        """
        writer, run_id = self._running()
        if not len(batch):
            return
        # Copies of the lists: the caller may go on with his.
        tables = {name: getattr(batch, name) for name in FACTS}
        rows = {name: table if isinstance(table, Columns) else list(table) for name, table in tables.items()}
        writer.put(lambda connection: self._append(connection, run_id, rows))

    def flush(self) -> None:
        """Wait until everything handed over is committed.

        Raises:
            JournalError: no run is open, or something could not be written.
        """
        writer, _ = self._running()
        writer.flush()
        self._running()

    def end(self, end: RunEnd) -> None:
        """Wait until everything is committed, then close the run with its status and result.

        Raises:
            JournalError: no run is open, or something could not be written; the run is then marked failed.
        """
        writer, run_id = self._running()
        values = {
            "status": end.status, "finished_at": end.finished_at, "bars": end.bars, "error": end.error,
            "result": end.result,
        }
        writer.put(lambda connection: _update_run(connection, run_id, values))
        writer.flush()
        self._running()
        self._leave_run()

    def close(self) -> None:
        """End a run that is still open as interrupted, and close the database."""
        self._shut(None)

    @contextmanager
    def snapshot(self) -> Iterator[JournalReader]:
        """Return a view of what is committed by now; it stays the same while it is open.

        Raises:
            JournalError: the database cannot be read.
        """
        with self._reporting("read it"), self._database.connect() as connection:
            yield SqlReader(connection.execution_options(**self._backend.snapshot_options()))

    def __enter__(self) -> "SqlJournal":
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._shut(error)

    def add_command(self, run_id: int, command: CommandRow) -> int:
        """Write down what a person asks of a run, which may be another process's, or have ended; return its number.

        Args:
            command: its id is given here, whatever it says.
        Raises:
            JournalError: the database does not take it.
        """

        def append() -> int:
            with self._writing.begin() as connection:
                number = func.coalesce(func.max(commands.c.id), 0)
                last = connection.execute(select(number).where(commands.c.run_id == run_id)).scalar_one()
                values = {**command._asdict(), "id": int(last) + 1}
                connection.execute(insert(commands).values(run_id=run_id, **values))
            return int(last) + 1

        with self._reporting(f"add to run {run_id}"):
            return self._retry(append)

    def mark_crashed(self, run_id: int) -> None:
        """Mark a run that still says running, because its machine or container is gone for good: only you can know.

        Raises:
            JournalError: the database does not take it.
        """
        with self._reporting(f"mark run {run_id}"):
            self._abandon(run_id, "crashed", GONE)

    def _running(self) -> tuple[Writer[Job], int]:
        """Return the writer and the run's number, if a run is open and all is well."""
        if self._writer and self._run_id is not None and self._writer.error:
            self._break_off(self._run_id, self._writer.error)
        if self._broken:
            raise JournalError(*self._broken.args) from self._broken.__cause__
        if self._writer is None or self._run_id is None:
            raise JournalError("no run is open; call begin() first")
        return self._writer, self._run_id

    def _break_off(self, run_id: int, error: BaseException) -> None:
        """Leave a run that cannot be written any more, and say so in its row if that can still be written."""
        self._broken = self._failure(f"write run {run_id}", error)
        self._broken.__cause__ = error
        self._leave_run()
        with suppress(*self._errors):
            self._abandon(run_id, "failed", str(self._broken))
        self._drop_write_connection()

    def _leave_run(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer = self._run_id = None
        atexit.unregister(self.close)

    def _drop_write_connection(self) -> None:
        if self._write_connection:
            with suppress(*self._errors):
                self._write_connection.close()
            self._write_connection = None

    def _shut(self, error: BaseException | None) -> None:
        if os.getpid() != self._pid:
            return      # a forked child: the connections are its parent's
        run_id = self._run_id
        self._leave_run()
        if run_id is not None:
            with suppress(*self._errors):
                self._abandon(run_id, *ending_of(error))
        self._drop_write_connection()
        self._database.dispose()

    def _abandon(self, run_id: int, status: str, error: str) -> None:
        self._backend.check_in_place()  # another file may have a run of this number
        with self._writing.begin() as connection:
            _update_run(connection, run_id, {"status": status, "error": error}, only_running=True)

    def _mark_crashed(self) -> None:
        """Mark the runs whose process is certainly gone. A journal that may only be read is left as it is."""
        columns = (runs.c.id, runs.c.pid, runs.c.host, runs.c.boot, runs.c.pid_namespace, runs.c.process_started)
        with self._database.connect() as connection:
            running = connection.execute(select(*columns).where(runs.c.status == "running")).all()
        for run_id, *mark in running:
            if has_ended(ProcessMark(*mark)):
                with suppress(*self._errors):
                    self._abandon(run_id, "crashed", GONE)

    def _in_transaction(self, job: Callable[[Connection], Answer]) -> Answer:
        """Do a job in one transaction on the writing connection (during a run: in the writer's thread)."""
        connection = self._write_connection
        assert connection is not None

        def attempt() -> Answer:
            with connection.begin():
                answer = job(connection)
                self._backend.check_in_place()  # before the commit: what nobody can find was not written
                return answer

        return self._retry(attempt)

    def _append(self, connection: Connection, run_id: int, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        for name, table in FACTS.items():
            if rows[name]:
                self._backend.insert(connection, table, run_id, rows[name])

    def _retry(self, attempt: Callable[[], Answer]) -> Answer:
        """Return what the attempt returns; try again, for a while, when another process is in the way."""
        deadline = time.monotonic() + self._lock_timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except self._errors as exc:
                if not self._backend.is_locked(exc) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        """Turn what the database raises into a JournalError that says what could not be done."""
        try:
            yield
        except self._errors as exc:
            raise self._failure(doing, exc) from exc

    def _failure(self, doing: str, error: BaseException) -> JournalError:
        cause = getattr(error, "orig", None) or error
        text = " ".join(str(cause).split()) or type(cause).__name__
        way_out = self._backend.way_out(error)
        return JournalError(f"journal {self.url}: cannot {doing}: {text}{'; ' if way_out else ''}{way_out}")


def _insert_run(connection: Connection, start: RunStart) -> int:
    process = this_process()
    values = {name: getattr(start, name) for name in RunStart.__dataclass_fields__}
    row = insert(runs).values(
        **values, status="running", error="", result={}, pid=process.pid, host=process.host, boot=process.boot,
        pid_namespace=process.namespace, process_started=process.started,
    )
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _take_over(connection: Connection, run_id: int) -> None:
    """Make a run this process's; two that try are told apart by the database's write lock."""
    columns = (runs.c.status, runs.c.pid, runs.c.host, runs.c.boot, runs.c.pid_namespace, runs.c.process_started)
    row = connection.execute(select(*columns).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise JournalError(f"there is no run {run_id} to go on with")
    status, *mark = row
    before = ProcessMark(*mark)
    if status == "running" and before != this_process() and not has_ended(before):
        raise JournalError(
            f"run {run_id} is still in the hands of process {before.pid} on {before.host}; stop that one first, or, if "
            "its machine is gone for good, mark the run as crashed"
        )
    if status == "completed":
        raise JournalError(f"run {run_id} has completed; start a new session")
    process = this_process()
    values = {
        "status": "running", "error": "", "pid": process.pid, "host": process.host, "boot": process.boot,
        "pid_namespace": process.namespace, "process_started": process.started, "finished_at": None,
    }
    _update_run(connection, run_id, values)


def _update_run(connection: Connection, run_id: int, values: Mapping[str, Any], *, only_running: bool = False) -> None:
    change = update(runs).where(runs.c.id == run_id).values(**values)
    connection.execute(change.where(runs.c.status == "running") if only_running else change)
