"""The feed of a live session as the engine sees it: which streams there are, and the bars that closed so far."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine.bars import FIELDS, Bar, Bars, FloatArray, Stream
from engine.live.columns import bars_as_columns

KEPT = 20_000
"""Bars of each stream that `history` can go back."""


class LiveStreams:
    """Satisfies engine.interfaces.Feed; bars are appended as they close.

    Args:
        kept: bars of each stream that stay readable.
    """

    def __init__(self, streams: Sequence[Stream], *, kept: int = KEPT) -> None:
        self._streams = tuple(streams)
        self._place = {stream: place for place, stream in enumerate(self._streams)}
        self._kept = kept
        self._values = {stream: np.empty((64, len(FIELDS))) for stream in self._streams}
        self._counts = dict.fromkeys(self._streams, 0)
        self.last_closed: dict[Stream, int] = {}
        """When the last bar of each stream closed, UTC ns."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        return self._streams

    @property
    def row_count(self) -> int | None:
        return None

    @property
    def fingerprint(self) -> str:
        return "live"

    def chunks(self) -> Iterator[Bars]:
        """Yield nothing: bars come one instant at a time, as inputs."""
        yield from ()

    def column(self, stream: Stream, field: str) -> FloatArray | None:
        """Return None: nobody knows what comes."""
        return None

    def append(self, bars: Sequence[Bar]) -> Bars:
        """Take in the bars of one instant, and return them as columns in feed order."""
        ordered = sorted(bars, key=lambda bar: self._place[Stream(bar.symbol, bar.timeframe)])
        for bar in ordered:
            stream = Stream(bar.symbol, bar.timeframe)
            self._keep(stream, bar)
            self.last_closed[stream] = bar.close_time
        return bars_as_columns(ordered, self._streams)

    def history(self, stream: Stream, field: str, count: int) -> FloatArray:
        """Return the last values of a stream, oldest first: at most `count`, and at most what is kept."""
        total = self._counts[stream]
        values = self._values[stream][max(0, total - min(count, self._kept)) : total, FIELDS.index(field)].copy()
        values.flags.writeable = False
        return values

    def _keep(self, stream: Stream, bar: Bar) -> None:
        values, count = self._values[stream], self._counts[stream]
        if count == len(values):
            if count >= 2 * self._kept:
                values[: self._kept] = values[count - self._kept :]
                count = self._kept
            else:
                values = self._values[stream] = np.concatenate([values, np.empty_like(values)])
        values[count] = bar.open, bar.high, bar.low, bar.close, bar.volume
        self._counts[stream] = count + 1
