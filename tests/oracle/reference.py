"""What backtesting.py and backtrader do with a scenario's orders, said again without them, in whole price increments.

These matchers are the shortest statement we have of the peers' rules. They are compared with the peers themselves, and
the engine's two profiles are compared with both. `fill_price_*` functions return None for "not on this bar".

Only a trailing level may fall between increments. It is kept as an exact fraction where the peers have a float, so they
may miss a bar that just touches it: 90 * (1 + 0.1) is 99.00000000000001, and a high of 99 does not reach that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

Scenario = dict[str, Any]
Price = int | Fraction    # in price increments
Fill = list[Any]
PRICE_KEYS = ("limit", "stop", "stop_loss", "take_profit")


class TickBar(NamedTuple):
    open: int
    high: int
    low: int
    close: int

    def mirrored(self) -> TickBar:
        """Return the bar as a seller sees it: prices negated, so that one rule written for buyers serves both."""
        return TickBar(-self.open, -self.low, -self.high, -self.close)


@dataclass(eq=False)
class Order:
    """An order as its peer keeps it. Prices are signed for a buyer: negated when the order sells."""

    is_buy: bool
    quantity: int
    limit: Price | None = None
    stop: Price | None = None
    stop_loss: Price | None = None
    take_profit: Price | None = None
    trail_fraction: Fraction | None = None
    trade: Trade | None = None        # backtesting.py: the trade that this stop or target closes
    parent: Order | None = None       # backtrader: the entry that wakes this child
    siblings: list[Order] = field(default_factory=list)
    is_awake: bool = True
    is_triggered: bool = False


@dataclass(eq=False)
class Trade:
    """One entry of backtesting.py, long or short, with its own stop and target."""

    is_long: bool
    quantity: int
    trail_fraction: Fraction | None
    stop_order: Order | None = None
    target_order: Order | None = None


# --- backtesting.py ------------------------------------------------------------------------------------------------


def backtesting_py_fills(scenario: Scenario) -> list[Fill]:
    """Return the fills of backtesting.py: one queue, opposite orders close the oldest trades first."""
    bars, script, increment = _read(scenario)
    queue: list[Order] = []
    trades: list[Trade] = []
    fills: list[Fill] = []

    def close(trade: Trade) -> None:
        trades.remove(trade)
        for order in (trade.stop_order, trade.target_order):
            if order is not None:
                queue.remove(order)

    def process(index: int) -> None:
        bar = bars[index]
        process_again = False
        for order in list(queue):
            if order not in queue:
                continue
            was_market = order.limit is None and order.stop is None
            stop_before = order.stop
            seen = bar if order.is_buy else bar.mirrored()
            price = fill_price_in_backtesting_py(order, seen)
            if price is None:
                continue
            fills.append(_fill(order, index, price, increment))
            if order.trade is not None:
                close(order.trade)
                continue
            left = order.quantity
            for trade in [trade for trade in trades if trade.is_long != order.is_buy]:
                closed = min(left, trade.quantity)
                left -= closed
                trade.quantity -= closed
                if trade.quantity == 0:
                    close(trade)
                if left == 0:
                    break
            if left:
                open_trade(order, left)
                has_children = order.stop_loss is not None or order.take_profit is not None
                was_stop = stop_before is not None and order.limit is None
                process_again |= has_children and (was_market or (was_stop and target_alone_in_range(order, seen)))
            queue.remove(order)
        if process_again:
            process(index)

    def open_trade(order: Order, quantity: int) -> None:
        trade = Trade(order.is_buy, quantity, order.trail_fraction)
        trades.append(trade)
        if order.take_profit is not None:
            trade.target_order = Order(not order.is_buy, 0, limit=-order.take_profit, trade=trade)
            queue.append(trade.target_order)
        if order.stop_loss is not None:
            set_stop(trade, -order.stop_loss)

    def set_stop(trade: Trade, level: Price) -> None:
        if trade.stop_order is not None:
            queue.remove(trade.stop_order)
        trade.stop_order = Order(not trade.is_long, 0, stop=level, trade=trade)
        queue.insert(0, trade.stop_order)

    for index in range(1, len(bars)):    # the strategy never sees bar 0
        process(index)
        for trade in trades:
            if trade.trail_fraction is not None:
                level = _trailing_level(bars[index].close, trade.trail_fraction, sells=trade.is_long)
                if trade.stop_order is None or level < trade.stop_order.stop:    # signed for the closing side
                    set_stop(trade, level)
        queue.extend(order for order in script.get(index, ()) if is_valid_in_backtesting_py(order, bars[index].close))
    return fills


def fill_price_in_backtesting_py(order: Order, bar: TickBar) -> Price | None:
    """Return the price, signed as the order's, and note on the order that its stop was reached."""
    stop = order.stop
    if stop is not None:
        if bar.high < stop:
            return None
        order.stop = None    # from now on a limit or market order, whether it fills on this bar or not
    if order.limit is None:
        return bar.open if stop is None else max(bar.open, stop)
    if bar.low > order.limit:
        return None
    if stop is None:
        return min(bar.open, order.limit)
    return stop if order.limit > stop else None    # at the stop even if the bar opened beyond it


def target_alone_in_range(order: Order, bar: TickBar) -> bool:
    """Say whether a stop entry's target may fill on the entry bar: it is within reach and the stop-loss is not."""
    return (order.take_profit is not None and order.take_profit <= bar.high
            and (order.stop_loss is None or order.stop_loss < bar.low))


def is_valid_in_backtesting_py(order: Order, close: int) -> bool:
    entry = order.limit if order.limit is not None else order.stop
    if entry is None:
        entry = close if order.is_buy else -close
    return ((order.stop_loss is None or order.stop_loss < entry)
            and (order.take_profit is None or entry < order.take_profit))


# --- backtrader ----------------------------------------------------------------------------------------------------


def backtrader_fills(scenario: Scenario, *, trailing_stop: str = "child") -> list[Fill]:
    """Return the fills of backtrader: every order for itself, but for the children of a bracket."""
    bars, script, increment = _read(scenario)
    queue: list[Order] = []
    waking: list[Order] = []
    fills: list[Fill] = []

    for index, bar in enumerate(bars):
        for child in waking:
            child.is_awake = True
        waking = []
        after_entry: list[Order] = []
        for order in list(queue):
            if order not in queue or not order.is_awake:
                continue
            price = fill_price_in_backtrader(order, bar if order.is_buy else bar.mirrored())
            if price is None:
                if order.parent is not None and order.trail_fraction is not None:
                    order.stop = min(order.stop, _trailing_level(bar.close, order.trail_fraction, not order.is_buy))
                continue
            fills.append(_fill(order, index, price, increment))
            queue.remove(order)
            for sibling in order.siblings:
                if sibling in queue:
                    queue.remove(sibling)
            waking += [child for child in queue if child.parent is order]
            if order.trail_fraction is not None and order.parent is None and trailing_stop == "after_entry":
                after_entry.append(_trailing_child(order, bar.close))
        queue += after_entry
        for order in script.get(index, ()):
            queue.append(order)
            children = []
            if order.stop_loss is not None:
                children.append(Order(not order.is_buy, order.quantity, stop=-order.stop_loss))
            if order.take_profit is not None:
                children.append(Order(not order.is_buy, order.quantity, limit=-order.take_profit))
            if order.trail_fraction is not None and trailing_stop == "child":
                children.append(_trailing_child(order, bar.close))
            for child in children:
                child.parent, child.is_awake = order, False
                child.siblings = [other for other in children if other is not child]
            queue += children
    return fills


def fill_price_in_backtrader(order: Order, bar: TickBar) -> Price | None:
    if order.stop is None or order.is_triggered:
        if order.limit is None:
            return bar.open
        return _limit_price(order.limit, bar)
    if order.limit is None:
        if bar.high < order.stop:
            return None
        return max(bar.open, order.stop)
    if bar.high < order.stop:
        return None
    order.is_triggered = True
    if bar.open >= order.stop:
        return _limit_price(order.limit, bar)
    if order.limit >= order.stop:
        return order.stop
    # Reached inside the bar with the limit on the far side: filled only if the bar turned round and closed beyond it.
    turned_round = bar.open > bar.close or (bar.open == bar.close and not order.is_buy)    # sic: sellers also if flat
    return order.limit if turned_round and order.limit >= bar.close else None


def _limit_price(limit: Price, bar: TickBar) -> Price | None:
    return min(bar.open, limit) if bar.low <= limit else None


def _trailing_child(entry: Order, close: int) -> Order:
    return Order(not entry.is_buy, entry.quantity, parent=entry, trail_fraction=entry.trail_fraction,
                 stop=_trailing_level(close, entry.trail_fraction, sells=entry.is_buy))


# --- shared --------------------------------------------------------------------------------------------------------


def _trailing_level(close: int, fraction: Fraction, sells: bool) -> Fraction:
    """Return the level of a trailing stop, signed for the side that it trades: a smaller one is tighter."""
    return -close * (1 - fraction) if sells else close * (1 + fraction)


def _fill(order: Order, index: int, price: Price, increment: Decimal) -> Fill:
    in_increments = Fraction(price if order.is_buy else -price)
    return ["buy" if order.is_buy else "sell", index, float(in_increments * Fraction(increment))]


def _read(scenario: Scenario) -> tuple[list[TickBar], dict[int, list[Order]], Decimal]:
    increment = Decimal(scenario["price_increment"])

    def ticks(price: float) -> int:
        return int((Decimal(str(price)) / increment).to_integral_value())

    script: dict[int, list[Order]] = {}
    for given in scenario["orders"]:
        sign = 1 if given["side"] == "buy" else -1
        prices = {key: sign * ticks(given[key]) for key in PRICE_KEYS if key in given}
        fraction = Fraction(str(given["trail_fraction"])) if "trail_fraction" in given else None
        script.setdefault(given["decided_at_close_of"], []).append(
            Order(sign > 0, given["quantity"], trail_fraction=fraction, **prices))
    return [TickBar(*map(ticks, bar[:4])) for bar in scenario["bars"]], script, increment
