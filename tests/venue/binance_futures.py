"""Binance's USDT-margined perpetuals, as the ccxt client speaks them: /fapi over REST, and /fstream over websockets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aiohttp import web

from tests.venue import binance_futures_words as words
from tests.venue.accounts import Account
from tests.venue.binance import Binance, Private, answered, decimal, integer
from tests.venue.binance_words import Refused, book_side, symbol_id
from tests.venue.front import Changed
from tests.venue.instruments import Instrument
from tests.venue.market import Market
from tests.venue.orders import Fill, Order, Request
from tests.venue.streams import Connection, message
from tests.venue.web import Answer, Call

STOPS = {"STOP": "limit", "STOP_MARKET": "market", "TAKE_PROFIT": "limit", "TAKE_PROFIT_MARKET": "market"}
BRACKETS = [{"bracket": 1, "initialLeverage": 125, "notionalCap": 1_000_000_000, "notionalFloor": 0,
             "maintMarginRatio": 0.005, "cum": 0.0}]


class BinanceFutures(Binance):
    """See the module."""

    refusals = words.REFUSALS

    def serves(self, instrument: Instrument) -> bool:
        return instrument.is_perpetual

    def routes(self) -> list[web.RouteDef]:
        public = [
            ("ping", "ping", lambda _: {}), ("time", "fetch_time", lambda _: {"serverTime": self.clock.wall}),
            ("exchangeInfo", "fetch_markets", self._exchange_info), ("klines", "fetch_ohlcv", self._klines),
            ("depth", "fetch_order_book", self._depth), ("trades", "fetch_trades", self._trades),
            ("aggTrades", "fetch_trades", self._aggregate_trades), ("ticker/24hr", "fetch_ticker", self._ticker),
            ("ticker/bookTicker", "fetch_bids_asks", self._book_ticker),
            ("premiumIndex", "fetch_funding_rate", self._premium_index),
            ("fundingRate", "fetch_funding_rate_history", self._funding_rates),
        ]
        private: list[tuple[str, str, str, Private]] = [
            ("POST", "v1/order", "create_order", self._place), ("PUT", "v1/order", "edit_order", self._amend_order),
            ("DELETE", "v1/order", "cancel_order", self._cancel), ("GET", "v1/order", "fetch_order", self._order),
            ("GET", "v1/openOrders", "fetch_open_orders", self._open_orders),
            ("DELETE", "v1/allOpenOrders", "cancel_all_orders", self._cancel_all),
            ("GET", "v1/allOrders", "fetch_orders", self._all_orders),
            ("GET", "v1/userTrades", "fetch_my_trades", self._my_trades),
            ("POST", "v1/algoOrder", "create_order", self._place_algo),
            ("DELETE", "v1/algoOrder", "cancel_order", self._cancel_algo),
            ("GET", "v1/algoOrder", "fetch_order", self._algo_order),
            ("GET", "v1/openAlgoOrders", "fetch_open_orders", self._open_algo_orders),
            ("GET", "v1/income", "fetch_funding_history", self._income),
            ("GET", "v1/commissionRate", "fetch_trading_fee", self._commission),
            ("GET", "v1/leverageBracket", "fetch_leverage_tiers", self._brackets),
            ("POST", "v1/leverage", "set_leverage", self._set_leverage),
            *(("GET", f"{version}/account", "fetch_balance", self._account) for version in ("v2", "v3")),
            *(("GET", f"{version}/positionRisk", "fetch_positions", self._position_risk) for version in ("v2", "v3")),
        ]
        base = "/fapi/"
        return [
            *(self.route("GET", f"{base}v1/{path}", name, self._public(endpoint)) for path, name, endpoint in public),
            *(self.route(method, base + path, name, self._private(endpoint))
              for method, path, name, endpoint in private),
            *(self.route(method, base + "v1/listenKey", "authenticate", self._listen_key)
              for method in ("POST", "PUT")),
            *(self.socket(f"/fstream/{part}/ws/{{rest:.*}}", self.on_stream) for part in ("public", "market")),
            web.get(f"/{self.venue}/fstream/private/ws", self.hub.handler(self.on_stream, self._on_private)),
        ]

    # What spot has in other words

    def market_row(self, instrument: Instrument) -> Any:
        return words.market_info(instrument)

    def order_row(self, order: Order) -> Any:
        return words.order_row(order)

    def placed_row(self, order: Order, params: dict[str, str]) -> Any:
        return words.order_row(order)

    def cancelled_row(self, order: Order) -> Any:
        return words.order_row(order)

    def fill_row(self, order: Order, fill: Fill) -> Any:
        return words.fill_row(order, fill)

    def day_row(self, market: Market) -> dict[str, Any]:
        """Return the last day; what spot says of bids and asks there, futures do not."""
        return {name: value for name, value in super().day_row(market).items()
                if name not in ("bidPrice", "bidQty", "askPrice", "askQty", "prevClosePrice")}

    def _book_ticker(self, params: dict[str, str]) -> Any:
        markets = [self._market(params)] if params.get("symbol") else [
            self.exchange.markets[i.symbol] for i in self.exchange.listed() if self.serves(i)]
        rows = []
        for market in markets:
            (bid, bid_lots), (ask, ask_lots) = (levels[0] for levels in market.levels(1))
            i = market.instrument
            rows.append({"symbol": symbol_id(i.symbol), "bidPrice": i.price(bid), "bidQty": i.quantity(bid_lots),
                         "askPrice": i.price(ask), "askQty": i.quantity(ask_lots), "time": self.exchange.now})
        return rows[0] if params.get("symbol") else rows

    def _depth(self, params: dict[str, str]) -> Any:
        return super()._depth(params) | {"E": self.exchange.now, "T": self.exchange.now}

    def _request(self, params: dict[str, str]) -> Request:
        market = self._market(params)
        kind, side = params.get("type", ""), params.get("side", "").lower()
        if side not in ("buy", "sell"):
            raise Refused(-1117, "Invalid side.")
        if kind not in ("LIMIT", "MARKET", *STOPS):
            raise Refused(-1116, "Invalid orderType.")
        is_limit = STOPS.get(kind, kind.lower()) == "limit"
        given = params.get("timeInForce", "GTC")
        return Request(
            market.instrument.symbol, side, "limit" if is_limit else "market", quantity=decimal(params, "quantity"),
            price=decimal(params, "price") if is_limit else None,
            time_in_force="POST" if given == "GTX" else given if given in ("IOC", "FOK") else "GTC",
            client_id=params.get("clientAlgoId") or params.get("newClientOrderId", ""),
            stop_price=decimal(params, "triggerPrice") if kind in STOPS else None,
            triggers_above=(side == "buy") == kind.startswith("STOP") if kind in STOPS else None,
            reduce_only=params.get("reduceOnly", "").lower() == "true", label=kind)

    # What spot does not have

    def _amend_order(self, account: Account, params: dict[str, str]) -> Any:
        order = self.exchange.trading.amend(account, self._find(account, params), price=decimal(params, "price"),
                                            quantity=decimal(params, "quantity"))
        return words.order_row(order)

    def _place_algo(self, account: Account, params: dict[str, str]) -> Any:
        return words.algo_row(self.exchange.trading.place(account, self._request(params)))

    def _found_algo(self, account: Account, params: dict[str, str]) -> Order | None:
        if params.get("algoId"):
            return self.exchange.trading.by_id(account, integer(params, "algoId") or 0)
        return self.exchange.trading.by_client_id(account, params.get("clientAlgoId", ""))

    def _algo_order(self, account: Account, params: dict[str, str]) -> Any:
        if (order := self._found_algo(account, params)) is None:
            raise Refused(-2013, "Order does not exist.")
        return words.algo_row(order)

    def _cancel_algo(self, account: Account, params: dict[str, str]) -> Any:
        order = self.exchange.trading.cancel(account, self._found_algo(account, params))
        return {"algoId": order.id, "clientAlgoId": order.client_id, "code": "200", "msg": "success"}

    def _open_algo_orders(self, account: Account, params: dict[str, str]) -> Any:
        return [words.algo_row(order) for order in self.exchange.trading.open_orders(account)
                if self.serves(order.instrument) and order.status == "untriggered"
                and params.get("symbol") in (None, symbol_id(order.symbol))]

    def _open_orders(self, account: Account, params: dict[str, str]) -> Any:
        rows = super()._open_orders(account, params)
        waiting = {order.id for order in self.exchange.trading.open_orders(account) if order.status == "untriggered"}
        return [row for row in rows if row["orderId"] not in waiting]

    def _premium_index(self, params: dict[str, str]) -> Any:
        markets = [self._market(params)] if params.get("symbol") else [
            self.exchange.markets[i.symbol] for i in self.exchange.listed() if self.serves(i)]
        rows = []
        for market in markets:
            (rate, due), i = self.exchange.funding.next_rate(market), market.instrument
            price = i.price(market.last_price)
            rows.append({"symbol": symbol_id(i.symbol), "markPrice": price, "indexPrice": price,
                         "estimatedSettlePrice": price, "lastFundingRate": str(rate), "interestRate": "0.00010000",
                         "nextFundingTime": due, "time": self.exchange.now})
        return rows[0] if params.get("symbol") else rows

    def _funding_rates(self, params: dict[str, str]) -> Any:
        market, limit = self._market(params), integer(params, "limit", 100) or 100
        start, end = integer(params, "startTime", None), integer(params, "endTime", None)
        found = [(time, rate) for time, rate in self.exchange.funding.history(market)
                 if (start is None or time >= start) and (end is None or time <= end)]
        found = found[:limit] if start is not None else found[-limit:]
        return [{"symbol": params["symbol"], "fundingRate": str(rate), "fundingTime": time,
                 "markPrice": ""} for time, rate in found]

    def _income(self, account: Account, params: dict[str, str]) -> Any:
        start = integer(params, "startTime", 0) or 0
        return [words.income_row(paid) for paid in self.exchange.funding.paid_by(account) if paid.time >= start
                and params.get("symbol") in (None, symbol_id(paid.symbol))]

    def _commission(self, account: Account, params: dict[str, str]) -> Any:
        i = self._market(params).instrument
        return {"symbol": symbol_id(i.symbol), "makerCommissionRate": str(i.maker_fee),
                "takerCommissionRate": str(i.taker_fee)}

    def _brackets(self, account: Account, params: dict[str, str]) -> Any:
        return [{"symbol": symbol_id(i.symbol), "brackets": BRACKETS} for i in self.exchange.listed() if self.serves(i)]

    def _set_leverage(self, account: Account, params: dict[str, str]) -> Any:
        account.leverage = Decimal(params["leverage"])
        return {"symbol": params["symbol"], "leverage": int(account.leverage), "maxNotionalValue": "1000000000"}

    def _account(self, account: Account, params: dict[str, str]) -> Any:
        trading = self.exchange.trading
        return words.account_row(account, self.exchange.markets, trading.ledger.unrealised(account),
                                 trading.ledger.margin_free(account, trading.open_orders(account)), self.exchange.now)

    def _position_risk(self, account: Account, params: dict[str, str]) -> Any:
        return [words.position_row(account, self.exchange.markets[symbol], self.exchange.now)
                for symbol, position in account.positions.items() if position.lots
                and params.get("symbol") in (None, symbol_id(symbol))]

    # Websockets

    def _listen_key(self, call: Call) -> Answer:
        def work() -> Any:
            account = self.exchange.by_key(call.headers.get("X-MBX-APIKEY", ""))
            if account is None:
                raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
            return {"listenKey": f"listen-{account.name}"}

        return answered(work, self.refusals)

    def _on_private(self, connection: Connection) -> None:
        name = connection.query.get("listenKey", "").removeprefix("listen-")
        if name in self.exchange.trading.accounts:
            connection.account = name

    def send_depth(self, instrument: Instrument, changed: Changed) -> None:
        name, now = symbol_id(instrument.symbol), self.exchange.now
        sent = message({"e": "depthUpdate", "E": now, "T": now, "s": name, "U": changed.first, "u": changed.last,
                        "pu": changed.before, "b": book_side(instrument, changed.bids),
                        "a": book_side(instrument, changed.asks)}, "watch_order_book", instrument.symbol)
        for channel in ("depth", "depth@100ms"):
            self.spread(f"{name.lower()}@{channel}", sent)

    def send_order(self, connection: Connection, order: Order, what: str, fill: Fill | None) -> None:
        if order.stop is None or order.is_triggered:
            event = words.order_event(order, what, fill, self.exchange.now)
            connection.push(message(event, "watch_my_trades" if fill else "watch_orders", order.symbol))

    def send_balance(self, connection: Connection, account: Account, assets: tuple[str, ...]) -> None:
        event = words.account_event(account, self.exchange.markets, self.exchange.now)
        connection.push(message(event, "watch_balance"))
