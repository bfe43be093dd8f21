"""Where networks run: choosing a device, saying what results from it may be compared with, and batches that fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from engine.errors import SettingsError

KINDS = ("cpu", "cuda", "mps")

T = TypeVar("T")


@dataclass(frozen=True)
class Device:
    """A device and why it was taken. `determinism`: "bit-exact" on the CPU, "device-exact" elsewhere: the same numbers
    on the same kind of device and library versions only."""

    name: str
    reason: str

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def determinism(self) -> str:
        return "bit-exact" if self.kind == "cpu" else "device-exact"


def choose_device(wanted: str = "auto") -> Device:
    """Return the device asked for: "auto" (cuda, else mps, else cpu), "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        SettingsError: there is no such device here.
    """
    kind, colon, place = wanted.partition(":")
    if wanted == "auto":
        if torch.cuda.is_available():
            return Device("cuda:0", f"auto: found {torch.cuda.get_device_name(0)}")
        if torch.backends.mps.is_available():
            return Device("mps", "auto: found Apple's GPU")
        return Device("cpu", "auto: no GPU here")
    if kind not in KINDS or (colon and kind != "cuda"):
        raise SettingsError(f"device is {wanted!r}; expected auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        place, count = place or "0", cuda_devices()
        if not place.isdigit() or int(place) >= count:
            raise SettingsError(f"device is {wanted!r}, but there are {count} CUDA devices here; use auto or cpu")
        return Device(f"cuda:{place}", "asked for")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("device is 'mps', but there is no Apple GPU here; use auto or cpu")
    return Device(kind, "asked for")


def cuda_devices() -> int:
    """Return how many GPUs of Nvidia's there are here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def share_out(wanted: str, chosen: Device, processes: int, gpus: int) -> list[int] | int:
    """Return what Lightning Fabric is told of devices, where several processes of this machine train together.

    Args:
        wanted: as the settings have it; chosen: what that is for one process. processes, gpus: of this machine.
    Returns:
        numbers of GPUs, one a process, each of which takes its own; or how many processes share the CPU.
    Raises:
        SettingsError: the processes cannot each have a device.
    """
    if chosen.kind == "cuda" and processes == 1:
        return [int(chosen.name.partition(":")[2])]
    if chosen.kind == "cpu" or processes == 1:
        return processes
    if ":" in wanted or chosen.kind == "mps":
        raise SettingsError(
            f"train.device is {wanted!r}, one device, and torchrun has started {processes} processes here; expected "
            "cuda, of which each takes one, or cpu"
        )
    if processes > gpus:
        raise SettingsError(
            f"train.device is {wanted!r}: torchrun has started {processes} processes here, and there are {gpus} CUDA "
            "devices; expected one each: lower --nproc-per-node, or set train.device = \"cpu\""
        )
    return list(range(processes))


_NO_MEMORY = (
    "out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed",
    "std::bad_alloc", "bad allocation", "could not create a memory object",
)  # fmt: skip
"""What torch, CUDA's libraries, oneDNN and C++ say where there is not enough memory, in small letters."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a batch was too large for the device or the machine."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in _NO_MEMORY
    )


class Batches:
    """Runs a function over slices of a sequence, in batches that shrink when memory runs out and stay shrunk.

    Args:
        size: rows in a batch at most.
    """

    def __init__(self, size: int) -> None:
        self.size = max(size, 1)
        self.shrunk: list[int] = []
        """Sizes that did not fit, for the log."""

    def run(self, function: Callable[[slice], T], count: int) -> Iterator[T]:
        """Yield function(rows) over 0 … count, in order.

        Raises:
            MemoryError: not even one row fits.
        """
        start = 0
        while start < count:
            rows = slice(start, min(start + self.size, count))
            try:
                yield function(rows)
            except (MemoryError, RuntimeError) as exc:
                if not is_out_of_memory(exc):
                    raise
                if rows.stop - rows.start == 1:
                    raise MemoryError("not even one window fits into memory; use a smaller model or lookback") from exc
                self.shrunk.append(rows.stop - rows.start)
                self.size = (rows.stop - rows.start) // 2
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            start = rows.stop


def use_one_thread() -> None:
    """Let torch use one core: sums are then made in one order, and two processes do not wait for each other."""
    use_threads(1)


def use_threads(count: int) -> None:
    """Let torch use so many cores of the CPU."""
    torch.set_num_threads(count)


def parameter_count(module: torch.nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(parameter.numel() for parameter in module.parameters())
