"""Indicators of volume, relative to its own level. See `models.features.catalogue`."""

import numpy as np

from engine.bars import FloatArray
from models.features.catalogue import Columns, indicator
from models.features.of_prices import _after, _before
from models.features.rolling import change, correlation, lagged, mean, rank, share, slope, total, windows

_LARGEST = 5.0
_BINS = 12


def _typical(bars: Columns) -> FloatArray:
    return (bars["high"] + bars["low"] + bars["close"]) / 3


@indicator(1)
def volume_step(bars: Columns) -> FloatArray:
    """Volume over that of the bar before, less 1; at most 5, also after a bar without volume."""
    before = lagged(bars["volume"])
    return np.where(
        np.isnan(before), np.nan, np.clip(share(bars["volume"], before, _LARGEST + 1) - 1, -_LARGEST, _LARGEST)
    )


@indicator(_before, bars=5)
def volume_ratio(bars: Columns, count: int) -> FloatArray:
    """log(1 + volume over its mean), less log 2: 0 at the mean."""
    return np.log1p(share(bars["volume"], mean(bars["volume"], count), 1.0)) - np.log(2.0)


@indicator(_before, bars=120)
def volume_rank(bars: Columns, count: int) -> FloatArray:
    """Share of the last volumes that are below the latest: 0 … 1."""
    return rank(bars["volume"], count)


def _signed(bars: Columns) -> FloatArray:
    return np.sign(change(bars["close"])) * bars["volume"]


@indicator(_after, bars=14)
def obv_balance(bars: Columns, count: int) -> FloatArray:
    """On-balance volume of the last bars over their volume: −1 … 1. It has no start, other than the cumulative one."""
    return share(total(_signed(bars), count), total(bars["volume"], count))


@indicator(_after, bars=14)
def obv_slope(bars: Columns, count: int) -> FloatArray:
    """Slope of the on-balance volume of the last bars, per bar, over their mean volume."""
    # The slope does not depend on where the sum is begun.
    steps = np.cumsum(windows(_signed(bars), count), axis=-1)
    at = np.arange(count) - (count - 1) / 2
    line = (steps * at).sum(axis=-1) / float((at**2).sum())
    return share(line, mean(bars["volume"], count))


@indicator(_before, bars=20)
def vwap_ratio(bars: Columns, count: int) -> FloatArray:
    """Close over the volume-weighted price of the last bars, less 1; their plain mean where nothing was traded."""
    typical = _typical(bars)
    weighted = total(typical * bars["volume"], count)
    volume = total(bars["volume"], count)
    price = np.where(volume > 0, share(weighted, volume), mean(typical, count))
    return bars["close"] / np.where(np.isnan(volume), np.nan, price) - 1


@indicator(_after, bars=14)
def mfi(bars: Columns, count: int) -> FloatArray:
    """Money flow: traded value of rising bars over all that rose or fell: 0 … 1; ½ where none did."""
    typical = _typical(bars)
    step, value = change(typical), typical * bars["volume"]
    rising = total(np.where(np.isnan(step), np.nan, np.where(step > 0, value, 0.0)), count)
    falling = total(np.where(np.isnan(step), np.nan, np.where(step < 0, value, 0.0)), count)
    return share(rising, rising + falling, 0.5)


@indicator(_before, bars=20)
def cmf(bars: Columns, count: int) -> FloatArray:
    """Chaikin's money flow: volume weighted by where each close is within its bar: −1 … 1."""
    place = share(2 * bars["close"] - bars["high"] - bars["low"], bars["high"] - bars["low"])
    return share(total(place * bars["volume"], count), total(bars["volume"], count))


@indicator(_after, bars=20)
def price_volume_correlation(bars: Columns, count: int) -> FloatArray:
    """Correlation of log returns with volume over that of the bar before (at most 5): −1 … 1."""
    return correlation(change(np.log(bars["close"])), _steps_of_volume(bars), count)


def _steps_of_volume(bars: Columns) -> FloatArray:
    before = lagged(bars["volume"])
    return np.where(np.isnan(before), np.nan, np.clip(share(bars["volume"], before, 2.0), 0, _LARGEST))


@indicator(_before, bars=20)
def volume_slope(bars: Columns, count: int) -> FloatArray:
    """Slope of volume, per bar, over its mean."""
    return share(slope(bars["volume"], count), mean(bars["volume"], count))


def _profile(bars: Columns, count: int) -> tuple[FloatArray, FloatArray]:
    """Return volumes by price, [..., T, bins], between the lowest and the highest close; and bins' middles."""
    close, volume = windows(bars["close"], count), windows(bars["volume"], count)
    low, span = close.min(axis=-1, keepdims=True), np.ptp(close, axis=-1, keepdims=True)
    place = np.nan_to_num(np.minimum(share(close - low, span, 0.0) * _BINS, _BINS - 1), nan=0.0).astype(np.int64)
    held = np.stack([np.where(place == one, volume, 0.0).sum(axis=-1) for one in np.arange(_BINS)], axis=-1)
    return held, low + span * (np.arange(_BINS) + 0.5) / _BINS


@indicator(_before, bars=60)
def busiest_price(bars: Columns, count: int) -> FloatArray:
    """log of close over the price at which most was traded, of twelve between the lowest and highest close."""
    held, middles = _profile(bars, count)
    busiest = np.take_along_axis(middles, held.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.log(bars["close"] / busiest)


@indicator(_before, bars=60)
def quietest_price(bars: Columns, count: int) -> FloatArray:
    """log of close over the price at which least was traded, of twelve between the lowest and highest close."""
    held, middles = _profile(bars, count)
    quietest = np.take_along_axis(middles, held.argmin(axis=-1)[..., None], axis=-1)[..., 0]
    return np.log(bars["close"] / quietest)
