"""Bars of an exchange's past, brought into the catalog through ccxt: paged, checked, resumed, repaired.

What is missing between two times is asked for, newest first, and written as it comes, so that whoever stops it (or
kills it) loses at most what has not been written yet, and starting it again goes on from there. A candle that is
forming is never stored: only those are that are older than the newest the venue has, and whose close has passed.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.bars import SECOND, Bars, IntArray, Stream, Timeframe, iso
from engine.errors import DataError, VenueUnavailable
from feeds.asking import Asker
from feeds.candles import MILLISECOND, Candle, candles_of_reply
from feeds.catalog import Catalog, Progress
from feeds.catalog_entry import CatalogEntry
from feeds.gaps import Gap, merge_gaps
from feeds.markets import VenueMarket, check_timeframe, load_markets, markets_of
from feeds.memory import bars_of_arrays
from feeds.trade_bars import candles_of_trades

GRACE = 2 * SECOND
WRITE_ROWS = 50_000
"""Candles of one symbol that are written together: each writing makes the current year's file anew."""
WRITE_SECONDS = 20.0
_MONDAY = 4 * 86_400 * SECOND
_TAKES_UNTIL = ("binance", "okx", "bybit")
"""Venues that are told where to stop, beside where to begin."""
_PAGES_OF_TRADES = 40
"""Requests that one hole is worth, at most, when it is repaired from trades."""


@dataclass
class Fetched:
    """What came of one symbol.

    Args:
        added: bars that are new in the catalog; repaired: those of them that were built from trades.
        revised: bars that the catalog has with other values than the venue; it keeps its own.
        begins_at: the venue has nothing before; None if that was not found out.
        gaps: what is missing within the span asked for, and cannot be had.
    """

    stream: Stream
    added: int = 0
    repaired: int = 0
    revised: int = 0
    begins_at: int | None = None
    gaps: tuple[Gap, ...] = ()
    entry: CatalogEntry | None = None

    @property
    def missing(self) -> int:
        """Bars missing within the span."""
        return sum(gap.missing for gap in self.gaps)

    def __str__(self) -> str:
        parts = [f"{self.added:,} bars added"]
        if self.repaired:
            parts.append(f"{self.repaired:,} of them built from trades")
        if self.revised:
            parts.append(f"{self.revised:,} differ from the venue's and were kept")
        if self.begins_at is not None:
            parts.append(f"the venue has none before {iso(self.begins_at)}")
        if self.missing:
            parts.append(f"{self.missing:,} missing, first {self.gaps[0]}")
        if self.entry is None:
            return f"{self.stream.symbol} {self.stream.timeframe}: no bars"
        return f"{self.stream.symbol} {self.stream.timeframe}: {', '.join(parts)}; now {self.entry}"


async def fetch_history(
    exchange: Any, catalog: Catalog, symbols: Sequence[str], timeframe: str, *, since: int, until: int | None = None,
    progress: Progress | None = None, asker: Asker | None = None, mixes_origins: bool = False,
    write_rows: int = WRITE_ROWS,
) -> list[Fetched]:
    """Bring the bars of some symbols between two times into a catalog; the exchange stays open.

    Args:
        since, until: UTC nanoseconds; `until` None is now.
        progress: called with the bars done so far, and how many there will be.
        mixes_origins: whether bars may be added to a stream that was imported from elsewhere.
    Raises:
        DataError: a symbol or timeframe is not known there, or the catalog's bars come from elsewhere.
        VenueUnavailable: the venue did not answer for long; what was fetched before is in the catalog.
    """
    asker = asker or Asker(exchange)
    await load_markets(asker, exchange)
    check_timeframe(exchange, timeframe)
    markets = markets_of(exchange, symbols, needs_active=False)
    now = await venue_time(asker, exchange)
    until = now if until is None else min(until, now)
    if since >= until:
        raise DataError(f"since is {iso(since)}, which is not before {iso(until)}; nothing lies between them")
    total = _Total(progress)
    work = [
        _Download(exchange, asker, catalog, market, timeframe, since, until, now, total, mixes_origins, write_rows)
        for market in markets.values()
    ]
    for one in work:
        one.check_origin()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run()) for one in work]
    except ExceptionGroup as group_of_errors:
        raise group_of_errors.exceptions[0] from None  # one is enough to act on; each says which symbol it is of
    return [task.result() for task in tasks]


async def venue_time(asker: Asker, exchange: Any) -> int:
    """Return the earlier of our clock and the venue's, UTC nanoseconds."""
    if not exchange.has.get("fetchTime"):
        return time.time_ns()

    def checked(answer: Any) -> int:
        if not isinstance(answer, int) or answer < 1_000_000_000_000:
            raise VenueUnavailable(f"{exchange.id}: the venue's time is {answer!r}; expected milliseconds since 1970")
        return answer * MILLISECOND

    return min(await asker.ask("its time", exchange.fetch_time, checked), time.time_ns())


class _Total:
    """Adds up what all downloads have done."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done, self._whole = 0, 0

    def expect(self, bars: int) -> None:
        self._whole += bars
        self.add(0)

    def add(self, bars: int) -> None:
        self._done += bars
        if self._progress is not None:
            self._progress(min(self._done, self._whole), self._whole)


@dataclass
class _Download:
    """One symbol's bars between two times."""

    exchange: Any
    asker: Asker
    catalog: Catalog
    market: VenueMarket
    timeframe: str
    since: int
    until: int
    now: int
    total: _Total
    mixes_origins: bool
    write_rows: int
    _held: list[Candle] = field(default_factory=list)
    _written_at: float = 0.0

    def __post_init__(self) -> None:
        self.stream = Stream(self.market.instrument.symbol, self.timeframe)
        self.duration = Timeframe.parse(self.timeframe).duration
        self.origin = f"ccxt {self.exchange.id}"
        self.name = f"candles of {self.market.symbol} {self.timeframe}"
        self.done = Fetched(self.stream)
        limit = self.exchange.feature_value(self.market.symbol, "fetchOHLCV", "limit")
        self.page = min(int(limit or 500), 1000)
        self._written_at = time.monotonic()

    def check_origin(self) -> None:
        """Refuse to add to bars that come from elsewhere."""
        entry = self._entry()
        foreign = [one for one in entry.origins if one not in (self.origin, f"{self.origin} trades")] if entry else []
        if foreign and not self.mixes_origins:
            raise DataError(
                f"{self.catalog.root}: its {self.stream.symbol} {self.timeframe} comes from {foreign[0]}; expected "
                f"bars of {self.exchange.id} alone; fetch into another catalog with --catalog, or say --mix")

    async def run(self) -> Fetched:
        first = _aligned_up(max(self.since, self.market.listed_at or 0), self.duration)
        last = min(self.until, await self._newest(), _aligned_down(self.now - GRACE, self.duration))
        spans = self._wanted(first, last)
        self.total.expect(sum(end - start for start, end in spans) // self.duration)
        try:
            for start, end in reversed(spans):
                await self._backwards(start, end, is_oldest=start == first)
            self._write(self.origin)
            for start, end in self._holes(first, last):
                await self._repair(start, end)
        finally:  # also when the user stops it
            self._write(self.origin)
        self.done.gaps = self._gaps(first, last)
        self.done.entry = self._entry()
        return self.done

    async def _newest(self) -> int:
        """Return the open time of the newest candle that the venue has: all before it have closed."""
        candles = await self._ask(None, 2) or await self._ask(None, self.page)
        return candles[-1].open_time if candles else 0

    def _wanted(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the spans that the catalog does not have, oldest first."""
        entry = self._entry()
        if entry is None:
            return [(first, last)] if first < last else []
        inside = [(gap.start, gap.end) for gap in self._all_gaps()]
        spans = [(first, min(entry.first_open, last)), *inside, (max(entry.last_close, first), last)]
        cut = [(max(start, first), min(end, last)) for start, end in spans]
        return [(start, end) for start, end in cut if start < end]

    async def _backwards(self, start: int, end: int, *, is_oldest: bool) -> None:
        """Fetch a span page by page, from its end; once nothing comes, make sure in growing steps that nothing is
        before."""
        window = self.page * self.duration
        leap = 1
        while end > start:
            begin = max(end - window, start)
            candles = [one for one in await self._ask(begin, self.page) if begin <= one.open_time < end]
            if candles:
                self._hold(candles)
                leap = 1
                # A venue may send fewer than were asked for: those at the end of the span, most often.
                if candles[0].open_time > begin and len(candles) >= self.page:
                    begin = candles[0].open_time
            elif is_oldest:
                if not await self._is_any_before(start, begin, window, leap):
                    self.done.begins_at = end
                    self.total.add((end - start) // self.duration)
                    return
                leap *= 2
            self.total.add((end - begin) // self.duration)
            end = begin

    async def _is_any_before(self, start: int, end: int, window: int, leap: int) -> bool:
        """Look at a few places further back; a venue has either everything since the listing or holes of hours."""
        while end > start:
            begin = max(end - leap * window, start)
            if any(begin <= one.open_time < end for one in await self._ask(begin, self.page)):
                return True
            end, leap = begin, leap * 4
        return False

    def _holes(self, first: int, last: int) -> list[tuple[int, int]]:
        return [(gap.start, gap.end) for gap in self._gaps(first, last)]

    async def _repair(self, start: int, end: int) -> None:
        """Fill a hole: ask again, then build its bars from trades."""
        if (end - start) // self.duration <= self.page:
            again = [one for one in await self._ask(start, self.page) if start <= one.open_time < end]
            self._hold(again)
            self._write(self.origin)
            if len(again) == (end - start) // self.duration:
                return
        if not self.exchange.has.get("fetchTrades"):
            return
        trades = await self._trades(start, end)
        have = {one.open_time for one in self._held}
        built = [one for one in candles_of_trades(trades, self.duration, start, end) if one.open_time not in have]
        if built:
            self._hold(built)
            self._write(f"{self.origin} trades")
            self.done.repaired += len(built)

    async def _trades(self, start: int, end: int) -> list[tuple[int, float, float]]:
        """Return (time, price, quantity) of every trade of a span; nothing if it cannot be had whole."""
        found: dict[str, tuple[int, float, float]] = {}
        cursor = start
        for _ in range(_PAGES_OF_TRADES):
            page = await self._ask_trades(cursor // MILLISECOND)
            if not page or (not found and page[0]["timestamp"] * MILLISECOND > start + self.duration):
                return []  # the venue does not go back that far
            before = len(found)
            for trade in page:
                moment = trade["timestamp"] * MILLISECOND
                if start <= moment < end:
                    found[str(trade["id"])] = (moment, float(trade["price"]), self.market.in_base(trade["amount"]))
            newest = page[-1]["timestamp"] * MILLISECOND
            if newest >= end:
                return sorted(found.values(), key=lambda trade: trade[0])
            if newest <= cursor and len(found) == before:
                return []
            cursor = max(newest, cursor)
        return []

    async def _ask_trades(self, since_ms: int) -> list[Any]:
        return await self.asker.ask(
            f"trades of {self.market.symbol}",
            lambda: self.exchange.fetch_trades(self.market.symbol, since_ms, 1000), _list_of_trades)

    async def _ask(self, since: int | None, limit: int) -> list[Candle]:
        params = {}
        if since is not None and self.exchange.id.startswith(_TAKES_UNTIL):
            params["until"] = (since + limit * self.duration) // MILLISECOND - 1
        return await self.asker.ask(
            self.name,
            lambda: self.exchange.fetch_ohlcv(
                self.market.symbol, self.timeframe, None if since is None else since // MILLISECOND, limit, params),
            lambda reply: candles_of_reply(reply, f"{self.exchange.id} {self.name}", self.timeframe, since=since))

    def _hold(self, candles: Sequence[Candle]) -> None:
        self._held.extend(candles)
        if len(self._held) >= self.write_rows or time.monotonic() - self._written_at > WRITE_SECONDS:
            self._write(self.origin)

    def _write(self, origin: str) -> None:
        """Put what was fetched into the catalog, in one step."""
        self._written_at = time.monotonic()
        held = {candle.open_time: candle for candle in self._held}
        self._held = []
        if not held:
            return
        (result,) = self.catalog.write(_bars(self.stream, [held[at] for at in sorted(held)]), origin=origin,
                                       on_conflict="keep")
        self.done.added += result.added
        self.done.revised += result.conflicting

    def _entry(self) -> CatalogEntry | None:
        return next((entry for entry in self.catalog.entries() if entry.stream == self.stream), None)

    def _all_gaps(self) -> tuple[Gap, ...]:
        return merge_gaps([self.catalog.gaps(*self.stream)]) if self._entry() is not None else ()

    def _gaps(self, first: int, last: int) -> tuple[Gap, ...]:
        return tuple(gap for gap in self._all_gaps() if gap.start >= first and gap.end <= last)


def _list_of_trades(reply: Any) -> list[Any]:
    if not isinstance(reply, list):
        raise VenueUnavailable(f"the venue answered {str(reply)[:60]!r}; expected a list of trades")
    for trade in reply:
        if not (trade.get("timestamp") and trade.get("price") and trade.get("amount")):
            raise VenueUnavailable(f"the venue sent the trade {str(trade)[:100]}; expected time, price and amount")
    return reply


def _bars(stream: Stream, candles: Sequence[Candle]) -> Bars:
    columns = list(zip(*candles, strict=True))
    opens: IntArray = np.array(columns[0], np.int64)
    return bars_of_arrays(
        stream.symbol, stream.timeframe, opens, open=columns[1], high=columns[2], low=columns[3], close=columns[4],
        volume=columns[5])


def _aligned_down(moment: int, duration: int) -> int:
    offset = _MONDAY if duration % (7 * 86_400 * SECOND) == 0 else 0
    return (moment - offset) // duration * duration + offset


def _aligned_up(moment: int, duration: int) -> int:
    down = _aligned_down(moment, duration)
    return down if down == moment else down + duration
