"""Choosing a device, and batches that shrink until they fit."""

import pytest
import torch

from engine.errors import SettingsError
from models.devices import Batches, Device, choose_device, is_out_of_memory, share_out


def test_auto_takes_the_cpu_where_there_is_nothing_else():
    device = choose_device("auto")

    assert device.kind in ("cpu", "cuda", "mps")
    assert device.reason.startswith("auto")
    assert choose_device("cpu").determinism == "bit-exact"


@pytest.mark.parametrize("wanted", ["gpu", "cuda:99", "cuda:x", "cuda:-1", "tpu", "cpu:1", "mps:0", ""])
def test_a_device_that_is_not_here_is_refused(wanted):
    with pytest.raises(SettingsError, match="device is"):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("wanted", "chosen", "processes", "gpus", "shared"),
    [
        ("auto", "cpu", 1, 0, 1),
        ("cpu", "cpu", 4, 0, 4),
        ("cpu", "cpu", 4, 2, 4),
        ("auto", "cuda:0", 1, 2, [0]),
        ("cuda:1", "cuda:1", 1, 2, [1]),
        ("cuda", "cuda:0", 2, 4, [0, 1]),
        ("auto", "cuda:0", 4, 4, [0, 1, 2, 3]),
        ("mps", "mps", 1, 0, 1),
    ],
)
def test_processes_share_out_the_devices_of_a_machine(wanted, chosen, processes, gpus, shared):
    assert share_out(wanted, Device(chosen, ""), processes, gpus) == shared


@pytest.mark.parametrize(
    ("wanted", "chosen", "processes", "gpus", "message"),
    [
        ("cuda:1", "cuda:1", 2, 4, r"train.device is 'cuda:1', one device, and torchrun has started 2 processes here"),
        ("auto", "mps", 2, 0, r"expected cuda, of which each takes one, or cpu"),
        ("cuda", "cuda:0", 4, 2, r"torchrun has started 4 processes here, and there are 2 CUDA devices; expected one"),
    ],
)
def test_processes_that_cannot_have_a_device_each_are_refused(wanted, chosen, processes, gpus, message):
    with pytest.raises(SettingsError, match=message):
        share_out(wanted, Device(chosen, ""), processes, gpus)


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


@pytest.mark.parametrize("words", [
    "CUDA out of memory. Tried to allocate 2 GiB", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "std::bad_alloc", "could not create a memory object",
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory",
])  # fmt: skip
def test_a_lack_of_memory_is_known_by_any_of_its_words(words):
    assert is_out_of_memory(RuntimeError(words))


def test_other_errors_go_through():
    def work(rows: slice) -> int:
        raise RuntimeError("shapes cannot be multiplied")

    assert not is_out_of_memory(RuntimeError("shapes"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(Batches(4).run(work, 4))
