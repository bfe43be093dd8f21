"""Alpha360: the last 60 bars of six fields, each relative to the current bar. What KRNN and its relatives are fed.

Source: microsoft/qlib, `Alpha360` handler and its processors. Columns are field-major, oldest first within a field:

    CLOSE59 … CLOSE0  OPEN59 … OPEN0  HIGH59 … HIGH0  LOW59 … LOW0  VWAP59 … VWAP0  VOLUME59 … VOLUME0

A price is divided by the current close, a volume by the current volume (+ 1e-12). Every value changes with every bar,
for its denominator does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.bars import FloatArray, IntArray
from engine.errors import PluginError

FIELDS = ("close", "open", "high", "low", "vwap", "volume")
LOOKBACK = 60
COLUMNS = tuple(f"{field.upper()}{lag}" for field in FIELDS for lag in reversed(range(LOOKBACK)))

VwapRule = Literal["typical", "missing"]
VolumeRule = Literal["floor", "qlib"]

_TINY = 1e-12
_FLOOR = 1e-3
"""Of the window's median volume: what stands for a smaller one under the rule "floor"."""


def with_vwap(
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    volume: FloatArray,
    amount: FloatArray | None,
    rule: VwapRule = "typical",
) -> FloatArray:
    """Return the average price of each bar, float64 [rows].

    Args:
        amount: traded value in quote currency, where the venue gives it: amount / volume, the real thing.
        rule: where it does not, or nothing was traded: "typical" (high + low + close) / 3, or "missing": NaN, as in
            Qlib's public data.
    """
    stand_in = (high + low + close) / 3 if rule == "typical" else np.full_like(close, np.nan)
    if amount is None:
        return stand_in
    with np.errstate(divide="ignore", invalid="ignore"):
        average = amount / volume
    return np.where((volume > 0) & np.isfinite(average), average, stand_in)


def alpha360(fields: Mapping[str, FloatArray], *, volume_rule: VolumeRule = "floor") -> npt.NDArray[np.float32]:
    """Return the matrix of one symbol, float32 [rows, 360]; NaN where history or a field is missing.

    Row t uses bars ≤ t.

    Args:
        fields: close, open, high, low, vwap and volume, each [rows].
        volume_rule: what a bar without volume does to its row. "qlib": the 59 older volumes are divided by 1e-12, which
            the clip turns into +3. "floor": the current volume counts as at least 0.1 % of the window's median (or as 1
            where that is 0).
    Raises:
        PluginError: a field is missing, or lengths differ.
    """
    lengths = {name: len(fields[name]) for name in FIELDS if name in fields}
    if len(lengths) < len(FIELDS) or len(set(lengths.values())) > 1:
        raise PluginError(f"alpha360 needs {', '.join(FIELDS)} of one length; got {lengths}")
    rows = lengths["close"]
    matrix = np.full((rows, len(FIELDS), LOOKBACK), np.nan, np.float32)
    if not rows:
        return matrix.reshape(0, len(COLUMNS))
    close = np.asarray(fields["close"], np.float64)
    for place, name in enumerate(FIELDS):
        padded = np.concatenate([np.full(LOOKBACK - 1, np.nan), np.asarray(fields[name], np.float64)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, LOOKBACK)
        base = _volume_base(windows, volume_rule) if name == "volume" else close
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            matrix[:, place] = windows / base[:, None]
    return matrix.reshape(rows, len(COLUMNS))


def alpha360_of_windows(
    windows: Mapping[str, FloatArray], *, vwap_rule: VwapRule = "typical", volume_rule: VolumeRule = "floor"
) -> npt.NDArray[np.float32]:
    """Return the row of each window's last bar, float32 [N, 360]: what `alpha360` says there.

    Args:
        windows: open, high, low, close and volume, each [N, 60 or more], oldest bar first; the last 60 are used.
    Raises:
        PluginError: shorter windows.
    """
    cut = {name: np.asarray(values, np.float64)[:, -LOOKBACK:] for name, values in windows.items()}
    if cut["close"].shape[1] < LOOKBACK:
        raise PluginError(f"alpha360 needs windows of {LOOKBACK} bars; got {cut['close'].shape[1]}")
    cut["vwap"] = with_vwap(cut["high"], cut["low"], cut["close"], cut["volume"], None, vwap_rule)
    rows = np.empty((len(cut["close"]), len(FIELDS), LOOKBACK), np.float32)
    for place, name in enumerate(FIELDS):
        base = _volume_base(cut[name], volume_rule) if name == "volume" else cut["close"][:, -1]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rows[:, place] = cut[name] / base[:, None]
    return rows.reshape(len(rows), len(COLUMNS))


def _volume_base(windows: FloatArray, rule: VolumeRule) -> FloatArray:
    now = windows[:, -1]
    if rule == "qlib":
        return np.asarray(now + _TINY)
    known = np.where(np.isnan(windows), np.nan, windows)
    with np.errstate(all="ignore"):
        median = np.array([np.nanmedian(row) if np.isfinite(row).any() else 0.0 for row in known[now <= 0]])
    base = now + _TINY
    base[now <= 0] = np.where(median > 0, _FLOOR * median, 1.0)
    return np.asarray(base)


class Alpha360Window:
    """The same row, one bar after another: a ring of the last 60 bars of each field."""

    def __init__(self, volume_rule: VolumeRule = "floor") -> None:
        self._ring = np.full((len(FIELDS), LOOKBACK), np.nan)
        self._rule: VolumeRule = volume_rule

    def update(self, close: float, open: float, high: float, low: float, vwap: float, volume: float) -> None:
        """Take in a closed bar."""
        self._ring[:, :-1] = self._ring[:, 1:]
        self._ring[:, -1] = close, open, high, low, vwap, volume

    @property
    def row(self) -> npt.NDArray[np.float32]:
        """float32 [360] at the last bar; equal to `alpha360`'s."""
        base = np.full(len(FIELDS), self._ring[0, -1])
        base[-1] = _volume_base(self._ring[-1:], self._rule)[0]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray((self._ring / base[:, None]).astype(np.float32).reshape(-1))


# ── processors ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RobustScaler:
    """Qlib's RobustZScoreNorm: (x − median) / (1.4826 · median absolute deviation), clipped to ± `clip`; then NaN → 0.

    Fitted on one span, applied to all; it belongs to the network and goes into its artefact. All in float32, as Qlib's.
    """

    median: npt.NDArray[np.float32]
    """[columns]"""
    scale: npt.NDArray[np.float32]
    """[columns]"""
    clip: float = 3.0

    @classmethod
    def fit(cls, matrix: npt.NDArray[np.float32], clip: float = 3.0) -> "RobustScaler":
        """Fit on the rows of the training span, float [rows, columns].

        Raises:
            PluginError: there are no rows.
        """
        if not len(matrix):
            raise PluginError("a scaler was to be fitted on no rows; the training span is empty")
        with np.errstate(all="ignore"):
            median = _nanmedian(matrix)
            spread = _nanmedian(np.abs(matrix - median))
            scale = (spread + np.float32(_TINY)) * np.float32(1.4826)
        return cls(median, scale, clip)

    def transform(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the rows as a network is fed them, float32, no NaN."""
        with np.errstate(all="ignore"):
            scaled = np.clip((matrix.astype(np.float32, copy=False) - self.median) / self.scale, -self.clip, self.clip)
        return np.where(np.isnan(scaled), 0.0, scaled).astype(np.float32)

    def card(self) -> dict[str, Any]:
        return {"kind": "robust", "clip": self.clip, "columns": len(self.median)}


def rank_labels(labels: FloatArray, instants: IntArray, *, centred: bool = False) -> FloatArray:
    """Return labels as ranks among the symbols of their instant, scaled to about unit variance, float64 [rows].

    Args:
        labels: [rows], no NaN; instants: int64 [rows], equal for rows that are ranked together.
        centred: (rank − ½) / n, which has mean 0 for few symbols too; else Qlib's CSRankNorm, rank / n.
    """
    out = np.empty(len(labels))
    for instant in np.unique(instants):
        rows = instants == instant
        values = labels[rows]
        below = (values[:, None] > values).sum(axis=1)
        upto = (values[:, None] >= values).sum(axis=1)
        rank = (below + 1 + upto) / 2  # ties get the average
        count = len(values)
        out[rows] = ((rank - 0.5) / count - 0.5) * 12**0.5 if centred else (rank / count - 0.5) * 3.46
    return out


def forward_return(close: FloatArray, lag: int = 1, horizon: int = 1) -> FloatArray:
    """Return what a decision at each close earns if it trades `lag` bars later, for `horizon` bars:
    close[t + lag + horizon] / close[t + lag] − 1; NaN at the end. float64 [rows]."""
    out = np.full(len(close), np.nan)
    count = len(close) - lag - horizon
    if count > 0:
        out[:count] = close[lag + horizon :] / close[lag : lag + count] - 1
    return out


def _nanmedian(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the median of each column, NaN for a column of NaN; without numpy's warning about those."""
    empty = np.isnan(matrix).all(axis=0)
    filled = np.where(empty, np.float32(0), matrix)
    median = np.nanmedian(filled, axis=0)
    return np.asarray(np.where(empty, np.float32("nan"), median).astype(np.float32))
