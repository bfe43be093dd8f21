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

    def of_bars(self, bars: Tensor, draws: Draws, *, prices: int = 4, close: int = 3, ahead: int = 0) -> Tensor:
        """Return windows of bars, some of them changed, before a network's own scaling; [n, T, F].

        Bars stay bars: the prices of one move together, by noise in deviations of the window's own returns, and the
        last close stays, for labels are relative to it. Scaling makes moves about it larger or smaller, and amounts
        about their last.

        Args:
            prices: how many columns are prices, the first; the others are amounts. close: which is the close.
            ahead: of the rows, how many come after the decision; scaling alone reaches them.
        """
        past = bars.shape[1] - ahead
        if not self.is_on or past < 3:
            return bars
        logs = torch.cat([bars[..., :prices].log(), bars[..., prices:].log1p()], dim=-1)
        before, after = logs[:, :past], logs[:, past:]
        last = torch.cat([before[:, -1:, close : close + 1].expand(-1, 1, prices), before[:, -1:, prices:]], dim=-1)
        spread = torch.cat([
            before[..., close].diff(dim=1).std(dim=1, correction=0)[:, None, None].expand(-1, 1, prices),
            before[..., prices:].std(dim=1, correction=0, keepdim=True)], dim=-1)
        is_price = torch.arange(logs.shape[-1], device=logs.device) < prices

        def both(drawn: Tensor) -> Tensor:
            """[n, T, 2], of prices and of amounts → [n, T, F]."""
            drawn = drawn.to(logs)
            return torch.where(is_price, drawn[..., :1], drawn[..., 1:])

        if self.warp or self.slicing:
            before = _read_at(before, self._places(past, draws).to(before))
        if self.scaling:
            factor = both(torch.exp(self.scaling * draws.normal(1, 2)))
            before, after = (last + (some - last) * factor for some in (before, after))
        if self.noise:
            added = self.noise * draws.normal(past, 2)
            added[:, -1] = 0.0
            before = before + spread * both(added)
        out = torch.cat([before, after], dim=1)
        out = torch.cat([out[..., :prices].exp(), out[..., prices:].clamp_min(0).expm1()], dim=-1).to(bars)
        if not self.scaling:  # to the last bit
            out = torch.cat([out[:, :past], bars[:, past:]], dim=1)
        chosen = (draws.uniform(1, 1) < self.share).to(bars.device)
        return torch.where(chosen, out, bars)

    def _places(self, steps: int, draws: Draws) -> Tensor:
        """Return where each row is read, [n, T], ascending from 0 or later to T − 1."""
        last = steps - 1
        first = draws.uniform(1) * self.slicing * last
        speed = torch.exp(self.warp * _smooth(draws.normal(last))) if self.warp else torch.ones(len(first), last)
        run = torch.cat([torch.zeros(len(first), 1), speed.cumsum(dim=1)], dim=1)
        return first + run / run[:, -1:] * (last - first)


OFF = Augmentation()


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
