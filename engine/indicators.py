"""Indicators: one value a bar, made of that bar and those before it.

A function is TA-Lib's, by name, or an author's own: it takes float64 columns (oldest bar first) and parameters, and
returns a column of the same length, or a tuple of columns. Row t may use rows ≤ t only. An `IndicatorSpec` says which
function of which bar fields; it is computed over whole columns ahead of a backtest and bar by bar in paper trading,
with equal results.

NaN: leading NaNs of an input are warm-up, and an indicator starts behind them. After its first number the input of a
TA-Lib function must stay finite, because one NaN would poison running sums for good (SMA, EMA, RSI …) or be passed
over without a word (MAX, OBV); such an input is refused, with its row. An author's function may do as it likes.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan, nan
from typing import Any, Protocol

import numpy as np

from engine.bars import FIELDS, FloatArray, IntArray, Stream, iso
from engine.errors import PluginError, nearest_name
from engine.indicator_talib import TalibFunction, first_row, talib_function

Function = str | Callable[..., Any]

CHECKED_ROWS = 4096
"""How far past its warm-up `check_causal` follows a function. One that looks ahead does so in a few thousand rows."""

_CUTS = 16


def compute(function: Function, *inputs_and_parameters: Any, output: int | str = 0, **options: Any) -> FloatArray:
    """Return an indicator over whole columns: `compute("SMA", bars.close, 20)`. For use inside `Strategy.targets`.

    Args:
        function: a TA-Lib name or a causal function of yours.
        inputs_and_parameters: the columns first, in the function's order (high, low, close for "ATR"), then its
            parameters.
        output: which of several results, by place or name: `compute("BBANDS", close, 20, output="lowerband")`.
        options: parameters by name.
    Returns:
        float64 [rows], NaN before the first value.
    Raises:
        PluginError: unknown name or parameter, columns that do not fit, or a function that breaks its contract.
    """
    name = _function_name(function)
    count = 0
    while count < len(inputs_and_parameters) and np.ndim(inputs_and_parameters[count]) > 0:
        count += 1
    arguments = inputs_and_parameters[count:]
    if arguments and isinstance(arguments[0], str) and arguments[0] in FIELDS:
        raise PluginError(
            f"compute({name!r}) is given the field name {arguments[0]!r} (those are for self.indicator); expected a "
            f"column, such as bars.{arguments[0]}"
        )
    columns = _columns(name, inputs_and_parameters[:count])
    if not isinstance(function, str):
        return _selected(name, _called(function, name, columns, arguments, options), len(columns[0]), output)
    talib = talib_function(function)
    if len(columns) != len(talib.inputs):
        given = _in_words(len(columns), "column")
        raise PluginError(f"compute({name!r}) is given {given}; expected {', '.join(talib.inputs)}")
    _check_finite(name, columns)
    place = _output_place(name, talib.outputs, output)
    return talib.run(columns, talib.parameters(arguments, options))[place]


def default_inputs(function: Function) -> tuple[str, ...]:
    """Return the bar fields a function takes when its user names none.

    TA-Lib's own for its functions (ATR: high, low, close; OBV: close, volume). For an author's function, the names of
    its leading arguments as far as they are bar fields: `def spread(high, low, factor)` takes high and low.

    Raises:
        PluginError: they cannot be known.
    """
    name = _function_name(function)
    if isinstance(function, str):
        inputs = talib_function(function).inputs
        if strange := [field for field in inputs if field not in FIELDS]:
            raise PluginError(
                f"{name} needs a column of {strange[0]}, which no bar has; use a function of yours, or "
                f"compute({name!r}, …) inside targets"
            )
        return inputs
    found: list[str] = []
    for argument in _argument_names(function):
        if argument not in FIELDS:
            break
        found.append(argument)
    if not found:
        raise PluginError(
            f"{name}: nobody said which bar fields it takes; name them first, as in self.indicator({name}, 'close')"
        )
    return tuple(found)


def warm_up(values: FloatArray) -> int:
    """Return how many bars pass before a line's first value: the number of leading NaNs."""
    return first_row([values])


class Incremental(Protocol):
    """An indicator that follows the bars as they close."""

    def update(self, *values: float) -> float:
        """Take the next bar's values of the spec's input fields, in order; return the indicator at that bar.

        Raises:
            PluginError: a value is not finite though earlier ones were, or the author's function breaks its contract.
        """


@dataclass(frozen=True)
class IndicatorSpec:
    """Which function of which bar fields of which stream. Checked when made; equal specs give equal lines.

    Args:
        inputs: bar fields; empty for the function's own default.
        arguments, options: the function's parameters, by place and by name.
        output: which of several results, by place or name (a name of TA-Lib's becomes its place).
    Raises:
        PluginError: unknown function, field, parameter or output, with the nearest name.
    """

    function: Function
    inputs: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    stream: Stream | None = None
    output: int | str = 0

    def __post_init__(self) -> None:
        name = _function_name(self.function)
        inputs = self.inputs or default_inputs(self.function)
        for given in inputs:
            if given not in FIELDS:
                hint = nearest_name(given, FIELDS)
                raise PluginError(f"{name}: unknown bar field {given!r}{hint}; expected {', '.join(FIELDS)}")
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "options", dict(self.options))
        if isinstance(self.function, str):
            talib = talib_function(self.function)
            if len(inputs) != len(talib.inputs):
                raise PluginError(
                    f"{name} is given {_in_words(len(inputs), 'input field')} ({', '.join(inputs)}); expected "
                    f"{len(talib.inputs)}, such as {', '.join(talib.inputs)}"
                )
            talib.parameters(self.arguments, self.options)
            object.__setattr__(self, "output", _output_place(name, talib.outputs, self.output))
        elif not isinstance(self.output, str) and (isinstance(self.output, bool) or self.output < 0):
            raise PluginError(f"{name}: output is {self.output}; expected a place from 0 on, or a name")

    def __hash__(self) -> int:
        # Parameters are left out: an author's function may take some that cannot be hashed.
        return hash((self.function, self.inputs, self.stream, self.output))

    @property
    def name(self) -> str:
        """The indicator as people write it: SMA(close, 20), BBANDS(close, 20, matype=1).lowerband."""
        options = (f"{key}={_shown(value)}" for key, value in self.options.items())
        parts = ", ".join([*self.inputs, *map(_shown, self.arguments), *options])
        return f"{_function_name(self.function)}({parts}){self._suffix()}"

    @property
    def label(self) -> str:
        """The name with its stream: BTC/USDT 1h SMA(close, 20)."""
        return self.name if self.stream is None else f"{self.stream.symbol} {self.stream.timeframe} {self.name}"

    @property
    def lookback(self) -> int | None:
        """How many bars come before the first value; None for an author's function, where only the values tell."""
        if not isinstance(self.function, str):
            return None
        talib = talib_function(self.function)
        return talib.lookback(talib.parameters(self.arguments, self.options))

    def values(self, columns: Callable[[str], FloatArray]) -> FloatArray:
        """Return the line over whole columns, ahead of a backtest.

        Args:
            columns: gives the column of a bar field, float64 [rows].
        Returns:
            float64 [rows], NaN before the first value.
        Raises:
            PluginError: an input is not finite after its first number, or the author's function breaks its contract.
        """
        given = _columns(self.name, [columns(name) for name in self.inputs])
        if not isinstance(self.function, str):
            return self._own(given)
        _check_finite(self.name, given, self.inputs)
        talib = talib_function(self.function)
        assert isinstance(self.output, int)
        return talib.run(given, talib.parameters(self.arguments, self.options))[self.output]

    def incremental(self) -> Incremental:
        """Return the same line for paper trading: bar by bar, equal to `values` at every bar."""
        if not isinstance(self.function, str):
            return _OwnIncremental(self)
        assert isinstance(self.output, int)
        talib = talib_function(self.function)
        parameters = talib.parameters(self.arguments, self.options)
        return _TalibIncremental(self.name, talib, parameters, len(self.inputs), self.output)

    def _own(self, columns: Sequence[FloatArray]) -> FloatArray:
        assert not isinstance(self.function, str)
        outputs = _called(self.function, self.name, columns, self.arguments, self.options)
        return _selected(self.name, outputs, len(columns[0]), self.output)

    def _suffix(self) -> str:
        if isinstance(self.function, str):
            outputs = talib_function(self.function).outputs
            assert isinstance(self.output, int)
            return f".{outputs[self.output]}" if len(outputs) > 1 else ""
        return f".{self.output}" if self.output != 0 else ""


def check_causal(
    spec: IndicatorSpec,
    columns: Callable[[str], FloatArray],
    values: FloatArray | None = None,
    close_time: IntArray | None = None,
) -> None:
    """Refuse an author's function that looks ahead: with its input cut short, no earlier value may change.

    TA-Lib's functions need no check: fed bar by bar, each gives what it gives over the whole column.

    Args:
        values: `spec.values(columns)`, if it is known already; close_time: of the rows, to name them in the message.
    Raises:
        PluginError: a value differs, naming the function and the first row that depends on later ones; or the function
            cannot do with few rows, which is what it is given when paper trading begins.
    """
    if isinstance(spec.function, str):
        return
    whole = spec.values(columns) if values is None else values
    given = _columns(spec.name, [columns(name) for name in spec.inputs])
    finite = whole[np.isfinite(whole)]
    # Sums taken in another order differ by rounding, which is relative to the largest terms in them.
    tolerance = 1e-9 * float(np.max(np.abs(finite))) if len(finite) else 0.0
    for length in _cut_lengths(len(whole), warm_up(whole)):
        part = spec._own([column[:length] for column in given])
        row = _first_difference(part, whole[:length], tolerance)
        if row is not None:
            when = f" ({iso(int(close_time[row]))})" if close_time is not None else ""
            if _first_difference(part, spec._own([column[:length] for column in given]), tolerance) is not None:
                raise PluginError(f"{spec.name} gives other values for the same rows each time; expected the same")
            raise PluginError(
                f"{spec.name} looks ahead: row {row}{when} is {part[row]:.10g} when the data end at row {length - 1}, "
                f"and {whole[row]:.10g} when they go on; expected a value made of rows up to its own"
            )


def _cut_lengths(rows: int, warm: int) -> list[int]:
    """Return the lengths to cut to: one row and two, then spread unevenly over what follows the warm-up."""
    span = min(rows - warm, CHECKED_ROWS)
    # The + part keeps the lengths from being multiples of one number, such as that of a function's own blocks of rows.
    spread = (warm + span * part // (_CUTS + 1) + part for part in range(1, _CUTS + 1))
    return sorted({length for length in (1, 2, *spread) if length < rows})


def _first_difference(part: FloatArray, whole: FloatArray, tolerance: float) -> int | None:
    with np.errstate(invalid="ignore"):
        differs = ~((part == whole) | (np.abs(part - whole) <= tolerance) | (np.isnan(part) & np.isnan(whole)))
    return int(np.argmax(differs)) if differs.any() else None


class _TalibIncremental:
    """Keeps the first bars until TA-Lib can open a stream on them; from then on a bar costs about a microsecond."""

    def __init__(
        self, name: str, talib: TalibFunction, parameters: Mapping[str, int | float], width: int, output: int
    ) -> None:
        self._name = name
        self._talib = talib
        self._parameters = parameters
        self._lookback = talib.lookback(parameters)
        self._output = output if len(talib.outputs) > 1 else None
        self._early: list[list[float]] = [[] for _ in range(width)]
        self._known = 0
        self._stream: Any | None = None

    def update(self, *values: float) -> float:
        if all(map(isfinite, values)):
            self._known += 1
        elif self._known or not any(map(isnan, values)):
            raise PluginError(
                f"{self._name} is given {', '.join(map(str, values))} after {_in_words(self._known, 'finite bar')}; "
                f"expected finite values once they have begun"
            )
        if self._stream is not None:
            return self._picked(self._stream.update(*values))
        for column, value in zip(self._early, values, strict=True):
            column.append(value)
        if self._known <= self._lookback:
            return nan
        self._stream = self._talib.stream([np.array(column) for column in self._early], self._parameters)
        self._early = []
        return self._picked(self._stream.value)

    def _picked(self, result: Any) -> float:
        return float(result if self._output is None else result[self._output])


class _OwnIncremental:
    """Calls the author's function on all bars so far and takes the last value: right if it is causal, O(bars)."""

    def __init__(self, spec: IndicatorSpec) -> None:
        self._spec = spec
        self._rows = 0
        self._columns = [np.empty(1024) for _ in spec.inputs]

    def update(self, *values: float) -> float:
        if self._rows == len(self._columns[0]):
            self._columns = [np.concatenate([column, np.empty(len(column))]) for column in self._columns]
        for column, value in zip(self._columns, values, strict=True):
            column[self._rows] = value
        self._rows += 1
        known = _columns(self._spec.name, [column[: self._rows] for column in self._columns])
        return float(self._spec._own(known)[-1])


def _columns(name: str, given: Sequence[Any]) -> list[FloatArray]:
    """Return the inputs as float64 columns of one length that cannot be written to."""
    columns = []
    for value in given:
        column = np.ascontiguousarray(value, dtype=np.float64).view()
        column.flags.writeable = False
        if column.ndim != 1:
            raise PluginError(f"{name} is given an input of shape {column.shape}; expected columns, (rows,)")
        columns.append(column)
    if not columns:
        raise PluginError(f"{name} is given no column; expected its inputs first, then its parameters")
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(str(len(column)) for column in columns)
        raise PluginError(f"{name} is given columns of {lengths} rows; expected one length")
    return columns


def _check_finite(name: str, columns: Sequence[FloatArray], fields: Sequence[str] = ()) -> None:
    start = first_row(columns)
    for place, column in enumerate(columns):
        strange = ~np.isfinite(column[start:])
        if strange.any():
            row = start + int(np.argmax(strange))
            which = fields[place] if fields else f"column {place}"
            raise PluginError(
                f"{name}: {which} is {column[row]} at row {row}, though numbers begin at row {start}; TA-Lib needs "
                f"finite values from there on, so fill the hole or start behind it"
            )


def _called(
    function: Callable[..., Any],
    name: str,
    columns: Sequence[FloatArray],
    arguments: Sequence[Any],
    options: Mapping[str, Any],
) -> Any:
    try:
        return function(*columns, *arguments, **options)
    except Exception as error:  # whatever an author's code raises becomes ours here, at the seam
        given = _in_words(len(columns[0]), "row")
        raise PluginError(
            f"{name} raised {type(error).__name__} when given {given}: {error}; expected a value, or NaN, for every row"
        ) from error


def _selected(name: str, outputs: Any, rows: int, output: int | str) -> FloatArray:
    """Return one output of an author's function, checked. A tuple is several outputs; a NamedTuple names them."""
    if isinstance(outputs, tuple):
        names = getattr(outputs, "_fields", tuple(map(str, range(len(outputs)))))
        outputs = outputs[_output_place(name, names, output)]
    elif output != 0:
        raise PluginError(f"{name}: output is {output!r}, but the function returned a single column; leave output out")
    try:
        column = np.asarray(outputs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        found = type(outputs).__name__
        raise PluginError(f"{name} returned {found}; expected a column of numbers ({error})") from error
    if column.shape != (rows,):
        raise PluginError(
            f"{name} returned shape {column.shape}; expected one value a row, ({rows},), NaN where there is none yet"
        )
    return column


def _output_place(name: str, outputs: Sequence[str], output: int | str) -> int:
    if isinstance(output, str):
        if output not in outputs:
            hint = nearest_name(output, tuple(outputs))
            raise PluginError(f"{name}: unknown output {output!r}{hint}; expected {', '.join(outputs)}")
        return outputs.index(output)
    if isinstance(output, bool) or not 0 <= output < len(outputs):
        raise PluginError(f"{name}: output is {output}; expected 0 … {len(outputs) - 1} ({', '.join(outputs)})")
    return output


def _function_name(function: Function) -> str:
    if isinstance(function, str):
        return function
    if not callable(function):
        raise PluginError(f"indicator {function!r} is neither a name, such as 'SMA', nor a function of yours")
    return str(getattr(function, "__name__", type(function).__name__))


def _argument_names(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # built in C, without a signature
        return []


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_words(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
