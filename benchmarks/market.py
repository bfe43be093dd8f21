"""The made-up prices that are run over: plain random walks, so that any engine can be given the same arrays.

Prices lie on increments of 0.01; a bar opens at the close before. The volume is so large that our cap of a tenth of a
bar's volume never binds: every market order fills whole at the next open, in every engine.
"""

import numpy as np

from engine.bars import HOUR, MINUTE, Bars, FloatArray, IntArray, Stream

SYMBOL = "BTC/USDT"
START = 1_704_067_200_000_000_000
"""2024-01-01 UTC."""

SEED = 12
"""One at which the averages first cross after bar 50: backtesting.py shows a strategy its first bar one later than
others do."""


def reference_bars(rows: int) -> Bars:
    """Return one-minute bars of one symbol from about 30 000; a shorter market is the beginning of a longer one."""
    steps = np.random.default_rng(SEED).normal(0.0, 5e-4, rows)
    return _bars((Stream(SYMBOL, "1m"),), 30_000 * np.exp(np.cumsum(steps))[:, None], MINUTE)


def panel_bars(symbols: int, instants: int) -> Bars:
    """Return hourly bars of many symbols, every one of them present at every instant."""
    steps = np.random.default_rng(SEED).normal(0.0, 5e-3, (instants, symbols))
    streams = tuple(Stream(f"S{place:03d}/USDT", "1h") for place in range(symbols))
    return _bars(streams, 100 * np.exp(np.cumsum(steps, axis=0)), HOUR)


def _bars(streams: tuple[Stream, ...], walk: FloatArray, duration: int) -> Bars:
    """Return bars from closes [instants, symbols]."""
    instants, symbols = walk.shape
    close = np.maximum(np.round(walk, 2), 0.02)
    open_ = np.vstack([close[:1], close[:-1]])
    high = np.round(np.maximum(open_, close) + 0.01, 2)
    low = np.round(np.minimum(open_, close) - 0.01, 2)
    open_time = np.repeat(START + np.arange(instants, dtype=np.int64) * duration, symbols)
    open_, high, low, close = (np.ascontiguousarray(column.reshape(-1)) for column in (open_, high, low, close))
    volume = np.full(len(open_time), 1e9)
    stream = None if symbols == 1 else np.tile(np.arange(symbols, dtype=np.int32), instants)
    return Bars(streams, open_time, open_time + duration, open_, high, low, close, volume, stream)


def row_of(bars: Bars, close_times: IntArray) -> list[int]:
    """Return the rows of one-minute bars that close at these times."""
    return list(((close_times - int(bars.close_time[0])) // MINUTE).tolist())
