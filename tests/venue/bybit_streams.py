"""Bybit over websockets: /v5/public/spot, /v5/public/linear and /v5/private."""

from __future__ import annotations

from typing import Any

import orjson

from tests.venue import bybit_words as words
from tests.venue.accounts import Account
from tests.venue.bybit_words import category, symbol_id
from tests.venue.candles import Candle
from tests.venue.front import Changed, Front, day_of, signed
from tests.venue.instruments import Instrument
from tests.venue.market import Market, Trade
from tests.venue.orders import Fill, Order
from tests.venue.streams import Connection, message

DEPTHS = (1, 50, 200, 500, 1000)


class BybitStreams(Front):
    """See the module."""

    venue = "bybit"
    words = words.WORDS

    def symbol_named(self, kind: str, name: str) -> str | None:
        """Return the unified symbol of a category and a name."""
        return next((symbol for symbol, market in self.exchange.markets.items()
                     if symbol_id(symbol) == name and category(market.instrument) == kind), None)

    def funding_of(self, market: Market) -> Any:
        return self.exchange.funding.next_rate(market) if market.instrument.is_perpetual else None

    def on_text(self, connection: Connection, text: str) -> None:
        asked = orjson.loads(text)
        operation, identity = asked.get("op"), asked.get("req_id", "")
        match operation:
            case "ping":
                connection.push(message({"success": True, "ret_msg": "pong", "conn_id": "1", "req_id": identity,
                                         "op": "ping"}))
            case "auth":
                self._authorise(connection, asked["args"])
            case "subscribe":
                failed = next((said for topic in asked["args"] if (said := self._subscribe(connection, topic))), "")
                connection.push(message({"success": not failed, "ret_msg": failed, "conn_id": "1",
                                         "req_id": identity, "op": "subscribe"}))
                for topic in asked["args"] if not failed else ():
                    self._first(connection, topic)
            case "unsubscribe":
                kind = connection.path.rpartition("/")[2]
                connection.topics.difference_update(f"{kind}|{topic}" for topic in asked["args"])
                connection.push(message({"success": True, "ret_msg": "", "conn_id": "1", "req_id": identity,
                                         "op": "unsubscribe"}))
            case _:
                connection.push(message({"success": False, "ret_msg": "error:invalid op", "conn_id": "1",
                                         "request": asked}))

    def _authorise(self, connection: Connection, given: list[Any]) -> None:
        key, expires, signature = given
        account = self.exchange.by_key(key)
        code, said = 0, ""
        if account is None:
            code, said = 10003, "Invalid apikey"
        elif int(expires) < self.clock.wall:
            code, said = 10004, "Params Error: expired"
        elif signed(account.secret, f"GET/realtime{expires}") != signature:
            code, said = 10004, "Error sign, please check your signature generation algorithm."
        else:
            connection.account = account.name
        connection.push(message({"op": "auth", "success": code == 0, "retCode": code, "retMsg": said,
                                 "ret_msg": said, "connId": "1"}))

    def _subscribe(self, connection: Connection, topic: str) -> str:
        """Note a subscription; return what is wrong with it."""
        kind = connection.path.rpartition("/")[2]
        if kind == "private":
            if connection.account is None:
                return "Request not authorized"
            connection.topics.add(f"private|{topic}")
            return ""
        channel, *middle, name = topic.split(".")
        symbol = self.symbol_named(kind, name)
        if symbol is None:
            return f"error:handler not found,topic:{topic}"
        connection.topics.add(f"{kind}|{topic}")
        if channel == "kline" and (duration := words.INTERVALS.get(middle[0])) is not None:
            self.candle_topics[symbol, duration] = f"{kind}|{topic}"
        elif channel == "orderbook":
            self.depth(symbol)
        return ""

    def _first(self, connection: Connection, topic: str) -> None:
        """Send what a subscription begins with."""
        kind = connection.path.rpartition("/")[2]
        symbol = self.symbol_named(kind, topic.rpartition(".")[2])
        if symbol is None:
            return
        market = self.exchange.markets[symbol]
        if topic.startswith("orderbook"):
            feed, i = self.depth(symbol), market.instrument
            bids, asks = feed.snapshot()
            connection.push(message({"topic": topic, "type": "snapshot", "ts": self.exchange.now, "data": {
                "s": symbol_id(symbol), "b": words.book_side(i, bids), "a": words.book_side(i, asks),
                "u": feed.revision, "seq": feed.revision}, "cts": self.exchange.now}, "watch_order_book", symbol))
        elif topic.startswith("tickers"):
            connection.push(self._ticker(market))

    def _ticker(self, market: Market) -> Any:
        row = words.ticker_row(market, day_of(market, self.exchange.now)[0], self.funding_of(market))
        return message({"topic": f"tickers.{row['symbol']}", "type": "snapshot", "ts": self.exchange.now,
                        "cs": market.revision, "data": row}, "watch_ticker", market.instrument.symbol)

    def send_trade(self, market: Market, trade: Trade) -> None:
        i = market.instrument
        topic = f"publicTrade.{symbol_id(i.symbol)}"
        if watching := self.hub.watched(f"{category(i)}|{topic}"):
            sent = message({"topic": topic, "type": "snapshot", "ts": trade.time,
                            "data": [words.trade_event(i, trade)]}, "watch_trades", i.symbol)
            for connection in watching:
                connection.push(sent)

    def send_candle(self, instrument: Instrument, duration: int, topic: str, candle: Candle, *,
                    is_closed: bool) -> None:
        now = self.exchange.now
        sent = message({"topic": topic.partition("|")[2], "type": "snapshot", "ts": now, "data": [
            words.candle_event(instrument, candle, duration, now, is_closed=is_closed)]},
            "watch_ohlcv", instrument.symbol, closes_candle=is_closed)
        for connection in self.hub.watched(topic):
            connection.push(sent)

    def send_depth(self, instrument: Instrument, changed: Changed) -> None:
        data = {"s": symbol_id(instrument.symbol), "b": words.book_side(instrument, changed.bids),
                "a": words.book_side(instrument, changed.asks), "u": changed.last, "seq": changed.last}
        for depth in DEPTHS:
            topic = f"orderbook.{depth}.{symbol_id(instrument.symbol)}"
            for connection in self.hub.watched(f"{category(instrument)}|{topic}"):
                connection.push(message({"topic": topic, "type": "delta", "ts": self.exchange.now, "data": data,
                                         "cts": self.exchange.now}, "watch_order_book", instrument.symbol))

    def send_ticker(self, market: Market) -> None:
        watching = self.hub.watched(f"{category(market.instrument)}|tickers.{symbol_id(market.instrument.symbol)}")
        if watching:
            sent = self._ticker(market)
            for connection in watching:
                connection.push(sent)

    def send_order(self, connection: Connection, order: Order, what: str, fill: Fill | None) -> None:
        parts = [("order", "watch_orders", words.order_row(order))]
        if fill is not None:
            parts.append(("execution", "watch_my_trades", words.fill_row(order, fill)))
        for topic, call, row in parts:
            if f"private|{topic}" in connection.topics:
                connection.push(message({"topic": topic, "id": f"{order.id}-{self.exchange.now}", "data": [row],
                                         "creationTime": self.exchange.now}, call, order.symbol))

    def send_balance(self, connection: Connection, account: Account, assets: tuple[str, ...]) -> None:
        now = self.exchange.now
        if "private|wallet" in connection.topics:
            row = words.wallet(account, self.exchange.trading.ledger.unrealised(account), assets or None)
            connection.push(message({"topic": "wallet", "id": f"wallet-{now}", "creationTime": now, "data": [row]},
                                    "watch_balance"))
        if "private|position" in connection.topics and account.positions:
            rows = [words.position_row(account, self.exchange.markets[symbol], now) for symbol in account.positions]
            connection.push(message({"topic": "position", "id": f"position-{now}", "creationTime": now, "data": rows},
                                    "watch_positions"))
