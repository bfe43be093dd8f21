"""A venue in one object: what the feeds ask of a ccxt exchange, answered from candles made here, with faults on order.

It has no sockets and no limiter. Times are milliseconds, as ccxt's are.
"""

from __future__ import annotations

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
