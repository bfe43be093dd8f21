"""A journal in lists: for tests, and for runs that ask for none on disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from types import TracebackType

from engine.errors import JournalError
from engine.journal.ending import ending_of
from engine.journal.process import this_process
from engine.journal.reading import ROW_TYPES, TABLE_OF, JournalReader, R, RunInfo
from engine.records import Batch, DataStreamRow, DecisionRow, EquityRow, FillRow, OrderRow, RunEnd, RunStart


@dataclass
class _Run:
    info: RunInfo
    rows: Batch = field(default_factory=Batch)


class MemoryJournal:
    """Keeps every row of every run until it is dropped. Satisfies engine.interfaces.Journal and reading.Readable."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._open: _Run | None = None

    def begin(self, start: RunStart) -> int:
        """Open a run and return its number, counted from 1.

        Raises:
            JournalError: the run before has not ended.
        """
        if self._open:
            raise JournalError(f"run {self._open.info.id} has not ended; call end() before another begin()")
        self._open = _Run(RunInfo(len(self._runs) + 1, "running", start, this_process()))
        self._runs.append(self._open)
        return self._open.info.id

    def resume(self, run_id: int) -> None:
        """Go on with a run that was left.

        Raises:
            JournalError: there is no such run, another is open, or it has completed.
        """
        if self._open:
            raise JournalError(f"run {self._open.info.id} has not ended; call end() before resume()")
        if not 1 <= run_id <= len(self._runs):
            raise JournalError(f"there is no run {run_id} to go on with")
        run = self._runs[run_id - 1]
        if run.info.status == "completed":
            raise JournalError(f"run {run_id} has completed; start a new session")
        run.info = replace(run.info, status="running", error="", finished_at=None)
        self._open = run

    def write(self, batch: Batch) -> None:
        """Append rows.

        Raises:
            JournalError: no run is open.
        """
        kept = self._run().rows
        for table in ROW_TYPES:
            getattr(kept, table).extend(getattr(batch, table))

    def flush(self) -> None:
        """Do nothing: rows are in their place at once."""
        self._run()

    def end(self, end: RunEnd) -> None:
        """Close the run with its status and result.

        Raises:
            JournalError: no run is open.
        """
        run = self._run()
        run.info = replace(
            run.info, status=end.status, finished_at=end.finished_at, bars=end.bars, error=end.error,
            result=dict(end.result),
        )
        self._open = None

    def close(self) -> None:
        """End a run that is still open as interrupted; the rows stay readable."""
        self._abandon(None)

    @contextmanager
    def snapshot(self) -> Iterator[JournalReader]:
        """Return a view of what was written so far."""
        yield _Snapshot(self._runs)

    def __enter__(self) -> "MemoryJournal":
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._abandon(error)

    def _run(self) -> _Run:
        if self._open is None:
            raise JournalError("no run is open; call begin() first")
        return self._open

    def _abandon(self, error: BaseException | None) -> None:
        if self._open:
            status, text = ending_of(error)
            self._open.info = replace(self._open.info, status=status, error=text)
            self._open = None


class _Snapshot:
    """Answers a JournalReader's questions by looking through the lists."""

    def __init__(self, runs: list[_Run]) -> None:
        self._runs = runs

    def runs(self, limit: int | None = None) -> tuple[RunInfo, ...]:
        return tuple(run.info for run in self._runs[::-1][:limit])

    def run(self, run_id: int) -> RunInfo | None:
        return self._runs[run_id - 1].info if 1 <= run_id <= len(self._runs) else None

    def rows(self, row_type: type[R], run_id: int) -> list[R]:
        kept = getattr(self._runs[run_id - 1].rows, TABLE_OF[row_type])
        order = itemgetter(0, 1) if row_type is EquityRow else itemgetter(0)
        return [row_type._make(row) for row in sorted(kept, key=order)]

    def rows_between(self, row_type: type[R], run_id: int, first: int, last: int) -> list[R]:
        return [row for row in self.rows(row_type, run_id) if first <= row[0] <= last]

    def rows_where(self, row_type: type[R], run_id: int, column: str, value: int) -> list[R]:
        return [row for row in self.rows(row_type, run_id) if getattr(row, column) == value]

    def span(self, row_type: type[R], run_id: int) -> tuple[int, int] | None:
        rows = self.rows(row_type, run_id)
        return (rows[0][0], rows[-1][0]) if rows else None

    def checked_stream(self, digest: str) -> DataStreamRow | None:
        streams = (row for run in self._runs for row in map(DataStreamRow._make, run.rows.data_streams))
        checked = [row for row in streams if row.digest == digest and row.blocks is not None]
        return min(checked, key=lambda row: row.row_checks is None, default=None)

    def unresolved_fills(self, run_id: int) -> list[FillRow]:
        decisions = {decision.id for decision in self.rows(DecisionRow, run_id)}
        resolved = {order.id for order in self.rows(OrderRow, run_id) if order.decision_id in decisions}
        return [fill for fill in self.rows(FillRow, run_id) if fill.order_id not in resolved]
