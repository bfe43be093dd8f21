"""The databases a journal can live in: one Protocol, chosen by URL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, Table, make_url
from sqlalchemy.exc import ArgumentError

from engine.errors import JournalError
from engine.journal.postgresql import PostgresBackend
from engine.journal.sqlite import SqliteBackend

EXPECTED = "expected a file such as runs/journal.db, sqlite:///runs/journal.db or postgresql://user:password@host/database"


class Backend(Protocol):
    """What differs between databases. (SQLAlchemy's engine is called `database`: the engine is our loop.)"""

    shown: str
    """The URL for people, without its password."""
    errors: tuple[type[Exception], ...]
    """What the driver raises, besides SQLAlchemy's own."""

    def open(self) -> Engine:
        """Return the database, ready for connections whose transactions take the write lock if the connection has
        the execution option `writes`."""

    def insert(self, connection: Connection, table: Table, run_id: int, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows of one run, as fast as the database allows. The rows leave out the run's number."""

    def snapshot_options(self) -> dict[str, Any]:
        """Return the execution options under which a connection sees one state of the data."""

    def check_in_place(self) -> None:
        """Refuse to go on if what is written would go where nobody can find it.

        Raises:
            OSError: the file was deleted, moved or replaced since the first connection was made.
        """

    def is_locked(self, error: BaseException) -> bool:
        """Return whether another process was in the way, so that trying again may help."""

    def way_out(self, error: BaseException) -> str:
        """Return what the user can do about an error; "" if nothing better is known than its own text."""


def backend_for(url: str | Path, *, durable: bool, create: bool, lock_timeout: float) -> Backend:
    """Return the backend that a URL, or the path of an SQLite file, asks for.

    Raises:
        JournalError: the URL is not understood, or there is no such file.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteBackend(parsed, durable=durable, create=create, lock_timeout=lock_timeout)
    return PostgresBackend(parsed, durable=durable, lock_timeout=lock_timeout)


def _parse(url: str | Path) -> URL:
    if not str(url).isascii() and any("\ud800" <= letter <= "\udfff" for letter in str(url)):
        raise JournalError(f"the journal's name {str(url)!a} is not text (UTF-8); {EXPECTED}")
    if isinstance(url, Path) or "://" not in url:
        return URL.create("sqlite", database=str(url))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        # The text is not shown: it may hold a password.
        raise JournalError(f"the journal's URL is not understood; {EXPECTED}") from exc
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return parsed.set(drivername="sqlite")
        case "postgres" | "postgresql" | "postgresql+psycopg":
            return parsed.set(drivername="postgresql+psycopg")
    raise JournalError(f"a journal cannot live in {parsed.drivername!r}; {EXPECTED}")
