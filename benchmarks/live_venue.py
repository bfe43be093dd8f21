"""A venue that only ever does one thing: close the minute's candles of all its symbols at the same moment.

It speaks as much of Binance's protocol as ccxt needs to follow candles, with every message made ahead and sent in one
go, so that what is measured is our own cost and not the venue's. Run by benchmarks/live.py in a process of its own:

    python -m benchmarks.live_venue --symbols 500 --period 1.0 --start NANOSECONDS

Minute number n closes at `start + n × period`, wall time; its candles carry times of the market, a minute each.
"""

import argparse
import asyncio
import json
import time

from aiohttp import web

MINUTE = 60_000
EPOCH = 1_704_067_200_000
"""Market time of the start, milliseconds."""


def symbols_of(count: int) -> list[str]:
    """Return the names of the made-up markets."""
    return [f"S{number:03}/USDT" for number in range(count)]


def candle(symbol: int, minute: int) -> tuple[str, str, str, str, str]:
    """Return open, high, low, close and volume as the venue writes them."""
    price = 100 + (symbol * 7 + minute * 13) % 50
    return f"{price}.00", f"{price + 2}.00", f"{price - 2}.00", f"{price + 1}.00", f"{1 + minute % 9}.50000000"


def frame(text: str) -> bytes:
    """Return a text message as a websocket's frame."""
    payload = text.encode()
    return bytes((0x81, 126)) + len(payload).to_bytes(2, "big") + payload


class Venue:
    """See the module."""

    def __init__(self, count: int, period: float, start: int) -> None:
        self._count, self._period, self._start = count, period, start
        self._transports: list[asyncio.Transport] = []

    @property
    def minute(self) -> int:
        """The minute that is forming."""
        return int((time.time_ns() - self._start) / 1e9 / self._period)

    def app(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/api/v3/exchangeInfo", self._markets)
        made.router.add_get("/api/v3/time", self._time)
        made.router.add_get("/api/v3/klines", self._klines)
        made.router.add_get("/stream/ws/{place}", self._stream)
        return made

    async def _markets(self, _: web.Request) -> web.Response:
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "100000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
            {"filterType": "NOTIONAL", "minNotional": "5"}]
        markets = [
            {"symbol": name.replace("/", ""), "status": "TRADING", "baseAsset": name.split("/")[0],
             "quoteAsset": "USDT", "baseAssetPrecision": 8, "quoteAssetPrecision": 8, "isSpotTradingAllowed": True,
             "permissions": ["SPOT"], "orderTypes": ["LIMIT"], "filters": filters}
            for name in symbols_of(self._count)]
        return web.json_response({"timezone": "UTC", "serverTime": 0, "rateLimits": [], "symbols": markets})

    async def _time(self, _: web.Request) -> web.Response:
        return web.json_response({"serverTime": time.time_ns() // 1_000_000})

    async def _klines(self, request: web.Request) -> web.Response:
        symbol = int(request.query["symbol"][1:-4])
        limit = int(request.query.get("limit", 500))
        last = self.minute
        asked = request.query.get("startTime")
        first = last - limit + 1 if asked is None else (int(asked) - EPOCH) // MINUTE
        rows = []
        for minute in range(first, min(first + limit, last + 1)):
            opened = EPOCH + minute * MINUTE
            rows.append([opened, *candle(symbol, minute), opened + MINUTE - 1, "0", 1, "0", "0", "0"])
        return web.json_response(rows)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        self._transports.append(request.transport)
        async for message in socket:
            asked = json.loads(message.data)
            await socket.send_str(json.dumps({"result": None, "id": asked["id"]}))
        return socket

    async def play(self) -> None:
        """Close minute after minute, each at its moment."""
        minute = self.minute + 1
        while True:
            changed = self._messages(minute - 1, is_final=False)
            closing = self._messages(minute - 1, is_final=True) + self._messages(minute, is_final=False)
            await self._until(minute - 0.5)
            self._send(changed)
            await self._until(minute)
            self._send(closing)
            minute += 1

    async def _until(self, minute: float) -> None:
        await asyncio.sleep(max(self._start / 1e9 + minute * self._period - time.time(), 0))

    def _send(self, frames: bytes) -> None:
        for transport in self._transports:
            if not transport.is_closing():
                transport.write(frames)

    def _messages(self, minute: int, *, is_final: bool) -> bytes:
        opened = EPOCH + minute * MINUTE
        made = bytearray()
        for number, name in enumerate(symbols_of(self._count)):
            o, h, l, c, v = candle(number, minute)  # noqa: E741  Binance's own names
            market = name.replace("/", "")
            made += frame(json.dumps({
                "e": "kline", "E": opened + MINUTE, "s": market,
                "k": {"t": opened, "T": opened + MINUTE - 1, "s": market, "i": "1m", "f": 1, "L": 2, "o": o, "c": c,
                      "h": h, "l": l, "v": v, "n": 2, "x": is_final, "q": "0", "V": "0", "Q": "0", "B": "0"}}))
        return bytes(made)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--period", type=float, default=1.0)
    parser.add_argument("--start", type=int, required=True)
    wanted = parser.parse_args()
    venue = Venue(wanted.symbols, wanted.period, wanted.start)
    runner = web.AppRunner(venue.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await venue.play()


if __name__ == "__main__":
    asyncio.run(main())
