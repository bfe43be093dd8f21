"""What a run leaves in memory: its fills as columns, its equity, and the figures every front end prints."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, overload

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.detail import DetailCount
from engine.records import FillRow
from engine.risk.facts import Halt, Lift


@dataclass(frozen=True)
class EquityCurve:
    """The portfolio at every instant, in one currency. Columns have the shape [instants].

    `exposure` is net notional ÷ equity, signed. `time` is the close_time of the bars.
    """

    currency: str
    time: IntArray
    equity: FloatArray
    cash: FloatArray
    exposure: FloatArray


class LateCurve(EquityCurve):
    """A curve that is computed when one of its columns is first looked at."""

    def __init__(self, currency: str, make: Callable[[], EquityCurve]) -> None:
        object.__setattr__(self, "currency", currency)
        object.__setattr__(self, "_make", make)

    def __getattr__(self, name: str) -> Any:
        if name not in ("time", "equity", "cash", "exposure"):
            raise AttributeError(name)
        made = self._make()
        for column in ("time", "equity", "cash", "exposure"):
            object.__setattr__(self, column, getattr(made, column))
        return getattr(made, name)


class LazyRows(Sequence[FillRow]):
    """Fills whose rows are made when one is first looked at: a run that is only timed or hashed makes none."""

    def __init__(self, count: int, make: Callable[[], list[FillRow]]) -> None:
        self._count = count
        self._make = make

    @cached_property
    def _rows(self) -> list[FillRow]:
        return self._make()

    @overload
    def __getitem__(self, place: int) -> FillRow: ...

    @overload
    def __getitem__(self, place: slice) -> list[FillRow]: ...

    def __getitem__(self, place: int | slice) -> FillRow | list[FillRow]:
        return self._rows[place]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[FillRow]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, LazyRows | list | tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to a list, so as unhashable as one

    def __repr__(self) -> str:
        return repr(self._rows)


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Args:
        bars: bars seen; loop_seconds: wall time of the loop, indicators and journal writing included, loading and
            reporting not.
        fill_keys: int64 [fills, 6]: symbol index, bar_close_time, side, price ticks, lots, fee units. What
            `fills_hash` hashes.
        final_equity: cash + market value at the last closes, exact, in the account's first currency.
        order_count, refused_count: orders made; those of them that the risk gate refused. `refused_by` counts these by
            rule ("venue" for the venue's own filters).
        account_events: money that moved other than by fills, the opening deposits among it: rows as AccountEventRow.
        risk_events: every halt of the risk gate, and every lift, in order.
        detail: under `path="detail"`, how many bars finer bars resolved, and how many had to be taken at their worst.
        assumptions: the assumption card; statistics: filled in by engine.analysis.
        forecasts: what the models of the run were asked, whether they had seen the data, and how good they were; empty
            without models (see ForecastBook.summary).
    """

    run_id: int | None
    strategy: str
    symbols: tuple[str, ...]
    bars: int
    loop_seconds: float
    fills: Sequence[FillRow]
    fill_keys: IntArray
    curve: EquityCurve
    final_equity: Decimal
    order_count: int
    refused_count: int
    assumptions: dict[str, Any]
    data_fingerprint: str
    statistics: dict[str, Any] = field(default_factory=dict)
    refused_by: dict[str, int] = field(default_factory=dict)
    risk_events: tuple[Halt | Lift, ...] = ()
    account_events: tuple[tuple[Any, ...], ...] = ()
    detail: DetailCount | None = None
    forecasts: dict[str, Any] = field(default_factory=dict)

    @property
    def bars_per_second(self) -> float:
        return self.bars / self.loop_seconds if self.loop_seconds > 0 else 0.0

    @cached_property
    def fills_hash(self) -> str:
        """Return a SHA-256 over every fill's symbol, bar, side, price, quantity and fee, as whole increments."""
        digest = hashlib.sha256("\n".join(self.symbols).encode())
        digest.update(np.ascontiguousarray(self.fill_keys, dtype="<i8").tobytes())
        return digest.hexdigest()
