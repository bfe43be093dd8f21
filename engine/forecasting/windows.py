"""Requests and their windows: which bars a model is shown, cut by the engine and by nobody else.

A request names a stream and the row of its last closed bar. Everything a forecaster sees follows from it: the window,
the calendar, the seed; and everything it sees is in the request's key.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from engine.bars import IntArray, Stream, Timeframe, iso, utc
from engine.errors import PluginError
from engine.forecasting.exchanges import ahead_of
from engine.forecasting.history import History, KnownHistory
from engine.forecasting.series import Series
from engine.forecasting.sessions import OneAfterAnother
from engine.forecasts import Float32Array, ForecastSpec, JoinedBars, JoinedRows, Windows

CALENDAR = ("minute", "hour", "weekday", "day", "month")
_KEY_FORMAT = 1
"""Goes into every key; raised when the same request would be shown to a model in another way."""

_NOT_DECIDING = (
    "name", "model_hash", "artefact", "trained_from", "trained_until", "trained_on", "device", "repairs", "about",
    "versions", "return_output", "up_output", "keeps_batches",
)


class Request(NamedTuple):
    """One forecast to be made: `place` of the symbol among those asked for, `row` of its last closed bar."""

    place: int
    row: int
    as_of: int


class Cut(NamedTuple):
    """What decides a request's answer: its key in the store, the hash of its window, its seed."""

    key: bytes
    window: str
    seed: int


class WindowCutter:
    """Cuts the windows of one model.

    Args:
        histories: of the symbols it speaks of, in feed order.
        run_seed: from which, with model, symbol and time, each request's seed is made.
        others: the histories of all streams, of a model that joins some; series: those that it joins, in order.
    Raises:
        PluginError: the spec asks for a calendar, a clock, stamps ahead or a stream that there are not.
    """

    def __init__(
        self, spec: ForecastSpec, histories: Sequence[History], run_seed: int,
        others: Mapping[Stream, History] | None = None, series: Sequence[Series] = (),
    ) -> None:
        self.spec = spec
        self.series = series
        self._joins = bool(spec.joined or spec.series)
        self._joined = [
            [(one, (others or {})[stream]) for one, stream in zip(
                spec.joined, joined_streams(spec, history.stream, others or {}), strict=True)]
            for history in histories
        ]
        self.histories = histories
        self._run_seed = run_seed
        self._duration = Timeframe.parse(spec.timeframe).duration
        self._identity = identity_of(spec)
        _check_calendar(spec)
        self._ahead = ahead_of(spec.future_stamps, self._duration, spec.name)
        self._clock = None if spec.clock == "UTC" else ZoneInfo(spec.clock)

    # ── identity ────────────────────────────────────────────────────────────────────────────────────────────────────

    def cut(self, request: Request) -> Cut:
        """Return a request's key, the hash of its window, and its seed."""
        spec = self.spec
        history = self.histories[request.place]
        symbol = history.stream.symbol
        window = history.inputs(spec.inputs, request.row + 1 - spec.lookback, request.row + 1)
        digest = blake2b(np.ascontiguousarray(window).data, digest_size=16)
        if self._joins:
            digest.update(self._closed(request).tobytes())
            for bars in self._beside(request):
                digest.update(bars.values.tobytes())
                digest.update(bars.close_time.tobytes())
            for rows in self._rows_of(request):
                digest.update(rows.values.tobytes())
                digest.update(rows.available_at.tobytes())
        seed = 0
        if not spec.is_deterministic:
            seed = seed_of(self._run_seed, spec.model_hash or spec.name, symbol, request.as_of)
        key = blake2b(self._identity, digest_size=20)
        key.update(digest.digest())
        key.update(f"\n{symbol}\n{request.as_of}\n{seed}\n".encode())
        if spec.calendar:
            key.update(self._calendar([request]).tobytes())
        return Cut(key.digest(), digest.hexdigest(), seed)

    # ── what a model is shown ───────────────────────────────────────────────────────────────────────────────────────

    def windows(self, requests: Sequence[Request], seeds: Sequence[int]) -> Windows:
        """Return what the model is asked; one stream's evenly spaced rows come as a view, nothing copied."""
        calendar = self._calendar(requests) if self.spec.calendar else None
        return Windows(
            self._values(requests),
            tuple(self.histories[request.place].stream.symbol for request in requests),
            np.array([request.as_of for request in requests], np.int64),
            np.array(seeds, np.uint64),
            calendar,
            tuple(self._beside(request) for request in requests) if self.spec.joined else (),
            np.stack([self._closed(request) for request in requests]) if self._joins else None,
            tuple(self._rows_of(request) for request in requests) if self.spec.series else (),
        )

    def _rows_of(self, request: Request) -> tuple[JoinedRows, ...]:
        """Return the rows of series that a window has."""
        if not self.series:
            return ()
        first = int(self._closed(request)[0])
        return tuple(one.between(first, request.as_of) for one in self.series)

    def _beside(self, request: Request) -> tuple[JoinedBars, ...]:
        """Return the bars of other streams that a window has: none of them closed after its last bar."""
        first, found = int(self._closed(request)[0]), []
        for one, history in self._joined[request.place]:
            start, end = max(history.closed(first) - one.memory, 0), history.closed(request.as_of)
            values = history.inputs(self.spec.inputs, start, end)
            found.append(JoinedBars(np.ascontiguousarray(values), history.close_times(start, end)))
        return tuple(found)

    def is_ready(self, request: Request) -> bool:
        """Return whether enough bars of every stream that is joined had closed by a window's first bar, and something
        of every series was known."""
        if not self._joins:
            return True
        first = int(self._closed(request)[0])
        if any(one.begins() > first for one in self.series):
            return False
        return all(history.closed(first) >= one.memory for one, history in self._joined[request.place])

    def lacks(self, request: Request) -> str:
        """Return what a window that is not ready lacks, in words; empty of one that is ready."""
        first = int(self._closed(request)[0])
        found = [
            f"{one.memory} bars of {history.stream.symbol} of {one.timeframe}, of which {history.closed(first)} had "
            "closed" for one, history in self._joined[request.place] if history.closed(first) < one.memory
        ]
        late = [one for one in self.series if one.begins() > first]
        found += [f"the series {', '.join(one.columns)}, of which nothing was known" for one in late]
        return f"{'; and '.join(found)} by {iso(first)}, when its window begins" if found else ""

    def ready_since(self, place: int) -> int:
        """Return when the first bar of a symbol's first window may close, of histories known ahead; UTC ns."""
        times = [
            int(history.close_times(one.memory - 1, one.memory)[0]) if history.closed(2**62) >= one.memory else 2**62
            for one, history in self._joined[place]
        ]
        return max([*times, *(one.begins() for one in self.series)], default=0)

    def _values(self, requests: Sequence[Request]) -> Float32Array:
        names, lookback = self.spec.inputs, self.spec.lookback
        first = self.histories[requests[0].place]
        if isinstance(first, KnownHistory) and len({request.place for request in requests}) == 1:
            rows = np.array([request.row for request in requests])
            steps = np.diff(rows)
            if len(steps) and steps[0] > 0 and (steps == steps[0]).all():
                every = np.lib.stride_tricks.sliding_window_view(first.matrix(names), lookback, axis=0)
                start = int(rows[0]) + 1 - lookback
                return every[start : int(rows[-1]) + 2 - lookback : int(steps[0])].transpose(0, 2, 1)
        parts = [
            self.histories[one.place].inputs(names, one.row + 1 - lookback, one.row + 1) for one in requests
        ]
        values = np.stack(parts)
        values.flags.writeable = False
        return values

    def _calendar(self, requests: Sequence[Request]) -> IntArray:
        """Return int64 [N, lookback + horizon, K]: stamps are the bars' open times, as in most files."""
        spec = self.spec
        stamps = np.empty((len(requests), spec.lookback + spec.horizon), np.int64)
        for place, request in enumerate(requests):
            stamps[place, : spec.lookback] = known = self._opened(request)
            stamps[place, spec.lookback :] = self._ahead.opens(known, request.as_of, spec.horizon)
        return self._fields(stamps)

    def _opened(self, request: Request) -> IntArray:
        """Return when the bars of a window opened."""
        history = self.histories[request.place]
        return history.open_times(request.row + 1 - self.spec.lookback, request.row + 1)

    def _closed(self, request: Request) -> IntArray:
        """Return when the bars of a window closed."""
        history = self.histories[request.place]
        return history.close_times(request.row + 1 - self.spec.lookback, request.row + 1)

    def _fields(self, stamps: IntArray) -> IntArray:
        if self._clock is not None:
            moments = [utc(int(time)).astimezone(self._clock) for time in stamps.ravel()]
            offsets = [moment.utcoffset() for moment in moments]
            shift = np.array([0 if one is None else round(one.total_seconds()) for one in offsets], np.int64)
            stamps = stamps + shift.reshape(stamps.shape) * 1_000_000_000
        minutes = stamps // 60_000_000_000
        days = minutes // 1440
        dates = days.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        known = {
            "minute": minutes % 60,
            "hour": minutes // 60 % 24,
            "weekday": (days + 3) % 7,
            "day": (dates - months).astype(np.int64) + 1,
            "month": months.astype(np.int64) % 12 + 1,
        }
        return np.stack([known[name] for name in self.spec.calendar], axis=-1).astype(np.int64)

    def horizon_end(self, request: Request) -> int:
        """Return when the last bar that a forecast speaks of is due to close, UTC ns."""
        if isinstance(self._ahead, OneAfterAnother):  # nearly always: this is asked for every forecast
            return request.as_of + self.spec.horizon * self._duration
        return int(self.ahead(request)[-1])

    def ahead(self, request: Request) -> IntArray:
        """Return when the bars that a forecast speaks of are due to close, int64 [horizon], UTC ns."""
        return self._ahead.opens(self._opened(request), request.as_of, self.spec.horizon) + self._duration

    def has_hole(self, request: Request) -> bool:
        """Return whether bars are missing within a window, as far as it is known when there should be any."""
        if self._ahead.missing(self._opened(request)) > 0:
            return True
        return isinstance(self._ahead, OneAfterAnother) and any(
            _lacks(bars.close_time, Timeframe.parse(one.timeframe).duration, request.as_of)
            for one, bars in zip(self.spec.joined, self._beside(request) if self.spec.joined else (), strict=True)
        )

    def is_filled(self, request: Request) -> bool:
        """Return whether a gap policy made up any of a window's bars."""
        return self.histories[request.place].is_filled(request.row + 1 - self.spec.lookback, request.row + 1)


def _lacks(closed: IntArray, duration: int, as_of: int) -> bool:
    """Return whether bars are missing among those that should have closed, the newest included."""
    if not len(closed) or as_of - closed[-1] >= duration:
        return True
    return int((closed[-1] - closed[0]) // duration) + 1 > len(closed)


def joined_streams(spec: ForecastSpec, own: Stream, there: Collection[Stream]) -> list[Stream]:
    """Return the streams that a model joins to one, in the spec's order.

    Raises:
        PluginError: one is not there, with the way to have it.
    """
    streams = [Stream(one.symbol or own.symbol, one.timeframe) for one in spec.joined]
    for one, stream in zip(spec.joined, streams, strict=True):
        if stream not in there:
            way_out = (
                f'add {one.symbol!r} to data.symbols' if one.symbol else
                f'add it with data.resample = ["{one.timeframe}"], in a session to data.timeframe'
            )
            raise PluginError(
                f"model {spec.name} joins bars of {stream.symbol} of {stream.timeframe} to those of {own.symbol} of "
                f"{own.timeframe}, and the feed has none; {way_out}"
            )
    return streams


def identity_of(spec: ForecastSpec) -> bytes:
    """Return what of a spec decides numbers: all but names and training span; of the device its kind alone."""
    content = {name: value for name, value in asdict(spec).items() if name not in _NOT_DECIDING}
    for name in ("joined", "series"):
        if not content[name]:
            del content[name]  # keys of models that join nothing stay what they were
    content |= {"format": _KEY_FORMAT, "model": spec.model_hash, "device": spec.device.partition(":")[0]}
    return json.dumps(content, sort_keys=True, default=str).encode()


def seed_of(run_seed: int, model: str, symbol: str, as_of: int) -> int:
    """Return a request's seed, 0 … 2⁶³ − 1: of these four alone, so that no batch or order of work shows in it."""
    digest = blake2b(f"{run_seed}\n{model}\n{symbol}\n{as_of}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def due_rows(close_time: IntArray, lookback: int, interval: int | None, before: int | None = None) -> IntArray:
    """Return the rows at which a forecast is due, int64.

    Args:
        close_time: of consecutive bars. interval: nanoseconds; the first bar that closes at or after each of its
            multiples is due (a missing bar puts it off, it is not lost). None: every bar.
        lookback: a row needs so many bars, itself among them.
        before: close time of the bar before the first; None: there is none.
    """
    if interval is None:
        due = np.ones(len(close_time), np.bool_)
    else:
        turns = close_time // interval
        due = np.empty(len(close_time), np.bool_)
        due[1:] = turns[1:] != turns[:-1]
        if len(due):
            due[0] = close_time[0] % interval == 0 if before is None else turns[0] != before // interval
    due[: max(lookback - 1, 0)] = False
    return np.flatnonzero(due).astype(np.int64)


def _check_calendar(spec: ForecastSpec) -> None:
    for name in spec.calendar:
        if name not in CALENDAR:
            raise PluginError(
                f"forecaster {spec.name} asks for the calendar column {name!r}; expected some of {', '.join(CALENDAR)}"
            )
    check_clock(spec.clock, spec.name)


def check_clock(clock: str, whose: str) -> None:
    """Refuse a wall clock that there is not.

    Raises:
        PluginError: naming it.
    """
    try:
        ZoneInfo(clock)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise PluginError(
            f"forecaster {whose} reads its calendar on the clock {clock!r}, which is no time zone; expected UTC or a "
            "name such as America/New_York"
        ) from exc
