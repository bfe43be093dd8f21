"""KRNN: the fused forward beside Qlib's loop over its recurrent networks."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measuring import Stopwatch, take_turns
from benchmarks.models_size import Size
from benchmarks.peer_process import PeerProcess
from benchmarks.rows import Found, Row
from models.krnn import KRNN

_STEPS, _FIELDS = 60, 6
_TOLERANCE = 1e-6
_TIMES_FEW = 50
"""Forwards in a turn of a single window; a tenth in a quick run."""


class QlibLoop(nn.Module):
    """What pyqlib 0.9.7's KRNNModel computes, in its order, with its parameters' names: every step of every network is
    kept and averaged, and the last one read out."""

    def __init__(self, channels: int, kernel: int, hidden: int, dups: int, layers: int) -> None:
        super().__init__()
        conv = nn.Conv1d(_FIELDS, channels, kernel, padding=(kernel - 1) // 2)
        grus = nn.ModuleList(nn.GRU(channels, hidden, layers) for _ in range(dups))
        self.encoder = nn.ModuleDict(
            {"cnn_encoder": nn.ModuleDict({"conv": conv}), "krnn_encoder": nn.ModuleDict({"rnn_modules": grus})}
        )
        self.out_fc = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, F] → [N]"""
        conv, grus = (
            self.get_submodule(f"encoder.{name}") for name in ("cnn_encoder.conv", "krnn_encoder.rnn_modules")
        )
        steps = conv(x.permute(0, 2, 1)).permute(0, 2, 1).permute(1, 0, 2)
        every = [gru(steps)[0].unsqueeze(-1) for gru in grus.children()]
        mean = torch.cat(every, dim=-1).mean(dim=-1).permute(1, 0, 2)
        out: Tensor = self.out_fc(mean[:, -1]).squeeze(-1)
        return out


def works(size: Size) -> Found:
    """Return a row for each batch and number of layers, and one for a step of training."""
    many = size.windows
    cases = ((many, 1, 2.0), (many, 2, 1.6), (1, 1, 1.5), (1, 2, 1.5))
    return Found([*(_scores(size, *case) for case in cases), _training(size, many, 1, 1.7)])


def networks(layers: int) -> tuple[KRNN, QlibLoop]:
    """Return ours and the loop with the same random weights, of Qlib's default sizes."""
    torch.manual_seed(layers)
    ours = KRNN(rnn_layers=layers, layout="time_major").eval()
    of = ours.configuration
    loop = QlibLoop(of.cnn_dim, of.cnn_kernel_size, of.rnn_dim, of.rnn_dups, layers).eval()
    loop.load_state_dict(ours.state_dict())
    return ours, loop


def _scores(size: Size, rows: int, layers: int, least: float) -> Row:
    ours, loop = networks(layers)
    x = torch.randn(rows, _STEPS, _FIELDS, generator=torch.Generator().manual_seed(rows))
    times = 1 if rows > 1 else _TIMES_FEW // 10 if size.is_small else _TIMES_FEW
    work = f"KRNN, {rows} windows" if rows > 1 else "KRNN, one window"
    work += f", {layers} layer{'s' if layers > 1 else ''}"
    contenders: dict[str, Any] = {"ours": partial(_timed, ours.infer, x, times)}
    if size.peers is None:
        contenders["loop"] = partial(_timed, loop, x, times)
        return _row(f"{work} ÷ Qlib's loop", contenders, rows, times, size, least)
    weights = {**ours.state_dict(), "x": x}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).with_name("peer_krnn.py")
        with PeerProcess(size.peers, script, weights, Path(folder)) as peer:
            contenders["loop"] = partial(_of_peer, peer, times)
            return _row(f"{work} ÷ pyqlib", contenders, rows, times, size, least)


def _row(work: str, contenders: dict[str, Any], rows: int, times: int, size: Size, least: float) -> Row:
    turns = take_turns(contenders, size.rounds)
    rate = {name: rows * times / turn.cpu for name, turn in turns.items()}
    error = float((turns["ours"].outcome - turns["loop"].outcome).abs().max())
    ratio = rate["ours"] / rate["loop"]
    is_equal = error <= _TOLERANCE
    check = f"every score to {_TOLERANCE:.0e}; found {error:.0e}"
    return Row(
        work, rate["ours"], rate["loop"], ratio, f"ratio ≥ {least}", is_equal, "windows/s", ratio >= least, check
    )


def _timed(forward: Callable[[Tensor], Tensor], x: Tensor, times: int) -> tuple[Tensor, float, float]:
    with torch.inference_mode():
        forward(x)
        with Stopwatch() as watch:
            for _ in range(times):
                scores = forward(x)
    return scores, watch.cpu, watch.wall


def _of_peer(peer: PeerProcess, times: int) -> tuple[Tensor, float, float]:
    turns = [peer.turn() for _ in range(times)]
    return torch.tensor(turns[-1][0]), sum(turn[1] for turn in turns), sum(turn[2] for turn in turns)


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _training(size: Size, rows: int, layers: int, least: float) -> Row:
    ours, loop = networks(layers)
    x = torch.randn(rows, _STEPS, _FIELDS, generator=torch.Generator().manual_seed(rows))
    contenders = {
        "ours": partial(_gradients, ours, ours.wavefront, x),
        "loop": partial(_gradients, loop, loop, x),
    }
    turns = take_turns(contenders, size.heavy_rounds)
    rate = {name: rows / turn.cpu for name, turn in turns.items()}
    found, expected = turns["ours"].outcome, turns["loop"].outcome
    error = max(float((found[name] - expected[name]).abs().max()) for name in found)
    ratio = rate["ours"] / rate["loop"]
    check = f"every gradient to {_TOLERANCE:.0e}; found {error:.0e}"
    work = f"KRNN, forward and backward of {rows} windows, {layers} layer ÷ Qlib's loop"
    return Row(
        work,
        rate["ours"],
        rate["loop"],
        ratio,
        f"ratio ≥ {least}",
        error <= _TOLERANCE,
        "windows/s",
        ratio >= least,
        check,
    )


def _gradients(
    network: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[dict[str, Tensor], float, float]:
    network.zero_grad()
    with Stopwatch() as watch:
        forward(x).square().mean().backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return found, watch.cpu, watch.wall
