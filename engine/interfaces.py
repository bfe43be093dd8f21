"""The replaceable parts, as Protocols: read this first.

One loop, three replaceable parts (clock, feed, broker) and a journal. Backtest and paper trading differ in
these alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from engine.bars import Bar, Bars, FloatArray, Stream
from engine.orders import Order
from engine.records import Batch, RunEnd, RunStart


class Clock(Protocol):
    """The only source of "now", in UTC nanoseconds."""

    @property
    def now(self) -> int: ...

    def advance_to(self, time: int) -> None:
        """Move to a later instant.

        Raises:
            DataError: the time lies before now; events came out of order.
        """


class Feed(Protocol):
    """Time-ordered bars of one or many streams, in chunks of columns.

    Rows are sorted by close_time; rows of one close_time stand in the order of `streams`, and longer timeframes
    come after shorter ones. All rows of one close_time are in one chunk.
    """

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every stream, in feed order."""

    @property
    def row_count(self) -> int | None:
        """How many bars there will be; None if nobody can know (a live feed)."""

    @property
    def fingerprint(self) -> str:
        """A hash of the content: equal if and only if every bar is equal. "live" for a live feed."""

    def chunks(self) -> Iterator[Bars]:
        """Yield the bars, oldest first. Every call starts anew, except for a live feed."""

    def column(self, stream: Stream, field: str) -> FloatArray | None:
        """Return a whole column (open, high, low, close or volume) of one stream; None for a live feed.

        The engine computes indicators from it ahead of the run; strategies never see it.
        """


class Broker(Protocol):
    """Takes orders and says what became of them."""

    @property
    def working(self) -> Mapping[int, Order]:
        """Orders that may still fill, by id, oldest first; always the same object. While it is empty, `on_bar` need
        not be called."""

    def submit(self, order: Order) -> Sequence[Any]:
        """Take an order; return the events that follow at once, such as OrderAccepted or OrderRejected."""

    def cancel(self, order: Order, time: int, reason: str) -> Sequence[Any]:
        """Withdraw an order that is still working; return the events that follow."""

    def amend(
        self, order: Order, time: int, *, lots: int, limit_ticks: int | None, stop_ticks: int | None
    ) -> Sequence[Any]:
        """Change a working order's total quantity and prices; return the events that follow."""

    def on_bar(self, bar: Bar) -> Sequence[Any]:
        """Let working orders of the bar's symbol meet the bar that just closed; return events in the order of
        happening.

        Every fill is booked into the portfolio before its event is returned.
        """

    @property
    def needs_every_bar(self) -> bool:
        """Whether `on_bar` must be called even while nothing is working, to follow the market."""


class Journal(Protocol):
    """The append-only record of a run."""

    def begin(self, start: RunStart) -> int:
        """Open a run and return its number."""

    def write(self, batch: Batch) -> None:
        """Append rows; they are written whole or not at all. May return before they are on disk."""

    def end(self, end: RunEnd) -> None:
        """Wait until everything is on disk, then close the run with its status and result."""
