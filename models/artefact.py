"""Artefacts: a trained network as a folder of safetensors and JSON. Never a pickle: loading one runs nobody's code.

model.safetensors    the weights (and buffers that are not recomputable)
artefact.json        what they are: architecture, configuration, features, scalers, labels, training span, hashes
*.safetensors        further tensors that belong to it (a tokenizer, scalers), named in artefact.json
"""

import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.errors import PluginError, nearest_name

Tensors = dict[str, torch.Tensor]

CARD = "artefact.json"
WEIGHTS = "model.safetensors"
_NETWORKS = ("model", "tokenizer")
"""Files of weights, beside scalers and the like."""
FORMAT = 1
"""Of artefact.json; raised when old readers would misread it."""
LIBRARIES = ("torch", "numpy", "safetensors")


@dataclass(frozen=True)
class ArtefactCard:
    """What an artefact says about itself; JSON-ready.

    Args:
        architecture: which network: "kronos", "krnn", "tft", "price_transformer" or "position_head".
        configuration: arguments of its constructor.
        inputs: names of its input columns, in order; layout: how they are laid out, where that can be mistaken.
        timeframe, lookback, horizon: bars it was made for; horizon 0 where it does not apply.
        label: what it was trained to say, in full; empty if unknown.
        vocabularies: names to indices, of categorical inputs; scalers: what `scalers.safetensors` holds, in words.
        trained_from, trained_until: UTC nanoseconds of the first and the last bar that training saw, None if unknown.
        trained_on: symbols; empty if unknown.
        conventions: choices that decide numbers: the clock of calendars, what stands for a missing vwap …
        libraries: versions it was made with; source: where foreign weights came from.
    """

    architecture: str
    configuration: dict[str, Any]
    inputs: tuple[str, ...] = ()
    layout: str = ""
    timeframe: str = ""
    lookback: int = 0
    horizon: int = 0
    label: dict[str, Any] = field(default_factory=dict)
    vocabularies: dict[str, dict[str, int]] = field(default_factory=dict)
    scalers: dict[str, Any] = field(default_factory=dict)
    trained_from: int | None = None
    trained_until: int | None = None
    trained_on: tuple[str, ...] = ()
    conventions: dict[str, Any] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Artefact:
    """A loaded artefact: its card, its tensors by file ("model" and others), and the hash of all of it."""

    card: ArtefactCard
    tensors: Mapping[str, Tensors]
    hash: str
    """SHA-256 of card and tensors, hex: equal if and only if everything that decides its answers is."""

    @property
    def weights(self) -> Tensors:
        return self.tensors["model"]


def save_artefact(folder: Path, card: ArtefactCard, weights: Tensors, **more: Tensors) -> Artefact:
    """Write an artefact; a folder that is there already is replaced file by file, the card last.

    Args:
        more: further tensors by the name of their file, such as `scalers=`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model": weights, **more}
    for name, content in tensors.items():
        _replace(folder / f"{name}.safetensors", lambda path, content=content: save_file(_plain(content), path))
    hashes = {name: tensor_hash(content) for name, content in tensors.items()}
    text = json.dumps({"format": FORMAT, **asdict(card), "tensors": hashes}, indent=2, sort_keys=True)
    _replace(folder / CARD, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return load_artefact(folder)


def load_artefact(folder: Path, *, device: str = "cpu", checks: bool = True) -> Artefact:
    """Read an artefact, and hold its tensors against the hashes on its card.

    Raises:
        PluginError: it is not there, not an artefact, of a newer format, damaged, changed since it was written, or its
            weights are no numbers.
    """
    content = read_card(folder)
    stated: dict[str, str] = content.pop("tensors")
    content.pop("format")
    fields: dict[str, Any] = {name: tuple(v) if name in ("inputs", "trained_on") else v for name, v in content.items()}
    card = ArtefactCard(**fields)
    tensors = {name: load_tensors(folder / f"{name}.safetensors", device) for name in stated}
    for name, content_of in tensors.items():
        if checks and (found := tensor_hash(content_of)) != stated[name]:
            raise PluginError(
                f"artefact {folder}: {name}.safetensors has hash {found[:12]}, its card says {stated[name][:12]}; "
                "the file was changed or swapped: restore it, or import the weights anew"
            )
        if checks and name in _NETWORKS:
            for of, tensor in content_of.items():
                if tensor.is_floating_point():
                    check_finite(of, tensor, folder / f"{name}.safetensors")
    text = json.dumps({**asdict(card), "tensors": stated}, sort_keys=True)
    return Artefact(card, tensors, hashlib.sha256(text.encode()).hexdigest())


def check_finite(name: str, tensor: torch.Tensor, where: object) -> None:
    """Refuse weights that are no numbers, for a network's forecasts would be none either.

    Raises:
        PluginError: it names the tensor.
    """
    if not bool(tensor.isfinite().all()):
        raise PluginError(
            f"{where}: {name!r} has numbers that are none (NaN or infinite); take a checkpoint from before its "
            "training went astray"
        )


def check_architecture(artefact: Artefact, *expected: str, what: str, made_by: str) -> None:
    """Refuse an artefact of another network than those expected.

    Args:
        what: names it, such as the setting and its value. made_by: the command that makes one.
    Raises:
        PluginError: it is another's.
    """
    found = artefact.card.architecture
    if found not in expected:
        raise PluginError(f"{what} is a {found}; expected a {' or a '.join(expected)}: `{made_by}` makes one")


def artefact_below(folder: Path) -> str:
    """Return where the artefact of a run's folder is, as the end of a message; nothing of another folder."""
    return f"; its artefact is {folder / 'artefact'}" if (folder / "artefact" / CARD).is_file() else ""


def read_card(folder: Path) -> dict[str, Any]:
    """Return the content of artefact.json, checked for form.

    Raises:
        PluginError: as `load_artefact`.
    """
    path = folder / CARD
    if not path.is_file():
        hint = "; `models import` makes one of a foreign checkpoint" if folder.is_dir() else "; there is no such folder"
        hint = artefact_below(folder) or hint
        raise PluginError(f"{folder} is not an artefact: it has no {CARD}{hint}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise PluginError(f"artefact {folder}: {CARD} cannot be read: {exc}") from exc
    if not isinstance(content, dict) or not isinstance(content.get("tensors"), dict):
        raise PluginError(f"artefact {folder}: {CARD} is not the card of an artefact; expected an object with tensors")
    if not isinstance(content.get("format", 0), int):
        raise PluginError(f"artefact {folder}: {CARD} has format {content['format']!r}; expected a whole number")
    if content.get("format", 0) > FORMAT:
        raise PluginError(f"artefact {folder} has format {content['format']}; this version reads up to {FORMAT}")
    known = {*ArtefactCard.__dataclass_fields__, "format", "tensors"}
    for name in content:
        if name not in known:
            raise PluginError(f"artefact {folder}: {CARD} has an unknown {name!r}{nearest_name(name, sorted(known))}")
    for name in ("architecture", "configuration"):
        if name not in content:
            raise PluginError(f"artefact {folder}: {CARD} has no {name!r}")
    _check_types(folder, content)
    return content


_WORDS = {
    str: "a text", int: "a whole number", dict: "an object", list: "a list of texts",
    (int, type(None)): "UTC nanoseconds, or null",
}
_TYPES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (str, ("architecture", "layout", "timeframe", "source")),
    (int, ("lookback", "horizon")),
    (dict, ("configuration", "label", "vocabularies", "scalers", "conventions", "libraries", "tensors")),
    (list, ("inputs", "trained_on")),
    ((int, type(None)), ("trained_from", "trained_until")),
)


def _check_types(folder: Path, content: Mapping[str, Any]) -> None:
    for kind, names in _TYPES:
        for name in names:
            value = content.get(name, kind() if isinstance(kind, type) else None)
            is_right = isinstance(value, kind) and not isinstance(value, bool)
            if kind is list and is_right:
                is_right = all(isinstance(one, str) for one in value)
            if kind is int and is_right:
                is_right = value >= 0
            if not is_right:
                raise PluginError(f"artefact {folder}: {CARD} has {name} {value!r}; expected {_WORDS[kind]}")
    stated = content["tensors"]
    for name, found in stated.items():
        if not isinstance(found, str) or not name.isidentifier():
            raise PluginError(f"artefact {folder}: {CARD} has tensors of {name!r}: {found!r}; expected a file's name "
                              "without its ending, and its hash")
    if Path(WEIGHTS).stem not in stated:
        raise PluginError(f"artefact {folder}: {CARD} names no {WEIGHTS} among its tensors")


def load_tensors(path: Path, device: str = "cpu") -> Tensors:
    """Return the tensors of a safetensors file.

    Raises:
        PluginError: it is missing or damaged.
    """
    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as exc:
        raise PluginError(f"{path} cannot be read as safetensors: {exc}; fetch or write it anew") from exc


def tensor_hash(tensors: Tensors) -> str:
    """Return the SHA-256 of names, shapes, types and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that an artefact is made with."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _plain(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _replace(path: Path, write: Any) -> None:
    """Write beside the file and move it into place, so that a reader never sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
