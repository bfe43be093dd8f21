"""The live bars of one venue: its streams, and questions wherever they do not say enough. Asyncio; one task group.

A stream of candles is listened to, in chunks of symbols. Whatever it has not closed by `grace` after a close is asked
for, which makes warm-up, back-filling after a lost connection, quiet symbols and life without websockets one and the
same thing: a closer says from when on it knows nothing, and the venue is asked.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

from engine.bars import SECOND, Stream
from engine.errors import SettingsError, VenueError, VenueUnavailable
from feeds.asking import Asker, UnknownMarket
from feeds.bar_desk import BarDesk
from feeds.candles import MILLISECOND, candle_of, candles_of_reply
from feeds.listening import CANDLE_WORDS, HeardCandle, Tap
from feeds.live_options import ANY_CHUNK, CHUNKS, FeedOptions, VenuePlan
from feeds.markets import VenueMarket, check_timeframe, load_markets, markets_of
from feeds.venue_health import VenueHealth

_MOST_REFUSALS = 3
"""Refusals of one stream's candles in a row after which it is given up."""
_MOST_FAILURES = 8
"""Questions about one stream in a row without an answer after which nobody waits for it any longer."""
_RESTART_EVERY = 300.0
"""Seconds between two new beginnings for the sake of one symbol: they cost all others theirs."""
_MOST_UNHEARD = 2
"""Bars in a row that traded and that a stream which is up did not tell of, after which it is begun anew."""


class VenueFeed:
    """See the module. `clock` is ours, in UTC nanoseconds.

    `is_wall` says whether the venue's market runs on wall time: then our clock's offset against it counts.
    """

    def __init__(
        self, plan: VenuePlan, options: FeedOptions, clock: Callable[[], int], *, is_wall: bool = True,
    ) -> None:
        self.plan = plan
        self.options = options
        self.exchange = plan.make_exchange()
        self.asker = Asker(self.exchange, at_once=plan.at_once)
        self.tap = Tap(self.exchange, on_candle=self._on_candle, on_lost=self._on_lost)
        self.health = VenueHealth(self.exchange, self.asker, self.tap, options)
        self.markets: dict[str, VenueMarket] = {}
        self.reconnects = 0
        self.believes_trades = plan.bars_from == "trades"
        self.on_lost: list[Callable[[], None]] = []
        """Called when a connection is lost."""
        self._clock = clock
        self._is_wall = is_wall
        self._desk: BarDesk | None = None
        self._streams: list[tuple[str, str]] = [
            (symbol, timeframe) for timeframe in plan.timeframes for symbol in plan.symbols]
        self._first = 0
        self._index: dict[tuple[str, str], int] = {}
        self._down: set[int] = set()
        self._chunk_of: list[int] = []
        self._asking: set[int] = set()
        self._not_before: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._unheard: dict[int, int] = {}
        self._has_nothing: dict[int, int] = {}
        self._restarted_at = -_RESTART_EVERY
        self._freed = asyncio.Event()
        self._random = Random(plan.prefix + self.exchange.id)

    @property
    def now(self) -> int:
        """Return the venue's time as far as we know it."""
        return self._clock() - (self.health.offset if self._is_wall else 0)

    def streams(self) -> Iterator[tuple[Stream, bool, bool]]:
        """Yield what the bar desk wants to know of each stream."""
        words = CANDLE_WORDS.get(self.exchange.id)
        is_every_change_sent = self.believes_trades or (words is not None and words.is_every_change_sent)
        for symbol, timeframe in self._streams:
            yield Stream(f"{self.plan.prefix}{symbol}", timeframe), is_every_change_sent, self.plan.fills_empty

    async def open(self) -> None:
        """Load the venue's markets, and learn its clock.

        Raises:
            DataError: a symbol or timeframe is not known there.
            VenueUnavailable: it does not answer.
        """
        await load_markets(self.asker, self.exchange)
        for timeframe in self.plan.timeframes:
            check_timeframe(self.exchange, timeframe)
        self.markets = markets_of(self.exchange, self.plan.symbols, prefix=self.plan.prefix)
        await self.health.measure_clock()

    @property
    def _has_candle_stream(self) -> bool:
        return not self.believes_trades and bool(self.exchange.has.get("watchOHLCV"))

    def attach(self, desk: BarDesk, first: int) -> None:
        """Take the desk, and the place of this venue's first stream in it."""
        self._desk, self._first = desk, first
        words = CANDLE_WORDS.get(self.exchange.id)
        for place, (symbol, timeframe) in enumerate(self._streams):
            if words is not None:
                key = (words.market_name(self.exchange.market(symbol)), str(self.exchange.timeframes[timeframe]))
                if key in self._index:
                    raise SettingsError(
                        f"{self.exchange.id}: two symbols are called {key[0]} there, {symbol} is one; give each a "
                        "[[venue]] of its own")
                self._index[key] = first + place
        size = self.plan.chunk or CHUNKS.get(self.exchange.id, ANY_CHUNK)
        self._chunk_of = [place // size for place in range(len(self._streams))]
        self._down.update(self._chunk_of if self._has_candle_stream else ())

    def is_catching_up(self, index: int) -> bool:
        """Say whether a stream's bars may come late because its venue is being asked for them."""
        assert self._desk is not None
        closer = self._desk.closers[index]
        if self._has_nothing.get(index) == closer.next_open or self._failures.get(index, 0) >= _MOST_FAILURES:
            return False  # it was asked; waiting longer brings nothing
        is_down = bool(self._down) or self.health.is_stale or self.asker.seconds_banned > 0
        return is_down or closer.next_open + 2 * closer.duration <= self.now

    @property
    def behind(self) -> int:
        """How many streams owe a bar that should have closed."""
        if self._desk is None:
            return 0
        now = self.now - self.options.grace
        closers = self._desk.closers[self._first : self._first + len(self._streams)]
        return sum(closer.next_open + closer.duration < now for closer in closers)

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Start every task of this venue in a group."""
        assert self._desk is not None
        if self._has_candle_stream:
            for chunk in sorted(set(self._chunk_of)):
                group.create_task(self._watch(chunk))
        group.create_task(self._ask_what_is_due(group))
        group.create_task(self.health.watch_clock(self._tell))
        group.create_task(self.health.watch_silence(self._tell, self._probe))
        group.create_task(self._watch_markets())

    async def close(self) -> None:
        """Let go of every connection."""
        self.tap.close()
        await self.exchange.close()

    # ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_candle(self, heard: HeardCandle) -> None:
        index = self._index.get((heard.market, heard.timeframe))
        if index is None or self._desk is None:
            return
        if self._down:
            self._down.discard(self._chunk_of[index - self._first])
        now = self._clock()
        self._desk.heard(
            index, heard.candle, now - (self.health.offset if self._is_wall else 0), now, is_final=heard.is_final)
        if heard.is_final:
            self._unheard.pop(index, None)

    def _on_lost(self, reason: str) -> None:
        """Doubt what formed, as its last changes may have been missed."""
        self.reconnects += 1
        self._down.update(self._chunk_of if self._has_candle_stream else ())
        if self._desk is not None:
            for place in range(len(self._streams)):
                self._desk.closers[self._first + place].broke()
        for one in self.on_lost:
            one()

    async def _watch(self, chunk: int) -> None:
        """Keep the subscription of some streams alive."""
        mine = [list(one) for one, of in zip(self._streams, self._chunk_of, strict=True) if of == chunk]
        failures = 0
        while True:
            if await self.keep_watching(lambda: self._watch_once(mine), failures):
                failures = 0
                self._sweep(mine)
            else:
                failures += 1

    async def _watch_once(self, mine: list[list[str]]) -> None:
        if self.exchange.has.get("watchOHLCVForSymbols"):
            await self.exchange.watch_ohlcv_for_symbols(mine)
            return
        waits = [asyncio.ensure_future(self.exchange.watch_ohlcv(*one)) for one in mine]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in waits:
                one.cancel()

    async def keep_watching(self, watch: Callable[[], Any], failures: int) -> bool:
        """Wait for a stream once; say whether something came, and pause if it failed.

        Raises:
            VenueError: the venue will never let us have it.
        """
        from ccxt.base.errors import AuthenticationError, BaseError

        try:
            await watch()
        except AuthenticationError as problem:
            raise VenueError(
                f"{self.exchange.id}: the venue refuses its public streams: {str(problem)[:200]}") from problem
        except (BaseError, TypeError, LookupError, ValueError, AttributeError):
            await asyncio.sleep(min(0.1 * 2 ** min(failures, 8), 15.0) * self._random.uniform(0.5, 1.0))
            return False
        return True

    def _sweep(self, mine: list[list[str]]) -> None:
        """Take note of what ccxt has kept of streams whose words are not known; ccxt names one symbol a call."""
        if self.tap.knows_candles or self._desk is None:
            return
        now = self._clock()
        for symbol, timeframe in mine:
            kept = (self.exchange.ohlcvs.get(symbol) or {}).get(timeframe)
            candle = candle_of(kept[-1]) if kept else None
            if candle is not None:
                place = self._streams.index((symbol, timeframe))
                self._down.discard(self._chunk_of[place])
                self._desk.heard(self._first + place, candle, self.now, now, is_final=False)

    # ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask_what_is_due(self, group: asyncio.TaskGroup) -> None:
        assert self._desk is not None
        while True:
            for place in range(len(self._streams)):
                if len(self._asking) >= 2 * self.plan.at_once:
                    break
                index = self._first + place
                since = self._desk.closers[index].due(self.now)
                if since is None or index in self._asking or not self._desk.gatherer.is_active(index):
                    continue
                if self._not_before.get(index, 0.0) <= time.monotonic():
                    self._asking.add(index)
                    group.create_task(self._ask(index, since))
            self._desk.tick(self.now, self._clock())
            self._freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), self.options.tick / SECOND)

    async def _ask(self, index: int, since: int) -> None:
        """Ask for the bars of one stream, and let the desk have them."""
        assert self._desk is not None
        symbol, timeframe = self._streams[index - self._first]
        closer = self._desk.closers[index]
        wanted = closer.next_open
        asked_at = 0

        def call() -> Any:
            nonlocal asked_at
            asked_at = self.now
            limit = min((asked_at - since) // closer.duration + 2, 1000)
            return self.exchange.fetch_ohlcv(symbol, timeframe, since // MILLISECOND, limit)

        name = f"{symbol} {timeframe}"
        try:
            candles = await self.asker.ask(
                f"candles of {name}", call,
                lambda reply: candles_of_reply(reply, f"{self.exchange.id} {name}", timeframe, since=since), attempts=2)
        except UnknownMarket as problem:
            self._desk.gone(index, str(problem), self.now, self._clock())
        except VenueUnavailable:
            self._wait_longer(index)
        except VenueError as problem:
            self._wait_longer(index)
            if self._failures[index] >= _MOST_REFUSALS:
                self._desk.gone(index, str(problem), self.now, self._clock())
        else:
            self.health.heard_answer()
            self._failures.pop(index, None)
            self._desk.answered(index, candles, self.now, self._clock(), since=since, asked_at=asked_at)
            self._not_before[index] = time.monotonic() + (1.0 if closer.due(self.now) is not None else 0.0)
            if closer.next_open == wanted:
                self._has_nothing[index] = wanted
            else:
                self._not_before.pop(index)
                traded = any(candle.open_time == wanted and candle.volume > 0 for candle in candles)
                self._note_unheard(index, wanted, is_unheard=traded)
        finally:
            self._asking.discard(index)
            self._freed.set()

    def _wait_longer(self, index: int) -> None:
        failures = self._failures[index] = self._failures.get(index, 0) + 1
        self._not_before[index] = time.monotonic() + min(0.5 * 2**failures, 30.0) * self._random.uniform(0.5, 1.0)

    def _note_unheard(self, index: int, opened: int, *, is_unheard: bool) -> None:
        """Begin a stream anew that is up, but does not tell of what traded."""
        assert self._desk is not None
        words = CANDLE_WORDS.get(self.exchange.id)
        has_final_word = words is not None and not words.is_every_change_sent
        if not has_final_word or self._down or opened < self._desk.history_until or not is_unheard:
            self._unheard.pop(index, None)
            return
        self._unheard[index] = self._unheard.get(index, 0) + 1
        if self._unheard[index] >= _MOST_UNHEARD and time.monotonic() - self._restarted_at > _RESTART_EVERY:
            self._unheard.clear()
            self._restarted_at = time.monotonic()
            symbol, timeframe = self._streams[index - self._first]
            self.tap.restart(f"{symbol} {timeframe} traded, and the stream did not tell of it")

    async def _probe(self) -> bool:
        """Ask for one candle; say whether the stream has missed something.

        Raises:
            VenueUnavailable: the venue does not answer.
        """
        assert self._desk is not None
        symbol, timeframe = self._random.choice(self._streams)
        index = self._first + self._streams.index((symbol, timeframe))
        name = f"{symbol} {timeframe}"
        candles = await self.asker.ask(
            f"candles of {name}", lambda: self.exchange.fetch_ohlcv(symbol, timeframe, None, 2),
            lambda reply: candles_of_reply(reply, f"{self.exchange.id} {name}", timeframe), attempts=1)
        closer = self._desk.closers[index]
        return any(one.volume > 0 and not closer.has_heard(one) for one in candles)

    # ── the venue's list ────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch_markets(self) -> None:
        """Notice what is not traded any more."""
        assert self._desk is not None
        while True:
            await asyncio.sleep(self.options.markets_every / SECOND)
            try:
                markets = await load_markets(self.asker, self.exchange, again=True)
            except VenueError:
                continue  # the next look will tell; the bars are watched by others
            for place, (symbol, timeframe) in enumerate(self._streams):
                index = self._first + place
                market = markets.get(symbol)
                if (market is None or market.get("active") is False) and self._desk.gatherer.is_active(index):
                    reason = f"{self.exchange.id}: {symbol} {timeframe} is not traded any more"
                    self._desk.gone(index, reason, self.now, self._clock())

    def _tell(self, kind: str, value: float, reason: str) -> None:
        assert self._desk is not None
        self._desk.tell(self._clock(), kind, "", value, f"{self.exchange.id}: {reason}")
