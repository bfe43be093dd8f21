"""Errors as venues make them and as ccxt tells them at the venues' own addresses: what each decides about an order.

Nothing here is written down beforehand: an unmodified client asks the loopback venue for what it must refuse.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import ccxt
import pytest

from brokers.venue_errors import Verdict, is_unknown_order, may_pass, verdict_of
from tests.venue.cases import on_venue
from tests.venue.server import VenueServer

BTC = "BTC/USDT"
every_venue = pytest.mark.parametrize("venue", ["binance", "okx", "bybit"])
Ask = Callable[[VenueServer, Any], Awaitable[Any]]


def error_of(venue: str, ask: Ask) -> tuple[ccxt.BaseError, int]:
    """Return the error that a question ends with, and how many orders the venue has then."""

    async def scenario(server: VenueServer, exchange: Any) -> tuple[ccxt.BaseError, int]:
        with pytest.raises(ccxt.BaseError) as caught:
            await ask(server, exchange)
        return caught.value, len(server.truth.orders())

    return on_venue(scenario, venue=venue, client={"errors_as_at_home": True})


async def resting(exchange: Any, amount: float = 0.1, client_order_id: str = "abc123") -> Any:
    return await exchange.create_order(BTC, "limit", "buy", amount, 30_000, {"clientOrderId": client_order_id})


@every_venue
def test_too_little_money_is_a_certain_refusal(venue: str) -> None:
    error, orders = error_of(venue, lambda server, exchange: resting(exchange, 5))
    assert isinstance(error, ccxt.InsufficientFunds)
    assert (verdict_of(venue, error), orders) == (Verdict.REFUSED, 0)
    assert not may_pass(venue, error)


@every_venue
def test_an_order_against_the_market_s_filters_is_a_certain_refusal(venue: str) -> None:
    error, orders = error_of(venue, lambda server, exchange: resting(exchange, 10_000))
    assert (verdict_of(venue, error), orders) == (Verdict.REFUSED, 0), repr(error)
    assert not may_pass(venue, error)


@every_venue
def test_a_client_order_id_that_is_there_already_says_nothing_of_the_order(venue: str) -> None:
    async def twice(server: VenueServer, exchange: Any) -> None:
        await resting(exchange)
        await resting(exchange)

    error, orders = error_of(venue, twice)
    assert (verdict_of(venue, error), orders) == (Verdict.UNKNOWN, 1), repr(error)
    assert not is_unknown_order(venue, error)


@every_venue
def test_an_order_that_the_venue_does_not_know_is_an_answer(venue: str) -> None:
    for ask in (
        lambda server, exchange: exchange.fetch_order("424242", BTC, {"acknowledged": True}),
        lambda server, exchange: exchange.cancel_order("424242", BTC),
    ):
        error, _ = error_of(venue, ask)
        assert is_unknown_order(venue, error), repr(error)
        assert not may_pass(venue, error)


@every_venue
def test_after_too_many_requests_a_question_is_asked_again(venue: str) -> None:
    async def busy(server: VenueServer, exchange: Any) -> None:
        server.faults.add("rate_limit", on="create_order", seconds=1)
        await resting(exchange)

    error, orders = error_of(venue, busy)
    assert may_pass(venue, error), repr(error)
    assert not is_unknown_order(venue, error)
    assert orders == 0


@every_venue
def test_a_wrong_key_is_a_certain_refusal_and_asking_again_is_no_use(venue: str) -> None:
    async def forged(server: VenueServer, exchange: Any) -> None:
        exchange.secret = "wrong"
        await resting(exchange)

    error, orders = error_of(venue, forged)
    assert isinstance(error, ccxt.AuthenticationError)
    assert (verdict_of(venue, error), may_pass(venue, error), orders) == (Verdict.REFUSED, False, 0)
    assert "wrong" not in str(error), "ccxt's own words hold no secret"


@every_venue
def test_a_venue_in_maintenance_may_have_taken_the_order_and_is_asked_again(venue: str) -> None:
    async def away(server: VenueServer, exchange: Any) -> None:
        server.faults.add("maintenance", on="create_order", seconds=1)
        await resting(exchange)

    error, _ = error_of(venue, away)
    assert (verdict_of(venue, error), may_pass(venue, error)) == (Verdict.UNKNOWN, True), repr(error)
