"""Lines: the values of an indicator up to the current bar, and nothing later."""

from array import array
from typing import Self


class Line(array):  # type: ignore[type-arg]
    """One value a bar, float64, growing as bars close. `line[-1]` is the current bar's, `line[0]` the first bar's.

    An `array` whose values the loop appends one by one: reading costs what reading a list costs, a value takes eight
    bytes, and there is no later value in it that could be read by mistake. NaN until the indicator is warm.
    """

    name: str
    stream_index: int

    def __new__(cls, name: str = "", stream_index: int = 0) -> Self:
        return array.__new__(cls, "d")  # type: ignore[return-value]

    def __init__(self, name: str = "", stream_index: int = 0) -> None:
        self.name = name
        self.stream_index = stream_index
