"""What `new strategy` writes runs, is tested and typed, in the checkout and outside; the example package installs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import scaffold
from engine.errors import PluginError, SettingsError

ROOT = Path(__file__).parents[2]


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def test_what_is_written_runs_and_passes_its_test_the_linter_and_the_type_checker(tmp_path: Path) -> None:
    made = scaffold.new_strategy("TrendRider", tmp_path / "mine")
    assert made.strategy.name == "trend_rider.py"
    done = run(made.strategy.parent, str(ROOT / "main.py"), "backtest", made.settings.name, "--no-journal",
               "--json", "result.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((made.strategy.parent / "result.json").read_text())["fills"] > 10
    for config in ((), ("--config", str(ROOT / "pyproject.toml"))):
        done = run(made.strategy.parent, "-m", "ruff", "check", *config, ".")
        assert done.returncode == 0, done.stdout
    done = run(made.strategy.parent, "-m", "pytest", "-q", "-p", "no:cacheprovider", made.test.name)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_written_is_strictly_typed_and_conforms(tmp_path: Path) -> None:
    made = scaffold.new_strategy("trend_rider", tmp_path)
    done = run(tmp_path, "-m", "mypy", "--strict", "--follow-imports=silent", ".", MYPYPATH=str(ROOT))
    assert done.returncode == 0, done.stdout
    for market in ((), (made.settings.name,)):
        done = run(tmp_path, str(ROOT / "main.py"), "check", made.strategy.name, *market, "--json", "-")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["passed"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    scaffold.new_strategy("rider", tmp_path)
    (tmp_path / "rider.py").write_text("mine")
    with pytest.raises(PluginError, match=r"rider\.py is there already, and nothing is overwritten; take another name"):
        scaffold.new_strategy("rider", tmp_path)
    assert (tmp_path / "rider.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "7th", "my-cross", "a", "../evil", "über", "my cross", "_hidden"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a strategy; expected two or more letters"):
        scaffold.new_strategy(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["class", "match", "engine", "test_mine"])
def test_names_that_are_taken_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="the word is taken"):
        scaffold.new_strategy(name, tmp_path)


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PluginError, match="cannot be written: .*; name another --folder"):
        scaffold.new_strategy("rider", tmp_path / "file")


def test_the_next_steps_name_what_was_written(tmp_path: Path) -> None:
    made = scaffold.new_strategy("rider", tmp_path)
    said = [command for command, _ in scaffold.next_steps(made, "python")]
    assert [str(path) in " ".join(said) for path in made[1:]] == [True] * 3
    assert any(" check " in command for command in said)


def test_the_example_package_is_found_once_it_is_installed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    target = tmp_path / "site"
    original = ROOT / "docs" / "example_package"
    for file in original.rglob("*"):
        if file.suffix in (".py", ".toml"):
            copy = source / file.relative_to(original)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    done = run(source, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
               "--target", str(target), ".")
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, str(ROOT / "main.py"), "strategies", "--json", PYTHONPATH=str(target))
    assert done.returncode == 0, done.stderr
    found = {info["class_name"]: info for info in json.loads(done.stdout)}
    assert found["Tide"]["source"] == "entry point tide of tide-strategies"
    assert not found["Tide"]["fault"]
