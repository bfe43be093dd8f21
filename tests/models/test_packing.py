"""A packed matrix gives what nn.functional.linear gives, whatever the number of rows."""

import pytest
import torch
from torch import nn

from models.packing import PackedLinear, can_pack


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 12, 13, 33])
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (64, 192), (130, 66), (600, 20)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_it_is_a_linear_layer(rows, inputs, outputs, has_bias):
    generator = torch.Generator().manual_seed(rows)
    x, weight, bias = (
        torch.randn(*shape, generator=generator) for shape in ((rows, inputs), (outputs, inputs), (outputs,))
    )
    bias = bias if has_bias else None

    packed = PackedLinear(weight, bias)

    torch.testing.assert_close(packed(x), nn.functional.linear(x, weight, bias), atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 5, 6, 13])
def test_narrower_weights_are_rounded_once_and_the_result_is_wide(rows):
    generator = torch.Generator().manual_seed(2)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((rows, 48), (24, 48), (24,)))

    made = PackedLinear(weight, bias, torch.bfloat16)(x)

    expected = nn.functional.linear(x.bfloat16().float(), weight.bfloat16().float()) + bias
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected, atol=2e-2, rtol=1e-2)
    assert not torch.equal(made, nn.functional.linear(x, weight, bias))


def test_types_that_are_not_packed_are_multiplied_as_they_are():
    weight, x = torch.randn(3, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)

    assert not can_pack(weight)
    assert torch.equal(PackedLinear(weight, dtype=torch.float64)(x), nn.functional.linear(x, weight))
    assert not can_pack(torch.empty(3, 4, device="meta"))


def test_a_layer_that_changes_later_does_not_change_what_was_packed():
    weight = nn.Parameter(torch.randn(3, 4))
    packed, x = PackedLinear(weight), torch.randn(1, 4)
    before = packed(x).clone()
    with torch.no_grad():
        weight.mul_(2)

    assert torch.equal(packed(x), before)
    assert not packed(x).requires_grad
