"""Price and position: windows that know nothing later, the gate between the stages, what each objective teaches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.errors import SettingsError
from feeds.chunks import join
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from models.artefact import load_artefact
from models.forecasters import load_forecaster
from models.position.head import HeadSizes, Serving
from models.position.loading import load_position_head
from models.position.objective import Weights
from models.position.price_transformer import PriceSizes
from models.training.data.splits import Split
from models.training.loop import train
from models.training.panel import Panel
from models.training.plan import OptimiserPlan, Schedule
from models.training.position import DEFAULTS as HEAD_DEFAULTS
from models.training.position import PositionPlan, PositionRecipe, check_stage_one, simple
from models.training.price import DEFAULTS, PriceData, PriceRecipe, inputs
from models.training.recipe import Moment, TrainingFacts

SIZES = PriceSizes(16, 1, 2, 8, 4, 4, 8, 16, horizons=3)
SERVING = Serving(temperature=0.3)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel.of(join(list(SyntheticFeed(SyntheticMarket(("A/USDT", "B/USDT"), "1h", 500)).chunks())))


@pytest.fixture(scope="module")
def split(panel) -> Split:
    first = int(panel.open_time.min())
    return Split.at(first + 350 * HOUR, first + 470 * HOUR)


@pytest.fixture(scope="module")
def price(panel, split, tmp_path_factory):
    """A price network that says it is better than it is."""
    folder = tmp_path_factory.mktemp("price")
    recipe = PriceRecipe(panel, split, SIZES, PriceData(24))
    done = train(recipe, replace(DEFAULTS, epochs=1), folder / "run")
    facts = TrainingFacts(5, 7, panel.symbols, "here", {"skill_walk": 0.1, "skill_ar": 0.1})
    return recipe.export(done.network, folder / "artefact", facts), folder / "artefact", recipe, done.network


def judged(recipe, network):
    with torch.no_grad():
        return recipe.validate(network.eval(), Moment(0, 0, 1.0))


def head_of(panel, split, price, **plan) -> PositionRecipe:
    features = SIZES.feature_count
    return PositionRecipe(panel, split, price[0], HeadSizes(features, 8), PositionPlan(**plan), SERVING)


def test_the_forecaster_is_fed_what_was_trained_on(panel, price):
    _, folder, recipe, network = price
    forecaster = load_forecaster("p", folder)
    rows = recipe.valid_rows[:10]
    values = np.stack([panel.values[row - 23 : row + 1] for row in rows]).astype(np.float32)
    opened = np.stack([panel.open_time[row - 23 : row + 1] for row in rows])
    days, hours = opened // (24 * HOUR), opened // HOUR
    calendar = np.stack([(days + 3) % 7, hours % 24, np.zeros_like(hours)], -1)
    said = forecaster.forecast(_Windows(values, calendar)).values
    with torch.no_grad():
        scaled = network(recipe.inputs(torch.from_numpy(rows))).quantiles.numpy()
    sigma = np.diff(np.log(values[..., 3].astype(np.float64)), axis=1).std(1)
    np.testing.assert_allclose(said, scaled * (sigma[:, None] * np.sqrt([1, 2, 3]))[..., None], rtol=1e-3, atol=1e-6)


def test_windows_that_are_gathered_are_those_of_the_forecaster(panel, split):
    values = panel.values.copy()
    values[::7, 4] = 0.0
    values[40:80, 4] = 0.0
    still = PriceRecipe(replace(panel, values=values), split, SIZES, PriceData(24))
    rows = np.concatenate([still.rows[:40], still.valid_rows[-5:]])
    expected, _ = inputs(still._panel, rows, 24)
    np.testing.assert_allclose(still.inputs(torch.from_numpy(rows)).numpy(), expected, atol=2e-6)


class _Windows:
    """As much of engine.forecasts.Windows as the network looks at."""

    def __init__(self, values, calendar):
        self.values, self.calendar = values, calendar


def test_baselines_are_honest(panel, split, price):
    """On noise the trained network has no skill to speak of, and the walk is no straw man: its quantiles hold 80 %."""
    _, _, recipe, network = price
    metrics = judged(recipe, network)

    assert metrics["skill_walk"] == pytest.approx(1 - metrics["pinball"] / recipe.baselines["walk"])
    assert set(recipe.baselines) == {"walk", "ar"}
    assert metrics["skill_walk"] < 0.05
    assert 0.5 < metrics["coverage"] < 1


def test_the_second_stage_refuses_a_first_that_knows_nothing(panel, price, tmp_path):
    recipe, network = price[2:]

    def of(**skills):
        return recipe.export(network, tmp_path / "a", TrainingFacts(1, 2, (), "", skills))

    check_stage_one(of(skill_walk=0.01, skill_ar=0.01), "here")
    with pytest.raises(SettingsError, match=r"position.price here does not beat knowing nothing: its pinball loss is "
                                            r"-1.00% of a random walk's, \+0.20% of an autoregression's"):
        check_stage_one(of(skill_walk=0.01, skill_ar=-0.002), "here")
    with pytest.raises(SettingsError, match="does not say how it did beside a random walk"):
        check_stage_one(of(), "here")
    check_stage_one(of(), "here", allow=True)


def test_later_bars_change_no_feature_and_no_return_before(panel, split, price):
    cut = split.train.end
    values = panel.values.copy()
    values[panel.close_time > cut] *= 2
    one, other = (head_of(replace(panel, values=given), split, price) for given in (panel.values, values))
    known = torch.from_numpy(panel.close_time <= cut)

    assert torch.equal(one._features[known], other._features[known])
    earlier = torch.from_numpy(panel.close_time <= cut - 2 * HOUR)
    assert torch.equal(one._returns[earlier], other._returns[earlier])
    assert not torch.equal(one._returns, other._returns)
    assert torch.equal(one._regimes(one._ends), other._regimes(other._ends)), "regimes are of returns known before"


def test_returns_are_what_the_broker_fills(panel, split, price):
    recipe = head_of(panel, split, price)
    row = int(recipe.rows[5])
    opens = panel.column("open")
    assert float(recipe._returns[row]) == pytest.approx(opens[row + 2] / opens[row + 1] - 1, rel=1e-4)


@pytest.mark.parametrize("name", ["after_cost", "original", "relative_return", "risk_cost", "opportunity_cost",
                                  "information_ratio"])
def test_every_objective_reaches_every_parameter(panel, split, price, name):
    recipe = head_of(panel, split, price, objective=name, weights=Weights(opportunity=0.1))
    torch.manual_seed(0)
    network = recipe.network()
    recipe.loss(network, torch.arange(16), Moment(0, 0, 0.0)).value.backward()

    dead = [key for key, one in network.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert dead == ["start"], "the first state is warmed over bars without gradients"


def test_dearer_trading_makes_the_head_trade_less(panel, split, price, tmp_path):
    plan = replace(HEAD_DEFAULTS, epochs=6, patience=0, optimiser=OptimiserPlan("adamw", 1e-2), schedule=Schedule())
    found = {}
    for cost in (0.0, 0.02):
        recipe = head_of(panel, split, price, cost=cost, every=4)
        done = train(recipe, plan, tmp_path / str(cost))
        found[cost] = judged(recipe, done.network)["turnover"]
    assert found[0.02] < found[0.0] or found == {0.0: 0.0, 0.02: 0.0}


def test_a_head_learns_to_trade_on_what_its_features_say(panel, split, price, tmp_path):
    """A feature that tells the next return's sign: the head must make money with it, after costs, and is served as it
    was trained."""
    recipe = head_of(panel, split, price, cost=0.0002, every=2)
    recipe._features[:, 0] = recipe._returns.sign() * 3
    plan = replace(HEAD_DEFAULTS, epochs=12, patience=0, optimiser=OptimiserPlan("adamw", 1e-2), schedule=Schedule())
    done = train(recipe, plan, tmp_path / "run")
    metrics = done.best.metrics

    assert metrics["sharpe"] > 5 + metrics["sharpe_hold"]
    assert metrics["gap"] < 0.2
    facts = TrainingFacts(6, 9, panel.symbols, "here", metrics)
    recipe.export(done.network, tmp_path / "head", facts)
    artefact = load_artefact(tmp_path / "head")
    head, serving = load_position_head(artefact)
    assert (artefact.card.trained_from, artefact.card.trained_until, serving.temperature) == (5, 9, 0.3)
    assert head.sizes.features == len(artefact.card.inputs)
    assert artefact.card.conventions == {"reads": load_artefact(price[1]).hash}


def test_choices_less_open_than_the_floor_cost_something(panel, split, price):
    """What is added is the lack of entropy, in deviations of a return; its gradient opens the choice again."""
    values, opened = {}, {}
    for entropy in (0.0, 2.0):
        recipe = head_of(panel, split, price, entropy=entropy, floor=0.5, exploration="none")
        torch.manual_seed(0)
        network = recipe.network()
        with torch.no_grad():
            network.out[2].bias[3] += 8
        torch.manual_seed(1)
        loss = recipe.loss(network, torch.arange(16), Moment(0, 0, 0.0))
        loss.value.backward()
        values[entropy], opened[entropy] = float(loss.value.detach()), float(network.out[2].bias.grad[3])
        openness = float(loss.parts["openness"].detach())
    assert openness < 0.1
    assert values[2.0] - values[0.0] == pytest.approx(2 * (0.5 - openness), rel=1e-3)
    assert opened[2.0] > opened[0.0] + 0.01, "the next step lowers what is preferred too much"
    with pytest.raises(SettingsError, match="entropy -1, its floor 0.3; expected 0 or more, and a share from 0 to 1"):
        PositionPlan(entropy=-1)


def test_features_in_a_random_order_earn_what_is_earned_without_knowing(panel, split, price):
    recipe = head_of(panel, split, price)
    recipe._features[:, 0] = recipe._returns.sign() * 3
    network = recipe.network()
    with torch.no_grad():
        network.out[0].weight.zero_()
        network.out[0].weight[0, 0] = 1.0
        network.out[2].weight.zero_()
        network.out[2].weight[10, 0] = 50.0
        network.out[2].bias.copy_(torch.tensor([20.0, *[0.0] * 10]))
    metrics = judged(recipe, network)
    assert metrics["sharpe"] > 20
    assert metrics["sharpe_shuffled"] < metrics["sharpe"] / 4


def test_the_temperature_falls_to_that_of_serving(panel, split, price):
    recipe = head_of(panel, split, price)
    assert [recipe.temperature(Moment(0, 0, through)) for through in (0.0, 0.5, 1.0)] == pytest.approx(
        [1.0, 0.3**0.5, 0.3]
    )


def test_simple_policies_know_only_what_was_known():
    rng = np.random.default_rng(0)
    returns = torch.from_numpy(rng.normal(0, 0.01, 200)).float()
    other = returns.clone()
    other[100:] += 1.0
    for name in ("momentum",):
        one, two = (simple([some])[name][0] for some in (returns, other))
        assert torch.equal(one[:102], two[:102])
        assert not torch.equal(one[102:], two[102:])


def test_small_returns_teach_as_large_ones(panel, split, price):
    """Returns of a minute are a hundredth of a day's; their gradients must not drown in the optimiser's epsilon."""
    norms = []
    for size in (1.0, 0.01):
        recipe = head_of(panel, split, price, weights=Weights(0.0, 0.0), cost=0.001 * size)
        recipe._returns *= size
        recipe._deviation *= size
        torch.manual_seed(0)
        network = recipe.network()
        torch.manual_seed(1)
        recipe.loss(network, torch.arange(16), Moment(0, 0, 0.0)).value.backward()
        norms.append(sum(float(one.grad.norm()) for one in network.parameters() if one.grad is not None))
    assert norms[1] == pytest.approx(norms[0], rel=0.1)
