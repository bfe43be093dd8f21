"""Venues: the ccxt exchanges and the live feed that settings describe, and fetching history from them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from config.data import open_catalog
from config.live_settings import FeedSettings
from config.settings import VenueData
from engine.bars import SECOND, Timeframe, nanoseconds
from engine.live.queueing import QueueSource
from feeds.catalog import Progress
from feeds.clients import make_client
from feeds.exchange_history import Fetched, fetch_history
from feeds.exchange_live import LiveFeed
from feeds.live_options import FeedOptions, VenuePlan


def make_live_feed(
    data: VenueData, settings: FeedSettings, source: QueueSource | None = None, *,
    clock: Callable[[], int] | None = None, network: str = "",
) -> LiveFeed:
    """Return the live feed, not yet opened: bars of every venue that the data name.

    Args:
        clock: the market's time in UTC nanoseconds, if it is not the wall's: of a venue that plays the past.
        network: "test" or "demo" for the market of a venue's test network; the real one's if empty.
    """
    places = [
        (data.venue, data.symbols, "", data.api_urls, data.options),
        *((one.venue, one.symbols, one.prefix, one.api_urls, one.options) for one in data.further),
    ]
    plans = [
        VenuePlan(
            _maker(venue, symbols, settings.timeout_seconds, api_urls, options, network), symbols, data.timeframe,
            prefix=prefix, bars_from=settings.bars, fills_empty=data.gap_policy == "forward_fill",
            at_once=settings.connections, chunk=settings.subscription, book_levels=settings.book_levels)
        for venue, symbols, prefix, api_urls, options in places
    ]
    return LiveFeed(plans, source, feed_options(data, settings), clock=clock)


def feed_options(data: VenueData, settings: FeedSettings) -> FeedOptions:
    """Return how patient the feed is."""
    return FeedOptions(
        history=data.history, grace=_nanoseconds(settings.grace_seconds),
        deadline=_nanoseconds(settings.deadline_seconds), lag=_nanoseconds(settings.late_seconds),
        stale_after=_nanoseconds(settings.stale_after), skew=_nanoseconds(settings.skew_seconds))


def fetch(
    venue: str, symbols: Sequence[str], timeframe: str, since: datetime, until: datetime | None = None, *,
    api_urls: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None, catalog: Path | None = None,
    mixes_origins: bool = False, progress: Progress | None = None,
) -> list[Fetched]:
    """Bring a venue's history into the catalog; see `feeds.exchange_history.fetch_history`."""
    Timeframe.parse(timeframe)

    async def work() -> list[Fetched]:
        exchange = make_client(venue, symbols=symbols, api_urls=api_urls, options=options)
        try:
            return await fetch_history(
                exchange, open_catalog(catalog), list(dict.fromkeys(symbols)), timeframe, since=nanoseconds(since),
                until=None if until is None else nanoseconds(until), progress=progress, mixes_origins=mixes_origins)
        finally:
            await exchange.close()

    return asyncio.run(work())


def _maker(
    venue: str, symbols: Sequence[str], timeout: float, api_urls: Mapping[str, Any] | None,
    options: Mapping[str, Any], network: str,
) -> Callable[[], Any]:
    return lambda: make_client(
        venue, symbols=symbols, timeout=timeout, api_urls=api_urls, options=options, network=network
    )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)
