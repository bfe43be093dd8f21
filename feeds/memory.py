"""Bars that are in memory already: from arrays, from a file that fits, or made by hand in a test."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.bars import Bars, FloatArray, Stream, Timeframe
from engine.errors import DataError
from feeds.chunks import CHUNK_ROWS, check_chunk_rows, check_field, cut, feed_order, interleave, place_of, split
from feeds.fingerprints import digest_of, fingerprint
from feeds.gaps import Calendar, Gap, GapPolicy, forward_fill, merge_gaps
from feeds.tables import MEMORY, BarTable
from feeds.validation import BadRows, find_and_judge_gaps, prepare_table


class MemoryFeed:
    """Publish bars from memory, checked before the first one. Results do not depend on `chunk_rows`.

    Args:
        bars: one set of bars, or several: of one or many streams each, every stream in one set only.
        gap_policy: what is done about missing bars: refuse ("error"), publish what there is ("mark"), or
            "forward_fill".
        calendar: "24/7", or "sessions" for markets that close; see feeds/gaps.py.
        sort, bad_rows: see `prepare_table`.
        origin: where the bars come from, for messages.
    Raises:
        DataError: the rows are not what bars must be, or bars are missing under the policy "error".
    """

    def __init__(
        self,
        bars: Bars | Sequence[Bars],
        *,
        gap_policy: GapPolicy = "error",
        calendar: Calendar = "24/7",
        sort: bool = False,
        bad_rows: BadRows = "error",
        chunk_rows: int = CHUNK_ROWS,
        origin: str = MEMORY,
    ) -> None:
        sets = [bars] if isinstance(bars, Bars) else list(bars)
        self._streams = feed_order(stream for one in sets for stream in one.streams)
        if not self._streams:
            raise DataError(f"{origin}: there are no bars; expected at least one stream")
        self._chunk_rows = check_chunk_rows(chunk_rows)
        given = {one.streams[place]: rows for one in sets for place, rows in split(one)}
        parts, gaps = [], []
        for stream in self._streams:
            if stream not in given:
                raise DataError(
                    f"{stream.symbol} {stream.timeframe}: there are no rows; expected at least one bar; leave the "
                    "stream out"
                )
            table = prepare_table(BarTable.of_bars(given[stream], origin), sort=sort, bad_rows=bad_rows)
            missing = find_and_judge_gaps(table, gap_policy=gap_policy, calendar=calendar)
            parts.append(forward_fill(table.bars(), missing) if gap_policy == "forward_fill" else table.bars())
            gaps.append(missing)
        self._gaps = gaps
        self._parts = dict(zip(self._streams, parts, strict=True))
        self._bars = interleave(parts, self._streams, [[place] for place in range(len(parts))])

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream, in feed order."""
        return self._streams

    @property
    def row_count(self) -> int:
        """How many bars there are."""
        return len(self._bars)

    @property
    def bars(self) -> Bars:
        """All the bars, in feed order."""
        return self._bars

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps that were found, by time, then in feed order."""
        return merge_gaps(self._gaps)

    @cached_property
    def digests(self) -> Mapping[Stream, str]:
        """The digest of each stream; see feeds/fingerprints.py."""
        return {stream: digest_of(part) for stream, part in self._parts.items()}

    @property
    def fingerprint(self) -> str:
        """A hash of the content: equal if and only if every bar is equal."""
        return fingerprint(self.digests, self._streams)

    def chunks(self) -> Iterator[Bars]:
        """Yield the bars, oldest first, as views."""
        return cut(self._bars, self._chunk_rows)

    def column(self, stream: Stream, field: str) -> FloatArray:
        """Return a whole column of one stream, float64 [rows of the stream]."""
        place_of(stream, self._streams)
        column: FloatArray = getattr(self._parts[stream], check_field(field))
        return column


def bars_of_arrays(
    symbol: str,
    timeframe: str,
    open_time: npt.ArrayLike,
    *,
    open: npt.ArrayLike,
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike | None = None,
    close_time: npt.ArrayLike | None = None,
) -> Bars:
    """Return columns as `Bars` of one stream, unchecked: `MemoryFeed` checks them.

    Args:
        open_time: UTC nanoseconds, int64 [rows], or an array of datetime64 (which is UTC).
        volume: None stands for 0; close_time: None stands for open_time + timeframe.
    """
    stream = Stream(symbol, timeframe)
    opens = _times(open_time)
    closes = opens + Timeframe.parse(timeframe).duration if close_time is None else _times(close_time)
    o, h, l, c = (np.asarray(column) for column in (open, high, low, close))  # noqa: E741
    traded = np.zeros(len(opens)) if volume is None else np.asarray(volume)
    return Bars((stream,), opens, closes, o, h, l, c, traded)


def _times(times: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(times)
    return array.astype("datetime64[ns]").astype(np.int64) if array.dtype.kind == "M" else array
