"""The journal in an SQLite file: the embedded default.

Measured on the reference run (22 k decisions, orders and fills, 44 k order events; CPU time of the process): 1.5 µs a
row, all in. One row to a statement: 2.5. Foreign keys enforced: + 0.25. One more index: + 0.3 for a row of its table.
Page size, cache size and memory mapping make no difference, so they are SQLite's own.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event

from engine.errors import JournalError
from engine.journal.json_text import number_lists, to_json, with_text_at
from engine.journal.tables import SAW, decisions
from engine.records import Columns, Constant

_BLOCK = 10_000
"""Rows that are turned into columns together."""
_GROUPS = (400, 100, 20, 5, 1)
"""Rows in one statement, the largest group first. SQLite lets go of Python's lock once per statement, so large groups
also leave the loop's thread in peace."""
_FEW = 150
"""Below this, one row to a statement: new statements, one for each pattern of constant columns, would cost more."""

_WAYS_OUT = {
    "SQLITE_FULL": "free some space on the disk and run again",
    "SQLITE_IOERR": "the disk is full, failing or gone; check it and run again",
    "SQLITE_READONLY": "the file or its folder may not be written; change its permissions or name another file",
    "SQLITE_CANTOPEN": "its folder must exist and be open to you; change that or name another file",
    "SQLITE_PERM": "the file may not be used by you; change its permissions or name another file",
    "SQLITE_NOTADB": "the file is something else than an SQLite database; name another file",
    "SQLITE_CORRUPT": "the file is damaged; keep a copy, restore a backup or name another file",
    "SQLITE_BUSY": "another process keeps the file locked; close it, or give this run a journal of its own",
    "SQLITE_CONSTRAINT": "a row breaks a rule of its table; what made the row (the broker, the recorder) is at fault",
    "SQLITE_LOCKED": "another process keeps the file locked; close it, or give this run a journal of its own",
}


class SqliteBackend:
    """Opens the file and appends to it.

    Args:
        durable: every commit survives a power cut (synchronous=FULL), and foreign keys are enforced row by row.
            Otherwise (backtests) a commit survives the death of the process, and a power cut may take the last ones,
            whole.
        create: make the file if there is none.
        lock_timeout: seconds to wait for another process's write.
    Raises:
        JournalError: there is no such file, or the URL names none.
    """

    # A damaged file puts bytes of its own into SQLite's messages, which Python then cannot read; a number beyond 64
    # bits fits into none of its columns.
    errors: tuple[type[Exception], ...] = (sqlite3.Error, UnicodeDecodeError, OverflowError)

    def __init__(self, url: URL, *, durable: bool, create: bool, lock_timeout: float) -> None:
        self.shown = url.render_as_string(hide_password=True)
        if not url.database or url.database == ":memory:":
            raise JournalError("an SQLite journal needs a file; for one in memory use MemoryJournal")
        if not url.database.startswith("file:"):
            self._find(Path(url.database), create)
        self._url = url
        self._file = Path(url.database) if not url.database.startswith("file:") else None
        self._identity: tuple[int, int] | None = None
        self._durable = durable
        self._busy_timeout = min(lock_timeout, 5.0)

    def _find(self, path: Path, create: bool) -> None:
        try:
            if not create and not path.exists():
                raise JournalError(f"there is no journal {self.shown}; a backtest makes one, or name another file")
        except OSError as exc:
            raise JournalError(
                f"journal {self.shown[:300]}: no file can be there ({exc.strerror}); name another"
            ) from exc
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise JournalError(f"journal {self.shown}: cannot make the folder {path.parent}: {exc.strerror}; "
                               f"name a file in a folder of yours") from exc

    def open(self) -> Engine:
        """Return the database; see Backend."""
        database = create_engine(
            self._url,
            json_serializer=to_json,
            # No transaction behind our back: `_begin` says when and of which kind.
            connect_args={"isolation_level": None, "timeout": self._busy_timeout, "cached_statements": 512},
        )
        event.listen(database, "connect", self._prepare)
        event.listen(database, "begin", _begin)
        return database

    def _prepare(self, connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {'FULL' if self._durable else 'NORMAL'}",
            f"foreign_keys = {'ON' if self._durable else 'OFF'}",
            # In pages, 64 MiB: the log is copied into the file, and the disk waited for, once in a whole backtest.
            "wal_autocheckpoint = 16384",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if self._identity is None and self._file is not None:
            self._identity = _identity_of(self._file)

    def check_in_place(self) -> None:
        """Refuse to go on with a file that is not at its place any more; 2 µs.

        SQLite itself goes on writing: into a file without a name, which is gone when the last process closes it.
        """
        if self._file is not None and self._identity is not None and _identity_of(self._file) != self._identity:
            what = "replaced" if self._file.exists() else "deleted or moved"
            raise FileNotFoundError(
                f"the file was {what} while it was in use; leave a journal in its place while runs write to it, and "
                "run again"
            )

    def insert(self, connection: Connection, table: Table, run_id: int, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows; see Backend."""
        driver: Any = connection.connection.driver_connection
        cursor = driver.cursor()
        names = tuple(table.columns.keys())
        if len(rows) < _FEW:
            ready = with_text_at(SAW, rows) if table is decisions else list(rows)
            cursor.executemany(_one_row(table.name, names), [(run_id, *row) for row in ready])
            return
        most_values = driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        for start in range(0, len(rows), _BLOCK):
            columns = _columns(rows, start, start + _BLOCK)
            for statement, values in _statements(table.name, names, run_id, columns, most_values):
                cursor.execute(statement, values)

    def snapshot_options(self) -> dict[str, Any]:
        """Return nothing: in WAL mode a transaction sees one state from its first read on."""
        return {}

    def is_locked(self, error: BaseException) -> bool:
        """Return whether another process holds the write lock."""
        return _name_of(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))

    def way_out(self, error: BaseException) -> str:
        """Return what the user can do."""
        name = _name_of(error)
        return next((way for prefix, way in _WAYS_OUT.items() if name.startswith(prefix)), "")


def _begin(connection: Connection) -> None:
    """Take the write lock at once for what will write: a lock taken later, after a read, could not be waited for."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _identity_of(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from all others, whatever it is called; None if there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _name_of(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return getattr(cause, "sqlite_errorname", "")


@lru_cache(maxsize=16)
def _one_row(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _columns(rows: Sequence[tuple[Any, ...]], start: int, end: int) -> list[Sequence[Any] | Constant]:
    """Return some of the rows as columns; those with one value throughout as a Constant.

    The first column, an id or a time, always counts as changing: something must.
    """
    if isinstance(rows, Columns):
        columns = list(rows.part(start, end).columns)
    else:
        columns = list(zip(*rows[start:end], strict=True))
    return [columns[0], *map(_thinned, columns[1:])]


def _thinned(column: Sequence[Any] | Constant) -> Sequence[Any] | Constant:
    return Constant(column[0]) if not isinstance(column, Constant) and _is_constant(column) else column


def _statements(
    table: str, names: tuple[str, ...], run_id: int, columns: list[Sequence[Any] | Constant], most_values: int
) -> Iterator[tuple[str, list[Any]]]:
    """Yield statements and their values that together append the rows.

    A column with one value throughout (the symbol, the type, prices that an order does not have) is bound once per
    statement. It saves the driver's time per value, which for None and for a bool is ten times that for a number.
    """
    if len(columns) != len(names) - 1:
        raise JournalError(f"a row for {table} has {len(columns)} values; expected {', '.join(names[1:])}")
    if table == "decisions":
        columns[SAW] = _as_text(columns[SAW])
    is_constant = tuple(isinstance(column, Constant) for column in columns)
    constants = [run_id, *(_bound(column.value) for column in columns if isinstance(column, Constant))]
    changing = [_numbers(column) for column in columns if not isinstance(column, Constant)]
    values = list(chain.from_iterable(zip(*changing, strict=True)))
    start = 0
    for group in _GROUPS:
        group = min(group, (most_values - len(constants)) // len(changing))
        size = group * len(changing)
        statement = _many_rows(table, names, is_constant, group)
        while len(values) - start >= size:
            yield statement, constants + values[start : start + size]
            start += size


def _as_text(saw: Sequence[Any] | Constant) -> Sequence[Any] | Constant:
    return Constant(number_lists([saw.value])[0]) if isinstance(saw, Constant) else number_lists(saw)


def _bound(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _numbers(column: Sequence[Any]) -> Sequence[Any]:
    """Return a column of bools as numbers, which the driver binds ten times faster."""
    return list(map(int, column)) if type(column[0]) is bool else column


def _is_constant(column: Sequence[Any]) -> bool:
    first = column[0]
    return bool(first == column[-1]) and column.count(first) == len(column)


@lru_cache(maxsize=512)
def _many_rows(table: str, names: tuple[str, ...], is_constant: tuple[bool, ...], rows: int) -> str:
    """Return the statement that appends so many rows; SQLite names the columns of VALUES column1, column2, …"""
    changing = iter(range(1, len(is_constant) + 1))
    sources = ", ".join("?" if constant else f"column{next(changing)}" for constant in is_constant)
    row = f"({', '.join('?' * is_constant.count(False))})"
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT ?, {sources} FROM (VALUES {', '.join([row] * rows)})"
