"""Verification: a network rebuilt from a folder, and every tensor the folder has held against it.

A folder is one of the golden kinds (inputs and outputs of the original implementation), or an artefact of ours. Which
network it is for is told from its config.json; each network brings its own `verify(folder)`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch

from engine.errors import PluginError
from models.artefact import CARD, Tensors, load_artefact, load_tensors

Entry = TypeVar("Entry", dict[str, Any], list[Any], str, int)

_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}

LARGEST_TOLERANCE = 1e-2


@dataclass(frozen=True)
class TensorCheck:
    """One tensor held against what the folder says.

    `error` is what `tolerance` bounds: the largest absolute difference, scaled down where the tolerance grows with the
    value. `skipped` says why nothing could be compared.
    """

    name: str
    error: float
    tolerance: float
    is_ok: bool
    skipped: str = ""


def compare(
    name: str, found: torch.Tensor, expected: torch.Tensor, *, absolute: float, relative: float = 0.0
) -> TensorCheck:
    """Compare two tensors: |found − expected| ≤ absolute + relative · |expected|, everywhere, shapes equal, no NaN
    where none is expected. Integers compare exactly with absolute 0."""
    if found.shape != expected.shape:
        return TensorCheck(f"{name} {list(found.shape)} ≠ {list(expected.shape)}", float("inf"), absolute, False)
    if not found.numel():
        return TensorCheck(name, 0.0, absolute, True)
    ours, theirs = found.double(), expected.double()
    both_nan = ours.isnan() & theirs.isnan()
    error = torch.where(both_nan | (ours == theirs), torch.zeros_like(ours), (ours - theirs).abs())
    if relative:
        error = error / (1 + relative / absolute * theirs.abs().nan_to_num())
    worst = float(error.nan_to_num(nan=float("inf")).max())
    return TensorCheck(name, worst, absolute, worst <= absolute)


Verifier = Callable[[Path], Iterator[TensorCheck]]

_GOLDEN: Mapping[str, tuple[frozenset[str], str]] = {
    "kronos": (frozenset({"tokenizer", "model", "weights"}), "models.kronos.verify"),
    "krnn": (frozenset({"fea_dim", "cnn_dim", "rnn_dim", "rnn_dups"}), "models.krnn_verify"),
    "alpha360": (frozenset({"bar_fields", "instruments", "row_dates"}), "models.krnn_verify"),
    "tft": (frozenset({"hparams", "n_targets"}), "models.tft.verify"),
}
"""Kinds of golden folders: the keys their config.json has, and the module whose `verify` knows them."""

_CHECKPOINTS: Mapping[str, tuple[frozenset[str], str]] = {
    "kronos checkpoint": (frozenset({"s1_bits", "s2_bits", "n_layers"}), "models.kronos.verify"),
    "kronos tokenizer": (frozenset({"s1_bits", "s2_bits", "n_enc_layers"}), "models.kronos.verify"),
}
"""Published checkpoints: nothing to compare with but that they load strictly."""


def kind_of(folder: Path) -> str:
    """Return what a folder is: "artefact" or a kind of golden folder or checkpoint.

    Raises:
        PluginError: it is none of them.
    """
    return _kind_and_module(folder)[0]


def verify_folder(folder: Path) -> Iterator[TensorCheck]:
    """Yield one check a tensor.

    Raises:
        PluginError: the folder is of no known kind, incomplete or damaged.
    """
    kind, module = _kind_and_module(folder)
    if kind == "artefact":
        artefact = load_artefact(folder)
        yield TensorCheck(f"hashes of {len(artefact.tensors)} files", 0.0, 0.0, True)
        networks = import_module("models.rebuilding").rebuild(artefact, f"artefact {folder}")
        count = sum(len(network.state_dict()) for network in networks)
        yield TensorCheck(f"loads strictly: {count} tensors", 0.0, 0.0, True)
        return
    verify: Verifier = import_module(module).verify
    yield from verify(folder)


def tensors_to_match(path: Path) -> Tensors:
    """Return the tensors that a network is held against.

    Raises:
        PluginError: the file is missing or damaged, or has none: what is compared with nothing is not right.
    """
    tensors = load_tensors(path)
    if not tensors:
        raise PluginError(f"{path} has no tensors; expected those that the network is held against")
    return tensors


def unknown(name: str) -> TensorCheck:
    """Return the failed check of a tensor that nothing of ours makes."""
    return TensorCheck(f"{name}: nothing of ours has this name", float("inf"), 0.0, False)


def entry(of: Mapping[str, Any], name: str, kind: type[Entry], where: str) -> Entry:
    """Return an entry of what was read as JSON.

    Raises:
        PluginError: it is missing, or of another kind.
    """
    if name not in of:
        raise PluginError(f"{where}: there is no {name!r}; expected {_KINDS[kind]}")
    value = of[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise PluginError(f"{where}: {name} is {_shortened(value)}; expected {_KINDS[kind]}")
    return value


def tolerance_of(of: Mapping[str, Any], name: str, default: float, where: str) -> float:
    """Return the tolerance that a folder states, or the default where it states none.

    Raises:
        PluginError: it is no number, or one that would let anything pass.
    """
    value = of.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST_TOLERANCE:
        raise PluginError(
            f"{where}: {name} is {_shortened(value)}; expected a number of 0 or more, at most {LARGEST_TOLERANCE:g}: "
            "with a larger one nothing would be held against anything"
        )
    return float(value)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json, as `read_json`."""
    return read_json(folder, "config.json")


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return what a JSON file of a folder has.

    Raises:
        PluginError: it is missing or not a JSON object.
    """
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise PluginError(f"{folder}: {name} cannot be read: {exc}") from exc
    if not isinstance(content, dict):
        raise PluginError(f"{folder}: {name} is not an object")
    return content


def _kind_and_module(folder: Path) -> tuple[str, str]:
    if not folder.is_dir():
        raise PluginError(f"{folder} is not a folder; expected one with a config.json or an {CARD}")
    if (folder / CARD).is_file():
        return "artefact", ""
    if not (folder / "config.json").is_file():
        if (folder / "regression_input.csv").is_file():
            return "kronos published", "models.kronos.verify"
        raise PluginError(f"{folder} has neither a config.json nor an {CARD}: nothing says what it is")
    keys = read_config(folder).keys()
    for kind, (wanted, module) in {**_GOLDEN, **_CHECKPOINTS}.items():
        if wanted <= keys:
            return kind, module
    kinds = ", ".join((*_GOLDEN, *_CHECKPOINTS))
    raise PluginError(f"{folder}: config.json has {', '.join(sorted(keys))}: of no known kind ({kinds})")
