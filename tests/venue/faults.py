"""Faults the venue injects: on request, by endpoint and count, or by a seeded schedule.

A fault names what goes wrong (`kind`), where (`on`, by ccxt's name of the method: create_order, fetch_ohlcv,
watch_trades, …; patterns as in a shell), and when (the `nth` matching call from now, so many `times`, by `chance`, in a
window of virtual time). Whether a chance comes up depends on the seed, the fault and the number of the call, and on
nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tests.venue.tape import mix

REQUEST_KINDS = {
    "timeout_before": "no answer; the request is never executed",
    "timeout_after": "no answer, but the request is executed",
    "drop_before": "the connection is cut; the request is never executed",
    "lost_reply": "the request is executed, then the connection is cut",
    "delay": "the request is executed `seconds` late",
    "duplicate": "the request arrives twice; the second answer is returned",
    "reorder": "the request is executed after the next one to the same endpoint (or after `seconds`)",
    "status": "`status`, `body` and `headers` instead of an answer; executed=true executes the request first",
    "html": "HTTP 200 with a page of HTML",
    "empty": "HTTP 200 with nothing",
    "truncated": "HTTP 200, executed, with the first half of the answer",
    "server_error": "HTTP 500 without a body",
    "bad_gateway": "HTTP 502 with a page of HTML",
    "overloaded": "HTTP 503 with the venue's body for it",
    "maintenance": "the venue's answer during maintenance",
    "rate_limit": "HTTP 429 with Retry-After",
    "ban": "HTTP 418 or the venue's likeness with Retry-After, for `seconds` of wall time, to every request",
}
STREAM_KINDS = {
    "ws_drop": "the connection is cut instead of a message",
    "ws_stall": "the connection stays open and silent for `seconds` (0: for ever)",
    "ws_gap": "a message is lost",
    "ws_duplicate": "a message is sent twice",
    "ws_reorder": "a message is sent after the next one",
    "ws_delay": "a message is sent `seconds` late; those behind it wait",
    "late_candle": "the message that a candle has closed is sent `seconds` late; those behind it overtake it",
    "corrected_candle": "after a candle has closed, it is sent again with its close `ticks` higher; history agrees",
}
KINDS = REQUEST_KINDS | STREAM_KINDS


@dataclass(frozen=True)
class Fault:
    """See the module.

    Args:
        kind: one of KINDS.
        on: ccxt's method, or a pattern: "create_order", "fetch_*", "*".
        venue, symbol: of the calls it is for; "*" is any.
        nth: the first call that it strikes, counted from when it was added, 1 is the next.
        times: how often it strikes; None is always.
        chance: of striking a call that it could strike.
        since, until: virtual times in milliseconds between which it strikes.
        seconds, status, body, headers, executed, ticks: what the kind asks for.
    Raises:
        ValueError: the kind is not known.
    """

    kind: str
    on: str = "*"
    venue: str = "*"
    symbol: str = "*"
    nth: int = 1
    times: int | None = 1
    chance: float = 1.0
    since: int | None = None
    until: int | None = None
    seconds: float = 0.0
    status: int = 500
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    executed: bool = False
    ticks: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no fault {self.kind!r}; there are {', '.join(KINDS)}")

    def fits(self, venue: str, call: str, symbol: str | None, now: int) -> bool:
        return (fnmatchcase(call, self.on) and fnmatchcase(venue, self.venue)
                and (self.symbol == "*" or self.symbol == symbol)
                and (self.since is None or now >= self.since) and (self.until is None or now < self.until))


class Struck(NamedTuple):
    """One fault that came to pass. `number` counts the calls to the endpoint, the first is 1."""

    number: int
    time: int
    venue: str
    call: str
    symbol: str | None
    kind: str


@dataclass
class _Armed:
    fault: Fault
    seed: int
    number: int
    seen: int = 0
    struck: int = 0

    def strikes(self) -> bool:
        """Count a call that fits, and say whether it is struck."""
        self.seen += 1
        if self.seen < self.fault.nth or (self.fault.times is not None and self.struck >= self.fault.times):
            return False
        if self.fault.chance < 1 and mix(self.seed, self.number, self.seen) >= int(self.fault.chance * (1 << 64)):
            return False
        self.struck += 1
        return True


class Faults:
    """The faults that are armed, and those that came to pass."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.log: list[Struck] = []
        self.calls: dict[tuple[str, str], int] = {}
        """How often each endpoint was called, by venue and ccxt's name of it."""
        self._armed: list[_Armed] = []
        self._added = 0

    def add(self, fault: Fault | str, **fields: Any) -> Fault:
        """Arm a fault: add(Fault("lost_reply", on="create_order")) or add("lost_reply", on="create_order")."""
        if isinstance(fault, str):
            fault = Fault(fault, **fields)
        self._armed.append(_Armed(fault, self.seed, self._added))
        self._added += 1
        return fault

    def schedule(self, chances: Mapping[str, float], *, on: str = "*", venue: str = "*", seconds: float = 0.2) -> None:
        """Arm a seeded schedule: for each kind its chance in every call."""
        for kind, chance in chances.items():
            self.add(Fault(kind, on=on, venue=venue, times=None, chance=chance, seconds=seconds))

    def clear(self) -> None:
        """Disarm all."""
        self._armed.clear()

    @property
    def armed(self) -> list[Fault]:
        """Return those that can still strike."""
        return [armed.fault for armed in self._armed
                if armed.fault.times is None or armed.struck < armed.fault.times]

    def count(self, venue: str, call: str) -> int:
        """Count a call to an endpoint; return its number."""
        number = self.calls.get((venue, call), 0) + 1
        self.calls[venue, call] = number
        return number

    def take(self, kinds: Mapping[str, str], venue: str, call: str, symbol: str | None, now: int) -> Fault | None:
        """Return the first fault of these kinds that strikes a call, and note that it did."""
        found: Fault | None = None
        for armed in self._armed:
            fits = armed.fault.kind in kinds and armed.fault.fits(venue, call, symbol, now)
            if fits and found is None and armed.strikes():
                found = armed.fault
                self.log.append(Struck(self.calls.get((venue, call), 0), now, venue, call, symbol, found.kind))
        return found
