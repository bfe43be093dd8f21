"""Clocks: the only source of "now" in the engine, in UTC nanoseconds."""

import time as wall_time

from engine.bars import iso
from engine.errors import DataError


class SimulatedClock:
    """Moves only when told to, and never back."""

    __slots__ = ("now",)

    def __init__(self, start: int = 0) -> None:
        self.now = start

    def advance_to(self, time: int) -> None:
        """Move to a later instant, or stay.

        Raises:
            DataError: the time lies before now; the events came out of order.
        """
        if time < self.now:
            raise DataError(
                f"an event of {iso(time)} came after one of {iso(self.now)}; expected times that never go back"
            )
        self.now = time


class WallClock:
    """The machine's clock, for paper trading. It moves by itself."""

    __slots__ = ()

    @property
    def now(self) -> int:
        return wall_time.time_ns()

    def advance_to(self, time: int) -> None:
        """Do nothing: real time needs no push, and a bar may carry a time a little ahead of a slow clock."""
