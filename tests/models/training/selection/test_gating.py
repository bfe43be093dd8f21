"""A transformer's own gates, by the names of its variables."""

from dataclasses import replace

import pytest

from engine.errors import PluginError
from models.training.data.splits import Split
from models.training.data.table import DataPlan, build
from models.training.recipe import TrainingFacts
from models.training.selection.gating import gating_of
from models.training.tft.recipe import TFTPlan, TFTRecipe, TFTSizes
from tests.models.training.markets import market


def test_weights_are_by_name_and_of_training_windows(tmp_path):
    from models.features.targets import TargetSpec

    data = DataPlan(("log_return", "rsi(7)", "volatility(5)"), (TargetSpec("logreturn"),), lookback=6)
    table = build(market(rows=200), data)
    split = Split.by_share(table.close_time, 0.6, 0.2)
    recipe = TFTRecipe(table, split, TFTPlan(TFTSizes(8, 1, 2, 4)))
    artefact = recipe.export(recipe.network().eval(), tmp_path, TrainingFacts(0, 1, ()))
    gates = gating_of(artefact, table, split.train)
    assert set(gates) == set(data.features)
    assert all(0 < weight < 1 for weight in gates.values())
    # A table with the columns in another order gives the same weights.
    turned = build(market(rows=200), replace(data, features=data.features[::-1]))
    assert gating_of(artefact, turned, split.train) == pytest.approx(gates, rel=1e-4)
    with pytest.raises(PluginError, match=r"it has rsi\(7\)"):
        gating_of(
            artefact, build(market(rows=200), replace(data, features=("log_return", "volatility(5)"))), split.train
        )
    for until in (split.train.end + 1, None):
        late = replace(artefact, card=replace(artefact.card, trained_until=until))
        with pytest.raises(PluginError, match=r"--gating: the artefact was trained .* that are to judge the choice"):
            gating_of(late, table, split.train)
    with pytest.raises(PluginError, match="its lookback is 6"):
        gating_of(artefact, build(market(rows=200), replace(data, lookback=8)), split.train)
