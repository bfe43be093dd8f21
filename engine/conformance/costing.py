"""What a strategy costs: time per bar beside an empty one, and memory that only grows.

Both inform and never fail: a machine may be slow, and a list may be meant to grow.
"""

import time
import tracemalloc
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.bars import Bar
from engine.conformance.observing import Observation, observe
from engine.conformance.processes import in_copy
from engine.conformance.repeating import line_that_writes
from engine.conformance.results import CheckResult
from engine.conformance.statements import source_of
from engine.conformance.subject import Subject, file_of, own_names
from engine.conformance.traces import Trace
from engine.lines import Line
from engine.strategy import Strategy

SLOW = 1e-3
"""Seconds a bar, half of them, at which a note is made: a million bars would take a quarter of an hour."""

GROWTH = 0.5
"""Items a bar that a container may gain over the second half before it is named."""

_TIMED = ("on_bar", "on_slice", "on_timer", "on_fill", "on_order", "on_forecast", "targets")


class Empty(Strategy):
    """Hears of every bar and does nothing."""

    def on_bar(self, bar: Bar) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class TimePerBar:
    """Measures process time in the strategy's handlers, and in whole runs beside those of an empty strategy."""

    name: str = "time per bar"

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return times; it never fails."""
        if reference.fault is not None:
            return CheckResult(self.name, "skipped", "the strategy does not run")
        bars = len(subject.bars)
        spent = in_copy(lambda: _handler_times(subject))
        whole = min(in_copy(lambda: observe(subject)).seconds for _ in range(2)) / bars
        empty = min(in_copy(lambda: observe(_emptied(subject))).seconds for _ in range(2)) / bars
        half, most = (float(np.percentile(spent, part)) if len(spent) else 0.0 for part in (50, 99))
        notes: tuple[str, ...] = ()
        if half > SLOW:
            hours = half * 1e6 / 3600
            notes = (f"half of all calls take {half * 1e3:.1f} ms or more: a million bars take {hours:.1f} hours",)
        return CheckResult(
            self.name, "passed",
            f"{half * 1e6:.1f} µs a call (p50), {most * 1e6:.1f} µs (p99); a run takes {whole * 1e6:.1f} µs a bar, "
            f"{empty * 1e6:.1f} with an empty strategy",
            notes=notes,
            evidence={
                "p50_seconds": half, "p99_seconds": most, "calls": len(spent), "run_seconds_per_bar": whole,
                "empty_seconds_per_bar": empty,
            },
        )


def _emptied(subject: Subject) -> Subject:
    return Subject(Empty, subject.bars, subject.parts, subject.market)


def _handler_times(subject: Subject) -> list[float]:
    """Return the process time of every call of a handler, in seconds."""
    spent: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.process_time_ns()
            answer = function(*arguments)
            spent.append((time.process_time_ns() - started) / 1e9)
            return answer

        return call

    def make() -> Strategy:
        strategy = subject.make()
        for name in _TIMED:
            if getattr(type(strategy), name) is not getattr(Strategy, name):
                vars(strategy)[name] = timed(getattr(strategy, name))
        return strategy

    observe(Subject(make, subject.bars, subject.parts, subject.market))
    return spent


@dataclass(frozen=True)
class MemoryGrowth:
    """Looks at what a strategy gains over the second half of a run: its containers, and what its lines allocate."""

    name: str = "memory growth"

    def run(self, subject: Subject, reference: Trace) -> CheckResult:
        """Return what grows; it never fails."""
        if reference.fault is not None:
            return CheckResult(self.name, "skipped", "the strategy does not run")
        half, end = int(subject.times[len(subject.times) // 2]), int(subject.times[-1])
        sizes, allocated = in_copy(lambda: _growth(subject, half, end))
        count = len(subject.times) - len(subject.times) // 2
        growing = {
            name: (after - before) / count for name, (before, after) in sizes.items()
            if after - before >= GROWTH * count
        }
        notes = tuple(
            f"self.{name} gains {rate:.1f} items an instant and never loses any: {_where(subject, name)}; keep what is "
            f"needed, in a deque(maxlen=…) say"
            for name, rate in growing.items()
        )
        total = sum(bytes_ for _, bytes_ in allocated)
        return CheckResult(
            self.name, "passed",
            f"{total / 1024:,.0f} KiB more over the last {count} instants" + (
                f"; grows: {', '.join(f'self.{name}' for name in growing)}" if growing else ""),
            notes=notes,
            evidence={
                "instants": count, "items_per_instant": growing,
                "bytes_by_line": dict(allocated[:5]),
            },
        )


def _where(subject: Subject, name: str) -> str:
    for kind in subject.classes:
        file = file_of(kind)
        if file and (line := line_that_writes(file, name, last=True)):
            return source_of(file).shown(line)
    return "in the strategy"


def _growth(
    subject: Subject, half: int, end: int
) -> tuple[dict[str, tuple[int, int]], list[tuple[str, int]]]:
    """Return the sizes of containers at both instants, and the bytes that the author's lines gained, most first."""
    sizes: dict[str, list[int]] = {}
    taken: list[tracemalloc.Snapshot] = []

    def at_pause(strategy: Strategy, now: int) -> None:
        taken.append(tracemalloc.take_snapshot())
        for name, value in own_names(strategy).items():
            if isinstance(value, Sized) and not isinstance(value, Line | str):
                sizes.setdefault(name, []).append(_size(value))

    tracemalloc.start()
    observe(subject, Observation(pauses=(half, end), at_pause=at_pause))
    tracemalloc.stop()
    gained: list[tuple[str, int]] = []
    if len(taken) == 2:
        for entry in taken[1].compare_to(taken[0], "lineno"):
            frame = entry.traceback[0]
            if entry.size_diff > 0 and subject.is_own_code(frame.filename):
                gained.append((source_of(frame.filename).shown(frame.lineno), entry.size_diff))
    return {name: (both[0], both[1]) for name, both in sizes.items() if len(both) == 2}, gained


def _size(value: Sized, depth: int = 0) -> int:
    """Return how many items a container holds, those of containers in it included."""
    count = len(value)
    if depth < 2 and isinstance(value, dict | list | tuple) and count < 1000:
        inner = value.values() if isinstance(value, dict) else value
        parts = [one for one in inner if isinstance(one, Sized) and not isinstance(one, str | Line)]
        count += sum(_size(one, depth + 1) for one in parts)
    return count

