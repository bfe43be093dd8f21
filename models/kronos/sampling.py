"""Drawing a token from logits: temperature, top-k or top-p, and chance that belongs to one request alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.errors import PluginError


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the same for both halves.

    Args:
        temperature: divides the logits, above 0. top_k: above 0, only the k likeliest tokens (and ties of the last),
            and top_p is not looked at; 1 is greedy. top_p: the likeliest tokens up to the one that brings their chance
            above it.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.9

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise PluginError(f"kronos: temperature is {self.temperature}; expected above 0 (top_k = 1 is greedy)")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise PluginError(
                f"kronos: top_k is {self.top_k} and top_p {self.top_p}; expected 0 or more, and above 0 up to 1"
            )

    def chances(self, logits: Tensor) -> Tensor:
        """Return the chance of each token, float [rows, V], given logits [rows, V]."""
        logits = logits / self.temperature
        if self.top_k > 0:
            least = logits.topk(min(self.top_k, logits.shape[-1])).values[..., -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        elif self.top_p < 1:
            logits = logits.masked_fill(_is_dropped(logits, self.top_p), float("-inf"))
        return logits.softmax(-1)


def _is_dropped(logits: Tensor, top_p: float) -> Tensor:
    """Return which tokens lie behind the one that brings the chance above top_p, bool [rows, V]."""
    ordered = _descending(logits)
    # The first token that exceeds it is kept, so at least one is.
    kept = (ordered.softmax(-1).cumsum(-1) <= top_p).sum(-1, keepdim=True) + 1
    least = ordered.gather(-1, (kept - 1).clamp_max(logits.shape[-1] - 1))
    is_dropped = logits < least
    if bool((is_dropped.shape[-1] - is_dropped.sum(-1, keepdim=True) > kept).any()):  # ties: which go, sorting decides
        places = logits.sort(descending=True).indices
        ranks = torch.arange(logits.shape[-1], device=logits.device).expand_as(places)
        is_dropped = torch.zeros_like(is_dropped).scatter(-1, places, ranks >= kept)
    return is_dropped


def _descending(logits: Tensor) -> Tensor:
    """Return each row from its largest number on; numpy sorts on the CPU, for it takes a third of the time there."""
    if logits.device.type != "cpu":
        return logits.sort(descending=True).values
    return -torch.from_numpy(np.sort(-logits.numpy(), axis=-1))


Draw = Callable[[Tensor, int, int], Tensor]
"""Draws a token for each row: (chances [rows, V], step, half: 0 for s1 and 1 for s2) → int64 [rows]."""


class OwnChance:
    """Chance that depends on a request's seed, the step, the half and the sample alone: never on what else is in the
    batch. Tokens are drawn by inverting the cumulative chances.

    Args:
        seeds: of each series; samples: paths of each; steps: tokens to draw at most.
    """

    def __init__(self, seeds: Sequence[int], samples: int, steps: int, device: torch.device | str) -> None:
        rows = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(int(seed) % 2**63)
            rows.append(torch.rand(samples, steps, 2, generator=generator, dtype=torch.float64))
        # Apple's GPU has no float64: there, tokens are drawn on the CPU.
        self._device = torch.device("cpu" if torch.device(device).type == "mps" else device)
        self._numbers = torch.cat(rows).to(self._device)

    def __call__(self, chances: Tensor, step: int, half: int) -> Tensor:
        up_to = chances.to(self._device).double().cumsum(-1)
        wanted = self._numbers[:, step, half, None] * up_to[..., -1:]
        drawn = torch.searchsorted(up_to, wanted, right=True)[..., 0].clamp_max(chances.shape[-1] - 1)
        return drawn.to(chances.device)


def shared_chance(chances: Tensor, step: int, half: int) -> Tensor:
    """Draw from torch's global generator, all rows at once: the original's way, to reproduce its seeded runs."""
    return torch.multinomial(chances, 1)[..., 0]


def greedy(chances: Tensor, step: int, half: int) -> Tensor:
    """Take the likeliest."""
    return chances.argmax(-1)
