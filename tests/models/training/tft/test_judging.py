"""Targets judged on bars that were not seen: the truth is that of training, and what others say is honest."""

from dataclasses import replace

import numpy as np
import pytest

from engine.bars import HOUR
from models.features.targets import TARGETS, TargetSpec
from models.training.data.table import DataPlan, build
from models.training.panel import Panel
from models.training.tft.judging import judge_targets, specs_of, true_values
from tests.models.training.markets import market

BARS = market(rows=700, gap=300)
PANEL = Panel.of(BARS)
ROWS = PANEL.rows(49, 6)
FIRST = 450 * HOUR
SEEN, UNSEEN = ROWS[PANEL.close_time[ROWS] < FIRST], ROWS[PANEL.close_time[ROWS] >= FIRST]


@pytest.mark.parametrize("kind", sorted(TARGETS))
def test_the_truth_is_what_was_trained_on(kind):
    """Between gaps and within symbols, to the last row that is known."""
    spec = TargetSpec(kind, 6)
    table = build(BARS, DataPlan(("log_return",), (spec,), lookback=8))

    np.testing.assert_array_equal(true_values(spec, PANEL).astype(np.float32), table.targets[:, 0])


def test_foresight_is_perfect_and_the_mean_of_the_past_is_not():
    specs = (TargetSpec("realized_vol", 6), TargetSpec("drawdown_prob", 6), TargetSpec("logreturn", 6, {}, (0.1, 0.9)))
    said = {spec.name: true_values(spec, PANEL)[UNSEEN] for spec in specs}
    found = judge_targets(specs, said, PANEL, UNSEEN, FIRST, model="seer")

    assert list(found) == [spec.name for spec in specs]
    assert list(found["realized_vol"]) == ["seer", "as before", "last bars", "LightGBM"]
    assert found["realized_vol"]["seer"]["r2"] == found["drawdown_prob"]["seer"]["roc_auc"] == 1
    assert found["logreturn"]["seer"]["rmse"] == 0
    assert found["realized_vol"]["as before"]["r2"] <= 0
    assert found["drawdown_prob"]["as before"]["roc_auc"] == 0.5
    assert found["drawdown_prob"]["as before"]["mcc"] == 0
    assert found["drawdown_prob"]["LightGBM"]["brier"] < 0.5


def test_last_bars_are_those_that_have_closed():
    spec = TargetSpec("realized_vol", 6)
    close = np.log(PANEL.column("close"))
    r = np.diff(close, prepend=np.nan)
    trailing = np.array([np.sqrt((r[row - 5 : row + 1] ** 2).mean()) for row in UNSEEN])
    truth = true_values(spec, PANEL)[UNSEEN]
    found = judge_targets([spec], {"realized_vol": truth}, PANEL, UNSEEN, FIRST)["realized_vol"]["last bars"]

    assert found["rmse"] == pytest.approx(np.sqrt(((trailing - truth) ** 2).mean()))


def test_what_others_say_is_fitted_on_what_was_known_before_the_first_decision():
    """Bars after the last decision's label change nothing; nor does a time between: all that is fitted came before."""
    spec = TargetSpec("realized_vol", 6)
    early = UNSEEN[PANEL.close_time[UNSEEN] < FIRST + 100 * HOUR]
    values = PANEL.values.copy()
    values[PANEL.close_time > FIRST + 107 * HOUR] *= 3
    one, other = (
        judge_targets([spec], {"realized_vol": np.zeros(len(early))}, panel, early, FIRST)
        for panel in (PANEL, replace(PANEL, values=values))
    )
    assert one == other


def test_nothing_is_fitted_where_nothing_was_known_before():
    spec = TargetSpec("realized_vol", 6)
    found = judge_targets([spec], {"realized_vol": np.zeros(len(ROWS))}, PANEL, ROWS, 0)
    assert list(found["realized_vol"]) == ["model", "last bars"]


def test_an_artefact_s_label_says_what_its_targets_are():
    spec = TargetSpec("vol_jump_prob", 12, {"k": 2.0}, name="jump")
    (found,) = specs_of({"specifications": {"jump": spec.as_json()}})
    assert (found.kind, found.horizon, found.name, found.options["k"]) == ("vol_jump_prob", 12, "jump", 2.0)
    assert specs_of({"validation": {}}) == ()
