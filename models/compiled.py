"""Compiled loops for one token at a time: products with one or two rows, attention of one query, what lies between.

A step of generation reads every weight once and does little with it, so that it is as fast as memory is read and as
slow as the operations around it are many. Measured on one core (AVX-512), microseconds for a [1536, 512] product with
one row: oneDNN 200, with bfloat16 weights 130; these loops 110 and 65. From three rows on oneDNN is the faster.

They run on one core each: where torch may use more than two, its own are left to do the work (`is_worth_it`).
Everything is float32 but weights that are bfloat16; sums are made in whatever order is fastest, so that results differ
in rounding.
"""

from typing import Any

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

MOST_ROWS = 2
"""Rows up to which these products beat oneDNN's."""

_MOST_CORES = 2
_FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Sums in any order; NaN and infinity stay what they are. A set: numba takes no frozenset."""


def is_worth_it(tensor: Tensor) -> bool:
    """Return whether these loops are the fastest way for such a tensor: float32 on a CPU, few cores for torch."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and torch.get_num_threads() <= _MOST_CORES


def bits_of(weight: Tensor) -> Any:
    """Return a float32 weight as an array, a bfloat16 one as its bits, uint16; both share memory with the tensor."""
    return (weight.view(torch.uint16) if weight.dtype == torch.bfloat16 else weight).numpy()


# ── numbers as bits ─────────────────────────────────────────────────────────────────────────────────────────────────


def _make_number(typing: Any, weight: Any) -> Any:
    """A weight as float32: one of uint16 is the upper half of it, which is what a bfloat16 is."""

    def widened(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        shifted = builder.shl(builder.zext(arguments[0], word), ir.Constant(word, 16))
        return builder.bitcast(shifted, ir.FloatType())

    def same(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return types.float32(weight), widened if weight == types.uint16 else same


def _make_float(typing: Any, bits: Any) -> Any:
    """The float32 of these 32 bits, int32."""

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), made


_number: Any = intrinsic(_make_number)
_float_of: Any = intrinsic(_make_float)


@njit(cache=True, fastmath=_FAST)
def _exp(x: Any) -> Any:
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


# ── products ────────────────────────────────────────────────────────────────────────────────────────────────────────


@njit(cache=True, fastmath=_FAST, nogil=True)
def product(weight: Any, x: Any, out: Any) -> None:
    """out [M, n] = x [M, k] · weightᵀ, a weight [n, k] as `bits_of` gives it; M is 1 or 2. x is not rounded."""
    for row in range(weight.shape[0]):
        first: Any = np.float32(0)
        if len(x) == 1:
            for place in range(weight.shape[1]):
                first += _number(weight[row, place]) * x[0, place]
        else:
            second: Any = np.float32(0)
            for place in range(weight.shape[1]):
                factor = _number(weight[row, place])
                first += factor * x[0, place]
                second += factor * x[1, place]
            out[1, row] = second
        out[0, row] = first


# ── attention ───────────────────────────────────────────────────────────────────────────────────────────────────────


@njit(cache=True, fastmath=_FAST, nogil=True)
def turn(parts: Any, turns: Any, both: Any, place: int) -> None:
    """Rotate the queries and keys of one new token of each row, in place, and keep its keys and values.

    Args:
        parts: [R, 3, h, e]: queries, keys, values; turns: cosine and sine of each pair at the token's position, [e];
            both: what is kept, [2, R, h, T, e]; place: of the token in it.
    """
    rows, _, heads, size = parts.shape
    for row in range(rows):
        for which in range(2):
            for head in range(heads):
                for pair in range(0, size, 2):
                    cosine, sine = turns[pair], turns[pair + 1]
                    real, imaginary = parts[row, which, head, pair], parts[row, which, head, pair + 1]
                    parts[row, which, head, pair] = real * cosine - imaginary * sine
                    parts[row, which, head, pair + 1] = real * sine + imaginary * cosine
        for which in range(2):
            for head in range(heads):
                for pair in range(size):
                    both[which, row, head, place, pair] = parts[row, which + 1, head, pair]


@njit(cache=True, fastmath=_FAST, nogil=True)
def attend(q: Any, history: Any, both: Any, used: int, out: Any) -> None:
    """One query of each row and head, over the history that the rows of a series share, and over the row's own tokens.

    Args:
        q: [R, h, e], scaled; history: [2, N, h, L, e], L may be 0; both: [2, R, h, T, e], of which `used` tokens count;
            out: [R, h, e].
    """
    rows, heads, size = q.shape
    length = history.shape[3]
    samples = rows // history.shape[1]
    weights = np.empty(length + used, np.float32)
    for row in range(rows):
        series = row // samples
        for head in range(heads):
            query = q[row, head]
            _scores(query, history[0, series, head], length, weights)
            _scores(query, both[0, row, head], used, weights[length:])
            scale = np.float32(1.0) / _softened(weights)
            seen = out[row, head]
            seen[:] = np.float32(0)
            _gathered(weights, history[1, series, head], length, seen)
            _gathered(weights[length:], both[1, row, head], used, seen)
            for place in range(size):
                seen[place] *= scale


@njit(cache=True, fastmath=_FAST, nogil=True)
def _scores(query: Any, keys: Any, count: int, out: Any) -> None:
    for token in range(count):
        total: Any = np.float32(0)
        for place in range(len(query)):
            total += query[place] * keys[token, place]
        out[token] = total


@njit(cache=True, fastmath=_FAST, nogil=True)
def _softened(weights: Any) -> Any:
    """Replace scores by e to what they are below the largest; return the sum."""
    largest = weights[0]
    for token in range(len(weights)):
        largest = max(largest, weights[token])
    total: Any = np.float32(0)
    for token in range(len(weights)):
        weights[token] = _exp(weights[token] - largest)
        total += weights[token]
    return total


@njit(cache=True, fastmath=_FAST, nogil=True)
def _gathered(weights: Any, values: Any, count: int, out: Any) -> None:
    """Add the weighted values, four tokens at a time, so that `out` is read a quarter as often."""
    token = 0
    while token + 4 <= count:
        a, b, c, d = weights[token], weights[token + 1], weights[token + 2], weights[token + 3]
        for place in range(len(out)):
            out[place] += (a * values[token, place] + b * values[token + 1, place]) + (
                c * values[token + 2, place] + d * values[token + 3, place]
            )
        token += 4
    while token < count:
        for place in range(len(out)):
            out[place] += weights[token] * values[token, place]
        token += 1


# ── between the products ────────────────────────────────────────────────────────────────────────────────────────────


@njit(cache=True, fastmath=_FAST, nogil=True)
def normed(x: Any, least: float, out: Any) -> None:
    """x / √(|x|² + least), row by row."""
    for row in range(x.shape[0]):
        total: Any = np.float32(least)
        for place in range(x.shape[1]):
            total += x[row, place] * x[row, place]
        scale = np.float32(1.0) / np.sqrt(total)
        for place in range(x.shape[1]):
            out[row, place] = x[row, place] * scale


@njit(cache=True, fastmath=_FAST, nogil=True)
def gated(both: Any, out: Any) -> None:
    """silu of the first half of each row, times the second: [M, 2n] → [M, n]."""
    size = out.shape[1]
    for row in range(out.shape[0]):
        for place in range(size):
            gate = both[row, place]
            out[row, place] = gate / (np.float32(1.0) + _exp(-gate)) * both[row, size + place]
