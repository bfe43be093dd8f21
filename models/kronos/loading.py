"""Kronos' checkpoints: a folder with config.json and model.safetensors, as the Hub has them."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from engine.errors import PluginError
from models.artefact import Tensors
from models.foreign import read_state_dict, without_wrapper
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.network import Kronos
from models.kronos.tokenizer import KronosTokenizer
from models.verification import read_config

_RECOMPUTABLE = ("rotary.inv_freq", "bsq.basis", "bsq.group_basis")
"""Buffers that follow from the sizes: files have them or not."""


_WEIGHTS = "model.safetensors"


def load_tokenizer(source: str | Path) -> KronosTokenizer:
    """Return a tokenizer in eval mode.

    Args:
        source: a folder, or a Hub id such as NeoQuasar/Kronos-Tokenizer-base, which is looked up in the local cache and
            fetched if the library for it is installed.
    Raises:
        PluginError: it is not there, or its tensors are not exactly those of its sizes.
    """
    folder = folder_of(source)
    tokenizer = KronosTokenizer(TokenizerSizes.of(read_config(folder), f"{folder}/config.json"))
    fill(tokenizer, _weights(folder, "embed.weight"), str(folder))
    return tokenizer


def load_model(source: str | Path) -> Kronos:
    """Return a predictor in eval mode; as `load_tokenizer`."""
    folder = folder_of(source)
    model = Kronos(ModelSizes.of(read_config(folder), f"{folder}/config.json"))
    fill(model, _weights(folder, "embedding.emb_s1.weight"), str(folder))
    return model


def _weights(folder: Path, known: str) -> Tensors:
    """Return the weights of a folder; older writers of the Hub's library left pytorch_model.bin."""
    pickled = folder / "pytorch_model.bin"
    path = pickled if pickled.is_file() and not (folder / _WEIGHTS).is_file() else folder / _WEIGHTS
    return without_wrapper(read_state_dict(path), (known,))


def folder_of(source: str | Path) -> Path:
    """Return the local folder of a checkpoint.

    Raises:
        PluginError: there is none, and it cannot be fetched.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    parts = str(source).split("/")
    if len(parts) != 2 or not all(parts):
        raise PluginError(
            f"kronos: {source} is not a folder; expected one with config.json and model.safetensors, "
            "or a Hub id such as NeoQuasar/Kronos-small"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as exc:
        raise PluginError(
            f"kronos: {source} is a Hub id, and huggingface_hub is not installed; install it, or give the "
            "folder of a copy"
        ) from exc
    try:
        return Path(snapshot_download(str(source), allow_patterns=["config.json", "model.safetensors"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as exc:
        raise PluginError(
            f"kronos: {source} is neither in the local cache nor reachable: {exc}; give the folder of a copy"
        ) from exc


def fill(module: nn.Module, tensors: Tensors, where: str) -> None:
    """Load tensors strictly, but for buffers that follow from the sizes; leave the module in eval mode.

    Raises:
        PluginError: a tensor is missing, foreign, or of another shape; or a buffer is not what the sizes say.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in tensors and not _is_recomputable(name)]
    foreign = [name for name in tensors if name not in own]
    if missing or foreign:
        raise PluginError(
            f"{where}: its tensors are not those of its sizes: {_some('missing', missing)}"
            f"{'; ' if missing and foreign else ''}{_some('foreign', foreign)}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise PluginError(f"{where}: {name} has shape {list(tensor.shape)}; its sizes say {list(own[name].shape)}")
        # A file in half precision has its buffers rounded, too.
        rounding = max(1e-5, torch.finfo(tensor.dtype).eps) if tensor.is_floating_point() else 0.0
        if _is_recomputable(name) and not torch.allclose(tensor.double(), own[name].double(), rtol=rounding):
            raise PluginError(f"{where}: the buffer {name} is not what its sizes say; the file is damaged or foreign")
    module.load_state_dict(tensors, strict=False)
    module.eval()


def _is_recomputable(name: str) -> bool:
    return name.endswith(_RECOMPUTABLE)


def _some(what: str, names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"{what} {', '.join(listed[:3])}{more}" if listed else ""
