"""What is really in a file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.bars import HOUR, Bars
from engine.errors import DataError
from feeds.catalog import Catalog
from feeds.memory import bars_of_arrays
from feeds.reports import QualityReport, check_catalog, check_file, check_files, check_table
from feeds.tables import BarTable

MakeBars = Callable[..., Bars]


def report_of(bars: Bars, **options: str) -> QualityReport:
    return check_table(BarTable.of_bars(bars), **options)  # type: ignore[arg-type]


def test_clean_bars_are_called_clean(make_bars: MakeBars) -> None:
    close = np.array([100.0, 101.0, 100.0, 102.0, 100.0])
    wave = replace(make_bars(rows=5), open=np.full(5, 101.0), high=np.full(5, 103.0), low=np.full(5, 99.0), close=close)
    report = report_of(wave, calendar="24/7")
    assert report.is_usable
    assert report.findings == ()
    assert report.lines() == [
        "memory: BTC/USDT 1h, 5 bars, 2024-03-31T00:00Z to 2024-03-31T05:00Z, calendar 24/7",
        "  clean",
    ]


def test_everything_bad_is_counted_at_once(make_bars: MakeBars) -> None:
    bars = make_bars(rows=300)
    o, h, l, c, v = (getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume"))  # noqa: E741
    c[3] = np.nan
    l[5], o[6] = 0.0, -1.0
    h[7] = 1.0
    l[8] = 1e6
    v[9], v[10] = -1.0, 0.0
    o[11] = h[11] = l[11] = c[11]
    h[12] = 2 * h[12]
    broken = replace(bars, open=o, high=h, low=l, close=c, volume=v)
    table = BarTable.of_bars(broken).take(np.array([0, 1, 2, *range(20, 30), *range(3, 20), 3, *range(32, 300)]))
    report = check_table(table, calendar="24/7")
    assert (report.rows, report.duplicates, report.unsorted) == (299, 1, 2)
    assert (report.missing_bars, len(report.gaps)) == (2, 1)
    assert (report.nan_cells, report.nonpositive_prices) == (2, 2)
    assert (report.high_below_body, report.low_above_body, report.negative_volume) == (1, 2, 1)
    assert (report.zero_volume, report.flat_bars) == (1, 1)
    assert report.largest_wick == pytest.approx(h[12] / c[12] - 1)
    assert "row 4, 2024-03-31T03:00Z: close is nan" in report.refusal
    assert report.findings[:4] == (
        "2 times out of order",
        "1 time that occurs twice",
        "2 cells that are no numbers",
        "2 prices of 0 or less",
    )
    assert any("a feed would refuse it: " in line for line in report.lines())


def test_returns_beyond_twenty_sigmas_are_counted() -> None:
    random = np.random.default_rng(1)
    returns = random.normal(0, 0.001, 1000)
    returns[[200, 700]] = 0.05, -0.03
    close = 100 * np.exp(np.cumsum(returns))
    opens = 19_800 * 24 * HOUR + np.arange(1000) * HOUR
    report = report_of(bars_of_arrays("A", "1h", opens, open=close, high=close, low=close, close=close, volume=close))
    assert (report.outlier_returns, round(report.largest_return, 3)) == (2, 0.05)
    assert "2 returns beyond 20 robust sigmas, at most 5.00%" in report.findings


def test_a_placeholder_for_volume_is_noticed(make_bars: MakeBars) -> None:
    assert (
        "volume is the same throughout, as a placeholder would be"
        in report_of(replace(make_bars(), volume=np.full(5, 1e5))).findings
    )
    assert "volume is 0 throughout" in report_of(replace(make_bars(), volume=np.zeros(5))).findings


def test_times_off_the_grid_are_counted(make_bars: MakeBars) -> None:
    bars = make_bars(rows=10)
    opens = bars.open_time.copy()
    opens[4] += 1_000_000
    report = report_of(replace(bars, open_time=opens, close_time=opens + HOUR), calendar="24/7")
    assert report.off_grid == 1
    assert not report.is_usable


def test_each_file_has_its_report_or_its_error(tmp_path: Path) -> None:
    good, bad = tmp_path / "A-1h.csv", tmp_path / "B-1h.csv"
    good.write_text("time,open,high,low,close,volume\n1704067200,1,2,1,2,3\n1704070800,1,2,1,2,3\n")
    bad.write_text("nothing of use")
    told: list[tuple[int, int | None]] = []
    reports = check_files([good, bad], progress=lambda done, total: told.append((done, total)), calendar="24/7")
    assert isinstance(reports[0], QualityReport)
    assert isinstance(reports[1], DataError)
    assert told == [(1, 2), (2, 2)]


def test_a_stream_of_a_catalog_is_verified_and_reported(tmp_path: Path, make_bars: MakeBars) -> None:
    catalog = Catalog(tmp_path)
    catalog.write(make_bars(rows=8, missing=(2,)))
    report = check_catalog(catalog, "BTC/USDT", "1h")
    assert (report.rows, report.missing_bars, report.calendar, report.calendar_guessed) == (7, 1, "24/7", False)
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="the file is damaged"):
        check_catalog(catalog, "BTC/USDT", "1h")


def test_a_report_never_contradicts_the_feed(make_bars: MakeBars, tmp_path: Path) -> None:
    path = tmp_path / "A-1h.csv"
    path.write_text("time,open,high,low,close,volume\n1704067200,1,2,1,2,3\n1704074400,1,2,1,2,3\n")
    report = check_file(path, calendar="24/7")
    assert isinstance(report, QualityReport)
    assert report.refusal.startswith(f"{path}: A 1h: 1 bar missing between 2024-01-01T01:00Z and 02:00Z")
