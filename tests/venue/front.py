"""What every protocol is made of: its door, its websockets, and what it must send when the exchange moves."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from aiohttp import web

from tests.venue.accounts import Account
from tests.venue.candles import TIMEFRAMES, Candle
from tests.venue.clock import VenueClock
from tests.venue.exchange import Exchange
from tests.venue.faults import Faults
from tests.venue.instruments import Instrument
from tests.venue.market import Levels, Market, Trade
from tests.venue.orders import Fill, Order
from tests.venue.streams import Connection, Hub
from tests.venue.web import Call, Endpoint, Gate, VenueWords

CORRECTION = {"corrected_candle": ""}


class Changed(NamedTuple):
    """What has changed in a book since the last message: price in ticks and lots, 0 where a level is gone."""

    first: int
    last: int
    before: int
    bids: Levels
    asks: Levels


class DepthFeed:
    """The book of one market as its subscribers know it."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self.revision = market.revision
        self._known = tuple(dict(side) for side in market.levels())

    def snapshot(self) -> tuple[Levels, Levels]:
        """Return the book as it was last published."""
        bids, asks = self._known
        return sorted(bids.items(), reverse=True), sorted(asks.items())

    def changed(self) -> Changed | None:
        """Return what has changed, and take it as published; None if nothing has."""
        if self._market.revision == self.revision:
            return None
        now = tuple(dict(side) for side in self._market.levels())
        bids, asks = (_difference(before, after) for before, after in zip(self._known, now, strict=True))
        if not bids and not asks:
            return None
        before, self.revision, self._known = self.revision, self._market.revision, now
        return Changed(before + 1, self.revision, before, bids, asks)


def _difference(before: dict[int, int], after: dict[int, int]) -> Levels:
    gone = [(price, 0) for price in before if price not in after]
    return gone + [(price, lots) for price, lots in after.items() if before.get(price) != lots]


class Front:
    """One venue behind one protocol. Protocols override what they send."""

    venue = ""
    words: VenueWords

    def __init__(self, exchange: Exchange, clock: VenueClock, faults: Faults, closing: asyncio.Event,
                 failures: list[Exception]) -> None:
        self.exchange, self.clock, self.faults = exchange, clock, faults
        self.gate = Gate(self.venue, self.words, faults, clock, closing, failures)
        self.hub = Hub(self.venue, faults, clock, failures)
        self.depths: dict[str, DepthFeed] = {}
        self.candle_topics: dict[tuple[str, int], str] = {}
        """The topics of watched candles, by symbol and duration."""
        self._moved: set[str] = set()
        exchange.listeners.append(self)

    def routes(self) -> list[web.RouteDef]:
        """Return what this venue serves, below its prefix."""
        raise NotImplementedError

    def symbol_of(self, call: Call) -> str | None:
        """Return the unified symbol that a call is about, if it is about one."""
        raise NotImplementedError

    def route(self, method: str, path: str, name: str, endpoint: Endpoint) -> web.RouteDef:
        return web.route(method, f"/{self.venue}{path}", self.gate.handler(name, endpoint, self.symbol_of))

    def socket(self, path: str, on_text: Callable[[Connection, str], None]) -> web.RouteDef:
        return web.get(f"/{self.venue}{path}", self.hub.handler(on_text))

    # What the exchange tells

    def serves(self, instrument: Instrument) -> bool:
        """Say whether this protocol tells of an instrument; others may share its exchange."""
        return True

    def on_trade(self, market: Market, trade: Trade) -> None:
        if not self.serves(market.instrument):
            return
        self._moved.add(market.instrument.symbol)
        self.send_trade(market, trade)

    def on_order(self, order: Order, what: str, fill: Fill | None) -> None:
        if not self.serves(order.instrument):
            return
        self._moved.add(order.symbol)
        for connection in self.hub.of(order.account):
            self.send_order(connection, order, what, fill)

    def on_balance(self, account: Account, assets: tuple[str, ...]) -> None:
        for connection in self.hub.of(account.name):
            self.send_balance(connection, account, assets)

    def on_bar_close(self, market: Market, candle: Candle) -> None:
        symbol, candles = market.instrument.symbol, market.candles
        for duration in TIMEFRAMES.values():
            topic = self.candle_topics.get((symbol, duration))
            ends = candle.open_time + candles.duration
            if topic is None or duration % candles.duration or ends % duration:
                continue
            closed = candles.take(duration, start=ends - duration, limit=1, forming=False)[-1]
            self.send_candle(market.instrument, duration, topic, closed, is_closed=True)
            fault = self.faults.take(CORRECTION, self.venue, "watch_ohlcv", symbol, self.exchange.now)
            if fault is not None:
                price = closed.close + fault.ticks
                right = closed._replace(close=price, high=max(closed.high, price), low=min(closed.low, price))
                if duration == candles.duration:
                    candles.correct(right)
                self.send_candle(market.instrument, duration, topic, right, is_closed=True)

    def pulse(self) -> None:
        """Send what is sent now and then: forming candles, tickers, changes of books."""
        moved, self._moved = self._moved, set()
        if not self.hub.connections:
            return
        for (symbol, duration), topic in self.candle_topics.items():
            market = self.exchange.market(symbol) if symbol in moved else None
            if market is not None and (forming := market.candles.current(duration)) is not None:
                self.send_candle(market.instrument, duration, topic, forming, is_closed=False)
        for symbol, feed in self.depths.items():
            market = self.exchange.market(symbol)
            if market is not None and (changed := feed.changed()) is not None:
                self.send_depth(market.instrument, changed)
        for symbol in sorted(moved):
            if (market := self.exchange.market(symbol)) is not None:
                self.send_ticker(market)

    def send_trade(self, market: Market, trade: Trade) -> None:
        raise NotImplementedError

    def send_order(self, connection: Connection, order: Order, what: str, fill: Fill | None) -> None:
        raise NotImplementedError

    def send_balance(self, connection: Connection, account: Account, assets: tuple[str, ...]) -> None:
        raise NotImplementedError

    def send_candle(self, instrument: Instrument, duration: int, topic: str, candle: Candle, *,
                    is_closed: bool) -> None:
        raise NotImplementedError

    def send_depth(self, instrument: Instrument, changed: Changed) -> None:
        raise NotImplementedError

    def send_ticker(self, market: Market) -> None:
        raise NotImplementedError

    def depth(self, symbol: str) -> DepthFeed:
        """Return the book that subscribers know, from now on kept for them."""
        if symbol not in self.depths:
            self.depths[symbol] = DepthFeed(self.exchange.markets[symbol])
        return self.depths[symbol]


def signed(secret: str, text: str) -> str:
    """Return the HMAC-SHA256 of a text, in hexadecimal."""
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest()


def day_of(market: Market, now: int) -> tuple[Candle | None, int]:
    """Return the last 24 hours as one candle, and when they began."""
    began = now - TIMEFRAMES["1d"]
    return market.candles.since(began), began
