"""Held against pytorch-forecasting: the golden tensors, and cases that it makes anew where it is installed apart."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import PluginError
from models.verification import verify_folder
from tests.models.tft.networks import KINDS, make_inputs, make_network

PARTS = {
    "encoder_attention",
    "decoder_attention",
    "static_variables",
    "encoder_variables",
    "decoder_variables",
}


def failed(folder: Path) -> list:
    return [check for check in verify_folder(folder) if not check.is_ok]


@pytest.mark.parametrize(("name", "targets"), [("single_quantile", 1), ("multi_target", 3)])
def test_it_is_the_origin_s(golden, name, targets):
    checks = list(verify_folder(golden / "tft" / name))

    tensors = PARTS | {f"{kind}.{place}" for kind in ("raw", "prediction") for place in range(targets)}
    assert {check.name for check in checks[1:]} == tensors | {f"{tensor} (fused)" for tensor in tensors}
    assert checks[0].name.startswith("loads strictly")
    assert [check for check in checks if not check.is_ok] == []


def test_further_cases_of_the_origin(tmp_path):
    """No static inputs, ragged lengths, shared networks, no causal mask, groups, padding, own sizes, many layers …"""
    python = os.environ.get("PYTORCH_FORECASTING_PYTHON", "")
    if not python:
        pytest.skip("set PYTORCH_FORECASTING_PYTHON to an interpreter that has pytorch-forecasting 1.x and safetensors")
    subprocess.run([python, Path(__file__).with_name("origin.py"), tmp_path / "made"], check=True, timeout=300)

    folders = sorted((tmp_path / "made").iterdir())

    assert len(folders) >= 10
    assert {folder.name: failed(folder) for folder in folders} == {folder.name: [] for folder in folders}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of the golden kind, of our own making."""
    network = make_network(**KINDS["static and in time"])
    inputs = make_inputs(network, ragged=True)
    with torch.no_grad():
        output = network(inputs)
    scales = [torch.tensor([[0.5, 2.0]]).expand(5, 2).contiguous() for _ in output.raw]
    named = {name: tensor for name, tensor in vars(output).items() if name != "raw"}
    for place, raw in enumerate(output.raw):
        named[f"raw.{place}"], named[f"prediction.{place}"] = raw, raw * 2 + 0.5
    x = {**vars(inputs), **{f"target_scale.{place}": scale for place, scale in enumerate(scales)}}
    for name, content in (("state_dict", network.state_dict()), ("x", x), ("output", named)):
        save_file({key: value.contiguous().clone() for key, value in content.items()}, tmp_path / f"{name}.safetensors")
    config = {"n_targets": 3, "hparams": vars(network.configuration)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_right_folder_passes(folder):
    assert failed(folder) == []


@pytest.mark.parametrize("name", ["raw.1", "prediction.2", "encoder_attention", "static_variables"])
def test_a_tensor_that_is_a_little_off_fails(folder, name):
    tensors = load_file(folder / "output.safetensors")
    tensors[name].view(-1)[0] += 1e-4
    save_file(tensors, folder / "output.safetensors")

    assert {check.name for check in failed(folder)} == {name, f"{name} (fused)"}


def with_parameter(folder: Path, name: str, value: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["hparams"][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_another_mask_fails(folder):
    assert "decoder_attention" in {check.name for check in failed(with_parameter(folder, "causal_attention", False))}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lstm_layers", 1, "the state dict has 'lstm_(en|de)coder.*_l1' and 7 more, for which"),
        ("attention_head_size", 3, "'multihead_attn.v_layer.weight' has shape|the state dict has no"),
        ("share_single_variable_networks", True, "the state dict has|the state dict has no"),
    ],
)
def test_other_sizes_are_refused(folder, name, value, message):
    with pytest.raises(PluginError, match=message):
        failed(with_parameter(folder, name, value))


def test_folders_that_do_not_fit_are_refused(folder, tmp_path_factory):
    def changed(**changes) -> Path:
        copy = tmp_path_factory.mktemp("copy") / "it"
        shutil.copytree(folder, copy)
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, **changes}))
        return copy

    with pytest.raises(PluginError, match="n_targets is 2, but output_size has 3"):
        list(verify_folder(changed(n_targets=2)))
    assert next(check.name for check in failed(changed(n_params=1))).startswith("loads strictly")
    tensors = load_file(folder / "x.safetensors")
    del tensors["target_scale.1"]
    save_file(tensors, folder / "x.safetensors")
    with pytest.raises(PluginError, match=r"there is no tensor 'target_scale.1'; there are"):
        list(verify_folder(folder))
    (folder / "x.safetensors").unlink()
    with pytest.raises(PluginError, match=r"x.safetensors cannot be read"):
        list(verify_folder(folder))
