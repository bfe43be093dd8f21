"""Who looks on: notices of halts and alerts, the dashboard, and the jobs that run beside a session."""

import io
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from config.dashboard import Dashboard
from config.jobs import report_yesterday, start_training
from config.notifying import Notifier
from config.onlookers import Board, Notices
from config.paper import PaperRun, _Beat
from config.session import SessionFacts
from config.settings import load_settings
from config.watching import watchers
from engine.bars import DAY, HOUR
from engine.errors import SettingsError
from engine.journal.sql import SqlJournal
from engine.live.inputs import ClockTold, Commanded, FeedTold
from tests.config.test_paper import SETTINGS, Bars
from tests.engine.live.market import START, instants, run_start, simulated_session, walk
from tests.engine.live.test_session import Cross
from tests.engine.live.test_status import FULL

FACTS = SessionFacts("abcdefgh", "binance", "paper", (), (), {}, {}, START)


class Kept:
    """A messenger that keeps what it is given."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []
        self.notifier = Notifier(self._send, "t", most=50)

    def _send(self, level: str, title: str, text: str) -> bool:
        self.texts.append((level, text))
        return True


def test_a_person_hears_of_halts_alerts_and_ends_each_once(tmp_path: Path) -> None:
    kept = Kept()
    notices = Notices(kept.notifier)
    edge: Any = None
    with SqlJournal(tmp_path / "j.db") as journal:
        session = simulated_session(Cross(), journal)
        session.begin(run_start())
        notices.began(session, FACTS, 1)
        session.take([*instants(walk(5)), FeedTold(START, "gap", "BTC/USDT", 2.0, "two bars are missing")])
        notices.beat(session, edge, "running")
        session.take([Commanded(START, "halt", "strange", "ann")])
        notices.beat(session, edge, "halted")
        notices.beat(session, edge, "halted")
        session.take([Commanded(START, "lift", "fine", "ann")])
        notices.beat(session, edge, "running")
        notices.told("info", "nothing to worry about")
        notices.told("error", "the venue is away")
        notices.ended("stopped")
    assert kept.texts == [
        ("info", "run 1 has begun on binance (paper)"),
        ("warning", "run 1: feed: gap BTC/USDT: two bars are missing"),
        ("warning", "run 1: operator: halt by ann: strange"),
        ("error", "run 1 is halted by operator (all): strange (by ann)"),
        ("warning", "run 1: operator: lift by ann: fine"),
        ("info", "run 1: the halt by operator (all) is lifted"),
        ("error", "run 1: the venue is away"),
        ("info", "run 1 has stopped"),
    ]


def test_the_board_is_drawn_and_closed_once() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    board = Board(Dashboard(console))
    board.told("info", "recovering")
    board.show(FULL)
    board.ended("stopped")
    board.ended("stopped")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "recovering" in text
    assert "lunch (by ann)" in text


def test_the_report_of_yesterday_is_written_beside_the_session(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    with SqlJournal(tmp_path / "j.db", durable=True) as journal:
        session = simulated_session(Cross(), journal)
        session.begin(run_start())
        session.take(instants(walk(30)))
        report_yesterday(
            journal.url, 1, START + DAY + HOUR, tmp_path / "daily", lambda *told: said.append(told)).join(120)
        report_yesterday(
            "sqlite:////nowhere/j.db", 1, START + DAY, tmp_path / "daily", lambda *told: said.append(told)).join(120)
    assert [level for level, _ in said] == ["info", "warning"]
    assert (tmp_path / "daily" / "run-1-2024-01-01.html").exists()
    assert "no daily report: there is no journal" in said[1][1]


def test_a_training_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    process = start_training(
        [sys.executable, "-c", "print('trained')"], tmp_path, START, lambda *told: said.append(told))
    assert process is not None
    assert process.wait(120) == 0
    [log] = tmp_path.glob("retrain-*.log")
    assert log.read_text() == "trained\n"
    assert start_training(["/no/such/program"], tmp_path, START, lambda *told: said.append(told)) is None
    assert said[0][1].startswith("training has begun (process ")
    assert said[1] == ("warning", "the training did not begin: [Errno 2] No such file or directory: '/no/such/program'")


def test_settings_say_who_looks_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "session.toml"
    path.write_text(SETTINGS.replace("[live]", '[live]\nnotify = "BARCAST_DESK_ADDRESS"'))
    with pytest.raises(SettingsError, match="there is no BARCAST_DESK_ADDRESS in the environment"):
        watchers(load_settings(path), is_plain=True)
    monkeypatch.setenv("BARCAST_DESK_ADDRESS", "json://127.0.0.1:9/never-asked")
    names = [type(one).__name__ for one in watchers(load_settings(path), is_plain=True)]
    assert names == ["StatusFile", "Lines", "Notices"]
    path.write_text(SETTINGS.replace("[live]", '[live]\nnotify = "json://host/secret"'))
    told = "live.notify has an address, which is a secret; put it into the environment"
    with pytest.raises(SettingsError, match=told) as refused:
        load_settings(path)
    assert "json://" not in str(refused.value)


def test_jobs_of_the_schedule_are_done_between_inputs(tmp_path: Path) -> None:
    """Heartbeats come by the schedule, and a bar that should have closed is missed aloud."""
    path = tmp_path / "session.toml"
    path.write_text(SETTINGS.replace("[live]", "[live]\nheartbeat_seconds = 0.05"))
    beats: list[str] = []

    class Looks:
        def began(self, *told: Any) -> None:
            pass

        def beat(self, session: Any, edge: Any, state: str) -> None:
            beats.append(state)

        def told(self, level: str, text: str) -> None:
            pass

        def ended(self, state: str) -> None:
            beats.append(state)

    def then() -> Any:
        return Commanded(START, "stop", "enough", "ann") if len(beats) > 1 else ClockTold(START)

    PaperRun(load_settings(path), lambda: Bars(30, then), watching=[Looks()], now=lambda: START).run()
    assert beats[:2] == ["running", "running"]
    assert beats[-1] == "stopped"


def test_a_close_without_its_bar_is_told_once_until_there_is_one_again(tmp_path: Path) -> None:
    path = tmp_path / "session.toml"
    path.write_text(SETTINGS)
    settings, bars, said = load_settings(path), walk(12), list[str]()
    clock = [bars[9].close_time + HOUR // 2]

    class Hears:
        def began(self, *told: Any) -> None: ...
        def beat(self, *told: Any) -> None: ...
        def ended(self, state: str) -> None: ...
        def told(self, level: str, text: str) -> None:
            said.append(text)

    run = PaperRun(settings, lambda: Bars(1, lambda: None), watching=[Hears()], now=lambda: clock[0], run_id=1)
    with SqlJournal(settings.journal.url) as journal:
        session = simulated_session(Cross(), journal)
        session.begin(run_start())
        session.take(instants(bars[:10]))
        with closing(_Beat(run, session, journal, Bars(1, lambda: None))) as beat:
            beat._check_close("1h")
            assert said == []
            for _ in range(2):
                clock[0] += HOUR
                beat._check_close("1h")
            session.take(instants(bars[10:]))
            beat._check_close("1h")
            clock[0] += HOUR
            beat._check_close("1h")
    assert said == [
        "no 1h bar that closed at 2024-01-01T11:00Z yet: BTC/USDT",
        "no 1h bar that closed at 2024-01-01T13:00Z yet: BTC/USDT",
    ]
