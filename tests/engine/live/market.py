"""A small market for tests of live sessions: bars that come as inputs, and a venue that fills what it is sent."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from engine.bars import HOUR, Bar, Stream
from engine.live.core import LiveCore
from engine.live.inputs import BarsClosed, Input
from engine.live.session import Checkpoint, Recording, Session, SessionJournal, Timings
from engine.live.streams import LiveStreams
from engine.records import RunStart
from engine.strategy import Strategy
from engine.testing import Terms, parts_for

START = 19_723 * 24 * HOUR
BTC = "BTC/USDT"


def walk(count: int, *, symbol: str = BTC, seed: int = 3) -> list[Bar]:
    """Return hourly bars of a random walk, on increments of 0.01."""
    draws = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(draws.normal(0, 0.01, count))), 2)
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.round(np.maximum(opened, close) * 1.004, 2)
    low = np.round(np.minimum(opened, close) * 0.996, 2)
    return [
        Bar(symbol, START + row * HOUR, START + (row + 1) * HOUR, float(opened[row]), float(high[row]),
            float(low[row]), float(close[row]), 1e6, "1h")
        for row in range(count)
    ]


def closed(*bars: Bar, late: int = 0, is_history: bool = False) -> BarsClosed:
    """Return bars of one instant as an input, heard `late` nanoseconds after their close."""
    return BarsClosed(bars[0].close_time, bars[0].close_time + late, bars, is_history)


def instants(*streams: Sequence[Bar]) -> list[BarsClosed]:
    """Return the bars of several symbols as inputs, instant by instant."""
    return [closed(*together) for together in zip(*streams, strict=True)]


def run_start(strategy: str = "Test") -> RunStart:
    return RunStart("paper", strategy, {}, {}, "live", {}, started_at=START)


class Scripted:
    """An InputSource that gives what it was given, then nothing."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs: Iterator[Input] = iter(inputs)

    def take(self, timeout: float) -> Input | None:
        return next(self._inputs, None)


def simulated_session(
    strategy: Strategy, journal: SessionJournal, *, symbols: Sequence[str] = (BTC,), late_after: int = HOUR,
    now: Callable[[], int] = lambda: START, checkpoint: Checkpoint = lambda place: None, **terms: Any,
) -> Session:
    """Return a session whose orders fill from its bars, as in a backtest."""
    recording, timings = Recording(journal), Timings()
    feed = LiveStreams([Stream(symbol, "1h") for symbol in symbols])
    parts = parts_for(feed, strategy, Terms(cash=Decimal(10_000), **terms), journal=recording)
    core = LiveCore(parts, late_after=late_after)
    return Session(core, recording, timings=timings, now=now, checkpoint=checkpoint)
