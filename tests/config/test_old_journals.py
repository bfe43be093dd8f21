"""Journals of every earlier schema: made by that schema's migrations, filled by SQL of that time, read by today's
commands."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import main
from engine.journal.schema import SCHEMA, Schema
from engine.journal.sql import SqlJournal

HOUR = 3_600_000_000_000
START = 1_704_067_200_000_000_000
"""2024-01-01, UTC nanoseconds."""

REVISIONS = [f"{number:04}" for number in range(1, int(SCHEMA.head) + 1)]

SETTINGS = {
    "run": {"name": "old", "mode": "auto", "seed": 0},
    "data": {"source": "synthetic", "timeframe": ["1h"], "symbols": ["BTC/USDT"], "bars": 300},
    "strategy": {"name": "SmaCross", "folders": [], "parameters": {"fast": 5, "slow": 20}},
}
"""As far as a run of that time knew them."""

RUN = {
    "kind": "backtest", "strategy": "SmaCross", "status": "completed", "started_at": START, "finished_at": START + HOUR,
    "bars": 300, "error": "", "data_fingerprint": "5f3a", "code_version": "abc123", "is_dirty": 0,
    "determinism": "bit-exact", "settings": json.dumps(SETTINGS), "assumptions": '{"switches": {"path": "ohlc"}}',
    "data": '{"streams": [{"symbol": "BTC/USDT", "timeframe": "1h"}], "rows": 300}', "lines": '["fast", "slow"]',
    "instruments": '{"BTC/USDT": {"quote": "USDT", "base": "BTC", "price_increment": "0.01", '
                   '"quantity_increment": "0.00001"}}',
    "seeds": '{"run": 0, "market": 0}', "libraries": '{"numpy": "2.4.6"}',
    "result": '{"final_equity": "10050", "fills": 2, "orders": 2}', "pid": 1, "host": "then", "boot": "then",
    "pid_namespace": "then", "process_started": "then",
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "decisions": [
        {"id": n, "time": START + n * HOUR, "strategy": "SmaCross", "symbol": "BTC/USDT",
         "bar_close_time": START + n * HOUR, "price": 100.0 + n, "action": f"target {2 - n}", "saw": "[100.5, null]",
         "why": "fast above slow"} for n in (1, 2)
    ],
    "orders": [
        {"id": n, "decision_id": n, "time": START + n * HOUR, "symbol": "BTC/USDT", "side": side, "type": "market",
         "quantity": 1.0, "time_in_force": "gtc", "post_only": 0, "reduce_only": 0}
        for n, side in ((1, "buy"), (2, "sell"))
    ],
    "order_events": [
        {"id": n, "order_id": n, "time": START + n * HOUR, "kind": "accepted", "reason": ""} for n in (1, 2)
    ],
    "fills": [
        {"id": n, "order_id": n, "time": START + n * HOUR, "bar_close_time": START + (n + 1) * HOUR,
         "symbol": "BTC/USDT", "side": side, "price": 100.0 + 50 * (n - 1), "quantity": 1.0, "liquidity": "taker",
         "fee": 0.1, "currency": "USDT", "reference_price": 100.0, "spread_cost": 0.0, "slippage_cost": 0.0,
         "impact_cost": 0.0, "position_after": 2.0 - n, "cash_after": 9_900.0} for n, side in ((1, "buy"), (2, "sell"))
    ],
    "account_events": [
        {"id": 1, "time": START, "kind": "deposit", "currency": "USDT", "amount": 10_000.0, "note": "opening balance"}
    ],
    "equity": [
        {"time": START + n * HOUR, "currency": "USDT", "equity": 10_000.0 + n, "cash": 9_900.0, "exposure": 0.01}
        for n in (1, 2, 3)
    ],
}


@pytest.fixture(params=REVISIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a journal with two runs, as a version of that revision left it."""
    path = tmp_path / "old.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BARCAST_JOURNAL", str(path))
    SqlJournal(path, schema=Schema(request.param, SCHEMA.folder)).close()
    with sqlite3.connect(path) as connection:
        for run in (1, 2):
            insert(connection, "runs", {"id": run, **RUN})
            for table, rows in ROWS.items():
                for row in rows:
                    insert(connection, table, {"run_id": run, **row})
        assert connection.execute("SELECT version_num FROM journal_version").fetchone() == (request.param,)
    return path


def insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    names, places = ", ".join(row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))


def barcast(*arguments: Any, expect: int = 0) -> str:
    done = CliRunner().invoke(main.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == expect, done.output
    return done.output


def test_every_command_reads_a_run_of_any_age(old: Path, tmp_path: Path) -> None:
    assert [run["id"] for run in json.loads(barcast("runs", "--json"))] == [2, 1]
    told = barcast("why", "r1-2")
    assert "order 2: market sell 1 BTC/USDT" in told
    assert "saw slow = not warm yet" in told
    barcast("report", "1", "--html", tmp_path / "report.html")
    assert "old" in barcast("runs")
    assert "run 1 and run 2 made the same orders and fills" in barcast("compare", "1", "2")
    assert "nothing that was recorded differs" in barcast("compare", "1", "2")


def test_a_rerun_of_a_run_without_hashes_is_refused_by_name(old: Path) -> None:
    told = barcast("rerun", "1", expect=2)
    assert "run 1: its manifest lacks the hashes of its source files, the hashes of its strategy's files" in told
    assert "the hashes of its data, stream by stream, so that nobody can tell" in told
    assert "--force runs it all the same and compares" in told


def test_a_forced_rerun_of_an_old_run_compares_what_there_is(old: Path) -> None:
    told = barcast("rerun", "1", "--force", expect=1)
    assert "run 1 was made again as run 3, and differs" in told
    assert "although data: fingerprint was 5f3a, is " in told
    assert "recorded without its streams' hashes" in told


def test_runs_of_two_journals_are_compared(old: Path, tmp_path: Path) -> None:
    config = tmp_path / "new.toml"
    config.write_text('[data]\nsource = "synthetic"\ntimeframe = "1h"\nbars = 300\n[strategy]\nname = "SmaCross"\n')
    barcast("backtest", config, "--journal", "new.db")
    told = barcast("compare", "1", "last", "--journal", "old.db", "--journal2", "new.db")
    assert "run 1 (A) and run 1 (B) differ" in told
    assert "strategy.parameters.fast" in told


def test_a_journal_of_a_newer_version_is_refused_by_every_command(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    SqlJournal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE journal_version SET version_num = '9999'")
    refusal = f"its tables are at revision 9999, which is newer than this version's {SCHEMA.head}; update Barcast"
    for command in (("runs",), ("why", "1"), ("report",), ("compare", "1", "2"), ("rerun", "1")):
        assert refusal in barcast(*command, "--journal", path, expect=2)


def test_lifts_that_were_asked_for_in_an_old_journal_are_commands_now(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    SqlJournal(path, schema=Schema("0005", SCHEMA.folder)).close()
    with sqlite3.connect(path) as connection:
        insert(connection, "runs", {"id": 1, **RUN})
        lift = {"id": 1, "time": START, "rule": "drawdown", "symbol": "", "why": "bad print", "actor": "ann"}
        insert(connection, "risk_lifts", {"run_id": 1, **lift})
    told = json.loads(barcast("risk", "show", "1", "--json", "--journal", path))
    assert told["wishes"] == [[1, START, "lift", "", "drawdown", "bad print", "ann"]]
