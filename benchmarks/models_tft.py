"""The temporal fusion transformer: the fused forward beside pytorch-forecasting's, and a bar's way to its forecast.

Without that library (--peers) the plain forward stands in for it: the same operations in the same order, but for the
packing of windows that need none, which makes the stand-in a little faster than what it stands for.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import Stopwatch, take_turns
from benchmarks.models_size import Size
from benchmarks.peer_process import PeerProcess
from benchmarks.rows import Found, Row
from engine.bars import FloatArray
from models.tft.configuration import TFTConfiguration
from models.tft.fused import FusedTFT
from models.tft.heads import Quantiles, Target
from models.tft.network import TFT
from models.tft.pipeline import TFTPipeline
from models.tft.ring import FeatureRing
from models.tft.tensors import TFTInputs, TFTOutput
from models.tft.windows import WindowAssembly

_TOLERANCE = 1e-5
_LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_WAVES = ("hour_sin", "hour_cos")
_SPANS = (2, 3, 5, 8, 13, 21, 34)
_TIMES_ONE = 20
"""Forwards in a turn of a single window."""
_SLOWEST = 5.0
"""Milliseconds from a bar to its forecast, by the target."""


def works(size: Size) -> Found:
    """Return a row for one window, one for a batch, and one for a bar's way to its forecast."""
    many = 16 if size.is_small else 256
    return Found([_forward(size, 1, 2.0), _forward(size, many, 1.4), _bar_to_forecast(size)])


def parameters_of(size: Size) -> dict[str, Any]:
    """Return the hyper-parameters: 32 reals of which two are known ahead, two static categoricals."""
    features = feature_names()
    hidden, past = (16, 24) if size.is_small else (64, 96)
    return {
        "hidden_size": hidden,
        "lstm_layers": 1,
        "dropout": 0.1,
        "attention_head_size": 4,
        "hidden_continuous_size": 8,
        "output_size": len(_LEVELS),
        "max_encoder_length": past,
        "static_categoricals": ["symbol", "period"],
        "static_reals": [],
        "time_varying_categoricals_encoder": [],
        "time_varying_categoricals_decoder": [],
        "time_varying_reals_encoder": [*features, *_WAVES],
        "time_varying_reals_decoder": list(_WAVES),
        "x_reals": [*features, *_WAVES],
        "x_categoricals": ["symbol", "period"],
        "embedding_sizes": {"symbol": [50, 10], "period": [4, 2]},
    }


def network_of(parameters: Mapping[str, Any]) -> TFT:
    """Return a network with random weights."""
    torch.manual_seed(0)
    return TFT(TFTConfiguration.of(parameters)).eval()


# ── forward ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _forward(size: Size, rows: int, least: float) -> Row:
    parameters = parameters_of(size)
    network = network_of(parameters)
    inputs = _inputs(network, rows)
    times = _TIMES_ONE if rows == 1 else 1
    contenders: dict[str, Any] = {"ours": partial(_timed, FusedTFT(network), inputs, times)}
    work = f"TFT, {rows} windows" if rows > 1 else "TFT, one window"
    if size.peers is None:
        contenders["peer"] = partial(_timed, network, inputs, times)
        return _row(f"{work} ÷ the plain forward", contenders, rows * times, size, least)
    given = {
        **network.state_dict(),
        **{f"x.{name}": tensor for name, tensor in vars(inputs).items()},
        "x.target_scale": torch.tensor([[0.0, 1.0]]).repeat(rows, 1),
        "parameters": torch.frombuffer(bytearray(json.dumps(parameters).encode()), dtype=torch.uint8),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        PeerProcess(size.peers, Path(__file__).with_name("peer_tft.py"), given, Path(folder)) as peer,
    ):
        contenders["peer"] = partial(_of_peer, peer, times)
        return _row(f"{work} ÷ pytorch-forecasting", contenders, rows * times, size, least)


def _inputs(network: TFT, rows: int) -> TFTInputs:
    of, generator = network.configuration, torch.Generator().manual_seed(rows)
    past, ahead = of.max_encoder_length, 1
    reals = torch.randn(rows, past + ahead, len(of.x_reals), generator=generator)
    codes = torch.randint(0, 4, (rows, 1, 2), generator=generator).expand(-1, past + ahead, -1).contiguous()
    return TFTInputs(
        encoder_cont=reals[:, :past].contiguous(),
        decoder_cont=reals[:, past:].contiguous(),
        encoder_cat=codes[:, :past].contiguous(),
        decoder_cat=codes[:, past:].contiguous(),
        encoder_lengths=torch.full((rows,), past),
        decoder_lengths=torch.full((rows,), ahead),
    )


def _row(work: str, contenders: dict[str, Any], windows: int, size: Size, least: float) -> Row:
    turns = take_turns(contenders, size.rounds)
    rate = {name: windows / turn.cpu for name, turn in turns.items()}
    error = float((turns["ours"].outcome - turns["peer"].outcome).abs().max())
    ratio = rate["ours"] / rate["peer"]
    return Row(
        work,
        rate["ours"],
        rate["peer"],
        ratio,
        f"ratio ≥ {least}",
        error <= _TOLERANCE,
        "windows/s",
        ratio >= least,
        f"every quantile to {_TOLERANCE:.0e}; found {error:.0e}",
    )


def _timed(forward: Callable[[TFTInputs], TFTOutput], inputs: TFTInputs, times: int) -> tuple[Tensor, float, float]:
    with torch.inference_mode():
        forward(inputs)
        with Stopwatch() as watch:
            for _ in range(times):
                output = forward(inputs)
    return output.raw[0], watch.cpu, watch.wall


def _of_peer(peer: PeerProcess, times: int) -> tuple[Tensor, float, float]:
    turns = [peer.turn() for _ in range(times)]
    return torch.tensor(turns[-1][0]), sum(turn[1] for turn in turns), sum(turn[2] for turn in turns)


# ── a bar's way ─────────────────────────────────────────────────────────────────────────────────────────────────────


def feature_names() -> list[str]:
    """Return the names of `features_of`'s columns: 30."""
    kinds = ("return", "spread", "place", "volume")
    return [f"{kind}_{span}" for kind in kinds for span in _SPANS] + ["body", "range"]


def features_of(bars: FloatArray) -> FloatArray:
    """Return 30 features of the last of at least 35 bars [T, 5] (open, high, low, close, volume)."""
    opened, high, low, close = bars[-1, :4]
    log_close, log_volume = np.log(bars[:, 3]), np.log1p(bars[:, 4])
    steps = np.diff(log_close)
    returns = [log_close[-1] - log_close[-1 - span] for span in _SPANS]
    spreads = [steps[-span:].std() for span in _SPANS]
    places = [(close - bars[-span:, 2].min()) / (np.ptp(bars[-span:, 1:3]) + 1e-12) for span in _SPANS]
    volumes = [log_volume[-1] - log_volume[-span:].mean() for span in _SPANS]
    return np.array([*returns, *spreads, *places, *volumes, close / opened - 1, high / low - 1], dtype=np.float32)


def _bar_to_forecast(size: Size) -> Row:
    parameters = parameters_of(size)
    network = network_of(parameters)
    past, names = parameters["max_encoder_length"], feature_names()
    bars = _bars(past + 120)
    start = max(_SPANS) + 1
    features = torch.from_numpy(np.stack([features_of(bars[:at]) for at in range(start, len(bars) + 1)]))
    assembly = WindowAssembly(
        network.configuration, names, known=_WAVES, centre=features.mean(0), scale=features.std(0).clamp(min=1e-6)
    )
    pipeline = TFTPipeline(network, assembly, [Target("return", Quantiles(_LEVELS))])
    codes = {"symbol": torch.tensor([7]), "period": torch.tensor([1])}

    def way(last: int, ring: FeatureRing) -> Tensor:
        ring.push("A", features_of(bars[last - 63 : last + 1]))
        known = _waves(last, past)
        return pipeline.forecast(ring.windows(["A"]), known=known, codes=codes).values["return"]

    def turn() -> tuple[Tensor, float, float]:
        ring = FeatureRing(["A"], past, len(names))
        first = len(bars) - 20
        for row in features[first - start + 1 - past : first - start + 1]:
            ring.push("A", row)
        with Stopwatch() as watch:
            said = [way(last, ring) for last in range(first, len(bars))]
        return torch.cat(said), watch.cpu / len(said), watch.wall / len(said)

    done = take_turns({"ours": turn}, size.rounds)["ours"]
    windows = features.unfold(0, past, 1).transpose(1, 2)[-20:]
    known = torch.cat([_waves(last, past) for last in range(len(bars) - 20, len(bars))])
    inputs = assembly(windows, 1, known=known, codes={name: code.expand(20) for name, code in codes.items()})
    with torch.inference_mode():
        plain = network(inputs).raw[0].sort(-1).values
    error = float((done.outcome - plain).abs().max())
    taken = 1e3 * done.cpu
    return Row(
        "TFT, a bar to its forecast: 30 features, ring, forward",
        taken,
        None,
        None,
        f"≤ {_SLOWEST} ms",
        error <= _TOLERANCE,
        "ms",
        taken <= _SLOWEST,
        f"20 bars, each to {_TOLERANCE:.0e} of the plain forward of all windows at once; found {error:.0e}",
    )


def _waves(last: int, past: int) -> Tensor:
    """Return sine and cosine of the hours of a window and of the bar after it, [1, past + 1, 2]."""
    angle = torch.arange(last - past + 1, last + 2) % 24 * (2 * torch.pi / 24)
    return torch.stack([angle.sin(), angle.cos()], dim=-1)[None]


def _bars(count: int) -> FloatArray:
    generator = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, count)))
    opened = np.concatenate([[100.0], close[:-1]])
    reach = np.abs(generator.normal(0, 0.004, (2, count)))
    high, low = np.maximum(opened, close) * (1 + reach[0]), np.minimum(opened, close) * (1 - reach[1])
    return np.stack([opened, high, low, close, generator.lognormal(3, 1, count)], axis=1)
