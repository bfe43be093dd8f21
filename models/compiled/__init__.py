"""Compiled loops for a few tokens at a time: products with few rows, attention of one query, what lies between.

A step of generation reads every weight once and does little with it, so that it is as fast as memory is read and as
slow as the operations around it are many. They run on one core each: where torch may use more than two, its own are
left to do the work (`is_worth_it`). Everything is float32 but weights that are bfloat16.
"""

import platform

import torch
from torch import Tensor

_MOST_CORES = 2


def is_worth_it(tensor: Tensor) -> bool:
    """Return whether these loops are the fastest way for such a tensor: float32 on a CPU, few cores for torch."""
    is_plain = tensor.dtype == torch.float32 and tensor.device.type == "cpu"
    return is_plain and torch.get_num_threads() <= _MOST_CORES and _multiplies_and_adds(
        platform.machine(), torch.backends.cpu.get_cpu_capability()
    )


def _multiplies_and_adds(machine: str, capability: str) -> bool:
    """Return whether a processor multiplies and adds in one instruction; one that does not calls a function for each
    number. torch says AVX2 or more only of those of Intel's kind that do; all others of 64 bits do."""
    return machine.lower() not in ("x86_64", "amd64", "i386", "i686") or capability not in ("DEFAULT", "NO AVX")
