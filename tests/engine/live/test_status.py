"""The snapshot of a session: written whole, read back equal."""

import json
from pathlib import Path

import pytest

from engine.errors import JournalError
from engine.live.status import (
    AlertStatus,
    DecisionStatus,
    ForecastStatus,
    HaltStatus,
    OrderStatusRow,
    PositionStatus,
    Status,
    StreamStatus,
    read_status,
    status_path,
    write_status,
)

SECOND = 1_000_000_000
EMPTY = Status(
    run_id=3, session="abcdefgh", strategy="SmaCross", venue="binance", broker="paper", state="running",
    started_at=SECOND, written_at=100 * SECOND, pid=7,
)
FULL = Status(
    run_id=3, session="abcdefgh", strategy="SmaCross", venue="binance", broker="paper", state="halted",
    started_at=SECOND, written_at=100 * SECOND, pid=7, currency="USDT", cash=1.5, equity=2.5, clock_offset=-0.02,
    decision_latency=(0.001, 0.02),
    positions=(PositionStatus("BTC/USDT", -0.5, 100.0, 90.0, -45.0, 5.0),),
    orders=(OrderStatusRow(1, "bcabcdefgh00000001", "BTC/USDT", "buy", "limit", 0.5, 0.1, 89.0, "accepted", SECOND),),
    decisions=(DecisionStatus(SECOND, "BTC/USDT", "target 0", "fast below slow"),),
    forecasts=(ForecastStatus("krnn", 40 * SECOND, 0.1, 12), ForecastStatus("tft", 0, 0.0, 0)),
    streams=(StreamStatus("BTC/USDT", "1m", 60 * SECOND, 0.4, False), StreamStatus("ETH/USDT", "1m", 0, 9.0, True)),
    halts=(HaltStatus(SECOND, "operator", "", "refuse", "lunch (by ann)", 0),),
    alerts=(AlertStatus(SECOND, "warning", "feed", "reconnected"),),
)


@pytest.mark.parametrize("status", [EMPTY, FULL])
def test_a_status_is_read_as_it_was_written(status: Status, tmp_path: Path) -> None:
    path = tmp_path / "journal.run-3.status.json"
    write_status(EMPTY, path)
    write_status(status, path)
    assert read_status(path) == status
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_status(Status(**{**vars(EMPTY), "equity": float("nan")}), path)
    assert json.loads(path.read_text())["equity"] is None


def test_ages_and_lags_are_the_worst(tmp_path: Path) -> None:
    assert FULL.feed_lag == 0.4  # a stream that has no bar yet has no lag
    assert FULL.forecast_age(100 * SECOND) == 60.0
    assert EMPTY.feed_lag is None
    assert EMPTY.forecast_age(0) is None


def test_a_session_that_stopped_writing_is_silent_and_one_that_ended_is_not() -> None:
    late = EMPTY.written_at + 21 * SECOND
    assert EMPTY.is_silent(late)
    assert not EMPTY.is_silent(late - 2 * SECOND)
    assert not Status(**{**vars(EMPTY), "state": "stopped"}).is_silent(late)


def test_a_status_lies_beside_its_journal() -> None:
    folder = Path("/runs")
    assert status_path("/tmp/my.db", 7, folder) == Path("/tmp/my.run-7.status.json")
    assert status_path("sqlite:////tmp/my.db", 7, folder) == Path("/tmp/my.run-7.status.json")
    assert status_path("postgresql+psycopg://me@host/base", 7, folder) == Path("/runs/run-7.status.json")


def test_what_is_no_status_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    assert read_status(path) is None
    path.write_text("{")
    with pytest.raises(JournalError, match="s.json: no status can be read from it"):
        read_status(path)
    path.write_text('{"version": 99}')
    with pytest.raises(JournalError, match="its version is 99; expected 1"):
        read_status(path)
