"""Attention in compiled loops is a softmax over history and own tokens, whatever is kept and however it is laid out."""

import pytest
import torch

from models.compiled.cache import Cache

WIDE, NARROW = torch.float32, torch.bfloat16
DTYPES = pytest.mark.parametrize("dtype", [WIDE, NARROW])


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kept(both: torch.Tensor, dtype: torch.dtype, room: int) -> Cache:
    """A cache of keys and values [2, R, h, T, e]; what is behind them is no number, and must not be read."""
    _, rows, heads, _, size = both.shape
    made = Cache(rows, heads, size, room, dtype)
    made.keep(torch.full((2, rows, heads, room, size), float("nan")), 0)
    made.keep(both, 0)
    return made


@pytest.mark.parametrize(("series", "samples"), [(1, 1), (1, 5), (3, 1), (2, 4), (1, 10), (2, 2)])
@pytest.mark.parametrize(("length", "used"), [(0, 1), (0, 37), (23, 0), (64, 9), (3, 2)])
@pytest.mark.parametrize("size", [2, 4, 52, 64, 80, 144])
@DTYPES
def test_attention_is_a_softmax_over_history_and_own_tokens(series, samples, length, used, size, dtype):
    rows, heads = series * samples, 3
    q, before = draw(rows, heads, size), draw(2, series, heads, length, size, seed=2)
    own = draw(2, rows, heads, used, size, seed=3)
    history = kept(before, dtype, length + 3) if length else None

    out = kept(own, dtype, used + 2).attend(q, used, history, length)

    keys, values = torch.cat([before.repeat_interleave(samples, 1), own], 3).to(dtype).double()
    weights = (q.double()[:, :, None] @ keys.transpose(-1, -2)).softmax(-1)
    torch.testing.assert_close(out, (weights @ values)[:, :, 0].float(), atol=1e-5, rtol=1e-5)


@DTYPES
def test_a_row_sees_the_same_bits_whatever_samples_stand_beside_it(dtype):
    before, own, q = draw(2, 1, 2, 50, 24), draw(2, 7, 2, 5, 24, seed=2), draw(7, 2, 24, seed=3)
    history = kept(before, dtype, 50)

    together = kept(own, dtype, 5).attend(q, 5, history, 50)

    for row in range(7):
        alone = kept(own[:, row : row + 1], dtype, 5).attend(q[row : row + 1], 5, history, 50)
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("score", [-200.0, 0.0, 200.0])
def test_scores_however_large_leave_weights_that_sum_to_one(score):
    both = torch.ones(2, 1, 1, 3, 2)
    both[0, 0, 0, 2] = -1

    out = kept(both, WIDE, 3).attend(torch.full((1, 1, 2), score), 3, None, 0)

    assert out.tolist() == [[pytest.approx([1.0, 1.0], abs=1e-6)]]


@DTYPES
def test_queries_and_keys_are_turned_as_complex_numbers_and_keys_and_values_kept(dtype):
    parts = draw(2, 3, 4, 6)
    before, made = parts.clone(), kept(torch.zeros(2, 2, 4, 3, 6), dtype, 3)
    turns = torch.polar(torch.ones(1, 3), draw(1, 3, seed=4))

    made.turn(parts, turns, 2)

    turned = torch.view_as_real(torch.view_as_complex(before[:, :2].reshape(2, 2, 4, 3, 2)) * turns).reshape(2, 2, 4, 6)
    torch.testing.assert_close(parts[:, :2], turned)
    assert torch.equal(parts[:, 2], before[:, 2])
    assert torch.equal(made.keys(3)[:, :, 2], parts[:, 1].to(dtype).float())
    assert torch.equal(made.values(3)[:, :, 2], parts[:, 2].to(dtype).float())
    assert not made.keys(2).any()
    assert not made.values(2).any()


def test_what_is_kept_is_rounded_as_torch_rounds():
    numbers = torch.tensor([1.0, -1.00390625, 1.01171875, 3.4e38, float("inf"), float("-inf"), 1e-40, float("nan")])
    made = kept(numbers.expand(2, 1, 1, 1, 8), NARROW, 1)

    for found in (made.keys(1), made.values(1)):
        torch.testing.assert_close(found[0, 0, 0], numbers.bfloat16().float(), rtol=0, atol=0, equal_nan=True)
