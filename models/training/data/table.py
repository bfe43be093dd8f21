"""From bars to the table that windows are cut from: features, joins and targets of every group, row by row.

A group is one symbol at one timeframe. Everything is worked out within a group and between gaps: no rolling window, no
normaliser and no target crosses a symbol or a hole. What comes from elsewhere (a slower timeframe of the symbol, a
reference symbol, a series that is the same for all) is joined by the time at which it became known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import torch

from engine.bars import FIELDS, Bars, FloatArray, IntArray, Stream, Timeframe
from engine.errors import DataError, SettingsError, nearest_name
from models.features.catalogue import Columns
from models.features.features import Feature, features, matrix, memory_of
from models.features.fusion import Slow, as_of, beta, pieces
from models.features.rolling import change
from models.features.targets import TargetSpec, check_targets
from models.kronos.preparation import stamps_of
from models.tft.windows import CYCLES, calendar_reals
from models.training.data.audit import Audit, Dropped
from models.training.data.windows import BoolArray, Column, Segments, WindowSet

CALENDAR = tuple(CYCLES)
"""Columns of `stamps_of`, in order."""
UNKNOWN = "<unknown>"
"""Stands for every symbol and period that training has not seen: code 0."""


@dataclass(frozen=True)
class DataPlan:
    """What a network is fed and asked.

    Args:
        features: of each group's own bars, as `models.features.features` reads them.
        targets: what is forecast. lookback: T, rows of the past.
        timeframes: whose bars make rows; empty: all that there are, but for those that are only joined.
        joined: timeframe → features of the same symbol's bars at it, joined as "4h_rsi(14)", with "4h_age".
        reference, reference_features: a symbol whose features are joined to all others' as "reference_rsi(14)".
        beta: over so many bars, of a symbol's returns on the reference's; 0 for none.
        known: calendar waves that are known ahead, such as "hour_sin". steps: D, of them, ahead.
        allow: names of columns that are kept; empty: all.
        lag: ns from a bar's close until it is published. clock: of the calendar.
        across_gaps: rows on both sides of a gap count as neighbours: for markets that close overnight.
    """

    features: tuple[str, ...]
    targets: tuple[TargetSpec, ...]
    lookback: int = 96
    timeframes: tuple[str, ...] = ()
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reference: str = ""
    reference_features: tuple[str, ...] = ()
    beta: int = 0
    known: tuple[str, ...] = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
    steps: int = 1
    allow: tuple[str, ...] = ()
    lag: int = 0
    clock: str = "UTC"
    across_gaps: bool = False

    def __post_init__(self) -> None:
        check_targets(self.targets)
        if not self.features and not self.joined:
            raise SettingsError("there are no features; expected one or more, such as log_return")
        if self.lookback < 1 or self.steps < 1:
            raise SettingsError(f"lookback is {self.lookback}, steps {self.steps}; expected 1 or more of each")
        if self.beta and not self.reference:
            raise SettingsError(f"beta is over {self.beta} bars, but there is no reference; name a symbol")
        if self.steps > self.horizon:
            raise SettingsError(f"{self.steps} steps ahead are known, but targets look {self.horizon} bars ahead")

    @property
    def horizon(self) -> int:
        """Bars that the longest target looks ahead."""
        return max(target.horizon for target in self.targets)


@dataclass(frozen=True)
class Group:
    """One symbol at one timeframe, and its rows in the table."""

    symbol: str
    timeframe: str
    rows: slice

    @property
    def name(self) -> str:
        return f"{self.symbol} {self.timeframe}"


@dataclass(frozen=True)
class Table:
    """Every row of every group.

    Args:
        names: of the feature columns; values: float32 [rows, F], NaN where not known.
        targets: float32 [rows, R]; close: float64 [rows].
        known: float32 [rows, K]. open_time, close_time: int64 [rows]; label_time: when the longest target is known, 0
            where it never is.
        groups: in the order of rows. group: int64 [rows].
        series: those that are the same for all symbols.
    """

    plan: DataPlan
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    close: FloatArray
    known: npt.NDArray[np.float32]
    open_time: IntArray
    close_time: IntArray
    label_time: IntArray
    groups: tuple[Group, ...]
    group: IntArray
    series: tuple[Slow, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def segments(self) -> Segments:
        durations = np.array([Timeframe.parse(one.timeframe).duration for one in self.groups], np.int64)
        return Segments(self.group, self.close_time, durations, self.plan.across_gaps)

    @cached_property
    def usable(self) -> BoolArray:
        """bool [rows], whose features are all numbers."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    @cached_property
    def ends(self) -> IntArray:
        """Rows at which a window ends, int64 [N]."""
        return self.segments.ends(self.plan.lookback, self.plan.horizon, usable=self.usable, label=self._has_target)

    @property
    def _has_target(self) -> BoolArray:
        return np.asarray(np.isfinite(self.targets).any(axis=1))

    def windows(self) -> WindowSet:
        """Return all windows: columns values [T, F], known [T + D, K], target [R], close, group (a number a window).

        Raises:
            DataError: there is none; with the table of what was left out.
        """
        self.audit().check()
        past, ends = self.plan.lookback, self.ends
        columns = {
            "values": Column(torch.from_numpy(np.nan_to_num(self.values, posinf=0.0, neginf=0.0)), past),
            "target": Column(torch.from_numpy(self.targets)),
            "group": Column(torch.from_numpy(self.group)),
        }
        if self.plan.known:
            columns["known"] = Column(torch.from_numpy(self.known), past, self.plan.steps)
        return WindowSet(
            columns,
            torch.from_numpy(ends),
            self.close_time[ends] + self.plan.lag,
            self.label_time[ends],
            self.group[ends],
            tuple(group.name for group in self.groups),
        )

    def audit(self) -> Audit:
        """Return what became of every row."""
        plan, segments = self.plan, self.segments
        begins = np.flatnonzero(np.diff(segments.numbers, prepend=-1))
        # A segment's warm-up lasts until its first row without NaN.
        first = np.full(len(self), len(self), np.int64)
        first[self.usable] = np.flatnonzero(self.usable)
        first = np.minimum.reduceat(first, begins)[segments.numbers]
        left = np.ones(len(self), bool)
        left[self.ends] = False
        fits = np.zeros((2, len(self)), bool)
        fits[0, segments.ends(plan.lookback, 0, usable=self.usable)] = True
        fits[1, segments.ends(1, plan.horizon)] = True
        rows = np.arange(len(self))
        reasons = {
            "warm-up": rows < first,
            "not finite": ~self.usable,
            "past too short": ~fits[0],
            "future too short": ~fits[1],
            "no target": ~self._has_target,
        }
        dropped = []
        for reason, applies in reasons.items():
            chosen = left & applies
            left &= ~applies
            for place in np.unique(self.group[chosen]):
                of = chosen & (self.group == place)
                dropped.append(
                    Dropped(self.groups[place].name, reason, int(of.sum()), self._detail(reason, np.flatnonzero(of)))
                )
        assert not left.any()
        counts = np.bincount(self.group[self.ends], minlength=len(self.groups))
        memory = int(np.flatnonzero(self.usable)[0]) if self.usable.any() else 0
        return Audit(
            {one.name: one.rows.stop - one.rows.start for one in self.groups},
            {one.name: int(count) for one, count in zip(self.groups, counts, strict=True)},
            tuple(dropped),
            memory + plan.lookback + plan.horizon,
        )

    def _detail(self, reason: str, rows: IntArray) -> str:
        if reason not in ("warm-up", "not finite"):
            return ""
        missing = ~np.isfinite(self.values[rows])
        count = missing.sum(axis=0)
        worst = [self.names[place] for place in np.argsort(-count, kind="stable")[:3] if count[place]]
        return f"longest: {worst[0]}" if reason == "warm-up" and worst else ", ".join(worst)


def build(bars: Bars, plan: DataPlan, macro: Sequence[Slow] = ()) -> Table:
    """Return the table of bars.

    Args:
        bars: all streams. macro: series that are the same for all symbols, joined under their own names.
    Raises:
        SettingsError: a feature, symbol or timeframe that there is not. DataError: bars that cannot be learned from.
    """
    own = features(plan.features)
    streams = _streams(bars, plan)
    parts = [_Part(bars.of(stream), stream, plan) for stream in streams]
    joins = _Joins(bars, plan, macro)
    names = (*(one.name for one in own), *joins.names)
    kept = _kept(names, plan.allow)
    blocks = [part.values(own, joins)[:, kept] for part in parts]
    counts = [len(part.bars) for part in parts]
    starts = np.concatenate([[0], np.cumsum(counts)])
    groups = tuple(
        Group(stream.symbol, stream.timeframe, slice(int(starts[place]), int(starts[place + 1])))
        for place, stream in enumerate(streams)
    )
    return Table(
        plan,
        tuple(names[place] for place in kept),
        np.concatenate(blocks),
        np.concatenate([part.targets() for part in parts]),
        np.concatenate([part.bars.close for part in parts]),
        np.concatenate([part.known() for part in parts]),
        np.concatenate([part.bars.open_time for part in parts]),
        np.concatenate([part.bars.close_time for part in parts]),
        np.concatenate([part.label_times() for part in parts]),
        groups,
        np.repeat(np.arange(len(groups)), counts),
        tuple(macro),
    )


class _Part:
    """One group at work."""

    def __init__(self, bars: Bars, stream: Stream, plan: DataPlan) -> None:
        self.bars, self.stream, self.plan = bars, stream, plan
        # As a forecaster gets them: rounded to float32 once.
        self.columns = {name: _rounded(getattr(bars, name)) for name in FIELDS}
        _check(self.columns, stream)
        duration = Timeframe.parse(stream.timeframe).duration
        self.pieces = pieces(bars.close_time, duration, across_gaps=plan.across_gaps)

    def values(self, own: Sequence[Feature], joins: "_Joins") -> npt.NDArray[np.float32]:
        """Return features and joins, float32 [rows, F]."""
        return np.concatenate([self._each(lambda columns: matrix(own, columns)), joins.of(self)], axis=1)

    def targets(self) -> npt.NDArray[np.float32]:
        """Return targets, float32 [rows, R]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._each(
                lambda columns: np.stack([one.values(columns) for one in self.plan.targets], axis=-1).astype(np.float32)
            )

    def known(self) -> npt.NDArray[np.float32]:
        """Return calendar waves of the bars' opens, float32 [rows, K]."""
        clock: tzinfo = ZoneInfo(self.plan.clock)
        stamps = torch.from_numpy(stamps_of(self.bars.open_time, clock))[None]
        return np.asarray(calendar_reals(stamps, CALENDAR, self.plan.known)[0].numpy())

    def label_times(self) -> IntArray:
        """Return when each row's longest target is known, int64 [rows]; 0 where the data end before."""
        out, horizon = np.zeros(len(self.bars), np.int64), self.plan.horizon
        out[:-horizon] = self.bars.close_time[horizon:] + self.plan.lag
        return out

    def returns(self) -> FloatArray:
        """Return log returns, NaN behind a gap."""
        return self._each(lambda columns: change(np.log(columns["close"])))

    def _each(self, make: Callable[[Columns], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate([make({name: c[piece] for name, c in self.columns.items()}) for piece in self.pieces])


class _Joins:
    """All that comes from other streams, made once and joined to each group."""

    def __init__(self, bars: Bars, plan: DataPlan, macro: Sequence[Slow]) -> None:
        self._bars, self._plan, self._macro = bars, plan, tuple(macro)
        self._slow: dict[tuple[str, str], Slow] = {}
        self._joined = {timeframe: features(texts) for timeframe, texts in plan.joined.items()}
        self._reference = features(plan.reference_features)
        if plan.reference and plan.reference not in bars.symbols:
            raise SettingsError(
                f"the reference is {plan.reference!r}{nearest_name(plan.reference, bars.symbols)}; there are bars of "
                f"{', '.join(bars.symbols)}"
            )
        names = [f"{frame}_{one.name}" for frame, of in self._joined.items() for one in of]
        names += [f"{frame}_age" for frame in self._joined]
        names += [f"reference_{one.name}" for one in self._reference]
        names += [f"beta({plan.beta})"] if plan.beta else []
        self.names = (*names, *(name for one in self._macro for name in one.names))
        if strange := [name for name in self.names if "." in name]:
            raise SettingsError(f"a joined column is named {strange[0]!r}; expected a name without a dot")

    def of(self, part: _Part) -> npt.NDArray[np.float32]:
        """Return the joined columns of a group, float32 [rows, joined]."""
        at = part.bars.close_time + self._plan.lag
        columns, ages = [], []
        for timeframe, of in self._joined.items():
            values, age = as_of(self._series(Stream(part.stream.symbol, timeframe), of), at)
            columns.append(values)
            ages.append(age[:, None])
        columns += ages
        if self._plan.reference:
            stream = Stream(self._plan.reference, part.stream.timeframe)
            if self._reference:
                columns.append(as_of(self._series(stream, self._reference), at)[0])
            if self._plan.beta:
                columns.append(self._beta(stream, part, at)[:, None])
        columns += [as_of(one, at)[0] for one in self._macro]
        if not columns:
            return np.empty((len(at), 0), np.float32)
        return np.concatenate(columns, axis=1).astype(np.float32)

    def _series(self, stream: Stream, of: Sequence[Feature]) -> Slow:
        key = (stream.symbol, f"{stream.timeframe} {' '.join(one.name for one in of)}")
        if key not in self._slow:
            part = _Part(self._bars.of(stream), stream, self._plan)
            values = part._each(lambda columns: matrix(of, columns)).astype(np.float64)
            duration = Timeframe.parse(stream.timeframe).duration
            available = part.bars.close_time + self._plan.lag
            self._slow[key] = Slow(tuple(one.name for one in of), available, values, duration)
        return self._slow[key]

    def _beta(self, stream: Stream, part: _Part, at: IntArray) -> FloatArray:
        reference = _Part(self._bars.of(stream), stream, self._plan)
        duration = Timeframe.parse(stream.timeframe).duration
        lag = self._plan.lag
        slow = Slow(("r",), reference.bars.close_time + lag, reference.returns()[:, None], duration, tolerance=0.0)
        other, own = as_of(slow, at)[0][:, 0], part.returns()
        return np.concatenate([beta(own[piece], other[piece], self._plan.beta) for piece in part.pieces])


def _streams(bars: Bars, plan: DataPlan) -> list[Stream]:
    there = sorted({stream.timeframe for stream in bars.streams}, key=lambda name: Timeframe.parse(name).duration)
    for timeframe in (*plan.timeframes, *plan.joined):
        if timeframe not in there:
            raise SettingsError(f"there are no bars of {timeframe}; there are bars of {', '.join(there)}")
    wanted = plan.timeframes or tuple(name for name in there if name not in plan.joined)
    return [stream for name in wanted for stream in bars.streams if stream.timeframe == name]


def _kept(names: Sequence[str], allow: Sequence[str]) -> list[int]:
    """Return the places of allowed columns, in their own order.

    Raises:
        SettingsError: the list names one that there is not.
    """
    for name in allow:
        if name not in names:
            raise SettingsError(
                f"the allow-list names {name!r}, which is no feature here{nearest_name(name, list(names))}; there are "
                f"{', '.join(names)}"
            )
    return [place for place, name in enumerate(names) if not allow or name in allow]


def _rounded(values: FloatArray) -> FloatArray:
    return values.astype(np.float32).astype(np.float64)


def _check(columns: Columns, stream: Stream) -> None:
    """Refuse bars that are none.

    Raises:
        DataError: naming the first.
    """
    rows = np.stack([columns[name] for name in FIELDS], axis=1)
    bad = ~np.isfinite(rows).all(axis=1) | (rows[:, :4] <= 0).any(axis=1) | (rows[:, 4] < 0)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{stream.symbol} {stream.timeframe}: bar {row} is {rows[row].tolist()}; expected finite numbers, prices "
            "above 0 and no volume below 0; `data check` lists such bars"
        )


def needed_bars(plan: DataPlan) -> int:
    """Return how many bars a window's features take: lookback and the features' memory."""
    return plan.lookback + memory_of(features(plan.features)) - 1
