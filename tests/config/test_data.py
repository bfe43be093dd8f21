"""From [data] to a feed: which files, which bars, which price increments."""

from decimal import Decimal

import pytest

from config.data import expand, make_feed, survey
from config.settings import settings_from
from engine import DataError, SettingsError
from engine.testing import make_bars
from feeds.memory import MemoryFeed


def settings(tmp_path, **data):
    return settings_from({"data": data, "strategy": {"name": "BuyAndHold"}}, folder=tmp_path, origin="test")


def write_days(path, count, first=1):
    rows = [f"2024-01-{first + day:02}T00:00Z,100,101,99,100,5" for day in range(count)]
    path.write_text("\n".join(["date,open,high,low,close,volume", *rows]) + "\n")


def test_folders_and_patterns_become_files_in_order(tmp_path):
    for name in ("b.csv", "a.csv", "notes.md"):
        (tmp_path / name).write_text("x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.parquet").write_text("x")
    assert [file.name for file in expand([tmp_path])] == ["a.csv", "b.csv", "c.parquet"]
    assert [file.name for file in expand([tmp_path / "*.csv"])] == ["a.csv", "b.csv"]
    assert expand([tmp_path / "missing.csv"]) == [tmp_path / "missing.csv"]  # reading it says that it is not there
    with pytest.raises(DataError, match="no file of bars is there"):
        expand([tmp_path / "*.zip"])


def test_files_of_one_symbol_are_joined_and_cut_to_the_range(tmp_path):
    write_days(tmp_path / "ABC-1d-2024-01.csv", 10)
    write_days(tmp_path / "ABC-1d-2024-02.csv", 10, first=11)
    feed = make_feed(settings(tmp_path, source="files", paths=["*.csv"], start="2024-01-03", end="2024-01-15"))
    assert [tuple(stream) for stream in feed.streams] == [("ABC", "1d")]
    assert feed.row_count == 12


def test_a_range_without_bars_says_what_there_is(tmp_path):
    write_days(tmp_path / "ABC-1d.csv", 10)
    with pytest.raises(DataError, match=r"ABC 1d: no bars within .* there are some from 2024-01-01T00:00Z"):
        make_feed(settings(tmp_path, source="files", paths="ABC-1d.csv", start="2025-01-01"))


def test_symbols_are_named_for_none_for_all_or_for_each_file(tmp_path):
    for name in ("one", "two"):
        write_days(tmp_path / f"{name}.csv", 3)
    named = make_feed(settings(tmp_path, source="files", paths="*.csv", symbols=["A/B", "C/B"]))
    assert [stream.symbol for stream in named.streams] == ["A/B", "C/B"]
    with pytest.raises(SettingsError, match="names 3 symbols for 2 files"):
        make_feed(settings(tmp_path, source="files", paths="*.csv", symbols=["A", "B", "C"]))


def test_a_synthetic_market_ends_where_it_is_told_to(tmp_path):
    feed = make_feed(settings(tmp_path, source="synthetic", timeframe="1h", bars=1000, end="2024-01-03"))
    assert feed.row_count == 48
    with pytest.raises(SettingsError, match=r"a synthetic market has one; make the others with data\.resample"):
        make_feed(settings(tmp_path, source="synthetic", timeframe=["1m", "1h"]))


@pytest.mark.parametrize(("prices", "increment"), [
    ([100, 101], "1"), ([100, 100.5], "0.1"), ([100.25, 3.125], "0.001"), ([1.2e-07, 1], "1E-8"), ([0.1, 0.3], "0.1"),
])
def test_a_price_increment_is_read_off_the_prices(prices, increment):
    rows = [[price, price, price, price] for price in prices]
    feed = MemoryFeed(make_bars(rows), chunk_rows=1)
    assert survey(feed, known={}).price_increments == {"TEST": Decimal(increment)}


def test_a_survey_knows_the_span_and_leaves_known_increments_alone():
    feed = MemoryFeed(make_bars([100.5] * 3))
    seen = survey(feed, known={"TEST": Decimal("0.5")})
    assert seen.last_close - seen.first_open == 3 * 86_400 * 10**9
    assert seen.price_increments == {"TEST": Decimal("0.5")}


def test_increments_of_many_symbols_are_told_apart():
    bars = [make_bars([price] * 5, symbol=symbol) for symbol, price in (("A", 7.0), ("B", 7.25))]
    assert survey(MemoryFeed(bars), known={}).price_increments == {"A": Decimal(1), "B": Decimal("0.01")}
