"""Choosing a device, and batches that shrink until they fit."""

import pytest
import torch

from engine.errors import SettingsError
from models.devices import Batches, choose_device, is_out_of_memory


def test_auto_takes_the_cpu_where_there_is_nothing_else():
    device = choose_device("auto")

    assert device.kind in ("cpu", "cuda", "mps")
    assert device.reason.startswith("auto")
    assert choose_device("cpu").determinism == "bit-exact"


@pytest.mark.parametrize("wanted", ["gpu", "cuda:99", "tpu", ""])
def test_a_device_that_is_not_here_is_refused(wanted):
    with pytest.raises(SettingsError, match="device is"):
        choose_device(wanted)


@pytest.mark.parametrize("fits", [1, 3, 10, 64])
def test_batches_shrink_until_they_fit_and_stay_so(fits):
    seen = []

    def work(rows: slice) -> int:
        if rows.stop - rows.start > fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        seen.extend(range(rows.start, rows.stop))
        return rows.stop - rows.start

    batches = Batches(64)
    sizes = list(batches.run(work, 100))

    assert seen == list(range(100))
    assert max(sizes) <= fits
    assert len(batches.shrunk) <= 7
    assert list(batches.run(work, 5)) == [min(batches.size, 5)] or batches.size < 5


def test_a_row_that_does_not_fit_is_an_error():
    def work(rows: slice) -> int:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(MemoryError, match="not even one window"):
        list(Batches(4).run(work, 4))


def test_other_errors_go_through():
    def work(rows: slice) -> int:
        raise RuntimeError("shapes cannot be multiplied")

    assert not is_out_of_memory(RuntimeError("shapes"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(Batches(4).run(work, 4))
