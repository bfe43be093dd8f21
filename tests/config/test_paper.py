"""`paper` and `replay` from settings: a session begins, is left and gone on with, survives its journal, and replays."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from typer.testing import CliRunner

import main
from config.paper import PaperRun, VenueTerms, check_paper
from config.replaying import replay
from config.session import SessionFacts
from config.settings import Settings, load_settings
from engine.bars import Stream
from engine.errors import DivergenceError, JournalError, SettingsError, StrategyError
from engine.instruments import Instrument
from engine.journal.lineage import list_runs, load_run
from engine.journal.sql import SqlJournal
from engine.live.inputs import Commanded, Input
from engine.live.ports import InputSource, VenueLink
from tests.engine.live.market import BTC, START, closed, walk

SETTINGS = """
[data]
source = "venue"
venue = "binance"
symbols = ["BTC/USDT"]
timeframe = "1h"
[strategy]
name = "SmaCross"
parameters = { fast = 3, slow = 8 }
[account]
cash = 10_000
[live]
broker = "simulated"
late_after = "1h"
[journal]
url = "journal.db"
"""

BARS = walk(120)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "session.toml").write_text(SETTINGS)
    return load_settings(tmp_path / "session.toml")


class Bars:
    """An edge that has recorded bars: the first ones are history; after the last it does what it was told."""

    def __init__(self, last: int, then: Callable[[], Input | None], *, history: int = 10) -> None:
        self._last, self._then, self._history = last, then, history

    def terms(self) -> VenueTerms:
        instrument = Instrument(BTC, "USDT", base="BTC", min_notional=Decimal(5), venue="binance")
        return VenueTerms((instrument,), {BTC: (Decimal("0.0010"), Decimal("0.0010"))})

    def open(
        self, facts: SessionFacts, last_closed: Mapping[Stream, int]
    ) -> tuple[InputSource, VenueLink | None]:
        since = max(last_closed.values(), default=0)
        self._inputs: Iterator[Input] = iter([
            closed(bar, is_history=not since and place < self._history)
            for place, bar in enumerate(BARS[: self._last]) if bar.close_time > since
        ])
        return self, None

    def take(self, timeout: float) -> Input | None:
        return next(self._inputs, None) or self._then()

    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


def stopped(event: Event) -> Callable[[], Input | None]:
    def stop() -> Input | None:
        event.set()
        return None

    return stop


def run(settings: Settings, last: int, **options: Any) -> int:
    """Run a process of a session until a bar, then stop it so that it can be gone on with."""
    event = Event()
    edge = Bars(last, stopped(event))
    return PaperRun(settings, lambda: edge, stop=event, now=lambda: START, **options).run()


def commanded(settings: Settings, last: int) -> int:
    stop = Commanded(START, "stop", "enough", "ann")
    return PaperRun(settings, lambda: Bars(last, lambda: stop), now=lambda: START).run()


def journal_of(settings: Settings) -> SqlJournal:
    return SqlJournal(settings.journal.url)


def test_a_session_is_left_gone_on_with_and_replays_to_equality(settings: Settings) -> None:
    assert run(settings, 50) == 1
    assert run(settings, 51) == 1
    assert commanded(settings, 120) == 1

    with journal_of(settings) as journal:
        record, came = load_run(journal, 1), replay(journal, 1)
    assert record.run.status == "completed"
    assert (record.run.start.kind, record.run.start.data["venue"]) == ("paper", "binance")
    assert [json.loads(row.body)["time"] for row in record.session_inputs if row.kind == "bars_closed"] == [
        bar.close_time for bar in BARS
    ]
    assert record.fills
    assert min(row.bar_close_time for row in record.decisions) > BARS[9].close_time, "history is not traded on"
    assert came.is_same
    assert came.inputs == 121


def test_whole_or_in_pieces_a_session_has_the_same_fills(settings: Settings, tmp_path: Path) -> None:
    for last in (40, 41, 90, 120):
        run(settings, last)
    (tmp_path / "whole.toml").write_text(SETTINGS.replace("journal.db", "whole.db"))
    whole = load_settings(tmp_path / "whole.toml")
    run(whole, 120)
    with journal_of(settings) as parts, journal_of(whole) as one:
        assert load_run(parts, 1).fills == load_run(one, 1).fills


def test_fresh_begins_another_session(settings: Settings) -> None:
    assert run(settings, 30) == 1
    assert run(settings, 30, fresh=True) == 2
    with journal_of(settings) as journal:
        names = [info.start.data["session"]["name"] for info in list_runs(journal)]
    assert len(set(names)) == 2


@pytest.mark.parametrize("options", [{}, {"fresh": True}, {"take_over": True}])
def test_a_session_is_not_run_twice_at_once(settings: Settings, options: dict[str, bool]) -> None:
    run(settings, 30)
    refused: list[str] = []
    event = Event()

    def another() -> Input | None:
        with pytest.raises(JournalError) as told:
            run(settings, 40, **options)
        refused.append(str(told.value))
        return stopped(event)()

    PaperRun(settings, lambda: Bars(40, another), stop=event, now=lambda: START).run()

    assert all("is running it; stop that process first, or trade under another name" in text for text in refused)
    with journal_of(settings) as journal:
        assert [info.status for info in list_runs(journal)] == ["interrupted"]
        assert replay(journal, 1).is_same


def left_elsewhere(settings: Settings) -> None:
    """Leave a session as a machine that burnt down does."""
    run(settings, 30)
    connection = sqlite3.connect(settings.journal.url.removeprefix("sqlite:///"))
    connection.execute("UPDATE runs SET status = 'running', host = 'elsewhere', pid = 7")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_session_whose_end_cannot_be_seen_is_asked_about(settings: Settings, fresh: bool) -> None:
    left_elsewhere(settings)
    with pytest.raises(JournalError, match=r"process 7 of elsewhere was running it.*--take-over goes on"):
        run(settings, 40, fresh=fresh)


def test_take_over_goes_on_with_a_session_whose_machine_is_gone(settings: Settings) -> None:
    left_elsewhere(settings)
    assert run(settings, 40, take_over=True) == 1
    with journal_of(settings) as journal:
        assert replay(journal, 1).is_same


def test_what_was_decided_otherwise_than_now_is_not_gone_on_with(settings: Settings) -> None:
    run(settings, 60)
    altered = settings.model_copy(
        update={"strategy": settings.strategy.model_copy(update={"parameters": {"fast": 4, "slow": 9}})}
    )
    with pytest.raises(DivergenceError, match="decisions: "):
        run(altered, 70)
    with journal_of(settings) as journal:
        assert replay(journal, 1).is_same, "its own settings are in the journal"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('timeframe = "4h"', r"data.symbols and data.timeframe of BTC/USDT 1h, and the settings say BTC/USDT 4h"),
        ('symbols = ["BTC/USDT", "ETH/USDT"]', r"of BTC/USDT 1h, and the settings say BTC/USDT 1h, ETH/USDT 1h"),
        ('venue = "okx"', r"data.venue of binance, and the settings say okx"),
        ('broker = "paper"', r"live.broker of simulated, and the settings say paper"),
        ("cash = 20_000", r"account.cash of 10000 USDT, and the settings say 20000 USDT; .* --fresh"),
    ],
)
def test_settings_that_begin_another_session_do_not_go_on_with_it(settings: Settings, change: str, told: str) -> None:
    run(settings, 30)
    name = change.split(" = ")[0]
    file = Path(settings.journal.url.removeprefix("sqlite:///")).with_name("session.toml")
    file.write_text(re.sub(rf"^{name} = .*$", change, SETTINGS, flags=re.MULTILINE))

    with pytest.raises(SettingsError, match=told):
        run(load_settings(file), 40)

    assert run(settings, 40) == 1


def test_a_strategy_that_raises_can_be_mended_and_the_session_gone_on_with(settings: Settings, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    source = '''"""Fails while a file is there."""
from pathlib import Path

from engine import Strategy

class Fragile(Strategy):
    def on_start(self):
        self.seen = 0

    def on_bar(self, bar):
        self.seen += 1
        self.target(bar.symbol, 0.5 if self.seen % 2 else 0.0, why="turn")
        assert self.seen < 20 or not Path("FAULT").exists(), "oh"
'''
    file = tmp_path / "fragile.py"
    file.write_text(source.replace("FAULT", str(fault)))
    (tmp_path / "session.toml").write_text(SETTINGS.replace('"SmaCross"', f'"{file}:Fragile"').replace(
        "parameters = { fast = 3, slow = 8 }", ""))
    fragile = load_settings(tmp_path / "session.toml", [f'strategy.folders=["{tmp_path}"]', 'strategy.name="Fragile"'])
    with pytest.raises(StrategyError, match="Fragile.on_bar failed at the instant .*: AssertionError: oh"):
        run(fragile, 60)
    with journal_of(fragile) as journal:
        record = load_run(journal, 1)
        assert record.run.status == "failed"
        assert len(record.session_inputs) == 29, "the bar that it failed at comes again"

    fault.unlink()
    run(fragile, 60)
    with journal_of(fragile) as journal:
        assert len(load_run(journal, 1).session_inputs) == 60
        assert replay(journal, 1).is_same


def test_a_journal_that_goes_away_halts_decisions_and_the_session_goes_on_when_it_is_back(
    settings: Settings, tmp_path: Path
) -> None:
    """The file is moved away in mid-session, and put back while the session waits."""
    path, away, event, waits = tmp_path / "journal.db", tmp_path / "away.db", Event(), []
    failed: list[bool] = []

    def moved() -> Input | None:
        if not failed:
            failed.append(True)
            path.rename(away)
            return closed(BARS[60])
        return None

    def put_back(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            path.unlink(missing_ok=True)
            away.rename(path)

    told: list[str] = []

    class Watch:
        def began(self, *_: Any) -> None: ...
        def beat(self, *_: Any) -> None: ...
        def ended(self, state: str) -> None: ...
        def told(self, level: str, text: str) -> None:
            told.append(f"{level}: {text}")

    class Bound(PaperRun):
        @property
        def _is_over(self) -> bool:
            return event.is_set()

    edges = [Bars(60, moved), *(Bars(80, stopped(event)) for _ in range(5))]
    run_id = Bound(settings, lambda: edges.pop(0), watching=[Watch()], now=lambda: START, sleep=put_back).run()

    with journal_of(settings) as journal:
        record = load_run(journal, run_id)
        assert len(record.session_inputs) == 80
        assert replay(journal, run_id).is_same
    assert any(line.startswith("error: ") and "Nothing is decided until then" in line for line in told)


def test_replay_says_what_it_found(settings: Settings, tmp_path: Path) -> None:
    run(settings, 60)
    url = settings.journal.url
    same = CliRunner().invoke(main.app, ["replay", "1", "--journal", url, "--json", str(tmp_path / "r.json")])
    assert same.exit_code == 0, same.output
    assert "run 1: the same, byte for byte: 60 inputs" in same.output
    assert json.loads((tmp_path / "r.json").read_text())["same"] is True

    with journal_of(settings) as journal, journal._writing.begin() as connection:
        connection.exec_driver_sql("UPDATE fills SET price = price + 0.01 WHERE id = 2")
    differs = CliRunner().invoke(main.app, ["replay", "last", "--journal", url])
    assert differs.exit_code == 1
    assert "fills: row 2: price was" in differs.output

    nothing = CliRunner().invoke(main.app, ["replay", "r7", "--journal", url])
    assert (nothing.exit_code, "there is no run 7" in nothing.output) == (2, True)


def test_settings_of_a_backtest_make_no_session(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('[data]\nsource = "synthetic"\n[strategy]\nname = "SmaCross"\n')
    with pytest.raises(SettingsError, match=r'data.source is "synthetic"; expected "venue" for a live session'):
        check_paper(load_settings(tmp_path / "b.toml"))
    (tmp_path / "c.toml").write_text(SETTINGS)
    with pytest.raises(SettingsError, match="journal.enabled is false; a session lives in its journal"):
        check_paper(load_settings(tmp_path / "c.toml", ["journal.enabled=false"]))


def test_a_session_in_the_hands_of_another_process_is_left_alone(settings: Settings) -> None:
    run(settings, 30)
    with journal_of(settings) as journal, journal._writing.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET status = 'running', host = 'elsewhere'")
    with journal_of(settings) as journal, pytest.raises(JournalError, match="still in the hands of process"):
        journal.resume(1)


