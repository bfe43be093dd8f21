"""One life of a session, in a process of its own: from the journal, against the loopback venue, until it is killed or
has seen all its bars. Started by tests.chaos.killing.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.request import Request, urlopen

from brokers.fence import fenced_client
from brokers.keys import Keys
from brokers.sandbox import SandboxLink
from brokers.venue_questions import VenueQuestions
from engine import Instrument
from engine.bars import Bar, Stream
from engine.errors import VenueUnavailable
from engine.journal.sql import SqlJournal
from engine.live.broker import VenueBroker
from engine.live.core import LiveCore
from engine.live.inputs import BarsClosed, VenueTold
from engine.live.queueing import QueueSource
from engine.live.reports import Report
from engine.live.session import Recording, Session
from engine.live.streams import LiveStreams
from engine.portfolio import Portfolio
from engine.records import Batch, OrderMessageRow, RunEnd, RunStart
from engine.running import Parts
from tests.chaos.points import Point
from tests.chaos.strategy import Restless
from tests.venue.client import connect
from tests.venue.sources import MarketData

BTC = Instrument(
    "BTC/USDT", quote="USDT", base="BTC", quantity_increment=Decimal("0.00001"), min_notional=Decimal(5),
    venue="binance",
)
CASH = Decimal(20_000)
HISTORY = 100
MS = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What one seed's session is.

    `kill_at`: where this life ends, the `occurrence`-th time it comes there; None lets it live.
    """

    seed: int
    url: str
    folder: Path
    bars: int
    life: int
    kill_at: Point | None = None
    occurrence: int = 1

    @property
    def journal(self) -> Path:
        return self.folder / "journal.db"


class Reaper:
    """Kills its own process, as `kill -9` does, when it comes to the point."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._count = 0

    def __call__(self, place: str) -> None:
        point = self._plan.kill_at
        if point is not None and place == point.place and self._plan.life == point.life:
            self._count += 1
            if self._count == self._plan.occurrence:
                (self._plan.folder / "killed").write_text(place)
                os.kill(os.getpid(), signal.SIGKILL)


class WatchedJournal:
    """A SessionJournal with points of its own."""

    def __init__(self, inner: SqlJournal, checkpoint: Callable[[str], None]) -> None:
        self._inner, self._checkpoint = inner, checkpoint

    def begin(self, start: RunStart) -> int:
        return self._inner.begin(start)

    def resume(self, run_id: int) -> None:
        self._checkpoint("taking over")
        self._inner.resume(run_id)

    def write(self, batch: Batch) -> None:
        self._inner.write(batch)
        self._checkpoint("rows handed over")

    def flush(self) -> None:
        self._inner.flush()
        self._checkpoint("rows on disk")

    def end(self, end: RunEnd) -> None:
        self._inner.end(end)


def live(plan: Plan, data: MarketData) -> None:
    """Live one life; it ends by the Reaper, or with what the books say in `books.json`."""
    reaper, inputs = Reaper(plan), QueueSource()

    def heard(report: Report) -> None:
        reaper("a report heard")
        inputs.put(VenueTold(report.received_at, report))
        reaper("a report put in")

    journal = SqlJournal(plan.journal, durable=True)
    run_id = _run_of(journal)
    keys, model = Keys("key", "s3cret"), connect("binance", plan.url)
    client = fenced_client("binance", keys, api_urls=model.urls["api"], options=model.options, timeout=0.7)
    client.markets_loading = None
    link = SandboxLink(
        VenueQuestions(client, keys), [BTC], heard, time.time_ns, is_new=run_id is None, poll_seconds=0.05,
        settle_seconds=0.3, checkpoint=reaper,
    )
    broker = VenueBroker(Portfolio({"USDT": CASH}, [BTC], allow_short=False), f"k{plan.seed % 10**7:07d}")
    recording = Recording(WatchedJournal(journal, reaper))
    strategy = Restless(plan.seed, size=0.01, amends=False)
    parts = Parts(
        LiveStreams([Stream("BTC/USDT", "1m")]), strategy, broker, broker.portfolio, journal=recording, headroom=0.98
    )
    session = Session(LiveCore(parts, late_after=10**18), recording, link=Noted(link, reaper), checkpoint=reaper)
    if run_id is None:
        session.begin(RunStart("paper", "Restless", {}, {}, "live", {}, started_at=time.time_ns()))
    else:
        session.resume(run_id, journal)
    _until_it_answers(link.start)
    _until_it_answers(session.reconcile)
    _trade(plan, data, session, inputs, broker)
    known = broker.known()
    books = {
        "positions": known.positions, "cash": known.cash, "dust": known.dust, "outside": known.outside,
        "orders": {
            entry.message.client_order_id: [entry.order.status.value, entry.order.filled_lots]
            for entry in broker._sending.sent.values() if entry.message is not None
        },
    }
    with journal.snapshot() as reader:
        amended = [row.client_order_id for row in reader.rows(OrderMessageRow, 1) if row.kind == "amend"]
    books["amendments"] = {name: amended.count(name) for name in amended}
    (plan.folder / "books.json").write_text(json.dumps(books, default=str))
    session.end("interrupted")
    link.close()
    journal.close()


class Noted:
    """A link, and a point between its taking messages and our hearing that it did."""

    def __init__(self, inner: SandboxLink, checkpoint: Callable[[str], None]) -> None:
        self.reconcile, self.close = inner.reconcile, inner.close
        self._inner, self._checkpoint = inner, checkpoint

    def send(self, messages: tuple[object, ...]) -> None:
        self._inner.send(messages)  # type: ignore[arg-type]
        self._checkpoint("messages taken")


def _run_of(journal: SqlJournal) -> int | None:
    with journal.snapshot() as reader:
        return 1 if reader.run(1) is not None else None


def _until_it_answers(ask: Callable[[], object]) -> None:
    for _ in range(50):
        try:
            ask()
        except VenueUnavailable:
            time.sleep(0.1)
        else:
            return
    raise VenueUnavailable("the venue never answers")


def _trade(
    plan: Plan, data: MarketData, session: Session, inputs: QueueSource, broker: VenueBroker
) -> None:
    """Give the session its bars, letting the venue's clock go on with them, and everything that the venue tells."""
    columns = data.columns["BTC/USDT"]
    last = max(session.last_closed.values(), default=0)
    for row in range(HISTORY, HISTORY + plan.bars):
        opened = int(columns.open_time[row])
        close = opened + data.duration
        if close * MS <= last:
            continue
        admin(plan.url, "clock", {"advance_to": close})
        _drain(session, inputs, broker, 0.1)
        bar = Bar(
            "BTC/USDT", opened * MS, close * MS, *(float(getattr(columns, name)[row]) for name in (
                "open", "high", "low", "close", "volume"
            )), "1m",
        )
        session.take([BarsClosed(close * MS, close * MS, (bar,))])
        _drain(session, inputs, broker, 0.1)
    admin(plan.url, "faults", None)
    _drain(session, inputs, broker, 5.0)
    for _ in range(3):
        _until_it_answers(session.reconcile)
        _drain(session, inputs, broker, 1.0)


def _drain(session: Session, inputs: QueueSource, broker: VenueBroker, patience: float) -> None:
    """Take what is told, and wait a while for orders whose state is not known."""
    end = time.monotonic() + patience
    while True:
        given = inputs.take(0.01)
        if given is not None:
            session.take([given])
        elif time.monotonic() > end or not any(
            order.status.value in ("in_flight", "unresolved") for order in broker.working.values()
        ):
            return


def admin(url: str, what: str, body: object) -> object:
    """Ask the venue's back door; `None` clears."""
    content = None if body is None else json.dumps(body).encode()
    method = "POST" if body is not None else "DELETE"
    request = Request(f"{url}/admin/{what}", content, {"Content-Type": "application/json"}, method=method)
    with urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())
