"""The store of bars: import once, read any part, nothing half done."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.bars import DAY, FORWARD_FILLED, HOUR, Bars, Stream, iso
from engine.errors import DataError, SettingsError
from feeds.catalog import Catalog
from feeds.chunks import join, take
from feeds.memory import MemoryFeed, bars_of_arrays
from feeds.resample import ResampledFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket

MakeBars = Callable[..., Bars]
MARKET = SyntheticMarket(symbols=("BTC/USDT",), timeframe="1h", rows=10_000, start=datetime(2023, 6, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def market() -> Bars:
    return join(list(SyntheticFeed(MARKET).chunks()))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "bars")


def files_under(catalog: Catalog) -> list[str]:
    return sorted(path.name for path in Path(catalog.root).rglob("*.*") if not path.name.startswith("."))


def test_what_was_imported_is_read_back(catalog: Catalog, market: Bars) -> None:
    catalog.write(market, origin="synthetic")
    feed = catalog.feed(["BTC/USDT"], "1h")
    assert feed.fingerprint == MemoryFeed(market).fingerprint
    assert MemoryFeed(join(list(feed.chunks()))).fingerprint == feed.fingerprint
    assert feed.row_count == 10_000


def test_there_is_a_file_for_each_year(catalog: Catalog, market: Bars) -> None:
    catalog.write(market)
    assert [name[:4] for name in files_under(catalog) if name.endswith("parquet")] == ["2023", "2024"]


def test_bars_of_seconds_have_a_file_for_each_month(catalog: Catalog) -> None:
    catalog.write(join(list(SyntheticFeed(SyntheticMarket(timeframe="30s", rows=100_000)).chunks())))
    assert [name[:7] for name in files_under(catalog) if name.endswith("parquet")] == ["2024-01", "2024-02"]


def test_the_entry_says_what_there_is(catalog: Catalog, make_bars: MakeBars) -> None:
    (result,) = catalog.write(make_bars(rows=10, missing=(3, 6, 7)), origin="btc.csv")
    (entry,) = catalog.entries()
    assert entry == result.entry == catalog.entry("BTC/USDT", "1h")
    assert str(entry) == "7 bars, 2024-03-31T00:00Z to 2024-03-31T10:00Z, 3 bars missing in 2 gaps"
    assert str(entry.largest_gap) == "BTC/USDT 1h: 2 bars missing between 2024-03-31T06:00Z and 08:00Z"
    assert entry.origins == ("btc.csv",)
    assert str(result) == f"BTC/USDT 1h: 7 added; now {entry}"
    assert [gap.missing for gap in catalog.gaps("BTC/USDT", "1h")] == [1, 2]


def test_importing_again_changes_nothing(catalog: Catalog, market: Bars) -> None:
    catalog.write(market, origin="a")
    before = files_under(catalog)
    (again,) = catalog.write(market, origin="a")
    assert (again.added, again.known, again.conflicting) == (0, 10_000, 0)
    assert files_under(catalog) == before


def test_overlapping_imports_are_merged(catalog: Catalog, market: Bars) -> None:
    catalog.write(market[:6000])
    (result,) = catalog.write(market[5000:])
    assert (result.added, result.known) == (4000, 1000)
    assert result.entry.digest == MemoryFeed(market).digests[Stream("BTC/USDT", "1h")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(order=st.permutations(range(5)), overlap=st.integers(0, 30))
def test_the_digest_does_not_depend_on_how_the_bars_came(
    tmp_path: Path, market: Bars, order: list[int], overlap: int
) -> None:
    catalog = Catalog(tmp_path / f"{order}{overlap}")
    hundred = market[5100:5200]  # over New Year
    for place in order:
        catalog.write(hundred[max(0, place * 20 - overlap) : place * 20 + 20])
    entry = catalog.entry("BTC/USDT", "1h")
    assert (entry.digest, entry.rows, entry.gap_count) == (MemoryFeed(hundred).digests[entry.stream], 100, 0)
    catalog.verify("BTC/USDT", "1h")
    catalog.remove("BTC/USDT", "1h")


def test_a_conflict_imports_nothing_and_names_the_first(catalog: Catalog, make_bars: MakeBars) -> None:
    bars = make_bars(rows=6)
    catalog.write(bars, origin="old.csv")
    before = (files_under(catalog), catalog.entry("BTC/USDT", "1h"))
    close = bars.close.copy()
    close[[2, 4]] += 0.25
    with pytest.raises(DataError) as refusal:
        catalog.write(replace(bars, close=close), origin="new.csv")
    assert str(refusal.value) == (
        "new.csv: the catalog has other values: BTC/USDT 1h 2024-03-31T02:00Z: close 102.5 there, 102.75 here (the "
        "first of 2 in 2024); "
        'nothing was imported; set on_conflict = "keep" or "replace" to say which values are right'
    )
    assert (files_under(catalog), catalog.entry("BTC/USDT", "1h")) == before


@pytest.mark.parametrize(("on_conflict", "close"), [("keep", 102.5), ("replace", 102.75)])
def test_a_conflict_is_settled_as_asked_and_reported(
    catalog: Catalog, make_bars: MakeBars, on_conflict: str, close: float
) -> None:
    bars = make_bars(rows=6)
    catalog.write(bars[:5])
    closes = bars.close.copy()
    closes[2] += 0.25
    (result,) = catalog.write(replace(bars, close=closes)[1:], on_conflict=on_conflict)  # type: ignore[arg-type]
    assert (result.added, result.known, result.conflicting) == (1, 3, 1)
    assert str(result.conflicts[0]) == "BTC/USDT 1h 2024-03-31T02:00Z: close 102.5 there, 102.75 here"
    stored = catalog.read("BTC/USDT", "1h")
    assert stored.close.tolist() == [100.5, 101.5, close, 103.5, 104.5, 105.5]
    catalog.verify("BTC/USDT", "1h")


def test_an_import_that_fails_on_the_way_leaves_everything_as_it_was(catalog: Catalog, market: Bars) -> None:
    catalog.write(market[:6000])
    before = (files_under(catalog), catalog.entry("BTC/USDT", "1h"))

    def broken() -> Iterator[Bars]:
        yield market[6000:8000]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalog.write(broken())
    assert (files_under(catalog), catalog.entry("BTC/USDT", "1h")) == before


def test_bars_that_cannot_be_are_not_imported(catalog: Catalog, make_bars: MakeBars) -> None:
    bars = make_bars()
    with pytest.raises(DataError, match="x.csv row 1, 2024-03-31T00:00Z: high 1.0 is below the open"):
        catalog.write(replace(bars, high=np.full(5, 1.0)), origin="x.csv")
    assert catalog.entries() == ()


def test_bars_off_the_grid_of_those_there_are_refused(catalog: Catalog, make_bars: MakeBars) -> None:
    catalog.write(make_bars(rows=4))
    with pytest.raises(
        DataError,
        match="opens before that of 2024-03-31T00:00Z closes, at 2024-03-31T01:00Z; expected bars that do not overlap",
    ):
        catalog.write(make_bars(rows=1, start="2024-03-31T00:30"))
    with pytest.raises(DataError, match="bar 5: time 2024-03-31T10:30Z is off the 1h grid"):
        catalog.write(make_bars(rows=1, start="2024-03-31T10:30"))
    assert catalog.entry("BTC/USDT", "1h").rows == 4


def test_bars_made_up_by_a_policy_are_not_stored(catalog: Catalog, make_bars: MakeBars) -> None:
    catalog.write_feed(MemoryFeed(make_bars(rows=6, missing=(2, 3)), gap_policy="forward_fill"))
    assert catalog.entry("BTC/USDT", "1h").missing_bars == 2


def test_nothing_to_import_is_said(catalog: Catalog) -> None:
    with pytest.raises(DataError, match="there are no bars to import"):
        catalog.write([])


def test_many_streams_are_imported_from_one_feed(catalog: Catalog) -> None:
    feed = ResampledFeed(SyntheticFeed(SyntheticMarket(symbols=("A", "B"), rows=3000)), "1h")
    told: list[tuple[int, int | None]] = []
    results = catalog.write_feed(feed, progress=lambda done, total: told.append((done, total)))
    assert [(result.stream, result.added) for result in results] == [
        (Stream("A", "1m"), 3000),
        (Stream("B", "1m"), 3000),
        (Stream("A", "1h"), 50),
        (Stream("B", "1h"), 50),
    ]
    assert told[-1] == (6100, 6100)
    assert catalog.feed(["A", "B"], ["1m", "1h"]).fingerprint == feed.fingerprint


def test_files_are_imported_together_or_not_at_all(catalog: Catalog, tmp_path: Path) -> None:
    header = "time,open,high,low,close,volume\n"
    paths = [tmp_path / f"BTCUSDT-1h-2024-0{month}.csv" for month in (1, 2, 3)]
    for place, path in enumerate(paths):
        path.write_text(header + "".join(f"{1704067200 + 3600 * (place * 10 + row)},1,2,1,2,3\n" for row in range(10)))
    told: list[tuple[int, int | None]] = []
    (result,) = catalog.import_files(paths, symbol="BTC/USDT", progress=lambda done, total: told.append((done, total)))
    assert (result.stream, result.added, result.entry.gap_count) == (Stream("BTC/USDT", "1h"), 30, 0)
    assert result.entry.origins == tuple(str(path) for path in paths)
    assert told == [(1, 3), (2, 3), (3, 3)]
    paths[2].write_text(header + "1704067200,1,2,1,2,3\n1704070800,1,2,1,x,3\n")
    with pytest.raises(DataError, match="2024-03.csv line 3: column close is 'x'"):
        catalog.import_files(paths, symbol="ETH/USDT")
    assert [entry.stream.symbol for entry in catalog.entries()] == ["BTC/USDT"]


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (None, None, 0, 10_000),
        (datetime(2023, 6, 2, tzinfo=UTC), None, 24, 10_000),
        (None, datetime(2023, 6, 2, tzinfo=UTC), 0, 24),
        (datetime(2023, 12, 31, 12, tzinfo=UTC), datetime(2024, 1, 1, 12, tzinfo=UTC), 213 * 24 + 12, 214 * 24 + 12),
        (datetime(2023, 6, 1, 0, 30, tzinfo=UTC), datetime(2023, 6, 1, 2, 30, tzinfo=UTC), 1, 2),
        (datetime(2000, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC), 0, 10_000),
    ],
)
def test_a_range_has_the_bars_that_lie_in_it(
    catalog: Catalog, market: Bars, start: datetime | None, end: datetime | None, first: int, last: int
) -> None:
    catalog.write(market)
    feed = catalog.feed(["BTC/USDT"], "1h", start=start, end=end)
    expected = MemoryFeed(market[first:last])
    assert feed.row_count == last - first
    assert feed.fingerprint == expected.fingerprint
    assert join(list(feed.chunks())).close.tolist() == expected.bars.close.tolist()
    assert feed.column(Stream("BTC/USDT", "1h"), "volume").tolist() == expected.bars.volume.tolist()


def test_a_range_without_bars_says_what_there_is(catalog: Catalog, market: Bars) -> None:
    catalog.write(market)
    with pytest.raises(
        DataError, match="there are no bars from 2030-01-01T00:00Z to the last; the catalog has 2023-06-01T00:00Z to"
    ):
        catalog.feed(["BTC/USDT"], "1h", start=datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(DataError, match="there are no bars from 2023-06-01T00:10Z to 2023-06-01T00:50Z"):
        catalog.feed(
            ["BTC/USDT"],
            "1h",
            start=datetime(2023, 6, 1, 0, 10, tzinfo=UTC),
            end=datetime(2023, 6, 1, 0, 50, tzinfo=UTC),
        )


def test_a_naive_range_is_refused(catalog: Catalog, market: Bars) -> None:
    catalog.write(market)
    with pytest.raises(DataError, match="has no timezone"):
        catalog.feed(["BTC/USDT"], "1h", start=datetime(2023, 6, 2))  # noqa: DTZ001


def test_gaps_are_refused_marked_or_filled_when_read(catalog: Catalog, make_bars: MakeBars) -> None:
    bars = make_bars(rows=40, missing=(3, 20, 21, 22))
    catalog.write(bars)
    with pytest.raises(
        DataError,
        match=r"bars: BTC/USDT 1h: 1 bar missing between 2024-03-31T03:00Z and 04:00Z \(the first of 2 gaps, 4 bars "
        r"in all\)",
    ):
        catalog.feed(["BTC/USDT"], "1h")
    assert catalog.feed(["BTC/USDT"], "1h", gap_policy="mark").row_count == 36
    filled = catalog.feed(["BTC/USDT"], "1h", gap_policy="forward_fill", chunk_rows=5)
    expected = MemoryFeed(bars, gap_policy="forward_fill")
    assert filled.fingerprint == expected.fingerprint
    assert filled.row_count == 40
    assert sum(bar.flags == FORWARD_FILLED for chunk in filled.chunks() for bar in chunk.rows()) == 4
    for field in ("open", "high", "low", "close", "volume"):
        assert filled.column(Stream("BTC/USDT", "1h"), field).tolist() == getattr(expected.bars, field).tolist()


def test_a_gap_outside_the_range_is_no_matter(catalog: Catalog, make_bars: MakeBars) -> None:
    bars = make_bars(rows=40, missing=(3, 20))
    catalog.write(bars)
    feed = catalog.feed(["BTC/USDT"], "1h", start=int(bars.open_time[4]), end=int(bars.open_time[18]))
    assert (feed.gaps, feed.row_count) == ((), 14)
    part = catalog.feed(["BTC/USDT"], "1h", start=int(bars.open_time[10]), gap_policy="forward_fill")
    assert [gap.missing for gap in part.gaps] == [1]
    assert part.fingerprint == MemoryFeed(bars[10 - 1 :][1:], gap_policy="forward_fill").fingerprint


def test_the_calendar_is_kept_with_the_stream(catalog: Catalog) -> None:
    days = 19_800 * DAY + np.array([week * 7 + day for week in range(8) for day in range(5)]) * DAY
    opens = (days[:, None] + np.arange(14, 20) * HOUR).ravel()
    price = np.full(len(opens), 10.0)
    bars = bars_of_arrays("AAPL", "1h", opens, open=price, high=price, low=price, close=price)
    (result,) = catalog.write(take(bars, np.delete(np.arange(len(opens)), 122)), calendar="sessions")
    assert (result.entry.calendar, result.entry.missing_bars) == ("sessions", 1)
    assert catalog.feed(["AAPL"], "1h", end=int(opens[100])).gaps == ()
    with pytest.raises(DataError, match="1 bar missing"):
        catalog.feed(["AAPL"], "1h")
    with pytest.raises(DataError, match="gaps"):
        catalog.feed(["AAPL"], "1h", end=int(opens[100]), calendar="24/7")


def test_the_calendar_of_a_stream_can_be_corrected(catalog: Catalog, make_bars: MakeBars) -> None:
    catalog.write(make_bars(rows=6, missing=(2,)))
    (result,) = catalog.write(make_bars(rows=6, missing=(2,)), calendar="sessions")
    assert (result.added, result.entry.calendar, result.entry.missing_bars) == (0, "sessions", 0)


def test_a_symbol_that_is_not_there_points_to_the_nearest(catalog: Catalog, make_bars: MakeBars) -> None:
    with pytest.raises(DataError, match="the catalog is empty; import something first"):
        catalog.feed(["BTC/USDT"], "1h")
    catalog.write(make_bars())
    with pytest.raises(DataError, match=r"no bars of BTC/USD; did you mean 'BTC/USDT'\?; there are BTC/USDT"):
        catalog.feed(["BTC/USD"], "1h")
    with pytest.raises(DataError, match="no bars of BTC/USDT 5m; there are 1h; import or resample it"):
        catalog.feed(["BTC/USDT"], "5m")
    with pytest.raises(SettingsError, match="timeframe '1hour' is not understood"):
        catalog.feed(["BTC/USDT"], "1hour")
    with pytest.raises(DataError, match="no symbols were asked for"):
        catalog.feed([], "1h")


def test_an_unknown_way_with_conflicts_is_refused(catalog: Catalog, make_bars: MakeBars) -> None:
    with pytest.raises(SettingsError, match="on_conflict 'overwrite' is not known; expected error, keep or replace"):
        catalog.write(make_bars(), on_conflict="overwrite")  # type: ignore[arg-type]


def test_a_changed_file_is_found_by_verifying(catalog: Catalog, make_bars: MakeBars, market: Bars) -> None:
    catalog.write(make_bars())
    other = Catalog(Path(catalog.root).parent / "other")
    other.write(replace(make_bars(), volume=np.full(5, 1.0)))
    (mine,), (theirs,) = (list(Path(one.root).rglob("*.parquet")) for one in (catalog, other))
    catalog.verify("BTC/USDT", "1h")
    mine.write_bytes(theirs.read_bytes())
    with pytest.raises(
        DataError, match=r"2024-.*parquet: the content is not what was imported; remove the stream and import it anew"
    ):
        catalog.verify("BTC/USDT", "1h")


@pytest.mark.parametrize(
    ("content", "message"), [(b"PAR1", "the file is damaged"), (None, "the file is gone; expected 5 rows")]
)
def test_a_damaged_or_missing_file_is_named(
    catalog: Catalog, make_bars: MakeBars, content: bytes | None, message: str
) -> None:
    catalog.write(make_bars())
    feed = catalog.feed(["BTC/USDT"], "1h")
    (file,) = Path(catalog.root).rglob("*.parquet")
    file.write_bytes(content) if content else file.unlink()
    with pytest.raises(DataError, match=message):
        list(feed.chunks())


@pytest.mark.parametrize(
    "change",
    [lambda text: text[:50], lambda text: json.dumps({**json.loads(text), "form": "another"}), lambda text: "{}"],
)
def test_a_damaged_record_is_named(catalog: Catalog, make_bars: MakeBars, change: Callable[[str], str]) -> None:
    catalog.write(make_bars())
    (record,) = Path(catalog.root).rglob("stream.json")
    record.write_text(change(record.read_text()))
    with pytest.raises(DataError, match="stream.json: the catalog's record of this stream is damaged"):
        catalog.entries()


def test_a_removed_stream_is_gone(catalog: Catalog, make_bars: MakeBars) -> None:
    catalog.write(MemoryFeed([make_bars("A"), make_bars("B")]).bars)
    catalog.remove("A", "1h")
    assert [entry.stream.symbol for entry in catalog.entries()] == ["B"]
    assert [name for name in files_under(catalog) if name.endswith("parquet")] == [
        Path(catalog.entry("B", "1h").parts[0].name).name
    ]


def test_a_catalog_where_a_file_is_cannot_be_written(tmp_path: Path, make_bars: MakeBars) -> None:
    (tmp_path / "bars").write_text("")
    with pytest.raises(DataError, match="bars: the catalog cannot be written"):
        Catalog(tmp_path / "bars").write(make_bars())


def test_a_catalog_lives_where_fsspec_reaches(make_bars: MakeBars) -> None:
    catalog = Catalog("memory://test-catalog/bars")
    bars = MemoryFeed([make_bars("BTC/USDT", rows=20), make_bars("ETH/USDT", rows=30)]).bars
    catalog.write(bars)
    catalog.write(bars)
    assert [entry.stream.symbol for entry in catalog.entries()] == ["BTC/USDT", "ETH/USDT"]
    assert catalog.feed(["BTC/USDT", "ETH/USDT"], "1h").fingerprint == MemoryFeed(bars).fingerprint
    catalog.verify("ETH/USDT", "1h")
    catalog.remove("BTC/USDT", "1h")
    assert len(catalog.entries()) == 1
    with pytest.raises(DataError, match="nowhere://x: the address cannot be opened"):
        Catalog("nowhere://x")


@pytest.mark.parametrize("symbol", ["..", ".", ".hidden", "A/../B", "C:\\D", "Ä €", "%2F"])
def test_any_symbol_has_a_folder_of_its_own_inside_the_catalog(
    catalog: Catalog, make_bars: MakeBars, symbol: str
) -> None:
    catalog.write(make_bars(symbol))
    assert [entry.stream.symbol for entry in catalog.entries()] == [symbol]
    assert catalog.feed([symbol], "1h").row_count == 5
    assert [path.name for path in Path(catalog.root).parent.iterdir()] == ["bars"]


def test_an_empty_symbol_is_refused(catalog: Catalog, make_bars: MakeBars) -> None:
    with pytest.raises(DataError, match="a symbol is empty"):
        catalog.write(make_bars(""))


def test_columns_may_be_written_to(catalog: Catalog, make_bars: MakeBars) -> None:
    catalog.write(make_bars())
    (chunk,) = catalog.feed(["BTC/USDT"], "1h").chunks()
    assert all(getattr(chunk, name).flags.writeable for name in ("open_time", "close_time", "open", "volume"))


def test_reading_does_not_make_a_folder(tmp_path: Path) -> None:
    assert Catalog(tmp_path / "none").entries() == ()
    assert not (tmp_path / "none").exists()


def test_times_are_stored_as_other_tools_read_them(catalog: Catalog, make_bars: MakeBars) -> None:
    import pandas as pd

    catalog.write(make_bars())
    (file,) = Path(catalog.root).rglob("*.parquet")
    table = pd.read_parquet(file)
    assert str(table["open_time"][0]) == "2024-03-31 00:00:00+00:00"
    assert iso(int(make_bars().open_time[0])) == "2024-03-31T00:00Z"
