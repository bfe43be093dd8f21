"""Losses against torch's own; NaN takes no part; stages that have come stay."""

import math

import pytest
import torch
from torch.nn import functional

from engine.errors import SettingsError
from models.tft.heads import quantile_loss
from models.training.plan import OptimiserPlan
from models.training.tft.losses import Balance, Stages, TargetLoss, mean_loss

RAW = torch.tensor([[[0.3]], [[-1.5]], [[2.0]], [[0.1]]])
TARGET = torch.tensor([0.0, 1.0, 1.0, 0.0])


def test_each_loss_is_torchs_own():
    said = RAW[:, 0, 0]
    assert TargetLoss("x", "smooth_l1")(RAW, TARGET) == pytest.approx(float(functional.smooth_l1_loss(said, TARGET)))
    assert TargetLoss("x", "mse")(RAW, TARGET) == pytest.approx(float(functional.mse_loss(said, TARGET)))
    weighed = functional.binary_cross_entropy_with_logits(said, TARGET, pos_weight=torch.tensor(3.0))
    assert TargetLoss("x", "bce", pos_weight=3.0)(RAW, TARGET) == pytest.approx(float(weighed))
    levels = (0.1, 0.5, 0.9)
    raw = RAW.expand(-1, -1, 3) + torch.tensor([-1.0, 0, 1])
    expected = quantile_loss(raw, TARGET[:, None], levels)
    assert TargetLoss("x", "pinball", levels)(raw, TARGET) == pytest.approx(float(expected))


@pytest.mark.parametrize("kind", ["smooth_l1", "mse", "bce"])
def test_what_is_not_known_takes_no_part(kind):
    raw = RAW.clone().requires_grad_()
    target = torch.tensor([0.0, math.nan, 1.0, math.nan])
    loss = TargetLoss("x", kind, known=0.5)(raw, target)
    assert loss.item() == pytest.approx(float(TargetLoss("x", kind)(RAW[[0, 2]], TARGET[[0, 2]])))
    loss.backward()
    assert raw.grad is not None
    assert raw.grad[1] == raw.grad[3] == 0
    assert torch.isfinite(raw.grad).all()


def test_slices_add_up_to_the_batch():
    loss = TargetLoss("x", "smooth_l1", known=0.75)
    target = torch.tensor([0.0, math.nan, 1.0, 0.0])
    parts = loss(RAW[:1], target[:1]) * 1 / 4 + loss(RAW[1:], target[1:]) * 3 / 4
    assert parts == pytest.approx(float(loss(RAW, target)))


def test_uncertainty_finds_the_variance_of_each_target():
    losses = (TargetLoss("easy", "mse"), TargetLoss("hard", "mse"), TargetLoss("event", "bce"))
    balance = Balance(losses, "uncertainty")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 3, generator=generator)
    raw = [torch.zeros(4000, 1, 1)] * 3
    targets = torch.stack([0.5 * noise[:, 0], 3.0 * noise[:, 1], (noise[:, 2] > 0).float()], dim=1)
    optimiser = torch.optim.Adam(balance.parameters(), 0.1)
    for _ in range(200):
        optimiser.zero_grad()
        total, parts = balance(raw, targets, (1, 1, 1))
        total.backward()
        optimiser.step()
    # At the optimum exp(s) = L of numbers, and 2 L of events.
    learned = balance.log_variance.detach().exp()
    assert learned[0] == pytest.approx(float(parts["easy"]), rel=0.02)
    assert learned[1] == pytest.approx(float(parts["hard"]), rel=0.02)
    assert learned[2] == pytest.approx(2 * float(parts["event"]), rel=0.02)


def test_the_formula_is_kendalls():
    balance = Balance((TargetLoss("a", "mse"), TargetLoss("b", "bce")), "uncertainty")
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([1.0, -9.0]))
    total, parts = balance((RAW, RAW), torch.stack([TARGET, TARGET], dim=1), (2.0, 0.5))
    a, b = float(parts["a"]), float(parts["b"])
    expected = 2 * (0.5 * math.exp(-1) * a + 0.5) + 0.5 * (math.exp(4) * b - 2)  # −9 counts as −4
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_fixed_weights_learn_no_variance():
    balance = Balance((TargetLoss("a", "mse"), TargetLoss("b", "mse")), "fixed")
    total, parts = balance((RAW, -RAW), torch.stack([TARGET, TARGET], dim=1), (3.0, 1.0))
    assert total.item() == pytest.approx((3 * float(parts["a"]) + float(parts["b"])) / 4)
    assert mean_loss({k: float(v) for k, v in parts.items()}, (3.0, 1.0), ("a", "b")) == pytest.approx(total.item())
    assert not [one for one in balance.parameters() if one.requires_grad]


def test_variances_do_not_decay():
    balance = Balance((TargetLoss("a", "mse"),), "uncertainty")
    balance.weight = torch.nn.Parameter(torch.ones(2))
    groups = OptimiserPlan("adamw", 0.1, 0.5).made(balance.parameters()).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.5), (1, 0.0)]
    assert groups[1]["params"][0] is balance.log_variance


def test_the_latest_stage_that_has_come_holds():
    stages = Stages({0: {"a": 6.0, "b": 3.0}, 5: {"a": 5.0}})
    assert stages.at(0, ("a", "b")) == stages.at(4, ("a", "b")) == (6.0, 3.0)
    assert stages.at(5, ("a", "b")) == stages.at(17, ("a", "b")) == (5.0, 1.0)
    assert Stages().at(3, ("a", "b")) == (1.0, 1.0)
    assert Stages({4: {"a": 2.0}}).at(3, ("a", "b")) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: {"logretrun": 1.0}}, "there is no target 'logretrun'; did you mean 'logreturn'"),
        ({-1: {}}, "begins at epoch -1"),
        ({0: {"logreturn": -1.0}}, "logreturn has -1.0; expected 0 or more"),
        ({3: {"logreturn": 0.0}}, "weights of epoch 3: every target has 0"),
    ],
)
def test_stages_that_cannot_be_are_refused(weights, message):
    with pytest.raises(SettingsError, match=message):
        Stages(weights).check(["logreturn"])
