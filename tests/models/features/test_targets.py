"""Targets against formulas written out bar by bar; they change with the future, and with nothing else unknown."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SettingsError
from models.features.targets import TARGETS, TargetSpec, check_targets

ROWS = 400


def market(seed: int = 0, rows: int = ROWS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    return {
        "open": close,
        "close": close,
        "high": close * np.exp(np.abs(rng.normal(0, 0.003, rows))),
        "low": close * np.exp(-np.abs(rng.normal(0, 0.003, rows))),
        "volume": rng.lognormal(3, 1, rows),
    }


def _sigma(close, t, span=48):
    """Exponential mean of squared returns, begun at the first."""
    steps = [math.log(close[i] / close[i - 1]) ** 2 for i in range(1, t + 1)]
    mean = steps[0]
    for step in steps[1:]:
        mean += 2 / (span + 1) * (step - mean)
    return math.sqrt(mean)


def _written_out(kind, b, t, H):  # noqa: N803
    """The target at t, with loops and nothing of ours."""
    c = b["close"]
    path = [math.log(c[t + j] / c[t]) for j in range(1, H + 1)]
    r = [math.log(c[t + j] / c[t + j - 1]) for j in range(1, H + 1)]
    sigma = _sigma(c, t)
    high, low = max(b["high"][t - 19 : t + 1]), min(b["low"][t - 19 : t + 1])
    peak, fall = 0.0, 0.0
    for value in path:
        peak = max(peak, value)
        fall = min(fall, value - peak)
    volatility = math.sqrt(sum(x * x for x in r) / H)
    ended = sorted(math.log(c[i] / c[i - H]) for i in range(t - 95, t + 1))
    match kind:
        case "binarytrend":
            return float(path[-1] > 0)
        case "logreturn":
            return path[-1]
        case "logsharpe_ratio":
            return path[-1] / (sigma * math.sqrt(H))
        case "max_drawdown":
            return fall
        case "drawdown_prob":
            return float(fall <= -sigma * math.sqrt(H))
        case "sideway_detect":
            return float(all(abs(x) < sigma * math.sqrt(H) for x in path))
        case "trend_persistence":
            count = 0
            for x in r:
                if (x > 0) != (r[0] > 0):
                    break
                count += 1
            return count / H
        case "breakout_count":
            return sum(int(c[t + j] > high) - int(c[t + j] < low) for j in range(1, H + 1)) / H
        case "return_outlier_lower_10":
            return float(path[-1] < ended[9] + 0.5 * (ended[10] - ended[9]))
        case "return_outlier_upper_90":
            return float(path[-1] > ended[85] + 0.5 * (ended[86] - ended[85]))
        case "realized_vol":
            return volatility
        case "vol_jump_prob":
            return float(volatility > 1.5 * sigma)
        case "breakout_prob":
            usual = sum(b["volume"][t - 19 : t + 1]) / 20
            return float(any(
                (c[t + j] > high * 1.0015 or c[t + j] < low * 0.9985) and b["volume"][t + j] >= 1.2 * usual
                for j in range(1, H + 1)
            ))  # fmt: skip
        case "pullback_prob":
            last = [math.log(x) for x in c[t - 19 : t + 1]]
            top, bottom = max(last), min(last)
            rising = last.index(top) > last.index(bottom)
            size = top - bottom
            now = math.log(c[t])
            if (rising and now <= top - 0.382 * size) or (not rising and now >= bottom + 0.382 * size):
                return math.nan
            for j in range(1, H + 1):
                x = math.log(c[t + j])
                if (x <= top - 0.382 * size) if rising else (x >= bottom + 0.382 * size):
                    return 1.0
                if (x > top) if rising else (x < bottom):
                    return 0.0
            return 0.0
    raise AssertionError(kind)


FOURTEEN = """
    binarytrend logreturn logsharpe_ratio max_drawdown drawdown_prob pullback_prob sideway_detect trend_persistence
    breakout_count return_outlier_lower_10 return_outlier_upper_90 vol_jump_prob realized_vol breakout_prob
"""


def test_all_fourteen_are_there():
    assert set(TARGETS) == set(FOURTEEN.split())


@pytest.mark.parametrize("kind", sorted(TARGETS))
@pytest.mark.parametrize("horizon", [1, 5])
def test_it_is_its_formula_written_out(kind, horizon):
    bars = market()
    found = TargetSpec(kind, horizon).values(bars)
    rows = range(130, ROWS - horizon, 7)
    expected = [_written_out(kind, bars, t, horizon) for t in rows]
    np.testing.assert_allclose(found[list(rows)], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(TARGETS))
def test_it_changes_with_the_future_and_only_within_its_horizon(kind):
    horizon, changed = 4, 0
    bars = market()
    before = TargetSpec(kind, horizon).values(bars)
    for t in range(150, 380, 5):
        rng = np.random.default_rng(t)
        later = {name: column.copy() for name, column in bars.items()}
        for name in later:
            later[name][t + 1 : t + 1 + horizon] *= np.exp(rng.normal(0, 0.05))
        after = TargetSpec(kind, horizon).values(later)
        changed += not np.isclose(after[t], before[t], equal_nan=True)
        # What says nothing of those bars is as it was.
        np.testing.assert_allclose(after[: t + 1 - horizon], before[: t + 1 - horizon], rtol=1e-12)
        far = {name: np.where(np.arange(ROWS) > t + horizon, column * 1.7, column) for name, column in bars.items()}
        np.testing.assert_allclose(TargetSpec(kind, horizon).values(far)[t], before[t], rtol=1e-12)
    assert changed >= 5


@pytest.mark.parametrize("kind", sorted(TARGETS))
def test_the_last_rows_and_the_warm_up_are_not_known(kind):
    values = TargetSpec(kind, 6).values(market())
    assert np.isnan(values[-6:]).all()
    compares = {"span", "bars"} & set(TARGETS[kind].options)
    assert np.isnan(values[:10]).all() == bool(compares)
    assert np.isfinite(values[150:-6]).mean() > 0.3


@given(seed=st.integers(0, 10_000), horizon=st.integers(1, 8))
@settings(max_examples=15, deadline=None)
def test_laws_between_targets(seed, horizon):
    bars = market(seed, 200)

    def of(kind, **options):
        return TargetSpec(kind, horizon, options).values(bars)

    known = slice(150, 200 - horizon)
    fall, end = of("max_drawdown")[known], of("logreturn")[known]
    assert (fall <= np.minimum(end, 0) + 1e-12).all()
    assert ((of("binarytrend")[known] == 1) == (end > 0)).all()
    if horizon == 1:
        np.testing.assert_allclose(of("realized_vol")[known], np.abs(end))
        assert (of("trend_persistence")[known] == 1).all()
    # One that stays within the band cannot end beyond it.
    inside = of("sideway_detect")[known] == 1
    assert (np.abs(of("logsharpe_ratio")[known])[inside] < 1).all()


def test_moves_within_the_dead_band_are_not_known():
    bars = market()
    end = TargetSpec("logreturn").values(bars)
    trend = TargetSpec("binarytrend", 1, {"dead_band": 0.005}).values(bars)
    assert np.isnan(trend[np.abs(end) <= 0.005]).all()
    assert not np.isnan(trend[:-1][np.abs(end[:-1]) > 0.005]).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "logretrun"}, "there is no target 'logretrun'; did you mean 'logreturn'"),
        ({"kind": "logreturn", "horizon": 0}, "horizon is 0; expected 1 bar or more"),
        ({"kind": "binarytrend", "options": {"dead": 1}}, r"unknown option 'dead'.*\(it takes: dead_band\)"),
        ({"kind": "binarytrend", "quantiles": (0.5,)}, "is an event and has no quantiles"),
    ],
)
def test_what_is_no_target_is_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        TargetSpec(**given)


def test_two_of_one_name_are_refused():
    with pytest.raises(SettingsError, match="targets logreturn are given twice"):
        check_targets([TargetSpec("logreturn", 1), TargetSpec("logreturn", 4)])
    check_targets([TargetSpec("logreturn", 1), TargetSpec("logreturn", 4, name="logreturn_4")])
