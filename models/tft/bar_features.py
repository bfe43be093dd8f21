"""Features that a transformer is fed, made of bars. Each is free of the price's level and known at its bar's close."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.bars import FloatArray
from engine.errors import PluginError, nearest_name
from engine.forecasts import Float32Array

FIELDS = ("open", "high", "low", "close", "volume")
"""Columns of a window, in order."""
BEFORE = 1
"""Bars that a window needs before the first row of features: changes are from bar to bar."""

Window = Mapping[str, FloatArray]
"""Columns by field, [N, T + 1]."""


def _change(values: FloatArray) -> FloatArray:
    return np.diff(np.log(values), axis=1)


def _relative_volume(window: Window) -> FloatArray:
    volume = window["volume"]
    return np.log1p(volume[:, 1:] / np.maximum(volume.mean(axis=1, keepdims=True), 1e-12))


FEATURES: Mapping[str, Callable[[Window], FloatArray]] = {
    "log_return": lambda window: _change(window["close"]),
    "gap": lambda window: np.log(window["open"][:, 1:] / window["close"][:, :-1]),
    "body": lambda window: np.log(window["close"] / window["open"])[:, 1:],
    "range": lambda window: np.log(window["high"] / window["low"])[:, 1:],
    "upper_wick": lambda window: np.log(window["high"] / np.maximum(window["open"], window["close"]))[:, 1:],
    "lower_wick": lambda window: np.log(np.minimum(window["open"], window["close"]) / window["low"])[:, 1:],
    "volume_change": lambda window: np.diff(np.log1p(window["volume"]), axis=1),
    "relative_volume": _relative_volume,
}
"""By name: [N, T] of a window of T + 1 bars. Volume is relative to the mean of the window's own."""


def check_features(names: Sequence[str]) -> None:
    """Refuse features that cannot be made of bars.

    Raises:
        PluginError: naming the nearest that can.
    """
    for name in names:
        if name not in FEATURES:
            raise PluginError(
                f"tft: the feature {name!r} is not made of bars; there are {', '.join(FEATURES)}"
                f"{nearest_name(name, list(FEATURES))}"
            )


def features_of(windows: npt.NDArray[np.floating], names: Sequence[str]) -> Float32Array:
    """Return features of windows, float32 [N, T, names].

    Args:
        windows: [N, T + 1, 5], columns as FIELDS, in the units of the bars, oldest first.
    Raises:
        PluginError: a name that is none, or another shape.
    """
    check_features(names)
    if windows.ndim != 3 or windows.shape[2] != len(FIELDS) or windows.shape[1] <= BEFORE:
        raise PluginError(f"tft: windows of shape {list(windows.shape)}; expected [N, bars ≥ 2, {len(FIELDS)}]")
    columns = {name: windows[..., place].astype(np.float64) for place, name in enumerate(FIELDS)}
    with np.errstate(divide="ignore", invalid="ignore"):  # a price of 0 makes a window of NaN, which is flagged
        made = [FEATURES[name](columns) for name in names]
    return np.stack(made, axis=-1).astype(np.float32)
