from random import Random

from hypothesis import given
from hypothesis import strategies as st

from engine.bars import MINUTE, SECOND, Stream
from engine.live.inputs import BarsClosed, FeedTold
from feeds.bar_closing import BarCloser
from feeds.bar_gathering import BarGatherer
from feeds.candles import Candle

START = 1_700_000_100 * SECOND // (5 * MINUTE) * (5 * MINUTE)
DEADLINE = 5 * SECOND


def at(minutes: float, seconds: float = 0.0) -> int:
    return START + round(minutes * MINUTE + seconds * SECOND)


class Desk:
    """A gatherer over some streams, fed by hand; `now` is the venue's time and ours."""

    def __init__(self, *streams: tuple[str, str], lag: float = 3.0, history_until: int = 0, **options) -> None:
        self.closers = [
            BarCloser(Stream(*stream), next_open=START, grace=2 * SECOND)
            for stream in streams or (("A", "1m"), ("B", "1m"))
        ]
        self.gatherer = BarGatherer(
            self.closers, deadline=DEADLINE, lag=round(lag * SECOND), history_until=history_until, **options)
        self.now = START

    def close(self, index: int, bar: int, *, seconds: float = 0.1) -> list:
        closer = self.closers[index]
        opened = START + bar * closer.duration
        self.now = max(self.now, opened + closer.duration + round(seconds * SECOND))
        closer.saw(Candle(opened, 10, 11, 9, 10, 1), self.now, is_final=True)
        self.gatherer.collect(index, self.now, self.now)
        return self.gatherer.take()

    def wait(self, seconds: float) -> list:
        self.now += round(seconds * SECOND)
        self.gatherer.poll(self.now, self.now)
        return self.gatherer.take()


def names(told: BarsClosed) -> list[tuple[str, str]]:
    return [(bar.symbol, bar.timeframe) for bar in told.bars]


def test_the_bars_of_an_instant_leave_together_in_feed_order():
    desk = Desk()
    assert desk.close(1, 0) == []
    (told,) = desk.close(0, 0)
    assert (told.time, names(told), told.is_history) == (at(1), [("A", "1m"), ("B", "1m")], False)


def test_longer_timeframes_stand_after_shorter_ones_and_are_waited_for_only_when_due():
    desk = Desk(("A", "5m"), ("A", "1m"))
    for bar in range(4):
        (told,) = desk.close(1, bar)
        assert names(told) == [("A", "1m")]
    assert desk.close(0, 0) == []
    (told,) = desk.close(1, 4)
    assert names(told) == [("A", "1m"), ("A", "5m")]


def test_a_silent_stream_is_given_up_at_the_deadline_and_told():
    desk = Desk()
    desk.close(0, 0, seconds=1)
    assert desk.wait(4.9) == []
    gap, lag, told = desk.wait(0.2)
    assert lag.kind == "lag"
    assert (gap.kind, gap.symbol, gap.value) == ("gap", "B", 1.0)
    assert "not heard of within 6.1 s" in gap.reason
    assert names(told) == [("A", "1m")]


def test_the_bar_of_a_stream_that_was_given_up_does_not_come_back():
    desk = Desk()
    desk.close(0, 0)
    desk.wait(6)
    assert desk.close(1, 0) == []
    desk.close(0, 1)
    assert [type(one) for one in desk.close(1, 1)] == [BarsClosed]


def test_while_the_whole_venue_is_silent_nothing_is_given_up():
    desk = Desk()
    assert desk.wait(600) == []
    desk.close(0, 0)
    told = desk.close(1, 0)
    assert [type(one) for one in told] == [FeedTold, BarsClosed]
    assert told[0].kind == "lag"
    assert told[0].value > 500


def test_a_late_instant_is_flagged_before_it_and_a_timely_one_is_not():
    desk = Desk(lag=3.0)
    desk.close(0, 0)
    assert [type(one) for one in desk.close(1, 0, seconds=2.9)] == [BarsClosed]
    desk.close(0, 1)
    lag, told = desk.close(1, 1, seconds=3.5)
    assert (lag.kind, lag.value, told.time) == ("lag", 3.5, at(2))


def test_a_venue_that_is_catching_up_is_waited_for_longer():
    desk = Desk(is_catching_up=lambda index: index == 1)
    desk.close(0, 0)
    assert desk.wait(29) == []
    assert [one.kind for one in desk.wait(2) if isinstance(one, FeedTold)] == ["gap", "lag"]


def test_history_is_marked_never_late_and_waited_for_as_long_as_it_is_asked_for():
    desk = Desk(history_until=at(2), is_catching_up=lambda index: True)
    desk.close(0, 0, seconds=100)
    assert desk.wait(600) == []
    (told,) = desk.close(1, 0)
    assert told.is_history


def test_the_longer_history_of_a_slower_stream_comes_before_the_bars_of_a_faster_one():
    """So many bars of each: those of the slower stream begin earlier, and are asked for later."""
    slower_is_asked_for = [True]
    desk = Desk(("A", "1m"), ("A", "5m"), history_until=at(12), is_catching_up=lambda index: slower_is_asked_for[0])
    desk.closers[0] = BarCloser(Stream("A", "1m"), next_open=at(10), grace=2 * SECOND)
    desk.gatherer = BarGatherer(
        desk.closers, deadline=DEADLINE, lag=3 * SECOND, history_until=at(12),
        is_catching_up=lambda index: slower_is_asked_for[0])
    for minute in (10, 11):
        desk.now = at(minute + 1, 0.1)
        desk.closers[0].saw(Candle(at(minute), 10, 11, 9, 10, 1), desk.now, is_final=True)
        desk.gatherer.collect(0, desk.now, desk.now)
    assert desk.gatherer.take() == []
    assert desk.wait(60) == []
    told = [*desk.close(1, 0), *desk.close(1, 1)]
    slower_is_asked_for[0] = False
    told += desk.wait(1)
    assert [(one.time, names(one), one.is_history) for one in told] == [
        (at(5), [("A", "5m")], True), (at(10), [("A", "5m")], True),
        (at(11), [("A", "1m")], True), (at(12), [("A", "1m")], True)]


def test_a_stream_that_is_gone_is_waited_for_no_longer():
    desk = Desk()
    desk.close(0, 0)
    desk.gatherer.remove(1, "delisted", desk.now, desk.now)
    gone, told = desk.gatherer.take()
    assert (gone.kind, gone.symbol, gone.reason) == ("gap", "B", "delisted")
    assert names(told) == [("A", "1m")]
    assert names(desk.close(0, 1)[0]) == [("A", "1m")]


def test_a_change_of_a_published_bar_is_told():
    desk = Desk(("A", "1m"))
    desk.close(0, 0)
    desk.closers[0].saw(Candle(START, 10, 11, 9, 10.5, 1), desk.now, is_final=True)
    desk.gatherer.collect(0, desk.now, desk.now)
    (told,) = desk.gatherer.take()
    assert (told.kind, told.symbol, round(told.value, 9)) == ("revised", "A", 0.05)
    assert told.reason.endswith("close 10 is now 10.5")


@given(st.integers(0, 10_000))
def test_whatever_the_order_instants_rise_and_every_bar_or_gap_is_told_once(seed):
    random = Random(seed)
    desk = Desk(("A", "1m"), ("B", "1m"), ("C", "5m"), ("D", "1m"), lag=1e6)
    heard = [
        (START + (bar + 1) * closer.duration + random.choice((0.1, 0.4, 3.0, 8.0, 40.0)) * SECOND, index, bar)
        for index, closer in enumerate(desk.closers) for bar in range(10 * MINUTE // closer.duration)
        if random.random() > 0.1
    ]
    out = []
    for time, index, bar in sorted(heard):
        while desk.now + SECOND < time:
            out += desk.wait(1)
        closer = desk.closers[index]
        desk.now = max(desk.now, round(time))
        closer.saw(Candle(START + bar * closer.duration, 10, 11, 9, 10, 1), desk.now, is_final=True)
        desk.gatherer.collect(index, desk.now, desk.now)
        out += desk.gatherer.take()
    for _ in range(120):
        out += desk.wait(1)
    closed = [one for one in out if isinstance(one, BarsClosed)]
    times = [one.time for one in closed]
    assert times == sorted(set(times))
    assert all(bar.close_time == one.time for one in closed for bar in one.bars)
    for closer in desk.closers:
        bars = [bar for one in closed for bar in one.bars if bar[0] == closer.stream.symbol]
        told = [one for one in out if isinstance(one, FeedTold) and one.symbol == closer.stream.symbol]
        missing = sum(int(one.value) for one in told)
        assert len(bars) + missing == (closer.next_open - START) // closer.duration
        assert all(names(one) == sorted(names(one), key=lambda name: (name[1], name[0])) for one in closed)
