"""Indicators of volatility: how far prices move. See `models.features.catalogue`."""

import math

import numpy as np

from engine.bars import FloatArray
from models.features.catalogue import Columns, indicator
from models.features.of_prices import _after, _alpha, _before
from models.features.rolling import (
    change,
    deviation,
    ema,
    highest,
    lagged,
    lowest,
    mean,
    settling,
    share,
    slope,
    windows,
)

_PARKINSON = 4 * np.log(2.0)


def returns(bars: Columns) -> FloatArray:
    """Return log returns of closes, NaN at the first bar."""
    return change(np.log(bars["close"]))


def true_range(bars: Columns) -> FloatArray:
    """Return the span of each bar and of the close before it; NaN at the first bar."""
    before = lagged(bars["close"])
    return np.maximum(bars["high"], before) - np.minimum(bars["low"], before)


def _atr(bars: Columns, count: int) -> FloatArray:
    return mean(true_range(bars), count)


@indicator(_after, bars=20)
def volatility(bars: Columns, count: int) -> FloatArray:
    """Standard deviation of log returns."""
    return deviation(returns(bars), count)


@indicator(_after, lambda span: 2 * settling(_alpha(span)), span=20)
def ewma_volatility(bars: Columns, span: int) -> FloatArray:
    """Root of the exponential mean of squared log returns."""
    return np.sqrt(ema(returns(bars) ** 2, _alpha(span), span - 1))


@indicator(_before, bars=20)
def parkinson(bars: Columns, count: int) -> FloatArray:
    """Volatility of highs and lows: root of the mean of log(high / low)² / (4 ln 2) (Parkinson 1980)."""
    return np.sqrt(mean(np.log(bars["high"] / bars["low"]) ** 2, count) / _PARKINSON)


@indicator(lambda fast, slow: max(fast, slow), fast=10, slow=60)
def volatility_ratio(bars: Columns, fast: int, slow: int) -> FloatArray:
    """log of recent volatility over that of longer; 0 where nothing moved."""
    ratio = share(deviation(returns(bars), fast), deviation(returns(bars), slow), 1.0)
    return np.log(np.maximum(ratio, 1e-3))


@indicator(_after, bars=14)
def atr_ratio(bars: Columns, count: int) -> FloatArray:
    """Mean true range over close (plain mean)."""
    return _atr(bars, count) / bars["close"]


@indicator(lambda count: count + 1, bars=14)
def atr_change(bars: Columns, count: int) -> FloatArray:
    """Mean true range over that of the bar before, less 1."""
    line = _atr(bars, count)
    return share(line, lagged(line), 1.0) - 1


@indicator(lambda count: 2 * count - 1, bars=14)
def atr_slope(bars: Columns, count: int) -> FloatArray:
    """Slope of the mean true range, per bar, over close."""
    return slope(_atr(bars, count), count) / bars["close"]


@indicator(_after, bars=14)
def range_to_atr(bars: Columns, count: int) -> FloatArray:
    """The bar's own span over the mean true range."""
    return share(bars["high"] - bars["low"], _atr(bars, count))


@indicator(_before, bars=20, width=2.0)
def bollinger_width(bars: Columns, count: int, width: float) -> FloatArray:
    """The span of the Bollinger bands over their middle."""
    return 2 * width * deviation(bars["close"], count) / mean(bars["close"], count)


@indicator(_after, bars=20, width=1.5)
def keltner_place(bars: Columns, count: int, width: float) -> FloatArray:
    """Where the close is between the Keltner channel's ends (mean ± width · mean true range): 0 … 1 inside."""
    return 0.5 + share(bars["close"] - mean(bars["close"], count), 2 * width * _atr(bars, count))


@indicator(_after, bars=20)
def squeeze(bars: Columns, count: int) -> FloatArray:
    """Two deviations of closes over 1.5 mean true ranges: below 1, Bollinger's bands lie within Keltner's."""
    return share(2 * deviation(bars["close"], count), 1.5 * _atr(bars, count))


@indicator(_after, bars=30)
def skewness(bars: Columns, count: int) -> FloatArray:
    """Third moment of log returns, standardised; 0 where nothing moved."""
    return _moment(bars, count, 3)


@indicator(_after, bars=30)
def kurtosis(bars: Columns, count: int) -> FloatArray:
    """Fourth moment of log returns, standardised, less 3."""
    return _moment(bars, count, 4) - 3


def _moment(bars: Columns, count: int, power: int) -> FloatArray:
    of = windows(returns(bars), count)
    centred = of - of.mean(axis=-1, keepdims=True)
    return share((centred**power).mean(axis=-1), (centred**2).mean(axis=-1) ** (power / 2))


@indicator(_after, bars=30, level=0.05)
def value_at_risk(bars: Columns, count: int, level: float) -> FloatArray:
    """The return that a share `level` of the last ones was below."""
    return np.quantile(windows(returns(bars), count), level, axis=-1)


@indicator(_after, bars=30, level=0.05)
def shortfall(bars: Columns, count: int, level: float) -> FloatArray:
    """Mean of the worst share `level` of the last returns, at least one."""
    worst = max(int(np.ceil(level * count)), 1)
    of = windows(returns(bars), count)
    return np.where(np.isnan(of).any(axis=-1), np.nan, np.partition(of, worst - 1, axis=-1)[..., :worst].mean(axis=-1))


@indicator(_before, bars=20)
def drawdown(bars: Columns, count: int) -> FloatArray:
    """The deepest fall of closes within the last bars, as log: 0 or less."""
    of = np.log(windows(bars["close"], count))
    return (of - np.maximum.accumulate(of, axis=-1)).min(axis=-1)


@indicator(_before, bars=20)
def channel_width(bars: Columns, count: int) -> FloatArray:
    """log of the highest high over the lowest low."""
    return np.log(highest(bars["high"], count) / lowest(bars["low"], count))


@indicator(_after, lambda count, _: 40 * count, bars=10, width=3.0)
def supertrend(bars: Columns, count: int, width: float) -> FloatArray:
    """log of close over the SuperTrend line: above 0 in an upward trend.

    It depends on its path: from the turn before last on, at the latest, nothing earlier counts.
    """
    reach = width * _atr(bars, count)
    middle = (bars["high"] + bars["low"]) / 2
    ends = (middle + reach, middle - reach, bars["close"])
    flat = [column.reshape(-1, column.shape[-1]).tolist() for column in ends]
    lines = [_supertrend(*series) for series in zip(*flat, strict=True)]
    return np.log(bars["close"] / np.array(lines).reshape(middle.shape))


def _supertrend(raw_upper: list[float], raw_lower: list[float], close: list[float]) -> list[float]:
    """Return the line of one series. Python's own numbers: four times as fast as numpy's one by one."""
    upper = lower = before = math.nan
    up, lines = True, []
    for high, low, now in zip(raw_upper, raw_lower, close, strict=True):
        if high < upper or not before <= upper:
            upper = high
        if low > lower or not before >= lower:
            lower = low
        up = not now < lower if up else now > upper
        lines.append(lower if up else upper)
        before = now
    return lines
