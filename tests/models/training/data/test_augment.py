"""Augmentation is off unless asked for, keeps the end of a window where it is, and comes from the seed."""

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.errors import SettingsError
from models.krnn import KRNNConfiguration
from models.kronos.configuration import TokenizerSizes
from models.position.price_transformer import PriceSizes
from models.training.data.augment import Augmentation
from models.training.data.splits import Split
from models.training.krnn import KRNNData, KRNNRecipe
from models.training.kronos import KronosWindows, TokenizerRecipe, WindowPlan
from models.training.panel import Panel
from models.training.price import PriceData, PriceRecipe
from models.training.recipe import Draws, Moment
from tests.models.training.markets import market, walk


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


def _bars(count: int = 64) -> torch.Tensor:
    rows = torch.from_numpy(np.stack([walk(34, seed) for seed in range(count)]))
    return torch.cat([rows, rows[..., 4:] * rows[..., 3:4]], dim=-1)


@pytest.mark.parametrize("change", [
    {"noise": 0.5}, {"scaling": 0.3}, {"warp": 0.4}, {"slicing": 0.3},
    {"noise": 0.2, "scaling": 0.2, "warp": 0.2, "slicing": 0.2},
])
def test_changed_bars_are_bars_and_what_labels_are_made_of_stays(change):
    bars = _bars()
    out = Augmentation(**change).of_bars(bars, _draws(), ahead=4)

    assert not torch.allclose(out[:, :29], bars[:, :29])
    open_, high, low, close, *amounts = out.unbind(-1)
    least, most = torch.minimum(open_, close), torch.maximum(open_, close)
    assert ((low <= least * (1 + 1e-12)) & (high * (1 + 1e-12) >= most)).all()
    assert (low > 0).all()
    assert all((amount >= 0).all() for amount in amounts)
    torch.testing.assert_close(out[:, 29, 3], bars[:, 29, 3])
    ahead = (out[:, 30:, 3] / out[:, 29:30, 3]).log() / (bars[:, 30:, 3] / bars[:, 29:30, 3]).log()
    if "scaling" in change:  # moves are larger or smaller, all of a window alike
        torch.testing.assert_close(ahead, ahead[:, :1].expand_as(ahead), rtol=1e-6, atol=0)
        assert float(ahead[:, 0].log().std()) == pytest.approx(change["scaling"], rel=0.4)
    else:
        assert torch.equal(out[:, 30:], bars[:, 30:])


def test_bars_are_left_alone_unless_asked_for_and_in_the_share_asked_for():
    bars = _bars()
    assert Augmentation().of_bars(bars, _draws()) is bars
    out = Augmentation(noise=0.5, share=0.3).of_bars(bars, _draws())
    changed = (out != bars).flatten(1).any(dim=1)
    assert 0 < int(changed.sum()) < 40


def test_networks_of_bars_are_trained_with_it_and_judged_without():
    panel = Panel.of(market(("A", "B", "C"), rows=200))
    split = Split.at(140 * HOUR, 200 * HOUR)
    change = Augmentation(noise=0.3, scaling=0.2)
    coder = TokenizerSizes(6, 16, 2, 16, 2, 2, 0.0, 0.0, 0.0, 4, 4, 0.05, 1.0, 1.1, 0.05, 4)
    made = {
        "krnn": lambda some: KRNNRecipe(panel, split, KRNNConfiguration(cnn_dim=4, rnn_dim=4), KRNNData(), some),
        "price": lambda some: PriceRecipe(panel, split, PriceSizes(horizons=2), PriceData(24), some),
        "kronos": lambda some: TokenizerRecipe(
            KronosWindows(panel, split, WindowPlan(20, 4, augmentation=some)), coder),
    }
    for name, recipe_with in made.items():
        plain, changed = recipe_with(Augmentation()), recipe_with(change)
        network = plain.network()
        losses = []
        for recipe in (plain, changed):
            recipe.to(torch.device("cpu"))
            moment = Moment(0, 0, 0.0, Draws(1, 32, torch.arange(32)))
            losses.append(float(recipe.loss(network.train(), torch.arange(32), moment).value.detach()))
        assert losses[0] != losses[1], name
        with torch.no_grad():
            said = [recipe.validate(network.eval(), Moment(0, 0, 1.0)) for recipe in (plain, changed)]
        assert repr(said[0]) == repr(said[1]), name


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingsError, match="augment: noise is -1"):
        Augmentation(noise=-1)
    with pytest.raises(SettingsError, match="augment: slicing is 1.5; expected a share"):
        Augmentation(slicing=1.5)
