"""Targets dealt with in bulk: collected while bars pass, then filled, booked and recorded by the compiled run.

As long as a strategy only sets targets and looks at nothing that a fill would change, nobody can tell when its
orders are dealt with. They are settled before anyone looks: at the first question about position, cash or orders, at
a request of another kind, and at the end of every piece of the run. Tests hold journals and books equal to those of
orders dealt with one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import numpy as np

from engine.bars import Bars, FloatArray, IntArray
from engine.exchange import SimulatedExchange
from engine.execution import cap_of
from engine.instruments import Instrument
from engine.orders import Order, OrderStatus, OrderType, Side
from engine.portfolio import Portfolio
from engine.recorder import KEY_FIELDS, Recorder
from engine.records import Batch, Columns, Constant
from engine.semantics import Switches


@dataclass(frozen=True)
class CompiledTerms:
    """What the compiled run needs to know of costs and switches."""

    rate: Fraction
    half_spread_points: float
    slippage_points: float
    volume_cap: float


def compiled_terms(broker: Any, instrument: Instrument) -> CompiledTerms | None:
    """Return the terms of a broker if they are simple enough to be compiled, else None."""
    if type(broker) is not SimulatedExchange or broker.working or instrument.min_notional or instrument.min_quantity:
        return None
    if broker.is_clearing or not broker.portfolio.is_plain:
        return None
    switches: Switches = broker.switches
    if switches.path == "detail":  # what may be traded is the finer bars' volume
        return None
    rates, points = broker.fees.constant_rates(), broker.slippage.constant_basis_points()
    if rates is None or points is None or switches.market_fill != "next_open" or rates[1] < 0:
        return None
    cap = -1.0 if switches.volume_cap is None else cap_of(switches.volume_cap, instrument)
    return CompiledTerms(rates[1], points[0], points[1], cap)


class Settlement:
    """Collects targets of one symbol and deals with them in bulk.

    Args:
        lines: the strategy's lines on the symbol, with the columns their values come from.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        recorder: Recorder,
        terms: CompiledTerms,
        instrument: Instrument,
        headroom: float,
        strategy: str,
        lines: Sequence[FloatArray],
    ) -> None:
        self._portfolio = portfolio
        self._position = portfolio.positions[instrument.symbol]
        self._account = self._position.account
        self._recorder = recorder
        self._terms = terms
        self._instrument = instrument
        self._headroom = headroom
        self._strategy = strategy
        self._lines = lines
        self._rows_before = 0
        self._state = np.zeros(10, np.int64)
        self.wishes: list[tuple[int, float, str]] = []
        """(close_time of the bar, exposure, why) of the targets not yet dealt with."""

    def settle(self, bars: Bars, start: int, end: int) -> bool:
        """Deal with the wishes made in rows [start, end) of the bars, and with what an earlier wish left open.

        Returns:
            False, with nothing changed, if int64 would not hold a sum.
        """
        wishes, self.wishes = self.wishes, []
        times = np.array([wish[0] for wish in wishes], np.int64)
        values = np.array([wish[1] for wish in wishes], np.float64)
        rows = np.searchsorted(bars.close_time, times)
        if not self.run(bars, rows, values, start, end, [wish[2] for wish in wishes]):
            self.wishes = wishes
            return False
        return True

    def run(
        self, bars: Bars, rows: IntArray, values: FloatArray, start: int, end: int, why: Sequence[str] | None
    ) -> bool:
        """Deal with given wishes: exposures `values` at `rows`, ascending within [start, end). See `settle`.

        Args:
            why: of each wish; None for "target" throughout.
        """
        from engine import kernel

        account, position, terms, state = self._account, self._position, self._terms, self._state
        if not len(rows) and not state[kernel.ORDER]:
            self._rows_before += end - start
            return True
        if max(abs(account.cash_units), abs(account.locked_units), position.cost_units, abs(position.lots)) > 2**53:
            return False
        books = (account.cash_units, account.locked_units, position.lots, position.cost_units, position.realised_units)
        before = state.copy()
        state[: len(books)] = books
        instrument = self._instrument
        flags = bars.flags if bars.flags is not None else np.empty(0, np.uint8)
        status, decisions, fills, costs, events = kernel.run_targets(
            rows,
            values,
            start,
            end,
            bars.open,
            bars.close,
            bars.volume,
            flags,
            instrument.tick,
            instrument.lot,
            instrument.price_ratio,
            position.value_units,
            terms.rate.numerator,
            terms.rate.denominator,
            self._headroom,
            terms.half_spread_points,
            terms.slippage_points,
            terms.volume_cap,
            self._portfolio.allow_short,
            state,
        )
        if status != kernel.DONE or abs(int(state[kernel.CASH])) > 2**53:
            self._state = before
            return False
        columns = _Rows(
            bars, values, why, instrument, self._portfolio, self._strategy, self._lines, self._rows_before - start
        )
        columns.record(self._recorder, decisions, fills, costs, events)
        account.cash_units, account.locked_units, *rest = state[: len(books)].tolist()
        position.restore(*rest)
        self._rows_before += end - start
        return True

    @property
    def order_count(self) -> int:
        """How many orders there have been."""
        return int(self._state[5])

    def open_order(self, decided_at: int, decision_ticks: int) -> Order | None:
        """Return the order that is still open as an Order, or None; for handing it to the exchange."""
        from engine import kernel

        state = self._state
        if not state[kernel.ORDER]:
            return None
        number = int(state[kernel.ORDER])
        side = Side(int(state[kernel.SIDE]))
        filled = int(state[kernel.FILLED_LOTS])
        order = Order(
            number,
            number,
            self._instrument,
            side,
            OrderType.MARKET,
            int(state[kernel.QUANTITY]),
            decided_at,
            decision_ticks,
        )
        order.filled_lots = filled
        order.has_rested = filled > 0
        order.status = OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.ACCEPTED
        return order


def warm() -> None:
    """Load (the first time on a machine: compile) the compiled run, so that a run's time holds running alone."""
    from engine.kernel import run_targets

    floats, ints = np.ones(1), np.zeros(1, np.int64)
    run_targets(
        ints[:0],
        floats[:0],
        0,
        1,
        floats,
        floats,
        floats,
        np.empty(0, np.uint8),
        1.0,
        1.0,
        (1, 1),
        1,
        0,
        1,
        1.0,
        0.0,
        0.0,
        -1.0,
        True,
        np.zeros(10, np.int64),
    )


@dataclass(frozen=True)
class _Rows:
    """Turns the compiled run's columns into journal rows, in bulk.

    `line_offset` is added to a row of the bars to find its place in the columns of the lines.
    """

    bars: Bars
    exposures: FloatArray
    why: Sequence[str] | None
    instrument: Instrument
    portfolio: Portfolio
    strategy: str
    lines: Sequence[FloatArray]
    line_offset: int

    def record(self, recorder: Recorder, decisions: Any, fills: Any, costs: Any, events: Any) -> None:
        first, first_event, first_fill = (
            recorder.decision_count + 1,
            recorder.order_event_count + 1,
            recorder.fill_count + 1,
        )
        symbol = list(self.portfolio.instruments).index(self.instrument.symbol)
        keys = np.empty((len(fills), KEY_FIELDS), np.int64)
        keys[:, 0] = symbol
        keys[:, 1] = self.bars.close_time[fills[:, 0]]
        keys[:, 2:] = fills[:, [2, 4, 5, 6]]

        def made() -> Batch:
            tables = (
                self._decisions(decisions, first),
                self._orders(decisions, first),
                self._events(events, first_event),
            )
            return Batch(*(cast(list[tuple[Any, ...]], table) for table in tables))

        counts = len(decisions), len(decisions), len(events)
        recorder.bulk(counts, made, lambda: self._fills(fills, costs, first_fill), keys)

    def _decisions(self, decisions: Any, first: int) -> Columns:
        rows, places = decisions[:, 0], decisions[:, 3]
        time = self.bars.close_time[rows].tolist()
        exposures = self.exposures[places].tolist()
        text = {exposure: f"target {exposure:g}" for exposure in set(exposures)}
        return Columns(
            range(first, first + len(rows)),
            time,
            Constant(self.strategy),
            Constant(self.instrument.symbol),
            time,
            self.bars.close[rows].tolist(),
            list(map(text.__getitem__, exposures)),
            self._saw(rows),
            Constant("target") if self.why is None else list(map(self.why.__getitem__, places.tolist())),
        )

    def _saw(self, rows: Any) -> Sequence[tuple[float, ...] | None] | Constant:
        if not self.lines:
            return Constant(None)
        places = rows + self.line_offset
        return list(zip(*(line[places].tolist() for line in self.lines), strict=True))

    def _orders(self, decisions: Any, first: int) -> Columns:
        lots = decisions[:, 1]
        numbers = range(first, first + len(lots))
        return Columns(
            numbers,
            numbers,
            self.bars.close_time[decisions[:, 0]].tolist(),
            Constant(self.instrument.symbol),
            _sides(lots),
            Constant("market"),
            self._quantities(np.abs(lots)),
            *(Constant(value) for value in (None, None, None, "gtc", None, False, False, None, None)),
        )

    def _fills(self, fills: Any, costs: Any, first: int) -> Columns:
        row, order, side, reference, price, lots, fee, held, cash = fills.T
        size = np.asarray(self._quantities(lots)) * float(self.instrument.multiplier)
        unit = self.portfolio.accounts[self.instrument.quote].unit_ratio
        prices = self._prices(price)
        has_costs = bool(costs.any())
        return Columns(
            range(first, first + len(fills)),
            order.tolist(),
            self.bars.open_time[row].tolist(),
            self.bars.close_time[row].tolist(),
            Constant(self.instrument.symbol),
            _sides(side),
            prices,
            self._quantities(lots),
            Constant("taker"),
            _scaled(fee, unit),
            Constant(self.instrument.quote),
            self._prices(reference) if has_costs else prices,
            (costs[:, 0] * size).tolist() if has_costs else Constant(0.0),
            (costs[:, 1] * size).tolist() if has_costs else Constant(0.0),
            Constant(0.0),
            self._quantities(held),
            _scaled(cash, unit),
        )

    def _events(self, events: Any, first: int) -> Columns:
        from engine import kernel

        row, order, kind = events[:, 0], events[:, 1], events[:, 2]
        # What is decided happens at the bar's close; what fills, or is cut when it would, at its open.
        at_close = (kind == kernel.ACCEPTED) | (kind == kernel.CANCELLED_REPLACED)
        time = np.where(at_close, self.bars.close_time[row], self.bars.open_time[row])
        words = {
            kernel.ACCEPTED: "accepted",
            kernel.REDUCED: "reduced",
            kernel.REDUCED_NO_SHORT: "reduced",
            kernel.CANCELLED_NO_CASH: "cancelled",
            kernel.CANCELLED_NO_SHORT: "cancelled",
            kernel.CANCELLED_REPLACED: "cancelled",
        }
        reasons = [""] * len(events)
        for place in np.flatnonzero(kind != kernel.ACCEPTED).tolist():
            reasons[place] = self._reason(*events[place, 2:].tolist())
        names = list(map(words.__getitem__, kind.tolist()))
        return Columns(range(first, first + len(events)), order.tolist(), time.tolist(), names, reasons)

    def _reason(self, kind: int, before: int, after: int, free: int) -> str:
        from engine import kernel

        account = self.portfolio.accounts[self.instrument.quote]
        cash = f"{free * account.unit:f} {account.currency} free"
        quantity = self.instrument.to_quantity
        return {
            kernel.CANCELLED_REPLACED: "replaced by a newer target",
            kernel.CANCELLED_NO_CASH: f"not enough cash: {cash}",
            kernel.CANCELLED_NO_SHORT: "short selling is off",
            kernel.REDUCED: f"from {quantity(before)} to {quantity(after)}: {cash}",
            kernel.REDUCED_NO_SHORT: f"from {quantity(before)} to {quantity(after)}: short selling is off",
        }[kind]

    def _prices(self, ticks: Any) -> list[float]:
        return _scaled(ticks, self.instrument.price_ratio)

    def _quantities(self, lots: Any) -> list[float]:
        return _scaled(lots, self.instrument.quantity_ratio)


def _scaled(counts: Any, ratio: tuple[int, int]) -> list[float]:
    """Return counts × ratio as the nearest floats, as Instrument.float_price does for one."""
    if len(counts) and (float(np.abs(counts).max()) * ratio[0] > 2**53 or ratio[1] > 2**53):
        return [count * ratio[0] / ratio[1] for count in counts.tolist()]
    return list((counts * ratio[0] / ratio[1]).tolist())


def _sides(signed: Any) -> list[str]:
    return ["buy" if sign > 0 else "sell" for sign in signed.tolist()]
