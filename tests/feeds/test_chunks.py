"""Cutting and joining without splitting an instant."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import Bars, Stream
from engine.errors import DataError, SettingsError
from feeds.chunks import check_field, cut, feed_order, join, place_of, rechunk, split
from feeds.memory import MemoryFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket

MakeBars = Callable[..., Bars]


def two_streams() -> Bars:
    return join(list(SyntheticFeed(SyntheticMarket(symbols=("A", "B"), rows=20)).chunks()))


@given(st.integers(1, 50), st.integers(1, 50))
def test_cut_and_joined_again_nothing_has_changed(first: int, second: int) -> None:
    bars = two_streams()
    chunks = list(rechunk(cut(bars, first), second))
    assert join(chunks).close.tolist() == bars.close.tolist()
    assert [chunk.stream.tolist() for chunk in [join(chunks)]] == [bars.stream.tolist()]  # type: ignore[union-attr]


@given(st.integers(1, 50))
def test_an_instant_is_never_split(chunk_rows: int) -> None:
    chunks = list(cut(two_streams(), chunk_rows))
    assert all(a.close_time[-1] < b.close_time[0] for a, b in pairwise(chunks))
    assert all(chunk_rows <= len(chunk) <= chunk_rows + 1 for chunk in chunks[:-1])


def test_small_chunks_are_joined_to_the_size_asked_for() -> None:
    assert [len(chunk) for chunk in rechunk(cut(two_streams(), 1), 10)] == [10, 10, 10, 10]


def test_split_gives_the_rows_of_each_stream(make_bars: MakeBars) -> None:
    alone = make_bars("B", rows=3)
    both = MemoryFeed([make_bars("A", rows=4), alone]).bars
    assert {place: rows.close.tolist() for place, rows in split(both)}[1] == alone.close.tolist()


def test_shorter_timeframes_come_first_and_else_the_order_named() -> None:
    named = [Stream("B", "1d"), Stream("B", "1m"), Stream("A", "1d"), Stream("A", "60s")]
    assert feed_order(named) == (Stream("B", "1m"), Stream("A", "60s"), Stream("B", "1d"), Stream("A", "1d"))


def test_an_unknown_stream_names_the_known() -> None:
    with pytest.raises(DataError, match="no bars of C 1m; there are A 1m, B 1m"):
        place_of(Stream("C", "1m"), (Stream("A", "1m"), Stream("B", "1m")))


def test_an_unknown_column_names_the_known() -> None:
    with pytest.raises(
        SettingsError, match="there is no column 'open_time'; expected one of open, high, low, close, volume"
    ):
        check_field("open_time")
