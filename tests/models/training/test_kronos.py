"""Kronos' recipes: the original's losses and gradients, windows that know nothing later, folders it would load."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.bars import HOUR
from engine.errors import PluginError, SettingsError
from feeds.chunks import join
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from models.forecasters import load_forecaster
from models.kronos.configuration import MODELS, TOKENIZERS, ModelSizes, TokenizerSizes
from models.kronos.loading import load_model, load_tokenizer
from models.kronos.network import Kronos
from models.kronos.preparation import normalise, with_amount
from models.kronos.tokenizer import KronosTokenizer
from models.kronos.verify import fill_by_recipe
from models.training import lora
from models.training.data.splits import Split
from models.training.kronos import (
    PREDICTOR_DEFAULTS,
    TOKENIZER_DEFAULTS,
    KronosWindows,
    PredictorRecipe,
    TokenizerRecipe,
    WindowPlan,
    export_checkpoint,
    predictor_loss,
    tokenizer_loss,
)
from models.training.loop import train
from models.training.panel import Panel
from models.training.recipe import Moment, TrainingFacts

BITS = TokenizerSizes(6, 16, 2, 16, 2, 2, 0.0, 0.0, 0.0, 4, 4, 0.05, 1.0, 1.1, 0.05, 4)
SIZES = ModelSizes(4, 4, 1, 16, 2, 16, 0.1, 0.0, 0.0, 0.0, True)
FACTS = TrainingFacts(1, 2, ("A/USDT",), "here")


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel.of(join(list(SyntheticFeed(SyntheticMarket(("A/USDT", "B/USDT"), "1h", 300)).chunks())))


@pytest.fixture(scope="module")
def split(panel) -> Split:
    first = int(panel.open_time.min())
    return Split.at(first + 200 * HOUR, first + 280 * HOUR)


@pytest.fixture
def windows(panel, split) -> KronosWindows:
    return KronosWindows(panel, split, WindowPlan(20, 4, judged=30))


@pytest.fixture(scope="module")
def coder(panel, split, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("coder")
    recipe = TokenizerRecipe(KronosWindows(panel, split, WindowPlan(20, 4, judged=30)), BITS)
    done = train(recipe, replace(TOKENIZER_DEFAULTS, epochs=2), folder / "run")
    recipe.export(done.network, folder / "artefact", FACTS)
    return str(folder / "artefact")


@pytest.mark.parametrize("case", ["a_sym4", "b_oddheads_fixedte", "c_asym64", "d_mini_recipe"])
def test_losses_and_gradients_are_the_originals(golden, case):
    folder = golden / "kronos" / case
    sizes, facts = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "io"))
    io = load_file(folder / "io.safetensors")
    coder = KronosTokenizer(TokenizerSizes.of(sizes["tokenizer"]))
    _fill(coder, folder, sizes, "tokenizer")
    loss = tokenizer_loss(coder.train(), io["tok.x"])
    _hold(coder, loss.value, facts["tok_train"], facts["tok_train"]["loss"])
    for ours, theirs in (("fine", "mse_all"), ("coarse", "mse_pre"), ("quantiser", "bsq")):
        assert loss.parts[ours].item() == pytest.approx(facts["tok_train"][theirs], rel=1e-5)

    given = {name: (0.0 if name.endswith("dropout_p") else value) for name, value in sizes["model"].items()}
    network = Kronos(ModelSizes.of(given))
    _fill(network, folder, sizes, "model")
    seen, came = ((io[f"mdl.s1_{of}"], io[f"mdl.s2_{of}"]) for of in ("in", "targets"))
    loss = predictor_loss(network.train(), seen, came, io["mdl.stamp"])
    _hold(network, loss.value, facts["mdl_train"], facts["mdl_train"]["ce"])
    assert loss.parts["s2"].item() == pytest.approx(facts["mdl_train"]["ce_s2"], rel=1e-5)


def _fill(network, folder, sizes, part):
    """Load a golden case's weights, or make them as its recipe says."""
    if sizes["weights"] == "recipe":
        fill_by_recipe(network, sizes["recipe"][f"{part}_seed"], sizes["recipe"]["head_gain"])
    else:
        network.load_state_dict(load_file(folder / f"{part}.safetensors"), strict=False)


def _hold(network, loss, stated, expected):
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    for name, norm in stated["grad_l2"].items():
        grad = dict(network.named_parameters())[name].grad
        found = 0.0 if grad is None else grad.norm().item()
        assert found == pytest.approx(norm or 0.0, rel=1e-3, abs=1e-7), name


def test_windows_are_what_the_pipeline_feeds(windows, panel):
    rows = windows.train_rows[::40]
    x, _ = windows.at(torch.from_numpy(rows))
    for window, row in zip(x, rows, strict=True):
        past = panel.values[row - 19 : row + 1]
        fields = dict(zip(("open", "high", "low", "close", "volume"), past.T, strict=True))
        np.testing.assert_allclose(window[:20].numpy(), normalise(with_amount(fields)).values, atol=2e-4)


def test_the_horizon_does_not_move_what_is_before_it(panel, split):
    """The original normalises over horizon and all in one of its trainers; here later bars change later rows alone."""
    later = panel.close_time > split.train.end - 3 * HOUR
    values = panel.values.copy()
    values[later] *= 2
    one, other = (KronosWindows(replace(panel, values=given), split, WindowPlan(20, 4, judged=30))
                  for given in (panel.values, values))
    x, y = (windows.of(torch.arange(len(windows.train_rows)))[0] for windows in (one, other))

    assert torch.equal(x[:, :20], y[:, :20])
    assert not torch.equal(x[:, 20:], y[:, 20:])


def test_windows_end_within_their_span(windows, panel, split):
    assert panel.close_time[windows.train_rows + 5].max() <= split.train.end
    assert panel.close_time[windows.judged_rows].min() > split.train.end
    assert panel.close_time[windows.judged_rows + 5].max() <= split.valid.end
    batches = KronosWindows(panel, split, WindowPlan(20, 4, samples=70)).batches(32, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == [32, 32, 6]


def test_tokenizer_and_predictor_learn_and_forecast(windows, coder, tmp_path):
    recipe = PredictorRecipe(windows, SIZES, coder, max_context=64)
    before = recipe.validate(recipe.network().eval(), Moment(0, 0, 0.0))
    plan = replace(PREDICTOR_DEFAULTS, epochs=3, optimiser=replace(PREDICTOR_DEFAULTS.optimiser, rate=5e-3))
    done = train(recipe, plan, tmp_path / "run")
    assert done.best.metrics["loss"] < 0.9 * before["loss"]
    recipe.export(done.network, tmp_path / "artefact", FACTS)

    forecaster = load_forecaster("k", tmp_path / "artefact", options={"horizon": 4, "samples": 2})
    assert (forecaster.spec.timeframe, forecaster.spec.lookback) == ("1h", 20)
    again = load_model(tmp_path / "artefact" / "export" / "model")
    assert all(torch.equal(again.state_dict()[name], value) for name, value in done.network.state_dict().items())
    load_tokenizer(tmp_path / "artefact" / "export" / "tokenizer")


def test_an_artefact_has_seen_what_its_tokenizer_and_what_it_began_with_have(windows, coder, tmp_path):
    late, later = TrainingFacts(3, 90, ("C/USDT",)), TrainingFacts(0, 95, ("D/USDT",))
    begun = TokenizerRecipe(windows, BITS, coder)
    tokenizer = begun.export(begun.network(), tmp_path / "tokenizer", late).card
    assert (tokenizer.trained_from, tokenizer.trained_until) == (1, 90)
    assert tokenizer.trained_on == ("C/USDT", "A/USDT")

    plain = PredictorRecipe(windows, SIZES, str(tmp_path / "tokenizer"))
    predictor = plain.export(plain.network(), tmp_path / "kronos", FACTS).card
    assert (predictor.trained_from, predictor.trained_until) == (1, 90)
    assert predictor.trained_on == ("A/USDT", "C/USDT")
    first = plain.export(plain.network(), tmp_path / "first", later).card
    assert (first.trained_from, first.trained_until) == (0, 95)

    tuned = PredictorRecipe(windows, SIZES, coder, pretrained=str(tmp_path / "first"))
    assert tuned.export(tuned.network(), tmp_path / "tuned", FACTS).card.trained_until == 95
    foreign = PredictorRecipe(windows, SIZES, str(tmp_path / "kronos" / "export" / "tokenizer"))
    card = foreign.export(foreign.network(), tmp_path / "foreign", FACTS).card
    assert (card.trained_from, card.trained_until, card.trained_on) == (None, None, ())


def test_validation_sees_nothing_later(windows, coder):
    """The original's validation lets the fine half see the whole window: changing the last token changes all."""
    recipe = PredictorRecipe(windows, SIZES, coder, max_context=64)
    network = recipe.network().eval()
    x, stamps = windows.judged()[0]
    s1, s2, _ = recipe._tokens(x, stamps)
    other = s2.clone()
    other[:, -2] = (other[:, -2] + 1) % 16
    with torch.no_grad():
        ours, theirs = (network(s1[:, :-1], some[:, :-1], stamps[:, :-1], s1[:, 1:]) for some in (s2, other))
    assert torch.equal(ours.s2[:, :-1], theirs.s2[:, :-1])
    assert not torch.equal(ours.s2[:, -1], theirs.s2[:, -1])


@pytest.mark.parametrize("tuning", ["head", "lora"])
def test_tuning_a_part_leaves_the_rest_alone(windows, coder, tmp_path, tuning):
    first = PredictorRecipe(windows, SIZES, coder, max_context=64)
    first.export(first.network().eval(), tmp_path / "first", FACTS)
    recipe = PredictorRecipe(windows, SIZES, coder, pretrained=str(tmp_path / "first"), max_context=64, tuning=tuning,
                             rank=2)
    before = recipe.validate(recipe.network().eval(), Moment(0, 0, 0.0))
    assert before == first.validate(load_model(tmp_path / "first/export/model"), Moment(0, 0, 0.0))
    plan = replace(PREDICTOR_DEFAULTS, epochs=2, optimiser=replace(PREDICTOR_DEFAULTS.optimiser, rate=5e-3))
    done = train(recipe, plan, tmp_path / "run")
    assert done.best.metrics["loss"] < before["loss"]
    recipe.export(done.network, tmp_path / "second", FACTS)

    old, new = (load_model(tmp_path / name / "export" / "model").state_dict() for name in ("first", "second"))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    parts = {name.split(".")[0] for name in changed}
    assert parts == ({"head"} if tuning == "head" else {"transformer", "dep_layer"})
    assert tuning == "head" or all(name.endswith("weight") for name in changed)


def test_lora_begins_where_the_network_stands_and_merges_to_what_it_said():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 2))
    x = torch.randn(5, 6)
    plain = network(x)
    assert lora.attach(network, 2, lambda name: name == "0") == 2 * (6 + 8)
    torch.testing.assert_close(network(x), plain)
    with torch.no_grad():
        network[0].parametrizations.weight[0].up.normal_()
    said = network(x)
    assert not torch.allclose(said, plain)
    lora.merge(network)
    torch.testing.assert_close(network(x), said)
    assert set(network.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    with pytest.raises(SettingsError, match="lora: rank 2 beside 0 layers; expected 1 or more of each"):
        lora.attach(network, 2, lambda name: False)


def test_an_export_has_the_originals_keys_and_configuration(golden, tmp_path):
    stated = json.loads((golden / "kronos" / "state_dict_keys.json").read_text())
    cases = {
        "tokenizer-base": (KronosTokenizer(TOKENIZERS["base"]), TOKENIZERS["base"], stated["tokenizers"]),
        "mini": (Kronos(MODELS["mini"]), MODELS["mini"], stated["models"]),
    }
    for name, (network, sizes, lists) in cases.items():
        export_checkpoint(tmp_path / name, asdict(sizes), network)
        found = load_file(tmp_path / name / "model.safetensors")
        assert {key: list(tensor.shape) for key, tensor in found.items()} == lists[name]["keys"]
        text = (tmp_path / name / "config.json").read_text()
        assert text == json.dumps(lists[name]["config"], indent=2, sort_keys=True)


def test_networks_that_do_not_belong_together_are_refused(windows, coder):
    with pytest.raises(PluginError, match=r"the tokenizer makes tokens of \(4, 4\) bits, the model reads \(5, 4\)"):
        PredictorRecipe(windows, replace(SIZES, s1_bits=5), coder)
    with pytest.raises(SettingsError, match="tuning is 'lora' without a pretrained predictor"):
        PredictorRecipe(windows, SIZES, coder, tuning="lora")
    with pytest.raises(SettingsError, match="lookback 20 and horizon 4 are more than max_context 16"):
        PredictorRecipe(windows, SIZES, coder, max_context=16)
