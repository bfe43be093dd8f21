"""Messages in ccxt's words, and its answers in ours."""

from decimal import Decimal
from typing import Any

import pytest

from brokers.venue_words import end_of, fill_of, request_of
from engine import Instrument
from engine.errors import VenueError
from engine.live.messages import OrderMessage
from engine.live.reports import ReportKind

BTC = Instrument("BTC/USDT", quote="USDT", base="BTC", quantity_increment=Decimal("0.001"))
PERP = Instrument("BTC/USDT:USDT", quote="USDT", base="BTC", kind="perpetual", quantity_increment=Decimal(1))


def message(kind: str = "market", side: int = 1, **terms: Any) -> OrderMessage:
    return OrderMessage(1, "new", 0, 1, "bcsession00000001", "BTC/USDT", side, kind, 1500, **terms)


@pytest.mark.parametrize(
    ("asked", "venue", "expected", "params"),
    [
        (message(), "binance", ("market", "buy", 1.5, None), {}),
        (message("limit", -1, limit_ticks=9_950), "okx", ("limit", "sell", 1.5, 99.5), {}),
        (message("limit", limit_ticks=9_950, post_only=True), "okx", ("limit", "buy", 1.5, 99.5), {"postOnly": True}),
        (
            message("limit", limit_ticks=9_950, time_in_force="fok"), "okx", ("limit", "buy", 1.5, 99.5),
            {"timeInForce": "FOK"},
        ),
        (message("limit", limit_ticks=9_950, time_in_force="gtd"), "okx", ("limit", "buy", 1.5, 99.5), {}),
        (message("stop", -1, stop_ticks=9_000), "binance", ("market", "sell", 1.5, None), {"triggerPrice": 90.0}),
        (
            message("stop_limit", stop_ticks=9_000, limit_ticks=9_010), "bybit", ("limit", "buy", 1.5, 90.1),
            {"triggerPrice": 90.0, "triggerDirection": "ascending"},
        ),
    ],
)
def test_a_message_is_a_request(asked: OrderMessage, venue: str, expected: tuple[Any, ...], params: Any) -> None:
    request = request_of(asked, BTC, venue)
    assert request[1:5] == expected
    assert request.params == {"clientOrderId": "bcsession00000001", **params}


def test_reduce_only_is_said_of_contracts_alone() -> None:
    assert "reduceOnly" not in request_of(message(reduce_only=True), BTC, "okx").params
    assert request_of(message(reduce_only=True), PERP, "okx").params["reduceOnly"] is True


@pytest.mark.parametrize(
    ("asked", "venue"), [(message("trailing_stop", stop_ticks=1), "binance"), (message("stop", stop_ticks=1), "okx")]
)
def test_orders_that_the_test_network_does_not_take_are_refused_in_words(asked: OrderMessage, venue: str) -> None:
    with pytest.raises(VenueError, match=f"{asked.type} orders are not placed at {venue}'s test network; use"):
        request_of(asked, BTC, venue)


def test_an_execution_is_exact() -> None:
    trade = {
        "id": "7", "order": "99", "timestamp": 5, "price": 99.95, "amount": 0.3, "takerOrMaker": "maker",
        "fee": {"cost": 0.0003, "currency": "BTC"},
    }
    report = fill_of(trade, message(), BTC, 8)
    assert (report.lots, report.ticks, report.time, report.received_at) == (300, 9_995, 5_000_000, 8)
    assert (report.trade_id, report.venue_order_id, report.liquidity) == ("7", "99", "maker")
    assert (report.fee, report.fee_currency) == (Decimal("0.0003"), "BTC")
    with pytest.raises(VenueError, match="came without id, price or quantity"):
        fill_of({**trade, "price": None}, message(), BTC, 8)


@pytest.mark.parametrize(
    ("status", "filled", "kind"),
    [
        ("open", 0, None), ("closed", 1500, None), ("canceled", 3, ReportKind.CANCELLED),
        ("expired", 0, ReportKind.EXPIRED), ("rejected", 0, ReportKind.REJECTED), ("rejected", 3, ReportKind.CANCELLED),
    ],
)
def test_an_end_carries_what_had_filled_by_then(status: str, filled: int, kind: ReportKind | None) -> None:
    report = end_of({"id": "1", "status": status, "timestamp": 5}, message(), BTC, 8, filled)
    assert (report and report.kind) == kind
    if report is not None:
        assert report.lots == filled
