"""Checkpoints: a folder each, of safetensors and JSON. One is there whole or not at all, whenever the process ends.

network.safetensors    parameters and buffers
optimiser.safetensors  the optimiser's tensors, by parameter and name
state.json             where training was: epoch, step, scores so far
"""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.errors import PluginError
from models.artefact import Tensors, load_tensors

_NAME = re.compile(r"epoch-(\d+)_step-(\d+)(?:_.*)?")


@dataclass
class TrainingState:
    """Where training is.

    Args:
        epoch: passes that are finished; step: optimiser steps taken; batch: batches done of the epoch under way.
        loss_sum, weight: of the epoch under way, over the batches done. best: the best score so far, of epoch
            `best_epoch`; stale: epochs since. score, metrics: of the epoch that this state ends.
    """

    epoch: int = 0
    step: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    weight: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of a run.

    Args:
        keep: how many of the best are kept; the last is kept beside them.
    """

    def __init__(self, folder: Path, metric: str, *, is_higher_better: bool, keep: int = 1) -> None:
        self.folder = folder
        self._metric = metric
        self._is_higher_better = is_higher_better
        self._keep = keep

    def save(self, network: nn.Module, optimiser: torch.optim.Optimizer, state: TrainingState) -> Path:
        """Write one, then drop those that are neither the last nor among the best."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".part-*"):
            shutil.rmtree(left, ignore_errors=True)
        name = f"epoch-{state.epoch:04d}_step-{state.step:08d}"
        if state.score is not None and not state.batch:
            name += f"_{self._metric}={state.score:.6g}"
        part, final = self.folder / f".part-{name}", self.folder / name
        part.mkdir()
        save_file(_plain(network.state_dict()), part / "network.safetensors")
        save_file(_flat(optimiser), part / "optimiser.safetensors")
        (part / "state.json").write_text(json.dumps(asdict(state), indent=1) + "\n", "utf-8")
        for file in part.iterdir():
            _sync(file)
        _sync(part)
        if final.exists():  # written before the process ended, and reached again
            shutil.rmtree(final)
        part.rename(final)
        _sync(self.folder)
        self._prune()
        return final

    def all(self) -> list[Path]:
        """Return the checkpoints there are, oldest first."""
        found = [path for path in self.folder.glob("epoch-*_step-*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_place)

    def last(self) -> Path | None:
        """Return the newest, None if there is none."""
        there = self.all()
        return there[-1] if there else None

    def best(self) -> Path | None:
        """Return the one with the best score, the earliest of equals; the newest if none has a score."""
        ranked = self._ranked()
        return ranked[0] if ranked else self.last()

    def _ranked(self) -> list[Path]:
        states = [(read_state(path), path) for path in self.all()]
        scored = [(state.score, path) for state, path in states if state.score is not None and not state.batch]
        known = [(score, path) for score, path in scored if score == score]
        sign = -1 if self._is_higher_better else 1
        return [path for _, path in sorted(known, key=lambda one: (sign * one[0], _place(one[1])))]

    def _prune(self) -> None:
        kept = {*self._ranked()[: self._keep], *self.all()[-1:]}
        for path in self.all():
            if path not in kept:
                shutil.rmtree(path)


def read_state(path: Path) -> TrainingState:
    """Return where training was.

    Raises:
        PluginError: the folder is no checkpoint.
    """
    try:
        content: dict[str, Any] = json.loads((path / "state.json").read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise PluginError(f"checkpoint {path}: state.json cannot be read: {exc}") from exc
    known = {one.name for one in fields(TrainingState)}
    if set(content) != known:
        raise PluginError(f"checkpoint {path}: state.json has {', '.join(content)}; expected {', '.join(known)}")
    return TrainingState(**content)


def restore(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> TrainingState:
    """Load a checkpoint into a network and its optimiser, and return where training was.

    Raises:
        PluginError: it is damaged, or one of another network.
    """
    try:
        network.load_state_dict(load_tensors(path / "network.safetensors"))
        if optimiser is not None:
            _fill(optimiser, load_file(path / "optimiser.safetensors"))
    except (RuntimeError, KeyError, OSError) as exc:
        raise PluginError(f"checkpoint {path} does not fit this network: {exc}") from exc
    return read_state(path)


def _flat(optimiser: torch.optim.Optimizer) -> Tensors:
    """Return the optimiser's tensors, named "parameter.name"."""
    flat = {}
    for number, of_one in optimiser.state_dict()["state"].items():
        for name, value in of_one.items():
            flat[f"{number}.{name}"] = torch.as_tensor(value)
    return _plain(flat)


def _fill(optimiser: torch.optim.Optimizer, flat: Tensors) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _plain(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _place(path: Path) -> tuple[int, int, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[2]), int(match[1]), len(path.name)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
