"""Finer bars inside coarse ones, for `path="detail"`: they tell the order of prices that a coarse bar leaves open."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.bars import FORWARD_FILLED, Bar, Bars
from engine.errors import SettingsError
from engine.instruments import Instrument
from engine.interfaces import Detail


class DetailCount(NamedTuple):
    """Bars in which orders may have acted: those that finer bars resolved, and those that were taken at their worst."""

    resolved: int
    worst: int


class DetailReader:
    """Splits bars into finer ones where the run has them, and counts where it has not.

    Args:
        detail: None: every bar is taken as it is, and counted.
    """

    def __init__(self, detail: Detail | None) -> None:
        self._detail = detail
        self._resolved = 0
        self._worst = 0

    @property
    def count(self) -> DetailCount:
        return DetailCount(self._resolved, self._worst)

    def parts(self, bar: Bar, instrument: Instrument) -> Sequence[Bar]:
        """Return the finer bars of a bar, in order of time; the bar itself where there are none that make it up.

        They make it up if they lie within it and have its open, high, low and close, in the instrument's increments.
        A span without trades has no finer bar: the first is taken to begin with the bar, the last to end with it.
        """
        finer: Bars | None = None
        if self._detail is not None:
            finer = self._detail.bars_within(bar.symbol, bar.open_time, bar.close_time)
        if finer is None or not _make_up(bar, finer, instrument):
            self._worst += 1
            return (bar,)
        self._resolved += 1
        rows = [row for row in finer.rows() if not row.flags & FORWARD_FILLED]
        rows[0] = rows[0]._replace(open_time=bar.open_time)
        rows[-1] = rows[-1]._replace(close_time=bar.close_time)
        return rows


def _make_up(bar: Bar, finer: Bars, instrument: Instrument) -> bool:
    within = finer.open_time[0] >= bar.open_time and finer.close_time[-1] <= bar.close_time
    if len(finer) < 2 or not within or (finer.flags is not None and (finer.flags & FORWARD_FILLED).all()):
        return False
    pairs = (
        (finer.open[0], bar.open),
        (finer.high.max(), bar.high),
        (finer.low.min(), bar.low),
        (finer.close[-1], bar.close),
    )
    return all(instrument.to_ticks(float(one)) == instrument.to_ticks(other) for one, other in pairs)


class DetailBars:
    """Finer bars in memory; a Detail.

    Args:
        bars: of each symbol, one stream each, oldest first.
    Raises:
        SettingsError: a symbol has bars of several streams.
    """

    def __init__(self, bars: Mapping[str, Bars]) -> None:
        for symbol, each in bars.items():
            if len(each.streams) != 1:
                names = ", ".join(f"{stream.symbol} {stream.timeframe}" for stream in each.streams)
                raise SettingsError(f"detail of {symbol} has the streams {names}; expected one of them")
        self._bars = dict(bars)

    def bars_within(self, symbol: str, open_time: int, close_time: int) -> Bars | None:
        bars = self._bars.get(symbol)
        if bars is None:
            return None
        first = int(np.searchsorted(bars.open_time, open_time))
        last = int(np.searchsorted(bars.close_time, close_time, side="right"))
        return bars[first:last] if first < last else None
