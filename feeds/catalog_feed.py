"""Bars from a catalog, streamed: a few thousand rows of each stream are in memory at a time."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from engine.bars import Bars, FloatArray, IntArray, Stream, iso
from engine.errors import DataError
from feeds.catalog_entry import CatalogEntry
from feeds.chunks import CHUNK_ROWS, check_chunk_rows, check_field, feed_order, place_of, rechunk
from feeds.fingerprints import StreamDigest, fingerprint
from feeds.gaps import (
    Calendar,
    Gap,
    GapPolicy,
    Gaps,
    check_gap_policy,
    find_gaps,
    forward_fill,
    forward_fill_column,
    merge_gaps,
    refuse_gaps,
)
from feeds.merge import merge_chunks
from feeds.parts import Part, read_batches, read_field, read_times
from feeds.storage import Storage

_FEWEST_ROWS, _MOST_ROWS = 512, 65_536


class CatalogFeed:
    """Publish streams of a catalog, merged in feed order. Made by `Catalog.feed`.

    Args:
        start, end: UTC nanoseconds; only bars that open at or after `start` and close at or before `end`.
        calendar: None takes the one each stream was imported with.
    Raises:
        DataError: a stream has no bars in the range, or bars are missing under the policy "error".
    """

    def __init__(
        self,
        storage: Storage,
        entries: Sequence[CatalogEntry],
        *,
        start: int | None = None,
        end: int | None = None,
        gap_policy: GapPolicy = "error",
        calendar: Calendar | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        check_gap_policy(gap_policy)
        self._chunk_rows = check_chunk_rows(chunk_rows)
        self._streams = feed_order(entry.stream for entry in entries)
        by_stream = {entry.stream: entry for entry in entries}
        self._series = [
            CatalogSeries(storage, by_stream[stream], start, end, gap_policy, calendar) for stream in self._streams
        ]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream, in feed order."""
        return self._streams

    @property
    def row_count(self) -> int:
        """How many bars there will be, made-up ones included."""
        return sum(series.row_count for series in self._series)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps in the range, by time."""
        return merge_gaps([series.gaps for series in self._series])

    @cached_property
    def digests(self) -> Mapping[Stream, str]:
        """The digest of each stream: the stored one for the whole of it, else taken by reading the range once."""
        return {stream: series.digest() for stream, series in zip(self._streams, self._series, strict=True)}

    @property
    def fingerprint(self) -> str:
        """A hash of the content: equal if and only if every bar is equal."""
        return fingerprint(self.digests, self._streams)

    def chunks(self) -> Iterator[Bars]:
        """Yield the bars, oldest first."""
        batch_rows = min(max(4 * self._chunk_rows // len(self._series), _FEWEST_ROWS), _MOST_ROWS)
        sources = [series.batches(batch_rows) for series in self._series]
        if len(sources) == 1:
            return rechunk(sources[0], self._chunk_rows)
        return rechunk(
            merge_chunks(sources, self._streams, [[place] for place in range(len(sources))]), self._chunk_rows
        )

    def column(self, stream: Stream, field: str) -> FloatArray:
        """Return a whole column of one stream, float64 [rows of the stream]; 10 M rows are 80 MB."""
        return self._series[place_of(stream, self._streams)].column(check_field(field))


class CatalogSeries:
    """The bars of one stream of a catalog in a range, with its gap policy."""

    def __init__(
        self,
        storage: Storage,
        entry: CatalogEntry,
        start: int | None,
        end: int | None,
        gap_policy: GapPolicy,
        calendar: Calendar | None,
    ) -> None:
        self._storage = storage
        self._entry = entry
        self._start, self._end = start, end
        self._fills = gap_policy == "forward_fill"
        calendar = calendar or entry.calendar
        known_whole = entry.gap_count == 0 and calendar == entry.calendar
        if (start is None or start <= entry.first_open) and (end is None or end >= entry.last_close):
            self._start = self._end = None
            if known_whole:
                self._before, self._rows, self.gaps = 0, slice(0, entry.rows), _no_gaps(entry.stream)
                return
        # Under "sessions" gaps are found in the whole stream: what is usual at a time of day must not depend on the
        # range.
        parts = entry.parts if calendar == "sessions" and not known_whole else self._parts()
        opens, closes = times_of_parts(storage, parts)
        self._rows = _rows_between(entry, opens, closes, start, end)
        skipped = sum(part.rows for part in parts[: parts.index(self._parts()[0])])
        self._before = self._rows.start - skipped  # rows of the first file that is read, before the range
        self.gaps = (
            _no_gaps(entry.stream)
            if known_whole
            else _gaps_between(find_gaps(entry.stream, opens, closes, calendar=calendar), self._rows)
        )
        if gap_policy == "error":
            refuse_gaps(
                self.gaps,
                calendar=calendar,
                open_time=opens[self._rows],
                close_time=closes[self._rows],
                origin=storage.root,
            )

    @property
    def row_count(self) -> int:
        """How many bars are published."""
        return self._rows.stop - self._rows.start + (self.gaps.missing_bars if self._fills else 0)

    def batches(self, batch_rows: int) -> Iterator[Bars]:
        """Yield the bars, some at a time."""
        row = 0
        for part in self._parts():
            for bars in read_batches(
                self._storage, part, self._entry.stream, batch_rows=batch_rows, start=self._start, end=self._end
            ):
                yield forward_fill(bars, self.gaps, first_row=row) if self._fills else bars
                row += len(bars)

    def digest(self) -> str:
        """Return the digest of what is published."""
        if self._start is None and self._end is None and not (self._fills and len(self.gaps)):
            return self._entry.digest
        digest = StreamDigest()
        for bars in self.batches(_MOST_ROWS):
            digest.update(bars)
        return digest.hexdigest()

    def column(self, field: str) -> FloatArray:
        """Return a whole column, float64 [rows]."""
        column = self._stored_column(field)
        if not (self._fills and len(self.gaps)):
            return column
        return forward_fill_column(
            column, field, column if field == "close" else self._stored_column("close"), self.gaps
        )

    def _stored_column(self, field: str) -> FloatArray:
        column = np.concatenate([read_field(self._storage, part, field) for part in self._parts()])
        return column[self._before : self._before + self._rows.stop - self._rows.start]

    def _parts(self) -> tuple[Part, ...]:
        return tuple(
            part
            for part in self._entry.parts
            if (self._start is None or part.last_close > self._start)
            and (self._end is None or part.first_open < self._end)
        )


def times_of_parts(storage: Storage, parts: Sequence[Part]) -> tuple[IntArray, IntArray]:
    """Return the open and close times of some files of a stream; prices are not read."""
    times = [read_times(storage, part) for part in parts]
    if not times:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate([opens for opens, _ in times]), np.concatenate([closes for _, closes in times])


def _rows_between(entry: CatalogEntry, opens: IntArray, closes: IntArray, start: int | None, end: int | None) -> slice:
    first = 0 if start is None else int(np.searchsorted(opens, start))
    last = len(opens) if end is None else int(np.searchsorted(closes, end, side="right"))
    if first >= last:
        asked = (
            f"from {iso(start) if start is not None else 'the first'} to {iso(end) if end is not None else 'the last'}"
        )
        raise DataError(
            f"{entry.stream.symbol} {entry.stream.timeframe}: there are no bars {asked}; the catalog has "
            f"{iso(entry.first_open)} to {iso(entry.last_close)}; choose a range within, or import more"
        )
    return slice(first, last)


def _no_gaps(stream: Stream) -> Gaps:
    nothing = np.empty(0, np.int64)
    return Gaps(stream, nothing, nothing, nothing, nothing)


def _gaps_between(gaps: Gaps, rows: slice) -> Gaps:
    """Return the gaps with both neighbours among the rows, counted from the first of them."""
    first, last = np.searchsorted(gaps.after, (rows.start, rows.stop - 1))
    inside = slice(int(first), int(last))
    return Gaps(
        gaps.stream, gaps.after[inside] - rows.start, gaps.start[inside], gaps.end[inside], gaps.missing[inside]
    )
