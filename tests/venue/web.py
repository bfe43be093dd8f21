"""What the protocols share on the way from HTTP to the exchange: answers, faults, bans.

A protocol registers endpoints: a method, a path, ccxt's name for the call, and a function that takes a `Call` and
returns what is to be sent as JSON. Around that function this module does what networks and overloaded venues do.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from tests.venue.clock import VenueClock
from tests.venue.faults import REQUEST_KINDS, Fault, Faults
from tests.venue.limits import Meter

HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>We will be back soon</h1></body></html>"


class Answer(NamedTuple):
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}

    @classmethod
    def json(cls, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        return cls(status, orjson.dumps(content), headers or {})


@dataclass(frozen=True)
class Call:
    """One request, read."""

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]

    @property
    def params(self) -> dict[str, str]:
        """Return what query and form say."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        if self.body and not self.body.lstrip().startswith(("{", "[")):
            pairs += parse_qsl(self.body, keep_blank_values=True)
        return dict(pairs)

    @property
    def content(self) -> Any:
        """Return a JSON body."""
        return orjson.loads(self.body) if self.body else {}


class VenueWords(NamedTuple):
    """How a venue says that it will not serve anybody now: status and body."""

    overloaded: tuple[int, str]
    maintenance: tuple[int, str]
    rate_limit: tuple[int, str]
    ban: tuple[int, str]


Endpoint = Callable[[Call], Answer]


class Gate:
    """One venue's door: every request passes it."""

    def __init__(self, venue: str, words: VenueWords, faults: Faults, clock: VenueClock,
                 closing: asyncio.Event, failures: list[Exception]) -> None:
        self.venue = venue
        self.banned_until = 0
        """In wall milliseconds."""
        self._words, self._faults, self._clock, self._closing = words, faults, clock, closing
        self._failures = failures
        self._waiting: dict[str, asyncio.Event] = {}
        self.meter: Meter | None = None
        """Counts requests against the venue's limit; None lets everything pass."""

    def handler(self, name: str, endpoint: Endpoint,
                symbol_of: Callable[[Call], str | None]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return an aiohttp handler for an endpoint that ccxt calls `name`."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = Call(request.method, request.path, request.rel_url.raw_query_string,
                        (await request.read()).decode("utf-8", "replace"), request.headers)
            self._faults.count(self.venue, name)
            if self.banned_until > self._clock.wall:
                return _response(self._banned())
            verdict = self.meter.count(name, time.monotonic()) if self.meter is not None else None
            if verdict is not None and verdict.is_refused:
                return _response(self._refusal(Fault("ban" if verdict.is_banned else "rate_limit",
                                                     seconds=verdict.wait)))
            fault = self._faults.take(REQUEST_KINDS, self.venue, name, symbol_of(call), self._clock.now)
            try:
                answer = endpoint(call) if fault is None else await self._strike(fault, name, endpoint, call)
            except Exception as failure:
                self._failures.append(failure)
                raise
            if (waiting := self._waiting.get(name)) is not None and (fault is None or fault.kind != "reorder"):
                waiting.set()
            if answer is None:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            if verdict is not None:
                answer = answer._replace(headers={**answer.headers, "X-MBX-USED-WEIGHT-1M": str(verdict.used)})
            return _response(answer)

        return handle

    async def _strike(self, fault: Fault, name: str, endpoint: Endpoint, call: Call) -> Answer | None:
        """Do what the fault says; None is a connection that is cut."""
        kind = fault.kind
        if kind in ("timeout_before", "drop_before"):
            await self._hang(fault, kind == "timeout_before")
            return None
        if kind in ("timeout_after", "lost_reply"):
            endpoint(call)
            await self._hang(fault, kind == "timeout_after")
            return None
        if kind == "delay":
            await self._wait(fault.seconds or 0.2)
            return endpoint(call)
        if kind == "duplicate":
            endpoint(call)
            return endpoint(call)
        if kind == "reorder":
            following = self._waiting[name] = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(following.wait(), fault.seconds or 1.0)
            self._waiting.pop(name, None)
            return endpoint(call)
        if kind == "truncated":
            answer = endpoint(call)
            return answer._replace(body=answer.body[:len(answer.body) // 2])
        if fault.executed:
            endpoint(call)
        return self._refusal(fault)

    def _refusal(self, fault: Fault) -> Answer:
        retry = {"Retry-After": str(max(1, math.ceil(fault.seconds)))}
        words = self._words
        if fault.kind == "ban":
            self.banned_until = self._clock.wall + int((fault.seconds or 60) * 1000)
            return self._banned()
        match fault.kind:
            case "html":
                return Answer(200, HTML.encode(), {"Content-Type": "text/html"})
            case "empty":
                return Answer()
            case "server_error":
                return Answer(500)
            case "bad_gateway":
                return Answer(502, HTML.encode(), {"Content-Type": "text/html"})
            case "overloaded":
                return Answer(words.overloaded[0], words.overloaded[1].encode())
            case "maintenance":
                return Answer(words.maintenance[0], words.maintenance[1].encode(), retry)
            case "rate_limit":
                return Answer(words.rate_limit[0], words.rate_limit[1].encode(), retry)
        return Answer(fault.status, fault.body.encode(), fault.headers)

    def _banned(self) -> Answer:
        left = max(1, (self.banned_until - self._clock.wall + 999) // 1000)
        return Answer(self._words.ban[0], self._words.ban[1].replace("{until}", str(self.banned_until)).encode(),
                      {"Retry-After": str(left)})

    async def _hang(self, fault: Fault, does: bool) -> None:
        if does:
            await self._wait(fault.seconds or 3600)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


def _response(answer: Answer) -> web.Response:
    headers = {"Content-Type": "application/json", **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)
