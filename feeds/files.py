"""Bars from files: CSV, Parquet, Feather, the klines dumps of data.binance.vision, lists from ccxt.

    bars = read_bars("BTCUSDT-1h-2024-03.zip", symbol="BTC/USDT")
    feed = MemoryFeed(bars)

What a file is, is told by its first bytes; symbol and timeframe by its name and rows unless they are given. Every
fault is a `DataError` that names the file, the row, the time and the value.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.bars import Bars, Timeframe, iso
from engine.errors import DataError, SettingsError
from feeds.arrow import Rows, table_of_arrow
from feeds.ccxt_lists import closed_rows, read_ccxt
from feeds.chunks import join
from feeds.csv_files import read_csv
from feeds.disk import head_of
from feeds.layout import FileLayout, names_in_path
from feeds.tables import BarTable
from feeds.times import instant
from feeds.validation import BadRows, prepare_table


def read_bars(
    path: str | Path | Sequence[str | Path],
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    layout: FileLayout = FileLayout(),
    closed_before: datetime | int | None = None,
    sort: bool = False,
    bad_rows: BadRows = "error",
) -> Bars:
    """Return the bars of a file, or of several files of one stream (months, say), checked and sorted.

    Missing bars are judged later, by the feed and its gap policy.

    Args:
        symbol: None takes it from the file's name; timeframe: None takes it from the name, else from the rows.
        closed_before: when the data was fetched; bars that close later were still forming and are left out.
        sort: put rows into time order; bad_rows: "drop" leaves out rows that cannot be bars.
    Raises:
        DataError: the file cannot be read, or holds what cannot be bars.
    """
    if isinstance(path, (str, Path)):
        return _read_one(Path(path), symbol, timeframe, layout, closed_before, sort, bad_rows)
    parts = [
        (Path(one), _read_one(Path(one), symbol, timeframe, layout, closed_before, sort, bad_rows)) for one in path
    ]
    if not parts:
        raise DataError("there are no files to read; expected at least one")
    parts.sort(key=lambda part: part[1].open_time[0])
    for (before, first), (after, second) in pairwise(parts):
        if first.streams != second.streams:
            names = " and ".join(f"{bars.streams[0].symbol} {bars.streams[0].timeframe}" for bars in (first, second))
            raise DataError(
                f"{before} and {after} hold {names}; expected one stream; say symbol and timeframe or read them apart"
            )
        if second.open_time[0] < first.close_time[-1]:
            raise DataError(
                f"{after} begins at {iso(int(second.open_time[0]))}, before {before} ends at "
                f"{iso(int(first.close_time[-1]))}; expected files that do not overlap; leave one out or import both "
                "into a catalog, which merges them"
            )
    return join([bars for _, bars in parts])


def read_table(
    path: str | Path, *, symbol: str | None = None, timeframe: str | None = None, layout: FileLayout = FileLayout()
) -> BarTable:
    """Return the rows of a file as they are, unchecked, for reports.

    Raises:
        DataError: the file is not there, or is not a table of numbers and times.
    """
    path = Path(path)
    named_symbol, named_timeframe = names_in_path(str(path))
    symbol, timeframe = symbol or named_symbol, timeframe or named_timeframe
    if timeframe:
        try:
            Timeframe.parse(timeframe)
        except SettingsError as problem:
            raise SettingsError(f"{path}: {problem}") from problem
    kind = _kind(path)
    if kind == "arrow":
        return table_of_arrow(read_arrow(path), symbol, timeframe, layout, Rows(str(path)))
    if kind == "json":
        return read_ccxt(path, symbol, timeframe)
    return read_csv(path, symbol, timeframe, layout)


def read_arrow(path: Path) -> Any:
    """Return a Parquet or Feather file as an Arrow table.

    Raises:
        DataError: the file is damaged or of another kind.
    """
    import pyarrow as pa
    from pyarrow import feather, parquet

    try:
        if head_of(path) == b"PAR1":
            with parquet.ParquetFile(path, page_checksum_verification=True) as file:
                _check_size(path, file.metadata)
                table = file.read()
        else:
            table = feather.read_table(path, memory_map=False)
        # Arrow trusts offsets and lengths as it finds them: a damaged file could have it read beyond its memory.
        table.validate(full=True)
        # These raise if a name or a time zone is not UTF-8.
        _ = table.column_names, [getattr(kind, "tz", None) for kind in table.schema.types]
        return table
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise DataError(f"{path}: the file is damaged or cut off ({_one_line(problem)}); fetch it again") from problem


def _check_size(path: Path, metadata: Any) -> None:
    """Refuse a file that says that it holds more than this machine's memory: a few bytes can stand for a billion
    rows."""
    groups = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    needed = max(8 * metadata.num_rows * metadata.num_columns, sum(groups))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 34
    if not 0 <= needed <= memory:
        raise DataError(
            f"{path}: the file says that it holds {metadata.num_rows:,} rows, {needed / 2**30:,.0f} GiB; expected at "
            f"most the {memory / 2**30:,.0f} GiB of memory that there are; split it, or fetch it again"
        )


def is_arrow(path: Path) -> bool:
    """Say whether a file is Parquet or Feather, by its first bytes."""
    return _kind(path) == "arrow"


def bars_of_frame(frame: Any, symbol: str, timeframe: str | None = None, *, layout: FileLayout = FileLayout()) -> Bars:
    """Return a pandas DataFrame as unchecked `Bars`: `MemoryFeed` checks them.

    Times are looked for in the index if it holds times, else in the columns; columns are found as in files.

    Raises:
        DataError: a column is missing, holds no numbers, or times have no zone.
    """
    import pyarrow as pa

    name = f"{symbol} {timeframe}" if timeframe else symbol
    if hasattr(frame.index, "tz") or frame.index.name is not None:
        frame = frame.reset_index(names="ts" if hasattr(frame.index, "tz") else None)
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as problem:
        raise DataError(
            f"{name}: the data frame has a column of mixed types ({_one_line(problem)}); expected times and numbers"
        ) from problem
    return table_of_arrow(table, symbol, timeframe, layout, Rows(name)).bars()


def _read_one(
    path: Path,
    symbol: str | None,
    timeframe: str | None,
    layout: FileLayout,
    closed_before: datetime | int | None,
    sort: bool,
    bad_rows: BadRows,
) -> Bars:
    table = read_table(path, symbol=symbol, timeframe=timeframe, layout=layout)
    return prepare_table(closed_rows(table, instant(closed_before)), sort=sort, bad_rows=bad_rows).bars()


def _kind(path: Path) -> str:
    head = head_of(path)
    if head in (b"PAR1", b"ARRO", b"FEA1"):
        return "arrow"
    if path.suffix.lower() in (".parquet", ".pq", ".feather", ".arrow"):
        raise DataError(
            f"{path}: the file does not begin as a {path.suffix[1:]} file does; expected PAR1 or ARROW1; fetch it again"
        )
    return "json" if head.lstrip()[:1] in (b"[", b"{") else "text"


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200]
