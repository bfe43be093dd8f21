"""What the position head is trained for, as functions of shares and returns; all vectorised over [N, T].

`shares` w [N, T] are held from each bar's close on; `returns` r [N, T] are simple returns of raw prices from that close
(or the fill after it) to the next: what a share earns. Source of the terms by name: lvchiyang/Quantification.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BULL, SIDEWAYS, BEAR = 1, 0, -1

_MOST_LOST = 0.999


def net_returns(shares: Tensor, returns: Tensor, cost: Tensor | float, before: Tensor | None = None) -> Tensor:
    """Return what each step earns after costs, [N, T]: w_t r_t − cost · |w_t − w_{t−1}|.

    Args:
        cost: of trading a whole equity once (fee + half spread + slippage), a number or [N, 1].
        before: [N], held before the first step; nothing if left out.
    """
    first = shares.new_zeros(len(shares), 1) if before is None else before[:, None]
    traded = torch.diff(shares, dim=1, prepend=first).abs()
    return shares * returns - cost * traded


def log_wealth(net: Tensor) -> Tensor:
    """Return the logarithm of wealth after each step, [N, T]; a step that would lose everything counts as −99.9 %."""
    return torch.log1p(net.clamp_min(-_MOST_LOST)).cumsum(1)


def drawdown(wealth: Tensor) -> Tensor:
    """Return the deepest fall of log-wealth below its peak (the start counts), ≥ 0, [N]."""
    start = torch.zeros_like(wealth[:, :1])
    peak = torch.cat([start, wealth], 1).cummax(1).values[:, 1:]
    return (peak - wealth).amax(1)


@dataclass(frozen=True)
class Weights:
    """Of the terms of `after_cost_objective`."""

    variance: float = 0.5
    drawdown: float = 0.1
    opportunity: float = 0.0


class Objective(NamedTuple):
    """The loss and its terms, scalars."""

    loss: Tensor
    growth: Tensor
    variance: Tensor
    drawdown: Tensor
    opportunity: Tensor


def after_cost_objective(
    shares: Tensor,
    returns: Tensor,
    cost: Tensor | float,
    weights: Weights,
    regimes: Tensor | None = None,
    before: Tensor | None = None,
) -> Objective:
    """Return minus the mean growth of log-wealth after costs, with penalties for variance, drawdown and opportunities
    missed.

    Args:
        regimes: int [N], of `regime`, weighs opportunities; without it they do not count.
    """
    net = net_returns(shares, returns, cost, before)
    wealth = log_wealth(net)
    growth = wealth[:, -1].mean() / net.shape[1]
    variance = net.var(dim=1, unbiased=False).mean()
    fall = drawdown(wealth).mean() / net.shape[1]
    missed = shares.new_zeros(()) if regimes is None else opportunity_cost(shares, returns, regimes)
    loss = -growth + weights.variance * variance + weights.drawdown * fall + weights.opportunity * missed
    return Objective(loss, growth, variance, fall, missed)


def regime(returns: Tensor, band: float = 1.0) -> Tensor:
    """Return each window's regime, int64 [N]: the mean return over its own standard error beyond ± `band`.

    Only of returns that are known: as a gate or an input, those up to the decision; a label's weight may use later
    ones.
    """
    count = returns.shape[1]
    error = returns.std(dim=1, unbiased=False).clamp_min(1e-8) / count**0.5
    z = returns.mean(1) / error
    return (z > band).long() - (z < -band).long()


# ── the three losses of the original, by name ───────────────────────────────────────────────────────────────────────

_BENCHMARK = {BULL: 0.8, BEAR: 0.2, SIDEWAYS: 0.5}


def relative_return(shares: Tensor, returns: Tensor, regimes: Tensor) -> Tensor:
    """Return −(Σ w r − b Σ r), averaged over N. The benchmark b (0.8 bull, 0.2 bear, 0.5 sideways) moves the number,
    not the gradient."""
    benchmark = sum((regimes == name) * share for name, share in _BENCHMARK.items())
    return -((shares * returns).sum(1) - benchmark * returns.sum(1)).mean()


def risk_cost(shares: Tensor, returns: Tensor) -> Tensor:
    """Return 0.4 · std(w r) + 0.4 · deepest fall of Σ w r + 0.2 · std(Δw), averaged over N."""
    earned = shares * returns
    fall = drawdown(earned.cumsum(1))
    changes = torch.diff(shares, dim=1)
    return (0.4 * _deviation(earned) + 0.4 * fall + 0.2 * _deviation(changes)).mean()


def opportunity_cost(shares: Tensor, returns: Tensor, regimes: Tensor) -> Tensor:
    """Return what was missed, averaged over N: in a bull market (1 − w) r on days that rose, in a bear market w |r| on
    days that fell, sideways a tenth of what was traded."""
    rises, falls = (returns > 0).to(shares), (returns < 0).to(shares)
    bull = ((1 - shares) * returns * rises).sum(1) / rises.sum(1).clamp_min(1)
    bear = (shares * returns.abs() * falls).sum(1) / falls.sum(1).clamp_min(1)
    traded = torch.diff(shares, dim=1).abs()
    sideways = 0.1 * traded.mean(1) if traded.shape[1] else torch.zeros_like(bull)
    return torch.where(regimes == BULL, bull, torch.where(regimes == BEAR, bear, sideways)).mean()


def original_loss(shares: Tensor, returns: Tensor, regimes: Tensor) -> Tensor:
    """Return relative return + 0.2 · risk cost + 0.1 · opportunity cost."""
    return (
        relative_return(shares, returns, regimes)
        + 0.2 * risk_cost(shares, returns)
        + 0.1 * opportunity_cost(shares, returns, regimes)
    )


def information_ratio(excess: Tensor, scale: float) -> Tensor:
    """Return the ratio of mean to deviation of excess returns [N, T], pooled over the batch.

    Args:
        scale: the returns' own deviation: a tenth of it is added under the root, without which the gradient has no
            bound where excess returns vanish.
    """
    deviation = (excess.var(unbiased=False) + (0.1 * scale) ** 2).sqrt()
    return excess.mean() / deviation


def _deviation(values: Tensor) -> Tensor:
    """[N, T] → [N]; with a gradient at 0."""
    if values.shape[1] < 2:
        return values.new_zeros(len(values))
    return (values.var(dim=1, unbiased=False) + 1e-16).sqrt()
