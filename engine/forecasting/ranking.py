"""How well predictions rank outcomes, instant by instant; plain functions of arrays."""

from math import sqrt

import numpy as np

from engine.bars import FloatArray, IntArray

FEWEST = 3
"""Symbols at one instant from which a correlation says anything."""


def correlations(said: FloatArray, came: FloatArray, instants: IntArray) -> FloatArray:
    """Return Pearson's correlation at each instant with three symbols or more at which both vary, float64 [instants].

    Args:
        said, came: [rows]; instants: int64 [rows], equal for rows of one instant.
    """
    _, group, counts = np.unique(instants, return_inverse=True, return_counts=True)

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(group, weights=values, minlength=len(counts)), np.float64)

    x, y = (values - (total(values) / counts)[group] for values in (said, came))
    spread = np.sqrt(total(x * x) * total(y * y))
    usable = (counts >= FEWEST) & (spread > 1e-12 * np.maximum(total(said * said), 1e-12) ** 0.5)
    return np.asarray(total(x * y)[usable] / spread[usable])


def ranks(values: FloatArray, instants: IntArray) -> FloatArray:
    """Return each row's rank within its instant, from 1, ties at their mean; float64 [rows]."""
    order = np.lexsort((values, instants))
    of_group, of_value = instants[order], values[order]
    begins = np.concatenate([[True], of_group[1:] != of_group[:-1]])
    first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    is_new = begins | np.concatenate([[True], of_value[1:] != of_value[:-1]])
    starts = np.flatnonzero(is_new)
    lengths = np.diff(np.append(starts, len(order)))
    mean_place = np.repeat(starts + (lengths - 1) / 2, lengths)
    out = np.empty(len(values))
    out[order] = mean_place - first + 1
    return out


def ranking_metrics(said: FloatArray, came: FloatArray, instants: IntArray) -> dict[str, float]:
    """Return ic, rank_ic and their ratios of mean to deviation over instants, NaN where no instant has enough symbols;
    with one symbol alone, ic and rank_ic are over time."""
    if len(np.unique(instants)) == len(instants):
        instants = np.zeros(len(instants), np.int64)
    plain = correlations(said, came, instants)
    ranked = correlations(ranks(said, instants), ranks(came, instants), instants)
    return {"ic": _mean(plain), "icir": _ratio(plain), "rank_ic": _mean(ranked), "rank_icir": _ratio(ranked)}


def t_statistic(values: FloatArray) -> float:
    """Return the mean over its standard error, NaN of fewer than two."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / spread * sqrt(len(values)) if spread else float("nan")


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _ratio(values: FloatArray) -> float:
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / spread if spread else float("nan")
