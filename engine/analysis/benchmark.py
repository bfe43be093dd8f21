"""What doing nothing clever would have made: buy and hold, without costs."""

from dataclasses import dataclass

import numpy as np

from engine.analysis.symbols import bars_by_symbol
from engine.bars import Bars, FloatArray, IntArray


@dataclass(frozen=True)
class Benchmark:
    """The value of 1 unit of money held in something else. `value` has the shape [instants] and starts at 1."""

    name: str
    value: FloatArray


def buy_and_hold(bars: Bars, time: IntArray) -> Benchmark | None:
    """Return buy and hold of every symbol in `bars`, in equal parts, valued at the instants of `time`.

    Each part is spent at its symbol's first close and never touched again: not rebalanced, no fee, no slippage. Until
    that close it is cash, and once a symbol stops trading its last close stays. None if there is nothing to hold.
    """
    closes = {name: (rows.close_time, rows.close) for name, rows in bars_by_symbol(bars).items() if len(rows)}
    return hold_closes(closes, time)


def hold_closes(closes: dict[str, tuple[IntArray, FloatArray]], time: IntArray) -> Benchmark | None:
    """Do as `buy_and_hold` does, from symbol → (close times, closes), for bars that were streamed rather than kept."""
    if not closes or not len(time):
        return None
    total = np.zeros(len(time))
    for close_time, close in closes.values():
        if len(close_time) == len(time) and np.array_equal(close_time, time):
            total += close / close[0]
            continue
        known = np.searchsorted(close_time, time, side="right") - 1
        total += np.where(known >= 0, close[np.maximum(known, 0)] / close[0], 1.0)
    names = list(closes)
    name = f"buy & hold {names[0]}" if len(names) == 1 else f"equal-weight buy & hold of {len(names)} symbols"
    return Benchmark(name, total / len(names))
