"""Bars as ccxt's fetch_ohlcv returns them: [[milliseconds, open, high, low, close, volume], …], stamped with the open.

ccxt itself is not needed. The last candle an exchange returns is usually still forming; say what "now" is, and it is
left out.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from numbers import Real
from pathlib import Path
from types import NoneType

import numpy as np

from engine.bars import Bars, FloatArray, Stream
from engine.errors import DataError
from feeds.arrow import infer_timeframe
from feeds.disk import bytes_of
from feeds.tables import MEMORY, BarTable
from feeds.times import epoch_nanoseconds, instant

_NUMBERS = (Real, NoneType)
_FIELDS = ("time", "open", "high", "low", "close", "volume")

CandleList = Sequence[Sequence[float | None]]


def bars_of_ccxt(candles: CandleList, symbol: str, timeframe: str, *, now: datetime | int | None) -> Bars:
    """Return a list from fetch_ohlcv as unchecked `Bars`: `MemoryFeed` checks them.

    Args:
        now: the time of the request; bars that close later are still forming and left out. None takes every row for
            closed.
    Raises:
        DataError: a row does not have six numbers, or its time is not in milliseconds.
    """
    return closed_rows(table_of_candles(candles, MEMORY, symbol, timeframe), instant(now)).bars()


def read_ccxt(path: Path, symbol: str, timeframe: str | None) -> BarTable:
    """Return the rows of a JSON file that holds such a list, unchecked.

    Raises:
        DataError: the file is not JSON, or not such a list.
    """
    try:
        candles = json.loads(bytes_of(path))
    except (ValueError, RecursionError) as problem:
        raise DataError(
            f"{path}: the file is not JSON ({problem}); expected a list of [ms, open, high, low, close, volume]; fetch "
            "it again"
        ) from problem
    return table_of_candles(candles, str(path), symbol, timeframe)


def table_of_candles(candles: CandleList, origin: str, symbol: str, timeframe: str | None) -> BarTable:
    """Return such a list as unchecked rows; an empty cell (None) becomes NaN."""
    name = origin if origin != MEMORY else f"{symbol} {timeframe}"
    if not isinstance(candles, (list, tuple)):
        raise DataError(
            f"{name}: found {type(candles).__name__}; expected a list of [ms, open, high, low, close, volume]"
        )
    if not candles:
        raise DataError(f"{name}: the list is empty; expected at least one bar; ask for another span")
    cells = _cells(candles, name)
    opens = epoch_nanoseconds(cells[:, 0], unit="ms", origin=name)
    timeframe = timeframe or infer_timeframe(opens, name)
    return BarTable(
        origin, Stream(symbol, timeframe), opens, cells[:, 1], cells[:, 2], cells[:, 3], cells[:, 4], cells[:, 5]
    )


def closed_rows(table: BarTable, now: int | None) -> BarTable:
    """Return only the rows that were closed at `now` (UTC nanoseconds); all of them if it is None.

    Raises:
        DataError: none was.
    """
    if now is None:
        return table
    closed = table.close_times() <= now
    if closed.all():
        return table
    if not closed.any():
        raise DataError(
            f"{table.name}: no bar of the {len(table)} had closed; expected at least one; ask for an earlier span"
        )
    return table.take(closed)


def _cells(candles: CandleList, name: str) -> FloatArray:
    try:
        # numpy would take True for 1 and "1_000" for 1000.
        if any(kind is bool or not issubclass(kind, _NUMBERS) for kind in set(map(type, chain.from_iterable(candles)))):
            raise _misfit(candles, name)
        cells = np.array(candles, np.float64, order="F")  # None becomes NaN
    except (TypeError, ValueError, OverflowError) as problem:
        raise _misfit(candles, name) from problem
    if cells.ndim != 2 or cells.shape[1] != len(_FIELDS):
        raise _misfit(candles, name)
    return cells


def _misfit(candles: CandleList, name: str) -> DataError:
    for row, candle in enumerate(candles, 1):
        if not isinstance(candle, (list, tuple)) or len(candle) != len(_FIELDS):
            return DataError(
                f"{name} row {row:,}: found {str(candle)[:80]}; expected [ms, open, high, low, close, volume]"
            )
        for field, value in zip(_FIELDS, candle, strict=True):
            if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
                return DataError(
                    f"{name} row {row:,}: {field} is {value!r}; expected a number; correct or remove the row"
                )
    return DataError(f"{name}: found {str(candles)[:80]}; expected a list of [ms, open, high, low, close, volume]")
