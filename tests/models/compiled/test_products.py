"""The compiled product gives what torch's own gives, for every shape, the same bits whatever rows stand beside it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.compiled.memory import Memory
from models.compiled.products import columns_of, laid_out, product, rows_of

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def multiplied(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [M, k] by a weight [n, k] as it is laid out, without what that was filled up with."""
    rows = laid_out(weight, Memory())
    full = torch.zeros(len(x), columns_of(rows))
    full[:, : x.shape[1]] = x
    out = torch.full((len(x), rows_of(rows)), float("nan"))  # what was there before does not count
    product(rows, full.numpy(), out.numpy())
    return out[:, : len(weight)]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 9, 16])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 3), (64, 192), (131, 67), (513, 8), (1100, 5)])
@DTYPES
def test_a_product_is_that_of_the_weights_as_they_are_stored(rows, inputs, outputs, dtype):
    weight, x = draw(outputs, inputs).to(dtype), draw(rows, inputs, seed=2)

    made = multiplied(x, weight)

    torch.testing.assert_close(made, (x.double() @ weight.double().T).float(), atol=5e-5, rtol=1e-5)


@given(rows=st.integers(2, 13), row=st.integers(0, 12), inputs=st.integers(1, 700), seed=st.integers(0, 99))
def test_a_row_has_the_same_bits_alone_and_in_any_batch(rows, row, inputs, seed):
    weight, x = draw(9, inputs, seed=seed), draw(rows, inputs, seed=seed + 1)
    for dtype in (torch.float32, torch.bfloat16):
        batch = multiplied(x, weight.to(dtype))
        assert torch.equal(batch[row % rows], multiplied(x[row % rows][None], weight.to(dtype))[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@DTYPES
def test_what_is_no_number_stays_none(value, dtype):
    assert not multiplied(torch.tensor([[1.0, value]]), torch.ones(1, 2, dtype=dtype)).isfinite().any()


@DTYPES
def test_the_layout_holds_every_weight_once_in_the_order_in_which_it_is_read(dtype):
    weight = torch.arange(1.0, 1 + 8 * 64).view(8, 64).remainder(256).to(dtype)

    rows = laid_out(weight, Memory())

    if dtype == torch.float32:
        assert rows.shape == (1, 2, 4, 4, 16)
        assert rows[0, 1, 2, 3, 4] == weight[4 + 3, 2 * 16 + 4]
    else:
        assert rows.shape == (1, 2, 2, 4, 16)
        low, high = np.array([rows[0, 1, 1, 3, 4] << 16, rows[0, 1, 1, 3, 4] & 0xFFFF0000], np.uint32).view(np.float32)
        assert (low, high) == (weight[7, 32 + 4], weight[7, 32 + 16 + 4])
