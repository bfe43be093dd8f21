"""Bars of several symbols in one array, so that a window is a gather: rows of a symbol lie together, oldest first."""

from dataclasses import dataclass

import numpy as np

from engine.bars import Bars, FloatArray, IntArray, Timeframe
from engine.errors import DataError, SettingsError
from models.training.data.windows import Segments

FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Panel:
    """Bars of one timeframe.

    Args:
        values: float64 [rows, 5], the numbers of FIELDS as a forecaster gets them: rounded to float32 once.
        open_time, close_time: int64 [rows]; symbol: int64 [rows], the place in `symbols`.
        first: int64 [rows], the row at which the row's symbol begins.
        across_gaps: whether a window may have a gap in it: of markets that close, every one has.
        source: the bars of all timeframes that it was taken from.
    """

    symbols: tuple[str, ...]
    timeframe: str
    values: FloatArray
    open_time: IntArray
    close_time: IntArray
    symbol: IntArray
    first: IntArray
    across_gaps: bool = False
    source: Bars | None = None

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, bars: Bars, timeframe: str = "", *, across_gaps: bool = False) -> "Panel":
        """Return the panel of bars.

        Args:
            timeframe: of several; the first stream's if left out.
        Raises:
            SettingsError: there is no stream of it.
            DataError: a bar that cannot be learned from.
        """
        wanted = timeframe or bars.streams[0].timeframe
        streams = [stream for stream in bars.streams if stream.timeframe == wanted]
        if not streams:
            there = ", ".join(sorted({stream.timeframe for stream in bars.streams}))
            raise SettingsError(f"there are no bars of {wanted} in the data; there are bars of {there}")
        parts = [bars.of(stream) for stream in streams]
        counts = [len(part) for part in parts]
        ends = np.cumsum(counts)
        values = np.concatenate([np.stack([getattr(part, name) for name in FIELDS], 1) for part in parts])
        panel = cls(
            tuple(stream.symbol for stream in streams), wanted, values.astype(np.float32).astype(np.float64),
            np.concatenate([part.open_time for part in parts]), np.concatenate([part.close_time for part in parts]),
            np.repeat(np.arange(len(parts)), counts), np.repeat(ends - counts, counts), across_gaps,
            bars,
        )
        panel._check()
        return panel

    def _check(self) -> None:
        bad = ~np.isfinite(self.values).all(1) | (self.values[:, :4] <= 0).any(1) | (self.values[:, 4] < 0)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"{self.symbols[self.symbol[row]]}: bar {row - self.first[row]} is {self.values[row].tolist()}; "
                "expected finite numbers, prices above 0 and no volume below 0; `data check` lists such bars"
            )

    def column(self, name: str) -> FloatArray:
        """Return a field, float64 [rows]."""
        return self.values[:, FIELDS.index(name)]

    def rows(self, lookback: int, ahead: int) -> IntArray:
        """Return the rows that have `lookback` bars up to and including themselves, and `ahead` bars after, of their
        own symbol and not across a gap."""
        return self.segments.ends(lookback, ahead)

    @property
    def segments(self) -> Segments:
        """Rows of one symbol without a gap between them."""
        durations = np.full(len(self.symbols), Timeframe.parse(self.timeframe).duration)
        return Segments(self.symbol, self.close_time, durations, self.across_gaps)

    def later(self, values: FloatArray, rows: IntArray, bars: int) -> FloatArray:
        """Return values so many bars after each row; every row has them (see `rows`)."""
        return values[rows + bars]
