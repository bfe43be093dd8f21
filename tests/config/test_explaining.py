"""`explain`: a live session held against a backtest of the same time, from their journals alone."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import main
from config.explaining import explain_runs
from engine.analysis.explain_books import Part
from engine.errors import JournalError
from engine.journal.sql import SqlJournal
from strategies.sma_cross import SmaCross
from tests.engine.live.market import BTC, closed, run_start, simulated_session, walk

BARS = walk(300)
HISTORY = 7
"""Bars of warm-up: nothing is decided on them in the backtest either."""
INSTRUMENT = {
    "quote": "USDT", "base": "BTC", "price_increment": "0.01", "quantity_increment": "0.00000001", "multiplier": "1"}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run 1 is a session that missed bars and whose venue corrected none; run 2 a backtest over the same time."""
    path, rows = tmp_path / "journal.db", tmp_path / "BTCUSDT-1h.csv"
    monkeypatch.setenv("BARCAST_JOURNAL", str(path))
    start = replace(run_start("SmaCross"), instruments={BTC: INSTRUMENT})
    with SqlJournal(path, durable=True) as opened:
        session = simulated_session(SmaCross(fast=3, slow=8), opened, currency="USDT")
        session.begin(start)
        session.take([
            closed(bar, is_history=row < HISTORY) for row, bar in enumerate(BARS) if row not in range(60, 80)])
        session.end()
    lines = [f"{bar.open_time // 10**6},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume}" for bar in BARS]
    rows.write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]) + "\n")
    (tmp_path / "run.toml").write_text(
        f'[data]\nsource = "files"\npaths = ["{rows}"]\nsymbols = ["{BTC}"]\ntimeframe = "1h"\n'
        '[strategy]\nname = "SmaCross"\nparameters = { fast = 3, slow = 8 }\n'
        '[costs]\nfees = { kind = "maker_taker", maker = 0, taker = 0 }\nslippage = { kind = "none" }\n'
        f'[instruments."{BTC}"]\nprice_increment = "0.01"\nquantity_increment = "0.00000001"\n')
    barcast("backtest", tmp_path / "run.toml")
    return path


def barcast(*arguments: Any, expect: int = 0) -> str:
    done = CliRunner().invoke(main.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == expect, done.output
    return done.output


def test_a_session_is_explained_from_what_it_recorded(journal: Path) -> None:
    told = barcast("explain", "1", "2", "--top", "2")
    assert "run 1 (A) against run 2 (B), 2024-01-01T08:00Z to 2024-01-13T12:00Z" in told
    assert "note: bars: 0 revised, 20 missing in A, 0 missing in B" in told
    made = json.loads(barcast("explain", "1", "2", "--json", "-"))
    assert sum(map(Decimal, made["parts"].values())) == Decimal(made["gap"])
    found = explain_runs(1, 2, str(journal))
    missed, moved = abs(found.parts[Part.MISSED_BAR]), sum(map(abs, found.parts.values()))
    assert float(missed / moved) > 0.95, found.parts


def test_what_cannot_be_read_is_said(journal: Path, tmp_path: Path) -> None:
    assert "run 2 is held against itself; name another run" in barcast("explain", "2", "2", expect=2)
    assert "there is no run 9" in barcast("explain", "9", "2", expect=2)
    rows = tmp_path / "BTCUSDT-1h.csv"
    rows.write_text(rows.read_text().replace(str(BARS[7].close), str(BARS[7].close + 0.01)))
    told = barcast("explain", "1", "2", expect=2)
    assert "the data of run 2 have changed since it ran" in told
    assert "`rerun 2` names the first that differs" in told
    with SqlJournal(journal) as opened:
        opened.begin(replace(run_start(), instruments={BTC: INSTRUMENT}))
    with pytest.raises(JournalError, match=r"run 3 \(paper\) has recorded no bars; there is nothing to explain yet"):
        explain_runs(3, 2, str(journal))
