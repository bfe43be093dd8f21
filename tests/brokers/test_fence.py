"""No order can reach real money: every production host of every exchange is refused, whatever is tried."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import ccxt.pro
import pytest
from aiohttp import web

from brokers.fence import SANDBOX_PARTS, SIMULATED, Fence, fence_of, fenced_client, host_of, production_hosts
from brokers.keys import Keys
from engine.errors import SettingsError, VenueError
from tests.venue.client import connect

KEYS = Keys("k-e-y", "s-e-c", "p-h-r")
LOCAL = "http://127.0.0.1:9"


def addresses(urls: Any) -> list[str]:
    if isinstance(urls, str):
        return [urls]
    inner = urls.values() if isinstance(urls, dict) else urls or ()
    return [address for each in inner for address in addresses(each)]


def real_addresses(client: Any) -> list[str]:
    return [url.replace("{hostname}", client.hostname or "") for url in addresses(client.urls["api"])]


PRODUCTION = sorted(
    {url for name in ccxt.pro.exchanges for url in real_addresses(getattr(ccxt.pro, name)())}
    | {url for name in ccxt.exchanges for url in real_addresses(getattr(ccxt, name)())}
)
WITH_SANDBOX = [
    name for name in ccxt.pro.exchanges
    if any(getattr(ccxt.pro, name)().urls.get(part) for part in SANDBOX_PARTS)
]


def test_every_production_address_of_every_exchange_is_refused_by_every_fence() -> None:
    assert len(ccxt.exchanges) > 100
    assert len(PRODUCTION) > 300
    assert len(WITH_SANDBOX) > 30
    for name in WITH_SANDBOX:
        fence = fence_of(name)
        for url in PRODUCTION:
            with pytest.raises(VenueError, match="never trades real money"):
                fence.check(url)
            if name not in SIMULATED:
                with pytest.raises(VenueError, match="never trades real money"):
                    fence.check(url, {"x-simulated-trading": "1"})


def test_where_both_have_one_address_the_header_of_the_test_network_must_be_there() -> None:
    fence, url = fence_of("okx"), "https://www.okx.com/api/v5/trade/order"
    fence.check(url, {"X-Simulated-Trading": "1"})
    for headers in ({}, {"x-simulated-trading": "0"}, None):
        with pytest.raises(VenueError, match="refused to speak to www.okx.com"):
            fence.check(url, headers)
    for other in ("https://api.binance.com/api/v3/order", "https://aws.okx.com.evil.example/"):
        with pytest.raises(VenueError, match="refused"):
            fence.check(other, {"x-simulated-trading": "1"})


@pytest.mark.parametrize(
    "url",
    [
        "https://testnet.binance.vision@api.binance.com/api/v3/order",
        "https://api.binance.com\\@testnet.binance.vision/",
        "https://api.binance.com#@testnet.binance.vision/",
        "https://testnet.binance.vision.evil.example/", "https://xtestnet.binance.vision/",
        "https://testnet.binance.vision\n.api.binance.com/", "//testnet.binance.vision/", "ftp://testnet.binance.vision/",
        "https://testnet%2ebinance.vision/", "https://tеstnet.binance.vision/", "", "http://[::1", "http://localhost.evil/",
        "http://127.0.0.1.evil.example/", "http://0.0.0.0/", "http://10.0.0.1/", "http://[::1].evil.example/",
        "http://[::1]evil.example:80/",
    ],
)
def test_addresses_that_may_be_read_in_two_ways_are_refused(url: str) -> None:
    with pytest.raises(VenueError, match="refused"):
        fence_of("binance").check(url)


@pytest.mark.parametrize(
    "url", ["https://TESTNET.binance.vision:443/api/v3/order", "http://127.0.0.1:8080/x", "ws://localhost:1/", "http://[::1]/"]
)
def test_the_test_network_and_this_machine_are_spoken_to(url: str) -> None:
    fence_of("binance").check(url)


@pytest.mark.parametrize("name", WITH_SANDBOX)
def test_a_client_is_made_with_addresses_of_the_test_network_alone_or_not_at_all(name: str) -> None:
    if not fence_of(name).hosts and name not in SIMULATED:
        with pytest.raises(SettingsError, match="no test network"):
            fenced_client(name, KEYS)
        return
    client = fenced_client(name, KEYS)
    header = SIMULATED.get(name)
    for url in addresses(client.urls["api"]):
        host = host_of(url.replace("{hostname}", client.hostname or ""))
        assert host not in production_hosts() or header is not None
    if header is not None:
        assert client.headers[header[0]] == header[1]


@pytest.mark.parametrize("name", ["kraken", "coinbase", "bitstamp"])
def test_a_venue_without_a_test_network_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f'{name} has no test network .* on paper: \\[live\\] broker = "paper"'):
        fenced_client(name, KEYS)


def test_other_addresses_than_this_machine_s_are_refused() -> None:
    with pytest.raises(SettingsError, match="none of its addresses is on its test network"):
        fenced_client("binance", KEYS, api_urls={"public": "https://api.binance.com/api/v3"})
    with pytest.raises(SettingsError, match="venue 'binanec' is not known to ccxt; did you mean 'binance'"):
        fenced_client("binanec", KEYS)


def in_a_loop(work: Callable[[], Any]) -> Any:
    return asyncio.run(work())


def back_to_production(client: Any) -> None:
    client.urls["api"] = getattr(ccxt.pro, client.id)().urls["api"]


@pytest.mark.parametrize("name", ["binance", "bybit", "gate", "kucoinfutures"])
def test_a_request_is_checked_when_it_is_sent_whatever_happened_to_the_addresses(name: str) -> None:
    async def work() -> None:
        client = fenced_client(name, KEYS)
        try:
            back_to_production(client)
            with pytest.raises(VenueError, match="refused to speak to"):
                await client.fetch_markets()
            with pytest.raises(VenueError, match="refused to speak to"):
                await client.fetch("https://api.binance.com/api/v3/order", "POST")
            with pytest.raises(VenueError, match="refused to speak to"):
                client.client("wss://stream.binance.com:9443/ws")
        finally:
            await client.close()

    if name in WITH_SANDBOX:
        in_a_loop(work)


def test_there_is_no_way_back_out_of_the_sandbox() -> None:
    async def work() -> None:
        client = fenced_client("binance", KEYS)
        client.set_sandbox_mode(False)
        assert "apiBackup" not in client.urls
        client.proxyUrl = "https://proxy.example/?"
        with pytest.raises(VenueError, match="proxy's address"):
            await client.fetch(f"{LOCAL}/x")
        await client.close()

    in_a_loop(work)


def test_a_redirect_is_not_followed() -> None:
    seen = []

    async def away(request: web.Request) -> web.Response:
        seen.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async def work() -> None:
        server = web.Application()
        server.router.add_route("*", "/{path:.*}", away)
        runner = web.AppRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        client = fenced_client("binance", KEYS, api_urls=connect("binance", url).urls["api"])
        try:
            with pytest.raises(VenueError, match="refused to follow a redirect"):
                await client.fetch(f"{url}/order", "POST", body="x=1")
        finally:
            await client.close()
            await runner.cleanup()
        assert seen == ["/order"]

    in_a_loop(work)


def test_nothing_of_the_keys_is_logged_even_where_everything_is(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        client = fenced_client("binance", KEYS, api_urls=connect("binance", LOCAL).urls["api"])
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await client.fetch(f"{LOCAL}/order?signature=abc", "POST", {"X-MBX-APIKEY": "k-e-y"})
        await client.close()

    with caplog.at_level(logging.DEBUG):
        in_a_loop(work)
    assert "k-e-y" not in caplog.text
    assert "signature=abc" not in caplog.text


def test_a_fence_around_nothing_lets_this_machine_through_alone() -> None:
    Fence("any", frozenset()).check(LOCAL)
    with pytest.raises(VenueError, match=r"refused to speak to testnet\.binance\.vision"):
        Fence("any", frozenset()).check("https://testnet.binance.vision/")
