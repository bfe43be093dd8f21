"""The compiled product gives what torch's own gives, for every shape, the same bits whatever rows stand beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llvmlite.binding import get_host_cpu_features

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
def test_a_product_is_that_of_numbers_as_they_are_stored(rows, inputs, outputs, dtype):
    weight, x = draw(outputs, inputs).to(dtype), draw(rows, inputs, seed=2)

    made = multiplied(x, weight)

    torch.testing.assert_close(made, (x.to(dtype).double() @ weight.double().T).float(), atol=5e-5, rtol=1e-5)


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


def test_without_an_instruction_for_two_the_sums_are_the_same_to_rounding(tmp_path):
    features = get_host_cpu_features().flatten().replace("+avx512bf16", "-avx512bf16")
    environment = os.environ | {"NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    weight, x = draw(8, 96).bfloat16(), draw(3, 96, seed=2)

    made = torch.tensor(json.loads(done.stdout))

    torch.testing.assert_close(made, multiplied(x, weight), atol=2e-5, rtol=1e-5)


ALONE = """
import torch
from models.packing import PackedLinear

def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

torch.set_num_threads(1)
print(PackedLinear(draw(8, 96), dtype=torch.bfloat16)(draw(3, 96, seed=2)).tolist())
"""
ROOT = Path(__file__).parents[3]
