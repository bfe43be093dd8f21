"""How Bybit (v5, unified account) writes what the exchange knows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.venue.accounts import Account
from tests.venue.candles import TIMEFRAMES, Candle
from tests.venue.funding import Paid
from tests.venue.instruments import Instrument
from tests.venue.market import Levels, Market, Trade
from tests.venue.orders import Fill, Order, Reason, Status
from tests.venue.web import VenueWords


def _error(code: int, words: str) -> str:
    return json.dumps({"retCode": code, "retMsg": words, "result": {}, "retExtInfo": {}, "time": 0})


WORDS = VenueWords(
    overloaded=(200, _error(10016, "Server error.")),
    maintenance=(503, _error(10016, "Service is restarting, please try again later.")),
    rate_limit=(200, _error(10006, "Too many visits!")),
    ban=(403, _error(10018, "Exceeded the IP Rate Limit.")),
)

REFUSALS = {
    Reason.UNKNOWN_SYMBOL: (10001, "params error: symbol invalid"),
    Reason.NOT_TRADING: (170139, "Trading pair is not open."),
    Reason.PRICE: (170134, "Order price has too many decimals."),
    Reason.QUANTITY: (170137, "Order quantity has too many decimals."),
    Reason.NOTIONAL: (170140, "Order value exceeded lower limit."),
    Reason.FAR_PRICE: (170133, "Order price lower than the minimum or higher than the maximum."),
    Reason.BALANCE: (170131, "Insufficient balance."),
    Reason.DUPLICATE: (170141, "Duplicate clientOrderId"),
    Reason.WOULD_TAKE: (170218, "The LIMIT-MAKER order is rejected due to invalid price."),
    Reason.WOULD_TRIGGER: (170132, "Trigger price would trigger at once."),
    Reason.UNKNOWN_ORDER: (170213, "Order does not exist."),
    Reason.TOO_MANY: (170210, "New order rejected."),
    Reason.NO_LIQUIDITY: (170210, "New order rejected."),
    Reason.REDUCE_ONLY: (110017, "Reduce-only rule not satisfied"),
    Reason.AMEND: (10001, "The order remains unchanged as the parameters entered match the existing ones."),
}
LINEAR = {
    Reason.PRICE: (110003, "Order price exceeds the allowable range."),
    Reason.QUANTITY: (10001, "Qty invalid"),
    Reason.NOTIONAL: (110094, "Order does not meet minimum order value 5USDT"),
    Reason.FAR_PRICE: (110003, "Order price exceeds the allowable range."),
    Reason.BALANCE: (110007, "ab not enough for new order"),
    Reason.DUPLICATE: (110072, "OrderLinkedID is duplicate"),
    Reason.WOULD_TRIGGER: (110092, "expect Rising, but trigger_price <= current"),
    Reason.UNKNOWN_ORDER: (110001, "order not exists or too late to cancel"),
    Reason.TOO_MANY: (110020, "You can't have more than 500 active orders."),
}
"""Where linear contracts say it otherwise than spot."""

INTERVALS = {str(duration // 60_000): duration for duration in TIMEFRAMES.values() if 60_000 <= duration < 86_400_000}
INTERVALS |= {"D": TIMEFRAMES["1d"], "W": TIMEFRAMES["1w"]}
NAMES = {duration: name for name, duration in INTERVALS.items()}


class Refused(Exception):
    """An answer that is an error: Bybit's code and message, HTTP status."""

    def __init__(self, code: int, words: str, status: int = 200) -> None:
        super().__init__(words)
        self.code, self.words, self.status = code, words, status


def symbol_id(symbol: str) -> str:
    return symbol.partition(":")[0].replace("/", "")


def category(instrument: Instrument) -> str:
    return "linear" if instrument.is_perpetual else "spot"


def plain(number: Decimal) -> str:
    return format(number.normalize(), "f") if number else "0"


def market_info(i: Instrument) -> dict[str, Any]:
    row: dict[str, Any] = {"symbol": symbol_id(i.symbol), "baseCoin": i.base, "quoteCoin": i.quote,
                           "status": "Trading" if i.is_trading else "Closed"}
    if not i.is_perpetual:
        return row | {
            "innovation": "0", "marginTrading": "none", "stTag": "0",
            "priceFilter": {"tickSize": str(i.price_increment)},
            "lotSizeFilter": {"basePrecision": format(i.quantity_increment, "f"), "quotePrecision": "0.00000001",
                              "minOrderQty": format(i.min_quantity, "f"), "maxOrderQty": str(i.max_quantity),
                              "minOrderAmt": str(i.min_notional), "maxOrderAmt": "8000000"}}
    return row | {
        "contractType": "LinearPerpetual", "launchTime": "1584230400000", "deliveryTime": "0", "deliveryFeeRate": "",
        "priceScale": "2", "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": str(i.price_increment), "maxPrice": "1999999.80",
                        "tickSize": str(i.price_increment)},
        "lotSizeFilter": {"maxOrderQty": str(i.max_quantity), "minOrderQty": format(i.min_quantity, "f"),
                          "qtyStep": format(i.quantity_increment, "f"), "postOnlyMaxOrderQty": str(i.max_quantity),
                          "maxMktOrderQty": str(i.max_quantity), "minNotionalValue": str(i.min_notional)},
        "unifiedMarginTrade": True, "fundingInterval": 480, "settleCoin": i.settle, "copyTrading": "none"}


def candle_row(i: Instrument, candle: Candle) -> list[str]:
    return [str(candle.open_time), i.price(candle.open), i.price(candle.high), i.price(candle.low),
            i.price(candle.close), i.quantity(candle.volume), plain(i.value(candle.value))]


def candle_event(i: Instrument, candle: Candle, duration: int, now: int, *, is_closed: bool) -> dict[str, Any]:
    row = candle_row(i, candle)
    return {"start": candle.open_time, "end": candle.open_time + duration - 1, "interval": NAMES[duration],
            "open": row[1], "close": row[4], "high": row[2], "low": row[3], "volume": row[5], "turnover": row[6],
            "confirm": is_closed, "timestamp": now}


def book_side(i: Instrument, levels: Levels) -> list[list[str]]:
    return [[i.price(price), i.quantity(lots)] for price, lots in levels]


def trade_row(i: Instrument, trade: Trade) -> dict[str, Any]:
    return {"execId": str(trade.id), "symbol": symbol_id(i.symbol), "price": i.price(trade.price),
            "size": i.quantity(trade.quantity), "side": trade.side.capitalize(), "time": str(trade.time),
            "isBlockTrade": False}


def trade_event(i: Instrument, trade: Trade) -> dict[str, Any]:
    return {"T": trade.time, "s": symbol_id(i.symbol), "S": trade.side.capitalize(), "v": i.quantity(trade.quantity),
            "p": i.price(trade.price), "L": "PlusTick", "i": str(trade.id), "BT": False}


def ticker_row(market: Market, day: Candle | None, funding: tuple[Decimal, int] | None) -> dict[str, str]:
    i, last = market.instrument, market.last_price
    bids, asks = market.levels(1)
    opened, high, low = (day.open, day.high, day.low) if day else (last, last, last)
    row = {"symbol": symbol_id(i.symbol), "lastPrice": i.price(last), "prevPrice24h": i.price(opened),
           "price24hPcnt": f"{(last - opened) / opened:.6f}", "highPrice24h": i.price(high),
           "lowPrice24h": i.price(low),
           "turnover24h": plain(i.value(day.value if day else 0)), "volume24h": i.quantity(day.volume if day else 0),
           "bid1Price": i.price(bids[0][0]) if bids else "", "bid1Size": i.quantity(bids[0][1]) if bids else "",
           "ask1Price": i.price(asks[0][0]) if asks else "", "ask1Size": i.quantity(asks[0][1]) if asks else ""}
    if funding is not None:
        row |= {"markPrice": i.price(last), "indexPrice": i.price(last), "fundingRate": plain(funding[0]),
                "nextFundingTime": str(funding[1]), "openInterest": "0", "openInterestValue": "0",
                "fundingIntervalHour": "8"}
    return row


def order_status(order: Order) -> str:
    match order.status:
        case Status.UNTRIGGERED:
            return "Untriggered"
        case Status.NEW:
            return "New"
        case Status.PARTIALLY_FILLED:
            return "PartiallyFilled"
        case Status.FILLED:
            return "Filled"
        case Status.REJECTED:
            return "Rejected"
    if order.stop is not None and not order.is_triggered:
        return "Deactivated"
    return "PartiallyFilledCanceled" if order.filled and not order.instrument.is_perpetual else "Cancelled"


def order_row(order: Order) -> dict[str, Any]:
    i = order.instrument
    average = order.average
    fees = order.fees
    left = order.remaining if order.status.is_open else 0
    post_only = order.why.startswith("post-only")
    return {
        "orderId": str(order.id), "orderLinkId": order.client_id, "symbol": symbol_id(order.symbol),
        "category": category(i), "price": i.price(order.price) if order.price is not None else "0",
        "qty": plain(order.quote_budget) if order.quote_budget else i.quantity(order.quantity),
        "side": order.side.capitalize(), "isLeverage": "0", "positionIdx": 0, "orderStatus": order_status(order),
        "cancelType": "CancelByUser" if order.status is Status.CANCELLED and not post_only else "UNKNOWN",
        "rejectReason": "EC_PostOnlyWillTakeLiquidity" if post_only else "EC_NoError",
        "avgPrice": plain(average) if average is not None else "", "leavesQty": i.quantity(left),
        "leavesValue": plain(i.value(left * (order.price or 0))), "cumExecQty": i.quantity(order.filled),
        "cumExecValue": plain(i.value(order.value)), "cumExecFee": plain(sum(fees.values(), Decimal(0))),
        "cumFeeDetail": {asset: plain(fee) for asset, fee in fees.items()},
        "timeInForce": "PostOnly" if order.time_in_force == "POST" else
        "IOC" if order.kind == "market" else order.time_in_force,
        "orderType": order.kind.capitalize(), "stopOrderType": "Stop" if order.stop is not None else "",
        "marketUnit": "quoteCoin" if order.quote_budget else "baseCoin" if order.kind == "market" else "",
        "triggerPrice": i.price(order.stop) if order.stop is not None else "",
        "triggerDirection": 0 if order.stop is None else 1 if order.triggers_above else 2, "triggerBy": "LastPrice",
        "takeProfit": "", "stopLoss": "", "reduceOnly": order.reduce_only, "closeOnTrigger": False,
        "feeCurrency": next(iter(fees), ""), "createdTime": str(order.created), "updatedTime": str(order.updated),
        "smpType": "CancelMaker", "placeType": "", **({"tpslMode": "Full"} if i.is_perpetual else {})}


def fill_row(order: Order, fill: Fill) -> dict[str, Any]:
    i = order.instrument
    return {"symbol": symbol_id(order.symbol), "category": category(i), "orderId": str(order.id),
            "orderLinkId": order.client_id, "side": fill.side.capitalize(),
            "orderPrice": i.price(order.price) if order.price is not None else "0",
            "orderQty": i.quantity(order.quantity), "leavesQty": i.quantity(order.remaining),
            "orderType": order.kind.capitalize(), "stopOrderType": "", "execFee": plain(fill.fee),
            "feeCurrency": fill.fee_asset, "execId": f"{fill.trade_id}-{order.id}", "execPrice": i.price(fill.price),
            "execQty": i.quantity(fill.quantity), "execType": "Trade",
            "execValue": plain(i.value(fill.price * fill.quantity)), "execTime": str(fill.time),
            "isMaker": fill.is_maker, "feeRate": str(i.maker_fee if fill.is_maker else i.taker_fee), "markPrice": "",
            "indexPrice": "", "closedSize": "", "seq": fill.trade_id}


def funding_row(paid: Paid, i: Instrument) -> dict[str, Any]:
    """Return a payment of funding as execution/list has it; what is paid is above zero."""
    return {"symbol": symbol_id(paid.symbol), "category": "linear", "orderId": "", "orderLinkId": "", "side": "Buy",
            "execFee": plain(-paid.amount), "feeRate": plain(paid.rate), "execId": f"funding-{paid.time}",
            "execType": "Funding", "execTime": str(paid.time), "execPrice": "0", "execQty": "0", "execValue": "0",
            "isMaker": False, "feeCurrency": i.settle}


def wallet(account: Account, unrealised: Decimal, assets: tuple[str, ...] | None = None) -> dict[str, Any]:
    coins = []
    for asset, balance in account.balances.items():
        if assets is None or asset in assets:
            profit = unrealised if asset == "USDT" else Decimal(0)
            coins.append({"coin": asset, "equity": plain(balance.total + profit), "walletBalance": plain(balance.total),
                          "locked": plain(balance.locked), "availableToWithdraw": "", "borrowAmount": "0",
                          "accruedInterest": "0", "totalOrderIM": "0", "totalPositionIM": "0", "totalPositionMM": "0",
                          "unrealisedPnl": plain(profit), "cumRealisedPnl": "0", "usdValue": "0", "bonus": "0",
                          "spotBorrow": "0", "collateralSwitch": True, "marginCollateral": True})
    return {"accountType": "UNIFIED", "totalEquity": "0", "totalWalletBalance": "0", "totalMarginBalance": "0",
            "totalAvailableBalance": "0", "totalPerpUPL": plain(unrealised), "totalInitialMargin": "0",
            "totalMaintenanceMargin": "0", "accountIMRate": "0", "accountMMRate": "0", "accountLTV": "0", "coin": coins}


def position_row(account: Account, market: Market, now: int) -> dict[str, Any]:
    i, position = market.instrument, account.positions[market.instrument.symbol]
    average = position.cost * i.price_increment / position.lots if position.lots else Decimal(0)
    value = abs(i.value(position.cost))
    return {"symbol": symbol_id(i.symbol), "category": "linear", "positionIdx": 0,
            "side": "Buy" if position.lots > 0 else "Sell" if position.lots else "",
            "size": i.quantity(abs(position.lots)),
            "avgPrice": plain(average), "entryPrice": plain(average), "positionValue": plain(value), "tradeMode": 0,
            "leverage": plain(account.leverage), "markPrice": i.price(market.last_price), "liqPrice": "",
            "positionIM": plain(value / account.leverage), "positionMM": plain(value * Decimal("0.005")),
            "unrealisedPnl": plain(i.value(market.last_price * position.lots - position.cost)),
            "cumRealisedPnl": "0", "positionStatus": "Normal", "createdTime": str(now), "updatedTime": str(now),
            "takeProfit": "", "stopLoss": "", "trailingStop": "", "adlRankIndicator": 0, "riskId": 1}
