"""A live feed on the loopback venue, minute by minute: time passes only when a test lets it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.bars import MINUTE, SECOND, Bar
from engine.live.inputs import BarsClosed, FeedTold, Input
from feeds.clients import make_client
from feeds.exchange_live import LiveFeed
from feeds.live_options import FeedOptions, VenuePlan
from feeds.venue_trades import Listener
from tests.venue.client import place
from tests.venue.server import VenueServer
from tests.venue.sources import synthetic

SYMBOLS = ("BTC/USDT", "ETH/USDT")
PATIENT = FeedOptions(history=5, deadline=40 * SECOND, lag=600 * SECOND, stale_after=20 * SECOND, tick=SECOND // 50)


class Stage:
    """The venue, the feed, and what came of them."""

    def __init__(self, venue: VenueServer, feed: LiveFeed, venue_id: str, make_exchange) -> None:
        self.venue = venue
        self.feed = feed
        self.venue_id = venue_id
        self.make_exchange = make_exchange
        self.inputs: list[Input] = []
        self.trades: list = []
        self.books: list = []

    @property
    def now(self) -> int:
        return self.venue.clock.now * 1_000_000

    @property
    def start(self) -> int:
        """The first instant after the history."""
        return self.feed.history_until + MINUTE

    @property
    def closed(self) -> list[BarsClosed]:
        return [one for one in self.inputs if isinstance(one, BarsClosed)]

    def told(self, *kinds: str) -> list[FeedTold]:
        return [one for one in self.inputs if isinstance(one, FeedTold) and (not kinds or one.kind in kinds)]

    def bars(self, symbol: str) -> list[Bar]:
        return [bar for one in self.closed for bar in one.bars if bar.symbol == symbol]

    def advance(self, seconds: float) -> None:
        """Let the market go on, and give messages a moment to travel."""
        self.venue.clock.advance(round(seconds * 1000))
        time.sleep(0.01)
        self.gather()

    def gather(self, timeout: float = 0.0) -> None:
        while (one := self.feed.take(timeout)) is not None:
            self.inputs.append(one)

    def until(self, instant: int, *, patience: float = 120.0) -> None:
        """Let the market go on until the bars of an instant are here."""
        end = time.monotonic() + patience
        while not (self.closed and self.closed[-1].time >= instant):
            assert time.monotonic() < end, f"no bars of {instant}; the last were {self.closed[-1:]}, {self.told()[-3:]}"
            if self.now < instant + 60 * SECOND:
                self.advance(min(5.0, max((instant - self.now) / SECOND, 0.25)))
            else:
                time.sleep(0.02)
            self.gather()

    def minutes(self, count: int) -> None:
        """Let that many minutes pass, and every bar of them arrive."""
        first = self.closed[-1].time if self.closed else self.feed.history_until
        for nth in range(1, count + 1):
            self.until(first + nth * MINUTE)

    def eventually(self, what, *, patience: float = 120.0) -> None:
        """Wait, with the market standing still, until something is so."""
        end = time.monotonic() + patience
        while not what():
            assert time.monotonic() < end, f"waited in vain; told {self.told()[-5:]}"
            time.sleep(0.02)
            self.gather()

    def truth(self, symbol: str, first: int, last: int) -> list[tuple]:
        """Return what the venue says of its bars that close within [first, last]."""
        instrument = self.venue.exchanges[self.venue_id].markets[symbol].instrument
        candles = self.venue.truths[self.venue_id].candles(symbol)
        return [
            (candle.open_time * 1_000_000, *(float(instrument.price(price)) for price in candle[1:5]),
             float(instrument.quantity(candle.volume)))
            for candle in candles if first <= candle.open_time * 1_000_000 + MINUTE <= last
        ]

    def check_equal_to_truth(self, symbols: Sequence[str] = SYMBOLS, *, prefix: str = "") -> None:
        """Hold every bar, history included, against the venue's own, from the first to the last instant."""
        times = [one.time for one in self.closed]
        assert times == list(range(times[0], times[-1] + 1, MINUTE)), "every instant once, in order"
        for symbol in symbols:
            ours = [(bar.open_time, *bar[3:8]) for bar in self.bars(prefix + symbol)]
            assert ours == self.truth(symbol, times[0], times[-1])


@contextmanager
def stage(
    *, symbols: Sequence[str] = SYMBOLS, venue_id: str = "binance", options: FeedOptions = PATIENT,
    listens: bool = False, starts: bool = True, rows: int = 700, seed: int = 3, faults: Sequence = (), **plan,
) -> Iterator[Stage]:
    server = VenueServer(
        synthetic(list(symbols), rows=rows, seed=seed), paused=True, history=600, venues=(venue_id,), seed=seed,
        faults=faults)
    with server.start_in_thread() as venue:
        def make_exchange() -> Any:
            return place(make_client(venue_id, symbols=symbols, timeout=2), venue.url)

        wanted = VenuePlan(make_exchange, tuple(symbols), ("1m",), **plan)
        feed = LiveFeed([wanted], options=options, clock=lambda: venue.clock.now * 1_000_000)
        made = Stage(venue, feed, venue_id, make_exchange)
        try:
            feed.open()
            if listens:
                feed.listen(symbols, Listener(on_trade=made.trades.append, on_book=made.books.append))
            if starts:
                feed.start()
                made.advance(3)
                made.until(feed.history_until)
            yield made
        finally:
            feed.close()
        assert venue.unknown_requests == []
