"""Alpha360 against its formula, against Qlib's matrix, and bar by bar."""

import numpy as np
import pytest

from engine.errors import PluginError
from models.alpha360 import (
    COLUMNS,
    FIELDS,
    Alpha360Window,
    RobustScaler,
    alpha360,
    forward_return,
    rank_labels,
    with_vwap,
)
from models.verification import verify_folder


def bars(rows: int = 90, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    spread = np.abs(rng.normal(0, 0.5, rows))
    volume = rng.lognormal(3, 1, rows)
    volume[70] = 0.0
    return {
        "close": close,
        "open": close - 0.1,
        "high": close + spread,
        "low": close - spread,
        "vwap": close - 0.05,
        "volume": volume,
    }


@pytest.mark.parametrize("rule", ["floor", "qlib"])
def test_a_row_is_the_formula(rule):
    data = bars()
    matrix = alpha360(data, volume_rule=rule)

    assert matrix.shape == (90, 360)
    for row in (59, 75, 89):
        for column, name in enumerate(COLUMNS):
            field, lag = name.rstrip("0123456789").lower(), int(name.lstrip("CLOSEPNHIGWVAUM"))
            base = data["volume"][row] + 1e-12 if field == "volume" else data["close"][row]
            assert matrix[row, column] == pytest.approx(data[field][row - lag] / base, rel=1e-6)


def test_rows_without_history_have_nan_for_what_is_missing():
    matrix = alpha360(bars()).reshape(90, 6, 60)

    assert np.isnan(matrix[10, :, : 60 - 11]).all()
    assert np.isfinite(matrix[10, :, 60 - 11 :]).all()
    assert alpha360({name: np.empty(0) for name in FIELDS}).shape == (0, 360)


def test_later_bars_change_nothing():
    data = bars()
    changed = {name: np.concatenate([values[:80], values[80:] * 1000]) for name, values in data.items()}

    np.testing.assert_array_equal(alpha360(data)[:80], alpha360(changed)[:80])


def test_a_bar_without_volume_is_told_apart_by_the_rule():
    floored, qlib = (alpha360(bars(), volume_rule=rule)[70].reshape(6, 60)[5] for rule in ("floor", "qlib"))

    assert floored[-1] == qlib[-1] == 0
    assert qlib[:-1].max() > 1e9
    assert floored.max() < 1e5


@pytest.mark.parametrize("rule", ["floor", "qlib"])
def test_bar_by_bar_is_the_matrix(rule):
    data = bars()
    matrix, window = alpha360(data, volume_rule=rule), Alpha360Window(rule)

    for row in range(90):
        window.update(*(data[name][row] for name in ("close", "open", "high", "low", "vwap", "volume")))
        np.testing.assert_array_equal(window.row, matrix[row])


def test_missing_fields_are_refused():
    with pytest.raises(PluginError, match="alpha360 needs close, open, high, low, vwap, volume of one length"):
        alpha360({"close": np.ones(3)})


def test_the_average_price_is_traded_value_over_volume_where_there_is_one():
    high, low, close = np.array([3.0, 3.0]), np.array([1.0, 1.0]), np.array([2.0, 2.5])
    volume, amount = np.array([4.0, 0.0]), np.array([10.0, 0.0])

    assert with_vwap(high, low, close, volume, amount).tolist() == [2.5, pytest.approx(6.5 / 3)]
    assert with_vwap(high, low, close, volume, None)[0] == 2.0
    assert np.isnan(with_vwap(high, low, close, volume, amount, "missing")[1])


def test_the_scaler_is_robust_and_leaves_no_nan():
    matrix = np.array([[1, 5, np.nan], [2, 5, np.nan], [3, 5, np.nan], [100, 5, np.nan]], np.float32)
    scaler = RobustScaler.fit(matrix)

    out = scaler.transform(matrix)

    assert out[:, 0] == pytest.approx([-1.5 / 1.4826, -0.5 / 1.4826, 0.5 / 1.4826, 3.0], rel=1e-5)
    assert (out[:, 1:] == 0).all()
    with pytest.raises(PluginError, match="fitted on no rows"):
        RobustScaler.fit(matrix[:0])


def test_labels_are_ranked_within_an_instant():
    labels, days = np.array([0.3, 0.1, 0.2, 0.4, 5.0, 5.0]), np.array([0, 0, 0, 0, 1, 1])

    assert rank_labels(labels, days)[:4] == pytest.approx([0.865, -0.865, 0.0, 1.73])
    centred = rank_labels(labels, days, centred=True)
    assert centred[:4].mean() == pytest.approx(0)
    assert centred[4:] == pytest.approx([0, 0])


def test_a_label_is_earned_from_the_next_close_on():
    assert forward_return(np.array([1.0, 2.0, 3.0, 6.0])) == pytest.approx([0.5, 1.0, np.nan, np.nan], nan_ok=True)
    assert np.isnan(forward_return(np.array([1.0]))).all()


def test_it_is_qlib_s(golden):
    checks = list(verify_folder(golden / "krnn" / "alpha360_pipeline"))

    assert {check.name for check in checks} >= {"raw_feature", "infer_feature", "learn_label", "robust_scale"}
    assert [check for check in checks if not check.is_ok] == []
