"""`main.py forecast`: one forecast, the same as a run's, in words, as JSON and as a page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from config.asking import ask
from config.settings import Settings, settings_from
from engine.analysis.forecast_page import render_forecast
from engine.analysis.forecast_text import as_json
from engine.bars import iso
from engine.errors import SettingsError
from engine.forecasts import ForecastKind
from engine.journal.sql import SqlJournal
from engine.records import ForecastRow
from main import app
from models.examples import write_examples

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_examples(folder)
    return folder


def settings_for(artefacts: Path, tmp_path: Path, **changes: Any) -> Settings:
    """Return settings with a model of paths and one of scores, over 120 hours of two symbols."""
    options = {"lookback": 32, "horizon": 4, "samples": 5}
    tables: dict[str, Any] = {
        "run": {"seed": 3},
        "data": {"source": "synthetic", "symbols": ["BTC/USDT", "ETH/USDT"], "timeframe": "1h", "bars": 120},
        "models": {
            "kronos": {"artefact": str(artefacts / "kronos"), "options": options, "device": "cpu"},
            "krnn": {"artefact": str(artefacts / "krnn"), "device": "cpu"},
        },
        "strategy": {"name": "KronosPaths", "parameters": {"model": "kronos", "every": "8h"}},
        "forecasts": {"store": str(tmp_path / "forecasts.db")},
        "journal": {"url": str(tmp_path / "journal.db")},
    }
    return settings_from({**tables, **changes}, folder=ROOT, origin="test")


def test_it_is_the_forecast_that_a_run_gets(artefacts: Path, tmp_path: Path) -> None:
    from config.assembly import run_backtest

    settings = settings_for(artefacts, tmp_path)
    run_backtest(settings)
    with SqlJournal(settings.journal.url, create=False) as journal, journal.snapshot() as reader:
        row = next(row for row in reader.rows(ForecastRow, 1) if row.symbol == "ETH/USDT")

    view = ask(settings, model=None, symbol="ETH/USDT", at=iso(row.as_of))

    assert view.forecast.as_of == row.as_of
    assert (view.window, view.seed) == (row.window_hash, row.seed)
    assert view.forecast.expected_return == pytest.approx(json.loads(row.says)["expected_return"], abs=1e-6)


def test_what_came_of_it_is_told_as_far_as_it_is_known(artefacts: Path, tmp_path: Path) -> None:
    settings = settings_for(artefacts, tmp_path)

    closed, open_, newest = (
        ask(settings, model="kronos", symbol=None, at=at) for at in ("2024-01-05", "2024-01-05T22:00:00Z", None)
    )

    assert (len(closed.ahead), len(open_.ahead), len(newest.ahead)) == (4, 2, 0)
    assert closed.score is not None
    assert closed.score.realised == pytest.approx(float(closed.realised[-1]))
    assert (open_.score, newest.score) == (None, None)
    assert [len(one.due) for one in (closed, open_, newest)] == [4, 4, 4]
    assert (newest.due[1:] - newest.due[:-1] == 3_600 * 10**9).all()
    assert newest.due[0] - newest.forecast.as_of == 3_600 * 10**9
    assert "nothing says until when it was trained" in closed.stamp[0]


def test_nothing_after_the_instant_changes_what_it_says(artefacts: Path, tmp_path: Path) -> None:
    whole = settings_for(artefacts, tmp_path)
    cut = whole.model_copy(update={
        "data": whole.data.model_copy(update={"bars": 96}),
        "forecasts": whole.forecasts.model_copy(update={"enabled": False}),
    })

    one, other = (ask(each, model="kronos", symbol="BTC/USDT", at="2024-01-05") for each in (whole, cut))

    assert one.forecast.values.tobytes() == other.forecast.values.tobytes()
    assert len(other.ahead) == 0


def test_scores_come_with_the_whole_cross_section(artefacts: Path, tmp_path: Path) -> None:
    view = ask(settings_for(artefacts, tmp_path), model="krnn", symbol="ETH/USDT", at="2024-01-05")

    assert view.forecast.spec.kind is ForecastKind.SCORE
    assert {row.symbol for row in view.panel} == {"BTC/USDT", "ETH/USDT"}
    assert view.panel[0].strength >= view.panel[1].strength
    assert all(row.realised is not None for row in view.panel)


@pytest.mark.parametrize(("asked", "message"), [
    ({"model": "kronso"}, "there is no model 'kronso'; these settings have kronos, krnn; did you mean 'kronos'"),
    ({"symbol": "ETC/USDT"}, "there are no bars of 'ETC/USDT'; the data have BTC/USDT, ETH/USDT; did you mean"),
    ({"at": "2024-01-01T05:00:00Z"},
     ("BTC/USDT has 5 bars by 2024-01-01T05:00Z; kronos needs 32: the first forecast is at 2024-01-02T08:00Z")),
    ({"at": "yesterday"}, "--at is 'yesterday'; expected a time such as 2024-01-31"),
    ({"at": "2024-01-05T00:00:00"}, "--at is '2024-01-05T00:00:00'; it has no timezone"),
])
def test_what_cannot_be_asked_is_refused(
    artefacts: Path, tmp_path: Path, asked: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        ask(settings_for(artefacts, tmp_path), **{"model": None, "symbol": None, "at": None, **asked})


def test_the_model_must_be_named_where_it_is_not_clear(artefacts: Path, tmp_path: Path) -> None:
    unclear = settings_for(artefacts, tmp_path, strategy={"name": "BuyAndHold"})
    with pytest.raises(SettingsError, match="these settings have several models; name one with --model: kronos, krnn"):
        ask(unclear, model=None, symbol=None, at=None)
    with pytest.raises(SettingsError, match="these settings have no model that forecasts"):
        ask(settings_for(artefacts, tmp_path, models={}), model=None, symbol=None, at=None)


def test_the_command_prints_and_draws(artefacts: Path, tmp_path: Path) -> None:
    arguments = [
        "forecast", ROOT / "config/examples/kronos_paths.toml", "--at", "2024-01-05", "--symbol", "ETH/USDT",
        "--html", tmp_path / "page.html", "--set", f"models.kronos.artefact={artefacts / 'kronos'}",
        "--set", f"forecasts.store={tmp_path / 'forecasts.db'}",
    ]

    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    again = CliRunner().invoke(app, [*map(str, arguments), "--json", "-"], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    assert "ETH/USDT by kronos" in done.stdout
    assert re.search(r"\+8  2024-01-05T08:00Z", done.stdout)
    assert "contaminated: kronos: nothing says until when it was trained" in done.stdout
    assert "ETH/USDT by kronos" in (tmp_path / "page.html").read_text()
    told = json.loads(again.stdout)
    assert told["shape"] == [16, 8, 6]
    assert len(told["values"]) == 16 * 8 * 6
    assert told["score"]["realised"] == pytest.approx(told["realised"][-1])


def test_a_model_that_explains_itself_says_what_its_forecast_was_made_of(artefacts: Path, tmp_path: Path) -> None:
    settings = settings_for(
        artefacts, tmp_path, models={"tft": {"artefact": str(artefacts / "tft"), "device": "cpu"}},
        strategy={"name": "TFTMulti", "parameters": {"model": "tft"}},
    )
    view = ask(settings, model="tft", symbol="ETH/USDT", at=None)

    assert view.explanation is not None
    assert view.window_times is not None
    for group, shares in view.explanation.weights.items():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5), group
    assert view.explanation.bars.sum() == pytest.approx(1, abs=1e-5)
    assert len(view.explanation.bars) == len(view.window_times)
    assert view.window_times[-1] == view.forecast.as_of
    assert "What it is made of" in (page := render_forecast(view))
    assert "Where it looked" in page
    assert as_json(view)["explanation"]["weights"].keys() == view.explanation.weights.keys()

    other = ask(settings_for(artefacts, tmp_path), model="krnn", symbol=None, at=None)
    assert other.explanation is None
    assert "What it is made of" not in render_forecast(other)
