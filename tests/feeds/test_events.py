"""Files that hold no bars."""

from pathlib import Path

import pandas as pd

from feeds.events import EventReport
from feeds.reports import check_file

TIMES = pd.date_range("2024-01-01", periods=4, freq="8h", tz="UTC")


def report_of(table: pd.DataFrame, path: Path) -> EventReport:
    table.to_parquet(path)
    report = check_file(path)
    assert isinstance(report, EventReport)
    assert not report.is_usable
    return report


def test_trades_are_no_bars(tmp_path: Path) -> None:
    report = report_of(
        pd.DataFrame({"ts": TIMES, "price": [2.0, 1, 3, 0], "amount": 1.0, "id": [1, 2, 2, 3]}),
        tmp_path / "BTC_trades.parquet",
    )
    assert (report.kind, report.rows, report.unsorted) == ("trades", 4, 0)
    assert report.findings == ("1 trade ids that occur twice", "1 prices of 0 or less", "price 0 to 3")
    assert (
        "4 trades, 2024-01-01T00:00Z to 2024-01-02T00:00Z; these are not bars, and a feed cannot publish them"
        in report.lines()[0]
    )


def test_quotes_are_no_bars(tmp_path: Path) -> None:
    table = pd.DataFrame({"local_ts": TIMES[::-1], "bid": [99.0, 99, 101, 99], "ask": [101.0, 101, 100, 101]})
    report = report_of(table, tmp_path / "BTC_quotes.parquet")
    assert (report.kind, report.unsorted) == ("quotes", 3)
    assert report.findings[:2] == ("3 times out of order", "1 crossed quotes (bid at or above ask)")
    assert "spread in basis points: median 200.0000" in report.findings[2]


def test_funding_rates_are_no_bars(tmp_path: Path) -> None:
    times = [*TIMES[:3], TIMES[3] + pd.Timedelta("1ms")]
    report = report_of(
        pd.DataFrame({"ts": times, "funding_rate": [1e-4, -1e-4, 1e-4, 1e-4]}), tmp_path / "BTC_funding.parquet"
    )
    assert report.findings == ("rate -0.000100 to 0.000100, mean 0.000050", "mostly 8h apart; 1 times off that grid")
