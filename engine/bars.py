"""Bars: what traded over a span of time, and when that became known.

Times are UTC nanoseconds since the epoch (int64). A bar covers [open_time, close_time) and is
known at close_time, never before. Prices are in quote currency, volume in units of the base asset.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import repeat
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.errors import DataError, SettingsError

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

FIELDS = ("open", "high", "low", "close", "volume")

FORWARD_FILLED = 1
"""Flag of a bar that a gap policy made up: the last close repeated, volume 0."""


def utc(nanoseconds: int) -> datetime:
    """Return an aware UTC datetime; what is finer than a microsecond is cut off."""
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC).replace(microsecond=nanoseconds % SECOND // 1000)


def iso(nanoseconds: int) -> str:
    """Return the time as people write it: 2024-03-31T01:00Z, with seconds only where there are any."""
    moment = utc(nanoseconds)
    if moment.microsecond:
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z" if moment.second else f"{moment:%Y-%m-%dT%H:%M}Z"


def nanoseconds(moment: datetime) -> int:
    """Return UTC nanoseconds since the epoch.

    Raises:
        DataError: the datetime is naive, so that the instant it means is unknown.
    """
    if moment.tzinfo is None:
        raise DataError(f"time {moment.isoformat()} has no timezone; expected an aware datetime, for example UTC")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds * 1000


@dataclass(frozen=True, slots=True, order=True)
class Timeframe:
    """The length of a bar: `Timeframe.parse("5m")`. Ordered by duration."""

    duration: int
    """Nanoseconds."""
    name: str

    _UNITS: ClassVar[dict[str, int]] = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}

    @classmethod
    def parse(cls, text: str) -> "Timeframe":
        """Return the timeframe for "30s", "1m", "4h", "1d" or "1w".

        Raises:
            SettingsError: the text is not a count followed by s, m, h, d or w, or longer than ten years.
        """
        # Ten years in seconds have nine digits; the end of a bar of more than that may lie beyond int64.
        match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", text)
        duration = int(match[1]) * cls._UNITS[match[2]] if match else 0
        if not 0 < duration <= 3_650 * DAY:
            raise SettingsError(
                f"timeframe {text[:40]!r} is not understood; expected a count and a unit, such as 5m, 1h or 1d, and at "
                "most ten years"
            )
        return cls(duration, text)

    def __str__(self) -> str:
        return self.name


class Bar(NamedTuple):
    """One closed bar. Made in bulk from columns (about 0.2 µs each), so it is a NamedTuple."""

    symbol: str
    open_time: int
    close_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    timeframe: str
    flags: int = 0

    @property
    def known_at(self) -> int:
        """When the bar became known: its close time, in UTC nanoseconds."""
        return self.close_time


class Stream(NamedTuple):
    """One series of bars within a feed."""

    symbol: str
    timeframe: str


@dataclass(frozen=True)
class Bars:
    """Bars as columns: a whole data set or one chunk of it, in publishing order.

    Rows are sorted by close_time; rows of equal close_time stand in feed order. `stream` says
    which of `streams` a row belongs to (int32); it is None when there is only one stream.
    All columns have the shape [rows]; times are int64 UTC nanoseconds, prices float64.
    """

    streams: tuple[Stream, ...]
    open_time: IntArray
    close_time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    stream: npt.NDArray[np.int32] | None = None
    flags: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.close_time)

    def __getitem__(self, rows: slice) -> "Bars":
        """Return some of the rows as views; nothing is copied."""
        return Bars(
            self.streams,
            self.open_time[rows],
            self.close_time[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
            None if self.stream is None else self.stream[rows],
            None if self.flags is None else self.flags[rows],
        )

    def rows(self) -> Iterator[Bar]:
        """Yield the rows as `Bar`s, made in C from zipped columns."""
        symbols: Iterator[str] | Sequence[str]
        timeframes: Iterator[str] | Sequence[str]
        if self.stream is None:
            symbols, timeframes = repeat(self.streams[0].symbol), repeat(self.streams[0].timeframe)
        else:
            places = self.stream.tolist()
            symbols = map([s.symbol for s in self.streams].__getitem__, places)
            timeframes = map([s.timeframe for s in self.streams].__getitem__, places)
        flags = repeat(0) if self.flags is None else self.flags.tolist()
        # A memoryview makes its numbers one by one as they are asked for, out of memory just freed: 85 against 130 ns
        # a bar for lists of them.
        columns = zip(  # noqa: B905  some columns are endless repeats
            symbols,
            self.open_time.data,
            self.close_time.data,
            self.open.data,
            self.high.data,
            self.low.data,
            self.close.data,
            self.volume.data,
            timeframes,
            flags,
        )
        # tuple.__new__ skips the Python-level constructor of NamedTuple: 0.2 against 0.6 µs a bar.
        return map(tuple.__new__, repeat(Bar), columns)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The symbols in order of first appearance among the streams."""
        return tuple(dict.fromkeys(stream.symbol for stream in self.streams))

    def of(self, stream: Stream) -> "Bars":
        """Return only the rows of one stream.

        Raises:
            DataError: there is no such stream.
        """
        if stream not in self.streams:
            known = ", ".join(f"{s.symbol} {s.timeframe}" for s in self.streams)
            raise DataError(f"no bars of {stream.symbol} {stream.timeframe}; there are {known}")
        if self.stream is None:
            return self
        rows = np.flatnonzero(self.stream == self.streams.index(stream))
        return Bars(
            (stream,),
            self.open_time[rows],
            self.close_time[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
            None,
            None if self.flags is None else self.flags[rows],
        )
