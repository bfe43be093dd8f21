"""Indicators: over whole columns and bar by bar, TA-Lib's and an author's own."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import HOUR, FloatArray, Stream
from engine.errors import PluginError
from engine.indicator_talib import talib_function, talib_names
from engine.indicators import IndicatorSpec, check_causal, compute, default_inputs, warm_up

ROOT = Path(__file__).parents[2]
ROWS = 400
NEVER_FROM_BARS = {"MAVP"}  # its second input is a column of periods


def market(rows: int = ROWS, seed: int = 1, nans: int = 0) -> dict[str, FloatArray]:
    """Return columns of a plausible market, the first `nans` rows of each NaN."""
    rng = np.random.default_rng(seed)
    close = 40_000 * np.exp(np.cumsum(rng.normal(0, 0.003, rows)))
    open_ = np.concatenate([close[:1], close[:-1]])
    high = np.maximum(open_, close) * (1 + np.abs(rng.normal(0, 0.001, rows)))
    low = np.minimum(open_, close) * (1 - np.abs(rng.normal(0, 0.001, rows)))
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": rng.lognormal(2, 1, rows)}
    for column in columns.values():
        column[:nans] = np.nan
    return columns


def followed(spec: IndicatorSpec, columns: dict[str, FloatArray]) -> FloatArray:
    """Return what the incremental form gives, bar by bar."""
    line = spec.incremental()
    return np.array([line.update(*values) for values in zip(*(columns[name] for name in spec.inputs), strict=True)])


def shorter_periods(name: str) -> dict[str, int | float]:
    """Return parameters of a TA-Lib function other than its defaults: every period one longer."""
    defaults = talib_function(name).defaults
    return {key: value + 1 for key, value in defaults.items() if "period" in key}


# ── the two forms agree ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [name for name in talib.get_functions() if name not in NEVER_FROM_BARS])
def test_talib_bar_by_bar_equals_talib_over_the_whole_column(name: str) -> None:
    columns = market()
    for output in talib_function(name).outputs:
        for options in ({}, shorter_periods(name)):
            spec = IndicatorSpec(name, output=output, options=options)
            whole = spec.values(columns.__getitem__)
            np.testing.assert_allclose(followed(spec, columns), whole, rtol=1e-9, atol=1e-9)
            assert whole.dtype == np.float64
            assert np.isnan(whole[: spec.lookback]).all()


@pytest.mark.parametrize("name", ["SMA", "EMA", "RSI", "ATR", "OBV", "MAXINDEX", "CDLDOJI", "HT_TRENDMODE", "FRACTAL"])
def test_leading_nans_are_warm_up_in_both_forms(name: str) -> None:
    columns = market(nans=30)
    spec = IndicatorSpec(name)
    whole = spec.values(columns.__getitem__)
    np.testing.assert_array_equal(followed(spec, columns), whole)
    assert warm_up(whole) == 30 + spec.lookback


@pytest.mark.parametrize("name", ["SMA", "MACD", "STOCHRSI", "CDLDOJI", "ADX"])
def test_talib_values_do_not_depend_on_later_rows(name: str) -> None:
    columns = market()
    whole = IndicatorSpec(name).values(columns.__getitem__)
    for rows in (1, 2, 40, 100, 399):
        part = IndicatorSpec(name).values(lambda field, rows=rows: columns[field][:rows])
        np.testing.assert_array_equal(part, whole[:rows])


@settings(max_examples=50, deadline=None)
@given(
    closes=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=120),
    period=st.integers(2, 30),
    name=st.sampled_from(["SMA", "EMA", "WMA", "RSI", "STDDEV", "LINEARREG", "KAMA", "TRIX", "CUMSUM"]),
)
def test_both_forms_agree_for_any_prices_and_any_length(closes: list[float], period: int, name: str) -> None:
    columns = {"close": np.array(closes)}
    arguments = (period,) if talib_function(name).defaults else ()
    spec = IndicatorSpec(name, arguments=arguments)
    np.testing.assert_allclose(
        followed(spec, columns), spec.values(columns.__getitem__), rtol=1e-9, atol=1e-9 * max(closes)
    )


def test_own_function_bar_by_bar_equals_the_whole_column() -> None:
    columns = market(2500)  # more than the first buffer of the incremental form
    spec = IndicatorSpec(lambda high, low, factor: np.cumsum(high - low) * factor, arguments=(0.5,))
    np.testing.assert_array_equal(followed(spec, columns), spec.values(columns.__getitem__))


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sma_is_the_mean_of_the_last_bars() -> None:
    np.testing.assert_array_equal(compute("SMA", np.array([1.0, 2, 3, 4, 5]), 3), [np.nan, np.nan, 2, 3, 4])


def test_outputs_are_chosen_by_place_or_name() -> None:
    close = market()["close"]
    upper, middle, lower = talib.BBANDS(close, 10, 1.5, 1.5)
    np.testing.assert_array_equal(compute("BBANDS", close, 10, 1.5, 1.5), upper)
    np.testing.assert_array_equal(compute("BBANDS", close, 10, 1.5, 1.5, output=1), middle)
    np.testing.assert_array_equal(compute("BBANDS", close, 10, nbdevup=1.5, nbdevdn=1.5, output="lowerband"), lower)


def test_moving_average_types_go_by_name() -> None:
    close = market()["close"]
    np.testing.assert_array_equal(compute("MA", close, 20, matype="EMA"), talib.EMA(close, 20))


def test_candlestick_patterns_are_nan_before_their_first_value() -> None:
    columns = market()
    spec = IndicatorSpec("CDLDOJI")
    values = spec.values(columns.__getitem__)
    assert warm_up(values) == spec.lookback == 10
    assert set(values[10:]) <= {0.0, 100.0}


def test_indicators_of_indicators_start_behind_the_warm_up_of_the_first() -> None:
    close = market()["close"]
    twice = compute("SMA", compute("SMA", close, 10), 5)
    assert warm_up(twice) == 13
    assert twice[13] == pytest.approx(np.mean([close[row - 9 : row + 1].mean() for row in range(9, 14)]))


def test_data_shorter_than_the_lookback_give_no_value() -> None:
    values = compute("SMA", [1.0, 2.0], 3)
    assert np.isnan(values).all()
    assert warm_up(values) == 2
    assert len(compute("SMA", np.empty(0), 3)) == 0


def test_named_tuples_of_an_own_function_name_its_outputs() -> None:
    band = namedtuple("band", "upper lower")
    spec = IndicatorSpec(lambda high, low: band(high * 2, low / 2), output="lower")
    np.testing.assert_array_equal(spec.values(market().__getitem__), market()["low"] / 2)


def test_columns_given_to_an_own_function_cannot_be_changed() -> None:
    def vandal(close: FloatArray) -> FloatArray:
        close[:] = 0
        return close

    columns = market()
    with pytest.raises(PluginError, match=r"vandal\(close\) raised ValueError when given 400 rows: .*read-only"):
        IndicatorSpec(vandal).values(columns.__getitem__)
    assert columns["close"].flags.writeable


# ── names, inputs, equality ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        ("SMA", ("close",)),
        ("ATR", ("high", "low", "close")),
        ("OBV", ("close", "volume")),
        ("CDLDOJI", ("open", "high", "low", "close")),
        ("BETA", ("high", "low")),
        (lambda close, high, factor: close, ("close", "high")),
    ],
)
def test_default_inputs_are_talibs_or_the_names_of_the_arguments(function: object, inputs: tuple[str, ...]) -> None:
    assert default_inputs(function) == inputs  # type: ignore[arg-type]


def test_names_read_as_people_write_them() -> None:
    stream = Stream("BTC/USDT", "1h")
    assert IndicatorSpec("SMA", ("close",), (20,)).name == "SMA(close, 20)"
    assert IndicatorSpec("ATR").name == "ATR(high, low, close)"
    bands = IndicatorSpec("BBANDS", ("high",), (20, 2.5), {"matype": "EMA"}, stream, "lowerband")
    assert bands.label == "BTC/USDT 1h BBANDS(high, 20, 2.5, matype=EMA).lowerband"


def test_specs_of_the_same_line_are_equal_and_hash_alike() -> None:
    one = IndicatorSpec("BBANDS", (), (20,), {"matype": 1}, output="middleband")
    other = IndicatorSpec("BBANDS", ("close",), (20,), {"matype": 1}, output=1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != IndicatorSpec("BBANDS", ("close",), (21,), {"matype": 1}, output=1)


def test_every_talib_function_is_known_by_name() -> None:
    assert set(talib_names()) == set(talib.get_functions())


def test_importing_the_engine_does_not_import_talib() -> None:
    code = "import sys, engine, engine.indicators; sys.exit('talib' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("SMMA", ("close",)), r"unknown indicator 'SMMA'; did you mean 'SMA'\?"),
        (("sma", ("close",)), r"unknown indicator 'sma'; did you mean 'SMA'\?"),
        (("SMA", ("clse",)), r"SMA: unknown bar field 'clse'; did you mean 'close'\?"),
        (("ATR", ("close",)), r"ATR is given 1 input field \(close\); expected 3, such as high, low, close"),
        (("SMA", (), (20, 30)), r"SMA is given 2 parameters \(20, 30\); expected at most 1 \(timeperiod\)"),
        (("SMA", (), (), {"timeperiods": 3}), r"unknown parameter 'timeperiods'; did you mean 'timeperiod'\?"),
        (("SMA", (), (3,), {"timeperiod": 3}), r"parameter timeperiod is given twice"),
        (("SMA", (), (0,)), r"TA-Lib refuses timeperiod = 0; usual values are timeperiod = 30"),
        (("SMA", (), (2.5,)), r"timeperiod is 2\.5; expected a whole number"),
        (("SMA", (), (True,)), r"timeperiod is True; expected a whole number"),
        (("SMA", (), (None,)), r"timeperiod is None; expected a whole number"),
        (("BBANDS", (), (20, float("nan"))), r"nbdevup is nan; expected a number"),
        (("MA", (), (20,), {"matype": "EWMA"}), r"unknown moving average 'EWMA'; did you mean 'WMA'\?"),
        (("BBANDS", (), (), {}, None, "lower"), r"unknown output 'lower'.* expected upperband, middleband, lowerband"),
        (("BBANDS", (), (), {}, None, 3), r"output is 3; expected 0 … 2 \(upperband, middleband, lowerband\)"),
        (("MAVP",), r"MAVP needs a column of periods, which no bar has"),
        ((len,), r"len: nobody said which bar fields it takes"),
        ((7,), r"indicator 7 is neither a name"),
        ((lambda close: close, (), (), {}, None, -1), r"output is -1; expected a place from 0 on"),
    ],
)
def test_a_wrong_spec_is_refused_when_it_is_made(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        IndicatorSpec(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda close: close[1:], r"returned shape \(399,\); expected one value a row, \(400,\)"),
        (lambda close: close.mean(), r"returned shape \(\); expected one value a row"),
        (lambda close: None, r"returned shape \(\)|returned NoneType"),
        (lambda close: "high", r"returned str; expected a column of numbers"),
        (lambda close: {"a": close}, r"returned dict; expected a column of numbers"),
        (lambda close: 1 / 0, r"raised ZeroDivisionError when given 400 rows: division by zero"),
    ],
)
def test_an_own_function_that_returns_no_column_is_refused(result: object, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        IndicatorSpec(result).values(market().__getitem__)  # type: ignore[arg-type]


def test_an_output_that_an_own_function_does_not_have_is_refused() -> None:
    with pytest.raises(PluginError, match=r"output is 2; expected 0 … 1"):
        IndicatorSpec(lambda close: (close, close), output=2).values(market().__getitem__)
    with pytest.raises(PluginError, match="returned a single column; leave output out"):
        IndicatorSpec(lambda close: close, output=1).values(market().__getitem__)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_a_hole_in_a_talib_input_is_refused_by_both_forms(hole: float) -> None:
    columns = market(nans=5)
    columns["close"][57] = hole
    spec = IndicatorSpec("SMA", (), (10,))
    with pytest.raises(PluginError, match=rf"SMA\(close, 10\): close is {hole} at row 57, though .* row 5"):
        spec.values(columns.__getitem__)
    with pytest.raises(PluginError, match=rf"SMA\(close, 10\) is given {hole} after 52 finite bars"):
        followed(spec, columns)


def test_why_a_hole_is_refused_one_nan_silences_a_talib_average_for_good() -> None:
    close = np.arange(100.0)
    close[10] = np.nan
    assert np.isnan(talib.SMA(close, 3)[10:]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute("SMA", 20), "SMA is given no column"),
        (lambda: compute("ATR", np.ones(9), 3), r"compute\('ATR'\) is given 1 column; expected high, low, close"),
        (lambda: compute("SMA", "close", 20), r"given the field name 'close' .* a column, such as bars\.close"),
        (lambda: compute("SMA", np.ones((3, 3)), 2), r"an input of shape \(3, 3\); expected columns"),
        (lambda: compute("OBV", np.ones(3), np.ones(4)), "columns of 3, 4 rows; expected one length"),
        (lambda: compute("SMA", [1.0, np.nan, 1.0], 2), "column 0 is nan at row 1, though numbers begin at row 0"),
    ],
)
def test_compute_says_what_does_not_fit(call: object, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        call()  # type: ignore[operator]


# ── causality ───────────────────────────────────────────────────────────────────────────────────────────────────


def tomorrow(close: FloatArray) -> FloatArray:
    return np.append(close[1:], np.nan)


def centred_mean(close: FloatArray) -> FloatArray:
    padded = np.concatenate([np.full(2, np.nan), close, np.full(2, np.nan)])
    return np.lib.stride_tricks.sliding_window_view(padded, 5).mean(axis=1)


def scaled_by_the_highest_ever(close: FloatArray) -> FloatArray:
    return close / close.max()


def z_score_of_all(close: FloatArray) -> FloatArray:
    return (close - close.mean()) / (close.std() + 1e-12)


def last_of_its_block(close: FloatArray) -> FloatArray:
    ends = np.minimum((np.arange(len(close)) // 60 + 1) * 60 - 1, len(close) - 1)
    return close[ends]


def filled_backwards(close: FloatArray) -> FloatArray:
    line = compute("SMA", close, 200)
    line[:199] = line[199] if len(line) > 199 else 0.0
    return line


@pytest.mark.parametrize(
    "leak", [tomorrow, centred_mean, scaled_by_the_highest_ever, z_score_of_all, last_of_its_block, filled_backwards]
)
@pytest.mark.parametrize("rows", [ROWS, 20_000])
def test_a_function_that_looks_ahead_is_refused(leak: object, rows: int) -> None:
    columns = market(rows)
    with pytest.raises(PluginError, match=rf"{leak.__name__}\(close\) looks ahead: row \d+ is"):  # type: ignore[attr-defined]
        check_causal(IndicatorSpec(leak), columns.__getitem__)  # type: ignore[arg-type]


def test_the_message_names_the_first_row_that_depends_on_later_ones_and_its_time() -> None:
    columns = {"close": np.arange(10.0)}
    times = np.arange(1, 11) * HOUR
    message = r"tomorrow\(close\) looks ahead: row 0 \(1970-01-01T01:00Z\) is nan when the data end at row 0, and 1"
    with pytest.raises(PluginError, match=message):
        check_causal(IndicatorSpec(tomorrow), columns.__getitem__, close_time=times)


def test_a_leak_behind_a_long_warm_up_is_found() -> None:
    def late(close: FloatArray) -> FloatArray:
        line = tomorrow(close)
        line[:6000] = np.nan
        return line

    with pytest.raises(PluginError, match=r"late.* looks ahead"):
        check_causal(IndicatorSpec(late), market(9000).__getitem__)


@pytest.mark.parametrize(
    "causal",
    [
        lambda close: np.cumsum(close) / np.arange(1, len(close) + 1),
        lambda close: np.convolve(close, np.full(9, 1 / 9))[: len(close)],
        lambda high, low: (high, low),
        lambda close: compute("RSI", close, 14),
        lambda close: np.full(len(close), np.nan),
    ],
)
def test_causal_functions_pass(causal: object) -> None:
    check_causal(IndicatorSpec(causal), market(5000).__getitem__)  # type: ignore[arg-type]


def test_a_function_that_does_not_repeat_itself_is_told_so() -> None:
    random = np.random.default_rng(1)
    with pytest.raises(PluginError, match="gives other values for the same rows each time"):
        check_causal(IndicatorSpec(lambda close: random.normal(size=len(close))), market().__getitem__)


def test_a_function_that_cannot_do_with_one_row_is_told_so_before_paper_trading_begins() -> None:
    def windows(close: FloatArray) -> FloatArray:
        means = np.lib.stride_tricks.sliding_window_view(close, 20).mean(axis=1)
        return np.concatenate([np.full(19, np.nan), means])

    with pytest.raises(PluginError, match=r"windows\(close\) raised ValueError when given 1 row: .* for every row"):
        check_causal(IndicatorSpec(windows), market().__getitem__)


def test_the_check_costs_no_more_on_long_data() -> None:
    seen: list[int] = []

    def watched(close: FloatArray) -> FloatArray:
        seen.append(len(close))
        return close

    columns = market(100_000)
    check_causal(IndicatorSpec(watched), columns.__getitem__, values=columns["close"])
    assert max(seen) <= 4200
    assert len(seen) <= 20
