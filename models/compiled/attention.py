"""Attention of one new query of each row, to a history that the samples of a series share and to the row's own tokens.

Keys are kept in blocks of sixteen tokens, so that sixteen scores are made at once and none has to be summed across a
register; values token after token. What the samples of a series share is read once for four or five of them.

Notation: R rows, h heads of size e, e' being e filled up to a multiple of sixteen, T tokens, B blocks of them. As they
are read: keys [R, h, B, e, 16] and values [R, h, T, e'], float32; or, with bfloat16, two to a word: the keys of two
numbers, [R, h, B, e / 2, 16], and the values of two tokens, [R, h, T / 2, e'].
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from models.compiled.between import FAST, exp
from models.compiled.caching import compiled
from models.compiled.vectors import (
    FLOATS,
    LANES,
    WORDS,
    ZEROS,
    array,
    at,
    everywhere,
    fused,
    halves,
    index,
    load,
    store,
    summed,
)

_WIDE = 4
"""Registers of values that are summed side by side."""


@compiled(nogil=True)
def attend(
    q: Any, old_keys: Any, old_values: Any, length: int, keys: Any, values: Any, used: int, out: Any
) -> None:
    """One softmax over the history and the own tokens of each row and head.

    Args:
        q: [R, h, e], scaled; old_keys, old_values: of N series, of which `length` tokens count, 0 or more; keys,
            values: of each row, of which `used` count; all as they are read. out: [R, h, e].
    """
    rows, heads, size = q.shape
    samples = rows // len(old_keys)
    width = old_values.shape[3]
    queries = np.empty((samples, size), np.float32)
    weights = np.empty((samples, length + used + 2 * LANES), np.float32)
    seen = np.empty((samples, width), np.float32)
    for series in range(len(old_keys)):
        first = series * samples
        for head in range(heads):
            for sample in range(samples):
                for number in range(size):
                    queries[sample, number] = q[first + sample, head, number]
            _scores(queries, old_keys[series, head], length, weights, 0, samples, 0)
            for sample in range(samples):
                # Over what the last block of history has too many of.
                _scores(queries, keys[first + sample, head], used, weights, sample, sample + 1, length)
            seen[:] = np.float32(0)
            for sample in range(samples):
                _soften(weights[sample], length + used)
            _gather(weights, old_values[series, head], length, seen, 0, samples, 0)
            for sample in range(samples):
                _gather(weights, values[first + sample, head], used, seen, sample, sample + 1, length)
                for number in range(size):
                    out[first + sample, head, number] = seen[sample, number]


@compiled(fastmath=FAST, nogil=True)
def _soften(weights: Any, count: int) -> None:
    """Replace scores by their softmax."""
    largest = weights[0]
    for token in range(count):
        largest = max(largest, weights[token])
    total: Any = np.float32(0)
    for token in range(count):
        weights[token] = exp(weights[token] - largest)
        total += weights[token]
    scale = np.float32(1.0) / total
    for token in range(count):
        weights[token] *= scale


@compiled()
def _at_once(left: int) -> int:
    """Return how many of the samples that are left are gone through at once: as many as registers hold sums for."""
    return left if left in (1, 2, 4, 5) else 4 if left > 4 else 2


# ── scores ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@compiled(nogil=True)
def _scores(queries: Any, keys: Any, count: int, weights: Any, sample: int, end: int, start: int) -> None:
    """Scores of the samples from `sample` to before `end`, in their weights from `start` on; the last block may have
    more than `count`."""
    for block in range((count + LANES - 1) // LANES):
        first = sample
        while end > first:
            rows = _at_once(end - first)
            if rows == 5:
                _block(queries, keys, block, weights, first, start, 5)
            elif rows == 4:
                _block(queries, keys, block, weights, first, start, 4)
            elif rows == 2:
                _block(queries, keys, block, weights, first, start, 2)
            else:
                _block(queries, keys, block, weights, first, start, 1)
            first += rows


@intrinsic(prefer_literal=True)
def _block(
    typing: Any, queries: Any, keys: Any, block: Any, weights: Any, sample: Any, start: Any, rows: Any
) -> Any:
    """Set weights[sample … sample + rows, start + a block's sixteen tokens]."""
    count, is_narrow = rows.literal_value, keys.dtype == types.uint32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        (q, (_, size)), (k, (_, inner, _)), (out, (_, outer)) = (
            array(context, builder, kinds[place], arguments[place]) for place in (0, 1, 3)
        )
        number, first, begin = arguments[2], arguments[4], arguments[5]
        tile = at(builder, k, [(builder.mul(number, inner), index(LANES))])
        lines = [builder.add(first, index(line)) for line in range(count)]
        starts = [at(builder, q, [(line, size)]) for line in lines]
        # Two sums a row, of even and of odd numbers: one would wait for itself.
        half = builder.lshr(size, index(1))

        def add(place: Any, sums: Any) -> Any:
            if is_narrow:
                given = halves(builder, load(builder, at(builder, tile, [(place, index(LANES))]), WORDS))
            else:
                even = at(builder, tile, [(place, index(2 * LANES))])
                given = load(builder, even), load(builder, builder.gep(even, [index(LANES)]))
            made = []
            for line, begins in enumerate(starts):
                for odd, of_keys in enumerate(given):
                    factor = everywhere(builder, at(builder, begins, [(place, index(2)), (index(odd), index(1))]))
                    made.append(fused(builder, factor, of_keys, sums[2 * line + odd]))
            return made

        sums = summed(builder, half, [ZEROS] * (2 * count), add)
        for place, line in enumerate(lines):
            found = builder.fadd(sums[2 * place], sums[2 * place + 1])
            where = [(line, outer), (begin, index(1)), (number, index(LANES))]
            store(builder, found, at(builder, out, where))
        return context.get_dummy_value()

    integer = types.int64
    return types.void(queries, keys, integer, weights, integer, integer, rows), generate


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@compiled(nogil=True)
def _gather(weights: Any, values: Any, count: int, seen: Any, sample: int, end: int, start: int) -> None:
    """Add the values, weighted from `start` on, to `seen` of the samples from `sample` to before `end`."""
    registers = seen.shape[1] // LANES
    while end > sample:
        rows = _at_once(end - sample)
        column = 0
        while registers - column >= _WIDE:
            if rows == 5:
                _columns(weights, values, count, seen, sample, start, column, 5, _WIDE)
            elif rows == 4:
                _columns(weights, values, count, seen, sample, start, column, 4, _WIDE)
            elif rows == 2:
                _columns(weights, values, count, seen, sample, start, column, 2, _WIDE)
            else:
                _columns(weights, values, count, seen, sample, start, column, 1, _WIDE)
            column += _WIDE
        while column < registers:
            for one in range(sample, sample + rows):
                _columns(weights, values, count, seen, one, start, column, 1, 1)
            column += 1
        sample += rows


@intrinsic(prefer_literal=True)
def _columns(
    typing: Any, weights: Any, values: Any, tokens: Any, seen: Any, sample: Any, start: Any, column: Any, rows: Any,
    registers: Any,
) -> Any:  # fmt: skip
    """Add Σ weights[sample …, start + token] · values[token, column …] to seen[sample …, column …]."""
    count, wide, is_narrow = rows.literal_value, registers.literal_value, values.dtype == types.uint32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        (w, (_, inner)), (v, (_, width)), (out, _) = (
            array(context, builder, kinds[place], arguments[place]) for place in (0, 1, 3)
        )
        many, first, begin, across = arguments[2], *arguments[4:7]
        lines = [builder.add(first, index(line)) for line in range(count)]
        starts = [at(builder, w, [(line, inner), (begin, index(1))]) for line in lines]
        columns = [[(across, index(LANES)), (index(part), index(LANES))] for part in range(wide)]
        there = [at(builder, out, [(line, width), *column]) for line in lines for column in columns]

        def given(place: Any, kind: Any) -> list[Any]:
            return [load(builder, at(builder, v, [(place, width), *column]), kind) for column in columns]

        def more(sums: Any, token: Any, parts: Any) -> list[Any]:
            factors = [everywhere(builder, at(builder, begins, [(token, index(1))])) for begins in starts]
            return [
                fused(builder, factor, part, sums[line * wide + number])
                for line, factor in enumerate(factors)
                for number, part in enumerate(parts)
            ]

        def one(place: Any, sums: Any) -> Any:
            return more(sums, place, given(place, FLOATS))

        def two(place: Any, sums: Any) -> Any:
            low, high = zip(*(halves(builder, words) for words in given(place, WORDS)), strict=True)
            token = builder.mul(place, index(2))
            return more(more(sums, token, low), builder.add(token, index(1)), high)

        def last(_: Any, sums: Any) -> Any:
            token = builder.sub(many, index(1))
            words = given(builder.lshr(token, index(1)), WORDS)
            return more(sums, token, [halves(builder, part)[0] for part in words])

        sums = [load(builder, where) for where in there]
        if is_narrow:
            sums = summed(builder, builder.lshr(many, index(1)), sums, two)
            sums = summed(builder, builder.and_(many, index(1)), sums, last)
        else:
            sums = summed(builder, many, sums, one)
        for where, found in zip(there, sums, strict=True):
            store(builder, found, where)
        return context.get_dummy_value()

    integer = types.int64
    kinds = (weights, values, integer, seen, integer, integer, integer, rows, registers)
    return types.void(*kinds), generate
