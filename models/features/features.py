"""Features as they are written in settings, and what they are of bars.

    rsi(14)                   one of ours, by name; `rsi` alone has its usual parameters
    RSI(14), MACD(12, 26, 9):macdhist, SMA(close, 20)
                              one of TA-Lib's, in capitals; :output where it has several
    z(atr_ratio(14), 96)      how many deviations from the mean of its previous 96 values, within ±5
    minmax(SMA(20), 96)       where it stands between the lowest and highest of its previous 96, within 0 … 1

A name has no dot, for weights bear it: 1.5 is written 1p5.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.bars import FIELDS, FloatArray
from engine.errors import PluginError
from engine.indicator_talib import talib_function
from engine.indicators import Incremental as BarByBar
from engine.indicators import IndicatorSpec
from models.features import of_prices, of_volatility, of_volume
from models.features.catalogue import Columns, Incremental, Indicator, Number, kind_of, shown
from models.features.rolling import highest, lagged, lowest, share, windows

MODULES = (of_prices, of_volatility, of_volume)
"""Those that fill the catalogue."""

_CALL = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_]*)(?:\((?P<inside>.*)\))?(?::(?P<output>[a-z0-9_]+))?")
_CLIP = 5.0


class Feature(Protocol):
    """A column of what a network is fed."""

    @property
    def name(self) -> str: ...

    @property
    def warm_up(self) -> int:
        """Rows of NaN before the first value."""

    @property
    def memory(self) -> int:
        """Rows, the latest included, that decide a value."""

    def values(self, columns: Columns) -> FloatArray:
        """Return it at every row, float64 [..., T]."""


@dataclass(frozen=True)
class Normalised:
    """A feature against its own previous values, those before the row itself.

    Args:
        how: "z" or "minmax". window: how many previous values.
    """

    how: str
    inner: Feature
    window: int

    def __post_init__(self) -> None:
        if self.window < 2:
            raise PluginError(f"{self.how}(…, {self.window}): expected 2 or more previous values")

    @property
    def name(self) -> str:
        return f"{self.how}({self.inner.name}, {self.window})"

    @property
    def warm_up(self) -> int:
        return self.inner.warm_up + self.window

    @property
    def memory(self) -> int:
        return self.inner.memory + self.window

    def values(self, columns: Columns) -> FloatArray:
        line = self.inner.values(columns)
        return rolling_z(line, self.window) if self.how == "z" else rolling_minmax(line, self.window)


def rolling_z(values: FloatArray, window: int) -> FloatArray:
    """Return (value − mean) / deviation of the previous `window` values, within ±5; 0 where those stood still."""
    before = windows(lagged(values), window)
    centre, spread = before.mean(axis=-1), before.std(axis=-1)
    still = spread <= 1e-12 * np.abs(before).max(axis=-1)
    return np.clip(share(values - centre, np.where(still, 0.0, spread)), -_CLIP, _CLIP)


def rolling_minmax(values: FloatArray, window: int) -> FloatArray:
    """Return where the value is between the lowest and highest of the previous `window`, within 0 … 1."""
    before = lagged(values)
    low = lowest(before, window)
    return np.clip(share(values - low, highest(before, window) - low, 0.5), 0.0, 1.0)


@dataclass(frozen=True)
class TalibFeature:
    """One of TA-Lib's. Those whose value depends on where the history begins are refused.

    Raises:
        PluginError: the function, an input or a parameter is unknown, or its sum has no start.
    """

    spec: IndicatorSpec

    def __post_init__(self) -> None:
        if (function := str(self.spec.function)) in _WITHOUT_END:
            why, instead = _WITHOUT_END[function]
            raise PluginError(f"{function} {why}; use {instead}")

    @property
    def name(self) -> str:
        function, spec = str(self.spec.function), self.spec
        parts = [*(spec.inputs if spec.inputs != talib_function(function).inputs else ()), *map(shown, spec.arguments)]
        outputs = talib_function(function).outputs
        suffix = f":{outputs[int(spec.output)]}" if len(outputs) > 1 else ""
        return function + (f"({', '.join(parts)})" if parts else "") + suffix

    @property
    def warm_up(self) -> int:
        lookback = self.spec.lookback
        assert lookback is not None
        return lookback

    @property
    def memory(self) -> int:
        function = str(self.spec.function)
        defaults = talib_function(function).defaults
        given = {**defaults, **talib_function(function).parameters(self.spec.arguments, self.spec.options)}
        kinds = [int(value) for name, value in given.items() if name.endswith("matype")]
        settling = max([_SETTLING.get(function, 0), *(_SETTLING_MEANS.get(kind, 0) for kind in kinds)])
        longest = max([value for value in given.values() if isinstance(value, int)], default=10)
        rows = settling * max(longest, 10)
        if function == "KAMA" or _KAMA in kinds:
            rows = max(rows, _SETTLING_KAMA)
        if function == "MAMA":
            # Its follower takes in half of the slow limit of each bar.
            rows = max(rows, math.ceil(math.log(1e-11) / math.log(1 - float(given["slowlimit"]) / 2)))
        return self.warm_up + 1 + rows

    def values(self, columns: Columns) -> FloatArray:
        shape = columns["close"].shape
        flat = {name: columns[name].reshape(-1, shape[-1]) for name in self.spec.inputs}
        count = int(np.prod(shape[:-1], dtype=np.int64))
        out = np.full((count, shape[-1]), np.nan)
        for row in range(count):
            if all(np.isfinite(column[row]).all() for column in flat.values()):
                out[row] = self.spec.values({name: column[row] for name, column in flat.items()}.__getitem__)
        return out.reshape(shape)


_ADDS_UP = "adds up from the first bar on, so that its value says where the data begin"
_COUNTS = "counts rows from where the data begin"
_NO_NUMBER = "is of numbers from −1 to 1, and NaN of prices and volumes"
_WITHOUT_END = {
    "OBV": (_ADDS_UP, "obv_balance(14) or obv_slope(14)"),
    "AD": (_ADDS_UP, "cmf(20)"),
    "WAD": (_ADDS_UP, "cmf(20)"),
    "PVT": (_ADDS_UP, "obv_slope(14)"),
    "NVI": (_ADDS_UP, "volume_ratio(24)"),
    "PVI": (_ADDS_UP, "volume_ratio(24)"),
    "CUMSUM": (_ADDS_UP, "SUM(close, 30)"),
    "VWAP": (_ADDS_UP, "VWMA(20) or SMA(close, 20)"),
    "MAXINDEX": (_COUNTS, "MAX(close, 30) or AROONOSC(14)"),
    "MININDEX": (_COUNTS, "MIN(close, 30) or AROONOSC(14)"),
    "MINMAXINDEX": (_COUNTS, "MINMAX(close, 30) or AROONOSC(14)"),
    "ACOS": (_NO_NUMBER, "another"),
    "ASIN": (_NO_NUMBER, "another"),
}
"""Functions that no window of bars decides, why, and what to take instead."""
_SETTLING = {
    **dict.fromkeys(("EMA", "RSI", "ATR", "NATR", "CMO", "MACD", "MACDEXT", "MACDFIX", "APO", "PPO"), 30),
    **dict.fromkeys(("ADOSC", "PLUS_DI", "MINUS_DI", "PLUS_DM", "MINUS_DM", "DX", "IMI"), 30),
    **dict.fromkeys(("ADX", "ADXR", "STOCHRSI", "T3", "DEMA", "TEMA", "TRIX"), 60),
    **dict.fromkeys(("KDJ", "TSI", "SMI", "KC", "RMA", "ZLEMA", "ERI", "CVI", "MASSI", "RVI", "EFI", "PVO", "HA"), 60),
    **dict.fromkeys(("SAR", "SAREXT", "MAMA", "SUPERTREND"), 60),
    **dict.fromkeys(
        ("HT_DCPERIOD", "HT_DCPHASE", "HT_PHASOR", "HT_SINE", "HT_TRENDLINE", "HT_TRENDMODE"), 60
    ),
}  # fmt: skip
"""Multiples of their longest parameter after which the start of these no longer counts."""
_SETTLING_MEANS = {1: 30, 3: 60, 4: 60, 7: 60, 8: 60}
"""The same of means, by TA-Lib's number of their type: EMA, DEMA, TEMA, MAMA, T3."""
_KAMA = 6
_SETTLING_KAMA = 5_000
"""Rows: where prices only go to and fro it takes in 1/240 of each, whatever its period."""


def feature(text: str) -> Feature:
    """Return the feature that a text means.

    Raises:
        PluginError: it is none, naming the nearest.
    """
    match = _CALL.fullmatch(text.strip())
    if match is None:
        raise PluginError(
            f"{text!r} is no feature; expected something such as rsi(14), RSI(14) or z(atr_ratio(14), 96)"
        )
    name, output = match["name"], match["output"]
    parts = _parts(match["inside"] or "", text)
    if name in ("z", "minmax"):
        if len(parts) != 2:
            raise PluginError(
                f"{text!r}: expected a feature and a number of previous values, as in {name}(rsi(14), 96)"
            )
        return Normalised(name, feature(parts[0]), int(_number(parts[1], text)))
    if name.isupper():
        inputs = tuple(part for part in parts if part in FIELDS)
        numbers = tuple(_number(part, text) for part in parts[len(inputs) :])
        return TalibFeature(IndicatorSpec(name, inputs, numbers, output=output or 0))
    if output:
        raise PluginError(f"{text!r}: {name} has one output; leave {':' + output!r} out")
    return Indicator(kind_of(name), tuple(_number(part, text) for part in parts))


def features(texts: Sequence[str]) -> tuple[Feature, ...]:
    """Return several, each once.

    Raises:
        PluginError: one is none, or stands there twice.
    """
    made = tuple(feature(text) for text in texts)
    names = [one.name for one in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PluginError(f"features {', '.join(twice)} are given twice; expected each once")
    return made


def incremental(of: Feature) -> BarByBar:
    """Return a feature bar by bar: `update(*values)` takes open, high, low, close and volume, or for one of TA-Lib's
    the fields that it takes. Equal to `values` to 1e-9."""
    if isinstance(of, TalibFeature):
        return of.spec.incremental()
    return Incremental(of)


def memory_of(of: Sequence[Feature]) -> int:
    """Return how many rows, the latest included, decide the values of all."""
    return max((one.memory for one in of), default=1)


def matrix(of: Sequence[Feature], columns: Columns) -> npt.NDArray[np.float32]:
    """Return features of one history or of many windows, float32 [..., T, F]."""
    shape = columns["close"].shape
    out = np.empty((*shape, len(of)), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):  # a bar that cannot be gives NaN, which is told and dropped
        for place, one in enumerate(of):
            out[..., place] = one.values(columns)
    return out


def _parts(inside: str, text: str) -> list[str]:
    """Split at commas that are in no brackets."""
    parts, depth, begun = [], 0, 0
    for at, sign in enumerate(inside):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            parts.append(inside[begun:at].strip())
            begun = at + 1
    parts.append(inside[begun:].strip())
    if depth or (inside and not all(parts)):
        raise PluginError(f"{text!r} is no feature: its brackets or commas do not match")
    return parts if inside else []


def _number(part: str, text: str) -> Number:
    try:
        value = float(re.sub(r"(?<=\d)p(?=\d)", ".", part))
    except ValueError:
        raise PluginError(f"{text!r}: {part!r} is not a number; expected one such as 14 or 1p5") from None
    return int(value) if value == int(value) else value
