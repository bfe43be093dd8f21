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


def narrow(inputs=48, outputs=24):
    generator = torch.Generator().manual_seed(2)
    weight, bias = torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator)
    return weight, bias, PackedLinear(weight, bias, torch.bfloat16)


@pytest.mark.parametrize("rows", [1, 5, 6, 13, 40])
def test_of_narrower_weights_and_rows_that_stand_alone_the_result_is_not_rounded(rows):
    weight, bias, packed = narrow()
    x = torch.randn(rows, 48, generator=torch.Generator().manual_seed(3))

    made = packed(x)

    expected = nn.functional.linear(x.bfloat16().float(), weight.bfloat16().float(), bias)
    torch.testing.assert_close(made, expected, atol=3e-5, rtol=1e-5)
    assert not torch.equal(made, nn.functional.linear(x, weight, bias))


def test_of_narrower_weights_many_rows_that_belong_together_are_rounded_and_the_result_is_wide():
    weight, bias, packed = narrow()
    x = torch.randn(40, 48, generator=torch.Generator().manual_seed(3))

    made = packed(x, 20)

    expected = nn.functional.linear(x.bfloat16().float(), weight.bfloat16().float())
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected + bias, atol=1e-1, rtol=1e-2)


@pytest.mark.parametrize("together", [1, 3, 7, 40])
@pytest.mark.parametrize("groups", [2, 5, 9])
def test_of_narrower_weights_a_result_has_the_same_bits_whatever_other_rows_there_are(together, groups):
    _, _, packed = narrow(600, 70)
    x = torch.randn(groups * together, 600, generator=torch.Generator().manual_seed(4))

    made = packed(x, together)

    for start in range(0, len(x), together):
        assert torch.equal(made[start : start + together], packed(x[start : start + together], together))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("inputs", [48, 600])
def test_no_rows_give_none_and_other_columns_are_refused(dtype, inputs):
    packed = PackedLinear(torch.randn(70, inputs), dtype=dtype)

    assert packed(torch.randn(0, inputs)).shape == (0, 70)
    for rows in (1, 20):
        for wrong in (inputs - 8, inputs + 8):
            with pytest.raises(RuntimeError, match=rf"{inputs} columns with x of shape \[{rows}, {wrong}\]"):
                packed(torch.randn(rows, wrong))


def test_the_copy_for_few_rows_is_made_only_where_it_is_used():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with_few = PackedLinear(torch.randn(6, 4))
        torch.set_num_threads(4)
        without = PackedLinear(torch.randn(6, 4))
    finally:
        torch.set_num_threads(threads)

    assert with_few._rows is not None
    assert without._rows is None
    assert without(torch.randn(1, 4)).shape == (1, 6)


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
