"""From Arrow columns to a table of bars: numbers, and times in every form files have them.

pyarrow is imported where it is used, so that the command line answers before it is loaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.bars import FloatArray, IntArray, Stream, Timeframe, iso
from engine.errors import DataError
from feeds.layout import FileLayout, find_columns, timeframe_of
from feeds.tables import BarTable
from feeds.times import check_unit, epoch_nanoseconds
from feeds.validation import modal_step

_ZONE = r"(\dZ|\dz|UTC|GMT|:\d\d(\.\d+)?[+-]\d\d(:?\d\d)?)$"


_COUNT = r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Rows:
    """Where rows come from, for messages: "btc.csv", the first one's number, and what a row is called there."""

    origin: str
    first_row: int = 1
    row_word: str = "row"

    def name(self, row: int) -> str:
        return f"{self.origin} {self.row_word} {self.first_row + row:,}"


def table_of_arrow(table: Any, symbol: str, timeframe: str | None, layout: FileLayout, rows: Rows) -> BarTable:
    """Return an Arrow table as unchecked bars.

    Raises:
        DataError: a column is missing, a cell is no number or no time, or times have no zone.
    """
    names = table.column_names
    places = find_columns(layout, names, rows.origin)
    if not table.num_rows:
        raise DataError(
            f"{rows.origin}: there are columns but no rows; expected at least one bar; fetch the data again"
        )
    columns = {field: [table.column(place) for place in where] for field, where in places.items()}
    return table_of_columns(
        columns, {field: names[where[0]] for field, where in places.items()}, symbol, timeframe, layout, rows
    )


def table_of_columns(
    columns: Mapping[str, list[Any]],
    names: Mapping[str, str],
    symbol: str,
    timeframe: str | None,
    layout: FileLayout,
    rows: Rows,
) -> BarTable:
    """Return Arrow columns, by field, as unchecked bars.

    Args:
        columns: one for each of the layout's fields, one or two for "time".
        names: what each is called in the file.
        timeframe: None finds it out from the most frequent distance between rows.
    """
    stamps = times_of(columns["time"], layout, rows)
    numbers = {field: numbers_of(columns[field][0], names[field], rows) for field in layout.fields}
    numbers.setdefault("volume", np.zeros(len(stamps)))
    timeframe = timeframe or infer_timeframe(stamps, rows.origin)
    duration = Timeframe.parse(timeframe).duration
    opens = stamps - duration if layout.stamp == "close" else stamps
    return BarTable(
        rows.origin,
        Stream(symbol, timeframe),
        opens,
        numbers["open"],
        numbers["high"],
        numbers["low"],
        numbers["close"],
        numbers["volume"],
        first_row=rows.first_row,
        row_word=rows.row_word,
    )


def numbers_of(column: Any, name: str, rows: Rows) -> FloatArray:
    """Return a column of numbers as float64; empty cells become NaN.

    Raises:
        DataError: names the first cell that is no number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):  # Arrow would take true for 1
        raise DataError(f"{rows.origin}: column {name} is of type bool; expected numbers; choose another column")
    if _is_text(column.type):
        column = pc.utf8_trim_whitespace(column)
    try:
        return floats_of(column)
    except pa.ArrowInvalid as problem:
        row = _first_failing(column, floats_of)
        raise DataError(
            f"{rows.name(row)}: column {name} is {_short(column, row)}; expected a number; correct or remove the row"
        ) from problem
    except pa.ArrowNotImplementedError as problem:
        raise DataError(
            f"{rows.name(0)}: column {name} is {_short(column, 0)}, of type {column.type}; expected a number; choose "
            "another column"
        ) from problem


def times_of(columns: list[Any], layout: FileLayout, rows: Rows) -> IntArray:
    """Return a column of times, or a date and a time of day, as UTC nanoseconds.

    Raises:
        DataError: names the first cell that is no time, or says that the zone is missing or mixed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = columns[0]
    if len(columns) == 2:
        column = pc.binary_join_element_wise(columns[0].cast(pa.string()), columns[1].cast(pa.string()), " ")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise DataError(f"{rows.name(row)}: there is no time; expected one in every row; correct or remove the row")
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _nanoseconds(column if kind.tz else _zoned(column, layout, rows), rows)
    if pa.types.is_date(kind):
        return _nanoseconds(_zoned(column.cast(pa.timestamp("s")), layout, rows), rows)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # Counts beyond int64 come as floats: they are refused with all others that are too large.
        return _counts(_whole_or_float(column) if pa.types.is_integer(kind) else floats_of(column), layout, rows)
    if _is_text(kind):
        return _written(pc.utf8_trim_whitespace(column), layout, rows)
    raise DataError(
        f"{rows.origin}: the time column is of type {kind}; expected times, counts since 1970 or text; choose another "
        "column"
    )


def floats_of(column: Any) -> FloatArray:
    """Return an Arrow column of numbers as float64; empty cells become NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())  # Arrow divides: 100.35 would be off by its last bit
    column = column.cast(pa.float64(), safe=False)
    return _buffer_of(pc.fill_null(column, float("nan")) if column.null_count else column, np.float64)


def integers_of(column: Any) -> IntArray:
    """Return an Arrow column of whole numbers or times, without empty cells, as int64."""
    import pyarrow as pa

    return _buffer_of(column.cast(pa.int64()), np.int64)


def infer_timeframe(stamps: IntArray, origin: str) -> str:
    """Return the timeframe that most rows stand apart.

    Raises:
        DataError: there are too few rows, or the distance is not whole seconds.
    """
    step = modal_step(stamps)
    timeframe = timeframe_of(step) if step else None
    if timeframe is None:
        found = (
            "fewer than two different times"
            if step is None
            else f"rows {step} ns apart, the first at {iso(int(stamps[0]))}"
        )
        raise DataError(
            f'{origin}: the timeframe cannot be told from {found}; expected whole seconds; say it: timeframe = "1h"'
        )
    return timeframe


def _buffer_of(column: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    # What Arrow's own to_numpy does, without its import of pandas (0.3 s). A copy, because what lies in Arrow's memory
    # is read-only, which numba takes for another type.
    array = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)].copy()


def _counts(counts: npt.NDArray[Any], layout: FileLayout, rows: Rows) -> IntArray:
    check_unit(layout.time_unit)
    return epoch_nanoseconds(
        counts, unit=layout.time_unit, origin=rows.origin, first_row=rows.first_row, row_word=rows.row_word
    )


def _written(column: Any, layout: FileLayout, rows: Rows) -> IntArray:
    """Return text as times: counts since 1970, or written dates."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if layout.time_format is None:
        counted = pc.match_substring_regex(column, _COUNT).to_numpy()
        if counted.all():
            return _counts(_whole_or_float(column), layout, rows)
        if counted.any():
            row = int(np.argmax(counted != counted[0]))
            raise DataError(
                f"{rows.name(row)}: time {_short(column, row)} is not of the form of the first, "
                f"{_short(column, 0)}; expected counts since 1970 in all rows or in none; correct the row"
            )
    zoned = pc.match_substring_regex(column, _ZONE).to_numpy()
    if layout.time_format is not None and "%z" not in layout.time_format:
        zoned = np.zeros(len(column), np.bool_)
    if zoned.any() and not zoned.all():
        row = int(np.argmax(zoned != zoned[0]))
        having, lacking = ("has a", "has none") if zoned[row] else ("has no", "has one")
        raise DataError(
            f"{rows.name(row)}: time {_short(column, row)} {having} timezone, but that of {rows.row_word} "
            f"{rows.first_row:,} ({_short(column, 0)}) {lacking}; expected a zone in all rows or in none; "
            "correct the file"
        )
    if layout.time_format is not None:
        return _by_format(column, layout, rows)
    if zoned.all():
        plain = pc.replace_substring_regex(column, r" ?(UTC|GMT|z)$", "Z")
        plain = pc.replace_substring_regex(plain, r"(:\d\d(?:\.\d+)?[+-]\d\d)$", r"\1:00")
        return _nanoseconds(_cast(plain, pa.timestamp("ns", tz="UTC"), column, rows), rows)
    return _nanoseconds(_zoned(_cast(column, pa.timestamp("ns"), column, rows), layout, rows), rows)


def _whole_or_float(column: Any) -> npt.NDArray[Any]:
    import pyarrow as pa

    try:
        return integers_of(column)
    except pa.ArrowInvalid:
        return floats_of(column)


def _cast(column: Any, kind: Any, shown: Any, rows: Rows) -> Any:
    import pyarrow as pa

    try:
        return column.cast(kind)
    except pa.ArrowInvalid as problem:
        row = _first_failing(column, lambda part: part.cast(kind))
        raise DataError(
            f"{rows.name(row)}: time {_short(shown, row)} is not understood; expected ISO 8601, such as "
            "2024-03-31T01:00Z, or a count since 1970; correct the row or set time_format"
        ) from problem


def _by_format(column: Any, layout: FileLayout, rows: Rows) -> IntArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        parsed = pc.strptime(column, format=layout.time_format, unit="us", error_is_null=True)
    except pa.ArrowInvalid as problem:
        raise DataError(f"{rows.origin}: time_format {layout.time_format!r} is not understood: {problem}") from problem
    if parsed.null_count:
        row = int(np.argmax(parsed.is_null().to_numpy()))
        raise DataError(
            f"{rows.name(row)}: time {_short(column, row)} does not have the form {layout.time_format}; "
            "correct the row or the time_format"
        )
    return _nanoseconds(
        parsed if parsed.type.tz or "%z" in str(layout.time_format) else _zoned(parsed, layout, rows), rows
    )


def _zoned(column: Any, layout: FileLayout, rows: Rows) -> Any:
    """Return naive times as times of the layout's zone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if layout.timezone is None:
        raise DataError(
            f"{rows.name(0)}: time {_short(column, 0)} has no timezone, so that the instant it means is unknown; "
            f'say which: timezone = "UTC" (or "America/New_York", …)'
        )
    try:
        return pc.assume_timezone(column, layout.timezone)
    except pa.ArrowInvalid as problem:
        if "database" in str(problem) or "locate" in str(problem).lower():
            raise DataError(
                f"{rows.origin}: timezone {layout.timezone!r} is not known; expected a name such as UTC or "
                "America/New_York"
            ) from problem
        row = _first_failing(column, lambda part: pc.assume_timezone(part, layout.timezone))
        raise DataError(
            f"{rows.name(row)}: time {_short(column, row)} occurs twice or never in {layout.timezone}, "
            "where the clocks change; expected an instant; export the file in UTC"
        ) from problem


def _first_failing(column: Any, convert: Callable[[Any], object]) -> int:
    """Return the first row that makes a conversion fail, given that some row does; halves are tried, not every row."""
    import pyarrow as pa

    first, end = 0, len(column)
    while end - first > 1:
        middle = (first + end) // 2
        try:
            convert(column.slice(first, middle - first))
            first = middle
        except pa.ArrowInvalid:
            end = middle
    return first


def _nanoseconds(column: Any, rows: Rows) -> IntArray:
    unit = column.type.unit
    return epoch_nanoseconds(
        integers_of(column), unit=unit, origin=rows.origin, first_row=rows.first_row, row_word=rows.row_word
    )


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _short(column: Any, row: int) -> str:
    """Return a cell for people: text in quotes, a time or a number plain."""
    try:
        value = column[row].as_py()
    except (ValueError, OverflowError):  # no Python type has room for it: a time far away, text that is not UTF-8
        return f"one that cannot be shown ({column.type})"
    text = repr(value if isinstance(value, (int, float, bytes)) else str(value))
    return text if len(text) <= 60 else f"{text[:60]}…"
