"""Several feeds in one order."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import MINUTE, Bars, FloatArray, Stream, Timeframe
from engine.errors import DataError
from feeds.chunks import join
from feeds.memory import MemoryFeed, bars_of_arrays
from feeds.merge import MergedFeed

MakeBars = Callable[..., Bars]


class LiveFeed:
    """Bars that come one by one, without an end that is known."""

    row_count = None
    fingerprint = "live"

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self.streams = bars.streams
        self.given = 0

    def chunks(self) -> Iterator[Bars]:
        for row in range(len(self._bars)):
            self.given = row + 1
            yield self._bars[row : row + 1]

    def column(self, stream: Stream, field: str) -> FloatArray | None:
        return None


@st.composite
def sets_of_bars(draw: st.DrawFn) -> list[Bars]:
    """Return streams of different timeframes, lengths and starts, some with holes."""
    sets = []
    for place in range(draw(st.integers(1, 4))):
        timeframe = draw(st.sampled_from(["1m", "2m", "5m"]))
        rows = np.array(sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=20))))
        price = 10.0 + rows
        opens = rows * Timeframe.parse(timeframe).duration + 10_000_000 * 10 * MINUTE
        sets.append(bars_of_arrays(f"S{place}", timeframe, opens, open=price, high=price, low=price, close=price))
    return sets


@given(sets=sets_of_bars(), chunk_rows=st.lists(st.integers(1, 40), min_size=5, max_size=5))
def test_merging_streams_is_sorting_all_their_rows(sets: list[Bars], chunk_rows: list[int]) -> None:
    feeds = [MemoryFeed(bars, gap_policy="mark", chunk_rows=rows) for bars, rows in zip(sets, chunk_rows, strict=False)]
    merged = MergedFeed(feeds, chunk_rows=chunk_rows[-1])
    whole = MemoryFeed(sets, gap_policy="mark")
    rows = [bar for chunk in merged.chunks() for bar in chunk.rows()]
    order = [stream.symbol for stream in merged.streams]
    assert rows == sorted(rows, key=lambda bar: (bar.close_time, order.index(bar.symbol)))
    assert rows == list(whole.bars.rows())
    assert merged.fingerprint == whole.fingerprint
    assert merged.row_count == len(rows)
    assert merged.gaps == whole.gaps


def test_equal_times_are_settled_by_the_order_of_the_feeds(make_bars: MakeBars) -> None:
    for first, second in (("A", "B"), ("B", "A")):
        merged = MergedFeed([MemoryFeed(make_bars(first)), MemoryFeed(make_bars(second))])
        assert [bar.symbol for bar in next(merged.chunks()).rows()][:2] == [first, second]


def test_the_same_stream_in_two_feeds_is_refused(make_bars: MakeBars) -> None:
    with pytest.raises(DataError, match="BTC/USDT 1h is given twice"):
        MergedFeed([MemoryFeed(make_bars()), MemoryFeed(make_bars())])


def test_no_feeds_are_refused() -> None:
    with pytest.raises(DataError, match="there are no feeds to merge"):
        MergedFeed([])


def test_feeds_that_do_not_overlap_follow_each_other(make_bars: MakeBars) -> None:
    early, late = make_bars("A", rows=3), make_bars("B", rows=3, start="2024-05-01T00:00")
    merged = join(list(MergedFeed([MemoryFeed(late), MemoryFeed(early)]).chunks()))
    assert [merged.streams[place].symbol for place in merged.stream.tolist()] == ["A", "A", "A", "B", "B", "B"]  # type: ignore[union-attr]


def test_a_live_feed_is_passed_on_bar_by_bar(make_bars: MakeBars) -> None:
    live = LiveFeed(make_bars(rows=3))
    merged = MergedFeed([live])
    assert len(next(merged.chunks())) == 1
    assert live.given == 1
    assert (merged.row_count, merged.fingerprint) == (None, "live")
    assert merged.column(live.streams[0], "close") is None
