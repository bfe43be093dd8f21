"""The bars that two runs saw, laid side by side: which were revised, and which one of the two never had."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from engine.bars import Bars, FloatArray, IntArray, Timeframe


@dataclass(frozen=True)
class SymbolBars:
    """The bars of one symbol at its shortest timeframe. `values` is [rows, 5]: open, high, low, close, volume."""

    close_time: IntArray
    values: FloatArray

    def row_at(self, time: int) -> int | None:
        """Return the row of the bar that closed at a time; None if there is none."""
        row = int(np.searchsorted(self.close_time, time))
        return row if row < len(self.close_time) and self.close_time[row] == time else None

    def close_by(self, time: int) -> Decimal | None:
        """Return the last close known at a time; None before the first."""
        row = int(np.searchsorted(self.close_time, time, side="right")) - 1
        return Decimal(repr(float(self.values[row, 3]))) if row >= 0 else None

    def open_at(self, time: int) -> Decimal | None:
        """Return the open of the bar that closes at a time."""
        row = self.row_at(time)
        return None if row is None else Decimal(repr(float(self.values[row, 0])))


def by_symbol(bars: Bars, start: int = 0) -> dict[str, SymbolBars]:
    """Return the bars of each symbol, of its shortest timeframe, from a close time on."""
    found: dict[str, SymbolBars] = {}
    shortest: dict[str, Timeframe] = {}
    for place, stream in enumerate(bars.streams):
        timeframe = Timeframe.parse(stream.timeframe)
        if stream.symbol in shortest and shortest[stream.symbol] <= timeframe:
            continue
        shortest[stream.symbol] = timeframe
        mine = bars.close_time >= start
        if bars.stream is not None:
            mine &= bars.stream == place
        columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
        found[stream.symbol] = SymbolBars(bars.close_time[mine], np.stack([one[mine] for one in columns], axis=1))
    return found


@dataclass(frozen=True)
class Differences:
    """Where the bars of one symbol differ: close times, ascending."""

    revised: IntArray
    missing_a: IntArray
    """Bars that B has and A has not."""
    missing_b: IntArray

    def last_by(self, time: int) -> tuple[int, bool] | None:
        """Return when the last difference by a time closed, and whether a bar is missing; None if there is none."""
        found = [
            (int(times[row - 1]), is_missing)
            for times, is_missing in ((self.revised, False), (self.missing_a, True), (self.missing_b, True))
            if (row := int(np.searchsorted(times, time, side="right")))
        ]
        return max(found, default=None)

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many are revised, missing in A, missing in B."""
        return len(self.revised), len(self.missing_a), len(self.missing_b)


@dataclass(frozen=True)
class BarPair:
    """The bars of two runs over the span that both have, close times `first` to `last`."""

    a: Mapping[str, SymbolBars]
    b: Mapping[str, SymbolBars]
    first: int
    last: int
    differences: dict[str, Differences] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for symbol in self.a.keys() & self.b.keys():
            self.differences[symbol] = _compared(self.a[symbol], self.b[symbol], self.first, self.last)

    def lacks(self, symbol: str, time: int) -> bool:
        """Return whether one of the two has the bar of a symbol that closes at a time and the other has not."""
        if symbol not in self.differences or not self.first <= time <= self.last:
            return False
        return (self.a[symbol].row_at(time) is None) != (self.b[symbol].row_at(time) is None)

    def mark(self, symbol: str, time: int, *, of_a: bool = False) -> Decimal | None:
        """Return the last close of a symbol by a time, as B saw it, or A; as the other did where one has none."""
        for side in (self.a, self.b) if of_a else (self.b, self.a):
            price = side[symbol].close_by(time) if symbol in side else None
            if price is not None:
                return price
        return None


def _compared(a: SymbolBars, b: SymbolBars, first: int, last: int) -> Differences:
    mine, theirs = ((one.close_time >= first) & (one.close_time <= last) for one in (a, b))
    times_a, times_b = a.close_time[mine], b.close_time[theirs]
    both, rows_a, rows_b = np.intersect1d(times_a, times_b, assume_unique=True, return_indices=True)
    unequal = (a.values[mine][rows_a] != b.values[theirs][rows_b]).any(axis=1)
    return Differences(
        both[unequal], np.setdiff1d(times_b, times_a, assume_unique=True),
        np.setdiff1d(times_a, times_b, assume_unique=True))
