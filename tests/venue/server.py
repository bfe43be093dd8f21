"""The loopback venue as a server: exchanges, protocols, clock and faults behind one port of this machine.

    async with VenueServer(steady(), paused=True) as venue:      # in the test's own loop
        …
    with VenueServer(synthetic(), speed=60).start_in_thread() as venue:      # for code that has a loop of its own
        …

`clock`, `truth`, `faults` and `exchange` belong to tests; `url` is for clients (see client.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from aiohttp import web

from tests.venue.accounts import Account, account
from tests.venue.admin import admin_routes
from tests.venue.binance import RULES as BINANCE_RULES
from tests.venue.binance import Binance
from tests.venue.binance_futures import BinanceFutures
from tests.venue.bybit import RULES as BYBIT_RULES
from tests.venue.bybit import Bybit
from tests.venue.clock import VenueClock
from tests.venue.exchange import Exchange, Listing
from tests.venue.faults import Fault, Faults
from tests.venue.front import Front
from tests.venue.instruments import Instrument, usual_instrument
from tests.venue.limits import LIMITS, Meter
from tests.venue.okx import RULES as OKX_RULES
from tests.venue.okx import Okx
from tests.venue.sources import MarketData, synthetic
from tests.venue.tape import Habits, key_of
from tests.venue.trading import Rules
from tests.venue.truth import Truth

T = TypeVar("T")
PROTOCOLS: dict[str, tuple[dict[str, type[Front]], Rules]] = {
    "binance": ({"binance": Binance, "binance futures": BinanceFutures}, BINANCE_RULES),
    "okx": ({"okx": Okx}, OKX_RULES),
    "bybit": ({"bybit": Bybit}, BYBIT_RULES),
}
PULSE = 0.02
"""Wall seconds between two looks at the clock."""


@dataclass(frozen=True)
class Setup:
    """How the venue is set up, beside what it plays.

    Args:
        venues: the protocols it speaks, each an exchange of its own with the same prices.
        history: bars that are past when it starts; at most the file's number less one.
        speed, paused: of virtual time. seed: of everything that is made up.
        accounts: made anew for each venue; by default one, "main", with key "key" and secret "s3cret".
        instruments: in place of the usual ones, by venue and symbol.
        starts_now: the bars' times are shifted so that virtual time begins at the present minute (or bar).
        limits: whether the venues limit requests as the real ones do, in wall time.
        faults: armed from the start. port: 0 is any that is free.
    """

    venues: Sequence[str] = ("binance",)
    history: int = 500
    speed: float = 1.0
    paused: bool = False
    seed: int = 0
    accounts: Callable[[], Sequence[Account]] = lambda: (account(),)
    instruments: Mapping[tuple[str, str], Instrument] = field(default_factory=dict)
    habits: Habits = field(default_factory=Habits)
    starts_now: bool = False
    limits: bool = False
    faults: Sequence[Fault] = ()
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        if unknown := [venue for venue in self.venues if venue not in PROTOCOLS]:
            raise ValueError(f"the venue does not speak {unknown[0]!r}; it speaks {', '.join(PROTOCOLS)}")


class VenueServer:
    """See the module. `data` is what it plays, a synthetic market if None; the rest is `Setup`."""

    def __init__(self, data: MarketData | None = None, **setup: Any) -> None:
        self.setup = setup_ = Setup(**setup)
        data = data or synthetic(seed=setup_.seed)
        start = _start(data, setup_.history)
        self.clock = VenueClock(start, speed=setup_.speed, paused=setup_.paused, play=self._play,
                                dispatch=self.call)
        if setup_.starts_now:
            shift = self.clock.wall // data.duration * data.duration - start
            data, start = data.shifted(shift), start + shift
            self.clock = VenueClock(start, speed=setup_.speed, paused=setup_.paused, play=self._play,
                                    dispatch=self.call)
        self.faults = Faults(setup_.seed)
        for fault in setup_.faults:
            self.faults.add(fault)
        self.exchanges = {venue: self._exchange(venue, data, start) for venue in setup_.venues}
        self.truths = {venue: Truth(exchange, self.call) for venue, exchange in self.exchanges.items()}
        self.fronts: dict[str, Front] = {}
        self.url = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._runner: web.AppRunner | None = None
        self._pulse: asyncio.Task[None] | None = None
        self.failures: list[Exception] = []
        """What went wrong in the venue itself; `stop` raises it."""

    def _exchange(self, venue: str, data: MarketData, start: int) -> Exchange:
        listings = []
        for symbol, columns in data.columns.items():
            instrument = self.setup.instruments.get((venue, symbol)) or usual_instrument(venue, symbol)
            history = int(np.searchsorted(columns.open_time, start))
            listings.append(Listing(instrument, columns.in_increments(instrument), history))
        return Exchange(listings, list(self.setup.accounts()), start=start, duration=data.duration,
                        seed=key_of(self.setup.seed, venue), rules=PROTOCOLS[venue][1], habits=self.setup.habits)

    # What tests hold

    @property
    def exchange(self) -> Exchange:
        """Return the first venue's exchange. From another thread, touch it through `call`."""
        return self.exchanges[self.setup.venues[0]]

    @property
    def truth(self) -> Truth:
        """Return the first venue's truth; `truths` has them all."""
        return self.truths[self.setup.venues[0]]

    def call(self, work: Callable[[], T]) -> T:
        """Run something in the venue's thread, and return its result."""
        if self._loop is None or not self._loop.is_running() or _current_loop() is self._loop or (
                self._thread is None or self._thread is threading.current_thread()):
            return work()

        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=120)

    def change_instrument(self, symbol: str, *, venue: str | None = None, **fields: Any) -> None:
        """Change filters or fees of a market from now on."""
        exchange = self.exchanges[venue or self.setup.venues[0]]
        self.call(lambda: exchange.change_instrument(symbol, **fields))

    def delist(self, symbol: str, *, venue: str | None = None) -> None:
        """Strike a market from the list; its orders are cancelled."""
        exchange = self.exchanges[venue or self.setup.venues[0]]
        self.call(lambda: exchange.delist(symbol))

    def cut_streams(self, venue: str | None = None) -> int:
        """Cut every websocket; return how many there were."""
        def cut() -> int:
            connections = [connection for front in self.fronts.values() if venue in (None, front.venue)
                           for connection in front.hub.connections]
            for connection in connections:
                connection.cut()
            return len(connections)

        return self.call(cut)

    # Starting and stopping

    async def start(self) -> Self:
        """Open the port. `url` is known then."""
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        app = web.Application()
        for venue, exchange in self.exchanges.items():
            for name, protocol in PROTOCOLS[venue][0].items():
                front = self.fronts[name] = protocol(exchange, self.clock, self.faults, self._closing, self.failures)
                if self.setup.limits:
                    front.gate.meter = Meter(LIMITS[venue])
                app.router.add_routes(front.routes())
        app.router.add_routes(admin_routes(self))
        app.router.add_route("*", "/{rest:.*}", self._unknown)
        self.unknown_requests: list[str] = []
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.setup.host, self.setup.port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self.clock.start_running()
        self._pulse = asyncio.create_task(self._keep_up())
        return self

    async def stop(self) -> None:
        """Close the port and every connection.

        Raises:
            ExceptionGroup: of `failures`, if there are any.
        """
        assert self._runner is not None
        assert self._pulse is not None
        self._closing.set()
        self._pulse.cancel()
        for front in self.fronts.values():
            await front.hub.close()
        await self._runner.cleanup()
        self._loop = None
        if self.failures:
            raise ExceptionGroup("the loopback venue itself failed", self.failures)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.stop()

    def start_in_thread(self) -> InThread:
        """Return a context manager that runs the venue in a thread with a loop of its own."""
        return InThread(self)

    async def _keep_up(self) -> None:
        duration = self.exchange.duration
        while True:
            await asyncio.sleep(PULSE)
            try:
                self.clock.keep_up(duration)
            except Exception as failure:
                self.failures.append(failure)
                raise

    def _play(self, time: int) -> None:
        for exchange in self.exchanges.values():
            exchange.play(time)
        for front in self.fronts.values():
            front.pulse()

    async def _unknown(self, request: web.Request) -> web.Response:
        self.unknown_requests.append(f"{request.method} {request.path_qs}")
        return web.json_response({"error": f"the loopback venue does not serve {request.method} {request.path}"},
                                 status=404)


class InThread:
    """A venue in a thread of its own: a context manager, or start() and stop()."""

    def __init__(self, server: VenueServer) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="loopback venue", daemon=True)

    def start(self) -> VenueServer:
        """Return the venue once its port is open."""
        self._thread.start()
        self._server._thread = self._thread
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(timeout=60)
        return self._server

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(timeout=60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def __enter__(self) -> VenueServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()


def _start(data: MarketData, history: int) -> int:
    times = next(iter(data.columns.values())).open_time
    return int(times[min(history, len(times) - 1)])


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
