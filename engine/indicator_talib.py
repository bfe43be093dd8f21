"""TA-Lib by name: what each function takes, and its values over whole columns or one bar at a time.

talib is imported when its first function is asked for: it takes a third of a second, because it imports pandas.
Since 0.8 TA-Lib has stateful streams, which carry every function forward by one bar in constant time and to the bit
what it gives over the whole column (tests/engine/test_indicators.py holds it for every function it has).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from engine.bars import FloatArray
from engine.errors import PluginError, nearest_name

_MISSING = -1
"""TA-Lib's lookback of parameters that it refuses."""


@dataclass(frozen=True)
class TalibFunction:
    """One of TA-Lib's functions.

    Args:
        inputs: the bar fields it takes by default, in order ("periods" of MAVP is the one that no bar has).
        defaults: parameter → TA-Lib's own default, in order; the type of the default is the parameter's type.
        outputs: the names of its results, in order.
    """

    name: str
    inputs: tuple[str, ...]
    defaults: Mapping[str, int | float]
    outputs: tuple[str, ...]

    def parameters(self, arguments: Sequence[Any], options: Mapping[str, Any]) -> dict[str, int | float]:
        """Return every parameter that was given, by name, as the type TA-Lib wants.

        Moving average types may be given by name: `matype="EMA"`.

        Raises:
            PluginError: unknown, given twice, of another type, or refused by TA-Lib.
        """
        names = list(self.defaults)
        if len(arguments) > len(names):
            raise PluginError(
                f"{self.name} is given {len(arguments)} parameters {tuple(arguments)}; expected at most {len(names)} "
                f"({', '.join(names) or 'it takes none'})"
            )
        given: dict[str, Any] = dict(zip(names, arguments, strict=False))
        for name, value in options.items():
            if name not in names:
                hint, takes = nearest_name(name, names), ", ".join(names) or "none"
                raise PluginError(f"{self.name}: unknown parameter {name!r}{hint} (it takes: {takes})")
            if name in given:
                raise PluginError(f"{self.name}: parameter {name} is given twice, as {given[name]!r} and as {value!r}")
            given[name] = value
        checked = {name: self._checked(name, value) for name, value in given.items()}
        if self._lookback(checked) == _MISSING:
            shown = ", ".join(f"{name} = {value}" for name, value in checked.items())
            usual = ", ".join(f"{name} = {value}" for name, value in self.defaults.items())
            raise PluginError(f"{self.name}: TA-Lib refuses {shown}; usual values are {usual}")
        return checked

    def lookback(self, parameters: Mapping[str, int | float]) -> int:
        """Return how many bars come before the first value."""
        return self._lookback(parameters)

    def run(self, columns: Sequence[FloatArray], parameters: Mapping[str, int | float]) -> tuple[FloatArray, ...]:
        """Return every output over whole columns, float64 [rows] each, NaN before the first value.

        The columns must be finite after their leading NaNs; TA-Lib starts behind these.
        """
        import talib

        rows = len(columns[0])
        results = getattr(talib, self.name)(*columns, **parameters)
        results = results if isinstance(results, tuple) else (results,)
        # TA-Lib fills whole-number outputs (candlestick patterns, indices) with 0 where it has no value yet.
        first = min(first_row(columns) + self._lookback(parameters), rows)
        outputs = []
        for result in results:
            output = result.astype(np.float64, copy=False)
            output[:first] = np.nan
            outputs.append(output)
        return tuple(outputs)

    def stream(self, columns: Sequence[FloatArray], parameters: Mapping[str, int | float]) -> Any:
        """Return a TA-Lib stream opened on a history of at least lookback + 1 bars, standing at its last.

        Its `value` and `update(*values)` give a number, or a tuple of as many as there are outputs.
        """
        from talib import stream

        return getattr(stream, self.name)(*columns, **parameters)

    def _checked(self, name: str, value: Any) -> int | float:
        default = self.defaults[name]
        if isinstance(value, str) and name.endswith("matype"):
            return _average_type(self.name, value)
        fits = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        # TA-Lib would cut a period of 2.5 down to 2 without a word.
        if not fits or not np.isfinite(value) or (isinstance(default, int) and value != int(value)):
            kind = "a whole number" if isinstance(default, int) else "a number"
            raise PluginError(f"{self.name}: {name} is {value!r}; expected {kind}, such as {default}")
        return int(value) if isinstance(default, int) else float(value)

    def _lookback(self, parameters: Mapping[str, int | float]) -> int:
        function = _described(self.name)
        if parameters:
            function.set_parameters(dict(parameters))
        return int(function.lookback)


@cache
def talib_function(name: str) -> TalibFunction:
    """Return the function of that name.

    Raises:
        PluginError: TA-Lib has none, with the nearest that it has.
    """
    known = talib_names()
    if name not in known:
        raise PluginError(
            f"unknown indicator {name!r}{nearest_name(name.upper(), known)} (TA-Lib has {len(known)}; pass a function "
            f"of yours itself, not its name)"
        )
    function = _described(name)
    inputs: list[str] = []
    for fields in function.input_names.values():
        inputs.extend([fields] if isinstance(fields, str) else fields)
    return TalibFunction(name, tuple(inputs), dict(function.info["parameters"]), tuple(function.output_names))


@cache
def talib_names() -> tuple[str, ...]:
    """Return the names of all of TA-Lib's functions."""
    import talib

    return tuple(talib.get_functions())  # type: ignore[no-untyped-call]


def first_row(columns: Sequence[FloatArray]) -> int:
    """Return the first row at which no column is NaN; the number of rows if there is none."""
    known = ~np.isnan(columns[0])
    for column in columns[1:]:
        known &= ~np.isnan(column)
    return int(np.argmax(known)) if known.any() else len(known)


def _described(name: str) -> Any:
    """Return a fresh one of TA-Lib's own descriptions of a function; setting parameters changes it."""
    from talib.abstract import Function  # type: ignore[attr-defined]

    return Function(name)


def _average_type(owner: str, name: str) -> int:
    from talib import MA_Type  # type: ignore[attr-defined]

    known = [word for word in dir(MA_Type) if word.isupper() and not word.startswith("_")]
    if name not in known:
        hint = nearest_name(name.upper(), known)
        raise PluginError(f"{owner}: unknown moving average {name!r}{hint}; expected one of {', '.join(known)}")
    return int(getattr(MA_Type, name))
