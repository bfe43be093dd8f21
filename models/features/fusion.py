"""Series that become known at other times, joined onto bars: the last value known when a bar closes, and its age.

Everything slow carries `available_at`: the close of its bar plus whatever it takes to be published. A bar's open never
decides: a 4h bar opened at 08:00 holds what happens until 12:00. Nothing is filled backwards.
"""

from dataclasses import dataclass

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.errors import DataError
from models.features.rolling import share, windows


@dataclass(frozen=True)
class Slow:
    """Columns of a slower series, or of one that is the same for all symbols.

    Args:
        names: of the columns; values: float64 [rows, names]. available_at: int64 [rows], UTC ns, ascending.
        step: ns between rows, in which age is told. tolerance: how many steps a value may be old; older is NaN.
    Raises:
        DataError: times are not in order, or shapes do not fit.
    """

    names: tuple[str, ...]
    available_at: IntArray
    values: FloatArray
    step: int
    tolerance: float = 2.0

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.available_at), len(self.names)):
            raise DataError(
                f"a joined series has values of shape {self.values.shape}; expected "
                f"({len(self.available_at)}, {len(self.names)}): {', '.join(self.names)}"
            )
        if (np.diff(self.available_at) < 0).any():
            raise DataError(f"times at which {', '.join(self.names)} become known are not in order; sort them")
        if self.step < 1:
            raise DataError(f"{', '.join(self.names)}: step is {self.step} ns; expected the usual time between rows")


def as_of(slow: Slow, at: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the values known at each time, float64 [rows, names], and their age in steps, [rows].

    A value that becomes known exactly then counts. NaN where nothing was known yet, or only what is too old.

    Args:
        at: int64 [rows], UTC ns, any order.
    """
    place = np.searchsorted(slow.available_at, at, side="right") - 1
    values = np.full((len(at), len(slow.names)), np.nan)
    age = np.full(len(at), np.nan)
    known = place >= 0
    age[known] = (at[known] - slow.available_at[place[known]]) / slow.step
    known &= ~(age > slow.tolerance)
    age[~known] = np.nan
    values[known] = slow.values[place[known]]
    return values, age


def pieces(close_time: IntArray, duration: int, *, across_gaps: bool = False) -> list[slice]:
    """Return the rows between gaps: nothing is worked out across them, unless gaps are the market's own."""
    gaps = np.flatnonzero(np.diff(close_time) > duration) + 1
    ends = [] if across_gaps else gaps.tolist()
    return [slice(start, end) for start, end in zip([0, *ends], [*ends, len(close_time)], strict=True)]


def beta(own: FloatArray, other: FloatArray, count: int) -> FloatArray:
    """Return the slope of own returns on another's over the last `count`, [T]; 0 where the other stood still.

    Args:
        own, other: log returns [T], of the same bars.
    """
    a, b = windows(own, count), windows(other, count)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    return share((a * b).mean(axis=-1), (b**2).mean(axis=-1))
