"""Binance spot, as the ccxt client speaks it: /api/v3 over REST, /stream and /ws-api over websockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

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
from tests.venue.orders import Fill, Order, Rejected, Request
from tests.venue.streams import Connection, Message, message
from tests.venue.trading import Rules
from tests.venue.web import Answer, Call

RULES = Rules(ids_stay_taken=False, refuses_post_only=True)
RECEIVE_WINDOW = 5000
STOPS = {"STOP_LOSS": "market", "STOP_LOSS_LIMIT": "limit", "TAKE_PROFIT": "market", "TAKE_PROFIT_LIMIT": "limit"}
CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")

Private = Callable[[Account, dict[str, str]], Any]


class Binance(Front):
    """See the module."""

    venue = "binance"
    words = words.WORDS

    def __init__(self, exchange: Exchange, clock: VenueClock, faults: Faults, closing: asyncio.Event) -> None:
        super().__init__(exchange, clock, faults, closing)
        self._symbols = {symbol_id(symbol): symbol for symbol, market in exchange.markets.items()
                         if not market.instrument.is_perpetual}

    def routes(self) -> list[web.RouteDef]:
        public = [
            ("ping", "ping", lambda _: {}), ("time", "fetch_time", lambda _: {"serverTime": self.clock.wall}),
            ("exchangeInfo", "fetch_markets", self._exchange_info), ("klines", "fetch_ohlcv", self._klines),
            ("uiKlines", "fetch_ohlcv", self._klines), ("depth", "fetch_order_book", self._depth),
            ("trades", "fetch_trades", self._trades), ("historicalTrades", "fetch_trades", self._trades),
            ("aggTrades", "fetch_trades", self._aggregate_trades), ("ticker/24hr", "fetch_ticker", self._ticker),
            ("ticker/bookTicker", "fetch_bids_asks", self._book_ticker),
            ("ticker/price", "fetch_last_prices", self._price),
        ]
        private: list[tuple[str, str, str, Private]] = [
            ("GET", "account", "fetch_balance", lambda account, _: words.account_row(account, self.exchange.now)),
            ("POST", "order", "create_order", self._place), ("POST", "order/test", "create_order_test", self._test),
            ("DELETE", "order", "cancel_order", self._cancel), ("GET", "order", "fetch_order", self._order),
            ("GET", "openOrders", "fetch_open_orders", self._open_orders),
            ("DELETE", "openOrders", "cancel_all_orders", self._cancel_all),
            ("GET", "allOrders", "fetch_orders", self._all_orders),
            ("GET", "myTrades", "fetch_my_trades", self._my_trades),
            ("POST", "order/cancelReplace", "edit_order", self._cancel_replace),
            ("PUT", "order/amend/keepPriority", "amend_order", self._amend),
        ]
        base = "/api/v3/"
        return [
            *(self.route("GET", base + path, name, self._public(endpoint)) for path, name, endpoint in public),
            *(self.route(method, base + path, name, self._private(endpoint))
              for method, path, name, endpoint in private),
            self.route("GET", "/sapi/v1/account/apiRestrictions", "fetch_permissions", self._private(_permissions)),
            self.route("GET", "/sapi/v1/asset/tradeFee", "fetch_trading_fees", self._private(self._fees)),
            self.route("GET", "/sapi/v1/capital/config/getall", "fetch_currencies", self._private(lambda *_: [])),
            self.socket("/stream/ws/{rest:.*}", self._on_stream), self.socket("/stream/ws", self._on_stream),
            self.socket("/ws-api/v3", self._on_ws_api),
        ]

    def symbol_of(self, call: Call) -> str | None:
        return self._symbols.get(call.params.get("symbol", ""))

    # The door

    def _public(self, endpoint: Callable[[dict[str, str]], Any]) -> Callable[[Call], Answer]:
        return lambda call: _answered(lambda: endpoint(call.params))

    def _private(self, endpoint: Private) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            def work() -> Any:
                text = "&".join(part for part in (call.query, call.body) if part)
                account = self._signed_in(call.headers.get("X-MBX-APIKEY", ""), text)
                return endpoint(account, call.params)

            return _answered(work)

        return handle

    def _signed_in(self, key: str, text: str) -> Account:
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
        stamp, window = _integer(params, "timestamp"), int(params.get("recvWindow", RECEIVE_WINDOW))
        assert stamp is not None
        if stamp >= self.clock.wall + 1000:
            raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if self.clock.wall - stamp > window:
            raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _market(self, params: dict[str, str]) -> Market:
        if not params.get("symbol"):
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        market = self.exchange.market(self._symbols.get(params["symbol"]))
        if market is None:
            raise Refused(-1121, "Invalid symbol.")
        return market

    # Market data

    def _exchange_info(self, params: dict[str, str]) -> Any:
        listed = [instrument for instrument in self.exchange.listed() if not instrument.is_perpetual]
        if "symbol" in params:
            listed = [self._market(params).instrument]
        return {"timezone": "UTC", "serverTime": self.clock.wall, "exchangeFilters": [], "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}],
            "symbols": [words.market_info(instrument) for instrument in listed]}

    def _klines(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        duration = words.INTERVALS.get(params.get("interval", ""))
        if duration is None or duration % market.candles.duration:
            raise Refused(-1120, "Invalid interval.")
        limit = min(_integer(params, "limit", 500) or 500, 1000)
        candles = market.candles.take(duration, start=_integer(params, "startTime", None),
                                      end=_integer(params, "endTime", None), limit=limit)
        return [words.kline(market.instrument, candle, duration) for candle in candles]

    def _depth(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        bids, asks = market.levels(min(_integer(params, "limit", 100) or 100, 5000))
        return {"lastUpdateId": market.revision, "bids": words.book_side(market.instrument, bids),
                "asks": words.book_side(market.instrument, asks)}

    def _trades(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        limit, first = min(_integer(params, "limit", 500) or 500, 1000), _integer(params, "fromId", None)
        found = [trade for trade in market.trades if first is None or trade.id >= first]
        found = found[-limit:] if first is None else found[:limit]
        return [words.trade_row(market.instrument, trade) for trade in found]

    def _aggregate_trades(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        limit = min(_integer(params, "limit", 500) or 500, 1000)
        first, start, end = (_integer(params, name, None) for name in ("fromId", "startTime", "endTime"))
        found = [trade for trade in market.trades if (first is None or trade.id >= first)
                 and (start is None or trade.time >= start) and (end is None or trade.time <= end)]
        found = found[-limit:] if first is None and start is None else found[:limit]
        return [words.aggregate_trade(market.instrument, trade) for trade in found]

    def _ticker(self, params: dict[str, str]) -> Any:
        if "symbol" in params:
            return self._day(self._market(params))
        return [self._day(self.exchange.markets[instrument.symbol]) for instrument in self.exchange.listed()
                if not instrument.is_perpetual]

    def _day(self, market: Market) -> dict[str, Any]:
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
            "firstId": -1, "lastId": market.next_trade - 1, "count": day.count if day else 0}

    def _book_ticker(self, params: dict[str, str]) -> Any:
        markets = [self._market(params)] if "symbol" in params else [
            self.exchange.markets[instrument.symbol] for instrument in self.exchange.listed()
            if not instrument.is_perpetual]
        rows = [{"symbol": row["symbol"], **{name: row[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")}}
                for row in map(self._day, markets)]
        return rows[0] if "symbol" in params else rows

    def _price(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        return {"symbol": params["symbol"], "price": market.instrument.price(market.last_price)}

    # Orders

    def _request(self, params: dict[str, str]) -> Request:
        market = self._market(params)
        kind, side = params.get("type", ""), params.get("side", "").lower()
        if side not in ("buy", "sell"):
            raise Refused(-1117, "Invalid side.")
        if kind not in ("MARKET", "LIMIT", "LIMIT_MAKER", *STOPS):
            raise Refused(-1116, "Invalid orderType.")
        client_id = params.get("newClientOrderId", "")
        if client_id and not CLIENT_ID.fullmatch(client_id):
            raise Refused(-1100, "Illegal characters found in parameter 'newClientOrderId'; legal range is "
                                 "'^[a-zA-Z0-9-_]{1,36}$'.")
        is_limit = kind in ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
        price = _decimal(params, "price") if is_limit else None
        if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT") and (
                params.get("timeInForce") not in ("GTC", "IOC", "FOK")):
            raise Refused(-1115, "Invalid timeInForce.")
        spends = kind == "MARKET" and "quoteOrderQty" in params
        above = None
        if kind in STOPS:
            above = (side == "buy") == kind.startswith("STOP_LOSS")
        return Request(
            market.instrument.symbol, side, "limit" if is_limit else "market",
            quantity=None if spends else _decimal(params, "quantity"), price=price,
            time_in_force="POST" if kind == "LIMIT_MAKER" else params.get("timeInForce", "GTC"),
            client_id=client_id or f"web_{self.exchange.now}_{len(self.exchange.trading.orders)}",
            stop_price=_decimal(params, "stopPrice") if kind in STOPS else None, triggers_above=above,
            quote_quantity=_decimal(params, "quoteOrderQty") if spends else None, label=kind)

    def _place(self, account: Account, params: dict[str, str]) -> Any:
        order = self.exchange.trading.place(account, self._request(params))
        kind = params.get("newOrderRespType", "FULL" if params["type"] in ("MARKET", "LIMIT") else "ACK")
        return words.placed_row(order, self.exchange.now, full=kind == "FULL")

    def _test(self, account: Account, params: dict[str, str]) -> Any:
        self._request(params)
        return {}

    def _find(self, account: Account, params: dict[str, str], *, by: str = "orderId",
              by_client: str = "origClientOrderId") -> Order | None:
        market = self._market(params)
        if params.get(by):
            order = self.exchange.trading.by_id(account, _integer(params, by) or 0)
        elif params.get(by_client):
            order = self.exchange.trading.by_client_id(account, params[by_client])
        else:
            raise Refused(-1102, f"Param '{by_client}' or '{by}' must be sent, but both were empty/null!")
        return order if order is not None and order.symbol == market.instrument.symbol else None

    def _order(self, account: Account, params: dict[str, str]) -> Any:
        if (order := self._find(account, params)) is None:
            raise Refused(-2013, "Order does not exist.")
        return words.order_row(order)

    def _cancel(self, account: Account, params: dict[str, str]) -> Any:
        order = self.exchange.trading.cancel(account, self._find(account, params))
        return words.cancelled_row(order, self.exchange.now)

    def _cancel_all(self, account: Account, params: dict[str, str]) -> Any:
        open_orders = self.exchange.trading.open_orders(account, self._market(params).instrument.symbol)
        if not open_orders:
            raise Refused(-2011, "Unknown order sent.")
        return [words.cancelled_row(self.exchange.trading.cancel(account, order), self.exchange.now)
                for order in open_orders]

    def _cancel_replace(self, account: Account, params: dict[str, str]) -> Any:
        old = self._find(account, params, by="cancelOrderId", by_client="cancelOrigClientOrderId")
        request = self._request(params)
        try:
            cancelled = self.exchange.trading.cancel(account, old)
        except Rejected as refusal:
            raise Refused(-2022, "Order cancel-replace failed.") from refusal
        placed = self.exchange.trading.place(account, request)
        return {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS",
                "cancelResponse": words.cancelled_row(cancelled, self.exchange.now),
                "newOrderResponse": words.placed_row(placed, self.exchange.now, full=True)}

    def _amend(self, account: Account, params: dict[str, str]) -> Any:
        order = self._find(account, params)
        quantity = _decimal(params, "newQty")
        if order is not None and quantity >= order.quantity * order.instrument.quantity_increment:
            raise Refused(-2038, "The requested action would change no state; rejecting.")
        amended = self.exchange.trading.amend(account, order, quantity=quantity)
        return {"transactTime": self.exchange.now, "executionId": amended.amendments,
                "amendedOrder": words.order_row(amended)}

    def _open_orders(self, account: Account, params: dict[str, str]) -> Any:
        symbol = self._market(params).instrument.symbol if params.get("symbol") else None
        return [words.order_row(order) for order in self.exchange.trading.open_orders(account, symbol)]

    def _all_orders(self, account: Account, params: dict[str, str]) -> Any:
        market, limit = self._market(params), _integer(params, "limit", 500) or 500
        first, start, end = (_integer(params, name, None) for name in ("orderId", "startTime", "endTime"))
        found = [order for order in self.exchange.trading.orders_of(account, market.instrument.symbol)
                 if (first is None or order.id >= first) and (start is None or order.created >= start)
                 and (end is None or order.created <= end)]
        found = found[-limit:] if first is None and start is None else found[:limit]
        return [words.order_row(order) for order in found]

    def _my_trades(self, account: Account, params: dict[str, str]) -> Any:
        market, limit = self._market(params), _integer(params, "limit", 500) or 500
        first, start, end, of = (_integer(params, name, None) for name in ("fromId", "startTime", "endTime", "orderId"))
        found = [(order, fill) for order, fill in self.exchange.trading.fills_of(account, market.instrument.symbol)
                 if (first is None or fill.trade_id >= first) and (start is None or fill.time >= start)
                 and (end is None or fill.time <= end) and (of is None or order.id == of)]
        found = found[-limit:] if first is None and start is None else found[:limit]
        return [words.fill_row(order, fill) for order, fill in found]

    def _fees(self, account: Account, params: dict[str, str]) -> Any:
        return [{"symbol": symbol_id(i.symbol), "makerCommission": str(i.maker_fee),
                 "takerCommission": str(i.taker_fee)} for i in self.exchange.listed() if not i.is_perpetual]

    # Websockets

    def _on_stream(self, connection: Connection, text: str) -> None:
        asked = orjson.loads(text)
        if asked.get("method") == "SUBSCRIBE":
            for topic in asked["params"]:
                self._subscribe(connection, topic)
        elif asked.get("method") == "UNSUBSCRIBE":
            connection.topics.difference_update(asked["params"])
        connection.push(message({"result": None, "id": asked.get("id")}))

    def _subscribe(self, connection: Connection, topic: str) -> None:
        name, _, channel = topic.partition("@")
        symbol = self._symbols.get(name.upper())
        if symbol is None:
            return
        connection.topics.add(topic)
        if channel.startswith("kline_") and (duration := words.INTERVALS.get(channel[6:])) is not None:
            self.candle_topics[symbol, duration] = topic
        elif channel.startswith("depth"):
            self.depth(symbol)

    def _on_ws_api(self, connection: Connection, text: str) -> None:
        asked = orjson.loads(text)
        identity, params = asked.get("id"), {name: str(value) for name, value in asked.get("params", {}).items()}
        try:
            if asked.get("method") != "userDataStream.subscribe.signature":
                raise Refused(-1000, f"This venue does not serve {asked.get('method')}.")
            signature = params.pop("signature", "")
            said = "&".join(f"{name}={params[name]}" for name in sorted(params))
            account = self._signed_in(params.get("apiKey", ""), f"{said}&signature={signature}")
        except Refused as refusal:
            connection.push(message({"id": identity, "status": refusal.status,
                                     "error": {"code": refusal.code, "msg": refusal.words}}))
            return
        connection.account = account.name
        connection.push(message({"id": identity, "status": 200, "result": {"subscriptionId": 0}}))

    def _spread(self, topic: str, sent: Message) -> None:
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
                self._spread(f"{name}@{channel}", message(body, "watch_trades", i.symbol))

    def send_candle(self, instrument: Instrument, duration: int, topic: str, candle: Candle, *,
                    is_closed: bool) -> None:
        event = words.kline_event(instrument, candle, duration, self.exchange.now, is_closed=is_closed)
        self._spread(topic, message(event, "watch_ohlcv", instrument.symbol, closes_candle=is_closed))

    def send_depth(self, instrument: Instrument, changed: Changed) -> None:
        name = symbol_id(instrument.symbol)
        sent = message({"e": "depthUpdate", "E": self.exchange.now, "s": name, "U": changed.first, "u": changed.last,
                        "b": words.book_side(instrument, changed.bids),
                        "a": words.book_side(instrument, changed.asks)}, "watch_order_book", instrument.symbol)
        for channel in ("depth", "depth@100ms"):
            self._spread(f"{name.lower()}@{channel}", sent)

    def send_ticker(self, market: Market) -> None:
        i = market.instrument
        name = symbol_id(i.symbol).lower()
        if self.hub.watched(f"{name}@ticker"):
            row = self._day(market)
            event = {"e": "24hrTicker", "E": self.exchange.now, "s": row["symbol"], "p": row["priceChange"],
                     "P": row["priceChangePercent"], "w": row["weightedAvgPrice"], "x": row["prevClosePrice"],
                     "c": row["lastPrice"], "Q": row["lastQty"], "b": row["bidPrice"], "B": row["bidQty"],
                     "a": row["askPrice"], "A": row["askQty"], "o": row["openPrice"], "h": row["highPrice"],
                     "l": row["lowPrice"], "v": row["volume"], "q": row["quoteVolume"], "O": row["openTime"],
                     "C": row["closeTime"], "F": row["firstId"], "L": row["lastId"], "n": row["count"]}
            self._spread(f"{name}@ticker", message(event, "watch_ticker", i.symbol))
        if self.hub.watched(f"{name}@miniTicker"):
            row = self._day(market)
            event = {"e": "24hrMiniTicker", "E": self.exchange.now, "s": row["symbol"], "c": row["lastPrice"],
                     "o": row["openPrice"], "h": row["highPrice"], "l": row["lowPrice"], "v": row["volume"],
                     "q": row["quoteVolume"]}
            self._spread(f"{name}@miniTicker", message(event, "watch_ticker", i.symbol))
        if self.hub.watched(f"{name}@bookTicker"):
            row = self._day(market)
            event = {"u": market.revision, "s": row["symbol"], "b": row["bidPrice"], "B": row["bidQty"],
                     "a": row["askPrice"], "A": row["askQty"]}
            self._spread(f"{name}@bookTicker", message(event, "watch_bids_asks", i.symbol))

    def send_order(self, connection: Connection, order: Order, what: str, fill: Fill | None) -> None:
        event = words.execution_report(order, what, fill, self.exchange.now)
        call = "watch_my_trades" if fill else "watch_orders"
        connection.push(message({"subscriptionId": 0, "event": event}, call, order.symbol))

    def send_balance(self, connection: Connection, account: Account, assets: tuple[str, ...]) -> None:
        event = words.account_position(account, assets, self.exchange.now)
        connection.push(message({"subscriptionId": 0, "event": event}, "watch_balance"))


def _answered(work: Callable[[], Any]) -> Answer:
    try:
        return Answer.json(work())
    except Rejected as refusal:
        code, text = words.REFUSALS[refusal.reason]
        return Answer.json({"code": code, "msg": text}, 400)
    except Refused as refusal:
        return Answer.json({"code": refusal.code, "msg": refusal.words}, refusal.status)


def _permissions(account: Account, params: dict[str, str]) -> Any:
    return {"ipRestrict": False, "createTime": 1_600_000_000_000, "enableReading": True,
            "enableWithdrawals": account.can_withdraw, "enableInternalTransfer": False, "enableMargin": False,
            "enableFutures": False, "permitsUniversalTransfer": False, "enableVanillaOptions": False,
            "enableSpotAndMarginTrading": True, "enablePortfolioMarginTrading": False}


def _integer(params: dict[str, str], name: str, *default: int | None) -> int | None:
    if name not in params and default:
        return default[0]
    try:
        return int(params[name])
    except (KeyError, ValueError):
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.") from None


def _decimal(params: dict[str, str], name: str) -> Decimal:
    try:
        number = Decimal(params[name])
    except (KeyError, InvalidOperation):
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.") from None
    if not number.is_finite() or number < 0:
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'.")
    if -number.normalize().as_tuple().exponent > 8:  # type: ignore[operator]
        raise Refused(-1111, f"Parameter '{name}' has too much precision.")
    return number
