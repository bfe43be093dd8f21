"""Funding rates from files: what perpetuals paid, and when.

A file has a time and a rate a row: Parquet, Feather or CSV; the dumps of data.binance.vision (calc_time,
last_funding_rate), the venue's API as CSV (fundingTime, fundingRate), freqtrade's files (the rate in a column called
open). Rates are fractions of notional, times UTC.

Venues stamp a payment some milliseconds after the instant it is for. A time within a second of a whole minute is
taken for that minute, so that a stamp a millisecond late does not move a payment past a fill.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from engine.bars import MINUTE, SECOND, IntArray, iso
from engine.carry import FundingHistory
from engine.errors import DataError
from engine.margin import plain_symbol
from feeds.arrow import Rows, numbers_of, times_of
from feeds.files import is_arrow, read_arrow
from feeds.layout import FileLayout

TIME_NAMES = ("ts", "time", "timestamp", "date", "datetime", "calc_time", "fundingtime", "funding_time")
RATE_NAMES = ("funding_rate", "fundingrate", "last_funding_rate", "rate")
LARGEST_RATE = 0.1
_SLACK = SECOND


class MissingFunding(NamedTuple):
    """A span of one perpetual's history in which payments should be; times in UTC nanoseconds."""

    symbol: str
    start: int
    end: int
    missing: int

    def __str__(self) -> str:
        word = "payment" if self.missing == 1 else "payments"
        return f"{self.symbol}: {self.missing} funding {word} missing between {iso(self.start)} and {iso(self.end)}"


def read_funding(path: str | Path | Sequence[str | Path]) -> FundingHistory:
    """Return the payments in a file, or in several files of one perpetual (months, say), in order of time.

    Raises:
        DataError: a file cannot be read, has no column of times or rates, or holds what no funding rate can be; or two
            payments are at one instant.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    parts = [_read_one(one) for one in paths]
    parts.sort(key=lambda part: part[0][0] if part[0] else 0)
    times = [time for part, _ in parts for time in part]
    rates = [rate for _, part in parts for rate in part]
    return FundingHistory(times, rates, ", ".join(map(str, paths)))


def funding_of(files: Sequence[Path], symbols: Sequence[str]) -> dict[str, FundingHistory]:
    """Return the history of each perpetual, found by the names of the files.

    "BTCUSDT-PERP_funding.parquet", "BTC_USDT_USDT-8h-funding_rate.feather" and "BTCUSDT-fundingRate-2024-01.csv" are of
    BTC/USDT:USDT. One file and one symbol belong together whatever they are called.

    Raises:
        DataError: a symbol has no file, or a file cannot be used.
    """
    if len(files) == 1 and len(symbols) == 1:
        return {symbols[0]: read_funding(files[0])}
    named: dict[str, list[Path]] = {}
    for file in files:
        named.setdefault(symbol_in_name(file), []).append(file)
    found = {}
    for symbol in symbols:
        own = named.get(plain_symbol(symbol)) or named.get("".join(filter(str.isalnum, symbol.upper())))
        if not own:
            known = ", ".join(sorted(named)[:8]) or "none"
            raise DataError(
                f"{symbol}: there is no file of its funding; found files of {known}; add one named for "
                f"{plain_symbol(symbol)}, such as {plain_symbol(symbol)}_funding.parquet"
            )
        found[symbol] = read_funding(own)
    return found


def missing_funding(
    symbol: str, history: FundingHistory, first_open: int, last_close: int
) -> tuple[MissingFunding, ...]:
    """Return where payments are missing within a run: a step longer than both of its neighbours, or a history that
    begins late or ends early.

    A venue may change the interval (8 h to 4 h to 1 h): that is no gap.
    """
    times = np.asarray(history.times, np.int64)
    if len(times) < 2:
        return (MissingFunding(symbol, first_open, last_close, 1),)
    steps = np.diff(times)
    before, after = np.append(steps[:1], steps[:-1]), np.append(steps[1:], steps[-1:])
    usual = np.maximum(before, after)
    found = [
        MissingFunding(symbol, int(times[place]), int(times[place + 1]), round(steps[place] / usual[place]) - 1)
        for place in np.flatnonzero((2 * steps > 3 * usual) & (times[1:] > first_open) & (times[:-1] < last_close))
    ]
    late, early = int((times[0] - first_open) // steps[0]), int((last_close - times[-1]) // steps[-1])
    if late > 0:
        found.insert(0, MissingFunding(symbol, first_open, int(times[0]), late))
    if early > 0:
        found.append(MissingFunding(symbol, int(times[-1]), last_close, early))
    return tuple(found)


def symbol_in_name(path: Path) -> str:
    """Return the letters and digits of the symbol that a file is named for."""
    stem = PurePath(path).name.partition(".")[0]
    stem = re.split(r"[-_ ]?funding", stem, flags=re.IGNORECASE)[0]
    stem = re.sub(r"[-_ ]\d+[hm]$", "", stem)
    return plain_symbol(stem)


def _read_one(path: Path) -> tuple[list[int], list[Decimal]]:
    table = _table(path)
    rows = Rows(str(path), *((1, "row") if is_arrow(path) else (2, "line")))
    if not table.num_rows:
        raise DataError(f"{path}: there are no rows; expected at least one funding payment; fetch the file again")
    time_name, rate_name = _columns(table.column_names, path)
    times = _nominal(times_of([table.column(time_name)], FileLayout(), rows))
    rates = numbers_of(table.column(rate_name), rate_name, rows)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(rates) < LARGEST_RATE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{rows.name(row)}, {iso(int(times[row]))}: funding rate is {float(rates[row])!r}; expected a fraction of "
            f"notional below {LARGEST_RATE} either way (0.0001 is 0.01 %); correct the row or fetch the file again"
        )
    backwards = np.flatnonzero(np.diff(times) <= 0)
    if len(backwards):
        row = int(backwards[0]) + 1
        raise DataError(
            f"{rows.name(row)}: funding at {iso(int(times[row]))} follows {iso(int(times[row - 1]))}; expected rows "
            f"sorted by time, one payment an instant"
        )
    return times.tolist(), [Decimal(repr(rate)) for rate in rates.tolist()]


def _table(path: Path) -> Any:
    """Return a file as an Arrow table; of text, every column as text."""
    if is_arrow(path):
        return read_arrow(path)
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        with path.open("rb") as file:
            names = file.readline().decode("utf-8-sig").strip().split(",")
        as_text = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        return arrow_csv.read_csv(path, convert_options=as_text)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as problem:
        text = " ".join(str(problem).split())[:200]
        raise DataError(
            f"{path}: cannot be read as a table of funding rates ({text}); expected Parquet, Feather or CSV with a "
            f"header"
        ) from problem


def _columns(names: Sequence[str], path: Path) -> tuple[str, str]:
    plain: Mapping[str, str] = {name.strip().lower(): name for name in names}
    time = next((plain[name] for name in TIME_NAMES if name in plain), None)
    rate = next((plain[name] for name in RATE_NAMES if name in plain), None)
    if rate is None and "open" in plain and "funding" in path.name.lower():
        rate = plain["open"]  # freqtrade keeps funding rates in files of bars
    if time is None or rate is None:
        what, expected = ("times", TIME_NAMES) if time is None else ("rates", RATE_NAMES)
        raise DataError(
            f"{path}: there is no column of {what} among {', '.join(names)}; expected one of {', '.join(expected)}"
        )
    return time, rate


def _nominal(times: IntArray) -> IntArray:
    """Return times, those within a second of a whole minute as that minute."""
    minutes = (times + MINUTE // 2) // MINUTE * MINUTE
    return np.where(np.abs(times - minutes) <= _SLACK, minutes, times)
