"""When a bar is closed: one stream's candles in whatever order they come, turned into bars that can no longer change.

No I/O, no clock of its own: what was heard is told to a `BarCloser`, with the venue's time, and it says what has closed
and what should be asked for. Times are UTC nanoseconds by the venue's clock.

A candle is known to be closed, and not before, when

- the venue's stream says so (Binance's `x`, OKX's and Bybit's `confirm`), or
- the stream is one that pushes every change (`is_every_change_sent`), has not been broken since the candle's last
  change, and has begun a newer candle, or
- an answer to a question that was asked at least `grace` after its close has it.

Bars come out in order, each once. One that nobody has is `Missing`, never made up unless asked for.
"""

from collections.abc import Sequence
from typing import NamedTuple

from engine.bars import Bar, Stream, Timeframe
from feeds.candles import Candle, filled

REMEMBERED = 200
"""Published candles that are kept, to notice when the venue changes one."""


class Closed(NamedTuple):
    """A bar that can no longer change."""

    bar: Bar


class Missing(NamedTuple):
    """`bars` bars from `open_time` on that are given up."""

    open_time: int
    bars: int
    reason: str


class Revised(NamedTuple):
    """The venue has changed a candle after it was published as a bar; what was published stays."""

    old: Candle
    new: Candle


Outcome = Closed | Missing | Revised


class _Held:
    """What is known of one candle that is not out yet."""

    __slots__ = ("candle", "is_final", "is_whole")

    def __init__(self, candle: Candle, *, is_final: bool, is_whole: bool) -> None:
        self.candle = candle
        self.is_final = is_final
        self.is_whole = is_whole


class BarCloser:
    """Closes the bars of one stream.

    Args:
        next_open: the open time of the first bar wanted.
        grace: ns after a close until a venue's answers are believed to have the whole candle.
        is_every_change_sent: a newer candle on the stream means that all of the older one has been heard.
        fills_empty: a bar that the venue does not have, while it has later ones, is made of the last close with
            volume 0 and FORWARD_FILLED, instead of being missing. Some venues send no candle where nothing traded.
    """

    def __init__(
        self, stream: Stream, *, next_open: int, grace: int, is_every_change_sent: bool = False,
        fills_empty: bool = False,
    ) -> None:
        self.stream = stream
        self.duration = Timeframe.parse(stream.timeframe).duration
        self.next_open = next_open
        self.refused = 0
        """Candles that cannot be: off the grid of the timeframe, or of a time that is still to come."""
        self._grace = grace
        self._is_every_change_sent = is_every_change_sent
        self._fills_empty = fills_empty
        self._held: dict[int, _Held] = {}
        self._newest = next_open - self.duration
        self._published: dict[int, Candle] = {}
        self._last_bar: Bar | None = None
        self._out: list[Outcome] = []

    @property
    def has_outcomes(self) -> bool:
        """Whether `take` has something."""
        return bool(self._out)

    def saw(self, candle: Candle, now: int, *, is_final: bool = False, is_whole: bool = True) -> None:
        """Take a candle of the stream.

        Args:
            now: the venue's time.
            is_final: the venue says that it has closed.
            is_whole: it has everything since its open; False for one that was built from trades from the middle on.
        """
        opened = candle.open_time
        if (opened - self.next_open) % self.duration or opened > now + self.duration:
            self.refused += 1
            return
        if opened < self.next_open:
            self._compare(candle, is_certain=is_final)
            return
        held = self._held.get(opened)
        if held is None:
            self._held[opened] = _Held(candle, is_final=is_final, is_whole=is_whole)
        elif is_final or not held.is_final:  # what forms, heard after the end, is an older message
            held.candle = candle
            held.is_final = is_final
            held.is_whole = is_whole
        if opened > self._newest:
            self._newest = opened
            if self._is_every_change_sent:
                for time, older in self._held.items():
                    older.is_final = older.is_final or (time < opened and older.is_whole)
        if opened == self.next_open or self.next_open in self._held:
            self._advance()

    def answered(self, candles: Sequence[Candle], *, since: int, asked_at: int) -> None:
        """Take the answer to a question, oldest first; see `due`.

        Args:
            since: from which open time on it was asked, so that a bar that is not in the answer does not exist.
            asked_at: the venue's time when it was asked.
        """
        for candle in candles:
            opened = candle.open_time
            if (opened - self.next_open) % self.duration:
                self.refused += 1
                continue
            if opened + self.duration + self._grace > asked_at:
                continue  # may still be forming, or lack its last trades
            if opened < self.next_open:
                self._compare(candle, is_certain=True)
            else:
                self._held[opened] = _Held(candle, is_final=True, is_whole=True)
                self._newest = max(self._newest, opened)
        if candles and since <= self.next_open:
            self._miss_before(candles[-1].open_time, candles, asked_at)
        self._advance()

    def broke(self) -> None:
        """Take note that the stream was interrupted: what was heard so far may lack its last changes."""
        for held in self._held.values():
            held.is_whole = held.is_whole and held.is_final

    def due(self, now: int) -> int | None:
        """Return the open time from which on the venue should be asked; None if there is no reason to.

        It is one bar before the next, where that is out, so that a correction shows.
        """
        if self.next_open + self.duration + self._grace > now:
            return None
        return self.next_open - self.duration if self._published else self.next_open

    @property
    def last_bar(self) -> Bar | None:
        """The bar that was published last."""
        return self._last_bar

    @property
    def is_behind(self) -> bool:
        """Whether the next bar is not final although a later one is known."""
        return self._newest > self.next_open

    def has_heard(self, candle: Candle) -> bool:
        """Say whether a candle, or a later state of it, is known already."""
        held = self._held.get(candle.open_time)
        known = held.candle if held is not None else self._published.get(candle.open_time)
        return candle.open_time < self.next_open or (known is not None and known.volume >= candle.volume)

    def give_up(self, close_time: int, reason: str) -> None:
        """Let go of every bar up to a close time that is not known to be closed."""
        while self.next_open + self.duration <= close_time:
            known = self._held.get(self.next_open)
            if known is not None and known.is_final:
                self._advance()
                continue
            until = min((time for time, held in self._held.items() if held.is_final), default=close_time)
            self._miss(min(until, close_time), reason)
        self._advance()

    def take(self) -> list[Outcome]:
        """Return what came of it since the last time, in order."""
        taken, self._out = self._out, []
        return taken

    def _advance(self) -> None:
        """Publish every bar that is next and final."""
        while (held := self._held.get(self.next_open)) is not None and held.is_final:
            del self._held[self.next_open]
            self._publish(held.candle.bar(self.stream, self.duration), held.candle)

    def _publish(self, bar: Bar, candle: Candle) -> None:
        self._out.append(Closed(bar))
        self._last_bar = bar
        self._published[bar.open_time] = candle
        if len(self._published) > REMEMBERED:
            del self._published[next(iter(self._published))]
        self.next_open += self.duration

    def _miss_before(self, last: int, candles: Sequence[Candle], asked_at: int) -> None:
        """Give up what an answer does not have although it has later candles."""
        known = {candle.open_time for candle in candles}
        while self.next_open < last and self.next_open + self.duration + self._grace <= asked_at:
            self._advance()
            if self.next_open in known or self.next_open >= last or self.next_open in self._held:
                break
            until = min(time for time in known if time > self.next_open)
            if self._fills_empty and self._last_bar is not None and self._last_bar.close_time == self.next_open:
                bar = filled(self._last_bar, self.duration)
                self._held.pop(self.next_open, None)
                self._publish(bar, Candle(bar.open_time, bar.open, bar.high, bar.low, bar.close, bar.volume))
            else:
                self._miss(until, "the venue has later bars, but not these")

    def _miss(self, until: int, reason: str) -> None:
        count = max((until - self.next_open) // self.duration, 1)
        self._out.append(Missing(self.next_open, count, reason))
        for time in [time for time in self._held if time < self.next_open + count * self.duration]:
            del self._held[time]
        self.next_open += count * self.duration

    def _compare(self, candle: Candle, *, is_certain: bool) -> None:
        """Notice a change of what is out. Of what the stream sends late only what it calls final says anything."""
        old = self._published.get(candle.open_time)
        if is_certain and old is not None and old != candle:
            self._published[candle.open_time] = candle
            self._out.append(Revised(old, candle))
