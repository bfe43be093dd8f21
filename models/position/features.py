"""What PriceTransformer is fed: eleven numbers a bar, relative to the window's last close and volatility.

The slots, in order: open, high, low, close (log of each over the last close), change (log return in units of the
window's volatility), amplitude (log of high over low, likewise), volume, amount, turnover, trades (log1p, standardised
over the window), time (sine of the hour of the week). Everything is known at the window's last close.
"""

import numpy as np
import numpy.typing as npt

from engine.bars import DAY, HOUR, MINUTE, IntArray, Timeframe
from engine.errors import PluginError

Float32Array = npt.NDArray[np.float32]

SLOTS = (
    "open",
    "high",
    "low",
    "close",
    "change",
    "amplitude",
    "volume",
    "amount",
    "turnover",
    "trades",
    "time",
)
FIELDS = ("open", "high", "low", "close", "volume", "amount", "trades")
"""Columns of a window, in order; amount and trades may be left out, from the right."""

_LEAST = 1e-8
_WEEK_HOURS = 168


def slots(windows: npt.NDArray[np.floating], close_times: IntArray) -> Float32Array:
    """Return what the network is fed, float32 [N, T, 11].

    Args:
        windows: [N, T, 5 … 7], the first of FIELDS, in the units of the bars, oldest first. Without an amount, volume
            times the typical price stands in; without trades, that slot is 0.
        close_times: int64 [N, T], UTC nanoseconds.
    Raises:
        PluginError: another shape, or numbers that no bar has.
    """
    if windows.ndim != 3 or not 5 <= windows.shape[2] <= len(FIELDS) or windows.shape[1] < 2:
        raise PluginError(f"price features: windows of shape {list(windows.shape)}; expected [N, bars ≥ 2, 5 … 7]")
    if close_times.shape != windows.shape[:2]:
        raise PluginError(f"price features: times of shape {list(close_times.shape)} for {list(windows.shape)}")
    values = windows.astype(np.float64)
    prices, volume = values[..., :4], values[..., 4]
    if not np.isfinite(values).all() or (prices <= 0).any() or (volume < 0).any():
        place = np.argwhere(~np.isfinite(values).all(-1) | (prices <= 0).any(-1) | (volume < 0))[0]
        raise PluginError(
            f"price features: bar {place[1]} of window {place[0]} is {values[tuple(place)].tolist()}; "
            "expected finite numbers, prices above 0 and no volume below 0"
        )
    close = prices[..., 3]
    relative = np.log(prices / close[:, -1:, None])
    returns = np.diff(np.log(close), axis=1, prepend=np.log(close[:, :1]))
    sigma = volatility(close)[:, None]
    typical = prices[..., 1:].mean(axis=-1)
    amount = values[..., 5] if values.shape[2] > 5 else volume * typical
    trades = _standardised(np.log1p(values[..., 6])) if values.shape[2] > 6 else np.zeros_like(volume)
    mean_volume = volume.mean(axis=1, keepdims=True)
    out = np.stack(
        [
            relative[..., 0],
            relative[..., 1],
            relative[..., 2],
            relative[..., 3],
            returns / sigma,
            np.log(prices[..., 1] / prices[..., 2]) / sigma,
            _standardised(np.log1p(volume)),
            _standardised(np.log1p(np.maximum(amount, 0))),
            _standardised(np.log1p(volume / np.maximum(mean_volume, _LEAST))),
            trades,
            week_wave(close_times),
        ],
        axis=-1,
    )
    return out.astype(np.float32)


def week_wave(close_times: IntArray) -> npt.NDArray[np.float64]:
    """Return the sine of the hour of the week, of any shape."""
    return np.asarray(np.sin(2 * np.pi * (close_times // HOUR % _WEEK_HOURS) / _WEEK_HOURS))


def week_times(calendar: IntArray, timeframe: str) -> IntArray:
    """Return close times as far as the time slot depends on them: within a week, int64 [N, T], nanoseconds from
    Thursday 00:00 UTC on, as the epoch's.

    Args:
        calendar: int64 [N, T, 3]: weekday (Monday 0), hour and minute of each bar's open, UTC. Taken from the bars, it
            is right over weekends and gaps, too.
        timeframe: of the bars.
    """
    weekday, hour, minute = (calendar[..., column] for column in range(3))
    opened = (weekday - 3) % 7 * DAY + hour * HOUR + minute * MINUTE
    return np.asarray((opened + Timeframe.parse(timeframe).duration) % (7 * DAY), np.int64)


def volatility(close: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the standard deviation of the log returns within each window, float64 [N]; never below 1e-8.

    Args:
        close: [N, T].
    """
    return np.asarray(np.maximum(np.diff(np.log(close), axis=1).std(axis=1), _LEAST))


def targets(
    close: npt.NDArray[np.float64], rows: IntArray, sigma: npt.NDArray[np.float64], horizons: int
) -> Float32Array:
    """Return what the network is to say: log returns 1 … `horizons` bars ahead over σ √h, float32 [N, horizons]; NaN
    past the end.

    Args:
        close: [bars] of one symbol; rows: int64 [N], each window's last bar; sigma: [N], as `volatility`'s.
    """
    ahead = rows[:, None] + np.arange(1, horizons + 1)
    known = ahead < len(close)
    later = close[np.minimum(ahead, len(close) - 1)]
    scaled = np.log(later / close[rows][:, None]) / (sigma[:, None] * np.sqrt(np.arange(1, horizons + 1)))
    return np.where(known, scaled, np.nan).astype(np.float32)


def _standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    deviation = values.std(axis=1, keepdims=True)
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / np.where(deviation > _LEAST, deviation, 1.0))
