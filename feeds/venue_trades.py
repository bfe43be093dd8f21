"""The live trades, books and funding of one venue, for whoever asked for them. Asyncio.

ccxt keeps the last thousand trades of each symbol and hands out those of one symbol a call, so after each call the kept
ones of all symbols are looked through from where we were; if that place is gone, trades were missed, and that is told.
A book of a connection that is gone can still be read in ccxt; here an empty one is published instead, so that nobody
trades against it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from engine.bars import MINUTE, SECOND, Bar
from engine.errors import VenueError, VenueUnavailable
from engine.live.market import Book, FundingDue, Level, Trade
from feeds.bar_desk import BarDesk
from feeds.listening import time_of_milliseconds
from feeds.live_options import ANY_CHUNK, CHUNKS
from feeds.markets import VenueMarket
from feeds.trade_bars import TradeBars
from feeds.venue_feed import VenueFeed

_FUNDING_EVERY = 30.0
"""Seconds between two looks at what a perpetual will pay next."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at whether trades come at all."""
_BOOK_SILENCE = 3.0
"""Seconds that a book may stay as it is although its market has traded: its stream has stalled, and is begun anew."""


@dataclass(frozen=True)
class Listener:
    """Who hears of some symbols. Called in the feed's own thread; must return at once."""

    on_trade: Callable[[Trade], None] | None = None
    on_book: Callable[[Book], None] | None = None
    on_funding: Callable[[FundingDue], None] | None = None


class VenueTrades:
    """Trades, books and funding of one venue.

    Args:
        listeners: by the venue's symbol.
        desk, builders: where bars are built from trades, those of each symbol with the stream's place in the desk.
    """

    def __init__(
        self, feed: VenueFeed, clock: Callable[[], int], listeners: Mapping[str, Sequence[Listener]], desk: BarDesk,
        builders: Mapping[str, Sequence[tuple[int, TradeBars]]],
    ) -> None:
        self.missed = 0
        """How often trades were lost because too many came at once."""
        self.stalled = 0
        """Books and trades whose stream said nothing while their market traded."""
        self.crossed = 0
        """Books that could not be: the best bid at or above the best ask."""
        self._feed = feed
        self._exchange = feed.exchange
        self._clock = clock
        self._listeners = listeners
        self._desk = desk
        self._builders = builders
        self._last: dict[str, Any] = {}
        self._last_time: dict[str, int] = {}
        self._shown: dict[str, tuple[Any, ...]] = {}
        self._traded_since: dict[str, float] = {}
        """When a symbol traded first since its book changed last, by a clock that only goes forward."""
        self._judged: dict[str, int] = {}
        """The bar of each symbol that was held against its trades last; `_looked_at` is one look ahead of it."""
        self._looked_at: dict[str, int] = {}
        self._needs_past: set[str] = set()
        self._past_until: dict[str, int] = {}
        self._started_at = feed.now
        self._paid: dict[str, int] = {}
        feed.on_lost.append(self._on_lost)

    def run(self, group: asyncio.TaskGroup) -> None:
        """Start what is asked for."""
        of_trades = [symbol for symbol in self._feed.plan.symbols if self._wants(symbol, "on_trade")]
        of_trades = [one for one in self._feed.plan.symbols if one in self._builders or one in of_trades]
        of_books = [symbol for symbol in self._feed.plan.symbols if self._wants(symbol, "on_book")]
        for chunk in self._chunks(of_trades):
            group.create_task(self._watch(chunk, "watch_trades", self._sweep_trades))
        for chunk in self._chunks(of_books):
            group.create_task(self._watch(chunk, "watch_order_book", self._sweep_books))
        if of_trades:
            group.create_task(self._watch_unheard_trades(of_trades))
        if of_books and of_trades:
            group.create_task(self._watch_silence(set(of_books)))
        for symbol in self._feed.plan.symbols:
            if self._feed.markets[symbol].instrument.is_contract and self._wants(symbol, "on_funding"):
                group.create_task(self._watch_funding(symbol))

    def _wants(self, symbol: str, what: str) -> bool:
        return any(getattr(one, what) is not None for one in self._listeners.get(symbol, ()))

    def _chunks(self, symbols: Sequence[str]) -> list[list[str]]:
        size = self._feed.plan.chunk or CHUNKS.get(self._exchange.id, ANY_CHUNK)
        return [list(symbols[start : start + size]) for start in range(0, len(symbols), size)]

    async def _watch(self, symbols: list[str], name: str, sweep: Callable[[list[str]], None]) -> None:
        """Keep a subscription alive, and look through what came after each message."""
        failures = 0
        while True:
            if name == "watch_trades":
                await self._fetch_missed(symbols)
            if await self._feed.keep_watching(lambda: self._watch_once(symbols, name), failures):
                failures = 0
                sweep(symbols)
            else:
                failures += 1
                if name == "watch_order_book":
                    self._empty_books(symbols)

    async def _watch_once(self, symbols: list[str], name: str) -> None:
        if self._exchange.has.get("watchTradesForSymbols" if name == "watch_trades" else "watchOrderBookForSymbols"):
            await getattr(self._exchange, f"{name}_for_symbols")(symbols)
        elif len(symbols) == 1:
            await getattr(self._exchange, name)(symbols[0])
        else:
            waits = [asyncio.ensure_future(getattr(self._exchange, name)(symbol)) for symbol in symbols]
            try:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
            finally:
                for one in waits:
                    one.cancel()

    # ── trades ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sweep_trades(self, symbols: list[str]) -> None:
        received_at = self._clock()
        for symbol in symbols:
            kept = self._exchange.trades.get(symbol)
            if not kept or kept[-1] is self._last.get(symbol):
                continue
            last, new = self._last.get(symbol), []
            for trade in reversed(kept):
                if trade is last:
                    break
                new.append(trade)
            else:
                if last is not None:
                    self._tell_missed(symbol, received_at)
            self._last[symbol] = kept[-1]
            known_until = self._past_until.get(symbol, self._started_at)  # some venues begin with a few of the past
            for trade in reversed(new):
                if time_of_milliseconds(trade.get("timestamp")) > known_until:
                    self._publish_trade(symbol, trade, received_at)

    def _publish_trade(self, symbol: str, row: Mapping[str, Any], received_at: int) -> None:
        if not (row.get("price") and row.get("amount") and row.get("timestamp")):
            self._feed.tap.not_understood += 1
            return
        market = self._feed.markets[symbol]
        trade = Trade(
            market.instrument.symbol, time_of_milliseconds(row["timestamp"]), received_at, float(row["price"]),
            market.in_base(row["amount"]), str(row.get("side") or ""), str(row.get("id") or ""))
        self._last_time[symbol] = trade.time
        self._traded_since.setdefault(symbol, time.monotonic())
        for index, builder in self._builders.get(symbol, ()):
            built = builder.add(trade)
            if built is not None:
                candle, is_whole = built
                self._desk.heard(index, candle, self._feed.now, received_at, is_final=False, is_whole=is_whole)
        for one in self._listeners.get(symbol, ()):
            if one.on_trade is not None:
                one.on_trade(trade)

    async def _fetch_missed(self, symbols: list[str]) -> None:
        """After a lost connection, ask for the trades of those symbols that somebody listens to."""
        for symbol in [one for one in symbols if one in self._needs_past and self._wants(one, "on_trade")]:
            self._needs_past.discard(symbol)
            since = self._last_time.get(symbol)
            if since is not None and self._exchange.has.get("fetchTrades"):
                with suppress(VenueError):  # then they stay missed; bars do not depend on them
                    self._publish_past(symbol, await self._ask_trades(symbol, since), since)

    async def _ask_trades(self, symbol: str, since: int) -> list[Any]:
        return await self._feed.asker.ask(
            f"trades of {symbol}", lambda: self._exchange.fetch_trades(symbol, since // 1_000_000, 1000), _list_of,
            attempts=2)

    def _publish_past(self, symbol: str, rows: Sequence[Mapping[str, Any]], since: int) -> None:
        """Publish what was missed. Their ids may be of another kind than the stream's, so times alone are compared."""
        received_at = self._clock()
        for row in rows:
            moment = time_of_milliseconds(row.get("timestamp"))
            if moment > since:
                self._publish_trade(symbol, row, received_at)
                self._past_until[symbol] = moment

    async def _watch_unheard_trades(self, symbols: Sequence[str]) -> None:
        """Begin streams anew that told of no trade in a bar that had some: candles come by another connection."""
        closers = {closer.stream.symbol: closer for closer in reversed(self._desk.closers)}
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            silent = [symbol for symbol in symbols if self._is_unheard(symbol, closers[self._name(symbol)].last_bar)]
            if silent:
                self.stalled += len(silent)
                self._feed.tap.restart(f"{', '.join(silent[:5])} traded, and no trade was heard of")

    def _is_unheard(self, symbol: str, bar: Bar | None) -> bool:
        if bar is None or bar.volume == 0 or bar.open_time <= self._judged.get(symbol, self._started_at):
            return False
        if self._looked_at.get(symbol) != bar.open_time:
            self._looked_at[symbol] = bar.open_time
            return False  # its last trade may be on its way: at the next look
        self._judged[symbol] = bar.open_time
        return self._last_time.get(symbol, 0) < bar.open_time

    def _tell_missed(self, symbol: str, received_at: int) -> None:
        self.missed += 1
        for _, builder in self._builders.get(symbol, ()):
            builder.missed()
        for index, _ in self._builders.get(symbol, ()):
            self._desk.closers[index].broke()
        self._desk.tell(
            received_at, "gap", self._feed.markets[symbol].instrument.symbol, 0.0,
            f"{self._exchange.id}: more trades of {symbol} came at once than are kept; some were missed")

    def _on_lost(self) -> None:
        self._needs_past.update(self._last_time)
        for builders in self._builders.values():
            for _, builder in builders:
                builder.missed()
        self._empty_books(list(self._shown))

    # ── books ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sweep_books(self, symbols: list[str]) -> None:
        received_at = self._clock()
        levels = self._feed.plan.book_levels
        for symbol in symbols:
            kept = self._exchange.orderbooks.get(symbol)
            if kept is None:
                continue
            market = self._feed.markets[symbol]
            bids, asks = _levels(kept["bids"], levels, market), _levels(kept["asks"], levels, market)
            if bids and asks and bids[0][0] >= asks[0][0]:
                self._crossed(symbol)
                continue
            state = (bids, asks)
            if not (bids or asks) or state == self._shown.get(symbol):
                continue
            self._shown[symbol] = state
            self._traded_since.pop(symbol, None)
            moment = time_of_milliseconds(kept.get("timestamp")) or self._feed.now
            self._publish_book(Book(self._name(symbol), moment, received_at, bids, asks), symbol)

    def _crossed(self, symbol: str) -> None:
        """Throw away a book that cannot be, and begin it anew."""
        self.crossed += 1
        self._empty_books([symbol])
        self._feed.tap.restart(f"the book of {symbol} crossed: a message of it was lost")

    async def _watch_silence(self, symbols: set[str]) -> None:
        """Begin streams anew whose books do not move although their markets trade: after a lost connection, ccxt may
        wait for ever for a book's first message."""
        while True:
            await asyncio.sleep(_BOOK_SILENCE / 3)
            late = time.monotonic() - _BOOK_SILENCE
            silent = [one for one, since in self._traded_since.items() if since < late and one in symbols]
            if silent:
                self.stalled += len(silent)
                self._traded_since.clear()
                self._empty_books(silent)
                for symbol in silent:
                    self._exchange.orderbooks.pop(symbol, None)
                self._feed.tap.restart(f"{', '.join(silent[:5])} traded, and the book did not move")

    def _empty_books(self, symbols: Sequence[str]) -> None:
        now = self._clock()
        for symbol in symbols:
            if self._shown.pop(symbol, None):
                self._exchange.orderbooks.pop(symbol, None)
                self._publish_book(Book(self._name(symbol), self._feed.now, now, (), ()), symbol)

    def _publish_book(self, book: Book, symbol: str) -> None:
        for one in self._listeners.get(symbol, ()):
            if one.on_book is not None:
                one.on_book(book)

    def _name(self, symbol: str) -> str:
        return self._feed.markets[symbol].instrument.symbol

    # ── funding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch_funding(self, symbol: str) -> None:
        """Tell of each payment when it is due, at the rate that the venue has settled."""
        due: tuple[int, float, float] | None = None
        while True:
            now = self._feed.now
            if due is not None and now >= due[0]:
                await self._pay(symbol, due)
                due = None
            with suppress(VenueError):
                due = await self._next_funding(symbol) or due
            wait = _FUNDING_EVERY if due is None else min(_FUNDING_EVERY, max((due[0] - now) / SECOND, 0.05))
            await asyncio.sleep(wait)

    async def _next_funding(self, symbol: str) -> tuple[int, float, float] | None:
        answer = await self._feed.asker.ask(
            f"the funding of {symbol}", lambda: self._exchange.fetch_funding_rate(symbol), _table, attempts=2)
        moment = time_of_milliseconds(answer.get("fundingTimestamp") or answer.get("nextFundingTimestamp"))
        rate, mark = answer.get("fundingRate"), answer.get("markPrice")
        if not moment or rate is None or not mark or moment <= self._paid.get(symbol, 0) + MINUTE:
            return None
        return moment, float(rate), float(mark)

    async def _pay(self, symbol: str, due: tuple[int, float, float]) -> None:
        moment, rate, mark = due
        if self._exchange.has.get("fetchFundingRateHistory") is True:
            await asyncio.sleep(0.5)
            since = moment // 1_000_000 - 60_000
            rows: list[Any] = []
            with suppress(VenueError):
                rows = await self._feed.asker.ask(
                    f"the funding of {symbol}",
                    lambda: self._exchange.fetch_funding_rate_history(symbol, since, 5), _list_of, attempts=3)
            for row in rows:  # stamps are some milliseconds off the hour
                stamp = time_of_milliseconds(row.get("timestamp"))
                if abs(stamp - moment) < MINUTE and row.get("fundingRate") is not None:
                    rate = float(row["fundingRate"])
        self._paid[symbol] = moment
        for one in self._listeners.get(symbol, ()):
            if one.on_funding is not None:
                one.on_funding(FundingDue(self._name(symbol), moment, rate, mark))


def _levels(side: Sequence[Sequence[float]], most: int, market: VenueMarket) -> tuple[Level, ...]:
    return tuple((float(one[0]), market.in_base(one[1])) for one in side[:most])


def _list_of(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise VenueUnavailable(f"the venue answered {str(answer)[:60]!r}; expected a list")
    return answer


def _table(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, dict):
        raise VenueUnavailable(f"the venue answered {str(answer)[:60]!r}; expected a table")
    return answer


