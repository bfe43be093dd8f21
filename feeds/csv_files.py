"""Text files with one bar a line: any delimiter, with or without a header, plain, gzipped or zipped."""

import csv
import gzip
import io
import lzma
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from engine.errors import DataError
from feeds.arrow import Rows, table_of_columns
from feeds.disk import bytes_of
from feeds.layout import BINANCE_COLUMNS, PLAIN_COLUMNS, FileLayout, find_columns
from feeds.tables import BarTable

_LONGEST_LINE = 10_000

_SMALL = 1 << 26
"""Bytes that may always come out of a compressed file."""
_MOST_TIMES_LARGER = 200
"""How many times larger than its compressed file a text may be beyond that. Bars come out 3 to 40 times larger, for
each line has a time of its own; what grows a thousandfold is one letter repeated, made to fill the memory."""

_BROKEN_ZIP = (
    zipfile.BadZipFile, EOFError, OSError, ValueError, OverflowError, zlib.error, lzma.LZMAError, struct.error,
    RuntimeError, NotImplementedError,
)
"""What zipfile raises for a damaged archive; it trusts the sizes, places and names that it finds there."""


def read_csv(path: Path, symbol: str, timeframe: str | None, layout: FileLayout) -> BarTable:
    """Return the rows of a CSV file, of a gzipped one, or of the one CSV file inside a zip, unchecked.

    Raises:
        DataError: the file is not text, is cut off, has no rows, or has a line of another length.
    """
    return table_of_text(_text_of(path), str(path), symbol, timeframe, layout)


def table_of_text(text: bytes, origin: str, symbol: str, timeframe: str | None, layout: FileLayout) -> BarTable:
    """Return the rows of the text of a CSV file, unchecked."""
    body, skipped = _body(text, layout.skip_lines, origin)
    first = _first_line(body, origin)
    delimiter = layout.delimiter or _delimiter(first)
    cells = first.split(delimiter) if '"' not in first else _quoted_cells(first, delimiter, origin)
    has_header = layout.header if layout.header is not None else not any(_begins_like_data(cell) for cell in cells)
    names = _column_names(cells, has_header, layout, origin)
    places = find_columns(layout, names, origin)
    rows = Rows(origin, skipped + (2 if has_header else 1), "line")
    table = _parse(body, delimiter, has_header, names, places, rows)
    if not table.num_rows:
        raise DataError(f"{origin}: there is a header but no rows; expected at least one bar; fetch the file again")
    columns = {field: [table.column(str(place)) for place in where] for field, where in places.items()}
    return table_of_columns(
        columns, {field: names[where[0]] for field, where in places.items()}, symbol, timeframe, layout, rows
    )


def _parse(
    body: bytes, delimiter: str, has_header: bool, names: list[str], places: dict[str, tuple[int, ...]], rows: Rows
) -> Any:
    """Return an Arrow table of the needed columns, called by their place: times as text, the rest as numbers where
    they are."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    def read(number: Any) -> Any:
        kinds = {str(place): pa.string() if field == "time" else number for field, at in places.items() for place in at}
        return arrow_csv.read_csv(
            pa.BufferReader(body),
            arrow_csv.ReadOptions(
                skip_rows=int(has_header), column_names=[str(place) for place in range(len(names))]
            ),
            arrow_csv.ParseOptions(delimiter=delimiter),
            arrow_csv.ConvertOptions(
                include_columns=list(kinds),
                column_types=kinds,
                strings_can_be_null=False,
                null_values=["", "NA", "null", "None"],
            ),
        )

    if b'"' in body:
        _check_quotes(body, delimiter, rows.first_row - int(has_header), rows.origin)
    try:
        return read(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        _check_lengths(body, delimiter, len(names), rows.first_row - int(has_header), rows.origin)
    try:
        return read(pa.string())  # a cell is no number; it is named later
    except (pa.ArrowInvalid, pa.ArrowKeyError) as problem:
        raise DataError(
            f"{rows.origin}: the file cannot be read as text with one bar a line ({problem}); fetch it again"
        ) from problem


def _check_quotes(body: bytes, delimiter: str, first_line: int, origin: str) -> None:
    """Refuse a quotation mark that opens a cell and does not close it in its line: every line up to the next such mark
    would be taken for text in that cell, and its bar be lost."""
    between = re.escape(delimiter)
    cell = rf'(?:"(?:[^"]|"")*+"[^{between}]*|[^"{between}][^{between}]*|)'
    whole = re.compile(rf"{cell}(?:{between}{cell})*".encode())
    for number, line in enumerate(re.split(rb"\r\n|\n|\r", body), first_line):
        if b'"' in line and not whole.fullmatch(line):
            raise DataError(
                f"{origin} line {number:,}: a quotation mark opens a cell that does not end in this line: "
                f"{line.decode(errors='replace')[:80]!r}; correct the line"
            )


def _check_lengths(body: bytes, delimiter: str, expected: int, first_line: int, origin: str) -> None:
    """Refuse the first line that has more or fewer cells than the others should have."""
    lines = csv.reader(io.StringIO(body.decode("utf-8", errors="replace"), newline=""), delimiter=delimiter)
    try:
        for cells in lines:
            if cells and len(cells) != expected:
                shown = delimiter.join(cells)[:80]
                raise DataError(
                    f"{origin} line {lines.line_num + first_line - 1:,}: there are {len(cells)} cells; expected "
                    f"{expected}: {shown!r}; correct the line or fetch the file again"
                )
    except csv.Error as problem:
        raise DataError(
            f"{origin} line {lines.line_num + first_line - 1:,}: the line is not understood ({problem}); correct it"
        ) from problem


def _text_of(path: Path) -> bytes:
    data = bytes_of(path)
    if data.startswith(b"PK\x03\x04") or path.suffix.lower() == ".zip":
        return _unzipped(data, str(path))
    if data.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                return _limited(file, len(data), str(path))
        except (OSError, EOFError, zlib.error, struct.error) as problem:
            raise DataError(f"{path}: the gzip file is damaged or cut off ({problem}); fetch it again") from problem
    return data


def _limited(file: IO[bytes] | gzip.GzipFile, compressed: int, origin: str) -> bytes:
    """Return what is in a compressed file, unless that would be far more than bars can be."""
    most = max(_SMALL, _MOST_TIMES_LARGER * compressed)
    text = file.read(most + 1)
    if len(text) > most:
        raise DataError(
            f"{origin}: {compressed:,} bytes unpack to more than {most:,}; expected bars, which unpack to at most "
            f"{_MOST_TIMES_LARGER} times their size; unpack the file and look at it"
        )
    return text


def _unzipped(data: bytes, origin: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [
                name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")
            ]
            if len(members) != 1:
                raise DataError(
                    f"{origin}: the zip holds {len(members)} files ({', '.join(members[:5])}); expected one CSV file; "
                    "unpack it and read the files one by one"
                )
            with archive.open(members[0]) as file:
                return _limited(file, len(data), origin)
    except _BROKEN_ZIP as problem:
        raise DataError(
            f"{origin}: the zip file is damaged or cut off ({str(problem)[:200]}); fetch it again"
        ) from problem


def _body(text: bytes, skip_lines: int, origin: str) -> tuple[bytes, int]:
    """Return the text from its first line that says something, and how many lines were skipped."""
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{origin}: the file is UTF-16 text; expected UTF-8; save it again as UTF-8")
    body = text.removeprefix(b"\xef\xbb\xbf")
    skipped = start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = end if end >= 0 else len(body)
        if skipped >= skip_lines and not body[start : min(end, start + _LONGEST_LINE)].isspace() and end > start:
            break
        start = end + 1
        skipped += 1
    body = body[start:]
    if not body or body.isspace():
        raise DataError(f"{origin}: the file is empty; expected one bar a line; fetch it again")
    return body, skipped


def _first_line(body: bytes, origin: str) -> str:
    line = re.split(rb"[\r\n]", body[:_LONGEST_LINE], maxsplit=1)[0]
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"{origin}: the file is not UTF-8 text (it has the byte {line[problem.start]:#04x}); expected one bar a "
            "line; check which file this is, or save it again as UTF-8"
        ) from problem
    if "\0" in text:
        raise DataError(f"{origin}: the file is binary; expected text with one bar a line; check which file this is")
    return text


def _quoted_cells(line: str, delimiter: str, origin: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as problem:
        raise DataError(f"{origin}: the first line is not understood ({problem}); expected column names") from problem


def _delimiter(line: str) -> str:
    counts = {delimiter: line.count(delimiter) for delimiter in (",", ";", "\t", "|")}
    return max(counts, key=counts.__getitem__)


def _begins_like_data(cell: str) -> bool:
    """Say whether a cell of the first line is a number or a date, as no name of a column is."""
    return cell.strip().strip('"')[:1] in {*"0123456789-+."}


def _column_names(cells: list[str], has_header: bool, layout: FileLayout, origin: str) -> list[str]:
    if has_header:
        return [cell.strip() or f"column {place}" for place, cell in enumerate(cells)]
    if len(cells) == len(BINANCE_COLUMNS):
        return list(BINANCE_COLUMNS)
    if len(cells) in (len(PLAIN_COLUMNS), len(PLAIN_COLUMNS) - 1):
        return list(PLAIN_COLUMNS)[: len(cells)]
    if isinstance(layout.open, int):
        return [f"column {place}" for place in range(len(cells))]
    raise DataError(
        f"{origin}: there is no header and there are {len(cells)} columns; expected 6 (time, open, high, low, close, "
        "volume) or the 12 of Binance; say the columns in the layout by place (time = 0, open = 1, …)"
    )
