"""Ways to damage a file: its cells, its header, its types, its wrapping, its bytes. Each takes a draft and chance."""

import gzip
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any

import pyarrow as pa

from tests.fuzz.files import Draft, content_of, zipped

CELLS: tuple[Any, ...] = (
    "",
    " ",
    "NA",
    "null",
    "None",
    "nan",
    "NaN",
    "-nan",
    "inf",
    "-inf",
    "Infinity",
    "1e400",
    "-1e400",
    "1e-400",
    "0",
    "-0.0",
    "-1",
    "0x1F",
    "0x1p3",
    "1,5",
    "1.234,5",
    "1 000",
    "1'000",
    "1_000",
    "١٢٣",
    "１２",
    "½",
    "1.5.2",
    "1e",
    "--1",
    "+1",
    " 1.5 ",
    "1.5\0",
    "true",
    "True",
    "=1+1",
    '"',
    '"unclosed',
    'a"b',
    "'1'",
    "9" * 30,
    "9" * 400,
    "1" + "0" * 308,
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "4503599627370497.5",
    "1704067200",
    "1704067200000",
    "1704067200000000",
    "1704067200000000000",
    "1704067200.25",
    "1.7040672e9",
    "-1704067200",
    "1969-12-31T23:59:59Z",
    "1700-01-01T00:00Z",
    "2300-01-01T00:00Z",
    "9999-12-31T23:59:59Z",
    "10000-01-01T00:00Z",
    "0000-00-00T00:00Z",
    "2024-02-30T00:00Z",
    "2024-01-01",
    "2024-01-01T00:00",
    "2024-01-01T00:00+05:30",
    "2024-01-01T00:00:60Z",
    "2024-01-01T24:00Z",
    "2024-01-01 00:00:00 UTC",
    "2024-01-01T00:00:00.123456789Z",
    "01.02.2024",
    "20240101",
    "é",
    "漢字",
    "\u202e1.5",
    "\ud800",
    "x" * 5_000,
    "\r",
    "a\nb",
    "\t",
    ";",
    "|",
)
VALUES: tuple[Any, ...] = (
    None,
    float("nan"),
    float("inf"),
    -float("inf"),
    0,
    -1,
    -0.0,
    1e308,
    5e-324,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    2**63,
    2**64 - 1,
    10**30,
    10**400,
    True,
    False,
    "1.5",
    "x",
    "",
    "1_000",
    [],
    [1],
    {},
    {"a": 1},
    1704067200,
    1704067200000,
    1704067200000000,
    1704067200000000000,
    -1,
    1.7e9 + 0.5,
    "2024-01-01T00:00Z",
)
TYPES: tuple[Any, ...] = (
    pa.int8(),
    pa.int64(),
    pa.uint64(),
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.bool_(),
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.date32(),
    pa.date64(),
    pa.time64("ns"),
    pa.duration("s"),
    pa.decimal128(38, 10),
    pa.null(),
    pa.timestamp("s"),
    pa.timestamp("ns"),
    pa.timestamp("s", "UTC"),
    pa.timestamp("ms", "Asia/Kolkata"),
    pa.list_(pa.float64()),
    pa.struct([("a", pa.int64())]),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.float64()),
)
HEADS = (
    "",
    "time",
    "Time",
    "open",
    "close",
    "volume",
    "ts",
    "<DATE>",
    "\ufeffopen",
    "open\0",
    "é" * 40,
    "123",
    '"open"',
)


def damaged(made: Draft, ways: list[str], seed: int) -> bytes:
    """Return the bytes of a draft after some damage, each way with chance of its own."""
    for number, way in enumerate(ways):
        made.story.append(way)
        WAYS[way](made, Random(f"{seed} {number} {way}"))
    return content_of(made)


def _cell(made: Draft, random: Random) -> None:
    if made.rows:
        row = random.choice(made.rows)
        if row:
            pool = VALUES if made.form in ("json", "parquet", "feather") else CELLS
            row[random.randrange(len(row))] = random.choice(pool)


def _same_cell_everywhere(made: Draft, random: Random) -> None:
    pool = VALUES if made.form in ("json", "parquet", "feather") else CELLS
    value, place = random.choice(pool), random.randrange(6)
    for row in made.rows:
        if place < len(row):
            row[place] = value


def _scale_times(made: Draft, random: Random) -> None:
    """Turn the times of some rows into another unit, as if two files had been put together."""
    factor = random.choice((1_000, 1_000_000, Fraction(1, 1_000), 1_000_000_000, -1, 0))
    for row in made.rows[random.randrange(len(made.rows) + 1) :]:
        for place, cell in enumerate(row):
            if str(cell).isdecimal() and len(str(cell)) >= 10:
                row[place] = type(cell)(int(Fraction(str(cell)) * factor))


def _rows(made: Draft, random: Random) -> None:
    if not made.rows:
        return
    place = random.randrange(len(made.rows))
    match random.randrange(7):
        case 0:
            made.rows.insert(place, list(made.rows[place]))
        case 1:
            del made.rows[place]
        case 2:
            made.rows.reverse()
        case 3:
            random.shuffle(made.rows)
        case 4:
            made.rows.clear()
        case 5:
            made.rows[place] = made.rows[place][: random.randrange(len(made.rows[place]) + 1)]
        case 6 if made.form not in ("parquet", "feather"):
            made.rows.insert(place, [])


def _columns(made: Draft, random: Random) -> None:
    if not made.names:
        return
    place = random.randrange(len(made.names))
    match random.randrange(4):
        case 0:
            made.names[place] = random.choice(HEADS)
        case 1:
            made.names[place] = random.choice(made.names)
        case 2:
            del made.names[place]
            made.types[place : place + 1] = []
            for row in made.rows:
                del row[place : place + 1]
        case 3:
            made.names.append(random.choice(made.names))
            if made.types:
                made.types.append(random.choice(made.types))
            for row in made.rows:
                row.append(row[0] if row else "")


def _type(made: Draft, random: Random) -> None:
    if made.types:
        made.types[random.randrange(len(made.types))] = random.choice(TYPES)


def _form(made: Draft, random: Random) -> None:
    match random.randrange(6):
        case 0:
            made.newline = random.choice(("\r", "\r\n", "\n", "\n\n", "\r\r\n", "\x0b", "\u2028", " \n"))
        case 1:
            made.delimiter = random.choice((",", ";", "\t", "|", " ", ", ", ",,", ":", "\x1f"))
        case 2:
            made.encoding = random.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8"))
        case 3:
            made.prefix = random.choice(
                (
                    b"\xef\xbb\xbf",
                    b"\n\n\n",
                    b"\r\n \r\n",
                    b"# comment\n",
                    b"\0",
                    b"PK\x03\x04",
                    b"\x1f\x8b",
                    b"PAR1",
                    b"ARROW1",
                    b"[",
                    b"sep=,\n",
                    b" ",
                    b"\xef\xbb\xbf\n",
                )
            )
        case 4:
            made.rows = [[f'"{cell}"' if isinstance(cell, str) else cell for cell in row] for row in made.rows]
        case 5:
            made.names = None if made.form not in ("parquet", "feather") else made.names


def _name(made: Draft, random: Random) -> None:
    made.name = random.choice(
        (
            "BTCUSDT-1h.csv",
            "a.csv",
            "a.parquet",
            "a.feather",
            "a.json",
            "a.zip",
            "a.gz",
            "a",
            "BTC-99999999999999w.csv",
            "BTC-9999w.json",
            "BTC-1s.csv",
            "BTC-0m.csv",
            "BTC-1M.csv",
            "漢字-1h.csv",
            "a b-1h.csv.gz",
            "x" * 200 + "-1h.csv",
        )
    )


def _flip(made: Draft, random: Random) -> None:
    content = bytearray(content_of(made))
    for _ in range(random.choice((1, 1, 3, 30)) if content else 0):
        content[random.randrange(len(content))] = random.randrange(256)
    made.content = bytes(content)


def _cut(made: Draft, random: Random) -> None:
    content = content_of(made)
    made.content = content[: random.randrange(len(content) + 1)]


def _splice(made: Draft, random: Random) -> None:
    content = content_of(made)
    first, second = sorted((random.randrange(len(content) + 1), random.randrange(len(content) + 1)))
    match random.randrange(4):
        case 0:
            made.content = content[:first] + content[second:]
        case 1:
            made.content = content[:second] + content[first:]
        case 2:
            made.content = content[:first] + random.randbytes(random.choice((1, 4, 64))) + content[first:]
        case 3:
            made.content = content[:first] + bytes(second - first) + content[second:]


def _wrap(made: Draft, random: Random) -> None:
    content = content_of(made)
    match random.randrange(8):
        case 0:
            made.content = gzip.compress(content, mtime=0)
        case 1:
            made.content = zipped({"a.csv": content})
        case 2:
            made.content = zipped({"a.csv": content, "b.csv": content})
        case 3:
            made.content = zipped({"/etc/absolute.csv": content})
        case 4:
            made.content = zipped({"../../up.csv": content})
        case 5:
            made.content = zipped({"a.csv": content}, random.choice((0, 12, 14)))
        case 6:
            made.content = zipped({"a\udc80\n.csv".encode(errors="replace").decode(): content, "__MACOSX/a": b""})
        case 7:
            made.content = content + content


WAYS: dict[str, Callable[[Draft, Random], None]] = {
    "cell": _cell,
    "column of one value": _same_cell_everywhere,
    "units": _scale_times,
    "rows": _rows,
    "columns": _columns,
    "type": _type,
    "form": _form,
    "name": _name,
    "flip": _flip,
    "cut": _cut,
    "splice": _splice,
    "wrap": _wrap,
}
