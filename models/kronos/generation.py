"""Generation: token after token, past the end of history, for several series and several samples of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.errors import PluginError
from models.kronos.decoder import FusedKronos, State
from models.kronos.sampling import Draw, Sampling

Overflow = Literal["exact", "budget", "chunked"]

CHUNK = 64
"""Oldest tokens dropped at once under "chunked"."""


@dataclass(frozen=True)
class Plan:
    """What a generation will cost: tokens run in all, for one series with its samples; `recomputed`: how many steps run
    the whole window anew; `words`: the same for people."""

    history: int
    horizon: int
    recomputed: int
    tokens: int
    words: str


def plan(history: int, horizon: int, samples: int, max_context: int, overflow: Overflow = "exact") -> Plan:
    """Return what generating costs.

    Args:
        history: tokens given; horizon: tokens to make; max_context: tokens the network sees at once.
        overflow: what happens when both together are more. "exact": as the original, the window starts anew one token
            later at each further step, which nothing but running it anew reproduces. "budget": only so much history is
            used that all fits: exact for that shorter history. "chunked": the oldest 64 tokens are dropped at once and
            the rest run anew: fewer recomputations, other numbers.
    Raises:
        PluginError: the horizon alone does not fit, where it has to.
    """
    if overflow not in ("exact", "budget", "chunked"):
        raise PluginError(f"kronos: overflow is {overflow!r}; expected exact, budget or chunked")
    if history < 1 or horizon < 1 or samples < 1 or max_context < 2:
        raise PluginError(
            f"kronos: history {history}, horizon {horizon}, samples {samples}, max_context {max_context}; expected "
            "1 or more of each, and a context of 2 or more"
        )
    if overflow == "budget":
        history = min(history, max_context - horizon + 1)
        if history < 1:
            raise PluginError(
                f"kronos: horizon {horizon} leaves no room for history in a context of {max_context}; use "
                "overflow exact or chunked, or a shorter horizon"
            )
    kept = min(history, max_context)
    tokens = kept + samples * (horizon - 1)
    over = min(max(0, history + horizon - 1 - max_context), horizon - 1)
    recomputed = over if overflow == "exact" else -(-over // CHUNK) if overflow == "chunked" else 0
    if overflow == "exact":
        first = horizon - over
        tokens += sum(max(max_context - step, 0) + samples * min(step, max_context) for step in range(first, horizon))
    elif recomputed:
        tokens += recomputed * samples * (max_context - CHUNK)
    words = f"{kept} tokens of history, {horizon} steps"
    if recomputed:
        words += f", of which {recomputed} run the whole window anew, for it is full: use less history"
    return Plan(history, horizon, recomputed, tokens, words)


class Generation:
    """Makes tokens.

    Args:
        draw: takes a token from chances; see sampling. max_context: tokens the network sees at once.
        told: called with (steps done, steps in all), for progress.
    """

    def __init__(
        self,
        network: FusedKronos,
        sampling: Sampling,
        draw: Draw,
        max_context: int,
        overflow: Overflow = "exact",
        told: Callable[[int, int], None] | None = None,
    ) -> None:
        self._network = network
        self._sampling = sampling
        self._draw = draw
        self._max_context = max_context
        self._overflow = overflow
        self._told = told
        self.is_sound = torch.ones(0, dtype=torch.bool)
        """Of the last run, bool [N·S]: whether all chances of a path were numbers. Some token is drawn from others,
        too, and is then worth nothing."""

    @torch.inference_mode()
    def run(self, s1: Tensor, s2: Tensor, stamp: Tensor, horizon: int, samples: int) -> tuple[Tensor, Tensor]:
        """Return the tokens that follow, s1 and s2, int64 [N·S, horizon], series-major.

        Args:
            s1, s2: of history, int64 [N, L]; stamp: [N, L + horizon, 5]. The stamp of a token is known to the network
                once that token has been made, not before.
        """
        planned = plan(s1.shape[1], horizon, samples, self._max_context, self._overflow)
        if planned.history < s1.shape[1]:
            cut = s1.shape[1] - planned.history
            s1, s2, stamp = s1[:, cut:], s2[:, cut:], stamp[:, cut:]
        made = _Made(s1, s2, self._network.times(stamp), samples, horizon)
        self.is_sound = torch.ones(len(made.s1), dtype=torch.bool, device=s1.device)
        state = self._window(made, 0, horizon)
        for step in range(horizon):
            if step:
                state = self._next(state, made, step, horizon)
            first = self._token(self._network.s1_logits(state), step, 0)
            second = self._token(self._network.s2_logits(state, first), step, 1)
            made.s1[:, step], made.s2[:, step] = first, second
            if self._told is not None:
                self._told(step + 1, horizon)
        return made.s1, made.s2

    def _token(self, logits: Tensor, step: int, half: int) -> Tensor:
        self.is_sound &= logits.isfinite().all(-1)
        return self._draw(self._sampling.chances(logits), step, half)

    def _next(self, state: State, made: "_Made", step: int, horizon: int) -> State:
        """Take in the token made last."""
        if state.length < self._max_context:
            self._network.extend(state, *made.since(step, 1))
            return state
        if self._overflow == "chunked":
            return self._window(made, step, horizon, self._max_context - CHUNK if self._max_context > CHUNK else 1)
        return self._window(made, step, horizon)

    def _window(self, made: "_Made", step: int, horizon: int, most: int | None = None) -> State:
        """Run the last tokens anew, `most` of them (all that the network sees at once): history once for each series,
        then what each sample has made; without samples, both at once."""
        most = self._max_context if most is None else most
        past, since = max(most - step, 0), min(step, most)
        to_come = min(horizon - step, self._max_context)
        if not past or made.samples == 1:
            return self._network.begin(*made.rows(past, step, since), room=to_come)
        state = self._network.begin(*made.history(past), made.samples, room=since + to_come)
        if since:
            self._network.extend(state, *made.since(step, since))
        return state


Tokens = tuple[Tensor, Tensor, Tensor]
"""s1, s2 and what their times add, [rows, T], [rows, T], [rows, T, d]."""


class _Made:
    """History and what was made since."""

    def __init__(self, s1: Tensor, s2: Tensor, times: Tensor, samples: int, horizon: int) -> None:
        self.samples = samples
        self._history = s1, s2
        self._length = s1.shape[1]
        self._times = times
        rows = len(s1) * samples
        self.s1, self.s2 = s1.new_zeros(rows, horizon), s2.new_zeros(rows, horizon)

    def history(self, most: int) -> Tokens:
        """Return the last tokens of history, for each series."""
        start = max(self._length - most, 0)
        s1, s2 = self._history
        return s1[:, start:], s2[:, start:], self._times[:, start : self._length]

    def since(self, step: int, count: int) -> Tokens:
        """Return the last `count` of the `step` tokens made, for each row."""
        start = step - count
        times = self._times[:, self._length + start : self._length + step]
        if self.samples > 1:
            times = times.repeat_interleave(self.samples, 0)
        return self.s1[:, start:step], self.s2[:, start:step], times

    def rows(self, past: int, step: int, count: int) -> Tokens:
        """Return the last `past` tokens of history and the last `count` of those made, for each row."""
        since = self.since(step, count)
        if not past:
            return since
        s1, s2, times = (torch.cat(pair, 1) for pair in zip(self.history(past), since, strict=True))
        return s1, s2, times
