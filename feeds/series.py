"""Series of numbers that are no bars and the same for all symbols; each row has the time at which it was known."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.errors import DataError, nearest_name


class Series(NamedTuple):
    """Columns of numbers. times: int64 [rows], UTC ns, ascending; values: float64 [rows, names]."""

    names: tuple[str, ...]
    times: IntArray
    values: FloatArray


def read_series(path: Path, time: str, columns: tuple[str, ...] = ()) -> Series:
    """Return a CSV or Parquet file's series, in order of time.

    Args:
        time: the column of times at which a row became known; those without a zone are UTC.
        columns: which of the others; empty: all.
    Raises:
        DataError: the file cannot be read, or has no such column, or something else than numbers and times.
    """
    frame = _read(path)
    there = [str(name) for name in frame.columns]
    for name in (time, *columns):
        if name not in there:
            raise DataError(f"{path} has no column {name!r}{nearest_name(name, there)}; it has {', '.join(there)}")
    names = columns or tuple(name for name in there if name != time)
    times = _times(frame[time], path)
    try:
        values = frame[list(names)].to_numpy(np.float64)
    except (TypeError, ValueError) as exc:
        raise DataError(f"{path}: {', '.join(names)} should be numbers: {exc}") from exc
    order = np.argsort(times, kind="stable")
    return Series(names, times[order], values[order])


def _read(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as exc:
        raise DataError(f"{path} cannot be read as a table: {exc}") from exc


def _times(column: Any, path: Path) -> IntArray:
    import pandas as pd

    try:
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except (TypeError, ValueError) as exc:
        raise DataError(f"{path}: {column.name} has something that is no time: {exc}") from exc
    if (missing := times.isna().to_numpy()).any():
        raise DataError(f"{path}: {column.name} is empty in row {int(np.argmax(missing))}; expected a time in each")
    return np.asarray(times.astype("datetime64[ns, UTC]").astype(np.int64), np.int64)
