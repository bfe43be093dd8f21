"""What venues' errors mean for an order, held against what ccxt 4.5 makes of each of them."""

import ccxt
import pytest

from brokers.venue_errors import Verdict, faulty_order, is_unknown_order, may_pass, verdict_of

REFUSED, UNKNOWN = Verdict.REFUSED, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("venue", "kind", "words", "verdict"),
    [
        ("binance", "InsufficientFunds", '{"code":-2010,"msg":"Account has insufficient balance"}', REFUSED),
        ("binance", "InvalidOrder", '{"code":-1013,"msg":"Filter failure: LOT_SIZE"}', REFUSED),
        ("binance", "BadRequest", '{"code":-1013,"msg":"Filter failure: NOTIONAL"}', REFUSED),
        ("binance", "BadRequest", '{"code":-1111,"msg":"Precision is over the maximum"}', REFUSED),
        ("binance", "OrderImmediatelyFillable", '{"code":-2010,"msg":"Order would immediately match"}', REFUSED),
        ("binance", "InvalidNonce", '{"code":-1021,"msg":"Timestamp for this request"}', REFUSED),
        ("binance", "AuthenticationError", '{"code":-1022,"msg":"Signature for this request is not valid."}', REFUSED),
        ("binance", "RateLimitExceeded", '{"code":-1015,"msg":"Too many new orders."}', REFUSED),
        ("binance", "InvalidOrder", '{"code":-2010,"msg":"Duplicate order sent."}', UNKNOWN),  # it is there already
        ("binance", "OperationFailed", '{"code":-1006,"msg":"Execution status unknown."}', UNKNOWN),
        ("binance", "RequestTimeout", '{"code":-1007,"msg":"Timeout waiting for response"}', UNKNOWN),
        ("binance", "ExchangeError", '{"code":-1008,"msg":"Server is currently overloaded"}', UNKNOWN),
        ("binance", "DDoSProtection", "429", UNKNOWN),
        ("binance", "ExchangeNotAvailable", "503", UNKNOWN),
        ("kraken", "ExchangeError", '{"error":["EOrder:Invalid price"]}', REFUSED),
        ("kraken", "ExchangeError", '{"error":["EOrder:Post only order"]}', REFUSED),
        ("kraken", "ExchangeError", '{"error":["EAPI:Invalid signature"]}', REFUSED),
        ("kraken", "ExchangeNotAvailable", '{"error":["EGeneral:Internal error"]}', UNKNOWN),
        ("kraken", "OnMaintenance", '{"error":["EService:Market in post_only mode"]}', UNKNOWN),
        ("okx", "InvalidOrder", '{"code":"1","data":[{"sCode":"51020"}]}', REFUSED),
        ("okx", "ExchangeNotAvailable", "429", UNKNOWN),
        ("okx", "DuplicateOrderId", '{"sCode":"51016"}', UNKNOWN),
        ("bybit", "ExchangeError", '{"retCode":10016,"retMsg":"Internal System Error"}', UNKNOWN),
        ("bybit", "InvalidOrder", '{"retCode":170140,"retMsg":"Order value exceeded lower limit"}', REFUSED),
        ("coinbase", "ExchangeError", '{"errors":[{"id":"internal_server_error"}]}', UNKNOWN),
        ("coinbase", "InsufficientFunds", '{"failure_reason":"UNKNOWN_FAILURE_REASON"}', UNKNOWN),
        ("gate", "BadResponse", "<html>", UNKNOWN),
        ("gate", "ExchangeError", "anything", UNKNOWN),
    ],
)
def test_a_refusal_is_certain_only_where_the_venue_can_have_meant_nothing_else(
    venue: str, kind: str, words: str, verdict: Verdict
) -> None:
    assert verdict_of(venue, getattr(ccxt, kind)(f"{venue} {words}")) is verdict


def test_what_is_no_answer_of_the_venue_s_is_never_a_refusal() -> None:
    for error in (TimeoutError(), ConnectionResetError(), ValueError("no JSON"), KeyError("id")):
        assert verdict_of("binance", error) is UNKNOWN


@pytest.mark.parametrize(
    ("venue", "error"),
    [
        ("binance", ccxt.OrderNotFound('{"code":-2013,"msg":"Order does not exist."}')),
        ("kraken", ccxt.InvalidOrder('{"error":["EOrder:Unknown order"]}')),  # ccxt does not call it OrderNotFound
        ("okx", ccxt.OrderNotFound('{"code":"51603"}')), ("bybit", ccxt.OrderNotFound("110001")),
    ],
)
def test_that_there_is_no_such_order_is_an_answer(venue: str, error: Exception) -> None:
    assert is_unknown_order(venue, error)
    assert not is_unknown_order(venue, ccxt.ExchangeNotAvailable("503"))


def test_questions_are_asked_again_after_failures_that_may_pass() -> None:
    for name in ("RequestTimeout", "ExchangeNotAvailable", "DDoSProtection", "RateLimitExceeded", "OnMaintenance"):
        assert may_pass("binance", getattr(ccxt, name)(""))
    for name in ("AuthenticationError", "BadSymbol", "InsufficientFunds"):
        assert not may_pass("binance", getattr(ccxt, name)(""))


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ({"id": "1", "symbol": "BTC/USDT", "clientOrderId": "a"}, ""),
        ({"id": "1"}, ""),
        ({"id": None, "symbol": "BTC/USDT"}, "the venue's answer names no order"),  # what ccxt makes of HTML
        (None, "the venue's answer names no order"),
        ({"id": "1", "clientOrderId": "b"}, "the venue's answer is about clientOrderId 'b', not 'a'"),
        ({"id": "1", "symbol": "ETH/USDT"}, "the venue's answer is about symbol 'ETH/USDT', not 'BTC/USDT'"),
    ],
)
def test_an_answer_is_believed_only_if_it_is_about_the_order(found: object, fault: str) -> None:
    assert faulty_order(found, "BTC/USDT", "a") == fault
