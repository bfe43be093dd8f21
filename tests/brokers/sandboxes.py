"""A sandbox link on the loopback venue, with the broker of a live session before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from queue import Empty, Queue
from typing import Any

from brokers.fence import fenced_client
from brokers.keys import Keys
from brokers.sandbox import SandboxLink
from brokers.venue_questions import VenueQuestions
from engine import Instrument, Order, OrderType, Side
from engine.live.broker import VenueBroker
from engine.live.reports import Report
from engine.portfolio import Portfolio
from tests.venue.accounts import account
from tests.venue.client import connect
from tests.venue.server import VenueServer
from tests.venue.sources import MarketData, steady

BTC = Instrument(
    "BTC/USDT", quote="USDT", base="BTC", quantity_increment=Decimal("0.00001"), min_notional=Decimal(5),
    venue="binance",
)


class Trading:
    """A broker and its link, as a session has them, without the session."""

    def __init__(
        self, venue: VenueServer, name: str = "binance", *, is_new: bool = True, timeout: float = 20.0, **setup: Any
    ) -> None:
        keys = Keys("key", "s3cret", "phrase")
        model = connect(name, venue.url)
        client = fenced_client(name, keys, api_urls=model.urls["api"], options=model.options, timeout=timeout)
        self.reports: Queue[Report] = Queue()
        self.told: list[Report] = []
        self.events: list[Any] = []
        self.portfolio = Portfolio({"USDT": Decimal(10_000)}, [BTC])
        self.broker = VenueBroker(self.portfolio, "sandboxx")
        settings = {"poll_seconds": 0.1, "settle_seconds": 0.5, **setup}
        self.link = SandboxLink(
            VenueQuestions(client, keys), [BTC], self.reports.put, time.time_ns, is_new=is_new, **settings
        )
        self.number = 0

    def order(self, kind: OrderType = OrderType.MARKET, side: Side = Side.BUY, lots: int = 1000, **terms: Any) -> Order:
        """Send an order; a price is in ticks."""
        order = self._submitted(kind, side, lots, terms)
        self.send()
        return order

    def recorded(
        self, kind: OrderType = OrderType.MARKET, side: Side = Side.BUY, lots: int = 1000, **terms: Any
    ) -> Order:
        """Return an order that another life of the session has sent, or died before it could."""
        order = self._submitted(kind, side, lots, terms)
        self.broker.take_messages()
        return order

    def _submitted(self, kind: OrderType, side: Side, lots: int, terms: dict[str, Any]) -> Order:
        self.number += 1
        order = Order(self.number, 1, BTC, side, kind, lots, time.time_ns(), 4_000_000, **terms)
        self.events += self.broker.submit(order)
        return order

    def send(self) -> None:
        self.link.send(self.broker.take_messages())

    def take(self, report: Report) -> None:
        self.told.append(report)
        self.events += self.broker.apply(report)

    def until(self, is_so: Callable[[], bool], *, step: Callable[[], None] = lambda: None) -> None:
        """Take reports until something is so."""
        end = time.monotonic() + 120
        while not is_so():
            assert time.monotonic() < end, f"in vain; told so far: {[report.kind.value for report in self.told]}"
            try:
                self.take(self.reports.get(timeout=0.05))
            except Empty:
                step()
            self.send()

    def reconcile(self) -> list[Report]:
        found = list(self.link.reconcile(self.broker.known()))
        for report in found:
            self.take(report)
        self.send()
        return found

    @property
    def kinds(self) -> list[str]:
        return [report.kind.value for report in self.told]


@contextmanager
def trading(
    name: str = "binance", *, data: MarketData | None = None, balances: dict[str, int] | None = None, **setup: Any
) -> Iterator[tuple[VenueServer, Trading]]:
    """Give a paused venue and a link on it that has begun."""
    money = balances or {"USDT": 50_000, "BTC": 1}
    server = VenueServer(
        data or steady(), venues=(name,), paused=True, history=100, accounts=lambda: (account(balances=money),)
    )
    with server.start_in_thread() as venue:
        session = Trading(venue, name, **setup)
        try:
            session.link.start()
            session.reconcile()
            yield venue, session
        finally:
            session.link.close()
