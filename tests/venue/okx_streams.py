"""OKX over websockets: /ws/v5/public, /business (candles) and /private."""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256
from typing import Any

import orjson

from tests.venue import okx_words as words
from tests.venue.accounts import Account
from tests.venue.candles import Candle
from tests.venue.front import Changed, Front, day_of
from tests.venue.instruments import Instrument
from tests.venue.market import Market, Trade
from tests.venue.okx_words import inst_id
from tests.venue.orders import Fill, Order
from tests.venue.streams import Connection, message

BOOKS = ("books", "books-l2-tbt", "books50-l2-tbt")


def sign(secret: str, text: str) -> str:
    """Return OKX's signature of a text."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), sha256).digest()).decode()


class OkxStreams(Front):
    """See the module."""

    venue = "okx"
    words = words.WORDS

    def symbol_named(self, name: str) -> str | None:
        """Return the unified symbol of an instId."""
        return next((symbol for symbol in self.exchange.markets if inst_id(symbol) == name), None)

    def on_text(self, connection: Connection, text: str) -> None:
        if text == "ping":
            connection.push(message("pong")._replace(text="pong"))
            return
        asked = orjson.loads(text)
        match asked.get("op"):
            case "login":
                self._log_in(connection, asked["args"][0])
            case "subscribe":
                for arg in asked["args"]:
                    self._subscribe(connection, arg, asked.get("id"))
            case "unsubscribe":
                for arg in asked["args"]:
                    connection.topics.discard(_topic(arg))
                    connection.push(message({"event": "unsubscribe", "arg": arg, "connId": "1"}))
            case other:
                connection.push(message({"event": "error", "code": "60012", "msg": f"Illegal request: {other}",
                                         "connId": "1"}))

    def _log_in(self, connection: Connection, given: dict[str, str]) -> None:
        account = self.exchange.by_key(given["apiKey"])
        code, said = "0", ""
        if account is None:
            code, said = "60005", "Invalid apiKey"
        elif account.passphrase != given["passphrase"]:
            code, said = "60024", "Wrong passphrase"
        elif abs(self.clock.wall / 1000 - float(given["timestamp"])) > 30:
            code, said = "60006", "Timestamp request expired"
        elif sign(account.secret, f"{given['timestamp']}GET/users/self/verify") != given["sign"]:
            code, said = "60007", "Invalid sign"
        if code == "0" and account is not None:
            connection.account = account.name
        connection.push(message({"event": "login" if code == "0" else "error", "code": code, "msg": said,
                                 "connId": "1"}))

    def _subscribe(self, connection: Connection, arg: dict[str, str], identity: str | None) -> None:
        channel, symbol = arg["channel"], self.symbol_named(arg.get("instId", ""))
        private = channel in ("orders", "orders-algo", "account", "positions")
        if private and connection.account is None:
            connection.push(message({"event": "error", "code": "60011", "msg": "Please log in", "connId": "1"}))
            return
        if not private and symbol is None:
            connection.push(message({"event": "error", "code": "60018", "connId": "1", "msg":
                                     f"Wrong URL or channel:{channel},instId:{arg.get('instId')} doesn't exist."}))
            return
        connection.topics.add(_topic(arg))
        sent: dict[str, Any] = {"event": "subscribe", "arg": arg, "connId": "1"}
        connection.push(message(sent | ({"id": identity} if identity else {})))
        if channel.startswith("candle") and symbol and (duration := words.BARS.get(channel[6:])):
            self.candle_topics[symbol, duration] = _topic(arg)
        elif channel in BOOKS and symbol:
            self._snapshot(connection, arg, symbol)
        elif channel == "account" and connection.account:
            account = self.exchange.trading.accounts[connection.account]
            connection.push(message({"arg": arg, "data": words.balance_rows(account, self.exchange.now)},
                                    "watch_balance"))

    def _snapshot(self, connection: Connection, arg: dict[str, str], symbol: str) -> None:
        feed, i = self.depth(symbol), self.exchange.markets[symbol].instrument
        bids, asks = feed.snapshot()
        connection.push(message({"arg": arg, "action": "snapshot", "data": [{
            "asks": words.book_side(i, asks), "bids": words.book_side(i, bids), "ts": str(self.exchange.now),
            "prevSeqId": -1, "seqId": feed.revision}]}, "watch_order_book", symbol))

    def _spread(self, channel: str, instrument: Instrument, data: Any, call: str, *, action: str = "",
                closes_candle: bool = False) -> None:
        arg = {"channel": channel, "instId": inst_id(instrument.symbol)}
        watching = self.hub.watched(_topic(arg))
        if watching:
            content = {"arg": arg, **({"action": action} if action else {}), "data": data}
            sent = message(content, call, instrument.symbol, closes_candle=closes_candle)
            for connection in watching:
                connection.push(sent)

    def send_trade(self, market: Market, trade: Trade) -> None:
        if self.hub.connections:
            row = words.trade_row(market.instrument, trade) | {"count": "1"}
            for channel in ("trades", "trades-all"):
                self._spread(channel, market.instrument, [row], "watch_trades")

    def send_candle(self, instrument: Instrument, duration: int, topic: str, candle: Candle, *,
                    is_closed: bool) -> None:
        self._spread(topic.partition(":")[0], instrument, [words.candle_row(instrument, candle, is_closed=is_closed)],
                     "watch_ohlcv", closes_candle=is_closed)

    def send_depth(self, instrument: Instrument, changed: Changed) -> None:
        data = [{"asks": words.book_side(instrument, changed.asks), "bids": words.book_side(instrument, changed.bids),
                 "ts": str(self.exchange.now), "prevSeqId": changed.before, "seqId": changed.last}]
        for channel in BOOKS:
            self._spread(channel, instrument, data, "watch_order_book", action="update")

    def send_ticker(self, market: Market) -> None:
        i = market.instrument
        if self.hub.watched(f"tickers:{inst_id(i.symbol)}"):
            row = words.ticker_row(market, day_of(market, self.exchange.now)[0], self.exchange.now)
            self._spread("tickers", i, [row], "watch_ticker")
        bids, asks = market.levels(1)
        self._spread("bbo-tbt", i, [{"asks": words.book_side(i, asks), "bids": words.book_side(i, bids),
                                     "ts": str(self.exchange.now), "seqId": market.revision}], "watch_order_book")

    def send_order(self, connection: Connection, order: Order, what: str, fill: Fill | None) -> None:
        if order.stop is not None and not order.is_triggered:
            return
        for topic in sorted(connection.topics):
            channel, _, rest = topic.partition(":")
            if channel == "orders" and rest in ("ANY", words.inst_type(order.instrument),
                                                inst_id(order.symbol)):
                arg = {"channel": "orders", "instType": rest if rest in ("ANY", "SPOT", "SWAP") else
                       words.inst_type(order.instrument), "uid": "1"}
                call = "watch_my_trades" if fill else "watch_orders"
                connection.push(message({"arg": arg, "data": [words.channel_row(order, fill)]}, call, order.symbol))
                return

    def send_balance(self, connection: Connection, account: Account, assets: tuple[str, ...]) -> None:
        if "account:" in connection.topics:
            rows = words.balance_rows(account, self.exchange.now, assets)
            connection.push(message({"arg": {"channel": "account", "uid": "1"}, "data": rows}, "watch_balance"))
        if any(topic.startswith("positions") for topic in connection.topics):
            rows = words.position_rows(account, self.exchange.markets, self.exchange.now)
            connection.push(message({"arg": {"channel": "positions", "instType": "ANY", "uid": "1"}, "data": rows},
                                    "watch_positions"))


def _topic(arg: dict[str, str]) -> str:
    return f"{arg['channel']}:{arg.get('instId') or arg.get('instType', '')}"
