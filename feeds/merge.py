"""Several feeds as one, in feed order, chunk by chunk: nothing is read further than the slowest feed has come."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from engine.bars import Bars, FloatArray, Stream
from engine.errors import DataError
from engine.interfaces import Feed
from feeds.chunks import CHUNK_ROWS, check_chunk_rows, feed_order, interleave, place_of, rechunk
from feeds.fingerprints import digests_of, fingerprint
from feeds.gaps import Gap


class MergedFeed:
    """Publish the bars of several feeds in one order: close_time, then shorter timeframes, then as the feeds were
    given.

    Raises:
        DataError: two feeds hold the same stream.
    """

    def __init__(self, feeds: Sequence[Feed], *, chunk_rows: int = CHUNK_ROWS) -> None:
        if not feeds:
            raise DataError("there are no feeds to merge; expected at least one")
        self._feeds = tuple(feeds)
        self._streams = feed_order(stream for feed in feeds for stream in feed.streams)
        self._chunk_rows = check_chunk_rows(chunk_rows)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream, in feed order."""
        return self._streams

    @property
    def row_count(self) -> int | None:
        """How many bars there will be; None if one of the feeds cannot know."""
        counts = [feed.row_count for feed in self._feeds]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    @cached_property
    def digests(self) -> Mapping[Stream, str]:
        """The digest of each stream; see feeds/fingerprints.py."""
        return {stream: digest for feed in self._feeds for stream, digest in digests_of(feed).items()}

    @property
    def fingerprint(self) -> str:
        """A hash of the content: equal if and only if every bar is equal."""
        return "live" if self.row_count is None else fingerprint(self.digests, self._streams)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps of every feed that reports them, by time, then in feed order."""
        gaps: list[Gap] = [gap for feed in self._feeds for gap in getattr(feed, "gaps", ())]
        return tuple(sorted(gaps, key=lambda gap: (gap.start, self._streams.index(gap.stream))))

    def chunks(self) -> Iterator[Bars]:
        """Yield the bars, oldest first."""
        places = [[place_of(stream, self._streams) for stream in feed.streams] for feed in self._feeds]
        chunks = merge_chunks([feed.chunks() for feed in self._feeds], self._streams, places)
        return (
            chunks if self.row_count is None else rechunk(chunks, self._chunk_rows)
        )  # a live bar does not wait for others

    def column(self, stream: Stream, field: str) -> FloatArray | None:
        """Return a whole column of one stream, float64 [rows of the stream]."""
        place_of(stream, self._streams)
        feed = next(feed for feed in self._feeds if stream in feed.streams)
        return feed.column(stream, field)


def merge_chunks(
    sources: Sequence[Iterator[Bars]], streams: tuple[Stream, ...], places: Sequence[Sequence[int]]
) -> Iterator[Bars]:
    """Yield the rows of several iterators of chunks in feed order.

    Each round reads one more chunk of the sources that ran dry, and gives out all rows up to the earliest of the times
    that the sources have reached. That is safe because a source never splits one close_time between two chunks.

    Args:
        places: for each source, the place in `streams` of each of its streams.
    """
    held: dict[int, Bars] = {}
    running = set(range(len(sources)))
    while True:
        for source in sorted(running - held.keys()):
            chunk = next((chunk for chunk in sources[source] if len(chunk)), None)
            if chunk is None:
                running.discard(source)
            else:
                held[source] = chunk
        if not held:
            return
        reached = min(chunk.close_time[-1] for chunk in held.values())
        ready: list[tuple[int, Bars]] = []
        for source, chunk in sorted(held.items()):
            rows = int(np.searchsorted(chunk.close_time, reached, side="right"))
            if rows:
                ready.append((source, chunk[:rows]))
            if rows == len(chunk):
                del held[source]
            else:
                held[source] = chunk[rows:]
        yield interleave([chunk for _, chunk in ready], streams, [places[source] for source, _ in ready])
