"""Targets: what is to be forecast of the bars after t, in the row of t.

c: closes, r[j] = log(c[t + j] / c[t + j − 1]), H: horizon, σ: root of the exponential mean of r² up to t. Whatever a
target compares the future with (σ, bands, extremes, quantiles) is known at t; whatever it says uses bars t + 1 … t + H.
The last H rows are NaN, and so is the warm-up of what it compares with: 0 never stands for "not known".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engine.bars import FloatArray
from engine.errors import SettingsError, nearest_name
from models.features.catalogue import Columns
from models.features.of_volatility import ewma_volatility
from models.features.rolling import change, highest, lowest, mean, windows

Sort = Literal["number", "event"]
"""A number in a unit of its own, or whether something happens: 1 or 0."""
LossName = Literal["smooth_l1", "mse", "pinball", "bce"]

OF_NUMBERS = ("rmse", "mae", "r2", "ic", "rank_ic")
OF_QUANTILES = (*OF_NUMBERS, "pinball", "coverage")
OF_EVENTS = ("f1", "accuracy", "precision", "recall", "roc_auc", "ap", "mcc", "brier", "ece")


@dataclass(frozen=True)
class TargetKind:
    """A family of targets.

    Args:
        function: (columns, horizon, **options) → [T]. options: names and usual values.
        sort, loss: of its usual head. normalise: whether it is trained in scales from its centre.
    """

    name: str
    function: Callable[..., FloatArray]
    options: Mapping[str, float]
    sort: Sort
    loss: LossName
    normalise: bool
    words: str


TARGETS: dict[str, TargetKind] = {}


def _target(
    sort: Sort, loss: LossName, *, normalise: bool = False, **options: float
) -> Callable[[Callable[..., FloatArray]], Callable[..., FloatArray]]:
    def register(function: Callable[..., FloatArray]) -> Callable[..., FloatArray]:
        words = (function.__doc__ or "").strip().splitlines()[0]
        TARGETS[function.__name__] = TargetKind(function.__name__, function, options, sort, loss, normalise, words)
        return function

    return register


@dataclass(frozen=True)
class TargetSpec:
    """One target.

    Args:
        kind: its family's name. horizon: H, bars. options: of the family, where they are not the usual ones.
        quantiles: levels, for a number of which quantiles are forecast, by the pinball loss. name: its own, if not the
            family's.
    Raises:
        SettingsError: there is no such family or option, or a value cannot be.
    """

    kind: str
    horizon: int = 1
    options: Mapping[str, float] = field(default_factory=dict)
    quantiles: tuple[float, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in TARGETS:
            raise SettingsError(
                f"there is no target {self.kind!r}{nearest_name(self.kind, sorted(TARGETS))}; there are "
                f"{', '.join(sorted(TARGETS))}"
            )
        family = TARGETS[self.kind]
        for option in self.options:
            if option not in family.options:
                takes = ", ".join(family.options) or "none"
                raise SettingsError(
                    f"target {self.kind}: unknown option {option!r}{nearest_name(option, list(family.options))} (it "
                    f"takes: {takes})"
                )
        if self.horizon < 1:
            raise SettingsError(f"target {self.kind}: horizon is {self.horizon}; expected 1 bar or more")
        if self.quantiles and family.sort == "event":
            raise SettingsError(f"target {self.kind} is an event and has no quantiles; leave quantiles out")
        object.__setattr__(self, "name", self.name or self.kind)

    @property
    def family(self) -> TargetKind:
        return TARGETS[self.kind]

    @property
    def loss(self) -> LossName:
        return "pinball" if self.quantiles else self.family.loss

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what it is judged by."""
        if self.family.sort == "event":
            return OF_EVENTS
        return OF_QUANTILES if self.quantiles else OF_NUMBERS

    def values(self, columns: Columns) -> FloatArray:
        """Return it at every row of one history, float64 [T]; NaN where it is not known."""
        return self.family.function(columns, self.horizon, **{**self.family.options, **self.options})

    def as_json(self) -> dict[str, Any]:
        """Return what an artefact's card says of it."""
        options = {**self.family.options, **self.options}
        return {"kind": self.kind, "horizon": self.horizon, "options": options, "words": self.family.words}


def check_targets(specs: Sequence[TargetSpec]) -> None:
    """Refuse two targets of one name, and none.

    Raises:
        SettingsError: naming them.
    """
    names = [spec.name for spec in specs]
    if not names:
        raise SettingsError(f"there is no target; expected one or more of {', '.join(sorted(TARGETS))}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"targets {', '.join(twice)} are given twice; give one of each another name")


# ── the future ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _ahead(values: FloatArray, horizon: int) -> FloatArray:
    """Return the values of rows t … t + H in each row t, [T, H + 1]; NaN past the end."""
    after = np.full(horizon, np.nan)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([values, after]), horizon + 1)


def _path(columns: Columns, horizon: int) -> FloatArray:
    """Return log(c[t + j] / c[t]) for j = 1 … H, [T, H]."""
    path = _ahead(np.log(columns["close"]), horizon)
    return path[:, 1:] - path[:, :1]


def _sigma(columns: Columns, span: float) -> FloatArray:
    return ewma_volatility(columns, int(span))


def _event(happens: Any, *known: FloatArray) -> FloatArray:
    """Return 1 or 0, and NaN where something that it depends on is not known."""
    unknown = np.zeros(len(happens), bool)
    for values in known:
        unknown |= np.isnan(values) if values.ndim == 1 else np.isnan(values).any(axis=-1)
    return np.where(unknown, np.nan, happens.astype(float))


# ── targets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@_target("event", "bce", dead_band=0.0)
def binarytrend(columns: Columns, horizon: int, dead_band: float) -> FloatArray:
    """log(c[t+H] / c[t]) > 0; not known within ± dead_band, such as what a trade costs."""
    end = _path(columns, horizon)[:, -1]
    return np.where(np.abs(end) <= dead_band, np.nan, _event(end > 0, end)) if dead_band else _event(end > 0, end)


@_target("number", "smooth_l1", normalise=True)
def logreturn(columns: Columns, horizon: int) -> FloatArray:
    """log(c[t+H] / c[t])."""
    return _path(columns, horizon)[:, -1]


@_target("number", "smooth_l1", normalise=True, span=48)
def logsharpe_ratio(columns: Columns, horizon: int, span: float) -> FloatArray:
    """log(c[t+H] / c[t]) / (σ √H)."""
    sigma = _sigma(columns, span)
    return _path(columns, horizon)[:, -1] / (np.where(sigma > 0, sigma, np.nan) * np.sqrt(horizon))


@_target("number", "smooth_l1", normalise=True)
def max_drawdown(columns: Columns, horizon: int) -> FloatArray:
    """The deepest fall from the highest close since t, within H bars, as log: 0 or less."""
    path = np.concatenate([np.zeros((len(columns["close"]), 1)), _path(columns, horizon)], axis=1)
    fall = (path - np.maximum.accumulate(path, axis=1)).min(axis=1)
    return np.where(np.isnan(path).any(axis=1), np.nan, fall)


@_target("event", "bce", span=48, k=1.0)
def drawdown_prob(columns: Columns, horizon: int, span: float, k: float) -> FloatArray:
    """max_drawdown ≤ −k σ √H."""
    fall, sigma = max_drawdown(columns, horizon), _sigma(columns, span)
    return _event(fall <= -k * sigma * np.sqrt(horizon), fall, sigma)


@_target("event", "bce", bars=20, share=0.382)
def pullback_prob(columns: Columns, horizon: int, bars: float, share: float) -> FloatArray:
    """Closes give back a share of the last swing before they make a new extreme, within H bars.

    The swing is that between the lowest and the highest of the last closes, in the direction of the later. Where so
    much was given back by t already, or nothing moved, it is not known.
    """
    close = np.log(columns["close"])
    of = windows(close, int(bars))
    high, low = of.max(axis=-1), of.min(axis=-1)
    # Of equal extremes the latest counts.
    since_high = np.argmax((of == high[:, None])[:, ::-1], axis=-1)
    since_low = np.argmax((of == low[:, None])[:, ::-1], axis=-1)
    up = since_high < since_low
    sign = np.where(up, 1.0, -1.0)
    extreme = np.where(up, high, low)
    level = extreme - sign * share * (high - low)
    path = _ahead(close, horizon)[:, 1:]
    back = sign[:, None] * (path - level[:, None]) <= 0
    beyond = sign[:, None] * (path - extreme[:, None]) > 0
    never = horizon + 1
    first_back = np.where(back.any(axis=1), back.argmax(axis=1), never)
    first_beyond = np.where(beyond.any(axis=1), beyond.argmax(axis=1), never)
    already = (sign * (close - level) <= 0) | (high <= low)
    return np.where(already, np.nan, _event(first_back < first_beyond, path, high))


@_target("event", "bce", span=48, k=1.0)
def sideway_detect(columns: Columns, horizon: int, span: float, k: float) -> FloatArray:
    """Closes stay within ± k σ √H of c[t] for H bars."""
    path, sigma = _path(columns, horizon), _sigma(columns, span)
    return _event(np.abs(path).max(axis=1) < k * sigma * np.sqrt(horizon), path, sigma)


@_target("number", "smooth_l1", normalise=True)
def trend_persistence(columns: Columns, horizon: int) -> FloatArray:
    """How many bars after t go the way of the first of them, one after another, of H: 1/H … 1."""
    steps = np.sign(np.diff(_ahead(np.log(columns["close"]), horizon), axis=1))
    same = np.logical_and.accumulate(steps == steps[:, :1], axis=1).sum(axis=1) / horizon
    return np.where(np.isnan(steps).any(axis=1), np.nan, same)


@_target("number", "smooth_l1", normalise=True, bars=20)
def breakout_count(columns: Columns, horizon: int, bars: float) -> FloatArray:
    """Bars of H that close above the highest high of the last bars up to t, less those below the lowest low, of H."""
    path = _ahead(columns["close"], horizon)[:, 1:]
    high, low = highest(columns["high"], int(bars)), lowest(columns["low"], int(bars))
    count = ((path > high[:, None]).sum(axis=1) - (path < low[:, None]).sum(axis=1)) / horizon
    return np.where(np.isnan(path).any(axis=1) | np.isnan(high), np.nan, count)


def _quantile_of_returns(columns: Columns, horizon: int, bars: float, level: float) -> FloatArray:
    return np.quantile(windows(change(np.log(columns["close"]), horizon), int(bars)), level, axis=-1)


@_target("event", "bce", bars=96, level=0.1)
def return_outlier_lower_10(columns: Columns, horizon: int, bars: float, level: float) -> FloatArray:
    """The return over H bars is below the 10 % quantile of those that ended in the last bars up to t."""
    end, bound = _path(columns, horizon)[:, -1], _quantile_of_returns(columns, horizon, bars, level)
    return _event(end < bound, end, bound)


@_target("event", "bce", bars=96, level=0.9)
def return_outlier_upper_90(columns: Columns, horizon: int, bars: float, level: float) -> FloatArray:
    """The return over H bars is above the 90 % quantile of those that ended in the last bars up to t."""
    end, bound = _path(columns, horizon)[:, -1], _quantile_of_returns(columns, horizon, bars, level)
    return _event(end > bound, end, bound)


@_target("number", "smooth_l1", normalise=True)
def realized_vol(columns: Columns, horizon: int) -> FloatArray:
    """Root of the mean of r² over the H bars after t."""
    steps = np.diff(_ahead(np.log(columns["close"]), horizon), axis=1)
    return np.sqrt((steps**2).mean(axis=1))


@_target("event", "bce", span=48, k=1.5)
def vol_jump_prob(columns: Columns, horizon: int, span: float, k: float) -> FloatArray:
    """realized_vol > k σ."""
    ahead, sigma = realized_vol(columns, horizon), _sigma(columns, span)
    return _event(ahead > k * sigma, ahead, sigma)


@_target("event", "bce", bars=20, beyond=0.0015, volume=1.2)
def breakout_prob(columns: Columns, horizon: int, bars: float, beyond: float, volume: float) -> FloatArray:
    """A bar of H closes beyond the extremes of the last bars up to t, by a margin and on much volume."""
    path, traded = _ahead(columns["close"], horizon)[:, 1:], _ahead(columns["volume"], horizon)[:, 1:]
    high, low = highest(columns["high"], int(bars)), lowest(columns["low"], int(bars))
    usual = mean(columns["volume"], int(bars))
    out = (path > high[:, None] * (1 + beyond)) | (path < low[:, None] * (1 - beyond))
    return _event((out & (traded >= volume * usual[:, None])).any(axis=1), path, traded, high, usual)
