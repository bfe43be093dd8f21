"""Baselines are honest: they find what is there, know nothing later, and their intervals hold what they claim."""

from dataclasses import replace

import numpy as np
import pytest

from engine.bars import HOUR
from engine.forecasting.judging import Came, judge
from models.training.baselines import BASELINES, LOOKBACK, Facts, autoregression, trees
from models.training.panel import Panel


def panel_of(changes) -> Panel:
    close = 100 * np.exp(np.cumsum(changes))
    rows = len(close)
    values = np.stack([close, close * 1.001, close * 0.999, close, np.full(rows, 10.0)], 1)
    times = np.arange(rows) * HOUR
    return Panel(("A",), "1h", values, times, times + HOUR, np.zeros(rows, np.int64), np.zeros(rows, np.int64))


def reverting(rows=4000, strength=0.5, seed=0):
    rng = np.random.default_rng(seed)
    changes = rng.normal(0, 0.01, rows)
    for row in range(1, rows):
        changes[row] -= strength * changes[row - 1]
    return changes


@pytest.mark.parametrize("baseline", [autoregression, trees])
def test_a_return_that_follows_from_the_last_one_is_found(baseline):
    if baseline is trees:
        pytest.importorskip("lightgbm")
    panel = panel_of(reverting())
    rows = panel.rows(LOOKBACK, 1)
    before, now = Facts.of(panel, rows[:2500], 1), Facts.of(panel, rows[2501:], 1)
    found = judge(baseline(before, now), Came(now.returns, panel.close_time[rows[2501:]]))
    assert found["ic"] > 0.8 * 0.45, "attainable: strength ÷ √(1 + strength²)"
    assert found["coverage"] == pytest.approx(0.8, abs=0.04)


def test_later_bars_change_nothing_that_was_said():
    changes = reverting(1500)
    other = changes.copy()
    other[1200:] += 0.05
    said = []
    for some in (changes, other):
        panel = panel_of(some)
        rows = panel.rows(LOOKBACK, 3)
        before, now = Facts.of(panel, rows[rows < 900], 3), Facts.of(panel, rows[(rows >= 1000) & (rows < 1199)], 3)
        said.append([baseline(before, now) for baseline in BASELINES if baseline is not trees])
    for one, two in zip(*said, strict=True):
        np.testing.assert_array_equal(one.strength, two.strength)
        np.testing.assert_array_equal(one.quantiles, two.quantiles)


def test_baselines_speak_at_the_levels_that_are_asked_for():
    panel = panel_of(reverting(1500))
    rows = panel.rows(LOOKBACK, 2)
    before = Facts.of(panel, rows[:900], 2)
    now = replace(Facts.of(panel, rows[950:], 2), levels=(0.1, 0.5, 0.9))
    for baseline in BASELINES:
        if baseline is not trees:
            said = baseline(before, now)
            assert said.quantiles.shape == (len(now.returns), 3)
            assert (np.diff(said.quantiles, axis=1) > 0).all()


@pytest.mark.parametrize("count", [200, 700, 1249])
def test_few_decisions_are_enough_for_every_baseline(count):
    panel = panel_of(reverting(1500))
    rows = panel.rows(LOOKBACK, 2)
    before, now = Facts.of(panel, rows[:count], 2), Facts.of(panel, rows[count + 2 : count + 40], 2)
    for baseline in BASELINES:
        if baseline is trees:
            pytest.importorskip("lightgbm")
        assert np.isfinite(baseline(before, now).quantiles).all()
