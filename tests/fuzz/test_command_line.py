"""The command line with wrong arguments, files and journals: a status and one clear message, never a traceback."""

import os
import random
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import main
from tests.fuzz.cases import deadline

ROOT = Path(__file__).parents[2]
Invoke = Callable[..., Any]

WRONG_TEXT = (
    "",
    " ",
    "-1",
    "0",
    "99999999999999999999",
    "x" * 3_000,
    "a=b",
    "=",
    "nan",
    "r0-0",
    "\u202e",
    "é",
    "'",
    '"',
    "%s",
    "../..",
    "~nobody-of-that-name/x",
    "://",
    "sqlite://",
    "mysql://a/b",
    "postgresql://a:b@[::1/x",
    "-",
    "--",
)


@pytest.fixture
def wrong(tmp_path: Path) -> dict[str, Path]:
    """Files that are not what a command wants."""
    files = {
        name: tmp_path / name
        for name in (
            "empty.toml",
            "noise.toml",
            "utf16.toml",
            "empty.json",
            "list.json",
            "empty.db",
            "noise.db",
            "foreign.db",
            "noise.csv",
            "empty.csv",
            "empty.parquet",
            "folder",
            "loop",
            "pipe",
            "gone",
        )
    }
    for name, path in files.items():
        path.write_bytes(random.Random(name).randbytes(300) if "noise" in name else b"")
    files["utf16.toml"].write_text('[data]\nsource = "synthetic"\n', "utf-16")
    files["list.json"].write_text("[1, {}, []]")
    files["foreign.db"].unlink()
    connection = sqlite3.connect(files["foreign.db"])
    connection.execute("CREATE TABLE runs (id TEXT)")
    connection.commit()
    connection.close()
    for name in ("folder", "loop", "pipe", "gone"):
        files[name].unlink()
    files["folder"].mkdir()
    files["loop"].symlink_to(files["loop"])
    os.mkfifo(files["pipe"])
    return files


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Runs the command line in this process, in a folder of its own and with a journal of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BARCAST_JOURNAL", str(tmp_path / "own.db"))

    def run(*arguments: str) -> Any:
        with deadline(60):
            done = CliRunner().invoke(main.app, list(arguments))
        told = done.output + done.stderr
        assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)
        assert "Traceback" not in told, arguments
        assert done.exit_code in (0, 1, 2), (arguments, done.exit_code, told)
        if done.exit_code:
            assert told.strip(), arguments
        return done

    return run


def commands() -> dict[str, Any]:
    """Return every command, by what one types for it."""

    def below(command: Any, words: str) -> dict[str, Any]:
        if not hasattr(command, "commands"):
            return {words: command}
        inner: dict[str, Any] = {}
        for name, one in command.commands.items():
            inner |= below(one, f"{words} {name}".strip())
        return inner

    return below(typer.main.get_command(main.app), "")


COMMANDS = sorted(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_or_one_argument_too_many_is_refused(invoke: Invoke, name: str) -> None:
    assert invoke(*name.split(), "--no-such-option").exit_code == 2
    arguments = [parameter for parameter in commands()[name].params if parameter.param_type_name == "argument"]
    if not any(argument.nargs == -1 for argument in arguments):
        assert invoke(*name.split(), *["1"] * (len(arguments) + 1)).exit_code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_without_its_value_is_refused(invoke: Invoke, name: str) -> None:
    for parameter in commands()[name].params:
        if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False):
            assert invoke(*name.split(), parameter.opts[0]).exit_code == 2


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_any_wrong_values_end_in_a_message(invoke: Invoke, wrong: dict[str, Path], tmp_path: Path, name: str) -> None:
    command = commands()[name]
    chance = random.Random(name)
    pool = [*WRONG_TEXT, *map(str, wrong.values())]
    own = {parameter.opts[0] for parameter in command.params}
    for _ in range(5):
        words = name.split()
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                if parameter.required or chance.random() < 0.5:
                    words.append(chance.choice([text for text in pool if not text.startswith("-")]))
            elif parameter.hidden:
                continue  # what one process of ours tells another
            elif chance.random() < 0.3 and parameter.opts[0] not in ("--help", "--catalog"):
                words.append(parameter.opts[0])
                if not getattr(parameter, "is_flag", False):
                    words.append(chance.choice(pool))
        if "--catalog" in own:
            words += ["--catalog", str(tmp_path / "catalog")]
        invoke(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("backtest {gone}", "there is no such file"),
        ("backtest {folder}", "cannot be read"),
        ("backtest {loop}", "cannot be read"),
        ("backtest {noise.toml}", "(cannot be read|not valid TOML)"),
        ("backtest {utf16.toml}", "cannot be read"),
        ("backtest {empty.toml}", "strategy is missing"),
        ("backtest {good} --set", "requires an argument"),
        ("backtest {good} --set x", "expected KEY=VALUE"),
        ("backtest {good} --journal {noise.db}", "noise.db: cannot open it: file is not a database"),
        ("backtest {good} --journal {folder}", "cannot open it"),
        ("backtest {good} --journal {foreign.db}", "foreign.db: cannot open it"),
        ("backtest {good} --journal mysql://a/b", "a journal cannot live in 'mysql'"),
        ("backtest {good} --journal ~nobody-of-that-name/x", "expected a path that leads somewhere"),
        ("backtest {good} --json {folder}", "cannot be written"),
        ("backtest {good} --report {folder}", "cannot be written"),
        ("backtest {good} --json {empty.csv}/x", "cannot be written"),
        ("runs", "there is no journal"),
        ("runs --journal {noise.db}", "file is not a database"),
        ("runs --journal {folder}", "cannot open it"),
        ("runs --limit 0", "greater than or equal to 1"),
        ("why 1", "there is no journal"),
        ("why 1 --journal {foreign.db}", "foreign.db: cannot "),
        ("report 1 --journal {noise.db}", "file is not a database"),
        ("report 99999999999999999999 --journal {empty.db}", "too large|there is no run"),
        ("why 99999999999999999999 --journal {empty.db}", "no run"),
        ("scenarios {gone}", "gone"),
        ("scenarios {folder}", "folder"),
        ("scenarios {list.json}", "scenario 0"),
        ("data import {gone} --catalog {new}", "there is no such file"),
        ("data import {pipe} --catalog {new}", "it is a pipe or a device"),
        ("data import {noise.csv} --catalog {new}", "noise.csv"),
        ("data import {empty.parquet} --catalog {new}", "the file is empty"),
        ("data import {folder} --catalog {new}", "no file of bars is there"),
        ("data import {noise.csv} --catalog {empty.csv}", "(noise.csv|the catalog cannot be written)"),
        ("data gaps A 1h --catalog {new}", "the catalog is empty"),
        ("data gaps A x --catalog {new}", "timeframe 'x' is not understood"),
        ("data check {noise.csv}", "noise.csv"),
        ("strategies --folder {gone}", "gone"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(
    invoke: Invoke, wrong: dict[str, Path], tmp_path: Path, words: str, message: str
) -> None:
    good = tmp_path / "good.toml"
    good.write_text('[data]\nsource = "synthetic"\nbars = 200\n[strategy]\nname = "SmaCross"\n')
    places = {**wrong, "good": good, "new": tmp_path / "new"}
    typed = words.split()
    for name, path in places.items():
        typed = [word.replace(f"{{{name}}}", str(path)) for word in typed]

    done = invoke(*typed)

    assert done.exit_code != 0
    assert re.search(message, done.output + done.stderr), done.output + done.stderr


@pytest.mark.parametrize("bars", ["10**18", "1_000_000_000_000_000"])
def test_a_market_larger_than_the_memory_is_refused(invoke: Invoke, tmp_path: Path, bars: str) -> None:
    good = tmp_path / "good.toml"
    good.write_text('[data]\nsource = "synthetic"\nbars = 200\n[strategy]\nname = "SmaCross"\n')
    assert invoke("backtest", str(good), "--set", f"data.bars={bars}", "--no-journal").exit_code == 2


def test_names_that_are_not_text_and_closed_outputs_end_without_a_traceback(tmp_path: Path) -> None:
    for command in (
        [b"backtest", b"\xff\xfe.toml"],
        [b"data", b"check", b"\xff.csv"],
        [b"runs", b"--journal", b"\xff.db"],
        [b"why", b"\xff"],
        [b"data", b"import", b"\xff.csv", b"--catalog", b"\xfe"],
    ):
        done = subprocess.run(
            [os.fsencode(sys.executable), os.fsencode(ROOT / "main.py"), *command],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            env={**os.environ, "BARCAST_JOURNAL": str(tmp_path / "own.db")},
        )
        assert done.returncode in (1, 2), (command, done.stderr)
        assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), "strategies", "--json"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr, done.stderr.decode()
