"""Schedules against torch's own, and plans that cannot be."""

from itertools import pairwise

import pytest
import torch

from engine.errors import SettingsError
from models.training.plan import OptimiserPlan, Plan, Schedule


def test_one_cycle_is_torchs_with_its_momentum():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-4, total_steps=137, pct_start=0.03, div_factor=10)
    ours = Schedule("one_cycle", 0.03, first=0.1, last=0.1 / 1e4, cycles_momentum=True)

    for step in range(137):
        group = optimiser.param_groups[0]
        assert 2e-4 * ours.factor(step, 137) == pytest.approx(group["lr"], rel=1e-9)
        assert ours.first_beta(step, 137) == pytest.approx(group["betas"][0], rel=1e-9)
        optimiser.step()
        if step < 136:
            theirs.step()


def test_cosine_rises_in_a_line_and_falls_to_its_end():
    of = Schedule("cosine", 0.1, last=0.01)
    rates = [of.factor(step, 100) for step in range(100)]

    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.01)


def test_a_schedule_laid_out_for_more_epochs_is_the_same_curve():
    assert Plan(epochs=2, schedule_epochs=4).steps(10) == Plan(epochs=4).steps(10) == 40


def test_plans_that_cannot_be_are_refused():
    with pytest.raises(SettingsError, match=r"train: epochs is 0; expected 1 or more"):
        Plan(epochs=0)
    with pytest.raises(SettingsError, match="both clip_norm and clip_value are given; expected one of them"):
        Plan(clip_norm=1.0, clip_value=1.0)
    with pytest.raises(SettingsError, match="warm_up is 1.5; expected a share of the steps, from 0, below 1"):
        Schedule("cosine", 1.5)
    with pytest.raises(SettingsError, match="nothing would be trained: every parameter is frozen"):
        OptimiserPlan().made([torch.nn.Parameter(torch.zeros(1), requires_grad=False)])
