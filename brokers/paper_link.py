"""The thin shell around a paper venue: it takes messages from the engine's thread and the market from the feed's, one
at a time, and wakes when a message arrives or an order expires in a quiet market.
"""

from collections.abc import Callable, Sequence
from threading import Condition, Thread

from brokers.paper import PaperVenue
from engine.live.market import Book, FundingDue, Trade
from engine.live.messages import OrderMessage
from engine.live.ports import Known
from engine.live.reports import Report

LONGEST_NAP = 1.0
"""Seconds."""


class PaperLink:
    """A VenueLink whose venue is in this process.

    Args:
        tell: called with each report, from whichever thread caused it, in order.
        clock: gives the session's time, UTC nanoseconds: the wall's, or that of the market that is played.
        speed: how fast that time passes, in seconds a second.
    """

    def __init__(
        self, venue: PaperVenue, tell: Callable[[Report], None], clock: Callable[[], int], *, speed: float = 1.0
    ) -> None:
        self._venue = venue
        self._tell = tell
        self._clock = clock
        self._speed = speed
        self._changed = Condition()
        self._is_open = True
        self._is_new = True
        self._prices: dict[str, int] = {}
        self._thread = Thread(target=self._watch, name="paper venue", daemon=True)
        self._thread.start()

    # ── VenueLink ───────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, messages: Sequence[OrderMessage]) -> None:
        """Let messages leave."""
        with self._changed:
            now = self._clock()
            for message in messages:
                self._venue.take(message, now)
            self._changed.notify()

    def reconcile(self, known: Known) -> Sequence[Report]:
        """At the start, build the venue anew from what the session's books say: it lived in the process that ended.
        Later, say again what was said of the orders in question."""
        with self._changed:
            if self._is_new:
                self._is_new = False
                return self._venue.restore(known, self._prices.get, self._clock())
            self._deliver(self._venue.on_time(self._clock()))
            return self._venue.account_for(known)

    def close(self) -> None:
        """Stop. The venue ends with its process; its resting orders are set up again from the record."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join()

    # ── from the feed ───────────────────────────────────────────────────────────────────────────────────────────────

    def on_trade(self, trade: Trade) -> None:
        """Take a print."""
        with self._changed:
            self._prices[trade.symbol] = self._venue.instruments[trade.symbol].to_ticks(trade.price)
            self._deliver(self._venue.on_trade(trade, self._clock()))

    def on_book(self, book: Book) -> None:
        """Take a newer book."""
        with self._changed:
            self._deliver(self._venue.on_book(book, self._clock()))

    def on_funding(self, due: FundingDue) -> None:
        """Take a funding payment."""
        with self._changed:
            self._deliver(self._venue.on_funding(due, self._clock()))

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self) -> None:
        with self._changed:
            while self._is_open:
                self._deliver(self._venue.on_time(self._clock()))
                due = self._venue.next_due()
                nap = LONGEST_NAP if due is None else (due - self._clock()) / 1e9 / self._speed
                self._changed.wait(min(max(nap, 0.001), LONGEST_NAP))

    def _deliver(self, reports: Sequence[Report]) -> None:
        for report in reports:
            self._tell(report)
