"""The candles of one market: history from the file, closed ones of the playback, and the one that forms.

Kept at the duration of the file's bars; longer ones are put together when asked for. Times in milliseconds, prices in
ticks, volumes in lots.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.venue.tape import TapeBar

MINUTE = 60_000
TIMEFRAMES = {
    "1s": 1000, "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
    "1h": 60 * MINUTE, "2h": 120 * MINUTE, "4h": 240 * MINUTE, "6h": 360 * MINUTE, "8h": 480 * MINUTE,
    "12h": 720 * MINUTE, "1d": 1440 * MINUTE, "3d": 3 * 1440 * MINUTE, "1w": 7 * 1440 * MINUTE,
}
_MONDAY = 4 * 1440 * MINUTE
"""1970 began on a Thursday; weeks begin on Mondays."""


class Candle(NamedTuple):
    """`value` is the sum of ticks × lots, `taker_buys` the lots that buyers took."""

    open_time: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    value: int
    prints: int
    taker_buys: int


class Bars(NamedTuple):
    """The columns of a market's file, int64: times in milliseconds, prices in ticks, volumes in lots."""

    open_time: npt.NDArray[np.int64]
    open: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]
    close: npt.NDArray[np.int64]
    volume: npt.NDArray[np.int64]

    def at(self, row: int) -> TapeBar:
        return TapeBar(*(int(column[row]) for column in self))


def opening(time: int, duration: int) -> int:
    """Return when the candle that covers `time` opens."""
    offset = _MONDAY if duration == TIMEFRAMES["1w"] else 0
    return (time - offset) // duration * duration + offset


class Candles:
    """See the module. `rows` of the bars are history when the playback starts."""

    def __init__(self, bars: Bars, rows: int, duration: int) -> None:
        self.duration = duration
        self._bars, self._rows = bars, rows
        self._times = bars.open_time[:rows]
        self._closed: list[Candle] = []
        self._closed_times: list[int] = []
        self._corrected: dict[int, Candle] = {}
        self.forming: Candle | None = None
        self._sum: tuple[int, int, Candle | None] = (0, 0, None)

    def __len__(self) -> int:
        return self._rows + len(self._closed)

    def last_close(self) -> int | None:
        """Return the last price, in ticks."""
        if self.forming:
            return self.forming.close
        if self._closed:
            return self._closed[-1].close
        return int(self._bars.close[self._rows - 1]) if self._rows else None

    def print(self, open_time: int, price: int, lots: int, is_buy: bool) -> None:
        """Take a trade into the candle that forms."""
        now = self.forming
        bought = lots if is_buy else 0
        if now is None or now.open_time != open_time:
            self.close()
            self.forming = Candle(open_time, price, price, price, price, lots, price * lots, 1, bought)
            return
        self.forming = Candle(open_time, now.open, max(now.high, price),
                              min(now.low, price), price, now.volume + lots,
                              now.value + price * lots, now.prints + 1, now.taker_buys + bought)

    def stand_still(self, open_time: int, price: int) -> None:
        """Begin a candle in which nothing traded."""
        self.close()
        self.forming = Candle(open_time, price, price, price, price, 0, 0, 0, 0)

    def close(self) -> Candle | None:
        """Close the one that forms, and return it."""
        closed, self.forming = self.forming, None
        if closed is not None:
            self._closed.append(closed)
            self._closed_times.append(closed.open_time)
        return closed

    def correct(self, candle: Candle) -> None:
        """Replace a closed candle by another of its open time."""
        self._corrected[candle.open_time] = candle

    def at(self, place: int) -> Candle:
        """Return a closed candle by its place."""
        if place < self._rows:
            bar = self._bars.at(place)
            value = bar.volume * (bar.open + bar.high + bar.low + bar.close) // 4
            candle = Candle(*bar, value, min(10, bar.volume), bar.volume // 2)
        else:
            candle = self._closed[place - self._rows]
        return self._corrected.get(candle.open_time, candle) if self._corrected else candle

    def place(self, time: int) -> int:
        """Return the place of the first closed candle that opens at `time` or later."""
        if self._rows and time <= int(self._times[-1]):
            return int(np.searchsorted(self._times, time))
        return self._rows + bisect_left(self._closed_times, time)

    def current(self, duration: int) -> Candle | None:
        """Return the candle of a duration that forms now."""
        if self.forming is None:
            return None
        if duration == self.duration:
            return self.forming
        opens = opening(self.forming.open_time, duration)
        parts = [self.at(place) for place in range(self.place(opens), len(self))]
        return merged(opens, [*parts, self.forming])

    def since(self, time: int) -> Candle | None:
        """Return everything that opened at `time` or later as one candle. What has closed is summed once."""
        first, last = self.place(time), len(self)
        if self._sum[:2] != (first, last):
            parts = [self.at(place) for place in range(first, last)]
            self._sum = (first, last, merged(parts[0].open_time, parts) if parts else None)
        parts = [part for part in (self._sum[2], self.forming) if part is not None]
        return merged(parts[0].open_time, parts) if parts else None

    def take(self, duration: int, *, start: int | None = None, end: int | None = None, limit: int = 500,
             forming: bool = True) -> list[Candle]:
        """Return candles that open from `start` to `end`, both included, oldest first: the first `limit` of them when
        `start` is given, else the last.

        Raises:
            ValueError: the duration is none that the file's bars can make.
        """
        if duration % self.duration:
            raise ValueError(f"candles of {duration} ms cannot be made of bars of {self.duration} ms")
        if start is not None:
            if (opens := opening(start, duration)) < start:
                opens += duration
            first = self.place(opens)
            last = min(len(self), first + limit * (duration // self.duration))
            if end is not None:
                last = min(last, self.place(end + (duration if duration > self.duration else 1)))
        else:
            last = len(self) if end is None else self.place(opening(end, duration) + duration)
            first = max(0, last - (limit + 1) * (duration // self.duration))
        parts = [self.at(place) for place in range(first, last)]
        if forming and self.forming is not None and last == len(self):
            parts.append(self.forming)
        candles = parts if duration == self.duration else _grouped(parts, duration)
        if first > 0 and duration != self.duration and start is None and candles:
            candles = candles[1:]
        kept = [candle for candle in candles if (start is None or candle.open_time >= start)
                and (end is None or candle.open_time <= end)]
        return kept[:limit] if start is not None else kept[-limit:]


def merged(open_time: int, parts: Sequence[Candle]) -> Candle:
    """Return one candle made of shorter ones."""
    return Candle(open_time, parts[0].open, max(part.high for part in parts), min(part.low for part in parts),
                  parts[-1].close, sum(part.volume for part in parts), sum(part.value for part in parts),
                  sum(part.prints for part in parts), sum(part.taker_buys for part in parts))


def _grouped(parts: Sequence[Candle], duration: int) -> list[Candle]:
    groups: dict[int, list[Candle]] = {}
    for part in parts:
        groups.setdefault(opening(part.open_time, duration), []).append(part)
    return [merged(opens, group) for opens, group in groups.items()]
