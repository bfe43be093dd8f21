"""Websocket connections: who has asked for what, and how messages leave, with faults on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import orjson
from aiohttp import WSMsgType, web

from tests.venue.clock import VenueClock
from tests.venue.faults import STREAM_KINDS, Fault, Faults


class Message(NamedTuple):
    """What is to be sent. `call` is ccxt's name of the method that waits for it; "" for what faults leave alone."""

    text: str
    call: str = ""
    symbol: str | None = None
    closes_candle: bool = False


def message(content: Any, call: str = "", symbol: str | None = None, *, closes_candle: bool = False) -> Message:
    return Message(orjson.dumps(content).decode(), call, symbol, closes_candle)


class Connection:
    """One client's websocket."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, venue: str, faults: Faults,
                 clock: VenueClock) -> None:
        self.topics: set[str] = set()
        self.account: str | None = None
        """Whose private messages it gets, once it has signed in."""
        self.path, self.query = request.path, request.query
        self._socket, self._request = socket, request
        self._venue, self._faults, self._clock = venue, faults, clock
        self._outbox: deque[Message] = deque()
        self._filled = asyncio.Event()
        self._held: Message | None = None
        self._silent_until: float | None = None
        self._late: set[asyncio.Task[None]] = set()

    def push(self, message: Message) -> None:
        """Put a message into the outbox."""
        self._outbox.append(message)
        self._filled.set()

    async def write(self) -> None:
        """Send what is in the outbox, for as long as the connection lives."""
        while not self._socket.closed:
            await self._filled.wait()
            self._filled.clear()
            while self._outbox:
                await self._send(self._outbox.popleft())

    async def _send(self, message: Message) -> None:
        if self._is_silent():
            return
        fault = None
        if message.call:
            self._faults.count(self._venue, message.call)
            kinds = _OF_A_CLOSED_CANDLE if message.closes_candle else _OF_ANY_MESSAGE
            fault = self._faults.take(kinds, self._venue, message.call, message.symbol, self._clock.now)
        if fault is None:
            await self._out(message)
        else:
            await self._strike(fault, message)
        if self._held is not None and message is not self._held:
            held, self._held = self._held, None
            await self._out(held)

    async def _strike(self, fault: Fault, message: Message) -> None:
        match fault.kind:
            case "ws_drop":
                self.cut()
            case "ws_stall":
                loop = asyncio.get_running_loop()
                self._silent_until = loop.time() + fault.seconds if fault.seconds else float("inf")
            case "ws_duplicate":
                await self._out(message)
                await self._out(message)
            case "ws_reorder":
                self._held = message
            case "ws_delay":
                await asyncio.sleep(fault.seconds or 0.2)
                await self._out(message)
            case "late_candle":
                task = asyncio.create_task(self._out_late(message, fault.seconds or 0.2))
                self._late.add(task)
                task.add_done_callback(self._late.discard)

    async def _out_late(self, message: Message, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._out(message)

    async def _out(self, message: Message) -> None:
        if not self._socket.closed:
            try:
                await self._socket.send_str(message.text)
            except ConnectionError:
                self._outbox.clear()

    def _is_silent(self) -> bool:
        return self._silent_until is not None and asyncio.get_running_loop().time() < self._silent_until

    def cut(self) -> None:
        """Cut the connection without a word."""
        self._outbox.clear()
        if self._request.transport is not None:
            self._request.transport.abort()

    async def close(self) -> None:
        for task in self._late:
            task.cancel()
        await self._socket.close()


_OF_A_CLOSED_CANDLE = {kind: words for kind, words in STREAM_KINDS.items() if kind != "corrected_candle"}
_OF_ANY_MESSAGE = {kind: words for kind, words in _OF_A_CLOSED_CANDLE.items() if kind != "late_candle"}


class Hub:
    """The websockets of one venue."""

    def __init__(self, venue: str, faults: Faults, clock: VenueClock, failures: list[Exception]) -> None:
        self.connections: list[Connection] = []
        self.opened = 0
        """Connections ever opened."""
        self._venue, self._faults, self._clock, self._failures = venue, faults, clock, failures

    def handler(self, on_text: Callable[[Connection, str], None],
                on_open: Callable[[Connection], None] = lambda _: None,
                ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return an aiohttp handler that gives each text to `on_text`."""

        async def handle(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(autoping=True, max_msg_size=1 << 22)
            await socket.prepare(request)
            connection = Connection(socket, request, self._venue, self._faults, self._clock)
            self.connections.append(connection)
            self.opened += 1
            writer = asyncio.create_task(connection.write())
            on_open(connection)
            try:
                async for received in socket:
                    if received.type is WSMsgType.TEXT:
                        on_text(connection, received.data)
            except ConnectionError:
                pass
            except Exception as failure:
                self._failures.append(failure)
                raise
            finally:
                self.connections.remove(connection)
                writer.cancel()
                await connection.close()
            return socket

        return handle

    def watched(self, topic: str) -> list[Connection]:
        """Return the connections that have asked for a topic."""
        return [connection for connection in self.connections if topic in connection.topics]

    def of(self, account: str) -> list[Connection]:
        """Return the connections that an account has signed in on."""
        return [connection for connection in self.connections if connection.account == account]

    async def close(self) -> None:
        for connection in list(self.connections):
            await connection.close()
