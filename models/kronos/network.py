"""Kronos, the predictor: the next token from the tokens so far and the calendar.

Source: shiyu-coder/Kronos (MIT). s1 is predicted from the context; s2 from the context and the s1 that was drawn, by
the dependency layer.

Notation: N series, T tokens, d = d_model, V1 = 2^s1_bits, V2 = 2^s2_bits. A stamp is minute, hour, weekday (Monday 0),
day (from 1), month (from 1), int64 [N, T, 5].
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.blocks import RMSNorm, join_heads, rotate_halves, split_heads
from models.kronos.configuration import DEPENDENCY_HEADS, ModelSizes
from models.kronos.layers import Block, Projections

STAMP = ("minute", "hour", "weekday", "day", "month")
_STAMP_SIZES = (60, 24, 7, 32, 13)


class Logits(NamedTuple):
    """Of the next token at every position: s1 [N, T, V1], s2 [N, T, V2]."""

    s1: Tensor
    s2: Tensor


class Losses(NamedTuple):
    """Mean cross-entropies: of both halves together (their mean), of s1, of s2."""

    loss: Tensor
    s1: Tensor
    s2: Tensor


class _Embedding(nn.Module):
    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        d = sizes.d_model
        self.emb_s1 = nn.Embedding(2**sizes.s1_bits, d)
        self.emb_s2 = nn.Embedding(2**sizes.s2_bits, d)
        self.fusion_proj = nn.Linear(2 * d, d)

    def forward(self, s1: Tensor, s2: Tensor) -> Tensor:
        scale = math.sqrt(self.emb_s1.embedding_dim)
        out: Tensor = self.fusion_proj(torch.cat([self.emb_s1(s1) * scale, self.emb_s2(s2) * scale], dim=-1))
        return out


class _FixedTable(nn.Module):
    """Sinusoids that are not trained: row p has sin(p·w) in even columns, cos(p·w) in odd ones."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        table = torch.zeros(rows, size)
        angles = torch.outer(torch.arange(rows).float(), torch.exp(torch.arange(0, size, 2) * (-math.log(1e4) / size)))
        table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
        self.emb = nn.Embedding(rows, size)
        self.emb.weight = nn.Parameter(table, requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.emb(rows)
        return out


class _Calendar(nn.Module):
    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        for name, rows in zip(STAMP, _STAMP_SIZES, strict=True):
            table = nn.Embedding(rows, sizes.d_model) if sizes.learn_te else _FixedTable(rows, sizes.d_model)
            self.add_module(f"{name}_embed", table)

    def forward(self, stamp: Tensor) -> Tensor:
        """[N, T, 5] → [N, T, d]; summed in the original's order, so that the last bits agree."""
        of = {name: self.get_submodule(f"{name}_embed")(stamp[..., place]) for place, name in enumerate(STAMP)}
        out: Tensor = of["hour"] + of["weekday"] + of["day"] + of["month"] + of["minute"]
        return out


class _Dependency(nn.Module):
    """Cross-attention from the embedding of the s1 that was drawn to the context."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.cross_attn = Projections(sizes.d_model, DEPENDENCY_HEADS)
        self.norm = RMSNorm(sizes.d_model)

    def forward(self, context: Tensor, sibling: Tensor, *, causal: bool) -> Tensor:
        """Return the normed context with the attention added, [N, T, d].

        Args:
            context: [N, T, d]; sibling: [N, Q, d], Q = T (rotated by position) or Q = 1 (not rotated at all: the
                original's table has one row then, for the queries' length).
            causal: whether a query sees positions up to its own alone; with Q = 1 it sees all.
        """
        attention = self.cross_attn
        q = split_heads(attention.q_proj(sibling), attention.heads)
        k, v = (split_heads(p(context), attention.heads) for p in (attention.k_proj, attention.v_proj))
        if sibling.shape[1] == context.shape[1] and sibling.shape[1] > 1:
            cos, sin = attention.rotary.tables(context.shape[1])
            q, k = rotate_halves(q, cos, sin), rotate_halves(k, cos, sin)
        is_causal = causal and sibling.shape[1] > 1
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        out: Tensor = self.norm(context + attention.out_proj(join_heads(seen)))
        return out


class _Head(nn.Module):
    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.proj_s1 = nn.Linear(sizes.d_model, 2**sizes.s1_bits)
        self.proj_s2 = nn.Linear(sizes.d_model, 2**sizes.s2_bits)


class Kronos(nn.Module):
    """The network. Its parameters have the original's names."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.sizes = sizes
        dropouts = (sizes.ffn_dropout_p, sizes.attn_dropout_p, sizes.resid_dropout_p)
        self.embedding = _Embedding(sizes)
        self.time_emb = _Calendar(sizes)
        self.token_dropout = nn.Dropout(sizes.token_dropout_p)
        self.transformer = nn.ModuleList(
            Block(sizes.d_model, sizes.n_heads, sizes.ff_dim, *dropouts) for _ in range(sizes.n_layers)
        )
        self.norm = RMSNorm(sizes.d_model)
        self.dep_layer = _Dependency(sizes)
        self.head = _Head(sizes)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and module.weight.requires_grad:
            nn.init.normal_(module.weight, std=self.sizes.d_model**-0.5)

    def context(self, s1: Tensor, s2: Tensor, stamp: Tensor | None) -> Tensor:
        """Return the context at every position, [N, T, d]; positions start at 0 with the first token given."""
        x = self.embedding(s1, s2)
        if stamp is not None:
            x = x + self.time_emb(stamp.long())
        x = self.token_dropout(x)
        for block in self.transformer:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def forward(
        self,
        s1: Tensor,
        s2: Tensor,
        stamp: Tensor | None = None,
        s1_targets: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        chance: Tensor | None = None,
        sees_all: bool = False,
    ) -> Logits:
        """Return the logits of the token after each position.

        Args:
            s1, s2: int64 [N, T]; stamp: [N, T, 5] or None.
            s1_targets: the s1 that follows each position, which s2 is predicted with (teacher forcing); None draws it
                from the logits, with `generator`, or with `chance`: [N, T], each from 0 to below 1.
            sees_all: let every position's s2 see the whole sequence, as the original does in eval mode: a leak, kept
                only so that its numbers can be reproduced.
        """
        context = self.context(s1, s2, stamp)
        s1_logits = self.head.proj_s1(context)
        if s1_targets is None:
            chances = s1_logits.detach().softmax(-1)
            if chance is None:
                s1_targets = torch.multinomial(chances.flatten(0, -2), 1, generator=generator).view(s1.shape)
            else:
                s1_targets = _at(chances, chance)
        mixed = self.dep_layer(context, self.embedding.emb_s1(s1_targets), causal=not sees_all)
        return Logits(s1_logits, self.head.proj_s2(mixed))

    def s2_logits(self, context: Tensor, s1: Tensor) -> Tensor:
        """Return the logits of s2 at the last position, [N, V2], given the context [N, T, d] and s1 [N, 1] or [N,
        T]."""
        mixed = self.dep_layer(context, self.embedding.emb_s1(s1), causal=False)
        out: Tensor = self.head.proj_s2(mixed[:, -1])
        return out


def _at(chances: Tensor, places: Tensor) -> Tensor:
    """Return which of several chances [N, T, V] a place from 0 to below 1 falls in, int64 [N, T]."""
    bounds = chances.float().cumsum(-1)
    found = torch.searchsorted(bounds, (places.to(bounds) * bounds[..., -1])[..., None], right=True)[..., 0]
    return found.clamp_max(chances.shape[-1] - 1)


def token_losses(logits: Logits, s1: Tensor, s2: Tensor) -> Losses:
    """Return the mean cross-entropies over all positions; s1, s2 int64 [N, T] are the tokens that did follow."""
    of_s1 = nn.functional.cross_entropy(logits.s1.flatten(0, -2), s1.flatten())
    of_s2 = nn.functional.cross_entropy(logits.s2.flatten(0, -2), s2.flatten())
    return Losses((of_s1 + of_s2) / 2, of_s1, of_s2)
