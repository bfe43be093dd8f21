"""At which price an order fills in a bar: pure functions of the order's prices, the bar and the switches.

Everything is in ticks (whole price increments). Each rule is written once, for a buyer; a seller's prices are
negated on the way in and out, which turns highs into lows and "at or below" into "at or above".

A bar offers these price points, in time order: the open; a path over the high and the low that nobody knows
(`path`); the close.
"""

from math import ceil
from typing import NamedTuple

from engine.orders import Order, OrderType
from engine.semantics import Switches


class TickBar(NamedTuple):
    """A bar's prices in ticks, as a buyer sees them; `mirrored` is how the seller does."""

    open: int
    high: int
    low: int
    close: int

    def mirrored(self) -> "TickBar":
        """Return the bar with prices negated, so that a seller's rules read like a buyer's."""
        return TickBar(-self.open, -self.low, -self.high, -self.close)


class Prices(NamedTuple):
    """An order's prices as a buyer sees them (negated for a seller)."""

    limit: int | None
    stop: int | None


def prices_of(order: Order) -> Prices:
    """Return the order's limit and stop, negated for a seller."""
    sign = order.side
    return Prices(
        None if order.limit_ticks is None else sign * order.limit_ticks,
        None if order.stop_ticks is None else sign * order.stop_ticks,
    )


# ── one rule a function; all for a buyer ────────────────────────────────────────────────────────────────────────────


def stop_triggers(price: int, stop: int, switches: Switches) -> bool:
    """Return whether a stop has traded once `price` was reached."""
    return price > stop if switches.stop_touch == "through" else price >= stop


def stop_fill(stop: int, at_open: bool, bar: TickBar, switches: Switches) -> int:
    """Return the price of a triggered stop: the open if it gapped over it, else the stop itself, or worse."""
    price = bar.open if at_open and switches.stop_gap == "open" else stop
    return max(price, bar.close) if switches.stop_price == "worst_of_trigger_and_close" else price


def limit_at_open(limit: int, bar: TickBar, is_arriving: bool, switches: Switches) -> int | None:
    """Return the fill price of a limit order at the open, or None.

    An order that arrives crosses the book at its limit too; one that has been resting there needs the price
    to trade through it where `limit_touch` says so.
    """
    reached = bar.open <= limit if is_arriving or switches.limit_touch == "touch" else bar.open < limit
    if not reached:
        return None
    if switches.limit_gap == "limit":
        return limit
    if switches.limit_gap == "bar_extreme":
        return min(bar.high, limit)
    return bar.open


def limit_reached(limit: int, price: int, is_lucky: bool, switches: Switches) -> bool:
    """Return whether a resting limit order fills once `price` traded. `is_lucky` decides a mere touch by chance."""
    if price < limit:
        return True
    if price > limit or switches.limit_touch == "through":
        return False
    return switches.limit_touch == "touch" or is_lucky


# ── the two steps of a bar, for one order ───────────────────────────────────────────────────────────────────────────


def at_open(order: Order, bar: TickBar, is_arriving: bool, switches: Switches) -> int | None:
    """Return the price at which the order fills at the open, or None. A stop that triggers is marked on the order.

    Args:
        bar: mirrored already if the order sells; the price returned is mirrored likewise.
        is_arriving: the open is the first price the order meets.
    """
    limit, stop = prices_of(order)
    kind = order.type
    if kind is OrderType.MARKET:
        return bar.open
    if stop is not None and not order.is_triggered:
        if not stop_triggers(bar.open, stop, switches):
            return None
        order.is_triggered = True
        if limit is None:
            return stop_fill(stop, True, bar, switches)
        return bar.open if bar.open <= limit else None
    if stop is not None and limit is None:  # triggered before; what was left of it is a market order
        return bar.open
    assert limit is not None
    return limit_at_open(limit, bar, is_arriving, switches)


def within_range(order: Order, bar: TickBar, is_lucky: bool, switches: Switches) -> int | None:
    """Return the price at which the order fills after the open, every price from low to high having traded, or None.

    For `path="worst"`: which extreme came first is left to the caller, who asks stops before limits. A stop that
    triggers is marked.

    Args:
        bar: mirrored already if the order sells, and cut down to the prices known to have traded after the order was
            there.
    """
    limit, stop = prices_of(order)
    if stop is not None and not order.is_triggered:
        if not stop_triggers(bar.high, stop, switches):
            return None
        order.is_triggered = True
        if limit is None:
            return stop_fill(stop, False, bar, switches)
        return _stop_limit_same_bar(limit, stop, bar, is_lucky or switches.limit_touch == "touch")
    if limit is None or not limit_reached(limit, bar.low, is_lucky, switches):
        return None
    return limit


def _stop_limit_same_bar(limit: int, stop: int, bar: TickBar, is_lucky: bool) -> int | None:
    """Return the fill of a stop-limit that the path triggers in this bar; only the close is known to come after."""
    if limit >= stop:
        return stop
    certain = bar.close < limit or (bar.close == limit and is_lucky)
    return limit if certain else None


def over_whole_bar(order: Order, bar: TickBar, switches: Switches) -> int | None:
    """Return the price at which the order fills if the bar is one indivisible point, or None: for `path="queue"`.

    Nothing is asked about the order of high and low; which order is asked first decides. A stop that triggers is
    marked.

    Args:
        bar: mirrored already if the order sells.
    """
    limit, stop = prices_of(order)
    if stop is not None and not order.is_triggered:
        if not stop_triggers(bar.high, stop, switches):
            return None
        order.is_triggered = True
        if limit is None:
            return stop_fill(stop, bar.open >= stop, bar, switches)
        return _triggered_over_whole_bar(limit, stop, bar, order.side < 0, switches)
    if limit is None:
        return bar.open
    return _limit_over_whole_bar(limit, bar, switches)


def _limit_over_whole_bar(limit: int, bar: TickBar, switches: Switches) -> int | None:
    gapped = limit_at_open(limit, bar, True, switches)
    if gapped is not None:
        return gapped
    return limit if limit_reached(limit, bar.low, False, switches) else None


def _triggered_over_whole_bar(limit: int, stop: int, bar: TickBar, is_seller: bool, switches: Switches) -> int | None:
    rule = switches.stop_limit_same_bar
    if rule == "limit_beyond_stop":
        # At the stop even where the bar opened beyond it: backtesting.py's min(stop, limit).
        return stop if bar.low <= limit and limit > stop else None
    if bar.open >= stop:
        return _limit_over_whole_bar(limit, bar, switches)
    if limit >= stop:
        return stop
    if rule == "falling_close":
        # backtrader takes a flat bar for one that turned round when selling, and not when buying.
        turned_round = bar.open > bar.close or (bar.open == bar.close and is_seller)
        return limit if turned_round and limit >= bar.close else None
    return limit if limit_reached(limit, bar.close, False, switches) else None


def certain_after(entry: int, parent: Order, bar: TickBar) -> TickBar:
    """Return the prices known to have traded after `parent` filled at `entry`, inside the bar (ticks, not mirrored).

    The price went on to the extreme beyond the entry, then to the close; the other extreme may have come before. Of an
    order that filled on the way back (a stop-limit) only the close is known to have come after.
    """
    with_side = parent.limit_ticks is None or (parent.limit_ticks - entry) * parent.side > 0
    if parent.type is OrderType.LIMIT:
        rises = parent.side < 0
    elif entry == parent.stop_ticks and with_side:
        rises = parent.side > 0
    else:
        return TickBar(entry, max(entry, bar.close), min(entry, bar.close), bar.close)
    if rises:
        return TickBar(entry, bar.high, min(entry, bar.close), bar.close)
    return TickBar(entry, max(entry, bar.close), bar.low, bar.close)


# ── trailing stops ──────────────────────────────────────────────────────────────────────────────────────────────────


def trail(order: Order, price: int) -> None:
    """Let a trailing stop follow `price` (ticks, not mirrored): it moves in the order's favour only."""
    sign = order.side  # a selling stop trails below rising prices: the best price is the highest
    if order.reference is not None and (price - order.reference) * sign >= 0:
        return
    order.reference = price
    if order.trail_ticks is not None:
        distance = order.trail_ticks
    else:
        assert order.trail_fraction is not None
        # Away from the price, so that a trail is never tighter than asked for.
        distance = ceil(price * order.trail_fraction - 1e-9)
    stop = price + sign * distance
    if order.stop_ticks is None or (stop - order.stop_ticks) * sign < 0:  # one tightened by hand stays where it was put
        order.stop_ticks = stop


def trail_point(order: Order, bar: TickBar, switches: Switches) -> int:
    """Return the price of the bar (ticks, not mirrored) that a trailing stop follows."""
    if switches.trail_reference in ("close", "close_after_entry"):
        return bar.close
    return bar.high if order.side < 0 else bar.low


# ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def path_points(bar: TickBar, path: str, up_first: bool) -> tuple[int, int, int, int]:
    """Return open, the two extremes in the order the declared path has them, close.

    Args:
        up_first: what `path="random"` drew for this bar.
    """
    if path == "adaptive":  # the nearer extreme first
        high_first = bar.high - bar.open < bar.open - bar.low
    elif path == "candle_colour":  # a red candle rose first, a green one fell first
        high_first = bar.close < bar.open
    elif path == "random":
        high_first = up_first
    else:
        high_first = path == "ohlc"
    extremes = (bar.high, bar.low) if high_first else (bar.low, bar.high)
    return (bar.open, *extremes, bar.close)


def on_leg(order: Order, start: int, end: int, is_lucky: bool, switches: Switches) -> int | None:
    """Return the level at which the order acts while the price moves from start to end, or None.

    All ticks as a buyer sees them (mirrored for a seller). The leg's end has traded, its start has been dealt with.
    """
    limit, stop = prices_of(order)
    if stop is not None and not order.is_triggered:
        return stop if end > start and stop_triggers(end, stop, switches) and start <= stop else None
    if limit is not None:
        return limit if end < start and limit_reached(limit, end, is_lucky, switches) and start >= limit else None
    return None
