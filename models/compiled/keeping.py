"""Keys and values of new tokens, written where attention reads them.

Notation: R rows, h heads of size e, e' being e filled up to a multiple of sixteen, T tokens, B blocks of sixteen. As
they are written, float32 and bfloat16 alike: keys [R, h, B, e / 2, 2, 16], values [R, h, T / 2, 2, e'].
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from models.compiled.between import FAST
from models.compiled.caching import compiled
from models.compiled.vectors import LANES, narrowed


@intrinsic
def _stored(typing: Any, number: Any, where: Any) -> Any:
    """A float32 as the numbers of an array are: as it is, or as the bits of the nearest bfloat16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0] if where.dtype == types.float32 else narrowed(builder, arguments[0])

    return where.dtype(types.float32, where), generate


@compiled(fastmath=FAST, nogil=True)
def turn(parts: Any, turns: Any, keys: Any, values: Any, place: int) -> None:
    """Rotate the queries and keys of one new token of each row, in place, and keep its keys and values.

    Args:
        parts: [R, 3, h, e]: queries, keys, values; turns: cosine and sine of each pair at the token's position, [e];
            keys, values: as they are written; place: of the token.
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
        for head in range(heads):
            _keep(parts[row, 1, head], parts[row, 2, head], keys[row, head], values[row, head], place)


@compiled(nogil=True)
def keep(parts: Any, keys: Any, values: Any, start: int) -> None:
    """Keep the keys and values of several tokens, [2, R, h, Q, e], the first of them at place `start`."""
    _, rows, heads, count, _ = parts.shape
    for row in range(rows):
        for head in range(heads):
            for token in range(count):
                given = parts[0, row, head, token], parts[1, row, head, token]
                _keep(*given, keys[row, head], values[row, head], start + token)


@compiled(nogil=True)
def _keep(of_keys: Any, of_values: Any, keys: Any, values: Any, place: int) -> None:
    block, lane, pair, half = place // LANES, place % LANES, place // 2, place % 2
    for number in range(len(of_keys)):
        keys[block, number // 2, number % 2, lane] = _stored(of_keys[number], keys)
        values[pair, half, number] = _stored(of_values[number], values)
