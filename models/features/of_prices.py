"""Indicators of prices: returns, averages, oscillators, channels. See `models.features.catalogue`."""

import numpy as np

from engine.bars import FloatArray
from models.features.catalogue import Columns, indicator
from models.features.rolling import (
    change,
    ema,
    highest,
    lagged,
    lowest,
    mean,
    settling,
    share,
    slope,
    standing,
    total,
    windows,
)


def _before(count: int, *_: float) -> int:
    return count - 1


def _after(count: int, *_: float) -> int:
    return count


def _alpha(span: float) -> float:
    return 2.0 / (span + 1)


# ── one bar and the one before ──────────────────────────────────────────────────────────────────────────────────────


@indicator(1)
def log_return(bars: Columns) -> FloatArray:
    """log of close over the close before."""
    return change(np.log(bars["close"]))


@indicator(1)
def gap(bars: Columns) -> FloatArray:
    """log of open over the close before."""
    return np.log(bars["open"]) - lagged(np.log(bars["close"]))


@indicator(0)
def body(bars: Columns) -> FloatArray:
    """log of close over open."""
    return np.log(bars["close"] / bars["open"])


@indicator(0)
def bar_range(bars: Columns) -> FloatArray:
    """log of high over low."""
    return np.log(bars["high"] / bars["low"])


@indicator(0)
def upper_wick(bars: Columns) -> FloatArray:
    """log of high over the body's upper end."""
    return np.log(bars["high"] / np.maximum(bars["open"], bars["close"]))


@indicator(0)
def lower_wick(bars: Columns) -> FloatArray:
    """log of the body's lower end over low."""
    return np.log(np.minimum(bars["open"], bars["close"]) / bars["low"])


@indicator(0)
def close_place(bars: Columns) -> FloatArray:
    """Where the close is between low and high: 0 … 1; ½ where they are one."""
    return share(bars["close"] - bars["low"], bars["high"] - bars["low"], 0.5)


@indicator(1)
def pivot_distance(bars: Columns) -> FloatArray:
    """log of close over the pivot of the bar before, (high + low + close) / 3."""
    return np.log(bars["close"] / lagged((bars["high"] + bars["low"] + bars["close"]) / 3))


@indicator(60, lambda: 61)
def heikin_ashi_body(bars: Columns) -> FloatArray:
    """log of Heikin-Ashi close over its open, of which 2^−60 depends on bars before the last 60."""
    average = (bars["open"] + bars["high"] + bars["low"] + bars["close"]) / 4
    weights = 0.5 ** np.arange(60, 0, -1.0)
    begun = windows(lagged(average), 60) @ (weights / weights.sum())
    return np.log(average / begun)


# ── averages and momentum ───────────────────────────────────────────────────────────────────────────────────────────


@indicator(_after, bars=5)
def momentum(bars: Columns, count: int) -> FloatArray:
    """log of close over the close so many bars earlier."""
    return change(np.log(bars["close"]), count)


@indicator(_before, bars=20)
def ma_ratio(bars: Columns, count: int) -> FloatArray:
    """Close over its mean, less 1."""
    return bars["close"] / mean(bars["close"], count) - 1


@indicator(lambda fast, slow: max(fast, slow) - 1, fast=5, slow=20)
def ma_cross(bars: Columns, fast: int, slow: int) -> FloatArray:
    """A fast mean of closes over a slow one, less 1."""
    return mean(bars["close"], fast) / mean(bars["close"], slow) - 1


@indicator(_before, bars=20)
def trend_slope(bars: Columns, count: int) -> FloatArray:
    """Slope of a line through the logs of the closes, per bar."""
    return slope(np.log(bars["close"]), count)


@indicator(_after, bars=20)
def up_share(bars: Columns, count: int) -> FloatArray:
    """Share of bars whose close was above the one before."""
    step = change(bars["close"])
    return mean(np.where(np.isnan(step), np.nan, (step > 0).astype(float)), count)


@indicator(
    lambda fast, slow, signal: max(fast, slow) + signal - 2,
    lambda fast, slow, signal: 2 * settling(_alpha(max(fast, slow))) + 2 * settling(_alpha(signal)),
    fast=12, slow=26, signal=9,
)  # fmt: skip
def macd_histogram(bars: Columns, fast: int, slow: int, signal: int) -> FloatArray:
    """MACD less its signal line, over close."""
    return _macd(bars, fast, slow, signal) / bars["close"]


def _macd(bars: Columns, fast: int, slow: int, signal: int) -> FloatArray:
    warm = max(fast, slow) - 1
    line = ema(bars["close"], _alpha(fast), warm) - ema(bars["close"], _alpha(slow), warm)
    return line - ema(line, _alpha(signal), signal - 1)


@indicator(
    lambda fast, slow: max(fast, slow) - 1, lambda fast, slow: 2 * settling(_alpha(max(fast, slow))), fast=12, slow=26
)
def ppo(bars: Columns, fast: int, slow: int) -> FloatArray:
    """A fast exponential mean over a slow one, less 1."""
    warm = max(fast, slow) - 1
    return ema(bars["close"], _alpha(fast), warm) / ema(bars["close"], _alpha(slow), warm) - 1


@indicator(
    lambda slow, fast: slow + fast - 1,
    lambda slow, fast: 2 * settling(_alpha(slow)) + 2 * settling(_alpha(fast)),
    slow=25, fast=13,
)  # fmt: skip
def tsi(bars: Columns, slow: int, fast: int) -> FloatArray:
    """True strength: changes, smoothed twice, over their sizes, smoothed twice: −1 … 1."""
    step = change(bars["close"])

    def twice(values: FloatArray) -> FloatArray:
        return ema(ema(values, _alpha(slow), slow - 1), _alpha(fast), fast - 1)

    return share(twice(step), twice(np.abs(step)))


# ── oscillators ─────────────────────────────────────────────────────────────────────────────────────────────────────


@indicator(_after, bars=14)
def rsi(bars: Columns, count: int) -> FloatArray:
    """Gains over gains and losses, plain sums (not Wilder's): 0 … 1; ½ where nothing moved."""
    step = change(bars["close"])
    gains, losses = total(np.maximum(step, 0), count), total(np.maximum(-step, 0), count)
    return share(gains, gains + losses, 0.5)


@indicator(lambda count: 2 * count - 1, bars=14)
def stoch_rsi(bars: Columns, count: int) -> FloatArray:
    """Where `rsi` is between its own lowest and highest: 0 … 1."""
    line = rsi(bars, count)
    low = lowest(line, count)
    return share(line - low, highest(line, count) - low, 0.5)


def _stochastic(bars: Columns, count: int) -> FloatArray:
    low = lowest(bars["low"], count)
    return share(bars["close"] - low, highest(bars["high"], count) - low, 0.5)


@indicator(_before, bars=14)
def williams_r(bars: Columns, count: int) -> FloatArray:
    """Where the close is below the highest high, of the span to the lowest low: −1 … 0."""
    return _stochastic(bars, count) - 1


_THIRD = 1.0 / 3.0


def _kdj(bars: Columns, count: int) -> tuple[FloatArray, FloatArray]:
    k = ema(_stochastic(bars, count), _THIRD, 0)
    return k, ema(k, _THIRD, 0)


def _kdj_memory(count: int) -> int:
    return count + 2 * settling(_THIRD)


@indicator(_before, _kdj_memory, bars=9)
def kdj_k(bars: Columns, count: int) -> FloatArray:
    """The stochastic's place of the close, smoothed by a third: 0 … 1."""
    return _kdj(bars, count)[0]


@indicator(_before, _kdj_memory, bars=9)
def kdj_d(bars: Columns, count: int) -> FloatArray:
    """`kdj_k`, smoothed by a third again."""
    return _kdj(bars, count)[1]


@indicator(_before, _kdj_memory, bars=9)
def kdj_j(bars: Columns, count: int) -> FloatArray:
    """3 K − 2 D."""
    k, d = _kdj(bars, count)
    return 3 * k - 2 * d


@indicator(_before, bars=20)
def cci(bars: Columns, count: int) -> FloatArray:
    """Typical price less its mean, over 0.015 mean absolute deviations, in hundreds."""
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3
    of = windows(typical, count)
    centre = of.mean(axis=-1)
    spread = np.abs(of - centre[..., None]).mean(axis=-1)
    still = spread <= 1e-12 * np.abs(centre)
    return share(typical - centre, np.where(still, 0.0, 0.015 * spread)) / 100


# ── channels ────────────────────────────────────────────────────────────────────────────────────────────────────────


@indicator(_before, bars=20, width=2.0)
def bollinger_b(bars: Columns, count: int, width: float) -> FloatArray:
    """Where the close is between the Bollinger bands: 0 at the lower, 1 at the upper."""
    return 0.5 + standing(bars["close"], count) / (2 * width)


@indicator(_before, bars=20)
def donchian_place(bars: Columns, count: int) -> FloatArray:
    """Where the close is between the lowest low and the highest high: 0 … 1."""
    return _stochastic(bars, count)


@indicator(_after, bars=20)
def breakout(bars: Columns, count: int) -> FloatArray:
    """1 where the close is above the highs of the bars before, −1 below their lows, else 0."""
    above = bars["close"] > lagged(highest(bars["high"], count))
    below = bars["close"] < lagged(lowest(bars["low"], count))
    return np.where(np.isnan(lagged(highest(bars["high"], count))), np.nan, above.astype(float) - below)


@indicator(_after, bars=20)
def support_distance(bars: Columns, count: int) -> FloatArray:
    """log of close over the lowest low of the bars before."""
    return np.log(bars["close"] / lagged(lowest(bars["low"], count)))


@indicator(_after, bars=20)
def resistance_distance(bars: Columns, count: int) -> FloatArray:
    """log of the highest high of the bars before over close."""
    return np.log(lagged(highest(bars["high"], count)) / bars["close"])


@indicator(_before, bars=20)
def pullback(bars: Columns, count: int) -> FloatArray:
    """log of close over the highest close: 0 or less."""
    return np.log(bars["close"] / highest(bars["close"], count))


def _middle(bars: Columns, count: int) -> FloatArray:
    return (highest(bars["high"], count) + lowest(bars["low"], count)) / 2


@indicator(lambda fast, slow: max(fast, slow) - 1, fast=9, slow=26)
def ichimoku_cross(bars: Columns, fast: int, slow: int) -> FloatArray:
    """log of the conversion line over the base line."""
    return np.log(_middle(bars, fast) / _middle(bars, slow))


@indicator(
    lambda fast, slow, long: max(fast, slow, long) - 1 + slow,
    fast=9, slow=26, long=52,
)  # fmt: skip
def ichimoku_cloud(bars: Columns, fast: int, slow: int, long: int) -> FloatArray:
    """log of close over the middle of the cloud that was drawn `slow` bars ago for this bar."""
    cloud = ((_middle(bars, fast) + _middle(bars, slow)) / 2 + _middle(bars, long)) / 2
    return np.log(bars["close"] / lagged(cloud, slow))
