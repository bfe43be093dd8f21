"""Kronos: making tokens with kept keys and values beside the original's loop, which runs the whole window anew for each
token of each sample.

The loop takes minutes where there are many paths, so a few of its steps are run then, spread evenly over the horizon,
on windows of the tokens that ours has made, and their mean counts for every step. That is the check, too: each must
give the token that ours gave there. Of one path of the smaller networks the whole loop is run, and every token
compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import Stopwatch, Turn, take_turns
from benchmarks.models_size import Size
from benchmarks.rows import Found, Row
from models.kronos.configuration import MODELS, ModelSizes
from models.kronos.decoder import FusedKronos
from models.kronos.generation import CHUNK, Generation, Overflow
from models.kronos.network import Kronos
from models.kronos.reference import naive_generation
from models.kronos.sampling import OwnChance, Sampling

_SAMPLING = Sampling(1.0, 0, 0.9)
_LARGEST_DIVERGENCE = 1e-3
_ONE_BY_ONE = 8
"""Tokens of a window that come one at a time where the divergence is measured."""


@dataclass(frozen=True)
class Case:
    """A forecast: `series` windows, `samples` paths of each; `least`: the ratio that is the target; `is_whole`: whether
    every step of the original's loop is run."""

    model: str
    series: int
    samples: int
    least: float | None = None
    overflow: Overflow = "exact"
    is_sliding: bool = False
    is_whole: bool = False

    @property
    def words(self) -> str:
        batch = f"batch of {self.series}" if self.series > 1 else f"× {self.samples}"
        mode = "exact" if self.overflow == "exact" else "chunked (inexact)"
        return f"Kronos {self.model} {batch}{f', window full, {mode}' if self.is_sliding else ''}"


CASES = (
    Case("mini", 1, 1, 13, is_whole=True),
    Case("mini", 1, 5),
    Case("mini", 8, 1),
    Case("small", 1, 1, 16, is_whole=True),
    Case("small", 1, 5, 45),
    Case("small", 8, 1, 45),
    Case("small", 1, 1, 1, is_sliding=True, is_whole=True),
    Case("small", 1, 5, 4, is_sliding=True),
    Case("small", 1, 5, 14, "chunked", is_sliding=True),
    Case("base", 1, 1, 24),
)
NARROW = (("small", 1, 1.4), ("small", 5, 1.4), ("base", 1, 1.6))
"""Bfloat16 weights beside float32: model, samples, least ratio."""


def works(size: Size) -> Found:
    """Return a row a case, model after model."""
    found = Found()
    for model in dict.fromkeys(case.model for case in CASES):
        network = network_of(model, size)
        fused = FusedKronos(network)
        for case in CASES:
            if case.model == model:
                found += Found([beside_naive(case, network, fused, size)])
        samples = [(samples, least) for name, samples, least in NARROW if name == model]
        if samples:
            narrow = FusedKronos(network, torch.bfloat16)
            found += Found([_narrow(model, fused, narrow, size, *one) for one in samples])
    return found


def network_of(model: str, size: Size) -> Kronos:
    """Return a network with random weights: what they are does not matter to the time."""
    sizes = MODELS[model]
    if size.is_small:
        sizes = replace(sizes, n_layers=2, d_model=64, n_heads=4, ff_dim=96, s1_bits=6, s2_bits=6)
    torch.manual_seed(0)
    return Kronos(sizes).eval()


def tokens_of(sizes: ModelSizes, series: int, length: int, ahead: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return random tokens s1 and s2, [series, length], and stamps [series, length + ahead, 5]."""
    generator = torch.Generator().manual_seed(7)

    def draw(low: int, high: int, count: int) -> Tensor:
        return torch.randint(low, high, (series, count), generator=generator)

    fields = [draw(*span, length + ahead) for span in ((0, 60), (0, 24), (0, 7), (1, 32), (1, 13))]
    return draw(0, 2**sizes.s1_bits, length), draw(0, 2**sizes.s2_bits, length), torch.stack(fields, dim=-1)


# ── beside the naive loop ───────────────────────────────────────────────────────────────────────────────────────────


def beside_naive(case: Case, network: Kronos, fused: FusedKronos, size: Size) -> Row:
    """Return the row of a case: ours and the loop in turns, and whether their tokens are the same."""
    horizon = size.sliding if case.is_sliding else size.horizon
    history = tokens_of(network.sizes, case.series, size.context if case.is_sliding else size.lookback, horizon)
    chance = OwnChance(range(case.series), case.samples, horizon, "cpu")
    ours = partial(_ours, case, fused, history, chance, horizon, size.context)
    made, _, _ = ours()
    steps = _spread(horizon, size.steps)
    naive: Any
    is_whole = (size.full or case.is_whole) and case.overflow == "exact"
    if is_whole:
        naive = partial(_whole, case, network, history, chance, horizon, size.context)
    else:
        naive = partial(_steps, case, network, history, made, chance, steps, horizon, size.context)
    turns: dict[str, Turn[Any]] = take_turns({"ours": ours, "naive": naive}, size.heavy_rounds)
    rate = {name: case.series * case.samples / turn.cpu for name, turn in turns.items()}
    if is_whole:
        equal = all(torch.equal(*pair) for pair in zip(made, turns["naive"].outcome, strict=True))
    else:
        equal = bool(turns["naive"].outcome)
    if case.overflow == "chunked":
        compared = f"tokens of {len(steps)} steps, of the loop over the windows that are left"
    else:
        compared = "every token" if is_whole else f"tokens of {len(steps)} steps"
    how = "" if is_whole else f"; the loop's time from {len(steps)} of {horizon} steps"
    return _row(
        f"{case.words}, {horizon} bars ÷ the original's loop",
        rate["ours"],
        rate["naive"],
        case.least,
        equal,
        compared + how,
    )


def _ours(
    case: Case, fused: FusedKronos, history: Sequence[Tensor], chance: OwnChance, horizon: int, context: int
) -> tuple[tuple[Tensor, Tensor], float, float]:
    with Stopwatch() as watch:
        generation = Generation(fused, _SAMPLING, chance, context, case.overflow)
        made = generation.run(history[0], history[1], history[2], horizon, case.samples)
    return made, watch.cpu, watch.wall


def _whole(
    case: Case, network: Kronos, history: Sequence[Tensor], chance: OwnChance, horizon: int, context: int
) -> tuple[tuple[Tensor, Tensor], float, float]:
    s1, s2, stamp = history
    with Stopwatch() as watch:
        made = naive_generation(network, _SAMPLING, chance, context, s1, s2, stamp, horizon, case.samples)
    return made, watch.cpu, watch.wall


def _steps(
    case: Case,
    network: Kronos,
    history: Sequence[Tensor],
    made: tuple[Tensor, Tensor],
    chance: OwnChance,
    steps: Sequence[int],
    horizon: int,
    context: int,
) -> tuple[bool, float, float]:
    """Run a few steps of the loop; return whether each gives the token that ours made, and the time of all steps."""
    past1, past2, stamp = (part.repeat_interleave(case.samples, 0) for part in history)
    s1, s2 = torch.cat([past1, made[0]], 1), torch.cat([past2, made[1]], 1)
    length, cpu, wall, is_equal = past1.shape[1], 0.0, 0.0, True
    for step in steps:
        end = length + step
        window = slice(end - _seen(case, length, step, context), end)
        with Stopwatch() as watch, torch.inference_mode():
            state = network.context(s1[:, window], s2[:, window], stamp[:, window])
            first = chance(_SAMPLING.chances(network.head.proj_s1(state)[:, -1]), step, 0)
            second = chance(_SAMPLING.chances(network.s2_logits(state, first[:, None])), step, 1)
        cpu, wall = cpu + watch.cpu, wall + watch.wall
        is_equal &= torch.equal(first, s1[:, end]) and torch.equal(second, s2[:, end])
    return is_equal, cpu * horizon / len(steps), wall * horizon / len(steps)


def _spread(horizon: int, count: int) -> list[int]:
    """Return the middles of `count` equal parts of the horizon, so that their windows are as long as all on average."""
    count = min(count, horizon)
    return [int((part + 0.5) * horizon / count) for part in range(count)]


def _seen(case: Case, length: int, step: int, context: int) -> int:
    """Return how many tokens the network sees at a step."""
    if case.overflow != "chunked":
        return min(length + step, context)
    seen = min(length, context)
    for _ in range(step):
        seen = seen + 1 if seen < context else max(context - CHUNK, 1)
    return seen


# ── narrower weights ────────────────────────────────────────────────────────────────────────────────────────────────


def _narrow(model: str, fused: FusedKronos, narrow: FusedKronos, size: Size, samples: int, least: float) -> Row:
    case = Case(model, 1, samples)
    history = tokens_of(fused.sizes, 1, size.lookback, size.horizon)
    chance = OwnChance([0], samples, size.horizon, "cpu")
    turns = take_turns(
        {
            name: partial(_ours, case, network, history, chance, size.horizon, size.context)
            for name, network in (("narrow", narrow), ("wide", fused))
        },
        size.heavy_rounds,
    )
    rate = {name: samples / turn.cpu for name, turn in turns.items()}
    divergence, agreement = divergence_of(fused, narrow, size)
    words = f"KL of the next s1 {divergence:.1e} on average, the likeliest token the same in {agreement:.0%}; inexact"
    work = f"{case.words}, {size.horizon} bars, bfloat16 weights ÷ float32"
    return _row(work, rate["narrow"], rate["wide"], least, divergence <= _LARGEST_DIVERGENCE, words)


def divergence_of(wide: FusedKronos, narrow: FusedKronos, size: Size, windows: int = 32) -> tuple[float, float]:
    """Return the mean divergence (KL) of the next s1 over windows, and how often its likeliest token is the same. The
    last tokens of each come one at a time, as in a forecast: by the loops for few rows, from keys that were kept."""
    history = tokens_of(wide.sizes, windows, min(size.lookback, 64), 0)
    exact, rough = (
        torch.cat([_next_of(network, *(part[row, None] for part in history)) for row in range(windows)])
        for network in (wide, narrow)
    )
    divergence = (exact.exp() * (exact - rough)).sum(-1).mean()
    return float(divergence), float((exact.argmax(-1) == rough.argmax(-1)).float().mean())


def _next_of(network: FusedKronos, s1: Tensor, s2: Tensor, stamp: Tensor) -> Tensor:
    """Return the logarithms of the chances of a window's next s1, [1, V1]."""
    times, length = network.times(stamp), s1.shape[1]
    start = length - _ONE_BY_ONE
    state = network.begin(s1[:, :start], s2[:, :start], times[:, :start], room=_ONE_BY_ONE)
    for token in range(start, length):
        network.extend(state, *(part[:, token : token + 1] for part in (s1, s2, times)))
    return network.s1_logits(state).log_softmax(-1)


def _row(work: str, ours: float, peer: float, least: float | None, equal: bool, check: str) -> Row:
    target, is_met = (None, None) if least is None else (f"ratio ≥ {least:g}", ours / peer >= least)
    return Row(work, ours, peer, ours / peer, target, equal, "paths/s", is_met, check)
