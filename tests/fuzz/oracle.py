"""What a file of text says, by a small parser that shares nothing with Barcast's, and the law that all bars obey."""

import csv
import gzip
import io
import json
import math
import re
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.fuzz.files import UNITS, Row

NAMES = (
    ("opentime", "ts", "timestamp", "time", "datetime", "date"),
    ("open", "o"),
    ("high", "h"),
    ("low", "l"),
    ("close", "c"),
    ("volume", "v"),
)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
COUNT = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
WRITTEN = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(\.\d{1,9})?)? ?(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)", re.ASCII
)
EARLIEST, LATEST = 100_000_000 * 10**9, 9_200_000_000 * 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows_of(content: bytes, name: str, *, is_json: bool) -> list[Row] | None:
    """Return the rows in the order of the file; None for what this parser does not understand."""
    try:
        return _rows_of_json(content) if is_json else _rows_of_text(_unwrapped(content, name))
    except Exception:  # noqa: BLE001  whatever it stumbles over, it does not understand the file
        return None


def is_bar(row: Row) -> bool:
    """Return whether the numbers of a row can be those of a bar."""
    _, o, h, l, c, v = row  # noqa: E741
    return all(map(math.isfinite, row[1:])) and 0 < l <= min(o, c) and h >= max(o, c) and v >= 0


def broken_law(opens: list[int], closes: list[int], rows: list[Row]) -> str:
    """Return which law of bars is broken; "" if none is."""
    if not rows:
        return "there are no bars"
    if any(later <= earlier for earlier, later in pairwise(opens)):
        return "open times do not rise"
    if any(later < earlier for earlier, later in zip(closes, opens[1:], strict=False)):
        return "bars overlap"
    if any(close <= open_ for open_, close in zip(opens, closes, strict=True)):
        return "a bar closes before it opens"
    if not EARLIEST - 10**18 <= opens[0] <= closes[-1] <= 2**63 - 1:
        return "times are not of our age"
    wrong = next((row for row in rows if not is_bar(row)), None)
    return f"no bar is like {wrong}" if wrong else ""


def _unwrapped(content: bytes, name: str) -> bytes:
    if content.startswith(b"PK\x03\x04") or name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            [name] = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
            return archive.read(name)
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def _rows_of_text(data: bytes) -> list[Row]:
    text = data.decode("utf-8-sig", errors="replace")  # columns that are not read may hold anything
    lines = re.split(r"\r\n|\n|\r", text)
    while not lines[0].strip():
        del lines[0]
    delimiter = max(",;\t|", key=lines[0].count)
    cells = [line for line in csv.reader([line + "\n" for line in lines], delimiter=delimiter, strict=True) if line]
    has_names = not any(cell.strip()[:1] in {*"0123456789+-."} for cell in cells[0])
    places: list[int] = list(range(6))
    if has_names:
        names = [re.sub(r"[\s_<>\"']", "", name).lower() for name in cells.pop(0)]
        places = []
        for usual in NAMES:
            found = next(name for name in usual if name in names) if any(name in names for name in usual) else ""
            places.append(names.index(found))
    if any(len(line) != len(cells[0]) for line in cells):
        raise ValueError
    return _rows([[line[places[0]], *(_number(line[place]) for place in places[1:])] for line in cells], unit=None)


def _rows_of_json(content: bytes) -> list[Row]:
    cells = json.loads(content)
    for row in cells:
        if len(row) != 6 or any(type(cell) not in (int, float, type(None)) for cell in row):
            raise ValueError
    return _rows([[row[0], *(math.nan if cell is None else float(cell) for cell in row[1:])] for row in cells], "ms")


def _number(cell: str) -> float:
    cell = cell.strip()
    if cell in ("", "NA", "null", "None"):
        return math.nan
    if not NUMBER.fullmatch(cell):
        raise ValueError(cell)
    return float(cell)


def _rows(lines: list[list[Any]], unit: str | None) -> list[Row]:
    stamps = [str(line[0]).strip() for line in lines]
    if all(COUNT.fullmatch(stamp) for stamp in stamps):
        counts = [Decimal(stamp) for stamp in stamps]
        fitting = [name for name in UNITS if all(EARLIEST <= count * UNITS[name] <= LATEST for count in counts)]
        times = [int(count * UNITS[unit or fitting[0]]) for count in counts]
    else:
        times = [_moment(stamp) for stamp in stamps]
    return [(time, *line[1:]) for time, line in zip(times, lines, strict=True)]  # type: ignore[misc]


def _moment(stamp: str) -> int:
    found = WRITTEN.fullmatch(stamp)
    if not found:
        raise ValueError(stamp)
    day, clock, fraction, zone = found.groups()
    zone = "+00:00" if zone in ("Z", "z", "UTC", "GMT") else zone if len(zone) > 3 else f"{zone}:00"
    moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}")
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + int((fraction or ".0")[1:].ljust(9, "0"))
