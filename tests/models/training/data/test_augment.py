"""Augmentation is off unless asked for, keeps the end of a window where it is, and comes from the seed."""

import pytest
import torch

from engine.errors import SettingsError
from models.training.data.augment import Augmentation
from models.training.recipe import Draws


def _draws(count: int = 64, seed: int = 1) -> Draws:
    return Draws(seed, count, torch.arange(count))


def _windows() -> torch.Tensor:
    return torch.linspace(0, 1, 40)[None, :, None].expand(64, 40, 3).clone()


def test_it_is_off_by_default():
    windows = _windows()
    assert Augmentation()(windows, _draws()) is windows
    assert not Augmentation(noise=0.1, share=0.0).is_on


def test_the_same_seed_changes_windows_the_same_way():
    one = Augmentation(noise=0.1, scaling=0.1, warp=0.3, slicing=0.2)
    made = [one(_windows(), _draws()) for _ in range(2)]
    assert torch.equal(*made)
    assert not torch.equal(made[0], _windows())
    some = Draws(1, 64, torch.tensor([40, 3]))
    assert torch.equal(one(_windows()[:2], some), made[0][[40, 3]]), "whatever part of the batch is at hand"


def test_warped_time_goes_forward_and_ends_at_the_decision():
    out = Augmentation(warp=0.5)(_windows(), _draws())
    assert (out.diff(dim=1) >= -1e-6).all()
    assert out[:, -1] == pytest.approx(1.0)
    assert out[:, 0] == pytest.approx(0.0)
    assert float(out[:, 20].std()) > 0.01


def test_slicing_cuts_the_oldest_rows():
    out = Augmentation(slicing=0.25)(_windows(), _draws())
    assert float(out[:, 0].max()) <= 0.25 + 1e-6
    assert float(out[:, 0].mean()) == pytest.approx(0.125, abs=0.03)
    assert out[:, -1] == pytest.approx(1.0)


def test_noise_and_scaling_have_the_size_that_was_asked_for():
    ones = torch.ones(2000, 10, 2)
    assert float((Augmentation(noise=0.2)(ones, _draws(2000)) - 1).std()) == pytest.approx(0.2, rel=0.05)
    scaled = Augmentation(scaling=0.3)(ones, _draws(2000))
    assert float(scaled[:, 0].log().std()) == pytest.approx(0.3, rel=0.05)
    assert torch.equal(scaled[:, 0], scaled[:, 9])


def test_a_share_of_windows_is_changed():
    out = Augmentation(noise=0.2, share=0.3)(torch.ones(4000, 4, 2), _draws(4000))
    assert float((out != 1).any(dim=2).any(dim=1).float().mean()) == pytest.approx(0.3, abs=0.03)


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingsError, match="augment: noise is -1"):
        Augmentation(noise=-1)
    with pytest.raises(SettingsError, match="augment: slicing is 1.5; expected a share"):
        Augmentation(slicing=1.5)
