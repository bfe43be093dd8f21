"""State dicts of foreign files: tensors by name, and nothing else. No code of a pickle is ever run."""

import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from engine.errors import PluginError
from models.artefact import Tensors, check_finite, load_tensors

_AROUND = ("state_dict", "model_state_dict", "model", "module", "net", "network")
"""Under what names checkpoints have the weights, beside an optimiser's state and whatever else."""
_MOST_WRAPPERS = 3
_COUNTED = ("basis", "num_batches_tracked")
"""Ends of names of buffers that are whole numbers."""


def read_state_dict(path: Path) -> Tensors:
    """Return the tensors of a safetensors file or of one that torch saved; nothing but tensors is unpickled.

    Raises:
        PluginError: there is none, or it holds something else.
    """
    if not path.is_file():
        raise PluginError(f"{path} is not a file; expected a state dict (.safetensors, .pt, .pth, .bin, .ckpt)")
    if path.suffix == ".safetensors":
        return load_tensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the pickle's protocol: what cannot be read is an error anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch.load raises whatever its readers do
        raise PluginError(f"{path} cannot be read as tensors alone: {_cause(exc)}; {_WAY_OUT}") from exc
    found = _weights_in(content)
    if found is None:
        raise PluginError(f"{path} holds something else than tensors by name; {_WAY_OUT}")
    return found


_WAY_OUT = "save the model's state_dict() alone, best as .safetensors"


def _cause(error: Exception) -> str:
    """Return what stood in the way. torch's own words name a switch that runs a pickle's code; they are left out."""
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text)
    if named is not None:
        return f"it has an object of {named[1]}, and a pickle's code is not run"
    return text.partition("\n")[0] if "weights_only" not in text else "it is a pickle of something else"


def _weights_in(content: Any) -> Tensors | None:
    """Return the weights of what was read, or of an entry of it; None if neither is tensors by name."""
    if not isinstance(content, Mapping):
        return None
    if all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()):
        return dict(content)
    inner = next((content[name] for name in _AROUND if isinstance(content.get(name), Mapping)), None)
    return None if inner is None else _weights_in(inner)


def without_wrapper(weights: Tensors, known: Collection[str]) -> Tensors:
    """Return weights under the network's own names, where a wrapper has put one in front of all of them: "module.", as
    data-parallel training does, "_orig_mod.", as torch.compile does, "model." …

    Args:
        known: names that the network has; weights that have one of them are left as they are.
    """
    found = weights
    for _ in range(_MOST_WRAPPERS):
        if any(name in known for name in found):
            return found
        first = {name.partition(".")[0] for name in found}
        if len(first) != 1:
            break
        found = {name.partition(".")[2]: tensor for name, tensor in found.items()}
    return found if any(name in known for name in found) else weights


def check_numbers(weights: Tensors, where: object) -> None:
    """Refuse weights that no network can have: whole numbers, and numbers that are none.

    Raises:
        PluginError: it names the first such tensor.
    """
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            if not name.endswith(_COUNTED):
                raise PluginError(f"{where}: {name!r} is of {tensor.dtype}; expected float32, float16 or the like")
        else:
            check_finite(name, tensor, where)
