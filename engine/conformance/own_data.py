"""Data that a strategy brings along, with its future taken away or spoilt like the market's.

A covariate in an array or a file is part of no feed, so spoiling the feed would leave it as it is. What belongs to
which instant is read off the data: a column or keys of times, else one row a bar. Of a table of bars (it has a column
`close`) stamped with the open, a row is known when the next one begins.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.bars import IntArray, nanoseconds
from engine.conformance.probes import FACTOR, Future

_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
"""Nanoseconds in a count of time: ns, µs, ms, s."""

_KNOWN_AT = ("available_at", "known_at", "close_time")
_STAMPS = ("open_time", "time", "timestamp", "date", "datetime", "ts")


@dataclass(frozen=True)
class Instants:
    """The instants of a run, and the one whose future is hidden.

    Args:
        times: close times of the run, ascending.
    """

    times: IntArray
    now: int
    future: Future

    @property
    def known(self) -> int:
        """How many instants there are up to now."""
        return int(np.searchsorted(self.times, self.now, side="right"))

    def hide(self, value: Any, depth: int = 0) -> Any:
        """Return the value with its future hidden; the same object if it has none that is recognised."""
        if self.future is Future.KEPT or depth > 3:
            return value
        if isinstance(value, np.ndarray):
            return self._array(value)
        if hasattr(value, "to_numpy") and hasattr(value, "iloc"):
            return self._table(value)
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return self._list(value)
        return value

    def _array(self, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if value.ndim == 0 or value.dtype.kind not in "fiu" or not len(value):
            return value
        if value.ndim == 2 and (stamps := self._stamps(value[:, 0])) is not None:
            return self._spoilt(value, self._rows_known(stamps), first_column=1)
        if len(value) < len(self.times) or self._stamps(value) is not None or _is_constant(value):
            return value
        return self._spoilt(value, np.arange(len(value)) < self.known)

    def _spoilt(
        self, value: npt.NDArray[Any], known: npt.NDArray[np.bool_], first_column: int = 0
    ) -> npt.NDArray[Any]:
        if self.future is Future.DELETED:
            return value[known]
        if value.dtype.kind != "f" and self.future is Future.NAN:
            return value  # whole numbers have no NaN
        made = value.copy()
        part = made if made.ndim == 1 else made[:, first_column:]
        part[~known] = np.nan if self.future is Future.NAN else part[~known] * made.dtype.type(FACTOR)
        return made

    def _list(self, value: list[Any] | tuple[Any, ...]) -> Any:
        if not value:
            return value
        first = value[0]
        if isinstance(first, float | int) and not isinstance(first, bool):
            if not all(isinstance(one, float | int) for one in value):
                return value
            array = np.array(value, dtype=np.float64)
            made = self._array(array)
            return value if made is array else type(value)(made.tolist())
        times = self._record_times(value)
        if times is None:
            return value
        known = self._rows_known(times)
        if self.future is Future.DELETED:
            return type(value)(one for one, is_known in zip(value, known, strict=True) if is_known)
        return type(value)(
            one if is_known else self._record(one) for one, is_known in zip(value, known, strict=True)
        )

    def _record_times(self, records: Any) -> IntArray | None:
        first = records[0]
        if isinstance(first, Mapping):
            name = _time_column(list(first))
            values = [one.get(name) for one in records] if name else []
        elif isinstance(first, list | tuple) and first:
            values = [one[0] if isinstance(one, list | tuple) and one else None for one in records]
        else:
            return None
        return self._stamps(np.array(values, dtype=object)) if values else None

    def _record(self, record: Any) -> Any:
        if isinstance(record, Mapping):
            stamp = _time_column(list(record))
            return {name: one if name == stamp else self._number(one) for name, one in record.items()}
        made = [one if place == 0 else self._number(one) for place, one in enumerate(record)]
        return record._make(made) if hasattr(record, "_make") else type(record)(made)

    def _number(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, float | int):
            return value
        return float("nan") if self.future is Future.NAN else value * FACTOR

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        keys = self._stamps(np.array(list(value), dtype=object)) if value else None
        if keys is None or len(keys) < 2:
            made = {name: self.hide(one, depth + 1) for name, one in value.items()}
            return value if all(made[name] is value[name] for name in value) else made
        known = self._rows_known(keys)
        pairs = zip(value.items(), known, strict=True)
        if self.future is Future.DELETED:
            return {key: one for (key, one), is_known in pairs if is_known}
        return {key: one if is_known else self.spoil_numbers(one) for (key, one), is_known in pairs}

    def spoil_numbers(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self._number(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self._number, value))
        return self._number(value)

    def _table(self, value: Any) -> Any:
        """Deal with a table or a series of pandas, whose methods are used so that pandas need not be imported."""
        columns = list(getattr(value, "columns", ()))
        name = _time_column(columns)
        source = value[name] if name else value.index
        stamps = self._stamps(np.asarray(source.to_numpy()))
        if stamps is None and len(value) >= len(self.times):
            known = np.arange(len(value)) < self.known
        elif stamps is None:
            return value
        else:
            is_of_bars = "close" in map(str, columns) and str(name) not in _KNOWN_AT
            known = self._rows_known(stamps, by_next=is_of_bars)
        if self.future is Future.DELETED:
            return value[known]
        made = value.copy()
        numbers = [one for one in columns if made[one].dtype.kind == "f" and one != name]
        factor = np.nan if self.future is Future.NAN else FACTOR
        if columns:
            made.loc[~known, numbers] = made.loc[~known, numbers] * factor
        elif made.dtype.kind == "f":
            made[~known] = made[~known] * factor
        return made

    def _rows_known(self, stamps: IntArray, *, by_next: bool = False) -> npt.NDArray[np.bool_]:
        if by_next and len(stamps) > 1:
            stamps = stamps + int(np.median(np.diff(stamps)))
        return stamps <= self.now

    def _stamps(self, values: npt.NDArray[Any]) -> IntArray | None:
        """Return UTC nanoseconds, if the values can only be times: ascending, and some within the run."""
        if values.dtype.kind == "M":
            found = values.astype("datetime64[ns]").astype(np.int64)
        elif values.dtype.kind == "O":
            made = [_nanoseconds(one) for one in values]
            if None in made:
                return None
            found = np.array(made, dtype=np.int64)
        elif values.dtype.kind in "iuf":
            found = self._counted(values)
        else:
            return None
        is_here = len(found) > 0 and bool(((found >= self.times[0]) & (found <= self.times[-1])).any())
        return found if is_here else None

    def _counted(self, values: npt.NDArray[Any]) -> IntArray:
        if not np.isfinite(values).all():
            return np.empty(0, np.int64)
        for unit in _UNITS:
            if self.times[0] / 4 <= abs(float(np.median(values))) * unit <= self.times[-1] * 4:
                return (values * unit).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64) * unit
        return np.empty(0, np.int64)


def hide_in(names: MutableMapping[str, Any], instants: Instants, *, besides: frozenset[str]) -> None:
    """Replace what a namespace holds by the same with its future hidden, private engine names and `besides` left
    out."""
    for name, value in list(names.items()):
        if name.startswith("__") or name in besides:
            continue
        made = instants.hide(value)
        if made is not value:
            names[name] = made


def hide_in_class(kind: type, instants: Instants, *, besides: frozenset[str]) -> None:
    """Do the same to the attributes of a class."""
    for name, value in list(vars(kind).items()):
        if name.startswith("__") or name in besides or name == "parameters":
            continue
        made = instants.hide(value)
        if made is not value:
            setattr(kind, name, made)


def _time_column(names: list[Any]) -> Any:
    lowered = {str(name).lower(): name for name in names}
    return next((lowered[name] for name in (*_KNOWN_AT, *_STAMPS) if name in lowered), None)


def _nanoseconds(value: Any) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | np.integer):
        return _counted_one(int(value))
    if isinstance(value, float | np.floating):
        return _counted_one(int(value)) if np.isfinite(value) else None
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[ns]").astype(np.int64))
    if isinstance(value, str):
        if value.isdecimal():
            return _counted_one(int(value))
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        from_utc = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return nanoseconds(from_utc)
    return None


def _counted_one(value: int) -> int | None:
    """Return a count since 1970 as nanoseconds; its size tells the unit (good from 1973 on)."""
    for unit, least in zip(_UNITS, (10**17, 10**14, 10**11, 10**8), strict=True):
        if value >= least:
            return value * unit
    return None


def _is_constant(value: npt.NDArray[Any]) -> bool:
    """Return whether all is one value: a buffer that waits to be filled, and no data."""
    first = value.flat[0]
    return bool(((value == first) | (value != value)).all())

