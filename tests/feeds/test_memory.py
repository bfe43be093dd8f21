"""Bars from memory: arrays, data frames, several sets at once."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from engine.bars import FORWARD_FILLED, HOUR, Bars, Stream, iso
from engine.errors import DataError, SettingsError
from feeds.files import bars_of_frame
from feeds.layout import FileLayout
from feeds.memory import MemoryFeed, bars_of_arrays

MakeBars = Callable[..., Bars]


def frame(**index: object) -> pd.DataFrame:
    times = pd.date_range("2024-03-31", periods=3, freq="h", **index)  # type: ignore[call-overload]
    return pd.DataFrame(
        {"Open": [1.0, 2, 3], "High": [2.0, 3, 4], "Low": [1.0, 1, 2], "Close": [2.0, 2, 3], "Volume": [5, 6, 7]}, times
    )


def test_two_sets_are_published_in_one_order(make_bars: MakeBars) -> None:
    feed = MemoryFeed([make_bars("BTC/USDT", "1h", 4), make_bars("ETH/USDT", "2h", 2)])
    assert [(bar.symbol, iso(bar.close_time)[11:16]) for chunk in feed.chunks() for bar in chunk.rows()] == [
        ("BTC/USDT", "01:00"),
        ("BTC/USDT", "02:00"),
        ("ETH/USDT", "02:00"),
        ("BTC/USDT", "03:00"),
        ("BTC/USDT", "04:00"),
        ("ETH/USDT", "04:00"),
    ]


def test_a_longer_timeframe_comes_after_a_shorter_one_whatever_the_order_given(make_bars: MakeBars) -> None:
    feed = MemoryFeed([make_bars("A", "2h", 2), make_bars("B", "1h", 4)])
    assert feed.streams == (Stream("B", "1h"), Stream("A", "2h"))


def test_a_feed_of_the_bars_of_a_feed_is_the_same_feed(make_bars: MakeBars) -> None:
    feed = MemoryFeed([make_bars("A", "1h", 4), make_bars("B", "1h", 5)])
    assert MemoryFeed(feed.bars).fingerprint == feed.fingerprint


def test_a_stream_given_twice_is_refused(make_bars: MakeBars) -> None:
    with pytest.raises(DataError, match="BTC/USDT 1h is given twice; expected each stream once"):
        MemoryFeed([make_bars(), make_bars()])


def test_no_bars_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="there are no bars; expected at least one stream"):
        MemoryFeed([])


def test_a_stream_without_rows_is_named(make_bars: MakeBars) -> None:
    both = MemoryFeed([make_bars("A", "1h", 4), make_bars("B", "1h", 5)]).bars
    with pytest.raises(DataError, match="A 1h: there are no rows"):
        MemoryFeed(both[-1:])


def test_a_chunk_of_no_rows_is_refused(make_bars: MakeBars) -> None:
    with pytest.raises(SettingsError, match="chunk_rows is 0; expected 1 or more"):
        MemoryFeed(make_bars(), chunk_rows=0)


def test_gaps_are_reported_when_they_are_marked(make_bars: MakeBars) -> None:
    feed = MemoryFeed([make_bars("A", rows=8, missing=(5, 6)), make_bars("B", rows=8, missing=(2,))], gap_policy="mark")
    assert [str(gap) for gap in feed.gaps] == [
        "B 1h: 1 bar missing between 2024-03-31T02:00Z and 03:00Z",
        "A 1h: 2 bars missing between 2024-03-31T05:00Z and 07:00Z",
    ]
    assert feed.row_count == 13


def test_a_made_up_bar_repeats_the_last_close_without_volume_and_says_so(make_bars: MakeBars) -> None:
    feed = MemoryFeed(make_bars(rows=5, missing=(2,)), gap_policy="forward_fill")
    filled = list(feed.bars.rows())[2]
    assert (filled.open, filled.high, filled.low, filled.close, filled.volume) == (101.5, 101.5, 101.5, 101.5, 0.0)
    assert filled.flags == FORWARD_FILLED
    assert [bar.flags for bar in feed.bars.rows()] == [0, 0, FORWARD_FILLED, 0, 0]


def test_datetime64_is_taken_for_utc() -> None:
    times = np.array(["2024-03-31T00", "2024-03-31T01"], "datetime64[h]")
    price = np.array([1.0, 1.0])
    bars = MemoryFeed(bars_of_arrays("A", "1h", times, open=price, high=price, low=price, close=price)).bars
    assert iso(int(bars.open_time[1])) == "2024-03-31T01:00Z"
    assert bars.volume.tolist() == [0.0, 0.0]


def test_a_data_frame_with_a_zone_is_converted_to_utc() -> None:
    bars = MemoryFeed(bars_of_frame(frame(tz="Asia/Tokyo"), "A")).bars
    assert iso(int(bars.open_time[0])) == "2024-03-30T15:00Z"
    assert bars.streams == (Stream("A", "1h"),)


def test_a_naive_data_frame_is_refused_unless_the_zone_is_said() -> None:
    with pytest.raises(DataError, match="A row 1: time '2024-03-31 00:00:00' has no timezone"):
        bars_of_frame(frame(), "A")
    assert len(bars_of_frame(frame(), "A", layout=FileLayout(timezone="UTC"))) == 3


def test_a_data_frame_with_times_in_a_column_is_read() -> None:
    table = frame(tz="UTC").reset_index(names="date")
    assert bars_of_frame(table, "A").open_time[1] - bars_of_frame(table, "A").open_time[0] == HOUR


def test_a_data_frame_of_mixed_types_is_refused() -> None:
    table = frame(tz="UTC")
    table["Close"] = [1.0, "x", object()]
    with pytest.raises(DataError, match="A 1h: the data frame has a column of mixed types"):
        bars_of_frame(table, "A", "1h")


def test_a_data_frame_without_a_column_names_it() -> None:
    with pytest.raises(DataError, match="there is no column for the close; found ts, Open, High, Low, Volume"):
        bars_of_frame(frame(tz="UTC").drop(columns="Close"), "A", "1h")
