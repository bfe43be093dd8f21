"""The exchange behind a protocol: markets that play a file under virtual time, and the trading in them.

Nothing here knows of HTTP, and nothing here reads a clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from tests.venue.accounts import Account
from tests.venue.candles import Bars
from tests.venue.funding import INTERVAL, Funding
from tests.venue.instruments import Instrument
from tests.venue.market import Market
from tests.venue.orders import Status
from tests.venue.tape import Habits, Print
from tests.venue.trading import Listener, Rules, Trading


@dataclass(frozen=True)
class Listing:
    """An instrument and the bars that it plays; the first `history` of them are past at the start."""

    instrument: Instrument
    bars: Bars
    history: int


class Exchange:
    """See the module.

    Args:
        start: virtual time, in milliseconds; `duration`: of the bars.
        seed: of everything that is made up.
    """

    def __init__(self, listings: list[Listing], accounts: list[Account], *, start: int, duration: int, seed: int,
                 rules: Rules, habits: Habits) -> None:
        self.duration = duration
        self.seed = seed
        self.markets: dict[str, Market] = {}
        self.trading = Trading(rules, self.markets)
        self.trading.now = start
        self.trading.ledger.accounts = {account.name: account for account in accounts}
        for listing in listings:
            self.markets[listing.instrument.symbol] = Market(
                listing.instrument, listing.bars, listing.history, duration, seed=seed, habits=habits,
                on_match=self.trading.matched, on_self=self.trading.matched_self)
        self._places = list(self.markets.values())
        self.funding = Funding(self.trading, seed, min(int(listing.bars.open_time[0]) for listing in listings))
        self._events: list[tuple[int, int, Print, Iterator[Print]]] = []
        self._boundary = start - start % duration
        if self._boundary < start:
            self._boundary += duration

    @property
    def now(self) -> int:
        """Return virtual time, in milliseconds."""
        return self.trading.now

    @property
    def listeners(self) -> list[Listener]:
        return self.trading.listeners

    @property
    def is_over(self) -> bool:
        """Say whether every market has played its whole file."""
        return not self._events and all(market.is_over for market in self.markets.values())

    def by_key(self, key: str) -> Account | None:
        """Return the account that a key belongs to."""
        return next((account for account in self.trading.accounts.values() if account.key == key), None)

    def listed(self) -> list[Instrument]:
        """Return what can be looked up, in the order of the listings."""
        return [market.instrument for market in self._places if market.instrument.is_listed]

    def market(self, symbol: str | None) -> Market | None:
        """Return a listed market."""
        found = self.markets.get(symbol or "")
        return found if found is not None and found.instrument.is_listed else None

    def change_instrument(self, symbol: str, **fields: object) -> Instrument:
        """Change a market's filters or fees from now on; with is_trading=False its orders are cancelled."""
        market = self.markets[symbol]
        market.instrument = market.instrument.changed(**fields)
        if not market.instrument.is_trading:
            for order in list(market.clients.values()) + list(market.stops.values()):
                self.trading.close(order, Status.CANCELLED, "the market was closed")
        return market.instrument

    def delist(self, symbol: str) -> None:
        """Close a market and strike it from the list."""
        self.change_instrument(symbol, is_trading=False, is_listed=False)

    def play(self, time: int) -> None:
        """Let everything happen that happens up to and at a virtual time."""
        events = self._events
        while True:
            due = events[0][0] if events else time + 1
            if self._boundary <= min(due, time):
                self._turn(self._boundary)
                self._boundary += self.duration
                continue
            if due > time:
                break
            _, place, print_, rest = heapq.heappop(events)
            self.trading.now = due
            if (following := next(rest, None)) is not None:
                heapq.heappush(events, (following.time, place, following, rest))
            self._print(place, print_)
        self.trading.now = max(self.trading.now, time)

    def _print(self, place: int, print_: Print) -> None:
        market = self._places[place]
        if not market.instrument.is_trading:
            return
        trade = market.play(print_)
        if trade is not None:
            self.trading.printed(market, trade)
        self.trading.after_prints()

    def _turn(self, boundary: int) -> None:
        """Close the candles that end here, pay funding, and open the next bars."""
        self.trading.now = boundary
        if boundary % INTERVAL == 0:
            self.funding.pay(boundary)
        for place, market in enumerate(self._places):
            if (closed := market.candles.close()) is not None:
                for listener in self.listeners:
                    listener.on_bar_close(market, closed)
            if market.next_open == boundary:
                prints = market.next_prints()
                if (first := next(prints, None)) is not None:
                    heapq.heappush(self._events, (first.time, place, first, prints))
