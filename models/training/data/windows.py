"""Windows: what a network sees at one moment and what was to be said of it, cut from long arrays on the device.

All groups (a group is one symbol at one timeframe) stand one after another in the arrays, rows in order of time. A
window is the number of its last row, the decision: the bar whose close is the latest thing known. A `Column` says how
many rows up to and including that row belong to the window (`past`) and how many after it (`ahead`):

    values    Column(array [rows, F], past=T)             → [n, T, F]      features of bars
    calendar  Column(array [rows, K], past=T, ahead=D)    → [n, T + D, K]  known ahead
    target    Column(array [rows, R])                     → [n, R]         one row each: the decision's own
    symbol    Column(array [rows], int64)                 → [n]

What a target says of later bars is worked out before, in the row of the decision (`models.features.targets`), and the
time at which the last of those bars closes is the window's `label_time`: splits (`models.training.data.splits`) let no
label time reach beyond their end, while the past of a window may reach back before their beginning.

A gather is one copy of memory a column, without Python for each window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.bars import IntArray, iso
from engine.errors import DataError, nearest_name

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """An array [rows, …] and which rows of it, seen from its last, a window has.

    Args:
        values: any type and device, one row a bar. past: rows up to and including the decision, 1 or more.
        ahead: rows after it. past = 1 and ahead = 0: one row a window, without an axis of time.
    """

    values: Tensor
    past: int = 1
    ahead: int = 0

    def __post_init__(self) -> None:
        if self.past < 1 or self.ahead < 0:
            raise DataError(f"a column has {self.past} rows of the past and {self.ahead} ahead; expected ≥ 1 and ≥ 0")
        if len(self.values) < self.past + self.ahead:
            raise DataError(f"a column has {len(self.values)} rows; a window takes {self.past + self.ahead}")

    @property
    def length(self) -> int:
        """Steps of time in a window."""
        return self.past + self.ahead

    @cached_property
    def _view(self) -> Tensor:
        """[rows − length + 1, length · width]: every window, overlapping, without a copy."""
        values = self.values.contiguous()
        width = values[0].numel()
        return values.as_strided((len(values) - self.length + 1, self.length * width), (width, 1))

    def gather(self, rows: Tensor) -> Tensor:
        """Return the windows that end at rows, [n, length, …], or [n, …] for single rows.

        Args:
            rows: int64 [n], on the column's device. They are not checked: a `WindowSet`'s own are right.
        """
        if self.length == 1:
            return self.values.index_select(0, rows)
        shape = (len(rows), self.length, *self.values.shape[1:])
        return self._view.index_select(0, rows - (self.past - 1)).view(shape)

    def to(self, device: str | torch.device) -> "Column":
        """Return the column on a device."""
        return replace(self, values=self.values.to(device))


@dataclass(frozen=True)
class WindowSet:
    """Windows over shared arrays. A subset (`select`, a split) is another set of rows over the same arrays.

    Args:
        columns: by name. rows: int64 [N], each window's last row, on the columns' device.
        times: int64 [N], UTC ns, when the decision's bar closed; label_times: when the last bar that its targets use
            closed (= times where there are none).
        groups: int64 [N], the place in `group_names` of each window's group.
        group_names: such as "BTC/USDT 1h".
    """

    columns: Mapping[str, Column]
    rows: Tensor
    times: IntArray
    label_times: IntArray
    groups: IntArray
    group_names: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = {len(self.rows), len(self.times), len(self.label_times), len(self.groups)}
        if len(counts) > 1:
            raise DataError(
                f"windows have {sorted(counts)} rows, times, label times and groups; expected as many of each"
            )
        lengths = {name: len(column.values) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns of windows have {lengths} rows; expected one length")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        return self.rows.device

    def gather(self, places: Tensor, names: Sequence[str] = ()) -> dict[str, Tensor]:
        """Return windows by column.

        Args:
            places: int64 [n], which windows, 0 … len − 1. names: which columns; empty: all.
        Raises:
            DataError: there is no such column.
        """
        rows = self.rows.index_select(0, places.to(self.device))
        return {name: self.column(name).gather(rows) for name in names or self.columns}

    def all_of(self, name: str) -> Tensor:
        """Return one column of all windows, in order: for targets and codes, which are small."""
        return self.column(name).gather(self.rows)

    def column(self, name: str) -> Column:
        """Return a column.

        Raises:
            DataError: there is none of that name.
        """
        if name not in self.columns:
            raise DataError(
                f"windows have no column {name!r}{nearest_name(name, list(self.columns))}; there are "
                f"{', '.join(self.columns)}"
            )
        return self.columns[name]

    def with_columns(self, **columns: Column) -> Self:
        """Return the set with more columns, or others of the same names."""
        return replace(self, columns={**self.columns, **columns})

    def select(self, chosen: BoolArray | IntArray) -> Self:
        """Return some of the windows: a mask [N] or places in order."""
        places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        rows = self.rows.index_select(0, torch.from_numpy(np.ascontiguousarray(places, np.int64)).to(self.device))
        kept = {name: getattr(self, name)[places] for name in ("times", "label_times", "groups")}
        return replace(self, rows=rows, **kept)

    def to(self, device: str | torch.device) -> Self:
        """Return the set with its arrays on a device."""
        columns = {name: column.to(device) for name, column in self.columns.items()}
        return replace(self, columns=columns, rows=self.rows.to(device))

    def in_time(self) -> IntArray:
        """Return the places of windows in order of time, groups in their own order within an instant."""
        return np.asarray(np.lexsort((self.groups, self.times)), np.int64)

    def span(self) -> tuple[int, int]:
        """Return the first decision and the last label time, UTC ns.

        Raises:
            DataError: the set is empty.
        """
        if not len(self):
            raise DataError("there are no windows; see the table of what was dropped and why")
        return int(self.times.min()), int(self.label_times.max())

    def __str__(self) -> str:
        if not len(self):
            return "0 windows"
        first, last = self.span()
        return f"{len(self):,} windows of {len(np.unique(self.groups))} groups, {iso(first)} … {iso(last)}"


@dataclass(frozen=True)
class Segments:
    """Rows that windows may be cut from: consecutive bars of one group, and not across a gap.

    Args:
        groups: int64 [rows], nondecreasing; close_times: int64 [rows], ascending within a group.
        durations: int64 [groups], ns of a bar of each group; a larger step between closes is a gap.
        across_gaps: windows may cross gaps: markets that close overnight have one every day.
    """

    groups: IntArray
    close_times: IntArray
    durations: IntArray
    across_gaps: bool = False

    @cached_property
    def numbers(self) -> IntArray:
        """int64 [rows], which segment each row is in."""
        begins = np.ones(len(self.groups), bool)
        begins[1:] = np.diff(self.groups) != 0
        if not self.across_gaps and len(begins):
            begins[1:] |= np.diff(self.close_times) > self.durations[self.groups[1:]]
        return np.asarray(np.cumsum(begins) - 1, np.int64)

    def ends(
        self, past: int, ahead: int, *, usable: BoolArray | None = None, label: BoolArray | None = None
    ) -> IntArray:
        """Return the rows at which a window can end, int64 [N].

        Args:
            past, ahead: rows of one segment that it needs up to its end, and after it.
            usable: bool [rows], a row that may stand in a window's past. label: bool [rows], a row that may be the end.
        """
        rows, numbers = len(self.groups), self.numbers
        fits = np.zeros(rows, bool)
        if rows >= past + ahead:
            last = np.arange(past - 1, rows - ahead)
            fits[last] = (numbers[last] == numbers[last - past + 1]) & (numbers[last] == numbers[last + ahead])
        if usable is not None:
            bad = np.concatenate([[0], np.cumsum(~usable)])
            last = np.flatnonzero(fits)
            fits[last] = bad[last + 1] == bad[last + 1 - past]
        if label is not None:
            fits &= label
        return np.flatnonzero(fits)
