"""A venue in one object: what the feeds ask of a ccxt exchange, answered from candles made here, with faults on order.

It has no sockets and no limiter. Times are milliseconds, as ccxt's are.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from engine.bars import Timeframe

MINUTE = 60_000
NOON = 1_709_294_400_000
"""2024-03-01T12:00Z."""


def ns(milliseconds: int) -> int:
    return milliseconds * 1_000_000


def row(time: int, *, volume: float | None = None) -> list[float]:
    """Return the candle that opens at a time: the same for whoever asks."""
    price = 100.0 + time // MINUTE % 50
    return [time, price, price + 2, price - 2, price + 1, float(time // MINUTE % 7 + 1) if volume is None else volume]


class FakeExchange:
    """See the module.

    Args:
        begins: when the markets were listed.
        holes: open times that have no candle; `lost`: nor trades.
    """

    id = "binance"
    precisionMode = 4  # noqa: N815  ccxt's name

    def __init__(
        self, *, now: int = NOON, begins: int = NOON - 30 * 24 * 60 * MINUTE, symbols: tuple[str, ...] = ("BTC/USDT",),
        page: int = 100, timeframe: str = "1m", holes: frozenset[int] = frozenset(), lost: frozenset[int] = frozenset(),
        tells_listing: bool = False, ignores_since: bool = False,
    ) -> None:
        self.now = now
        self.begins = begins
        self.page = page
        self.holes, self.lost = holes, lost
        self.ignores_since = ignores_since
        self.listed: dict[str, int] = {}
        """When a symbol was listed, if not with the others."""
        self.duration = Timeframe.parse(timeframe).duration // 1_000_000
        self.timeframes = {timeframe: timeframe, "1h": "1h", "1d": "1d"}
        self.has = {"fetchTime": True, "fetchTrades": True, "fetchOHLCV": True}
        self.calls: dict[str, list[tuple]] = defaultdict(list)
        self.faults: dict[str, list[Any]] = defaultdict(list)
        """For each method what its next calls raise or answer instead; None is the truth."""
        self.on_call: Callable[[str], None] = lambda name: None
        self.markets: dict[str, dict] = {}
        self.known = {
            symbol: {
                "symbol": symbol, "base": symbol.split("/")[0], "quote": "USDT", "active": True, "type": "spot",
                "precision": {"price": 0.01, "amount": 1e-05},
                "limits": {"cost": {"min": 5.0}, "amount": {"min": 1e-5}},
                "maker": 0.001, "taker": 0.001, "created": begins if tells_listing else None,
            }
            for symbol in symbols
        }

    def feature_value(self, symbol: str, method: str, name: str) -> int:
        return self.page

    async def load_markets(self, again: bool = False) -> Any:
        return self._answer("load_markets", self._load)

    async def fetch_time(self) -> Any:
        return self._answer("fetch_time", lambda: self.now)

    async def fetch_ohlcv(
        self, symbol: str, timeframe: str, since: int | None = None, limit: int | None = None, params: dict = {},  # noqa: B006  as ccxt has it
    ) -> Any:
        if self.listed.get(symbol, 0) > self.now:
            return self._answer("fetch_ohlcv", list, since)
        return self._answer("fetch_ohlcv", lambda: self.rows(since, min(limit or 500, self.page), params), since)

    async def fetch_trades(self, symbol: str, since: int, limit: int) -> Any:
        return self._answer("fetch_trades", lambda: self._trades(since, limit), since)

    async def close(self) -> None:
        self.calls["close"].append(())

    def rows(self, since: int | None, limit: int, params: dict) -> list[list[float]]:
        step = self.duration
        newest = self.now // step * step
        if since is None or self.ignores_since:
            first, last = newest - (limit - 1) * step, newest
        else:
            first = -(-max(since, self.begins) // step) * step
            last = min(newest, params.get("until", newest))
        found = [row(time) for time in range(max(first, self.begins), last + 1, step) if time not in self.holes]
        if found and found[-1][0] == newest:
            found[-1][5] = 0.001  # it is forming
        return found[:limit] if since is not None and not self.ignores_since else found[-limit:]

    def _load(self) -> dict:
        self.markets = dict(self.known)
        return self.markets

    def _trades(self, since: int, limit: int) -> list[dict]:
        found = []
        for time in range(since // self.duration * self.duration, self.now, self.duration):
            if time in self.lost or time < self.begins:
                continue
            _, opened, high, low, close, volume = row(time)
            for nth, price in enumerate((opened, high, low, close)):
                moment = time + nth * self.duration // 4
                if moment >= since:
                    found.append({
                        "id": f"{time // self.duration * 4 + nth}", "timestamp": moment, "price": price,
                        "amount": volume / 4, "side": "buy"})
            if len(found) >= limit:
                break
        return found[:limit]

    def _answer(self, name: str, truth: Callable[[], Any], *arguments: Any) -> Any:
        self.calls[name].append(arguments)
        self.on_call(name)
        if self.faults[name]:
            fault = self.faults[name].pop(0)
            if isinstance(fault, BaseException):
                raise fault
            if fault is not None:
                return fault(truth()) if callable(fault) else fault
        return truth()


class StreamingFake(FakeExchange):
    """A venue with streams too: a test says what comes, and when. Everything of it runs in the feed's thread."""

    def __init__(self, venue: str = "binance", **options: Any) -> None:
        super().__init__(**options)
        self.id = venue
        self.has.update(fetchTime=False, watchOHLCV=True)
        self.clients: dict = {}
        self.ohlcvs: dict[str, dict[str, list]] = {}
        self.trades: dict[str, list[dict]] = {}
        self.orderbooks: dict[str, dict] = {}
        self.timeframes = {"1m": "1" if venue in ("kraken", "bybit") else "1m"}
        self.funding: list[tuple[int, float, float]] = []
        self.settled: list[tuple[int, float]] = []
        self.broken: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: dict[str, asyncio.Future] = {}

    def market(self, symbol: str) -> dict:
        return {**self.known[symbol], "id": symbol.replace("/", "").split(":")[0]}

    async def load_markets(self, again: bool = False) -> Any:
        self._loop = asyncio.get_running_loop()
        return await super().load_markets(again)

    def run(self, work: Callable[[], Any]) -> None:
        """Do something in the feed's thread, and wait for it."""

        async def inside() -> None:
            work()

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(inside(), self._loop).result(10)

    def say(self, message: Any) -> None:
        """Let a message come through the stream."""
        self.run(lambda: self.handle_message(None, message))

    def wake(self, stream: str) -> None:
        """Let whoever waits for a stream go on, as ccxt does when something of it came."""

        def resolve() -> None:
            if stream in self._woken and not self._woken[stream].done():
                self._woken.pop(stream).set_result(None)

        self.run(resolve)

    def break_streams(self, error: Exception) -> None:
        """Let whoever waits for a stream have an error."""

        def fail() -> None:
            self.on_close(None, 1006)
            for future in self._woken.values():
                if not future.done():
                    future.set_exception(error)
            self._woken.clear()

        self.run(fail)

    async def _wait(self, stream: str) -> None:
        future = self._woken.get(stream)
        if future is None or future.done():
            future = self._woken[stream] = asyncio.get_running_loop().create_future()
        await asyncio.shield(future)

    async def watch_ohlcv(self, symbol: str, timeframe: str) -> None:
        self.calls["watch_ohlcv"].append((symbol, timeframe))
        await self._wait("candles")

    async def watch_trades(self, symbol: str) -> None:
        self.calls["watch_trades"].append((symbol,))
        await self._wait("trades")

    async def watch_order_book(self, symbol: str) -> None:
        await self._wait("books")

    async def fetch_funding_rate(self, symbol: str) -> dict:
        later = [one for one in self.funding if one[0] > self.now]
        moment, rate, mark = later[0] if later else (None, None, None)
        return {"fundingTimestamp": moment, "fundingRate": rate, "markPrice": mark}

    async def fetch_funding_rate_history(self, symbol: str, since: int, limit: int) -> list[dict]:
        return [{"timestamp": one[0], "fundingRate": one[1]} for one in self.settled if since <= one[0] <= self.now]

    def handle_message(self, client: Any, message: Any) -> None: ...
    def on_close(self, client: Any, code: Any) -> None: ...
    def on_error(self, client: Any, error: Any) -> None: ...
    def on_connected(self, client: Any, message: Any = None) -> None: ...
