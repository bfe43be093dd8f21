"""Which rows train and which judge: by time, with a purge between them.

A row is a decision at a bar's close and a label that is known some bars later. It belongs to a span if the decision is
not before the span's start and the label's end not after its end; its window may reach back before the start, its label
never past the end.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.bars import IntArray, iso
from engine.errors import SettingsError


@dataclass(frozen=True)
class Spans:
    """Times, UTC nanoseconds: training from `start` to `valid`, judging from there to `end`, where nothing later is
    looked at. `embargo`: how long after `valid` judging begins, for what returns remember of each other."""

    start: int
    valid: int
    end: int
    embargo: int = 0

    def __post_init__(self) -> None:
        if not self.start < self.valid < self.end:
            raise SettingsError(
                f"split: training from {iso(self.start)}, judging from {iso(self.valid)} to {iso(self.end)}; expected "
                "them in this order"
            )

    def trains(self, decided: IntArray, known: IntArray) -> npt.NDArray[np.bool_]:
        """Return which rows train; decided, known: times of the decision and of the label's end."""
        return (decided >= self.start) & (known <= self.valid)

    def judges(self, decided: IntArray, known: IntArray) -> npt.NDArray[np.bool_]:
        """Return which rows judge."""
        return (decided >= self.valid + self.embargo) & (known <= self.end)
