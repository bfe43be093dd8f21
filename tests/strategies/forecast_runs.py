"""Runs of strategies that act on forecasts: models and policies that say what a test tells them to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import Strategy
from engine.bars import HOUR, Bars, FloatArray
from engine.costs import MakerTakerFees
from engine.forecasting.book import ForecastTerms
from engine.forecasting.skill import SkillRule
from engine.forecasting.testing import spec_of
from engine.forecasts import Forecaster, ForecastKind, Forecasts, ForecastSpec, Windows
from engine.journal.memory import MemoryJournal
from engine.loop import Engine
from engine.policies import Memory, Policy, PolicySpec, PolicyStep
from engine.records import DecisionForecastRow, DecisionRow, FillRow
from engine.semantics import Switches
from engine.testing import NEW_YEAR_2024, Terms, make_bars, parts_for
from feeds.memory import MemoryFeed


def hourly(closes: Sequence[float] | FloatArray, symbol: str = "BTC/USD") -> Bars:
    """Return bars that open at the close before."""
    values = [float(close) for close in closes]
    opens = [values[0], *values[:-1]]
    rows = [[o, max(o, c), min(o, c), c] for o, c in zip(opens, values, strict=True)]
    return make_bars(rows, symbol=symbol, timeframe="1h")


def hour_of(time: int) -> int:
    """Return which bar, from 0, closed at a time."""
    return (time - NEW_YEAR_2024) // HOUR - 1


def kind_of(kind: ForecastKind, **changes: Any) -> ForecastSpec:
    """Return a spec over hourly bars: a window of two, a horizon of three."""
    return spec_of(kind, timeframe="1h", lookback=2, horizon=3, is_deterministic=True, **changes)


class Says:
    """A model that answers with what `says(symbol, bar)` returns, of the spec's shape."""

    def __init__(self, spec: ForecastSpec, says: Callable[[str, int], npt.ArrayLike]) -> None:
        self.spec = spec
        self._says = says

    def forecast(self, windows: Windows) -> Forecasts:
        answers = [
            np.broadcast_to(np.asarray(self._says(symbol, hour_of(int(time))), np.float32), self.spec.shape)
            for symbol, time in zip(windows.symbols, windows.as_of, strict=True)
        ]
        return Forecasts(np.stack(answers))


def paths_to(closes: Callable[[str, int], Sequence[float]], samples: int) -> Says:
    """Return a model of sample paths that all go to given closes at once."""
    spec = kind_of(ForecastKind.PATHS, samples=samples)

    def paths(symbol: str, bar: int) -> npt.NDArray[np.float32]:
        ends = np.asarray(closes(symbol, bar), np.float32)
        return np.broadcast_to(ends[:, None, None], (samples, 3, 6))

    return Says(spec, paths)


class CountingPolicy:
    """Wishes for the first input; remembers how often it was asked, and what it was told is held."""

    def __init__(self, inputs: tuple[str, ...], reads: str = "") -> None:
        self.spec = PolicySpec("head", inputs, reads=reads)
        self.told: list[list[float]] = []
        self.intervals: set[int] = set()

    def step(
        self, features: npt.NDArray[np.float32], memories: Sequence[Memory | None], held: FloatArray, time: int,
        interval: int, symbols: Sequence[str],
    ) -> PolicyStep:
        self.told.append(held.tolist())
        self.intervals.add(interval)
        after = tuple({"steps": (memory or {"steps": 0})["steps"] + 1} for memory in memories)
        restarted = tuple(memory is not None and memory["steps"] == 2 for memory in memories)
        return PolicyStep(features[:, 0].astype(np.float64), after, restarted)


@dataclass(frozen=True)
class Ran:
    """What a run left behind. Bars are counted from 0."""

    fills: list[FillRow]
    decisions: list[tuple[int, str, str]]
    """(bar, action, why)"""
    fills_hash: str
    based_on: int
    """Links from decisions to forecasts."""

    @property
    def trades(self) -> list[tuple[str, str, int]]:
        """(side, symbol, bar in which it was filled)"""
        return [(fill.side, fill.symbol, hour_of(fill.bar_close_time)) for fill in self.fills]

    @property
    def actions(self) -> list[tuple[int, str]]:
        """(bar decided at, what was asked)"""
        return [(bar, action) for bar, action, _ in self.decisions]


def run(
    strategy: Strategy, bars: Sequence[Bars], models: Mapping[str, Forecaster], *,
    policies: Mapping[str, Policy] | None = None, fee: str = "0", mode: str = "auto", latency: int = 0,
    skill: Mapping[str, SkillRule] | None = None,
) -> Ran:
    """Run a strategy over bars with some models; nothing is rounded or capped."""
    journal = MemoryJournal()
    fees = MakerTakerFees(Decimal(fee), Decimal(fee))
    terms = Terms(fees=fees, switches=Switches(volume_cap=None))
    parts = parts_for(MemoryFeed(bars), strategy, terms, journal=journal)
    parts = replace(
        parts, forecasters=models, policies=policies or {}, mode=mode,
        forecast_terms=ForecastTerms(latency=dict.fromkeys(models, latency), skill=skill or {}),
    )
    result = Engine(parts).run()
    with journal.snapshot() as reader:
        rows, links = reader.rows(DecisionRow, 1), reader.rows(DecisionForecastRow, 1)
    decisions = [(hour_of(row.bar_close_time), row.action, row.why) for row in rows]
    return Ran(result.fills, decisions, result.fills_hash, len(links))
