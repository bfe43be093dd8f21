"""The daily report says what a day's rows say, and writes text and a page."""

from pathlib import Path

from engine.analysis.daily import as_page, as_text, day_of, days_of, write_day
from engine.bars import DAY, HOUR
from engine.journal.process import this_process
from engine.journal.reading import RunInfo, RunRecord
from engine.journal.testing import START, sample_start
from engine.records import (
    AccountEventRow,
    AlertRow,
    CommandRow,
    EquityRow,
    FillRow,
    ForecastScoreRow,
    OrderEventRow,
    OrderRow,
    RiskEventRow,
    SessionInputRow,
)

SECOND_DAY = START + DAY


def fill(number: int, time: int, side: str, price: float, after: float, liquidity: str = "taker") -> FillRow:
    return FillRow(
        number, number, time, time, "BTC/USDT", side, price, 1.0, liquidity, 0.5, "USDT", price, 0.1, 0.05, 0.0, after,
        0.0)


def score(number: int, time: int, direction: float, error: float) -> ForecastScoreRow:
    return ForecastScoreRow(
        number, number, "krnn", "BTC/USDT", time - HOUR, time, 1, 0.01, 0.02, error, direction, None, None, None, None,
        None, None, None, None)


RECORD = RunRecord(
    RunInfo(7, "running", sample_start(kind="paper", data={"venue": "binance"}), this_process()),
    account_events=(
        AccountEventRow(1, START, "deposit", "USDT", 10_000.0, "opening balance"),
        AccountEventRow(2, SECOND_DAY + 8 * HOUR, "funding", "USDT", -1.25, "BTC/USDT: rate"),
        AccountEventRow(3, SECOND_DAY + 9 * HOUR, "deposit", "USDT", 500.0, "more"),
    ),
    equity=(
        EquityRow(START + 12 * HOUR, "USDT", 10_100.0, 10_100.0, 0.0),
        EquityRow(SECOND_DAY, "USDT", 10_200.0, 10_200.0, 0.0),  # the bar that closes at midnight
        EquityRow(SECOND_DAY + 6 * HOUR, "USDT", 10_150.0, 5_000.0, 0.5),
        EquityRow(SECOND_DAY + DAY, "USDT", 10_900.0, 5_000.0, 0.4),
    ),
    orders=(
        OrderRow(1, 1, SECOND_DAY + HOUR, "BTC/USDT", "buy", "market", 1.0),
        OrderRow(2, 2, SECOND_DAY + 2 * HOUR, "BTC/USDT", "buy", "limit", 1.0),
    ),
    order_events=(
        OrderEventRow(1, 1, SECOND_DAY + HOUR, "accepted"),
        OrderEventRow(2, 2, SECOND_DAY + 2 * HOUR, "refused", "max_position: too much"),
    ),
    fills=(fill(1, SECOND_DAY + HOUR, "buy", 100.0, 1.0), fill(2, SECOND_DAY + 3 * HOUR, "sell", 110.0, 0.0, "maker")),
    risk_events=(RiskEventRow(1, SECOND_DAY + HOUR, "halt", "drawdown", "", 0.1, 0.1, "refuse", None, "fell", ""),),
    commands=(CommandRow(1, SECOND_DAY + 2 * HOUR, "lift", "", "drawdown", "looked at it", "ann"),),
    forecast_scores=(score(1, SECOND_DAY + HOUR, 1.0, 0.02), score(2, SECOND_DAY + 2 * HOUR, 0.0, -0.04)),
    session_inputs=(SessionInputRow(1, SECOND_DAY + HOUR, "feed_told", '{"kind": "stale"}'),),
    alerts=(
        AlertRow(1, SECOND_DAY + HOUR, "warning", "feed", "stale: <nothing> heard"),
        AlertRow(2, SECOND_DAY + HOUR, "info", "feed", "fresh"),
    ),
)


def test_the_result_of_a_day_counts_from_the_midnight_before_and_without_deposits() -> None:
    text = as_text(day_of(RECORD, SECOND_DAY))
    [row] = [line.split() for line in text.splitlines() if line.startswith("USDT")]
    assert row[1:6] == ["10,200", "10,900", "+200.00", "+1.96", "%"]


def test_everything_that_happened_is_there_and_nothing_of_another_day() -> None:
    text = as_text(day_of(RECORD, SECOND_DAY))
    for words in (
        "2024-01-02: SmaCross, run 7", "binance, running", "2 orders: 1 accepted, 1 refused", "r7-2",
        "max_position: too", "drawdown", "asked: lift", "looked at it (by ann)", "krnn", "50.0 %", "0.03",
        "stale: <nothing> heard", "funding", "-1.25", "50 %",
    ):
        assert words in text, words
    assert "fresh" not in text
    first = as_text(day_of(RECORD, START))
    assert "nothing filled" in first
    assert "drawdown" not in first


def test_the_days_of_a_run_are_those_on_which_it_did_something() -> None:
    assert days_of(RECORD) == [START, SECOND_DAY]


def test_text_and_page_are_written_whole_and_again(tmp_path: Path) -> None:
    for _ in range(2):
        text, page = write_day(RECORD, SECOND_DAY, tmp_path / "daily")
    assert (text.name, page.name) == ("run-7-2024-01-02.txt", "run-7-2024-01-02.html")
    assert sorted(path.name for path in (tmp_path / "daily").iterdir()) == [page.name, text.name]
    html = page.read_text()
    assert "stale: &lt;nothing&gt; heard" in html
    assert html == as_page(day_of(RECORD, SECOND_DAY), "run-7-2024-01-02")
