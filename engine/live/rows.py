"""Rows that an engine makes, held against those in the journal one by one: the proof of recovery and of replay."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from engine.bars import iso
from engine.errors import DivergenceError
from engine.journal.reading import ROW_TYPES, JournalReader, Row
from engine.records import Batch, SessionInputRow

NOT_COMPARED = ("inputs", "data_streams", "commands", "order_messages")
"""Tables that others write than the engine: what a run was made of, and what people asked for. Messages follow from
orders, which are compared."""
CHUNK = 2_000


class Divergence(NamedTuple):
    """The first row that is not the same: `recorded` or `now` is None where there is none.

    `after` is the input that was being dealt with, in words.
    """

    table: str
    id: int
    recorded: Row | None
    now: Row | None
    fields: tuple[str, ...]
    after: str = ""

    def __str__(self) -> str:
        if self.recorded is None:
            said = f"now there is a row {self.id} that was not recorded: {_shown(self.now)}"
        elif self.now is None:
            said = f"the recorded row {self.id} does not come about: {_shown(self.recorded)}"
        else:
            pairs = (
                f"{name} was {getattr(self.recorded, name)!r}, is {getattr(self.now, name)!r}" for name in self.fields
            )
            said = f"row {self.id}: {'; '.join(pairs)}"
        return f"{self.table}: {said}{f' (at {self.after})' if self.after else ''}"


class RowCheck:
    """Compares batches with a run's rows, as a stream: neither side is kept whole.

    Raises:
        DivergenceError: at the first row that differs.
    """

    def __init__(self, reader: JournalReader, run_id: int) -> None:
        self.compared = 0
        self._reader = reader
        self._run_id = run_id
        self._recorded: dict[str, Iterator[Row]] = {
            table: iter(reader.rows(row_type, run_id))  # type: ignore[type-var]
            for table, row_type in ROW_TYPES.items() if table not in NOT_COMPARED
        }
        self._last_input = ""

    def compare(self, batch: Batch) -> None:
        """Hold every row of a batch against the next one recorded of its table."""
        if batch.session_inputs:
            given = SessionInputRow._make(list(batch.session_inputs)[-1])
            self._last_input = f"input {given.id}, {given.kind} of {iso(given.time)}"
        for table, recorded in self._recorded.items():
            row_type: type[Any] = ROW_TYPES[table]
            for row in getattr(batch, table):
                now = row_type._make(row)
                before = next(recorded, None)
                self.compared += 1
                fields = _differing(before, now)
                if before is None or fields:
                    raise DivergenceError(Divergence(table, now[0], before, now, fields, self._last_input))

    def finish(self) -> None:
        """Make sure that nothing was recorded beyond what came about."""
        for table, recorded in self._recorded.items():
            left = next(recorded, None)
            if left is not None:
                raise DivergenceError(Divergence(table, left[0], left, None, (), self._last_input))


def _differing(recorded: Row | None, now: Row) -> tuple[str, ...]:
    if recorded is None or recorded == now:
        return ()
    return tuple(name for name in now._fields if not _same(getattr(recorded, name), getattr(now, name)))


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are one, NaN being equal to itself."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)


def _shown(row: Row | None) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in row._asdict().items()) if row is not None else ""
