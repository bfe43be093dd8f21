"""Closed bars as columns, by row: known ahead in a backtest, growing bar by bar in paper trading.

Whoever reads them says up to which row. Rows count from the first bar of the run; row r closed at `close_time(r)`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from engine.bars import FORWARD_FILLED, Bars, FloatArray, IntArray, Stream
from engine.errors import PluginError, nearest_name
from engine.forecasts import Float32Array
from engine.interfaces import Feed

PRICES = ("open", "high", "low", "close")
INPUTS = (*PRICES, "volume", "amount")
"""What a window may consist of. Bars have no amount: volume times the mean of the four prices stands for it, as in
Kronos' own code."""


class History(Protocol):
    """The bars of one stream. Slices are by absolute row, `end` not included; views are read-only."""

    stream: Stream

    def closed(self, time: int) -> int:
        """Return how many bars have closed by an instant."""

    def inputs(self, names: tuple[str, ...], start: int, end: int) -> Float32Array:
        """Return input columns as float32 [end − start, names], one block of memory."""

    def closes(self, start: int, end: int) -> FloatArray:
        """Return closes, float64 [end − start]."""

    def open_times(self, start: int, end: int) -> IntArray:
        """Return open times, int64 [end − start]."""

    def close_times(self, start: int, end: int) -> IntArray:
        """Return close times, int64 [end − start]."""

    def is_filled(self, start: int, end: int) -> bool:
        """Return whether a gap policy made up any of the bars."""


def check_inputs(names: Sequence[str], whose: str) -> None:
    """Refuse inputs that no bar has.

    Raises:
        PluginError: naming the nearest that it has.
    """
    for name in names:
        if name not in INPUTS:
            raise PluginError(
                f"forecaster {whose} asks for the input {name!r}; expected some of {', '.join(INPUTS)}"
                f"{nearest_name(name, INPUTS)}"
            )


class KnownHistory:
    """Of a feed whose columns are at hand."""

    def __init__(self, feed: Feed, stream: Stream, open_time: IntArray, close_time: IntArray, filled: IntArray) -> None:
        self.stream = stream
        self._feed = feed
        self._open_time, self._close_time = open_time, close_time
        self._filled = filled
        self._close = self._column("close")
        self._matrices: dict[tuple[str, ...], Float32Array] = {}

    def closed(self, time: int) -> int:
        return int(np.searchsorted(self._close_time, time, side="right"))

    def inputs(self, names: tuple[str, ...], start: int, end: int) -> Float32Array:
        return self.matrix(names)[start:end]

    def matrix(self, names: tuple[str, ...]) -> Float32Array:
        """Return all rows of some inputs, float32 [rows, names]; made once."""
        made = self._matrices.get(names)
        if made is None:
            made = _matrix([self._field(name) for name in names])
            made.flags.writeable = False
            self._matrices[names] = made
        return made

    def closes(self, start: int, end: int) -> FloatArray:
        return self._close[start:end]

    def open_times(self, start: int, end: int) -> IntArray:
        return self._open_time[start:end]

    def close_times(self, start: int, end: int) -> IntArray:
        return self._close_time[start:end]

    def is_filled(self, start: int, end: int) -> bool:
        if not len(self._filled):  # nearly always: this is asked for every forecast
            return False
        first, last = np.searchsorted(self._filled, (start, end))
        return bool(last > first)

    def _field(self, name: str) -> FloatArray:
        if name != "amount":
            return self._column(name)
        return self._column("volume") * np.mean([self._column(price) for price in PRICES], axis=0)

    def _column(self, name: str) -> FloatArray:
        column = self._feed.column(self.stream, name)
        assert column is not None, "a feed that knows its bars has all columns"
        return column


class GrowingHistory:
    """Of a live feed: the last bars, as many as are needed.

    Args:
        keep: rows that must stay readable; older ones may be dropped.
    """

    _FIELDS = ("open", "high", "low", "close", "volume")

    def __init__(self, stream: Stream, keep: int) -> None:
        self.stream = stream
        self._keep = keep
        self._first = 0
        """The row of the oldest bar kept; `_count`: rows kept."""
        self._count = 0
        self._values = np.empty((2 * keep, len(self._FIELDS)))
        self._times = np.empty((2 * keep, 2), np.int64)
        self._is_filled = np.zeros(2 * keep, np.bool_)

    @property
    def rows(self) -> int:
        """How many bars there have been."""
        return self._first + self._count

    def append(self, bars: Bars, row: int) -> None:
        """Take in a closed bar."""
        if self._count == len(self._values):
            kept = slice(self._count - self._keep, self._count)
            for array in (self._values, self._times, self._is_filled):
                array[: self._keep] = array[kept]
            self._first += self._count - self._keep
            self._count = self._keep
        place = self._count
        self._values[place] = [getattr(bars, name)[row] for name in self._FIELDS]
        self._times[place] = bars.open_time[row], bars.close_time[row]
        self._is_filled[place] = bars.flags is not None and bool(bars.flags[row] & FORWARD_FILLED)
        self._count += 1

    def closed(self, time: int) -> int:
        return self._first + int(np.searchsorted(self._times[: self._count, 1], time, side="right"))

    def inputs(self, names: tuple[str, ...], start: int, end: int) -> Float32Array:
        values = self._values[self._kept(start, end)]
        fields = {name: values[:, place] for place, name in enumerate(self._FIELDS)}
        if "amount" in names:
            fields["amount"] = fields["volume"] * np.mean([fields[price] for price in PRICES], axis=0)
        return _matrix([fields[name] for name in names])

    def closes(self, start: int, end: int) -> FloatArray:
        return self._values[self._kept(start, end), 3].copy()

    def open_times(self, start: int, end: int) -> IntArray:
        return self._times[self._kept(start, end), 0].copy()

    def close_times(self, start: int, end: int) -> IntArray:
        return self._times[self._kept(start, end), 1].copy()

    def is_filled(self, start: int, end: int) -> bool:
        return bool(self._is_filled[self._kept(start, end)].any())

    def _kept(self, start: int, end: int) -> slice:
        start = max(start, 0)
        assert self._first <= start, "rows asked for are still kept"
        assert end <= self.rows, "rows asked for have closed"
        return slice(start - self._first, end - self._first)


def known_histories(feed: Feed, streams: Sequence[Stream]) -> dict[Stream, History]:
    """Return the histories of some streams of a feed that knows all its bars; times are read once."""
    times: dict[Stream, list[tuple[IntArray, IntArray, IntArray]]] = {stream: [] for stream in streams}
    for chunk in feed.chunks():
        for stream in streams:
            rows: slice | IntArray = slice(None)
            if chunk.stream is not None:
                rows = np.flatnonzero(chunk.stream == feed.streams.index(stream))
            flags = np.zeros(len(chunk), np.int64) if chunk.flags is None else chunk.flags.astype(np.int64)
            times[stream].append((chunk.open_time[rows], chunk.close_time[rows], flags[rows]))
    found: dict[Stream, History] = {}
    for stream, parts in times.items():
        columns = [np.concatenate(column) if parts else np.empty(0, np.int64) for column in zip(*parts, strict=True)]
        open_time, close_time, flags = columns or [np.empty(0, np.int64)] * 3
        found[stream] = KnownHistory(feed, stream, open_time, close_time, np.flatnonzero(flags & FORWARD_FILLED))
    return found


def _matrix(columns: Sequence[FloatArray]) -> Float32Array:
    """Return columns side by side, float32 [rows, columns], each value rounded once."""
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(np.float32))
