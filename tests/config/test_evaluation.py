"""`main.py evaluate`: judged from where training ended, traded, reported; and what it refuses."""

import json
from datetime import UTC, datetime

import pytest

from config.evaluation import evaluate
from config.settings import ROOT, settings_from
from config.training import run_training
from config.training_settings import load_training
from engine.errors import SettingsError
from main import app
from models.artefact import load_artefact

EXAMPLES = ROOT / "config" / "examples" / "training"
SMALL = ("train.epochs=1", "log.tensorboard=false", "krnn.cnn_dim=4", "krnn.rnn_dim=4", "data.bars=900")
TABLES = {
    "data": {"source": "synthetic", "symbols": [f"{letter * 3}/USDT" for letter in "ABCDEF"], "timeframe": "1h",
             "bars": 900},
    "models": {"ranker": {"artefact": "."}},
    "strategy": {"name": "RankRotation", "parameters": {"model": "ranker", "every": "1d", "n_hold": 2, "n_drop": 1}},
    "journal": {"enabled": False},
}


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    return run_training("krnn", load_training(EXAMPLES / "krnn.toml", [
        *SMALL, f"train.folder={tmp_path_factory.mktemp('runs')}"])).artefact


def settings(tmp_path, **tables):
    given = {**TABLES, "forecasts": {"store": str(tmp_path / "f.db")}, **tables}
    return settings_from(given, folder=tmp_path, origin="t")


def test_a_model_is_judged_and_traded_from_where_its_training_ended(artefact, tmp_path):
    made = evaluate(artefact, settings(tmp_path))

    ended = load_artefact(artefact).card.trained_until
    assert made.start >= datetime.fromtimestamp(ended / 1e9, UTC).strftime("%Y-%m-%dT%H:%M")
    assert not made.is_contaminated
    assert list(made.contenders)[:4] == ["ranker", "random walk", "volatility cone", "autoregression"]
    assert made.contenders["ranker"]["count"] == made.contenders["random walk"]["count"] > 12
    assert made.contenders["ranker"].keys() >= {"ic", "rank_ic", "rank_icir", "auc"}
    figures = made.contenders["autoregression"].keys()
    assert figures >= {"mae", "mse", "r2", "brier", "ece", "pinball", "coverage", "crps"}
    assert made.traded["fills"] > 0
    assert made.traded["sharpe_low"] <= made.traded["sharpe"] <= made.traded["sharpe_high"]
    assert made.rank_ic["low"] <= made.rank_ic["value"] <= made.rank_ic["high"]
    assert json.dumps(made.contenders, allow_nan=False)


def test_an_earlier_start_is_told_as_contaminated(artefact, tmp_path):
    made = evaluate(artefact, settings(tmp_path), start=datetime(2024, 1, 20, tzinfo=UTC))
    assert made.is_contaminated
    assert made.start == "2024-01-20T00:00Z"


def test_what_cannot_be_judged_is_refused(artefact, tmp_path):
    with pytest.raises(SettingsError, match=r"no decision is left after 2030-01-01T00:00Z: the data end at 2024-02-07"):
        evaluate(artefact, settings(tmp_path), start=datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(SettingsError, match="these settings have no model; add"):
        evaluate(artefact, settings(tmp_path, models={}))
    with pytest.raises(SettingsError, match="there is no model 'x'; these settings have ranker"):
        evaluate(artefact, settings(tmp_path), model="x")


def test_the_command_writes_json_picture_and_page(artefact, tmp_path):
    from typer.testing import CliRunner

    config = tmp_path / "c.toml"
    config.write_text(
        '[data]\nsource = "synthetic"\ntimeframe = "1h"\nbars = 900\n'
        'symbols = ["AAA/USDT", "BBB/USDT", "CCC/USDT", "DDD/USDT", "EEE/USDT", "FFF/USDT"]\n'
        '[models.ranker]\nartefact = "."\n[strategy]\nname = "RankRotation"\n'
        '[strategy.parameters]\nmodel = "ranker"\nevery = "1d"\nn_hold = 2\nn_drop = 1\n'
        f'[forecasts]\nstore = "{tmp_path}/f.db"\n'
    )
    done = CliRunner().invoke(app, ["evaluate", str(artefact), str(config), "--to", str(tmp_path / "report")])

    assert done.exit_code == 0, done.output
    assert "random walk" in done.output
    made = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert made["model"] == "ranker"
    assert (tmp_path / "report" / "evaluation.png").read_bytes()[:4] == b"\x89PNG"
    page = (tmp_path / "report" / "evaluation.html").read_text()
    assert "autoregression" in page
    assert "http" not in page.replace("http-equiv", "")
