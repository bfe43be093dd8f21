"""Features that a transformer is fed, made of bars. Each is free of the price's level and known at its bar's close.

The few that stand here look at a bar and the one before. All others are those of `models.features`, by their names:
rsi(14), z(atr_ratio(14), 96), RSI(14).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.bars import FloatArray
from engine.errors import PluginError, nearest_name
from engine.forecasts import Float32Array
from models.features.catalogue import KINDS
from models.features.features import feature, memory_of

FIELDS = ("open", "high", "low", "close", "volume")
"""Columns of a window, in order."""
BEFORE = 1
"""Bars that a window needs before the first row of features, at least: changes are from bar to bar."""
_AT_ONCE = 100_000
"""Bars of windows that are worked on at a time, for the sake of memory."""

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
            try:
                feature(name)
            except PluginError as exc:
                near = nearest_name(name, [*FEATURES, *KINDS])
                raise PluginError(
                    f"tft: the feature {name!r} is not made of bars{near}; there are {', '.join(FEATURES)}, and those "
                    f"of models.features ({exc})"
                ) from exc


def bars_before(names: Sequence[str]) -> int:
    """Return how many bars a window needs before the first row of features.

    Raises:
        PluginError: as `check_features`.
    """
    check_features(names)
    return max(BEFORE, memory_of([feature(name) for name in names if name not in FEATURES]) - 1)


def features_of(windows: npt.NDArray[np.floating], names: Sequence[str]) -> Float32Array:
    """Return features of windows, float32 [N, T, names].

    Args:
        windows: [N, T + bars_before(names), 5], columns as FIELDS, in the units of the bars, oldest first.
    Raises:
        PluginError: a name that is none, or another shape.
    """
    before = bars_before(names)
    if windows.ndim != 3 or windows.shape[2] != len(FIELDS) or windows.shape[1] <= before:
        raise PluginError(
            f"tft: windows of shape {list(windows.shape)}; expected [N, bars ≥ {before + 1}, {len(FIELDS)}]"
        )
    rows = max(_AT_ONCE // windows.shape[1], 1)
    parts = [_of_some(windows[at : at + rows], names, before) for at in range(0, len(windows), rows)]
    return np.concatenate(parts) if parts else np.empty((0, windows.shape[1] - before, len(names)), np.float32)


def _of_some(windows: npt.NDArray[np.floating], names: Sequence[str], before: int) -> Float32Array:
    columns = {name: windows[..., place].astype(np.float64) for place, name in enumerate(FIELDS)}
    short = {name: column[:, before - BEFORE :] for name, column in columns.items()}
    made = np.empty((len(windows), windows.shape[1] - before, len(names)), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):  # a price of 0 makes a window of NaN, which is flagged
        for place, name in enumerate(names):
            if name in FEATURES:
                made[..., place] = FEATURES[name](short)
            else:
                made[..., place] = feature(name).values(columns)[:, before:]
    return made
