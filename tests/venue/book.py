"""A limit order book with price-time priority. It knows orders, prices and quantities, and nothing of money.

Levels are kept in a dict by price beside a sorted list of prices; each level is a queue in the order of arrival.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator

from tests.venue.orders import Order, Side

Match = Callable[[Order, Order, int, int], None]
"""Called with the resting order, the incoming one, the price in ticks and the quantity in lots."""


class HalfBook:
    """One side. `sign` is 1 for bids (the highest price is best), -1 for asks."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self._keys: list[int] = []
        self._levels: dict[int, deque[Order]] = {}

    def best(self) -> int | None:
        """Return the best price, in ticks."""
        return -self.sign * self._keys[0] if self._keys else None

    def queue(self, price: int) -> deque[Order]:
        """Return the level's orders, first in line first."""
        return self._levels.get(price, deque())

    def prices(self) -> Iterator[int]:
        """Yield the prices, best first."""
        return (-self.sign * key for key in self._keys)

    def levels(self) -> Iterator[tuple[int, int]]:
        """Yield price and total quantity, best first."""
        return ((price, sum(order.remaining for order in self._levels[price])) for price in self.prices())

    def add(self, order: Order) -> None:
        assert order.price is not None
        if (level := self._levels.get(order.price)) is None:
            level = self._levels[order.price] = deque()
            insort(self._keys, -self.sign * order.price)
        level.append(order)

    def remove(self, order: Order) -> None:
        assert order.price is not None
        level = self._levels[order.price]
        level.remove(order)
        if not level:
            del self._levels[order.price]
            del self._keys[bisect_left(self._keys, -self.sign * order.price)]

    def reaches(self, price: int | None) -> bool:
        """Say whether the best price here would match an incoming order limited at `price` (None: any)."""
        best = self.best()
        return best is not None and (price is None or self.sign * (best - price) >= 0)


class Book:
    """Both sides of one market."""

    def __init__(self) -> None:
        self.bids = HalfBook(1)
        self.asks = HalfBook(-1)

    def own(self, side: Side) -> HalfBook:
        return self.bids if side == "buy" else self.asks

    def opposite(self, side: Side) -> HalfBook:
        return self.asks if side == "buy" else self.bids

    def add(self, order: Order) -> None:
        """Rest an order at the end of its level's queue."""
        self.own(order.side).add(order)

    def remove(self, order: Order) -> None:
        self.own(order.side).remove(order)

    def available(self, side: Side, price: int | None, *, but_not_of: str = "") -> int:
        """Return the lots an order of `side` limited at `price` could take now."""
        half, total = self.opposite(side), 0
        for level in half.prices():
            if price is not None and half.sign * (level - price) < 0:
                break
            total += sum(order.remaining for order in half.queue(level) if order.account != but_not_of)
        return total

    def cost(self, side: Side, lots: int) -> tuple[int, int]:
        """Return the lots a market order would get, and the ticks × lots it would cost, walking the book."""
        got = value = 0
        for price, quantity in self.opposite(side).levels():
            taken = min(quantity, lots - got)
            got, value = got + taken, value + taken * price
            if got == lots:
                break
        return got, value

    def affordable(self, side: Side, value: int, *, but_not_of: str = "") -> int:
        """Return the lots that so many ticks × lots would get, walking the book."""
        half, got = self.opposite(side), 0
        for price in half.prices():
            there = sum(order.remaining for order in half.queue(price) if order.account != but_not_of)
            taken = min(there, value // price)
            got, value = got + taken, value - taken * price
            if taken < there:
                break
        return got

    def match(self, incoming: Order, on_match: Match, on_self: Callable[[Order], None],
              limit: Callable[[int], int] | None = None) -> None:
        """Fill an incoming order against the other side, best price first, then first come first served.

        Args:
            on_match: settles one execution; it raises the `filled` of both.
            on_self: is told of a resting order of the same account, which leaves the book unfilled.
            limit: how many lots the incoming order can still take at a price; None means all that remains.
        """
        half = self.opposite(incoming.side)
        while incoming.remaining > 0 and half.reaches(incoming.price):
            price = half.best()
            assert price is not None
            resting = half.queue(price)[0]
            if resting.account == incoming.account and resting.account:
                half.remove(resting)
                on_self(resting)
                continue
            quantity = min(resting.remaining, incoming.remaining)
            if limit is not None and (quantity := min(quantity, limit(price))) <= 0:
                return
            if quantity == resting.remaining:
                half.remove(resting)
            on_match(resting, incoming, price, quantity)
