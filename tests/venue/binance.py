"""Binance spot, as the ccxt client speaks it: /api/v3 over REST; websockets are in binance_streams.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from tests.venue import binance_words as words
from tests.venue.accounts import Account
from tests.venue.binance_streams import BinanceStreams
from tests.venue.binance_words import Refused, symbol_id
from tests.venue.instruments import Instrument
from tests.venue.market import Market
from tests.venue.orders import Fill, Order, Reason, Rejected, Request
from tests.venue.trading import Rules
from tests.venue.web import Answer, Call

RULES = Rules(ids_stay_taken=False, refuses_post_only=True)
STOPS = {"STOP_LOSS": "market", "STOP_LOSS_LIMIT": "limit", "TAKE_PROFIT": "market", "TAKE_PROFIT_LIMIT": "limit"}
CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")

Private = Callable[[Account, dict[str, str]], Any]


class Binance(BinanceStreams):
    """See the module."""

    refusals = words.REFUSALS

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
            self.socket("/stream/ws/{rest:.*}", self.on_stream), self.socket("/stream/ws", self.on_stream),
            self.socket("/ws-api/v3", self.on_ws_api),
        ]

    def symbol_of(self, call: Call) -> str | None:
        return self.symbols.get(call.params.get("symbol", ""))

    # What futures say in other words

    def market_row(self, instrument: Instrument) -> Any:
        return words.market_info(instrument)

    def order_row(self, order: Order) -> Any:
        return words.order_row(order)

    def placed_row(self, order: Order, params: dict[str, str]) -> Any:
        kind = params.get("newOrderRespType", "FULL" if params["type"] in ("MARKET", "LIMIT") else "ACK")
        return words.placed_row(order, self.exchange.now, full=kind == "FULL")

    def cancelled_row(self, order: Order) -> Any:
        return words.cancelled_row(order, self.exchange.now)

    def fill_row(self, order: Order, fill: Fill) -> Any:
        return words.fill_row(order, fill)

    # The door

    def _public(self, endpoint: Callable[[dict[str, str]], Any]) -> Callable[[Call], Answer]:
        return lambda call: answered(lambda: endpoint(call.params), self.refusals)

    def _private(self, endpoint: Private) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            def work() -> Any:
                text = "&".join(part for part in (call.query, call.body) if part)
                account = self.signed_in(call.headers.get("X-MBX-APIKEY", ""), text)
                return endpoint(account, call.params)

            return answered(work, self.refusals)

        return handle

    def _market(self, params: dict[str, str]) -> Market:
        if not params.get("symbol"):
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        market = self.exchange.market(self.symbols.get(params["symbol"]))
        if market is None:
            raise Refused(-1121, "Invalid symbol.")
        return market

    # Market data

    def _exchange_info(self, params: dict[str, str]) -> Any:
        listed = [instrument for instrument in self.exchange.listed() if self.serves(instrument)]
        if "symbol" in params:
            listed = [self._market(params).instrument]
        return {"timezone": "UTC", "serverTime": self.clock.wall, "exchangeFilters": [], "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}],
            "symbols": [self.market_row(instrument) for instrument in listed]}

    def _klines(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        duration = words.INTERVALS.get(params.get("interval", ""))
        if duration is None or duration % market.candles.duration:
            raise Refused(-1120, "Invalid interval.")
        limit = min(integer(params, "limit", 500) or 500, 1000)
        candles = market.candles.take(duration, start=integer(params, "startTime", None),
                                      end=integer(params, "endTime", None), limit=limit)
        return [words.kline(market.instrument, candle, duration) for candle in candles]

    def _depth(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        bids, asks = market.levels(min(integer(params, "limit", 100) or 100, 5000))
        return {"lastUpdateId": market.revision, "bids": words.book_side(market.instrument, bids),
                "asks": words.book_side(market.instrument, asks)}

    def _trades(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        limit, first = min(integer(params, "limit", 500) or 500, 1000), integer(params, "fromId", None)
        found = [trade for trade in market.trades if first is None or trade.id >= first]
        found = found[-limit:] if first is None else found[:limit]
        return [words.trade_row(market.instrument, trade) for trade in found]

    def _aggregate_trades(self, params: dict[str, str]) -> Any:
        market = self._market(params)
        limit = min(integer(params, "limit", 500) or 500, 1000)
        first, start, end = (integer(params, name, None) for name in ("fromId", "startTime", "endTime"))
        found = [trade for trade in market.trades if (first is None or trade.id >= first)
                 and (start is None or trade.time >= start) and (end is None or trade.time <= end)]
        found = found[-limit:] if first is None and start is None else found[:limit]
        return [words.aggregate_trade(market.instrument, trade) for trade in found]

    def _ticker(self, params: dict[str, str]) -> Any:
        if "symbol" in params:
            return self.day_row(self._market(params))
        return [self.day_row(self.exchange.markets[instrument.symbol]) for instrument in self.exchange.listed()
                if self.serves(instrument)]

    def _book_ticker(self, params: dict[str, str]) -> Any:
        markets = [self._market(params)] if "symbol" in params else [
            self.exchange.markets[instrument.symbol] for instrument in self.exchange.listed()
            if self.serves(instrument)]
        rows = [{"symbol": row["symbol"], **{name: row[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")}}
                for row in map(self.day_row, markets)]
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
        price = decimal(params, "price") if is_limit else None
        if kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT") and (
                params.get("timeInForce") not in ("GTC", "IOC", "FOK")):
            raise Refused(-1115, "Invalid timeInForce.")
        spends = kind == "MARKET" and "quoteOrderQty" in params
        above = None
        if kind in STOPS:
            above = (side == "buy") == kind.startswith("STOP_LOSS")
        return Request(
            market.instrument.symbol, side, "limit" if is_limit else "market",
            quantity=None if spends else decimal(params, "quantity"), price=price,
            time_in_force="POST" if kind == "LIMIT_MAKER" else params.get("timeInForce", "GTC"),
            client_id=client_id or f"web_{self.exchange.now}_{len(self.exchange.trading.orders)}",
            stop_price=decimal(params, "stopPrice") if kind in STOPS else None, triggers_above=above,
            quote_quantity=decimal(params, "quoteOrderQty") if spends else None, label=kind)

    def _place(self, account: Account, params: dict[str, str]) -> Any:
        order = self.exchange.trading.place(account, self._request(params))
        return self.placed_row(order, params)

    def _test(self, account: Account, params: dict[str, str]) -> Any:
        self._request(params)
        return {}

    def _find(self, account: Account, params: dict[str, str], *, by: str = "orderId",
              by_client: str = "origClientOrderId") -> Order | None:
        market = self._market(params)
        if params.get(by):
            order = self.exchange.trading.by_id(account, integer(params, by) or 0)
        elif params.get(by_client):
            order = self.exchange.trading.by_client_id(account, params[by_client])
        else:
            raise Refused(-1102, f"Param '{by_client}' or '{by}' must be sent, but both were empty/null!")
        return order if order is not None and order.symbol == market.instrument.symbol else None

    def _order(self, account: Account, params: dict[str, str]) -> Any:
        if (order := self._find(account, params)) is None:
            raise Refused(-2013, "Order does not exist.")
        return self.order_row(order)

    def _cancel(self, account: Account, params: dict[str, str]) -> Any:
        order = self.exchange.trading.cancel(account, self._find(account, params))
        return self.cancelled_row(order)

    def _cancel_all(self, account: Account, params: dict[str, str]) -> Any:
        open_orders = self.exchange.trading.open_orders(account, self._market(params).instrument.symbol)
        if not open_orders:
            raise Refused(-2011, "Unknown order sent.")
        return [self.cancelled_row(self.exchange.trading.cancel(account, order))
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
                "cancelResponse": self.cancelled_row(cancelled),
                "newOrderResponse": words.placed_row(placed, self.exchange.now, full=True)}

    def _amend(self, account: Account, params: dict[str, str]) -> Any:
        order = self._find(account, params)
        quantity = decimal(params, "newQty")
        if order is not None and quantity >= order.quantity * order.instrument.quantity_increment:
            raise Refused(-2038, "The requested action would change no state; rejecting.")
        amended = self.exchange.trading.amend(account, order, quantity=quantity)
        return {"transactTime": self.exchange.now, "executionId": amended.amendments,
                "amendedOrder": self.order_row(amended)}

    def _open_orders(self, account: Account, params: dict[str, str]) -> Any:
        symbol = self._market(params).instrument.symbol if params.get("symbol") else None
        return [self.order_row(order) for order in self.exchange.trading.open_orders(account, symbol)
                if self.serves(order.instrument)]

    def _all_orders(self, account: Account, params: dict[str, str]) -> Any:
        market, limit = self._market(params), integer(params, "limit", 500) or 500
        first, start, end = (integer(params, name, None) for name in ("orderId", "startTime", "endTime"))
        found = [order for order in self.exchange.trading.orders_of(account, market.instrument.symbol)
                 if (first is None or order.id >= first) and (start is None or order.created >= start)
                 and (end is None or order.created <= end)]
        found = found[-limit:] if first is None and start is None else found[:limit]
        return [self.order_row(order) for order in found]

    def _my_trades(self, account: Account, params: dict[str, str]) -> Any:
        market, limit = self._market(params), integer(params, "limit", 500) or 500
        first, start, end, of = (integer(params, name, None) for name in ("fromId", "startTime", "endTime", "orderId"))
        found = [(order, fill) for order, fill in self.exchange.trading.fills_of(account, market.instrument.symbol)
                 if (first is None or fill.trade_id >= first) and (start is None or fill.time >= start)
                 and (end is None or fill.time <= end) and (of is None or order.id == of)]
        found = found[-limit:] if first is None and start is None else found[:limit]
        return [self.fill_row(order, fill) for order, fill in found]

    def _fees(self, account: Account, params: dict[str, str]) -> Any:
        return [{"symbol": symbol_id(i.symbol), "makerCommission": str(i.maker_fee),
                 "takerCommission": str(i.taker_fee)} for i in self.exchange.listed() if self.serves(i)]


def answered(work: Callable[[], Any], refusals: dict[Reason, tuple[int, str]]) -> Answer:
    """Answer with what is found, or with the refusal."""
    try:
        return Answer.json(work())
    except Rejected as refusal:
        code, text = refusals[refusal.reason]
        return Answer.json({"code": code, "msg": text}, 400)
    except Refused as refusal:
        return Answer.json({"code": refusal.code, "msg": refusal.words}, refusal.status)


def _permissions(account: Account, params: dict[str, str]) -> Any:
    return {"ipRestrict": False, "createTime": 1_600_000_000_000, "enableReading": True,
            "enableWithdrawals": account.can_withdraw, "enableInternalTransfer": False, "enableMargin": False,
            "enableFutures": False, "permitsUniversalTransfer": False, "enableVanillaOptions": False,
            "enableSpotAndMarginTrading": True, "enablePortfolioMarginTrading": False}


def integer(params: dict[str, str], name: str, *default: int | None) -> int | None:
    """Return a parameter; one without a default must be there."""
    if name not in params and default:
        return default[0]
    try:
        return int(params[name])
    except (KeyError, ValueError):
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.") from None


def decimal(params: dict[str, str], name: str) -> Decimal:
    """Return a parameter that must be there, of at most eight decimals."""
    try:
        number = Decimal(params[name])
    except (KeyError, InvalidOperation):
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.") from None
    if not number.is_finite() or number < 0:
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'.")
    if -number.normalize().as_tuple().exponent > 8:  # type: ignore[operator]
        raise Refused(-1111, f"Parameter '{name}' has too much precision.")
    return number
