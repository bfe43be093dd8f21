"""Markets whose future was taken away or spoilt, and the feed that shows them.

The feed is not one of `feeds`, which refuse prices that are no numbers: it hands the engine whole columns with a spoilt
future, and publishes bars up to an instant only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import Enum

import numpy as np

from engine.bars import FIELDS, Bars, FloatArray, Stream


class Future(Enum):
    """What is done to everything that comes after an instant."""

    KEPT = "as it was"
    DELETED = "deleted"
    NAN = "set to NaN"
    SCALED = "multiplied by 1000"


VARIANTS = (Future.DELETED, Future.SCALED, Future.NAN)

FACTOR = 1000.0


def with_future(bars: Bars, time: int, future: Future) -> Bars:
    """Return bars of which those that close after `time` were dealt with."""
    known = int(np.searchsorted(bars.close_time, time, side="right"))
    if future is Future.KEPT:
        return bars
    if future is Future.DELETED:
        return bars[:known]
    factor = np.nan if future is Future.NAN else FACTOR
    spoilt = {}
    for field in FIELDS:
        column = getattr(bars, field).copy()
        column[known:] *= factor
        spoilt[field] = column
    return replace(bars, **spoilt)


class ProbeFeed:
    """Shows all bars as columns, publishes those up to an instant, and pauses between chunks.

    Args:
        bars: the whole market, its future perhaps spoilt.
        until: the last close_time to publish.
        pauses: close_times after which `at_pause` is called with the time, when the strategy has dealt with it. A feed
            is read more than once: `at_pause` must look whether it really is that time.
    """

    def __init__(
        self,
        bars: Bars,
        until: int,
        pauses: Sequence[int] = (),
        at_pause: Callable[[int], None] | None = None,
    ) -> None:
        self.bars = bars
        self.streams = bars.streams
        self.row_count = len(bars)
        self.fingerprint = "conformance"
        self._until = until
        self._pauses = sorted({time for time in pauses if time < until} | {until})
        self._at_pause = at_pause

    def chunks(self) -> Iterator[Bars]:
        """Yield the bars up to the last instant, cut at the pauses."""
        start = 0
        for time in self._pauses:
            end = int(np.searchsorted(self.bars.close_time, time, side="right"))
            if end > start:
                yield self.bars[start:end]
                start = end
            if self._at_pause is not None:
                self._at_pause(time)

    def column(self, stream: Stream, field: str) -> FloatArray:
        """Return a whole column, its future as it was made."""
        return np.ascontiguousarray(getattr(self.bars.of(stream), field))
