"""A second broker, written from docs/fills.md alone and as plainly as can be: whole numbers, lists, no cleverness.

It knows the default switches, and those of the profile `backtrader` (`whole_bars`). Prices and quantities are whole, an
increment is 1, money is in hundredths; a maker pays 1 % and a taker 2 %. It is slow and does nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

OPEN_STATES = ("accepted", "partially_filled")
DORMANT, FINAL = "dormant", ("filled", "cancelled", "expired", "rejected", "refused")


class Candle(NamedTuple):
    begins: int
    ends: int
    open: int
    high: int
    low: int
    close: int
    volume: int


class RefFill(NamedTuple):
    order: int
    time: int
    side: int
    price: int
    quantity: int
    is_maker: bool


@dataclass
class RefOrder:
    """An order as the reference sees it. `limit` and `stop` are prices; `trail` is a distance, in prices or percent."""

    id: int
    symbol: str
    side: int
    quantity: int
    decided_at: int
    last_close: int
    limit: int | None = None
    stop: int | None = None
    trail: int | None = None
    trail_percent: int | None = None
    tif: str = "gtc"
    until: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    group: str | None = None
    parent: RefOrder | None = None
    status: str = "accepted"
    filled: int = 0
    rested: bool = False
    triggered: bool = False
    best: int | None = None
    protected: int = 0

    @property
    def trails(self) -> bool:
        return self.trail is not None or self.trail_percent is not None

    @property
    def is_stop(self) -> bool:
        """Whether it waits for its stop price."""
        return (self.stop is not None or self.trails) and not self.triggered

    @property
    def is_market(self) -> bool:
        """Whether any price will do."""
        return not self.is_stop and self.limit is None

    @property
    def rest(self) -> int:
        return self.quantity - self.filled

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    def follow(self, price: int) -> None:
        """Move a trailing stop behind a price that is better than those before."""
        if self.best is not None and (price - self.best) * self.side >= 0:
            return
        self.best = price
        away = self.trail if self.trail is not None else -(-price * (self.trail_percent or 0) // 100)
        stop = price + self.side * away
        if self.stop is None or (stop - self.stop) * self.side < 0:
            self.stop = stop


@dataclass
class Book:
    """Cash in hundredths; per symbol what is held and what it cost, in hundredths and exact."""

    cash: int
    held: dict[str, int] = field(default_factory=dict)
    cost: dict[str, Fraction] = field(default_factory=dict)

    def free(self) -> Fraction:
        """Return what can be spent: short positions lock their proceeds and as much again."""
        return self.cash - sum((2 * self.cost[name] for name, held in self.held.items() if held < 0), Fraction(0))

    def free_after_closing(self, symbol: str, quantity: int, price: int) -> Fraction:
        """Return what could be spent if so much of a position were closed first."""
        held = self.held.get(symbol, 0)
        freed = quantity * price * 100
        return self.free() + (freed if held > 0 else 2 * self.cost.get(symbol, 0) * quantity / max(-held, 1) - freed)

    def book(self, symbol: str, side: int, quantity: int, price: int, fee: int) -> None:
        """Take in a fill."""
        held, cost = self.held.get(symbol, 0), self.cost.get(symbol, Fraction(0))
        closing = min(quantity, abs(held)) if held * side < 0 else 0
        if closing:
            cost -= cost * closing / abs(held)
        self.held[symbol] = held + side * quantity
        self.cost[symbol] = cost + (quantity - closing) * price * 100
        self.cash -= side * quantity * price * 100 + fee


class ReferenceBroker:
    """Orders, bars and books. Every list is in the order in which things were sent to the market."""

    def __init__(self, cash: int, *, whole_bars: bool = False) -> None:
        self.book = Book(cash * 100)
        self.whole_bars = whole_bars
        self.orders: list[RefOrder] = []
        self.queue: list[RefOrder] = []
        """Orders that may fill, as they came; children come when their entry fills."""
        self.fills: list[RefFill] = []
        self._volume_left: int | None = None
        self._known: dict[int, Candle] = {}
        self._tried: set[int] = set()

    # ── what a strategy asks for ────────────────────────────────────────────────────────────────────────────────────

    def submit(self, order: RefOrder, children: list[RefOrder], refused: bool) -> None:
        """Take an order and those that are to protect it."""
        self.orders.append(order)
        if refused:
            order.status = "refused"
            return
        if order.post_only and (order.last_close - (order.limit or 0)) * order.side <= 0:
            order.status = "rejected"
            return
        if order.trails:
            order.follow(order.last_close)
        self.queue.append(order)
        for child in children:
            child.status, child.reduce_only = DORMANT, not self.whole_bars
            child.group = f"children of {order.id}"
            self.orders.append(child)

    def cancel(self, order: RefOrder) -> None:
        """Withdraw an order."""
        if order.is_open:
            self._end(order, "cancelled")

    def amend(self, order: RefOrder, quantity: int, limit: int | None, stop: int | None, now: int) -> None:
        """Change an order; at another price it arrives anew."""
        if (limit, stop) != (order.limit, order.stop):
            order.rested, order.decided_at = False, now
        for child in self._children(order):
            if child.status == DORMANT:
                child.quantity = quantity
        order.quantity, order.limit, order.stop = quantity, limit, stop

    # ── what the market does ────────────────────────────────────────────────────────────────────────────────────────

    def instant(self, candles: dict[str, Candle]) -> None:
        """Let bars that close together meet the orders, those first whose orders only reduce positions."""
        def only_reduces(symbol: str) -> bool:
            held = self.book.held.get(symbol, 0)
            return all(held * order.side < 0 for order in self.queue if order.symbol == symbol)

        active = [symbol for symbol in candles if any(order.symbol == symbol for order in self.queue)]
        for symbol in sorted(active, key=lambda symbol: not only_reduces(symbol)):
            self._bar(symbol, candles[symbol])

    def _bar(self, symbol: str, bar: Candle) -> None:
        self._expire(symbol, bar.begins)
        self._volume_left = None if self.whole_bars else bar.volume // 10
        self._known, self._tried = {}, set()
        if self.whole_bars:
            for order in sorted(self._live(symbol), key=lambda order: order.id):
                if order.is_open:
                    self._meet_whole(order, bar)
        else:
            self._meet_open_together(symbol, bar)
            while self._meet_next_on_path(symbol, bar):
                pass
        for order in self._live(symbol):
            is_live = order.decided_at < bar.ends or order.id in self._known
            if order.trails and not order.triggered and is_live:
                seen = self._known.get(order.id, bar)
                order.follow(bar.close if self.whole_bars else seen.high if order.side < 0 else seen.low)
            if order.decided_at < bar.ends:
                order.rested = True
                if order.tif in ("ioc", "fok") and not order.is_stop:
                    self._end(order, "cancelled")
        self._expire(symbol, bar.ends)

    def _meet_open_together(self, symbol: str, bar: Candle) -> None:
        """At the open: stops that it crosses, then limits that it crosses, then market orders."""
        there = self._live(symbol)
        stops = [order for order in there if order.is_stop or order.stop is not None]
        limits = [order for order in there if order not in stops and order.limit is not None]
        for order in (*stops, *limits, *(order for order in there if order not in stops and order not in limits)):
            if order.is_open:
                self._meet_price(order, bar.open, bar, bar.begins)
        for order in there:
            if order.is_open and order.tif in ("ioc", "fok") and order.stop is None and not order.rested:
                self._end(order, "cancelled")

    def _meet_price(self, order: RefOrder, price: int, bar: Candle, time: int, entry: int | None = None) -> None:
        """Let an order meet one price, at which it may fill and no other."""
        side, was_stop = order.side, order.is_stop
        if was_stop:
            assert order.stop is not None
            if (price - order.stop) * side < 0:
                return
            order.triggered = True
        if order.limit is not None:
            better = (order.limit - price) * side
            if better < 0 or (better == 0 and order.rested and not was_stop):
                return
            if order.post_only and not order.rested:
                self._end(order, "cancelled" if order.filled else "rejected")
                return
        is_maker = order.rested and order.limit is not None and not was_stop
        self._fill(order, price, time, is_maker)
        self._wake(order, bar, entry, was_stop)

    def _meet_next_on_path(self, symbol: str, bar: Candle) -> bool:
        """After the open, every stop before any limit; of one side the nearer first. Return whether there was one."""
        reached: dict[bool, list[tuple[RefOrder, int]]] = {True: [], False: []}
        for order in self._live(symbol):
            if order.id in self._tried or (order.until is not None and order.until < bar.ends
                                           and order.id not in self._known):
                continue
            # The worst: a stop that the bar may have reached after its entry did; a target only if it surely did.
            seen = bar if order.is_stop else self._known.get(order.id, bar)
            level = order.stop if order.is_stop else order.limit
            if level is None:
                continue
            towards = order.side if order.is_stop else -order.side
            if (seen.high >= level) if towards > 0 else (seen.low <= level):
                reached[order.is_stop].append((order, level))
        candidates = reached[True] or reached[False]
        if not candidates:
            return False
        first = candidates[0][0]
        towards = first.side if first.is_stop else -first.side
        order, level = min((one for one in candidates if one[0].side == first.side), key=lambda one: one[1] * towards)
        self._tried.add(order.id)
        self._meet_path(order, level, self._known.get(order.id, bar), bar)
        return True

    def _meet_path(self, order: RefOrder, level: int, seen: Candle, bar: Candle) -> None:
        side, price, is_maker, was_stop = order.side, level, True, order.is_stop
        if was_stop:
            order.triggered, is_maker = True, False
            if order.limit is not None and (order.limit - level) * side < 0:
                if (order.limit - seen.close) * side <= 0:
                    return  # it rests as a limit: nothing proves that the price came back through it
                price = order.limit
        elif (seen.low if side > 0 else -seen.high) >= level * side:
            return  # touched, not traded through
        self._fill(order, price, bar.ends, is_maker)
        self._wake(order, bar, price, was_stop)

    def _meet_whole(self, order: RefOrder, bar: Candle) -> None:
        """Let an order meet the whole bar as one point (`path=queue`, touches fill, `falling_close`)."""
        side = order.side
        opened = bar.open * side
        depth, reach = sorted((bar.high * side, bar.low * side))
        if order.until is not None and order.until < bar.ends:
            return
        price, is_maker = opened, False
        if order.is_stop:
            if order.stop is None or reach < order.stop * side:
                return
            stop = order.stop * side
            order.triggered = True
            if order.limit is None:
                price = max(opened, stop)
            elif opened >= stop:
                if order.limit * side < depth:
                    return
                price = min(opened, order.limit * side)
            elif order.limit * side >= stop:
                price = stop
            else:
                turned = opened > bar.close * side or (bar.open == bar.close and side < 0)
                turned = bar.open > bar.close if side > 0 else turned
                if not turned or order.limit * side < bar.close * side:
                    return
                price = order.limit * side
        elif order.limit is not None:
            limit = order.limit * side
            crosses = opened <= limit
            if order.post_only and crosses and not order.rested:
                self._end(order, "cancelled" if order.filled else "rejected")
                return
            if depth > limit:
                return
            price, is_maker = (opened, order.rested) if crosses else (limit, True)
        at_open = price == opened
        self._fill(order, price * side, bar.begins if at_open else bar.ends, is_maker)
        self._wake(order, bar, price * side, False)

    # ── fills and what hangs together ───────────────────────────────────────────────────────────────────────────────

    def _fill(self, order: RefOrder, price: int, time: int, is_maker: bool) -> None:
        book, side, quantity = self.book, order.side, order.rest
        held = book.held.get(order.symbol, 0)
        if order.reduce_only:
            reducible = max(0, -held * side)
            if not reducible or (quantity > reducible and order.tif == "fok"):
                self._end(order, "cancelled")
                return
            order.quantity = order.filled + min(quantity, reducible)
            quantity = order.rest
        if self._volume_left is not None and quantity > self._volume_left:
            if order.tif == "fok":
                return
            quantity = self._volume_left
        if not quantity:
            return
        closing = min(quantity, max(0, -held * side))
        paid = quantity
        if quantity > closing:
            free = book.free_after_closing(order.symbol, closing, price)
            while paid > closing and (paid - closing) * price * 100 + self._fee(paid, price, is_maker) > free:
                paid -= 1
            if paid < quantity:
                if not paid or order.tif == "fok":
                    self._end(order, "cancelled")
                    return
                order.quantity = order.filled + paid
        order.filled += paid
        order.status = "filled" if not order.rest else "partially_filled"
        book.book(order.symbol, side, paid, price, self._fee(paid, price, is_maker))
        if self._volume_left is not None:
            self._volume_left -= paid
        self.fills.append(RefFill(order.id, time, side, price, paid, is_maker))
        if not order.rest:
            self.queue.remove(order)
        self._settle_links(order, paid)
        if held * side < 0 and paid >= abs(held):
            for child in [one for one in self.queue if one.symbol == order.symbol]:
                if child.is_open and child.reduce_only and child.parent and book.held[order.symbol] * child.side >= 0:
                    self._end(child, "cancelled")

    def _fee(self, quantity: int, price: int, is_maker: bool) -> int:
        return quantity * price * (1 if is_maker else 2)

    def _settle_links(self, order: RefOrder, quantity: int) -> None:
        if order.group is not None:
            for other in [one for one in self.orders if one.group == order.group and one is not order]:
                if not other.is_open and other.status != DORMANT:
                    continue
                if order.rest and other.side == order.side and other.rest > quantity:
                    other.quantity -= quantity
                else:
                    self._end(other, "cancelled")
        if order.parent is not None and order.parent.is_open:
            self._end(order.parent, "cancelled")

    def _wake(self, entry: RefOrder, bar: Candle, level: int | None, was_stop: bool) -> None:
        """Let the children of an entry protect what it has filled; they see the bar from `level` on, None: its open."""
        more, entry.protected = entry.filled - entry.protected, entry.filled
        if not more:
            return
        known = None if self.whole_bars else self._certain_after(entry, bar, level, was_stop)
        time = bar.begins if level is None else bar.ends
        for child in self._children(entry):
            if child.is_open:
                child.quantity += more
            if child.status != DORMANT:
                continue
            child.status, child.quantity = "accepted", min(child.quantity, entry.filled)
            self.queue.append(child)
            child.decided_at = bar.ends
            if child.trails:
                child.follow(child.last_close if self.whole_bars else bar.open if level is None else level)
            if known is not None:
                self._known[child.id] = known
                self._meet_price(child, known.open, bar, time, level)
                child.rested = True

    def _certain_after(self, entry: RefOrder, bar: Candle, level: int | None, was_stop: bool) -> Candle:
        """Return the prices known to have traded after an entry: all of the bar's if it filled at the open.

        The price passed a stop on its way up (for a buyer) to the high, a limit on its way down to the low; then came
        the close. Of a stop-limit that filled on the way back only the close is known.
        """
        if level is None:
            return bar
        high, low = max(level, bar.close), min(level, bar.close)
        if not was_stop:
            high, low = (high, bar.low) if entry.side > 0 else (bar.high, low)
        elif level == entry.stop:
            high, low = (bar.high, low) if entry.side > 0 else (high, bar.low)
        return bar._replace(open=level, high=high, low=low)

    def _children(self, order: RefOrder) -> list[RefOrder]:
        return [one for one in self.orders if one.parent is order]

    def _live(self, symbol: str) -> list[RefOrder]:
        return [order for order in self.queue if order.symbol == symbol]

    def _end(self, order: RefOrder, status: str) -> None:
        order.status = status
        if order in self.queue:
            self.queue.remove(order)
        for child in self._children(order):
            if not order.filled and child.status == DORMANT:
                self._end(child, "cancelled")

    def _expire(self, symbol: str, time: int) -> None:
        for order in self._live(symbol):
            if order.until is not None and order.until <= time:
                self._end(order, "expired")

    def state(self, order: RefOrder) -> tuple[Any, ...]:
        """Return what is compared of an order."""
        status = "accepted" if order.status == DORMANT else order.status
        return order.id, status, order.quantity, order.filled
