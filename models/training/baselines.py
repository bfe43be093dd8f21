"""Baselines that a network is judged beside: they see the same bars, and are fitted on those before it is judged.

Notation: N decisions, H bars of horizon, σ the deviation of the last 48 one-bar log returns.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from engine.bars import HOUR, FloatArray, IntArray
from engine.forecasting.judging import LEVELS, Said
from models.training.panel import Panel

LOOKBACK = 49
"""Bars that baselines look at: 48 returns."""
LAGS = 8
_TREES = 200
_STRETCH = 250
"""Neighbouring decisions that are held out together, every fifth stretch, to see what trees leave; fewer of few."""
_LEAST = 1e-8


@dataclass(frozen=True)
class Facts:
    """What baselines know at N decisions, and what came of them.

    Args:
        changes: float64 [N, 48], one-bar log returns, oldest first; sigma: [N]; features: [N, K], for trees.
        returns: [N], log return over the horizon. levels: of the quantiles that are asked for.
    """

    changes: FloatArray
    sigma: FloatArray
    features: FloatArray
    returns: FloatArray
    horizon: int
    levels: tuple[float, ...] = LEVELS

    @classmethod
    def of(
        cls, panel: Panel, rows: IntArray, horizon: int, levels: tuple[float, ...] = LEVELS
    ) -> "Facts":
        """Return the facts of rows of a panel that have 49 bars before and `horizon` after."""
        logs = np.log(panel.column("close"))
        changes = np.diff(logs)[rows[:, None] + np.arange(1 - LOOKBACK, 0)]
        sigma = np.maximum(changes.std(axis=1), _LEAST)
        spread = np.log(panel.column("high") / panel.column("low"))[rows[:, None] + np.arange(-23, 1)]
        volume = np.log1p(panel.column("volume"))[rows[:, None] + np.arange(-47, 1)]
        hour = panel.close_time[rows] // HOUR % 24
        features = np.column_stack([
            changes[:, -24:] / sigma[:, None], changes.sum(1) / sigma, changes[:, -12:].std(1) / sigma, sigma,
            spread.mean(1) / sigma, spread[:, -1] / sigma, (volume[:, -1] - volume.mean(1)), hour,
        ])
        return cls(changes, sigma, features, logs[rows + horizon] - logs[rows], horizon, levels)

    @property
    def unit(self) -> FloatArray:
        """σ √H, [N]."""
        return self.sigma * self.horizon**0.5


def walk(before: Facts, now: Facts) -> Said:
    """Return a random walk: no drift, and the spread that returns had before."""
    quantiles = np.quantile(before.returns, now.levels) - np.median(before.returns)
    zero = np.zeros(len(now.returns))
    return Said("random walk", zero, zero, zero + 0.5, np.tile(quantiles, (len(zero), 1)), now.levels)


def cone(before: Facts, now: Facts) -> Said:
    """Return a volatility cone: no drift, normal, σ √H wide."""
    zero = np.zeros(len(now.returns))
    normal = np.array([NormalDist().inv_cdf(level) for level in now.levels])
    return Said("volatility cone", zero, zero, zero + 0.5, now.unit[:, None] * normal, now.levels)


def autoregression(before: Facts, now: Facts) -> Said:
    """Return least squares on the last eight returns, all in units of σ."""

    def inputs(of: Facts) -> FloatArray:
        return np.column_stack([of.changes[:, -LAGS:] / of.sigma[:, None], np.ones(len(of.sigma))])

    weights = np.linalg.lstsq(inputs(before), before.returns / before.unit, rcond=None)[0]
    left = before.returns / before.unit - inputs(before) @ weights
    return _around("autoregression", left, inputs(now) @ weights, now)


def trees(before: Facts, now: Facts) -> Said:
    """Return LightGBM on returns, ranges, volume and the hour.

    Raises:
        ImportError: it is not installed.
    """
    lightgbm: Any = importlib.import_module("lightgbm")
    stretch = min(_STRETCH, max(len(before.returns) // 5, 1))
    is_kept = np.arange(len(before.returns)) // stretch % 5 < 4  # what trees leave of their own rows says little
    goal = np.clip(before.returns / before.unit, -5, 5)
    made = lightgbm.train(
        {"objective": "regression", "learning_rate": 0.03, "num_leaves": 15, "min_data_in_leaf": 200, "verbosity": -1,
         "feature_fraction": 0.8, "seed": 0, "deterministic": True, "num_threads": 1},
        lightgbm.Dataset(before.features[is_kept], goal[is_kept]), _TREES,
    )
    left = (before.returns / before.unit - made.predict(before.features))[~is_kept]
    return _around("LightGBM", left, made.predict(now.features), now)


def _around(name: str, left: FloatArray, said: FloatArray, now: Facts) -> Said:
    """Return points with the spread of what a fit left, all in units of σ √H."""
    left = np.sort(left)
    quantiles = (said[:, None] + np.quantile(left, now.levels)) * now.unit[:, None]
    up = 1 - np.searchsorted(left, -said) / len(left)
    point = said * now.unit
    return Said(name, point, point, up, quantiles, now.levels)


BASELINES: tuple[Callable[[Facts, Facts], Said], ...] = (walk, cone, autoregression, trees)
