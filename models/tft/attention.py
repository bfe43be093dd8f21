"""Interpretable attention: heads have their own queries and keys and one common value, and are averaged."""

import torch
from torch import Tensor, nn


class InterpretableAttention(nn.Module):
    """Mean over heads of softmax(Q_h K_hᵀ / √d) V, then a linear layer. A head has size // heads units.

    Source: Lim et al. 2019, arXiv 1912.09363, section 4.4.
    """

    def __init__(self, size: int, heads: int, dropout: float = 0.0, mask_bias: float = -1e9) -> None:
        super().__init__()
        self.mask_bias = mask_bias
        self.head_size = size // heads
        self.dropout = nn.Dropout(dropout)
        self.v_layer = nn.Linear(size, self.head_size)
        self.q_layers = nn.ModuleList(nn.Linear(size, self.head_size) for _ in range(heads))
        self.k_layers = nn.ModuleList(nn.Linear(size, self.head_size) for _ in range(heads))
        self.w_h = nn.Linear(self.head_size, size, bias=False)
        for layer in (self.v_layer, *self.q_layers, *self.k_layers, self.w_h):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, keys: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attended [B, D, size] and the weights [B, D, heads, T].

        Args:
            queries: [B, D, size]; keys: [B, T, size], the values too; hidden: bool [B, D, T], True = may not be seen.
        """
        values = self.v_layer(keys)
        heads, weights = [], []
        for to_query, to_key in zip(self.q_layers, self.k_layers, strict=True):
            scores = to_query(queries) @ to_key(keys).transpose(1, 2) / self.head_size**0.5  # [B, D, T]
            weight = scores.masked_fill(hidden, lowest(self.mask_bias, scores.dtype)).softmax(dim=-1)
            heads.append(self.dropout(weight @ values))
            weights.append(weight)
        out: Tensor = self.dropout(self.w_h(torch.stack(heads).mean(dim=0)))
        return out, torch.stack(weights, dim=2)


def lowest(bias: float, dtype: torch.dtype) -> float:
    """Return the mask's bias as far as the type goes: −1e9 is beyond float16."""
    return bias if bias == float("-inf") else max(bias, torch.finfo(dtype).min)


def hidden_steps(encoder_lengths: Tensor, decoder_lengths: Tensor, past: int, ahead: int, *, causal: bool) -> Tensor:
    """Return which steps a step ahead may not see, bool [B, ahead, past + ahead].

    Padding of the past is never seen. Causal: a step ahead sees the steps ahead that are strictly before it; else all
    that are not padding, itself included.
    """
    device = encoder_lengths.device
    steps = torch.arange(ahead, device=device)
    of_past = torch.arange(past, device=device) >= encoder_lengths[:, None]  # [B, past]
    if causal:
        of_ahead = (steps >= steps[:, None]).expand(len(encoder_lengths), -1, -1)
    else:
        of_ahead = (steps >= decoder_lengths[:, None])[:, None].expand(-1, ahead, -1)
    return torch.cat([of_past[:, None].expand(-1, ahead, -1), of_ahead], dim=2)
