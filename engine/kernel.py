"""The compiled run: market orders towards target exposures, for one symbol, with exact books.

It does what the order desk and the simulated exchange do for such orders, to the unit: the same formulas in the same
order, in int64 where they use Python's integers. Sums that would not fit stop the run (OVERFLOW), and the caller
goes the long way.
"""

from typing import Any

import numpy as np
from numba import njit

from engine.bars import FORWARD_FILLED

DONE, OVERFLOW = 0, 1

ACCEPTED, REDUCED, CANCELLED_NO_CASH, CANCELLED_REPLACED, CANCELLED_NO_SHORT, REDUCED_NO_SHORT = range(6)
"""Kinds of logged order events."""

CASH, LOCKED, HELD, COST, REALISED, ORDERS, ORDER, SIDE, QUANTITY, FILLED_LOTS = range(10)
"""Places in the state: the books; how many orders there have been; the open order (0 for none), its side, lots and
fills."""

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
    if abs(steps - nearest) < 1e-6 + 4e-16 * abs(steps):
        return np.int64(nearest)
    return np.int64(steps)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _share_of_cost(cost: int, closing: int, held: int) -> int:
    """Return cost × closing // held exactly, though the product may not fit into int64."""
    if closing == held:
        return cost
    rest = cost % held
    whole = cost // held * closing
    if float(rest) * float(closing) < _LARGEST:
        return whole + rest * closing // held
    # rest × closing ÷ held bit by bit, as on paper: no number on the way is twice as large as held.
    quotient = remainder = 0
    for bit in range(62, -1, -1):
        quotient *= 2
        remainder *= 2
        if remainder >= held:
            remainder -= held
            quotient += 1
        if (closing >> bit) & 1:
            remainder += rest
            if remainder >= held:
                remainder -= held
                quotient += 1
    return whole + quotient


@njit(cache=True)  # type: ignore[untyped-decorator]
def _affordable(closing: int, opening: int, lot_units: int, free: int, numerator: int, denominator: int) -> int:
    low, high = 0, opening
    if lot_units > 0:
        high = min(opening, max(0, free) // lot_units)
    if high > 8 and free > 0:  # the answer lies beside what a fee without rounding would leave
        near: int = np.int64(free / (lot_units * (1.0 + numerator / denominator)))
        below = max(0, min(high, near - 2))
        above = min(high, near + 2)
        if below * lot_units + _fee((closing + below) * lot_units, numerator, denominator) <= free:
            low = below
        if above * lot_units + _fee((closing + above) * lot_units, numerator, denominator) > free:
            high = max(low, above - 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle * lot_units + _fee((closing + middle) * lot_units, numerator, denominator) <= free:
            low = middle
        else:
            high = middle - 1
    return low


@njit(cache=True)  # type: ignore[untyped-decorator]
def run_targets(
    wish_rows: Any,
    wishes: Any,
    start: int,
    end: int,
    open_: Any,
    close: Any,
    volume: Any,
    flags: Any,
    tick: float,
    lot: float,
    price_ratio: Any,
    value_units: int,
    numerator: int,
    denominator: int,
    headroom: float,
    spread_points: float,
    slippage_points: float,
    volume_cap: float,
    allow_short: bool,
    state: Any,
) -> Any:
    """Run rows [start, end); return (status, decisions, fills, costs, events). `state` is moved on in place.

    Args:
        wish_rows: int64, ascending, within [start, end); wishes: the target exposure asked for at each.
        flags: uint8 [rows] or empty; price_ratio: (numerator, denominator) of the price increment; numerator,
            denominator: the taker fee; volume_cap: share of a bar's volume, negative for none.
        state: int64, see CASH … FILLED_LOTS.
    Returns:
        decisions int64 [n, 4]: row, signed lots asked for, close ticks, place of the wish;
        fills int64 [m, 9]: row, order, side, reference ticks, price ticks, lots, fee, lots held after, cash after;
        costs float64 [m, 2]: spread, slippage per unit of base;
        events int64 [k, 6]: row, order, kind, lots before, lots after, free units.
    """
    size = len(wish_rows) + 16
    decisions = np.empty((size, 4), np.int64)
    fills = np.empty((2 * size, 9), np.int64)
    costs = np.empty((2 * size, 2), np.float64)
    events = np.empty((5 * size, 6), np.int64)
    n = m = k = 0
    cash, locked, held, cost, realised = state[CASH], state[LOCKED], state[HELD], state[COST], state[REALISED]
    orders, order, side, quantity, filled = (
        state[ORDERS],
        state[ORDER],
        state[SIDE],
        state[QUANTITY],
        state[FILLED_LOTS],
    )
    failed = (OVERFLOW, decisions[:0], fills[:0], costs[:0], events[:0])
    row = start
    for place in range(len(wish_rows) + 1):
        until = wish_rows[place] if place < len(wish_rows) else end - 1
        while order and row <= until:
            if m + 2 >= len(fills):
                fills = np.concatenate((fills, np.empty_like(fills)))
                costs = np.concatenate((costs, np.empty_like(costs)))
            if k + 6 >= len(events):
                events = np.concatenate((events, np.empty_like(events)))
            at = row
            row += 1
            lots = quantity - filled
            if len(flags) and flags[at] & FORWARD_FILLED:
                continue
            if volume_cap >= 0.0:
                lots = min(lots, _whole_lots(volume[at] * volume_cap, lot))
            if lots <= 0:
                continue
            reference = np.int64(np.rint(open_[at] / tick))
            price = reference
            spread = slip = 0.0
            if spread_points > 0.0 or slippage_points > 0.0:
                quoted = reference * price_ratio[0] / price_ratio[1]
                spread = quoted * spread_points * 1e-4
                slip = quoted * slippage_points * 1e-4
                total = spread + slip
                price = reference + side * np.int64(np.ceil(total / tick - 1e-9))
                if price <= 0:
                    price = min(reference, 1)
                paid = abs(price - reference) * price_ratio[0] / price_ratio[1]
                slip = slip + max(0.0, paid - total)
            lot_units = price * value_units
            largest = float(max(lots, abs(held)))
            if largest * float(lot_units) * max(float(numerator), 2.0) > _LARGEST or largest > _LARGEST / 4.0:
                return failed
            fee = _fee(lots * lot_units, numerator, denominator)
            closing = min(lots, max(0, -held * side))
            opening = lots - closing
            if opening > 0:
                affordable = opening
                if side < 0 and not allow_short:
                    affordable = 0
                else:
                    free = cash - locked
                    if closing > 0:
                        if held > 0:
                            free += closing * lot_units
                        else:
                            free += 2 * _share_of_cost(cost, closing, -held) - closing * lot_units
                    if opening * lot_units + fee > free:
                        affordable = _affordable(closing, opening, lot_units, free, numerator, denominator)
                if affordable < opening:
                    no_short = side < 0 and not allow_short
                    lots = closing + affordable
                    if lots == 0:
                        events[k] = (
                            at,
                            order,
                            CANCELLED_NO_SHORT if no_short else CANCELLED_NO_CASH,
                            0,
                            0,
                            cash - locked,
                        )
                        k += 1
                        order = 0
                        continue
                    kind = REDUCED_NO_SHORT if no_short else REDUCED
                    events[k] = (at, order, kind, quantity, filled + lots, cash - locked)
                    k += 1
                    quantity = filled + lots
                    fee = _fee(lots * lot_units, numerator, denominator)
            notional = lots * lot_units
            if abs(float(cash)) + float(notional) + abs(float(fee)) + 2.0 * float(cost) > _LARGEST:
                return failed
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
            fills[m] = (at, order, side, reference, price, lots, fee, held, cash)
            costs[m] = (spread, slip)
            m += 1
            if filled == quantity:
                order = 0
        row = max(row, until + 1)
        if place == len(wish_rows):
            break
        if k + 6 >= len(events):
            events = np.concatenate((events, np.empty_like(events)))
        if order:
            events[k] = (until, order, CANCELLED_REPLACED, 0, 0, 0)
            k += 1
            order = 0
        ticks = np.int64(np.rint(close[until] / tick))
        per_lot = ticks * value_units
        if abs(float(held)) * float(per_lot) + abs(float(cash)) > _LARGEST:
            return failed
        share = min(max(wishes[place], -headroom), headroom)
        goal = share * (cash + held * per_lot) / per_lot
        if abs(goal) > _LARGEST:
            return failed
        lots = np.int64(goal) - held
        if lots != 0:
            decisions[n] = (until, lots, ticks, place)
            n += 1
            orders += 1
            order = orders
            side = 1 if lots > 0 else -1
            quantity = abs(lots)
            filled = 0
            events[k] = (until, order, ACCEPTED, 0, 0, 0)
            k += 1
    state[CASH], state[LOCKED], state[HELD], state[COST], state[REALISED] = cash, locked, held, cost, realised
    state[ORDERS], state[ORDER], state[SIDE], state[QUANTITY], state[FILLED_LOTS] = (
        orders,
        order,
        side,
        quantity,
        filled,
    )
    return DONE, decisions[:n], fills[:m], costs[:m], events[:k]


@njit(cache=True)  # type: ignore[untyped-decorator]
def next_touch(high: Any, low: Any, first: int, upper: float, lower: float) -> int:
    """Return the first row ≥ `first` whose high reaches `upper` or whose low reaches `lower`; the number of rows if
    none does."""
    for row in range(first, len(high)):
        if high[row] >= upper or low[row] <= lower:
            return row
    return len(high)
