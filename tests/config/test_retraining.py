"""A model that is trained again as a backtest goes: on what was known, in other processes, told in the journal."""

import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import torch

import config.retraining as retraining
from config.assembly import run_backtest
from config.forecasts import make_forecasters, make_policies
from config.settings import ROOT, ModelSettings, settings_from
from config.training import run_training
from config.training_settings import load_training
from engine.bars import DAY, nanoseconds
from engine.errors import SettingsError
from models.artefact import ArtefactCard, load_artefact, save_artefact
from models.examples import write_examples
from tests.config.trainings import small_krnn

SYMBOLS = [f"{letter * 3}/USDT" for letter in "ABCD"]
TRAINING = small_krnn(SYMBOLS, 1200, 3)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "training.toml").write_text(TRAINING)
    given = load_training(tmp_path / "training.toml", [f"train.folder={tmp_path / 'first'}"])
    artefact = run_training("krnn", given).artefact

    def made(**model):
        tables = {
            "data": {"source": "synthetic", "symbols": SYMBOLS, "timeframe": "1h", "bars": 900, "seed": 3, "skip": 456},
            "models": {"ranker": {"artefact": str(artefact), "training": "training.toml", **model}},
            "strategy": {"name": "RankRotation",
                         "parameters": {"model": "ranker", "every": "1d", "n_hold": 2, "n_drop": 1}},
            "journal": {"url": str(tmp_path / "j.db")}, "forecasts": {"store": str(tmp_path / "f.db")},
        }
        return settings_from(tables, folder=tmp_path, origin="t")

    return made


def test_a_backtest_swaps_models_and_tells_which_one_spoke(settings, tmp_path):
    chosen = settings(retrain="10d")
    model = make_forecasters(chosen, "1h")["ranker"]
    since = [time for time, _ in model.spec.versions]
    first = nanoseconds(datetime(2024, 1, 20, tzinfo=UTC))
    assert since == [first, first + 10 * DAY]
    done = run_backtest(chosen)

    assert not done.report.forecasts["contaminated"], "every version answers only after what it was trained on"
    rows = sqlite3.connect(tmp_path / "j.db").execute("SELECT as_of, model_hash FROM forecasts").fetchall()
    assert {model.spec.hash_at(as_of) == said for as_of, said in rows} == {True}
    assert {said for _, said in rows} == {said for _, said in model.spec.versions}
    folders = list((chosen.models["ranker"].artefact.parent / "retrained").iterdir())
    assert len(folders) == 1, "one training, taken from its folder the second time"


def test_what_cannot_be_retrained_is_refused(settings, tmp_path):
    with pytest.raises(SettingsError, match="has retrain; expected an artefact to begin with, and training"):
        settings(retrain="10d", training=None)
    shares = TRAINING.replace("valid = 2024-01-15", "valid = 0.7").replace("end = 2024-01-20", "end = 0.85")
    (tmp_path / "shares.toml").write_text(shares)
    with pytest.raises(SettingsError, match="retrain needs split.valid and split.end as times"):
        make_forecasters(settings(retrain="10d", training="shares.toml"), "1h")
    example = settings(retrain="10d")
    described = example.models["ranker"].model_copy(update={"artefact": ROOT / "nowhere"})
    with pytest.raises(Exception, match="is not an artefact"):
        make_forecasters(example.model_copy(update={"models": {"ranker": described}}), "1h")


@pytest.mark.parametrize(
    ("key", "until", "message"),
    [
        ("tokenizer", 15, r"kronos.tokenizer .* was trained until 1970-.*Z, and the first .* after 1970-.*; name one"),
        ("pretrained", 15, r"kronos.pretrained .* was trained until .*; name one that was trained until then"),
        ("tokenizer", None, r"nothing says until when kronos.tokenizer .* was trained"),
        ("pretrained", "no card", r"nothing says until when kronos.pretrained hub/id .* was trained"),
    ],
)
def test_a_network_that_knows_what_comes_later_is_no_part_of_a_retrained_model(key, until, message, tmp_path):
    source = "hub/id"
    if until != "no card":
        source = str(tmp_path / "a")
        save_artefact(tmp_path / "a", ArtefactCard("kronos", {}, trained_until=until), {"a": torch.zeros(1)})
    given = load_training(ROOT / "config" / "examples" / "training" / "kronos.toml", [f"kronos.{key}={source}"])
    described = ModelSettings(artefact=tmp_path, training=tmp_path / "t.toml", retrain="10d")

    with pytest.raises(SettingsError, match=f"^models.m.retrain: {message}"):
        retraining.check_donors("m", "kronos", described, given, [14])
    retraining.check_donors("m", "krnn", described, given, [14])
    if until == 15:
        retraining.check_donors("m", "kronos", described, given, [15])


def test_a_network_that_a_head_reads_is_not_retrained_nor_the_head_itself(tmp_path):
    write_examples(tmp_path)
    data = {"source": "synthetic", "symbols": ["A/USD"], "timeframe": "1h", "bars": 300}
    again = {"retrain": "10d", "training": "t.toml"}

    def settings(price=None, head=None):
        models = {
            "price": {"artefact": "price_transformer", "options": {"gives": "outputs"}, **(price or {})},
            "head": {"artefact": "position_head", **(head or {})},
        }
        tables = {"data": data, "models": models, "strategy": {"name": "PositionHeadStrategy"}}
        return settings_from(tables, folder=tmp_path, origin="t")

    chosen = settings(price=again)
    message = "^models.price.retrain: models.head was trained on .*price_transformer and would be fed by another "
    with pytest.raises(SettingsError, match=message):
        retraining.check_no_head_reads("price", chosen.models["price"], chosen)
    chosen = settings(head=again)
    for refuse in (lambda: make_policies(chosen), lambda: retraining.trained_as("head", chosen.models["head"])):
        with pytest.raises(SettingsError, match="^models.head is a position head and has retrain; .*: leave it out"):
            refuse()
    make_policies(settings())

    head = load_artefact(tmp_path / "position_head")
    save_artefact(tmp_path / "position_head", replace(head.card, conventions={}), head.weights)
    with pytest.raises(SettingsError, match="position_head does not say which price network it was trained on, as"):
        make_policies(settings())
    retraining.check_no_head_reads("price", chosen.models["price"], chosen)


def test_trainings_beyond_those_kept_are_dropped_oldest_first(tmp_path):
    for number in range(5):
        folder = tmp_path / f"t{number}" / "run" / "artefact"
        folder.mkdir(parents=True)
        age = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)).timestamp()
        os.utime(tmp_path / f"t{number}", (age, age))
    retraining._prune(tmp_path, [tmp_path / "t0" / "run" / "artefact"], 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t0", "t3", "t4"]
