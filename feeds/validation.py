"""Refusing what cannot be bars, before the first one is published.

Every check is a comparison of whole columns (1 M rows: some 20 ms); only when one fails are rows looked at one by one,
to name the first. Times are UTC nanoseconds, prices in quote currency.
"""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from engine.bars import IntArray, iso
from engine.errors import DataError, SettingsError, nearest_name
from feeds.gaps import Calendar, GapPolicy, Gaps, check_calendar, check_gap_policy, find_gaps, refuse_gaps
from feeds.tables import MEMORY, BarTable
from feeds.times import EARLIEST, LATEST, unit_of

BadRows = Literal["error", "drop"]


def prepare_table(table: BarTable, *, sort: bool = False, bad_rows: BadRows = "error") -> BarTable:
    """Return a table whose rows are bars, sorted by time.

    Args:
        sort: put rows into time order instead of refusing them. Two rows of one time are refused all the same.
        bad_rows: "drop" leaves out rows that cannot be a bar (NaN, high below the close, …), which makes gaps of them.
    Raises:
        DataError: names the file, the first bad row, its time and value, what was expected and the way out.
    """
    if bad_rows not in get_args(BadRows):
        raise SettingsError(
            f"bad_rows {bad_rows!r} is not known; expected error or drop{nearest_name(bad_rows, get_args(BadRows))}"
        )
    if bad_rows == "drop":
        impossible = impossible_rows(table)
        if impossible.any():
            table = table.take(~impossible)
    if not len(table):
        raise DataError(f"{table.name}: there are no rows; expected at least one bar; choose another file or range")
    check_values(table)
    if sort and not np.all(table.open_time[1:] > table.open_time[:-1]):
        table = table.take(np.argsort(table.open_time, kind="stable"))
    check_times(table)
    return table


def impossible_rows(table: BarTable) -> npt.NDArray[np.bool_]:
    """Say for each row whether its prices and volume cannot be those of a bar."""
    o, h, l, c, v = table.open, table.high, table.low, table.close, table.volume  # noqa: E741
    with np.errstate(invalid="ignore"):
        # Comparisons with NaN are false, and open and close lie between low and high, so that this one line covers
        # them all.
        possible = (h >= np.maximum(o, c)) & (l <= np.minimum(o, c)) & (l > 0) & (h < np.inf) & (v >= 0) & (v < np.inf)
    return ~possible


def check_values(table: BarTable) -> None:
    """Refuse prices and volumes that no bar can have: NaN, infinite, not positive, outside [low, high].

    Raises:
        DataError: for the first such row.
    """
    impossible = impossible_rows(table)
    if not impossible.any():
        return
    row = int(np.argmax(impossible))
    count = int(np.count_nonzero(impossible))
    more = f" ({count:,} such rows in all)" if count > 1 else ""
    raise DataError(
        f"{table.row_name(row)}, {iso(int(table.open_time[row]))}: {_what_is_wrong(table, row)}{more}; "
        f'correct the row, fetch the data again, or set bad_rows = "drop" to treat it as missing'
    )


def check_times(table: BarTable) -> None:
    """Refuse times that are out of order, doubled, overlapping, or not nanoseconds of our age.

    Raises:
        DataError: for the first such row.
    """
    opens, closes = table.open_time, table.close_times()
    _check_epoch(table)
    backwards = opens[1:] <= opens[:-1]
    if backwards.any():
        row = int(np.argmax(backwards)) + 1
        time, before = iso(int(opens[row])), iso(int(opens[row - 1]))
        if opens[row] == opens[row - 1]:
            raise DataError(
                f"{table.row_name(row)}: time {time} occurs twice, as in {table.row_word} "
                f"{table.row_number(row - 1):,}; expected one row per bar; remove one of them"
            )
        descending = " (all rows run backwards)" if np.all(opens[1:] < opens[:-1]) and len(opens) > 2 else ""
        raise DataError(
            f"{table.row_name(row)}: time {time} comes after {before} in {table.row_word} "
            f"{table.row_number(row - 1):,}{descending}; expected rows sorted by time; sort the data or set sort = true"
        )
    if table.close_time is not None:
        _check_spans(table, closes)
    overlapping = opens[1:] < closes[:-1]
    if overlapping.any():
        row = int(np.argmax(overlapping)) + 1
        raise DataError(
            f"{table.row_name(row)}: the bar of {iso(int(opens[row]))} opens before the one of "
            f"{iso(int(opens[row - 1]))} closes at {iso(int(closes[row - 1]))}; expected bars {table.stream.timeframe} "
            f"long that do not overlap; check the timeframe{_unit_hint(table)}"
        )


def check_grid(table: BarTable) -> None:
    """Refuse, on a market that never closes, bars that do not stand a whole number of timeframes apart.

    Raises:
        DataError: for the first row off the grid of the first row.
    """
    off = (table.open_time - table.open_time[0]) % table.duration != 0
    if off.any():
        row = int(np.argmax(off))
        raise DataError(
            f"{table.row_name(row)}: time {iso(int(table.open_time[row]))} is off the {table.stream.timeframe} grid "
            f"that {iso(int(table.open_time[0]))} began ({int(np.count_nonzero(off)):,} rows are); expected a whole "
            "number of bars "
            f'between two rows; check the timeframe, or set calendar = "sessions" if this market closes'
        )


def find_and_judge_gaps(table: BarTable, *, gap_policy: GapPolicy = "error", calendar: Calendar = "24/7") -> Gaps:
    """Return the gaps of a prepared table.

    Raises:
        DataError: there are gaps and the policy is "error".
    """
    check_gap_policy(gap_policy)
    check_calendar(calendar)
    if calendar == "24/7":
        check_grid(table)
    closes = table.close_times()
    gaps = find_gaps(table.stream, table.open_time, closes, calendar=calendar)
    if gap_policy == "error":
        origin = "" if table.origin == MEMORY else table.origin
        refuse_gaps(gaps, calendar=calendar, open_time=table.open_time, close_time=closes, origin=origin)
    return gaps


def modal_step(open_time: IntArray) -> int | None:
    """Return the most frequent distance between two neighbouring times, in nanoseconds; None with fewer than two."""
    steps = np.abs(np.diff(open_time))
    steps = steps[steps > 0]
    if not len(steps):
        return None
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def _what_is_wrong(table: BarTable, row: int) -> str:
    values = {name: float(getattr(table, name)[row]) for name in ("open", "high", "low", "close", "volume")}
    for name, value in values.items():
        if not np.isfinite(value):
            return f"{name} is {value}; expected a number"
    for name in ("open", "high", "low", "close"):
        if values[name] <= 0:
            return f"{name} is {values[name]}; expected a price above 0"
    for name in ("open", "close"):
        if values["high"] < values[name]:
            return f"high {values['high']} is below the {name} {values[name]}; expected the highest price of the bar"
    for name in ("open", "close"):
        if values["low"] > values[name]:
            return f"low {values['low']} is above the {name} {values[name]}; expected the lowest price of the bar"
    return f"volume is {values['volume']}; expected 0 or more"


def _check_epoch(table: BarTable) -> None:
    outside = (table.open_time < EARLIEST) | (table.open_time > LATEST)
    if outside.any() and (hint := _unit_hint(table)):
        row = int(np.argmax(outside))
        raise DataError(
            f"{table.row_name(row)}: time {int(table.open_time[row])} read as nanoseconds is "
            f"{iso(int(table.open_time[row]))}; expected UTC nanoseconds since 1970{hint}"
        )


def _unit_hint(table: BarTable) -> str:
    """Return a hint if the times look like another unit than nanoseconds, by their size and by their distance."""
    unit = unit_of(int(table.open_time[-1]))
    if unit is None or unit.nanoseconds == 1:
        return ""
    step = modal_step(table.open_time)
    if step is None and table.close_time is not None:
        step = int(table.close_time[0] - table.open_time[0])
    if step is None or step * unit.nanoseconds != table.duration:
        return ""
    return f"; these look like {unit.plural}, so multiply by {unit.nanoseconds:_}"


def _check_spans(table: BarTable, closes: IntArray) -> None:
    length = closes - table.open_time
    wrong = (length <= 0) | (length > table.duration)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{table.row_name(row)}: the bar runs from {iso(int(table.open_time[row]))} to {iso(int(closes[row]))}; "
            f"expected above 0 and at most {table.stream.timeframe}; check the timeframe{_unit_hint(table)}"
        )
