"""What lies between the products of a token: norms and gates, and an e to the x that a loop is not held up by.

Sums are made in whatever order is fastest, so that results differ in rounding.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from models.compiled.caching import compiled

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Sums in any order; NaN and infinity stay what they are. A set: numba takes no frozenset."""


def _make_float(typing: Any, bits: Any) -> Any:
    """The float32 of these 32 bits, int32."""

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), made


_float_of: Any = intrinsic(_make_float)


@compiled(fastmath=FAST)
def exp(x: Any) -> Any:
    """e to the x, float32, to two units in the last place, without a call, so that loops over it are vectorised;
    below −87 and above 88 it is that of those."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    whole = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    x = x - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    # Cephes' polynomial for e^x on ±ln 2 / 2.
    y = np.float32(1.9875691500e-4)
    y = y * x + np.float32(1.3981999507e-3)
    y = y * x + np.float32(8.3334519073e-3)
    y = y * x + np.float32(4.1665795894e-2)
    y = y * x + np.float32(1.6666665459e-1)
    y = y * x + np.float32(5.0000001201e-1)
    y = y * x * x + x + np.float32(1.0)
    return y * _float_of(np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)))


@compiled(fastmath=FAST, nogil=True)
def normed(x: Any, least: float, out: Any) -> None:
    """x / √(|x|² + least), row by row."""
    for row in range(x.shape[0]):
        total: Any = np.float32(least)
        for place in range(x.shape[1]):
            total += x[row, place] * x[row, place]
        scale = np.float32(1.0) / np.sqrt(total)
        for place in range(x.shape[1]):
            out[row, place] = x[row, place] * scale


@compiled(fastmath=FAST, nogil=True)
def gated(both: Any, out: Any) -> None:
    """silu of the first half of each row, times the second: [M, 2n] → [M, n]."""
    size = out.shape[1]
    for row in range(out.shape[0]):
        for place in range(size):
            gate = both[row, place]
            out[row, place] = gate / (np.float32(1.0) + exp(-gate)) * both[row, size + place]
