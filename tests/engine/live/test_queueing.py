from threading import Thread

import pytest

from engine.errors import VenueError, VenueUnavailable
from engine.live.inputs import ClockTold
from engine.live.queueing import QueueSource


def test_inputs_are_taken_in_the_order_in_which_they_were_put():
    source = QueueSource()
    source.put(ClockTold(3), ClockTold(1))
    source.put(ClockTold(2))
    assert [source.take(0) for _ in range(4)] == [ClockTold(3), ClockTold(1), ClockTold(2), None]


def test_depth_is_what_waits_and_deepest_remembers_the_most():
    source = QueueSource()
    source.put(ClockTold(1), ClockTold(2), ClockTold(3))
    source.take(0)
    assert (source.depth, source.deepest, source.count) == (2, 3, 3)


def test_each_producer_s_inputs_stay_in_its_own_order_and_none_is_lost():
    source = QueueSource()
    threads = [
        Thread(target=lambda first=first: [source.put(ClockTold(first + nth)) for nth in range(500)])
        for first in (0, 1_000, 2_000)
    ]
    for thread in threads:
        thread.start()
    taken = [source.take(5).time for _ in range(1_500)]
    for thread in threads:
        thread.join()
    assert source.take(0) is None
    for first in (0, 1_000, 2_000):
        assert [time for time in taken if first <= time < first + 500] == list(range(first, first + 500))


def test_inputs_put_together_stay_together():
    source = QueueSource()
    threads = [
        Thread(target=lambda mark=mark: [source.put(ClockTold(mark), ClockTold(mark)) for _ in range(300)])
        for mark in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [source.take(0).time for _ in range(1_800)]
    assert taken[::2] == taken[1::2]


def test_a_failure_is_raised_after_what_came_before_it_and_again_ever_after():
    source = QueueSource()
    source.put(ClockTold(1))
    source.fail(VenueError("binance: gone for good"))
    source.fail(VenueUnavailable("a later one"))
    assert source.take(0) == ClockTold(1)
    for _ in range(2):
        with pytest.raises(VenueError, match="binance: gone for good"):
            source.take(1)


def test_a_failure_wakes_a_thread_that_waits():
    source = QueueSource()
    thread = Thread(target=lambda: source.fail(VenueError("gone")))
    thread.start()
    with pytest.raises(VenueError, match="gone"):
        source.take(30)
    thread.join()


def test_what_is_put_after_a_failure_is_still_taken_before_it():
    source = QueueSource()
    source.fail(VenueError("gone"))
    source.put(ClockTold(1))
    assert source.take(0) == ClockTold(1)
    with pytest.raises(VenueError, match="gone"):
        source.take(0)
