"""A plan in our engine, under a profile, and side by side with a peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from config.scenarios import FINER
from engine.bars import Bar, FloatArray
from engine.costs import MakerTakerFees
from engine.orders import Order
from engine.semantics import profile
from engine.strategy import Strategy
from engine.testing import Terms, run_bars
from tests.oracle.long_peers import PEERS, Fill, LongRun, joined
from tests.oracle.long_plans import CASH, FINER_PRICES, PLANS, WARM_UP, Ask, Plan, Series, Withdraw

PRICE_TOLERANCE = 1.01e-6
"""In increments: where a trailing stop lies between two of them, ours is counted in millionths (`FINER`)."""

FLOAT_NOISE = 1e-12
"""Relative: a peer's price is a float that came out of arithmetic."""

EQUITY_TOLERANCE = 1e-9
"""Relative: peers add floats up over a hundred thousand bars."""

DIFFERENCES = (
    "last_bits_in_files", "first_bars_unseen", "expiry_told_late", "stops_as_fractions", "child_beyond_entry",
    "no_waiting_orders", "trailing_in_floats", "legs",
)
"""What would differ, each dealt with by a condition of that name here, in long_peers.py or in long_plans.py.
docs/differential.md tells of the same."""


class _Planned(Strategy):
    def __init__(self, plan: Plan, series: Series) -> None:
        super().__init__()
        self._plan, self._series = plan, series
        self._row = -1
        self._close_times = series.bars.close_time.tolist()

    def on_bar(self, bar: Bar) -> None:
        self._row = row = self._row + 1
        if row < WARM_UP:
            return
        symbol = bar.symbol
        waiting = [order for order in self.open_orders(symbol) if order.parent_id is None]
        for step in self._plan(self._series, row, int(self.position(symbol)), float(self.equity()), len(waiting)):
            if isinstance(step, Withdraw):
                self.cancel_all(symbol)
            else:
                self._place(symbol, row, step)

    def _place(self, symbol: str, row: int, ask: Ask) -> Order:
        trade = self.buy if ask.quantity > 0 else self.sell
        last = len(self._close_times) - 1
        return trade(
            symbol, abs(ask.quantity), limit=ask.limit, stop=ask.stop, stop_loss=ask.stop_loss,
            take_profit=ask.take_profit, trail_stop_fraction=ask.trail,
            expire_at=None if ask.lifetime is None else self._close_times[min(row + ask.lifetime, last)])


def run_ours(series: Series, name: str, fee: Decimal, profile_name: str) -> LongRun:
    """Run our engine under a profile."""
    increment = Decimal(1).scaleb(-series.decimals)
    if name in FINER_PRICES:    # `trailing_in_floats`, `stops_as_fractions`
        increment *= FINER
    terms = Terms(
        cash=Decimal(CASH), switches=profile(profile_name), fees=MakerTakerFees(fee, fee),
        price_increment=increment, quantity_increment=Decimal(1))
    result = run_bars(series.bars, _Planned(PLANS[name], series), terms)
    rows = {time: row for row, time in enumerate(series.bars.close_time.tolist())}
    fills = [(rows[fill.bar_close_time], 1 if fill.side == "buy" else -1, fill.price, round(fill.quantity))
             for fill in result.fills]
    return LongRun(joined(fills), result.curve.equity)


# --- side by side --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One plan, on one series and at one fee, in us and in a peer. `first` is the place of the first differing fill."""

    ours: list[Fill]
    theirs: list[Fill]
    first: int | None
    worst: float
    """The largest relative difference of equity at any row; infinite if a row of one is missing."""

    @property
    def is_equal(self) -> bool:
        """Whether every fill is the same, and equity to 1e-9 at every bar."""
        return self.first is None and self.worst <= EQUITY_TOLERANCE

    def __str__(self) -> str:
        if self.first is None:
            return f"{len(self.ours)} fills alike, equity differs by {self.worst:.1e}"
        place = self.first
        shown = [f"{name} {fills[place : place + 3]}" for name, fills in (("ours", self.ours), ("theirs", self.theirs))]
        return f"fill {place} differs, as (row, side, price, quantity): {'; '.join(shown)}"


def compare(series: Series, name: str, fee: Decimal, peer: str) -> Comparison:
    """Run a plan in us, under the peer's profile, and in the peer.

    Raises:
        NotExpressible: the peer has no words for the plan.
    """
    theirs = PEERS[peer](series, name, fee)
    ours = run_ours(series, name, fee, peer)
    end = len(series.bars) if theirs.until is None else theirs.until
    fills = [[fill for fill in run.fills if fill[0] < end] for run in (ours, theirs)]
    return Comparison(
        *fills, first_difference(*fills, series.increment), _worst(ours.equity[:end], theirs.equity[:end]))


def first_difference(ours: Sequence[Fill], theirs: Sequence[Fill], increment: float) -> int | None:
    """Return the place of the first fill that differs; None if none does."""
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        same_price = abs(mine[2] - other[2]) <= max(PRICE_TOLERANCE * increment, FLOAT_NOISE * abs(other[2]))
        if not same_price or (mine[0], mine[1], mine[3]) != (other[0], other[1], other[3]):
            return place
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs))


def _worst(ours: FloatArray, theirs: FloatArray) -> float:
    if len(ours) != len(theirs) or np.isnan(theirs[WARM_UP:]).any():
        return float("inf")
    shown = ~np.isnan(theirs)
    return float(np.abs(ours[shown] / theirs[shown] - 1).max(initial=0.0))
