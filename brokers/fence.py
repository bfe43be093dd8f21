"""The fence around real money: a ccxt client that can reach a venue's test network, or this machine, and nothing else.

It is checked when the client is made, and again for every request, every redirect and every websocket at the moment
it is sent: whatever ccxt does with its addresses in between, no host outside the fence is spoken to. The lists are
ccxt's own: what it calls "test" and "demo", less every host that any exchange uses for real trading.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from brokers.keys import Keys
from engine.errors import SettingsError, VenueError, nearest_name

SANDBOX_PARTS = ("test", "demo", "demotrading")
"""What ccxt calls the addresses of test networks, by exchange."""
SIMULATED = {
    "okx": ("x-simulated-trading", "1"), "okxus": ("x-simulated-trading", "1"), "myokx": ("x-simulated-trading", "1"),
}
"""Venues whose test network has the address of the real one, and the header that tells them apart: the real venue never
sees such a request, and refuses real keys with it. It must be on every request."""


_BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
"""An IPv6 address with nothing but a port behind it. Python reads "[::1].elsewhere.example" as ::1; others may not."""


class Fence(NamedTuple):
    """What may be spoken to.

    Args:
        hosts: of the venue's test network.
        header: hosts of the real venue may be spoken to by requests that carry it; None: by none.
        shared_hosts: those hosts.
    """

    venue: str
    hosts: frozenset[str]
    header: tuple[str, str] | None = None
    shared_hosts: frozenset[str] = frozenset()

    def check(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        """Refuse an address outside the fence.

        Raises:
            VenueError: it leads elsewhere, or cannot be read with certainty.
        """
        host = host_of(url)
        if host is not None and (host in self.hosts or is_loopback(host)):
            return
        if host in self.shared_hosts and self.header is not None:
            name, value = self.header
            given = {key.lower(): str(each) for key, each in (headers or {}).items()}
            if given.get(name) == value:
                return
        raise VenueError(
            f"refused to speak to {host or 'an address that cannot be read'}: it is not on the test network of "
            f"{self.venue}, and this session never trades real money"
        )


def host_of(url: str) -> str | None:
    """Return the host that an address leads to; None if different readers may read it differently."""
    if not isinstance(url, str) or any(ord(sign) <= 32 or sign in "\\\x7f" or ord(sign) > 126 for sign in url):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "ws", "wss") or not host or "@" in parts.netloc or "%" in parts.netloc:
        return None
    if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc):
        return None
    return host.lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def production_hosts() -> frozenset[str]:
    """Return every host that ccxt uses for real trading, at any exchange."""
    import ccxt.pro

    clients = (getattr(ccxt.pro if name in ccxt.pro.exchanges else ccxt, name)() for name in ccxt.exchanges)
    return frozenset(host for client in clients for host in _hosts(client, "api"))


def fence_of(venue: str) -> Fence:
    """Return the fence around a venue's test network, as ccxt has it.

    Raises:
        SettingsError: the venue is unknown.
    """
    client = _made(venue, {})
    named = frozenset(host for part in SANDBOX_PARTS for host in _hosts(client, part))
    shared = named & production_hosts()
    header = SIMULATED.get(venue)
    return Fence(venue, named - shared, header, shared if header else frozenset())


def fenced_client(
    venue: str, keys: Keys, *, api_urls: Mapping[str, Any] | None = None, is_demo: bool = False,
    timeout: float = 10.0, options: Mapping[str, Any] | None = None,
) -> Any:
    """Return a ccxt.pro client of a venue's test network that cannot leave it; nothing is sent yet.

    Args:
        api_urls: addresses on this machine instead of the test network's (a loopback venue).
        is_demo: the venue's demo trading instead of its testnet, where it has both.
        timeout: seconds a request may take.
    Raises:
        SettingsError: the venue is unknown, has no test network in ccxt, or an address lies outside the fence.
    """
    fence = fence_of(venue) if api_urls is None else Fence(venue, frozenset())
    client = _made(venue, {**keys.for_ccxt(), "enableRateLimit": True, "timeout": round(timeout * 1000)}, fence)
    if api_urls is not None:
        client.urls["api"] = deepcopy(dict(api_urls))
    elif not fence.hosts and not fence.shared_hosts:
        raise SettingsError(
            f'{venue} has no test network in ccxt that is apart from real trading; trade it on paper: '
            f'[live] broker = "paper"'
        )
    elif is_demo:
        client.enable_demo_trading(True)
    else:
        client.set_sandbox_mode(True)
    for part in ("apiBackup", "apiBackupDemoTrading"):
        client.urls.pop(part, None)  # there is no way back
    client.options.update({"fetchCurrencies": False, "fetchMargins": False, **deepcopy(dict(options or {}))})
    client.logger = _silent()
    _check_addresses(client, fence)
    return client


def _check_addresses(client: Any, fence: Fence) -> None:
    """Refuse a client that is set up with an address outside the fence.

    Some exchanges leave public addresses of the real venue among those of the test network. They are cut out: what
    would use them fails.
    """
    refused, addresses = [], list(_addresses(client.urls.get("api")))
    headers = dict([fence.header]) if fence.header else None
    for url in addresses:
        try:
            fence.check(url.replace("{hostname}", client.hostname or ""), headers)
        except VenueError:
            refused.append(url)
    if len(refused) == len(addresses):
        raise SettingsError(f"{fence.venue}: none of its addresses is on its test network: {addresses}")
    client.urls["api"] = _without(client.urls["api"], set(refused))


def _made(venue: str, settings: dict[str, Any], fence: Fence | None = None) -> Any:
    import ccxt.pro

    if venue not in ccxt.pro.exchanges:
        known = tuple(ccxt.pro.exchanges)
        raise SettingsError(f"venue {venue!r} is not known to ccxt{nearest_name(venue, known)}")
    kind = getattr(ccxt.pro, venue)
    return kind(settings) if fence is None else _fenced(kind, fence)(settings)


def _fenced(kind: Any, fence: Fence) -> Any:
    """Return the exchange's class with the fence built in."""

    class Fenced(kind):  # type: ignore[misc]
        """Checks every address at the moment it is used."""

        session: Any

        async def fetch(
            self, url: str, method: str = "GET", headers: Any = None, body: Any = None
        ) -> Any:
            fence.check(url, {**self.headers, **(headers or {})})
            return await super().fetch(url, method, headers, body)

        def client(self, url: str) -> Any:
            fence.check(url, self.headers)
            return super().client(url)

        def open(self, lazy: bool = False) -> None:
            is_new = self.session is None
            super().open(lazy)
            if is_new and self.session is not None:
                self.session = _without_redirects(self.session)

        def check_proxy_url_settings(self, *args: Any) -> Any:
            """Refuse proxies that take the address as their own: what they would do with it nobody knows."""
            found = super().check_proxy_url_settings(*args)
            if found is not None:
                raise VenueError("refused to speak to the venue by way of a proxy's address; use none")
            return None

    Fenced.__name__ = Fenced.__qualname__ = kind.__name__
    return Fenced


def _without_redirects(session: Any) -> Any:
    """Return a session on the same connections that follows no redirect: it would lead past the check."""
    import aiohttp

    async def refuse(*_: Any) -> None:
        raise VenueError("refused to follow a redirect of the venue: it may lead anywhere")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    connector = session.connector
    session.detach()
    return aiohttp.ClientSession(connector=connector, trust_env=False, trace_configs=[trace])


def _silent() -> logging.Logger:
    """Return a logger that says nothing: ccxt's writes keys and signatures at level DEBUG."""
    logger = logging.Logger("silent")  # one of its own, in no hierarchy that could be turned on
    logger.disabled = True
    return logger


def _hosts(client: Any, part: str) -> Iterator[str]:
    for url in _addresses(client.urls.get(part)):
        host = host_of(url.replace("{hostname}", getattr(client, "hostname", None) or ""))
        if host is not None:
            yield host


def _addresses(urls: Any) -> Iterator[str]:
    if isinstance(urls, str):
        yield urls
    elif isinstance(urls, Mapping):
        for inner in urls.values():
            yield from _addresses(inner)
    elif isinstance(urls, list | tuple):
        for inner in urls:
            yield from _addresses(inner)


def _without(urls: Any, refused: set[str]) -> Any:
    if isinstance(urls, Mapping):
        return {name: _without(inner, refused) for name, inner in urls.items()}
    if isinstance(urls, list | tuple):
        return [_without(inner, refused) for inner in urls]
    return "http://127.0.0.1:9/refused" if urls in refused else urls
