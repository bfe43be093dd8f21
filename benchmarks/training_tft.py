"""The transformer's training: windows from our loader beside pytorch-forecasting's, and training steps beside its own.

Without that library (--peers) stand-ins are written out: a torch DataLoader that cuts windows one by one, which is
faster than the library's, and the same network's steps without what ours does otherwise.
"""

import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import Stopwatch, take_turns
from benchmarks.models_size import QUICK, Size
from benchmarks.models_tft import _LEVELS, _inputs, network_of, parameters_of
from benchmarks.peer_process import PeerProcess
from benchmarks.rows import Found, Row
from models.tft.tensors import TFTInputs
from models.training.data.windows import Column, Segments, WindowSet

_BATCH = 256
_TOLERANCE = 1e-4
_STEPS = 3


def works(*, is_quick: bool, peers: Path | None = None) -> Found:
    """Return a row for the loader and one for training steps."""
    return Found([_loader(is_quick=is_quick, peers=peers), _steps(is_quick=is_quick, peers=peers)])


# ── windows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _data(*, is_quick: bool) -> tuple[Tensor, Tensor, int]:
    """Return features [groups, rows, F], targets [groups, rows], and how long the past is."""
    groups, rows, width, past = (2, 200, 6, 24) if is_quick else (4, 1000, 30, 96)
    generator = torch.Generator().manual_seed(0)
    shape = (groups, rows)
    return torch.randn(*shape, width, generator=generator), torch.randn(shape, generator=generator), past


def _windows(values: Tensor, target: Tensor, past: int) -> WindowSet:
    groups, rows, width = values.shape
    group = np.repeat(np.arange(groups), rows)
    times = np.tile(np.arange(rows), groups)
    ends = Segments(group, times, np.ones(groups, np.int64)).ends(past, 1)
    # The target stands in the row of the decision; the library's is that of the row ahead.
    ahead = torch.cat([target[:, 1:], torch.zeros(groups, 1)], dim=1)
    columns = {
        "values": Column(values.reshape(-1, width), past),
        "target": Column(ahead.reshape(-1)),
        "group": Column(torch.from_numpy(group)),
    }
    return WindowSet(columns, torch.from_numpy(ends), times[ends], times[ends] + 1, group[ends], ("",) * groups)


class _OneByOne(Dataset[dict[str, Tensor]]):
    """Windows cut when they are asked for, as loaders usually do."""

    def __init__(self, values: Tensor, target: Tensor, past: int) -> None:
        self._values, self._target, self._past = values, target, past
        self._each = values.shape[1] - past

    def __len__(self) -> int:
        return self._each * len(self._values)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        group, start = divmod(place, self._each)
        end = start + self._past
        return {
            "values": self._values[group, start:end],
            "target": self._target[group, end],
            "group": torch.tensor(group),
        }


def _loader(*, is_quick: bool, peers: Path | None) -> Row:
    values, target, past = _data(is_quick=is_quick)
    windows = _windows(values, target, past)
    contenders: dict[str, Any] = {"ours": partial(_gathered, windows)}
    rounds = 1 if is_quick else 5
    if peers is None:
        loader = DataLoader(_OneByOne(values, target, past), batch_size=_BATCH)
        contenders["peer"] = partial(_loaded, loader)
        return _loader_row("a DataLoader that cuts them one by one", contenders, len(windows), rounds, None)
    given = {"values": values, "target": target, "past": torch.tensor([past]), "batch": torch.tensor([_BATCH])}
    script = Path(__file__).with_name("peer_tft_loader.py")
    with tempfile.TemporaryDirectory() as folder, PeerProcess(peers, script, given, Path(folder)) as peer:
        contenders["peer"] = peer.turn
        return _loader_row("pytorch-forecasting's loader", contenders, len(windows), rounds, 50)


def _loader_row(peer: str, contenders: dict[str, Any], count: int, rounds: int, least: int | None) -> Row:
    turns = take_turns(contenders, rounds)
    rate = {name: count / turn.cpu for name, turn in turns.items()}
    ours, theirs = (np.array(turns[name].outcome) for name in ("ours", "peer"))
    ratio = rate["ours"] / rate["peer"]
    is_equal = bool(np.allclose(ours, theirs, rtol=1e-6, atol=1e-2))
    check = f"as many windows, and the same sums of last rows and targets; {count:,} windows"
    return Row(
        f"windows in batches of {_BATCH} ÷ {peer}", rate["ours"], rate["peer"], ratio,
        None if least is None else f"ratio ≥ {least}", is_equal, "windows/s", None if least is None else ratio >= least,
        check,
    )  # fmt: skip


def _gathered(windows: WindowSet) -> tuple[list[float], float, float]:
    order = torch.arange(len(windows))
    with Stopwatch() as watch:
        batches = [windows.gather(places) for places in torch.split(order, _BATCH)]
    return _sums(batches), watch.cpu, watch.wall


def _loaded(loader: DataLoader[dict[str, Tensor]]) -> tuple[list[float], float, float]:
    with Stopwatch() as watch:
        batches = list(loader)
    return _sums(batches), watch.cpu, watch.wall


def _sums(batches: list[dict[str, Tensor]]) -> list[float]:
    counts = sum(len(batch["target"]) for batch in batches)
    seen = sum(float(batch["values"][:, -1].double().sum()) for batch in batches)
    return [counts, seen, sum(float(batch["target"].double().sum()) for batch in batches)]


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _steps(*, is_quick: bool, peers: Path | None) -> Row:
    size = QUICK if is_quick else Size()
    parameters = {**parameters_of(size), "dropout": 0.0}
    network = network_of(parameters).train()
    rows = 16 if is_quick else _BATCH
    inputs = _inputs(network, rows)
    y = torch.randn(rows, generator=torch.Generator().manual_seed(1))
    begun = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    # Ours know that no window is padded; the library is told the lengths.
    plain = replace(inputs, encoder_lengths=None, decoder_lengths=None)
    contenders: dict[str, Any] = {"ours": partial(_trained, network, begun, plain, y)}
    rounds = 1 if is_quick else 3
    if peers is None:
        contenders["peer"] = partial(_trained, network, begun, inputs, y)
        return _step_row("the same with lengths", contenders, rows, rounds, None)
    given = {
        **begun,
        **{f"x.{name}": tensor for name, tensor in vars(inputs).items()},
        "x.target_scale": torch.tensor([[0.0, 1.0]]).repeat(rows, 1),
        "parameters": torch.frombuffer(bytearray(json.dumps(parameters).encode()), dtype=torch.uint8),
        "y": y,
        "steps": torch.tensor([_STEPS]),
    }
    script = Path(__file__).with_name("peer_tft_step.py")
    with tempfile.TemporaryDirectory() as folder, PeerProcess(peers, script, given, Path(folder)) as peer:
        contenders["peer"] = peer.turn
        return _step_row("pytorch-forecasting's", contenders, rows, rounds, 1.5)


def _step_row(peer: str, contenders: dict[str, Any], rows: int, rounds: int, least: float | None) -> Row:
    turns = take_turns(contenders, rounds)
    rate = {name: rows * _STEPS / turn.cpu for name, turn in turns.items()}
    ours, theirs = (np.array(turns[name].outcome) for name in ("ours", "peer"))
    error = float(np.abs(ours - theirs).max())
    ratio = rate["ours"] / rate["peer"]
    return Row(
        f"TFT, training steps of {rows} windows ÷ {peer}", rate["ours"], rate["peer"], ratio,
        None if least is None else f"ratio ≥ {least}", error <= _TOLERANCE, "windows/s",
        None if least is None else ratio >= least,
        f"the loss of each of {_STEPS} steps to {_TOLERANCE:.0e}; found {error:.0e}",
    )  # fmt: skip


def _trained(
    network: nn.Module, begun: dict[str, Tensor], inputs: TFTInputs, y: Tensor
) -> tuple[list[float], float, float]:
    network.load_state_dict(begun)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    levels, losses = torch.tensor(_LEVELS), []
    with Stopwatch() as watch:
        for _ in range(_STEPS):
            optimiser.zero_grad()
            error = y[:, None, None] - network(inputs).raw[0]
            loss = torch.maximum(levels * error, (levels - 1) * error).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
    return losses, watch.cpu, watch.wall
