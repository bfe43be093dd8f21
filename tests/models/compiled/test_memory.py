"""Arrays of large pages are zeros, stand apart, and outlive what gave them out."""

import re
from pathlib import Path

import numpy as np
import pytest

from models.compiled.memory import Memory


def test_arrays_are_zeros_of_the_shape_and_type_asked_for_and_none_overlap():
    memory = Memory()
    shapes = (3, 5), (1,), (0, 4), (7, 2, 2)
    made = [memory.take(shape, dtype) for shape in shapes for dtype in (np.float32, np.uint32)]
    for number, array in enumerate(made, 1):
        assert not array.any()
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % 64 == 0
        array[...] = number

    for number, array in enumerate(made, 1):
        assert (array == number).all()
    assert made[0].dtype == np.float32
    assert made[0].shape == (3, 5)


def test_an_array_larger_than_a_piece_has_a_piece_of_its_own():
    memory = Memory()
    first = memory.take((4,), np.float32)
    large = memory.take((20 << 20,), np.float32)
    large[-1] = 1

    assert not first.any()
    assert large.nbytes == 80 << 20


def test_they_outlive_what_gave_them_out():
    array = Memory().take((1000,), np.float32)
    array[:] = 3

    assert array.sum() == 3000


def test_its_pages_are_large_where_the_system_has_large_ones():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.is_file() or "[never]" in setting.read_text():
        pytest.skip("this system has no large pages")
    array = Memory().take((8 << 20,), np.float32)
    array[:] = 1

    address, size = array.ctypes.data, 0
    for part in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        start, end = (int(number, 16) for number in part.split(" ", 1)[0].split("-"))
        if start < address + array.nbytes and address < end:
            size += int(re.search(r"AnonHugePages: +(\d+) kB", part)[1])
    if not size:
        pytest.skip("the system has none left")
    assert size >= 16 << 10  # of 32 MB, in kB: some may be split


def test_memory_that_cannot_be_had_is_told_as_such():
    with pytest.raises(MemoryError, match="MB for weights"):
        Memory().take((1 << 60,), np.uint8)
