"""Figures against scikit-learn's and by hand; significance that noise does not have."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, f1_score, matthews_corrcoef, r2_score, roc_auc_score

from engine.forecasting.judging import (
    LEVELS,
    Came,
    Said,
    block_bootstrap,
    calibration_error,
    is_usable,
    judge,
    said_by,
)
from engine.forecasting.ranking import correlations, ranks
from engine.forecasting.scores import crps_of_normal
from engine.forecasts import Forecast, ForecastKind, ForecastSpec

RNG = np.random.default_rng(7)
RETURNS = RNG.normal(0, 0.02, 400)
POINT = 0.3 * RETURNS + RNG.normal(0, 0.01, 400)
UP = np.clip(0.5 + 8 * POINT, 0.01, 0.99).round(2)


def test_figures_are_scikit_learns():
    found = judge(Said("x", POINT, POINT, UP), Came(RETURNS, np.arange(400)))

    assert found["r2"] == pytest.approx(r2_score(RETURNS, POINT))
    assert found["mse"] == pytest.approx(((RETURNS - POINT) ** 2).mean())
    assert found["skill_walk"] == pytest.approx(1 - found["mse"] / (RETURNS**2).mean())
    assert found["auc"] == pytest.approx(roc_auc_score(RETURNS > 0, UP))
    assert found["f1"] == pytest.approx(f1_score(RETURNS > 0, UP > 0.5))
    assert found["mcc"] == pytest.approx(matthews_corrcoef(RETURNS > 0, UP > 0.5))
    assert found["brier"] == pytest.approx(brier_score_loss(RETURNS > 0, UP))
    assert found["rank_ic"] == pytest.approx(spearmanr(POINT, RETURNS).statistic)
    assert found["ic"] == pytest.approx(np.corrcoef(POINT, RETURNS)[0, 1])


def test_rank_correlation_is_taken_instant_by_instant():
    instants = np.repeat(np.arange(40), 10)
    ties = POINT.round(2)
    found = correlations(ranks(ties, instants), ranks(RETURNS, instants), instants)
    expected = [spearmanr(ties[instants == one], RETURNS[instants == one]).statistic for one in range(40)]
    np.testing.assert_allclose(found, expected)
    shuffled = RNG.permutation(400)
    again = judge(Said("x", ties[shuffled]), Came(RETURNS[shuffled], instants[shuffled]))
    assert again["rank_ic"] == pytest.approx(np.mean(expected))


def test_a_constant_ranks_nothing():
    found = judge(Said("x", np.full(400, 0.5)), Came(RETURNS, np.repeat(np.arange(40), 10)))
    assert np.isnan(found["rank_ic"])
    assert found["auc"] == 0.5


def test_twice_the_pinball_loss_over_many_levels_is_the_crps():
    from statistics import NormalDist

    normal = 0.02 * np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    found = judge(Said("x", POINT, quantiles=np.tile(normal, (400, 1))), Came(RETURNS, np.arange(400)))
    exact = np.mean([crps_of_normal(0.02, came) for came in RETURNS])
    assert found["crps"] == pytest.approx(exact, rel=0.02)
    assert found["nominal"] == pytest.approx(0.8)
    assert found["coverage"] == pytest.approx(0.8, abs=0.06)


def test_calibration_error_is_how_far_chances_lie_from_what_came():
    rose = np.array([True] * 30 + [False] * 70)
    assert calibration_error(np.full(100, 0.3), rose) == pytest.approx(0.0)
    assert calibration_error(np.full(100, 0.95), rose) == pytest.approx(0.65)
    assert calibration_error(np.full(100, 1.0), rose) == pytest.approx(0.7)


def test_noise_is_not_significant_and_an_edge_is():
    series = [np.random.default_rng(seed).normal(0, 1, 150) for seed in range(100)]
    assert sum(block_bootstrap(one, 5, times=400).p < 0.05 for one in series) <= 15
    edge = block_bootstrap(RNG.normal(0.3, 1, 300), 5, ratio=True)
    assert edge.p < 0.01
    assert edge.low < edge.value < edge.high
    assert edge.low > 0


def test_neighbours_that_move_together_are_resampled_together():
    slow = np.repeat(RNG.normal(0, 1, 40), 10)
    alone, together = (block_bootstrap(slow, block) for block in (1, 20))
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_a_path_that_no_price_can_take_says_nothing():
    spec = ForecastSpec("k", ForecastKind.PATHS, "1h", 8, 1, samples=2)

    def said(*closes):
        values = np.ones((2, 1, 6), np.float32)
        values[:, 0, 3] = closes
        return Forecast(0, spec, "A", 0, 0, 1, 1.0, values)

    assert is_usable(said(1.1, 0.9))
    assert not is_usable(said(1.1, -0.00001))
    assert not is_usable(said(1.1, np.nan))


def test_named_outputs_are_judged_as_the_return_and_the_chance_that_they_are():
    named = ("return", "return_q10", "return_q90", "up")
    spec = ForecastSpec("x", ForecastKind.MULTI, "1h", 5, 1, outputs=named)
    values = np.column_stack([POINT, POINT - 0.02, POINT + 0.02, UP]).astype(np.float32)
    of = [Forecast(0, spec, "X", at, at, at, 100.0, row) for at, row in enumerate(values)]

    found = judge(said_by(of, RETURNS), Came(RETURNS, np.arange(400)))

    assert found["mse"] == pytest.approx(((RETURNS - POINT) ** 2).mean(), rel=1e-4)
    assert found["brier"] == pytest.approx(brier_score_loss(RETURNS > 0, UP), rel=1e-4)
    assert found["coverage"] == pytest.approx(np.mean(np.abs(RETURNS - POINT) <= 0.02), abs=0.01)
    assert found["pinball"] > 0
