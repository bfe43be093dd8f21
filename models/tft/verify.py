"""The temporal fusion transformer held against tensors that pytorch-forecasting made."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import PluginError
from models.artefact import Tensors, load_tensors
from models.devices import parameter_count
from models.tft.fused import FusedTFT
from models.tft.loading import load_tft
from models.tft.network import TFT
from models.tft.scaling import restore
from models.tft.tensors import TFTInputs, TFTOutput
from models.verification import TensorCheck, compare, entry, read_config, tensors_to_match, tolerance_of, unknown

_TOLERANCE = 1e-5


def verify(folder: Path) -> Iterator[TensorCheck]:
    """Yield one check a tensor of the folder: of the plain forward, and of the fused one.

    Raises:
        PluginError: files are missing, damaged, or do not fit each other.
    """
    config = read_config(folder)
    weights = load_tensors(folder / "state_dict.safetensors")
    network = load_tft(weights, entry(config, "hparams", dict, f"{folder}: config.json"))
    targets = len(network.configuration.output_size)
    if config["n_targets"] != targets:
        raise PluginError(f"{folder}: n_targets is {config['n_targets']}, but output_size has {targets}")
    yield _loaded(network, weights, config)
    given = load_tensors(folder / "x.safetensors")
    expected = tensors_to_match(folder / "output.safetensors")
    inputs = inputs_of(given, network)
    scales = [_scale(given, f"target_scale.{i}", len(inputs.encoder_cont), folder) for i in range(targets)]
    tolerance = tolerance_of(config, "tolerance_abs", _TOLERANCE, f"{folder}: config.json")
    with torch.inference_mode():
        plain, fused = network(inputs), FusedTFT(network)(inputs)
        exact = copy.deepcopy(network).double()(inputs.double())
    found, found_fused, found_exact = (_named(output, scales) for output in (plain, fused, exact))
    for name, tensor in expected.items():
        if name not in found:
            yield unknown(name)
            continue
        yield compare(name, found[name], tensor, absolute=tolerance)
        # The fused forward rounds elsewhere than the origin: each is off by about what float32 costs the plain one.
        rounding = (found[name].double() - found_exact[name]).abs().amax().item() if tensor.numel() else 0.0
        yield compare(f"{name} (fused)", found_fused[name], tensor, absolute=tolerance + 2 * rounding)


def inputs_of(tensors: Tensors, network: TFT) -> TFTInputs:
    """Return the inputs of a file; categoricals may be left out where there are none.

    Raises:
        PluginError: a tensor is missing.
    """
    cont = {part: _tensor(tensors, f"{part}_cont", "x.safetensors").float() for part in ("encoder", "decoder")}
    lengths = {part: tensors.get(f"{part}_lengths") for part in cont}
    cat = {}
    for part, values in cont.items():
        none_there = not network.configuration.x_categoricals and f"{part}_cat" not in tensors
        empty = values.new_zeros(*values.shape[:2], 0, dtype=torch.int64)
        cat[part] = empty if none_there else _tensor(tensors, f"{part}_cat", "x.safetensors").long()
    past, ahead = (None if of is None else of.long() for of in lengths.values())
    return TFTInputs(cont["encoder"], cont["decoder"], cat["encoder"], cat["decoder"], past, ahead)


def _loaded(network: TFT, weights: Tensors, config: dict[str, Any]) -> TensorCheck:
    count = parameter_count(network)
    expected = config.get("n_params", count)
    name = f"loads strictly: {len(weights)} names of {count} numbers"
    return TensorCheck(name, float(abs(count - expected)), 0.0, count == expected)


def _named(output: TFTOutput, scales: list[Tensor]) -> dict[str, Tensor]:
    found = {name: tensor for name, tensor in vars(output).items() if name != "raw"}
    for place, (raw, scale) in enumerate(zip(output.raw, scales, strict=True)):
        found[f"raw.{place}"] = raw
        found[f"prediction.{place}"] = restore(raw, scale)
    return found


def _scale(tensors: Tensors, name: str, rows: int, folder: Path) -> Tensor:
    found = _tensor(tensors, name, folder)
    if found.shape != (rows, 2):
        raise PluginError(f"{folder}: {name} has shape {list(found.shape)}; expected [{rows}, 2]: centre and scale")
    return found


def _tensor(tensors: Tensors, name: str, where: Path | str) -> Tensor:
    if name not in tensors:
        raise PluginError(f"{where}: there is no tensor {name!r}; there are {', '.join(tensors)}")
    return tensors[name]
