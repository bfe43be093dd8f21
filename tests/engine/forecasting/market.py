"""Bars and strategies that the tests of forecasts share."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine import Bar, Bars, Strategy, Stream
from engine.bars import HOUR
from engine.forecasting.handles import ForecastPanel
from engine.forecasts import Forecast
from engine.testing import NEW_YEAR_2024, make_bars


def walk(count: int = 200, *, seed: int = 1, symbol: str = "TEST", timeframe: str = "1h") -> Bars:
    """Return a random walk that opens where it closed."""
    generator = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(generator.normal(0, 0.01, count))), 2)
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = np.round(generator.exponential(0.3, (2, count)), 2)
    high, low = np.maximum(open_, close) + spread[0], np.minimum(open_, close) - spread[1]
    volume = np.round(generator.exponential(1e7, count) + 1e6, 2)
    return make_bars(
        np.column_stack([open_, high, low, close, volume]).tolist(), symbol=symbol, timeframe=timeframe
    )


def side_by_side(parts: Sequence[Bars]) -> Bars:
    """Return several streams as one set of bars, in time order; equal times in the order given."""
    streams = tuple(part.streams[0] for part in parts)
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("open_time", "close_time", "open", "high", "low", "close", "volume")
    }
    places = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int32)
    order = np.lexsort((places, columns["close_time"]))
    return Bars(streams, **{name: column[order] for name, column in columns.items()}, stream=places[order])


def without(bars: Bars, rows: Sequence[int]) -> Bars:
    """Return bars of one stream with some of them missing."""
    keep = np.setdiff1d(np.arange(len(bars)), rows)
    names = ("open_time", "close_time", "open", "high", "low", "close", "volume")
    return Bars(bars.streams, *(getattr(bars, name)[keep] for name in names))


def hours(time: int) -> float:
    """Return a time as hours since the bars began."""
    return (time - NEW_YEAR_2024) / HOUR


class OneInstantAtATime:
    """Yields the bars of one instant after another and can say nothing ahead, as a live feed does."""

    row_count = None
    fingerprint = "live"

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self.streams = bars.streams

    def chunks(self) -> Iterator[Bars]:
        times = self._bars.close_time
        starts = np.flatnonzero(np.diff(times, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], len(times)], strict=True):
            yield self._bars[start:end]

    def column(self, stream: Stream, field: str) -> None:
        return None


class Follows(Strategy):
    """Holds what a model expects to rise, and remembers everything it was told."""

    def __init__(self, every: str = "bar", model: str = "model", symbols: Sequence[str] | None = None) -> None:
        super().__init__()
        self.every, self.model, self.wanted_symbols = every, model, symbols
        self.seen: list[Forecast] = []
        self.told_at: list[int] = []

    def on_start(self) -> None:
        self.its = self.forecasts(self.model, every=self.every, symbols=self.wanted_symbols)

    def on_forecast(self, forecast: Forecast) -> None:
        self.seen.append(forecast)
        self.told_at.append(self.now)
        self.target(forecast.symbol, 0.5 if forecast.strength > 0 else 0.0, why="follows")


class FollowsPanel(Follows):
    """Holds the best of all symbols."""

    panels: list[ForecastPanel]

    def on_start(self) -> None:
        super().on_start()
        self.panels = []

    def on_forecast(self, forecast: Forecast) -> None:
        self.seen.append(forecast)
        self.told_at.append(self.now)

    def on_forecasts(self, panel: ForecastPanel) -> None:
        self.panels.append(panel)
        best = panel.ranked()[0].symbol
        for forecast in panel:
            self.target(forecast.symbol, 0.8 if forecast.symbol == best else 0.0, why="rank")


class FollowsOnBars(Follows):
    """The same as Follows, and looks at every bar, so that none can be skipped."""

    def on_bar(self, bar: Bar) -> None:
        pass
