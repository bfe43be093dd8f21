"""KRNN's training steps beside those of Qlib's trainer: forward, backward, gradients clipped by value, Adam."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measuring import Stopwatch, take_turns
from benchmarks.models_krnn import QlibLoop
from benchmarks.rows import Found, Row
from models.krnn import KRNN

_TOLERANCE = 2e-5
_STEPS = 4


def works(*, is_quick: bool) -> Found:
    """Return a row for each of the sizes that Qlib uses, its class's defaults and its benchmark's, and one for a single
    layer and 512 windows, as benchmarks/models.py has it."""
    rows = 64 if is_quick else 2000
    cases = (
        ("its benchmark's sizes", (8, 8, 2, 2), rows), ("its class's sizes", (64, 64, 3, 2), rows // 4),
        ("its class's sizes, one layer", (64, 64, 3, 1), 16 if is_quick else 512),
    )
    return Found([_steps(*case, rounds=1 if is_quick else 5) for case in cases])


def _steps(what: str, sizes: tuple[int, int, int, int], rows: int, *, rounds: int) -> Row:
    channels, hidden, dups, layers = sizes
    x = torch.randn(rows, 60, 6, generator=torch.Generator().manual_seed(1))
    y = torch.randn(rows, generator=torch.Generator().manual_seed(2))

    def ours() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        torch.manual_seed(0)
        network = KRNN(
            cnn_dim=channels, rnn_dim=hidden, rnn_dups=dups, rnn_layers=layers, layout="time_major"
        )
        return network, network.wavefront

    def theirs() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        network = QlibLoop(channels, 3, hidden, dups, layers)
        network.load_state_dict(ours()[0].state_dict())
        return network, network

    turns = take_turns({"ours": partial(_trained, ours, x, y), "peer": partial(_trained, theirs, x, y)}, rounds)
    rate = {name: rows * _STEPS / turn.cpu for name, turn in turns.items()}
    found, expected = turns["ours"].outcome, turns["peer"].outcome
    error = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    ratio = rate["ours"] / rate["peer"]
    return Row(
        f"KRNN, training steps of {rows:,} windows, {what} ÷ Qlib's loop", rate["ours"], rate["peer"], ratio,
        "ratio ≥ 1.7", error <= _TOLERANCE, "windows/s", ratio >= 1.7,
        f"every weight after {_STEPS} steps to {_TOLERANCE:.0e}; found {error:.0e}",
    )


def _trained(
    made: Callable[[], tuple[nn.Module, Callable[[Tensor], Tensor]]], x: Tensor, y: Tensor
) -> tuple[dict[str, Tensor], float, float]:
    network, forward = made()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    with Stopwatch() as watch:
        for _ in range(_STEPS):
            optimiser.zero_grad()
            nn.functional.mse_loss(forward(x), y).backward()
            nn.utils.clip_grad_value_(network.parameters(), 3.0)
            optimiser.step()
    return {name: one.detach().clone() for name, one in network.named_parameters()}, watch.cpu, watch.wall
