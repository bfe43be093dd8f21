"""Products with few rows: x Wᵀ, as fast as one core reads W from memory.

Weights stand in the order in which they are read: four rows at a time, sixteen columns of each. One stream is what
memory is fastest at: two rows that are read side by side from where they stand come at half its speed. A bfloat16
weight shares a word with the one sixteen columns on, and so do two numbers of x, which some processors multiply and add
at once. A row's sum is made in one order whatever the number of rows: the same bits.
"""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from torch import Tensor, nn

from models.compiled.caching import compiled
from models.compiled.memory import Memory
from models.compiled.vectors import (
    FLOATS,
    LANES,
    WORDS,
    ZEROS,
    array,
    at,
    fused,
    index,
    load,
    paired,
    rounded,
    store,
    summed,
    totals,
)

_TILE = 4
"""Rows of a weight that are read side by side."""

_MOST_COLUMNS = 512
"""Columns that are gone through at once: those of several rows of x should stay in the nearest memory."""


def laid_out(weight: Tensor, memory: Memory) -> Any:
    """Return a weight [n, k], float32 or bfloat16, as `product` reads it; a copy, filled up with zeros.

    [C, n / 4, k / 16 / C, 4, 16] float32, or [C, n / 4, k / 32 / C, 4, 16] words of two bfloat16 each.
    """
    is_narrow = weight.dtype == torch.bfloat16
    halves = 2 if is_narrow else 1
    across = halves * LANES
    parts = -(-weight.shape[1] // _MOST_COLUMNS)
    full = nn.functional.pad(weight, (0, -weight.shape[1] % (across * parts), 0, -len(weight) % _TILE))
    tiles = full.view(len(full) // _TILE, _TILE, parts, -1, halves, LANES).permute(2, 0, 3, 1, 4, 5)
    made = memory.take((*tiles.shape[:4], LANES), np.uint32 if is_narrow else np.float32)
    if is_narrow:
        # numpy has no bfloat16, and what is copied is bits.
        bits = tiles.view(torch.uint16).numpy()
        np.left_shift(bits[:, :, :, :, 1], 16, out=made, dtype=np.uint32)
        np.bitwise_or(made, bits[:, :, :, :, 0], out=made)
    else:
        made[:] = tiles[:, :, :, :, 0].numpy()
    return made


def columns_of(weight: Any) -> int:
    """Return how many columns x must have for a weight as it was laid out."""
    return int(len(weight) * weight.shape[2]) * LANES * (2 if weight.dtype == np.uint32 else 1)


def rows_of(weight: Any) -> int:
    """Return how many columns the result has for a weight as it was laid out."""
    return int(weight.shape[1]) * _TILE


@intrinsic(prefer_literal=True)
def _tile(typing: Any, weight: Any, block: Any, x: Any, row: Any, out: Any, rows: Any) -> Any:
    """Add to out[row … row + rows, four of the block]; rows is known when this is compiled.

    weight: [n / 4, k / …, 4, 16]; x: [k / …, M, 16], both float32 or both words of two bfloat16."""
    is_narrow, count = weight.dtype == types.uint32, rows.literal_value
    kind, multiply = (WORDS, paired) if is_narrow else (FLOATS, fused)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        (weights, (_, blocks, *_)), (inputs, (_, many, _)), (outputs, (_, outer)) = (
            array(context, builder, kinds[place], arguments[place]) for place in (0, 2, 4)
        )
        _, number, _, first, *_ = arguments
        tile = at(builder, weights, [(builder.mul(number, blocks), index(_TILE * LANES))])
        lines = [builder.add(first, index(line)) for line in range(count)]
        starts = [at(builder, inputs, [(line, index(LANES))]) for line in lines]
        step = builder.mul(many, index(LANES))

        def add(place: Any, sums: Any) -> Any:
            made = list(sums)
            four = builder.gep(tile, [builder.mul(place, index(_TILE * LANES))])
            given = [load(builder, at(builder, start, [(place, step)]), kind) for start in starts]
            for of in range(_TILE):
                numbers = load(builder, builder.gep(four, [index(of * LANES)]), kind)
                for line, of_x in enumerate(given):
                    made[of * count + line] = multiply(builder, numbers, of_x, made[of * count + line])
            return made

        sums = summed(builder, blocks, [ZEROS] * (_TILE * count), add)
        for place, line in enumerate(lines):
            found = totals(builder, [sums[of * count + place] for of in range(_TILE)])
            where = at(builder, outputs, [(line, outer), (number, index(_TILE))])
            store(builder, builder.fadd(load(builder, where, found.type), found), where)
        return context.get_dummy_value()

    return types.void(weight, types.int64, x, types.int64, out, rows), generate


def product(weight: Any, x: Any, out: Any) -> None:
    """out [M, n] = x [M, k] · weightᵀ, n and k filled up as `laid_out` does it. With bfloat16 weights x is rounded to
    bfloat16, too; sums are float32."""
    (_narrow if weight.dtype == np.uint32 else _wide)(weight, x, out)


@compiled(nogil=True)
def _wide(weight: Any, x: Any, out: Any) -> None:
    count, parts = len(x), len(weight)
    out[:] = np.float32(0)
    across = x.shape[1] // LANES // parts
    # As with weights: several rows that stand apart are several streams.
    packed = np.empty((across, count, LANES), np.float32)
    for part in range(parts):
        for row in range(count):
            for place in range(across):
                for lane in range(LANES):
                    packed[place, row, lane] = x[row, (part * across + place) * LANES + lane]
        _product(weight[part], packed, out)


@compiled(nogil=True)
def _narrow(weight: Any, x: Any, out: Any) -> None:
    count, parts = len(x), len(weight)
    out[:] = np.float32(0)
    across = x.shape[1] // (2 * LANES) // parts
    packed = np.empty((across, count, LANES), np.uint32)
    for part in range(parts):
        for row in range(count):
            for place in range(across):
                start = (part * across + place) * 2 * LANES
                for lane in range(LANES):
                    low: Any = rounded(x[row, start + lane])
                    high: Any = rounded(x[row, start + LANES + lane])
                    packed[place, row, lane] = np.uint32(low) | (np.uint32(high) << np.uint32(16))
        _product(weight[part], packed, out)


@compiled(nogil=True)
def _product(weight: Any, packed: Any, out: Any) -> None:
    count = packed.shape[1]
    for block in range(len(weight)):
        row = 0
        while count - row > 5:
            _tile(weight, block, packed, row, out, 4)
            row += 4
        left = count - row
        if left == 1:
            _tile(weight, block, packed, row, out, 1)
        elif left == 2:
            _tile(weight, block, packed, row, out, 2)
        elif left == 3:
            _tile(weight, block, packed, row, out, 3)
        elif left == 4:
            _tile(weight, block, packed, row, out, 4)
        elif left == 5:
            _tile(weight, block, packed, row, out, 5)
