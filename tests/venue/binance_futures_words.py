"""How Binance's USDT-margined futures write what the exchange knows, where that differs from spot."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.venue import binance_words
from tests.venue.accounts import Account
from tests.venue.binance_words import EXECUTION, STATUS, eight, symbol_id
from tests.venue.funding import Paid
from tests.venue.instruments import Instrument
from tests.venue.market import Market
from tests.venue.orders import Fill, Order, Reason, Status

REFUSALS = binance_words.REFUSALS | {
    Reason.BALANCE: (-2019, "Margin is insufficient."),
    Reason.NOTIONAL: (-4164, "Order's notional must be no smaller than the minimum (unless you choose reduce only)."),
    Reason.WOULD_TAKE: (-5022, "Post Only order will be rejected."),
    Reason.WOULD_TRIGGER: (-2021, "Order would immediately trigger."),
    Reason.DUPLICATE: (-4116, "clientOrderId is duplicated."),
}
ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"]


def market_info(i: Instrument) -> dict[str, Any]:
    """Return a symbol of /fapi/v1/exchangeInfo."""
    return {
        "symbol": symbol_id(i.symbol), "pair": symbol_id(i.symbol), "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000, "onboardDate": 1_569_398_400_000,
        "status": "TRADING" if i.is_trading else "SETTLING", "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000", "baseAsset": i.base, "quoteAsset": i.quote, "marginAsset": i.settle,
        "pricePrecision": 2, "quantityPrecision": 3, "baseAssetPrecision": 8, "quotePrecision": 8,
        "underlyingType": "COIN", "underlyingSubType": ["PoW"], "triggerProtect": "0.0500",
        "liquidationFee": "0.012500", "marketTakeBound": "0.05", "orderTypes": ORDER_TYPES,
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": str(i.price_increment), "maxPrice": "4529764",
             "tickSize": str(i.price_increment)},
            {"filterType": "LOT_SIZE", "minQty": str(i.min_quantity), "maxQty": str(i.max_quantity),
             "stepSize": str(i.quantity_increment)},
            {"filterType": "MARKET_LOT_SIZE", "minQty": str(i.min_quantity), "maxQty": str(i.max_quantity),
             "stepSize": str(i.quantity_increment)},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200}, {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": str(i.min_notional)},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "5", "multiplierDown": "0.2", "multiplierDecimal": "4"},
        ]}


def order_type(order: Order) -> str:
    return order.label or order.kind.upper()


def time_in_force(order: Order) -> str:
    return {"POST": "GTX"}.get(order.time_in_force, order.time_in_force)


def order_row(order: Order) -> dict[str, Any]:
    """Return an order as /fapi/v1/order has it."""
    i, average = order.instrument, order.average
    return {
        "orderId": order.id, "symbol": symbol_id(order.symbol), "status": STATUS[order.status],
        "clientOrderId": order.client_id, "price": i.price(order.price or 0),
        "avgPrice": eight(average) if average is not None else "0.00", "origQty": i.quantity(order.quantity),
        "executedQty": i.quantity(order.filled), "cumQty": i.quantity(order.filled),
        "cumQuote": eight(i.value(order.value)), "timeInForce": time_in_force(order), "type": order_type(order),
        "reduceOnly": order.reduce_only, "closePosition": False, "side": order.side.upper(), "positionSide": "BOTH",
        "stopPrice": i.price(order.stop or 0), "workingType": "CONTRACT_PRICE", "priceProtect": False,
        "origType": order_type(order), "priceMatch": "NONE", "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0, "time": order.created, "updateTime": order.updated}


def algo_row(order: Order) -> dict[str, Any]:
    """Return an order that waits for its trigger, as /fapi/v1/algoOrder has it."""
    i = order.instrument
    state = "NEW" if order.status is Status.UNTRIGGERED else "TRIGGERED" if order.is_triggered else "CANCELED"
    return {"algoId": order.id, "clientAlgoId": order.client_id, "algoType": "CONDITIONAL",
            "orderType": order_type(order), "symbol": symbol_id(order.symbol), "side": order.side.upper(),
            "positionSide": "BOTH", "timeInForce": time_in_force(order), "quantity": i.quantity(order.quantity),
            "algoStatus": state,
            "triggerPrice": i.price(order.stop or 0), "price": i.price(order.price or 0),
            "workingType": "CONTRACT_PRICE",
            "reduceOnly": order.reduce_only, "closePosition": False, "createTime": order.created,
            "updateTime": order.updated, "actualOrderId": str(order.id) if order.is_triggered else ""}


def fill_row(order: Order, fill: Fill) -> dict[str, Any]:
    i = order.instrument
    return {"symbol": symbol_id(order.symbol), "id": fill.trade_id, "orderId": order.id, "side": order.side.upper(),
            "price": i.price(fill.price), "qty": i.quantity(fill.quantity), "realizedPnl": eight(fill.realised),
            "quoteQty": eight(i.value(fill.price * fill.quantity)), "commission": eight(fill.fee),
            "commissionAsset": fill.fee_asset, "time": fill.time, "positionSide": "BOTH",
            "buyer": order.side == "buy", "maker": fill.is_maker}


def income_row(paid: Paid) -> dict[str, Any]:
    return {"symbol": symbol_id(paid.symbol), "incomeType": "FUNDING_FEE", "income": eight(paid.amount),
            "asset": "USDT", "info": "FUNDING_FEE", "time": paid.time, "tranId": paid.time, "tradeId": ""}


def position_row(account: Account, market: Market, now: int) -> dict[str, Any]:
    i, position = market.instrument, account.positions[market.instrument.symbol]
    average = position.cost * i.price_increment / position.lots if position.lots else Decimal(0)
    value = i.value(market.last_price * position.lots)
    margin = abs(i.value(position.cost)) / account.leverage
    return {"symbol": symbol_id(i.symbol), "positionSide": "BOTH", "positionAmt": i.quantity(position.lots),
            "entryPrice": eight(average), "breakEvenPrice": eight(average), "markPrice": i.price(market.last_price),
            "unRealizedProfit": eight(value - i.value(position.cost)), "liquidationPrice": "0",
            "isolatedMargin": "0", "notional": eight(value), "marginAsset": i.settle, "isolatedWallet": "0",
            "initialMargin": eight(margin), "maintMargin": eight(abs(value) * Decimal("0.005")),
            "positionInitialMargin": eight(margin), "openOrderInitialMargin": "0", "adl": 1, "bidNotional": "0",
            "askNotional": "0", "leverage": str(account.leverage), "marginType": "cross", "updateTime": now}


def account_row(account: Account, markets: dict[str, Market], unrealised: Decimal, available: Decimal,
                now: int) -> dict[str, Any]:
    """Return /fapi/v3/account."""
    wallet = account.balance("USDT").total
    asset = {"asset": "USDT", "walletBalance": eight(wallet), "unrealizedProfit": eight(unrealised),
             "marginBalance": eight(wallet + unrealised), "maintMargin": "0", "initialMargin": "0",
             "positionInitialMargin": "0", "openOrderInitialMargin": "0", "crossWalletBalance": eight(wallet),
             "crossUnPnl": eight(unrealised), "availableBalance": eight(available),
             "maxWithdrawAmount": eight(available), "updateTime": now}
    return {"totalWalletBalance": eight(wallet), "totalUnrealizedProfit": eight(unrealised),
            "totalMarginBalance": eight(wallet + unrealised), "availableBalance": eight(available), "assets": [asset],
            "positions": [position_row(account, markets[symbol], now) for symbol in account.positions]}


def order_event(order: Order, what: str, fill: Fill | None, now: int) -> dict[str, Any]:
    """Return ORDER_TRADE_UPDATE."""
    i, average = order.instrument, order.average
    return {"e": "ORDER_TRADE_UPDATE", "T": now, "E": now, "o": {
        "s": symbol_id(order.symbol), "c": order.client_id, "S": order.side.upper(), "o": order_type(order),
        "f": time_in_force(order), "q": i.quantity(order.quantity), "p": i.price(order.price or 0),
        "ap": eight(average) if average is not None else "0", "sp": i.price(order.stop or 0),
        "x": {"amended": "AMENDMENT"}.get(what, EXECUTION[what]), "X": STATUS[order.status], "i": order.id,
        "l": i.quantity(fill.quantity if fill else 0), "z": i.quantity(order.filled),
        "L": i.price(fill.price if fill else 0), "N": fill.fee_asset if fill else None,
        "n": eight(fill.fee) if fill else "0", "T": order.updated, "t": fill.trade_id if fill else 0, "b": "0",
        "a": "0", "m": bool(fill and fill.is_maker), "R": order.reduce_only, "wt": "CONTRACT_PRICE",
        "ot": order_type(order), "ps": "BOTH", "cp": False, "rp": eight(fill.realised) if fill else "0",
        "V": "EXPIRE_MAKER"}}


def account_event(account: Account, markets: dict[str, Market], now: int) -> dict[str, Any]:
    """Return ACCOUNT_UPDATE."""
    wallet = eight(account.balance("USDT").total)
    rows = (position_row(account, markets[symbol], now) for symbol in account.positions)
    return {"e": "ACCOUNT_UPDATE", "E": now, "T": now, "a": {
        "m": "ORDER", "B": [{"a": "USDT", "wb": wallet, "cw": wallet, "bc": "0"}],
        "P": [{"s": row["symbol"], "pa": row["positionAmt"], "ep": row["entryPrice"], "bep": row["breakEvenPrice"],
               "cr": "0", "up": row["unRealizedProfit"], "mt": "cross", "iw": "0", "ps": "BOTH"} for row in rows]}}
