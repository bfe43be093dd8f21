"""Valid files of every format that Barcast reads, from a few rows; what the fuzzer damages.

A file of text begins as a grid of cells, an Arrow file as columns of values, so that cells, headers and types can be
damaged before there are bytes.
"""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
from pyarrow import feather, parquet

MINUTE = 60_000_000_000
TIMEFRAMES = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": 60 * MINUTE, "1d": 1440 * MINUTE}
UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

Row = tuple[int, float, float, float, float, float]
"""Open time (UTC ns), open, high, low, close, volume."""


@dataclass
class Draft:
    """A file in the making: cells (or values) under names, then bytes. Mutations change any of it."""

    name: str
    form: str
    names: list[str] | None
    rows: list[list[Any]]
    delimiter: str = ","
    newline: str = "\n"
    encoding: str = "utf-8"
    prefix: bytes = b""
    types: list[Any] = field(default_factory=list)
    content: bytes | None = None
    story: list[str] = field(default_factory=list)


def sample_rows(random: Random, timeframe: str, count: int) -> list[Row]:
    """Return rows that a market might have made, one timeframe apart."""
    step = TIMEFRAMES[timeframe]
    start = random.randrange(1_500_000_000, 1_800_000_000) * 1_000_000_000 // step * step
    rows, price = [], random.choice((0.00012, 1.5, 100.0, 64_000.0))
    for number in range(count):
        close = price * random.choice((1.0, 0.99, 1.01, 1.2))
        high, low = max(price, close) * random.choice((1.0, 1.02)), min(price, close) * random.choice((1.0, 0.98))
        rows.append((start + number * step, price, high, low, close, random.choice((0.0, 12.5, 1e9))))
        price = close
    return rows


def draft(form: str, random: Random) -> Draft:
    """Return a valid file of a format, as a draft."""
    timeframe = random.choice(list(TIMEFRAMES))
    rows = sample_rows(random, timeframe, random.choice((1, 2, 3, 7, 40)))
    stem = f"BTCUSDT-{timeframe}"
    match form:
        case "csv" | "csv.gz" | "csv.zip":
            return _text(form, stem, rows, random)
        case "klines" | "klines.zip":
            return _klines(form, stem, rows, TIMEFRAMES[timeframe], random)
        case "json":
            cells: list[list[Any]] = [[row[0] // 1_000_000, *row[1:]] for row in rows]
            return Draft(f"{stem}.json", form, None, cells)
        case "events":
            return _events(random)
    return _columns(form, stem, rows, random)


FORMS = ("csv", "csv.gz", "csv.zip", "klines", "klines.zip", "json", "parquet", "feather", "events")
"""The last are trades, quotes and funding rates: no bars, but the check of files has something to say of them."""


def content_of(made: Draft) -> bytes:
    """Return the bytes of a draft."""
    if made.content is not None:
        return made.content
    if made.form == "json":
        return made.prefix + json.dumps(made.rows, default=str).encode(errors="surrogatepass")
    if made.form in ("parquet", "feather"):
        return _arrow_bytes(made)
    lines = [made.delimiter.join(map(str, cells)) for cells in ([made.names] if made.names else []) + made.rows]
    text = "".join(f"{line}{made.newline}" for line in lines)
    data = made.prefix + text.encode(made.encoding, errors="surrogatepass" if "utf" in made.encoding else "replace")
    if made.form.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return zipped({f"{made.name.partition('.')[0]}.csv": data}) if made.form.endswith(".zip") else data


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of some files, the same bytes each time."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, text in members.items():
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, text)
    return data.getvalue()


def _text(form: str, stem: str, rows: list[Row], random: Random) -> Draft:
    written = random.choice(("Z", "+00:00", "s", "ms", "us", "ns"))
    names = random.choice(
        (
            ["time", "open", "high", "low", "close", "volume"],
            ["Open Time", "Open", "High", "Low", "Close", "Volume"],
            ["volume", "close", "low", "high", "open", "ts"],
            ["symbol", "date", "o", "h", "l", "c", "v"],
        )
    )
    fields = {"t": 0, "d": 0, "o": 1, "h": 2, "l": 3, "c": 4, "v": 5, "s": None}
    cells = []
    for row in rows:
        line: list[Any] = []
        for name in names:
            at = {"open time": 0, "ts": 0}.get(name.lower(), fields[name[0].lower()])
            line.append("BTC" if at is None else _time(row[0], written) if at == 0 else repr(row[at]))
        cells.append(line)
    suffix = {"csv": ".csv", "csv.gz": ".csv.gz", "csv.zip": ".zip"}[form]
    return Draft(f"{stem}{suffix}", form, list(names), cells, random.choice(",;\t|"), random.choice(("\n", "\r\n")))


def _klines(form: str, stem: str, rows: list[Row], step: int, random: Random) -> Draft:
    unit = UNITS[random.choice(("ms", "us"))]
    names = [
        "open_time",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "close_time",
        "quote_volume",
        "count",
        "taker_buy_volume",
        "taker_buy_quote_volume",
        "ignore",
    ]
    cells = [
        [str(row[0] // unit), *map(repr, row[1:]), str((row[0] + step) // unit - 1), "1.5", "3", "0.5", "0.5", "0"]
        for row in rows
    ]
    suffix = ".csv" if form == "klines" else ".zip"
    return Draft(f"{stem}-2024-01{suffix}", form, names if random.random() < 0.5 else None, cells)


def _columns(form: str, stem: str, rows: list[Row], random: Random) -> Draft:
    kind = random.choice(("ns", "us", "ms", "s", "int ms", "int s", "text"))
    names = [random.choice(("ts", "time", "open_time", "date")), "open", "high", "low", "close", "volume"]
    if kind == "text":
        times, type_ = [_time(row[0], "Z") for row in rows], pa.string()
    elif kind.startswith("int"):
        times, type_ = [row[0] // UNITS[kind[4:]] for row in rows], pa.int64()
    else:
        times, type_ = [row[0] // UNITS[kind] for row in rows], pa.timestamp(kind, tz="UTC")
    cells = [[time, *row[1:]] for time, row in zip(times, rows, strict=True)]
    return Draft(f"{stem}.{form}", form, names, cells, types=[type_, *[pa.float64()] * 5])


def _events(random: Random) -> Draft:
    names: list[str] = random.choice((["ts", "price", "amount", "id"], ["time", "bid", "ask"], ["ts", "funding_rate"]))
    cells = [
        [1_704_067_200_000 + 500 * number, *(random.choice((99.5, 100.0, 0.0001)) for _ in names[1:])]
        for number in range(random.choice((1, 2, 20)))
    ]
    types = [pa.int64(), *[pa.float64()] * (len(names) - 1)]
    return Draft("trades-BTCUSDT.parquet", "parquet", list(names), cells, types=types)


def _time(time: int, written: str) -> str:
    if written in UNITS:
        return str(time // UNITS[written])
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + written


def _arrow_bytes(made: Draft) -> bytes:
    """Return the file; a value that its column's type cannot take makes the column one of text."""
    arrays = []
    for place, type_ in enumerate(made.types):
        values = [row[place] if place < len(row) else None for row in made.rows]
        try:
            arrays.append(
                pa.array(values, pa.int64()).cast(type_) if pa.types.is_temporal(type_) else pa.array(values, type_)
            )
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            arrays.append(pa.array([None if value is None else str(value) for value in values]))
    table = pa.Table.from_arrays(arrays, names=made.names)
    sink = io.BytesIO()
    if made.form == "parquet":
        # As Arrow has it: Parquet itself has no seconds, and times far away fit into none of its units.
        parquet.write_table(table, sink, **_times_that_fit(table))
    else:
        feather.write_feather(table, sink, compression="lz4" if len(made.rows) % 2 else "uncompressed")
    return sink.getvalue()


def _times_that_fit(table: pa.Table) -> dict[str, Any]:
    try:
        parquet.write_table(table, io.BytesIO())
    except pa.ArrowException:
        return {"use_deprecated_int96_timestamps": True}
    return {}
