"""What the engine shows a strategy, and what the strategy asks of it. Everything is as of the last closed bar."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from engine.bars import FloatArray, IntArray, Stream, Timeframe, iso
from engine.deciding import WatchedPolicy
from engine.desk import OrderDesk
from engine.errors import PluginError, nearest_name
from engine.forecasting.book import ForecastBook
from engine.forecasting.handles import ModelForecasts
from engine.forecasts import Forecast
from engine.indicators import Incremental, IndicatorSpec, check_causal, warm_up
from engine.interfaces import Broker, Feed, KeepsHistory
from engine.lines import Line
from engine.moment import Moment
from engine.orders import Order, OrderRequest
from engine.policies import Policy
from engine.portfolio import Portfolio
from engine.settlement import Settlement
from engine.strategy import Timer


class DeclaredLine:
    """A line with where its values come from: a column computed ahead, or a function fed bar by bar."""

    __slots__ = ("line", "source", "spec", "values")

    def __init__(self, spec: IndicatorSpec, line: Line) -> None:
        self.spec = spec
        self.line = line
        self.values: FloatArray | None = None
        self.source: Incremental | None = None

    @property
    def column(self) -> FloatArray:
        """The values computed ahead, float64 [rows]."""
        assert self.values is not None, "computed ahead, or fed by `source`"
        return self.values


class Lines:
    """Every indicator line of a run, by stream."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.of_stream: dict[Stream, list[DeclaredLine]] = {stream: [] for stream in feed.streams}
        self._known: dict[tuple[IndicatorSpec, str], Line] = {}
        self._close_times: dict[Stream, IntArray] = {}

    def declare(self, spec: IndicatorSpec) -> Line:
        """Return the line of a spec; the same spec gives the same line."""
        assert spec.stream is not None
        key = (spec, spec.label)
        if key in self._known:
            return self._known[key]
        line = Line(spec.name, self._feed.streams.index(spec.stream))
        self.of_stream[spec.stream].append(DeclaredLine(spec, line))
        self._known[key] = line
        return line

    def compute(self, *, checked: bool = True) -> None:
        """Compute every line over its whole column, or make it ready to be fed bar by bar where there is no column.

        Args:
            checked: refuse an author's function that looks ahead.
        """
        for stream, declared in self.of_stream.items():
            for entry in declared:
                spec = entry.spec
                if self._feed.column(stream, "close") is None:
                    entry.source = spec.incremental()
                    continue
                columns = self._column_of(stream)
                entry.values = spec.values(columns)
                if checked and not isinstance(spec.function, str):
                    check_causal(spec, columns, entry.values, self.close_times(stream))

    def _column_of(self, stream: Stream) -> Callable[[str], FloatArray]:
        def column(field: str) -> FloatArray:
            values = self._feed.column(stream, field)
            assert values is not None
            return values

        return column

    def close_times(self, stream: Stream) -> IntArray:
        """Return the close times of one stream, read once."""
        times = self._close_times.get(stream)
        if times is None:
            times = self._close_times[stream] = _close_times(self._feed, stream)
        return times

    def warm_up(self, stream: Stream) -> int:
        """Return how many bars of a stream pass before all its lines have values; for incremental lines nobody knows
        yet: 0."""
        return max(
            (warm_up(declared.values) for declared in self.of_stream[stream] if declared.values is not None), default=0
        )

    def by_symbol(self) -> dict[str, list[Line]]:
        """Return the lines of each symbol, in declaration order, shorter timeframes of the feed first."""
        found: dict[str, list[Line]] = {}
        for stream, declared in self.of_stream.items():
            found.setdefault(stream.symbol, []).extend(entry.line for entry in declared)
        return found

    def names(self) -> tuple[str, ...]:
        """Return the names in the order of `by_symbol`, of the symbol that has most."""
        most: list[Line] = max(self.by_symbol().values(), key=len, default=[])
        return tuple(line.name for line in most)


class EngineContext:
    """The engine's side of a strategy: implements engine.strategy.Context."""

    def __init__(
        self, feed: Feed, portfolio: Portfolio, broker: Broker, moment: Moment, lines: Lines, desk: OrderDesk
    ) -> None:
        self.streams = feed.streams
        self.symbols = tuple(dict.fromkeys(stream.symbol for stream in feed.streams))
        self.is_starting = True
        self._feed = feed
        self._portfolio = portfolio
        self._broker = broker
        self._moment = moment
        self._lines = lines
        self._desk = desk
        self._timers: list[tuple[int, int, str, int | None]] = []
        self._timer_count = 0
        self.policies: Mapping[str, WatchedPolicy] = {}
        self.asked_policies: dict[str, WatchedPolicy] = {}
        """Those that the strategy asked for, by name."""
        self.book: ForecastBook | None = None
        """The forecasts of the run; None where there are no models."""
        self.settlement: Settlement | None = None
        """Where targets are collected while nobody looks at what becomes of them; None when each is dealt with at
        once."""
        self.settle: Callable[[], None] = lambda: None
        """Deals with what was collected and from then on with each order at once."""

    def _settle_first(self) -> None:
        """Deal with targets that were only collected, before anyone looks at what became of them."""
        if self.settlement is not None:
            self.settle()

    @property
    def now(self) -> int:
        return self._moment.time

    @property
    def largest_exposure(self) -> float:
        """The largest share of equity that a target may ask for: 1, or the leverage of a margin account."""
        margin = self._portfolio.margin
        return 1.0 if margin is None else float(margin.leverage)

    def line(
        self,
        function: str | Callable[..., Any],
        inputs: tuple[str, ...],
        arguments: tuple[Any, ...],
        options: Mapping[str, Any],
        stream: Stream,
        output: int | str,
    ) -> Line:
        """Declare an indicator.

        Raises:
            PluginError: the run has begun; lines are computed ahead of it.
        """
        if not self.is_starting:
            raise PluginError("indicator() was called after the start; declare every indicator in on_start")
        return self._lines.declare(IndicatorSpec(function, inputs, arguments, options, stream, output))

    def history(self, stream: Stream, field: str, count: int) -> FloatArray:
        column = self._feed.column(stream, field)
        if column is None:
            if isinstance(self._feed, KeepsHistory):
                return self._feed.history(stream, field, count)
            raise PluginError("history() of a live feed is not kept; declare an indicator, or keep what you need")
        end = self.bars_closed(stream)
        view = column[max(0, end - count) : end]
        view.flags.writeable = False
        return view

    def bars_closed(self, stream: Stream) -> int:
        """Return how many bars of a stream have closed by now."""
        return int(np.searchsorted(self._lines.close_times(stream), self._moment.time, side="right"))

    def price(self, symbol: str) -> float:
        price = self._moment.price(symbol)
        if price is None:
            raise PluginError(f"{symbol} has no bar yet, so no price; wait for its first bar")
        return price

    def position(self, symbol: str) -> Decimal:
        self._settle_first()
        return self._portfolio.positions[symbol].quantity

    def average_price(self, symbol: str) -> Decimal | None:
        self._settle_first()
        return self._portfolio.positions[symbol].average_price

    def cash(self, currency: str | None) -> Decimal:
        self._settle_first()
        return self._portfolio.accounts[currency or self._portfolio.currency].free

    def equity(self, currency: str | None) -> Decimal:
        self._settle_first()
        return self._portfolio.equity(currency or self._portfolio.currency, self._moment.price)

    def quantity_for_exposure(self, symbol: str, exposure: float) -> float:
        self._settle_first()
        return self._portfolio.instruments[symbol].float_quantity(self._desk.lots_for(symbol, exposure))

    def open_orders(self, symbol: str | None) -> Sequence[Order]:
        self._settle_first()
        return [order for order in self._broker.working.values() if symbol is None or order.symbol == symbol]

    def forecasts(self, model: str, every: str, symbols: Sequence[str] | None) -> ModelForecasts:
        """Declare a model.

        Raises:
            PluginError: the run has no models, or not this one; see ForecastBook.declare.
        """
        if self.book is None:
            raise PluginError(
                f"the strategy asks for the model {model!r}, and this run has none; add [models.{model}] to the "
                "settings"
            )
        return self.book.declare(model, every, symbols)

    def policy(self, name: str) -> Policy:
        """Return a policy by its name.

        Raises:
            PluginError: the run has none of that name.
        """
        found = self.policies.get(name)
        if found is None:
            known = ", ".join(self.policies) or "none; add [models.NAME] with the artefact of a position head"
            raise PluginError(
                f"the strategy asks for the policy {name!r}; this run has {known}"
                f"{nearest_name(name, list(self.policies))}"
            )
        self.asked_policies[name] = found
        return found

    def cite(self, forecasts: Forecast | Sequence[Forecast] | None) -> None:
        if self.book is not None:
            self.book.cite(forecasts)

    def target(self, symbol: str, exposure: float, why: str) -> None:
        if self.book is not None:
            exposure, why = self.book.scaled(symbol, exposure, why)
        if self.settlement is not None and symbol in self._portfolio.positions:
            self.settlement.wishes.append((self._moment.time, exposure, why))
            return
        self._desk.target(symbol, exposure, why)

    def request(self, request: OrderRequest) -> Order:
        self._settle_first()
        return self._desk.request(request)

    def cancel(self, order: Order, why: str) -> None:
        self._settle_first()
        self._desk.cancel(order, why)

    def amend(
        self,
        order: Order,
        quantity: float | Decimal | None,
        limit: float | Decimal | None,
        stop: float | Decimal | None,
        why: str,
    ) -> None:
        self._settle_first()
        self._desk.amend(order, quantity, limit, stop)

    # ── timers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def set_timer(self, name: str, at: int | None, every: str | None) -> None:
        """Add a timer.

        Raises:
            PluginError: neither or both of `at` and `every` are given.
        """
        if (at is None) == (every is None):
            raise PluginError(f"timer {name!r}: give either at= (UTC nanoseconds) or every= (a timeframe such as 4h)")
        if at is not None and at < self._moment.time:
            raise PluginError(
                f"timer {name!r} is set at {iso(at)}, but it is {iso(self._moment.time)} already; set a later time"
            )
        interval = Timeframe.parse(every).duration if every else None
        self._push(name, at if at is not None else self._after(self._moment.time, interval or 1), interval)

    @staticmethod
    def _after(time: int, interval: int) -> int:
        return (time // interval + 1) * interval

    def _push(self, name: str, time: int, interval: int | None) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (time, self._timer_count, name, interval))

    def start_timers(self, first: int) -> None:
        """Move repeating timers that were set in on_start to their first due time at or after the first bar."""
        for time, _, name, interval in [self._timers.pop() for _ in range(len(self._timers))][::-1]:
            self._push(name, -(-first // interval) * interval if interval else time, interval)

    def next_due(self) -> int | None:
        """Return the time of the next timer, or None."""
        return self._timers[0][0] if self._timers else None

    def due(self, before: int, *, inclusive: bool) -> Timer | None:
        """Take out and return the next timer due before (or at) an instant; a repeating one is put back for later."""
        if not self._timers or self._timers[0][0] > before or (self._timers[0][0] == before and not inclusive):
            return None
        time, _, name, interval = heapq.heappop(self._timers)
        if interval:
            self._push(name, time + interval, interval)
        return Timer(name, time)


def _close_times(feed: Feed, stream: Stream) -> IntArray:
    """Return the close times of one stream, read once, for cutting histories."""
    parts = [
        chunk.close_time if chunk.stream is None else chunk.close_time[chunk.stream == feed.streams.index(stream)]
        for chunk in feed.chunks()
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
