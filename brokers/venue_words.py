"""Messages and reports in ccxt's words: what is asked of a venue, and what its answers mean. No I/O here."""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

from engine.errors import VenueError
from engine.instruments import Instrument
from engine.live.messages import OrderMessage
from engine.live.reports import Report, ReportKind

STOPS_AT_VENUE = ("binance", "binanceusdm", "bybit")
"""Venues whose stop orders are placed, found and listed as any other order is."""
FINAL = {"canceled": ReportKind.CANCELLED, "expired": ReportKind.EXPIRED, "rejected": ReportKind.REJECTED}


class Request(NamedTuple):
    """Arguments of ccxt's create_order."""

    symbol: str
    type: str
    side: str
    amount: float
    price: float | None
    params: dict[str, Any]


def request_of(message: OrderMessage, instrument: Instrument, venue: str) -> Request:
    """Return the request that a new order is.

    Raises:
        VenueError: the venue's test network does not take orders of this kind through ccxt.
    """
    params: dict[str, Any] = {"clientOrderId": message.client_order_id}
    stops = message.type in ("stop", "stop_limit")
    if message.type == "trailing_stop" or (stops and venue not in STOPS_AT_VENUE):
        raise VenueError(
            f"{message.type} orders are not placed at {venue}'s test network; use the paper broker for them"
        )
    if stops:
        assert message.stop_ticks is not None, "a stop has a price"
        params["triggerPrice"] = instrument.float_price(message.stop_ticks)
        if venue == "bybit":
            params["triggerDirection"] = "ascending" if message.side > 0 else "descending"
    if message.post_only:
        params["postOnly"] = True
    elif message.time_in_force in ("ioc", "fok") and message.limit_ticks is not None:
        params["timeInForce"] = message.time_in_force.upper()
    if message.reduce_only and instrument.is_contract:
        params["reduceOnly"] = True
    has_limit = message.limit_ticks is not None
    return Request(
        message.symbol, "limit" if has_limit else "market", "buy" if message.side > 0 else "sell",
        instrument.float_quantity(message.lots),
        instrument.float_price(message.limit_ticks) if message.limit_ticks is not None else None, params,
    )


def changed_increments(client: Any, request: Request, instrument: Instrument, message: OrderMessage) -> str:
    """Return why a venue would take an order for something else than we mean, or ""; ccxt rounds without a word."""
    amount = client.amount_to_precision(request.symbol, request.amount)
    if Decimal(amount) != instrument.to_quantity(message.lots):
        return f"quantity {instrument.to_quantity(message.lots)} is {amount} in the venue's increments now"
    if request.price is not None and message.limit_ticks is not None:
        price = client.price_to_precision(request.symbol, request.price)
        if Decimal(price) != instrument.to_price(message.limit_ticks):
            return f"price {instrument.to_price(message.limit_ticks)} is {price} in the venue's increments now"
    return ""


def lots_of(value: Any, instrument: Instrument) -> int:
    """Return a quantity of ccxt's as lots."""
    return int((_decimal(value) / instrument.quantity_increment).to_integral_value(ROUND_HALF_EVEN))


def fill_of(trade: Mapping[str, Any], message: OrderMessage, instrument: Instrument, received_at: int) -> Report:
    """Return the report of an execution.

    Raises:
        VenueError: the trade has no id, price or quantity.
    """
    identity, price, amount = trade.get("id"), trade.get("price"), trade.get("amount")
    if not identity or not price or not amount:
        raise VenueError(f"an execution of {message.client_order_id} came without id, price or quantity: {dict(trade)}")
    fee = trade.get("fee") or {}
    cost = fee.get("cost")
    ticks = int((_decimal(price) / instrument.price_increment).to_integral_value(ROUND_HALF_EVEN))
    return Report(
        ReportKind.FILLED, (trade.get("timestamp") or 0) * 1_000_000, received_at, message.order_id,
        venue_order_id=str(trade.get("order") or ""), symbol=message.symbol, lots=lots_of(amount, instrument),
        ticks=ticks, trade_id=str(identity), liquidity=trade.get("takerOrMaker") or "taker",
        fee=_decimal(cost) if cost is not None else Decimal(0), fee_currency=fee.get("currency") or "",
    )


def end_of(order: Mapping[str, Any], message: OrderMessage, instrument: Instrument, received_at: int, filled: int) -> (
    Report | None
):
    """Return the report of an order's end, other than by being filled; None while it is open.

    Args:
        filled: what it had filled by then, in lots, replaced orders included.
    """
    kind = FINAL.get(order.get("status") or "")
    if kind is None:
        return None
    if kind is ReportKind.REJECTED and filled:
        kind = ReportKind.CANCELLED
    time = (order.get("lastUpdateTimestamp") or order.get("timestamp") or 0) * 1_000_000
    return Report(
        kind, time, received_at, message.order_id, f"the venue says {order['status']}", str(order["id"]),
        symbol=message.symbol, lots=filled,
    )


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))
