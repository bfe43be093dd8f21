"""Rows as they were found: the columns of one stream before anything has been checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.bars import Bars, FloatArray, IntArray, Stream, Timeframe
from engine.errors import DataError
from feeds.chunks import COLUMNS

MEMORY = "memory"


@dataclass(frozen=True)
class BarTable:
    """Columns of one stream, unchecked: rows may be unsorted, doubled, impossible or NaN.

    Args:
        origin: where they come from, for messages: a file's path, or "memory".
        close_time: None stands for open_time + timeframe.
        first_row: what the first row is called; row_word: what a row is called ("line" in a text file).
        row_numbers: what each row is called, where rows were moved or left out.
    """

    origin: str
    stream: Stream
    open_time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    close_time: IntArray | None = None
    flags: npt.NDArray[np.uint8] | None = None
    first_row: int = 1
    row_word: str = "row"
    row_numbers: IntArray | None = None

    def __len__(self) -> int:
        return len(self.open_time)

    @property
    def duration(self) -> int:
        """The length of a bar in nanoseconds."""
        return Timeframe.parse(self.stream.timeframe).duration

    @property
    def name(self) -> str:
        """What messages begin with: the file, or the stream of what came from memory."""
        return f"{self.stream.symbol} {self.stream.timeframe}" if self.origin == MEMORY else self.origin

    def row_number(self, row: int) -> int:
        """Return the number of a row as its file counts."""
        return self.first_row + row if self.row_numbers is None else int(self.row_numbers[row])

    def row_name(self, row: int) -> str:
        """Return for example "btc.csv line 18"."""
        return f"{self.name} {self.row_word} {self.row_number(row):,}"

    def close_times(self) -> IntArray:
        """Return when each bar became known."""
        return self.open_time + self.duration if self.close_time is None else self.close_time

    def take(self, rows: IntArray | npt.NDArray[np.bool_]) -> "BarTable":
        """Return some of the rows, in the order given; they keep their numbers."""
        numbers = self.first_row + np.arange(len(self)) if self.row_numbers is None else self.row_numbers
        return BarTable(
            self.origin,
            self.stream,
            self.open_time[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
            None if self.close_time is None else self.close_time[rows],
            None if self.flags is None else self.flags[rows],
            self.first_row,
            self.row_word,
            numbers[rows],
        )

    def bars(self) -> Bars:
        """Return the columns as they are, as `Bars`; call `check_table` first."""
        return Bars(
            (self.stream,),
            self.open_time,
            self.close_times(),
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            None,
            self.flags,
        )

    @classmethod
    def of_bars(cls, bars: Bars, origin: str = MEMORY) -> "BarTable":
        """Return bars of one stream as a table, to be checked.

        Raises:
            DataError: the columns are not of one length, or not numbers.
        """
        table = cls(
            origin,
            bars.streams[0],
            _times(bars, "open_time"),
            _numbers(bars, "open"),
            _numbers(bars, "high"),
            _numbers(bars, "low"),
            _numbers(bars, "close"),
            _numbers(bars, "volume"),
            _times(bars, "close_time"),
            None if bars.flags is None else np.ascontiguousarray(bars.flags, np.uint8),
        )
        lengths = {name: len(getattr(table, name)) for name in COLUMNS}
        if len(set(lengths.values())) > 1:
            raise DataError(f"{table.name}: the columns have {lengths} rows; expected one length")
        return table


def _times(bars: Bars, name: str) -> IntArray:
    return np.ascontiguousarray(_column(bars, name, "iu", "whole nanoseconds"), np.int64)


def _numbers(bars: Bars, name: str) -> FloatArray:
    return np.ascontiguousarray(_column(bars, name, "iuf", "numbers"), np.float64)


def _column(bars: Bars, name: str, kinds: str, expected: str) -> npt.NDArray[Any]:
    array = np.asarray(getattr(bars, name))
    if array.ndim != 1 or array.dtype.kind not in kinds:
        stream = bars.streams[0]
        raise DataError(
            f"{stream.symbol} {stream.timeframe}: column {name} is {array.dtype} of shape {array.shape}; expected one "
            f"column of {expected}"
        )
    return array
