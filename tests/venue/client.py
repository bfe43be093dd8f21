"""Unmodified ccxt clients, placed on the loopback venue.

    client = connect("binance", venue.url)          # ccxt.pro: REST and websockets
    await client.load_markets()
    …
    await client.close()

Every address of a client leads to a part of the loopback that serves nothing, before those that the venue speaks are
opened: an unexpected call is an error here, and never reaches the internet.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit


def connect(venue: str, url: str, *, key: str = "key", secret: str = "s3cret", passphrase: str = "phrase",
            perpetuals: bool = False, errors_as_at_home: bool = False, **config: Any) -> Any:
    """Return a ccxt.pro client of a venue that this server plays. `config` goes to ccxt; without a key
    (key="") it is a public client.

    Args:
        perpetuals: are listed by OKX and Bybit in any case, by Binance if asked for.
        errors_as_at_home: see `know_errors`.
    """
    import ccxt.pro

    keys = {"apiKey": key, "secret": secret, "password": passphrase} if key else {}
    client = getattr(ccxt.pro, venue)({"timeout": 5000, **keys, **config})
    place(client, url, perpetuals=perpetuals)
    if errors_as_at_home:
        know_errors(client)
    return client


def know_errors(client: Any) -> None:
    """Let ccxt's Binance tell errors as it does at Binance's own addresses.

    It looks up some codes (−1008, −2021, −2022, −2026, most of the futures') by the address that was asked, which
    here is a loopback: without this they are plain `ExchangeError`s. Nothing else is changed.
    """
    if client.id != "binance":
        return
    own = client.get_exceptions_by_url

    def by_address_at_home(url: str, kind: str) -> Any:
        part = "fapi" if "/binance/fapi/" in (url or "") else "api"
        return own(f"https://{part}.{client.hostname or 'binance.com'}/", kind)

    client.get_exceptions_by_url = by_address_at_home


def place(client: Any, url: str, *, perpetuals: bool = False) -> Any:
    """Point a ccxt client (sync, async or pro) at the venue; do it before its first call."""
    close_all(client, url)
    stream = url.replace("http", "ws", 1)
    api = client.urls["api"]
    match client.id:
        case "binance":
            api["public"] = api["private"] = f"{url}/binance/api/v3"
            api["sapi"] = f"{url}/binance/sapi/v1"
            api["fapiPublic"] = api["fapiPrivate"] = f"{url}/binance/fapi/v1"
            api["fapiPublicV2"] = api["fapiPrivateV2"] = f"{url}/binance/fapi/v2"
            api["fapiPublicV3"] = api["fapiPrivateV3"] = f"{url}/binance/fapi/v3"
            if "ws" in api:
                # The word /stream decides that it is spot.
                api["ws"]["spot"] = f"{stream}/binance/stream/ws"
                api["ws"]["ws-api"]["spot"] = f"{stream}/binance/ws-api/v3"
                api["ws"]["linear"] = f"{stream}/binance/fstream/ws"
            client.options.update(defaultType="spot", fetchCurrencies=False, fetchMargins=False)
            client.options["fetchMarkets"] = {"types": ["spot", "linear"] if perpetuals else ["spot"]}
        case "okx":
            api["rest"] = f"{url}/okx"
            if "ws" in api:
                api["ws"] = f"{stream}/okx/ws/v5"
            client.options["fetchMarkets"] = {"types": ["spot", "swap"]}
        case "bybit":
            for name in ("spot", "futures", "v2", "public", "private"):
                api[name] = f"{url}/bybit"
            if "ws" in api:
                for name in ("spot", "linear"):
                    api["ws"]["public"][name] = f"{stream}/bybit/v5/public/{name}"
                private = api["ws"]["private"]
                private["contract"] = private["spot"]["unified"] = f"{stream}/bybit/v5/private"
            client.options.update(enableUnifiedAccount=True, unifiedMarginStatus=6, defaultType="spot")
            client.options["fetchMarkets"] = {"types": ["spot", "linear"]}
        case _:
            raise ValueError(f"the venue does not speak {client.id!r}; it speaks binance, bybit and okx")
    return client


def close_all(client: Any, url: str) -> None:
    """Lead every address of a client to a part of the loopback that serves nothing."""
    for part in ("api", "test", "demo"):
        if part in client.urls:
            client.urls[part] = _replaced(client.urls[part], url, "blocked")


def replace_hosts(client: Any, url: str) -> Any:
    """Lead every address of any exchange's client to `url`, with the host it had as the first part of the path: one
    server can then tell them apart and answer for all of them."""
    for part in ("api", "test", "demo"):
        if part in client.urls:
            client.urls[part] = _replaced(client.urls[part], url, "")
    return client


def _replaced(address: Any, url: str, prefix: str) -> Any:
    if isinstance(address, dict):
        return {name: _replaced(inner, url, prefix) for name, inner in address.items()}
    if not isinstance(address, str):
        return address
    split = urlsplit(address)
    base = url.replace("http", "ws", 1) if split.scheme.startswith("ws") else url
    return "/".join(part.strip("/") for part in (base, prefix, split.netloc, split.path) if part.strip("/"))
