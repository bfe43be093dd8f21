"""PriceTransformer: quantiles of the next returns of one symbol, and features for the position head.

Source: lvchiyang/Quantification (MIT), version 1.1.1, made sound: rotary positions decoupled from the latents, targets
that are returns in units of volatility, quantile heads. Notation: N windows, T bars, d = d_model, P horizons.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.errors import PluginError
from models.blocks import RMSNorm, SwiGLU
from models.position.attention import LatentAttention
from models.position.features import SLOTS

LEVELS = (0.1, 0.5, 0.9)
HORIZONS = 7
LOOKBACK = 180


@dataclass(frozen=True)
class PriceSizes:
    """Sizes of a PriceTransformer.

    Args:
        kv_rank: r; rope, nope: parts of a head with and without positions; value: of a head's value.
        ff_dim: of each feed-forward layer. experts: 0 for one feed-forward layer a block, else so many, of which each
            token takes the two that its router likes best.
    """

    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    kv_rank: int = 32
    rope: int = 8
    nope: int = 8
    value: int = 16
    ff_dim: int = 128
    experts: int = 0
    horizons: int = HORIZONS
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layers", "n_heads", "kv_rank", "rope", "nope", "value", "ff_dim", "horizons"):
            count = getattr(self, name)
            if not isinstance(count, int) or count < 1:
                raise PluginError(f"price transformer: {name} is {count!r}; expected a whole number of 1 or more")
        if self.rope % 2:
            raise PluginError(f"price transformer: rope is {self.rope}; expected an even number: positions turn pairs")
        if self.experts not in (0, *range(2, 1025)):
            raise PluginError(f"price transformer: experts is {self.experts}; expected 0 for none, or 2 or more")

    @property
    def feature_count(self) -> int:
        """Numbers that the position head gets: the last hidden state and the quantiles."""
        return self.d_model + self.horizons * len(LEVELS)

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained, by formula."""
        d, h, r = self.d_model, self.n_heads, self.kv_rank
        attention = d * h * (self.nope + self.rope) + d * r + r + r * h * (self.nope + self.value) + d * self.rope
        attention += h * self.value * d
        feed = 3 * d * self.ff_dim
        feed = feed * self.experts + d * self.experts if self.experts else feed
        inside = self.n_layers * (attention + feed + 2 * d)
        half = d // 2
        head = d * half + half + half * self.horizons * len(LEVELS) + self.horizons * len(LEVELS)
        return 2 * len(SLOTS) + len(SLOTS) * d + d + inside + d + head


PRESETS = {
    "nano": PriceSizes(),
    "tiny": PriceSizes(256, 4, 4, 128, 32, 32, 64, 512),
    "small": PriceSizes(512, 8, 8, 256, 32, 32, 64, 1024),
    "base": PriceSizes(1024, 24, 16, 512, 64, 128, 128, 2816),
    "large": PriceSizes(2048, 32, 32, 1024, 64, 128, 128, 5632),
}


class PriceForecast(NamedTuple):
    """`quantiles` [N, P, 3] of the return to each horizon in units of σ √h, ascending; `hidden` [N, d]; `balance`: the
    experts' balance loss, 0 without experts."""

    quantiles: Tensor
    hidden: Tensor
    balance: Tensor

    @property
    def features(self) -> Tensor:
        """What the position head gets, [N, d + 3 P], without a gradient: the hidden state at unit size, the
        quantiles."""
        unit = self.hidden * torch.rsqrt(self.hidden.square().mean(-1, keepdim=True) + 1e-5)
        return torch.cat([unit, self.quantiles.flatten(1)], dim=-1).detach()


class Experts(nn.Module):
    """Several feed-forward layers, of which each token takes two. Source: Shazeer et al. 2017; balance: 2101.03961."""

    def __init__(self, size: int, hidden: int, count: int, dropout: float) -> None:
        super().__init__()
        self.router = nn.Linear(size, count, bias=False)
        self.experts = nn.ModuleList(SwiGLU(size, hidden, dropout) for _ in range(count))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output, like x [N, T, d], and the balance loss: 1 where all experts are used alike."""
        flat = x.flatten(0, 1)
        chances = nn.functional.linear(flat.float(), self.router.weight.float()).softmax(-1)
        best, places = chances.topk(2, dim=-1)
        weights = (best / best.sum(-1, keepdim=True)).to(x.dtype)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows, rank = (places == number).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, expert(flat[rows]) * weights[rows, rank, None])
        share = torch.zeros_like(chances).scatter(1, places, 0.5).mean(0)
        return out.view_as(x), len(self.experts) * (share * chances.mean(0)).sum()


class _Block(nn.Module):
    def __init__(self, sizes: PriceSizes) -> None:
        super().__init__()
        d = sizes.d_model
        self.norm1, self.norm2 = RMSNorm(d), RMSNorm(d)
        self.attention = LatentAttention(d, sizes.n_heads, sizes.kv_rank, sizes.rope, sizes.nope, sizes.value)
        self.feed: nn.Module
        if sizes.experts:
            self.feed = Experts(d, sizes.ff_dim, sizes.experts, sizes.dropout)
        else:
            self.feed = SwiGLU(d, sizes.ff_dim, sizes.dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x + self.attention(self.norm1(x))
        fed = self.feed(self.norm2(x))
        out, balance = fed if isinstance(fed, tuple) else (fed, x.new_zeros(()))
        return x + out, balance


class PriceTransformer(nn.Module):
    """The network."""

    def __init__(self, sizes: PriceSizes) -> None:
        super().__init__()
        self.sizes = sizes
        d = sizes.d_model
        self.norm_in = nn.LayerNorm(len(SLOTS))
        self.embed = nn.Linear(len(SLOTS), d)
        self.blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.n_layers))
        self.norm = RMSNorm(d)
        self.head = nn.Sequential(
            nn.Linear(d, d // 2), nn.GELU(), nn.Dropout(sizes.dropout), nn.Linear(d // 2, sizes.horizons * len(LEVELS))
        )
        self.apply(_initialise)

    def forward(self, slots: Tensor) -> PriceForecast:
        """Return the forecast at each window's last bar.

        Args:
            slots: float32 [N, T, 11]; see features.slots.
        Raises:
            PluginError: another shape.
        """
        if slots.dim() != 3 or slots.shape[-1] != len(SLOTS):
            raise PluginError(
                f"price transformer: an input of shape {list(slots.shape)}; expected [N, T, {len(SLOTS)}]"
            )
        x = self.embed(self.norm_in(slots))
        balance = x.new_zeros(())
        for block in self.blocks:
            x, more = block(x)
            balance = balance + more
        hidden = self.norm(x[:, -1])
        return PriceForecast(self._quantiles(hidden), hidden, balance / len(self.blocks))

    def _quantiles(self, hidden: Tensor) -> Tensor:
        """[N, d] → [N, P, 3]; the outer ones lie a positive distance from the middle, so that none cross."""
        middle, below, above = self.head(hidden).view(len(hidden), -1, len(LEVELS)).unbind(-1)
        softplus = nn.functional.softplus
        return torch.stack([middle - softplus(below), middle, middle + softplus(above)], dim=-1)


def pinball(quantiles: Tensor, targets: Tensor) -> Tensor:
    """Return the mean pinball loss, of quantiles [N, P, 3] against targets [N, P]; NaN targets are left out."""
    known = ~targets.isnan()
    error = torch.where(known, targets, torch.zeros_like(targets))[..., None] - quantiles
    levels = quantiles.new_tensor(LEVELS)
    loss = torch.maximum(levels * error, (levels - 1) * error) * known[..., None]
    return loss.sum() / (known.sum() * len(LEVELS)).clamp_min(1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
