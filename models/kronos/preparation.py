"""Bars to what Kronos sees, and back: six fields, normalised over the window, with the calendar beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import numpy as np
import numpy.typing as npt

from engine.bars import FloatArray, IntArray, utc
from engine.errors import PluginError

FIELDS = ("open", "high", "low", "close", "volume", "amount")
CLIP = 5.0
_TINY = 1e-5

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Normalised:
    """A window as the tokenizer sees it, float32 [L, 6], and what takes it back: mean and scale, float32 [6]."""

    values: Float32Array
    mean: Float32Array
    scale: Float32Array


def normalise(window: npt.NDArray[np.floating], clip: float = CLIP) -> Normalised:
    """Return a window less its mean, over its standard deviation + 1e-5, clipped to ± `clip`, each field by itself.

    The statistics are float32 sums over columns, as the original's, whose tokens depend on the last bits. A constant
    field is 0 throughout, where the original's rounding may leave a remainder as large as the clip.

    Args:
        window: [L, 6], in the order of FIELDS, all of it known at the decision.
    Raises:
        PluginError: a number is missing or not finite, or there is no row.
    """
    values = np.asfortranarray(window, dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != len(FIELDS) or not len(values):
        raise PluginError(f"kronos: a window of shape {list(values.shape)}; expected [bars, 6]: {', '.join(FIELDS)}")
    if not np.isfinite(values).all():
        row, column = (int(place) for place in np.argwhere(~np.isfinite(values))[0])
        raise PluginError(
            f"kronos: {FIELDS[column]} of bar {row} in the window is {values[row, column]}; expected a finite number"
        )
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    is_constant = (values == values[0]).all(axis=0)
    mean = np.where(is_constant, values[0], mean)
    scale = np.where(is_constant, np.float32(0), deviation) + np.float32(_TINY)
    scaled = np.clip((values - mean) / scale, -clip, clip)
    return Normalised(np.ascontiguousarray(scaled, np.float32), mean.astype(np.float32), scale.astype(np.float32))


def with_amount(fields: Mapping[str, FloatArray]) -> FloatArray:
    """Return a window's six fields [L, 6]; what is missing of volume and amount follows the original: no volume means
    none of either, no amount means volume times the mean of the four prices.

    Raises:
        PluginError: a price is missing, or there is an amount without a volume.
    """
    missing = [name for name in FIELDS[:4] if name not in fields]
    if missing:
        raise PluginError(f"kronos needs {', '.join(FIELDS[:4])}; {', '.join(missing)} is missing")
    if "amount" in fields and "volume" not in fields:
        raise PluginError("kronos was given an amount without a volume; give both, or neither")
    prices = [np.asarray(fields[name], np.float64) for name in FIELDS[:4]]
    volume = np.asarray(fields.get("volume", np.zeros(len(prices[0]))), np.float64)
    amount = fields.get("amount")
    if amount is None:
        amount = volume * np.mean(np.stack(prices, axis=1), axis=1)
    return np.stack([*prices, volume, np.asarray(amount, np.float64)], axis=1)


def stamps_of(times: IntArray, clock: tzinfo = UTC) -> IntArray:
    """Return minute, hour, weekday (Monday 0), day and month on a wall clock, int64 [T, 5], of UTC nanoseconds.

    The original reads the stamps that bars carry, which is their open time in most files.
    """
    if clock is UTC:
        minutes = np.asarray(times, np.int64) // 60_000_000_000
        days = minutes // 1440
        dates = days.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        day = (dates - months).astype(np.int64) + 1
        month = months.astype(np.int64) % 12 + 1
        return np.stack([minutes % 60, minutes // 60 % 24, (days + 3) % 7, day, month], axis=1)
    moments = [utc(int(time)).astimezone(clock) for time in times]
    return np.array([_fields(moment) for moment in moments], np.int64).reshape(-1, 5)


def _fields(moment: datetime) -> tuple[int, int, int, int, int]:
    return moment.minute, moment.hour, moment.weekday(), moment.day, moment.month
