"""What surprises those who trade through ccxt, as far as a venue has a part in it: reproduced here, so that what we
build on ccxt can be tested against it. Those about lost replies, silent streams and HTTP 200 without JSON are in
test_faults.py."""

import asyncio

import ccxt
import pytest

from tests.venue.cases import first, on_venue
from tests.venue.client import connect
from tests.venue.sources import MarketData, steady, synthetic

BTC = "BTC/USDT"


def test_a_slow_consumer_gets_the_last_thousand_trades_and_no_error():
    async def scenario(venue, client):
        await first(venue, lambda: client.watch_trades(BTC))
        venue.clock.advance(60_000 * 150)
        while int(client.trades[BTC][-1]["id"]) < venue.truth.trades(BTC)[-1].id:
            await asyncio.sleep(0.02)
        return await first(venue, lambda: client.watch_trades(BTC)), client.trades[BTC], venue.truth.trades(BTC)

    got, kept, printed = on_venue(scenario, data=steady(volume=10.0))
    assert len(printed) > 1400
    assert len(kept) == 1000
    assert int(kept[0]["id"]) > printed[0].id
    assert len(got) <= 1000


def test_watched_candles_say_nothing_of_being_closed_and_only_what_changed_is_given():
    async def scenario(venue, client):
        return [await first(venue, lambda: client.watch_ohlcv(BTC, "1m"), step=30_000) for _ in range(6)]

    seen = on_venue(scenario)
    assert all(len(row) == 6 for rows in seen for row in rows)
    assert all(len(rows) <= 3 for rows in seen[1:])
    assert seen[-1][-1][0] > seen[0][0][0]


def test_pagination_looks_back_from_the_local_clock_unless_it_is_told_until_when():
    async def scenario(venue, client):
        last = (await client.fetch_ohlcv(BTC, "1m", limit=1))[-1][0]
        lost = await client.fetch_ohlcv(BTC, "1m", None, 50, {"paginate": True, "paginationCalls": 1})
        found = await client.fetch_ohlcv(BTC, "1m", last - 60_000 * 50, 50, {
            "paginate": True, "paginationCalls": 1, "until": last})
        return lost, found

    lost, found = on_venue(scenario)
    assert lost == []
    assert len(found) >= 49


def test_the_time_difference_is_measured_in_wall_time_and_signatures_survive_it():
    async def scenario(venue, client):
        difference = await client.load_time_difference()
        return difference, await client.fetch_balance()

    difference, balance = on_venue(scenario)
    assert abs(difference) < 5_000
    assert balance["total"]["BTC"] == 1


async def refused(client, symbol, *order):
    with pytest.raises(ccxt.BaseError) as caught:
        await client.create_order(symbol, *order)
    return type(caught.value)


def test_filters_of_binance_are_refused_with_two_different_kinds_of_errors():
    async def scenario(venue, client):
        client.amount_to_precision = client.price_to_precision = lambda symbol, number: str(number)
        return [await refused(client, BTC, "limit", "buy", *order) for order in (
            (0.0000015, 40_000), (0.1, 30_000.001), (0.0001, 30_000), (0.1234567891, 30_000))]

    assert on_venue(scenario) == [ccxt.InvalidOrder, ccxt.InvalidOrder, ccxt.BadRequest, ccxt.BadRequest]


@pytest.mark.parametrize(("venue", "kind", "error"), [
    ("okx", "rate_limit", ccxt.RateLimitExceeded), ("okx", "maintenance", ccxt.OnMaintenance),
    ("okx", "overloaded", ccxt.ExchangeNotAvailable), ("okx", "lost_reply", ccxt.ExchangeNotAvailable),
    ("okx", "timeout_after", ccxt.RequestTimeout), ("okx", "bad_gateway", ccxt.ExchangeNotAvailable),
    ("bybit", "rate_limit", ccxt.RateLimitExceeded), ("bybit", "maintenance", ccxt.ExchangeError),
    ("bybit", "overloaded", ccxt.ExchangeError), ("bybit", "ban", ccxt.RateLimitExceeded),
    ("bybit", "lost_reply", ccxt.ExchangeNotAvailable), ("bybit", "timeout_after", ccxt.RequestTimeout),
])
def test_errors_are_not_the_same_on_every_venue(venue, kind, error):
    async def scenario(server, client):
        server.faults.add(kind, on="create_order")
        return await refused(client, BTC, "market", "buy", 0.1), len(server.truth.orders())

    raised, orders = on_venue(scenario, venue=venue, client={"timeout": 400})
    assert issubclass(raised, error)
    assert orders == (kind in ("lost_reply", "timeout_after"))


@pytest.mark.parametrize(("at_home", "is_retryable"), [(False, False), (True, True)])
def test_ccxt_tells_some_errors_of_binance_by_the_address_that_was_asked(at_home, is_retryable):
    async def scenario(venue, client):
        venue.faults.add("overloaded", on="create_order")
        return await refused(client, BTC, "market", "buy", 0.1)

    raised = on_venue(scenario, client={"errors_as_at_home": at_home})
    assert issubclass(raised, ccxt.OperationFailed) == is_retryable


def test_an_empty_429_of_okx_is_an_exchange_that_is_not_available():
    async def scenario(venue, client):
        venue.faults.add("status", on="create_order", status=429)
        return await refused(client, BTC, "market", "buy", 0.1)

    assert issubclass(on_venue(scenario, venue="okx"), ccxt.ExchangeNotAvailable)


@pytest.mark.parametrize("venue", ["okx", "bybit"])
def test_http_200_without_json_is_an_order_without_an_id_on_every_venue(venue):
    async def scenario(server, client):
        server.faults.add("html", on="create_order")
        return (await client.create_order(BTC, "market", "buy", 0.1))["id"], len(server.truth.orders())

    assert on_venue(scenario, venue=venue) == (None, 0)


def test_one_name_is_two_markets_and_ccxt_signs_orders_that_have_no_id_with_its_own():
    data = synthetic([BTC], rows=200)
    data = MarketData({BTC: data.columns[BTC], "BTC/USDT:USDT": data.columns[BTC]}, data.duration)

    async def scenario(server, client):
        order = await client.create_order(BTC, "limit", "buy", 0.1, 30_000)
        return {market["id"] for market in client.markets.values()}, order["clientOrderId"]

    names, _ = on_venue(scenario, venue="bybit", data=data)
    assert names == {"BTCUSDT"}
    _, identity = on_venue(scenario)
    assert identity.startswith("x-TKT5PX2F")


def test_a_proxy_in_the_environment_is_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def scenario(venue, client):
        return (await client.fetch_ticker(BTC))["last"]

    assert on_venue(scenario) == 40_000


def test_without_a_key_private_calls_fail_before_anything_is_sent():
    async def scenario(venue, client):
        public = connect("binance", venue.url, key="")
        try:
            with pytest.raises(ccxt.AuthenticationError):
                await public.fetch_balance()
            return await public.fetch_ohlcv(BTC, limit=1), venue.faults.calls.get(("binance", "fetch_balance"))
        finally:
            await public.close()

    candles, calls = on_venue(scenario)
    assert len(candles) == 1
    assert calls is None
