"""Equity at every instant, derived afterwards from fills and closes: the loop itself never values anything."""

from collections.abc import Mapping, Sequence

import numpy as np

from engine.bars import Bars, FloatArray, IntArray, Stream, Timeframe
from engine.portfolio import Portfolio
from engine.results import EquityCurve
from engine.slices import dense_columns

CURVE_ROWS = 2000
"""About how many equity rows a run leaves in the journal."""


def base_streams(streams: tuple[Stream, ...]) -> dict[str, Stream]:
    """Return the stream of each symbol that orders meet and positions are valued at: its shortest timeframe."""
    base: dict[str, Stream] = {}
    for stream in streams:
        known = base.get(stream.symbol)
        if known is None or Timeframe.parse(stream.timeframe) < Timeframe.parse(known.timeframe):
            base[stream.symbol] = stream
    return base


_LARGEST = 4.0e18
"""Sums below it fit into int64."""

EquityRow = tuple[int, str, float, float, float]
Valued = tuple[IntArray, FloatArray, FloatArray, FloatArray]
"""Time, equity, cash and exposure of the instants of a chunk."""


class EquityTracker:
    """Values the portfolio chunk by chunk, in the currency results are reported in.

    Positions quoted in other currencies, and cash in them, are left out.

    Args:
        rows: how many bars there will be, if that is known: the curve is then written once, into its place.
    """

    def __init__(self, portfolio: Portfolio, streams: tuple[Stream, ...], rows: int | None = None) -> None:
        self._currency = portfolio.currency
        account = portfolio.accounts[self._currency]
        self._unit = float(account.unit)
        self._cash_units = account.cash_units
        self._base = base_streams(streams)
        self._symbols = tuple(portfolio.instruments)
        positions = [portfolio.positions[symbol] for symbol in self._symbols]
        self._value_units = np.array(
            [p.value_units if p.instrument.quote == self._currency else 0 for p in positions], dtype=np.int64
        )
        self._lot_value = np.array(
            [
                float(p.instrument.quantity_increment * p.instrument.multiplier)
                if p.instrument.quote == self._currency
                else 0.0
                for p in positions
            ]
        )
        self._lots = np.array([p.lots for p in positions], dtype=np.float64)
        self._closes = np.zeros(len(self._symbols))
        self._single = len(streams) == 1
        self._curve = CurveColumns(rows if self._single and rows is not None else 0)
        self._last: tuple[IntArray, FloatArray, FloatArray, FloatArray] | None = None

    def add(self, bars: Bars, keys: IntArray) -> None:
        """Value the instants of a chunk, given the fill keys (see RunResult) of the fills that happened in it."""
        if not len(bars):
            return
        time, equity, cash, value = self._one_stream(bars, keys) if self._single else self._many_streams(bars, keys)
        self._last = time, equity, cash, share_of(value, equity)
        self._curve.append(self._last)

    def _one_stream(self, bars: Bars, keys: IntArray) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        """Value by levels: between two fills quantity and cash stay what they are."""
        time, count = bars.close_time, len(bars)
        symbol, when, side, ticks, size, fee = keys.T
        row = np.minimum(np.searchsorted(time, when), count - 1)
        held_for = np.diff(row, prepend=0, append=count)
        lots = np.cumsum(np.concatenate([self._lots[:1], side * size]))
        self._lots = lots[-1:]
        cash = np.repeat(self._cash_levels(symbol, side, ticks, size, fee), held_for)
        value = np.repeat(lots, held_for)
        np.multiply(value, bars.close, out=value)
        np.multiply(value, self._lot_value[0], out=value)
        return self._finished(time, cash, value, bars.close[-1:])

    def _many_streams(self, bars: Bars, keys: IntArray) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        time, filled = closes_at_instants(bars, self._base, self._symbols, self._closes)
        lots, cash = self._steps(time, keys, len(time))
        value = (lots * filled * self._lot_value).sum(axis=1)
        return self._finished(time, cash, value, filled[-1])

    def _steps(self, time: IntArray, keys: IntArray, count: int) -> tuple[FloatArray, FloatArray]:
        """Return lots [instants, symbols] and cash [instants] after the fills of each instant."""
        if not len(keys):
            return np.broadcast_to(self._lots, (count, len(self._symbols))), np.full(count, self._cash(), np.float64)
        symbol, when, side, ticks, size, fee = keys.T
        row = np.minimum(np.searchsorted(time, when), count - 1)
        lots = np.zeros((count, len(self._symbols)))
        lots[0] = self._lots
        np.add.at(lots, (row, symbol), (side * size).astype(np.float64))
        np.cumsum(lots, axis=0, out=lots)
        self._lots = lots[-1].copy()
        cash = self._cash_levels(symbol, side, ticks, size, fee)
        # The last fill of a row decides the cash at it; rows between fills repeat the one before.
        return lots, cash[np.searchsorted(row, np.arange(count), side="right")]

    def _cash(self) -> float:
        return float(self._cash_units) * self._unit

    def _cash_levels(
        self, symbol: IntArray, side: IntArray, ticks: IntArray, size: IntArray, fee: IntArray
    ) -> FloatArray:
        """Return the cash before the first of some fills and after each of them, [fills + 1]."""
        value_units = self._value_units[symbol]
        if float(np.abs(ticks.astype(np.float64) * size * value_units).sum()) + abs(self._cash_units) <= _LARGEST:
            units = np.where(value_units != 0, -side * ticks * size * value_units - fee, 0)
            levels = np.cumsum(np.concatenate([np.array([self._cash_units]), units]))
            self._cash_units = int(levels[-1])
            return np.asarray(levels * self._unit, np.float64)
        totals = [self._cash_units]  # sums that do not fit into int64
        columns = (value_units.tolist(), side.tolist(), ticks.tolist(), size.tolist(), fee.tolist())
        for value, sign, price, lots, charged in zip(*columns, strict=True):
            totals.append(totals[-1] - (sign * price * lots * value + charged if value else 0))
        self._cash_units = totals[-1]
        return np.array([float(total) for total in totals]) * self._unit

    def _finished(
        self, time: IntArray, cash: FloatArray, value: FloatArray, closes: FloatArray
    ) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        self._closes = np.array(closes, dtype=np.float64)
        return time, cash + value, cash, value

    def rows(self, total: int | None) -> list[EquityRow]:
        """Return the journal rows of the chunk added last: about CURVE_ROWS over the whole run.

        Args:
            total: how many bars the run has; None if nobody knows, then every chunk leaves its last instant.
        """
        return [] if self._last is None else thinned_rows(self._last, len(self._curve), total, self._currency)

    def curve(self) -> EquityCurve:
        """Return the whole curve."""
        return EquityCurve(self._currency, *self._curve.whole())


def closes_at_instants(
    bars: Bars, base: Mapping[str, Stream], symbols: Sequence[str], before: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Return the instants of a chunk, int64 [instants], and the last close of every symbol at each, float64 [instants,
    symbols].

    Args:
        base: the stream that each symbol is valued by.
        before: the last close of every symbol before the chunk, [symbols].
    """
    time = bars.close_time[np.flatnonzero(np.diff(bars.close_time, prepend=bars.close_time[:1] - 1))]
    closes = np.full((len(time), len(symbols)), np.nan)
    places = {symbol: place for place, symbol in enumerate(symbols)}
    for timeframe in dict.fromkeys(stream.timeframe for stream in base.values()):
        here = tuple(s for s in symbols if s in base and base[s].timeframe == timeframe)
        rows = bars if set(bars.streams) <= set(base.values()) else _only(bars, set(base.values()))
        dense = dense_columns(rows, timeframe, here)
        closes[np.searchsorted(time, dense.time)[:, None], [places[symbol] for symbol in here]] = dense.close
    return time, _forward_filled(closes, before)


def thinned_rows(last: Valued, total_so_far: int, total: int | None, currency: str) -> list[EquityRow]:
    """Return journal rows of the values of a chunk, about CURVE_ROWS over the whole run.

    Args:
        total_so_far: instants of the run with the chunk's; total: bars of the whole run, None if nobody knows.
    """
    time, equity, cash, exposure = last
    step = max(1, (total or len(time)) // CURVE_ROWS)
    first = -(total_so_far - len(time)) % step
    places = np.unique(np.append(np.arange(first, len(time), step), len(time) - 1))
    return list(
        zip(
            time[places].tolist(),
            [currency] * len(places),
            equity[places].tolist(),
            cash[places].tolist(),
            exposure[places].tolist(),
            strict=True,
        )
    )


class CurveColumns:
    """Time, equity, cash and exposure, growing; in one piece from the start where the length is known."""

    def __init__(self, rows: int) -> None:
        self._time = np.empty(rows, np.int64)
        self._values = np.empty((3, rows))
        self._count = 0

    def append(self, part: tuple[IntArray, FloatArray, FloatArray, FloatArray]) -> None:
        end = self._count + len(part[0])
        if end > len(self._time):  # twice as long, so that growing costs little in all
            longer = max(end, 2 * len(self._time))
            self._time = np.concatenate([self._time[: self._count], np.empty(longer - self._count, np.int64)])
            self._values = np.concatenate([self._values[:, : self._count], np.empty((3, longer - self._count))], axis=1)
        self._time[self._count : end] = part[0]
        for place, values in enumerate(part[1:]):
            self._values[place, self._count : end] = values
        self._count = end

    def __len__(self) -> int:
        return self._count

    def whole(self) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
        equity, cash, exposure = self._values[:, : self._count]
        return self._time[: self._count], equity, cash, exposure


def share_of(value: FloatArray, equity: FloatArray) -> FloatArray:
    """Return value ÷ equity, 0 where there is no equity."""
    if equity.all():
        return np.asarray(value / equity)
    return np.divide(value, equity, out=np.zeros_like(value), where=equity != 0)


def _only(bars: Bars, streams: set[Stream]) -> Bars:
    assert bars.stream is not None
    keep = np.array([stream in streams for stream in bars.streams])[bars.stream]
    kept = tuple(stream for stream in bars.streams if stream in streams)
    renumbered = np.array([kept.index(s) if s in streams else -1 for s in bars.streams], np.int32)
    rows = np.flatnonzero(keep)
    return Bars(
        kept,
        bars.open_time[rows],
        bars.close_time[rows],
        bars.open[rows],
        bars.high[rows],
        bars.low[rows],
        bars.close[rows],
        bars.volume[rows],
        renumbered[bars.stream[rows]],
    )


def _forward_filled(matrix: FloatArray, before: FloatArray) -> FloatArray:
    """Return the matrix [instants, symbols] with NaNs replaced by the value above, the first row's by `before`."""
    if not np.isnan(matrix).any():
        return matrix
    known = np.vstack([before, matrix])
    source = np.where(np.isnan(known), 0, np.arange(len(known))[:, None])
    np.maximum.accumulate(source, axis=0, out=source)
    return np.asarray(np.take_along_axis(known, source, axis=0)[1:])
