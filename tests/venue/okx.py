"""OKX, spot and linear swaps, as the ccxt client speaks it: /api/v5 over REST; websockets are in okx_streams.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from aiohttp import web

from tests.venue import okx_words as words
from tests.venue.accounts import Account
from tests.venue.front import day_of
from tests.venue.market import Market, Trade
from tests.venue.okx_streams import OkxStreams, sign
from tests.venue.okx_words import Refused
from tests.venue.orders import Fill, Order, Rejected, Request
from tests.venue.trading import Rules
from tests.venue.web import Answer, Call

RULES = Rules(ids_stay_taken=True, refuses_post_only=False)
KINDS = {"market": ("market", "GTC"), "limit": ("limit", "GTC"), "post_only": ("limit", "POST"),
         "ioc": ("limit", "IOC"), "fok": ("limit", "FOK"), "optimal_limit_ioc": ("market", "IOC")}
Params = dict[str, Any]
Private = Callable[[Account, Any], Any]


class Okx(OkxStreams):
    """See the module."""

    @cached_property
    def _switches(self) -> dict[str, asyncio.TimerHandle]:
        """The dead-man's switches that are armed, by account."""
        return {}

    def routes(self) -> list[web.RouteDef]:
        public: list[tuple[str, str, Callable[[Params], Any]]] = [
            ("public/time", "fetch_time", lambda _: [{"ts": str(self.clock.wall)}]),
            ("public/instruments", "fetch_markets", self._instruments),
            ("market/candles", "fetch_ohlcv", lambda params: self._candles(params, forming=True)),
            ("market/history-candles", "fetch_ohlcv", lambda params: self._candles(params, forming=False)),
            ("market/books", "fetch_order_book", self._book), ("market/books-full", "fetch_order_book", self._book),
            ("market/trades", "fetch_trades", self._trades), ("market/history-trades", "fetch_trades", self._trades),
            ("market/ticker", "fetch_ticker", self._ticker), ("market/tickers", "fetch_tickers", self._tickers),
            ("public/funding-rate", "fetch_funding_rate", self._funding_rate),
            ("public/funding-rate-history", "fetch_funding_rate_history", self._funding_history),
            ("public/mark-price", "fetch_mark_price", self._mark_price),
        ]
        private: list[tuple[str, str, str, Private]] = [
            ("GET", "account/balance", "fetch_balance", self._balance),
            ("GET", "asset/currencies", "fetch_currencies", lambda *_: []),
            ("GET", "account/config", "fetch_account_config", self._config),
            ("GET", "account/trade-fee", "fetch_trading_fee", self._fee),
            ("GET", "account/positions", "fetch_positions", self._positions),
            ("GET", "account/bills", "fetch_funding_history", self._bills),
            ("GET", "account/bills-archive", "fetch_funding_history", self._bills),
            ("POST", "account/set-leverage", "set_leverage", self._set_leverage),
            ("POST", "trade/batch-orders", "create_order", self._place_all),
            ("POST", "trade/order", "create_order", self._place_all),
            ("POST", "trade/order-algo", "create_order", self._place_algo),
            ("GET", "trade/order", "fetch_order", self._order),
            ("GET", "trade/order-algo", "fetch_order", self._algo),
            ("GET", "trade/orders-pending", "fetch_open_orders", lambda a, p: self._list(a, p, is_open=True)),
            ("GET", "trade/orders-history", "fetch_closed_orders", lambda a, p: self._list(a, p, is_open=False)),
            ("GET", "trade/orders-history-archive", "fetch_closed_orders",
             lambda a, p: self._list(a, p, is_open=False)),
            ("GET", "trade/orders-algo-pending", "fetch_open_orders", self._algos),
            ("POST", "trade/cancel-order", "cancel_order", self._cancel_all),
            ("POST", "trade/cancel-batch-orders", "cancel_orders", self._cancel_all),
            ("POST", "trade/cancel-algos", "cancel_order", self._cancel_algos),
            ("POST", "trade/cancel-all-after", "cancel_all_orders_after", self._cancel_all_after),
            ("POST", "trade/amend-order", "edit_order", self._amend),
            ("GET", "trade/fills", "fetch_my_trades", self._fills),
            ("GET", "trade/fills-history", "fetch_my_trades", self._fills),
        ]
        base = "/api/v5/"
        return [
            *(self.route("GET", base + path, name, self._public(endpoint)) for path, name, endpoint in public),
            *(self.route(method, base + path, name, self._private(endpoint))
              for method, path, name, endpoint in private),
            *(self.socket(f"/ws/v5/{part}", self.on_text) for part in ("public", "business", "private")),
        ]

    def symbol_of(self, call: Call) -> str | None:
        content = call.content if call.method == "POST" else call.params
        first = (content[0] if content else {}) if isinstance(content, list) else content
        return self.symbol_named(first.get("instId", ""))

    # The door

    def _public(self, endpoint: Callable[[Params], Any]) -> Callable[[Call], Answer]:
        return lambda call: _answered(lambda: endpoint(call.params))

    def _private(self, endpoint: Private) -> Callable[[Call], Answer]:
        def handle(call: Call) -> Answer:
            return _answered(lambda: endpoint(self._signed_in(call),
                                              call.content if call.method == "POST" else call.params))

        return handle

    def _signed_in(self, call: Call) -> Account:
        given = {name: call.headers.get(f"OK-ACCESS-{name}", "") for name in ("KEY", "SIGN", "TIMESTAMP", "PASSPHRASE")}
        if missing := next((name for name, value in given.items() if not value), None):
            raise Refused("50103", f'Request header "OK-ACCESS-{missing}" can not be empty.', 401)
        account = self.exchange.by_key(given["KEY"])
        if account is None:
            raise Refused("50111", "Invalid OK-ACCESS-KEY", 401)
        if account.passphrase != given["PASSPHRASE"]:
            raise Refused("50105", "OK-ACCESS-PASSPHRASE incorrect.", 401)
        stamp = datetime.fromisoformat(given["TIMESTAMP"]).timestamp() * 1000
        if abs(self.clock.wall - stamp) > 30_000:
            raise Refused("50102", "Timestamp request expired.", 401)
        path = call.path.removeprefix(f"/{self.venue}") + (f"?{call.query}" if call.query else "")
        if sign(account.secret, f"{given['TIMESTAMP']}{call.method}{path}{call.body}") != given["SIGN"]:
            raise Refused("50113", "Invalid Sign", 401)
        return account

    def _market(self, params: Params) -> Market:
        market = self.exchange.market(self.symbol_named(params.get("instId", "")))
        if market is None:
            raise Refused("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return market

    # Market data

    def _instruments(self, params: Params) -> Any:
        return [words.market_info(i) for i in self.exchange.listed() if words.inst_type(i) == params.get("instType")
                and params.get("instId") in (None, words.inst_id(i.symbol))]

    def _candles(self, params: Params, *, forming: bool) -> Any:
        market, duration = self._market(params), words.BARS.get(params.get("bar", "1m"))
        if duration is None or duration % market.candles.duration:
            raise Refused("51000", "Parameter bar error")
        limit = min(int(params.get("limit", 100)), 300)
        start = int(params["before"]) + 1 if "before" in params else None
        end = int(params["after"]) - 1 if "after" in params else None
        if start is not None and end is not None:
            candles = market.candles.take(duration, start=start, end=end, limit=1_000_000, forming=forming)[-limit:]
        else:
            candles = market.candles.take(duration, end=end, limit=limit, forming=forming)
            candles = [candle for candle in candles if start is None or candle.open_time >= start]
        now = self.exchange.now
        return [words.candle_row(market.instrument, candle, is_closed=candle.open_time + duration <= now)
                for candle in reversed(candles)]

    def _book(self, params: Params) -> Any:
        market = self._market(params)
        bids, asks = market.levels(int(params.get("sz", 1)))
        return [{"asks": words.book_side(market.instrument, asks), "bids": words.book_side(market.instrument, bids),
                 "ts": str(self.exchange.now), "seqId": market.revision}]

    def _trades(self, params: Params) -> Any:
        market, limit = self._market(params), min(int(params.get("limit", 100)), 500)
        found: list[Trade] = list(market.trades)
        if "after" in params:
            by_time, bound = params.get("type") == "2", int(params["after"])
            found = [trade for trade in found if (trade.time if by_time else trade.id) < bound]
        return [words.trade_row(market.instrument, trade) for trade in reversed(found[-limit:])]

    def _ticker(self, params: Params) -> Any:
        market = self._market(params)
        return [words.ticker_row(market, day_of(market, self.exchange.now)[0], self.exchange.now)]

    def _tickers(self, params: Params) -> Any:
        return [row for i in self.exchange.listed() if words.inst_type(i) == params.get("instType")
                for row in self._ticker({"instId": words.inst_id(i.symbol)})]

    def _mark_price(self, params: Params) -> Any:
        return [{"instType": "SWAP", "instId": words.inst_id(i.symbol), "ts": str(self.exchange.now),
                 "markPx": i.price(self.exchange.markets[i.symbol].last_price)} for i in self.exchange.listed()
                if i.is_perpetual and params.get("instId") in (None, words.inst_id(i.symbol))]

    def _funding_rate(self, params: Params) -> Any:
        market = self._market(params)
        rate, due = self.exchange.funding.next_rate(market)
        return [{"instId": params["instId"], "instType": "SWAP", "fundingRate": words.plain(rate),
                 "fundingTime": str(due), "nextFundingRate": "", "nextFundingTime": str(due + 8 * 3_600_000),
                 "method": "current_period", "ts": str(self.exchange.now)}]

    def _funding_history(self, params: Params) -> Any:
        market, limit = self._market(params), int(params.get("limit", 100))
        found = [(time, rate) for time, rate in self.exchange.funding.history(market)
                 if ("before" not in params or time > int(params["before"]))
                 and ("after" not in params or time < int(params["after"]))]
        return [{"instType": "SWAP", "instId": params["instId"], "fundingRate": words.plain(rate),
                 "realizedRate": words.plain(rate), "fundingTime": str(time)}
                for time, rate in reversed(found[-limit:])]

    # The account

    def _balance(self, account: Account, params: Params) -> Any:
        asked = tuple(params["ccy"].split(",")) if params.get("ccy") else None
        return words.balance_rows(account, self.exchange.now, asked, self.exchange.trading.ledger.unrealised(account))

    def _config(self, account: Account, params: Params) -> Any:
        rights = "read_only,trade" + (",withdraw" if account.can_withdraw else "")
        return [{"acctLv": "2", "posMode": "net_mode", "uid": "1", "perm": rights, "label": account.name,
                 "autoLoan": False, "level": "Lv1", "ip": ""}]

    def _fee(self, account: Account, params: Params) -> Any:
        family = params.get("instFamily") or params.get("uly")
        i = self._market({"instId": f"{family}-SWAP"} if family else params).instrument
        maker, taker = words.plain(-i.maker_fee), words.plain(-i.taker_fee)
        return [{"category": "1", "instType": words.inst_type(i), "level": "Lv1", "maker": maker, "taker": taker,
                 "makerU": maker, "takerU": taker, "ts": str(self.exchange.now)}]

    def _positions(self, account: Account, params: Params) -> Any:
        rows = words.position_rows(account, self.exchange.markets, self.exchange.now)
        return [row for row in rows if params.get("instId") in (None, row["instId"])]

    def _bills(self, account: Account, params: Params) -> Any:
        return [{"billId": f"{paid.time}", "ccy": "USDT", "instId": words.inst_id(paid.symbol), "instType": "SWAP",
                 "balChg": words.plain(paid.amount), "pnl": words.plain(paid.amount), "ts": str(paid.time),
                 "subType": "174" if paid.amount >= 0 else "173", "type": "8", "sz": "", "fee": "0", "bal": ""}
                for paid in reversed(self.exchange.funding.paid_by(account))
                if ("begin" not in params or paid.time >= int(params["begin"])) and params.get("type", "8") == "8"]

    def _set_leverage(self, account: Account, params: Params) -> Any:
        account.leverage = Decimal(str(params["lever"]))
        return [{"lever": str(params["lever"]), "mgnMode": params.get("mgnMode", "cross"),
                 "instId": params.get("instId", ""), "posSide": "net"}]

    # Orders

    def _request(self, params: Params) -> Request:
        market = self._market(params)
        if params.get("ordType") not in KINDS:
            raise Refused("51000", "Parameter ordType error")
        kind, time_in_force = KINDS[params["ordType"]]
        size = _decimal(params, "sz")
        spends = kind == "market" and params["side"] == "buy" and not market.instrument.is_perpetual and (
            params.get("tgtCcy", "quote_ccy") == "quote_ccy")
        return Request(market.instrument.symbol, params["side"], kind, quantity=None if spends else size,
                       price=_decimal(params, "px") if kind == "limit" else None, time_in_force=time_in_force,
                       client_id=_client_id(params.get("clOrdId", "")), quote_quantity=size if spends else None,
                       reduce_only=str(params.get("reduceOnly", "")).lower() == "true")

    def _place_all(self, account: Account, content: Any) -> Any:
        return [self._each(asked, lambda asked: self.exchange.trading.place(account, self._request(asked)))
                for asked in (content if isinstance(content, list) else [content])]

    def _each(self, asked: Params, work: Callable[[Params], Order]) -> dict[str, str]:
        """Do one of several; a refusal is a part of the answer."""
        row = {"clOrdId": asked.get("clOrdId", ""), "ordId": asked.get("ordId", ""), "tag": asked.get("tag", ""),
               "ts": str(self.exchange.now), "sCode": "0", "sMsg": ""}
        try:
            order = work(asked)
        except Rejected as refusal:
            code, said = words.REFUSALS[refusal.reason]
            return row | {"sCode": code, "sMsg": said}
        except Refused as refusal:
            return row | {"sCode": refusal.code, "sMsg": refusal.words}
        return row | {"ordId": str(order.id), "clOrdId": order.client_id}

    def _place_algo(self, account: Account, params: Params) -> Any:
        market, price, stop = self._market(params), None, None
        for trigger, limit in (("triggerPx", "orderPx"), ("slTriggerPx", "slOrdPx"), ("tpTriggerPx", "tpOrdPx")):
            if params.get(trigger):
                stop = _decimal(params, trigger)
                price = None if str(params.get(limit, "-1")) == "-1" else _decimal(params, limit)
        if stop is None:
            raise Refused("51000", "Parameter triggerPx error")
        last = market.last_price * market.instrument.price_increment
        order = self.exchange.trading.place(account, Request(
            market.instrument.symbol, params["side"], "market" if price is None else "limit",
            quantity=_decimal(params, "sz"), price=price, stop_price=stop, triggers_above=stop > last,
            client_id=_client_id(params.get("algoClOrdId") or params.get("clOrdId", "")), label=params["ordType"],
            reduce_only=str(params.get("reduceOnly", "")).lower() == "true"))
        return [{"algoId": str(order.id), "algoClOrdId": order.client_id, "clOrdId": "", "sCode": "0", "sMsg": "",
                 "tag": ""}]

    def _find(self, account: Account, params: Params, by: str = "ordId", by_client: str = "clOrdId") -> Order | None:
        if params.get(by):
            return self.exchange.trading.by_id(account, int(params[by]))
        return self.exchange.trading.by_client_id(account, params.get(by_client, ""))

    def _order(self, account: Account, params: Params) -> Any:
        if (order := self._find(account, params)) is None:
            raise Refused("51603", "Order does not exist.")
        return [words.order_row(order)]

    def _algo(self, account: Account, params: Params) -> Any:
        if (order := self._find(account, params, "algoId", "algoClOrdId")) is None:
            raise Refused("51603", "Order does not exist.")
        return [words.algo_row(order)]

    def _list(self, account: Account, params: Params, *, is_open: bool) -> Any:
        found = [order for order in self.exchange.trading.orders_of(account) if order.status.is_open == is_open
                 and (order.stop is None or order.is_triggered)
                 and params.get("instId") in (None, words.inst_id(order.symbol))
                 and params.get("instType") in (None, words.inst_type(order.instrument))
                 and ("begin" not in params or order.created >= int(params["begin"]))
                 and ("after" not in params or order.id < int(params["after"]))]
        return [words.order_row(order) for order in reversed(found[-min(int(params.get("limit", 100)), 100):])]

    def _algos(self, account: Account, params: Params) -> Any:
        return [words.algo_row(order) for order in reversed(self.exchange.trading.open_orders(account))
                if order.stop is not None and not order.is_triggered
                and params.get("instId") in (None, words.inst_id(order.symbol))]

    def _cancel_all(self, account: Account, content: Any) -> Any:
        return [self._each(asked, lambda asked: self.exchange.trading.cancel(account, self._find(account, asked)))
                for asked in (content if isinstance(content, list) else [content])]

    def _cancel_algos(self, account: Account, content: Any) -> Any:
        rows = [self._each(asked, lambda asked: self.exchange.trading.cancel(account, self._find(
            account, asked, "algoId", "algoClOrdId"))) for asked in content]
        return [row | {"algoId": row["ordId"], "algoClOrdId": row["clOrdId"]} for row in rows]

    def _cancel_all_after(self, account: Account, params: Params) -> Any:
        """The dead-man's switch: cancel everything unless asked again within so many seconds of wall time; 0 stops."""
        seconds = int(params["timeOut"])
        if (before := self._switches.pop(account.name, None)) is not None:
            before.cancel()
        if seconds:
            self._switches[account.name] = asyncio.get_running_loop().call_later(seconds, self._fall, account)
        return [{"triggerTime": str(self.clock.wall + seconds * 1000) if seconds else "0", "tag": "",
                 "ts": str(self.clock.wall)}]

    def _fall(self, account: Account) -> None:
        for order in self.exchange.trading.open_orders(account):
            self.exchange.trading.cancel(account, order)

    def _amend(self, account: Account, params: Params) -> Any:
        def work(asked: Params) -> Order:
            return self.exchange.trading.amend(
                account, self._find(account, asked), price=_decimal(asked, "newPx") if asked.get("newPx") else None,
                quantity=_decimal(asked, "newSz") if asked.get("newSz") else None)

        return [self._each(params, work)]

    def _fills(self, account: Account, params: Params) -> Any:
        found: list[tuple[Order, Fill]] = [
            (order, fill) for order, fill in self.exchange.trading.fills_of(account)
            if params.get("instId") in (None, words.inst_id(order.symbol))
            and params.get("ordId") in (None, str(order.id))
            and params.get("instType") in (None, words.inst_type(order.instrument))
            and ("begin" not in params or fill.time >= int(params["begin"]))
            and ("end" not in params or fill.time <= int(params["end"]))
            and ("after" not in params or int(f"{fill.trade_id}{order.id}") < int(params["after"]))]
        return [words.fill_row(order, fill) for order, fill in
                reversed(found[-min(int(params.get("limit", 100)), 100):])]


def _answered(work: Callable[[], Any]) -> Answer:
    try:
        data = work()
    except Rejected as refusal:
        code, said = words.REFUSALS[refusal.reason]
        return Answer.json({"code": code, "msg": said, "data": []})
    except Refused as refusal:
        return Answer.json({"code": refusal.code, "msg": refusal.words, "data": []}, refusal.status)
    failed = [row for row in data if isinstance(row, dict) and row.get("sCode", "0") != "0"]
    code = "0" if not failed else "1" if len(failed) == len(data) else "2"
    said = {"0": "", "1": "All operations failed", "2": "Bulk operation partially succeeded"}[code]
    return Answer.json({"code": code, "msg": said, "data": data})


def _client_id(given: str) -> str:
    if given and not (given.isalnum() and given.isascii() and len(given) <= 32):
        raise Refused("51000", "Parameter clOrdId error")
    return given


def _decimal(params: Params, name: str) -> Decimal:
    try:
        number = Decimal(str(params[name]))
    except (KeyError, InvalidOperation):
        raise Refused("51000", f"Parameter {name} error") from None
    if not number.is_finite() or number < 0:
        raise Refused("51000", f"Parameter {name} error")
    return number
