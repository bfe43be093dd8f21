"""The compiled run: market orders towards a column of target exposures, for one symbol, with exact books.

It does what the order desk and the simulated exchange do for such orders, to the unit: the same formulas in the same order, in
int64 where they use Python's integers. Sums that would not fit stop the run (OVERFLOW), and the caller steps instead.
"""

from typing import Any

import numpy as np
from numba import njit

from engine.bars import FORWARD_FILLED

DONE, OVERFLOW = 0, 1

ACCEPTED, REDUCED, PARTIALLY_FILLED, FILLED, CANCELLED_NO_CASH, CANCELLED_REPLACED, CANCELLED_NO_SHORT, REDUCED_NO_SHORT = range(8)
"""Kinds of logged order events."""

_LARGEST = 4.0e18
"""Just under half of int64's range: a product below it, and a sum of two, fit."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fee(notional: int, numerator: int, denominator: int) -> int:
    product = notional * numerator
    quotient = product // denominator
    twice = 2 * (product - quotient * denominator)
    if twice > denominator or (twice == denominator and quotient % 2 != 0):
        quotient += 1
    return quotient


@njit(cache=True)  # type: ignore[untyped-decorator]
def _whole_lots(quantity: float, lot: float) -> int:
    steps = quantity / lot
    nearest = np.rint(steps)
    if abs(steps - nearest) < 1e-6:
        return np.int64(nearest)
    return np.int64(steps)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _share_of_cost(cost: int, closing: int, held: int) -> int:
    """Return cost × closing // held, of which the first product alone may not fit into int64."""
    return cost // held * closing + cost % held * closing // held


@njit(cache=True)  # type: ignore[untyped-decorator]
def run_targets(
    exposures: Any, first: int, open_: Any, close: Any, volume: Any, flags: Any, tick: float, lot: float, value_units: int,
    cash: int, fee_numerator: int, fee_denominator: int, headroom: float, spread_points: float, slippage_points: float,
    volume_cap: float, allow_short: bool, float_ratio: Any,
) -> Any:
    """Run and return (status, decisions, fills, fill costs, events, books).

    Args:
        exposures: float64 [rows], NaN for no opinion; first: the first row at which it is asked.
        flags: uint8 [rows] or empty; volume_cap: share of volume, negative for none.
        float_ratio: (numerator, denominator) of the price increment, to turn ticks into floats as Instrument does.
    Returns:
        decisions int64 [n, 4]: row, signed lots asked for, close ticks, place of the exposure's row;
        fills int64 [m, 9]: row, order, side, reference ticks, price ticks, lots, fee, lots held after, cash after;
        costs float64 [m, 2]: spread, slippage per unit of base;
        events int64 [k, 6]: row of its time, order, kind, lots before, lots after, free units;
        books: cash, locked, lots, cost and realised units at the end.
    """
    rows = len(close)
    size = 1024
    decisions = np.empty((size, 4), np.int64)
    fills = np.empty((size, 9), np.int64)
    costs = np.empty((size, 2), np.float64)
    events = np.empty((4 * size, 6), np.int64)
    n = m = k = 0
    held = cost = locked = realised = 0
    wanted = np.nan
    order = 0  # id of the open order, 0 for none; its side, quantity and what has filled of it
    side = quantity = filled = 0
    for row in range(rows):
        if n + 2 >= len(decisions):
            decisions = np.concatenate((decisions, np.empty_like(decisions)))
        if m + 2 >= len(fills):
            fills = np.concatenate((fills, np.empty_like(fills)))
            costs = np.concatenate((costs, np.empty_like(costs)))
        if k + 6 >= len(events):
            events = np.concatenate((events, np.empty_like(events)))
        if order and not (len(flags) and flags[row] & FORWARD_FILLED):
            lots = quantity - filled
            if volume_cap >= 0.0:
                lots = min(lots, _whole_lots(volume[row] * volume_cap, lot))
            if lots > 0:
                reference = np.int64(np.rint(open_[row] / tick))
                price = reference
                spread = slip = 0.0
                if spread_points > 0.0 or slippage_points > 0.0:
                    at = reference * float_ratio[0] / float_ratio[1]
                    spread = at * spread_points * 1e-4
                    slip = at * slippage_points * 1e-4
                    total = spread + slip
                    price = reference + side * np.int64(np.ceil(total / tick - 1e-9))
                    if price <= 0:
                        price = min(reference, 1)
                    paid = abs(price - reference) * float_ratio[0] / float_ratio[1]
                    slip = slip + max(0.0, paid - total)
                lot_units = price * value_units
                largest = float(max(lots, abs(held)))
                if largest * float(lot_units) * max(float(fee_numerator), 2.0) > _LARGEST or largest * largest > _LARGEST:
                    return OVERFLOW, decisions[:0], fills[:0], costs[:0], events[:0], (cash, locked, held, cost, realised)
                closing = min(lots, max(0, -held * side))
                opening = lots - closing
                no_short = False
                if opening > 0:
                    free = cash - locked
                    if side < 0 and not allow_short:
                        no_short = True
                        affordable = 0
                    else:
                        if closing > 0:
                            if held > 0:
                                free += closing * lot_units
                            else:
                                free += 2 * _share_of_cost(cost, closing, -held) - closing * lot_units
                        affordable = opening
                        if opening * lot_units + _fee(lots * lot_units, fee_numerator, fee_denominator) > free:
                            low = 0
                            high = opening
                            if lot_units > 0:
                                high = min(opening, max(0, free) // lot_units)
                            while low < high:
                                middle = (low + high + 1) // 2
                                whole = (closing + middle) * lot_units
                                if middle * lot_units + _fee(whole, fee_numerator, fee_denominator) <= free:
                                    low = middle
                                else:
                                    high = middle - 1
                            affordable = low
                    if affordable < opening:
                        lots = closing + affordable
                        if lots == 0:
                            events[k] = (row, order, CANCELLED_NO_SHORT if no_short else CANCELLED_NO_CASH, 0, 0, cash - locked)
                            k += 1
                            order = 0
                        else:
                            kind = REDUCED_NO_SHORT if no_short else REDUCED
                            events[k] = (row, order, kind, quantity, filled + lots, cash - locked)
                            k += 1
                            quantity = filled + lots
                if order and lots > 0:
                    notional = lots * lot_units
                    fee = _fee(notional, fee_numerator, fee_denominator)
                    if abs(float(cash)) + float(notional) + abs(float(fee)) + 2.0 * float(cost) > _LARGEST:
                        return OVERFLOW, decisions[:0], fills[:0], costs[:0], events[:0], (cash, locked, held, cost, realised)
                    cash -= side * notional + fee
                    if held * side >= 0:
                        cost += notional
                        if side < 0:
                            locked += 2 * notional
                    else:
                        closing = min(lots, abs(held))
                        removed = _share_of_cost(cost, closing, abs(held))
                        cost -= removed
                        realised += (closing * lot_units - removed) * -side
                        if held < 0:
                            locked -= 2 * removed
                        if lots > closing:
                            cost = (lots - closing) * lot_units
                            if side < 0:
                                locked += 2 * cost
                    held += side * lots
                    filled += lots
                    fills[m] = (row, order, side, reference, price, lots, fee, held, cash)
                    costs[m] = (spread, slip)
                    m += 1
                    events[k] = (row, order, FILLED if filled == quantity else PARTIALLY_FILLED, 0, 0, 0)
                    k += 1
                    if filled == quantity:
                        order = 0
        exposure = exposures[row] if row >= first else np.nan
        if exposure == exposure and exposure != wanted:
            wanted = exposure
            if order:
                events[k] = (row, order, CANCELLED_REPLACED, 0, 0, 0)
                k += 1
                order = 0
            ticks = np.int64(np.rint(close[row] / tick))
            per_lot = ticks * value_units
            if abs(float(held)) * float(per_lot) + abs(float(cash)) > _LARGEST:
                return OVERFLOW, decisions[:0], fills[:0], costs[:0], events[:0], (cash, locked, held, cost, realised)
            equity = cash + held * per_lot
            share = min(max(exposure, -headroom), headroom)
            goal = share * equity / per_lot
            if abs(goal) > _LARGEST:
                return OVERFLOW, decisions[:0], fills[:0], costs[:0], events[:0], (cash, locked, held, cost, realised)
            lots = np.int64(goal) - held
            if lots != 0:
                decisions[n] = (row, lots, ticks, row)
                n += 1
                order = n
                side = 1 if lots > 0 else -1
                quantity = abs(lots)
                filled = 0
                events[k] = (row, order, ACCEPTED, 0, 0, 0)
                k += 1
    return DONE, decisions[:n], fills[:m], costs[:m], events[:k], (cash, locked, held, cost, realised)


@njit(cache=True)  # type: ignore[untyped-decorator]
def next_touch(high: Any, low: Any, first: int, upper: float, lower: float) -> int:
    """Return the first row ≥ `first` whose high reaches `upper` or whose low reaches `lower`; the number of rows if none does."""
    for row in range(first, len(high)):
        if high[row] >= upper or low[row] <= lower:
            return row
    return len(high)
