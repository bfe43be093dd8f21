"""What a run of a strategy left behind, up to every instant that matters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from engine.bars import FloatArray
from engine.records import Batch, RunEnd, RunStart

TABLES = ("decisions", "orders", "order_events", "fills")
"""In the order in which one leads to the next."""


class LineTrace(NamedTuple):
    """A declared line: its label, where its function stands ("file", line; empty for TA-Lib's), its stream's place, and
    its values over the whole column."""

    label: str
    code: tuple[str, int] | None
    stream: int
    values: FloatArray


class Mark(NamedTuple):
    """How far a run has come at an instant: rows of each table, and the strategy's attributes."""

    rows: dict[str, int]
    attributes: dict[str, Any]


class Fault(NamedTuple):
    """An error that ended a run. `is_ahead` tells whether it came before the first bar, of computing columns."""

    kind: str
    text: str
    is_ahead: bool
    time: int


@dataclass
class Trace:
    """What a run left behind.

    Args:
        exposures: what `targets` returned, float64 [rows]; None without.
        rows: of each table, as tuples; marks: by close_time.
        attributes: at the end; state: the random state, a global that no run should depend on.
    """

    lines: list[LineTrace] = field(default_factory=list)
    exposures: FloatArray | None = None
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    marks: dict[int, Mark] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    warm_up: int = 0
    not_understood: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """A hash of every decision, order, step in an order's life and fill."""
        digest = sha256()
        for table in TABLES:
            digest.update(repr(self.rows.get(table, [])).encode())
        return digest.hexdigest()

    @property
    def decisions(self) -> list[tuple[Any, ...]]:
        return self.rows.get("decisions", [])


class Collector:
    """A journal that keeps the rows of one run. Satisfies engine.interfaces.Journal.

    Args:
        at_begin: called when the run begins, which is when all columns are computed.
    """

    def __init__(self, at_begin: Callable[[], None] | None = None) -> None:
        self._at_begin = at_begin
        self.rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in TABLES}
        self.has_begun = False

    def begin(self, start: RunStart) -> int:
        self.has_begun = True
        if self._at_begin is not None:
            self._at_begin()
        return 1

    def write(self, batch: Batch) -> None:
        for table in TABLES:
            self.rows[table].extend(map(tuple, getattr(batch, table)))

    def end(self, end: RunEnd) -> None:
        """Do nothing: rows are in their place at once."""


def counts(recorder: Any) -> Mapping[str, int]:
    """Return how many rows of each table a recorder has made."""
    return {
        "decisions": recorder.decision_count,
        "orders": recorder.order_count,
        "order_events": recorder.order_event_count,
        "fills": recorder.fill_count,
    }
