"""What is in files that are not bars: trades, quotes, funding rates. Counted for reports; no feed publishes them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.bars import FloatArray, IntArray, iso
from engine.errors import DataError
from feeds.arrow import Rows, floats_of, numbers_of, times_of
from feeds.files import is_arrow, read_arrow
from feeds.layout import FileLayout, names_in_path, timeframe_of
from feeds.validation import modal_step

Kind = Literal["trades", "quotes", "funding"]

_NAMES: dict[Kind, str] = {"trades": "trades", "quotes": "quotes", "funding": "funding rates"}
_NEEDED: dict[Kind, tuple[str, ...]] = {"trades": ("price",), "quotes": ("bid", "ask"), "funding": ()}
_TIME_NAMES = ("ts", "time", "timestamp", "date", "datetime", "local_ts")


@dataclass(frozen=True)
class EventReport:
    """What a file of trades, quotes or funding rates is like. Times are UTC nanoseconds."""

    origin: str
    kind: Kind
    symbol: str
    rows: int
    first_time: int
    last_time: int
    unsorted: int
    nan_cells: int
    findings: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """False: a feed publishes bars."""
        return False

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        span = f"{iso(self.first_time)} to {iso(self.last_time)}"
        head = f"{self.origin}: {self.symbol}, {self.rows:,} {_NAMES[self.kind]}, {span}"
        return [f"{head}; these are not bars, and a feed cannot publish them", *(f"  {one}" for one in self.findings)]


def check_events(path: Path, symbol: str | None, layout: FileLayout) -> EventReport | None:
    """Return what is in a Parquet or Feather file of events; None if it does not look like one.

    Raises:
        DataError: the file cannot be read, or has no times.
    """
    if not is_arrow(path):
        return None
    table = read_arrow(path)
    kind = _kind(table.column_names)
    if kind is None or not table.num_rows:
        return None
    rows = Rows(str(path))
    table = table.rename_columns([name.lower() for name in table.column_names])
    twice = next((name for name, count in Counter(table.column_names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path}: there are two columns {twice!r}; expected one of each name; rename one of them")
    name = next((name for name in _TIME_NAMES if name in table.column_names), None)
    if name is None:
        raise DataError(
            f"{path}: these look like {_NAMES[kind]}, but there is no time among {', '.join(table.column_names)}; "
            f"expected one of {', '.join(_TIME_NAMES)}"
        )
    times = times_of([table.column(name)], layout, rows)
    numbers = {
        one: numbers_of(table.column(one), one, rows) if one in _NEEDED[kind] else floats_of(table.column(one))
        for one in table.column_names
        if one in _NEEDED[kind] or _is_floating(table.column(one))
    }
    unsorted = int(np.count_nonzero(np.diff(times) < 0))
    nan_cells = sum(int(np.count_nonzero(~np.isfinite(column))) for column in numbers.values())
    findings = [
        f"{count:,} {what}"
        for count, what in ((unsorted, "times out of order"), (nan_cells, "cells that are no number"))
        if count
    ]
    describe = {"trades": _trades, "quotes": _quotes, "funding": _funding}[kind]
    return EventReport(
        str(path),
        kind,
        symbol or names_in_path(str(path))[0],
        table.num_rows,
        int(times.min()),
        int(times.max()),
        unsorted,
        nan_cells,
        (*findings, *describe(times, numbers, table)),
    )


def _kind(names: list[str]) -> Kind | None:
    lower = {name.lower() for name in names}
    if {"open", "high", "low", "close"} <= lower:
        return None
    if any("funding" in name for name in lower):
        return "funding"
    if {"bid", "ask"} <= lower:
        return "quotes"
    return "trades" if "price" in lower and lower & {"amount", "size", "qty", "quantity"} else None


def _trades(times: IntArray, numbers: dict[str, FloatArray], table: Any) -> list[str]:
    found = []
    price = numbers["price"]
    if "id" in table.column_names and (doubled := table.num_rows - len(table.column("id").unique())):
        found.append(f"{doubled:,} trade ids that occur twice")
    if wrong := int(np.count_nonzero(price <= 0)):
        found.append(f"{wrong:,} prices of 0 or less")
    price = _finite(price)
    return [*found, f"price {price.min():g} to {price.max():g}"] if len(price) else found


def _quotes(times: IntArray, numbers: dict[str, FloatArray], table: Any) -> list[str]:
    bid, ask = numbers["bid"], numbers["ask"]
    crossed = int(np.count_nonzero(bid >= ask))
    with np.errstate(all="ignore"):
        spread = _finite((ask - bid) / ((ask + bid) / 2) * 10_000)
    found = [f"{crossed:,} crossed quotes (bid at or above ask)"] if crossed else []
    if not len(spread):
        return found
    usual = f"median {np.median(spread):.4f}, mean {_mean(spread):.4f}"
    return [*found, f"spread in basis points: {usual}, largest {spread.max():.3f}"]


def _funding(times: IntArray, numbers: dict[str, FloatArray], table: Any) -> list[str]:
    rates = (column for name, column in numbers.items() if "funding" in name)
    rate = _finite(next(rates, np.empty(0)))
    found = [f"rate {rate.min():.6f} to {rate.max():.6f}, mean {_mean(rate):.6f}"] if len(rate) else []
    step = modal_step(times // 60_000_000_000 * 60_000_000_000)
    if step:
        off = int(np.count_nonzero(times % step))
        found.append(f"mostly {timeframe_of(step)} apart" + (f"; {off:,} times off that grid" if off else ""))
    return found


def _finite(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _mean(values: FloatArray) -> float:
    with np.errstate(over="ignore"):
        return float(np.mean(values))


def _is_floating(column: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(column.type))
