"""Longer bars made of shorter ones: 1m into 5m, 1h, 1d, 1w.

The rules:

- Periods begin at whole multiples of the longer timeframe since 1970-01-01T00:00Z; weeks on Monday.
- A bar of a period is known at the period's end, and published there, after the shorter bars of that instant. Whether
  the period traded to its last minute makes no difference.
- The period that is still open when the feed ends is not published, nor is one that had begun before the stream's
  first bar: so the same bar is the same whatever the start and end of the data.
- Missing bars inside a period: "publish" makes the bar of those there are, "drop" leaves it out (asked for markets that
  never close). A period without any bar gives none.
- A resampled bar is flagged FORWARD_FILLED if every bar in it was.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from engine.bars import DAY, FORWARD_FILLED, Bars, FloatArray, IntArray, Stream, Timeframe, iso
from engine.errors import DataError, SettingsError, nearest_name
from engine.interfaces import Feed
from feeds.chunks import (
    CHUNK_ROWS,
    check_chunk_rows,
    check_field,
    feed_order,
    interleave,
    join,
    no_bars,
    place_of,
    rechunk,
    split,
    take,
)
from feeds.fingerprints import digest_of, digests_of, fingerprint
from feeds.gaps import Gap

Publish = Literal["both", "resampled"]
MissingBars = Literal["publish", "drop"]

_MONDAY = 4 * DAY
"""1970-01-05 was a Monday."""


class ResampledFeed:
    """Publish a feed with longer bars made of its own, or these alone.

    Args:
        feed: the source. Of each symbol the shortest timeframe is resampled.
        timeframe: of the longer bars, a whole multiple of the source's.
        publish: "both" the source and the longer bars, or only what was "resampled".
        missing_bars: "publish" or "drop" a period in which bars are missing.
    Raises:
        SettingsError: the timeframe is not a multiple, or the feed holds such bars already.
    """

    def __init__(
        self,
        feed: Feed,
        timeframe: str,
        *,
        publish: Publish = "both",
        missing_bars: MissingBars = "publish",
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        _check(publish, "publish", get_args(Publish))
        _check(missing_bars, "missing_bars", get_args(MissingBars))
        self._feed = feed
        self._publish = publish
        self._missing_bars = missing_bars
        self._chunk_rows = check_chunk_rows(chunk_rows)
        self._sources = _shortest(feed.streams)
        self._resampled = {source: Stream(source.symbol, timeframe) for source in self._sources}
        for source, resampled in self._resampled.items():
            _check_multiple(source, timeframe)
            if publish == "both" and resampled in feed.streams:
                raise SettingsError(
                    f'the feed holds {resampled.symbol} {timeframe} already; resample it with publish = "resampled", '
                    f"or not at all"
                )
        own = feed.streams if publish == "both" else ()
        self._streams = feed_order((*own, *self._resampled.values()))

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream, in feed order."""
        return self._streams

    @property
    def row_count(self) -> int | None:
        """How many bars there will be."""
        if self._feed.row_count is None:
            return None
        own = self._feed.row_count if self._publish == "both" else 0
        return own + sum(len(bars) for bars in self._longer_bars.values())

    @cached_property
    def digests(self) -> Mapping[Stream, str]:
        """The digest of each stream; see feeds/fingerprints.py."""
        own = digests_of(self._feed) if self._publish == "both" else {}
        return {**own, **{stream: digest_of(bars) for stream, bars in self._longer_bars.items()}}

    @property
    def fingerprint(self) -> str:
        """A hash of the content: equal if and only if every bar is equal."""
        return "live" if self._feed.row_count is None else fingerprint(self.digests, self._streams)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps of the source, if it reports them."""
        gaps: tuple[Gap, ...] = getattr(self._feed, "gaps", ())
        return gaps

    def chunks(self) -> Iterator[Bars]:
        """Yield the bars, oldest first."""
        chunks = self._chunks(both=self._publish == "both")
        return (
            chunks if self._feed.row_count is None else rechunk(chunks, self._chunk_rows)
        )  # a live bar does not wait for others

    def column(self, stream: Stream, field: str) -> FloatArray | None:
        """Return a whole column of one stream, float64 [rows of the stream]."""
        place_of(stream, self._streams)
        if stream not in self._resampled.values():
            return self._feed.column(stream, field)
        if self._feed.row_count is None:
            return None
        column: FloatArray = getattr(self._longer_bars[stream], check_field(field))
        return column

    @cached_property
    def _longer_bars(self) -> dict[Stream, Bars]:
        """The resampled bars of each stream, kept: they are few."""
        parts: dict[Stream, list[Bars]] = {stream: [no_bars((stream,))] for stream in self._resampled.values()}
        for chunk in self._chunks(both=False):
            for place, rows in split(chunk):
                parts[chunk.streams[place]].append(rows)
        return {stream: join(rows) for stream, rows in parts.items()}

    def _chunks(self, *, both: bool) -> Iterator[Bars]:
        streams = feed_order((*(self._feed.streams if both else ()), *self._resampled.values()))
        own_places = [streams.index(stream) for stream in self._feed.streams] if both else []
        resamplers = {
            source: Resampler(source, stream.timeframe, missing_bars=self._missing_bars)
            for source, stream in self._resampled.items()
        }
        for chunk in self._feed.chunks():
            if not len(chunk):
                continue
            parts, places = ([chunk], [own_places]) if both else ([], [])
            for place, rows in split(chunk):
                if (source := chunk.streams[place]) in resamplers:
                    resamplers[source].take(rows)
            for source, resampler in resamplers.items():
                closed = resampler.closed_until(int(chunk.close_time[-1]))
                if len(closed):
                    parts.append(closed)
                    places.append([streams.index(self._resampled[source])])
            if parts:
                yield interleave(parts, streams, places)


class Resampler:
    """Makes longer bars of one stream, chunk by chunk: `take` its bars, then ask for those of the periods that are
    over."""

    def __init__(self, source: Stream, timeframe: str, *, missing_bars: MissingBars = "publish") -> None:
        self._source = source
        self._stream = Stream(source.symbol, timeframe)
        self._shorter = Timeframe.parse(source.timeframe).duration
        self._longer = Timeframe.parse(timeframe).duration
        self._origin = _MONDAY if timeframe.endswith("w") else 0
        self._missing_bars = missing_bars
        self._pending = no_bars((source,))  # the bars of periods that are not over
        self._first_period: int | None = None  # the first that the stream shows from its beginning

    def take(self, bars: Bars) -> None:
        """Add bars that are later than those before.

        Raises:
            DataError: a bar begins in one period and ends in the next.
        """
        if not len(bars):
            return
        periods = self._periods(bars.open_time)
        if self._first_period is None:
            begins_whole = bars.open_time[0] == periods[0]
            self._first_period = int(periods[0]) if begins_whole else int(periods[0]) + self._longer
        across = bars.close_time > periods + self._longer
        if across.any():
            row = int(np.argmax(across))
            raise DataError(
                f"{self._source.symbol} {self._source.timeframe}: the bar from {iso(int(bars.open_time[row]))} to "
                f"{iso(int(bars.close_time[row]))} lies in two periods of {self._stream.timeframe}; expected bars that "
                "end with a period or before; choose a timeframe whose periods they fill"
            )
        self._pending = join([self._pending, bars[int(np.searchsorted(periods, self._first_period)) :]])

    def closed_until(self, time: int) -> Bars:
        """Return the bars of the periods that end at or before `time`; the bars they were made of are forgotten.

        Args:
            time: every bar of the source that closes at or before it has been taken.
        """
        rows = int(np.searchsorted(self._periods(self._pending.open_time), time - self._longer, side="right"))
        over, self._pending = self._pending[:rows], self._pending[rows:]
        return self._made_of(over) if rows else no_bars((self._stream,))

    def _periods(self, times: IntArray) -> IntArray:
        """Return the start of the period that each time lies in."""
        return times - (times - self._origin) % self._longer

    def _made_of(self, bars: Bars) -> Bars:
        periods = self._periods(bars.open_time)
        first = np.flatnonzero(np.diff(periods, prepend=periods[0] - 1))  # the first row of each period
        last = np.append(first[1:], len(bars)) - 1
        flags = None
        if bars.flags is not None:
            flags = np.bitwise_and.reduceat(bars.flags, first) & np.uint8(FORWARD_FILLED)
        longer = Bars(
            (self._stream,),
            periods[first],
            periods[first] + self._longer,
            bars.open[first],
            np.maximum.reduceat(bars.high, first),
            np.minimum.reduceat(bars.low, first),
            bars.close[last],
            np.add.reduceat(bars.volume, first),
            None,
            flags,
        )
        if self._missing_bars == "publish":
            return longer
        return take(longer, np.flatnonzero((last - first + 1) * self._shorter == self._longer))


def _shortest(streams: tuple[Stream, ...]) -> tuple[Stream, ...]:
    """Return the stream with the shortest timeframe of each symbol; streams in feed order come shortest first."""
    shortest: dict[str, Stream] = {}
    for stream in streams:
        shortest.setdefault(stream.symbol, stream)
    return tuple(shortest.values())


def _check_multiple(source: Stream, timeframe: str) -> None:
    shorter, longer = Timeframe.parse(source.timeframe), Timeframe.parse(timeframe)
    if longer.duration <= shorter.duration or longer.duration % shorter.duration:
        raise SettingsError(
            f"{source.symbol} {shorter} cannot be resampled to {longer}; expected a whole multiple of {shorter}, 2 or "
            "more"
        )


def _check(value: str, name: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{name} {value!r} is not known; expected {' or '.join(known)}{nearest_name(value, known)}")
