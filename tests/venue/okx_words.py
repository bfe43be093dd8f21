"""How OKX writes what the exchange knows. Sizes of perpetuals are in contracts; fees that are paid are negative."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from zlib import crc32

from tests.venue.accounts import Account
from tests.venue.candles import TIMEFRAMES, Candle
from tests.venue.instruments import Instrument
from tests.venue.market import Levels, Market, Trade
from tests.venue.orders import Fill, Order, Reason, Status
from tests.venue.web import VenueWords


def _error(code: str, words: str) -> str:
    return json.dumps({"code": code, "msg": words, "data": []})


WORDS = VenueWords(
    overloaded=(200, _error("50013", "Systems are busy. Please try again later.")),
    maintenance=(503, _error("50001", "Service temporarily unavailable. Please try again later.")),
    rate_limit=(429, _error("50011", "Requests too frequent.")),
    ban=(429, _error("50011", "Requests too frequent.")),
)

REFUSALS = {
    Reason.UNKNOWN_SYMBOL: ("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."),
    Reason.NOT_TRADING: ("51021", "The contract is being prepared for trading."),
    Reason.PRICE: ("51000", "Parameter px error"),
    Reason.QUANTITY: ("51121", "Order quantity must be a multiple of the lot size."),
    Reason.NOTIONAL: ("51020", "Your order should meet or exceed the minimum order amount."),
    Reason.FAR_PRICE: ("51006", "Order price is not within the price limit."),
    Reason.BALANCE: ("51008", "Order failed. Insufficient balance in account."),
    Reason.DUPLICATE: ("51016", "Client order ID already exists."),
    Reason.WOULD_TAKE: ("51006", "Order price is not within the price limit."),
    Reason.WOULD_TRIGGER: ("51280", "SL trigger price must be less than the last price."),
    Reason.UNKNOWN_ORDER: ("51400", "Cancellation failed as the order has been filled, canceled or does not exist."),
    Reason.TOO_MANY: ("51174", "The number of pending orders reached the upper limit."),
    Reason.NO_LIQUIDITY: ("51109", "No available offer."),
    Reason.REDUCE_ONLY: ("51169", "Order failed because you don't have any positions in this direction."),
    Reason.AMEND: ("51503", "Order modification failed as the order has been filled, canceled or does not exist."),
}

STATUS = {Status.UNTRIGGERED: "live", Status.NEW: "live", Status.PARTIALLY_FILLED: "partially_filled",
          Status.FILLED: "filled", Status.CANCELLED: "canceled", Status.EXPIRED: "canceled",
          Status.REJECTED: "canceled"}
BARS = {name.upper() if name[-1] in "hdw" else name: duration for name, duration in TIMEFRAMES.items()}
BARS |= {name + "utc": duration for name, duration in BARS.items() if name[-1] in "HDW"}


class Refused(Exception):
    """An answer that is an error: OKX's code and message, HTTP status."""

    def __init__(self, code: str, words: str, status: int = 200) -> None:
        super().__init__(words)
        self.code, self.words, self.status = code, words, status


def inst_id(symbol: str) -> str:
    """Return OKX's name: BTC-USDT, BTC-USDT-SWAP."""
    pair, _, settle = symbol.partition(":")
    return pair.replace("/", "-") + ("-SWAP" if settle else "")


def inst_type(instrument: Instrument) -> str:
    return "SWAP" if instrument.is_perpetual else "SPOT"


def market_info(i: Instrument) -> dict[str, Any]:
    swap = i.is_perpetual
    return {
        "alias": "", "auctionEndTime": "", "baseCcy": "" if swap else i.base, "category": "1",
        "contTdSwTime": "", "ctMult": "1" if swap else "", "ctType": "linear" if swap else "",
        "ctVal": str(i.contract_size) if swap else "", "ctValCcy": i.base if swap else "", "expTime": "",
        "instFamily": f"{i.base}-{i.quote}" if swap else "", "instId": inst_id(i.symbol), "instType": inst_type(i),
        "lever": "100" if swap else "", "listTime": "1535424203000", "lotSz": str(i.quantity_increment),
        "maxLmtAmt": "20000000", "maxLmtSz": str(i.max_quantity), "maxMktAmt": "1000000",
        "maxMktSz": str(i.max_quantity), "minSz": str(i.min_quantity), "optType": "",
        "quoteCcy": "" if swap else i.quote, "ruleType": "normal", "settleCcy": i.settle or "",
        "state": "live" if i.is_trading else "suspend", "stk": "", "tickSz": str(i.price_increment),
        "uly": f"{i.base}-{i.quote}" if swap else ""}


def candle_row(i: Instrument, candle: Candle, *, is_closed: bool) -> list[str]:
    base = candle.volume * i.quantity_increment * i.contract_size
    return [str(candle.open_time), i.price(candle.open), i.price(candle.high), i.price(candle.low),
            i.price(candle.close), i.quantity(candle.volume), format(base, "f") if i.is_perpetual
            else plain(i.value(candle.value)), plain(i.value(candle.value)), "1" if is_closed else "0"]


def plain(number: Decimal) -> str:
    return format(number.normalize(), "f") if number else "0"


def book_side(i: Instrument, levels: Levels) -> list[list[str]]:
    return [[i.price(price), i.quantity(lots), "0", "1" if lots else "0"] for price, lots in levels]


def trade_row(i: Instrument, trade: Trade) -> dict[str, str]:
    return {"instId": inst_id(i.symbol), "side": trade.side, "sz": i.quantity(trade.quantity),
            "px": i.price(trade.price), "tradeId": str(trade.id), "ts": str(trade.time)}


def ticker_row(market: Market, day: Candle | None, now: int) -> dict[str, str]:
    i = market.instrument
    bids, asks = market.levels(1)
    last = market.last_price
    trade = market.trades[-1] if market.trades else None
    opened, high, low = (day.open, day.high, day.low) if day else (last, last, last)
    volume, value = (day.volume, day.value) if day else (0, 0)
    base = volume * i.quantity_increment * i.contract_size
    return {"instType": inst_type(i), "instId": inst_id(i.symbol), "last": i.price(last),
            "lastSz": i.quantity(trade.quantity if trade else 0), "askPx": i.price(asks[0][0]) if asks else "",
            "askSz": i.quantity(asks[0][1]) if asks else "", "bidPx": i.price(bids[0][0]) if bids else "",
            "bidSz": i.quantity(bids[0][1]) if bids else "", "open24h": i.price(opened), "high24h": i.price(high),
            "low24h": i.price(low), "volCcy24h": plain(base if i.is_perpetual else i.value(value)),
            "vol24h": i.quantity(volume), "sodUtc0": i.price(opened), "sodUtc8": i.price(opened), "ts": str(now)}


def order_type(order: Order) -> str:
    if order.kind == "market":
        return "market"
    return {"POST": "post_only", "IOC": "ioc", "FOK": "fok"}.get(order.time_in_force, "limit")


def order_row(order: Order, fill: Fill | None = None) -> dict[str, Any]:
    """Return an order as trade/order has it, and as the orders channel has it when `fill` is the last one."""
    i = order.instrument
    last = fill or (order.fills[-1] if order.fills else None)
    fees = order.fees
    asset = next(iter(fees), i.settle or (i.base if order.side == "buy" else i.quote))
    source = "31" if order.why.startswith("post-only") else "1" if order.status is Status.CANCELLED else ""
    average = order.average
    return {
        "accFillSz": i.quantity(order.filled), "algoClOrdId": "", "algoId": "", "attachAlgoOrds": [],
        "avgPx": plain(average) if average is not None else "", "cTime": str(order.created), "cancelSource": source,
        "cancelSourceReason": order.why, "category": "normal", "ccy": "", "clOrdId": order.client_id,
        "fee": plain(-fees.get(asset, Decimal(0))), "feeCcy": asset, "fillPx": i.price(last.price) if last else "",
        "fillSz": i.quantity(last.quantity) if last else "", "fillTime": str(last.time) if last else "",
        "instId": inst_id(order.symbol), "instType": inst_type(i), "lever": "10" if i.is_perpetual else "",
        "ordId": str(order.id), "ordType": order_type(order), "pnl": "0", "posSide": "net" if i.is_perpetual else "",
        "px": i.price(order.price) if order.price is not None else "", "rebate": "0", "rebateCcy": i.quote,
        "reduceOnly": str(order.reduce_only).lower(), "side": order.side, "source": "", "state": STATUS[order.status],
        "stpMode": "cancel_maker", "sz": i.quantity(order.quantity), "tag": "",
        "tdMode": "cross" if i.is_perpetual else "cash",
        "tgtCcy": "" if i.is_perpetual else "quote_ccy" if order.quote_budget else "base_ccy",
        "tradeId": str(last.trade_id) if last else "", "uTime": str(order.updated)}


def channel_row(order: Order, fill: Fill | None) -> dict[str, Any]:
    """Return an order as the orders channel tells of it."""
    row = order_row(order, fill)
    i = order.instrument
    row |= {"fillSz": i.quantity(fill.quantity) if fill else "0", "fillPx": i.price(fill.price) if fill else "",
            "tradeId": str(fill.trade_id) if fill else "", "fillTime": str(fill.time) if fill else "",
            "execType": ("M" if fill.is_maker else "T") if fill else "", "fillFee": plain(-fill.fee) if fill else "0",
            "fillFeeCcy": fill.fee_asset if fill else ""}
    return row


def algo_row(order: Order) -> dict[str, Any]:
    """Return an order that waits for its trigger."""
    i = order.instrument
    state = {"live": "live", "canceled": "canceled"}.get(STATUS[order.status], "effective")
    return {"algoId": str(order.id), "algoClOrdId": order.client_id, "instId": inst_id(order.symbol),
            "instType": inst_type(i), "ordType": order.label or "trigger", "side": order.side,
            "sz": i.quantity(order.quantity), "state": "effective" if order.is_triggered else state,
            "triggerPx": i.price(order.stop or 0), "triggerPxType": "last",
            "ordPx": i.price(order.price) if order.price is not None else "-1", "slTriggerPx": i.price(order.stop or 0),
            "slOrdPx": i.price(order.price) if order.price is not None else "-1", "tpTriggerPx": "", "tpOrdPx": "",
            "tdMode": "cross" if i.is_perpetual else "cash", "cTime": str(order.created), "uTime": str(order.updated),
            "ordId": str(order.id) if order.is_triggered else "", "actualSz": i.quantity(order.filled), "ccy": "",
            "lever": "", "posSide": "net", "tgtCcy": "", "tag": ""}


def fill_row(order: Order, fill: Fill) -> dict[str, str]:
    i = order.instrument
    return {"instType": inst_type(i), "instId": inst_id(order.symbol), "tradeId": str(fill.trade_id),
            "ordId": str(order.id), "clOrdId": order.client_id, "billId": f"{fill.trade_id}{order.id}", "tag": "",
            "fillPx": i.price(fill.price), "fillSz": i.quantity(fill.quantity), "side": fill.side, "posSide": "net",
            "execType": "M" if fill.is_maker else "T", "feeCcy": fill.fee_asset, "fee": plain(-fill.fee),
            "ts": str(fill.time), "fillTime": str(fill.time), "fillPnl": plain(fill.realised)}


def balance_rows(account: Account, now: int, assets: tuple[str, ...] | None = None,
                 unrealised: Decimal = Decimal(0)) -> list[dict[str, Any]]:
    """Return account/balance, of some assets or all."""
    details = []
    for asset, balance in account.balances.items():
        if assets is not None and asset not in assets:
            continue
        profit = unrealised if asset == "USDT" else Decimal(0)
        details.append({
            "availBal": plain(balance.free), "availEq": plain(balance.free + profit), "cashBal": plain(balance.total),
            "ccy": asset, "eq": plain(balance.total + profit), "eqUsd": plain(balance.total),
            "frozenBal": plain(balance.locked), "ordFrozen": plain(balance.locked), "upl": plain(profit),
            "liab": "", "interest": "", "uTime": str(now)})
    return [{"adjEq": "", "details": details, "imr": "", "isoEq": "0", "mgnRatio": "", "mmr": "", "notionalUsd": "",
             "ordFroz": "", "totalEq": "0", "uTime": str(now)}]


def position_rows(account: Account, markets: dict[str, Market], now: int) -> list[dict[str, Any]]:
    rows = []
    for symbol, position in account.positions.items():
        if position.lots == 0:
            continue
        market, i = markets[symbol], markets[symbol].instrument
        profit = i.value(market.last_price * position.lots - position.cost)
        average = position.cost * i.price_increment / position.lots
        rows.append({
            "instId": inst_id(symbol), "instType": "SWAP", "mgnMode": "cross", "posId": str(crc32(symbol.encode())),
            "posSide": "net", "pos": i.quantity(position.lots), "availPos": "", "avgPx": plain(average),
            "upl": plain(profit), "uplRatio": "", "lever": plain(account.leverage), "liqPx": "",
            "markPx": i.price(market.last_price), "last": i.price(market.last_price), "imr": "", "margin": "",
            "mgnRatio": "", "mmr": "", "notionalUsd": plain(abs(i.value(market.last_price * position.lots))),
            "ccy": i.settle, "cTime": str(now), "uTime": str(now), "realizedPnl": "0", "fundingFee": "0"})
    return rows
