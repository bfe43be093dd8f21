"""Taking the time and the memory of a piece of work on a machine that others use too.

The time that counts is CPU time of the whole process, all its threads (a journal's too) added up: what one core would
need. The clock on the wall stands beside it. Contenders take turns, and the best of their turns counts: whatever else
runs on the machine can only make a turn slower.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Turn(Generic[Outcome]):
    """What a piece of work took: the best time of all turns, and what it returned.

    Args:
        cpu, wall: seconds. peak: MB by which the process grew while it worked; None where the system does not say.
    """

    outcome: Outcome
    cpu: float
    wall: float
    peak: float | None


Work = Callable[[], tuple[Outcome, float, float]]
"""Does the work; returns the outcome, and CPU and wall seconds (see `Stopwatch`) of the part that is to be counted."""


class Stopwatch:
    """Counts CPU and wall seconds within a `with` block."""

    def __enter__(self) -> "Stopwatch":
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall


def take_turns(
    contenders: Mapping[str, Work[Outcome]], rounds: int, fewer: Mapping[str, int] | None = None
) -> dict[str, Turn[Outcome]]:
    """Run every contender once a round, in order, and return the best of each.

    Args:
        fewer: rounds of those that take too long for all of them.
    """
    best: dict[str, Turn[Outcome]] = {}
    for done in range(rounds):
        for name, work in contenders.items():
            if done < (fewer or {}).get(name, rounds):
                turn = _one(work)
                known = best.get(name, turn)
                cpu, wall = min(turn.cpu, known.cpu), min(turn.wall, known.wall)
                best[name] = replace(turn, cpu=cpu, wall=wall, peak=_larger(turn.peak, known.peak))
    return best


def _one(work: Work[Outcome]) -> Turn[Outcome]:
    gc.collect()
    before = _forget_peak()
    outcome, cpu, wall = work()
    after = memory("VmHWM")
    return Turn(outcome, cpu, wall, None if before is None or after is None else after - before)


def memory(line: str) -> float | None:
    """Return MB (10^6 bytes) that this process occupies ("VmRSS") or has at most occupied ("VmHWM").

    None where the system does not say.
    """
    try:
        status = _STATUS.read_text("ascii")
    except OSError:
        return None
    kibibytes = next((row.split()[1] for row in status.splitlines() if row.startswith(f"{line}:")), None)
    return None if kibibytes is None else int(kibibytes) * 1024 / 1e6


def _forget_peak() -> float | None:
    """Let the peak be counted from now on, and return what the process occupies now."""
    try:
        _CLEAR.write_text("5", "ascii")  # 5: VmHWM starts anew (man 5 proc)
    except OSError:
        return None
    return memory("VmRSS")


def _larger(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else max(one, other)
