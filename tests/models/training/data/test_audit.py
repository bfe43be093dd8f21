"""What became of every bar is told before training, and symbols that nothing was learned from are not said to be
trained on."""

import numpy as np
import pytest

from engine.bars import HOUR
from models.krnn import KRNNConfiguration
from models.kronos.configuration import TokenizerSizes
from models.position.price_transformer import PriceSizes
from models.training.data.audit import panel_audit
from models.training.data.splits import Split
from models.training.krnn import KRNNData, KRNNRecipe
from models.training.kronos import KronosWindows, TokenizerRecipe, WindowPlan
from models.training.panel import Panel
from models.training.price import PriceData, PriceRecipe
from tests.models.training.markets import bars_of, walk


@pytest.fixture(scope="module")
def panel() -> Panel:
    hours = np.arange(300, dtype=np.int64) * HOUR
    kept = hours[(hours < 150 * HOUR) | (hours >= 170 * HOUR)]
    series = [("LONG", hours), ("GAP", kept), ("SHORT", hours[:40]), ("LATE", hours[200:])]
    return Panel.of(bars_of([
        (name, "1h", times, walk(len(times), seed)) for seed, (name, times) in enumerate(series)
    ]))


SPLIT = Split.at(200 * HOUR, 280 * HOUR)


def test_every_bar_ends_a_window_or_is_told_why_not(panel):
    audit = panel_audit(panel, 60, 2, np.arange(59, 100), np.arange(200, 210))

    assert audit.rows == {"LONG 1h": 300, "GAP 1h": 280, "SHORT 1h": 40, "LATE 1h": 100}
    assert audit.windows == {"LONG 1h": 239, "GAP 1h": 158, "SHORT 1h": 0, "LATE 1h": 39}
    for group, rows in audit.rows.items():
        assert rows == audit.windows[group] + sum(one.rows for one in audit.dropped if one.group == group)
    assert [(one.reason, one.rows) for one in audit.dropped if one.group == "GAP 1h"] == [
        ("past too short", 118), ("future too short", 4)]
    assert "SHORT 1h: no window of it trains" in str(audit)
    assert "41 windows train, 10 judge, 385 do neither" in str(audit)
    assert audit.symbols == ("LONG",)


def test_each_recipe_knows_which_symbols_it_saw(panel):
    coder = TokenizerSizes(6, 16, 2, 16, 2, 2, 0.0, 0.0, 0.0, 4, 4, 0.05, 1.0, 1.1, 0.05, 4)
    recipes = [
        KRNNRecipe(panel, SPLIT, KRNNConfiguration(cnn_dim=4, rnn_dim=4), KRNNData()),
        TokenizerRecipe(KronosWindows(panel, SPLIT, WindowPlan(60, 4)), coder),
        PriceRecipe(panel, SPLIT, PriceSizes(horizons=2), PriceData(60)),
    ]
    for recipe in recipes:
        assert recipe.audit.symbols == ("LONG", "GAP", "LATE")
        assert "SHORT 1h: no window of it trains" in recipe.audit.notes
        assert any(note.startswith("LATE 1h: no window of it trains; ") for note in recipe.audit.notes)
