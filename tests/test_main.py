"""The command line, end to end: real settings, real runs, a journal of its own for each test."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import main
from config.reference import readme_page
from engine.analysis.assumptions import SIMPLIFICATIONS
from engine.journal.lineage import load_run, unresolved_fills
from engine.journal.sql import SqlJournal

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.toml"))
HEAVY = {
    "alembic", "ccxt", "engine", "numba", "numpy", "pandas", "plotly", "pyarrow", "rich", "sqlalchemy", "talib",
    "torch", "vectorbt",
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command there is, and every group of them."""
    yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*path, name))


COMMANDS = tuple(commands(typer.main.get_command(main.app)))


@pytest.fixture
def barcast(tmp_path, monkeypatch):
    """Return a function that runs the command line in this process and returns what came of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BARCAST_JOURNAL", f"sqlite:///{tmp_path / 'journal.db'}")

    def run(*arguments, expect=0):
        done = CliRunner().invoke(main.app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert done.exit_code == expect, done.output
        return done

    return run


@pytest.fixture
def process(tmp_path):
    """Return a function that runs the command line in a process of its own."""

    def run(*arguments, **environment):
        journal = f"sqlite:///{tmp_path / 'journal.db'}"
        done = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "BARCAST_JOURNAL": journal, **environment}, timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def small(tmp_path):
    """Return the path of settings for a run of a moment."""
    path = tmp_path / "small.toml"
    path.write_text("""
        [data]
        source = "synthetic"
        timeframe = "1h"
        bars = 2_000
        [strategy]
        name = "SmaCross"
    """)
    return path


# ── start ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(process, command):
    done = process(*command, "--help", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "Usage:" in done.stdout
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY)


def test_a_backtest_imports_neither_torch_nor_vectorbt_nor_ccxt(process, small):
    done = process("backtest", small, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "numpy" in imported
    assert imported.isdisjoint({"torch", "vectorbt", "ccxt", "plotly"})


# ── backtest ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory):
    """Return the folder with the example artefacts."""
    folder = tmp_path_factory.mktemp("models")
    done = CliRunner().invoke(main.app, ["models", "examples", "--to", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder


def with_artefacts(path, artefacts, tmp_path):
    """Return the options that let an example find its artefacts, and keep what it computes to itself."""
    models = tomllib.loads(path.read_text()).get("models", {})
    changes = [f"models.{name}.artefact={artefacts / Path(one['artefact']).name}" for name, one in models.items()]
    changes += [f"forecasts.store={tmp_path / 'forecasts.db'}"] if models else []
    return [part for change in changes for part in ("--set", change)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs_and_trades(barcast, path, tmp_path, artefacts):
    barcast("backtest", path, "--json", tmp_path / "result.json", *with_artefacts(path, artefacts, tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["name"] == path.stem
    assert result["fills"] > 0
    assert (result["refused"] > 0) == (path.stem == "risk_gate")
    if "[models." in path.read_text():
        told = barcast("why", "1").stdout
        assert re.search(r"forecast \d+ of (kronos|krnn|price|tft) \(model \w{12}\): \w+ of \S+ over \d+ × 1h", told)
        assert "[contaminated]" in told


def test_every_sample_strategy_has_an_example(barcast):
    names = {info["name"] for info in json.loads(barcast("strategies", "--json").stdout)}
    assert names <= {path.stem for path in EXAMPLES}


def test_the_jumping_example_makes_the_fills_of_the_stepping_one(barcast):
    hashes = {
        json.loads(barcast("backtest", ROOT / "config" / "examples" / name, "--json", "-").stdout)["fills_hash"]
        for name in ("sma_cross.toml", "sma_cross_targets.toml")
    }
    assert len(hashes) == 1


def test_the_json_of_a_backtest_has_what_scripts_need(barcast, small):
    done = barcast("backtest", small, "--json", "-")
    result = json.loads(done.stdout)
    assert {
        "run_id", "bars", "loop_seconds", "bars_per_second", "fills", "final_equity", "fills_hash", "statistics",
        "assumption_card",
    } <= set(result)
    assert result["bars"] == 2000
    assert result["assumption_card"]["profile"] == "default"
    assert "sharpe" in result["statistics"]


def test_two_runs_in_two_processes_make_the_same_fills(process, small):
    hashes = {
        json.loads(process("backtest", small, "--json", "-", PYTHONHASHSEED=seed).stdout)["fills_hash"]
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_an_override_changes_the_run(barcast, small):
    result = json.loads(barcast("backtest", small, "--set", "data.bars=500", "--json", "-").stdout)
    assert result["bars"] == 500


def test_a_profile_is_named_on_the_assumption_card(barcast, small):
    result = json.loads(barcast("backtest", small, "--profile", "backtrader", "--no-journal", "--json", "-").stdout)
    assert result["assumption_card"]["profile"] == "backtrader"
    assert result["run_id"] is None


def test_a_report_is_written_where_it_was_asked_for(barcast, small, tmp_path):
    barcast("backtest", small, "--report", "out/run.html")
    page = (tmp_path / "out" / "run.html").read_text("utf-8")
    assert "SmaCross" in page
    assert "fast above slow" in page  # the reasons come from the journal


@pytest.mark.parametrize(("change", "message"), [
    ("account.cahs=3", "--set account.cahs=3: unknown setting 'cahs' in [account]; did you mean 'cash'?"),
    ("strategy.name=SmaCros", "unknown strategy 'SmaCros'; did you mean 'SmaCross'?"),
    ("strategy.parameters.fsat=3", "SmaCross: unknown parameter 'fsat'; did you mean 'fast'?"),
    ("strategy.parameters.fast=1", "SmaCross: parameter fast is 1; expected ≥ 2"),
    ("instruments.'BTC/USDX'.min_notional=3", "names 'BTC/USDX', which is not in the data"),
    ("account.currency=EUR", "add cash in USDT"),
    ("report.benchmark=BTC", "report.benchmark names 'BTC', which is not in the data"),
    ("report.html=small.toml/x.html", "cannot be written"),
])
def test_a_mistake_is_one_clear_message_and_no_traceback(barcast, small, change, message):
    done = barcast("backtest", small, "--set", change, expect=2)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_strategy_that_raises_is_named_with_bar_and_line_and_its_run_is_marked(barcast, small, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken.py").write_text(
        "from engine import Strategy\n\n\nclass Broken(Strategy):\n    def on_bar(self, bar):\n        1 / 0\n")
    done = barcast("backtest", small, "--set", "strategy.folders=mine", "--set", "strategy.name=Broken", expect=2)
    assert "broken.py, line 6" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(barcast("runs", "--json").stdout)[0]["status"] == "failed"


def test_ctrl_c_ends_with_130_and_leaves_the_run_marked(barcast, small, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nfrom engine import Strategy\n\n\nclass Slow(Strategy):\n    def on_bar(self, bar):\n"
        "        open('started', 'w').close()\n        time.sleep(0.02)\n")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "backtest", str(small), "--set", "strategy.name=Slow", "--set",
         "strategy.folders=."], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "BARCAST_JOURNAL": f"sqlite:///{tmp_path / 'journal.db'}"},
    )
    for _ in range(2400):
        if (tmp_path / "started").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert json.loads(barcast("runs", "--json").stdout)[0]["status"] == "interrupted"


# ── journal ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_can_be_listed_explained_and_reported_from_the_journal(barcast, small, tmp_path):
    first = json.loads(barcast("backtest", small, "--json", "-").stdout)
    [listed] = json.loads(barcast("runs", "--json").stdout)
    assert listed["status"] == "completed"
    assert listed["result"]["fills_hash"] == first["fills_hash"]
    assert "completed" in barcast("runs").stdout

    told = barcast("why", "r1-f1").stdout
    assert "fast above slow" in told
    assert "SMA(close, 20)" in told

    barcast("report", "1", "--html", "again.html")
    assert "fast above slow" in (tmp_path / "again.html").read_text("utf-8")


def test_every_fill_in_the_journal_leads_to_its_order_and_decision(barcast, small, tmp_path):
    result = json.loads(barcast("backtest", small, "--json", "-").stdout)
    with SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}", create=False) as journal:
        assert unresolved_fills(journal) == ()
        assert len(load_run(journal).fills) == result["fills"]


def test_a_journal_or_run_that_is_not_there_is_an_error(barcast, small):
    assert "there is no journal" in barcast("runs", expect=2).stderr
    barcast("backtest", small)
    assert "there is no run 9" in barcast("report", "9", expect=2).stderr
    assert "is no run" in barcast("report", "first", expect=2).stderr
    assert "names no order or fill" in barcast("why", "x", expect=2).stderr


# ── scenarios ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_scenarios_print_the_fills_in_the_form_of_the_file(barcast, tmp_path):
    bars = [[100, 101, 99, 100, 1000], [100, 101, 99, 100, 1000], [102, 104, 98, 103, 1000]]
    order = {"decided_at_close_of": 0, "side": "buy", "type": "limit", "quantity": 1, "limit": 98}
    file = tmp_path / "touch.json"
    file.write_text(json.dumps([{"name": "touch", "price_increment": "0.01", "bars": bars, "orders": [order]}]))
    assert json.loads(barcast("scenarios", file, "--json").stdout) == [{"name": "touch", "fills": []}]
    touching = barcast("scenarios", file, "--profile", "backtrader", "--json")
    assert json.loads(touching.stdout) == [{"name": "touch", "fills": [["buy", 2, 98.0]]}]
    assert "touch" in barcast("scenarios", file).stdout


@pytest.mark.parametrize(("scenario", "message"), [
    ({"bars": [[1, 2, 3]], "orders": []}, "bar 0 is [1, 2, 3]; expected [open, high, low, close, volume]"),
    ({"bars": [[1, 1, 1, 1, 1]], "orders": [{"type": "limt"}]}, "did you mean 'limit'?"),
    ({"bars": [[1, 1, 1, 1, 1]], "orders": [{"type": "limit", "side": "buy", "quantity": 1, "decided_at_close_of": 0}]},
     "order 0 of type limit has limit None; expected a number"),
    ({"bars": [[5, 4, 1, 1, 1]], "orders": []}, "scenario 0: "),
    ([], "expected a table with bars and orders"),
])
def test_a_scenario_that_is_not_understood_is_named(barcast, tmp_path, scenario, message):
    (tmp_path / "odd.json").write_text(json.dumps([scenario]))
    assert message in barcast("scenarios", "odd.json", "--json", expect=2).stderr


# ── strategies and data ─────────────────────────────────────────────────────────────────────────────────────────────


def test_strategies_are_listed_with_their_parameters(barcast):
    told = barcast("strategies").stdout
    assert "sma_cross" in told
    assert "bars in the fast average" in told


def test_bars_are_imported_listed_checked_and_traded(barcast, tmp_path):
    hours = [f"2024-01-{1 + hour // 24:02}T{hour % 24:02}:00:00Z" for hour in range(120) if hour != 50]
    rows = [f"{hour},{100 + place},{102 + place},{99 + place},{101 + place},5" for place, hour in enumerate(hours)]
    (tmp_path / "BTCUSDT-1h.csv").write_text("time,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    here = ("--catalog", tmp_path / "catalog")

    assert "1 bar missing" in barcast("data", "check", "BTCUSDT-1h.csv").stdout
    assert "119 bars added" in barcast("data", "import", "BTCUSDT-1h.csv", "--symbol", "BTC/USDT", *here).stdout
    assert "119 known" in barcast("data", "import", "BTCUSDT-1h.csv", "--symbol", "BTC/USDT", *here).stdout
    [listed] = json.loads(barcast("data", "list", "--json", *here).stdout)
    assert (listed["symbol"], listed["rows"], listed["missing_bars"]) == ("BTC/USDT", 119, 1)
    assert "BTC/USDT" in barcast("data", "list", *here).stdout
    assert "2024-01-03T02:00Z" in barcast("data", "gaps", "BTC/USDT", "1h", *here).stdout
    assert json.loads(barcast("data", "check", "--json", *here).stdout)[0]["missing_bars"] == 1

    (tmp_path / "run.toml").write_text("""
        [data]
        source = "catalog"
        folder = "catalog"
        symbols = "BTC/USDT"
        timeframe = "1h"
        [strategy]
        name = "BuyAndHold"
        [fills]
        volume_cap = "none"
    """)
    assert "1 bar missing" in barcast("backtest", "run.toml", expect=2).stderr
    result = json.loads(barcast("backtest", "run.toml", "--set", "data.gap_policy=mark", "--json", "-").stdout)
    assert result["bars"] == 119
    assert result["fills"] == 1


def test_files_are_traded_without_a_catalog_and_resampled(barcast, tmp_path):
    days = [f"2024-01-{day:02}" for day in range(1, 29)]
    for name in ("AAA", "BBB"):
        rows = [f"{day}T{hour:02}:00Z;100;101;99;100;5" for day in days for hour in range(24)]
        (tmp_path / f"{name}-1h.csv").write_text("time;open;high;low;close;volume\n" + "\n".join(rows) + "\n")
    (tmp_path / "run.toml").write_text("""
        [data]
        source = "files"
        paths = ["*-1h.csv"]
        resample = "1d"
        start = 2024-01-08
        end = 2024-01-15
        [strategy]
        name = "BuyAndHold"
    """)
    result = json.loads(barcast("backtest", "run.toml", "--json", "-").stdout)
    assert result["symbols"] == ["AAA", "BBB"]
    assert result["bars"] == 2 * (7 * 24 + 7)
    assert result["currency"] == "USD"


def test_a_file_that_cannot_be_read_makes_the_check_fail(barcast, tmp_path):
    (tmp_path / "noise.csv").write_text("a,b\nc,d\n")
    assert "noise.csv" in barcast("data", "check", "noise.csv", expect=1).stdout
    assert "no file of bars is there" in barcast("data", "check", "*.parquet", expect=2).stderr


# ── README ──────────────────────────────────────────────────────────────────────────────────────────────────────────

README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_table_of_what_the_simulator_leaves_out_is_that_of_the_report():
    assert readme_page(README) == README, "run `make docs`"
    assert SIMPLIFICATIONS[0].assumption in README


def test_every_link_in_the_documentation_leads_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("block", blocks("python"), ids=lambda text: text.splitlines()[0])
def test_the_python_in_the_readme_runs(barcast, block, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "readme.py").write_text(block)
    [settings] = blocks("toml")
    (tmp_path / "run.toml").write_text(settings)
    assert json.loads(barcast("backtest", "run.toml", "--json", "-").stdout)["fills"] > 0


def test_every_command_in_the_readme_exists(barcast):
    lines = [line.partition("#")[0].split() for text in blocks("bash") for line in text.splitlines()]
    named = {tuple(words[2:4]) for words in lines if words[:2] == ["python", "main.py"]}
    groups = {command[0] for command in COMMANDS if len(command) > 1}
    assert named
    for words in named:
        assert (words if words[0] in groups else words[:1]) in COMMANDS


def test_the_layout_in_the_readme_has_every_folder():
    for folder in ("brokers", "config", "engine", "feeds", "models", "strategies", "tests"):
        assert f"| `{folder}/" in README


def test_strict_ends_with_status_3_and_names_what_flatters(barcast, small):
    done = barcast("backtest", small, "--no-journal", "--strict", "--set", "fills.volume_cap=none", expect=3)

    assert "strict: volume_cap = none: orders fill whole, however little was traded in the bar" in done.stderr
    assert "Assumption card" in done.stdout


def test_strict_says_nothing_about_honest_settings(barcast, small):
    assert "strict:" not in barcast("backtest", small, "--no-journal", "--strict").stderr


def test_bounds_are_worked_out_when_asked_for(barcast, small):
    barcast("backtest", small, "--no-journal", "--bounds", "--set", "fills.bounds=false", "--json", "out.json")

    assert json.loads(Path("out.json").read_text())["bounds"]["ambiguous"] == 0
