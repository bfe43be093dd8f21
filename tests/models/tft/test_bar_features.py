"""Features made of bars, each against its formula."""

import numpy as np
import pytest

from engine.errors import PluginError
from models.features.features import feature
from models.tft.bar_features import FEATURES, FIELDS, bars_before, features_of

# open, high, low, close, volume
BARS = np.array([[[10, 12, 9, 11, 50], [11, 13, 10, 10, 100], [12, 12, 8, 9, 0]]], float)


@pytest.mark.parametrize(("name", "expected"), [
    ("log_return", [np.log(10 / 11), np.log(9 / 10)]),
    ("gap", [np.log(11 / 11), np.log(12 / 10)]),
    ("body", [np.log(10 / 11), np.log(9 / 12)]),
    ("range", [np.log(13 / 10), np.log(12 / 8)]),
    ("upper_wick", [np.log(13 / 11), 0.0]),
    ("lower_wick", [0.0, np.log(9 / 8)]),
    ("volume_change", [np.log(101 / 51), np.log(1 / 101)]),
    ("relative_volume", [np.log1p(100 / 50), 0.0]),
])
def test_features_are_their_formulas(name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(features_of(BARS, [name])[0, :, 0], expected, rtol=1e-6, atol=1e-7)


def test_every_feature_is_free_of_the_price_s_level_and_in_the_order_asked_for() -> None:
    names = list(FEATURES)
    dearer = BARS * [1000, 1000, 1000, 1000, 1]

    made = features_of(BARS, names)

    assert made.shape == (1, 2, len(names))
    assert made.dtype == np.float32
    np.testing.assert_allclose(features_of(dearer, names), made, atol=1e-6)
    np.testing.assert_array_equal(features_of(BARS, names[::-1]), made[..., ::-1])


def test_names_and_shapes_that_cannot_be_are_refused() -> None:
    with pytest.raises(PluginError, match="the feature 'log_retrun' is not made of bars.*did you mean 'log_return'"):
        features_of(BARS, ["log_retrun"])
    with pytest.raises(PluginError, match=r"windows of shape \[1, 1, 5\]; expected"):
        features_of(BARS[:, :1], ["range"])


def test_features_of_the_catalogue_are_in_a_window_what_they_are_over_all() -> None:
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))
    bars = np.stack([close, close * 1.01, close * 0.99, close, rng.lognormal(3, 1, 400)], axis=1)
    names = ["rsi(14)", "z(atr_ratio(14), 20)", "log_return", "range", "RSI(5)"]
    before = bars_before(names)
    windows = np.stack([bars[end - before - 7 : end + 1] for end in (330, 399)])

    made = features_of(windows, names)

    assert made.shape == (2, 8, 5)
    columns = dict(zip(FIELDS, bars.T, strict=True))
    for place in (0, 1, 2, 4):
        whole = feature(names[place]).values(columns)
        np.testing.assert_allclose(made[1, :, place], whole[392:], rtol=1e-5, atol=1e-6)
    assert bars_before(["log_return", "range"]) == 1
