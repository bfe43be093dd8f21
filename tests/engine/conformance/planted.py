"""Strategies that leak, each in its own way, on purpose. The statement that leaks ends in `# leak`.

`first` is the place of the first instant that uses a later one, counted from 0.
"""

import csv
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from engine import Bar, Bars, FloatArray, Slice, Strategy, compute
from engine.bars import HOUR

ROWS = 400
FOUR_HOURS = 4 * HOUR


class Planted(Strategy):
    """Says where it leaks first."""

    first: ClassVar[int] = 0


def centred(close: FloatArray, bars: int) -> FloatArray:
    half = bars // 2
    smooth = np.convolve(close, np.ones(bars) / bars, "same")  # leak
    smooth[:half] = np.nan
    return smooth


class CentredAverage(Planted):
    first = 2  # the first two are left out, and the third takes two later bars

    def on_start(self) -> None:
        self.smooth = self.indicator(centred, "close", 5)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, float(bar.close > self.smooth[-1]))


class GlobalZScore(Planted):
    def targets(self, bars: Bars) -> FloatArray:
        count = len(bars)
        mean = bars.close.mean()  # leak
        deviation = bars.close.std()
        score = (bars.close - mean) / deviation
        return np.clip(-score / max(count, 3), -1, 1)


class BackFill(Planted):
    def targets(self, bars: Bars) -> FloatArray:
        average = compute("SMA", bars.close, 10)
        filled = pd.Series(average).bfill().to_numpy()  # leak
        return np.where(bars.close > filled, 1.0, 0.0)


class MergeOnOpenTimes(Planted):
    first = 0  # the first hour of four knows the close of the fourth

    def targets(self, bars: Bars) -> FloatArray:
        long = pd.DataFrame({"time": bars.open_time // FOUR_HOURS * FOUR_HOURS, "slow": bars.close})
        long = long.groupby("time").last().reset_index()
        joined = pd.merge_asof(pd.DataFrame({"time": bars.open_time}), long, on="time")  # leak
        return np.where(bars.close > joined["slow"].to_numpy(), 1.0, 0.0)


class CovariateOfTheNextBar(Planted):
    """Reads the array that belongs to the bar after the one it is told of."""

    covariate: ClassVar[FloatArray] = np.random.default_rng(3).normal(size=ROWS + 5)

    def on_start(self) -> None:
        self.place = -1

    def on_bar(self, bar: Bar) -> None:
        self.place += 1
        known = self.covariate[self.place + 1] if self.place + 1 < len(self.covariate) else -1.0  # leak
        self.target(bar.symbol, float(known > 0))


class CovariateOfAFile(Planted):
    """Looks an hour ahead in a file of times and values."""

    file: ClassVar[Path] = Path()

    def on_start(self) -> None:
        with open(self.file) as rows:
            self.values = {int(row["time"]): float(row["value"]) for row in csv.DictReader(rows)}

    def on_bar(self, bar: Bar) -> None:
        later = self.values.get(bar.close_time + HOUR, 0.0)  # leak
        self.target(bar.symbol, float(later > 0))


class ShiftedByMinusOne(Planted):
    def targets(self, bars: Bars) -> FloatArray:
        change = np.diff(bars.close)
        ahead = np.append(change, 0.0)  # leak
        return np.where(ahead > 0, 1.0, 0.0)


class ResampledByOpenTime(Planted):
    def targets(self, bars: Bars) -> FloatArray:
        close = pd.Series(bars.close, index=pd.to_datetime(bars.open_time))
        slow = close.resample("4h").last()
        known = slow.reindex(close.index, method="ffill").to_numpy()  # leak
        return np.where(bars.close < known, 1.0, 0.0)


class FittedOnAll(Planted):
    def targets(self, bars: Bars) -> FloatArray:
        steps = np.diff(bars.close, prepend=bars.close[0])
        before = np.append(0.0, steps[:-1])
        slope, start = np.polyfit(before, steps, 1)  # leak
        return np.where(slope * steps + start > 0, 1.0, -1.0)


class QuantileOfAll(Planted):
    def on_start(self) -> None:
        self.high = self.indicator(self.is_high, "close")

    def is_high(self, close: FloatArray) -> FloatArray:
        level = np.quantile(close, 0.8)  # leak
        return np.where(close > level, 1.0, 0.0)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, self.high[-1])


class NormalisedByItsMax(Planted):
    def targets(self, bars: Bars) -> FloatArray:
        moved = np.abs(np.diff(bars.close, prepend=bars.close[0]))
        size = np.cumsum(moved) / (1 + np.arange(len(moved)))
        return size / size.max()  # leak


def extremes(values: FloatArray, order: int) -> FloatArray:
    """Return the places of local maxima, as scipy's argrelextrema."""
    places = np.arange(order, len(values) - order)
    return np.array([at for at in places if values[at] == values[at - order : at + order + 1].max()], dtype=np.int64)


class Pivots(Planted):
    first = 15  # the first high that is above its four neighbours on either side

    def targets(self, bars: Bars) -> FloatArray:
        side = np.full(len(bars), np.nan)
        side[extremes(bars.high, 4)] = -1.0  # leak
        return side


def two_ways(close: FloatArray, weight: float) -> FloatArray:
    level = close.copy()
    for row in range(1, len(level)):
        level[row] = level[row - 1] + weight * (level[row] - level[row - 1])
    for row in range(len(level) - 2, -1, -1):
        level[row] = level[row + 1] + weight * (level[row] - level[row + 1])  # leak
    return level


class ForwardAndBackward(Planted):
    def on_start(self) -> None:
        self.level = self.indicator(two_ways, "close", 0.2)

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, float(bar.close > self.level[-1]))


class SharedCache(Planted):
    """Keeps in its class what it learnt: a run after another knows the end of the one before."""

    highest: ClassVar[list[float]] = []

    def on_bar(self, bar: Bar) -> None:
        top = max(self.highest, default=0.0)
        self.highest.append(bar.close)  # leak
        self.target(bar.symbol, float(bar.close >= top))


class Stashed(Planted):
    """Keeps the column that an indicator is given, and looks further down in it."""

    def on_start(self) -> None:
        self.line = self.indicator(self.keep, "close")
        self.place = -1

    def keep(self, close: FloatArray) -> FloatArray:
        self.column = close
        return close

    def on_bar(self, bar: Bar) -> None:
        self.place += 1
        later = self.column[min(self.place + 3, len(self.column) - 1)]  # leak
        self.target(bar.symbol, float(later > bar.close))


class BaseOfASlice(Planted):
    """Climbs from the row it is shown to the table that the row is part of."""

    def on_start(self) -> None:
        self.place = -1

    def on_slice(self, slice: Slice) -> None:
        self.place += 1
        table: Any = slice.close
        while table.base is not None:
            table = table.base  # leak
        closes = table.reshape(-1)
        later = closes[min((self.place + 1) * len(slice.symbols), len(closes) - 1)]
        self.target(slice.symbols[0], float(later > slice.close[0]))


PLANTED = (
    CentredAverage, GlobalZScore, BackFill, MergeOnOpenTimes, CovariateOfTheNextBar, CovariateOfAFile,
    ShiftedByMinusOne, ResampledByOpenTime, FittedOnAll, QuantileOfAll, NormalisedByItsMax, Pivots, ForwardAndBackward,
    Stashed, BaseOfASlice,
)


def marked_line(kind: type[Strategy]) -> int:
    """Return the line that ends in `# leak` in a class, or in the function that stands before it."""
    lines = Path(__file__).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"class {kind.__name__}("))
    end = next((number for number in range(start + 1, len(lines)) if lines[number].startswith("class ")), len(lines))
    inside = [number + 1 for number in range(start, end) if lines[number].endswith("# leak")]
    if inside and not kind.__name__.startswith(("Forward", "Centred")):
        return inside[0]
    return max(number + 1 for number in range(start) if lines[number].endswith("# leak"))
