"""Times as files have them, into UTC nanoseconds: epoch counts in any unit, written dates, timezones.

The unit of a count is told by its size: read in the right unit, a time lies between 1973 and 2286, and in that span
the four units do not overlap. Anything else is refused, as are times in two units (Binance's dumps went from
milliseconds to microseconds on 2025-01-01).
"""

from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.bars import SECOND, IntArray, iso, nanoseconds
from engine.errors import DataError, SettingsError, nearest_name


class Unit(NamedTuple):
    """A unit in which time is counted."""

    name: str
    plural: str
    nanoseconds: int


UNITS = {
    "s": Unit("s", "seconds", 1_000_000_000),
    "ms": Unit("ms", "milliseconds", 1_000_000),
    "us": Unit("us", "microseconds", 1_000),
    "ns": Unit("ns", "nanoseconds", 1),
}

EARLIEST = 100_000_000 * SECOND  # 1973-03-03
LATEST = 9_200_000_000 * SECOND  # 2261-07-15; int64 nanoseconds end in 2262


def unit_of(time: float) -> Unit | None:
    """Return the unit in which the count is a time between 1973 and 2261, or None."""
    for unit in UNITS.values():
        if EARLIEST <= time * unit.nanoseconds <= LATEST:
            return unit
    return None


def check_unit(unit: str | None) -> None:
    """Refuse a unit that does not exist."""
    if unit is not None and unit not in UNITS:
        raise SettingsError(
            f"time_unit {unit!r} is not known; expected s, ms, us or ns{nearest_name(unit, tuple(UNITS))}"
        )


def epoch_nanoseconds(
    counts: npt.NDArray[np.int64] | npt.NDArray[np.float64],
    *,
    unit: str | None,
    origin: str,
    first_row: int = 1,
    row_word: str = "row",
) -> IntArray:
    """Return counts since 1970 as UTC nanoseconds.

    Args:
        unit: s, ms, us or ns; None tells it by size.
    Raises:
        DataError: a count is no number, the unit cannot be told, is mixed, or the one given puts times outside 1973 …
            2261.
    """
    if not len(counts):
        return np.empty(0, np.int64)
    finite = np.isfinite(counts)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"{origin} {row_word} {first_row + row:,}: time is {counts[row]}; expected a count since 1970; correct or "
            "remove the row"
        )
    chosen = UNITS[unit] if unit is not None else _unit_by_size(counts, origin, first_row, row_word)
    early, late = EARLIEST / chosen.nanoseconds, LATEST / chosen.nanoseconds
    outside = (counts < early) | (counts > late)
    if outside.any():
        row = int(np.argmax(outside))
        actual = unit_of(float(counts[row]))
        hint = (
            f'it looks like {actual.plural}: set time_unit = "{actual.name}"'
            if actual
            else "correct the row or choose another time column"
        )
        raise DataError(
            f"{origin} {row_word} {first_row + row:,}: time {_number(counts[row])} taken for {chosen.plural} is "
            f"{_far_date(float(counts[row]) * chosen.nanoseconds)}; expected 1973 to 2261; {hint}"
        )
    if counts.dtype.kind in "iu":
        return counts.astype(np.int64) * chosen.nanoseconds
    whole = np.floor(counts)
    # A float of seconds has room for a quarter of a microsecond, so finer digits are noise.
    fraction = (
        np.rint((counts - whole) * chosen.nanoseconds / 1000) * 1000 if chosen.nanoseconds >= 1000 else counts - whole
    )
    return whole.astype(np.int64) * chosen.nanoseconds + fraction.astype(np.int64)


def instant(moment: "datetime | int | None") -> int | None:
    """Return a time given as an aware datetime or as UTC nanoseconds as nanoseconds; None stays None."""
    return nanoseconds(moment) if isinstance(moment, datetime) else moment


def _unit_by_size(
    counts: npt.NDArray[np.int64] | npt.NDArray[np.float64], origin: str, first_row: int, row_word: str
) -> Unit:
    units = [
        unit
        for unit in UNITS.values()
        if np.any((counts >= EARLIEST / unit.nanoseconds) & (counts <= LATEST / unit.nanoseconds))
    ]
    if len(units) > 1:
        unit = unit_of(float(counts[0]))
        other = next(i for i, count in enumerate(counts) if unit_of(float(count)) != unit)
        found, then = (unit.plural if unit else "no unit"), unit_of(float(counts[other]))
        raise DataError(
            f"{origin} {row_word} {first_row + other:,}: time {_number(counts[other])} is in "
            f"{then.plural if then else 'no known unit'}, but {row_word} {first_row:,} ({_number(counts[0])}) is in "
            f"{found}; expected one unit; split the file where the unit changes and read the parts one by one"
        )
    if not units:
        raise DataError(
            f"{origin} {row_word} {first_row:,}: time {_number(counts[0])} is not a count since 1970 in any unit; "
            "expected seconds, milli-, micro- or nanoseconds of 1973 to 2261; choose another time column"
        )
    return units[0]


def _number(count: float) -> str:
    return str(int(count)) if float(count).is_integer() else str(count)


def _far_date(nanoseconds: float) -> str:
    year = 1970 + nanoseconds / (365.2425 * 86_400 * SECOND)
    return iso(int(nanoseconds)) if 1 <= year < 9_999 else f"the year {year:,.0f}"
