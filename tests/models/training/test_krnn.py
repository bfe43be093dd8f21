"""KRNN's recipe: its windows are Alpha360, its labels Qlib's, and nothing of it knows what comes later."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.bars import HOUR
from engine.errors import DataError, SettingsError
from feeds.chunks import join
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from models.alpha360 import alpha360_of_windows, rank_labels
from models.artefact import load_artefact
from models.forecasters import load_forecaster
from models.krnn import KRNNConfiguration
from models.training.data.splits import Split
from models.training.krnn import DEFAULTS, KRNNData, KRNNRecipe, labels
from models.training.loop import train
from models.training.panel import Panel
from models.training.recipe import TrainingFacts
from models.training.warm_start import warm_start

SIZES = KRNNConfiguration(cnn_dim=4, rnn_dim=4, rnn_dups=2, rnn_layers=1)
NAMES = ("A/USDT", "B/USDT", "C/USDT", "D/USDT")


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel.of(join(list(SyntheticFeed(SyntheticMarket(NAMES, "1h", 400)).chunks())))


@pytest.fixture(scope="module")
def split(panel) -> Split:
    first = int(panel.open_time.min())
    return Split.at(first + 250 * HOUR, first + 330 * HOUR, embargo=5 * HOUR)


def recipe_of(panel, split, **data) -> KRNNRecipe:
    made = KRNNRecipe(panel, split, SIZES, KRNNData(**data))
    made.to(torch.device("cpu"))
    return made


def test_what_the_network_reads_is_alpha360_scaled(panel, split):
    recipe = recipe_of(panel, split)
    rows = recipe.rows[::50]
    windows = np.stack([panel.values[row - 59 : row + 1] for row in rows])
    fields = {name: windows[..., place] for place, name in enumerate(("open", "high", "low", "close", "volume"))}
    flat = recipe._scaler.transform(alpha360_of_windows(fields))

    found = recipe.inputs(torch.from_numpy(rows)).transpose(1, 2).reshape(len(rows), -1)
    np.testing.assert_array_equal(found.numpy(), flat)


def test_bars_without_volume_are_read_as_the_forecaster_reads_them(panel, split):
    values = panel.values.copy()
    values[np.random.default_rng(0).random(len(values)) < 0.6, 4] = 0
    recipe = recipe_of(replace(panel, values=values), split)
    rows = recipe.rows[::7]
    np.testing.assert_allclose(
        recipe.inputs(torch.from_numpy(rows)).transpose(1, 2).reshape(len(rows), -1).numpy(),
        recipe._scaler.transform(recipe._matrix(rows)), atol=1e-6,
    )


@pytest.mark.parametrize(("kind", "centred"), [("rank", True), ("qlib_rank", False)])
def test_labels_are_ranks_within_an_instant(kind, centred):
    rng = np.random.default_rng(1)
    returns, instants = rng.integers(-5, 6, 300) / 100, rng.integers(0, 40, 300)

    np.testing.assert_allclose(labels(returns, instants, kind), rank_labels(returns, instants, centred=centred))


def test_rows_end_within_their_span_and_an_embargo_lies_between(panel, split):
    recipe = recipe_of(panel, split, lag=1, horizon=3)

    assert panel.close_time[recipe.rows + 4].max() <= split.train.end
    assert panel.close_time[recipe.valid_rows].min() >= split.valid.start + 5 * HOUR
    assert panel.close_time[recipe.valid_rows + 4].max() <= split.valid.end
    assert ((recipe.rows - panel.first[recipe.rows]) >= 59).all()


def test_what_comes_after_training_changes_labels_at_its_end_alone(panel, split):
    """Bars that close after the last training label's end are poisoned: nothing that training sees may change."""
    later = panel.close_time > split.train.end
    values = panel.values.copy()
    values[later] *= 3
    before, after = recipe_of(panel, split), recipe_of(replace(panel, values=values), split)

    assert torch.equal(before._labels, after._labels)
    every = torch.from_numpy(before.rows)
    assert torch.equal(before.inputs(every), after.inputs(every))
    earlier = panel.values.copy()
    earlier[panel.close_time == split.train.end, 3] *= 1 + np.arange(4) / 10
    assert not torch.equal(before._labels, recipe_of(replace(panel, values=earlier), split)._labels)


def test_the_artefact_says_what_was_learned(panel, split, tmp_path):
    recipe = recipe_of(panel, split)
    done = train(recipe, replace(DEFAULTS, epochs=1, batch=200), tmp_path / "run")
    facts = TrainingFacts(1, 2, panel.symbols, "here", done.best.metrics)
    recipe.export(done.network, tmp_path / "artefact", facts)

    card = load_artefact(tmp_path / "artefact").card
    assert (card.trained_from, card.trained_until, card.trained_on) == (1, 2, NAMES)
    forecaster = load_forecaster("krnn", tmp_path / "artefact")
    rows = recipe.valid_rows[:20]
    windows = np.stack([panel.values[row - 59 : row + 1] for row in rows]).astype(np.float32)
    answers = forecaster.forecast(_Windows(windows)).values[:, 0]
    np.testing.assert_allclose(answers, recipe.said(done.network, rows), atol=2e-6)


@pytest.mark.parametrize("change", [{"agg": "node", "nodes": 4}, {"pool": "max"}])
def test_weights_of_each_symbol_and_maxima_over_time_are_trained_and_served(panel, split, tmp_path, change):
    recipe = KRNNRecipe(panel, split, replace(SIZES, **change), KRNNData())
    done = train(recipe, replace(DEFAULTS, epochs=1, batch=200), tmp_path / "run")
    recipe.export(done.network, tmp_path / "artefact", TrainingFacts(1, 2, panel.symbols, "here"))

    forecaster = load_forecaster("krnn", tmp_path / "artefact")
    rows = recipe.valid_rows[::9]
    windows = np.stack([panel.values[row - 59 : row + 1] for row in rows]).astype(np.float32)
    symbols = tuple(NAMES[place] for place in panel.symbol[rows])
    answers = forecaster.forecast(_Windows(windows, symbols)).values[:, 0]
    np.testing.assert_allclose(answers, recipe.said(done.network, rows), atol=2e-6)
    if "agg" in change:
        torch.manual_seed(0)
        assert not torch.equal(recipe.network().node_weights.weight, done.network.node_weights.weight)
        warm = recipe.network()
        found = warm_start(warm, dict(load_artefact(tmp_path / "artefact").weights), tables=recipe.tables,
                           old_vocabularies={"symbol": {name: 3 - place for place, name in enumerate(NAMES)}})
        assert found.remapped == {"node_weights.weight": (4, 4)}
        assert torch.equal(warm.node_weights.weight, done.network.node_weights.weight.flip(0))


class _Windows:
    """As much of engine.forecasts.Windows as KRNN looks at."""

    def __init__(self, values, symbols=()):
        self.values, self.symbols = values, symbols


def test_what_cannot_be_learned_is_refused_before_training(panel, split):
    with pytest.raises(SettingsError, match=r"no row is left for training: it needs 60 bars before and 2 after"):
        recipe_of(panel, Split.at(int(panel.open_time.min()) + 20 * HOUR, split.valid.end))
    alone = Panel.of(join(list(SyntheticFeed(SyntheticMarket(("A/USDT",), "1h", 400)).chunks())))
    with pytest.raises(SettingsError, match=r"label 'rank' compares symbols, and there is one at a time"):
        recipe_of(alone, split)
    values = panel.values.copy()
    values[405, 3] = np.nan
    with pytest.raises(DataError, match=r"B/USDT: bar 5 is .*nan.*; expected finite numbers"):
        replace(panel, values=values)._check()


def test_two_symbols_whose_ranks_say_nothing_are_refused_before_training():
    def recipe(*names):
        panel = Panel.of(join(list(SyntheticFeed(SyntheticMarket(names, "1h", 300)).chunks())))
        first = int(panel.open_time.min())
        return KRNNRecipe(panel, Split.at(first + 200 * HOUR, first + 280 * HOUR), SIZES, KRNNData(label="scaled"))

    with pytest.raises(SettingsError, match=r"krnn: rank IC, .* at no instant that judges do 3 symbols"):
        recipe(*NAMES[:2])
    recipe(*NAMES[:3])
    recipe(*NAMES[:1])
