"""How the venue's own tests run: a venue, a client on it, and a scenario, in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tests.venue.client import connect
from tests.venue.server import VenueServer
from tests.venue.sources import MarketData, steady

T = TypeVar("T")


def on_venue(scenario: Callable[[VenueServer, Any], Awaitable[T]], *, venue: str = "binance",
             data: MarketData | None = None, client: dict[str, Any] | None = None, **setup: Any) -> T:
    """Run a scenario with a paused venue and a ccxt.pro client without a rate limit; both are closed after it."""

    async def run() -> T:
        settings = {"venues": (venue,), "paused": True, "history": 100, **setup}
        async with VenueServer(data or steady(), **settings) as server:
            exchange = connect(venue, server.url, **{"enableRateLimit": False, **(client or {})})
            try:
                await exchange.load_markets()
                return await asyncio.wait_for(scenario(server, exchange), 150)
            finally:
                await exchange.close()

    return asyncio.run(run())


async def signed_in(server: VenueServer, front: str, topics: int = 0) -> None:
    """Wait until the client's private stream is open and has asked for so many topics."""
    while not any(connection.account and len(connection.topics) >= topics
                  for connection in server.fronts[front].hub.connections):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)   # for the answer to reach the client


async def first(server: VenueServer, watch: Callable[[], Awaitable[T]], *, step: int = 10_000) -> T:
    """Return what `watch` gives first, letting virtual time pass until it does."""
    task = asyncio.ensure_future(watch())
    while not task.done():
        await asyncio.sleep(0.01)
        if not task.done():
            server.clock.advance(step)
    return task.result()
