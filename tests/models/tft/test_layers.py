"""Each layer against its formula, one number at a time."""

import math

import pytest
import torch

from models.tft.attention import InterpretableAttention, hidden_steps, lowest
from models.tft.layers import GatedResidualNetwork, ResampleNorm, interpolate


def randomised(module, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return module.eval().requires_grad_(False)


def layer_norm(values: list[float], norm) -> list[float]:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return [
        (value - mean) / math.sqrt(variance + 1e-5) * float(norm.weight[i]) + float(norm.bias[i])
        for i, value in enumerate(values)
    ]


def linear(layer, x: list[float]) -> list[float]:
    biases = [0.0] * len(layer.weight) if layer.bias is None else layer.bias.tolist()
    products = [sum(w * one for w, one in zip(row, x, strict=True)) for row in layer.weight.tolist()]
    return [product + bias for product, bias in zip(products, biases, strict=True)]


def stretched(x: list[float], size: int) -> list[float]:
    """Linear interpolation with both ends kept."""
    out = []
    for i in range(size):
        place = i * (len(x) - 1) / (size - 1) if size > 1 else 0.0
        left = min(int(place), len(x) - 1)
        right = min(left + 1, len(x) - 1)
        out.append(x[left] + (x[right] - x[left]) * (place - left))
    return out


@pytest.mark.parametrize(("size", "wanted"), [(3, 7), (8, 3), (1, 4), (5, 1), (4, 4)])
def test_interpolation_keeps_both_ends(size, wanted):
    x = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(size))

    found = interpolate(x, wanted)

    expected = [[stretched(row.tolist(), wanted) for row in part] for part in x]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "hidden", "output"), [(4, 4, 4), (3, 2, 6), (7, 5, 2), (1, 1, 5)])
@pytest.mark.parametrize("has_context", [True, False])
def test_a_gated_residual_network_is_its_formula(size, hidden, output, has_context):
    network = randomised(GatedResidualNetwork(size, hidden, output, context_size=3 if has_context else None))
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(size, generator=generator)
    context = torch.randn(3, generator=generator) if has_context else None

    first = linear(network.fc1, x.tolist())
    if context is not None:
        first = [a + b for a, b in zip(first, linear(network.context, context.tolist()), strict=True)]
    both = linear(network.gate_norm.glu.fc, linear(network.fc2, [a if a > 0 else math.expm1(a) for a in first]))
    gated = [a / (1 + math.exp(-b)) for a, b in zip(both[:output], both[output:], strict=True)]
    skip = x.tolist()
    if size != output:
        mask = [2 / (1 + math.exp(-float(one))) for one in network.resample_norm.mask]
        resized = [a * b for a, b in zip(stretched(skip, output), mask, strict=True)]
        skip = layer_norm(resized, network.resample_norm.norm)
    expected = layer_norm([a + b for a, b in zip(gated, skip, strict=True)], network.gate_norm.add_norm.norm)

    found = network(x[None], None if context is None else context[None])[0]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-5, rtol=1e-5)


def test_a_mask_at_its_start_changes_nothing():
    resample = ResampleNorm(3, 3).requires_grad_(False)
    x = torch.randn(4, 3)

    torch.testing.assert_close(resample(x), torch.nn.functional.layer_norm(x, (3,)))


def test_attention_is_its_formula():
    attention = randomised(InterpretableAttention(6, 2))
    generator = torch.Generator().manual_seed(3)
    steps = torch.randn(1, 5, 6, generator=generator)
    hidden = torch.zeros(1, 2, 5, dtype=torch.bool)
    hidden[0, 0, 3:], hidden[0, 1, 4] = True, True

    found, weights = attention(steps[:, 3:], steps, hidden)

    values = [linear(attention.v_layer, step.tolist()) for step in steps[0]]
    for query in range(2):
        heads = []
        for head in range(2):
            q = linear(attention.q_layers[head], steps[0, 3 + query].tolist())
            keys = [linear(attention.k_layers[head], step.tolist()) for step in steps[0]]
            scores = [sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(3) for k in keys]
            seen = [math.exp(score) if not hidden[0, query, at] else 0.0 for at, score in enumerate(scores)]
            shares = [one / sum(seen) for one in seen]
            torch.testing.assert_close(weights[0, query, head], torch.tensor(shares), atol=1e-5, rtol=1e-5)
            heads.append([sum(share * value[i] for share, value in zip(shares, values, strict=True)) for i in range(3)])
        mean = [(a + b) / 2 for a, b in zip(*heads, strict=True)]
        expected = torch.tensor(linear(attention.w_h, mean))
        torch.testing.assert_close(found[0, query], expected, atol=1e-4, rtol=1e-4)


def test_who_is_hidden_from_whom():
    lengths = torch.tensor([3, 1]), torch.tensor([2, 1])

    causal = hidden_steps(*lengths, 3, 2, causal=True)
    free = hidden_steps(*lengths, 3, 2, causal=False)

    # A step ahead sees what is strictly before it: the first sees the past alone, the second also the first.
    assert causal[0].int().tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]
    assert causal[1].int().tolist() == [[0, 1, 1, 1, 1], [0, 1, 1, 0, 1]]
    assert free[0].int().tolist() == [[0, 0, 0, 0, 0]] * 2
    assert free[1].int().tolist() == [[0, 1, 1, 0, 1]] * 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_hidden_stays_hidden_in_half_precision(dtype):
    """The mask's −1e9 is beyond float16."""
    attention = randomised(InterpretableAttention(6, 2)).to(dtype)
    steps = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    hidden = torch.tensor([[[False, False, True, True]]])

    found, weights = attention(steps[:, 3:], steps, hidden)

    assert bool(found.isfinite().all())
    assert not weights[..., 2:].any()
    assert lowest(-1e9, torch.float32) == -1e9
    assert lowest(float("-inf"), dtype) == float("-inf")
