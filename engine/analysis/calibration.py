"""Costs fitted from a run's own fills, each with an interval that says how sure it is; and whether they have drifted.

Intervals are of 95 %, by the bootstrap: orders are drawn again with replacement, and the middle 95 % of the estimates
is the interval. It says how well the sample pins the number down, not whether tomorrow's market is today's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from typing import NamedTuple

import numpy as np

from engine.analysis.calibration_sample import CostSample
from engine.bars import FloatArray
from engine.errors import DataError

MINIMUM = 30
"""Fewest orders of a kind from which anything is fitted; below, an interval says nothing."""
DRAWS = 2_000
_LEVEL = 0.95
_FLOOR = 1_000.0
"""Nanoseconds: less is taken for this, so that a logarithm has a value."""

Statistic = Callable[[FloatArray], float]


class Estimate(NamedTuple):
    """A number fitted from so many `observations`, with its interval of 95 %."""

    value: float
    low: float
    high: float
    observations: int

    def holds(self, value: float) -> bool:
        """Return whether a value lies within the interval."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Calibration:
    """What trading cost.

    Args:
        half_spread, slippage: basis points of an order that takes liquidity, by worth; slippage includes impact.
        impact: Y of the square-root law, impact = Y·σ_D·√(Q/V_D); None where the market is not known, or sizes vary too
            little to tell.
        law: which of the two describes slippage better: "fixed" or "sqrt_impact".
        latency_median: milliseconds; latency_sigma: standard deviation of its logarithm; latency_quantiles: 50, 90 and
            99 %, milliseconds.
        maker, taker: fees as fractions of worth; maker is None where nothing rested.
    """

    half_spread: Estimate
    slippage: Estimate
    impact: Estimate | None
    law: str
    latency_median: Estimate
    latency_sigma: Estimate
    latency_quantiles: tuple[float, float, float]
    maker: Estimate | None
    taker: Estimate
    fills: int
    symbols: tuple[str, ...]
    first: int
    last: int

    def estimates(self) -> dict[str, Estimate]:
        """Return every number that was fitted, by name."""
        named = {
            "half_spread_basis_points": self.half_spread, "slippage_basis_points": self.slippage,
            "impact_coefficient": self.impact, "latency_median_milliseconds": self.latency_median,
            "latency_sigma": self.latency_sigma, "maker": self.maker, "taker": self.taker,
        }
        return {name: estimate for name, estimate in named.items() if estimate is not None}


class Drift(NamedTuple):
    """A number of a newer sample that lies outside an older interval."""

    name: str
    before: tuple[float, float]
    now: float

    def __str__(self) -> str:
        return f"{self.name} is {self.now:.6g} now, outside {self.before[0]:.6g} … {self.before[1]:.6g}"


def calibrate(sample: CostSample, *, minimum: int = MINIMUM, draws: int = DRAWS, seed: int = 0) -> Calibration:
    """Return costs fitted from a sample.

    Args:
        minimum: fewest orders that took liquidity, and fewest that were accepted. draws: of the bootstrap; seed: its.
    Raises:
        DataError: there are fewer.
    """
    for count, what in (
        (len(sample.half_spread), "orders that took liquidity"), (len(sample.latency), "orders that were accepted")
    ):
        if count < minimum:
            raise DataError(
                f"{count} {what} in {sample.fills} fills; a calibration needs {minimum}: let the session trade on, or "
                "name further runs of the same venue")
    draw = _Bootstrap(draws, seed)
    worth, basis = np.array(sample.taken_worth), 1e4
    spread, slippage = np.array(sample.half_spread) * basis, np.array(sample.slippage) * basis
    logs = np.log(np.maximum(np.array(sample.latency), _FLOOR) / 1e6)
    impact, law = _impact(np.array(sample.size), np.array(sample.slippage), worth, draw, minimum)
    quantiles = np.exp(np.quantile(logs, (0.5, 0.9, 0.99)))
    return Calibration(
        draw.mean(spread, worth), draw.mean(slippage, worth), impact, law,
        _exponential(draw.of(logs, lambda rows: float(np.median(rows)))),
        draw.of(logs, lambda rows: float(rows.std(ddof=1))),
        (float(quantiles[0]), float(quantiles[1]), float(quantiles[2])),
        draw.mean(np.array(sample.maker), np.array(sample.maker_worth)) if len(sample.maker) >= 2 else None,
        draw.mean(np.array(sample.taker), np.array(sample.taker_worth)),
        sample.fills, tuple(sorted(sample.symbols)), sample.first, sample.last,
    )


def drifted(before: dict[str, tuple[float, float]], now: Calibration) -> list[Drift]:
    """Return what lies outside an older calibration's intervals.

    Args:
        before: low and high by name, as `Calibration.estimates` names them.
    """
    return [
        Drift(name, before[name], estimate.value)
        for name, estimate in now.estimates().items()
        if name in before and not before[name][0] <= estimate.value <= before[name][1]
    ]


def _impact(
    size: FloatArray, slippage: FloatArray, worth: FloatArray, draw: "_Bootstrap", minimum: int
) -> tuple[Estimate | None, str]:
    """Fit Y by least squares through 0, orders by their worth; and say whether it describes slippage better than a
    constant does."""
    known = np.isfinite(size) & (size > 0)
    if known.sum() < minimum or size[known].std() < 1e-3 * size[known].mean():
        return None, "fixed"
    x, y, weight = size[known], slippage[known], worth[known]
    rows = np.column_stack([x, y, weight])
    coefficient = draw.of(rows, lambda some: float((some[:, 2] * some[:, 0] * some[:, 1]).sum()
                                                   / (some[:, 2] * some[:, 0] ** 2).sum()))
    by_law = float((weight * (y - coefficient.value * x) ** 2).sum())
    by_constant = float((weight * (y - np.average(y, weights=weight)) ** 2).sum())
    return coefficient, "sqrt_impact" if coefficient.value > 0 and by_law < by_constant else "fixed"


def _exponential(estimate: Estimate) -> Estimate:
    return Estimate(exp(estimate.value), exp(estimate.low), exp(estimate.high), estimate.observations)


class _Bootstrap:
    """Estimates with their intervals; the same seed gives the same ones."""

    def __init__(self, draws: int, seed: int) -> None:
        self._draws, self._random = draws, np.random.default_rng(seed)

    def of(self, rows: FloatArray, statistic: Statistic) -> Estimate:
        """Return a statistic of rows drawn again and again."""
        count = len(rows)
        drawn = [statistic(rows[self._random.integers(0, count, count)]) for _ in range(self._draws)]
        return _interval(statistic(rows), drawn, count)

    def mean(self, values: FloatArray, weights: FloatArray) -> Estimate:
        """Return the mean of values, each as weighty as it was worth."""
        count = len(values)
        picked = self._random.integers(0, count, (self._draws, count))
        drawn = (values[picked] * weights[picked]).sum(axis=1) / weights[picked].sum(axis=1)
        return _interval(float(np.average(values, weights=weights)), drawn.tolist(), count)


def _interval(value: float, drawn: Sequence[float], count: int) -> Estimate:
    low, high = np.quantile(drawn, ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    return Estimate(value, float(min(low, value)), float(max(high, value)), count)


