"""Targets on a venue: a newer one waits until the order of the one before has ended, so that no two go past it."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from engine import Bar, Instrument, Strategy, Stream
from engine.bars import HOUR
from engine.journal.memory import MemoryJournal
from engine.live.broker import VenueBroker
from engine.live.core import LiveCore
from engine.live.inputs import VenueTold
from engine.live.messages import OrderMessage
from engine.live.ports import Known
from engine.live.reports import Report, ReportKind
from engine.live.session import Recording, Session, Timings
from engine.live.streams import LiveStreams
from engine.portfolio import Portfolio
from engine.running import Parts
from tests.engine.live.market import BTC, START, closed, run_start, walk


class Wishes(Strategy):
    """A target for each bar."""

    def on_start(self) -> None:
        self.wishes = [0.5, 0.0, 0.25, 0.25]

    def on_bar(self, bar: Bar) -> None:
        self.target(bar.symbol, self.wishes.pop(0), why="as wished")


class Link:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[OrderMessage] = []

    def send(self, messages: Sequence[OrderMessage]) -> None:
        self.sent.extend(messages)

    def reconcile(self, known: Known) -> Sequence[Report]:
        return ()

    def close(self) -> None:
        pass


@pytest.fixture
def session() -> Session:
    recording = Recording(MemoryJournal())
    portfolio = Portfolio({"USDT": Decimal(10_000)}, [Instrument(BTC, "USDT", base="BTC")])
    parts = Parts(
        LiveStreams([Stream(BTC, "1h")]), Wishes(), VenueBroker(portfolio, "abcdefgh"), portfolio, journal=recording)
    made = Session(LiveCore(parts, late_after=HOUR), recording, link=Link(), timings=Timings(), now=lambda: START)
    made.begin(run_start())
    return made


def told(session: Session, kind: ReportKind, order_id: int, **fields: object) -> None:
    session.take([VenueTold(START, Report(kind, START, START, order_id, **fields))])  # type: ignore[arg-type]


def sent(session: Session) -> list[tuple[str, int, int, int]]:
    assert isinstance(session.link, Link)
    return [(one.kind, one.order_id, one.side, one.lots) for one in session.link.sent]


def test_a_newer_target_waits_for_the_end_of_the_order_before_and_trades_from_what_it_filled(session: Session) -> None:
    bars = walk(4)
    session.take([closed(bars[0])])
    first = sent(session)[0]
    assert first[:3] == ("new", 1, 1)
    told(session, ReportKind.ACCEPTED, 1)

    session.take([closed(bars[1])])
    assert sent(session)[1:] == [("cancel", 1, 1, first[3])], "nothing is sold that may not have been bought"

    told(session, ReportKind.FILLED, 1, lots=1000, ticks=9_990, trade_id="a")
    assert len(sent(session)) == 2
    told(session, ReportKind.CANCELLED, 1, lots=1000)
    assert sent(session)[2:] == [("new", 2, -1, 1000)], "just what has filled is sold again"


def test_of_several_targets_that_wait_the_last_one_counts(session: Session) -> None:
    bars = walk(4)
    session.take([closed(bars[0])])
    told(session, ReportKind.ACCEPTED, 1)
    session.take([closed(bars[1]), closed(bars[2])])
    assert [one[:2] for one in sent(session)] == [("new", 1), ("cancel", 1)]

    told(session, ReportKind.CANCELLED, 1)
    assert [one[:3] for one in sent(session)[2:]] == [("new", 2, 1)]
    worth = sent(session)[2][3] * 1e-5 * bars[2].close
    assert worth == pytest.approx(2_500, rel=1e-3)


def test_an_order_that_has_not_left_yet_is_replaced_at_once(session: Session) -> None:
    session.core.take(closed(walk(4)[0]))
    session.core.take(closed(walk(4)[1]))
    session.core.take(closed(walk(4)[2]))
    messages = session.core.messages()
    assert [(one.kind, one.side) for one in messages] == [("new", 1)]
