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

from models.blocks import RMSNorm, rope_tables
from models.compiled import is_worth_it
from models.compiled.between import gated, normed
from models.compiled.memory import Memory
from models.kronos.configuration import DEPENDENCY_HEADS
from models.kronos.kept import Kept
from models.kronos.layers import Block
from models.kronos.network import Kronos
from models.packing import PackedLinear

_FEW = 64
"""Rows up to which a compiled loop beats several operations of torch on what lies between the products."""


@dataclass
class State:
    """What is kept of a window: one entry for each block, one for the dependency layer; positions used so far; the
    rotation of every position that there is room for, complex [T, e / 2]; and the context of the last token, [R, d]."""

    blocks: list[Kept]
    dependency: Kept
    turns: Tensor
    length: int
    last: Tensor


class _FusedBlock:
    """A block. Queries are scaled in their weights; those and the keys have the halves of a pair side by side, which
    their products do not notice, so that a rotation is one product of complex numbers."""

    def __init__(self, block: Block, dtype: torch.dtype, memory: Memory) -> None:
        attention = block.self_attn
        self.heads = attention.heads
        # A norm's weights are a factor of each input column: folded into what follows it.
        self.normed = _Normed(block.norm1)
        before, after = _folded(block.norm1), _folded(block.norm2)
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        size = q.out_features // self.heads
        scale = size**-0.5
        weight = torch.cat([self._paired(q.weight) * scale, self._paired(k.weight), v.weight]) * before
        bias = torch.cat([self._paired(q.bias) * scale, self._paired(k.bias), v.bias])
        self.qkv = PackedLinear(weight, bias, dtype, memory)
        self.out = PackedLinear(attention.out_proj.weight, attention.out_proj.bias, dtype, memory)
        self.up = PackedLinear(torch.cat([block.ffn.w1.weight, block.ffn.w3.weight]) * after, None, dtype, memory)
        self.down = PackedLinear(block.ffn.w2.weight, None, dtype, memory)

    def _paired(self, parameter: Tensor) -> Tensor:
        """Reorder the outputs of each head from (all first, all second of the pairs) to pair after pair."""
        heads = parameter.view(self.heads, 2, -1, *parameter.shape[1:])
        return heads.transpose(1, 2).reshape(parameter.shape)

    def __call__(self, x: Tensor, kept: Kept, turns: Tensor) -> Tensor:
        """[R·Q, d] → [R·Q, d]; adds the tokens' keys and values to `kept`. turns: complex [Q, e / 2]."""
        count = len(turns)
        qkv = self.qkv(self.normed(x), count).view(-1, count, 3, self.heads, x.shape[1] // self.heads)
        x = self.out(kept.take(qkv, turns), count).add_(x)
        return self.down(_gated(self.up(self.normed(x), count)), count).add_(x)


class FusedKronos:
    """The network's weights, laid out for generation, on the network's device. Made once; the network may then be let
    go.

    Args:
        dtype: of the large matrices. bfloat16 halves what is read from memory for each token, and changes logits by
            about 1 % of their spread: never taken silently. What they multiply is rounded, too, and so are keys
            and values where the compiled loops read them. Sums, norms, scores and the heads stay float32.
    """

    def __init__(self, network: Kronos, dtype: torch.dtype = torch.float32) -> None:
        self.sizes, self.dtype = network.sizes, dtype
        memory = Memory()
        with torch.no_grad():
            embedding = network.embedding
            first, second = embedding.fusion_proj.weight.chunk(2, dim=-1)
            scale = network.sizes.d_model**0.5
            self.of_s1 = (embedding.emb_s1.weight * scale) @ first.T + embedding.fusion_proj.bias
            self.of_s2 = (embedding.emb_s2.weight * scale) @ second.T
            self.time = network.time_emb
            blocks = [block for block in network.transformer if isinstance(block, Block)]
            self.blocks = [_FusedBlock(block, dtype, memory) for block in blocks]
            self.frequencies = blocks[0].self_attn.rotary.inv_freq
            attention = network.dep_layer.cross_attn
            head_size = network.sizes.d_model // DEPENDENCY_HEADS
            self.queries = attention.q_proj(embedding.emb_s1.weight) * head_size**-0.5
            kv = torch.cat([attention.k_proj.weight, attention.v_proj.weight])
            self.kv = PackedLinear(kv, torch.cat([attention.k_proj.bias, attention.v_proj.bias]), dtype, memory)
            self.mix = PackedLinear(attention.out_proj.weight, attention.out_proj.bias, dtype, memory)
            self.normed, self.norm = _Normed(network.norm), _folded(network.norm)
            head = network.head
            # Logits of bfloat16 would tie by the dozen.
            self.to_s1 = PackedLinear(head.proj_s1.weight, head.proj_s1.bias, memory=memory)
            to_s2 = head.proj_s2.weight * _folded(network.dep_layer.norm)
            self.to_s2 = PackedLinear(to_s2, head.proj_s2.bias, memory=memory)

    @property
    def device(self) -> torch.device:
        return self.of_s1.device

    @torch.inference_mode()
    def times(self, stamp: Tensor) -> Tensor:
        """Return what stamps [N, T, 5] add to their tokens, [N, T, d]."""
        out: Tensor = self.time(stamp)
        return out

    @torch.inference_mode()
    def begin(self, s1: Tensor, s2: Tensor, times: Tensor, samples: int = 1, room: int = 0) -> State:
        """Run history, and return a state in which each series goes on as `samples` rows (series-major).

        Args:
            s1, s2: tokens int64 [N, L]; times: of them, [N, L, d]. room: tokens to come at most.
        """
        series, length = s1.shape
        first = length + (room if samples == 1 else 0)
        sizes = self.sizes
        cos, sin = rope_tables(self.frequencies, length + room)
        state = State(
            [Kept(self.of_s1, series, b.heads, sizes.d_model // b.heads, first, self.dtype) for b in self.blocks],
            Kept(self.of_s1, series, DEPENDENCY_HEADS, sizes.d_model // DEPENDENCY_HEADS, first, self.dtype),
            torch.complex(cos, sin),
            0,
            self.of_s1,
        )
        self.extend(state, s1, s2, times)
        if samples > 1:
            state.blocks = [kept.shared(samples, room) for kept in state.blocks]
            state.dependency = state.dependency.shared(samples, room)
            state.last = state.last.repeat_interleave(samples, 0)
        return state

    @torch.inference_mode()
    def extend(self, state: State, s1: Tensor, s2: Tensor, times: Tensor) -> None:
        """Run new tokens, int64 [R, Q], after what the state holds; times [R, Q, d]."""
        rows, count = s1.shape
        d = self.sizes.d_model
        x = (nn.functional.embedding(s1, self.of_s1) + nn.functional.embedding(s2, self.of_s2)).add_(times).view(-1, d)
        turns = state.turns[state.length : state.length + count]
        for block, kept in zip(self.blocks, state.blocks, strict=True):
            x = block(x, kept, turns)
        context = self.normed(x).mul_(self.norm)
        both = self.kv(context, count).view(rows, count, 2, DEPENDENCY_HEADS, d // DEPENDENCY_HEADS)
        state.dependency.append(both.permute(2, 0, 3, 1, 4))
        state.length += count
        state.last = context.view(rows, count, d)[:, -1]

    @torch.inference_mode()
    def s1_logits(self, state: State) -> Tensor:
        """Return the logits of the next token's s1, [R, V1]."""
        return self.to_s1(state.last)

    @torch.inference_mode()
    def s2_logits(self, state: State, s1: Tensor) -> Tensor:
        """Return the logits of the next token's s2, [R, V2], given its s1, int64 [R]."""
        q = nn.functional.embedding(s1, self.queries).view(len(s1), DEPENDENCY_HEADS, 1, -1)
        mixed = self.mix(state.dependency.attend(q)).add_(state.last)
        return self.to_s2(self.normed(mixed))


class _Normed:
    """x / √(|x|² + d · eps), which is an RMSNorm short of √d and its weights, in half as many operations: a step of one
    token is many small ones."""

    def __init__(self, norm: RMSNorm) -> None:
        weight = norm.weight
        self._least = norm.eps * weight.numel()
        self._root = torch.tensor(self._least**0.5, device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        if len(x) <= _FEW and is_worth_it(x):
            out = torch.empty(x.shape)
            normed(x.numpy(), self._least, out.numpy())
            return out
        return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self._root)


def _gated(both: Tensor) -> Tensor:
    """silu of the first half of each row, times the second: [M, 2n] → [M, n]."""
    if len(both) <= _FEW and is_worth_it(both):
        out = torch.empty(len(both), both.shape[1] // 2)
        gated(both.numpy(), out.numpy())
        return out
    gate, up = both.chunk(2, dim=-1)
    return nn.functional.silu(gate).mul_(up)


def _folded(norm: RMSNorm) -> Tensor:
    """Return what `_Normed` leaves to the columns of the next matrix, [d]."""
    return norm.weight.detach() * norm.weight.numel() ** 0.5
