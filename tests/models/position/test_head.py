"""The position head: training choice, serving choice, state, and its objective."""

import math

import pytest
import torch

from engine.bars import HOUR
from engine.errors import PluginError
from models.position.head import HeadSizes, Policy, PolicyState, PositionHead, Serving, gumbel, openness
from models.position.objective import (
    Weights,
    after_cost_objective,
    drawdown,
    information_ratio,
    log_wealth,
    net_returns,
    opportunity_cost,
    original_loss,
    regime,
    relative_return,
    risk_cost,
)


def head(seed: int = 0, **sizes) -> PositionHead:
    torch.manual_seed(seed)
    made = PositionHead(HeadSizes(**{"features": 5, "state": 8, **sizes})).eval()
    with torch.no_grad():
        made.out[2].weight *= 20  # decided opinions
    return made


def features(count: int, steps: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, steps, 5, generator=torch.Generator().manual_seed(seed))


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return gumbel(shape, torch.Generator().manual_seed(seed), torch.device("cpu"))


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("mode", ["expectation", "argmax", "sample"])
def test_one_by_one_is_the_batch(short, mode):
    made, serving = head(short=short), Serving(mode=mode, temperature=0.5)
    x = features(4, 200)
    names = [f"S{symbol}" for symbol in range(4)]
    together = made.replay(x, serving, symbols=names)
    policy = Policy(made, serving, "m")
    for symbol, name in enumerate(names):
        state, held = policy.begin(), 0.0
        for step in range(200):
            made_now = policy.step(
                x[symbol : symbol + 1, step],
                {name: PolicyState.from_json(state.to_json())},
                {name: held},
                (step + 1) * HOUR,
                HOUR,
            )
            held, state = made_now.shares[name], made_now.states[name]
            assert held == pytest.approx(float(together[symbol, step]), abs=1e-5)
            assert (made_now.restarted, made_now.broken) == ((), ())
    low = -1.0 if short else 0.0
    assert float(together.min()) >= low
    assert float(together.max()) <= 1.0
    torch.testing.assert_close(together * 10, (together * 10).round(), atol=1e-4, rtol=0)
    assert len(together.unique()) > 3


def test_serving_is_deterministic_and_training_noise_is_seeded():
    made, x = head(), features(3, 30)

    assert torch.equal(made.replay(x, Serving()), made.replay(x, Serving()))
    noisy = [made.unroll(x, 0.5, noise=drawn((3, 30, 11), seed)).shares for seed in (1, 1, 2)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])


def test_noise_that_lasts_moves_nothing_by_itself():
    made, x = head(), features(3, 1).expand(3, 60, 5)
    moved = {
        steps: made.unroll(x, 0.5, noise=drawn((3, steps, 11), 0)).shares[:, 30:].diff(dim=1).abs().mean()
        for steps in (1, 60)
    }
    assert moved[1] < 1e-3 < 0.05 < moved[60]


def test_openness_is_one_where_nothing_is_preferred_and_none_where_all_is_decided():
    decided = torch.zeros(1, 11)
    decided[0, 4] = 100.0
    halves = torch.full((1, 11), -100.0)
    halves[0, :2] = 0.0

    assert float(openness(torch.zeros(1, 11))) == pytest.approx(1)
    assert float(openness(decided)) == pytest.approx(0, abs=1e-6)
    assert float(openness(halves)) == pytest.approx(math.log(2) / math.log(11))


def test_later_features_change_no_earlier_share():
    made, x = head(), features(2, 30)
    changed = x.clone()
    changed[:, 20:] *= -3

    assert torch.equal(made.replay(x, Serving())[:, :20], made.replay(changed, Serving())[:, :20])


def test_what_is_held_is_left_alone_while_the_wish_is_near():
    made = head()
    logits = torch.full((1, 11), -50.0)
    logits[0, 5] = 0.0  # wishes one half

    def chosen(held: float, **options) -> float:
        return float(made.choose(logits, torch.tensor([held]), Serving(temperature=0.5, **options)))

    assert chosen(0.47) == pytest.approx(0.47)
    assert chosen(0.44) == pytest.approx(0.44)
    assert chosen(0.42) == pytest.approx(0.5)
    assert chosen(0.0, most=0.3) == pytest.approx(0.3)
    assert chosen(1.0) == pytest.approx(0.5)


def test_the_position_that_was_filled_is_what_the_head_is_told():
    policy = Policy(head(), Serving(), "m")
    x = features(1, 1)[:, 0]

    first = policy.step(x, {"A": policy.begin()}, {"A": 0.0}, HOUR, HOUR)[1]["A"]
    other = policy.step(x, {"A": policy.begin()}, {"A": 1.0}, HOUR, HOUR)[1]["A"]

    assert first.hidden != other.hidden
    assert (first.executed, other.executed, first.bar_time, first.steps) == (0.0, 1.0, HOUR, 1)


def test_a_state_is_begun_anew_after_a_long_gap():
    policy = Policy(head(), Serving(), "m", gap=3)
    x = features(1, 2)
    state = policy.step(x[:, 0], {"A": policy.begin()}, {}, HOUR, HOUR)[1]

    assert policy.step(x[:, 1], state, {}, 5 * HOUR, HOUR)[2] == ()
    late = policy.step(x[:, 1], state, {}, 6 * HOUR, HOUR)
    assert late.restarted == ("A",)
    assert late.shares == policy.step(x[:, 1], {"A": policy.begin()}, {}, 6 * HOUR, HOUR)[0]


@pytest.mark.parametrize(
    ("state", "time", "message"),
    [
        (PolicyState((0.0,) * 8, model_hash="other"), 1, "is of the position head other, this one is m"),
        (PolicyState((0.0,) * 8, bar_time=HOUR, model_hash="m"), HOUR, "has seen the bar at 3600000000000 already"),
    ],
)
def test_states_that_do_not_fit_are_refused(state, time, message):
    with pytest.raises(PluginError, match=message):
        Policy(head(), Serving(), "m").step(features(1, 1)[:, 0], {"A": state}, {}, time, HOUR)
    with pytest.raises(PluginError, match="not the state of a position head"):
        PolicyState.from_json('{"hidden": 3}')


def test_a_sample_belongs_to_its_symbol_and_step_and_to_nothing_else_of_the_batch():
    policy = Policy(head(), Serving(mode="sample", temperature=1.0, seed=3), "m")
    alike = features(1, 1)[:, 0].expand(40, 5)
    names = [f"S{place}" for place in range(40)]

    def drawn_for(some: list[str]) -> dict[str, float]:
        return policy.step(alike[: len(some)], {name: policy.begin() for name in some}, {}, HOUR, HOUR).shares

    together = drawn_for(names)

    assert len(set(together.values())) > 3
    assert drawn_for(names[::-1]) == together
    assert drawn_for(names[7:9]) == {name: together[name] for name in names[7:9]}
    by_place = policy.step(
        alike[:2], {"0": policy.begin(), "1": policy.begin()}, {}, HOUR, HOUR, names=names[7:9]
    )
    assert list(by_place.shares.values()) == [together[name] for name in names[7:9]]


@pytest.mark.parametrize("mode", ["expectation", "argmax", "sample"])
@pytest.mark.parametrize("fault", ["features", "infinite features", "head"])
def test_where_a_number_is_none_what_is_held_and_the_state_of_before_are_kept(mode, fault):
    """NaN compares as false: what is held would look like the wish, and the state would be lost for good."""
    made = head()
    policy = Policy(made, Serving(mode=mode), "m")
    x = features(2, 3)
    before = policy.step(x[:, 0], {name: policy.begin() for name in "AB"}, {}, HOUR, HOUR).states
    good = policy.step(x[:, 2], before, {"A": 0.33, "B": 0.33}, 2 * HOUR, HOUR)
    spoilt = x[:, 1].clone()
    kept = made.out[2].bias.detach().clone()
    if fault == "head":
        with torch.no_grad():
            made.out[2].bias[2] = torch.nan
    else:
        spoilt[0, 1] = torch.nan if fault == "features" else torch.inf

    broken = policy.step(spoilt, before, {"A": 0.33, "B": 0.33}, 2 * HOUR, HOUR)

    assert broken.broken == (("A", "B") if fault == "head" else ("A",))
    assert broken.shares["A"] == pytest.approx(0.33)
    assert broken.states["A"] == before["A"]
    assert (broken.states["B"] == before["B"]) == (fault == "head")
    with torch.no_grad():
        made.out[2].bias.copy_(kept)
    assert policy.step(x[:, 2], broken.states | before, {"A": 0.33, "B": 0.33}, 2 * HOUR, HOUR) == good


def test_a_state_that_was_lost_to_such_numbers_is_begun_anew():
    policy = Policy(head(), Serving(), "m")
    lost = PolicyState((math.nan,) * 8, bar_time=HOUR, model_hash="m")

    found = policy.step(features(1, 1)[:, 0], {"A": lost}, {}, 2 * HOUR, HOUR)

    assert (found.restarted, found.broken) == (("A",), ())


def test_logits_that_say_nothing_wish_for_nothing():
    logits = torch.zeros(3, 11)
    logits[0, 2], logits[1, 3] = torch.nan, torch.inf

    shares = head().choose(logits, torch.tensor([0.3, 0.3, 0.3]), Serving())

    assert shares.isnan().tolist() == [True, True, False]


def test_noise_is_finite_and_of_gumbel_s_law():
    noise = gumbel(torch.Size([200_000]), torch.Generator().manual_seed(0), torch.device("cpu"))

    assert noise.isfinite().all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)
    assert float(noise.var()) == pytest.approx(torch.pi**2 / 6, abs=0.03)


def test_settings_that_cannot_be_are_refused():
    for settings, message in (
        ({"temperature": 0.01}, "temperature is 0.01"),
        ({"mode": "best"}, "mode is 'best'"),
        ({"most": 0}, "most 0"),
    ):
        with pytest.raises(PluginError, match=message):
            Serving(**settings)
    with pytest.raises(PluginError, match="temperature is 0"):
        head().unroll(features(1, 2), 0.0)
    with pytest.raises(PluginError, match="state is 0"):
        HeadSizes(3, 0)


@pytest.mark.parametrize("short", [False, True])
def test_parameters_are_counted_by_formula(short):
    made = head(features=11, state=7, short=short)

    assert made.sizes.parameter_count == sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_reach_every_parameter_and_are_finite(dtype):
    made = head().train().to(dtype)
    shares = made.unroll(features(6, 20).to(dtype), 0.3, noise=drawn((6, 20, 11), 0)).shares
    returns = 0.02 * torch.randn(6, 20, generator=torch.Generator().manual_seed(4))
    after_cost_objective(shares.float(), returns, 0.001, Weights(opportunity=0.1), regime(returns)).loss.backward()

    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert bool(parameter.grad.abs().sum() > 0), name


# ── the objective ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_net_returns_and_wealth_are_worked_out_by_hand():
    shares, returns = torch.tensor([[1.0, 0.5, 0.5]]), torch.tensor([[0.1, -0.2, 0.0]])

    net = net_returns(shares, returns, 0.01)

    assert net[0].tolist() == pytest.approx([0.09, -0.105, 0.0])
    assert net_returns(shares, returns, 0.01, torch.tensor([1.0]))[0, 0].item() == pytest.approx(0.1)
    assert float(log_wealth(net)[0, -1].exp()) == pytest.approx(1.09 * 0.895)
    assert float(drawdown(log_wealth(net))) == pytest.approx(-torch.log(torch.tensor(0.895)).item(), rel=1e-5)
    assert log_wealth(torch.tensor([[-5.0]])).isfinite().all()


def test_dearer_trading_asks_for_less_of_it():
    returns = torch.tensor([[0.01, -0.01] * 10])
    shares = torch.full((1, 20), 0.5)
    shares[:, ::2] = 0.6
    shares.requires_grad_()

    def push(cost: float) -> float:
        (gradient,) = torch.autograd.grad(after_cost_objective(shares, returns, cost, Weights()).loss, shares)
        return float(gradient[0, 10] - gradient[0, 11])

    assert push(0.0) < 0  # without costs, more of the rise is wished
    assert push(0.05) > 0


def test_regimes_are_scaled_by_volatility():
    drift = torch.full((1, 20), 0.001)
    noise = torch.tensor([[1.0, -1.0] * 10])

    assert regime(drift + 1e-4 * noise).tolist() == [1]
    assert regime(-drift + 1e-4 * noise).tolist() == [-1]
    assert regime(drift + 0.05 * noise).tolist() == [0]


def test_the_original_s_terms_are_their_formulas():
    shares, returns = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.1, -0.2]])
    bull, bear, side = (torch.tensor([value]) for value in (1, -1, 0))

    assert float(relative_return(shares, returns, bull)) == pytest.approx(-(-0.2 - 0.8 * -0.1))
    assert float(opportunity_cost(shares, returns, bull)) == pytest.approx(0.1)
    assert float(opportunity_cost(shares, returns, bear)) == pytest.approx(0.2)
    assert float(opportunity_cost(shares, returns, side)) == pytest.approx(0.1)
    assert float(risk_cost(shares, returns)) == pytest.approx(0.4 * 0.1 + 0.4 * 0.2 + 0.0, abs=1e-5)
    expected = relative_return(shares, returns, bull) + 0.2 * risk_cost(shares, returns) + 0.1 * 0.1
    assert float(original_loss(shares, returns, bull)) == pytest.approx(float(expected))


def test_the_benchmark_has_no_gradient():
    shares = torch.rand(3, 5, requires_grad=True)
    returns = torch.randn(3, 5)
    gradients = [
        torch.autograd.grad(relative_return(shares, returns, torch.full((3,), name)), shares)[0] for name in (1, 0, -1)
    ]

    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_the_information_ratio_has_a_bounded_gradient():
    for size in (1e-1, 1e-3, 1e-5, 0.0):
        excess = (size * torch.randn(4, 20, generator=torch.Generator().manual_seed(0))).requires_grad_()
        (gradient,) = torch.autograd.grad(information_ratio(excess, 0.02), excess)
        assert gradient.isfinite().all()
        assert float(gradient.abs().max()) < 20
