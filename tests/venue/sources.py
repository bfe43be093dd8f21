"""What the venue plays: bars from files, from a synthetic market, or made in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

import engine.bars
from engine.bars import Timeframe
from feeds.files import read_bars
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from tests.venue.candles import Bars
from tests.venue.instruments import Instrument

_MS = 1_000_000


@dataclass(frozen=True)
class Columns:
    """Bars of one symbol: open times in milliseconds, float64 prices and volumes."""

    open_time: npt.NDArray[np.int64]
    open: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    close: npt.NDArray[np.float64]
    volume: npt.NDArray[np.float64]

    def in_increments(self, instrument: Instrument) -> Bars:
        """Return them as the instrument counts them, each the nearest."""
        tick = float(instrument.price_increment)
        lot = float(instrument.quantity_increment * instrument.contract_size)
        opened, high, low, close = (np.maximum(1, np.rint(column / tick)).astype(np.int64)
                                    for column in (self.open, self.high, self.low, self.close))
        return Bars(self.open_time, opened, high, low, close, np.rint(self.volume / lot).astype(np.int64))


@dataclass(frozen=True)
class MarketData:
    """Bars of several symbols, of one duration in milliseconds.

    Raises:
        ValueError: a bar does not open at a multiple of the duration, or bars are not in order.
    """

    columns: Mapping[str, Columns]
    duration: int

    def __post_init__(self) -> None:
        for symbol, columns in self.columns.items():
            times = columns.open_time
            if len(times) == 0 or (times % self.duration).any() or (np.diff(times) <= 0).any():
                raise ValueError(f"{symbol}: the venue plays one or more bars that open at multiples of "
                                 f"{self.duration} ms, in order of time")

    def named(self, names: Mapping[str, str]) -> MarketData:
        """Return the same bars under other symbols: new name → old name."""
        return MarketData({new: self.columns[old] for new, old in names.items()}, self.duration)

    def shifted(self, milliseconds: int) -> MarketData:
        """Return the same bars, later."""
        return MarketData({symbol: Columns(c.open_time + milliseconds, c.open, c.high, c.low, c.close, c.volume)
                           for symbol, c in self.columns.items()}, self.duration)


def from_bars(bars: engine.bars.Bars) -> MarketData:
    """Return the bars of our own kind, all of one timeframe."""
    duration = Timeframe.parse(bars.streams[0].timeframe).duration // _MS
    columns = {}
    for place, stream in enumerate(bars.streams):
        rows = slice(None) if bars.stream is None else np.flatnonzero(bars.stream == place)
        columns[stream.symbol] = Columns(
            np.asarray(bars.open_time[rows]) // _MS,
            *(np.asarray(getattr(bars, name)[rows]) for name in ("open", "high", "low", "close", "volume")))
    return MarketData(columns, duration)


def from_files(paths: Mapping[str, str | Path], *, timeframe: str | None = None) -> MarketData:
    """Read Parquet, Feather or CSV files of bars: symbol → path."""
    parts = [from_bars(read_bars(path, symbol=symbol, timeframe=timeframe)) for symbol, path in paths.items()]
    return MarketData({symbol: columns for part in parts for symbol, columns in part.columns.items()},
                      parts[0].duration)


def synthetic(symbols: Sequence[str] = ("BTC/USDT", "ETH/USDT"), *, timeframe: str = "1m", rows: int = 2000,
              seed: int = 0, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> MarketData:
    """Make a market up."""
    prices = {"BTC": 40_000.0, "ETH": 2_500.0, "SOL": 100.0}
    columns: dict[str, Columns] = {}
    for symbol in symbols:
        market = SyntheticMarket((symbol,), timeframe, rows, start, seed,
                                 first_price=prices.get(symbol.partition("/")[0]))
        for chunk in SyntheticFeed(market).chunks():
            part = from_bars(chunk).columns[symbol]
            if symbol in columns:
                before = columns[symbol]
                part = Columns(*(np.concatenate([getattr(before, name), getattr(part, name)])
                                 for name in Columns.__dataclass_fields__))
            columns[symbol] = part
    return MarketData(columns, Timeframe.parse(timeframe).duration // _MS)


def steady(symbols: Sequence[str] = ("BTC/USDT",), *, price: float = 40_000.0, rows: int = 600, volume: float = 10.0,
           duration: int = 60_000, start: int = 1_704_067_200_000) -> MarketData:
    """Return a market that never moves: every bar trades `volume` at one price."""
    times = start + duration * np.arange(rows, dtype=np.int64)
    flat, volumes = np.full(rows, price), np.full(rows, volume)
    return MarketData({symbol: Columns(times, flat, flat, flat, flat, volumes) for symbol in symbols}, duration)
