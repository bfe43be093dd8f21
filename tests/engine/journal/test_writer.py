"""The thread that writes."""

from threading import Event

import pytest

from engine.journal.writer import Writer


def test_work_is_done_in_order() -> None:
    done: list[int] = []
    writer = Writer(done.append)
    for number in range(100):
        writer.put(number)
    writer.close()

    assert done == list(range(100))


def test_flush_waits_for_what_was_handed_over() -> None:
    done: list[int] = []
    writer = Writer(done.append)
    writer.put(1)
    writer.flush()

    assert done == [1]
    writer.close()


def test_nothing_is_done_after_a_failure_and_nobody_waits_forever() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        done.append(number)

    writer = Writer(work)
    for number in range(100):    # more than may wait
        writer.put(number)
    writer.flush()
    writer.close()

    assert done == [0, 1, 2]
    assert str(writer.error) == "three"


def test_whoever_hands_over_faster_than_is_written_waits() -> None:
    gate = Event()
    done: list[int] = []

    def work(number: int) -> None:
        gate.wait(timeout=120)
        done.append(number)

    writer = Writer(work)
    for number in range(10):
        writer.put(number)
    assert done == []
    gate.set()
    writer.close()

    assert done == list(range(10))


@pytest.mark.parametrize("times", [1, 2])
def test_closing_ends_the_thread(times: int) -> None:
    writer = Writer(print)
    for _ in range(times):
        writer.close()

    assert not writer._thread.is_alive()
