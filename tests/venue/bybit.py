"""Bybit, spot and linear perpetuals of a unified account, as the ccxt client speaks it: /v5 over REST; websockets are
in bybit_streams.py."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from tests.venue import bybit_words as words
from tests.venue.accounts import Account
from tests.venue.bybit_streams import BybitStreams
from tests.venue.bybit_words import Refused, symbol_id
from tests.venue.front import day_of, signed
from tests.venue.market import Market
from tests.venue.orders import Order, Rejected, Request
from tests.venue.trading import Rules
from tests.venue.web import Answer, Call

RULES = Rules(ids_stay_taken=True, refuses_post_only=False, max_open_orders=500)
Params = dict[str, Any]
Private = Callable[[Account, Params], Any]


class Bybit(BybitStreams):
    """See the module."""

    def routes(self) -> list[web.RouteDef]:
        public: list[tuple[str, str, Callable[[Params], Any]]] = [
            ("market/time", "fetch_time", self._time), ("market/kline", "fetch_ohlcv", self._kline),
            ("market/instruments-info", "fetch_markets", self._instruments),
            ("market/orderbook", "fetch_order_book", self._book),
            ("market/recent-trade", "fetch_trades", self._trades), ("market/tickers", "fetch_ticker", self._tickers),
            ("market/funding/history", "fetch_funding_rate_history", self._funding_history),
        ]
        private: list[tuple[str, str, str, Private]] = [
            ("GET", "user/query-api", "fetch_permissions", self._key_info),
            ("GET", "account/info", "fetch_account_config", lambda *_: {"unifiedMarginStatus": 6}),
            ("GET", "asset/coin/query-info", "fetch_currencies", lambda *_: {"rows": []}),
            ("GET", "account/wallet-balance", "fetch_balance", self._wallet),
            ("GET", "account/fee-rate", "fetch_trading_fee", self._fee_rate),
            ("GET", "position/list", "fetch_positions", self._positions),
            ("POST", "position/set-leverage", "set_leverage", self._set_leverage),
            ("POST", "order/create", "create_order", self._create),
            ("POST", "order/amend", "edit_order", self._amend), ("POST", "order/cancel", "cancel_order", self._cancel),
            ("POST", "order/cancel-all", "cancel_all_orders", self._cancel_all),
            ("GET", "order/realtime", "fetch_order", self._realtime),
            ("GET", "order/history", "fetch_closed_orders", self._history),
            ("GET", "execution/list", "fetch_my_trades", self._executions),
        ]
        return [
            *(self.route("GET", "/v5/" + path, name, self._public(endpoint)) for path, name, endpoint in public),
            *(self.route(method, "/v5/" + path, name, self._private(endpoint))
              for method, path, name, endpoint in private),
            *(self.socket(f"/v5/{part}", self.on_text) for part in ("public/spot", "public/linear", "private")),
        ]

    def symbol_of(self, call: Call) -> str | None:
        params = call.content if call.method == "POST" else call.params
        return self.symbol_named(params.get("category", ""), params.get("symbol", ""))

    # The door

    def _public(self, endpoint: Callable[[Params], Any]) -> Callable[[Call], Answer]:
        return lambda call: self._answered(lambda: endpoint(call.params), "")

    def _private(self, endpoint: Private) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            params = call.content if call.method == "POST" else call.params
            return self._answered(lambda: endpoint(self._signed_in(call), params), params.get("category", ""))

        return handle

    def _answered(self, work: Callable[[], Any], kind: str) -> Answer:
        code, said, result, status = 0, "OK", {}, 200
        try:
            result = work()
        except Rejected as refusal:
            special = words.LINEAR if kind == "linear" else {}
            code, said = special.get(refusal.reason, words.REFUSALS[refusal.reason])
        except Refused as refusal:
            code, said, status = refusal.code, refusal.words, refusal.status
        return Answer.json({"retCode": code, "retMsg": said, "result": result, "retExtInfo": {},
                            "time": self.clock.wall}, status)

    def _signed_in(self, call: Call) -> Account:
        given = {name: call.headers.get(f"X-BAPI-{name}", "")
                 for name in ("API-KEY", "TIMESTAMP", "SIGN", "RECV-WINDOW")}
        account = self.exchange.by_key(given["API-KEY"])
        if account is None:
            raise Refused(10003, "API key is invalid.")
        stamp, window = int(given["TIMESTAMP"] or 0), int(given["RECV-WINDOW"] or 5000)
        if not self.clock.wall - window <= stamp < self.clock.wall + 1000:
            raise Refused(10002, "invalid request, please check your server timestamp or recv_window param. "
                                 f"req_timestamp[{stamp}],server_timestamp[{self.clock.wall}],recv_window[{window}]")
        text = call.body if call.method == "POST" else call.query
        if signed(account.secret, f"{stamp}{account.key}{given['RECV-WINDOW']}{text}") != given["SIGN"]:
            raise Refused(10004, "error sign! please check your signature generation algorithm.")
        return account

    def _market(self, params: Params) -> Market:
        market = self.exchange.market(self.symbol_named(params.get("category", ""), params.get("symbol", "")))
        if market is None:
            raise Refused(10001, "params error: symbol invalid")
        return market

    def _is_asked_for(self, order: Order, params: Params) -> bool:
        return (words.category(order.instrument) == params.get("category")
                and params.get("symbol") in (None, "", symbol_id(order.symbol)))

    # Market data

    def _time(self, params: Params) -> Any:
        wall = self.clock.wall
        return {"timeSecond": str(wall // 1000), "timeNano": str(wall * 1_000_000)}

    def _instruments(self, params: Params) -> Any:
        rows = [words.market_info(i) for i in self.exchange.listed() if words.category(i) == params.get("category")
                and params.get("symbol") in (None, "", symbol_id(i.symbol))]
        return {"category": params.get("category"), "list": rows, "nextPageCursor": ""}

    def _kline(self, params: Params) -> Any:
        market, duration = self._market(params), words.INTERVALS.get(params.get("interval", ""))
        if duration is None or duration % market.candles.duration:
            raise Refused(10001, "params error: interval invalid")
        limit = min(int(params.get("limit", 200)), 1000)
        start, end = (int(params[name]) if params.get(name) else None for name in ("start", "end"))
        if start is not None and end is not None:
            candles = market.candles.take(duration, start=start, end=end, limit=1_000_000)[-limit:]
        else:
            candles = market.candles.take(duration, start=start, end=end, limit=limit)
        return {"category": params["category"], "symbol": params["symbol"],
                "list": [words.candle_row(market.instrument, candle) for candle in reversed(candles)]}

    def _book(self, params: Params) -> Any:
        market, now = self._market(params), self.exchange.now
        bids, asks = market.levels(int(params.get("limit", 25)))
        return {"s": params["symbol"], "b": words.book_side(market.instrument, bids),
                "a": words.book_side(market.instrument, asks), "ts": now, "u": market.revision,
                "seq": market.revision, "cts": now}

    def _trades(self, params: Params) -> Any:
        market = self._market(params)
        found = list(market.trades)[-min(int(params.get("limit", 60)), 1000):]
        return {"category": params["category"],
                "list": [words.trade_row(market.instrument, trade) for trade in reversed(found)]}

    def _tickers(self, params: Params) -> Any:
        markets = [self._market(params)] if params.get("symbol") else [
            self.exchange.markets[i.symbol] for i in self.exchange.listed()
            if words.category(i) == params.get("category")]
        return {"category": params.get("category"), "list": [
            words.ticker_row(market, day_of(market, self.exchange.now)[0], self.funding_of(market))
            for market in markets]}

    def _funding_history(self, params: Params) -> Any:
        market = self._market(params)
        start, end = int(params.get("startTime", 0)), int(params.get("endTime", 1 << 60))
        found = [(time, rate) for time, rate in self.exchange.funding.history(market) if start <= time <= end]
        return {"category": "linear", "list": [
            {"symbol": params["symbol"], "fundingRate": words.plain(rate), "fundingRateTimestamp": str(time)}
            for time, rate in reversed(found[-int(params.get("limit", 200)):])]}

    # The account

    def _key_info(self, account: Account, params: Params) -> Any:
        return {"id": "1", "note": account.name, "apiKey": account.key, "readOnly": 0, "secret": "", "permissions": {
            "ContractTrade": ["Order", "Position"], "Spot": ["SpotTrade"], "Options": [], "Derivatives": [],
            "Wallet": ["Withdraw"] if account.can_withdraw else [], "Exchange": []},
            "ips": ["*"], "type": 1, "unified": 0, "uta": 1, "userID": 1, "isMaster": True}

    def _wallet(self, account: Account, params: Params) -> Any:
        return {"list": [words.wallet(account, self.exchange.trading.ledger.unrealised(account))]}

    def _fee_rate(self, account: Account, params: Params) -> Any:
        return {"category": params.get("category"), "list": [
            {"symbol": symbol_id(i.symbol), "takerFeeRate": str(i.taker_fee), "makerFeeRate": str(i.maker_fee)}
            for i in self.exchange.listed() if words.category(i) == params.get("category")
            and params.get("symbol") in (None, "", symbol_id(i.symbol))]}

    def _positions(self, account: Account, params: Params) -> Any:
        rows = [words.position_row(account, self.exchange.markets[symbol], self.exchange.now)
                for symbol, position in account.positions.items() if position.lots
                and params.get("symbol") in (None, "", symbol_id(symbol))]
        return {"category": "linear", "list": rows, "nextPageCursor": ""}

    def _set_leverage(self, account: Account, params: Params) -> Any:
        account.leverage = Decimal(str(params["buyLeverage"]))
        return {}

    # Orders

    def _create(self, account: Account, params: Params) -> Any:
        market = self._market(params)
        side, kind = params.get("side", "").lower(), params.get("orderType", "").lower()
        if side not in ("buy", "sell") or kind not in ("market", "limit"):
            raise Refused(10001, "params error: side or orderType invalid")
        quantity, spends = _decimal(params, "qty"), False
        if kind == "market" and side == "buy" and not market.instrument.is_perpetual:
            spends = params.get("marketUnit", "quoteCoin") == "quoteCoin"
        stop = _decimal(params, "triggerPrice") if params.get("triggerPrice") else None
        last = market.last_price * market.instrument.price_increment
        time_in_force = params.get("timeInForce") or "GTC"
        order = self.exchange.trading.place(account, Request(
            market.instrument.symbol, side, kind, quantity=None if spends else quantity,
            price=_decimal(params, "price") if kind == "limit" else None,
            time_in_force="POST" if time_in_force == "PostOnly" else time_in_force,
            client_id=str(params.get("orderLinkId") or ""), stop_price=stop,
            triggers_above=None if stop is None else stop > last, quote_quantity=quantity if spends else None,
            reduce_only=bool(params.get("reduceOnly"))))
        return {"orderId": str(order.id), "orderLinkId": order.client_id}

    def _find(self, account: Account, params: Params) -> Order | None:
        if params.get("orderId"):
            number = str(params["orderId"])
            order = self.exchange.trading.by_id(account, int(number)) if number.isdigit() else None
        else:
            order = self.exchange.trading.by_client_id(account, params.get("orderLinkId", ""))
        return order if order is not None and self._is_asked_for(order, params) else None

    def _amend(self, account: Account, params: Params) -> Any:
        order = self.exchange.trading.amend(
            account, self._find(account, params), price=_decimal(params, "price") if params.get("price") else None,
            quantity=_decimal(params, "qty") if params.get("qty") else None,
            stop_price=_decimal(params, "triggerPrice") if params.get("triggerPrice") else None)
        return {"orderId": str(order.id), "orderLinkId": order.client_id}

    def _cancel(self, account: Account, params: Params) -> Any:
        order = self.exchange.trading.cancel(account, self._find(account, params))
        return {"orderId": str(order.id), "orderLinkId": order.client_id}

    def _cancel_all(self, account: Account, params: Params) -> Any:
        cancelled = [self.exchange.trading.cancel(account, order) for order in
                     self.exchange.trading.open_orders(account) if self._is_asked_for(order, params)]
        return {"list": [{"orderId": str(order.id), "orderLinkId": order.client_id} for order in cancelled],
                "success": "1"}

    def _realtime(self, account: Account, params: Params) -> Any:
        """Return open orders, or one order by its id, also if it has been closed."""
        if params.get("orderId") or params.get("orderLinkId"):
            found = self._find(account, params)
            rows = [] if found is None else [words.order_row(found)]
        else:
            waiting = params.get("orderFilter") in ("StopOrder", "tpslOrder")
            rows = [words.order_row(order) for order in reversed(self.exchange.trading.open_orders(account))
                    if self._is_asked_for(order, params)
                    and (not params.get("orderFilter") or waiting == (order.status == "untriggered"))]
        return {"category": params.get("category"), "list": rows[:int(params.get("limit", 50))], "nextPageCursor": ""}

    def _history(self, account: Account, params: Params) -> Any:
        start, end = int(params.get("startTime", 0)), int(params.get("endTime", 1 << 60))
        rows = [words.order_row(order) for order in self.exchange.trading.orders_of(account)
                if not order.status.is_open and self._is_asked_for(order, params) and start <= order.created <= end
                and params.get("orderId") in (None, "", str(order.id))
                and params.get("orderLinkId") in (None, "", order.client_id)]
        return {"category": params.get("category"), "list": rows[::-1][:int(params.get("limit", 50))],
                "nextPageCursor": ""}

    def _executions(self, account: Account, params: Params) -> Any:
        start, end, limit = int(params.get("startTime", 0)), int(params.get("endTime", 1 << 60)), int(
            params.get("limit", 50))
        if params.get("execType") == "Funding":
            markets = self.exchange.markets
            rows = [words.funding_row(paid, markets[paid.symbol].instrument)
                    for paid in self.exchange.funding.paid_by(account) if start <= paid.time <= end]
        else:
            rows = [words.fill_row(order, fill) for order, fill in self.exchange.trading.fills_of(account)
                    if self._is_asked_for(order, params) and start <= fill.time <= end
                    and params.get("orderId") in (None, "", str(order.id))
                    and params.get("orderLinkId") in (None, "", order.client_id)]
        offset = int(params.get("cursor") or 0)
        page = rows[::-1][offset:offset + limit]
        more = str(offset + limit) if offset + limit < len(rows) else ""
        return {"category": params.get("category"), "list": page, "nextPageCursor": more}


def _decimal(params: Params, name: str) -> Decimal:
    try:
        number = Decimal(str(params[name]))
    except (KeyError, InvalidOperation):
        raise Refused(10001, f"params error: {name} invalid") from None
    if not number.is_finite() or number < 0:
        raise Refused(10001, f"params error: {name} invalid")
    return number
