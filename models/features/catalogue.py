"""Indicators by name. Each is a function of a bar and of those before it, free of the price's and the volume's level.

A `Kind` is a family with parameters, `rsi`; an `Indicator` one member, `rsi(14)`. Columns are [..., T]: one history, or
many windows at once. Two numbers go with each:

    warm_up   rows of NaN before its first value: never a 0 that means "not yet"
    memory    rows, the latest included, that decide a value to 1e-9: from so many bars on, a window gives what the
              whole history gives, and so does an indicator fed bar by bar
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.bars import FIELDS, FloatArray
from engine.errors import PluginError, nearest_name

Columns = Mapping[str, FloatArray]
"""By bar field."""
Number = int | float


@dataclass(frozen=True)
class Kind:
    """A family of indicators.

    Args:
        function: (columns, *parameters) → [..., T]. parameters: their names and usual values; a whole number stays one.
        warm_up, memory: of the parameters; memory None: warm_up + 1, as of any plain window.
    """

    name: str
    function: Callable[..., FloatArray]
    parameters: Mapping[str, Number]
    warm_up: Callable[..., int]
    memory: Callable[..., int] | None
    words: str


KINDS: dict[str, Kind] = {}
"""All that there are; filled by the modules that define them."""


def indicator(
    warm_up: Callable[..., int] | int, memory: Callable[..., int] | None = None, **parameters: Number
) -> Callable[[Callable[..., FloatArray]], Callable[..., FloatArray]]:
    """Register a function under its own name; its docstring says what it is."""

    def register(function: Callable[..., FloatArray]) -> Callable[..., FloatArray]:
        rows = warm_up if callable(warm_up) else lambda *_: warm_up
        words = (function.__doc__ or "").strip().splitlines()[0]
        KINDS[function.__name__] = Kind(function.__name__, function, parameters, rows, memory, words)
        return function

    return register


@dataclass(frozen=True)
class Indicator:
    """One indicator: a kind and its parameters.

    Raises:
        PluginError: there are too many, or one is not a number it can have.
    """

    kind: Kind
    arguments: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        names, usual = list(self.kind.parameters), list(self.kind.parameters.values())
        if len(self.arguments) > len(names):
            raise PluginError(
                f"indicator {self.kind.name} is given {len(self.arguments)} parameters {self.arguments}; expected at "
                f"most {len(names)} ({', '.join(names) or 'it takes none'})"
            )
        given = (*self.arguments, *usual[len(self.arguments) :])
        for name, value, like in zip(names, given, usual, strict=True):
            if value <= 0 or (isinstance(like, int) and (value != int(value) or value < 2 <= like)):
                raise PluginError(
                    f"indicator {self.kind.name}: {name} is {value:g}; expected "
                    f"{'a whole number, 2 or more' if isinstance(like, int) else 'a number above 0'}, such as {like}"
                )
        whole = tuple(int(v) if isinstance(like, int) else float(v) for v, like in zip(given, usual, strict=True))
        object.__setattr__(self, "arguments", whole)

    @property
    def name(self) -> str:
        """As it is written: rsi(14)."""
        return f"{self.kind.name}({', '.join(map(shown, self.arguments))})" if self.arguments else self.kind.name

    @property
    def warm_up(self) -> int:
        return self.kind.warm_up(*self.arguments)

    @property
    def memory(self) -> int:
        return self.warm_up + 1 if self.kind.memory is None else self.kind.memory(*self.arguments)

    def values(self, columns: Columns) -> FloatArray:
        """Return it at every row, float64 [..., T]; NaN in the warm-up."""
        return self.kind.function(columns, *self.arguments)


def shown(value: Number) -> str:
    """Return a parameter without a dot, which no variable's name may have: 1.5 is 1p5."""
    return f"{value:g}".replace(".", "p")


class Incremental:
    """An indicator fed bar by bar: equal to `values` over all bars so far, to 1e-9. It keeps `memory` bars."""

    def __init__(self, of: Any) -> None:
        self._of = of
        self._rows = np.empty((len(FIELDS), 2 * of.memory))
        self._count = 0

    def update(self, *values: float) -> float:
        """Take a closed bar's open, high, low, close and volume; return the value at it, NaN in the warm-up."""
        size = self._of.memory
        if self._count == self._rows.shape[1]:
            self._rows[:, :size] = self._rows[:, size:]
            self._count = size
        self._rows[:, self._count] = values
        self._count += 1
        kept = self._rows[:, max(self._count - size, 0) : self._count]
        return float(self._of.values(dict(zip(FIELDS, kept, strict=True)))[-1])


def kind_of(name: str) -> Kind:
    """Return a kind by name.

    Raises:
        PluginError: there is none; naming the nearest.
    """
    if name not in KINDS:
        raise PluginError(
            f"there is no indicator {name!r}{nearest_name(name, sorted(KINDS))}; there are {', '.join(sorted(KINDS))}, "
            "and TA-Lib's in capitals, such as RSI(14)"
        )
    return KINDS[name]
