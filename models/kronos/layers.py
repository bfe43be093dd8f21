"""Kronos' transformer block. Source: shiyu-coder/Kronos (MIT); state dicts of the original load as they are."""

from torch import Tensor, nn

from models.blocks import RMSNorm, SwiGLU, join_heads, rope_frequencies, rope_tables, rotate_halves, split_heads


class Rotary(nn.Module):
    """Rotary positions of one attention. The frequencies are a buffer of the original's files, recomputable."""

    inv_freq: Tensor

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", rope_frequencies(head_size))

    def tables(self, length: int, start: int = 0) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, [length, head size / 2]."""
        return rope_tables(self.inv_freq, length, start)


class Projections(nn.Module):
    """Query, key, value and output projections with biases, and the rotary buffer: the parameters of an attention."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.out_proj = nn.Linear(size, size)
        self.rotary = Rotary(size // heads)


class SelfAttention(Projections):
    """Causal self-attention with rotary positions that start at 0 (Su et al. 2021; half-split pairs)."""

    def __init__(self, size: int, heads: int, attention_dropout: float, output_dropout: float) -> None:
        super().__init__(size, heads)
        self.attention_dropout = attention_dropout
        self.dropout = nn.Dropout(output_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, size] → [N, T, size]"""
        q, k, v = (split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        cos, sin = self.rotary.tables(x.shape[1])
        out = nn.functional.scaled_dot_product_attention(
            rotate_halves(q, cos, sin),
            rotate_halves(k, cos, sin),
            v,
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=True,
        )
        result: Tensor = self.dropout(self.out_proj(join_heads(out)))
        return result


class Block(nn.Module):
    """x + attention(norm x), then x + feed-forward(norm x)."""

    def __init__(
        self, size: int, heads: int, hidden: int, ffn_dropout: float, attention_dropout: float, output_dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = RMSNorm(size)
        self.self_attn = SelfAttention(size, heads, attention_dropout, output_dropout)
        self.norm2 = RMSNorm(size)
        self.ffn = SwiGLU(size, hidden, ffn_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, size] → [N, T, size]"""
        x = x + self.self_attn(self.norm1(x))
        out: Tensor = x + self.ffn(self.norm2(x))
        return out
