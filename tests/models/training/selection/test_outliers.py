"""The hint about outliers: fitted on training alone, asked about what judges; no row is left out."""

from dataclasses import replace

import numpy as np
import pytest

from engine.bars import HOUR
from models.features.targets import TargetSpec
from models.training.data.splits import Split
from models.training.data.table import DataPlan, build
from models.training.selection.outliers import is_outlier, outlier_notes
from models.training.tft.recipe import TFTPlan, TFTRecipe, TFTSizes
from tests.models.training.markets import market

PLAN = DataPlan(("log_return", "volatility(10)", "volume_ratio(5)"), (TargetSpec("logreturn", 1),), lookback=8)
TABLE = build(market(rows=900), PLAN)
CUT = 600 * HOUR
TRAIN, VALID = (TABLE.ends[(TABLE.close_time[TABLE.ends] < CUT) == is_before] for is_before in (True, False))


def test_rows_like_those_of_training_are_seldom_outliers_and_others_are():
    rng = np.random.default_rng(0)
    train, alike = rng.normal(size=(1500, 4)), rng.normal(size=(1000, 4))
    assert is_outlier(train, alike).mean() < 0.03
    assert is_outlier(train, alike + 6).mean() > 0.99


def test_a_market_that_changed_is_told_with_what_changed():
    values = TABLE.values.copy()
    (usual,) = outlier_notes(TABLE, TRAIN, VALID)
    values[VALID, 1] += 0.2
    (changed,) = outlier_notes(replace(TABLE, values=values), TRAIN, VALID)

    assert float(usual.split()[1].rstrip("%")) < 5
    assert changed.startswith("1h: 100.0% of the rows that judge are outliers to those that train; 1% is usual")
    assert "farthest out: volatility(10), " in changed


def test_what_judges_does_not_move_what_is_usual():
    """Half of what judges made strange leaves what is said of the other half as it was."""
    values = TABLE.values.copy()
    values[VALID[::2]] *= 50
    one, other = (
        outlier_notes(replace(TABLE, values=given), TRAIN, VALID[1::2]) for given in (TABLE.values, values)
    )
    assert one == other


def test_too_few_rows_are_told():
    assert outlier_notes(TABLE, TRAIN[:5], VALID) == (
        f"1h: 5 rows of training and {len(VALID):,} that judge are too few to look for outliers",
    )


@pytest.mark.parametrize("outliers", [False, True])
def test_it_is_a_note_in_the_table_of_what_was_left_out(outliers):
    sizes = TFTSizes(hidden_size=4, attention_head_size=1, hidden_continuous_size=2)
    split = Split.by_share(TABLE.close_time, 0.6, 0.2)
    recipe = TFTRecipe(TABLE, split, TFTPlan(sizes, outliers=outliers))

    assert ("outliers to those that train" in str(recipe.audit)) == outliers
    assert recipe.audit.windows == TABLE.audit().windows
