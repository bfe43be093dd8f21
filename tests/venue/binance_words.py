"""How Binance writes what the exchange knows: orders, fills, candles, books, and refusals."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.venue.accounts import Account
from tests.venue.candles import TIMEFRAMES, Candle
from tests.venue.instruments import Instrument
from tests.venue.market import Levels, Trade
from tests.venue.orders import Fill, Order, Reason, Rejected, Status
from tests.venue.web import VenueWords


def _error(code: int, words: str) -> str:
    return json.dumps({"code": code, "msg": words})


WORDS = VenueWords(
    overloaded=(503, _error(-1008, "Server is currently overloaded with other requests. Please try again in a few "
                                   "minutes.")),
    maintenance=(503, _error(-1016, "This service is no longer available.")),
    rate_limit=(429, _error(-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. "
                                   "Please use WebSocket Streams for live updates to avoid polling the API.")),
    ban=(418, _error(-1003, "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams "
                            "for live updates to avoid bans.")),
)

REFUSALS = {
    Reason.UNKNOWN_SYMBOL: (-1121, "Invalid symbol."),
    Reason.NOT_TRADING: (-1013, "Market is closed."),
    Reason.PRICE: (-1013, "Filter failure: PRICE_FILTER"),
    Reason.QUANTITY: (-1013, "Filter failure: LOT_SIZE"),
    Reason.NOTIONAL: (-1013, "Filter failure: NOTIONAL"),
    Reason.FAR_PRICE: (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    Reason.BALANCE: (-2010, "Account has insufficient balance for requested action."),
    Reason.DUPLICATE: (-2010, "Duplicate order sent."),
    Reason.WOULD_TAKE: (-2010, "Order would immediately match and take."),
    Reason.WOULD_TRIGGER: (-2010, "Stop price would trigger immediately."),
    Reason.UNKNOWN_ORDER: (-2011, "Unknown order sent."),
    Reason.TOO_MANY: (-1013, "Filter failure: MAX_NUM_ORDERS"),
    Reason.NO_LIQUIDITY: (-2010, "Market orders are not supported for this symbol."),
    Reason.REDUCE_ONLY: (-2022, "ReduceOnly Order is rejected."),
    Reason.AMEND: (-2038, "The requested action would change no state; rejecting."),
}

STATUS = {
    Status.UNTRIGGERED: "NEW", Status.NEW: "NEW", Status.PARTIALLY_FILLED: "PARTIALLY_FILLED",
    Status.FILLED: "FILLED", Status.CANCELLED: "CANCELED", Status.EXPIRED: "EXPIRED", Status.REJECTED: "REJECTED",
}
INTERVALS = TIMEFRAMES
NAMES = {duration: name for name, duration in TIMEFRAMES.items()}


class Refused(Exception):
    """An answer that is an error: HTTP status, Binance's code and message."""

    def __init__(self, code: int, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.code, self.words, self.status = code, words, status

    @classmethod
    def of(cls, refusal: Rejected) -> Refused:
        return cls(*REFUSALS[refusal.reason])


def symbol_id(symbol: str) -> str:
    """Return Binance's name of a market: BTCUSDT."""
    return symbol.partition(":")[0].replace("/", "")


def eight(number: Decimal) -> str:
    return format(number.quantize(Decimal("0.00000001")), "f")


def market_info(instrument: Instrument) -> dict[str, Any]:
    """Return a symbol of /api/v3/exchangeInfo."""
    i = instrument
    return {
        "symbol": symbol_id(i.symbol), "status": "TRADING" if i.is_trading else "BREAK", "baseAsset": i.base,
        "baseAssetPrecision": 8, "quoteAsset": i.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT",
                       "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": False, "ocoAllowed": False, "otoAllowed": False, "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False, "cancelReplaceAllowed": True, "amendAllowed": True, "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False, "permissions": [], "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": str(i.price_increment), "maxPrice": "1000000.00000000",
             "tickSize": str(i.price_increment)},
            {"filterType": "LOT_SIZE", "minQty": str(i.min_quantity), "maxQty": str(i.max_quantity),
             "stepSize": str(i.quantity_increment)},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": str(i.max_quantity),
             "stepSize": "0.00000000"},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": str(i.min_notional), "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
    }


def kline(i: Instrument, candle: Candle, duration: int) -> list[Any]:
    return [candle.open_time, i.price(candle.open), i.price(candle.high), i.price(candle.low), i.price(candle.close),
            i.quantity(candle.volume), candle.open_time + duration - 1, eight(i.value(candle.value)), candle.prints,
            i.quantity(candle.taker_buys),
            eight(i.value(candle.value * candle.taker_buys // max(1, candle.volume))), "0"]


def kline_event(i: Instrument, candle: Candle, duration: int, now: int, *, is_closed: bool) -> dict[str, Any]:
    row = kline(i, candle, duration)
    return {"e": "kline", "E": now, "s": symbol_id(i.symbol), "k": {
        "t": row[0], "T": row[6], "s": symbol_id(i.symbol), "i": NAMES[duration], "f": 0, "L": 0, "o": row[1],
        "c": row[4], "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": is_closed, "q": row[7], "V": row[9],
        "Q": row[10], "B": "0"}}


def book_side(i: Instrument, levels: Levels) -> list[list[str]]:
    return [[i.price(price), i.quantity(lots)] for price, lots in levels]


def trade_row(i: Instrument, trade: Trade) -> dict[str, Any]:
    return {"id": trade.id, "price": i.price(trade.price), "qty": i.quantity(trade.quantity),
            "quoteQty": eight(i.value(trade.price * trade.quantity)), "time": trade.time,
            "isBuyerMaker": trade.side == "sell", "isBestMatch": True}


def aggregate_trade(i: Instrument, trade: Trade) -> dict[str, Any]:
    return {"a": trade.id, "p": i.price(trade.price), "q": i.quantity(trade.quantity), "f": trade.id, "l": trade.id,
            "T": trade.time, "m": trade.side == "sell", "M": True}


def order_type(order: Order) -> str:
    if order.label:
        return order.label
    return "LIMIT_MAKER" if order.time_in_force == "POST" else order.kind.upper()


def order_row(order: Order) -> dict[str, Any]:
    """Return an order as GET /api/v3/order has it."""
    i = order.instrument
    return {
        "symbol": symbol_id(order.symbol), "orderId": order.id, "orderListId": -1, "clientOrderId": order.client_id,
        "price": i.price(order.price or 0), "origQty": i.quantity(order.quantity),
        "executedQty": i.quantity(order.filled), "cummulativeQuoteQty": eight(i.value(order.value)),
        "status": STATUS[order.status], "timeInForce": _time_in_force(order), "type": order_type(order),
        "side": order.side.upper(), "stopPrice": i.price(order.stop or 0), "icebergQty": "0.00000000",
        "time": order.created, "updateTime": order.updated, "isWorking": order.status is not Status.UNTRIGGERED,
        "workingTime": order.created, "origQuoteOrderQty": eight(order.quote_budget or Decimal(0)),
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def placed_row(order: Order, now: int, *, full: bool) -> dict[str, Any]:
    """Return the answer to POST /api/v3/order."""
    row = order_row(order)
    row["transactTime"] = now
    for name in ("time", "updateTime", "isWorking", "icebergQty"):
        del row[name]
    if full:
        i = order.instrument
        row["fills"] = [{"price": i.price(fill.price), "qty": i.quantity(fill.quantity), "commission": eight(fill.fee),
                         "commissionAsset": fill.fee_asset, "tradeId": fill.trade_id} for fill in order.fills]
    return row


def cancelled_row(order: Order, now: int) -> dict[str, Any]:
    row = placed_row(order, now, full=False)
    row["origClientOrderId"], row["clientOrderId"] = order.client_id, f"cancel{order.id}"
    return row


def fill_row(order: Order, fill: Fill) -> dict[str, Any]:
    i = order.instrument
    return {"symbol": symbol_id(order.symbol), "id": fill.trade_id, "orderId": order.id, "orderListId": -1,
            "price": i.price(fill.price), "qty": i.quantity(fill.quantity),
            "quoteQty": eight(i.value(fill.price * fill.quantity)), "commission": eight(fill.fee),
            "commissionAsset": fill.fee_asset, "time": fill.time, "isBuyer": fill.side == "buy",
            "isMaker": fill.is_maker, "isBestMatch": True}


EXECUTION = {"new": "NEW", "fill": "TRADE", "cancelled": "CANCELED", "expired": "EXPIRED", "rejected": "REJECTED",
             "triggered": "NEW", "amended": "REPLACED"}


def execution_report(order: Order, what: str, fill: Fill | None, now: int) -> dict[str, Any]:
    i = order.instrument
    cancelled = what == "cancelled"
    return {
        "e": "executionReport", "E": now, "s": symbol_id(order.symbol),
        "c": f"cancel{order.id}" if cancelled else order.client_id, "S": order.side.upper(), "o": order_type(order),
        "f": _time_in_force(order), "q": i.quantity(order.quantity), "p": i.price(order.price or 0),
        "P": i.price(order.stop or 0), "F": "0.00000000", "g": -1, "C": order.client_id if cancelled else "",
        "x": EXECUTION[what], "X": STATUS[order.status], "r": "NONE", "i": order.id,
        "l": i.quantity(fill.quantity if fill else 0), "z": i.quantity(order.filled),
        "L": i.price(fill.price if fill else 0), "n": eight(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else None, "T": order.updated, "t": fill.trade_id if fill else -1,
        "I": order.id * 1000 + len(order.fills), "w": order.status is Status.NEW,
        "m": bool(fill and fill.is_maker), "M": False, "O": order.created, "Z": eight(i.value(order.value)),
        "Y": eight(i.value(fill.price * fill.quantity)) if fill else "0.00000000",
        "Q": eight(order.quote_budget or Decimal(0)), "W": order.created, "V": "EXPIRE_MAKER",
    }


def account_position(account: Account, assets: tuple[str, ...], now: int) -> dict[str, Any]:
    return {"e": "outboundAccountPosition", "E": now, "u": now, "B": [
        {"a": asset, "f": eight(account.balance(asset).free), "l": eight(account.balance(asset).locked)}
        for asset in assets]}


def account_row(account: Account, now: int) -> dict[str, Any]:
    return {
        "makerCommission": 10, "takerCommission": 10, "buyerCommission": 0, "sellerCommission": 0,
        "commissionRates": {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000",
                            "seller": "0.00000000"},
        "canTrade": True, "canWithdraw": account.can_withdraw, "canDeposit": True, "brokered": False,
        "requireSelfTradePrevention": False, "preventSor": False, "updateTime": now, "accountType": "SPOT",
        "balances": [{"asset": asset, "free": eight(balance.free), "locked": eight(balance.locked)}
                     for asset, balance in account.balances.items()],
        "permissions": ["SPOT"], "uid": 354937868}


def _time_in_force(order: Order) -> str:
    return order.time_in_force if order.time_in_force in ("GTC", "IOC", "FOK") else "GTC"
