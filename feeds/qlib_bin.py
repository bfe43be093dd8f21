"""A Qlib data directory: bars of many symbols as flat binary files.

    calendars/day.txt             every time of the market, one a line
    instruments/all.txt           SYMBOL<tab>first day<tab>last day; other files are other markets, such as
                                  csi300.txt; a symbol that came back has a line for each time it was in
    features/<symbol>/close.day.bin
                                  little-endian float32: the place in the calendar of the first value, then the values

A value is NaN where the symbol was not traded: that is no bar. Prices are as Qlib keeps them, adjusted by `factor`, and
so are volumes; "raw" takes the factor out again. Source: microsoft/qlib, qlib/data/storage/file_storage.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from engine.bars import Bars, FloatArray, IntArray, nanoseconds
from engine.errors import DataError, nearest_name
from feeds.memory import bars_of_arrays

FIELDS = ("open", "high", "low", "close", "volume")
FREQUENCIES = {"1d": "day", "1m": "1min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "60min"}
"""Timeframes, as Qlib calls them."""
Prices = Literal["raw", "adjusted"]

_EVER = (-(2**63), 2**63 - 1)
_DECIMALS = 4
"""Of raw prices: float32 of the adjusted one and of the factor leave no more."""


@dataclass(frozen=True)
class QlibDirectory:
    """A directory of one frequency.

    Args:
        timeframe: of the bars. timezone: of the calendar's times, which are those of opens; a day's is midnight there.
    Raises:
        DataError: the folder is none of Qlib's, has no bars of the timeframe, or a file in it is damaged.
    """

    folder: Path
    timeframe: str = "1d"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not (self.folder / "calendars").is_dir() or not (self.folder / "features").is_dir():
            raise DataError(
                f"{self.folder} is no Qlib data directory; expected folders calendars and features in it, as `qlib "
                "get_data` or dump_bin.py write them"
            )
        if self.timeframe not in FREQUENCIES or not self._calendar_file.is_file():
            there = sorted(path.stem for path in (self.folder / "calendars").glob("*.txt"))
            raise DataError(
                f"{self.folder} has no bars of {self.timeframe}; it has calendars of {', '.join(there) or 'nothing'}"
            )

    @property
    def frequency(self) -> str:
        """The timeframe, as Qlib calls it."""
        return FREQUENCIES[self.timeframe]

    @property
    def _calendar_file(self) -> Path:
        return self.folder / "calendars" / f"{FREQUENCIES[self.timeframe]}.txt"

    def calendar(self) -> IntArray:
        """Return the times of opens, int64 [times], UTC ns.

        Raises:
            DataError: a line is no time, or times are not in order.
        """
        zone = ZoneInfo(self.timezone)
        lines = self._calendar_file.read_text("utf-8").split("\n")
        times = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                times.append(nanoseconds(datetime.fromisoformat(line.strip()).replace(tzinfo=zone)))
            except ValueError:
                raise DataError(
                    f"{self._calendar_file}, line {number}: {line.strip()!r} is no time; expected one such as "
                    "2020-01-31 or 2020-01-31 09:31:00"
                ) from None
        found = np.array(times, np.int64)
        if (np.diff(found) <= 0).any():
            place = int(np.argmax(np.diff(found) <= 0)) + 2
            raise DataError(f"{self._calendar_file}: time {place} is not after the one before; expected an order")
        return found

    def symbols(self, market: str = "all") -> tuple[str, ...]:
        """Return the symbols of a market, in the file's order, each once.

        Raises:
            DataError: there is no such market.
        """
        return tuple(self.membership(market))

    def membership(self, market: str = "all") -> dict[str, list[tuple[int, int]]]:
        """Return when each symbol belonged to a market: spans [start, end) of opens, UTC ns, in the file's order. A
        symbol whose line says no days always did.

        Raises:
            DataError: there is no such market, or a line that cannot be read.
        """
        path = self.folder / "instruments" / f"{market}.txt"
        if not path.is_file():
            there = sorted(one.stem for one in (self.folder / "instruments").glob("*.txt"))
            raise DataError(
                f"{self.folder} has no market {market!r}{nearest_name(market, there)}; it has "
                f"{', '.join(there) or 'none'}"
            )
        found: dict[str, list[tuple[int, int]]] = {}
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.strip():
                symbol, *days = (part.strip() for part in line.split("\t"))
                found.setdefault(symbol, []).append(self._span(days, f"{path}, line {number}"))
        return found

    def _span(self, days: Sequence[str], where: str) -> tuple[int, int]:
        """Return [start, end) of a first and a last day, or time; the last one is in, a day to its end."""
        if not days:
            return _EVER
        zone = ZoneInfo(self.timezone)
        try:
            first, last = (datetime.fromisoformat(day) for day in days[:2])
        except ValueError:
            raise DataError(
                f"{where}: {' to '.join(days)!r} is no span; expected a first and a last day such as 2020-01-31"
            ) from None
        after = last + (timedelta(days=1) if len(days[1]) <= len("2020-01-31") else timedelta(microseconds=1))
        start, end = (nanoseconds(moment.replace(tzinfo=zone)) for moment in (first, after))
        if start >= end:
            raise DataError(f"{where}: the first day, {days[0]}, is after the last, {days[1]}")
        return start, end

    def bars(
        self, symbol: str, *, prices: Prices = "adjusted", spans: Sequence[tuple[int, int]] = (),
    ) -> Bars:
        """Return a symbol's bars; where one of its numbers is missing there is none.

        Args:
            spans: [start, end) of opens, UTC ns, outside of which there are none; none: all.
        Raises:
            DataError: there is no such symbol, or one of its files is missing, damaged or reaches past the calendar.
        """
        folder = self._folder_of(symbol)
        times = self.calendar()
        columns = {name: self._column(folder, name, len(times)) for name in FIELDS}
        if prices == "raw":
            factor = self._column(folder, "factor", len(times))
            for name in FIELDS[:4]:
                columns[name] = np.round(columns[name] / factor, _DECIMALS)
            columns["volume"] = np.round(columns["volume"] * factor, _DECIMALS)
        there = np.all([np.isfinite(column) for column in columns.values()], axis=0)
        if not there.any():
            raise DataError(f"{self.folder}: {symbol} has no bar of {self.timeframe}; leave it out")
        if spans:
            there &= np.any([(times >= start) & (times < end) for start, end in spans], axis=0)
        return bars_of_arrays(
            symbol, self.timeframe, times[there], **{name: column[there] for name, column in columns.items()}
        )

    def _folder_of(self, symbol: str) -> Path:
        folder = self.folder / "features" / symbol.lower()
        if not folder.is_dir():
            there = sorted(path.name for path in (self.folder / "features").iterdir() if path.is_dir())
            raise DataError(
                f"{self.folder} has no symbol {symbol!r}{nearest_name(symbol.lower(), there)}; it has {len(there)}, "
                f"such as {', '.join(there[:3])}"
            )
        return folder

    def _column(self, folder: Path, field: str, times: int) -> FloatArray:
        """Return a field at every time of the calendar, float64 [times]; NaN where there is none."""
        path = folder / f"{field}.{self.frequency}.bin"
        try:
            size = path.stat().st_size
            found = np.fromfile(path, "<f4")
        except OSError as exc:
            raise DataError(f"{path} cannot be read: {exc}; expected one of Qlib's files of {field}") from exc
        if size % 4 or not len(found):
            raise DataError(f"{path} has {size} bytes; expected a whole number of float32, one or more; it is cut off")
        start, values = float(found[0]), found[1:]
        if not (start >= 0 and start == int(start)) or int(start) + len(values) > times:
            raise DataError(
                f"{path} begins at {start:g} and has {len(values)} values; the calendar has {times} times: it belongs "
                "to another calendar, or is damaged"
            )
        column = np.full(times, np.nan)
        column[int(start) : int(start) + len(values)] = values
        return column


def read_qlib(
    folder: Path, symbols: Sequence[str] = (), *, market: str = "all", timeframe: str = "1d", timezone: str = "UTC",
    prices: Prices = "adjusted", members_only: bool = True,
) -> list[Bars]:
    """Return the bars of symbols, or of all of a market, each by itself.

    Args:
        members_only: of a market, whether a symbol has bars only while it belonged to it: who would come in later was
            not known before, and that a share came in says that it had done well. Of named symbols all bars are read.
    Raises:
        DataError: see `QlibDirectory`; or none of the market's symbols has a bar while it belonged to it.
    """
    of = QlibDirectory(folder, timeframe, timezone)
    if symbols:
        return [of.bars(symbol, prices=prices) for symbol in symbols]
    found = []
    for symbol, spans in of.membership(market).items():
        bars = of.bars(symbol, prices=prices, spans=spans if members_only else ())
        if len(bars):
            found.append(bars)
    if not found:
        raise DataError(f"{folder}: no symbol of {market} has a bar of {timeframe} while it belonged to it")
    return found
