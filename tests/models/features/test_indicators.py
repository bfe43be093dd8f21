"""Laws of every indicator: whole = bar by bar = in windows, nothing from the future, NaN until warm, no unit."""

import numpy as np
import pytest
import talib

from engine.bars import FIELDS
from engine.errors import PluginError
from engine.indicator_talib import talib_function
from models.features.catalogue import KINDS, shown
from models.features.features import feature, features, incremental, matrix, memory_of

ROWS = 620
OURS = sorted(KINDS)
OTHERS = ["z(atr_ratio(14), 48)", "minmax(volume_ratio(5), 30)", "RSI(14)", "ADX(14)", "MACD(12, 26, 9):macdhist",
          "BBANDS(20):upperband", "SMA(close, 20)", "z(EMA(close, 12), 96)", "SAR", "MFI(14)"]  # fmt: skip


def market(rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Bars with quiet spells and bars that do not move or trade at all."""
    rng = np.random.default_rng(seed)
    step = rng.normal(0, 0.01, rows) * (1 + (np.arange(rows) // 50) % 3)
    step[rng.integers(0, rows, rows // 15)] = 0
    close = 100 * np.exp(np.cumsum(step))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.001, rows))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.004, rows)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.004, rows)))
    volume = rng.lognormal(3, 1, rows)
    volume[rng.integers(0, rows, rows // 20)] = 0
    return {"open": open_, "high": high, "low": low, "close": close, "volume": volume}


def _cut(bars: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in bars.items()}


def test_there_are_as_many_as_a_trader_expects():
    assert len(OURS) >= 55


@pytest.mark.parametrize("text", OURS + OTHERS)
def test_it_is_nan_until_warm_and_a_number_from_then_on(text):
    one = feature(text)
    values = one.values(market())
    assert np.isnan(values[: one.warm_up]).all()
    assert np.isfinite(values[one.warm_up :]).all()


@pytest.mark.parametrize("text", OURS + OTHERS)
def test_bar_by_bar_it_is_what_it_is_over_all(text):
    one, bars = feature(text), market()
    whole, fed = one.values(bars), incremental(one)
    fields = one.spec.inputs if hasattr(one, "spec") else FIELDS
    found = np.array([fed.update(*(bars[name][row] for name in fields)) for row in range(ROWS)])
    np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", OURS + OTHERS)
def test_later_bars_change_no_earlier_value(text):
    one, bars = feature(text), market()
    whole, cut = one.values(bars), 400
    np.testing.assert_allclose(one.values(_cut(bars, slice(cut))), whole[:cut], rtol=1e-9, atol=1e-9)
    noisy = {name: np.where(np.arange(ROWS) < cut, column, market(seed=9)[name]) for name, column in bars.items()}
    poisoned = one.values(noisy)
    np.testing.assert_allclose(poisoned[:cut], whole[:cut], rtol=1e-9, atol=1e-9)
    assert not np.allclose(poisoned[cut : cut + 60], whole[cut : cut + 60], equal_nan=True)


@pytest.mark.parametrize("text", OURS + OTHERS)
def test_a_window_as_long_as_its_memory_gives_what_the_whole_history_gives(text):
    one, rows = feature(text), 1600
    bars = market(rows)
    whole = one.values(bars)
    ends = np.array([rows - 1, rows - 7, rows - 100])
    if one.memory > rows - 100:
        pytest.skip("its memory is longer than the history")
    at = ends[:, None] + np.arange(1 - one.memory, 1)
    np.testing.assert_allclose(
        one.values({name: column[at] for name, column in bars.items()})[:, -1], whole[ends], rtol=1e-9, atol=1e-9
    )


def accepted() -> list[str]:
    """Every function of TA-Lib that is a feature, each output; with the usual parameters, with others, and with each
    kind of moving mean where one can be chosen."""
    found = []
    for name in sorted(one for group in talib.get_function_groups().values() for one in group):
        try:
            of = talib_function(name)
            outputs = [f":{one}" for one in of.outputs] if len(of.outputs) > 1 else [""]
            feature(f"{name}{outputs[0]}")
        except PluginError:
            continue
        given = list(of.defaults.items())
        is_period = [isinstance(value, int) and value > 0 and "matype" not in one for one, value in given]
        others = [[value + 3 * one for (_, value), one in zip(given, is_period, strict=True)]] if given else []
        for place, (one, _) in enumerate(given):
            if one.endswith("matype"):
                values = [value for _, value in given]
                others += [[*values[:place], kind, *values[place + 1 :]] for kind in range(9) if kind != 7]
        if name == "MAMA":
            others += [[0.1, 0.02], [0.02, 0.02]]
        texts = [name, *(f"{name}({', '.join(shown(value) for value in values)})" for values in others)]
        found += [text + output for text in texts for output in outputs]
    return found


@pytest.mark.parametrize("text", accepted())
def test_every_function_of_talib_is_decided_by_its_memory_alone_and_by_nothing_that_comes(text):
    one = feature(text)
    rows = max(one.memory + 120, ROWS)
    bars = market(rows)
    whole = one.values(bars)
    assert np.isnan(whole[: one.warm_up]).all()
    ends = np.array([rows - 1, rows - 7, rows - 100])
    at = ends[:, None] + np.arange(1 - one.memory, 1)
    found = one.values({name: column[at] for name, column in bars.items()})[:, -1]
    np.testing.assert_allclose(found, whole[ends], rtol=1e-9, atol=1e-9)
    cut = rows - 200
    np.testing.assert_allclose(one.values(_cut(bars, slice(cut))), whole[:cut], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", OURS)
def test_units_of_price_and_volume_do_not_matter(text):
    one, bars = feature(text), market()
    other = {name: column * (0.3 if name == "volume" else 7000.0) for name, column in bars.items()}
    np.testing.assert_allclose(one.values(other), one.values(bars), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("text", OURS)
def test_a_market_that_stands_still_gives_numbers(text):
    flat = {name: np.full(300, 5.0 if name != "volume" else 0.0) for name in FIELDS}
    one = feature(text)
    assert np.isfinite(one.values(flat)[one.warm_up :]).all()


def test_those_that_talib_has_are_what_it_gives():
    b = market()
    high, low, close, volume = b["high"], b["low"], b["close"], b["volume"]

    def same(text, expected, after=400, tolerance=1e-9):
        np.testing.assert_allclose(feature(text).values(b)[after:], expected[after:], rtol=1e-6, atol=tolerance)

    upper, middle, lower = talib.BBANDS(close, 20)
    same("bollinger_b(20, 2)", (close - lower) / (upper - lower))
    same("bollinger_width(20, 2)", (upper - lower) / middle)
    same("cci(20)", talib.CCI(high, low, close, 20) / 100)
    same("williams_r(14)", talib.WILLR(high, low, close, 14) / 100)
    same("mfi(14)", talib.MFI(high, low, close, volume, 14) / 100)
    same("macd_histogram", talib.MACD(close)[2] / close)
    same("ppo(12, 26)", talib.EMA(close, 12) / talib.EMA(close, 26) - 1)
    same("trend_slope(20)", talib.LINEARREG_SLOPE(np.log(close), 20))
    same("up_share(20)", talib.SMA((np.diff(close, prepend=close[0]) > 0).astype(float), 20))


def test_moments_are_those_of_pandas():
    import pandas as pd

    bars = market()
    returns = pd.Series(np.log(bars["close"])).diff()
    np.testing.assert_allclose(
        feature("volatility(20)").values(bars), returns.rolling(20).std(ddof=0).to_numpy(), rtol=1e-7, atol=1e-12
    )
    spread = returns.pow(2).ewm(span=20, adjust=False).mean().pow(0.5).to_numpy()
    np.testing.assert_allclose(feature("ewma_volatility(20)").values(bars)[40:], spread[40:], rtol=1e-9)
    np.testing.assert_allclose(
        feature("value_at_risk(30)").values(bars), returns.rolling(30).quantile(0.05).to_numpy(), rtol=1e-7, atol=1e-12
    )


def test_supertrend_follows_its_textbook_loop():
    bars = market()
    close, high, low = bars["close"], bars["high"], bars["low"]
    ranges = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    upper = lower = None
    up, lines = True, np.full(ROWS, np.nan)
    for t in range(10, ROWS):
        atr = ranges[t - 10 : t].mean()
        raw_upper, raw_lower = (high[t] + low[t]) / 2 + 3 * atr, (high[t] + low[t]) / 2 - 3 * atr
        upper = raw_upper if upper is None or raw_upper < upper or close[t - 1] > upper else upper
        lower = raw_lower if lower is None or raw_lower > lower or close[t - 1] < lower else lower
        up = close[t] >= lower if up else close[t] > upper
        lines[t] = lower if up else upper
    np.testing.assert_allclose(feature("supertrend(10, 3)").values(bars), np.log(close / lines), rtol=1e-9, atol=1e-12)


def test_a_normalised_row_looks_at_previous_values_alone():
    bars = market(200)
    line = feature("momentum(5)").values(bars)
    before = line[150 - 48 : 150]
    expected = np.clip((line[150] - before.mean()) / before.std(), -5, 5)
    assert feature("z(momentum(5), 48)").values(bars)[150] == pytest.approx(expected)
    place = np.clip((line[150] - before.min()) / np.ptp(before), 0, 1)
    assert feature("minmax(momentum(5), 48)").values(bars)[150] == pytest.approx(place)


@pytest.mark.parametrize("text", ["rsi(14)", "keltner_place(20, 1p5)", "z(rsi(14), 96)", "RSI(14)", "SMA(high, 5)",
                                  "MACD(12, 26, 9):macdhist", "minmax(BBANDS(20):upperband, 30)"])  # fmt: skip
def test_a_name_is_read_back_as_the_same_feature(text):
    assert feature(text).name == text
    assert "." not in text


def test_usual_parameters_and_dots_are_written_out():
    assert feature("keltner_place(20, 1.5)").name == feature("keltner_place").name == "keltner_place(20, 1p5)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rsj(14)", "there is no indicator 'rsj'; did you mean 'rsi'"),
        ("rsi(14", "is no feature"),
        ("rsi(1, 2)", r"indicator rsi is given 2 parameters \(1, 2\); expected at most 1 \(bars\)"),
        ("rsi(1)", "indicator rsi: bars is 1; expected a whole number, 2 or more, such as 14"),
        ("rsi(x)", "'x' is not a number"),
        ("z(rsi(14))", "expected a feature and a number of previous values"),
        ("OBV", "OBV adds up from the first bar on"),
        ("RSJ(14)", "RSI"),
        ("rsi(14):k", "rsi has one output"),
    ],
)
def test_what_is_no_feature_is_refused_by_name(text, message):
    with pytest.raises(PluginError, match=message):
        feature(text)


def test_a_feature_given_twice_is_refused():
    with pytest.raises(PluginError, match=r"features rsi\(14\) are given twice"):
        features(["rsi", "rsi(14)"])


def test_a_matrix_has_a_column_a_feature():
    of = features(["log_return", "rsi(14)"])
    bars = market(50)
    assert matrix(of, bars).shape == (50, 2)
    assert memory_of(of) == 15
    windows = {name: np.stack([column[:40], column[10:]]) for name, column in bars.items()}
    np.testing.assert_allclose(matrix(of, windows)[1, 20:], matrix(of, bars)[30:], rtol=1e-6)
