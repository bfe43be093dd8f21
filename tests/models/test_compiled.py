"""The compiled loops give what torch's own operations give, for every shape, and let NaN and infinity through."""

import numpy as np
import pytest
import torch
from torch import nn

from models.compiled import (
    MOST_ROWS,
    attend,
    bits_of,
    gated,
    is_worth_it,
    normed,
    product,
    turn,
)


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", range(1, MOST_ROWS + 1))
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 3), (64, 192), (131, 67)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_that_of_the_weights_as_they_are_stored(rows, inputs, outputs, dtype):
    weight, x = draw(outputs, inputs).to(dtype), draw(rows, inputs, seed=2)
    out = torch.empty(rows, outputs)

    product(bits_of(weight), x.numpy(), out.numpy())

    torch.testing.assert_close(out, (x.double() @ weight.double().T).float(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_none(value):
    x, out = torch.tensor([[1.0, value]]), torch.empty(1, 1)
    product(torch.ones(1, 2).numpy(), x.numpy(), out.numpy())
    assert not out.isfinite().any()
    normed(x.numpy(), 1e-5, (kept := torch.empty(1, 2)).numpy())
    assert not kept.isfinite().all()


@pytest.mark.parametrize(("series", "samples"), [(1, 1), (1, 5), (3, 1), (2, 4)])
@pytest.mark.parametrize(("length", "used"), [(0, 1), (0, 37), (23, 0), (64, 9), (3, 2)])
@pytest.mark.parametrize("size", [4, 52, 64])
def test_attention_is_a_softmax_over_history_and_own_tokens(series, samples, length, used, size):
    rows, heads = series * samples, 3
    q, history = draw(rows, heads, size), draw(2, series, heads, length, size, seed=2)
    both = torch.full((2, rows, heads, used + 2, size), float("nan"))  # what is not used yet is never read
    both[:, :, :, :used] = draw(2, rows, heads, used, size, seed=3)
    out = torch.empty(rows, heads, size)

    attend(q.numpy(), history.numpy(), both.numpy(), used, out.numpy())

    keys, values = torch.cat([history.repeat_interleave(samples, 1), both[:, :, :, :used]], 3).double()
    weights = (q.double()[:, :, None] @ keys.transpose(-1, -2)).softmax(-1)
    torch.testing.assert_close(out, (weights @ values)[:, :, 0].float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("score", [-200.0, 0.0, 200.0])
def test_scores_however_large_leave_weights_that_sum_to_one(score):
    q, both, out = torch.full((1, 1, 1), score), torch.ones(2, 1, 1, 3, 1), torch.empty(1, 1, 1)
    both[0, 0, 0, 2] = -1

    attend(q.numpy(), both[:, :, :, :0].numpy(), both.numpy(), 3, out.numpy())

    assert float(out) == pytest.approx(1.0, abs=1e-6)


def test_queries_and_keys_are_turned_as_complex_numbers_and_keys_and_values_kept():
    parts, both = draw(2, 3, 4, 6), torch.zeros(2, 2, 4, 5, 6)
    before = parts.clone()
    angles = draw(3, seed=4)
    turns = torch.polar(torch.ones(3), angles)

    turn(parts.numpy(), torch.view_as_real(turns).reshape(-1).numpy(), both.numpy(), 2)

    turned = torch.view_as_real(torch.view_as_complex(before[:, :2].reshape(2, 2, 4, 3, 2)) * turns).reshape(2, 2, 4, 6)
    torch.testing.assert_close(parts[:, :2], turned)
    assert torch.equal(parts[:, 2], before[:, 2])
    assert torch.equal(both[:, :, :, 2], parts[:, 1:].transpose(0, 1))
    assert not both[:, :, :, [0, 1, 3, 4]].any()


def test_norms_and_gates_are_those_of_torch():
    x = draw(3, 130) * 20
    out = torch.empty(3, 130)
    normed(x.numpy(), 0.5, out.numpy())
    torch.testing.assert_close(out, x / (x.square().sum(-1, keepdim=True) + 0.5).sqrt())

    made = torch.empty(3, 65)
    gated(x.numpy(), made.numpy())
    gate, up = x.chunk(2, dim=-1)
    torch.testing.assert_close(made, nn.functional.silu(gate) * up, atol=1e-5, rtol=1e-5)
    extreme = torch.tensor([[-300.0, 300.0, 1.0, 1.0]])
    gated(extreme.numpy(), (ends := torch.empty(1, 2)).numpy())
    np.testing.assert_allclose(ends.numpy(), [[0.0, 300.0]], atol=1e-30)


def test_they_are_for_wide_numbers_on_a_cpu_with_few_cores():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert is_worth_it(torch.empty(1))
        assert not is_worth_it(torch.empty(1, dtype=torch.float64))
        assert not is_worth_it(torch.empty(1, device="meta"))
        torch.set_num_threads(4)
        assert not is_worth_it(torch.empty(1))
    finally:
        torch.set_num_threads(threads)
