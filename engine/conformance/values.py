"""Values that can be kept, sent to another process, and compared bit by bit.

Two runs that differ in their future may hold columns of the whole market; of such, only the rows that both can know
are compared. Everything else must be equal, NaN with NaN.
"""

import math
import random
from collections import deque
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.lines import Line
from engine.orders import Order

_DEEPEST = 6
_MOST_ITEMS = 20_000


@dataclass(frozen=True)
class Opaque:
    """Something that cannot be compared; only its type is known."""

    kind: str


class Difference(NamedTuple):
    """Where two values differ first. `path` is what to write, such as `level[3]`; `row` the place in a column."""

    path: str
    one: str
    other: str
    row: int | None = None


class Rows(NamedTuple):
    """How many rows something that runs along the bars has in one run and in the other, and how many count.

    Args:
        one, other: rows of the whole; known: rows that both can know.
    """

    one: int
    other: int
    known: int


def plain(value: Any, depth: int = 0) -> Any:
    """Return a copy of a value, made of numbers, text, arrays, lists, tuples and dicts."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Decimal):
        return value
    if isinstance(value, Line | ModuleType | random.SystemRandom):
        return Opaque(type(value).__name__.lower())  # a line is compared by itself
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return np.array(value) if value.dtype.kind in "biufcMm" else _items(value.tolist(), depth)
    if isinstance(value, Enum):
        return ("enum", value.name)
    if isinstance(value, Order):
        return ("order", value.id, value.status.name)
    if isinstance(value, np.random.Generator):
        return _items([repr(value.bit_generator.state)], depth)
    if isinstance(value, random.Random):
        return ("random", repr(value.getstate()))
    if depth >= _DEEPEST:
        return Opaque(type(value).__name__)
    if isinstance(value, Mapping):
        return {repr(key): plain(one, depth + 1) for key, one in list(value.items())[:_MOST_ITEMS]}
    if isinstance(value, Set):
        return tuple(sorted(map(repr, value)))
    if isinstance(value, list | tuple | deque):
        return _items(value, depth)
    if hasattr(value, "to_numpy"):  # of pandas, polars or pyarrow, without importing them
        return _table(value, depth)
    fields = getattr(value, "__dict__", None)
    if isinstance(fields, dict) and not callable(value) and not isinstance(value, type):
        return {name: plain(one, depth + 1) for name, one in fields.items() if name != "_context"}
    return Opaque(type(value).__name__)


def _items(values: Any, depth: int) -> Any:
    items = list(values)
    if items and all(type(one) is float for one in items):
        return np.array(items)
    return [plain(one, depth + 1) for one in items[:_MOST_ITEMS]]


def _table(value: Any, depth: int) -> Any:
    columns = getattr(value, "columns", None)
    if columns is None:
        return plain(np.asarray(value.to_numpy()), depth + 1)
    return {str(name): plain(np.asarray(value[name].to_numpy()), depth + 1) for name in list(columns)}


def difference(one: Any, other: Any, rows: tuple[Rows, ...] = (), path: str = "") -> Difference | None:
    """Return the first difference between two plain values, or None.

    Args:
        rows: the lengths that things have which run along the bars.
    """
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return _of_arrays(one, other, rows, path)
    if isinstance(one, dict) and isinstance(other, dict):
        return _first(_of_dicts(one, other, rows, path))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and type(one) is type(other):
        return _first(_of_lists(one, other, rows, path))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return None
    if isinstance(one, np.ndarray | list) and isinstance(other, np.ndarray | list):  # [] has no type of items
        return None if len(one) == len(other) == 0 else Difference(path, shown(one), shown(other))
    return None if type(one) is type(other) and one == other else Difference(path, shown(one), shown(other))


def shown(value: Any) -> str:
    """Return a value for people, cut short."""
    if isinstance(value, Opaque):
        return f"a {value.kind}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    text = f"{value:.10g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _first(found: Iterator[Difference | None]) -> Difference | None:
    return next((one for one in found if one is not None), None)


def _of_dicts(
    one: dict[str, Any], other: dict[str, Any], rows: tuple[Rows, ...], path: str
) -> Iterator[Difference | None]:
    for key in one:
        if key in other:
            yield difference(one[key], other[key], rows, f"{path}[{key}]")
    if set(one) != set(other) and _known_rows(len(one), len(other), rows) is None:
        only = next(key for key in (*one, *other) if key not in one or key not in other)
        yield Difference(f"{path}[{only}]", "there" if only in one else "not there", "there" if only in other else
                         "not there")


def _of_lists(
    one: list[Any] | tuple[Any, ...], other: list[Any] | tuple[Any, ...], rows: tuple[Rows, ...], path: str
) -> Iterator[Difference | None]:
    known = _known_rows(len(one), len(other), rows)
    for place in range(min(len(one), len(other)) if known is None else known):
        yield difference(one[place], other[place], rows, f"{path}[{place}]")
    if known is None and len(one) != len(other):
        yield Difference(path, f"{len(one)} items", f"{len(other)} items")


def _of_arrays(
    one: npt.NDArray[Any], other: npt.NDArray[Any], rows: tuple[Rows, ...], path: str
) -> Difference | None:
    if one.ndim == 0 or other.ndim == 0 or one.shape[1:] != other.shape[1:]:
        same = one.shape == other.shape and bool(np.array_equal(one, other))
        return None if same else Difference(path, shown(one), shown(other))
    known = _known_rows(len(one), len(other), rows)
    if known is None:
        if len(one) != len(other):
            return Difference(path, f"{len(one)} values", f"{len(other)} values")
        known = len(one)
    first, second = one[:known], other[:known]
    differs = ~((first == second) | ((first != first) & (second != second)))
    if not differs.any():
        return None
    place = tuple(int(axis[0]) for axis in np.nonzero(differs))
    text = ", ".join(map(str, place))
    return Difference(f"{path}[{text}]", shown(first[place].item()), shown(second[place].item()), place[0])


def _known_rows(one: int, other: int, rows: tuple[Rows, ...]) -> int | None:
    """Return how many leading items of two things count, if they run along the bars; None if they do not."""
    for total in rows:
        short = total.one - one
        if total.other - other == short and 0 <= short <= max(total.one // 4, 2):
            return max(min(total.known, total.one, total.other) - short, 0)
    return None
