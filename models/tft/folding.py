"""Weights multiplied out ahead of time, wherever nothing non-linear stands between two of them. Exact but for rounding.

Products are formed in float64 on the CPU, and kept in the network's type and on its device.

Notation: N rows (windows × steps), V variables, R of them reals, H hidden size, M units of a variable's network.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.tft.layers import GateAddNorm, GatedLinearUnit, GatedResidualNetwork, ResampleNorm, interpolate


def wide(tensor: Tensor) -> Tensor:
    """Return a weight for folding: float64 on the CPU."""
    return tensor.detach().cpu().double()


@dataclass(frozen=True)
class Affine:
    """x W + b."""

    weight: Tensor
    """[in, out]"""
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.T, self.bias)

    @classmethod
    def of(cls, *layers: nn.Linear) -> Self:
        """Return linear layers, the first one first, as one; wide."""
        weight, bias = wide(layers[0].weight).T, _bias(layers[0])
        for layer in layers[1:]:
            weight, bias = weight @ wide(layer.weight).T, bias @ wide(layer.weight).T + _bias(layer)
        return cls(weight, bias)

    def like(self, tensor: Tensor) -> Self:
        """Return it in the type and on the device of a tensor."""
        return type(self)(self.weight.to(tensor).contiguous(), self.bias.to(tensor).contiguous())


@dataclass(frozen=True)
class Norm:
    """A LayerNorm's numbers."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    @classmethod
    def of(cls, norm: nn.LayerNorm) -> Self:
        return cls(norm.weight.detach().clone(), norm.bias.detach().clone(), norm.eps)


@dataclass(frozen=True)
class FoldedGate:
    """LayerNorm(GLU(x) + skip), with the linear layers before the gate folded into it."""

    gate: Affine
    norm: Norm

    def __call__(self, x: Tensor, skip: Tensor) -> Tensor:
        """[…, in], […, H] → […, H]"""
        return self.norm(F.glu(self.gate(x), dim=-1).add_(skip))

    @classmethod
    def of(cls, gate: GatedLinearUnit, norm: nn.LayerNorm, *before: nn.Linear) -> Self:
        return cls(Affine.of(*before, gate.fc).like(norm.weight), Norm.of(norm))

    @classmethod
    def of_gate_norm(cls, module: GateAddNorm, *before: nn.Linear) -> Self:
        return cls.of(module.glu, module.add_norm.norm, *before)


@dataclass(frozen=True)
class FoldedResidual:
    """A gated residual network whose width does not change: two products instead of three."""

    first: Affine
    rest: FoldedGate

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """[…, H] → […, H]; context: already projected, […, H]."""
        hidden = self.first(x)
        if context is not None:
            hidden = hidden.add_(context)
        return self.rest(F.elu_(hidden), x)

    @classmethod
    def of(cls, network: GatedResidualNetwork) -> Self:
        first = Affine.of(network.fc1).like(network.fc1.weight)
        return cls(first, FoldedGate.of_gate_norm(network.gate_norm, network.fc2))


@dataclass(frozen=True)
class FoldedReals:
    """The single-variable networks of all reals at once, and the weighted sum of what they say.

    Everything up to the first elu is affine in the scalar x, and so is the skip before its LayerNorm:
    its deviation from its mean is (x + k) a + c with a ⊥ c, hence its variance (x + k)² |a|² + |c|², and the skip is
    a product of [(x + k) r, r, 1] with three vectors, where r is one over the standard deviation.
    """

    slope: Tensor
    """[R, 1, M + 1], from x to what the elu sees; networks with fewer units are filled up with zeros."""
    start: Tensor
    """[R, 1, M + 1]; the last unit is 1 whatever x is: it carries the gate's bias."""
    gate: Tensor
    """[R, M + 1, 2H]"""
    shift: Tensor
    """[R, 1]: k"""
    spread: Tensor
    """[R, 1]: mean square of a"""
    rest: Tensor
    """[R, 1]: mean square of c, and LayerNorm's eps"""
    skip: Tensor
    """[R, 3, H]"""
    norm_weight: Tensor
    """[R, 1, H]"""
    norm_bias: Tensor
    """[R, H]"""
    mean: Tensor
    """[H, 1] of 1/H: products are faster than reductions of so short an axis."""
    eps: float

    def __call__(self, x: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weighted sum [N, H] of reals [N, R]; weights: [N, R], None for a single variable."""
        turned = x.T
        moved = turned + self.shift
        inverse = torch.addcmul(self.rest, self.spread, moved.square()).rsqrt_()
        basis = torch.stack([moved.mul_(inverse), inverse, torch.ones_like(inverse)], dim=-1)  # [R, N, 3]
        hidden = F.elu_(torch.addcmul(self.start, turned[..., None], self.slope))  # [R, N, M + 1]
        out = F.glu(torch.bmm(hidden, self.gate), dim=-1).baddbmm_(basis, self.skip)  # [R, N, H]
        # LayerNorm in two passes, then Σ_v weight_v (normed_v ∘ w_v + b_v).
        out -= out @ self.mean
        deviation = (out.square() @ self.mean).add_(self.eps).rsqrt_()[..., 0]  # [R, N]
        out *= self.norm_weight
        if weights is None:
            return out[0].mul_(deviation[0, :, None]).add_(self.norm_bias[0])
        weighing = deviation.T.mul(weights)  # [N, R]
        return torch.bmm(weighing[:, None], out.transpose(0, 1))[:, 0].addmm_(weights, self.norm_bias)

    @classmethod
    def of(cls, networks: list[GatedResidualNetwork], prescalers: list[nn.Linear]) -> Self:
        """Fold networks [width → H] with the prescalers [1 → width] before them."""
        norms = [network.gate_norm.add_norm.norm for network in networks]
        like = norms[0].weight
        h, m = len(like), max(network.fc1.out_features for network in networks)
        count = len(networks)
        slope, start = torch.zeros(count, 1, m + 1).double(), torch.zeros(count, 1, m + 1).double()
        gate = torch.zeros(count, m + 1, 2 * h).double()
        skips = []
        for place, (network, prescaler) in enumerate(zip(networks, prescalers, strict=True)):
            units = network.fc1.out_features
            first, second = Affine.of(prescaler, network.fc1), Affine.of(network.fc2, network.gate_norm.glu.fc)
            slope[place, 0, :units], start[place, 0, :units], start[place, 0, m] = first.weight[0], first.bias, 1.0
            gate[place, :units], gate[place, m] = second.weight, second.bias
            skips.append(_Skip.of(network.resample_norm, prescaler))
        slope, start, gate, shift, spread, rest, skip, norm_weight, norm_bias, mean = (
            tensor.to(like).contiguous()
            for tensor in (
                slope,
                start,
                gate,
                torch.tensor([[skip.shift] for skip in skips], dtype=torch.float64),
                torch.tensor([[skip.spread] for skip in skips], dtype=torch.float64),
                torch.tensor([[skip.rest] for skip in skips], dtype=torch.float64),
                torch.stack([skip.vectors for skip in skips]),
                torch.stack([wide(norm.weight) for norm in norms])[:, None],
                torch.stack([wide(norm.bias) for norm in norms]),
                torch.full((h, 1), 1 / h, dtype=torch.float64),
            )
        )
        return cls(slope, start, gate, shift, spread, rest, skip, norm_weight, norm_bias, mean, norms[0].eps)


@dataclass(frozen=True)
class _Skip:
    """A real's skip as a product with [(x + k) r, r, 1]."""

    shift: float
    spread: float
    rest: float
    vectors: Tensor
    """[3, H]"""

    @classmethod
    def of(cls, resample: ResampleNorm | None, prescaler: nn.Linear) -> Self:
        slope, start = wide(prescaler.weight)[:, 0], wide(prescaler.bias)
        if resample is None:  # as wide as H: not normed, and r stays 1
            return cls(0.0, 0.0, 1.0, torch.stack([slope, torch.zeros_like(slope), start]))
        slope, start = (deviation_of(resample, vector) for vector in (slope, start))
        spread = float(slope.square().mean())
        shift = float((slope * start).mean()) / spread if spread > _NOTHING else 0.0
        start = start - shift * slope
        weight, bias = wide(resample.norm.weight), wide(resample.norm.bias)
        rest = float(start.square().mean()) + resample.norm.eps
        return cls(shift, spread, rest, torch.stack([slope * weight, start * weight, bias]))


_NOTHING = 1e-30


def deviation_of(resample: ResampleNorm, vector: Tensor) -> Tensor:
    """Return what LayerNorm sees of a wide vector, less its mean."""
    seen = resampled(resample, vector)
    return seen - seen.mean()


def resampled(resample: ResampleNorm, x: Tensor) -> Tensor:
    """Return `resample.before_norm` of wide x."""
    return interpolate(x, resample.hidden) * (2 * wide(resample.mask).sigmoid())


def linear(layer: nn.Module) -> nn.Linear:
    """Return a layer that stood in a list of modules as what it is."""
    assert isinstance(layer, nn.Linear)
    return layer


def _bias(layer: nn.Linear) -> Tensor:
    # torch types it as a tensor; without bias=True it is None.
    bias: Tensor | None = layer.bias
    return wide(layer.weight).new_zeros(len(layer.weight)) if bias is None else wide(bias)
