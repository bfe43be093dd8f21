"""The forecast book: which forecasts are due, where their answers come from, and when the strategy is told.

In a backtest every due window is known before the loop starts: a thread computes them in batches, ahead of the loop. In
paper trading the windows of the bars that just closed are one batch. From there on the two are the same: an answer is
checked, journalled, delivered at the first instant at which it is available, and scored when its horizon closes.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from engine.bars import Bars, Stream, Timeframe
from engine.deciding import WatchedPolicy
from engine.errors import PluginError, nearest_name
from engine.forecasting import contamination
from engine.forecasting.checking import check_spec, crosses, in_order, is_flat, is_impossible
from engine.forecasting.computing import BATCH, Ahead, Answer, Computer, Told
from engine.forecasting.handles import ForecastPanel, ModelForecasts
from engine.forecasting.history import GrowingHistory, History, known_histories
from engine.forecasting.ledger import Ledger
from engine.forecasting.record import record_of
from engine.forecasting.repair import repaired
from engine.forecasting.rows import forecast_row, score_row, skill_row
from engine.forecasting.scores import Score
from engine.forecasting.series import Series, series_of
from engine.forecasting.skill import SkillRule, SkillState, SkillWatch, check_judged, summary_of
from engine.forecasting.store import ForecastStore
from engine.forecasting.windows import Request, WindowCutter, due_rows, joined_streams
from engine.forecasts import Float32Array, Forecast, Forecaster, ForecastKind, ForecastSpec, check_alike
from engine.interfaces import Feed
from engine.moment import ManyMoment, Moment
from engine.recorder import Recorder
from engine.strategy import Strategy, overrides

CONSTANT_AFTER = 3
"""Equal answers to different windows of a symbol, one after another, from which a model counts as stuck."""


Load = Callable[[str, str, str], Forecaster]
"""Given a model's name, the place of an artefact and the hash of its content, returns it at work."""


@dataclass(frozen=True)
class ForecastTerms:
    """Under which terms forecasts are made.

    Args:
        seed: of the run; each request has its own, made of it. store: where answers are kept; None keeps none.
        latency: nanoseconds from the close of a bar until a model's forecast is available, by model.
        batch: requests computed at once, at most. is_ahead: whether a thread computes ahead of the loop.
        skill: when targets that rest on a model are scaled down, by model. told: told of progress, from that thread.
    """

    seed: int = 0
    store: ForecastStore | None = None
    latency: Mapping[str, int] = field(default_factory=dict)
    batch: int = BATCH
    is_ahead: bool = True
    skill: Mapping[str, SkillRule] = field(default_factory=dict)
    told: Told | None = None
    series: Sequence[Series] = ()
    """Of a backtest: series of numbers that models may join."""
    timed: Callable[[str, int, int], int] | None = None
    """Live: given a model, the close of its bars and the nanoseconds that it took, returns those that count. A session
    records them; one that is replayed returns what was recorded."""
    load: Load | None = None
    """Live: returns the model that takes over from another while a session goes on."""


class Version(NamedTuple):
    """A model that answers for bars that close from `since` (UTC ns) on."""

    since: int
    spec: ForecastSpec
    computer: Computer


@dataclass
class _Declared:
    """A model that the strategy asked for."""

    index: int
    handle: ModelForecasts
    forecaster: Forecaster
    streams: tuple[Stream, ...]
    every: str
    latency: int
    watch: SkillWatch
    latest: dict[str, Forecast] = field(default_factory=dict)
    repeats: dict[str, tuple[bytes, str, int]] = field(default_factory=dict)
    asked: dict[Request, Forecast | None] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    flagged: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    repaired: int = 0
    """Values of forecast bars that could not be, made possible."""
    computer: Computer | None = None
    later: list[Version] = field(default_factory=list)
    """Models that took over while a session went on."""
    ahead: Ahead | None = None
    due: list[list[Request]] = field(default_factory=list)
    """Of a feed known ahead: the requests of every instant; `next_due`: which comes next."""
    next_due: int = 0

    @property
    def spec(self) -> ForecastSpec:
        return self.handle.spec

    @property
    def interval(self) -> int | None:
        return None if self.every == "bar" else Timeframe.parse(self.every).duration

    @property
    def cutter(self) -> WindowCutter:
        assert self.computer is not None, "made when the run starts"
        return self.computer.cutter

    def version_at(self, as_of: int) -> Version:
        """Return who answers for bars that close at an instant."""
        assert self.computer is not None, "made when the run starts"
        first = Version(0, self.spec, self.computer)
        return next((one for one in reversed(self.later) if one.since <= as_of), first)

    @property
    def versions(self) -> list[Version]:
        """Everyone who has answered, the first first."""
        return [self.version_at(0), *self.later]

    def answered(self, requests: Sequence[Request]) -> tuple[list[Answer], float]:
        """Return answers made now, each by who answers at its bars' close, and the seconds within the models."""
        made: dict[Request, Answer] = {}
        seconds = 0.0
        of_version: dict[int, list[Request]] = {}
        for request in requests:
            of_version.setdefault(self.version_at(request.as_of).since, []).append(request)
        for since, some in of_version.items():
            computer = self.version_at(since).computer
            before = computer.work.seconds
            made.update(zip(some, computer.answers(some), strict=True))
            seconds += computer.work.seconds - before
        return [made[request] for request in requests], seconds


class _Due(NamedTuple):
    """Forecasts that become available together. `answers` None: they are made ahead."""

    available_at: int
    order: int
    number: int
    declared: _Declared
    requests: list[Request]
    answers: list[Answer] | None
    is_panel: bool


class ForecastBook:
    """The forecasts of a run.

    Args:
        forecasters: the models there are, by the name that the strategy knows them by.
        policies: those that the strategy asked for by now, by name: what they have seen is stamped, too.
    """

    def __init__(
        self, feed: Feed, strategy: Strategy, forecasters: Mapping[str, Forecaster], terms: ForecastTerms,
        recorder: Recorder, moment: Moment, policies: Mapping[str, WatchedPolicy] | None = None,
    ) -> None:
        self._feed = feed
        self._strategy = strategy
        self._forecasters = forecasters
        self._terms = terms
        self._recorder = recorder
        self._moment = moment
        self._policies = policies if policies is not None else {}
        self._declared: dict[str, _Declared] = {}
        self._histories: dict[Stream, History] = {}
        self._told: dict[tuple[str, ...], Series] = {}
        """Live: the series that models join, as far as they were told."""
        self._is_live = feed.row_count is None
        self._has_begun = False
        self._first: int | None = None
        """When the first bar opened; None before it."""
        self._waiting: list[_Due] = []
        self._number = 0
        self._forecast_count = 0
        self._ledger = Ledger()
        self._cited: tuple[int, ...] | None = None
        self._tells_each = overrides(strategy, "on_forecast")
        self._tells_panels = overrides(strategy, "on_forecasts")

    @property
    def is_used(self) -> bool:
        """Whether the strategy has asked for a model."""
        return bool(self._declared)

    # ── before the run ──────────────────────────────────────────────────────────────────────────────────────────────

    def declare(self, model: str, every: str, symbols: Sequence[str] | None) -> ModelForecasts:
        """Note that the strategy wants a model's forecasts; see Strategy.forecasts.

        Raises:
            PluginError: there is no such model, it was asked for already, or it does not fit the feed.
        """
        name = type(self._strategy).__name__
        if self._has_begun:
            raise PluginError(f"{name}: forecasts({model!r}) was called after the start; call it in on_start")
        forecaster = self._forecasters.get(model)
        if forecaster is None:
            known = ", ".join(self._forecasters) or f"none; add [models.{model}] to the settings"
            near = nearest_name(model, list(self._forecasters))
            raise PluginError(f"{name} asks for the model {model!r}; this run has {known}{near}")
        if model in self._declared:
            raise PluginError(f"{name}: forecasts({model!r}) was called twice; keep what the first call returned")
        spec = replace(forecaster.spec, name=model)
        check_spec(spec)
        if every not in ("bar", "ask"):
            duration, interval = Timeframe.parse(spec.timeframe).duration, Timeframe.parse(every).duration
            if interval < duration:
                raise PluginError(
                    f"{name}: forecasts of {model} every {every}, but its bars last {spec.timeframe}; expected no "
                    'less, "bar" or "ask"'
                )
        streams = self._streams_for(model, spec, symbols)
        for stream in streams:
            joined_streams(spec, stream, self._feed.streams)
        if not self._is_live:
            series_of(spec, self._terms.series)
        if model in self._terms.skill:
            check_judged(spec, every, len(streams))
        handle = ModelForecasts(model, spec, tuple(stream.symbol for stream in streams), self)
        self._declared[model] = _Declared(
            len(self._declared), handle, forecaster, streams, every, self._terms.latency.get(model, 0),
            SkillWatch(spec.kind, self._terms.skill.get(model)),
        )
        return handle

    def _streams_for(self, model: str, spec: ForecastSpec, symbols: Sequence[str] | None) -> tuple[Stream, ...]:
        found = tuple(stream for stream in self._feed.streams if stream.timeframe == spec.timeframe)
        if not found:
            there = ", ".join(dict.fromkeys(stream.timeframe for stream in self._feed.streams))
            raise PluginError(f"model {model} reads bars of {spec.timeframe or 'no timeframe'}; the feed has {there}")
        if symbols is None:
            return found
        known = [stream.symbol for stream in found]
        for symbol in symbols:
            if symbol not in known:
                raise PluginError(
                    f"forecasts({model!r}) names {symbol!r}; there are bars of {spec.timeframe} of "
                    f"{', '.join(known[:8])}{nearest_name(symbol, known)}"
                )
        return tuple(stream for stream in found if stream.symbol in symbols)

    def start(self) -> None:
        """Find out what is due, and begin computing it."""
        self._has_begun = True
        if not self._declared:
            chunk = next(iter(self._feed.chunks()), None) if self._policies and not self._is_live else None
            self._first = int(chunk.open_time.min()) if chunk is not None and len(chunk) else None
            return
        self._histories = self._made_histories()
        for declared in self._declared.values():
            histories = [self._histories[stream] for stream in declared.streams]
            series = self._series_of(declared.spec)
            cutter = WindowCutter(declared.spec, histories, self._terms.seed, self._histories, series)
            declared.computer = Computer(cutter, declared.forecaster, self._terms.store, self._terms.batch)
            if not self._is_live and declared.every != "ask":
                self._plan(declared, histories)

    def swap(self, model: str, forecaster: Forecaster, since: int) -> None:
        """Let another model answer, under the same name, for bars that close from an instant (UTC ns) on.

        Raises:
            PluginError: it does not say the same kind of thing of the same windows.
        """
        declared = self._declared.get(model)
        if declared is None or declared.computer is None:
            return  # nobody asks for it
        spec = replace(forecaster.spec, name=model)
        check_alike(declared.spec, spec)
        of = declared.cutter
        cutter = WindowCutter(spec, of.histories, self._terms.seed, self._histories, of.series)
        computer = Computer(cutter, forecaster, self._terms.store, self._terms.batch)
        declared.later.append(Version(since, spec, computer))

    def answering(self, model: str) -> ForecastSpec:
        """Return the spec of who answers now."""
        return self._declared[model].versions[-1].spec

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the strategy asked for."""
        return tuple(self._declared)

    def _made_histories(self) -> dict[Stream, History]:
        streams = list(dict.fromkeys(stream for one in self._declared.values() for stream in self._read_by(one)))
        if not self._is_live:
            histories = known_histories(self._feed, streams)
            opened = [int(one.open_times(0, 1)[0]) for one in histories.values() if len(one.open_times(0, 1))]
            self._first = min(opened, default=None)
            return histories
        keep = 16 + max(
            one.spec.lookback + max(one.spec.horizon, *(join.memory + one.spec.lookback for join in one.spec.joined), 0)
            for one in self._declared.values()
        )
        return {stream: GrowingHistory(stream, keep) for stream in streams}

    def _series_of(self, spec: ForecastSpec) -> list[Series]:
        if not self._is_live:
            return series_of(spec, self._terms.series)
        return [self._told.setdefault(columns, Series(columns)) for columns in spec.series]

    @property
    def series(self) -> tuple[tuple[str, ...], ...]:
        """The columns of the series that models join."""
        return tuple(dict.fromkeys(columns for one in self._declared.values() for columns in one.spec.series))

    def series_told(
        self, columns: Sequence[str], available_at: Sequence[int], values: Sequence[Sequence[float]]
    ) -> None:
        """Take in rows of a series of a live session; windows that end from now on may have them."""
        for wanted, series in self._told.items():
            if set(wanted) <= set(columns):
                places = [columns.index(name) for name in wanted]
                series.append(available_at, np.asarray(values, np.float64).reshape(len(values), -1)[:, places])

    def series_known(self, columns: Sequence[str]) -> int | None:
        """Return when the last row that was told of some columns became known, UTC ns; None before the first."""
        times = [series.ends() for wanted, series in self._told.items() if set(wanted) <= set(columns) and len(series)]
        return max(times, default=None)

    def _read_by(self, declared: _Declared) -> list[Stream]:
        """Return the streams that a model's windows are cut from."""
        found = list(declared.streams)
        for stream in declared.streams:
            found += joined_streams(declared.spec, stream, self._feed.streams)
        return found

    def _plan(self, declared: _Declared, histories: Sequence[History]) -> None:
        """List what is due of a model over the whole run, by instant and in feed order."""
        times, places, rows = [], [], []
        for place, history in enumerate(histories):
            close_time = history.close_times(0, history.closed(2**62))
            due = due_rows(close_time, declared.spec.lookback, declared.interval)
            if declared.spec.joined or declared.spec.series:
                due = due[close_time[due + 1 - declared.spec.lookback] >= declared.cutter.ready_since(place)]
            times.append(close_time[due])
            rows.append(due)
            places.append(np.full(len(due), place))
        time, place_of, row = (np.concatenate(part).astype(np.int64) for part in (times, places, rows))
        order = np.lexsort((place_of, time))
        requests = [
            Request(*one)
            for one in zip(place_of[order].tolist(), row[order].tolist(), time[order].tolist(), strict=True)
        ]
        if not requests:
            return  # fewer bars than the lookback
        starts = np.flatnonzero(np.diff(time[order], prepend=-1)).tolist()
        declared.due = [requests[start:end] for start, end in zip(starts, [*starts[1:], len(requests)], strict=True)]
        if self._terms.is_ahead and requests:
            assert declared.computer is not None
            declared.ahead = Ahead(declared.computer, requests, self._terms.batch, self._terms.told)
            declared.ahead.start()
        self._push_next(declared)

    def _push_next(self, declared: _Declared) -> None:
        if declared.next_due < len(declared.due):
            requests = declared.due[declared.next_due]
            declared.next_due += 1
            self._wait(declared, requests, None, requests[0].as_of + declared.latency, is_panel=True)

    def _wait(
        self, declared: _Declared, requests: list[Request], answers: list[Answer] | None, available_at: int, *,
        is_panel: bool,
    ) -> None:
        self._number += 1
        due = _Due(available_at, declared.index, self._number, declared, requests, answers, is_panel)
        heapq.heappush(self._waiting, due)

    # ── during the run ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def next_due(self) -> int | None:
        """When the next forecasts become available; None if none are on their way."""
        return self._waiting[0].available_at if self._waiting else None

    def observe(self, bars: Bars, start: int, end: int, *, asks: bool = True) -> None:
        """Take in the bars of one instant of a live feed, and ask for what is due at it: one batch a model.

        Args:
            asks: False for bars from before the first decision, which only fill windows.
        """
        if self._is_live and self._first is None:
            self._first = int(bars.open_time[start])
        if not self._is_live or not self._declared:
            return
        closed: dict[Stream, int | None] = {}
        for row in range(start, end):
            stream = bars.streams[0 if bars.stream is None else int(bars.stream[row])]
            history = self._histories.get(stream)
            if isinstance(history, GrowingHistory):
                rows = history.rows
                closed[stream] = int(history.close_times(rows - 1, rows)[0]) if rows else None
                history.append(bars, row)
        as_of = int(bars.close_time[start])
        self._ledger.note(as_of)
        if not asks:
            return
        for declared in self._declared.values():
            requests = self._due_now(declared, closed, as_of)
            if requests:
                answers, took = self._answers(declared, requests)
                self._wait(declared, requests, answers, as_of + max(declared.latency, took), is_panel=True)

    def _due_now(self, declared: _Declared, closed: Mapping[Stream, int | None], as_of: int) -> list[Request]:
        requests: list[Request] = []
        if declared.every == "ask":
            return requests
        now = np.array([as_of], np.int64)
        for place, stream in enumerate(declared.streams):
            if stream not in closed:
                continue
            row = declared.cutter.histories[place].closed(as_of) - 1
            enough = row + 1 >= declared.spec.lookback
            if enough and len(due_rows(now, 1, declared.interval, closed[stream])):
                request = Request(place, row, as_of)
                requests += [request] if declared.cutter.is_ready(request) else []
        return requests

    def _answers(self, declared: _Declared, requests: list[Request]) -> tuple[list[Answer], int]:
        """Return answers made now, and how long the model took over them: counted in paper trading, not in a backtest,
        whose outcome must not depend on the machine."""
        answers, seconds = declared.answered(requests)
        if not self._is_live:
            return answers, 0
        took = round(seconds * 1e9)
        timed = self._terms.timed
        return answers, took if timed is None else timed(declared.handle.model, requests[-1].as_of, took)

    def take_next(self, before: int, *, inclusive: bool) -> bool:
        """Deliver the next forecasts that are available before (or at) an instant; return whether there were any.

        Live, what took a moment to compute is delivered at the instant of its bar: the loop has waited for it.
        """
        if not self._waiting:
            return False
        due = self._waiting[0]
        at = due.available_at
        if self._is_live and due.declared.latency == 0:
            at = min(at, max(due.requests[0].as_of, self._moment.time))
        if at > before or (at == before and not inclusive):
            return False
        heapq.heappop(self._waiting)
        if isinstance(self._moment, ManyMoment):
            self._moment.time = at
        self._deliver(due)
        return True

    def _deliver(self, due: _Due) -> None:
        declared = due.declared
        if due.answers is not None:
            answers = due.answers
        elif declared.ahead is not None:
            answers = declared.ahead.take(len(due.requests))
        else:
            answers, _ = self._answers(declared, due.requests)
        if due.is_panel and due.answers is None:
            self._push_next(declared)
        good = self._noted(declared, due.requests, answers, due.available_at, is_panel=due.is_panel)
        if self._tells_each:
            for forecast in good:
                self._strategy.on_forecast(forecast)
        if self._tells_panels and due.is_panel and good:
            panel = ForecastPanel(
                declared.handle.model, declared.spec, due.requests[0].as_of, due.available_at, tuple(good)
            )
            self._strategy.on_forecasts(panel)

    def _noted(
        self, declared: _Declared, requests: Sequence[Request], answers: Sequence[Answer], available_at: int, *,
        is_panel: bool,
    ) -> list[Forecast]:
        """Journal answers, and return those that may be delivered; they are scored later."""
        self.settle()
        faults = [
            self._fault(declared, request, answer) for request, answer in zip(requests, answers, strict=True)
        ]
        if is_panel and declared.spec.kind is ForecastKind.SCORE and is_flat(answers):
            faults = [fault or "constant" for fault in faults]
        good, places = [], []
        for request, answer, fault in zip(requests, answers, faults, strict=True):
            forecast = self._forecast(declared, request, answer, available_at, fault)
            if self._recorder.is_journalled:
                self._recorder.forecast(forecast_row(forecast, answer.cut))
            if fault:
                declared.flagged[fault] = declared.flagged.get(fault, 0) + 1
                continue
            good.append(forecast)
            places.append((declared.cutter.histories[request.place], request.row))
            declared.latest[forecast.symbol] = forecast
        declared.delivered += len(good)
        self._ledger.add(good, places, is_section=is_panel)
        return good

    def _fault(self, declared: _Declared, request: Request, answer: Answer) -> str:
        """Return "nan", "impossible", "constant" or ""; called once an answer, in order of time."""
        values, spec = answer.values, declared.spec
        is_broken = not np.isfinite(values).all()
        if is_broken or (spec.kind is ForecastKind.PATHS and (values[..., 3] <= 0).any()):
            return "nan"
        if is_impossible(spec, values):
            return "impossible"
        if spec.kind is ForecastKind.PATHS and values[..., 3].size > 1 and np.ptp(values[..., 3]) == 0:
            return "constant"
        symbol = declared.streams[request.place].symbol
        content, window = values.tobytes(), answer.cut.window
        before, window_before, count = declared.repeats.get(symbol, (b"", "", 0))
        if content != before:
            count = 1
        elif window != window_before:
            count += 1
        declared.repeats[symbol] = (content, window, count)
        return "constant" if count >= CONSTANT_AFTER else ""

    def _forecast(
        self, declared: _Declared, request: Request, answer: Answer, available_at: int, fault: str
    ) -> Forecast:
        self._forecast_count += 1
        cutter, spec = declared.cutter, declared.version_at(request.as_of).spec
        history = cutter.histories[request.place]
        flags = {fault} if fault else set()
        if fault != "nan" and crosses(spec, answer.values):
            flags.add("crossed")
        if contamination.is_contaminated(spec, request.as_of):
            flags.add("contaminated")
        if cutter.has_hole(request):
            flags.add("gap")
        if cutter.is_filled(request):
            flags.add("filled")
        values = answer.values if fault else in_order(spec, answer.values)
        if spec.repairs and fault != "nan":
            values, repairs = repaired(values)
            declared.repaired += repairs.count
            flags |= {"repaired"} if repairs.count else set()
        return Forecast(
            self._forecast_count, spec, history.stream.symbol, request.as_of, available_at,
            cutter.horizon_end(request), float(history.closes(request.row, request.row + 1)[0]),
            _frozen(values), frozenset(flags),
        )

    # ── what the strategy asks ──────────────────────────────────────────────────────────────────────────────────────

    def latest(self, model: str, symbol: str | None) -> Forecast | None:
        """Return the last forecast of a symbol that was delivered."""
        declared = self._declared[model]
        return declared.latest.get(self._one_symbol(declared, symbol))

    def ask(self, model: str, symbols: Sequence[str] | None) -> list[Forecast]:
        """Return forecasts from the bars up to now; see ModelForecasts.ask."""
        declared = self._declared[model]
        wanted = [self._one_symbol(declared, None)] if symbols is None else list(symbols)
        requests = [request for symbol in wanted if (request := self._request_now(declared, symbol)) is not None]
        fresh = [request for request in requests if request not in declared.asked]
        if fresh:
            answers, took = self._answers(declared, fresh)
            if declared.latency:
                declared.asked.update(dict.fromkeys(fresh))
                at = max(request.as_of for request in fresh) + max(declared.latency, took)
                self._wait(declared, fresh, answers, max(at, self._moment.time), is_panel=False)
            else:
                good = self._noted(declared, fresh, answers, self._moment.time + took, is_panel=False)
                found = {forecast.symbol: forecast for forecast in good}
                for request in fresh:
                    declared.asked[request] = found.get(declared.streams[request.place].symbol)
        answered = [declared.asked[request] for request in requests]
        if len(declared.asked) > 4 * len(declared.streams):  # the last bars' are enough
            declared.asked = {request: declared.asked[request] for request in requests}
        return [forecast for forecast in answered if forecast is not None]

    def _request_now(self, declared: _Declared, symbol: str) -> Request | None:
        symbol = self._one_symbol(declared, symbol)
        place = declared.handle.symbols.index(symbol)
        if not self._has_begun or declared.computer is None:
            raise PluginError(f"model {declared.handle.model} was asked in on_start; no bar has closed yet")
        history = declared.cutter.histories[place]
        closed = history.closed(self._moment.time)
        if closed < declared.spec.lookback:
            return None
        request = Request(place, closed - 1, int(history.close_times(closed - 1, closed)[0]))
        return request if declared.cutter.is_ready(request) else None

    def _one_symbol(self, declared: _Declared, symbol: str | None) -> str:
        symbols = declared.handle.symbols
        if symbol is None and len(symbols) == 1:
            return symbols[0]
        if symbol not in symbols:
            said = "no symbol was named" if symbol is None else f"there is none of {symbol!r}"
            near = nearest_name(symbol or "", symbols)
            raise PluginError(
                f"forecasts of {declared.handle.model}: {said}; expected one of {', '.join(symbols[:8])}{near}"
            )
        return symbol

    # ── decisions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def cite(self, forecasts: Forecast | Sequence[Forecast] | None) -> None:
        """Say which forecasts the decisions that follow rest on; None: the last delivered of their symbol."""
        if forecasts is None:
            self._cited = None
        else:
            some = (forecasts,) if isinstance(forecasts, Forecast) else forecasts
            self._cited = tuple(forecast.id for forecast in some)

    def behind(self, symbol: str) -> tuple[int, ...]:
        """Return the ids of the forecasts that a decision on a symbol rests on."""
        if self._cited is not None:
            return self._cited
        found = (declared.latest.get(symbol) for declared in self._declared.values())
        return tuple(forecast.id for forecast in found if forecast is not None)

    def times_behind(self, symbol: str) -> tuple[int, ...]:
        """Return when the bars closed that the last forecasts of a symbol were made of, one for each model."""
        found = (declared.latest.get(symbol) for declared in self._declared.values())
        return tuple(forecast.as_of for forecast in found if forecast is not None)

    def state(self) -> list[tuple[str, int, float, int]]:
        """Return of each model: its name, when the bars of its last forecasts closed (0: none yet), how many seconds
        after that they were available, and how many were delivered."""
        found = []
        for name, declared in self._declared.items():
            newest = max(declared.latest.values(), key=lambda one: one.as_of, default=None)
            as_of, available = (newest.as_of, newest.available_at) if newest is not None else (0, 0)
            found.append((name, as_of, (available - as_of) / 1e9, declared.delivered))
        return found

    def scaled(self, symbol: str, exposure: float, why: str) -> tuple[float, str]:
        """Return a target as far as the skill of the models behind it allows, and why."""
        if not self._terms.skill:
            return exposure, why
        self.settle()
        behind = [one for one in self._declared.values() if symbol in one.latest and one.watch.scale != 1.0]
        if not behind or not exposure:
            return exposure, why
        least = min(behind, key=lambda one: one.watch.scale)
        factor = least.watch.scale
        words = f"target {exposure:g} × {factor:g}: {least.handle.model} shows no skill"
        return exposure * factor, f"{why}; {words}" if why else words

    def skill(self, model: str) -> SkillState:
        """Return how good a model's forecasts have been so far."""
        self.settle()
        return self._declared[model].watch.state

    def scale(self, model: str) -> float:
        """Return what targets that rest on a model are multiplied with by now."""
        if model not in self._terms.skill:
            return 1.0
        self.settle()
        return self._declared[model].watch.scale

    def settle(self) -> None:
        """Score what has closed by now, and judge skill anew."""
        for score in self._ledger.settled(self._moment.time):
            declared = self._declared[score.model]
            declared.scores.append(declared.watch.add(score))
            self._recorder.forecast_score(score_row(score))
            changed = declared.watch.judge()
            if changed is not None:
                rule = self._terms.skill[declared.handle.model]
                self._recorder.forecast_skill(skill_row(declared.handle.model, score.time, changed, rule))
                for symbol in declared.handle.symbols:  # the same target means another position now
                    self._strategy._wanted.pop(symbol, None)

    # ── after the run ───────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Score what is left at the end of a run, and note which rules on skill never had enough to judge by."""
        self.settle()
        for model, declared in self._declared.items():
            if declared.watch.missing is not None:
                scored, needed = declared.watch.missing
                words = f"{model}: its skill was never judged, for {scored} forecasts were scored of {needed} needed"
                self._recorder.alert(self._moment.time, "warning", "skill", words)

    def close(self) -> None:
        """Stop computing ahead."""
        for declared in self._declared.values():
            if declared.ahead is not None:
                declared.ahead.close()

    def summary(self) -> dict[str, Any]:
        """Return what came of the run's forecasts, JSON-ready: the stamp of contamination, by model what it took and
        how good it was, before and after the instant from which it is clean, and by policy what it took. Empty where
        none was asked for."""
        if not self._declared and not self._policies:
            return {}
        last = self._moment.time
        first = last if self._first is None else self._first
        specs: list[contamination.Trained] = [declared.spec for declared in self._declared.values()]
        specs += [policy.spec for policy in self._policies.values()]
        symbols = list(dict.fromkeys(s for one in self._declared.values() for s in one.handle.symbols))
        symbols = symbols or [stream.symbol for stream in self._feed.streams]
        stamp = contamination.stamp(specs, first, last, symbols)
        models = {name: self._summary_of(declared) for name, declared in self._declared.items()}
        policies = {name: policy.summary() for name, policy in self._policies.items()}
        return {**stamp.as_dict(), "models": models, "policies": policies}

    def _summary_of(self, declared: _Declared) -> dict[str, Any]:
        spec, scores = declared.spec, declared.scores
        versions = declared.versions
        works = [version.computer.work for version in versions]
        seen = [score for score in scores if contamination.is_contaminated(spec, score.as_of)]
        clean = [score for score in scores if not contamination.is_contaminated(spec, score.as_of)]
        return {
            "model_hash": versions[-1].spec.model_hash, "kind": spec.kind.value, "every": declared.every,
            "horizon": spec.horizon, "trained_until": spec.trained_until, "trained_on": list(spec.trained_on),
            "device": spec.device, "delivered": declared.delivered, "flagged": dict(sorted(declared.flagged.items())),
            "repaired": declared.repaired, "about": spec.about, "took_over": len(declared.later),
            "computed": sum(work.computed for work in works), "stored": sum(work.stored for work in works),
            "unstored": next((work.unstored for work in works if work.unstored), ""),
            "calls": sum(work.calls for work in works), "model_seconds": sum(work.seconds for work in works),
            "skill": summary_of(scores), "skill_before": summary_of(seen), "skill_after": summary_of(clean),
            "scale": declared.watch.scale, "unjudged": declared.watch.missing,
            "record": record_of(spec, scores), "too_short": self._too_short(declared),
        }

    def _too_short(self, declared: _Declared) -> dict[str, int] | None:
        """Return the lookback and the bars of the longest history, where no symbol ever had as many as it takes."""
        longest = max((history.closed(self._moment.time) for history in declared.cutter.histories), default=0)
        lookback = declared.spec.lookback
        return {"lookback": lookback, "longest": longest} if longest < lookback else None


def _frozen(values: Float32Array) -> Float32Array:
    view = values.view()
    view.flags.writeable = False
    return view
