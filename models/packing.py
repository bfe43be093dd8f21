"""A matrix laid out for inference: the product of a linear layer, as fast as one core reads the weights.

Measured on one core (AVX-512), microseconds for all matrices of one token of a network of 100 M parameters:
nn.Linear 26 000 for one row and 48 000 for eight; this 20 000 and 28 000, with bfloat16 weights 12 000 and 14 000.
"""

import torch
from torch import Tensor, nn

_HINT = 8
"""Rows that oneDNN is told to expect; the layout that it takes for 8 serves 2 … 400 well, the one for 1 does not."""


_ROWS = 4
"""What a single row of a narrower weight's product is made into: oneDNN reads such weights a tenth faster for four."""


class PackedLinear:
    """x Wᵀ + b, of a weight [out, in] and a bias [out] or None.

    On the CPU the weight is kept packed for oneDNN, and if it is float32 transposed as well, which a product with a
    single row reads fastest: two copies in memory. Where that cannot be (another device, a build without oneDNN) it is
    nn.functional.linear. The three differ in rounding only.

    Args:
        dtype: of the weight; narrower than the input, the product is made in it and the result is the input's type
            again.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype = torch.float32) -> None:
        weight = weight.detach().to(dtype)
        self._bias = None if bias is None else bias.detach()
        self._dtype = dtype
        self._plain: Tensor | None = None
        self._packed: Tensor | None = None
        self._column: Tensor | None = None
        if not can_pack(weight):
            self._plain = weight
            return
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _HINT)
        if dtype == torch.float32:
            self._column = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """[M, in] → [M, out]"""
        if self._dtype != x.dtype:
            rows = x.expand(_ROWS, -1) if len(x) == 1 and self._packed is not None else x
            out = self._product(rows.to(self._dtype), None)[: len(x)].to(x.dtype)
            return out if self._bias is None else out.add_(self._bias)
        if self._column is not None and len(x) == 1:
            return x @ self._column if self._bias is None else torch.addmm(self._bias, x, self._column)
        return self._product(x, self._bias)

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self._plain is not None:
            return nn.functional.linear(x, self._plain, bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, bias, "none", [], "")
        return out


def can_pack(weight: Tensor) -> bool:
    """Return whether this build of torch packs such a weight for oneDNN."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    operators = torch.ops.mkldnn
    if not hasattr(operators, "_reorder_linear_weight") or not hasattr(operators, "_linear_pointwise"):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(operators._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
