"""Cutting, joining and ordering columns of bars.

Feed order, everywhere in this package: by close_time; at one close_time shorter timeframes first, and among equal
timeframes the order in which the streams were named. `feed_order` sorts the streams themselves that way once, so that
the order of `Bars.streams` is the order of rows at one instant.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.bars import Bars, IntArray, Stream, Timeframe
from engine.errors import DataError, SettingsError

CHUNK_ROWS = 65_536
"""Rows in a chunk. Larger ones do not make bars faster, but fewer, larger journal batches do: 0.85 s for the reference
run in chunks of 64 k, 1.03 s in chunks of 16 k. A symbol's chunk is 3.5 MB."""

COLUMNS = ("open_time", "close_time", "open", "high", "low", "close", "volume")


def feed_order(streams: Iterable[Stream]) -> tuple[Stream, ...]:
    """Return the streams with shorter timeframes first, otherwise as they were named.

    Raises:
        DataError: a stream is named twice, so that its bars would be published twice.
    """
    named = tuple(streams)
    for place, stream in enumerate(named):
        if stream in named[:place]:
            raise DataError(
                f"{stream.symbol} {stream.timeframe} is given twice; expected each stream once; leave one out"
            )
    return tuple(sorted(named, key=lambda stream: Timeframe.parse(stream.timeframe)))


def check_chunk_rows(chunk_rows: int) -> int:
    """Return the size of a chunk, or refuse one below 1."""
    if chunk_rows < 1:
        raise SettingsError(f"chunk_rows is {chunk_rows}; expected 1 or more, such as {CHUNK_ROWS}")
    return chunk_rows


def cut(bars: Bars, chunk_rows: int = CHUNK_ROWS) -> Iterator[Bars]:
    """Yield the rows in chunks of about `chunk_rows`, as views; one close_time is never split between two."""
    start = 0
    while start < len(bars):
        end = _end_of_instant(bars.close_time, min(start + chunk_rows, len(bars)))
        yield bars[start:end]
        start = end


def rechunk(chunks: Iterable[Bars], chunk_rows: int = CHUNK_ROWS) -> Iterator[Bars]:
    """Yield the same rows cut as `cut` would cut them all at once, whatever the size of the chunks they come in."""
    held: list[Bars] = []
    rows = 0
    for chunk in chunks:
        held.append(chunk)
        rows += len(chunk)
        if rows < chunk_rows:
            continue
        joined, start = join(held), 0
        while rows - start >= chunk_rows:
            end = _end_of_instant(joined.close_time, start + chunk_rows)
            yield joined[start:end]
            start = end
        held, rows = [joined[start:]], rows - start
    if rows:
        yield join(held)


def join(parts: Sequence[Bars]) -> Bars:
    """Return the rows of several chunks of one feed as one; a single chunk is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    one_stream = all(part.stream is None for part in parts)
    return Bars(
        parts[0].streams,
        _joined(parts, "open_time"),
        _joined(parts, "close_time"),
        _joined(parts, "open"),
        _joined(parts, "high"),
        _joined(parts, "low"),
        _joined(parts, "close"),
        _joined(parts, "volume"),
        None if one_stream else np.concatenate([stream_column(part) for part in parts]),
        _joined_flags(parts),
    )


def interleave(parts: Sequence[Bars], streams: tuple[Stream, ...], places: Sequence[Sequence[int]]) -> Bars:
    """Return the rows of chunks of different feeds in feed order.

    Args:
        parts: chunks, each in feed order.
        streams: every stream of the result, in feed order.
        places: for each part, the place in `streams` of each of its own streams.
    """
    if len(parts) == 1 and len(streams) == 1:
        return replace(parts[0], streams=streams, stream=None)
    ranks = [np.asarray(place, np.int32)[stream_column(part)] for part, place in zip(parts, places, strict=True)]
    whole = join([replace(part, streams=streams, stream=rank) for part, rank in zip(parts, ranks, strict=True)])
    return whole if len(parts) == 1 else take(whole, np.lexsort((stream_column(whole), whole.close_time)))


def take(bars: Bars, rows: IntArray) -> Bars:
    """Return the rows with these numbers, in the order given; a copy."""
    return Bars(
        bars.streams,
        bars.open_time[rows],
        bars.close_time[rows],
        bars.open[rows],
        bars.high[rows],
        bars.low[rows],
        bars.close[rows],
        bars.volume[rows],
        None if bars.stream is None else bars.stream[rows],
        None if bars.flags is None else bars.flags[rows],
    )


def stream_column(bars: Bars) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return which stream each row belongs to, also where there is only one."""
    return np.zeros(len(bars), np.int32) if bars.stream is None else bars.stream


def split(chunk: Bars) -> Iterator[tuple[int, Bars]]:
    """Yield the place of each stream that has rows in the chunk, and those rows."""
    if chunk.stream is None:
        if len(chunk):
            yield 0, chunk
        return
    order = np.argsort(chunk.stream, kind="stable")
    present, first = np.unique(chunk.stream[order], return_index=True)
    for place, rows in zip(present.tolist(), np.split(order, first[1:]), strict=True):
        yield place, replace(take(chunk, rows), streams=(chunk.streams[place],), stream=None)


def no_bars(streams: tuple[Stream, ...]) -> Bars:
    """Return a chunk without rows."""
    times, prices = np.empty(0, np.int64), np.empty(0)
    stream = None if len(streams) == 1 else np.empty(0, np.int32)
    return Bars(streams, times, times, prices, prices, prices, prices, prices, stream)


def place_of(stream: Stream, streams: tuple[Stream, ...]) -> int:
    """Return the place of a stream among those of a feed.

    Raises:
        DataError: there is no such stream.
    """
    if stream not in streams:
        known = ", ".join(f"{known.symbol} {known.timeframe}" for known in streams[:10])
        raise DataError(
            f"no bars of {stream.symbol} {stream.timeframe}; there are {known}{', …' if len(streams) > 10 else ''}"
        )
    return streams.index(stream)


def check_field(field: str) -> str:
    """Return the name of a column of prices or volume, or refuse another name."""
    if field not in COLUMNS[2:]:
        raise SettingsError(f"there is no column {field!r}; expected one of {', '.join(COLUMNS[2:])}")
    return field


def _end_of_instant(close_time: IntArray, end: int) -> int:
    return end if end == len(close_time) else int(np.searchsorted(close_time, close_time[end - 1], side="right"))


def _joined(parts: Sequence[Bars], name: str) -> Any:
    return np.concatenate([getattr(part, name) for part in parts])


def _joined_flags(parts: Sequence[Bars]) -> np.ndarray[tuple[int], np.dtype[np.uint8]] | None:
    if all(part.flags is None for part in parts):
        return None
    return np.concatenate([np.zeros(len(part), np.uint8) if part.flags is None else part.flags for part in parts])
