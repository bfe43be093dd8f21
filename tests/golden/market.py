"""Bars made of nothing but whole numbers: the same on every machine and under every version of every library.

The random numbers are splitmix64's (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195), written out here.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from engine.bars import Bars, Stream, Timeframe
from engine.testing import NEW_YEAR_2024

MASK = 2**64 - 1


class SplitMix:
    """A stream of whole numbers."""

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    def draw(self) -> int:
        """Return the next number, 0 … 2⁶⁴ − 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return mixed ^ (mixed >> 31)

    def between(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + self.draw() % (high - low + 1)


def market(
    symbol: str = "AAA", timeframe: str = "1h", rows: int = 120, seed: int = 1, *, first: int = 10_000,
    increment: str = "0.01", volume: tuple[int, int] = (50, 500), gap_every: int = 7,
) -> Bars:
    """Return a walk in whole increments, with gaps now and then.

    Args:
        first: the first open in increments; a bar's body is up to 1 % of it, a wick half of that, a gap as much as
            a body.
        volume: least and most of a bar.
        gap_every: one bar in so many opens apart from the close before, on average.
    """
    stream, step, close = SplitMix(seed), max(first // 100, 2), first
    table = []
    for _ in range(rows):
        gap = stream.between(-step, step) if stream.between(1, gap_every) == 1 else 0
        opened = max(close + gap, step)
        close = max(opened + stream.between(-step, step), step)
        high = max(opened, close) + stream.between(0, step // 2)
        low = max(min(opened, close) - stream.between(0, step // 2), 1)
        table.append((opened, high, low, close, stream.between(*volume)))
    return bars_from(table, symbol, timeframe, increment)


def bars_from(table: list[tuple[int, int, int, int, int]], symbol: str, timeframe: str, increment: str) -> Bars:
    """Return bars from rows of open, high, low, close in increments, and volume."""
    duration = Timeframe.parse(timeframe).duration
    open_time = NEW_YEAR_2024 + duration * np.arange(len(table), dtype=np.int64)
    prices = [np.array([float(row[place] * Decimal(increment)) for row in table]) for place in range(4)]
    volumes = np.array([float(row[4]) for row in table])
    return Bars((Stream(symbol, timeframe),), open_time, open_time + duration, *prices, volumes)


def coarser(bars: Bars, timeframe: str) -> Bars:
    """Return the bars of a longer timeframe, whole ones only."""
    duration = Timeframe.parse(timeframe).duration
    count = duration // int(bars.close_time[0] - bars.open_time[0])
    whole = len(bars) // count * count

    def grouped(column: np.ndarray) -> np.ndarray:
        return column[:whole].reshape(-1, count)

    opened = grouped(bars.open_time)[:, 0]
    return Bars(
        (Stream(bars.streams[0].symbol, timeframe),), opened, opened + duration, grouped(bars.open)[:, 0].copy(),
        grouped(bars.high).max(1), grouped(bars.low).min(1), grouped(bars.close)[:, -1].copy(),
        grouped(bars.volume).sum(1))


def merged(*parts: Bars) -> Bars:
    """Return several streams as one feed: by close time, then in the order given."""
    stream = np.concatenate([np.full(len(part), place, np.int32) for place, part in enumerate(parts)])
    order = np.lexsort((stream, np.concatenate([part.close_time for part in parts])))
    names = ("open_time", "close_time", "open", "high", "low", "close", "volume")
    columns = {name: np.concatenate([getattr(part, name) for part in parts])[order] for name in names}
    return Bars(tuple(part.streams[0] for part in parts), **columns, stream=stream[order])
