"""A journal in lists: for tests, and for runs that ask for none on disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType

from engine.errors import JournalError
from engine.journal.process import this_process
from engine.journal.reading import ROW_TYPES, TABLE_OF, JournalReader, R, RunInfo
from engine.records import Batch, DecisionRow, EquityRow, FillRow, OrderRow, RunEnd, RunStart


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
            run.info, status=end.status, finished_at=end.finished_at, bars=end.bars, error=end.error, result=dict(end.result)
        )
        self._open = None

    def close(self) -> None:
        """End a run that is still open as interrupted; the rows stay readable."""
        self._abandon("interrupted", "the journal was closed before the run ended")

    def snapshot(self) -> "_MemorySnapshot":
        """Return a view of what has been written so far."""
        return _MemorySnapshot(self._runs)

    def __enter__(self) -> "MemoryJournal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Exception):
            self._abandon("failed", f"{type(error).__name__}: {error}")
        self.close()

    def _run(self) -> _Run:
        if self._open is None:
            raise JournalError("no run is open; call begin() first")
        return self._open

    def _abandon(self, status: str, error: str) -> None:
        if self._open:
            self._open.info = replace(self._open.info, status=status, error=error)
            self._open = None
