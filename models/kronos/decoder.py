"""Kronos for generation: the same numbers as the network, with fused weights and keys and values kept.

What is exact: blocks are causal and positions start at the first token of the window, so a token's keys and values
do not depend on what follows; the dependency layer looks back from the last position without rotation, so its keys
and values can be kept, too, and its query depends on s1 alone (a table). Only rounding differs (about 1e-6).

History is run once for each series; its samples share what it left. Notation: N series, S samples of each, R = N·S
rows, L tokens of history, Q new tokens, h heads of size e, d = d_model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.blocks import rope_tables, rotate_halves
from models.kronos.configuration import DEPENDENCY_HEADS
from models.kronos.layers import Block
from models.kronos.network import Kronos


@dataclass
class Kept:
    """Keys and values of one attention: those of history, [N, h, L, e], and those of each row since, [R, h, ≤ room,
    e]."""

    history: tuple[Tensor, Tensor]
    since: tuple[Tensor, Tensor] | None = None
    used: int = 0
    """Tokens in `since`."""

    def append(self, keys: Tensor, values: Tensor, room: int) -> tuple[Tensor, Tensor]:
        """Add those of new tokens, [R, h, Q, e]; return all since the history, as views."""
        if self.since is None:
            shape = (*keys.shape[:2], max(room, keys.shape[2]), keys.shape[3])
            self.since = keys.new_empty(shape), values.new_empty(shape)
        start, self.used = self.used, self.used + keys.shape[2]
        self.since[0][:, :, start : self.used] = keys
        self.since[1][:, :, start : self.used] = values
        return self.since[0][:, :, : self.used], self.since[1][:, :, : self.used]


@dataclass
class State:
    """What is kept of a window: one entry for each block, one for the dependency layer; positions used so far; and the
    context of the last token, [R, d]."""

    blocks: list[Kept]
    dependency: Kept
    length: int
    last: Tensor
    samples: int = 1
    room: int = 0


class _FusedBlock:
    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        attention = block.self_attn
        self.heads = attention.heads
        self.eps = block.norm1.eps
        # A norm's weights are a factor of each input column: folded into what follows it.
        before, after = block.norm1.weight, block.norm2.weight
        self.qkv = torch.cat([p.weight for p in (attention.q_proj, attention.k_proj, attention.v_proj)]) * before
        self.qkv = self.qkv.to(dtype)
        self.qkv_bias = torch.cat([p.bias for p in (attention.q_proj, attention.k_proj, attention.v_proj)])
        self.out, self.out_bias = attention.out_proj.weight.to(dtype), attention.out_proj.bias
        self.up = (torch.cat([block.ffn.w1.weight, block.ffn.w3.weight]) * after).to(dtype)
        self.down = block.ffn.w2.weight.to(dtype)
        self.frequencies = attention.rotary.inv_freq

    def __call__(self, x: Tensor, kept: Kept, cos: Tensor, sin: Tensor, samples: int, room: int) -> Tensor:
        """[R, Q, d] → [R, Q, d]; adds the tokens' keys and values to `kept`."""
        q, k, v = (
            part.view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for part in _linear(_normed(x, self.eps), self.qkv, self.qkv_bias).chunk(3, dim=-1)
        )
        q, k = rotate_halves(q, cos, sin), rotate_halves(k, cos, sin)
        seen = attend(q, kept, k, v, samples, room)
        x = x + _linear(seen, self.out, self.out_bias)
        gate, up = _linear(_normed(x, self.eps), self.up).chunk(2, dim=-1)
        return x + _linear(nn.functional.silu(gate) * up, self.down)


class FusedKronos:
    """The network's weights, laid out for generation. Made once; the network may then be let go.

    Args:
        dtype: of the large matrices. bfloat16 halves what is read from memory for each token, and changes logits by
            about 1 % of their spread: never taken silently. Activations, attention, norms and heads stay float32.
    """

    def __init__(self, network: Kronos, dtype: torch.dtype = torch.float32) -> None:
        self.sizes = network.sizes
        with torch.no_grad():
            embedding = network.embedding
            first, second = embedding.fusion_proj.weight.chunk(2, dim=-1)
            scale = network.sizes.d_model**0.5
            self.of_s1 = (embedding.emb_s1.weight * scale) @ first.T + embedding.fusion_proj.bias
            self.of_s2 = (embedding.emb_s2.weight * scale) @ second.T
            self.time = network.time_emb
            self.blocks = [_FusedBlock(block, dtype) for block in network.transformer if isinstance(block, Block)]
            attention = network.dep_layer.cross_attn
            self.queries = attention.q_proj(embedding.emb_s1.weight)
            self.kv = torch.cat([attention.k_proj.weight, attention.v_proj.weight]).to(dtype)
            self.kv_bias = torch.cat([attention.k_proj.bias, attention.v_proj.bias])
            self.mix, self.mix_bias = attention.out_proj.weight, attention.out_proj.bias
            self.norm, self.dependency_norm = network.norm, network.dep_layer.norm
            self.head = network.head

    @torch.inference_mode()
    def begin(self, s1: Tensor, s2: Tensor, stamp: Tensor) -> State:
        """Run history: tokens int64 [N, L], stamp [N, L, 5]. One row a series."""
        empty = self._nothing(len(s1))
        state = State([Kept(empty) for _ in self.blocks], Kept(self._nothing(len(s1), dependency=True)), 0, empty[0])
        self.extend(state, s1, s2, stamp)
        return state

    def share(self, state: State, samples: int, room: int) -> State:
        """Return a state in which each series goes on as `samples` rows (series-major) that share its history.

        Args:
            room: tokens to come at most; memory for their keys and values is taken at once.
        """

        def shared(kept: Kept) -> Kept:
            assert kept.since is not None
            keys, values = (part[:, :, : kept.used] for part in kept.since)
            return Kept((keys, values))

        return State(
            [shared(kept) for kept in state.blocks],
            shared(state.dependency),
            state.length,
            state.last.repeat_interleave(samples, 0),
            samples,
            room,
        )

    @torch.inference_mode()
    def extend(self, state: State, s1: Tensor, s2: Tensor, stamp: Tensor) -> None:
        """Run new tokens, int64 [R, Q], after what the state holds; stamp [R, Q, 5]."""
        x = self.of_s1[s1] + self.of_s2[s2] + self.time(stamp)
        cos, sin = rope_tables(self.blocks[0].frequencies, s1.shape[1], state.length)
        for block, kept in zip(self.blocks, state.blocks, strict=True):
            x = block(x, kept, cos, sin, state.samples, state.room)
        context = self.norm(x)
        k, v = (
            part.view(*x.shape[:2], DEPENDENCY_HEADS, -1).transpose(1, 2)
            for part in _linear(context, self.kv, self.kv_bias).chunk(2, dim=-1)
        )
        state.dependency.append(k, v, state.room)
        state.length += s1.shape[1]
        state.last = context[:, -1]

    @torch.inference_mode()
    def s1_logits(self, state: State) -> Tensor:
        """Return the logits of the next token's s1, [R, V1]."""
        out: Tensor = self.head.proj_s1(state.last)
        return out

    @torch.inference_mode()
    def s2_logits(self, state: State, s1: Tensor) -> Tensor:
        """Return the logits of the next token's s2, [R, V2], given its s1, int64 [R]."""
        q = self.queries[s1].view(len(s1), DEPENDENCY_HEADS, 1, -1)
        seen = attend(q, state.dependency, None, None, state.samples, state.room)
        mixed = state.last + nn.functional.linear(seen[:, 0], self.mix, self.mix_bias)
        out: Tensor = self.head.proj_s2(self.dependency_norm(mixed))
        return out

    def _nothing(self, rows: int, *, dependency: bool = False) -> tuple[Tensor, Tensor]:
        heads = DEPENDENCY_HEADS if dependency else self.sizes.n_heads
        empty = self.of_s1.new_empty(rows, heads, 0, self.sizes.d_model // heads)
        return empty, empty


def attend(q: Tensor, kept: Kept, k: Tensor | None, v: Tensor | None, samples: int, room: int) -> Tensor:
    """Return what queries see: all of history, and of what came since, positions up to their own.

    Args:
        q: [R, h, Q, e]; k, v: of the same tokens, which are kept; None: nothing new (the dependency layer's query).
    Returns:
        [R, Q, h·e].
    """
    history_k, history_v = kept.history
    if k is None or v is None:
        recent = None
        if kept.since is not None:
            recent = kept.since[0][:, :, : kept.used], kept.since[1][:, :, : kept.used]
        is_causal = False
    else:
        recent, is_causal = kept.append(k, v, room), q.shape[2] > 1
    if not history_k.shape[2]:
        assert recent is not None
        out = nn.functional.scaled_dot_product_attention(q, recent[0], recent[1], is_causal=is_causal)
    elif samples == 1 and recent is not None and not is_causal:
        out = _over_both(q, history_k, history_v, recent, samples, None)
    else:
        mask = None
        if is_causal and recent is not None:
            count, size = q.shape[2], recent[0].shape[2]
            mask = torch.ones(count, size, dtype=torch.bool, device=q.device).triu(size - count + 1)
        out = _over_both(q, history_k, history_v, recent, samples, mask)
    return out.transpose(1, 2).flatten(2)


def _over_both(
    q: Tensor,
    history_k: Tensor,
    history_v: Tensor,
    recent: tuple[Tensor, Tensor] | None,
    samples: int,
    mask: Tensor | None,
) -> Tensor:
    """Attend to a history that `samples` rows share and to each row's own tokens; one softmax over both."""
    rows, heads, count, size = q.shape
    q = q * size**-0.5
    series = rows // samples
    # [N, h, S·Q, e]: the samples of a series are further queries of its history.
    grouped = q.view(series, samples, heads, count, size).transpose(1, 2).reshape(series, heads, samples * count, size)
    of_history = grouped @ history_k.transpose(-1, -2)
    length = history_k.shape[2]
    of_history = (
        of_history.view(series, heads, samples, count, length).transpose(1, 2).reshape(rows, heads, count, length)
    )
    if recent is None:
        weights = of_history.softmax(-1)
        own = None
    else:
        of_recent = q @ recent[0].transpose(-1, -2)
        if mask is not None:
            of_recent = of_recent.masked_fill(mask, float("-inf"))
        weights = torch.cat([of_history, of_recent], dim=-1).softmax(-1)
        own = weights[..., length:] @ recent[1]
    shared = weights[..., :length].reshape(series, samples, heads, count, length).transpose(1, 2)
    out = shared.reshape(series, heads, samples * count, length) @ history_v
    out = out.view(series, heads, samples, count, size).transpose(1, 2).reshape(rows, heads, count, size)
    return out if own is None else out + own


def _normed(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b; a narrower weight's product is made in its type, and the result is float32 again."""
    if weight.dtype == x.dtype:
        return nn.functional.linear(x, weight, bias)
    out = nn.functional.linear(x.to(weight.dtype), weight).to(x.dtype)
    return out if bias is None else out + bias
