"""The examples of docs/forecasting.md, as the page has them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from config.settings import settings_from
from engine.forecasting.testing import RandomPaths, spec_of
from engine.forecasts import ForecastKind
from engine.testing import run_bars, strategy_in
from main import app
from tests.engine.forecasting.market import walk

PAGE = (Path(__file__).parents[3] / "docs" / "forecasting.md").read_text("utf-8")
RUN = """
[data]
source = "synthetic"
timeframe = "1h"
bars = 600
seed = 4
[strategy]
name = "Follows"
folders = ["."]
[journal]
url = "journal.db"
[forecasts]
store = "store.db"
"""
FOLLOWS = """
from engine import Forecast, Strategy

class Follows(Strategy):
    def on_start(self) -> None:
        self.drift = self.forecasts("drift", every="6h")

    def on_forecast(self, forecast: Forecast) -> None:
        self.target(forecast.symbol, 0.8 if forecast.expected_return > 0 else 0.0, why="drift")
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "drift.py").write_text(blocks("python")[1])
    (tmp_path / "follows.py").write_text(FOLLOWS)
    (tmp_path / "run.toml").write_text(RUN + blocks("toml")[-1])
    return tmp_path


def test_the_strategy_of_the_page_trades_by_paths(tmp_path: Path) -> None:
    file = tmp_path / "follow_kronos.py"
    file.write_text(blocks("python")[0])
    spec = spec_of(ForecastKind.PATHS, timeframe="1h", samples=20)

    result = run_bars(walk(300), strategy_in(file, "FollowKronos")(), forecasters={"kronos": RandomPaths(spec)})

    assert len(result.fills) > 10


def test_the_forecaster_of_the_page_runs_from_settings_and_is_asked_once(folder: Path) -> None:
    outputs = [run("backtest", folder / "run.toml", "--json", folder / f"{number}.json") for number in range(2)]

    assert [output.exit_code for output in outputs] == [0, 0], outputs[0].output
    first, second = (json.loads((folder / f"{number}.json").read_text()) for number in range(2))
    drift, again = (result["forecasts"]["models"]["drift"] for result in (first, second))
    assert (drift["computed"], again["computed"], again["calls"]) == (93, 0, 0)
    assert (drift["horizon"], again["stored"]) == (12, 93)
    assert first["fills_hash"] == second["fills_hash"]
    assert first["forecasts"]["contaminated"] is False
    assert "Forecasts\n  No model was trained on any of this time\n  drift: 93 forecasts" in outputs[0].output


def test_the_chain_of_an_order_leads_to_the_forecast_and_its_bars(folder: Path) -> None:
    run("backtest", folder / "run.toml")

    told = run("why", "2", "--journal", folder / "journal.db").output

    assert re.search(
        r"decision 2 of Follows: target 0(\.8)?; why: drift\n"
        r"      forecast \d+ of drift \(model drift 1, shr\): return of BTC/USDT over 12 × 1h\n"
        r"        says return [-\d. e]+ …\n"
        r"        from 48 bars to [\d\-T:]+Z, close [\d.]+ \(window [0-9a-f]{12}, seed 0\)\n"
        r"        came out at [+-][\de.-]+ by [\d\-T:]+Z, error [+-][\de.-]+\n"
        r"      bar BTC/USDT 1h", told
    ), told


def test_a_run_with_a_model_is_made_again_and_a_changed_model_is_named(folder: Path) -> None:
    run("backtest", folder / "run.toml")

    again = run("rerun", "1", "--journal", folder / "journal.db")
    assert (again.exit_code, "the same order hash" in again.output) == (0, True), again.output

    (folder / "drift.py").write_text(blocks("python")[1].replace("drift 1", "drift 2"))
    changed = run("rerun", "1", "--journal", folder / "journal.db")
    assert changed.exit_code == 2
    assert "model: drift differs (was drift 1, shrink 0.5, is drift 2, shrink 0.5)" in changed.output, changed.output


def test_the_tables_of_settings_on_the_page_are_settings() -> None:
    drift = blocks("toml")[-1]
    parts = [block for block in blocks("toml") if block != drift]
    assert any("[[series]]" in part for part in parts)

    for text in ("".join(parts), drift):
        settings = settings_from(
            {**tomllib.loads(RUN), **tomllib.loads(text)}, folder=Path("/"), origin="docs/forecasting.md"
        )
        assert settings.models


def test_commands_of_the_page(folder: Path) -> None:
    run("backtest", folder / "run.toml")
    store = ("--store", folder / "store.db")

    assert "drift 1, shrink" in run("forecasts", "ls", *store).output
    assert "93 forecasts, all as written" in run("forecasts", "verify", *store).output
    assert "say what to drop" in run("forecasts", "gc", *store).output
    assert "expected a size such as 500MB" in run("forecasts", "gc", "--keep", "much", *store).output
    assert "dropped 93 forecasts" in run("forecasts", "gc", "--model", "drift 1", *store).output
    assert "the store is empty" in run("forecasts", "ls", *store).output
    assert "there is no forecast store" in run("forecasts", "ls", "--store", folder / "other.db").output


ODD = '''
class Unmade:
    def __init__(self):
        raise ValueError("no weights today")


class Unspecified:
    @property
    def spec(self):
        raise RuntimeError("no spec today")


class Dict:
    spec = {"name": "dict"}

    def forecast(self, windows):
        return None
'''


@pytest.mark.parametrize(("model", "message"), [
    ('forecaster = "drift.py"', "models.drift.forecaster is 'drift.py'; expected module:Class, or file.py:Class"),
    ('forecaster = "drft.py:Drift"', "there is no file drft.py; name its folder"),
    ('forecaster = "drift.py:Drft"', "drift.py has no class 'Drft'"),
    ('forecaster = "drift.py:Drift"\noptions = { depth = 2 }', "Drift does not take these options: .*depth"),
    ('forecaster = "follows.py:Follows"', "Follows is no forecaster; expected `spec` and `forecast"),
    ('forecaster = "odd.py:Unmade"', "Unmade cannot be made: ValueError: no weights today"),
    ('forecaster = "odd.py:Unspecified"', "Unspecified cannot be made: RuntimeError: no spec today"),
    ('forecaster = "odd.py:Dict"', "Dict is no forecaster; expected .*a ForecastSpec"),
    ('forecaster = "broken.py:X"', "broken.py cannot be loaded: ZeroDivisionError"),
    ('artefact = "nowhere"', "nowhere is not an artefact"),
    ("device = 'cpu'", "expected either artefact .a folder. or forecaster"),
    ('forecaster = "drift.py:Drift"\nlatency = -1', "latency is -1"),
    ('forecaster = "drift.py:Drift"\n[models.drift.skill]\nleast = 300', "least is 300, window 200"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(model: str, message: str, folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0")
    (folder / "odd.py").write_text(ODD)
    (folder / "run.toml").write_text(f'{RUN}\n[models.drift]\nfolders = ["."]\n{model}\n')

    done = run("backtest", folder / "run.toml")

    assert done.exit_code == 2
    assert re.search(message, done.output), done.output
