"""What is really in a file or a catalog: counted, not judged away. Behind `python main.py data check` and `gaps`.

Definitions: a return is the log of a close over the close before; the robust sigma is 1.4826 × the median absolute
deviation of the returns from their median; a wick is the part of a bar above its body over the body's top, or below
over the body's bottom, as a fraction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.bars import DAY, FloatArray, iso
from engine.errors import DataError
from feeds.catalog import Catalog, Progress
from feeds.events import EventReport, check_events
from feeds.files import read_table
from feeds.gaps import Calendar, Gap, Gaps, check_calendar, counted, find_gaps, guess_calendar, span
from feeds.layout import FileLayout
from feeds.tables import BarTable
from feeds.validation import find_and_judge_gaps, prepare_table

OUTLIER_SIGMAS = 20
LONG_BREAK = 4 * DAY
"""Breaks above this are counted: a weekend with a holiday beside it is shorter."""


@dataclass(frozen=True)
class QualityReport:
    """What a set of bars is like. Times are UTC nanoseconds; counts are of rows unless they say otherwise.

    Args:
        calendar: under which gaps were counted; `calendar_guessed` if nobody said which.
        gaps: every gap; `off_grid` counts times that are not a whole number of bars after the first ("24/7" only).
        longest_break: nanoseconds between two neighbouring bars, at most; `long_breaks` counts those above four days.
        nan_cells: of prices and volume, infinite ones included.
        high_below_body, low_above_body: highs below open or close, lows above.
        outlier_returns: beyond 20 robust sigmas; largest_return: absolute log return; largest_wick: a fraction.
        constant_volume: every bar has the same volume, as with a placeholder.
        refusal: what a feed with default settings would say; "" if it would take the bars.
    """

    origin: str
    symbol: str
    timeframe: str
    rows: int
    first_open: int
    last_close: int
    calendar: Calendar
    calendar_guessed: bool
    gaps: Gaps
    missing_bars: int
    longest_break: int
    long_breaks: int
    duplicates: int
    unsorted: int
    off_grid: int
    nan_cells: int
    nonpositive_prices: int
    high_below_body: int
    low_above_body: int
    negative_volume: int
    zero_volume: int
    constant_volume: bool
    flat_bars: int
    outlier_returns: int
    largest_return: float
    largest_wick: float
    refusal: str

    @property
    def largest_gap(self) -> Gap | None:
        """The gap with the most missing bars."""
        return self.gaps.largest()

    @property
    def findings(self) -> tuple[str, ...]:
        """What is worth knowing, one line each, the grave first; empty for clean bars."""
        counts = (
            (self.unsorted, "time out of order", "times out of order"),
            (self.duplicates, "time that occurs twice", "times that occur twice"),
            (self.nan_cells, "cell that is no number", "cells that are no numbers"),
            (self.nonpositive_prices, "price of 0 or less", "prices of 0 or less"),
            (self.high_below_body, "high below open or close", "highs below open or close"),
            (self.low_above_body, "low above open or close", "lows above open or close"),
            (self.negative_volume, "negative volume", "negative volumes"),
            (self.off_grid, "time off the grid", "times off the grid"),
        )
        found = [counted(count, one, many) for count, one, many in counts if count]
        if (largest := self.largest_gap) is not None:
            found.append(
                f"{counted(self.missing_bars, 'bar', 'bars')} missing in {counted(len(self.gaps), 'gap', 'gaps')}, at "
                f"most {largest.missing:,} between {span(largest.start, largest.end)}"
            )
        if self.long_breaks:
            found.append(
                f"{counted(self.long_breaks, 'break', 'breaks')} of more than 4 days, at most "
                f"{self.longest_break / DAY:,.2f} days"
            )
        if self.zero_volume == self.rows:
            found.append("volume is 0 throughout")
        elif self.constant_volume and self.rows > 1:
            found.append("volume is the same throughout, as a placeholder would be")
        elif self.zero_volume:
            found.append(counted(self.zero_volume, "bar without volume", "bars without volume"))
        if self.flat_bars:
            found.append(f"{counted(self.flat_bars, 'flat bar', 'flat bars')} (open = high = low = close)")
        if self.outlier_returns:
            found.append(
                f"{counted(self.outlier_returns, 'return', 'returns')} beyond {OUTLIER_SIGMAS} robust sigmas, at most "
                f"{self.largest_return:.2%}"
            )
        if self.largest_wick > 0.2:
            found.append(f"a wick of {self.largest_wick:.0%}")
        return tuple(found)

    @property
    def is_usable(self) -> bool:
        """Whether a feed takes the bars under this calendar with default settings."""
        return not self.refusal

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        guess = " (guessed)" if self.calendar_guessed else ""
        head = (
            f"{self.origin}: {self.symbol} {self.timeframe}, {self.rows:,} bars, {iso(self.first_open)} to "
            f"{iso(self.last_close)}, calendar {self.calendar}{guess}"
        )
        verdict = (
            [f"  a feed would refuse it: {self.refusal.removeprefix(self.origin).lstrip(': ')}"] if self.refusal else []
        )
        return [head, *(f"  {finding}" for finding in self.findings or ("clean",)), *verdict]


def check_file(
    path: str | Path,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    layout: FileLayout = FileLayout(),
    calendar: Calendar | None = None,
) -> QualityReport | EventReport:
    """Return what is in a file, however bad.

    Args:
        calendar: None guesses: "sessions" if no bar opens on a Saturday.
    Raises:
        DataError: the file cannot be read as a table of times and numbers at all.
    """
    path = Path(path)
    return check_events(path, symbol, layout) or check_table(
        read_table(path, symbol=symbol, timeframe=timeframe, layout=layout), calendar=calendar
    )


def check_files(
    paths: Sequence[str | Path], *, progress: Progress | None = None, **options: Any
) -> list[QualityReport | EventReport | DataError]:
    """Return a report for each file, in order; the error itself where one cannot be read. Options are those of
    `check_file`."""
    reports: list[QualityReport | EventReport | DataError] = []
    for done, path in enumerate(paths, 1):
        try:
            reports.append(check_file(path, **options))
        except DataError as problem:
            reports.append(problem)
        if progress is not None:
            progress(done, len(paths))
    return reports


def check_catalog(catalog: Catalog, symbol: str, timeframe: str, *, calendar: Calendar | None = None) -> QualityReport:
    """Return what a stream of a catalog is like, after comparing its files with their digest.

    Raises:
        DataError: the stream is not there, or its files were changed.
    """
    catalog.verify(symbol, timeframe)
    entry = catalog.entry(symbol, timeframe)
    table = BarTable.of_bars(catalog.read(symbol, timeframe), catalog.root)
    return check_table(table, calendar=calendar or entry.calendar)


def check_table(table: BarTable, *, calendar: Calendar | None = None) -> QualityReport:
    """Return what rows are like."""
    if calendar is not None:
        check_calendar(calendar)
    opens = table.open_time
    order = np.argsort(opens, kind="stable")
    distinct = order[np.append(True, np.diff(opens[order]) > 0)]
    clean = opens[distinct]
    chosen = calendar or guess_calendar(clean)
    gaps = find_gaps(table.stream, clean, clean + table.duration, calendar=chosen)
    steps = np.diff(clean)
    prices = np.stack((table.open, table.high, table.low, table.close))
    finite = np.isfinite(prices)
    returns, outliers = _returns(table.close)
    with np.errstate(invalid="ignore"):
        body_top, body_bottom = np.maximum(table.open, table.close), np.minimum(table.open, table.close)
        return QualityReport(
            origin=table.origin,
            symbol=table.stream.symbol,
            timeframe=table.stream.timeframe,
            rows=len(table),
            first_open=int(clean[0]),
            last_close=int(clean[-1]) + table.duration,
            calendar=chosen,
            calendar_guessed=calendar is None,
            gaps=gaps,
            missing_bars=gaps.missing_bars,
            longest_break=int(steps.max()) if len(steps) else 0,
            long_breaks=int(np.count_nonzero(steps > LONG_BREAK)),
            duplicates=len(opens) - len(clean),
            unsorted=int(np.count_nonzero(opens[1:] < opens[:-1])),
            off_grid=int(np.count_nonzero((opens - opens[0]) % table.duration)) if chosen == "24/7" else 0,
            nan_cells=int(np.count_nonzero(~finite) + np.count_nonzero(~np.isfinite(table.volume))),
            nonpositive_prices=int(np.count_nonzero(prices <= 0)),
            high_below_body=int(np.count_nonzero(table.high < body_top)),
            low_above_body=int(np.count_nonzero(table.low > body_bottom)),
            negative_volume=int(np.count_nonzero(table.volume < 0)),
            zero_volume=int(np.count_nonzero(table.volume == 0)),
            constant_volume=bool(np.all(table.volume == table.volume[0])),
            flat_bars=int(
                np.count_nonzero((prices[0] == prices[1]) & (prices[1] == prices[2]) & (prices[2] == prices[3]))
            ),
            outlier_returns=outliers,
            largest_return=float(np.abs(returns).max()) if len(returns) else 0.0,
            largest_wick=_largest_wick(table, body_top, body_bottom),
            refusal=_refusal(table, chosen),
        )


def _returns(close: FloatArray) -> tuple[FloatArray, int]:
    """Return the log returns that are numbers, and how many lie beyond the robust sigmas."""
    with np.errstate(invalid="ignore", divide="ignore"):
        returns = np.diff(np.log(close))
    returns = returns[np.isfinite(returns)]
    if not len(returns):
        return returns, 0
    sigma = 1.4826 * float(np.median(np.abs(returns - np.median(returns))))
    return returns, int(np.count_nonzero(np.abs(returns) > OUTLIER_SIGMAS * sigma)) if sigma > 0 else 0


def _largest_wick(table: BarTable, body_top: FloatArray, body_bottom: FloatArray) -> float:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        wicks = np.concatenate(((table.high - body_top) / body_top, (body_bottom - table.low) / body_bottom))
    wicks = wicks[np.isfinite(wicks) & np.concatenate((body_top > 0, body_bottom > 0))]
    return float(wicks.max()) if len(wicks) else 0.0


def _refusal(table: BarTable, calendar: Calendar) -> str:
    try:
        find_and_judge_gaps(prepare_table(table), calendar=calendar)
    except DataError as problem:
        return str(problem)
    return ""
