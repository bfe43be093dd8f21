"""Multi-head latent attention: keys and values are kept as one short vector a token, and one rotated key for all heads.

Source: DeepSeek-V2, arXiv 2405.04434 (decoupled rotary positions). Notation: N windows, T bars, d = d_model, h heads,
r = latent size, e_n and e_r the parts of a head without and with positions, e_v a head's value.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.blocks import RMSNorm, join_heads, rope_frequencies, rope_tables, rotate_pairs, split_heads


@dataclass
class LatentCache:
    """What is kept of the tokens so far: latents [N, T, r] and rotated keys [N, T, e_r]: r + e_r numbers a token."""

    latent: Tensor
    key: Tensor

    @property
    def length(self) -> int:
        return self.latent.shape[1]


class LatentAttention(nn.Module):
    """Causal attention. `forward` for windows, `step` for one more token."""

    frequencies: Tensor

    def __init__(self, size: int, heads: int, latent: int, rope: int, nope: int, value: int) -> None:
        super().__init__()
        self.heads, self.rope, self.nope = heads, rope, nope
        self.query = nn.Linear(size, heads * (nope + rope), bias=False)
        self.down = nn.Linear(size, latent, bias=False)
        self.norm = RMSNorm(latent)
        self.up_key = nn.Linear(latent, heads * nope, bias=False)
        self.up_value = nn.Linear(latent, heads * value, bias=False)
        self.key = nn.Linear(size, rope, bias=False)
        self.out = nn.Linear(heads * value, size, bias=False)
        self.register_buffer("frequencies", rope_frequencies(rope), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, d] → [N, T, d]"""
        cos, sin = rope_tables(self.frequencies, x.shape[1], dtype=x.dtype)
        q = split_heads(self.query(x), self.heads)
        q = torch.cat([q[..., : self.nope], rotate_pairs(q[..., self.nope :], cos, sin)], dim=-1)
        latent = self.norm(self.down(x))
        shared = rotate_pairs(self.key(x), cos, sin)[:, None].expand(-1, self.heads, -1, -1)
        k = torch.cat([split_heads(self.up_key(latent), self.heads), shared], dim=-1)
        v = split_heads(self.up_value(latent), self.heads)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(join_heads(seen))
        return out

    def step(self, x: Tensor, cache: LatentCache | None) -> tuple[Tensor, LatentCache]:
        """Return the output of one more token [N, 1, d], and the cache with it.

        Keys are never made: the up-projection of a key is taken over by the query, that of a value by the output.
        """
        position = cache.length if cache is not None else 0
        cos, sin = rope_tables(self.frequencies, 1, position, dtype=x.dtype)
        latent, key = self.norm(self.down(x)), rotate_pairs(self.key(x), cos, sin)
        if cache is not None:
            latent, key = torch.cat([cache.latent, latent], 1), torch.cat([cache.key, key], 1)
        q = split_heads(self.query(x), self.heads)[:, :, 0]
        plain, turned = q[..., : self.nope], rotate_pairs(q[..., self.nope :], cos, sin)
        up_key = self.up_key.weight.view(self.heads, self.nope, -1)
        absorbed = torch.einsum("nhe,her->nhr", plain, up_key)
        scores = absorbed @ latent.transpose(1, 2) + turned @ key.transpose(1, 2)
        weights = (scores * (self.nope + self.rope) ** -0.5).softmax(-1)
        up_value = self.up_value.weight.view(self.heads, -1, latent.shape[-1])
        seen = torch.einsum("nhr,hvr->nhv", weights @ latent, up_value)
        return self.out(seen.flatten(1))[:, None], LatentCache(latent, key)
