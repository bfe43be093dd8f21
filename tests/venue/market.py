"""One market of the venue: what has printed, what is quoted, and the made-up participants who keep it alive.

As long as no client rests an order here, the book is the makers' ladder and is worked out when somebody looks. With a
client's order in it, it is a real `Book`: makers queue like everybody, and everything that prints goes through it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tests.venue.book import Book
from tests.venue.candles import Bars, Candles
from tests.venue.instruments import Instrument
from tests.venue.orders import Order, Side
from tests.venue.tape import Habits, Print, key_of, ladder, prints_of

Levels = list[tuple[int, int]]
KEPT_TRADES = 20_000
FIRST_ID = 1_000_001
SIDES: tuple[Side, Side] = ("buy", "sell")


class Trade(NamedTuple):
    """A public trade. Time in virtual milliseconds, price in ticks, quantity in lots; `side` is the taker's."""

    id: int
    time: int
    price: int
    quantity: int
    side: Side


class Market:
    """See the module.

    Args:
        bars: of the whole file; `rows` of them lie before the start.
        duration: of a bar, in milliseconds.
        seed: of the participants.
        on_match: settles one execution between two orders.
    """

    def __init__(self, instrument: Instrument, bars: Bars, rows: int, duration: int, *, seed: int, habits: Habits,
                 on_match: Callable[[Order, Order, int, int], None], on_self: Callable[[Order], None]) -> None:
        self.instrument = instrument
        self.candles = Candles(bars, rows, duration)
        self.trades: deque[Trade] = deque(maxlen=KEPT_TRADES)
        self.book: Book | None = None
        self.revision = FIRST_ID
        self.next_trade = FIRST_ID
        self.clients: dict[int, Order] = {}
        """The clients' open orders that rest in the book."""
        self.stops: dict[int, Order] = {}
        self._bars, self._row, self._duration = bars, rows, duration
        self._key = key_of(seed, instrument.symbol)
        self._habits = habits
        self._typical = max(1, int(np.median(bars.volume)) if len(bars.volume) else 1)
        self._bar_number = self._anchor_bar = 0
        start = int(bars.close[rows - 1]) if rows else int(bars.open[0])
        self._anchor = Print(int(bars.open_time[rows - 1]) + duration if rows else int(bars.open_time[0]), start, 0,
                             "buy")
        self._on_match, self._on_self = on_match, on_self
        self._pure: tuple[int, Levels, Levels] | None = None

    @property
    def last_price(self) -> int:
        """Return the price of the last print, in ticks."""
        return self.trades[-1].price if self.trades else self._anchor.price

    @property
    def next_open(self) -> int | None:
        """Return when the next bar of the file opens; None at the end of the file."""
        return int(self._bars.open_time[self._row]) if self._row < len(self._bars.open_time) else None

    @property
    def is_over(self) -> bool:
        return self._row >= len(self._bars.open_time)

    def next_prints(self) -> Iterator[Print]:
        """Take the file's next bar, and yield what prints in it."""
        bar = self._bars.at(self._row)
        self._row += 1
        self._bar_number = bar.open_time // self._duration
        prints = prints_of(bar, self._duration, self._key, self._habits)
        if not prints:
            self.candles.stand_still(bar.open_time, bar.close)
        return iter(prints)

    def record(self, time: int, price: int, quantity: int, side: Side) -> Trade:
        """Publish a trade: it gets its id and enters the candle."""
        trade = Trade(self.next_trade, time, price, quantity, side)
        self.next_trade += 1
        self.trades.append(trade)
        self.candles.print(time - time % self._duration, price, quantity, side == "buy")
        return trade

    # The made-up participants

    def play(self, anchor: Print) -> Trade | None:
        """Let the makers quote around a print and a taker make it. Returns the trade if no book was needed."""
        self._anchor, self._anchor_bar = anchor, self._bar_number
        self.revision += 1
        if self.book is not None and not self.clients:
            self.book = None
        if self.book is None:
            return self.record(*anchor)
        self._play_in_book(self.book, anchor)
        return None

    def _play_in_book(self, book: Book, anchor: Print) -> None:
        bids, asks = self._ladder()
        hit, other = ("sell", "buy") if anchor.side == "buy" else ("buy", "sell")
        target = {"buy": dict(bids), "sell": dict(asks)}
        for side in SIDES:
            self._trim(book, side, target[side])
        with_taken = dict(target[hit])
        with_taken[anchor.price] = with_taken.get(anchor.price, 0) + anchor.quantity
        self._top_up(book, hit, with_taken)
        taker = self._house_order(anchor.side, anchor.price, anchor.quantity)
        book.match(taker, self._on_match, self._on_self)
        self._trim(book, hit, target[hit])
        self._top_up(book, other, target[other])

    def _ladder(self) -> tuple[Levels, Levels]:
        return ladder(self._anchor, self._anchor_bar, self._typical, self._key, self._habits)

    def _house_order(self, side: Side, price: int, quantity: int) -> Order:
        return Order(0, "", self.instrument, "", side, "limit", "GTC", price, quantity, 0, 0)

    def _house(self, book: Book, side: Side) -> dict[int, list[Order]]:
        half = book.own(side)
        found = {price: [order for order in half.queue(price) if not order.account] for price in half.prices()}
        return {price: orders for price, orders in found.items() if orders}

    def _trim(self, book: Book, side: Side, target: dict[int, int]) -> None:
        """Take back what the makers quote beyond their target, the youngest first."""
        for price, orders in self._house(book, side).items():
            excess = sum(order.remaining for order in orders) - target.get(price, 0)
            for order in reversed(orders):
                if excess <= 0:
                    break
                taken = min(excess, order.remaining)
                excess -= taken
                if taken == order.remaining:
                    book.remove(order)
                else:
                    order.quantity -= taken

    def _top_up(self, book: Book, side: Side, target: dict[int, int]) -> None:
        """Quote what is missing, at the end of each level's queue; it may match what it meets."""
        quoted = self._house(book, side)
        for price, wanted in target.items():
            missing = wanted - sum(order.remaining for order in quoted.get(price, ()))
            if missing > 0:
                order = self._house_order(side, price, missing)
                book.match(order, self._on_match, self._on_self)
                if order.remaining == 0:
                    continue
                line = book.own(side).queue(price)
                if line and not line[-1].account:
                    line[-1].quantity += order.remaining
                else:
                    book.add(order)

    # The book

    def open_book(self) -> Book:
        """Return the real book, with the makers' quotes in it."""
        if self.book is None:
            self.book = Book()
            for side, levels in zip(SIDES, self._ladder(), strict=True):
                for price, quantity in levels:
                    self.book.add(self._house_order(side, price, quantity))
        return self.book

    def levels(self, limit: int | None = None) -> tuple[Levels, Levels]:
        """Return bids and asks, best first: price in ticks, lots."""
        if self.book is not None:
            return list(self.book.bids.levels())[:limit], list(self.book.asks.levels())[:limit]
        if self._pure is None or self._pure[0] != self.revision:
            self._pure = (self.revision, *self._ladder())
        return self._pure[1][:limit], self._pure[2][:limit]
