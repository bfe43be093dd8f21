"""Sums, means and recursions along time, the last axis; leading axes are many series at once. float64.

Every window is summed afresh, so that a value does not depend on what stood before its window, not even by rounding:
computed over a whole history, over a cut of it, or bar by bar, it is the same. NaN until a window is full.
"""

import math

import numpy as np

from engine.bars import FloatArray

_CHUNK = 64
_SETTLED = 1e-12
"""What is left of the start of a recursion when it no longer counts."""


def windows(values: FloatArray, count: int) -> FloatArray:
    """Return the last `count` values at each row, [..., T, count], a view; NaN stands before the first row."""
    before = np.full((*values.shape[:-1], count - 1), np.nan)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([before, values], axis=-1), count, axis=-1)


def lagged(values: FloatArray, bars: int = 1) -> FloatArray:
    """Return each row's value so many bars earlier; NaN at the start."""
    if not bars:
        return values
    out = np.full(values.shape, np.nan)
    out[..., bars:] = values[..., :-bars]
    return out


def change(values: FloatArray, bars: int = 1) -> FloatArray:
    """Return values less those so many bars earlier."""
    return values - lagged(values, bars)


def mean(values: FloatArray, count: int) -> FloatArray:
    """Return the mean of the last `count`."""
    return windows(values, count).mean(axis=-1)


def total(values: FloatArray, count: int) -> FloatArray:
    """Return the sum of the last `count`."""
    return windows(values, count).sum(axis=-1)


def deviation(values: FloatArray, count: int) -> FloatArray:
    """Return the standard deviation of the last `count`, over n."""
    return windows(values, count).std(axis=-1)


def highest(values: FloatArray, count: int) -> FloatArray:
    """Return the largest of the last `count`."""
    return windows(values, count).max(axis=-1)


def lowest(values: FloatArray, count: int) -> FloatArray:
    """Return the smallest of the last `count`."""
    return windows(values, count).min(axis=-1)


def share(part: FloatArray, whole: FloatArray, otherwise: float = 0.0) -> FloatArray:
    """Return part / whole; `otherwise` where the whole is 0, as in a market that stands still. NaN stays NaN."""
    still = np.abs(whole) < 1e-300
    with np.errstate(divide="ignore", invalid="ignore"):
        out = part / np.where(still, 1.0, whole)
    return np.where(still & ~np.isnan(part), otherwise, out)


def standing(values: FloatArray, count: int, otherwise: float = 0.0) -> FloatArray:
    """Return where each value stands within the last `count`: deviations from their mean; bounded by √(count − 1)."""
    of = windows(values, count)
    centre, spread = of.mean(axis=-1), of.std(axis=-1)
    # Below this the deviation is what rounding leaves of equal numbers.
    still = spread <= 1e-12 * np.abs(of).max(axis=-1)
    return share(values - centre, np.where(still, 0.0, spread), otherwise)


def slope(values: FloatArray, count: int) -> FloatArray:
    """Return the slope of a straight line through the last `count` values, per bar, by least squares."""
    steps = np.arange(count) - (count - 1) / 2
    return (windows(values, count) * steps).sum(axis=-1) / float((steps**2).sum())


def rank(values: FloatArray, count: int) -> FloatArray:
    """Return the share of the last `count` values that are below the latest, ties counting half: 0 … 1."""
    of = windows(values, count)
    now = values[..., None]
    out = ((of < now).sum(axis=-1) + 0.5 * ((of == now).sum(axis=-1) - 1)) / (count - 1)
    return np.where(np.isnan(of).any(axis=-1), np.nan, out)


def correlation(one: FloatArray, other: FloatArray, count: int) -> FloatArray:
    """Return the correlation over the last `count`; 0 where one of them stands still."""
    a, b = windows(one, count), windows(other, count)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    return share((a * b).sum(axis=-1), np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1)))


def ema(values: FloatArray, alpha: float, warm: int) -> FloatArray:
    """Return y[t] = y[t − 1] + alpha (x[t] − y[t − 1]), begun at the first number; NaN for the first `warm` numbers.

    Worked out in blocks: within one by a triangular matrix, from one to the next by what it carries over.
    """
    first = _first(values)
    out = np.full(values.shape, np.nan)
    given = values[..., first:]
    count = given.shape[-1]
    if not count:
        return out
    keep = 1.0 - alpha
    steps = np.arange(_CHUNK)
    weights = np.tril(keep ** np.maximum(steps[:, None] - steps[None, :], 0)) * alpha
    blocks = -(-count // _CHUNK)
    padded = np.zeros((*given.shape[:-1], blocks * _CHUNK))
    padded[..., :count] = given
    within = padded.reshape(*given.shape[:-1], blocks, _CHUNK) @ weights.T
    decay = keep ** (steps + 1)
    carried = given[..., 0]  # as if it had stood there for ever
    for block in range(blocks):
        within[..., block, :] += carried[..., None] * decay
        carried = within[..., block, -1]
    out[..., first:] = within.reshape(*given.shape[:-1], -1)[..., :count]
    out[..., : first + warm] = np.nan
    return out


def settling(alpha: float) -> int:
    """Return after how many bars the start of an `ema` no longer counts."""
    return math.ceil(math.log(_SETTLED) / math.log(1.0 - alpha)) if alpha < 1 else 1


def _first(values: FloatArray) -> int:
    """Return the first row at which every series has a number."""
    known = ~np.isnan(values).reshape(-1, values.shape[-1]).any(axis=0)
    return int(np.argmax(known)) if known.any() else values.shape[-1]
