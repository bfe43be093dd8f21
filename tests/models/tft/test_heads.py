"""What raw numbers mean: points, quantiles, probabilities, classes; and the scales of targets."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import PluginError
from models.tft.heads import (
    Classes,
    Point,
    Probability,
    Quantiles,
    Target,
    check_targets,
    pos_weight_of,
    quantile_loss,
    read_all,
)
from models.tft.scaling import TargetScales, restore
from models.tft.statements import roles

SCALE = torch.tensor([[0.5, 2.0], [-1.0, 0.1]])


def test_a_point_is_in_the_target_s_unit():
    raw = torch.tensor([[[1.0], [2.0]], [[1.0], [-3.0]]])

    found = Point().read(raw, SCALE)

    torch.testing.assert_close(found, torch.tensor([[[2.5], [4.5]], [[-0.9], [-1.3]]]))


def test_quantiles_that_cross_are_put_in_order():
    raw = torch.tensor([[[0.0, -1.0, 3.0]], [[1.0, 2.0, 1.5]]])

    found = Quantiles((0.1, 0.5, 0.9)).read(raw, SCALE)

    torch.testing.assert_close(found, torch.tensor([[[-1.5, 0.5, 6.5]], [[-0.9, -0.85, -0.8]]]))


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0.02, 0.98), weight=st.floats(0.2, 10))
def test_the_weight_of_positives_is_undone(rate, weight):
    """Weighed cross-entropy is least at logit(rate) + log weight; what is read must be the rate itself."""
    learned = math.log(weight * rate / (1 - rate))

    found = Probability(weight).read(torch.full((1, 1, 1), learned, dtype=torch.float64), SCALE[:1])

    assert float(found) == pytest.approx(rate, abs=1e-9)


def test_a_weighed_loss_has_its_least_where_the_head_says():
    """Found by descent, not by the formula: a base rate of 10 % learned with weight 9 reads as 10 %."""
    happened = torch.tensor([1.0] + [0.0] * 9)
    logit = torch.tensor([-1.0], requires_grad=True)
    descent = torch.optim.LBFGS([logit], max_iter=100)

    def loss():
        descent.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(
            logit.expand(10), happened, pos_weight=torch.tensor(pos_weight_of(happened))
        )
        value.backward()
        return value

    descent.step(loss)

    assert float(logit.detach().sigmoid()) == pytest.approx(0.5, abs=1e-3)
    found = Probability(pos_weight_of(happened)).read(logit.detach().view(1, 1, 1), SCALE[:1])
    assert float(found) == pytest.approx(0.1, abs=1e-3)


def test_weights_of_classes_are_undone():
    shares = torch.tensor([0.7, 0.2, 0.1])
    weights = (1.0, 3.0, 5.0)
    raw = (shares * torch.tensor(weights)).log().view(1, 1, 3) + 4.2

    torch.testing.assert_close(Classes(("down", "flat", "up"), weights).read(raw, SCALE[:1])[0, 0], shares)
    assert float(Classes(("down", "up")).read(torch.zeros(1, 1, 2), SCALE[:1])[0, 0, 0]) == 0.5


@pytest.mark.parametrize(
    ("happened", "weight"),
    [([1, 0, 0, 0], 3), ([1, 1, 1, 0], 1), ([0, 0], 10), ([1] + [0] * 50, 10), ([1, 0, math.nan], 1)],
)
def test_the_weight_of_positives_is_bounded(happened, weight):
    assert pos_weight_of(torch.tensor(happened, dtype=torch.float32)) == weight


def test_quantiles_have_the_least_pinball_loss():
    sample = torch.randn(4001, 1, generator=torch.Generator().manual_seed(0))
    levels = (0.1, 0.5, 0.9)
    best = torch.quantile(sample, torch.tensor(levels)).view(1, 1, 3).expand(len(sample), 1, 3)
    least = quantile_loss(best, sample, levels)

    for shift in (-0.05, 0.05):
        for place in range(3):
            moved = best.clone()
            moved[..., place] += shift
            assert float(quantile_loss(moved, sample, levels)) > float(least)


def test_targets_go_through_json():
    targets = [
        Target("return", Quantiles((0.1, 0.9))),
        Target("close", Point()),
        Target("up", Probability(3.5)),
        Target("regime", Classes(("calm", "wild"), (1.0, 2.0))),
    ]

    assert [Target.of(target.as_json()) for target in targets] == targets
    assert targets[0].as_json() == {"name": "return", "kind": "quantiles", "levels": (0.1, 0.9)}
    check_targets(targets, (2, 1, 1, 2))
    read = read_all(targets, [torch.zeros(2, 1, size) for size in (2, 1, 1, 2)], SCALE[:, None].expand(2, 4, 2))
    assert [tuple(values.shape) for values in read.values()] == [(2, 1, 2), (2, 1, 1), (2, 1, 1), (2, 1, 2)]
    assert read.keys() == {"return", "close", "up", "regime"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Quantiles((0.5, 0.1)), r"levels of quantiles are \(0.5, 0.1\); expected them ascending"),
        (lambda: Quantiles((0.0, 0.1)), "expected numbers between 0 and 1"),
        (lambda: Quantiles(()), "expected numbers between 0 and 1"),
        (lambda: Probability(0), "pos_weight is 0; expected a positive number"),
        (lambda: Classes(("up",)), "expected two names or more"),
        (lambda: Classes(("up", "down"), (1.0,)), "weights of classes are"),
        (lambda: Target.of({"name": "x", "kind": "quantile"}), "did you mean 'quantiles'"),
        (lambda: Target.of({"kind": "point"}), "expected a name and a kind of point, quantiles, probability, classes"),
        (lambda: Target.of({"name": "x", "kind": "point", "levels": [0.1]}), "target 'x' of kind 'point'"),
        (lambda: check_targets([Target("x", Point())], (1, 1)), "targets are x; expected 2 different ones"),
        (
            lambda: check_targets([Target("x", Quantiles((0.1, 0.5)))], (7,)),
            r"target 'x' \(quantiles\) takes 2 outputs; the network gives it 7",
        ),
    ],
)
def test_heads_that_cannot_be_are_refused(make, message):
    with pytest.raises(PluginError, match=message):
        make()


# ── scales ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def fitted(**options) -> TargetScales:
    generator = torch.Generator().manual_seed(2)
    symbols = torch.tensor([1, 2]).repeat_interleave(200)
    periods = torch.tensor([1, 2]).repeat(200)
    targets = torch.randn(400, 2, generator=generator) * symbols[:, None] + 3 * periods[:, None]
    targets[5, 0] = math.nan
    return TargetScales.fit(targets, symbols, periods, symbol_count=3, period_count=2, scaled=(True, False), **options)


def test_scales_are_those_of_a_symbol_and_a_period():
    scales = fitted()

    centre, scale = scales.of(torch.tensor([1, 2]), torch.tensor([1, 2])).unbind(-1)

    torch.testing.assert_close(centre[:, 0], torch.tensor([3.0, 6.0]), atol=0.5, rtol=0)
    torch.testing.assert_close(scale[:, 0], torch.tensor([1.0, 2.0]), atol=0.3, rtol=0)
    assert centre[:, 1].tolist() == [0, 0]  # a class is not scaled
    assert scale[:, 1].tolist() == [1, 1]


def test_a_symbol_that_training_has_not_seen_has_what_its_period_has():
    scales = fitted()

    unseen, beyond, pooled = (scales.of(torch.tensor([code]), torch.tensor([2])) for code in (3, 99, 0))

    assert torch.equal(unseen, pooled)
    assert torch.equal(beyond, pooled)
    assert float(pooled[0, 0, 0]) == pytest.approx(6, abs=0.3)
    assert float(scales.of(torch.tensor([1]), torch.tensor([-1]))[0, 0, 0]) == pytest.approx(4.5, abs=0.3)


def test_few_rows_are_not_trusted():
    scales = fitted(least_rows=150)  # of a symbol and period there are 100, of a period 200

    assert torch.equal(scales.of(torch.tensor([1]), torch.tensor([1])), scales.of(torch.tensor([0]), torch.tensor([1])))


def test_restoring_undoes_normalising():
    scales = fitted()
    symbols, periods = torch.tensor([1, 2, 0]), torch.tensor([1, 2, 1])
    targets = torch.tensor([[2.5, 1.0], [7.0, 0.0], [4.0, 1.0]])

    normed = scales.normalise(targets, symbols, periods)

    of = scales.of(symbols, periods)
    for place in range(2):
        back = restore(normed[:, None, place, None], of[:, place])[:, 0, 0]
        torch.testing.assert_close(back, targets[:, place])
    far = scales.normalise(torch.tensor([[1e6, 50.0]]), symbols[:1], periods[:1])
    assert far.tolist() == [[8.0, 50.0]]


def test_a_constant_target_has_a_scale_and_none_is_refused():
    scales = TargetScales.fit(
        torch.ones(40, 1),
        torch.ones(40, dtype=torch.int64),
        torch.ones(40, dtype=torch.int64),
        symbol_count=1,
        period_count=1,
        scaled=(True,),
    )

    assert float(scales.scale.min()) > 0
    with pytest.raises(PluginError, match=r"a target's scale is 0.0; expected 1e-08 or more"):
        TargetScales(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
    with pytest.raises(PluginError, match=r"expected \[symbols \+ 1, periods \+ 1, targets\] twice"):
        TargetScales(torch.zeros(1, 1), torch.ones(1, 1))


def test_one_period_need_not_be_named():
    scales = TargetScales(torch.zeros(2, 2, 1), torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]))

    assert scales.of(torch.tensor([0, 1]))[:, 0, 1].tolist() == [2, 4]
    assert scales.tensors().keys() == {"target_centre", "target_scale"}


def test_a_return_and_a_rise_over_the_whole_horizon_are_what_a_forecast_is_scored_by():
    targets = [Target("near", Point()), Target("far", Quantiles((0.1, 0.9))), Target("moved", Probability()),
               Target("rose", Probability())]
    made = {
        "near": {"kind": "logreturn", "horizon": 1, "options": {}},
        "far": {"kind": "logreturn", "horizon": 4, "options": {}},
        "moved": {"kind": "binarytrend", "horizon": 4, "options": {"dead_band": 0.001}},
        "rose": {"kind": "binarytrend", "horizon": 4, "options": {"dead_band": 0.0}},
    }

    assert roles(targets, made, 4) == {"return_output": "far", "up_output": "rose"}
    assert roles(targets, made, 1) == {"return_output": "near"}
    assert roles(targets, {}, 4) == {}  # of targets by hand nothing is known but their names
