"""Inputs, latent attention, quantiles and sizes of PriceTransformer."""

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.errors import PluginError
from models.position.features import SLOTS, slots, targets, volatility
from models.position.price_transformer import LEVELS, PRESETS, Experts, PriceSizes, PriceTransformer, pinball


def windows(count: int = 3, length: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (count, length)), axis=1))
    values = np.stack([close * 0.999, close * 1.004, close * 0.995, close, rng.lognormal(3, 1, close.shape)], axis=-1)
    times = np.arange(length) * HOUR + np.arange(count)[:, None] * 7 * HOUR
    return values, times


def network(**sizes) -> PriceTransformer:
    torch.manual_seed(0)
    return PriceTransformer(PriceSizes(**sizes)).eval()


def test_slots_are_their_formulas():
    values, times = windows()
    made = slots(values, times)
    close, sigma = values[1, :, 3], np.diff(np.log(values[1, :, 3])).std()
    volume = np.log1p(values[1, :, 4])

    assert made.shape == (3, 40, len(SLOTS))
    assert made[1, 7, 0] == pytest.approx(np.log(close[7] * 0.999 / close[-1]), rel=1e-4)
    assert made[1, -1, 3] == 0
    assert made[1, 7, 4] == pytest.approx(np.log(close[7] / close[6]) / sigma, rel=1e-4)
    assert made[1, 7, 5] == pytest.approx(np.log(1.004 / 0.995) / sigma, rel=1e-4)
    assert made[1, 7, 6] == pytest.approx((volume[7] - volume.mean()) / volume.std(), rel=1e-4)
    assert made[1, 7, 10] == pytest.approx(np.sin(2 * np.pi * 14 / 168), rel=1e-4)
    assert (made[..., 9] == 0).all()


def test_slots_do_not_know_the_level_of_prices():
    values, times = windows()
    scaled = values.copy()
    scaled[..., :4] *= 64

    np.testing.assert_allclose(slots(scaled, times)[..., :7], slots(values, times)[..., :7], atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v.__setitem__((1, 3, 0), -1.0), "bar 3 of window 1 is"),
        (lambda v: v.__setitem__((0, 2, 4), np.nan), "bar 2 of window 0 is"),
    ],
)
def test_bars_that_cannot_be_are_refused(spoil, message):
    values, times = windows()
    spoil(values)

    with pytest.raises(PluginError, match=message):
        slots(values, times)
    with pytest.raises(PluginError, match=r"expected \[N, bars ≥ 2, 5 … 7\]"):
        slots(values[..., :4], times)


def test_targets_are_returns_in_units_of_volatility():
    close = np.array([1.0, 2.0, 4.0, 4.0])
    made = targets(close, np.array([0, 2]), np.array([0.5, 0.5]), 2)

    assert made[0] == pytest.approx([np.log(2) / 0.5, np.log(4) / (0.5 * np.sqrt(2))])
    assert made[1] == pytest.approx([0.0, np.nan], nan_ok=True)
    assert volatility(np.full((1, 5), 3.0)) == pytest.approx([1e-8])


def test_attention_one_token_at_a_time_is_the_window():
    attention = network(d_model=32, kv_rank=12, rope=6, nope=10, value=9).blocks[0].attention
    x = torch.randn(2, 11, 32)
    cache, outputs = None, []
    for step in range(11):
        out, cache = attention.step(x[:, step : step + 1], cache)
        outputs.append(out)

    torch.testing.assert_close(torch.cat(outputs, 1), attention(x), atol=1e-6, rtol=0)
    assert cache.latent.shape == (2, 11, 12)
    assert cache.key.shape == (2, 11, 6)


def test_attention_is_causal():
    attention = network().blocks[0].attention
    x = torch.randn(1, 9, 64)
    changed = x.clone()
    changed[:, 5:] = 7

    torch.testing.assert_close(attention(x)[:, :5], attention(changed)[:, :5], atol=1e-6, rtol=0)


def test_attention_is_its_formula():
    net = network(d_model=8, n_heads=2, kv_rank=4, rope=2, nope=2, value=3)
    a, x = net.blocks[0].attention, torch.randn(5, 8)
    latent = torch.stack([a.norm(a.down.weight @ row) for row in x])
    out = torch.zeros(5, 2, 3)
    for head in range(2):
        q = x @ a.query.weight[head * 4 : head * 4 + 4].T
        k = latent @ a.up_key.weight[head * 2 : head * 2 + 2].T
        v = latent @ a.up_value.weight[head * 3 : head * 3 + 3].T
        shared = x @ a.key.weight.T

        def turned(pair: torch.Tensor, position: int) -> torch.Tensor:
            turn = torch.polar(torch.tensor(1.0), torch.tensor(float(position)))  # base^0 = 1 radian a position
            made = torch.complex(pair[0], pair[1]) * turn
            return torch.stack([made.real, made.imag])

        for t in range(5):
            scores = torch.stack([q[t, :2] @ k[s] + turned(q[t, 2:], t) @ turned(shared[s], s) for s in range(t + 1)])
            out[t, head] = (scores / 2).softmax(0) @ v[: t + 1]

    torch.testing.assert_close(a(x[None])[0], out.flatten(1) @ a.out.weight.T, atol=1e-6, rtol=1e-5)


def test_quantiles_never_cross_and_features_carry_them():
    made = network()(torch.randn(50, 20, 11) * 5)

    assert (made.quantiles.diff(dim=-1) > 0).all()
    assert made.features.shape == (50, PriceSizes().feature_count)
    torch.testing.assert_close(made.features[:, 64:], made.quantiles.flatten(1))
    assert not made.features.requires_grad


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_parameters_are_counted_by_formula(name):
    with torch.device("meta"):
        net = PriceTransformer(PRESETS[name])

    assert PRESETS[name].parameter_count == sum(p.numel() for p in net.parameters())


def test_experts_are_their_formula_and_balanced_at_one():
    torch.manual_seed(0)
    part = Experts(6, 8, 4, 0.0)
    x = torch.randn(2, 5, 6)
    out, _ = part(x)
    for row, expected in zip(x.flatten(0, 1), out.flatten(0, 1), strict=True):
        chances = (part.router.weight @ row).softmax(0)
        best, places = chances.topk(2)
        mixed = sum(weight / best.sum() * part.experts[place](row) for weight, place in zip(best, places, strict=True))
        torch.testing.assert_close(mixed, expected)

    with torch.no_grad():
        part.router.weight.zero_()
    assert part(x)[1].item() == pytest.approx(1.0)
    with torch.no_grad():
        part.router.weight[0] = 100.0
    assert part(x.abs())[1].item() > 1.5


def test_gradients_reach_every_parameter():
    net = network(experts=4).train()
    made = net(torch.randn(40, 12, 11))
    (pinball(made.quantiles, torch.randn(40, 7)) + 0.01 * made.balance).backward()

    assert [n for n, p in net.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)] == []


def test_pinball_is_its_formula_and_leaves_out_what_is_not_known():
    quantiles = torch.tensor([[[-1.0, 0.0, 2.0], [0.0, 1.0, 2.0]]])
    targets_ = torch.tensor([[1.0, float("nan")]])

    expected = (0.1 * 2 + 0.5 * 1 + 0.1 * 1) / 3

    assert float(pinball(quantiles, targets_)) == pytest.approx(expected)
    assert LEVELS == (0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"rope": 3}, "rope is 3; expected an even"), ({"n_heads": 0}, "n_heads is 0"), ({"experts": 1}, "experts is 1")],
)
def test_sizes_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(PluginError, match=message):
        PriceSizes(**sizes)
    with pytest.raises(PluginError, match=r"expected \[N, T, 11\]"):
        network()(torch.zeros(2, 5, 10))
