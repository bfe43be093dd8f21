"""A matrix laid out for inference: the product of a linear layer, as fast as one core reads the weights.

Measured on one core (AVX-512), microseconds for all matrices of one token of a network of 100 M parameters:
nn.Linear 26 000 for one row and 48 000 for eight; this 14 000 and 28 000, with bfloat16 weights 7 000 and 14 000.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.compiled import is_worth_it
from models.compiled.memory import Memory
from models.compiled.products import columns_of, laid_out, product, rows_of

_HINT = 8
"""Rows that oneDNN is told to expect; the layout that it takes for 8 serves 2 … 400 well, the one for 1 does not."""


_MOST_ROWS, _MOST_ROWS_OF_SMALL, _SMALL = 8, 16, 256
"""Rows up to which our own loop beats oneDNN's; it goes on to do so where there are few columns."""


class PackedLinear:
    """x Wᵀ + b, of a weight [out, in] and a bias [out] or None.

    On the CPU the weight is kept packed for oneDNN, and laid out for few rows as well, which a loop of our own
    multiplies fastest: two copies in memory. Where that cannot be (another device, a build without oneDNN) it is
    nn.functional.linear. The three differ in rounding only.

    Args:
        dtype: of the weight. bfloat16: the input is rounded, too; with the loop of our own, which rows that stand alone
            and few that belong together go through, the result is not.
        memory: that the copy for few rows is taken from, shared with other weights: large pages pay for all together.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        memory: Memory | None = None,
    ) -> None:
        weight = weight.detach().to(dtype, copy=True).contiguous()
        self._bias = None if bias is None else bias.detach()
        self._dtype = dtype
        self._plain: Tensor | None = None
        self._packed: Tensor | None = None
        self._rows: Any = None
        self._outputs, self._inputs = weight.shape
        self._most = _MOST_ROWS_OF_SMALL if self._inputs <= _SMALL else _MOST_ROWS
        if not can_pack(weight):
            self._plain = weight
            return
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _HINT)
        if is_worth_it(weight.new_empty(0, dtype=torch.float32)):
            self._rows = laid_out(weight, memory or Memory())

    def __call__(self, x: Tensor, together: int = 1) -> Tensor:
        """[M, in] → [M, out]

        Args:
            together: rows that belong to each other, such as the tokens of a window, and come in no other company; M is
                a multiple of it. bfloat16 rounds so coarsely that the order of a sum shows: it is made so that the
                result of some does not depend on what others stand beside them.
        Raises:
            RuntimeError: x has another number of columns.
        """
        if x.shape[1] != self._inputs:
            raise RuntimeError(f"a product of {self._inputs} columns with x of shape {list(x.shape)}")
        is_narrow = self._dtype == torch.bfloat16
        count = together if is_narrow else len(x)
        if self._rows is not None and count <= self._most and is_worth_it(x):
            return self._few(x)
        if self._dtype == x.dtype:
            return self._product(x, self._bias)
        parts = torch.split(x.to(self._dtype), together if is_narrow and together > 1 else max(len(x), 1))
        out = torch.cat([self._product(part, None) for part in parts]).to(x.dtype)
        return out if self._bias is None else out.add_(self._bias)

    def _few(self, x: Tensor) -> Tensor:
        missing = columns_of(self._rows) - self._inputs
        x = nn.functional.pad(x, (0, missing)) if missing else x.contiguous()
        out = x.new_empty(len(x), rows_of(self._rows))
        product(self._rows, x.numpy(), out.numpy())
        out = out[:, : self._outputs].contiguous()
        return out if self._bias is None else out.add_(self._bias)

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
