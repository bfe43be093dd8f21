"""Operating a session from another process: what is asked is heard, recorded and done."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import main
from config.operating import was_heard
from engine import Bar, Strategy
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from engine.live.controls import Controls
from engine.live.session import Session
from engine.live.status import AlertStatus, HaltStatus, Status, status_path, write_status
from tests.engine.live.market import BTC, START, instants, run_start, simulated_session, walk

BARS = walk(40)


class Buys(Strategy):
    def on_bar(self, bar: Bar) -> None:
        self.buy(bar.symbol, 1)


class Live:
    """A session in a journal, and its controls; `hear` is what its loop does now and then."""

    def __init__(self, path: Path) -> None:
        self.path, self.kill_switch = path, path.with_name("HALT")
        self.journal = SqlJournal(path, durable=True)
        self.session: Session = simulated_session(Buys(), self.journal)
        settings = {"live": {"kill_switch": str(self.kill_switch)}}
        instruments = {BTC: {"quote": "USDT", "base": "BTC"}}
        self.run = self.session.begin(replace(run_start("Buys"), settings=settings, instruments=instruments))
        self.controls = Controls(self.journal, self.run, now=lambda: START, kill_switch=self.kill_switch)

    def hear(self) -> None:
        self.session.take(self.controls.poll())

    def bars(self, first: int, last: int) -> None:
        self.session.take(instants(BARS[first:last]))

    @property
    def fills(self) -> int:
        self.journal.flush()
        return len(load_run(self.journal, self.run).fills)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setenv("BARCAST_JOURNAL", str(tmp_path / "journal.db"))
    made = Live(tmp_path / "journal.db")
    yield made
    made.journal.close()


def barcast(*arguments: Any, expect: int = 0) -> str:
    done = CliRunner().invoke(main.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == expect, done.output
    return done.output


def test_a_halt_stops_what_opens_and_resume_lets_it_go_on(live: Live) -> None:
    live.bars(0, 5)
    before = live.fills
    assert "not heard within 0 s" in barcast("halt", "--why", "strange prints", "--wait", "0", expect=1)
    live.hear()
    live.bars(5, 10)
    assert live.fills == before, "what the last bar had led to is withdrawn"
    [halt] = live.session.core.gate.halts.values()
    assert halt.rule == "operator"
    assert halt.reason.startswith("strange prints (by ")

    assert "run 1: lift operator (all)" in barcast("resume", "--why", "fine again", "--wait", "0", expect=1)
    live.hear()
    live.bars(10, 15)
    assert live.fills > before + 1
    assert [row.kind for row in load_run(live.journal).commands] == ["halt", "lift"]


def test_flatten_closes_what_is_held(live: Live) -> None:
    live.bars(0, 5)
    barcast("flatten", "1", "--why", "enough", "--symbol", BTC, "--wait", "0", expect=1)
    live.hear()
    live.bars(5, 9)
    assert live.session.core.running.portfolio.positions[BTC].lots == 0


def test_stop_ends_the_session_and_cannot_be_asked_of_one_that_is_not_there(live: Live) -> None:
    live.bars(0, 3)
    barcast("stop", "--why", "done", "--wait", "0", expect=1)
    assert not was_heard(live.journal, live.run, 1, within=0)
    live.hear()
    assert live.session.is_over
    assert was_heard(live.journal, live.run, 1, within=0)
    live.session.end()
    assert "run 1 is completed; there is nothing to stop" in barcast("stop", "--why", "again", expect=2)
    assert "it is completed, and hears of it when it goes on" in barcast("halt", "--why", "later")


def test_the_kill_switch_must_go_before_a_resume(live: Live) -> None:
    live.kill_switch.write_text("storm")
    live.hear()
    assert live.session.core.gate.halts
    told = barcast("resume", "--why", "calm", "--wait", "0", expect=2)
    assert "HALT is still there and would halt run 1 again; remove the file first" in told
    live.kill_switch.unlink()
    barcast("resume", "--why", "calm", "--wait", "0", expect=1)
    live.hear()
    assert not live.session.core.gate.halts


def test_what_cannot_be_asked_is_said(live: Live, tmp_path: Path) -> None:
    assert "halt needs a reason" in barcast("halt", "--why", " ", expect=2)
    assert "run 1 does not trade 'BTC/USDC'; did you mean 'BTC/USDT'?" in barcast(
        "halt", "--why", "x", "--symbol", "BTC/USDC", expect=2)
    assert "no halt of anything to lift; in force: none" in barcast("resume", "--why", "x", expect=2)
    assert "there is no run 9" in barcast("halt", "9", "--why", "x", expect=2)
    with SqlJournal(tmp_path / "other.db"):
        pass
    told = barcast("status", "--journal", tmp_path / "other.db", expect=2)
    assert "this journal has no session; `python main.py paper CONFIG.toml` begins one" in told
    with SqlJournal(tmp_path / "other.db") as other:
        other.begin(replace(run_start(), kind="backtest"))
        told = barcast("halt", "1", "--why", "x", "--journal", tmp_path / "other.db", expect=2)
    assert "run 1 is a backtest; expected a session, which `paper` makes" in told


def a_status(live: Live, **changes: Any) -> Status:
    values: dict[str, Any] = {
        "run_id": live.run, "session": "abcdefgh", "strategy": "Buys", "venue": "binance", "broker": "paper",
        "state": "running", "started_at": START, "written_at": 2**62, "pid": 7, "currency": "USDT", "equity": 10_500.0,
        "unresolved": 1, "alerts": (AlertStatus(START, "error", "feed", "gone quiet"),),
    }
    return Status(**{**values, **changes})


def test_status_shows_what_the_session_wrote_and_says_by_its_exit_whether_all_is_well(live: Live) -> None:
    path = status_path(str(live.path), live.run, Path("/nowhere"))
    told = barcast("status", expect=1)
    assert f"run 1 has left no status ({path} is not there)" in told
    write_status(a_status(live), path)
    told = barcast("status")
    assert "Buys on binance (paper)  running" in told
    assert "equity 10,500 USDT" in told
    assert "unresolved 1" in told
    assert "gone quiet" in told
    assert json.loads(barcast("status", "--json"))["well"] is True
    halts = (HaltStatus(START, "drawdown", "", "refuse", "lost too much", 0),)
    write_status(a_status(live, state="halted", halts=halts), path)
    assert "lost too much" in barcast("status", expect=1)
    write_status(a_status(live, written_at=START), path)
    assert "silent for" in barcast("status", expect=1)
