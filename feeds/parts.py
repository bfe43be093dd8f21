"""The Parquet files of one stream of a catalog: one for each year, written once under a name that holds their
content's hash."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from engine.bars import MINUTE, Bars, FloatArray, IntArray, Stream, Timeframe
from engine.errors import DataError
from feeds.arrow import floats_of, integers_of
from feeds.chunks import no_bars
from feeds.fingerprints import digest_of
from feeds.storage import Storage
from feeds.tables import BarTable
from feeds.validation import impossible_rows

ROW_GROUP = 65_536
_USUAL_FOOTER = 1 << 16
"""Bytes to read at the end of a file to have its footer at once."""
_PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Part:
    """One file: its name under the catalog's root, how many rows it has, and the span they cover (UTC nanoseconds).

    `footer` is a hash of the file's footer, which says where and how everything in it lies; the pages themselves carry
    checksums. Together they tell a damaged or exchanged file from the one that was written, without reading it whole.
    "" in a catalog that was made before there were any.
    """

    name: str
    rows: int
    first_open: int
    last_close: int
    footer: str = ""

    @property
    def period(self) -> str:
        """The year, or year and month, that the file is for."""
        return re.split(r"-(?=[0-9a-f]{16}\.)", self.name.rpartition("/")[2])[0]


def periods_of(open_time: IntArray, timeframe: str) -> list[tuple[str, slice]]:
    """Return the rows that belong into each file: by year, or by month for bars shorter than a minute."""
    unit = "Y" if Timeframe.parse(timeframe).duration >= MINUTE else "M"
    periods = open_time.astype("datetime64[ns]").astype(f"datetime64[{unit}]")
    first = np.flatnonzero(np.append(True, periods[1:] != periods[:-1]))
    ends = np.append(first[1:], len(periods))
    return [(str(periods[start]), slice(int(start), int(end))) for start, end in zip(first, ends, strict=True)]


def write_part(storage: Storage, folder: str, period: str, bars: Bars) -> Part:
    """Write the bars of one period, unless a file with this content is there already."""
    import pyarrow as pa
    from pyarrow import parquet

    name = f"{folder}/{period}-{digest_of(bars)[:16]}.parquet"
    instant = pa.timestamp("ns", tz="UTC")
    columns = {
        "open_time": pa.array(bars.open_time).cast(instant),
        "close_time": pa.array(bars.close_time).cast(instant),
    }
    table = pa.table({**columns, **{field: getattr(bars, field) for field in _PRICES}})
    with storage.replacing(name) as file:
        # Prices repeat, so a dictionary and zstd take 16 bytes a bar; reading is no slower than of plain columns (1 M
        # bars: 40 ms).
        parquet.write_table(
            table,
            file,
            row_group_size=ROW_GROUP,
            compression="zstd",
            use_dictionary=list(_PRICES),
            column_encoding={"open_time": "DELTA_BINARY_PACKED", "close_time": "DELTA_BINARY_PACKED"},
            write_page_checksum=True,
        )
    return Part(name, len(bars), int(bars.open_time[0]), int(bars.close_time[-1]), _footer_of(storage, name))


def read_part(storage: Storage, part: Part, stream: Stream) -> Bars:
    """Return all rows of a file."""
    return next(read_batches(storage, part, stream, batch_rows=part.rows), no_bars((stream,)))


def read_batches(
    storage: Storage, part: Part, stream: Stream, *, batch_rows: int, start: int | None = None, end: int | None = None
) -> Iterator[Bars]:
    """Yield the rows of a file, some at a time.

    Args:
        start, end: only bars that open at or after `start` and close at or before `end`, UTC nanoseconds. Row groups
            outside, by their statistics, are not read.
    """
    with _opened(storage, part) as file:
        groups = _groups_between(file, start, end)
        for batch in file.iter_batches(batch_size=batch_rows, row_groups=groups, use_threads=False) if groups else ():
            bars = _bars_of(batch, stream)
            _check_bars(bars, part, storage)
            first = 0 if start is None else int(np.searchsorted(bars.open_time, start))
            last = len(bars) if end is None else int(np.searchsorted(bars.close_time, end, side="right"))
            if first < last:
                yield bars[first:last]


def read_times(storage: Storage, part: Part) -> tuple[IntArray, IntArray]:
    """Return the open and close times of a file, int64 [rows]; prices are not read."""
    with _opened(storage, part) as file:
        table = file.read(columns=["open_time", "close_time"], use_threads=False)
        opens, closes = integers_of(table.column("open_time")), integers_of(table.column("close_time"))
    if not part.footer and not _are_times_of(part, opens, closes):
        raise _not_as_imported(storage, part)
    return opens, closes


def read_field(storage: Storage, part: Part, field: str) -> FloatArray:
    """Return one column of prices or volume, float64 [rows]."""
    with _opened(storage, part) as file:
        return floats_of(file.read(columns=[field], use_threads=False).column(field))


@contextmanager
def _opened(storage: Storage, part: Part) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        is_same = not part.footer or _footer_of(storage, part.name) == part.footer
        with parquet.ParquetFile(
            storage.open(part.name), pre_buffer=False, page_checksum_verification=True
        ) as file:
            if not is_same or file.metadata.num_rows != part.rows:
                raise _not_as_imported(storage, part)
            yield file
    except FileNotFoundError as problem:
        raise DataError(
            f"{storage.root}/{part.name}: the file is gone; expected {part.rows:,} rows; if an import ran just now, "
            "start again; else import the data anew"
        ) from problem
    except (pa.ArrowException, OSError, KeyError, ValueError) as problem:
        raise DataError(
            f"{storage.root}/{part.name}: the file is damaged ({' '.join(str(problem).split())[:200]}); remove the "
            "stream and import it anew"
        ) from problem


def _groups_between(file: Any, start: int | None, end: int | None) -> list[int]:
    groups = range(file.metadata.num_row_groups)
    if start is None and end is None:
        return list(groups)
    chosen = []
    for group in groups:
        times = file.metadata.row_group(group).column(0).statistics
        # An old or foreign writer may leave statistics out; then the group is read.
        first, last = (
            (int(times.min_raw), int(times.max_raw)) if times is not None and times.has_min_max else (None, None)
        )
        if (start is None or last is None or last >= start) and (end is None or first is None or first < end):
            chosen.append(group)
    return chosen


def _bars_of(batch: Any, stream: Stream) -> Bars:
    o, h, l, c, v = (floats_of(batch.column(field)) for field in _PRICES)  # noqa: E741
    return Bars(
        (stream,), integers_of(batch.column("open_time")), integers_of(batch.column("close_time")), o, h, l, c, v
    )


def _footer_of(storage: Storage, name: str) -> str:
    """Return a hash of a Parquet file's footer: the last bytes, as long as the four before the closing PAR1 say."""
    tail = storage.tail(name, _USUAL_FOOTER)
    size = int.from_bytes(tail[-8:-4], "little") + 8
    if size > len(tail) == _USUAL_FOOTER:
        tail = storage.tail(name, size)
    return sha256(tail[-size:]).hexdigest()[:16]


def _check_bars(bars: Bars, part: Part, storage: Storage) -> None:
    """Refuse what was never imported; 10 ms for a million rows."""
    table = BarTable(
        part.name, bars.streams[0], bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume
    )
    if not _are_times_of(part, bars.open_time, bars.close_time) or impossible_rows(table).any():
        raise _not_as_imported(storage, part)


def _are_times_of(part: Part, opens: IntArray, closes: IntArray) -> bool:
    """Say whether times rise, within the span of a file."""
    if not len(opens):
        return part.rows == 0
    is_within = opens[0] >= part.first_open and closes[-1] <= part.last_close
    return bool(is_within and np.all(closes > opens) and np.all(opens[1:] >= closes[:-1]))


def _not_as_imported(storage: Storage, part: Part) -> DataError:
    return DataError(
        f"{storage.root}/{part.name}: the content is not what was imported; remove the stream and import it anew"
    )
