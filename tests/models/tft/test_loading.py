"""Hyper-parameters and state dicts: what is taken, and what is refused and why."""

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import PluginError
from models.importing import import_tft
from models.tft.configuration import TFTConfiguration, embedding_width
from models.tft.loading import load_tft
from tests.models.tft.networks import CATEGORICALS, KINDS, REALS, make_inputs, make_network

PARAMETERS = {"hidden_size": 12, "attention_head_size": 2, "hidden_continuous_size": 5, "output_size": 3}


def test_a_state_dict_makes_the_same_network(network):
    parameters = vars(network.configuration)
    inputs = make_inputs(network)

    loaded = load_tft(network.state_dict(), parameters)

    with torch.no_grad():
        for ours, theirs in zip(loaded(inputs).raw, network(inputs).raw, strict=True):
            assert torch.equal(ours, theirs)
    assert not loaded.training
    assert loaded.state_dict().keys() == network.state_dict().keys()


def test_a_weight_under_several_names_is_one():
    network = make_network(**KINDS["static and in time"])
    names = [name for name in network.state_dict() if name.endswith("prescalers.t.weight")]

    assert names == [
        "prescalers.t.weight",
        "encoder_variable_selection.prescalers.t.weight",
        "decoder_variable_selection.prescalers.t.weight",
    ]
    assert network.encoder_variable_selection.prescalers["t"] is network.prescalers["t"]
    assert network.post_lstm_gate_decoder is network.post_lstm_gate_encoder


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_one_name_of_a_shared_weight_is_enough(kept):
    network = make_network(**KINDS["static and in time"])
    weights = network.state_dict()
    names = [name for name in weights if name.endswith("prescalers.t.weight")]
    for place, name in enumerate(names):
        if place != kept:
            del weights[name]

    loaded = load_tft(weights, {**PARAMETERS, **KINDS["static and in time"]})

    assert torch.equal(loaded.prescalers["t"].weight, network.prescalers["t"].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prescalers.t.weight": torch.zeros(5, 1)},
            "'prescalers.t.weight' and 'encoder_variable_selection.prescalers.t.weight' are one weight, but differ",
        ),
        ({"extra.weight": torch.zeros(1)}, "the state dict has 'extra.weight', for which the hyper-parameters have no"),
        (
            {"lstm_encoder.weight_hh_l1": torch.zeros(48, 12)},
            "has 'lstm_encoder.weight_hh_l1', .*did you mean 'lstm_encoder.weight_hh_l0'",
        ),
        ({"output_layer.bias": None}, "the state dict has no 'output_layer.bias', which the network needs"),
        (
            {"output_layer.bias": torch.zeros(7)},
            r"'output_layer.bias' has shape \[7\]; the hyper-parameters make it \[3\]",
        ),
    ],
)
def test_state_dicts_that_do_not_fit_are_refused(change, message):
    weights = {**make_network(**REALS).state_dict(), **change}

    with pytest.raises(PluginError, match=message):
        load_tft({name: tensor for name, tensor in weights.items() if tensor is not None}, {**PARAMETERS, **REALS})


def test_weights_of_the_loss_are_left_alone():
    weights = make_network(**REALS).state_dict()

    load_tft({**weights, "loss.weight": torch.ones(3)}, {**PARAMETERS, **REALS})


def test_what_is_missing_has_the_origin_s_defaults():
    of = TFTConfiguration.of({"categorical_groups": [], "static_reals": None, "learning_rate": 0.1, "output_size": 5})

    assert (of.hidden_size, of.attention_head_size, of.hidden_continuous_size, of.lstm_layers) == (16, 4, 8, 1)
    assert (of.causal_attention, of.share_single_variable_networks, of.mask_bias) == (True, False, -1e9)
    assert of.output_size == (5,)
    assert of.static_variables == ()


def test_widths_of_embeddings_that_are_not_given():
    of = TFTConfiguration.of({"hidden_size": 16, "embedding_sizes": {"a": 2, "b": 10, "c": 5000, "d": [9, 40]}})

    assert [embedding_width(count) for count in (1, 2, 3, 10, 5000)] == [1, 1, 3, 6, 100]
    assert of.embedding_sizes == {"a": (2, 1), "b": (10, 6), "c": (5000, 16), "d": (9, 16)}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"causal_atention": False}, "unknown hyper-parameter 'causal_atention'; did you mean 'causal_attention'"),
        ({"hidden_size": 0}, "hidden_size is 0; expected a whole number of 1 or more"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"lstm_layers": 1.5}, "lstm_layers is 1.5"),
        ({"output_size": []}, "output_size is empty"),
        ({"output_size": [1, 0]}, "output_size is 0"),
        ({"dropout": 1.0}, "dropout is 1.0; expected a fraction"),
        ({"mask_bias": 0}, "mask_bias is 0"),
        ({"attention_head_size": 17}, "attention_head_size is 17; expected at most hidden_size, 16"),
        ({"hidden_continuous_sizes": {"a": 0}}, "hidden_continuous_sizes of 'a' is 0"),
        ({"hidden_continuous_sizes": [1]}, r"hidden_continuous_sizes is \[1\]; expected an object by name"),
        ({"x_reals": "abc"}, "x_reals is 'abc'; expected a list of names"),
        ({"x_reals": ["a", "a"]}, "x_reals has a more than once"),
        ({"static_reals": ["ab"], "x_reals": ["abc"]}, r"the real 'ab' has no column in x_reals \(abc\); did you mean"),
        ({"static_reals": ["a.b"], "x_reals": ["a.b"]}, "a variable is named 'a.b'; weights bear its name"),
        ({"static_reals": ["keys"], "x_reals": ["keys"]}, "a variable is named 'keys'"),
        ({"static_categoricals": ["s"], "x_categoricals": ["s"]}, "categorical 's' has no embedding_sizes"),
        ({"static_categoricals": ["s"], "embedding_sizes": {"s": [2, 1]}}, "'s' has no column in x_categoricals"),
        ({"embedding_sizes": {"s": [2]}}, r"embedding_sizes of 's' is \[2\]; expected \[categories, width\]"),
        ({"embedding_sizes": {"s": [0, 2]}}, "embedding_sizes of 's' is 0"),
        ({"categorical_groups": {"g": ["a"]}}, "the group 'g' has no embedding_sizes"),
        (
            {"categorical_groups": {"g": ["a"]}, "embedding_sizes": {"g": [2, 1]}},
            "'a' of the group 'g' has no column in x_categoricals",
        ),
        (
            {
                "categorical_groups": {"g": ["a"]},
                "embedding_sizes": {"g": [2, 1], "a": [2, 1]},
                "x_categoricals": ["a"],
            },
            "'a' of the group 'g' has embedding_sizes of its own",
        ),
        ({"categorical_groups": {"g": []}, "embedding_sizes": {"g": [2, 1]}}, "the group 'g' has no members"),
        (
            {**CATEGORICALS, "static_reals": ["symbol"], "x_reals": ["symbol"]},
            "symbol is both a real and a categorical",
        ),
        (
            {"static_reals": ["a"], "x_reals": ["a"], "embedding_sizes": {"a": [2, 1]}},
            "the real 'a' has an embedding",
        ),
    ],
)
def test_hyper_parameters_that_cannot_be_are_refused(parameters, message):
    with pytest.raises(PluginError, match=message):
        TFTConfiguration.of(parameters)


def test_an_import_makes_an_artefact(tmp_path):
    import json

    network = make_network(**REALS)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"hparams": {**PARAMETERS, **REALS, "max_encoder_length": 7}}))

    artefact = import_tft(tmp_path / "weights.safetensors", tmp_path / "config.json", tmp_path / "artefact")

    assert artefact.card.architecture == "tft"
    assert artefact.card.lookback == 7
    inputs = make_inputs(network)
    with torch.no_grad():
        again = load_tft(artefact.weights, artefact.card.configuration)
        assert torch.equal(again(inputs).raw[0], network(inputs).raw[0])
