"""The recipe through the training loop: it learns what there is, resumes exactly, and its artefact forecasts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.errors import DataError, SettingsError
from models.features.targets import TargetSpec
from models.training.data.augment import Augmentation
from models.training.data.splits import Split
from models.training.data.table import DataPlan, Table, build
from models.training.loop import train
from models.training.plan import OptimiserPlan, Plan
from models.training.recipe import Moment, TrainingFacts
from models.training.tft.losses import Stages
from models.training.tft.recipe import TFTPlan, TFTRecipe, TFTSizes
from models.training.tft.score import Composite, ScorePart
from tests.models.training.markets import bars_of, market, walk

SMALL = TFTSizes(hidden_size=8, attention_head_size=2, hidden_continuous_size=4, dropout=0.0)
TARGETS = (
    TargetSpec("logreturn", 1, quantiles=(0.1, 0.5, 0.9)),
    TargetSpec("binarytrend", 1),
    TargetSpec("realized_vol", 2),
)
DATA = DataPlan(("log_return", "momentum(3)", "volume_ratio(5)"), TARGETS, lookback=8, known=("hour_sin",))
PLAN = Plan(epochs=2, batch=64, optimiser=OptimiserPlan("adamw", 3e-3), clip_norm=0.5)


def _table(data: DataPlan = DATA, **options: int) -> Table:
    return build(market(rows=260, **options), data)


def _recipe(table: Table | None = None, plan: TFTPlan | None = None) -> TFTRecipe:
    table = table or _table()
    return TFTRecipe(table, Split.by_share(table.close_time, 0.6, 0.2), plan or TFTPlan(SMALL))


def _predictable(rows: int = 600) -> Table:
    """A market whose next return is told by its volume: up after much, down after little."""
    rng = np.random.default_rng(0)
    series = []
    for place in range(2):
        bars = walk(rows, place)
        much = rng.random(rows) < 0.5
        bars[:, 4] = np.where(much, 20.0, 10.0)
        step = rng.normal(0, 0.004, rows)
        step[1:] += np.where(much[:-1], 0.004, -0.004)
        close = 100 * np.exp(np.cumsum(step))
        bars[:, 3], bars[:, 0] = close, np.concatenate([[100.0], close[:-1]])
        bars[:, 1], bars[:, 2] = bars[:, [0, 3]].max(1) * 1.001, bars[:, [0, 3]].min(1) * 0.999
        series.append((f"S{place}", "1h", np.arange(rows, dtype=np.int64) * HOUR, bars))
    return build(bars_of(series), DATA)


def _unseen(table, done):
    """What is found on the windows that neither trained a network nor chose its checkpoint, and how many they are."""
    split = Split.by_share(table.close_time, 0.6, 0.2)
    judge = TFTRecipe(table, replace(split, valid=split.test), TFTPlan(SMALL))
    return judge.validate(done.network, Moment(0, 0, 0.0)), len(judge.valid)


def test_it_learns_what_can_be_known(tmp_path):
    table = _predictable()
    done = train(_recipe(table, TFTPlan(SMALL)), replace(PLAN, epochs=12), tmp_path)
    found, _ = _unseen(table, done)
    # Half the variance is told ahead: the best correlation there can be is 0.71.
    assert found["val_logreturn_ic@1h"] > 0.8 * math.sqrt(0.5)
    assert found["val_binarytrend_roc_auc@1h"] > 0.75
    assert 0.7 < found["val_logreturn_coverage@1h"] < 0.9
    assert found["val_binarytrend_ece@1h"] < 0.12


def test_a_run_that_goes_on_is_one_that_never_stopped(tmp_path):
    score = Composite(
        (ScorePart("val_logreturn_rmse@1h", goal="min", scale=0.01), ScorePart("val_binarytrend_roc_auc@1h"))
    )
    plan = TFTPlan(SMALL, stages=Stages({0: {"logreturn": 3.0}, 1: {"logreturn": 1.0}}), score=score)
    plan = replace(plan, augmentation=Augmentation(noise=0.1))
    whole = train(_recipe(plan=plan), replace(PLAN, epochs=4), tmp_path / "whole")
    train(_recipe(plan=plan), replace(PLAN, epochs=4), tmp_path / "two", stop_after=2)
    rest = train(_recipe(plan=plan), replace(PLAN, epochs=4), tmp_path / "two")
    assert rest.state == whole.state
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, rest.network.state_dict()[name]), name


def test_batches_weigh_what_is_known():
    recipe = _recipe()
    torch.manual_seed(0)
    network = recipe.network().eval()
    rows = torch.arange(60)
    whole = recipe.loss(network, rows, Moment(0, 0, 0.0))
    parts = [recipe.loss(network, some, Moment(0, 0, 0.0)) for some in (rows[:20], rows[20:])]
    for name in whole.parts:
        together = (20 * parts[0].parts[name] + 40 * parts[1].parts[name]) / 60
        assert float(together) == pytest.approx(float(whole.parts[name]), rel=1e-4)


def test_what_is_fitted_is_fitted_on_training_alone():
    bars = market(rows=260)
    table = build(bars, DATA)
    split = Split.by_share(table.close_time, 0.6, 0.2)
    later = bars.close_time > split.train.end
    wild = {
        name: np.where(later, getattr(bars, name) * 3, getattr(bars, name)) for name in ("open", "high", "low", "close")
    }
    one, other = (TFTRecipe(build(of, DATA), split, TFTPlan(SMALL)) for of in (bars, replace(bars, **wild)))
    assert torch.equal(one.centre, other.centre)
    assert torch.equal(one.scale, other.scale)
    assert torch.equal(one.scales.centre, other.scales.centre)
    assert one.targets == other.targets
    assert one.vocabularies == other.vocabularies


def test_scalers_see_the_rows_of_training_windows_and_no_others():
    recipe = _recipe()
    table = recipe.table
    ends = table.windows().rows.numpy()
    windows = table.windows()
    train = recipe._split.train.mask(windows.times, windows.label_times)
    rows = sorted({row for end in ends[train] for row in range(end - 7, end + 1)})
    np.testing.assert_allclose(
        recipe.centre.numpy(), table.values[rows].mean(axis=0, dtype=float), rtol=1e-4, atol=1e-7
    )


def test_the_artefact_says_what_the_network_says(tmp_path):
    from models.artefact import load_artefact
    from models.tft.keeping import pipeline_of

    recipe = _recipe()
    done = train(recipe, replace(PLAN, epochs=1), tmp_path)
    facts = TrainingFacts(0, 100, ("BTC/USDT",), "here", done.best.metrics)
    artefact = recipe.export(done.network, tmp_path / "artefact", facts)
    assert artefact.card.trained_until == 100
    assert artefact.card.timeframe == "1h"
    assert artefact.card.label["horizon"] == 2
    recipe.validate(done.network, Moment(0, 0, 1.0))
    pipeline = pipeline_of(load_artefact(tmp_path / "artefact"))
    windows = recipe.table.windows()
    places = torch.from_numpy(recipe._valid[:20])
    batch = windows.gather(places)
    codes = recipe._symbols[batch["group"]]
    said = pipeline.forecast(batch["values"], known=batch["known"], codes={"symbol": codes}, symbols=codes)
    for target in recipe.targets:
        expected = recipe.validation.said[target.name][:20]
        np.testing.assert_allclose(said.values[target.name][:, -1].numpy(), expected, rtol=1e-3, atol=1e-5)


def test_class_weights_are_of_training_and_undone(tmp_path):
    table = _predictable(400)
    rare = build(market(rows=400), replace(DATA, targets=(TargetSpec("return_outlier_lower_10", 1),)))
    weighed = _recipe(rare)
    assert weighed.losses[0].pos_weight > 3
    assert weighed.targets[0].head.pos_weight == weighed.losses[0].pos_weight
    assert _recipe(rare, TFTPlan(SMALL, class_weights=False)).losses[0].pos_weight == 1
    assert _recipe(table).losses[1].pos_weight < 1.5
    done = train(weighed, replace(PLAN, epochs=6), tmp_path)
    said = weighed.validation.said["return_outlier_lower_10"]
    assert float(said.mean()) < 0.3, "probabilities are those of the market again"
    assert done.best.metrics["val_loss"] > 0


def test_several_periods_and_symbols_have_codes_and_metrics(tmp_path):
    table = _table(replace(DATA, timeframes=("1h", "2h")), slow=2)
    recipe = _recipe(table)
    assert recipe.configuration.static_categoricals == ("symbol", "period")
    assert recipe.configuration.embedding_sizes["symbol"][0] == 3
    assert set(recipe.tables) <= set(recipe.network().state_dict())
    done = train(recipe, replace(PLAN, epochs=1), tmp_path)
    assert {"val_logreturn_rmse@1h", "val_logreturn_rmse@2h"} <= set(done.best.metrics)


def test_the_score_is_what_checkpoints_are_named_by(tmp_path):
    score = Composite((ScorePart("val_logreturn_rmse@1h", goal="min", scale=0.01),))
    recipe = _recipe(plan=TFTPlan(SMALL, score=score))
    done = train(recipe, replace(PLAN, keep=1), tmp_path)
    expected = math.exp(-done.best.metrics["val_logreturn_rmse@1h"] / 0.01)
    assert done.best.metrics["composite"] == pytest.approx(expected)
    assert any("composite=" in path.name for path in (tmp_path / "checkpoints").iterdir())


def test_an_epoch_whose_score_is_not_known_cannot_be_chosen(caplog):
    rare = replace(DATA, targets=(TargetSpec("binarytrend", 1, {"dead_band": 0.014}),))
    table = build(market(rows=400), rare)
    recipe = _recipe(table, TFTPlan(SMALL, score=Composite((ScorePart("val_binarytrend_f1@1h"),))))
    lost = {"binarytrend": 0.5}
    recipe.validate(recipe.network().eval(), Moment(0, 0, 0.0))
    nothing = replace(recipe.validation, came=np.full_like(recipe.validation.came, np.nan))
    found = recipe._metrics(lost, nothing, Moment(2, 0, 1.0))
    assert math.isnan(found["composite"])
    assert not recipe.goal.is_better(found["composite"], None)
    assert "epoch 3 cannot be chosen: val_binarytrend_f1@1h cannot be known" in caplog.text


def test_a_score_that_no_epoch_can_have_is_refused_before_training():
    table = build(market(rows=400), replace(DATA, targets=(TargetSpec("logreturn", 1), TargetSpec("binarytrend", 1))))
    first, last = int(table.close_time.min()), int(table.close_time.max())
    few = Split.at(last - 4 * HOUR, last)
    score = TFTPlan(SMALL, score=Composite((ScorePart("val_logreturn_ic@1h"), ScorePart("val_binarytrend_f1@1h"))))
    with pytest.raises(SettingsError, match=r"score: val_logreturn_ic@1h can be known in no epoch: of \d windows"):
        TFTRecipe(table, few, score)
    assert TFTRecipe(table, few, TFTPlan(SMALL)).goal.metric == "val_loss"
    assert TFTRecipe(table, Split.at((first + last) // 2, last), score).goal.made_of == tuple(
        part.metric for part in score.score.parts)


def test_epochs_of_different_stages_are_judged_by_the_last_ones_weights():
    stages = Stages({0: {"logreturn": 1.0, "binarytrend": 0.0}, 2: {"logreturn": 0.0, "binarytrend": 1.0}})
    recipe = _recipe(plan=TFTPlan(SMALL, stages=stages))
    network = recipe.network().eval()
    found = [recipe.validate(network, Moment(epoch, 0, 1.0))["val_loss"] for epoch in (0, 1, 2, 5)]

    assert len(set(found)) == 1
    last = _recipe(plan=TFTPlan(SMALL, stages=Stages({0: stages.weights[2]})))
    assert last.validate(network, Moment(0, 0, 1.0))["val_loss"] == found[0]


def test_the_judging_loss_is_a_mean_over_the_judging_rows_that_are_known():
    rare = replace(DATA, targets=(TargetSpec("binarytrend", 1, {"dead_band": 0.01}), TargetSpec("logreturn")))
    recipe = _recipe(build(market(rows=400), rare), TFTPlan(SMALL, stages=Stages({0: {"logreturn": 0.0}})))
    network = recipe.network().eval()
    found = recipe.validate(network, Moment(0, 0, 1.0))["val_loss"]

    came = recipe.valid.all_of("target")[:, 0]
    chance = torch.from_numpy(recipe.validation.said["binarytrend"][:, 0])
    weight = recipe.losses[0].pos_weight
    odds = chance / (1 - chance) * weight  # as the network says it, before it is set right
    raw = odds / (1 + odds)
    there = ~came.isnan()
    each = -torch.where(came > 0.5, weight * raw.log(), (1 - raw).log())
    assert 0.2 < float(there.float().mean()) < 0.8
    assert found == pytest.approx(float(each[there].mean()), rel=1e-4)


def test_what_names_nothing_is_refused_before_training():
    table = _table()
    split = Split.by_share(table.close_time, 0.6, 0.2)
    with pytest.raises(SettingsError, match="there will be no metric"):
        TFTRecipe(table, split, TFTPlan(SMALL, score=Composite((ScorePart("val_logreturn_f1@1h"),))))
    with pytest.raises(SettingsError, match="there is no target 'x'"):
        TFTRecipe(table, split, TFTPlan(SMALL, stages=Stages({0: {"x": 1.0}})))
    with pytest.raises(DataError, match="no window is left for judging"):
        TFTRecipe(table, Split.at(259 * HOUR, 400 * HOUR), TFTPlan(SMALL))


def test_what_is_worked_out_otherwise_in_training_is_the_same():
    recipe = _recipe()
    torch.manual_seed(1)
    network = recipe.network().double()
    batch = recipe._windows.gather(torch.arange(40))
    inputs = recipe._inputs({**batch, "values": batch["values"].double()}).double()
    trained, judged = network.train()(inputs), network.eval()(inputs)
    for one, other in zip(trained.raw, judged.raw, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_on_noise_it_claims_no_skill(tmp_path):
    table = build(market(("A", "B", "C", "D"), rows=1600), DATA)
    found, count = _unseen(table, train(_recipe(table), replace(PLAN, epochs=3), tmp_path))
    # Three standard errors over so many windows: the symbols move by themselves, and the horizon is one bar.
    assert count > 1_200
    assert abs(found["val_logreturn_ic@1h"]) < 3 / math.sqrt(count)
    assert found["val_logreturn_r2@1h"] < 0.01
    assert abs(found["val_binarytrend_roc_auc@1h"] - 0.5) < 1.5 * math.sqrt(4 / 3) / math.sqrt(count)
