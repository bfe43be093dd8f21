"""Splits by time. A window belongs to a part if its decision and its label both lie within it:

    part.start + embargo < decision time,   label time ≤ part.end

so that no target of one part is made of a bar of the next (purge), and the first decisions after a part, whose targets
still overlap with what that part was fitted to or chosen by, are left out (embargo). The past of a window may reach
back across a boundary: it was known then. All times are UTC nanoseconds of closes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.bars import IntArray, iso
from engine.errors import SettingsError
from models.training.data.windows import BoolArray, WindowSet


@dataclass(frozen=True)
class Part:
    """A span (start, end]: decisions after `start` + `embargo`, labels no later than `end`. None: without bound."""

    start: int | None = None
    end: int | None = None
    embargo: int = 0

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.start + self.embargo >= self.end:
            raise SettingsError(
                f"a split from {iso(self.start)} to {iso(self.end)} is empty; expected its end after its start and the "
                "embargo"
            )

    def mask(self, times: IntArray, label_times: IntArray) -> BoolArray:
        """Return which windows belong to it, bool [N]."""
        inside = np.ones(len(times), bool)
        if self.start is not None:
            inside &= times > self.start + self.embargo
        if self.end is not None:
            inside &= label_times <= self.end
        return inside

    def of(self, windows: WindowSet) -> WindowSet:
        """Return its windows."""
        return windows.select(self.mask(windows.times, windows.label_times))

    def __str__(self) -> str:
        start = "the beginning" if self.start is None else iso(self.start)
        end = "the end" if self.end is None else iso(self.end)
        return f"{start} to {end}"


@dataclass(frozen=True)
class Split:
    """Three parts in order of time; what is fitted (weights, scalers, vocabularies, class weights) sees `train` alone,
    what is chosen (epochs, checkpoints, features) `valid`, what is told `test`."""

    train: Part
    valid: Part
    test: Part

    @classmethod
    def at(
        cls, train_end: int, valid_end: int, *, start: int | None = None, end: int | None = None, embargo: int = 0
    ) -> "Split":
        """Return the split whose training ends at one instant and whose validation at another.

        Args:
            embargo: ns without decisions at the start of validation and test.
        Raises:
            SettingsError: a part is empty.
        """
        return cls(Part(start, train_end), Part(train_end, valid_end, embargo), Part(valid_end, end, embargo))

    @classmethod
    def by_share(cls, times: IntArray, train: float, valid: float, *, embargo: int = 0) -> "Split":
        """Return the split at shares of the instants there are: 0.7 and 0.15 leave 0.15 to the test.

        Raises:
            SettingsError: shares that cannot be, or too few instants for them.
        """
        if not (0 < train < 1 and 0 < valid < 1 and train + valid <= 1):
            raise SettingsError(f"shares of a split are {train} and {valid}; expected two above 0, at most 1 together")
        instants = np.unique(times)
        places = [int(len(instants) * train) - 1, min(int(len(instants) * (train + valid)), len(instants)) - 1]
        if places[0] < 0 or places[1] <= places[0]:
            raise SettingsError(f"{len(instants)} instants are too few to be split {train} : {valid}")
        return cls.at(int(instants[places[0]]), int(instants[places[1]]), embargo=embargo)


@dataclass(frozen=True)
class Fold:
    """One round of a walk-forward: fitted on `train`, judged on `test`, which comes after it."""

    train: Part
    test: Part


def walk_forward(
    start: int, end: int, *, folds: int, test: int | None = None, window: int | None = None, embargo: int = 0
) -> Iterator[Fold]:
    """Yield folds whose tests follow one another and end at `end`.

    Args:
        start, end: UTC ns of the whole span. folds: how many.
        test: ns of each test; None: the span over folds + 1.
        window: ns of training before each test, rolling; None: all from the start, expanding.
        embargo: ns without decisions at the start of each test.
    Raises:
        SettingsError: the span is too short for them.
    """
    length = (end - start) // (folds + 1) if test is None else test
    first = end - folds * length
    if folds < 1 or length <= embargo or first <= start:
        raise SettingsError(
            f"{folds} folds of {length / 8.64e13:.4g} days do not fit between {iso(start)} and {iso(end)} with an "
            f"embargo of {embargo / 8.64e13:.4g} days"
        )
    for fold in range(folds):
        cut = first + fold * length
        train = Part(start if window is None else max(start, cut - window), cut)
        yield Fold(train, Part(cut, cut + length, embargo))
