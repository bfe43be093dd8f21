"""Bars to learn from, made up."""

from collections.abc import Sequence

import numpy as np

from engine.bars import HOUR, Bars, Stream, Timeframe

NAMES = ("open", "high", "low", "close", "volume")


def bars_of(series: Sequence[tuple[str, str, np.ndarray, np.ndarray]]) -> Bars:
    """Return bars of (symbol, timeframe, open times, [rows, 5])."""
    streams = tuple(Stream(symbol, frame) for symbol, frame, _, _ in series)
    opens = np.concatenate([times for *_, times, _ in series])
    lengths = [Timeframe.parse(frame).duration for _, frame, _, _ in series]
    codes = np.repeat(np.arange(len(series)), [len(times) for *_, times, _ in series])
    closes = opens + np.array(lengths)[codes]
    values = np.concatenate([rows for *_, rows in series])
    order = np.lexsort((codes, closes))
    columns = [np.ascontiguousarray(values[order, place]) for place in range(5)]
    return Bars(streams, opens[order], closes[order], *columns, codes[order].astype(np.int32))


def walk(rows: int, seed: int, drift: np.ndarray | float = 0.0) -> np.ndarray:
    """Return bars [rows, 5] of a random walk."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows) + drift))
    open_ = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.003, rows)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.003, rows)))
    return np.stack([open_, high, low, close, rng.lognormal(3, 1, rows)], axis=1)


def resampled(times: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return bars of `count` bars each."""
    whole = len(rows) // count * count
    of = rows[:whole].reshape(-1, count, 5)
    values = [of[:, 0, 0], of[..., 1].max(1), of[..., 2].min(1), of[:, -1, 3], of[..., 4].sum(1)]
    return times[:whole:count], np.stack(values, axis=1)


def market(
    symbols: Sequence[str] = ("BTC/USDT", "ETH/USDT"), rows: int = 600, *, slow: int = 0, seed: int = 0, gap: int = 0
) -> Bars:
    """Return hourly bars of symbols, and if `slow` those of so many hours.

    Args:
        gap: the row of the second symbol at which 30 hours are missing; 0 for none.
    """
    series = []
    for place, symbol in enumerate(symbols):
        times = np.arange(rows, dtype=np.int64) * HOUR
        values = walk(rows, seed + place)
        if gap and place == 1:
            keep = (np.arange(rows) < gap) | (np.arange(rows) >= gap + 30)
            times, values = times[keep], values[keep]
        series.append((symbol, "1h", times, values))
        if slow:
            series.append((symbol, f"{slow}h", *resampled(times, values, slow)))
    return bars_of(series)
