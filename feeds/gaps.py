"""Missing bars: what counts as one, and what is done about it.

A gap is the span between two neighbouring bars of a stream in which bars should be. What "should" means is the
market's calendar:

- "24/7": every bar follows the one before it at once. The default, true of crypto venues.
- "sessions": the market closes at night, at noon, at weekends, on holidays. When it does is learnt from the bars
  themselves: a span without bars is a gap only if both its first and its last moment are usually traded at that time
  of day (on more than half of the 20 trading days around it). Spans of a day or more pass for holidays, up to two
  weeks; longer ones are gaps, for no exchange closes that long as a matter of course. So holidays, early closes, late
  openings and clock changes are no gaps, and a hole inside a session is one. With fewer than 3 other trading days to
  compare with, a span of an hour or more counts as a break.

The policies: "error" refuses the data before the first bar; "mark" publishes the bars there are, and reports the gaps;
"forward_fill" puts a bar in the place of each missing one: the last close as all four prices, volume 0, FORWARD_FILLED
flag.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from engine.bars import DAY, FORWARD_FILLED, HOUR, Bars, FloatArray, IntArray, Stream, Timeframe, iso
from engine.errors import DataError, SettingsError, nearest_name

Calendar = Literal["24/7", "sessions"]
GapPolicy = Literal["error", "mark", "forward_fill"]

LONGEST_HOLIDAY = 14 * DAY
NEARBY_DAYS = 10
"""Trading days before and after a gap that say what is usual."""
FEWEST_DAYS = 3


class Gap(NamedTuple):
    """A span [start, end) of one stream in which `missing` bars should be; times in UTC nanoseconds."""

    stream: Stream
    start: int
    end: int
    missing: int

    def __str__(self) -> str:
        missing = counted(self.missing, "bar", "bars")
        return f"{self.stream.symbol} {self.stream.timeframe}: {missing} missing between {span(self.start, self.end)}"


@dataclass(frozen=True)
class Gaps:
    """The gaps of one stream as columns: `after` is the row of the bar before the gap; `missing` counts bars."""

    stream: Stream
    after: IntArray
    start: IntArray
    end: IntArray
    missing: IntArray

    def __len__(self) -> int:
        return len(self.after)

    def __getitem__(self, gap: int) -> Gap:
        if not -len(self) <= gap < len(self):
            raise IndexError(gap)
        return Gap(self.stream, int(self.start[gap]), int(self.end[gap]), int(self.missing[gap]))

    @property
    def missing_bars(self) -> int:
        """How many bars are missing in all."""
        return int(self.missing.sum())

    def largest(self) -> Gap | None:
        """Return the gap with the most missing bars, the first of several; None if there is no gap."""
        return self[int(np.argmax(self.missing))] if len(self) else None


def find_gaps(stream: Stream, open_time: IntArray, close_time: IntArray, *, calendar: Calendar = "24/7") -> Gaps:
    """Return the gaps between rows that are sorted and do not overlap.

    Args:
        open_time, close_time: UTC nanoseconds, int64 [rows].
    """
    check_calendar(calendar)
    duration = Timeframe.parse(stream.timeframe).duration
    apart = open_time[1:] - close_time[:-1]
    after = np.flatnonzero(apart > 0)
    if calendar == "sessions" and len(after):
        after = after[_inside_session(open_time, close_time, after, duration)]
    missing = np.maximum(apart[after] // duration, 1)
    return Gaps(stream, after, close_time[after], open_time[after + 1], missing)


def refuse_gaps(gaps: Gaps, *, calendar: Calendar, open_time: IntArray, close_time: IntArray, origin: str = "") -> None:
    """Raise when there is a gap: the default policy.

    Raises:
        DataError: names the first gap, how many more there are, and the ways out.
    """
    if not len(gaps):
        return
    more = f" (the first of {len(gaps):,} gaps, {gaps.missing_bars:,} bars in all)" if len(gaps) > 1 else ""
    way_out = 'fetch again or set gap_policy = "mark" or "forward_fill"'
    if calendar == "24/7" and _looks_closed_at_times(gaps, open_time, close_time):
        way_out += ', or calendar = "sessions" if this market closes at night or at weekends'
    prefix = f"{origin}: " if origin else ""
    raise DataError(f"{prefix}{gaps[0]}{more}; {way_out}")


def filled_index(rows: slice, gaps: Gaps) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return where the rows of forward-filled data come from.

    Args:
        rows: a range of rows of the stream, start and stop given.
    Returns:
        For each published row the row (counted from `rows.start`) whose values it has, and whether it was made up.
    """
    count = rows.stop - rows.start
    first, last = np.searchsorted(gaps.after, (rows.start, rows.stop))
    repeats = np.ones(count, np.int64)
    repeats[gaps.after[first:last] - rows.start] += gaps.missing[first:last]
    index = np.repeat(np.arange(count), repeats)
    made_up = np.zeros(len(index), np.bool_)
    made_up[1:] = index[1:] == index[:-1]
    return index, made_up


def forward_fill(bars: Bars, gaps: Gaps, *, first_row: int = 0) -> Bars:
    """Return the bars of one stream with its gaps filled.

    Args:
        bars: consecutive rows of the stream; gaps.after counts from the stream's first row.
        first_row: which row of the stream the first of `bars` is.
    """
    index, made_up = filled_index(slice(first_row, first_row + len(bars)), gaps)
    if not made_up.any():
        return bars
    duration = Timeframe.parse(gaps.stream.timeframe).duration
    place = np.arange(len(index))
    nth = place - np.maximum.accumulate(
        np.where(made_up, 0, place)
    )  # 0 for a bar, 1, 2, … for what is made up after it
    open_time = np.where(made_up, bars.close_time[index] + (nth - 1) * duration, bars.open_time[index])
    close_time = np.where(made_up, open_time + duration, bars.close_time[index])
    last = bars.close[index]
    return Bars(
        bars.streams,
        open_time,
        close_time,
        np.where(made_up, last, bars.open[index]),
        np.where(made_up, last, bars.high[index]),
        np.where(made_up, last, bars.low[index]),
        last,
        np.where(made_up, 0.0, bars.volume[index]),
        None,
        np.where(made_up, np.uint8(FORWARD_FILLED), np.uint8(0) if bars.flags is None else bars.flags[index]),
    )


def forward_fill_column(column: FloatArray, field: str, close: FloatArray, gaps: Gaps) -> FloatArray:
    """Return a whole column as `forward_fill` would leave it."""
    index, made_up = filled_index(slice(0, len(column)), gaps)
    return np.where(made_up, 0.0 if field == "volume" else close[index], column[index])


def guess_calendar(open_time: IntArray) -> Calendar:
    """Return "sessions" if the bars span a Saturday (UTC) and none opens on one, else "24/7". For reports, not for
    runs."""
    if not len(open_time):
        return "24/7"
    days = np.unique(open_time // DAY)
    saturdays = (days[-1] - 2) // 7 - (days[0] - 3) // 7  # day 2 since the epoch, 1970-01-03, was a Saturday
    return "sessions" if saturdays > 0 and not np.any(days % 7 == 2) else "24/7"


def check_calendar(calendar: str) -> None:
    """Refuse a calendar that does not exist."""
    if calendar not in get_args(Calendar):
        raise SettingsError(
            f"calendar {calendar!r} is not known; expected 24/7 or sessions{nearest_name(calendar, get_args(Calendar))}"
        )


def check_gap_policy(policy: str) -> None:
    """Refuse a gap policy that does not exist."""
    if policy not in get_args(GapPolicy):
        raise SettingsError(
            f"gap_policy {policy!r} is not known; expected error, mark or "
            f"forward_fill{nearest_name(policy, get_args(GapPolicy))}"
        )


def span(start: int, end: int) -> str:
    """Return "2024-03-31T01:00Z and 04:00Z"; the date is repeated only where it differs."""
    first, last = iso(start), iso(end)
    return f"{first} and {last[11:] if first[:10] == last[:10] else last}"


def counted(count: int, one: str, many: str) -> str:
    """Return "1 bar" or "1,234 bars"."""
    return f"{count:,} {one if count == 1 else many}"


def _looks_closed_at_times(gaps: Gaps, open_time: IntArray, close_time: IntArray) -> bool:
    closing = find_gaps(gaps.stream, open_time, close_time, calendar="sessions")
    has_nights = guess_calendar(open_time) == "sessions" or int((gaps.end - gaps.start).max()) >= 8 * HOUR
    return has_nights and closing.missing_bars * 2 < gaps.missing_bars


def _inside_session(open_time: IntArray, close_time: IntArray, after: IntArray, duration: int) -> npt.NDArray[np.bool_]:
    """Say for each span without bars whether it lies inside a session."""
    start, end = close_time[after], open_time[after + 1]
    length = end - start
    inside = length > LONGEST_HOLIDAY
    short = np.flatnonzero((length < DAY) & (length >= min(duration, DAY)))
    if not len(short) or duration >= DAY:
        return inside
    usual = _usually_traded(open_time, np.concatenate((start[short], end[short] - duration)), duration)
    first, last = usual[: len(short)], usual[len(short) :]
    comparable = ~(np.isnan(first) | np.isnan(last))
    inside[short] = np.where(comparable, (first > 0.5) & (last > 0.5), length[short] < HOUR)
    return inside


def _usually_traded(open_time: IntArray, moments: IntArray, duration: int) -> FloatArray:
    """Return for each moment the share of nearby trading days with a bar at that time of day; NaN with too few days.

    A bar counts for the moment if it opens in the same slot of the day, one timeframe long.
    """
    days, day_of_bar = np.unique(open_time // DAY, return_inverse=True)
    slots = moments % DAY // duration
    wanted = np.unique(slots)
    slot_of_bar = open_time % DAY // duration
    column = np.searchsorted(wanted, slot_of_bar)
    column[column == len(wanted)] = 0
    hit = wanted[column] == slot_of_bar
    traded = np.zeros((len(days) + 1, len(wanted)), np.int32)
    traded[day_of_bar[hit] + 1, column[hit]] = 1
    counts = np.cumsum(traded, axis=0, dtype=np.int32)  # [days + 1, slots]: days traded before each day
    day = np.searchsorted(days, moments // DAY)  # the moment's own day if it is a trading day, else the next
    own = (day < len(days)) & (days[np.minimum(day, len(days) - 1)] == moments // DAY)
    first, last = np.maximum(day - NEARBY_DAYS, 0), np.minimum(day + own + NEARBY_DAYS, len(days))
    column = np.searchsorted(wanted, slots)
    others = (last - first - own).astype(np.float64)
    here = np.where(own, traded[np.minimum(day + 1, len(days)), column], 0)
    share = (counts[last, column] - counts[first, column] - here) / np.maximum(others, 1)
    return np.where(others >= FEWEST_DAYS, share, np.nan)


def merge_gaps(parts: Sequence[Gaps]) -> tuple[Gap, ...]:
    """Return the gaps of several streams, by time and then in the order given."""
    gaps = [gaps[place] for gaps in parts for place in range(len(gaps))]
    return tuple(sorted(gaps, key=lambda gap: gap.start))
