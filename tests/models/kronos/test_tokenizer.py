"""Tokens and back: bits, causality, the quantiser's loss against its formula."""

import math

import pytest
import torch

from models.kronos.tokenizer import training_loss


def bars(seed: int = 0, length: int = 9) -> torch.Tensor:
    return torch.randn(2, length, 6, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_a_token_is_the_signs_with_the_first_bit_lowest(tokenizer):
    before = tokenizer.before_quantising(bars())
    s1, s2 = tokenizer.encode(bars())

    for n in range(2):
        for t in range(9):
            ones = [int(before[n, t, i] > 0) for i in range(9)]
            assert int(s1[n, t]) == sum(bit << i for i, bit in enumerate(ones[:4]))
            assert int(s2[n, t]) == sum(bit << i for i, bit in enumerate(ones[4:]))
    torch.testing.assert_close(tokenizer.bits_of(s1, s2), torch.where(before > 0, 1.0, -1.0) / 3)
    assert torch.equal(tokenizer.joined(s1, s2), s1 + 16 * s2)


@torch.inference_mode()
def test_later_bars_change_no_token_and_later_tokens_no_bar(tokenizer):
    changed = bars().clone()
    changed[:, 5:] = 99.0
    before, after = tokenizer.encode(bars()), tokenizer.encode(changed)

    assert all(torch.equal(a[:, :5], b[:, :5]) for a, b in zip(before, after, strict=True))
    s1, s2 = (part.clone() for part in before)
    whole = tokenizer.decode(s1, s2)
    s1[:, 5:] = 0
    torch.testing.assert_close(tokenizer.decode(s1, s2)[:, :5], whole[:, :5], atol=1e-6, rtol=0)


def test_the_quantiser_s_loss_is_its_formula(tokenizer):
    unit = torch.nn.functional.normalize(torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(3)), dim=-1)
    signs = torch.where(unit > 0, 1.0, -1.0) / 3
    commitment, sample, average = 0.0, 0.0, [0.0] * 9
    for n in range(2):
        for t in range(3):
            for i in range(9):
                u, q = float(unit[n, t, i]), float(signs[n, t, i])
                p = 1 / (1 + math.exp(4 * u / 3))
                commitment += (q - u) ** 2 / 6
                sample -= (p * math.log(p + 1e-8) + (1 - p) * math.log(1 - p + 1e-8)) / 6
                average[i] += p / 6
    codebook = -sum(p * math.log(p + 1e-8) + (1 - p) * math.log(1 - p + 1e-8) for p in average)

    loss = tokenizer.quantiser_loss(unit, signs)

    assert float(loss.commitment) == pytest.approx(commitment, rel=1e-5)
    assert float(loss.per_sample_entropy) == pytest.approx(sample, rel=1e-5)
    assert float(loss.codebook_entropy) == pytest.approx(codebook, rel=1e-5)
    assert float(loss.loss) == pytest.approx(0.05 * commitment + 0.05 * (sample - 1.1 * codebook), rel=1e-4)


def test_gradients_reach_every_parameter(tokenizer):
    training_loss(tokenizer(bars()), bars()).backward()

    without = [name for name, p in tokenizer.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    tokenizer.zero_grad()
    assert without == []
