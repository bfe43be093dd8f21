"""Asking a venue through ccxt: a few questions at a time, patiently, and never believing an answer unseen.

What is worth asking again is asked again, with growing, jittered waits, and not before the venue allows it
(`Retry-After`); the rest is raised at once. ccxt calls every failure that may pass `OperationFailed`; Binance's
"overloaded" (-1008) is the one that it files elsewhere. One `Asker` serves all questions to one venue, so that a ban
quietens all of them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, TypeVar

from engine.errors import VenueError, VenueUnavailable

Answer = TypeVar("Answer")

_BREAKS_A_PARSER = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError)
"""What ccxt raises when an answer is not what it expects: a page of HTML, half of a JSON text."""
_OVERLOADED = '"code":-1008'
_BUSY = (418, 429, 503)


class UnknownMarket(VenueError):
    """The venue does not know the symbol, or no longer."""


class Asker:
    """Asks one venue.

    Args:
        exchange: a ccxt exchange (async).
        attempts: how often one question is asked.
        first_wait, longest_wait: seconds before the second attempt, doubled for each further one, and at most.
        at_once: questions under way at one time; ccxt's own queue has no end.
        seed: of the jitter.
    """

    def __init__(
        self, exchange: Any, *, attempts: int = 6, first_wait: float = 0.5, longest_wait: float = 60.0,
        at_once: int = 4, seed: int | None = None,
    ) -> None:
        self.asked = 0
        """How many requests were made."""
        self.failed = 0
        """How many of them failed."""
        self._exchange = exchange
        self._attempts = attempts
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._random = Random(seed)
        self._places = asyncio.Semaphore(at_once)
        self._quiet_until = 0.0
        self._look_at_answers()

    async def ask(
        self, name: str, call: Callable[[], Awaitable[Any]], check: Callable[[Any], Answer], *,
        attempts: int | None = None,
    ) -> Answer:
        """Return the answer to a question, checked.

        Args:
            name: what is asked, for messages: "candles of BTC/USDT 1h".
            check: returns what the answer says, or raises VenueUnavailable if it says nothing.
        Raises:
            UnknownMarket: the venue does not know the symbol.
            VenueUnavailable: it did not answer, or nothing sensible, however often it was asked.
            VenueError: it refuses.
        """
        most = attempts or self._attempts
        for attempt in range(1, most + 1):
            async with self._places:
                await self._keep_quiet()
                self.asked += 1
                try:
                    return check(await call())
                except (VenueUnavailable, *_BREAKS_A_PARSER) as problem:
                    self.failed += 1
                    last: Exception = problem
                except self._foreign_errors() as problem:
                    self.failed += 1
                    last = problem
                    self._raise_if_final(name, problem)
            if attempt < most:
                await asyncio.sleep(self._wait(attempt))
        times = "once" if most == 1 else f"{most} times"
        raise VenueUnavailable(
            f"{self._exchange.id}: {name}: no usable answer, asked {times}: {_brief(last)}; look at the connection and "
            "at the venue's status page, then try again") from last

    @property
    def seconds_banned(self) -> float:
        """How long the venue still wants to be left alone."""
        return max(self._quiet_until - time.monotonic(), 0.0)

    def _wait(self, attempt: int) -> float:
        longest: float = min(self._first_wait * 2 ** (attempt - 1), self._longest_wait)
        return longest * self._random.uniform(0.5, 1.0)

    async def _keep_quiet(self) -> None:
        while (left := self.seconds_banned) > 0:
            await asyncio.sleep(left)

    @staticmethod
    def _foreign_errors() -> tuple[type[Exception], ...]:
        from ccxt.base.errors import BaseError

        return (BaseError,)

    def _raise_if_final(self, name: str, problem: Exception) -> None:
        from ccxt.base.errors import AuthenticationError, BadSymbol, OperationFailed

        if isinstance(problem, OperationFailed) or _OVERLOADED in str(problem):
            return
        venue = self._exchange.id
        if isinstance(problem, BadSymbol):
            raise UnknownMarket(f"{venue}: {name}: the venue does not trade it: {_brief(problem)}") from problem
        if isinstance(problem, AuthenticationError):
            raise VenueError(
                f"{venue}: {name}: the venue refuses our key: {_brief(problem)}; public data need none: leave it out"
            ) from problem
        raise VenueError(f"{venue}: {name}: the venue refuses: {_brief(problem)}") from problem

    def _look_at_answers(self) -> None:
        """Look at each answer before ccxt does: it passes HTML, nothing and half a JSON text on as an empty answer, and
        keeps the headers of whichever answer came last alone."""
        original = getattr(self._exchange, "on_rest_response", None)
        if original is None:
            return

        def looking(
            status: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *more: Any
        ) -> Any:
            if status in _BUSY:
                self._note_wait(headers)
            answer = original(status, reason, url, method, headers, body, *more)
            if status < 300 and self._exchange.parse_json(answer) is None:
                raise self._bad_response(body)
            return answer

        self._exchange.on_rest_response = looking

    def _bad_response(self, body: str) -> Exception:
        from ccxt.base.errors import BadResponse

        shown = " ".join(body.split())[:60] or "nothing"
        return BadResponse(f"{self._exchange.id} answered with {shown!r}, which is not JSON")

    def _note_wait(self, headers: Mapping[str, str]) -> None:
        said = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
        try:
            seconds = float(said)
        except ValueError:  # a date, or nothing
            return
        if 0 < seconds < 7 * 86_400:
            self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)


def _brief(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__} {text[:200]}{'…' if len(text) > 200 else ''}".rstrip()
