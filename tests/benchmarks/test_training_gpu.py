"""The benchmark of a GPU at work: looks are taken from a training's beginning to its end."""

from threading import Event

import pytest
import torch

from benchmarks.training_gpu import Looks, rows_of, utilisation, works
from models.training.checkpoints import TrainingState


def test_looks_are_taken_until_training_ends():
    seen, numbers = Event(), iter(range(1000))

    def read() -> float:
        number = next(numbers)
        if number == 2:
            seen.set()
        return 10.0 * number

    looks = Looks(read, seconds=0.001)
    assert looks.found == []
    looks.began(TrainingState(), 5, 1)
    assert seen.wait(60)
    looks.ended(TrainingState(), None)
    count = len(looks.found)
    assert looks.found[:3] == [0.0, 10.0, 20.0]
    assert count == len(looks.found) == next(numbers), "none after the end"


def test_a_training_that_failed_ends_the_looks_too():
    looks = Looks(lambda: 1.0, seconds=0.001)
    looks.began(TrainingState(), 5, 1)
    looks.ended(TrainingState(), RuntimeError("it broke"))
    assert not looks._thread.is_alive()


def test_rows_are_the_mean_of_the_looks_and_the_most_memory():
    busy, memory = rows_of("krnn", "krnn.toml", [40.0, 80.0], 12.5, is_sound=True)
    assert (busy.ours, busy.unit, memory.ours, memory.unit) == (60.0, "%", 12.5, "MB")
    assert "mean of 2 looks" in busy.work
    (alone,) = rows_of("krnn", "krnn.toml", [], 12.5, is_sound=False)
    assert (alone.unit, alone.equal) == ("MB", False)


def test_without_a_gpu_nothing_is_told(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert utilisation() is None
    assert works(is_quick=True).rows == ()
    assert "no GPU here" in capsys.readouterr().err
