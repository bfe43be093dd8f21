"""What a journal gives back: runs, their rows, and the few look-ups that every journal answers.

The look-ups are all that `lineage` needs, so it works on lists and on SQL alike.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt

from engine.errors import JournalError
from engine.journal.process import ProcessMark
from engine.records import (
    AccountEventRow,
    AlertRow,
    CommandRow,
    DataStreamRow,
    DecisionForecastRow,
    DecisionRow,
    EquityRow,
    FillRow,
    ForecastRow,
    ForecastScoreRow,
    ForecastSkillRow,
    InputRow,
    OrderEventRow,
    OrderMessageRow,
    OrderRow,
    RiskEventRow,
    RunStart,
    SessionInputRow,
)

Row = (
    DecisionRow | OrderRow | OrderEventRow | FillRow | AccountEventRow | EquityRow | RiskEventRow | CommandRow
    | InputRow | DataStreamRow | ForecastRow | DecisionForecastRow | ForecastScoreRow | ForecastSkillRow
    | SessionInputRow | OrderMessageRow | AlertRow
)
R = TypeVar(
    "R", DecisionRow, OrderRow, OrderEventRow, FillRow, AccountEventRow, EquityRow, RiskEventRow, CommandRow, InputRow,
    DataStreamRow, ForecastRow, DecisionForecastRow, ForecastScoreRow, ForecastSkillRow, SessionInputRow,
    OrderMessageRow, AlertRow,
)

ROW_TYPES: dict[str, type[Row]] = {
    "decisions": DecisionRow,
    "orders": OrderRow,
    "order_events": OrderEventRow,
    "fills": FillRow,
    "account_events": AccountEventRow,
    "equity": EquityRow,
    "risk_events": RiskEventRow,
    "commands": CommandRow,
    "inputs": InputRow,
    "data_streams": DataStreamRow,
    "forecasts": ForecastRow,
    "decision_forecasts": DecisionForecastRow,
    "forecast_scores": ForecastScoreRow,
    "forecast_skill": ForecastSkillRow,
    "session_inputs": SessionInputRow,
    "order_messages": OrderMessageRow,
    "alerts": AlertRow,
}
"""The tables of a run, in the order in which they are written: what is pointed at comes first."""

TABLE_OF: dict[type[Row], str] = {row_type: table for table, row_type in ROW_TYPES.items()}


@dataclass(frozen=True)
class RunInfo:
    """One row of `runs`.

    Args:
        status: "running", "completed", "failed", "interrupted" or "crashed" (its process is gone and never ended it).
        finished_at: UTC nanoseconds; None while it runs, and for a crashed run.
        bars: how many bars were published; None while it runs, and for a crashed run.
        error: why it failed or crashed, else "".
        result: the final statistics, {} unless the run ended.
        fills: how many the journal has, whatever became of the run; counted by `list_runs`, else None.
    """

    id: int
    status: str
    start: RunStart
    process: ProcessMark
    finished_at: int | None = None
    bars: int | None = None
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    fills: int | None = None


@dataclass(frozen=True)
class RunRecord:
    """One run and its rows, in the order of their ids (equity: of time and currency)."""

    run: RunInfo
    decisions: tuple[DecisionRow, ...] = ()
    orders: tuple[OrderRow, ...] = ()
    order_events: tuple[OrderEventRow, ...] = ()
    fills: tuple[FillRow, ...] = ()
    account_events: tuple[AccountEventRow, ...] = ()
    equity: tuple[EquityRow, ...] = ()
    risk_events: tuple[RiskEventRow, ...] = ()
    commands: tuple[CommandRow, ...] = ()
    inputs: tuple[InputRow, ...] = ()
    data_streams: tuple[DataStreamRow, ...] = ()
    forecasts: tuple[ForecastRow, ...] = ()
    decision_forecasts: tuple[DecisionForecastRow, ...] = ()
    forecast_scores: tuple[ForecastScoreRow, ...] = ()
    forecast_skill: tuple[ForecastSkillRow, ...] = ()
    session_inputs: tuple[SessionInputRow, ...] = ()
    order_messages: tuple[OrderMessageRow, ...] = ()
    alerts: tuple[AlertRow, ...] = ()

    def columns(self, table: str) -> dict[str, npt.NDArray[Any]]:
        """Return a table as arrays by column name: int64, float64 (a missing price is NaN), bool, else objects."""
        row_type = ROW_TYPES[table]
        return columns_of(getattr(self, table), row_type)


class JournalReader(Protocol):
    """One consistent view of a journal."""

    def runs(self, limit: int | None = None) -> tuple[RunInfo, ...]:
        """Return the runs, newest first."""

    def run(self, run_id: int) -> RunInfo | None:
        """Return one run, None if there is no such number."""

    def rows(self, row_type: type[R], run_id: int) -> list[R]:
        """Return all rows of one kind in the order of their ids (equity: of time and currency)."""

    def rows_between(self, row_type: type[R], run_id: int, first: int, last: int) -> list[R]:
        """Return the rows whose id lies in first … last, both included, in order. Decisions, orders,
        fills, forecasts and commands only."""

    def rows_where(self, row_type: type[R], run_id: int, column: str, value: int) -> list[R]:
        """Return the rows that point to something: by order_id, parent_id or oco_group; by decision_id
        the forecasts behind a decision. In order of id."""

    def span(self, row_type: type[R], run_id: int) -> tuple[int, int] | None:
        """Return the smallest and the largest id; None if there is no row. Decisions, orders and fills only."""

    def unresolved_fills(self, run_id: int) -> list[FillRow]:
        """Return the fills that lead to no order, or to an order that leads to no decision."""

    def checked_stream(self, digest: str) -> DataStreamRow | None:
        """Return the stream of this digest that has its checks, whichever run read it; None if there is none."""


class Readable(Protocol):
    """A journal that can be read: `MemoryJournal`, `SqlJournal`, or `SqlReader` over a connection of yours."""

    def snapshot(self) -> AbstractContextManager[JournalReader]:
        """Return a view that stays the same while it is open, whatever is written meanwhile."""


def columns_of(rows: Sequence[Row], row_type: type[Row]) -> dict[str, npt.NDArray[Any]]:
    """Return rows as arrays by column name, see `RunRecord.columns`."""
    columns = list(zip(*rows, strict=True)) or [()] * len(row_type._fields)
    kinds = get_type_hints(row_type)
    return {name: _array(column, kinds[name]) for name, column in zip(row_type._fields, columns, strict=True)}


def _array(column: Sequence[Any], kind: Any) -> npt.NDArray[Any]:
    if kind in (float, float | None):
        return np.array(column, dtype=np.float64)    # numpy reads None as NaN
    if kind in (int, bool):
        return np.array(column, dtype=np.int64 if kind is int else np.bool_)
    array = np.empty(len(column), dtype=object)
    array[:] = column
    return array


def no_such_run(run_id: int, reader: JournalReader) -> JournalError:
    """Return the error that names the runs there are."""
    newest = reader.runs(limit=1)
    known = f"the newest is run {newest[0].id}" if newest else "it has none yet; `python main.py backtest` makes one"
    return JournalError(f"there is no run {run_id} in this journal; {known}")
