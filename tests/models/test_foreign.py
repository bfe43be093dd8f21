"""State dicts of foreign files: what is taken, under what names, and what is refused."""

import json
import pickle
import re
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import PluginError
from models.foreign import check_numbers, read_state_dict, without_wrapper
from models.importing import import_krnn, import_kronos, import_tft
from models.krnn import KRNN
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.network import Kronos
from models.kronos.tokenizer import KronosTokenizer
from models.tft.configuration import TFTConfiguration
from models.tft.network import TFT

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2)}
OPTIMISER = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}


class Trap:
    """An object whose pickle opens a file when it is read."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return open, (str(self._path), "w")


@pytest.mark.parametrize("content", [
    WEIGHTS,
    {"state_dict": WEIGHTS, "epoch": 3, "optimizer_states": [OPTIMISER]},
    {"model_state_dict": WEIGHTS, "optimizer_state_dict": OPTIMISER, "loss": 0.5},
    {"model": WEIGHTS, "optimizer": OPTIMISER},
    {name: torch.nn.Parameter(tensor) for name, tensor in WEIGHTS.items()},
])
def test_weights_are_found_whatever_lies_around_them(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")

    found = read_state_dict(tmp_path / "x.pt")

    assert list(found) == list(WEIGHTS)
    assert torch.equal(found["layer.weight"], WEIGHTS["layer.weight"])


@pytest.mark.parametrize("around", ["", "module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_a_name_in_front_of_all_names_is_taken_off(around):
    wrapped = {around + name: tensor for name, tensor in WEIGHTS.items()}

    assert list(without_wrapper(wrapped, ("layer.weight",))) == list(WEIGHTS)


@pytest.mark.parametrize("names", [("other.weight", "module.layer.weight"), ("module.foreign", "module.more"), ()])
def test_names_that_are_not_the_network_s_are_left_as_they_are(names):
    weights = dict.fromkeys(names, torch.zeros(1))

    assert list(without_wrapper(weights, ("layer.weight",))) == list(names)


@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"state_dict": WEIGHTS, "hyper_parameters": trap}])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, wrap):
    sprung = tmp_path / "sprung"
    torch.save(wrap(Trap(sprung)), tmp_path / "new.ckpt")
    torch.save(wrap(Trap(sprung)), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(wrap(Trap(sprung))))

    for file in sorted(tmp_path.glob("*.*")):
        with pytest.raises(PluginError, match="cannot be read as tensors alone") as refused:
            read_state_dict(file)
        assert "weights_only" not in str(refused.value)
    assert not sprung.exists()


@pytest.mark.parametrize(("tensor", "message"), [
    (torch.tensor([1.0, float("nan")]), "'layer.bias' has numbers that are none"),
    (torch.tensor([1.0, float("inf")]).half(), "'layer.bias' has numbers that are none"),
    (torch.tensor([1, 2]), "'layer.bias' is of torch.int64; expected float32"),
])
def test_numbers_that_no_network_can_have_are_refused(tensor, message):
    with pytest.raises(PluginError, match=re.escape(message)):
        check_numbers(WEIGHTS | {"layer.bias": tensor}, "x.pt")

    check_numbers({"bsq.basis": torch.tensor([1, 2])}, "x.pt")


@pytest.mark.parametrize("form", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_every_kind_are_imported_from_wrapped_weights_of_any_width(tmp_path, form):
    krnn = KRNN(cnn_dim=4, rnn_dim=4, rnn_dups=2, rnn_layers=1, layout="qlib_raw")
    tft = TFT(TFTConfiguration.of(TFT_SIZES))
    torch.save({"state_dict": _as(krnn, form)}, tmp_path / "krnn.ckpt")
    torch.save({"state_dict": _as(tft, form, "model.")}, tmp_path / "tft.ckpt")
    (tmp_path / "tft.json").write_text(json.dumps(TFT_SIZES))

    made = import_krnn(tmp_path / "krnn.ckpt", tmp_path / "krnn", layout="qlib_raw")
    torch.testing.assert_close(made.weights["out_fc.weight"], krnn.out_fc.weight.detach().to(form).float())
    made = import_tft(tmp_path / "tft.ckpt", tmp_path / "tft.json", tmp_path / "tft")
    assert {tensor.dtype for tensor in made.weights.values()} == {torch.float32}


def test_a_kronos_of_an_older_writer_is_imported(tmp_path):
    for name, network, sizes in (
        ("model", Kronos(SMALL), SMALL), ("tokenizer", KronosTokenizer(TOKENIZER), TOKENIZER)
    ):
        (tmp_path / name).mkdir()
        torch.save(_as(network, torch.float32), tmp_path / name / "pytorch_model.bin")
        (tmp_path / name / "config.json").write_text(json.dumps(asdict(sizes)))

    made = import_kronos(str(tmp_path / "model"), str(tmp_path / "tokenizer"), tmp_path / "art", max_context=32)

    assert made.card.architecture == "kronos"
    (tmp_path / "model" / "pytorch_model.bin").unlink()
    with pytest.raises(PluginError, match=r"model\.safetensors is not a file"):
        import_kronos(str(tmp_path / "model"), str(tmp_path / "tokenizer"), tmp_path / "art", max_context=32)


def test_a_scaler_of_another_size_is_refused(tmp_path):
    save_file(dict(KRNN(rnn_layers=1).state_dict()), tmp_path / "krnn.safetensors")
    save_file({"median": torch.zeros(5), "scale": torch.ones(5)}, tmp_path / "scaler.safetensors")

    with pytest.raises(PluginError, match=r"median has shape \[5\]; expected \[360\]"):
        import_krnn(
            tmp_path / "krnn.safetensors", tmp_path / "art", layout="qlib_raw", scaler=tmp_path / "scaler.safetensors"
        )


def _as(network, form, around="module."):
    """Return a network's weights in a form and under wrapped names; whole numbers stay."""
    return {
        around + name: tensor.detach().to(form) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }


SMALL = ModelSizes(4, 4, 1, 16, 2, 24, 0.0, 0.0, 0.0, 0.0, True)
TOKENIZER = TokenizerSizes(6, 16, 2, 24, 2, 2, 0.0, 0.0, 0.0, 4, 4, 0.05, 1.0, 1.1, 0.05, 4)
TFT_SIZES = {
    "hidden_size": 4, "attention_head_size": 1, "hidden_continuous_size": 2, "output_size": 3, "max_encoder_length": 4,
    "time_varying_reals_encoder": ["a", "b"], "time_varying_reals_decoder": ["b"], "x_reals": ["a", "b"],
}
