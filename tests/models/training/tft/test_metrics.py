"""Metrics against scikit-learn's where it is there, and against counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features.targets import TargetSpec
from models.training.tft import metrics
from models.training.tft.metrics import metric_names, of_target

TIMES = np.arange(400)


def _events(seed: int = 0, rows: int = 400, base: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    said = np.clip(rng.beta(2, 3, rows).round(2), 0.01, 0.99)
    return said, (rng.random(rows) < base + 0.4 * (said - 0.4)).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_scikit_learn(seed):
    sk = pytest.importorskip("sklearn.metrics")
    said, came = _events(seed)
    called = said > 0.5
    assert metrics.f1(said, came) == pytest.approx(sk.f1_score(came, called))
    assert metrics.precision(said, came) == pytest.approx(sk.precision_score(came, called))
    assert metrics.recall(said, came) == pytest.approx(sk.recall_score(came, called))
    assert metrics.mcc(said, came) == pytest.approx(sk.matthews_corrcoef(came, called))
    assert metrics.roc_auc(said, came) == pytest.approx(sk.roc_auc_score(came, said))
    assert metrics.average_precision(said, came) == pytest.approx(sk.average_precision_score(came, said))
    assert metrics.brier(said, came) == pytest.approx(sk.brier_score_loss(came, said))


@given(seed=st.integers(0, 5000))
@settings(max_examples=20, deadline=None)
def test_auc_is_the_share_of_pairs_in_order(seed):
    said, came = _events(seed, rows=40)
    if 0 < came.sum() < 40:
        pairs = said[came == 1][:, None] - said[came == 0][None, :]
        expected = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
        assert metrics.roc_auc(said, came) == pytest.approx(expected)


def test_a_calibrated_probability_has_no_calibration_error():
    rng = np.random.default_rng(1)
    said = np.full(200_000, 0.2)
    assert metrics.ece(said, (rng.random(200_000) < 0.2).astype(float)) < 0.005
    assert metrics.ece(said, (rng.random(200_000) < 0.5).astype(float)) == pytest.approx(0.3, abs=0.005)


def test_what_cannot_be_said_is_not_a_number():
    nothing = np.zeros(50)
    for name in ("f1", "recall", "roc_auc", "ap", "mcc"):
        values = of_target(TargetSpec("binarytrend"), np.full((50, 1), 0.4), nothing, TIMES[:50])
        assert np.isnan(values[name]), name
    assert values["accuracy"] == 1
    few = of_target(TargetSpec("logreturn"), np.zeros((5, 1)), np.zeros(5), TIMES[:5])
    assert all(np.isnan(value) for value in few.values())


def test_numbers_are_judged_on_what_is_known():
    rng = np.random.default_rng(0)
    came = rng.normal(size=400)
    said = (0.5 * came + rng.normal(size=400))[:, None]
    came[:30] = np.nan
    found = of_target(TargetSpec("logreturn"), said, came, TIMES)
    error = said[30:, 0] - came[30:]
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert found["r2"] == pytest.approx(1 - (error**2).sum() / ((came[30:] - came[30:].mean()) ** 2).sum())
    assert found["ic"] == pytest.approx(np.corrcoef(said[30:, 0], came[30:])[0, 1])


def test_quantiles_have_pinball_and_coverage():
    rng = np.random.default_rng(0)
    came = rng.normal(size=400)
    spec = TargetSpec("logreturn", quantiles=(0.1, 0.5, 0.9))
    said = np.tile([-1.2816, 0.0, 1.2816], (400, 1))
    found = of_target(spec, said, came, TIMES)
    assert found["coverage"] == pytest.approx(0.8, abs=0.05)
    wrong = of_target(spec, said + 1.0, came, TIMES)
    assert wrong["pinball"] > found["pinball"]


def test_names_say_target_metric_and_period():
    names = metric_names([TargetSpec("binarytrend"), TargetSpec("logreturn")], ["1h", "4h"])
    assert "val_loss" in names
    assert "val_binarytrend_roc_auc@4h" in names
    assert "val_logreturn_rmse@1h" in names
    assert len(names) == 1 + 2 * (9 + 5)
