"""The journal in PostgreSQL: where the runs of several machines meet."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine

from engine.errors import JournalError
from engine.journal.json_text import to_json, with_text_at
from engine.journal.tables import SAW, decisions

_WAYS_OUT = {
    "08": "the server is gone or cannot be reached; check that it runs",
    "23": "a row breaks a rule of its table; what made the row (the broker, the recorder) is at fault",
    "28": "the server does not let this user in; check the user and the password",
    "3D": "make the database first (createdb), or name another",
    "42501": "the user may not make or write tables there; grant it, or name another database",
    "42P07": "another application has tables of these names there; name an empty database",
    "25006": "the server is read-only; name one that takes writes",
    "53": "the server is out of disk, memory or connections; free some and run again",
    "55P03": "another process keeps the tables locked; close it and run again",
    "57P": "the server is shutting down; run again when it is back",
}
_LOCKED = ("40001", "40P01", "55P03")
"""Serialization failure, deadlock, lock not available: the server undid the transaction and asks to try again."""


class PostgresBackend:
    """Connects to the server and appends with COPY.

    Args:
        durable: wait for the server's disk at every commit. Otherwise (backtests) a crash of the *server* may take the
            last commits, whole.
        lock_timeout: seconds to wait for another process's write.
    Raises:
        JournalError: psycopg is not installed (from `open`).
    """

    def __init__(self, url: URL, *, durable: bool, lock_timeout: float) -> None:
        self.errors: tuple[type[Exception], ...] = ()
        self.shown = _without_password(url)
        self._url = url
        self._options = (
            f"-c synchronous_commit={'on' if durable else 'off'} -c lock_timeout={int(lock_timeout * 1000)}"
        )

    def open(self) -> Engine:
        """Return the database; see Backend."""
        options = f"{self._url.query.get('options', '')} {self._options}".strip()
        try:
            database = create_engine(
                self._url.difference_update_query(["options"]),
                json_serializer=to_json,
                connect_args={"connect_timeout": 10, "application_name": "barcast", "options": options},
            )
        except ModuleNotFoundError as exc:
            raise JournalError("a PostgreSQL journal needs psycopg; run pip install 'psycopg[binary]'") from exc
        driver = database.dialect.loaded_dbapi
        self.errors = (driver.Error,)
        self._no_answer = driver.OperationalError
        return database

    def insert(self, connection: Connection, table: Table, run_id: int, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows; see Backend."""
        names = table.columns.keys()
        cursor: Any = connection.connection.cursor()
        with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
            for row in with_text_at(SAW, rows) if table is decisions else rows:
                if len(row) != len(names) - 1:
                    raise JournalError(f"a row for {table.name} has {len(row)} values; expected {', '.join(names[1:])}")
                copy.write_row((run_id, *row))

    def snapshot_options(self) -> dict[str, Any]:
        """Return the isolation level at which every query sees one state."""
        return {"isolation_level": "REPEATABLE READ"}

    def check_in_place(self) -> None:
        """Do nothing: a server keeps its own files."""

    def is_locked(self, error: BaseException) -> bool:
        """Return whether the server asked to try again."""
        return self._state_of(error) in _LOCKED

    def way_out(self, error: BaseException) -> str:
        """Return what the user can do."""
        state = self._state_of(error)
        return next((way for prefix, way in _WAYS_OUT.items() if state.startswith(prefix)), "")

    def _state_of(self, error: BaseException) -> str:
        """Return the SQLSTATE code; "08000" (no connection) for what carries none because the server did not answer."""
        cause = getattr(error, "orig", None) or error
        return getattr(cause, "sqlstate", None) or ("08000" if isinstance(cause, self._no_answer) else "")


def _without_password(url: URL) -> str:
    if "password" in url.query:
        url = url.update_query_dict({"password": "***"})
    return url.render_as_string(hide_password=True)
