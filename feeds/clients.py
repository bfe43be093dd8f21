"""ccxt exchanges for public data: no keys, a rate limiter, time limits, and no request that is not needed."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from engine.errors import SettingsError, nearest_name

_CONTRACT_TYPES = {"binance": "linear", "okx": "swap", "bybit": "linear"}
"""What each calls its linear perpetuals where only some kinds of markets are to be loaded."""


def make_client(
    venue: str, *, symbols: Sequence[str] = (), timeout: float = 10.0, api_urls: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None, network: str = "",
) -> Any:
    """Return a ccxt.pro exchange that asks for public data alone; nothing is sent yet.

    Args:
        symbols: what it will be asked about: it says which kinds of markets are loaded.
        timeout: seconds for one request.
        api_urls: instead of ccxt's addresses (`exchange.urls["api"]`), every one on this machine: for a venue on the
            loopback interface.
        network: "test" or "demo" for the market of the venue's test network; empty for the real one.
        options: further options of ccxt's.
    Raises:
        SettingsError: the venue is unknown, or an address leads elsewhere than to this machine.
    """
    import ccxt.pro

    if venue not in ccxt.pro.exchanges:
        known = tuple(ccxt.pro.exchanges)
        raise SettingsError(
            f"venue {venue!r} is not known to ccxt {ccxt.pro.__version__}{nearest_name(venue, known)}; expected one of "
            f"its {len(known)} with streams, such as binance, okx, bybit or kraken")
    exchange = getattr(ccxt.pro, venue)({"enableRateLimit": True, "timeout": round(timeout * 1000)})
    exchange.options.update({"fetchCurrencies": False, "fetchMargins": False})
    if venue in _CONTRACT_TYPES:
        kinds = [_CONTRACT_TYPES[venue]] if symbols and all(":" in symbol for symbol in symbols) else ["spot"]
        if any(":" in symbol for symbol in symbols) and "spot" in kinds:
            kinds.append(_CONTRACT_TYPES[venue])
        exchange.options["fetchMarkets"] = {"types": kinds}
        exchange.options["defaultType"] = "spot" if "spot" in kinds else "swap"
    if api_urls is not None:
        check_loopback(api_urls)
        exchange.urls["api"] = deepcopy(dict(api_urls))
    elif network:
        _enter(exchange, network)
    for name, value in (options or {}).items():
        kept = exchange.options.get(name)
        exchange.options[name] = {**kept, **value} if isinstance(kept, dict) and isinstance(value, Mapping) else value
    return exchange


def _enter(exchange: Any, network: str) -> None:
    """Lead a client to the market of its venue's test network.

    Raises:
        SettingsError: it has none in ccxt.
    """
    from ccxt.base.errors import NotSupported

    try:
        if network == "demo":
            exchange.enable_demo_trading(True)
        else:
            exchange.set_sandbox_mode(True)
    except (NotSupported, TypeError, KeyError, AttributeError) as exc:
        raise SettingsError(
            f'{exchange.id} has no {network} network in ccxt; trade it on paper: [live] broker = "paper"') from exc


def check_loopback(urls: Mapping[str, Any]) -> None:
    """Refuse addresses that do not lead to this machine.

    Raises:
        SettingsError: one leads elsewhere.
    """
    for path, url in _addresses(urls, ""):
        if not is_loopback(url):
            raise SettingsError(
                f"address {path} is {url!r}; expected one of this machine, such as http://127.0.0.1:8080; leave the "
                "addresses out to ask the venue itself")


def _addresses(urls: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, url in urls.items():
        if isinstance(url, Mapping):
            yield from _addresses(url, f"{path}{name}.")
        else:
            yield f"{path}{name}", str(url)


def is_loopback(url: str) -> bool:
    """Say whether an address leads to this machine alone."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
