"""Strategies that every engine can follow: told of a row, of what is held and of equity, they say what to ask for.

A plan knows no engine and remembers nothing. Its indicators are columns that are computed once, before any engine runs;
what depends on fills (whether anything is held, how much money there is) comes from the engine that it runs in, so that
an engine which fills otherwise soon decides otherwise too. Prices are whole increments, quantities whole units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import talib

from engine.bars import Bars, FloatArray
from engine.instruments import infer_price_increment

CASH = 10_000_000
"""In quote currency: orders are never refused for want of it. What is bought is worth half of it at most."""

STAKE = 50_000
"""What a position of fixed quantity is worth at the first close, about, in quote currency."""

PRICES = ("open", "high", "low", "close")

WARM_UP = 60
"""Rows before the first decision: every indicator below has a value by then."""


@dataclass(frozen=True)
class Ask:
    """An order. `quantity` is signed; `lifetime` counts the bars in which it may fill, None for until cancelled.

    With `stop_loss` and `take_profit` it is a bracket; `trail` is the distance of a trailing stop that follows its
    fill, as a fraction of the price.
    """

    quantity: int
    limit: float | None = None
    stop: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trail: float | None = None
    lifetime: int | None = None


@dataclass(frozen=True)
class Withdraw:
    """Cancel every order that waits, those that protect a position included."""


Step = Ask | Withdraw


@dataclass(frozen=True)
class Series:
    """Bars with what plans look at, float64 [rows] each."""

    bars: Bars
    increment: float
    decimals: int
    unit: int
    """A fixed quantity, worth about STAKE."""
    fast: FloatArray
    slow: FloatArray
    slower: FloatArray
    rsi: FloatArray
    reach: FloatArray
    """The average true range."""
    highest: FloatArray
    lowest: FloatArray

    def price(self, value: float, half_steps: bool = False) -> float:
        """Return the nearest price on the increments, at least one; or the middle between two of them."""
        steps = max(round(value / self.increment), 1) + (0.5 if half_steps else 0)
        return round(steps * self.increment, self.decimals + 1)


def series_of(bars: Bars) -> Series:
    """Compute the columns of a series.

    Its prices are the floats nearest to the decimals that they stand for. Some files are off by a last bit, and an
    engine that compares floats then misses touches that ours, which counts increments, sees (`last_bits_in_files`).
    """
    increment = min(infer_price_increment(getattr(bars, name)) for name in PRICES)
    exponent = increment.as_tuple().exponent
    assert isinstance(exponent, int)
    bars = replace(bars, **{
        name: np.array([round(price, -exponent) for price in getattr(bars, name).tolist()]) for name in PRICES})
    return Series(
        bars, float(increment), -exponent, max(int(STAKE / bars.close[0]), 1),
        fast=talib.SMA(bars.close, 10), slow=talib.SMA(bars.close, 30), slower=talib.SMA(bars.close, 50),
        rsi=talib.RSI(bars.close, 7), reach=talib.ATR(bars.high, bars.low, bars.close, 14),
        highest=talib.MAX(bars.high, 20), lowest=talib.MIN(bars.low, 10))


class Plan(Protocol):
    """What to ask for at the close of a row.

    Args:
        held: the signed quantity held; equity: cash + market value at this close.
        waiting: how many orders wait, those that protect a position left out.
    """

    def __call__(self, series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]: ...


def _affordable(series: Series, row: int, equity: float) -> int:
    """Return how many units half of the equity buys at the close, four digits of it: no float's last bit decides."""
    return int(float(f"{0.5 * equity / series.bars.close[row]:.3e}"))


def _towards(wanted: int, held: int) -> Sequence[Step]:
    return () if wanted == held else (Ask(wanted - held),)


def cross_long(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """A fixed quantity while the fast average lies above the slow one, else nothing."""
    return _towards(series.unit if series.fast[row] > series.slow[row] else 0, held)


def cross_reversal(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Long or short by a fixed quantity; one order closes and opens."""
    return _towards(series.unit if series.fast[row] > series.slow[row] else -series.unit, held)


def cross_half_of_equity(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Long or short with half of the equity, sized when the averages cross."""
    sign = 1 if series.fast[row] > series.slow[row] else -1
    return () if held * sign > 0 else _towards(sign * _affordable(series, row, equity), held)


def _bracket(series: Series, row: int, quantity: int, half_steps: bool) -> Ask:
    sign = 1 if quantity > 0 else -1
    close, reach = series.bars.close[row], max(series.reach[row], 2 * series.increment)
    return Ask(quantity, stop_loss=series.price(close - sign * 2 * reach, half_steps),
               take_profit=series.price(close + sign * 3 * reach, half_steps))


def _rsi_sign(series: Series, row: int) -> int:
    return 1 if series.rsi[row] < 25 else -1 if series.rsi[row] > 75 else 0


def rsi_brackets(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Against a stretched RSI, a fixed quantity with a stop-loss and a take-profit, which alone end it."""
    sign = _rsi_sign(series, row)
    return () if held or not sign else (_bracket(series, row, sign * series.unit, False),)


def rsi_brackets_half_steps(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """The same with children between two increments, where no bar touches them exactly."""
    sign = _rsi_sign(series, row)
    return () if held or not sign else (_bracket(series, row, sign * series.unit, True),)


def rsi_brackets_half_of_equity(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """The same with half of the equity."""
    sign = _rsi_sign(series, row)
    return () if held or not sign else (_bracket(series, row, sign * _affordable(series, row, equity), False),)


def breakout_stops(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Buy above the highest high of 20 bars, sell below the lowest low of 10: stop orders, placed anew every bar."""
    step = series.increment
    if held > 0:
        return Withdraw(), Ask(-held, stop=series.price(series.lowest[row] - step))
    return Withdraw(), Ask(series.unit, stop=series.price(series.highest[row] + step))


def limits_with_expiry(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Buy half a range below the close and sell half a range above, with limit orders that live for five bars."""
    if waiting:
        return ()
    sign = -1 if held > 0 else 1
    limit = series.price(series.bars.close[row] - sign * 0.5 * series.reach[row])
    return (Ask(sign * series.unit, limit=limit, lifetime=5),)


def trailing_stops(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Enter at every cross of the averages while nothing is held, either side; a trailing stop alone ends it."""
    above, before = series.fast[row] > series.slow[row], series.fast[row - 1] > series.slow[row - 1]
    return () if held or above == before else (Ask(series.unit if above else -series.unit, trail=_trail(series)),)


def _trail(series: Series) -> float:
    """Return a distance that is hit now and then: eight average ranges, as a fraction of the price.

    Its last digits keep the stop between two increments, where no bar touches it exactly (`trailing_in_floats`).
    """
    typical = 8 * float(np.nanmedian(series.reach / series.bars.close))
    return float(f"{min(max(typical, 0.001), 0.2):.2g}") + 0.00003137


def parts(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Add a unit at every upward cross, up to three; sell one at every downward cross; all of it below the slowest."""
    above, before = series.fast[row] > series.slow[row], series.fast[row - 1] > series.slow[row - 1]
    if held and series.bars.close[row] < series.slower[row] - 3 * series.reach[row]:
        return (Ask(-held),)
    if above and not before and held < 3 * series.unit:
        return (Ask(series.unit),)
    if before and not above and held > 0:
        return (Ask(-series.unit),)
    return ()


def bracketed_parts(series: Series, row: int, held: int, equity: float, waiting: int) -> Sequence[Step]:
    """Every tenth bar in a stretched market another bracket, up to four; every 13th, sell two units of what is held.

    Which brackets survive a sale depends on how an engine nets entries.
    """
    unit = series.unit
    if row % 13 == 0 and held >= 2 * unit:
        return (Ask(-2 * unit),)
    if row % 10 == 0 and 0 <= held < 6 * unit and series.fast[row] > series.slow[row]:
        return (_bracket(series, row, (1 + row // 10 % 2) * unit, False),)
    if held < 0:  # children that outlived what they protected have opened a short position
        return Withdraw(), Ask(-held)
    return ()


PLANS: dict[str, Callable[..., Sequence[Step]]] = {
    plan.__name__: plan
    for plan in (cross_long, cross_reversal, cross_half_of_equity, rsi_brackets, rsi_brackets_half_steps,
                 rsi_brackets_half_of_equity, breakout_stops, limits_with_expiry, trailing_stops, parts,
                 bracketed_parts)
}

MARKET_ONLY = ("cross_long", "cross_reversal", "cross_half_of_equity", "parts")
"""Plans whose orders all fill at the next open, so that a ledger of a few lines can follow them."""

TRAILING = ("trailing_stops",)

FINER_PRICES = ("trailing_stops", "rsi_brackets_half_steps")
"""Plans with prices between two increments: there ours are counted finer, as docs/profiles.md says."""
