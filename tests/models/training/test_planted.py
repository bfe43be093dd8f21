"""Markets with a known predictable part: each network finds at least four fifths of what there is to find, on bars that
neither trained nor chose it. On pure noise none claims skill.

The part: a return is −φ times the one before, plus noise; the correlation that can be attained is φ.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.forecasting.judging import block_bootstrap
from engine.forecasting.ranking import correlations, ranking_metrics, ranks
from engine.forecasts import Windows
from models.forecasters import load_forecaster
from models.krnn import KRNNConfiguration
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.position.head import HeadSizes, Serving
from models.position.price_transformer import PriceSizes
from models.training import krnn, kronos, position, price
from models.training.data.splits import Split
from models.training.loop import train
from models.training.panel import Panel
from models.training.plan import OptimiserPlan, Schedule
from models.training.recipe import TrainingFacts

FOUND = 0.8


def market(phi: float, rows: int = 1600, symbols: int = 8, seed: int = 0) -> Panel:
    """Return hourly bars whose every return is −phi of the last one plus noise, 1 % wide in all."""
    rng = np.random.default_rng(seed)
    changes = rng.normal(0, 0.01 * (1 - phi**2) ** 0.5, (rows, symbols))
    for row in range(1, rows):
        changes[row] -= phi * changes[row - 1]
    close = 100 * np.exp(changes.cumsum(0))
    opened = np.concatenate([np.full((1, symbols), 100.0), close[:-1]])
    wick = 1 + 0.002 * np.abs(rng.normal(0, 1, (2, rows, symbols)))
    high, low = np.maximum(opened, close) * wick[0], np.minimum(opened, close) / wick[1]
    values = np.stack([opened, high, low, close, rng.lognormal(3, 0.5, (rows, symbols))], -1)
    values = values.transpose(1, 0, 2).reshape(-1, 5)
    times = np.tile(np.arange(rows) * HOUR, symbols)
    symbol = np.repeat(np.arange(symbols), rows)
    names = tuple(f"S{number}" for number in range(symbols))
    return Panel(names, "1h", values.astype(np.float32).astype(np.float64), times, times + HOUR, symbol, symbol * rows)


def split(rows: int = 1600) -> Split:
    return Split.at(round(0.6 * rows) * HOUR, round(0.75 * rows) * HOUR, embargo=2 * HOUR)


def unseen(panel: Panel, lookback: int, rows: int = 1600, ahead: int = 1) -> np.ndarray:
    every = panel.rows(lookback, ahead)
    return every[panel.close_time[every] > round(0.75 * rows) * HOUR]


def next_returns(panel: Panel, rows: np.ndarray) -> np.ndarray:
    close = panel.column("close")
    return np.log(close[rows + 1] / close[rows])


def krnn_scores(panel: Panel, folder) -> tuple[np.ndarray, np.ndarray]:
    sizes = KRNNConfiguration(cnn_dim=8, rnn_dim=8, rnn_dups=1, rnn_layers=1)
    recipe = krnn.KRNNRecipe(panel, split(), sizes, krnn.KRNNData(lag=0))
    plan = replace(krnn.DEFAULTS, epochs=5, batch=200, optimiser=OptimiserPlan("adam", 1e-2))
    network = train(recipe, plan, folder).network
    rows = unseen(panel, 60)
    return recipe.said(network, rows), rows


def price_medians(panel: Panel, folder) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    recipe = price.PriceRecipe(panel, split(), PriceSizes(16, 1, 2, 8, 4, 4, 8, 16, horizons=1), price.PriceData(16))
    plan = replace(price.DEFAULTS, epochs=8, batch=128, optimiser=OptimiserPlan("adamw", 5e-3, 0.01))
    done = train(recipe, plan, folder)
    rows = unseen(panel, 16)
    fed, sigma = price.inputs(panel, rows, 16)
    with torch.no_grad():
        median = done.network(torch.from_numpy(fed)).quantiles[:, 0, 1].numpy()
    return median * sigma, rows, done.best.metrics


def test_krnn_finds_what_there_is_to_find(tmp_path):
    panel = market(0.4)
    said, rows = krnn_scores(panel, tmp_path)
    assert ranking_metrics(said, next_returns(panel, rows), panel.close_time[rows])["ic"] > FOUND * 0.4


def test_krnn_claims_nothing_of_noise(tmp_path):
    panel = market(0.0)
    said, rows = krnn_scores(panel, tmp_path)
    instants, came = panel.close_time[rows], next_returns(panel, rows)
    series = correlations(ranks(said, instants), ranks(came, instants), instants)
    assert block_bootstrap(series, 5).p > 0.01


def test_the_wrong_order_of_alpha360_costs_most_of_it(tmp_path):
    """Read as Qlib's class reads it, the last steps are volumes: what tells the next return lies far back."""
    panel, found = market(0.4), {}
    for layout in ("field_major", "qlib_raw"):
        sizes = KRNNConfiguration(cnn_dim=8, rnn_dim=8, rnn_dups=1, rnn_layers=1, layout=layout)
        recipe = krnn.KRNNRecipe(panel, split(), sizes, krnn.KRNNData(lag=0))
        plan = replace(krnn.DEFAULTS, epochs=3, batch=200, optimiser=OptimiserPlan("adam", 1e-2))
        network = train(recipe, plan, tmp_path / layout).network
        rows = unseen(panel, 60)
        came = next_returns(panel, rows)
        found[layout] = ranking_metrics(recipe.said(network, rows), came, panel.close_time[rows])["ic"]
    assert found["qlib_raw"] < 0.75 * found["field_major"]


def test_price_finds_what_there_is_to_find(tmp_path):
    panel = market(0.5)
    said, rows, metrics = price_medians(panel, tmp_path / "price")
    assert np.corrcoef(said, next_returns(panel, rows))[0, 1] > FOUND * 0.5
    attainable = 1 - (1 - 0.5**2) ** 0.5  # of a normal's pinball loss, if its width were known
    assert metrics["skill_walk"] > 0.5 * attainable, "the unit, a window's own volatility of 15 returns, costs some"


def test_price_claims_nothing_of_noise(tmp_path):
    panel = market(0.0)
    said, rows, metrics = price_medians(panel, tmp_path)
    assert abs(np.corrcoef(said, next_returns(panel, rows))[0, 1]) < 0.06
    assert metrics["skill_walk"] < 0.01


def test_a_head_on_noise_earns_nothing(tmp_path):
    panel = market(0.0, rows=800, symbols=4)
    cut = Split.at(500 * HOUR, 640 * HOUR, embargo=2 * HOUR)
    first = price.PriceRecipe(panel, cut, PriceSizes(16, 1, 2, 8, 4, 4, 8, 16, horizons=1), price.PriceData(16))
    network = train(first, replace(price.DEFAULTS, epochs=1), tmp_path / "price").network
    artefact = first.export(network, tmp_path / "artefact", TrainingFacts(0, 1, panel.symbols))
    plan = position.PositionPlan(cost=0.001, every=2)
    recipe = position.PositionRecipe(panel, cut, artefact, HeadSizes(first.sizes.feature_count, 8), plan, Serving())
    optimiser = OptimiserPlan("adamw", 1e-2)
    head = train(recipe, replace(position.DEFAULTS, epochs=3, optimiser=optimiser), tmp_path / "head").network
    rows = unseen(panel, 16, 800, 2).reshape(4, -1)
    with torch.no_grad():
        shares = [head.replay(recipe._features[torch.from_numpy(path)][None], Serving())[0] for path in rows]
    returns = [recipe._returns[torch.from_numpy(path)] for path in rows]
    found = recipe.judged(shares, returns)
    held = recipe.judged([torch.full_like(one, float(torch.cat(shares).mean())) for one in shares], returns)
    assert found["growth"] < held["growth"] + 0.15, "a year, of hourly returns 1 % wide"


def kronos_medians(panel: Panel, rows: int, epochs: tuple[int, int], folder) -> tuple[np.ndarray, np.ndarray]:
    """Return what a tiny Kronos says of the next return, the mean over paths, at every fourth unseen row."""
    windows = kronos.KronosWindows(panel, split(rows), kronos.WindowPlan(16, 1, judged=200))
    bits = TokenizerSizes(6, 32, 2, 64, 2, 2, 0.0, 0.0, 0.0, 5, 5, 0.05, 1.0, 1.1, 0.05, 5)
    schedule = Schedule("one_cycle", 0.2, first=0.1)
    plan = replace(kronos.TOKENIZER_DEFAULTS, epochs=epochs[0], batch=64, optimiser=OptimiserPlan("adamw", 5e-3, 0.01),
                   schedule=schedule)
    facts = TrainingFacts(0, 1, panel.symbols)
    coder = kronos.TokenizerRecipe(windows, bits)
    coder.export(train(coder, plan, folder / "c").network, folder / "coder", facts)
    sizes = ModelSizes(5, 5, 2, 32, 4, 64, 0.0, 0.0, 0.0, 0.0, True)
    recipe = kronos.PredictorRecipe(windows, sizes, str(folder / "coder"), max_context=32)
    recipe.export(train(recipe, replace(plan, epochs=epochs[1]), folder / "p").network, folder / "kronos", facts)
    model = load_forecaster("k", folder / "kronos", options={"horizon": 1, "samples": 40, "lookback": 16})
    ends = unseen(panel, 16, rows)[::4]
    values = np.stack([panel.values[end - 15 : end + 1] for end in ends])
    amount = values[..., 4:] * values[..., :4].mean(-1, keepdims=True)
    opened = panel.open_time[ends][:, None] + np.arange(-15, 2) * HOUR
    stamps = kronos.stamps_of(opened.ravel()).reshape(len(ends), 17, 5)
    asked = Windows(np.concatenate([values, amount], -1).astype(np.float32), ("S",) * len(ends),
                    panel.close_time[ends], np.arange(len(ends), dtype=np.uint64), stamps)
    paths = model.forecast(asked).values[:, :, 0, 3].astype(np.float64)
    return np.log(paths / panel.column("close")[ends][:, None]).mean(1), ends


@pytest.mark.slow
def test_kronos_finds_what_there_is_to_find(tmp_path):
    """Tokens lose some of a bar: a strong part, and short windows."""
    phi, rows = 0.7, 1200
    panel = market(phi, rows, 6)
    said, ends = kronos_medians(panel, rows, (10, 12), tmp_path)
    assert np.corrcoef(said, next_returns(panel, ends))[0, 1] > FOUND * phi


def test_kronos_claims_nothing_of_noise(tmp_path):
    panel = market(0.0, 600, 6)
    said, ends = kronos_medians(panel, 600, (4, 4), tmp_path)
    assert abs(np.corrcoef(said, next_returns(panel, ends))[0, 1]) < 3 / len(ends) ** 0.5


def head_recipe(panel: Panel, cut: Split, plan: position.PositionPlan, folder) -> position.PositionRecipe:
    """Return the recipe of a head on a price network that has learned nothing."""
    first = price.PriceRecipe(panel, cut, PriceSizes(16, 1, 2, 8, 4, 4, 8, 16, horizons=1), price.PriceData(16))
    torch.manual_seed(0)
    artefact = first.export(first.network(), folder, TrainingFacts(0, 1, panel.symbols))
    sizes = HeadSizes(first.sizes.feature_count, 8)
    return position.PositionRecipe(panel, cut, artefact, sizes, plan, Serving(temperature=plan.last))


@pytest.mark.parametrize(("exploration", "is_found"), [("segment", True), ("step", False)])
def test_a_head_finds_a_faint_edge_that_lasts_if_its_noise_lasts(exploration, is_found, tmp_path):
    """An edge that is a twelfth of a return's width and lasts for a day, at a fifth of that width for a trade. Noise
    that is new at every step costs more than the edge is worth: the head becomes deaf to it, and to the edge."""
    rows = 6000
    panel = market(0.0, rows, 1)
    plan = position.PositionPlan(steps=24, burn=24, every=6, cost=0.002, exploration=exploration, entropy=0.0)
    recipe = head_recipe(panel, split(rows), plan, tmp_path / "price")
    rng = np.random.default_rng(1)
    edge = rng.normal(size=rows)
    for row in range(1, rows):
        edge[row] = 0.97 * edge[row - 1] + (1 - 0.97**2) ** 0.5 * edge[row]
    recipe._features[:, 0] = torch.from_numpy(edge)
    recipe._returns = torch.from_numpy(0.01 * (edge / 12 + rng.normal(size=rows))).float()
    tuned = replace(position.DEFAULTS, epochs=5, patience=0, optimiser=OptimiserPlan("adamw", 1e-2, 0.01))
    head = train(recipe, tuned, tmp_path / "head").network
    path = torch.from_numpy(unseen(panel, 16, rows, 2))
    with torch.no_grad():
        wishes = head.unroll(recipe._features[path][None], plan.last).shares[0]
    found = np.corrcoef(wishes, edge[path])[0, 1]
    assert found > FOUND if is_found else found < 0.3
