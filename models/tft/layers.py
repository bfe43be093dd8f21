"""Layers of the temporal fusion transformer. Weights bear the names of pytorch-forecasting (v1), so that they load.

Source: Lim, Arik, Loeff and Pfister 2019, arXiv 1912.09363; where pytorch-forecasting departs from the paper (linear
interpolation in place of a learned skip, trained masks, which parts share weights) the checkpoint's meaning counts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def interpolate(x: Tensor, size: int) -> Tensor:
    """Stretch or shrink the last axis to `size` by linear interpolation, ends kept: […, N] → […, size]."""
    if x.shape[-1] == size:
        return x
    flat = x.reshape(-1, 1, x.shape[-1])
    return F.interpolate(flat, size, mode="linear", align_corners=True).reshape(*x.shape[:-1], size)


class GatedLinearUnit(nn.Module):
    """a ∘ σ(b) of [a, b] = W x + c. Source: Dauphin et al. 2017, arXiv 1612.08083."""

    def __init__(self, size: int, hidden: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(size, 2 * (hidden or size))
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[…, size] → […, hidden]"""
        return F.glu(self.fc(self.dropout(x)), dim=-1)


class AddNorm(nn.Module):
    """LayerNorm(x + skip)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """[…, size] twice → […, size]"""
        out: Tensor = self.norm(x + skip)
        return out


class GateAddNorm(nn.Module):
    """LayerNorm(GLU(x) + skip)."""

    def __init__(self, size: int, hidden: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.glu = GatedLinearUnit(size, hidden, dropout)
        self.add_norm = AddNorm(hidden or size)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """[…, size], […, hidden] → […, hidden]"""
        out: Tensor = self.add_norm(self.glu(x), skip)
        return out


class ResampleNorm(nn.Module):
    """LayerNorm(interpolated(x) ∘ 2σ(mask)): how something of another width becomes a skip, or a variable."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.mask = nn.Parameter(torch.zeros(hidden))
        self.norm = nn.LayerNorm(hidden)

    def before_norm(self, x: Tensor) -> Tensor:
        """Return what is normed: linear in x."""
        gate, width = 2 * self.mask.sigmoid(), x.shape[-1]
        if width == self.hidden:
            return x * gate
        # One product with a small matrix: interpolating rows one by one takes four times as long to train.
        return x @ (interpolate(torch.eye(width, dtype=x.dtype, device=x.device), self.hidden) * gate)

    def forward(self, x: Tensor) -> Tensor:
        """[…, size] → […, hidden]"""
        out: Tensor = self.norm(self.before_norm(x))
        return out


class GatedResidualNetwork(nn.Module):
    """LayerNorm(GLU(W2 · elu(W1 x + W3 context + b1) + b2) + skip); the skip is x, resampled where the width changes.

    Args:
        size: of the input; hidden: between W1 and the gate; output: of the result.
        context_size: of the context, None where there is none.
    """

    def __init__(
        self, size: int, hidden: int, output: int, dropout: float = 0.0, context_size: int | None = None
    ) -> None:
        super().__init__()
        self.resample_norm = ResampleNorm(size, output) if size != output else None
        self.fc1 = nn.Linear(size, hidden)
        self.context = nn.Linear(context_size, hidden, bias=False) if context_size else None
        self.fc2 = nn.Linear(hidden, hidden)
        self.gate_norm = GateAddNorm(hidden, output, dropout)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight, a=0, nonlinearity="leaky_relu")
            nn.init.zeros_(layer.bias)
        if self.context is not None:
            nn.init.xavier_uniform_(self.context.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """[…, size], context […, context_size] → […, output]"""
        return self.beside(x, x if self.resample_norm is None else self.resample_norm(x), context)

    def beside(self, x: Tensor, skip: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the same with a skip that is made already."""
        hidden = self.fc1(x)
        if self.context is not None and context is not None:
            hidden = hidden + self.context(context)
        out: Tensor = self.gate_norm(self.fc2(F.elu(hidden)), skip)
        return out
