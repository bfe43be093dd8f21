"""Real files with known faults: every one is loaded, and its report compared with what was counted independently."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.bars import DAY, MINUTE, nanoseconds
from engine.errors import DataError
from feeds.catalog import Catalog
from feeds.chunks import join
from feeds.events import EventReport
from feeds.files import read_bars
from feeds.layout import FileLayout
from feeds.memory import MemoryFeed
from feeds.merge import MergedFeed
from feeds.reports import QualityReport, check_file
from feeds.resample import ResampledFeed

MARKET = Path(__file__).parents[2].parent / "shared" / "market"

pytestmark = pytest.mark.skipif(not MARKET.is_dir(), reason=f"needs the market data beside the checkout, in {MARKET}")

FILES: list[dict[str, Any]] = json.loads((MARKET / "manifest.json").read_text()) if MARKET.is_dir() else []
BARS = [file for file in FILES if file["mode"] != "event"]
EVENTS = [file for file in FILES if file["mode"] == "event"]
REFUSED = {  # under the calendar of the market and the default policy
    "binance_spot_1h_long/BTCUSDT_1h.parquet": "128 bars in all",
    "freqtrade_testdata/UNITTESTBTC_1m.parquet": "717 bars in all",
    "freqtrade_testdata/XRPETH_1m.parquet": "1,091 bars in all",
    "freqtrade_testdata/TRXBTC_5m.parquet": "6 bars in all",
    "freqtrade_testdata/DASHBTC_5m.parquet": "2 bars in all",
    "coinbase_spot_1m/BTCUSD_1m.parquet": "104 bars in all",
    "us_equity_1d_panel/REX_1d.parquet": "row 961, 2016-06-29T00:00Z: open is nan",
    "us_equity_1d_panel/SNP_1d.parquet": "row 961, 2016-06-29T00:00Z: open is nan",
    "lean_us_equity_1d/QQQ_1d.parquet": "2,302 bars missing between 2004-12-01T05:00Z and 2011-03-23T04:00Z",
    "fx/EURUSD_1h.parquet": "14 bars missing between 2017-12-25T08:00Z and 22:00Z",  # Christmas
    "fx/EURUSD_2017H1_1m.parquet": "178 bars in all",
}


def names(files: list[dict[str, Any]]) -> list[str]:
    return [file["file"] for file in files]


@pytest.mark.parametrize("file", BARS, ids=names(BARS))
def test_the_report_counts_what_is_really_there(file: dict[str, Any]) -> None:
    report = check_file(MARKET / file["file"])
    known = file["qa"]
    assert isinstance(report, QualityReport)
    assert (report.symbol, report.timeframe, report.rows) == (file["symbol"], file["timeframe"], known["rows"])
    assert report.first_open == nanoseconds(datetime.fromisoformat(known["start"]))
    assert report.last_close - duration_of(report) == nanoseconds(datetime.fromisoformat(known["end"]))
    assert report.calendar == ("24/7" if file["mode"] == "24x7" else "sessions")
    assert {
        "dup_ts": report.duplicates,
        "unsorted": report.unsorted,
        "nan": report.nan_cells,
        "high_lt_max_oc": report.high_below_body,
        "low_gt_min_oc": report.low_above_body,
        "nonpos_price": report.nonpositive_prices,
        "zero_vol": report.zero_volume,
        "neg_vol": report.negative_volume,
        "flat_bars": report.flat_bars,
        "n_ret_gt_20mad": report.outlier_returns,
    }.items() <= known.items()
    assert report.largest_return == pytest.approx(known["max_abs_ret"], rel=1e-12)
    assert report.largest_wick == pytest.approx(known["max_wick"], rel=1e-12)
    if file["mode"] == "24x7":
        largest = report.largest_gap.missing if report.largest_gap else 0
        assert (report.missing_bars, len(report.gaps), largest, report.off_grid) == (
            known["missing_bars"],
            known["gaps"],
            known["max_gap_bars"],
            known["off_grid"],
        )
    else:
        assert (report.long_breaks, round(report.longest_break / DAY, 2)) == (known["gaps"], known["max_gap_days"])
    assert report.is_usable == (file["file"] not in REFUSED)
    assert REFUSED.get(file["file"], "") in report.refusal


def duration_of(report: QualityReport) -> int:
    return {"1m": MINUTE, "5m": 5 * MINUTE, "1h": 60 * MINUTE, "1d": DAY}[report.timeframe]


@pytest.mark.parametrize("file", BARS, ids=names(BARS))
def test_every_file_of_bars_can_be_published(file: dict[str, Any]) -> None:
    calendar = "24/7" if file["mode"] == "24x7" else "sessions"
    path = MARKET / file["file"]
    feed = MemoryFeed(read_bars(path, bad_rows="drop"), gap_policy="mark", calendar=calendar)  # type: ignore[arg-type]
    assert feed.row_count == file["qa"]["rows"] - (file["qa"]["nan"] > 0)
    filled = MemoryFeed(read_bars(path, bad_rows="drop"), gap_policy="forward_fill", calendar=calendar)  # type: ignore[arg-type]
    assert filled.row_count == feed.row_count + sum(gap.missing for gap in feed.gaps)


@pytest.mark.parametrize("file", EVENTS, ids=names(EVENTS))
def test_what_is_no_bar_is_called_what_it_is(file: dict[str, Any]) -> None:
    path = MARKET / file["file"]
    report = check_file(path)
    assert isinstance(report, EventReport)
    assert (report.rows, report.unsorted, report.nan_cells) == (file["qa"]["rows"], 0, 0)
    assert report.kind == {"funding": "funding", "trades": "trades", "bookTicker": "quotes"}[file["timeframe"]]
    if off_grid := file["qa"].get("off_grid"):
        assert any(f"{off_grid:,} times off that grid" in finding for finding in report.findings)
    with pytest.raises(DataError, match="there is no column for the"):
        read_bars(path)


def test_bars_labelled_by_their_end_are_moved_to_their_open() -> None:
    path = MARKET / "ashare" / "XSHG_600977_5m.parquet"
    by_end, by_open = read_bars(path, layout=FileLayout(stamp="close")), read_bars(path)
    assert np.array_equal(by_end.open_time, by_open.open_time - 5 * MINUTE)
    assert np.array_equal(by_end.close_time, by_open.open_time)
    in_shanghai = (by_end.open_time + 8 * 60 * MINUTE) % DAY // MINUTE
    assert (in_shanghai.min(), in_shanghai.max()) == (9 * 60 + 30, 14 * 60 + 55)  # the sessions of Shanghai
    assert MemoryFeed(by_end, calendar="sessions").gaps == ()


def test_a_panel_of_files_becomes_a_catalog_and_is_published_in_one_order(tmp_path: Path) -> None:
    paths = sorted((MARKET / "binance_spot_1h_panel").glob("*.parquet"))
    catalog = Catalog(tmp_path)
    results = catalog.import_files(paths)
    assert len(results) == 35
    symbols = [result.stream.symbol for result in results]
    feed = catalog.feed(symbols, "1h", chunk_rows=1000)
    whole = MemoryFeed([read_bars(path) for path in paths])
    assert feed.fingerprint == whole.fingerprint
    assert feed.row_count == sum(result.added for result in results)
    merged = MergedFeed([MemoryFeed(read_bars(path)) for path in paths])
    assert merged.fingerprint == whole.fingerprint
    for ours, theirs in zip(feed.chunks(), MemoryFeed(whole.bars, chunk_rows=1000).chunks(), strict=True):
        assert np.array_equal(ours.close, theirs.close)
        assert np.array_equal(ours.stream, theirs.stream)  # type: ignore[arg-type]


def test_our_hours_are_the_hours_of_the_exchange() -> None:
    five_minutes = MemoryFeed(read_bars(MARKET / "binance_spot_5m" / "SOLUSDT_5m.parquet"))
    ours = MemoryFeed(join(list(ResampledFeed(five_minutes, "1h", publish="resampled").chunks())))
    hours = read_bars(MARKET / "binance_spot_1h_panel" / "SOLUSDT_1h.parquet")
    rows = min(len(hours), ours.row_count)
    assert rows > 5_900
    for column in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(ours.bars, column)[:rows], getattr(hours, column)[:rows]), column
    assert np.allclose(ours.bars.volume[:rows], hours.volume[:rows], rtol=1e-9)
