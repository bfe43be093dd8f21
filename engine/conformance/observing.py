"""One run of a strategy, observed. To be called in a copy of the process: it leaves traces in classes and modules."""

import sys
import time as wall_time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.bars import Bars, FloatArray
from engine.conformance.own_data import Instants, hide_in, hide_in_class
from engine.conformance.own_files import OwnFiles
from engine.conformance.probes import Future, ProbeFeed, with_future
from engine.conformance.subject import Subject, own_names
from engine.conformance.traces import Collector, Fault, LineTrace, Mark, Trace, counts
from engine.conformance.values import plain
from engine.context import DeclaredLine
from engine.errors import EngineError
from engine.indicators import IndicatorSpec
from engine.lines import Line
from engine.loop import Engine
from engine.strategy import Strategy

NEVER = sys.maxsize


@dataclass(frozen=True)
class Observation:
    """How to run.

    Args:
        bars: the market; the subject's if None.
        until: the last close_time to run to; None for all.
        future: what is done to what comes after it.
        pauses: close_times at which to note how far the run has come.
        at_pause: called then, with the strategy and the time, ahead of the note.
        after_start: called with the strategy after `on_start`, and the lines in the order asked for.
        at_begin: called when all columns are computed, ahead of the first bar.
    """

    bars: Bars | None = None
    until: int | None = None
    future: Future = Future.KEPT
    pauses: Sequence[int] = ()
    at_pause: Callable[[Strategy, int], None] | None = None
    after_start: Callable[[Strategy, list[Line]], None] | None = None
    at_begin: Callable[[], None] | None = None


def observe(subject: Subject, how: Observation | None = None) -> Trace:
    """Run the subject and return what it left behind; an error of the strategy is part of that."""
    return _Run(subject, how or Observation()).trace()


class _Run:
    def __init__(self, subject: Subject, how: Observation) -> None:
        self._subject = subject
        self._how = how
        whole = subject.bars if how.bars is None else how.bars
        self._until = int(whole.close_time[-1]) if how.until is None else how.until
        self._bars = with_future(whole, self._until, how.future)
        self._instants = Instants(subject.times, self._until, how.future)
        self._files = OwnFiles(self._instants, subject.known_in_advance)
        self._trace = Trace()
        self._collector = Collector(how.at_begin)
        self._strategy: Strategy
        self._engine: Engine

    def trace(self) -> Trace:
        subject, how, trace = self._subject, self._how, self._trace
        self._files.watch()
        besides = subject.known_in_advance
        if how.future is not Future.KEPT:
            for name in subject.modules:
                hide_in(vars(sys.modules[name]), self._instants, besides=besides)
            for kind in subject.classes:
                hide_in_class(kind, self._instants, besides=besides)
        started = wall_time.process_time()
        try:
            self._assemble()
            self._engine.run()
        except EngineError as error:
            self._note(error)
        except Exception as error:  # noqa: BLE001  kept as the outcome of the run
            self._note(error)
        trace.seconds = wall_time.process_time() - started
        trace.rows = self._collector.rows
        if hasattr(self, "_engine"):
            self._read_lines()
            trace.warm_up = max(
                self._strategy.warm_up, *(self._engine.lines.warm_up(stream) for stream in self._bars.streams)
            )
            trace.attributes = self._attributes()
        self._files.remove_copies()
        trace.not_understood = tuple(sorted(self._files.not_understood))
        return trace

    def _note(self, error: Exception) -> None:
        now = self._strategy.now if self._collector.has_begun else 0
        self._trace.fault = Fault(type(error).__name__, str(error), not self._collector.has_begun, now)

    def _assemble(self) -> None:
        how = self._how
        feed = ProbeFeed(self._bars, self._until, how.pauses, self._at_pause)
        self._strategy = strategy = self._subject.make()
        self._replace_handlers(strategy)
        parts = replace(
            self._subject.parts(feed, strategy), journal=self._collector, mode="step", compile_from=NEVER,
            checks_causality=False,
        )
        self._engine = Engine(parts)

    def _replace_handlers(self, strategy: Strategy) -> None:
        """Put our own in front of `on_start` and `targets`, on the instance alone."""
        start, targets, own = strategy.on_start, strategy.targets, vars(strategy)

        def on_start() -> None:
            noting = _Noting(strategy._context)
            strategy._context = noting
            try:
                start()
            finally:
                strategy._context = noting.context
            self._after_start(noting.lines)

        def recorded(bars: Bars) -> FloatArray:
            answer = targets(bars)
            self._trace.exposures = np.array(answer, dtype=np.float64)
            return answer

        own["on_start"], own["targets"] = on_start, recorded

    def _after_start(self, lines: list[Line]) -> None:
        strategy, how = self._strategy, self._how
        if how.future is not Future.KEPT:
            hide_in(_OwnAttributes(strategy), self._instants, besides=self._subject.known_in_advance)
        if how.future is Future.NAN:
            for declared in self._engine.lines.of_stream.values():
                for entry in declared:
                    if isinstance(entry.spec.function, str):
                        entry.spec = _FinitePart(entry.spec)  # type: ignore[assignment]
        if how.after_start is not None:
            how.after_start(strategy, lines)

    def _at_pause(self, time: int) -> None:
        strategy = self._strategy
        if not self._collector.has_begun or strategy.now != time or time in self._trace.marks:
            return
        if self._how.at_pause is not None:
            self._how.at_pause(strategy, time)
        self._trace.marks[time] = Mark(dict(counts(self._engine.recorder)), self._attributes())

    def _attributes(self) -> dict[str, Any]:
        return {name: plain(value) for name, value in own_names(self._strategy).items()}

    def _read_lines(self) -> None:
        for place, declared in enumerate(self._engine.lines.of_stream.values()):
            for entry in declared:
                if entry.values is not None:
                    self._trace.lines.append(LineTrace(entry.spec.label, _code_of(entry), place, entry.values))


def _code_of(entry: DeclaredLine) -> tuple[str, int] | None:
    code = getattr(entry.spec.function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else None


class _Noting:
    """A context that notes the lines it gives."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.lines: list[Line] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    def line(self, *arguments: Any) -> Line:
        line: Line = self.context.line(*arguments)
        self.lines.append(line)
        return line


class _OwnAttributes(dict[str, Any]):
    """The author's attributes of a strategy as a namespace; what is put in goes onto the strategy."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(own_names(strategy))
        self._strategy = strategy

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        vars(self._strategy)[name] = value


class _FinitePart:
    """A function of TA-Lib's, given the rows up to the first NaN of a spoilt future: it refuses NaN after numbers, and
    is causal."""

    def __init__(self, spec: IndicatorSpec) -> None:
        self._spec = spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spec, name)

    def values(self, columns: Callable[[str], FloatArray]) -> FloatArray:
        given = {name: columns(name) for name in self._spec.inputs}
        rows = len(next(iter(given.values())))
        finite = min(
            int(np.flatnonzero(np.isfinite(column))[-1]) + 1 if np.isfinite(column).any() else 0
            for column in given.values()
        )
        answer = np.full(rows, np.nan)
        answer[:finite] = self._spec.values(lambda name: given[name][:finite])
        return answer
