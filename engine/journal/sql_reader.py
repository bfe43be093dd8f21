"""Reads a journal over one connection: look-ups by key or index, and whole runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, Text, bindparam, cast, func, select

from engine.errors import JournalError
from engine.journal.json_text import with_numbers_at
from engine.journal.process import ProcessMark, has_ended
from engine.journal.reading import TABLE_OF, JournalReader, R, Row, RunInfo
from engine.journal.tables import FACTS, SAW, data_streams, decisions, fills, orders, runs
from engine.records import DataStreamRow, DecisionRow, FillRow, OrderEventRow, RunStart

GONE = "its process ended without closing the run; what it had written is whole up to its last batch"
"""The error text of a crashed run."""

_ALL_OF: dict[type[Row], Select[Any]] = {
    row_type: select(
        *(cast(column, Text) if column is decisions.c.saw else column for column in FACTS[table].columns[1:])
    ).where(FACTS[table].c.run_id == bindparam("run"))
    for row_type, table in TABLE_OF.items()
}
"""Queries for all rows of a kind in the run `:run`, without the run's number. Arrays of numbers come as text."""


class SqlReader:
    """A JournalReader over a connection; consistent as far as the connection's transaction is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def snapshot(self) -> Iterator[JournalReader]:
        """Return itself, so that a connection of the caller's can be read like a journal."""
        yield self

    def runs(self, limit: int | None = None) -> tuple[RunInfo, ...]:
        """Return the runs, newest first."""
        query = select(runs).order_by(runs.c.id.desc()).limit(limit)
        with _understood("the list of runs"):
            return tuple(_run_info(row) for row in self._connection.execute(query).mappings())

    def run(self, run_id: int) -> RunInfo | None:
        """Return one run, None if there is no such number."""
        with _understood(f"run {run_id}"):
            row = self._connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
            return None if row is None else _run_info(row)

    def rows(self, row_type: type[R], run_id: int) -> list[R]:
        """Return all rows of one kind in the order of their ids (equity: of time and currency)."""
        table = FACTS[TABLE_OF[row_type]]
        rows = self._fetch(row_type, _ALL_OF[row_type].order_by(*table.primary_key), {"run": run_id})
        if row_type is OrderEventRow:
            # They lie by order. Sorted here, since they are nearly in the order of their ids already.
            rows.sort(key=itemgetter(0))
        return rows

    def rows_between(self, row_type: type[R], run_id: int, first: int, last: int) -> list[R]:
        """Return the rows whose id lies in first … last, both included, in order."""
        table = FACTS[TABLE_OF[row_type]]
        query = _ALL_OF[row_type].where(table.c.id.between(first, last)).order_by(table.c.id)
        return self._fetch(row_type, query, {"run": run_id})

    def rows_where(self, row_type: type[R], run_id: int, column: str, value: int) -> list[R]:
        """Return the rows that point to something, in order of id."""
        table = FACTS[TABLE_OF[row_type]]
        query = _ALL_OF[row_type].where(table.c[column] == value).order_by(table.c.id)
        return self._fetch(row_type, query, {"run": run_id})

    def span(self, row_type: type[R], run_id: int) -> tuple[int, int] | None:
        """Return the smallest and the largest id; None if there is no row."""
        table = FACTS[TABLE_OF[row_type]]
        ends = [
            # Two queries: SQLite looks up min or max in the key, but walks the table for both at once.
            self._connection.execute(select(end(table.c.id)).where(table.c.run_id == run_id)).scalar_one()
            for end in (func.min, func.max)
        ]
        return None if ends[0] is None else (ends[0], ends[1])

    def unresolved_fills(self, run_id: int) -> list[FillRow]:
        """Return the fills that lead to no order, or to an order that leads to no decision."""
        ordered = (fills.c.run_id == orders.c.run_id) & (fills.c.order_id == orders.c.id)
        decided = (orders.c.run_id == decisions.c.run_id) & (orders.c.decision_id == decisions.c.id)
        query = (
            _ALL_OF[FillRow].select_from(fills.outerjoin(orders, ordered).outerjoin(decisions, decided))
            .where(decisions.c.id.is_(None)).order_by(fills.c.id)
        )
        return self._fetch(FillRow, query, {"run": run_id})

    def checked_stream(self, digest: str) -> DataStreamRow | None:
        """Return the stream of this digest that has its checks; None if there is none."""
        query = (
            select(*data_streams.columns[1:]).where(data_streams.c.digest == digest, data_streams.c.blocks.is_not(None))
            .order_by(data_streams.c.row_checks.is_(None)).limit(1)
        )
        row = self._connection.execute(query).one_or_none()
        return None if row is None else DataStreamRow(*row)

    def _fetch(self, row_type: type[R], query: Select[Any], values: dict[str, Any]) -> list[R]:
        rows: Sequence[Sequence[Any]] = self._connection.execute(query, values).all()
        if row_type is DecisionRow:
            with _understood("a run's decisions"):
                rows = with_numbers_at(SAW, rows)
        # tuple.__new__ skips the Python-level constructor of NamedTuple.
        return list(map(tuple.__new__, repeat(row_type), rows))


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Say what it is that cannot be read, where a cell holds what was never written: the disk or a hand changed it."""
    try:
        yield
    except (ValueError, TypeError) as exc:
        raise JournalError(
            f"{what} cannot be understood ({' '.join(str(exc).split())[:200]}); the journal is damaged; keep a copy, "
            "restore a backup or name another"
        ) from exc


def _run_info(row: Any) -> RunInfo:
    process = ProcessMark(row["pid"], row["host"], row["boot"], row["pid_namespace"], row["process_started"])
    status, error = row["status"], row["error"]
    if status == "running" and has_ended(process):
        status, error = "crashed", GONE
    start = RunStart(
        **{name: row[name] for name in RunStart.__dataclass_fields__ if name != "lines"}, lines=tuple(row["lines"])
    )
    return RunInfo(row["id"], status, start, process, row["finished_at"], row["bars"], error, row["result"])
