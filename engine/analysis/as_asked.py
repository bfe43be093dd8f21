"""A run's result with some trades ended otherwise: the same orders, at the same quantities, with other fills.

The fills of those trades are taken out and others put in; equity follows at every close. Nobody is asked what they
would have done next: quantities, cash and later orders stay as they were.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from engine.bars import Bars, FloatArray, IntArray
from engine.bounds import AmbiguousTrade, Ending
from engine.records import FillRow
from engine.results import EquityCurve

_SAME = 1e-9


def curve_with(
    curve: EquityCurve,
    trades: Sequence[AmbiguousTrade],
    side: str,
    bars: Mapping[str, Bars],
    multipliers: Mapping[str, float],
) -> EquityCurve:
    """Return equity as it would have been with trades ended on one side.

    Args:
        side: "pessimistic" or "optimistic"; bars: of every symbol, for the value of what is still held.
        multipliers: base asset per unit of quantity, where it is not 1.
    """
    equity, cash = curve.equity.copy(), curve.cash.copy()
    for trade in trades:
        ending: Ending = getattr(trade, side)
        if ending is trade.declared:
            continue
        _book(equity, cash, curve.time, trade, ending, bars[trade.symbol], multipliers.get(trade.symbol, 1.0))
    return EquityCurve(curve.currency, curve.time, equity, cash, curve.exposure)


def _book(
    equity: FloatArray, cash: FloatArray, time: IntArray, trade: AmbiguousTrade, ending: Ending, bars: Bars,
    factor: float,
) -> None:
    """Change equity and cash by what one trade would have made instead."""
    own, other = _moves(trade.declared, factor), _moves(ending, factor)
    if trade.closed_at is not None:
        own = _closed(own, trade.declared, trade.closed_bar)
    moves = sorted(other + [(bar, -money, -held) for bar, money, held in own])
    known = np.searchsorted(bars.close_time, time, side="right") - 1
    money = held = 0.0
    for number, (bar, amount, quantity) in enumerate(moves):
        money, held = money + amount, held + quantity
        start = int(np.searchsorted(time, bar))
        end = int(np.searchsorted(time, moves[number + 1][0])) if number + 1 < len(moves) else len(time)
        if start >= end:
            continue
        cash[start:end] += money
        equity[start:end] += money
        if abs(held) > _SAME:
            equity[start:end] += held * factor * bars.close[known[start:end]]


def _moves(ending: Ending, factor: float) -> list[tuple[int, float, float]]:
    """Return (close time of the bar, money, quantity) of every fill."""
    found = []
    for fill in ending.fills:
        quantity = fill.quantity if fill.side == "buy" else -fill.quantity
        found.append((fill.bar_close_time, -quantity * fill.price * factor - fill.fee, quantity))
    return found


def _closed(
    moves: list[tuple[int, float, float]], ending: Ending, closed: int
) -> list[tuple[int, float, float]]:
    """Return the moves with what an order from outside closed."""
    held = sum(quantity for _, _, quantity in moves)
    if abs(held) < _SAME or ending.price is None:
        return moves
    spent = sum(money for _, money, _ in moves)
    return [*moves, (closed, ending.net - spent, -held)]


def fills_with(fills: Iterable[FillRow], trades: Sequence[AmbiguousTrade], side: str) -> list[FillRow]:
    """Return the fills of a run with trades ended on one side; positions are counted anew, cash is left at 0."""
    changed = [trade for trade in trades if getattr(trade, side) is not trade.declared]
    gone = {number for trade in changed for number in trade.orders}
    rows = [FillRow(*fill) for fill in fills]
    kept = [row for row in rows if row.order_id not in gone]
    for trade in changed:
        _take_out_closing(kept, trade)
        kept += getattr(trade, side).fills
    kept.sort(key=lambda row: (row.bar_close_time, row.time, row.order_id))
    held: dict[str, float] = {}
    counted = []
    for number, row in enumerate(kept, 1):
        after = held.get(row.symbol, 0.0) + (row.quantity if row.side == "buy" else -row.quantity)
        held[row.symbol] = after = 0.0 if abs(after) < _SAME * row.quantity else after
        counted.append(row._replace(id=number, position_after=after, cash_after=0.0))
    return counted


def _take_out_closing(rows: list[FillRow], trade: AmbiguousTrade) -> None:
    """Take what closed a trade's position from outside out of the fill that did it."""
    if trade.closed_at is None:
        return
    left = sum(row.quantity if row.side == "buy" else -row.quantity for row in trade.declared.fills)
    for place, row in enumerate(rows):
        if row.symbol == trade.symbol and row.time == trade.closed_at and (row.side == "sell") == (left > 0):
            rest = row.quantity - abs(left)
            rows[place : place + 1] = [row._replace(quantity=rest)] if rest > _SAME * row.quantity else []
            return
