"""PriceTransformer and the position head: a panel at once beside the same, symbol after symbol."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import Stopwatch, take_turns
from benchmarks.models_size import Size
from benchmarks.rows import Found, Row
from engine.bars import HOUR
from models.position.features import SLOTS
from models.position.head import HeadSizes, Policy, PositionHead, Serving
from models.position.price_transformer import LOOKBACK, PRESETS, PriceTransformer

_TOLERANCE = 1e-5


def works(size: Size) -> Found:
    """Return a row for the head's step and one for the transformer's forecast."""
    return Found([_step(size), _forecast(size)])


def _step(size: Size) -> Row:
    sizes = PRESETS["nano"]
    torch.manual_seed(0)
    head = PositionHead(HeadSizes(sizes.feature_count))
    policy = Policy(head, Serving(), "benchmark")
    features = torch.randn(size.symbols, sizes.feature_count, generator=torch.Generator().manual_seed(1))
    contenders = {
        "together": partial(_steps, policy, features, size.symbols),
        "alone": partial(_steps, policy, features, 1),
    }
    turns = take_turns(contenders, size.rounds)
    rate = {name: size.symbols / turn.cpu for name, turn in turns.items()}
    together, alone = turns["together"].outcome, turns["alone"].outcome
    equal = together.keys() == alone.keys() and all(abs(together[n] - alone[n]) <= _TOLERANCE for n in together)
    milliseconds = turns["together"].cpu * 1e3
    return Row(
        f"position head, a step of {size.symbols} symbols ÷ symbol after symbol",
        rate["together"],
        rate["alone"],
        rate["together"] / rate["alone"],
        None,
        equal,
        "symbols/s",
        None,
        f"every share to {_TOLERANCE:.0e}; {milliseconds:.1f} ms for all symbols, states read and written",
    )


def _steps(policy: Policy, features: Tensor, batch: int) -> tuple[dict[str, float], float, float]:
    """Take one step of every symbol, `batch` at once."""
    shares: dict[str, float] = {}
    states = {f"S{place}": policy.begin() for place in range(len(features))}
    names = list(states)
    with Stopwatch() as watch:
        for start in range(0, len(features), batch):
            some = {name: states[name] for name in names[start : start + batch]}
            done = policy.step(features[start : start + batch], some, dict.fromkeys(some, 0.3), HOUR, HOUR)
            shares |= done.shares
    return shares, watch.cpu, watch.wall


def _forecast(size: Size) -> Row:
    torch.manual_seed(0)
    network = PriceTransformer(PRESETS["nano"]).eval()
    windows = 4 if size.is_small else 64
    slots = torch.randn(windows, LOOKBACK, len(SLOTS), generator=torch.Generator().manual_seed(1))
    contenders: dict[str, Any] = {
        "together": partial(_forecasts, network, slots, windows),
        "alone": partial(_forecasts, network, slots, 1),
    }
    turns = take_turns(contenders, size.rounds)
    rate = {name: windows / turn.cpu for name, turn in turns.items()}
    error = float((turns["together"].outcome - turns["alone"].outcome).abs().max())
    return Row(
        f"PriceTransformer nano, {windows} windows of {LOOKBACK} bars ÷ window after window",
        rate["together"],
        rate["alone"],
        rate["together"] / rate["alone"],
        None,
        error <= _TOLERANCE,
        "windows/s",
        None,
        f"every quantile to {_TOLERANCE:.0e}; found {error:.0e}",
    )


def _forecasts(network: PriceTransformer, slots: Tensor, batch: int) -> tuple[Tensor, float, float]:
    with torch.inference_mode(), Stopwatch() as watch:
        quantiles = torch.cat([network(some).quantiles for some in torch.split(slots, batch)])
    return quantiles, watch.cpu, watch.wall
