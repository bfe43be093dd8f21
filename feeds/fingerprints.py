"""What makes two data sets the same: hashes of content, blind to files, chunks and types of feed.

The digest of a stream covers its rows, column by column, so that it can be taken chunk by chunk. The fingerprint of a
feed
covers its streams, in feed order, with their digests: equal if and only if every published bar is equal, in the same
order.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Protocol, runtime_checkable

import numpy as np

from engine.bars import Bars, Stream
from engine.interfaces import Feed
from feeds.chunks import COLUMNS, split

_FORM = "barcast bars 1"


@runtime_checkable
class DigestedFeed(Protocol):
    """A feed that can say the digest of each of its streams without being read as a whole."""

    @property
    def digests(self) -> Mapping[Stream, str]:
        """The digest of each stream, as 64 hexadecimal digits."""


class StreamDigest:
    """Takes the digest of one stream from its chunks, in order."""

    def __init__(self) -> None:
        self._columns = [sha256() for _ in (*COLUMNS, "flags")]
        self.rows = 0

    def update(self, bars: Bars) -> None:
        """Add rows, all of the one stream."""
        for name, digest in zip(COLUMNS, self._columns, strict=False):
            column = getattr(bars, name)
            if name == "volume":
                column = column + 0.0  # -0.0 is 0.0
            digest.update(_bytes(column))
        flags = np.zeros(len(bars), np.uint8) if bars.flags is None else bars.flags
        self._columns[-1].update(_bytes(flags))
        self.rows += len(bars)

    def hexdigest(self) -> str:
        """Return the digest of the rows so far."""
        whole = sha256(f"{_FORM} {self.rows}".encode())
        for digest in self._columns:
            whole.update(digest.digest())
        return whole.hexdigest()


def digest_of(bars: Bars) -> str:
    """Return the digest of the whole of one stream."""
    digest = StreamDigest()
    digest.update(bars)
    return digest.hexdigest()


def digests_of_chunks(streams: tuple[Stream, ...], chunks: Iterable[Bars]) -> dict[Stream, str]:
    """Return the digest of each stream of a feed, reading its chunks once."""
    digests = [StreamDigest() for _ in streams]
    for chunk in chunks:
        for place, rows in split(chunk):
            digests[place].update(rows)
    return {stream: digest.hexdigest() for stream, digest in zip(streams, digests, strict=True)}


def digests_of(feed: Feed) -> Mapping[Stream, str]:
    """Return the digest of each stream of a feed: what it says itself, or else by reading it."""
    if isinstance(feed, DigestedFeed):
        return feed.digests
    return digests_of_chunks(feed.streams, feed.chunks())


def fingerprint(digests: Mapping[Stream, str], streams: tuple[Stream, ...]) -> str:
    """Return the fingerprint of a feed from the digests of its streams, which are given in feed order."""
    whole = sha256(_FORM.encode())
    for stream in streams:
        whole.update(f"\n{stream.symbol}\t{stream.timeframe}\t{digests[stream]}".encode())
    return whole.hexdigest()


def _bytes(column: np.ndarray[tuple[int], np.dtype[np.generic]]) -> memoryview:
    return np.ascontiguousarray(column).view(np.uint8).data
