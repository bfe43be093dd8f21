"""`check`: the market it chooses, what it prints and ends with, the samples, and the pytest plugin."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from config.conformance import Asked, asked_for, check, shown, subject_for
from engine.conformance import LeakSearch, Restoring, SharedState, WarmUp, run_checks
from engine.errors import PluginError
from main import app

ROOT = Path(__file__).parents[2]
SAMPLES = ["BuyAndHold", "SmaCross", "SmaCrossTargets", "RsiReversion", "Pairs", "TopKDropout"]

LEAKY = '''
import numpy as np
from engine import Strategy

class Leaky(Strategy):
    """Knows its own maximum."""
    def targets(self, bars):
        return bars.close / bars.close.max()
'''

SETTINGS = """
[data]
source = "synthetic"
symbols = ["A/USD"]
timeframe = "1h"
bars = 4000
[strategy]
name = "Leaky"
folders = ["."]
"""


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    (tmp_path / "leaky.py").write_text(LEAKY)
    (tmp_path / "leaky.toml").write_text(SETTINGS)
    return tmp_path / "leaky.py"


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_conform(name: str) -> None:
    whole = subject_for(asked_for(name))
    subject = replace(whole, bars=whole.bars[: len(whole.bars.streams) * (200 if len(whole.bars.streams) > 2 else 500)])
    report = run_checks(subject, (LeakSearch(spread=6, around=2), SharedState(), WarmUp(), Restoring()))
    assert report.is_passed, [finding for result in report.results for finding in result.findings]
    assert report.results[0].status == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_samples_pass_the_whole_check(name: str) -> None:
    report = check(name)
    assert report.is_passed, [finding for result in report.results for finding in result.findings]
    statuses = {result.check: result.status for result in report.results}
    assert statuses["leaks"] == statuses["determinism"] == "passed"
    assert report.results[0].evidence["instants"] >= 100


@pytest.mark.parametrize(("name", "symbols"), [("SmaCross", 1), ("SmaCrossTargets", 1), ("Pairs", 2)])
def test_the_market_has_the_symbols_that_the_strategy_wants(name: str, symbols: int) -> None:
    subject = subject_for(Asked(name))
    assert len(subject.bars.streams) == symbols
    assert f"{symbols} symbol" in subject.market
    assert "seed 7" in subject.market


def test_the_market_has_the_timeframes_that_the_strategy_names(tmp_path: Path) -> None:
    (tmp_path / "tides.py").write_text(
        'from engine import Strategy\n\nclass Tides(Strategy):\n    """Two timeframes."""\n'
        '    def on_start(self):\n        self.line = self.indicator("SMA", "close", 5, timeframe="4h")\n'
        '        self.set_timer("day", every="1d")\n'
        '    def on_bar(self, bar):\n        if bar.timeframe == "30m" and self.line:\n'
        '            self.target(bar.symbol, float(bar.close > self.line[-1]))\n'
    )
    subject = subject_for(asked_for(str(tmp_path / "tides.py")))
    assert [stream.timeframe for stream in subject.bars.streams] == ["30m", "4h"]


def test_a_leak_is_printed_with_its_line_and_ends_with_1(leaky: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(leaky), "--json", str(tmp_path / "result.json")])
    assert done.exit_code == 1, done.output
    assert "leaky.py, line 8: return bars.close / bars.close.max()" in done.output
    made = json.loads((tmp_path / "result.json").read_text())
    assert not made["passed"]
    (leak,) = [result for result in made["results"] if result["check"] == "leaks"]
    assert (leak["status"], leak["evidence"]["line"]) == ("failed", 8)


def test_settings_give_the_market(leaky: Path) -> None:
    subject = subject_for(asked_for("Leaky", leaky.with_suffix(".toml"), [leaky.parent]))
    assert subject.bars.streams[0].symbol == "A/USD"
    assert subject.market == "leaky.toml: 2,000 instants, 2,000 bars (the first of 4,000 bars)"


def test_a_strategy_that_fits_no_market_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(
        'from engine import Strategy\n\nclass Picky(Strategy):\n    """Wants one symbol."""\n'
        '    def on_start(self):\n        self.indicator("SMA", "close", 5, symbol="GOLD")\n'
        '    def on_bar(self, bar):\n        pass\n'
    )
    with pytest.raises(PluginError, match="Picky starts on no made-up market .*give a config whose market suits it"):
        subject_for(asked_for(str(tmp_path / "picky.py")))


def test_a_file_that_is_not_there_is_told_of() -> None:
    with pytest.raises(PluginError, match="strategy file nowhere.py does not exist; expected a name"):
        asked_for("nowhere.py")


def test_the_report_fits_a_terminal(leaky: Path) -> None:
    subject = subject_for(asked_for(str(leaky)))
    report = run_checks(subject, (LeakSearch(spread=4, around=0),))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shown(report))
    text = console.export_text()
    assert "leaks  failed" in text
    assert text.rstrip().endswith("Leaky failed")


def test_the_kit_is_a_pytest_plugin_in_any_folder(leaky: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "config.pytest_plugin", "-p", "no:cacheprovider", "--strategy",
         "leaky.py", "-k", "leaks or state"],
        cwd=leaky.parent, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "leaky.py, line 8: return bars.close / bars.close.max()" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
