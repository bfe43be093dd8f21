"""Slice: every bar that closed at one instant, as columns over the symbols."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.bars import Bars, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Slice:
    """The cross-section of one timeframe at one instant, in feed order; columns have the shape [symbols].

    A symbol without a bar at this instant has NaN prices and `present` False. `time` is the close_time of every bar
    in it. The columns are views into the feed's data: read them, copy what you keep, write nothing.
    """

    time: int
    timeframe: str
    symbols: tuple[str, ...]
    present: npt.NDArray[np.bool_]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        """Return how many symbols have a bar at this instant."""
        return int(np.count_nonzero(self.present))


@dataclass(frozen=True, slots=True)
class DenseColumns:
    """The bars of one timeframe in one chunk as matrices [instants, symbols]; NaN where a symbol has no bar."""

    timeframe: str
    time: npt.NDArray[np.int64]
    symbols: tuple[str, ...]
    present: npt.NDArray[np.bool_]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def slices(self) -> Iterator[Slice]:
        """Yield one Slice an instant."""
        columns = zip(
            self.time.tolist(), self.present, self.open, self.high, self.low, self.close, self.volume, strict=True
        )
        for time, present, open_, high, low, close, volume in columns:
            yield Slice(time, self.timeframe, self.symbols, present, open_, high, low, close, volume)


def dense_columns(bars: Bars, timeframe: str, symbols: tuple[str, ...]) -> DenseColumns:
    """Return the rows of one timeframe as matrices over `symbols`. Nothing is copied when no symbol misses an
    instant."""
    rows, place = _rows_and_places(bars, timeframe, symbols)
    time = bars.close_time[rows]
    starts = np.flatnonzero(np.diff(time, prepend=time[:1] - 1))
    shape = (len(starts), len(symbols))
    fields = [getattr(bars, name)[rows] for name in ("open", "high", "low", "close", "volume")]
    is_full = len(time) == shape[0] * shape[1] and bool((place.reshape(shape) == np.arange(shape[1])).all())
    if is_full:
        present = np.ones(shape, dtype=np.bool_)
        matrices = [values.reshape(shape) for values in fields]
    else:
        instant = np.repeat(np.arange(shape[0]), np.diff(starts, append=len(time)))
        present = np.zeros(shape, dtype=np.bool_)
        present[instant, place] = True
        matrices = []
        for values in fields:
            matrix = np.full(shape, np.nan)
            matrix[instant, place] = values
            matrices.append(matrix)
    return DenseColumns(timeframe, time[starts], symbols, present, *matrices)


def _rows_and_places(bars: Bars, timeframe: str, symbols: tuple[str, ...]) -> tuple[slice | IntArray, IntArray]:
    """Return the rows of a timeframe, and for each the place of its symbol."""
    index = {symbol: place for place, symbol in enumerate(symbols)}
    if bars.stream is None:
        everything = slice(None) if bars.streams[0].timeframe == timeframe else slice(0, 0)
        return everything, np.zeros(len(bars.close_time[everything]), np.int64)
    places = np.array([index[s.symbol] if s.timeframe == timeframe else -1 for s in bars.streams], np.int64)
    place = places[bars.stream]
    if (places >= 0).all():
        return slice(None), place
    rows = np.flatnonzero(place >= 0)
    return rows, place[rows]
