"""The recorder: turns what happens in a run into journal rows, numbered from 1, and hands them over in batches.

Rows are made once, as plain tuples in the field order of engine.records: a run of 20 000 trades makes 100 000 of them.
"""

from array import array
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from engine.bars import IntArray
from engine.events import Fill, Liquidity
from engine.interfaces import Journal
from engine.lines import Line
from engine.orders import Order, OrderType, Side
from engine.portfolio import Portfolio
from engine.records import Batch, FillRow

_LIQUIDITY = {Liquidity.MAKER: "maker", Liquidity.TAKER: "taker"}
_SIDE = {Side.BUY: "buy", Side.SELL: "sell"}

KEY_FIELDS = 6
"""Numbers a fill key has: symbol index, bar_close_time, side, price ticks, lots, fee units."""


class Recorder:
    """Collects rows between flushes, and the fill keys of the whole run.

    Args:
        journal: where batches go; None keeps only what the result needs.
        lines: the indicator lines of each symbol, whose last values a decision records as what it saw.
    """

    def __init__(self, journal: Journal | None, portfolio: Portfolio, strategy: str, lines: Mapping[str, Sequence[Line]]) -> None:
        self._journal = journal
        self._portfolio = portfolio
        self._strategy = strategy
        self._lines = lines
        self._batch = Batch()
        self._symbol_index = {symbol: index for index, symbol in enumerate(portfolio.instruments)}
        self._units = {currency: float(account.unit) for currency, account in portfolio.accounts.items()}
        self._unit_ratio = {currency: account.unit.as_integer_ratio() for currency, account in portfolio.accounts.items()}
        self._keys = array("q")
        self._fills: list[tuple[Any, ...]] = []
        self.decision_count = 0
        self.order_count = 0
        self.order_event_count = 0
        self.account_event_count = 0
        self.refused_count = 0

    def watch(self, lines: Mapping[str, Sequence[Line]]) -> None:
        """Record the last values of these lines with every decision on their symbol."""
        self._lines = lines

    # ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def decision(self, time: int, symbol: str, bar_close_time: int, price: float, action: str, why: str) -> int:
        """Note why something is asked for; return the decision's id."""
        self.decision_count = number = self.decision_count + 1
        self._batch.decisions.append(
            (number, time, self._strategy, symbol, bar_close_time, price, action, self._saw(symbol), why)
        )
        return number

    def _saw(self, symbol: str) -> str | None:
        lines = self._lines.get(symbol)
        if not lines:
            return None
        # NaN is not JSON; a line that is not warm yet shows as null.
        shown = [repr(line[-1]) if line and line[-1] == line[-1] else "null" for line in lines]
        return f"[{','.join(shown)}]"

    def order(self, order: Order) -> None:
        """Note an order as it was made."""
        self.order_count += 1
        instrument = order.instrument
        kind = order.type
        trail = order.trail_fraction
        if trail is None and order.trail_ticks is not None:
            trail = instrument.float_price(order.trail_ticks)
        self._batch.orders.append((
            order.id, order.decision_id, order.decided_at, order.symbol, _SIDE[order.side], kind.value,
            instrument.float_quantity(order.lots),
            None if order.limit_ticks is None else instrument.float_price(order.limit_ticks),
            None if order.stop_ticks is None or kind is OrderType.TRAILING_STOP else instrument.float_price(order.stop_ticks),
            trail, order.time_in_force.value, order.expire_at, order.post_only, order.reduce_only, order.parent_id, order.group,
        ))

    def order_event(self, order_id: int, time: int, kind: str, reason: str = "") -> None:
        """Note a step in an order's life."""
        self.order_event_count = number = self.order_event_count + 1
        self._batch.order_events.append((number, order_id, time, kind, reason))

    def fill(self, fill: Fill) -> None:
        """Note an execution, after it was booked, and that its order moved on."""
        order = fill.order
        instrument = order.instrument
        position = self._portfolio.positions[order.symbol]
        account = position.account
        numerator, denominator = self._unit_ratio[account.currency]
        row = (
            fill.id, order.id, fill.time, fill.bar_close_time, order.symbol, _SIDE[fill.side],
            instrument.float_price(fill.price_ticks), instrument.float_quantity(fill.lots), _LIQUIDITY[fill.liquidity],
            fill.fee_units * numerator / denominator, account.currency, instrument.float_price(fill.reference_ticks),
            fill.spread_cost, fill.slippage_cost, fill.impact_cost, instrument.float_quantity(position.lots),
            account.cash_units * numerator / denominator,
        )
        self._fills.append(row)
        self._batch.fills.append(row)
        self._keys.extend((
            self._symbol_index[order.symbol], fill.bar_close_time, fill.side, fill.price_ticks, fill.lots, fill.fee_units
        ))
        self.order_event(order.id, fill.time, "filled" if order.filled_lots == order.lots else "partially_filled")

    def account_event(self, time: int, kind: str, currency: str, amount: Decimal, note: str = "") -> None:
        """Note money that moved other than by a fill."""
        self.account_event_count = number = self.account_event_count + 1
        self._batch.account_events.append((number, time, kind, currency, float(amount), note))

    def equity(self, rows: list[tuple[Any, ...]]) -> None:
        """Note valuations."""
        self._batch.equity.extend(rows)

    # ── rows made elsewhere, in bulk and numbered from 1 ────────────────────────────────────────────────────────────────────

    def bulk_decisions(self, rows: list[tuple[Any, ...]]) -> None:
        self._batch.decisions.extend(rows)
        self.decision_count += len(rows)

    def bulk_orders(self, rows: list[tuple[Any, ...]]) -> None:
        self._batch.orders.extend(rows)
        self.order_count += len(rows)

    def bulk_order_events(self, rows: list[tuple[Any, ...]]) -> None:
        self._batch.order_events.extend(rows)
        self.order_event_count += len(rows)

    def bulk_fills(self, rows: list[tuple[Any, ...]], keys: IntArray) -> None:
        """Add fills, with their keys int64 [fills, 6]."""
        self._batch.fills.extend(rows)
        self._fills.extend(rows)
        self._keys.frombytes(np.ascontiguousarray(keys).tobytes())

    # ── handing over ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self) -> None:
        """Hand what was collected to the journal as one batch."""
        if self._batch_is_empty():
            return
        batch, self._batch = self._batch, Batch()
        if self._journal is not None:
            self._journal.write(batch)

    def _batch_is_empty(self) -> bool:
        batch = self._batch
        return not (batch.orders or batch.fills or batch.order_events or batch.decisions or batch.account_events or batch.equity)

    @property
    def fill_count(self) -> int:
        return len(self._fills)

    def fills(self) -> list[FillRow]:
        """Return every fill of the run."""
        return list(map(FillRow._make, self._fills))

    def fill_keys_from(self, first: int) -> IntArray:
        """Return the keys of the fills from the first-th on."""
        keys = self._keys[first * KEY_FIELDS :]
        return np.array(keys, dtype=np.int64).reshape(-1, KEY_FIELDS)

    def fill_keys(self) -> IntArray:
        """Return int64 [fills, 6]: symbol index, bar_close_time, side, price ticks, lots, fee units."""
        return np.frombuffer(self._keys, dtype=np.int64).reshape(-1, KEY_FIELDS).copy() if self._keys else np.empty((0, KEY_FIELDS), np.int64)
