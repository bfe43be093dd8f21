"""What compiled loops are put together from: loads, products and sums of sixteen numbers, as instructions of LLVM.

A compiler that is left to find vectors in loops over several rows at once finds them across the wrong axis, or sums in
another order for another number of rows. Written out, a row's sum is made in one order whatever stands beside it: the
same bits. Sixteen float32 are a register of AVX-512; where there are none LLVM takes two or four smaller ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LANES = 16

FLOAT, WORD, INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, WORDS = ir.VectorType(FLOAT, LANES), ir.VectorType(WORD, LANES)
ZEROS = ir.Constant(FLOATS, [0.0] * LANES)

_SAID = getattr(config, "CPU_FEATURES", None)
_FEATURES = get_host_cpu_features().flatten() if _SAID is None else _SAID
_HAS_PAIRS = "+avx512bf16" in _FEATURES.split(",")
_UPPER = ir.Constant(WORDS, [0xFFFF0000] * LANES)
_HALF = ir.Constant(WORDS, [16] * LANES)


def index(number: int) -> Any:
    """Return a whole number that is known now."""
    return ir.Constant(INDEX, number)


def array(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, list[Any]]:
    """Return the address of an array's first number, and its lengths."""
    made = make_array(kind)(context, builder, value)
    return made.data, cgutils.unpack_tuple(builder, made.shape)


def at(builder: Any, base: Any, places: Sequence[tuple[Any, Any]]) -> Any:
    """Return the address of a number: `base` and Σ place · step, steps counted in numbers."""
    total: Any = index(0)
    for place, step in places:
        total = builder.add(total, builder.mul(place, step))
    return builder.gep(base, [total])


def load(builder: Any, address: Any, kind: Any = FLOATS) -> Any:
    """Return the sixteen numbers that stand at an address."""
    made = builder.load(builder.bitcast(address, kind.as_pointer()))
    made.align = 4
    return made


def store(builder: Any, value: Any, address: Any) -> None:
    """Write a vector to an address."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = 4


def everywhere(builder: Any, address: Any) -> Any:
    """Return the number at an address, sixteen times."""
    first = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), builder.load(address), ir.Constant(WORD, 0))
    return builder.shuffle_vector(first, first, ir.Constant(WORDS, [0] * LANES))


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a · b + c, rounded once."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32"), [a, b, c])


def paired(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return c + Σ of the products of the two bfloat16 of each word of a and b: one instruction where there is one."""
    if _HAS_PAIRS:
        kind = ir.FunctionType(FLOATS, [FLOATS, WORDS, WORDS])
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [c, a, b])
    (low, high), (of_low, of_high) = halves(builder, a), halves(builder, b)
    return fused(builder, high, of_high, fused(builder, low, of_low, c))


def halves(builder: Any, words: Any) -> tuple[Any, Any]:
    """Return the two bfloat16 of each word as float32, lower first: a bfloat16 is the upper half of a float32."""
    return builder.bitcast(builder.shl(words, _HALF), FLOATS), builder.bitcast(builder.and_(words, _UPPER), FLOATS)


def summed(
    builder: Any, count: Any, sums: Sequence[Any], body: Callable[[Any, Sequence[Any]], Sequence[Any]]
) -> Sequence[Any]:
    """Return what becomes of sums, that body(place, sums) gives anew for each place of 0 … count − 1."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    place = builder.phi(INDEX)
    carried = [builder.phi(value.type) for value in sums]
    builder.cbranch(builder.icmp_signed("<", place, count), inside, after)
    builder.position_at_end(inside)
    made = body(place, carried)
    following = builder.add(place, index(1))
    for phi, first, then in zip([place, *carried], [index(0), *sums], [following, *made], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return carried


def totals(builder: Any, vectors: Sequence[Any]) -> Any:
    """Return the sums of four vectors' lanes, as a vector of four."""

    def take(a: Any, b: Any, lanes: Sequence[int]) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(WORD, len(lanes)), list(lanes)))

    eight = [builder.fadd(take(v, v, range(8)), take(v, v, range(8, 16))) for v in vectors]
    low, high = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)
    four = [builder.fadd(take(a, b, low), take(a, b, high)) for a, b in (eight[:2], eight[2:])]
    low, high = (0, 1, 4, 5, 8, 9, 12, 13), (2, 3, 6, 7, 10, 11, 14, 15)
    two = builder.fadd(take(*four, low), take(*four, high))
    return builder.fadd(take(two, two, range(0, 8, 2)), take(two, two, range(1, 8, 2)))


def narrowed(builder: Any, number: Any) -> Any:
    """Return the bits of the bfloat16 nearest to a float32, ties to even."""
    bits = builder.bitcast(number, WORD)
    last = builder.and_(builder.lshr(bits, WORD(16)), WORD(1))
    nearest = builder.lshr(builder.add(bits, builder.add(last, WORD(0x7FFF))), WORD(16))
    is_number = builder.fcmp_ordered("==", number, number)
    return builder.trunc(builder.select(is_number, nearest, WORD(0x7FC0)), ir.IntType(16))


@intrinsic
def rounded(typing: Any, number: Any) -> Any:
    """As `narrowed`, for loops: uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return narrowed(builder, arguments[0])

    return types.uint16(types.float32), generate
