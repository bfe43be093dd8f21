"""Binance over websockets: market data below /stream, and the account's own through /ws-api."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tests.venue import binance_words as words
from tests.venue.accounts import Account
from tests.venue.binance_words import Refused, symbol_id
from tests.venue.candles import Candle
from tests.venue.clock import VenueClock
from tests.venue.exchange import Exchange
from tests.venue.faults import Faults
from tests.venue.front import Changed, Front, day_of, signed
from tests.venue.instruments import Instrument
from tests.venue.market import Market, Trade
from tests.venue.orders import Fill, Order
from tests.venue.streams import Connection, Message, message

RECEIVE_WINDOW = 5000


class BinanceStreams(Front):
    """See the module."""

    venue = "binance"
    words = words.WORDS

    def __init__(self, exchange: Exchange, clock: VenueClock, faults: Faults, closing: asyncio.Event,
                 failures: list[Exception]) -> None:
        super().__init__(exchange, clock, faults, closing, failures)
        self.symbols = {symbol_id(symbol): symbol for symbol, market in exchange.markets.items()
                         if self.serves(market.instrument)}

    def serves(self, instrument: Instrument) -> bool:
        return not instrument.is_perpetual

    def signed_in(self, key: str, text: str) -> Account:
        """Check key, signature and time of a signed request."""
        if not key:
            raise Refused(-2014, "API-key format invalid.", 401)
        account = self.exchange.by_key(key)
        if account is None:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        said, _, signature = text.rpartition("&signature=")
        if not signature:
            raise Refused(-1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
        if signed(account.secret, said) != signature:
            raise Refused(-1022, "Signature for this request is not valid.")
        self._check_time(dict(parse_qsl(said)))
        return account

    def _check_time(self, params: dict[str, str]) -> None:
        if not params.get("timestamp", "").isdigit():
            raise Refused(-1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
        stamp, window = int(params["timestamp"]), int(params.get("recvWindow", RECEIVE_WINDOW))
        if stamp >= self.clock.wall + 1000:
            raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if self.clock.wall - stamp > window:
            raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")

    def day_row(self, market: Market) -> dict[str, Any]:
        i, now = market.instrument, self.exchange.now
        day, began = day_of(market, now)
        bids, asks = market.levels(1)
        opened = day.open if day else market.last_price
        change, last = market.last_price - opened, market.last_price
        trade = market.trades[-1] if market.trades else None
        return {
            "symbol": symbol_id(i.symbol), "priceChange": i.price(change),
            "priceChangePercent": f"{100 * change / opened:.3f}",
            "weightedAvgPrice": format(Decimal(day.value) / day.volume * i.price_increment, ".8f")
            if day and day.volume else i.price(last),
            "prevClosePrice": i.price(opened), "lastPrice": i.price(last),
            "lastQty": i.quantity(trade.quantity if trade else 0),
            "bidPrice": i.price(bids[0][0] if bids else 0), "bidQty": i.quantity(bids[0][1] if bids else 0),
            "askPrice": i.price(asks[0][0] if asks else 0), "askQty": i.quantity(asks[0][1] if asks else 0),
            "openPrice": i.price(opened), "highPrice": i.price(day.high if day else last),
            "lowPrice": i.price(day.low if day else last), "volume": i.quantity(day.volume if day else 0),
            "quoteVolume": words.eight(i.value(day.value if day else 0)), "openTime": began, "closeTime": now,
            "firstId": -1, "lastId": market.next_trade - 1, "count": day.prints if day else 0}

    def on_stream(self, connection: Connection, text: str) -> None:
        asked = orjson.loads(text)
        if asked.get("method") == "SUBSCRIBE":
            for topic in asked["params"]:
                self._subscribe(connection, topic)
        elif asked.get("method") == "UNSUBSCRIBE":
            connection.topics.difference_update(asked["params"])
        connection.push(message({"result": None, "id": asked.get("id")}))

    def _subscribe(self, connection: Connection, topic: str) -> None:
        name, _, channel = topic.partition("@")
        symbol = self.symbols.get(name.upper())
        if symbol is None:
            return
        connection.topics.add(topic)
        if channel.startswith("kline_") and (duration := words.INTERVALS.get(channel[6:])) is not None:
            self.candle_topics[symbol, duration] = topic
        elif channel.startswith("depth"):
            self.depth(symbol)

    def on_ws_api(self, connection: Connection, text: str) -> None:
        asked = orjson.loads(text)
        identity, params = asked.get("id"), {name: str(value) for name, value in asked.get("params", {}).items()}
        try:
            if asked.get("method") != "userDataStream.subscribe.signature":
                raise Refused(-1000, f"This venue does not serve {asked.get('method')}.")
            signature = params.pop("signature", "")
            said = "&".join(f"{name}={params[name]}" for name in sorted(params))
            account = self.signed_in(params.get("apiKey", ""), f"{said}&signature={signature}")
        except Refused as refusal:
            connection.push(message({"id": identity, "status": refusal.status,
                                     "error": {"code": refusal.code, "msg": refusal.words}}))
            return
        connection.account = account.name
        connection.push(message({"id": identity, "status": 200, "result": {"subscriptionId": 0}}))

    def spread(self, topic: str, sent: Message) -> None:
        """Send to everybody who has asked for a topic."""
        for connection in self.hub.watched(topic):
            connection.push(sent)

    def send_trade(self, market: Market, trade: Trade) -> None:
        i = market.instrument
        name = symbol_id(i.symbol).lower()
        for channel in ("trade", "aggTrade"):
            if self.hub.watched(f"{name}@{channel}"):
                body = {"e": channel, "E": trade.time, "s": symbol_id(i.symbol), "p": i.price(trade.price),
                        "q": i.quantity(trade.quantity), "T": trade.time, "m": trade.side == "sell", "M": True}
                body |= ({"t": trade.id} if channel == "trade" else {"a": trade.id, "f": trade.id, "l": trade.id})
                self.spread(f"{name}@{channel}", message(body, "watch_trades", i.symbol))

    def send_candle(self, instrument: Instrument, duration: int, topic: str, candle: Candle, *,
                    is_closed: bool) -> None:
        event = words.kline_event(instrument, candle, duration, self.exchange.now, is_closed=is_closed)
        self.spread(topic, message(event, "watch_ohlcv", instrument.symbol, closes_candle=is_closed))

    def send_depth(self, instrument: Instrument, changed: Changed) -> None:
        name = symbol_id(instrument.symbol)
        sent = message({"e": "depthUpdate", "E": self.exchange.now, "s": name, "U": changed.first, "u": changed.last,
                        "b": words.book_side(instrument, changed.bids),
                        "a": words.book_side(instrument, changed.asks)}, "watch_order_book", instrument.symbol)
        for channel in ("depth", "depth@100ms"):
            self.spread(f"{name.lower()}@{channel}", sent)

    def send_ticker(self, market: Market) -> None:
        i = market.instrument
        name = symbol_id(i.symbol).lower()
        if self.hub.watched(f"{name}@ticker"):
            row = self.day_row(market)
            event = {"e": "24hrTicker", "E": self.exchange.now, "s": row["symbol"], "p": row["priceChange"],
                     "P": row["priceChangePercent"], "w": row["weightedAvgPrice"], "x": row.get("prevClosePrice"),
                     "c": row["lastPrice"], "Q": row["lastQty"], "b": row.get("bidPrice"), "B": row.get("bidQty"),
                     "a": row.get("askPrice"), "A": row.get("askQty"), "o": row["openPrice"], "h": row["highPrice"],
                     "l": row["lowPrice"], "v": row["volume"], "q": row["quoteVolume"], "O": row["openTime"],
                     "C": row["closeTime"], "F": row["firstId"], "L": row["lastId"], "n": row["count"]}
            self.spread(f"{name}@ticker", message(event, "watch_ticker", i.symbol))
        if self.hub.watched(f"{name}@miniTicker"):
            row = self.day_row(market)
            event = {"e": "24hrMiniTicker", "E": self.exchange.now, "s": row["symbol"], "c": row["lastPrice"],
                     "o": row["openPrice"], "h": row["highPrice"], "l": row["lowPrice"], "v": row["volume"],
                     "q": row["quoteVolume"]}
            self.spread(f"{name}@miniTicker", message(event, "watch_ticker", i.symbol))
        bids, asks = market.levels(1)
        if bids and asks and self.hub.watched(f"{name}@bookTicker"):
            event = {"e": "bookTicker", "E": self.exchange.now, "T": self.exchange.now, "u": market.revision,
                     "s": symbol_id(i.symbol), "b": i.price(bids[0][0]), "B": i.quantity(bids[0][1]),
                     "a": i.price(asks[0][0]), "A": i.quantity(asks[0][1])}
            self.spread(f"{name}@bookTicker", message(event, "watch_bids_asks", i.symbol))

    def send_order(self, connection: Connection, order: Order, what: str, fill: Fill | None) -> None:
        event = words.execution_report(order, what, fill, self.exchange.now)
        call = "watch_my_trades" if fill else "watch_orders"
        connection.push(message({"subscriptionId": 0, "event": event}, call, order.symbol))

    def send_balance(self, connection: Connection, account: Account, assets: tuple[str, ...]) -> None:
        event = words.account_position(account, assets, self.exchange.now)
        connection.push(message({"subscriptionId": 0, "event": event}, "watch_balance"))
