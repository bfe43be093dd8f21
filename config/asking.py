"""One forecast, asked outside a run: the same windows, seeds and store as a backtest of the same settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import TypeAdapter, ValidationError

from config.data import make_feed
from config.forecasts import forecast_terms, make_forecasters, window_cutter
from config.setting_types import Instant
from config.settings import Settings
from engine.analysis.single_forecast import ForecastView, PanelRow, PricePath
from engine.bars import Stream, iso
from engine.errors import SettingsError, nearest_name
from engine.forecasting import contamination
from engine.forecasting.checking import check_spec, crosses, in_order, is_impossible
from engine.forecasting.computing import Answer, Computer
from engine.forecasting.history import History
from engine.forecasting.repair import repaired
from engine.forecasting.scores import log_return, score
from engine.forecasting.windows import Request, WindowCutter
from engine.forecasts import ExplainsItself, Forecast, Forecaster
from engine.interfaces import Feed

SHOWN = (40, 240)
"""Bars of the past that are shown, at least and at most: five horizons, whatever the model has seen."""


def ask(settings: Settings, *, model: str | None, symbol: str | None, at: str | None) -> ForecastView:
    """Return a model's forecast of a symbol.

    Args:
        model: its name in the settings; the strategy's, or the only one, if left out.
        symbol: the first of the data if left out. at: a time, of which the last bar closed by then is taken; the last
            bar of the data if left out.
    Raises:
        SettingsError: there is no such model, symbol or time, or too few bars before it, joined ones among them.
        PluginError: the model cannot be loaded, or failed.
    """
    feed = make_feed(settings)
    forecasters = make_forecasters(settings, feed.streams[0].timeframe)
    name = _chosen(settings, forecasters, model)
    forecaster = forecasters[name]
    check_spec(forecaster.spec)
    streams = _streams(feed, forecaster, name)
    cutter = window_cutter(settings, forecaster.spec, feed, streams)
    asked = _Asked(feed, cutter)
    place = _place(streams, symbol)
    row = asked.row(place, _time(at))
    with forecast_terms(settings) as terms:
        computer = Computer(cutter, forecaster, terms.store, terms.batch)
        requests = asked.requests(place, row)
        answers = computer.answers(requests)
    view = asked.view(requests, answers, place)
    if not isinstance(forecaster, ExplainsItself) or "nan" in view.forecast.flags:
        return view
    mine = next(request for request in requests if request.place == place)
    [explanation] = forecaster.explain(cutter.windows([mine], [view.seed]))
    times = cutter.histories[place].close_times(mine.row + 1 - forecaster.spec.lookback, mine.row + 1)
    return replace(view, explanation=explanation, window_times=np.asarray(times))


def _chosen(settings: Settings, forecasters: Mapping[str, Forecaster], model: str | None) -> str:
    names = list(forecasters)
    if not names:
        raise SettingsError("these settings have no model that forecasts; add [models.NAME] with an artefact")
    if model is None:
        wanted = settings.strategy.parameters.get("model")
        model = wanted if wanted in names else names[0] if len(names) == 1 else None
    if model is None:
        raise SettingsError(f"these settings have several models; name one with --model: {', '.join(names)}")
    if model not in names:
        near = nearest_name(model, names)
        raise SettingsError(f"there is no model {model!r}; these settings have {', '.join(names)}{near}")
    return model


def _streams(feed: Feed, forecaster: Forecaster, name: str) -> list[Stream]:
    found = [stream for stream in feed.streams if stream.timeframe == forecaster.spec.timeframe]
    if not found:
        there = ", ".join(dict.fromkeys(stream.timeframe for stream in feed.streams))
        raise SettingsError(f"model {name} reads bars of {forecaster.spec.timeframe}; the data have {there}")
    return found


def _place(streams: Sequence[Stream], symbol: str | None) -> int:
    symbols = [stream.symbol for stream in streams]
    if symbol is None:
        return 0
    if symbol not in symbols:
        some = ", ".join(symbols[:8])
        raise SettingsError(f"there are no bars of {symbol!r}; the data have {some}{nearest_name(symbol, symbols)}")
    return symbols.index(symbol)


def _time(at: str | None) -> int:
    if at is None:
        return 2**62
    try:
        moment = TypeAdapter(Instant).validate_python(at)
    except ValidationError as exc:
        reason = exc.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"--at is {at!r}; {reason}") from None
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


@dataclass(frozen=True)
class _Asked:
    """A model with the bars that it is asked of."""

    feed: Feed
    cutter: WindowCutter

    def row(self, place: int, time: int) -> int:
        """Return the row of a symbol's last bar closed by a time."""
        history, spec = self.cutter.histories[place], self.cutter.spec
        closed = history.closed(time)
        if closed < spec.lookback:
            total = history.closed(2**62)
            first = f"the first forecast is at {iso(_close_time(history, spec.lookback - 1))}" if (
                total >= spec.lookback
            ) else "there are not enough bars in all"
            when = "" if time == 2**62 else f" by {iso(time)}"
            raise SettingsError(
                f"{history.stream.symbol} has {closed} bars{when}; {spec.name} needs {spec.lookback}: {first}"
            )
        request = Request(place, closed - 1, _close_time(history, closed - 1))
        if not self.cutter.is_ready(request):
            raise SettingsError(
                f"{spec.name} joins other bars or series, and at {iso(request.as_of)} it lacks "
                f"{self.cutter.lacks(request)}; {self._ready(place)}"
            )
        return request.row

    def _ready(self, place: int) -> str:
        """Return from when on a symbol's windows have all that is joined, in words."""
        history, since = self.cutter.histories[place], self.cutter.ready_since(place)
        row = history.closed(since - 1) + self.cutter.spec.lookback - 1
        if row >= history.closed(2**62):
            return "the data have no such instant: begin them earlier"
        return f"ask for {iso(_close_time(history, row))} or later, or begin the data earlier"

    def requests(self, place: int, row: int) -> list[Request]:
        """Return requests of every symbol with a bar at this instant and enough before it, also of what is joined."""
        as_of = _close_time(self.cutter.histories[place], row)
        found = []
        for other, history in enumerate(self.cutter.histories):
            last = history.closed(as_of) - 1
            request = Request(other, last, as_of)
            is_whole = last + 1 >= self.cutter.spec.lookback and _close_time(history, last) == as_of
            if is_whole and self.cutter.is_ready(request):
                found.append(request)
        return found

    def view(self, requests: Sequence[Request], answers: Sequence[Answer], place: int) -> ForecastView:
        """Return the forecast of one of the symbols, with the others beside it."""
        spec = self.cutter.spec
        forecasts = [self._forecast(request, answer) for request, answer in zip(requests, answers, strict=True)]
        mine = next(number for number, request in enumerate(requests) if request.place == place)
        request, answer, forecast = requests[mine], answers[mine], forecasts[mine]
        history = self.cutter.histories[place]
        end = min(request.row + 1 + spec.horizon, history.closed(2**62))
        start = max(request.row + 1 - min(max(5 * spec.horizon, SHOWN[0]), SHOWN[1]), 0)
        before, ahead = self._bars(place, start, request.row + 1), self._bars(place, request.row + 1, end)
        scored = None
        if len(ahead) == spec.horizon and "nan" not in forecast.flags:
            past = history.closes(request.row + 1 - spec.lookback, request.row + 1)
            scored = score(forecast, log_return(forecast.last_close, float(ahead.close[-1])), int(ahead.time[-1]), past)
        panel = [
            PanelRow(one.symbol, one.strength, self._realised(other, one))
            for other, one in zip(requests, forecasts, strict=True) if "nan" not in one.flags
        ]
        due = np.concatenate([ahead.time, self.cutter.ahead(request)[len(ahead) :]])
        stamp = contamination.stamp([spec], request.as_of, request.as_of, [forecast.symbol])
        return ForecastView(
            forecast, before, ahead, due, tuple(sorted(panel, key=lambda row: -row.strength)) if len(panel) > 1 else (),
            scored, stamp.reasons, answer.cut.window, answer.cut.seed,
        )

    def _forecast(self, request: Request, answer: Answer) -> Forecast:
        spec, cutter = self.cutter.spec, self.cutter
        history = cutter.histories[request.place]
        flags = {
            "nan": not np.isfinite(answer.values).all(),
            "impossible": is_impossible(spec, answer.values),
            "crossed": crosses(spec, answer.values),
            "contaminated": contamination.is_contaminated(spec, request.as_of),
            "gap": cutter.has_hole(request),
            "filled": cutter.is_filled(request),
        }
        is_fault = flags["nan"] or flags["impossible"]
        values = answer.values if is_fault else in_order(spec, answer.values)
        if spec.repairs and not flags["nan"]:
            values, repairs = repaired(values)
            flags["repaired"] = bool(repairs.count)
        return Forecast(
            0, spec, history.stream.symbol, request.as_of, request.as_of, cutter.horizon_end(request),
            float(history.closes(request.row, request.row + 1)[0]), values,
            frozenset(name for name, is_set in flags.items() if is_set),
        )

    def _realised(self, request: Request, forecast: Forecast) -> float | None:
        history, last = self.cutter.histories[request.place], request.row + self.cutter.spec.horizon
        if last >= history.closed(2**62):
            return None
        return log_return(forecast.last_close, float(history.closes(last, last + 1)[0]))

    def _bars(self, place: int, start: int, end: int) -> PricePath:
        history = self.cutter.histories[place]
        columns = []
        for name in ("open", "high", "low", "close"):
            column = self.feed.column(history.stream, name)
            assert column is not None, "a backtest's feed has its columns at hand"
            columns.append(column[start:end])
        return PricePath(np.asarray(history.close_times(start, end)), np.stack(columns, axis=1).astype(np.float64))


def _close_time(history: History, row: int) -> int:
    return int(history.close_times(row, row + 1)[0])
