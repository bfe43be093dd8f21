"""Books of a live feed on the loopback venue: a stream that stalls while the market trades is begun anew."""

import time
from collections.abc import Callable, Iterator

import pytest

from engine.live.market import Book, Trade
from feeds.clients import make_client
from feeds.exchange_live import LiveFeed
from feeds.live_options import VenuePlan
from feeds.venue_trades import Listener
from tests.venue.client import connect
from tests.venue.server import VenueServer
from tests.venue.sources import synthetic

BTC = "BTC/USDT"


@pytest.fixture
def venue() -> Iterator[VenueServer]:
    with VenueServer(synthetic([BTC], rows=3000, seed=7), speed=60, starts_now=True).start_in_thread() as server:
        yield server


def test_a_book_that_does_not_move_while_its_market_trades_is_begun_anew(venue: VenueServer) -> None:
    urls = connect("binance", venue.url, key="").urls["api"]
    plan = VenuePlan(lambda: make_client("binance", symbols=[BTC], api_urls=urls), (BTC,), ("1m",))
    books: list[tuple[float, Book]] = []
    trades: list[float] = []

    def on_trade(trade: Trade) -> None:
        trades.append(time.monotonic())

    feed = LiveFeed([plan], clock=lambda: venue.clock.due() * 1_000_000)
    feed.open()
    try:
        feed.listen([BTC], Listener(on_trade=on_trade, on_book=lambda book: books.append((time.monotonic(), book))))
        feed.start()
        _wait(lambda: len(books) > 3)
        venue.faults.add("ws_stall", on="watch_order_book", seconds=600)
        _wait(lambda: time.monotonic() - books[-1][0] > 1.5)
        stalled = len(books)
        _wait(lambda: len(books) > stalled + 3 and bool(books[-1][1].bids))
        assert any(not book.bids for _, book in books[stalled:]), "nobody trades against the old one meanwhile"
        assert trades[-1] > books[stalled - 1][0]
    finally:
        feed.close()


def _wait(is_so: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
