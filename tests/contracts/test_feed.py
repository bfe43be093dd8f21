"""What every feed keeps to: read engine/interfaces.py beside it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine.bars import FIELDS, Bars, Stream, Timeframe
from engine.errors import DataError, SettingsError
from engine.interfaces import Feed
from feeds.catalog import Catalog
from feeds.chunks import join, split, take
from feeds.fingerprints import digests_of_chunks, fingerprint
from feeds.memory import MemoryFeed
from feeds.merge import MergedFeed
from feeds.resample import ResampledFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket

MARKET = SyntheticMarket(
    symbols=("BTC/USDT", "ETH/USDT", "SOL/USDT"), rows=345, start=datetime(2023, 12, 31, 20, tzinfo=UTC)
)
ONE = replace(MARKET, symbols=("BTC/USDT",))
CHUNK_ROWS = (7, 100_000)


@dataclass(frozen=True)
class Case:
    """How a feed of one kind is made; `make(folder, chunk_rows, market)` gives the same bars for any chunk_rows."""

    name: str
    make: Callable[[Path, int, SyntheticMarket], Feed]
    market: SyntheticMarket = MARKET


def bars_of(market: SyntheticMarket) -> Bars:
    return join(list(SyntheticFeed(market).chunks()))


def holed(bars: Bars) -> Bars:
    """Leave out some bars of each stream, but neither the first nor the last."""
    rows = np.arange(len(bars))
    return take(bars, rows[(rows % 11 != 5) | (rows < 10) | (rows > len(bars) - 10)])


def memory(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    return MemoryFeed(bars_of(market), chunk_rows=chunk_rows)


def memory_with_gaps(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    return MemoryFeed(holed(bars_of(market)), gap_policy="mark", chunk_rows=chunk_rows)


def memory_filled(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    return MemoryFeed(holed(bars_of(market)), gap_policy="forward_fill", chunk_rows=chunk_rows)


def synthetic(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    return SyntheticFeed(market, chunk_rows=chunk_rows)


def catalog(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    store = Catalog(folder)
    store.write(bars_of(market))
    return store.feed(market.symbols, "1m", chunk_rows=chunk_rows)


def catalog_range(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    store = Catalog(folder)
    store.write(bars_of(market))
    start, end = datetime(2023, 12, 31, 21, 30, tzinfo=UTC), datetime(2024, 1, 1, 1, tzinfo=UTC)
    return store.feed(market.symbols, "1m", start=start, end=end, chunk_rows=chunk_rows)


def catalog_filled(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    store = Catalog(folder)
    store.write(holed(bars_of(market)))
    return store.feed(market.symbols, "1m", gap_policy="forward_fill", chunk_rows=chunk_rows)


def merged(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    hours = replace(market, timeframe="1h", rows=5, symbols=("XRP/USDT", *market.symbols))
    parts = [SyntheticFeed(hours, chunk_rows=3), MemoryFeed(bars_of(market), chunk_rows=chunk_rows)]
    return MergedFeed(parts, chunk_rows=chunk_rows)


def resampled(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    return ResampledFeed(MemoryFeed(bars_of(market), chunk_rows=chunk_rows), "15m", chunk_rows=chunk_rows)


def resampled_only(folder: Path, chunk_rows: int, market: SyntheticMarket) -> Feed:
    source = MemoryFeed(holed(bars_of(market)), gap_policy="mark", chunk_rows=chunk_rows)
    return ResampledFeed(source, "15m", publish="resampled", chunk_rows=chunk_rows)


MAKERS = (
    memory,
    memory_with_gaps,
    memory_filled,
    synthetic,
    catalog,
    catalog_range,
    catalog_filled,
    merged,
    resampled,
    resampled_only,
)
CASES = [Case(f"{make.__name__} of {len(market.symbols)}", make, market) for make in MAKERS for market in (ONE, MARKET)]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(params=CHUNK_ROWS, ids=lambda rows: f"chunks of {rows}")
def chunk_rows(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def feed(case: Case, tmp_path: Path, chunk_rows: int) -> Feed:
    return case.make(tmp_path / "bars", chunk_rows, case.market)


def rows_of(feed: Feed) -> Bars:
    return join(list(feed.chunks()))


def stream_of(bars: Bars) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.zeros(len(bars), np.int32) if bars.stream is None else bars.stream


def test_bars_come_by_close_time_and_then_in_the_order_of_the_streams(feed: Feed) -> None:
    bars = rows_of(feed)
    keys = list(zip(bars.close_time.tolist(), stream_of(bars).tolist(), strict=True))
    assert len(keys) > 20
    assert keys == sorted(set(keys))


def test_longer_timeframes_come_after_shorter_ones(feed: Feed) -> None:
    durations = [Timeframe.parse(stream.timeframe) for stream in feed.streams]
    assert durations == sorted(durations)


def test_every_chunk_names_the_streams_of_the_feed(feed: Feed) -> None:
    assert all(chunk.streams == feed.streams for chunk in feed.chunks())


def test_all_bars_of_one_close_time_are_in_one_chunk(feed: Feed) -> None:
    ends = [(int(chunk.close_time[0]), int(chunk.close_time[-1])) for chunk in feed.chunks()]
    assert all(before[1] < after[0] for before, after in pairwise(ends))


def test_no_chunk_is_empty_or_much_larger_than_asked(feed: Feed, chunk_rows: int) -> None:
    assert all(0 < len(chunk) < chunk_rows + len(feed.streams) for chunk in feed.chunks())


def test_a_bar_is_known_after_it_opened(feed: Feed) -> None:
    bars = rows_of(feed)
    longest = np.array([Timeframe.parse(stream.timeframe).duration for stream in feed.streams])[stream_of(bars)]
    assert np.all((bars.close_time > bars.open_time) & (bars.close_time - bars.open_time <= longest))


def test_reading_twice_gives_the_same(feed: Feed) -> None:
    assert list(rows_of(feed).rows()) == list(rows_of(feed).rows())


def test_two_readers_do_not_disturb_each_other(feed: Feed) -> None:
    expected = [chunk.close.tolist() for chunk in feed.chunks()]
    one, other = feed.chunks(), feed.chunks()
    together = [(next(one).close.tolist(), next(other).close.tolist()) for _ in expected]
    assert together == [(chunk, chunk) for chunk in expected]


def test_the_size_of_chunks_changes_nothing(case: Case, tmp_path: Path) -> None:
    whole = case.make(tmp_path / "whole", 10_000, case.market)
    for chunk_rows in (1, 13, 64):
        feed = case.make(tmp_path / "bars", chunk_rows, case.market)
        assert list(rows_of(feed).rows()) == list(rows_of(whole).rows())
        assert feed.fingerprint == whole.fingerprint


def test_the_row_count_is_what_comes(feed: Feed) -> None:
    assert feed.row_count == len(rows_of(feed))


def test_a_column_is_the_chunks_put_together(feed: Feed) -> None:
    parts: dict[Stream, list[Bars]] = {stream: [] for stream in feed.streams}
    for chunk in feed.chunks():
        for place, rows in split(chunk):
            parts[feed.streams[place]].append(rows)
    for stream, rows in parts.items():
        whole = join(rows)
        for field in FIELDS:
            column = feed.column(stream, field)
            assert column is not None
            assert column.dtype == np.float64
            assert np.array_equal(column, getattr(whole, field)), (stream, field)


def test_the_fingerprint_is_of_the_content_alone(feed: Feed) -> None:
    assert feed.fingerprint == fingerprint(digests_of_chunks(feed.streams, feed.chunks()), feed.streams)
    if rows_of(feed).flags is None:
        assert MemoryFeed(rows_of(feed), gap_policy="mark").fingerprint == feed.fingerprint


@pytest.mark.parametrize("change", ["price", "volume", "time", "row", "name", "order"])
def test_the_fingerprint_changes_with_anything_in_the_content(case: Case, tmp_path: Path, change: str) -> None:
    feed = case.make(tmp_path / "bars", 100, case.market)
    bars = rows_of(feed)
    streams = feed.streams
    middle = len(bars) // 2
    if change in ("price", "volume", "time"):
        name = {"price": "low", "volume": "volume", "time": "open_time"}[change]
        column = getattr(bars, name).copy()
        column[middle] = np.nextafter(column[middle], np.inf) if change != "time" else column[middle] + 1
        bars = replace(bars, **{name: column})
    elif change == "row":
        bars = take(bars, np.delete(np.arange(len(bars)), middle))
    elif change == "name":
        streams = (Stream("DOGE/USDT", streams[0].timeframe), *streams[1:])
    elif len(streams) > 1:
        streams = streams[::-1]
    else:
        pytest.skip("one stream has one order")
    assert fingerprint(digests_of_chunks(streams, [replace(bars, streams=streams)]), streams) != feed.fingerprint


def test_a_stream_or_column_that_is_not_there_is_refused(case: Case, tmp_path: Path) -> None:
    feed = case.make(tmp_path / "bars", 100, case.market)
    with pytest.raises(DataError, match="no bars of DOGE/USDT 1m; there are"):
        feed.column(Stream("DOGE/USDT", "1m"), "close")
    with pytest.raises(
        SettingsError, match="there is no column 'price'; expected one of open, high, low, close, volume"
    ):
        feed.column(feed.streams[0], "price")
