"""Products with few rows: x Wᵀ, as fast as one core reads W from memory.

Weights stand in the order in which they are read: four rows at a time, sixteen columns of each. One stream is what
memory is fastest at: two rows that are read side by side from where they stand come at half its speed. A bfloat16
weight shares a word with the one sixteen columns on, so that a word gives two with two instructions. A row's sum is
made in one order whatever the number of rows: the same bits.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor, nn

from models.compiled.memory import Memory
from models.compiled.vectors import (
    LANES,
    WORDS,
    ZEROS,
    array,
    at,
    fused,
    halves,
    index,
    load,
    store,
    summed,
    totals,
)

_TILE = 4
"""Rows of a weight that are read side by side."""


def laid_out(weight: Tensor, memory: Memory) -> Any:
    """Return a weight [n, k], float32 or bfloat16, as `product` reads it; a copy, filled up with zeros.

    [n / 4, k / 16, 4, 16] float32, or [n / 4, k / 32, 4, 16] words of two bfloat16 each.
    """
    is_narrow = weight.dtype == torch.bfloat16
    across = 2 * LANES if is_narrow else LANES
    full = nn.functional.pad(weight, (0, -weight.shape[1] % across, 0, -len(weight) % _TILE))
    tiles = full.view(len(full) // _TILE, _TILE, full.shape[1] // across, -1, LANES).permute(0, 2, 1, 3, 4)
    made = memory.take((*tiles.shape[:3], LANES), np.uint32 if is_narrow else np.float32)
    if is_narrow:
        # uint16 first: numpy has no bfloat16, and what is copied is bits.
        bits = tiles.view(torch.uint16).numpy().astype(np.uint32)
        np.left_shift(bits[:, :, :, 1], 16, out=made)
        np.bitwise_or(made, bits[:, :, :, 0], out=made)
    else:
        made[:] = tiles[:, :, :, 0].numpy()
    return made


def columns_of(weight: Any) -> int:
    """Return how many columns x must have for a weight as it was laid out."""
    return int(weight.shape[1]) * LANES * (2 if weight.dtype == np.uint32 else 1)


def rows_of(weight: Any) -> int:
    """Return how many columns the result has for a weight as it was laid out."""
    return len(weight) * _TILE


@intrinsic(prefer_literal=True)
def _tile(typing: Any, weight: Any, block: Any, x: Any, row: Any, out: Any, rows: Any) -> Any:
    """Set out[row … row + rows, four of the block]; rows is known when this is compiled."""
    is_narrow, count = weight.dtype == types.uint32, rows.literal_value
    across = 2 * LANES if is_narrow else LANES

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        (weights, (_, blocks, *_)), (inputs, (_, inner)), (outputs, (_, outer)) = (
            array(context, builder, kinds[place], arguments[place]) for place in (0, 2, 4)
        )
        _, number, _, first, *_ = arguments
        tile = at(builder, weights, [(builder.mul(number, blocks), index(_TILE * LANES))])
        lines = [builder.add(first, index(line)) for line in range(count)]
        starts = [at(builder, inputs, [(line, inner)]) for line in lines]

        def add(place: Any, sums: Any) -> Any:
            given = [
                [load(builder, at(builder, start, [(place, index(across)), (index(half), index(LANES))]))
                 for half in range(across // LANES)]
                for start in starts
            ]  # fmt: skip
            made = []
            for of in range(_TILE):
                where = at(builder, tile, [(place, index(_TILE * LANES)), (index(of), index(LANES))])
                parts = halves(builder, load(builder, where, WORDS)) if is_narrow else (load(builder, where),)
                for line in range(count):
                    total = sums[of * count + line]
                    for part, of_x in zip(parts, given[line], strict=True):
                        total = fused(builder, part, of_x, total)
                    made.append(total)
            return made

        sums = summed(builder, blocks, [ZEROS] * (_TILE * count), add)
        for place, line in enumerate(lines):
            found = totals(builder, [sums[of * count + place] for of in range(_TILE)])
            store(builder, found, at(builder, outputs, [(line, outer), (number, index(_TILE))]))
        return context.get_dummy_value()

    return types.void(weight, types.int64, x, types.int64, out, rows), generate


@njit(cache=True, nogil=True)
def product(weight: Any, x: Any, out: Any) -> None:
    """out [M, n] = x [M, k] · weightᵀ, n and k filled up as `laid_out` does it. x is not rounded."""
    count = len(x)
    for block in range(len(weight)):
        row = 0
        while count - row >= 4:
            _tile(weight, block, x, row, out, 4)
            row += 4
        if count - row >= 2:
            _tile(weight, block, x, row, out, 2)
            row += 2
        if count > row:
            _tile(weight, block, x, row, out, 1)
