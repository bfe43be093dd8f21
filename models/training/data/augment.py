"""Augmentation of windows, for training alone and off unless asked for. What is to be forecast stays as it is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import SettingsError
from models.training.recipe import Draws


@dataclass(frozen=True)
class Augmentation:
    """How windows [n, T, F] are changed.

    Args:
        noise: deviation of what is added to every number, in the features' own scales.
        scaling: deviation of the logarithm of a factor for each window and feature.
        warp: deviation of the logarithm of local speed: time runs faster here, slower there; its end stays in place.
        slicing: largest share of the oldest rows that is cut off; what is left is stretched over the window.
        share: of windows that are changed.
    """

    noise: float = 0.0
    scaling: float = 0.0
    warp: float = 0.0
    slicing: float = 0.0
    share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("noise", "scaling", "warp"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"augment: {name} is {getattr(self, name)}; expected 0 (off) or more")
        for name in ("slicing", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"augment: {name} is {getattr(self, name)}; expected a share, 0 … 1")

    @property
    def is_on(self) -> bool:
        return self.share > 0 and any((self.noise, self.scaling, self.warp, self.slicing))

    def __call__(self, values: Tensor, draws: Draws) -> Tensor:
        """Return windows, some of them changed; [n, T, F]."""
        if not self.is_on or values.shape[1] < 2:
            return values
        _, steps, width = values.shape
        out = values
        if self.warp or self.slicing:
            out = _read_at(out, self._places(steps, draws).to(values))
        if self.scaling:
            out = out * torch.exp(self.scaling * draws.normal(1, width)).to(values)
        if self.noise:
            out = out + (self.noise * draws.normal(steps, width)).to(values)
        chosen = (draws.uniform(1, 1) < self.share).to(values.device)
        return torch.where(chosen, out, values)

    def _places(self, steps: int, draws: Draws) -> Tensor:
        """Return where each row is read, [n, T], ascending from 0 or later to T − 1."""
        last = steps - 1
        first = draws.uniform(1) * self.slicing * last
        speed = torch.exp(self.warp * _smooth(draws.normal(last))) if self.warp else torch.ones(len(first), last)
        run = torch.cat([torch.zeros(len(first), 1), speed.cumsum(dim=1)], dim=1)
        return first + run / run[:, -1:] * (last - first)


def _smooth(values: Tensor, width: int = 9) -> Tensor:
    """Return values averaged over neighbours, of unit variance again."""
    reach = min(width, values.shape[1])
    kernel = torch.full((1, 1, reach), reach**-0.5)
    padded = torch.nn.functional.pad(values[:, None], (reach // 2, reach - 1 - reach // 2), mode="replicate")
    return torch.nn.functional.conv1d(padded, kernel)[:, 0]


def _read_at(values: Tensor, places: Tensor) -> Tensor:
    """Return values between rows, in a straight line from one to the next; [n, T, F]."""
    low = places.floor().long().clamp(0, values.shape[1] - 1)
    high = (low + 1).clamp(max=values.shape[1] - 1)
    part = (places - low)[..., None]
    width = values.shape[2]
    one = values.gather(1, low[..., None].expand(-1, -1, width))
    other = values.gather(1, high[..., None].expand(-1, -1, width))
    return one + part * (other - one)
