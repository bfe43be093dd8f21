"""A simulated world: engine, broker, a venue that loses, delays, doubles and reorders, a clock that jumps, processes
that die, and a real SQLite journal, all in one process and from one seed.

    python -m tests.chaos --world --seeds 2000 --first-seed 1

The venue's truth is a paper venue of its own, which nothing of the session can touch but by messages. What must hold in
the end, whatever happened: no order lost, none there twice, positions and cash to the last unit, every order's state.
"""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from brokers.paper import PaperVenue
from brokers.paper_ledger import VenueFees
from brokers.paper_orders import PaperTerms
from engine import Instrument
from engine.bars import Bar, Stream
from engine.costs import ConstantLatency
from engine.errors import DivergenceError, JournalError, VenueUnavailable
from engine.journal.memory import MemoryJournal
from engine.journal.sql import SqlJournal
from engine.live.broker import VenueBroker
from engine.live.core import LiveCore
from engine.live.inputs import BarsClosed, VenueTold
from engine.live.market import Book, Trade
from engine.live.messages import NEW, OrderMessage
from engine.live.ports import Known
from engine.live.reports import Report, ReportKind
from engine.live.session import Recording, Session
from engine.live.streams import LiveStreams
from engine.orders import FINAL
from engine.portfolio import Portfolio
from engine.records import Batch, RunEnd, RunStart
from engine.running import Parts
from tests.chaos.strategy import Restless

BTC = Instrument(
    "BTC/USDT", quote="USDT", base="BTC", quantity_increment=Decimal("0.001"), min_notional=Decimal(1), venue="world"
)
SECOND = 1_000_000_000
BAR = 60 * SECOND
START = 19_723 * 24 * 60 * BAR
CASH = Decimal(1_000)
MOST_LIVES = 50


class Died(BaseException):
    """The process is gone, at a place in the order path."""


@dataclass
class Ill:
    """How ill the world is: chances per message, report, checkpoint or commit."""

    lost_before: float = 0.05
    lost_after: float = 0.08
    late_message: float = 0.08
    dropped_report: float = 0.05
    doubled_report: float = 0.08
    late_report: float = 0.2
    death: float = 0.01
    journal: float = 0.004
    deaf: float = 0.1
    jump: float = 0.05


class FaultyLink:
    """A VenueLink to a venue that is not in this process' power. It dies with the process; the venue stays."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.inbox: deque[tuple[int, Report]] = deque()
        self.unanswered: set[int] = set()

    def send(self, messages: Sequence[OrderMessage]) -> None:
        for message in messages:
            self._send(message)
            self._world.checkpoint("a message on its way")

    def _send(self, message: OrderMessage) -> None:
        world, ill = self._world, self._world.ill
        draw = world.draws.random()
        if draw < ill.lost_before:
            self._no_answer(message)
        elif draw < ill.lost_before + ill.lost_after:
            world.arrive(message)  # it is done, and the answer is lost
            self._no_answer(message)
        elif draw < ill.lost_before + ill.lost_after + ill.late_message:
            world.underway.append((world.step + world.draws.randint(1, 3), message))
            self._no_answer(message)
        else:
            for report in world.arrive(message):
                self.hear(report)

    def _no_answer(self, message: OrderMessage) -> None:
        world = self._world
        if message.kind == NEW:
            self.unanswered.add(message.order_id)
            self.hear(Report(ReportKind.UNRESOLVED, world.now, world.now, message.order_id, "no answer"))
        else:
            self.hear(Report(ReportKind.CHANGE_REFUSED, world.now, world.now, message.order_id, "no answer"))

    def hear(self, report: Report) -> None:
        """Let a report come: now, later, twice or never."""
        world, ill = self._world, self._world.ill
        if world.draws.random() < ill.dropped_report and report.kind is not ReportKind.UNRESOLVED:
            return
        delay = world.draws.randint(1, 4) if world.draws.random() < ill.late_report else 0
        self.inbox.append((world.step + delay, report))
        if world.draws.random() < ill.doubled_report:
            self.inbox.append((world.step + delay + world.draws.randint(0, 5), report))

    def due(self) -> list[Report]:
        """Return what has come by now, in whatever order."""
        ready = [report for at, report in self.inbox if at <= self._world.step]
        self.inbox = deque((at, report) for at, report in self.inbox if at > self._world.step)
        self._world.draws.shuffle(ready)
        return ready

    def reconcile(self, known: Known) -> list[Report]:
        world = self._world
        if world.draws.random() < world.ill.deaf:
            raise VenueUnavailable("deaf for now")
        world.settle()  # what is still on its way arrives, or is too late for the venue to take
        self.unanswered.clear()
        return world.venue.account_for(known)

    def close(self) -> None:
        """There is nothing to let go of."""


class FailingJournal:
    """A SessionJournal on a disk that is full now and then."""

    def __init__(self, inner: SqlJournal, world: World) -> None:
        self._inner, self._world = inner, world

    def begin(self, start: RunStart) -> int:
        return self._inner.begin(start)

    def resume(self, run_id: int) -> None:
        self._inner.resume(run_id)

    def write(self, batch: Batch) -> None:
        if self._world.draws.random() < self._world.ill.journal:
            raise JournalError("the disk is full")
        self._inner.write(batch)

    def flush(self) -> None:
        self._inner.flush()
        if self._world.draws.random() < self._world.ill.journal:
            raise JournalError("the commit was made, and its answer lost")

    def end(self, end: RunEnd) -> None:
        self._inner.end(end)


class World:
    """One seed's world.

    Args:
        folder: where its journal lies. template: an empty journal to copy, for it takes a while to make.
    """

    def __init__(self, seed: int, folder: Path, *, template: Path | None = None, ill: Ill | None = None) -> None:
        self.seed = seed
        self.draws = Random(seed)
        self.ill = ill or Ill()
        self.path = folder / f"world-{seed}.db"
        if template is not None:
            shutil.copy(template, self.path)
        fees = VenueFees(Decimal("0.001"), Decimal("0.002"), self.draws.choice(["get", "quote"]))
        self.venue = PaperVenue(
            [BTC], {"USDT": CASH}, PaperTerms(latency=ConstantLatency(0), default_fees=fees, oldest_book=10**18)
        )
        self.now = self.step = 0
        self.ticks = 10_000
        self.arrivals: Counter[int] = Counter()
        """How often each order arrived at the venue: twice would be a duplicate."""
        self.underway: list[tuple[int, OrderMessage]] = []
        self.is_calm = False
        self.deaths: Counter[str] = Counter()
        self.journal: SqlJournal | None = None
        self.session: Session | None = None
        self.link = FaultyLink(self)
        self.broker: VenueBroker | None = None
        self.run_id: int | None = None
        self._opened = self._high = self._low = 0.0

    # ── the venue and its market ────────────────────────────────────────────────────────────────────────────────────

    def arrive(self, message: OrderMessage) -> list[Report]:
        if message.kind == NEW:
            self.arrivals[message.order_id] += 1
        self.venue.take(message, self.now)
        return self.venue.on_time(self.now)

    def settle(self) -> None:
        """Let what is on its way arrive, or be too late."""
        for _, message in self.underway:
            if self.draws.random() < 0.5:
                self.arrive(message)
        self.underway.clear()

    def move_market(self) -> list[Report]:
        """Let a little time pass: a new book, some prints, late messages."""
        self.now += SECOND * self.draws.randint(1, 10)
        self.ticks = max(5_000, self.ticks + self.draws.randint(-25, 25))
        late, self.underway = self.underway, []
        reports = []
        for at, message in late:
            if at <= self.step:
                reports += self.arrive(message)
            else:
                self.underway.append((at, message))
        ladder = range(4)
        sides = [
            tuple(((self.ticks + sign * (1 + 2 * depth)) / 100, self.draws.randint(20, 400) / 1000) for depth in ladder)
            for sign in (-1, 1)
        ]
        reports += self.venue.on_book(Book("BTC/USDT", self.now, self.now, *sides), self.now)
        for _ in range(self.draws.randint(0, 3)):
            ticks = self.ticks + self.draws.randint(-6, 6)
            lots, side = self.draws.randint(1, 300), self.draws.choice(["buy", "sell"])
            trade = Trade("BTC/USDT", self.now, self.now, ticks / 100, lots / 1000, side, str(self.now))
            reports += self.venue.on_trade(trade, self.now)
        return reports

    # ── lives ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def checkpoint(self, place: str) -> None:
        if not self.is_calm and self.draws.random() < self.ill.death:
            self.deaths[place] += 1
            raise Died(place)

    def live_on(self) -> None:
        """Begin the session, or go on with it after its process died; nothing else may happen before it has
        recovered."""
        problem: BaseException | None = None
        for _ in range(MOST_LIVES):
            try:
                self._begin()
            except (Died, JournalError) as exc:
                problem = exc
                if isinstance(exc, JournalError):
                    self.deaths["the journal failed"] += 1
                self._bury()
            else:
                return
        raise AssertionError(f"seed {self.seed}: it never recovers: {problem}")

    def _begin(self) -> None:
        self.link = FaultyLink(self)
        self.journal = SqlJournal(self.path, durable=True)
        recording = Recording(FailingJournal(self.journal, self))
        self.broker = VenueBroker(Portfolio({"USDT": CASH}, [BTC], allow_short=False), self._name)
        self.session = session = self._made(self.broker, recording)
        if self.run_id is None:
            self.run_id = session.begin(RunStart("paper", "Restless", {}, {}, "live", {}, started_at=START))
        else:
            session.resume(self.run_id, self.journal)
        self._reconcile()

    @property
    def _name(self) -> str:
        return f"w{self.seed % 10**7:07d}"

    def _made(self, broker: VenueBroker, recording: Recording) -> Session:
        feed = LiveStreams([Stream("BTC/USDT", "1m")])
        parts = Parts(
            feed, Restless(self.seed, size=0.05), broker, broker.portfolio, journal=recording, headroom=0.98
        )
        return Session(
            LiveCore(parts, late_after=BAR), recording, link=self.link, now=lambda: self.now,
            checkpoint=self.checkpoint,
        )

    def _reconcile(self) -> None:
        assert self.session is not None
        while True:
            with suppress(VenueUnavailable):
                self.session.reconcile()
                return

    def _bury(self) -> None:
        """Leave of a process what stays: the file, and what is under way."""
        assert self.journal is not None
        self.journal.close()
        if self.run_id is None and _has_run(self.path):
            self.run_id = 1

    # ── the course of things ────────────────────────────────────────────────────────────────────────────────────────

    def run(self, bars: int = 12) -> None:
        """Live through so many bars, then let everything come to rest and compare.

        Raises:
            AssertionError: something was lost, doubled or miscounted; the message names it.
        """
        self.now = START
        self.live_on()
        for number in range(bars):
            self._open_bar()
            for _ in range(5):
                self._tell(self.move_market())
                self._high, self._low = max(self._high, self.ticks), min(self._low, self.ticks)
                self._take([VenueTold(self.now, report) for report in self.link.due()])
            if self.draws.random() < self.ill.jump:
                self.now += self.draws.choice((-3, 20)) * SECOND  # the clock is put right
            close = START + (number + 1) * BAR
            self.now = max(self.now, close)
            bar = Bar(
                "BTC/USDT", close - BAR, close, self._opened / 100, self._high / 100, self._low / 100,
                self.ticks / 100, 1.0, "1m",
            )
            self._take([BarsClosed(close, close, (bar,))])
            if self.draws.random() < 0.3:
                self._guarded(self._reconcile)
        self._rest()
        self._compare()

    def _open_bar(self) -> None:
        self._opened = self._high = self._low = float(self.ticks)

    def _tell(self, reports: Sequence[Report]) -> None:
        for report in reports:
            self.link.hear(report)

    def _take(self, inputs: Sequence[Any]) -> None:
        """Give the session inputs. If it dies, what was not committed is gone, and so is the inbox; bars come again."""
        for given in inputs:
            while True:
                session = self.session
                assert session is not None
                if isinstance(given, BarsClosed) and max(session.last_closed.values(), default=0) >= given.time:
                    break
                if self._guarded(lambda session=session, given=given: session.take([given])):
                    break
                if isinstance(given, VenueTold):
                    return  # its inbox died with it

    def _guarded(self, work: Any) -> bool:
        try:
            work()
        except Died:
            self._bury()
        except JournalError:
            self.deaths["the journal failed"] += 1
            self._bury()
        else:
            return True
        self.live_on()
        return False

    def _rest(self) -> None:
        """Let everything arrive and be told."""
        self.is_calm, self.ill = True, Ill(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        self.settle()
        assert self.session is not None
        for _ in range(3):
            self.step += 10
            self._take([VenueTold(self.now, report) for report in self.link.due()])
            self.session.reconcile()

    def _compare(self) -> None:
        assert self.broker is not None
        assert self.journal is not None
        assert self.run_id is not None
        problems = list(self._problems(self.broker))
        try:
            with self.journal.snapshot() as reader:
                self._made(VenueBroker(Portfolio({"USDT": CASH}, [BTC], allow_short=False), self._name),
                           Recording(MemoryJournal())).run_again(self.run_id, reader)
        except DivergenceError as exc:
            problems.append(f"run again it differs: {exc}")
        self.journal.close()
        assert not problems, f"seed {self.seed}: " + "; ".join(problems)

    def _problems(self, broker: VenueBroker) -> Iterator[str]:
        twice = [number for number, count in self.arrivals.items() if count > 1]
        if twice:
            yield f"orders {twice} arrived twice"
        known, ledger = broker.known(), self.venue.ledger
        held = BTC.to_quantity(known.positions["BTC/USDT"]) + known.dust.get("BTC/USDT", Decimal(0))
        if held != ledger.balances.get("BTC", 0):
            yield f"books hold {held} BTC, the venue {ledger.balances.get('BTC', 0)}"
        if abs(known.cash["USDT"] - ledger.balances["USDT"]) > Decimal("1e-8"):
            yield f"books have {known.cash['USDT']} USDT, the venue {ledger.balances['USDT']}"
        there = {order.id: order for order in self.venue.open_orders()}
        here = {each.message.order_id: each for each in known.orders if each.message.order_id in broker.working}
        if set(there) != set(here):
            yield f"open at the venue {sorted(there)}, in the books {sorted(here)}"
        for number in set(there) & set(here):
            if there[number].filled_lots != here[number].filled_lots:
                yield f"order {number} has filled {there[number].filled_lots}, in the books {here[number].filled_lots}"
        for number, entry in broker._sending.sent.items():
            if entry.message is not None and number not in self.arrivals and entry.order.filled_lots:
                yield f"order {number} never arrived, and has filled in the books"
            if number in self.arrivals and number not in there and entry.order.status not in FINAL:
                yield f"order {number} is over at the venue, and {entry.order.status.value} in the books"


def _has_run(path: Path) -> bool:
    with SqlJournal(path) as journal, journal.snapshot() as reader:
        return reader.run(1) is not None


def make_template(folder: Path) -> Path:
    """Return an empty journal to copy."""
    path = folder / "template.db"
    SqlJournal(path, durable=True).close()
    return path
