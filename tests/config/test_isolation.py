"""Runs in isolation: the same result as without, and what becomes of a plugin that wants too much."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.isolation import Limits
from config.wire import as_row, decoded, encoded
from engine.errors import SettingsError
from engine.journal.lineage import list_runs, load_run
from engine.journal.sql import SqlJournal

ROOT = Path(__file__).parents[2]

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are those of Linux")

PLUGIN = '''
import socket
from engine import Strategy

class Plugin(Strategy):
    """Trades for a while, then does harm."""
    held = []
    def on_start(self):
        self.seen = 0
    def on_bar(self, bar):
        self.seen += 1
        if self.seen % 10 == 0:
            self.target(bar.symbol, float(self.seen % 20 == 0), why="every tenth bar")
        if self.seen == 100:
            {harm}
'''

SETTINGS = """
[data]
source = "synthetic"
symbols = ["BTC/USDT"]
timeframe = "1h"
bars = 300
[strategy]
name = "Plugin"
folders = ["."]
"""


def backtest(folder: Path, harm: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "plugin.py").write_text(PLUGIN.format(harm=harm))
    (folder / "run.toml").write_text(SETTINGS)
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "backtest", "run.toml", "--journal", "journal.db", *options],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )


def last_run(folder: Path) -> Any:
    with SqlJournal(folder / "journal.db", create=False) as journal:
        return load_run(journal, None)


@needs_linux
def test_the_result_is_the_same_as_without_isolation(tmp_path: Path) -> None:
    plain = backtest(tmp_path, "pass", "--json", "plain.json")
    alone = backtest(tmp_path, "pass", "--json", "alone.json", "--report", "page.html", "--isolated")
    assert (plain.returncode, alone.returncode) == (0, 0), plain.stderr + alone.stderr
    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("plain", "alone"))
    assert one["fills"] > 10
    for name in ("fills_hash", "final_equity", "statistics", "assumption_card", "data_fingerprint", "orders"):
        assert one[name] == other[name], name
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert "network off" in alone.stderr
    with SqlJournal(tmp_path / "journal.db", create=False) as journal:
        first, second = (load_run(journal, run.id) for run in list_runs(journal)[::-1])
    assert first.fills == second.fills
    assert first.decisions == second.decisions


@needs_linux
@pytest.mark.parametrize(
    ("harm", "options", "message"),
    [
        ("self.held.extend(bytearray(10**6) for _ in range(10**5))", ("--memory", "1.5GB"), "--memory 1.5GB"),
        ("while True: pass", ("--time", "6s"), "longer than --time 6s"),
        ("socket.create_connection(('127.0.0.1', 9), 1)", (), "--network off"),
        (f"open({str(Path.home() / 'barcast-test-was-here')!r}, 'w')", (), "writes to its temporary folder alone"),
        ("import os; os.system('true')", (), "starts no processes"),
    ],
    ids=["memory", "time", "network", "file", "process"],
)
def test_harm_is_stopped_named_and_journalled(
    tmp_path: Path, harm: str, options: tuple[str, ...], message: str
) -> None:
    done = backtest(tmp_path, harm, "--isolated", *options)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    run = last_run(tmp_path)
    assert run.run.status == "failed"
    assert message in run.run.error
    assert len(run.decisions) >= 9, "what was decided before is kept"
    assert len(run.fills) >= 8
    assert not (Path.home() / "barcast-test-was-here").exists()


@needs_linux
def test_a_plugin_that_harms_while_it_is_imported_leaves_a_failed_run(tmp_path: Path) -> None:
    backtest(tmp_path, "pass", "--no-journal")
    (tmp_path / "plugin.py").write_text("while True: pass\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "backtest", "run.toml", "--journal", "journal.db", "--isolated",
         "--time", "3s"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )
    assert done.returncode == 2
    assert "longer than --time 3s" in done.stderr
    with SqlJournal(tmp_path / "journal.db", create=False) as journal:
        (run,) = list_runs(journal)
    assert run.status == "failed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("2", "60s", "off"), "--memory is '2'; expected 256MiB or more, such as 2GB"),
        (("much", "60s", "off"), "--memory is 'much'"),
        (("2GB", "0s", "off"), "--time is '0s'; expected a time above 0"),
        (("2GB", "60s", "no"), "--network is 'no'; expected on or off"),
    ],
)
def test_limits_that_are_not_understood_are_refused(given: tuple[str, str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Limits.parse(*given)


def test_limits_are_read_as_people_write_them() -> None:
    assert Limits.parse("1.5GiB", "2m", "on") == Limits(3 * 2**29, 120.0, True)


def test_messages_come_back_as_they_were_sent() -> None:
    frame = encoded({"write": {"decisions": [(1, 0.1, None, b"\x00\xff", (float("nan"), 2.0))]}})
    (row,) = decoded(frame[8:])["write"]["decisions"]
    number, tenth, nothing, data, (strange, two) = as_row(row)
    assert (number, tenth, nothing, data, two) == (1, 0.1, None, b"\x00\xff", 2.0)
    assert strange != strange
