"""Equity at every instant of a run with a margin account or several currencies, derived from fills and cash moved.

A contract has no cash leg, and yet one sum does for all: what was paid for an open quantity is either gone from cash
(spot) or set against its value (contracts). The sums are whole currency units; rates are float64.
"""

from collections.abc import Callable

import numpy as np

from engine.bars import Bars, FloatArray, IntArray, Stream
from engine.conversion import no_rate
from engine.portfolio import Portfolio
from engine.results import EquityCurve
from engine.valuation import (
    CurveColumns,
    EquityRow,
    EquityTracker,
    Valued,
    base_streams,
    closes_at_instants,
    share_of,
    thinned_rows,
)

MovesFrom = Callable[[int], list[tuple[int, int, int]]]
"""Gives (time, number of the account, units) of the cash moved other than by fills, from the n-th on."""
MarksAt = Callable[[str, IntArray], FloatArray | None]
"""Gives the mark price of a symbol known at each instant, NaN before the first; None if there are none."""


def tracker_for(
    portfolio: Portfolio,
    streams: tuple[Stream, ...],
    rows: int | None,
    moves_from: MovesFrom,
    marks_at: MarksAt | None,
    *,
    is_charged: bool,
) -> "EquityTracker | AccountsTracker":
    """Return what values a run's books: the quick one for a cash account in one currency that fills alone change.

    Args:
        is_charged: whether cash may move other than by fills.
    """
    if portfolio.is_plain and not is_charged:
        return EquityTracker(portfolio, streams, rows)
    return AccountsTracker(portfolio, streams, moves_from, marks_at)


class AccountsTracker:
    """Values accounts and positions chunk by chunk, in the currency results are reported in."""

    def __init__(
        self,
        portfolio: Portfolio,
        streams: tuple[Stream, ...],
        moves_from: MovesFrom,
        marks_at: MarksAt | None = None,
    ) -> None:
        self._portfolio = portfolio
        self._moves_from = moves_from
        self._marks_at = marks_at
        self._moves_seen = 0
        self._base = base_streams(streams)
        self._symbols = tuple(portfolio.instruments)
        self._positions = [portfolio.positions[symbol] for symbol in self._symbols]
        accounts = list(portfolio.accounts.values())
        self._account_of = [accounts.index(position.account) for position in self._positions]
        self._units = [float(account.unit) for account in accounts]
        self._sums = [account.cash_units for account in accounts]
        """Of each account: opening cash, less what was paid for everything, contracts too."""
        self._lots = [0] * len(self._symbols)
        self._costs = [0] * len(self._symbols)
        """Of each contract: what its open quantity was bought for, in units, signed as the quantity."""
        self._closes = np.full(len(self._symbols), np.nan)
        self._curve = CurveColumns(0)
        self._last: Valued | None = None

    def add(self, bars: Bars, keys: IntArray) -> None:
        """Value the instants of a chunk, given the fill keys (see RunResult) of the fills that happened in it."""
        if not len(bars):
            return
        time, closes = closes_at_instants(bars, self._base, self._symbols, self._closes)
        self._closes = closes[-1].copy()
        lots, sums, cash = self._steps(time, keys)
        rates = self._rates(time, closes, sums, lots)
        prices = self._marked(time, closes)
        equity, value, own_cash = (np.zeros(len(time)) for _ in range(3))
        for place, position in enumerate(self._positions):
            size = float(position.instrument.quantity_increment * position.instrument.multiplier)
            worth = np.where(lots[:, place] != 0, lots[:, place] * np.nan_to_num(prices[:, place]) * size, 0.0)
            value += worth * rates[self._account_of[place]]
        for number, unit in enumerate(self._units):
            equity += sums[:, number] * unit * rates[number]
            own_cash += cash[:, number] * unit * rates[number]
        self._last = time, equity + value, own_cash, share_of(value, equity + value)
        self._curve.append(self._last)

    def _steps(self, time: IntArray, keys: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return lots [instants, symbols], and sums and cash [instants, accounts], after everything up to each
        instant.

        Sums are counted as Python integers, and turned into floats only when they are whole.
        """
        happened: list[tuple[int, int, tuple[int, ...]]] = []
        for symbol, when, side, ticks, size, fee in keys.tolist():
            happened.append((self._row(time, when), 0, (symbol, side, ticks, size, fee)))
        moves = self._moves_from(self._moves_seen)
        self._moves_seen += len(moves)
        happened.extend((self._row(time, when), 1, (number, units)) for when, number, units in moves)
        happened.sort(key=lambda entry: entry[0])  # stable: fills of a row stay in their order
        lots = np.empty((len(time), len(self._symbols)))
        sums, cash = (np.empty((len(time), len(self._sums))) for _ in range(2))
        starts = [0]
        for row, what, terms in happened:
            if row > starts[-1]:
                self._fill_rows(lots, sums, cash, starts[-1], row)
                starts.append(row)
            if what:
                number, units = terms
                self._sums[number] += units
            else:
                self._book(*terms)
        self._fill_rows(lots, sums, cash, starts[-1], len(time))
        return lots, sums, cash

    def _fill_rows(self, lots: FloatArray, sums: FloatArray, cash: FloatArray, start: int, end: int) -> None:
        """Write the present state into the rows from start to end."""
        lots[start:end] = self._lots
        sums[start:end] = self._sums
        own = list(self._sums)
        for place, cost in enumerate(self._costs):
            own[self._account_of[place]] += cost
        cash[start:end] = own

    @staticmethod
    def _row(time: IntArray, when: int) -> int:
        return min(int(np.searchsorted(time, when)), len(time) - 1)

    def _book(self, symbol: int, side: int, ticks: int, size: int, fee: int) -> None:
        position = self._positions[symbol]
        notional = ticks * size * position.value_units
        self._sums[self._account_of[symbol]] -= side * notional + fee
        held = self._lots[symbol]
        self._lots[symbol] = held + side * size
        if not position.instrument.is_contract:
            return
        cost = abs(self._costs[symbol])
        if held * side >= 0:
            self._costs[symbol] = side * (cost + notional)
            return
        closing = min(size, abs(held))
        cost -= cost * closing // abs(held)  # as the books do
        if size > closing:
            cost, held = ticks * (size - closing) * position.value_units, -held
        self._costs[symbol] = cost if held > 0 else -cost

    def _marked(self, time: IntArray, closes: FloatArray) -> FloatArray:
        """Return what positions are valued at: marks where there are any, else closes."""
        if self._marks_at is None:
            return closes
        prices = closes.copy()
        for place, symbol in enumerate(self._symbols):
            marks = self._marks_at(symbol, time)
            if marks is not None:
                prices[:, place] = np.where(np.isnan(marks), closes[:, place], marks)
        return prices

    def _rates(self, time: IntArray, closes: FloatArray, sums: FloatArray, lots: FloatArray) -> list[FloatArray]:
        """Return the rate of each account's currency into the reporting one at every instant; 0 where nothing is to be
        converted."""
        portfolio, target = self._portfolio, self._portfolio.currency
        found = []
        for number, currency in enumerate(portfolio.accounts):
            rate = np.ones(len(time))
            if currency != target:
                held = [place for place, account in enumerate(self._account_of) if account == number]
                is_needed = (sums[:, number] != 0) | (lots[:, held] != 0).any(axis=1)
                conversion = portfolio.conversion
                if conversion is None:
                    is_needed[:] = False  # each currency is valued alone
                rate = np.where(is_needed, rate, 0.0)
                for symbol, is_inverse in conversion.route(currency, target) if conversion and is_needed.any() else ():
                    column = closes[:, self._symbols.index(symbol)]
                    if np.isnan(column[is_needed]).any():
                        raise no_rate(currency, target, symbol)
                    rate = rate * np.nan_to_num(1.0 / column if is_inverse else column)
            found.append(rate)
        return found

    def rows(self, total: int | None) -> list[EquityRow]:
        """Return the journal rows of the chunk added last: about CURVE_ROWS over the whole run.

        Args:
            total: how many bars the run has; None if nobody knows.
        """
        if self._last is None:
            return []
        return thinned_rows(self._last, len(self._curve), total, self._portfolio.currency)

    def curve(self) -> EquityCurve:
        """Return the whole curve."""
        return EquityCurve(self._portfolio.currency, *self._curve.whole())
