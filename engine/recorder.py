"""The recorder: turns what happens in a run into journal rows, numbered from 1, and hands them over in batches.

Rows are made once, as plain tuples in the field order of engine.records: a run of 20 000 trades makes 100 000 of them.
"""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.events import CashMoved, Fill
from engine.instruments import Instrument
from engine.interfaces import Journal
from engine.lines import Line
from engine.orders import Order, OrderType
from engine.portfolio import Portfolio
from engine.records import Batch, Columns, FillRow
from engine.results import LazyRows
from engine.risk.facts import Halt, Lift

KEY_FIELDS = 6
"""Numbers a fill key has: symbol index, bar_close_time, side, price ticks, lots, fee units."""


class Recorder:
    """Collects rows between flushes, and the fill keys of the whole run.

    Args:
        journal: where batches go; None keeps only what the result needs.
        lines: the indicator lines of each symbol, whose last values a decision records as what it saw.
    """

    def __init__(
        self,
        journal: Journal | None,
        portfolio: Portfolio,
        strategy: str,
        lines: Mapping[str, Sequence[Line | FloatArray]],
    ) -> None:
        self._journal = journal
        self._positions = portfolio.positions
        self._strategy = strategy
        self._lines = lines
        self._batch = Batch()
        self._bulks: list[Batch] = []
        self._symbol_index = {symbol: index for index, symbol in enumerate(portfolio.instruments)}
        self._account_index = {currency: index for index, currency in enumerate(portfolio.accounts)}
        self._moves: list[tuple[int, int, int]] = []
        self.account_events: list[tuple[Any, ...]] = []
        """Every row of that table, for the result."""
        self._keys = array("q")
        self._fills: list[tuple[Any, ...] | Callable[[], Columns]] = []
        """Rows, and what makes several of them when somebody looks."""
        self.decision_count = 0
        self.order_count = 0
        self.order_event_count = 0
        self.account_event_count = 0
        self.refused_by: Counter[str] = Counter()
        """How many orders each rule has refused."""
        self._risk_event_count = 0
        self._link_count = 0
        self._score_count = 0
        self._skill_count = 0
        self._input_count = 0
        self._latest: dict[str, deque[tuple[Any, ...]]] = {"decisions": deque(maxlen=100), "alerts": deque(maxlen=100)}
        """Of a live session, for people."""
        self._alert_count = 0
        self.behind: Callable[[str], Sequence[int]] | None = None
        """Returns the ids of the forecasts that a decision on a symbol rests on; None where there are no forecasts."""

    def watch(self, lines: Mapping[str, Sequence[Line | FloatArray]]) -> None:
        """Record the last values of these lines with every decision on their symbol."""
        self._lines = lines

    # ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def refused_count(self) -> int:
        return self.refused_by.total()

    def decision(
        self, time: int, symbol: str, bar_close_time: int, price: float, action: str, why: str, by: str = ""
    ) -> int:
        """Note why something is asked for; return the decision's id.

        Args:
            by: who decided; the strategy if left out.
        """
        self.decision_count = number = self.decision_count + 1
        if self._journal is None:
            return number
        lines = self._lines.get(symbol)
        saw = tuple([float(line[-1]) for line in lines]) if lines else None
        who = by or self._strategy
        self._batch.decisions.append((number, time, who, symbol, bar_close_time, price, action, saw, why))
        if self.behind is not None and not by:
            for forecast in self.behind(symbol):
                self._link_count += 1
                self._batch.decision_forecasts.append((self._link_count, number, forecast))
        return number

    @property
    def is_journalled(self) -> bool:
        """Whether rows go anywhere."""
        return self._journal is not None

    def forecast(self, row: tuple[Any, ...]) -> None:
        """Note a forecast, as engine.forecasting.rows makes it."""
        self._batch.forecasts.append(row)

    def forecast_score(self, row: tuple[Any, ...]) -> None:
        """Note how a forecast did, its id left out."""
        self._score_count += 1
        self._batch.forecast_scores.append((self._score_count, *row))

    def forecast_skill(self, row: tuple[Any, ...]) -> None:
        """Note what a model's skill means for positions from now on, the row's id left out."""
        self._skill_count += 1
        self._batch.forecast_skill.append((self._skill_count, *row))

    def order(self, order: Order) -> None:
        """Note an order as it was made."""
        self.order_count += 1
        if self._journal is None:
            return
        instrument = order.instrument
        numerator, denominator = instrument.quantity_ratio
        kind = order.type
        if kind is OrderType.MARKET:
            limit = stop = trail = None
        else:
            limit, stop, trail = _prices(order, instrument)
        self._batch.orders.append(
            (
                order.id,
                order.decision_id,
                order.decided_at,
                order.symbol,
                "buy" if order.side > 0 else "sell",
                kind._value_,
                order.lots * numerator / denominator,
                limit,
                stop,
                trail,
                order.time_in_force._value_,
                order.expire_at,
                order.post_only,
                order.reduce_only,
                order.parent_id,
                order.group,
            )
        )

    def order_event(self, order_id: int, time: int, kind: str, reason: str = "") -> None:
        """Note a step in an order's life."""
        self.order_event_count = number = self.order_event_count + 1
        if self._journal is not None:
            self._batch.order_events.append((number, order_id, time, kind, reason))

    def fill(self, fill: Fill) -> None:
        """Note an execution, after it was booked."""
        (
            number,
            order,
            time,
            bar_close_time,
            side,
            price_ticks,
            lots,
            liquidity,
            fee_units,
            reference_ticks,
            spread_cost,
            slippage_cost,
            impact_cost,
            lots_after,
            cash_after,
        ) = fill
        instrument = order.instrument
        symbol = order.symbol
        account = self._positions[symbol].account
        of_unit, unit = account.unit_ratio
        of_tick, tick = instrument.price_ratio
        of_lot, lot = instrument.quantity_ratio
        row = (
            number,
            order.id,
            time,
            bar_close_time,
            symbol,
            "buy" if side > 0 else "sell",
            price_ticks * of_tick / tick,
            lots * of_lot / lot,
            liquidity._value_,
            fee_units * of_unit / unit,
            account.currency,
            reference_ticks * of_tick / tick,
            spread_cost,
            slippage_cost,
            impact_cost,
            lots_after * of_lot / lot,
            cash_after * of_unit / unit,
        )
        self._fills.append(row)
        if self._journal is not None:
            self._batch.fills.append(row)
        self._keys.extend((self._symbol_index[symbol], bar_close_time, side, price_ticks, lots, fee_units))

    def account_event(self, time: int, kind: str, currency: str, amount: Decimal, note: str = "") -> None:
        """Note money that moved other than by a fill."""
        self.account_event_count = number = self.account_event_count + 1
        row = (number, time, kind, currency, float(amount), note)
        self.account_events.append(row)
        self._batch.account_events.append(row)

    def cash_moved(self, event: CashMoved) -> None:
        """Note money that moved other than by a fill, after it was booked."""
        self._moves.append((event.time, self._account_index[event.currency], event.units))
        self.account_event(event.time, event.kind, event.currency, event.amount, event.note)

    def moves_from(self, first: int) -> list[tuple[int, int, int]]:
        """Return (time, number of the account, units) of the cash moved other than by fills, from the first-th on."""
        return self._moves[first:]

    def risk_event(self, fact: Halt | Lift) -> None:
        """Note that the risk gate halted trading, or let it go on."""
        self._risk_event_count = number = self._risk_event_count + 1
        row: tuple[Any, ...]
        if isinstance(fact, Halt):
            row = (
                number, fact.time, "halt", fact.rule, fact.symbol, float(fact.value), float(fact.limit), fact.action,
                fact.lift_at, fact.reason, "",
            )
        else:
            row = (number, fact.time, "lift", fact.rule, fact.symbol, None, None, "", None, fact.why, fact.by)
        self._batch.risk_events.append(row)

    # ── of a live session ───────────────────────────────────────────────────────────────────────────────────────────

    def latest(self, table: str, count: int) -> list[tuple[Any, ...]]:
        """Return the last rows of decisions or alerts, oldest first; at most some hundred are kept."""
        return list(self._latest[table])[-count:]

    @property
    def alert_count(self) -> int:
        """How many alerts there were."""
        return self._alert_count

    def session_input(self, time: int, kind: str, body: str) -> None:
        """Note something that entered the session, before it is dealt with."""
        self._input_count = number = self._input_count + 1
        self._batch.session_inputs.append((number, time, kind, body))

    def order_message(self, row: tuple[Any, ...]) -> None:
        """Note a message to the venue, before it is sent."""
        self._batch.order_messages.append(row)

    def alert(self, time: int, level: str, source: str, text: str) -> None:
        """Note something that a person should know."""
        self._alert_count = number = self._alert_count + 1
        row = (number, time, level, source, text)
        self._batch.alerts.append(row)
        self._latest["alerts"].append(row)

    def equity(self, rows: list[tuple[Any, ...]]) -> None:
        """Note valuations."""
        self._batch.equity.extend(rows)

    # ── rows made elsewhere, in bulk and numbered from 1; made at all only if a journal wants them ──────────────────

    def bulk(
        self, counts: tuple[int, int, int], make: Callable[[], Batch], make_fills: Callable[[], Columns], keys: IntArray
    ) -> None:
        """Add decisions, orders and order events, so many of each, and fills with their keys int64 [fills, 6].

        Args:
            make: makes the batch, `fills` left empty; make_fills: makes the fills.
        """
        self.decision_count += counts[0]
        self.order_count += counts[1]
        self.order_event_count += counts[2]
        self._keys.frombytes(np.ascontiguousarray(keys).tobytes())
        if self._journal is None:
            self._fills.append(make_fills)
            return
        fills, batch = make_fills(), make()
        self._fills.append(lambda: fills)
        batch.fills = cast(list[tuple[Any, ...]], fills)
        self._bulks.append(batch)

    # ── handing over ────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self) -> None:
        """Hand what was collected to the journal as one batch."""
        if not self.gathered:
            return
        batch, self._batch = self._batch, Batch()
        if batch.session_inputs:
            self._latest["decisions"].extend(batch.decisions[-100:])
        bulks, self._bulks = self._bulks, []
        if self._journal is not None:
            for each in (*bulks, batch):  # a run leaves the bulk mode for good: what was made in bulk came first
                self._journal.write(each)

    @property
    def gathered(self) -> int:
        """How many rows wait to be flushed."""
        return len(self._batch) + sum(map(len, self._bulks))

    @property
    def fill_count(self) -> int:
        return len(self._keys) // KEY_FIELDS

    def fills(self) -> Sequence[FillRow]:
        """Return every fill of the run; the rows are made when they are first looked at."""
        return LazyRows(self.fill_count, lambda: list(map(FillRow._make, self._fill_rows())))

    def _fill_rows(self) -> Iterator[tuple[Any, ...]]:
        for entry in self._fills:
            if isinstance(entry, tuple):
                yield entry
            else:
                yield from entry()

    def fill_keys_from(self, first: int) -> IntArray:
        """Return the keys of the fills from the first-th on."""
        keys = self._keys[first * KEY_FIELDS :]
        return np.array(keys, dtype=np.int64).reshape(-1, KEY_FIELDS)

    def fill_keys(self) -> IntArray:
        """Return int64 [fills, 6]: symbol index, bar_close_time, side, price ticks, lots, fee units."""
        return (
            np.frombuffer(self._keys, dtype=np.int64).reshape(-1, KEY_FIELDS).copy()
            if self._keys
            else np.empty((0, KEY_FIELDS), np.int64)
        )


def _prices(order: Order, instrument: Instrument) -> tuple[float | None, float | None, float | None]:
    """Return limit, stop and trail as floats; a trailing stop's moving stop is left out, its distance says it all."""
    trail = order.trail_fraction
    if trail is None and order.trail_ticks is not None:
        trail = instrument.float_price(order.trail_ticks)
    has_stop = order.stop_ticks is not None and order.type is not OrderType.TRAILING_STOP
    return (
        None if order.limit_ticks is None else instrument.float_price(order.limit_ticks),
        instrument.float_price(order.stop_ticks) if has_stop and order.stop_ticks is not None else None,
        trail,
    )
