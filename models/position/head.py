"""The position head: a recurrent policy that turns features into the share of equity to hold.

A target is one of a grid: 0 … 10 tenths of equity, or −10 … 10. In training the share is a soft choice with Gumbel
noise; in serving it is the noiseless expectation, snapped to the grid, and left alone while it lies near what is
held. The head is fed the position that was in fact held, not the one it wished for.

Notation: N symbols, F features, S state, G grid places.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite, log
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from engine.errors import PluginError

Mode = Literal["expectation", "argmax", "sample"]

TENTHS = 10
LEAST_TEMPERATURE = 0.1


@dataclass(frozen=True)
class HeadSizes:
    """Of a position head.

    Args:
        features: F; state: S. short: whether the grid goes from −10, not from 0.
        dropout: of the state, in training.
    """

    features: int
    state: int = 64
    short: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("features", "state"):
            count = getattr(self, name)
            if not isinstance(count, int) or count < 1:
                raise PluginError(f"position head: {name} is {count!r}; expected a whole number of 1 or more")

    @property
    def places(self) -> int:
        return 2 * TENTHS + 1 if self.short else TENTHS + 1

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained, by formula."""
        f, s = self.features, self.state
        hidden = (f + s) // 2
        cell = 3 * s * (f + 1) + 3 * s * s + 6 * s
        return cell + s + (f + s) * hidden + hidden + hidden * self.places + self.places


@dataclass(frozen=True)
class Serving:
    """How targets are taken from the head.

    Args:
        mode: "expectation": what training optimised; "argmax"; "sample": a draw, by seed, symbol and step, to explore
            with.
        temperature: of the softmax, the one training ended with.
        hysteresis: how far, beyond half a step of the grid, the wish must lie from what is held to trade at all.
        most: the largest change of the share in one step; 2 allows any.
    """

    mode: Mode = "expectation"
    temperature: float = 0.3
    hysteresis: float = 0.02
    most: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("expectation", "argmax", "sample"):
            raise PluginError(f"position head: mode is {self.mode!r}; expected expectation, argmax or sample")
        if not self.temperature >= LEAST_TEMPERATURE:
            raise PluginError(f"position head: temperature is {self.temperature}; expected {LEAST_TEMPERATURE} or more")
        if not self.hysteresis >= 0 or not self.most > 0:
            raise PluginError(
                f"position head: hysteresis is {self.hysteresis} and most {self.most}; expected 0 or more, and above 0"
            )


@dataclass(frozen=True)
class PolicyState:
    """What the head remembers of one symbol; JSON-ready.

    Args:
        hidden: [S]; executed: the share of equity that was held when the last step was taken.
        bar_time: close of the last bar it saw, UTC nanoseconds, 0 before the first; steps: taken so far.
        model_hash: of the head; a state of another one is refused.
    """

    hidden: tuple[float, ...]
    executed: float = 0.0
    bar_time: int = 0
    steps: int = 0
    model_hash: str = ""

    def to_json(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> "PolicyState":
        """Read what `to_json` wrote.

        Raises:
            PluginError: it is something else.
        """
        try:
            content: Any = json.loads(text)
            return cls(**{**content, "hidden": tuple(map(float, content["hidden"]))})
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
            raise PluginError(f"not the state of a position head: {type(exc).__name__}: {exc}") from exc


class Unrolled(NamedTuple):
    """What a head did over T steps: shares [N, T], its last state [N, S], and how open each choice was, [N, T]."""

    shares: Tensor
    hidden: Tensor
    openness: Tensor


class PositionHead(nn.Module):
    """The network: h_t = GRU([features_t, position held], h_{t−1}); logits_t = MLP([features_t, h_t])."""

    tenths: Tensor

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.sizes = sizes
        f, s = sizes.features, sizes.state
        self.start = nn.Parameter(torch.zeros(s))
        self.cell = nn.GRUCell(f + 1, s)
        self.dropout = nn.Dropout(sizes.dropout)
        hidden = (f + s) // 2
        self.out = nn.Sequential(nn.Linear(f + s, hidden), nn.ReLU(), nn.Linear(hidden, sizes.places))
        low = -TENTHS if sizes.short else 0
        self.register_buffer("tenths", torch.arange(low, TENTHS + 1), persistent=False)
        for name, parameter in self.cell.named_parameters():
            if name.startswith("weight"):
                nn.init.orthogonal_(parameter)

    @property
    def grid(self) -> Tensor:
        """The shares to choose from, float32 [G]."""
        return self.tenths.float() / TENTHS

    def begin(self, count: int) -> Tensor:
        """Return the state before the first bar, [N, S]."""
        return self.start.expand(count, -1)

    def logits(self, features: Tensor, held: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits over the grid [N, G] and the next state [N, S].

        Args:
            features: [N, F]; held: [N], the share of equity held now; hidden: [N, S].
        """
        after = self.cell(torch.cat([features, held[:, None].to(features.dtype)], dim=-1), hidden)
        return self.out(torch.cat([features, self.dropout(after)], dim=-1)), after

    # ── training ────────────────────────────────────────────────────────────────────────────────────────────────────

    def unroll(
        self,
        features: Tensor,
        temperature: float,
        hidden: Tensor | None = None,
        held: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        jitter: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Unrolled:
        """Return what is chosen at each of T steps, with gradients.

        Each step is fed the share chosen at the one before, as if it had been filled.

        Args:
            features: [N, T, F]; temperature: of the softmax, ≥ 0.1, annealed by a schedule and never learned.
            noise: added to the logits, [N, T or 1, G], of `gumbel`'s (Jang et al. 2016, arXiv 1611.01144).
            jitter: deviation of what is fed from what was chosen, by `generator`: fills are partial, prices drift.
        """
        if not temperature >= LEAST_TEMPERATURE:
            raise PluginError(f"position head: temperature is {temperature}; expected {LEAST_TEMPERATURE} or more")
        count, steps = features.shape[:2]
        hidden = self.begin(count) if hidden is None else hidden
        held = features.new_zeros(count) if held is None else held
        shares, entropies = [], []
        for step in range(steps):
            fed = held + jitter * torch.randn(held.shape, generator=generator).to(held) if jitter else held
            logits, hidden = self.logits(features[:, step], fed, hidden)
            entropies.append(openness(logits))
            if noise is not None:
                logits = logits.float() + noise[:, step % noise.shape[1]]
            held = ((logits / temperature).softmax(-1) * self.grid).sum(-1)
            shares.append(held)
        return Unrolled(torch.stack(shares, dim=1), hidden, torch.stack(entropies, dim=1))

    # ── serving ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @torch.inference_mode()
    def choose(
        self, logits: Tensor, held: Tensor, serving: Serving, steps: Sequence[int] = (), symbols: Sequence[str] = ()
    ) -> Tensor:
        """Return the shares to hold, [N], on the grid, or as they are where the wish is near; NaN where the logits say
        nothing, for one of them is NaN or infinite.

        Args:
            logits: [N, G]; held: [N].
            steps: [N], taken so far, and symbols: [N] names: what a "sample" is drawn by, whatever else is in the
                batch. Left out, they are 0 and the places in the batch.
        """
        scaled = (logits.float() / serving.temperature).softmax(-1)
        if serving.mode == "expectation":
            wish = (scaled * self.grid).sum(-1)
        elif serving.mode == "argmax":
            wish = self.grid[logits.argmax(-1)]
        else:
            counts = steps or [0] * len(logits)
            names = symbols or [str(place) for place in range(len(logits))]
            drawn = [_number(serving.seed, name, count) for name, count in zip(names, counts, strict=True)]
            numbers = torch.tensor(drawn, dtype=torch.float64, device=logits.device)
            place = torch.searchsorted(scaled.double().cumsum(-1), numbers[:, None], right=True)[:, 0]
            wish = self.grid[place.clamp_max(self.sizes.places - 1)]
        step = 1 / TENTHS
        snapped = (wish / step).round() * step
        limited = held + (snapped - held).clamp(-serving.most, serving.most)
        is_far = (wish - held).abs() > step / 2 + serving.hysteresis
        # What is held may lie off the grid (drift, a partial fill); it is left alone unless the wish is elsewhere.
        chosen = torch.where(is_far, limited, held)
        return chosen.masked_fill(~scaled.isfinite().all(-1), torch.nan)

    @torch.inference_mode()
    def replay(
        self, features: Tensor, serving: Serving, held: Tensor | None = None, symbols: Sequence[str] = ()
    ) -> Tensor:
        """Return the shares of N symbols over T bars, [N, T], each filled as wished: what `step` gives one by one, for
        as long as logits are numbers."""
        count = len(features)
        hidden = self.begin(count)
        held = features.new_zeros(count) if held is None else held
        shares = []
        for step in range(features.shape[1]):
            logits, hidden = self.logits(features[:, step], held, hidden)
            held = self.choose(logits, held, serving, [step] * count, symbols)
            shares.append(held)
        return torch.stack(shares, dim=1)


def openness(logits: Tensor) -> Tensor:
    """Return the entropy of the noiseless choice at temperature 1 over the greatest there is, 0 … 1: [N, G] → [N].

    At 0 the choice is made, and no gradient will change it: that of a softmax vanishes with its entropy.
    """
    chances = logits.float().log_softmax(-1)
    return -(chances.exp() * chances).sum(-1) / log(logits.shape[-1])


def gumbel(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Return Gumbel noise, −log of exponential numbers, float32: finite, which −log(−log U) is not at U = 0."""
    numbers = torch.empty(tuple(shape), dtype=torch.float32, device=device).exponential_(generator=generator)
    return -numbers.clamp_min(torch.finfo(torch.float32).tiny).log()


def _number(seed: int, symbol: str, step: int) -> float:
    """Return a number of 0 … 1 that belongs to a symbol's step."""
    digest = blake2b(f"{seed} {step} {symbol}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


class Stepped(NamedTuple):
    """One step of a policy, by symbol: the shares to hold, the states after, those whose state was begun anew because
    more than `gap` bars were missed, and those that it had no answer for."""

    shares: dict[str, float]
    states: dict[str, PolicyState]
    restarted: tuple[str, ...]
    broken: tuple[str, ...]


class Policy:
    """A head at work, one state a symbol. Backtest and paper trading call the same `step`.

    Args:
        gap: bars that may be missed before a state is begun anew.
    """

    def __init__(self, head: PositionHead, serving: Serving, model_hash: str, *, gap: int = 20) -> None:
        self._head = head.eval()
        self._serving = serving
        self._hash = model_hash
        self._gap = gap

    def begin(self) -> PolicyState:
        """Return the state of a symbol before its first bar."""
        start = tuple(self._head.start.detach().float().tolist())
        return PolicyState(start, model_hash=self._hash)

    def step(
        self,
        features: Tensor,
        states: Mapping[str, PolicyState],
        held: Mapping[str, float],
        bar_time: int,
        bar_length: int,
        names: Sequence[str] = (),
    ) -> Stepped:
        """Return the shares to hold and what is remembered from now on.

        Where the features, the logits or the next state have a number that is none, the symbol is broken: what is held
        stays, and so does the state of before, as if the bar had been missed.

        Args:
            features: [N, F], in the order of `states`; held: the share of equity that is in fact held of each.
            bar_time: close of the bar, UTC nanoseconds; bar_length: nanoseconds.
            names: of the symbols, which a "sample" is drawn by; the keys of `states` if left out.
        Raises:
            PluginError: a state of another model, or of a later bar.
        """
        current, restarted = self._current(states, bar_time, bar_length)
        with torch.inference_mode():
            hidden = torch.tensor([state.hidden for state in current]).to(features)
            holding = torch.tensor([float(held.get(symbol, 0.0)) for symbol in states]).to(features)
            logits, after = self._head.logits(features, holding, hidden)
            steps = [state.steps for state in current]
            chosen = self._head.choose(logits, holding, self._serving, steps, names or list(states))
            is_whole = chosen.isfinite() & after.isfinite().all(-1) & features.isfinite().all(-1)
            shares = torch.where(is_whole, chosen, holding).tolist()
        after_states = {
            symbol: PolicyState(tuple(row), was, bar_time, state.steps + 1, self._hash) if whole else states[symbol]
            for symbol, row, was, state, whole in zip(
                states, after.float().tolist(), holding.tolist(), current, is_whole.tolist(), strict=True
            )
        }
        broken = tuple(symbol for symbol, whole in zip(states, is_whole.tolist(), strict=True) if not whole)
        return Stepped(dict(zip(states, shares, strict=True)), after_states, restarted, broken)

    def _current(
        self, states: Mapping[str, PolicyState], bar_time: int, bar_length: int
    ) -> tuple[list[PolicyState], tuple[str, ...]]:
        """Return the states to go on from, and the symbols whose state is begun anew."""
        fresh = self.begin()
        restarted, current = [], []
        for symbol, state in states.items():
            if state.model_hash != self._hash:
                raise PluginError(
                    f"{symbol}: its state is of the position head {state.model_hash[:12] or 'unnamed'}, this "
                    f"one is {self._hash[:12]}; begin a new state"
                )
            if state.bar_time >= bar_time:
                raise PluginError(
                    f"{symbol}: its state has seen the bar at {state.bar_time} already, and is asked for "
                    f"{bar_time}; expected a later bar"
                )
            has_gap = state.bar_time and bar_time - state.bar_time > (self._gap + 1) * bar_length
            if has_gap or not all(map(isfinite, state.hidden)):
                restarted.append(symbol)
                state = fresh
            current.append(state)
        return current, tuple(restarted)
