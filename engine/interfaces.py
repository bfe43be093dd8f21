"""The replaceable parts, as Protocols: read this first.

One loop, three replaceable parts (clock, feed, broker) and a journal. Backtest and paper trading differ in
these alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from engine.bars import Bar, Bars, FloatArray, IntArray, Stream
from engine.orders import Order, Side
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


@runtime_checkable
class KeepsHistory(Protocol):
    """A live feed that keeps the bars that closed."""

    def history(self, stream: Stream, field: str, count: int) -> FloatArray:
        """Return the last values of a column of a stream, oldest first, at most `count`; read-only."""


class Broker(Protocol):
    """Takes orders and says what became of them."""

    @property
    def working(self) -> Mapping[int, Order]:
        """Orders that may still fill, by id, oldest first; always the same object. While it is empty, `on_bar` need
        not be called."""

    def submit(self, order: Order) -> Sequence[Any]:
        """Take an order; return the events that follow at once, such as OrderAccepted or OrderRejected."""

    def cancel(self, order: Order, time: int, reason: str, *, arrives_at: int | None = None) -> Sequence[Any]:
        """Withdraw an order that is still working; return the events that follow.

        Args:
            arrives_at: when the venue sees it, where latency is simulated; until then the order may fill.
        """

    def amend(
        self,
        order: Order,
        time: int,
        *,
        lots: int,
        limit_ticks: int | None,
        stop_ticks: int | None,
        arrives_at: int | None = None,
    ) -> Sequence[Any]:
        """Change a working order's total quantity and prices; return the events that follow. See `cancel`."""

    def on_bar(self, bar: Bar) -> Sequence[Any]:
        """Let working orders of the bar's symbol meet the bar that just closed; return events in the order of
        happening.

        Every fill is booked into the portfolio before its event is returned.
        """

    @property
    def needs_every_bar(self) -> bool:
        """Whether `on_bar` must be called even while nothing is working, to follow the market."""


@runtime_checkable
class InstantBroker(Protocol):
    """A broker that matches the bars of one instant together, for orders of several symbols that cancel each other."""

    def on_bars(self, bars: Sequence[Bar]) -> Sequence[Any]:
        """As `Broker.on_bar`, for all bars that close at one instant; at most one of each symbol."""


@runtime_checkable
class ClearingBroker(Protocol):
    """A broker that keeps accounts on margin, charges what holding costs, or follows trading days."""

    @property
    def is_clearing(self) -> bool:
        """Whether it does any of that in this run; the two methods are called then, and `on_bar` with every bar."""

    def begin_instant(self, bars: Sequence[Bar]) -> Sequence[Any]:
        """Take note of all the bars that close at one instant, before any of them is matched; return the events that
        follow."""

    def end_instant(self) -> Sequence[Any]:
        """Take note that all of them have been matched; return the events that follow."""


class ForcedOrders(Protocol):
    """Makes the orders that a venue gives in our name, with their provenance."""

    def forced_order(
        self, symbol: str, side: Side, lots: int, ticks: int, time: int, bar_close_time: int, why: str,
        action: str = "liquidate",
    ) -> Order:
        """Return a market order, journalled with the decision of the engine (`action`) that it comes from."""


class Detail(Protocol):
    """Finer bars of the symbols of a run, which tell what happened inside its bars and in which order.

    They are read only once the bar around them has closed.
    """

    def bars_within(self, symbol: str, open_time: int, close_time: int) -> Bars | None:
        """Return the finer bars that lie within a span (UTC ns), of one stream and oldest first; None if there are
        none."""


class MarkPrices(Protocol):
    """The prices by which a venue reckons margins and funding, where they are not the last trade's."""

    def at(self, symbol: str, time: int) -> float | None:
        """Return the price known last at an instant; None if there is none, or none for the symbol."""

    def within(self, symbol: str, open_time: int, close_time: int) -> tuple[float, float, float] | None:
        """Return the price at the start of a span, its lowest and its highest; None if there is none in it."""

    def column(self, symbol: str, times: IntArray) -> FloatArray | None:
        """Return the price known last at each instant, NaN before the first; None if the symbol has none."""


class Journal(Protocol):
    """The append-only record of a run."""

    def begin(self, start: RunStart) -> int:
        """Open a run and return its number."""

    def write(self, batch: Batch) -> None:
        """Append rows; they are written whole or not at all. May return before they are on disk."""

    def end(self, end: RunEnd) -> None:
        """Wait until everything is on disk, then close the run with its status and result."""
