"""What really happened at the venue, for tests to compare with what a client believes. Callable from any thread."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from decimal import Decimal
from typing import Any, TypeVar

from tests.venue.accounts import Account, Balance
from tests.venue.candles import TIMEFRAMES, Candle
from tests.venue.exchange import Exchange
from tests.venue.market import Levels, Trade
from tests.venue.orders import Fill, Order

T = TypeVar("T")
Dispatch = Callable[[Callable[[], Any]], Any]


class Truth:
    """One venue. What it returns is a copy, and stays as it was."""

    def __init__(self, exchange: Exchange, dispatch: Dispatch) -> None:
        self._exchange, self._dispatch = exchange, dispatch

    def orders(self, account: str = "main", symbol: str | None = None) -> list[Order]:
        """Return every order the venue has taken, oldest first."""
        return self._ask(lambda: [_kept(order) for order in
                                  self._exchange.trading.orders_of(self._account(account), symbol)])

    def open_orders(self, account: str = "main", symbol: str | None = None) -> list[Order]:
        return [order for order in self.orders(account, symbol) if order.status.is_open]

    def by_client_id(self, client_id: str, account: str = "main") -> list[Order]:
        """Return every order under a client order id: more than one is a duplicate."""
        return [order for order in self.orders(account) if order.client_id == client_id]

    def fills(self, account: str = "main", symbol: str | None = None) -> list[Fill]:
        """Return every fill, in the order of the trades."""
        return self._ask(lambda: [fill for _, fill in
                                  self._exchange.trading.fills_of(self._account(account), symbol)])

    def balances(self, account: str = "main") -> dict[str, Balance]:
        return self._ask(lambda: dict(self._account(account).balances))

    def balance(self, asset: str, account: str = "main") -> Balance:
        return self._ask(lambda: self._account(account).balance(asset))

    def positions(self, account: str = "main") -> dict[str, Decimal]:
        """Return the signed quantity held of each perpetual, in the venue's unit; none that are flat."""
        def read() -> dict[str, Decimal]:
            markets = self._exchange.markets
            return {symbol: position.lots * markets[symbol].instrument.quantity_increment
                    for symbol, position in self._account(account).positions.items() if position.lots}

        return self._ask(read)

    def total_of(self, asset: str) -> Decimal:
        """Return what there is of an asset at the venue: accounts, house and fees; it never changes by trading."""
        return self._ask(lambda: self._exchange.trading.ledger.total_of(asset))

    def trades(self, symbol: str) -> list[Trade]:
        """Return the public trades, oldest first, as far as they are kept."""
        return self._ask(lambda: list(self._exchange.markets[symbol].trades))

    def candles(self, symbol: str, timeframe: str = "1m", limit: int = 1_000_000) -> list[Candle]:
        """Return the closed candles, oldest first."""
        return self._ask(lambda: self._exchange.markets[symbol].candles.take(
            TIMEFRAMES[timeframe], limit=limit, forming=False))

    def levels(self, symbol: str) -> tuple[Levels, Levels]:
        """Return bids and asks, best first: price in ticks, lots."""
        return self._ask(lambda: self._exchange.markets[symbol].levels())

    def last_price(self, symbol: str) -> Decimal:
        def read() -> Decimal:
            market = self._exchange.markets[symbol]
            return market.last_price * market.instrument.price_increment

        return self._ask(read)

    def _account(self, name: str) -> Account:
        return self._exchange.trading.accounts[name]

    def _ask(self, read: Callable[[], T]) -> T:
        return self._dispatch(read)


def _kept(order: Order) -> Order:
    kept = copy(order)
    kept.fills = list(order.fills)
    return kept
