"""Live bars of crypto exchanges, through ccxt, in a thread of their own.

    feed = LiveFeed([VenuePlan(lambda: make_client("binance"), ("BTC/USDT", "ETH/USDT"), ("1m",))], QueueSource())
    feed.open()                                 # markets, clocks; feed.markets has increments and fees
    feed.listen(["BTC/USDT"], Listener(on_trade=…, on_book=…))
    feed.start()                                # history first, then bars as they close
    told = feed.source.take(timeout=1)
    feed.close()

Everything arrives in one queue as BarsClosed and FeedTold; trades, books and funding go to listeners at once. Works
without keys.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Any

from engine.bars import Stream
from engine.errors import EngineError, SettingsError, VenueError
from engine.live.inputs import Input
from engine.live.queueing import QueueSource
from feeds.bar_desk import BarDesk
from feeds.live_options import FeedOptions, VenuePlan
from feeds.markets import VenueMarket
from feeds.trade_bars import TradeBars
from feeds.venue_feed import VenueFeed
from feeds.venue_trades import Listener, VenueTrades

_CLOSING_SECONDS = 10.0


@dataclass(frozen=True)
class VenueState:
    """How one venue is doing, for metrics.

    Args:
        clock_offset: seconds that our clock is ahead of the venue's.
        silent: seconds since anything was heard of its markets.
        reconnects, connections: lost ones, and those made; messages: of its streams, so far.
        asked, failed: requests, and those without a usable answer; banned: seconds it wants to be left alone.
        not_understood: messages that are not what the venue's documents say.
        behind: streams that owe a bar.
    """

    venue: str
    clock_offset: float
    silent: float
    is_stale: bool
    reconnects: int
    connections: int
    messages: int
    asked: int
    failed: int
    banned: float
    not_understood: int
    behind: int


class LiveFeed:
    """Bars of one or several venues; an `InputSource`.

    Args:
        plans: what is wanted of each venue; their streams are put in one order, venue by venue.
        source: the queue that inputs are put into; a session's other inputs may share it.
        clock: the market's time in UTC nanoseconds, if it is not the wall's: of a venue that plays the past.
    Raises:
        SettingsError: two venues would name two instruments alike.
    """

    def __init__(
        self, plans: Sequence[VenuePlan], source: QueueSource | None = None, options: FeedOptions | None = None, *,
        clock: Callable[[], int] | None = None,
    ) -> None:
        names = [f"{plan.prefix}{symbol}" for plan in plans for symbol in plan.symbols]
        double = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if double is not None:
            raise SettingsError(
                f"two instruments are called {double}; give one venue a prefix, such as prefix = \"okx:\"")
        if not names:
            raise SettingsError("no symbol is asked for; expected at least one venue with one symbol")
        self.source = source or QueueSource()
        self.markets: dict[str, VenueMarket] = {}
        """By the instrument's symbol, in feed order; there once it is open."""
        self._plans = tuple(plans)
        self._options = options or FeedOptions()
        self._clock = clock or time.time_ns
        self._is_wall = clock is None
        self._feeds: list[VenueFeed] = []
        self._trades: list[VenueTrades] = []
        self._listeners: dict[str, list[Listener]] = {}
        self._desk: BarDesk | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run_loop, name="barcast-feed", daemon=True)
        self._work: asyncio.Task[None] | None = None
        self._is_closed = False

    def open(self, timeout: float = 60.0) -> None:
        """Load every venue's markets, and learn its clock; returns when that is done.

        Raises:
            DataError: a symbol or timeframe is not known there.
            VenueUnavailable: a venue does not answer.
        """
        self._thread.start()
        try:
            self._await(self._open(), timeout)
        except BaseException:
            self.close()
            raise
        self.markets = {market.instrument.symbol: market for feed in self._feeds for market in feed.markets.values()}

    def listen(self, symbols: Sequence[str], listener: Listener) -> None:
        """Let somebody hear of trades, books or funding of some instruments; before `start`.

        Raises:
            SettingsError: an instrument is not in this feed.
        """
        for symbol in symbols:
            if symbol not in self.markets:
                raise SettingsError(f"{symbol} is not in the feed; there are {', '.join(list(self.markets)[:10])}")
            self._listeners.setdefault(symbol, []).append(listener)

    def start(self, last_closed: Mapping[Stream, int] | None = None) -> None:
        """Begin: first the history of every stream, then its bars as they close.

        Args:
            last_closed: of a session that is gone on with: when the last bar of each stream closed that it has. Its
                bars go on from there; what was missed is asked for, and comes late, not as history.
        """
        self._await(self._start(last_closed or {}), 60.0)

    def take(self, timeout: float) -> Input | None:
        """Return the next input; None if there is none within `timeout` seconds.

        Raises:
            VenueError: the feed has failed for good.
        """
        return self.source.take(timeout)

    @property
    def history_until(self) -> int:
        """The last instant of the history, UTC nanoseconds; 0 before the start."""
        return self._desk.history_until if self._desk is not None else 0

    def states(self) -> list[VenueState]:
        """Return how each venue is doing."""
        return [self._state(feed) for feed in self._feeds]

    def close(self) -> None:
        """Let go of every connection, and end the thread. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread.is_alive():
            self._await(self._close(), _CLOSING_SECONDS)
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSING_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSING_SECONDS)
        if not self._loop.is_running():
            self._loop.close()

    def __enter__(self) -> "LiveFeed":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── in the feed's thread ────────────────────────────────────────────────────────────────────────────────────────

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _await(self, work: Coroutine[Any, Any, None], timeout: float) -> None:
        """Run something in the feed's thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout), self._loop).result()

    async def _open(self) -> None:
        self._feeds = [VenueFeed(plan, self._options, self._clock, is_wall=self._is_wall) for plan in self._plans]
        results = await asyncio.gather(*(feed.open() for feed in self._feeds), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _start(self, last_closed: Mapping[Stream, int]) -> None:
        feeds = [feed for feed in self._feeds for _ in feed.streams()]
        self._desk = desk = BarDesk(
            [stream for feed in self._feeds for stream in feed.streams()], self._options,
            start=min(feed.now for feed in self._feeds), last_closed=last_closed, put=self.source.put,
            is_catching_up=lambda index: feeds[index].is_catching_up(index))
        first = 0
        for feed in self._feeds:
            feed.attach(desk, first)
            builders = self._builders(feed, desk, first)
            first += len(list(feed.streams()))
            listeners = {
                symbol: self._listeners.get(market.instrument.symbol, [])
                for symbol, market in feed.markets.items()}
            self._trades.append(VenueTrades(feed, self._clock, listeners, desk, builders))
        self._work = asyncio.create_task(self._run())

    def _builders(self, feed: VenueFeed, desk: BarDesk, first: int) -> dict[str, list[tuple[int, TradeBars]]]:
        if not feed.believes_trades:
            return {}
        made: dict[str, list[tuple[int, TradeBars]]] = {}
        for place, (stream, _, _) in enumerate(feed.streams()):
            closer = desk.closers[first + place]
            builder = TradeBars(closer.duration, anchor=closer.next_open)
            made.setdefault(stream.symbol.removeprefix(feed.plan.prefix), []).append((first + place, builder))
        return made

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for feed in self._feeds:
                    await feed.run(group)
                for trades in self._trades:
                    trades.run(group)
        except BaseExceptionGroup as problems:
            self.source.fail(_as_ours(problems))
            if problems.split(EngineError)[1] is not None:  # not one of ours: a bug, so let it be seen
                raise

    async def _close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await asyncio.gather(*(feed.close() for feed in self._feeds), return_exceptions=True)

    async def _end(self) -> None:
        """Cancel what ccxt has left behind: snapshots of books on their way, its limiter."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)

    def _state(self, feed: VenueFeed) -> VenueState:
        return VenueState(
            f"{feed.plan.prefix}{feed.exchange.id}", feed.health.offset / 1e9, feed.health.seconds_silent,
            feed.health.is_stale, feed.reconnects, feed.tap.connections, feed.tap.messages, feed.asker.asked,
            feed.asker.failed, feed.asker.seconds_banned, feed.tap.not_understood, feed.behind)


def _as_ours(problems: BaseExceptionGroup[BaseException]) -> VenueError:
    first = problems.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, VenueError):
        return first
    return VenueError(f"the feed failed: {type(first).__name__}: {str(first)[:200]}; this is a bug: please report it")
