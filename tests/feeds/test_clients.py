import pytest

from engine.errors import SettingsError
from feeds.clients import is_loopback, make_client


def test_a_client_has_no_key_a_limiter_and_asks_for_nothing_that_is_not_needed():
    client = make_client("binance", symbols=["BTC/USDT"], timeout=3)
    assert (client.apiKey, client.secret, client.enableRateLimit, client.timeout) == (None, None, True, 3000)
    assert client.options["fetchMarkets"] == {"types": ["spot"]}
    assert client.options["fetchCurrencies"] is False


@pytest.mark.parametrize(("symbols", "kinds", "default"), [
    (["BTC/USDT"], ["spot"], "spot"),
    (["BTC/USDT:USDT"], ["linear"], "swap"),
    (["BTC/USDT", "BTC/USDT:USDT"], ["spot", "linear"], "spot"),
])
def test_only_the_kinds_of_markets_that_are_asked_about_are_loaded(symbols, kinds, default):
    client = make_client("binance", symbols=symbols)
    assert (client.options["fetchMarkets"]["types"], client.options["defaultType"]) == (kinds, default)


def test_an_unknown_venue_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"venue 'binanse' is not known to ccxt .*; did you mean 'binance'\?"):
        make_client("binanse")


def test_other_addresses_are_taken_of_this_machine_alone():
    urls = {"public": "http://127.0.0.1:8080/api/v3", "ws": {"spot": "ws://localhost:8080/stream"}}
    assert make_client("binance", api_urls=urls).urls["api"] == urls
    urls["ws"]["spot"] = "wss://stream.venue.example/ws"
    with pytest.raises(SettingsError, match=r"address ws.spot is 'wss://.*'; expected one of this machine"):
        make_client("binance", api_urls=urls)


@pytest.mark.parametrize(("url", "expected"), [
    ("http://127.0.0.1:1/x", True), ("ws://[::1]:1", True), ("http://localhost", True), ("http://127.1.2.3", True),
    ("http://127.0.0.1.venue.example", False), ("http://10.0.0.1", False), ("https://localhost@venue.example", False),
    ("", False), ("http://[", False), ("localhost:80", False),
])
def test_an_address_of_this_machine_is_told_from_any_other(url, expected):
    assert is_loopback(url) is expected
