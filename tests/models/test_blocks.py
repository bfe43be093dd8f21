"""The shared parts against their formulas, written out number by number."""

import math

import pytest
import torch

from models.blocks import (
    RMSNorm,
    SwiGLU,
    causal_mask,
    join_heads,
    rope_frequencies,
    rope_tables,
    rotate_halves,
    rotate_pairs,
    split_heads,
)


def test_rmsnorm_is_its_formula():
    norm = RMSNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
    x = [3.0, -4.0, 12.0]

    root = math.sqrt(sum(v * v for v in x) / 3 + 1e-5)

    assert norm(torch.tensor(x)).tolist() == pytest.approx([3 / root, -8 / root, -12 / root], rel=1e-6)


def test_rmsnorm_keeps_small_numbers_of_half_precision():
    x = torch.full((4,), 1e-4, dtype=torch.float16)  # whose square is 0 in half precision

    assert RMSNorm(4).half()(x).float().tolist() == pytest.approx([1e-4 / math.sqrt(1e-8 + 1e-5)] * 4, rel=2e-3)


def test_swiglu_is_its_formula():
    torch.manual_seed(0)
    part = SwiGLU(3, 5)
    x = torch.randn(3)

    gate, up = part.w1.weight @ x, part.w3.weight @ x
    hidden = gate / (1 + torch.exp(-gate)) * up

    torch.testing.assert_close(part(x), part.w2.weight @ hidden)


@pytest.mark.parametrize("start", [0, 5])
def test_rotations_turn_each_pair_by_its_angle(start):
    torch.manual_seed(0)
    size, length = 6, 4
    x = torch.randn(2, length, size)
    cos, sin = rope_tables(rope_frequencies(size), length, start)
    halves, pairs = rotate_halves(x, cos, sin), rotate_pairs(x, cos, sin)

    for position in range(length):
        for j in range(size // 2):
            angle = (start + position) * 10_000 ** (-2 * j / size)
            turn = complex(math.cos(angle), math.sin(angle))
            for out, (a, b) in ((halves, (j, j + size // 2)), (pairs, (2 * j, 2 * j + 1))):
                before, after = x[0, position], out[0, position]
                turned = complex(float(before[a]), float(before[b])) * turn
                assert (float(after[a]), float(after[b])) == pytest.approx((turned.real, turned.imag), abs=1e-6)


@pytest.mark.parametrize("rotate", [rotate_halves, rotate_pairs])
def test_products_depend_on_the_distance_alone(rotate):
    torch.manual_seed(0)
    q, k = torch.randn(1, 8), torch.randn(1, 8)

    def product(at_query: int, at_key: int) -> float:
        turned = [rotate(x, *rope_tables(rope_frequencies(8), 1, at)) for x, at in ((q, at_query), (k, at_key))]
        return float((turned[0] * turned[1]).sum())

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert product(7, 3) != pytest.approx(product(8, 3), abs=1e-4)


def test_a_query_sees_keys_up_to_its_own():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]


def test_heads_are_split_and_joined():
    x = torch.arange(24.0).view(1, 2, 12)

    split = split_heads(x, 3)

    assert split.shape == (1, 3, 2, 4)
    assert split[0, 1, 0].tolist() == [4, 5, 6, 7]
    assert torch.equal(join_heads(split), x)
