"""Whether a process is still there, asked of real ones."""

import subprocess
import sys
from dataclasses import replace

import pytest

from engine.journal import process
from engine.journal.process import has_ended, this_process


def test_this_process_has_not_ended() -> None:
    assert not has_ended(this_process())


def test_a_process_that_was_waited_for_has_ended() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    mark = replace(this_process(), pid=done.pid, started="")
    done.wait()

    assert has_ended(mark)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_killed_process_whose_parent_has_not_asked_has_ended() -> None:
    killed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mark = replace(this_process(), pid=killed.pid, started=process._start_of(killed.pid) or "")
    assert not has_ended(mark)

    killed.kill()
    while process._start_of(killed.pid) is not None:
        pass

    assert has_ended(mark)
    killed.wait()


@pytest.mark.parametrize(
    ("change", "ended"),
    [
        ({"started": "an earlier time"}, True),               # its number was given to another process
        ({"boot": "an earlier start of the machine"}, True),
        ({"host": "elsewhere", "pid": 999_999_999}, False),   # nobody here can know
        ({"namespace": "another container", "pid": 999_999_999}, False),
    ],
)
def test_a_mark_is_judged_by_more_than_its_number(change: dict[str, object], ended: bool) -> None:
    mark = this_process()
    if not mark.boot:
        pytest.skip("the system does not name its starts")

    assert has_ended(replace(mark, **change)) is ended  # type: ignore[arg-type]


def test_ps_tells_the_same_as_proc() -> None:
    mark = this_process()
    try:
        started = process._start_from_ps(mark.pid)
    except FileNotFoundError:
        pytest.skip("no ps here")

    assert started
    assert started == process._start_from_ps(mark.pid)
    assert process._start_from_ps(999_999_999) is None
