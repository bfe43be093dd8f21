"""The compiled loops between the products give what torch's own operations give, and let NaN and infinity through."""

import numpy as np
import pytest
import torch
from torch import nn

from models.compiled import _multiplies_and_adds, is_worth_it
from models.compiled.between import gated, normed


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_none(value):
    x, kept = torch.tensor([[1.0, value]]), torch.empty(1, 2)
    normed(x.numpy(), 1e-5, kept.numpy())
    assert not kept.isfinite().all()


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


@pytest.mark.parametrize(("machine", "capability", "does"), [
    ("x86_64", "AVX512", True), ("AMD64", "AVX2", True), ("x86_64", "DEFAULT", False), ("x86_64", "NO AVX", False),
    ("aarch64", "DEFAULT", True), ("arm64", "DEFAULT", True),
])  # fmt: skip
def test_they_are_for_processors_that_multiply_and_add_at_once(machine, capability, does):
    assert _multiplies_and_adds(machine, capability) is does
