"""Where the candles of all venues come together: closers, the gatherer, and the queue of the session. No I/O.

Everything happens in the feed's own thread. `now` is a venue's time, `received_at` ours; UTC nanoseconds.
"""

from collections.abc import Callable, Mapping, Sequence

from engine.bars import Stream, Timeframe
from engine.live.inputs import FeedTold, Input
from feeds.bar_closing import BarCloser
from feeds.bar_gathering import BarGatherer
from feeds.candles import Candle
from feeds.live_options import FeedOptions

_MONDAY = 4 * Timeframe.parse("1d").duration
"""1970 began on a Thursday; weeks begin on Mondays."""


def open_time_at(moment: int, duration: int) -> int:
    """Return when the bar that covers a moment opens."""
    offset = _MONDAY if duration % Timeframe.parse("1w").duration == 0 else 0
    return (moment - offset) // duration * duration + offset


class BarDesk:
    """Turns what venues say of candles into inputs of a session.

    Args:
        streams: in feed order, with whether the venue's stream sends every change, and whether empty bars are filled.
        start: the venue's time at the start; bars that have closed by then are history.
        last_closed: when the last bar of each stream closed that the session has already; none of its bars is history.
        put: takes inputs, together.
        is_catching_up: says of a stream whether its venue is being asked for what was missed.
    """

    def __init__(
        self, streams: Sequence[tuple[Stream, bool, bool]], options: FeedOptions, *, start: int,
        last_closed: Mapping[Stream, int], put: Callable[..., None], is_catching_up: Callable[[int], bool],
    ) -> None:
        self._put = put
        self.closers = [
            BarCloser(
                stream, grace=options.grace, is_every_change_sent=is_every_change_sent, fills_empty=fills_empty,
                next_open=last_closed.get(stream) or _first_wanted(stream, start, options.history),
            )
            for stream, is_every_change_sent, fills_empty in streams
        ]
        until = max(last_closed.values(), default=0) or max(
            open_time_at(start, closer.duration) for closer in self.closers)
        self.gatherer = BarGatherer(
            self.closers, deadline=options.deadline, lag=options.lag, history_until=until,
            is_catching_up=is_catching_up)
        self.history_until = until

    def heard(
        self, index: int, candle: Candle, now: int, received_at: int, *, is_final: bool, is_whole: bool = True
    ) -> None:
        """Take a candle of a stream."""
        closer = self.closers[index]
        closer.saw(candle, now, is_final=is_final, is_whole=is_whole)
        if closer.has_outcomes:
            self.gatherer.collect(index, now, received_at)
            self._flush()

    def answered(
        self, index: int, candles: Sequence[Candle], now: int, received_at: int, *, since: int, asked_at: int
    ) -> None:
        """Take an answer of the venue's."""
        closer = self.closers[index]
        closer.answered(candles, since=since, asked_at=asked_at)
        if closer.has_outcomes:
            self.gatherer.collect(index, now, received_at)
            self._flush()

    def tick(self, now: int, received_at: int) -> None:
        """Let go of what has been waited for long enough."""
        self.gatherer.poll(now, received_at)
        self._flush()

    def gone(self, index: int, reason: str, now: int, received_at: int) -> None:
        """Stop waiting for a stream that is not traded any more."""
        self.gatherer.remove(index, reason, now, received_at)
        self._flush()

    def tell(self, received_at: int, kind: str, symbol: str, value: float, reason: str) -> None:
        """Tell the session of the quality of its data."""
        self._put(FeedTold(received_at, kind, symbol, value, reason))

    def _flush(self) -> None:
        inputs: list[Input] = self.gatherer.take()
        if inputs:
            self._put(*inputs)


def _first_wanted(stream: Stream, start: int, history: int) -> int:
    duration = Timeframe.parse(stream.timeframe).duration
    return open_time_at(start, duration) - history * duration
