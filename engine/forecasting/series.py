"""Series of numbers that are no bars and the same for all symbols. A row counts from the time at which it became known.

In a backtest they are known ahead; in a session they are told, row by row.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.bars import FloatArray, IntArray
from engine.errors import DataError, PluginError
from engine.forecasts import ForecastSpec, JoinedRows


class Series:
    """Rows of some columns, in the order in which they became known."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._values: FloatArray = np.empty((0, len(self.columns)))
        self._available_at: IntArray = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._available_at)

    def append(self, available_at: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Take in further rows.

        Raises:
            DataError: they do not fit, or one was known before the last.
        """
        times, rows = np.asarray(available_at, np.int64), np.asarray(values, np.float64)
        names = ", ".join(self.columns)
        if rows.shape != (len(times), len(self.columns)):
            raise DataError(f"the series {names}: rows of shape {list(rows.shape)} at {len(times)} times")
        every = np.concatenate([self._available_at, times])
        if (np.diff(every) < 0).any():
            raise DataError(f"the series {names}: times at which rows became known are not in order; sort them")
        self._values, self._available_at = np.concatenate([self._values, rows]), every

    def known(self, time: int) -> int:
        """Return how many rows are known at an instant."""
        return int(np.searchsorted(self._available_at, time, side="right"))

    def between(self, first: int, last: int) -> JoinedRows:
        """Return the rows from the one known at an instant to the last known at another."""
        rows = slice(max(self.known(first) - 1, 0), self.known(last))
        return JoinedRows(self._values[rows], self._available_at[rows])

    def begins(self) -> int:
        """Return when the first row is known, UTC ns; far ahead if there is none."""
        return int(self._available_at[0]) if len(self) else 2**62

    def ends(self) -> int:
        """Return when the last row became known, UTC ns; there must be one."""
        return int(self._available_at[-1])

    def of(self, columns: Sequence[str]) -> "Series":
        """Return some of the columns."""
        found = Series(columns)
        places = [self.columns.index(name) for name in columns]
        found.append(self._available_at, self._values[:, places])
        return found


def series_of(spec: ForecastSpec, there: Sequence[Series]) -> list[Series]:
    """Return the series that a model joins, in the spec's order.

    Raises:
        PluginError: one is not there, with the way to have it.
    """
    found = []
    for columns in spec.series:
        one = next((one for one in there if set(columns) <= set(one.columns)), None)
        if one is None:
            known = "; ".join(", ".join(series.columns) for series in there) or "none"
            raise PluginError(
                f"model {spec.name} joins the series {', '.join(columns)}; this run has {known}: name its file in the "
                "settings, [[series]] with path, time and columns"
            )
        found.append(one.of(columns))
    return found
