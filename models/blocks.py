"""Parts that several networks share. Each is a formula; a test holds each against the formula written out."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight, over the last axis; worked out in float32 whatever the input's type.

    Source: Zhang and Sennrich 2019, arXiv 1910.07467.
    """

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """[…, size] → […, size]"""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


class SwiGLU(nn.Module):
    """W2(silu(W1 x) ∘ W3 x), without biases. Source: Shazeer 2020, arXiv 2002.05202."""

    def __init__(self, size: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.w1 = nn.Linear(size, hidden, bias=False)
        self.w3 = nn.Linear(size, hidden, bias=False)
        self.w2 = nn.Linear(hidden, size, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[…, size] → […, size]"""
        out: Tensor = self.dropout(self.w2(nn.functional.silu(self.w1(x)) * self.w3(x)))
        return out


def rope_frequencies(size: int, base: float = 10_000.0) -> Tensor:
    """Return the angle per position of each pair of a head of `size`: base^(−2j/size), float32 [size / 2]."""
    return 1.0 / base ** (torch.arange(0, size, 2).float() / size)


def rope_tables(
    frequencies: Tensor, length: int, start: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of positions start … start + length, each [length, size / 2]."""
    positions = torch.arange(start, start + length, device=frequencies.device, dtype=frequencies.dtype)
    angles = torch.outer(positions, frequencies)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (x_j, x_{j + size/2}) by its position's angle: the half-split convention (GPT-NeoX).

    Source: Su et al. 2021, arXiv 2104.09864.

    Args:
        x: […, length, size]; cos, sin: [length, size / 2].
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (x_{2j}, x_{2j+1}) by its position's angle: the interleaved convention of the paper.

    Args:
        x: […, length, size]; cos, sin: [length, size / 2].
    """
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def causal_mask(queries: int, keys: int, device: torch.device | str = "cpu") -> Tensor:
    """Return which keys a query may see, bool [queries, keys], True = may; the last query is at the last key."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[N, T, heads · size] → [N, heads, T, size]"""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """[N, heads, T, size] → [N, T, heads · size]"""
    return x.transpose(1, 2).flatten(-2)
