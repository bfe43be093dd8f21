"""What `main.py evaluate` does: an artefact's forecasts of bars that it has not seen, beside baselines, then traded.

The settings are those of a backtest whose strategy acts on the model. Judged is what the strategy would be given: the
same windows, cut by the engine, at the same instants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from config.assembly import run_backtest
from config.data import bars_of, make_feed
from config.forecasts import forecast_terms, make_forecasters, window_cutter
from config.setting_types import Instant
from config.settings import DataSettings, Settings, SyntheticData
from engine.bars import DAY, IntArray, Timeframe, iso, nanoseconds, utc
from engine.errors import SettingsError
from engine.forecasting.checking import check_spec, in_order
from engine.forecasting.computing import Computer
from engine.forecasting.judging import LEVELS, Came, Said, block_bootstrap, is_usable, judge, said_by
from engine.forecasting.ranking import correlations, ranks
from engine.forecasting.windows import Request, WindowCutter
from engine.forecasts import Forecast, Forecaster, ForecastSpec
from engine.results import RunResult
from models.artefact import load_artefact
from models.training.baselines import BASELINES, LOOKBACK, Facts
from models.training.panel import Panel
from models.training.tft.judging import judge_targets, specs_of

Figures = Mapping[str, Mapping[str, float | None]]
"""Figures by name, of each contender."""

MOST_FITTED = 60_000
"""Decisions that baselines are fitted on, evenly spread."""


@dataclass(frozen=True)
class Evaluation:
    """What came of it; JSON-ready.

    Args:
        contenders: figures by contender, the model first; left_out: baselines that could not be asked, with why.
        by_month: rank IC of the model by month. traded: figures of the run; curve: its equity by days.
        unusable: forecasts that were left out, for no price can do what they say.
        targets: of a model that speaks of several things, figures of each by target and contender.
    """

    artefact: str
    model: str
    kind: str
    start: str
    end: str
    every: str
    horizon: int
    symbols: tuple[str, ...]
    is_contaminated: bool
    contenders: dict[str, dict[str, float | None]]
    left_out: dict[str, str]
    by_month: dict[str, float | None]
    rank_ic: dict[str, float | None]
    traded: dict[str, Any]
    curve: dict[str, list[float]]
    unusable: int = 0
    targets: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)


def evaluate(
    artefact: Path, settings: Settings, *, model: str | None = None, start: datetime | None = None
) -> Evaluation:
    """Judge an artefact.

    Args:
        model: whose place in the settings it takes; the strategy's, or the only one, if left out.
        start: of the first decision; where its training ended if left out.
    Raises:
        SettingsError: nothing says when training ended, or no decision is left after it.
    """
    name = _model(settings, model)
    described = settings.models[name].model_copy(update={"artefact": artefact, "forecaster": None})
    settings = settings.model_copy(update={"models": {**settings.models, name: described}})
    feed = make_feed(settings)
    bars = bars_of(feed)
    assert bars is not None, "judging needs the bars in memory"
    made = make_forecasters(settings, feed.streams[0].timeframe)
    if name not in made:
        raise SettingsError(f"{artefact} makes no forecasts; its training and a backtest judge a position head")
    forecaster = made[name]
    spec = forecaster.spec
    check_spec(spec)
    if start is None and spec.trained_until is None:
        raise SettingsError(f"{artefact} does not say until when it was trained; say where to begin: --start TIME")
    first = nanoseconds(start) if start is not None else int(spec.trained_until or 0)
    panel = Panel.of(bars, spec.timeframe, across_gaps=settings.data.calendar == "sessions")
    every = str(settings.strategy.parameters.get("every", "bar"))
    rows = _decisions(panel, spec.lookback, spec.horizon, first, every)
    if not len(rows):
        last = iso(int(panel.close_time.max()))
        raise SettingsError(f"no decision is left after {iso(first)}: the data end at {last}")
    cutter = _cutter(settings, forecaster, panel)
    rows = rows[[cutter.is_ready(_request(panel, row)) for row in rows]]
    forecasts = _forecasts(settings, forecaster, cutter, panel, rows)
    usable = np.array([is_usable(one) for one in forecasts])
    if not usable.any():
        raise SettingsError(f"{artefact}: none of {len(rows):,} forecasts says anything that a price can do")
    rows, forecasts = rows[usable], [one for one, is_kept in zip(forecasts, usable, strict=True) if is_kept]
    logs = np.log(panel.column("close"))
    came = Came(logs[rows + spec.horizon] - logs[rows], panel.close_time[rows])
    said = said_by(forecasts, came.returns)
    others, left_out = _baselines(panel, rows, first, spec)
    series = correlations(ranks(said.strength, came.instants), ranks(came.returns, came.instants), came.instants)
    overlapping = max(1, -(-spec.horizon // _bars_between(every, spec.timeframe)))
    result = _traded(settings, panel, spec.lookback, first)
    return Evaluation(
        str(artefact), name, spec.kind.value, iso(int(came.instants.min())), iso(int(came.instants.max())), every,
        spec.horizon, panel.symbols, spec.trained_until is None or first < spec.trained_until,
        {one.name: _known(judge(one, came)) for one in (said, *others)}, left_out, _by_month(said, came),
        _known(block_bootstrap(series, overlapping)._asdict()), *_run_figures(result), int((~usable).sum()),
        _targets(artefact, forecasts, panel, rows, first, name),
    )


def instant(text: str, option: str) -> datetime:
    """Return a time as settings take it.

    Raises:
        SettingsError: it is none.
    """
    try:
        moment: datetime = TypeAdapter(Instant).validate_python(text)
    except ValidationError as exc:
        reason = exc.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{option} is {text!r}; {reason}") from None
    return moment


def _model(settings: Settings, model: str | None) -> str:
    if not settings.models:
        raise SettingsError("these settings have no model; add [models.NAME], whose place the artefact takes")
    wanted = model or settings.strategy.parameters.get("model") or next(iter(settings.models))
    if wanted not in settings.models:
        raise SettingsError(f"there is no model {wanted!r}; these settings have {', '.join(settings.models)}")
    return str(wanted)


def _bars_between(every: str, timeframe: str) -> int:
    return 1 if every == "bar" else Timeframe.parse(every).duration // Timeframe.parse(timeframe).duration


def _decisions(panel: Panel, lookback: int, horizon: int, first: int, every: str) -> IntArray:
    rows = panel.rows(max(lookback, LOOKBACK), horizon)
    times = panel.close_time[rows]
    chosen = times >= first
    if every != "bar":
        chosen &= times % Timeframe.parse(every).duration == 0
    rows = rows[chosen]
    return rows[np.argsort(panel.close_time[rows], kind="stable")]


def _cutter(settings: Settings, forecaster: Forecaster, panel: Panel) -> WindowCutter:
    feed = make_feed(settings)
    streams = [stream for stream in feed.streams if stream.timeframe == panel.timeframe]
    return window_cutter(settings, forecaster.spec, feed, streams)


def _request(panel: Panel, row: int) -> Request:
    return Request(int(panel.symbol[row]), int(row - panel.first[row]), int(panel.close_time[row]))


def _forecasts(
    settings: Settings, forecaster: Forecaster, cutter: WindowCutter, panel: Panel, rows: IntArray
) -> list[Forecast]:
    """Return a forecast of each row, cut, stored and answered as in a backtest."""
    requests = [_request(panel, row) for row in rows]
    with forecast_terms(settings) as terms:
        answers = Computer(cutter, forecaster, terms.store, terms.batch).answers(requests)
    close = panel.column("close")
    return [
        Forecast(0, forecaster.spec, panel.symbols[request.place], request.as_of, request.as_of,
                 cutter.horizon_end(request), float(close[row]), in_order(forecaster.spec, answer.values))
        for request, answer, row in zip(requests, answers, rows, strict=True)
    ]


def _baselines(
    panel: Panel, rows: IntArray, first: int, spec: ForecastSpec
) -> tuple[list[Said], dict[str, str]]:
    """Return what baselines say, fitted on what was known before the first decision."""
    horizon, levels = spec.horizon, tuple(spec.return_quantiles) or LEVELS
    known = panel.rows(LOOKBACK, horizon)
    known = known[panel.close_time[known + horizon] <= first]
    if len(known) < 200:
        why = f"{len(known)} decisions before {iso(first)} are too few to fit them; begin the data earlier"
        return [], {"baselines": why}
    before = Facts.of(panel, known[:: max(len(known) // MOST_FITTED, 1)], horizon)
    now = Facts.of(panel, rows, horizon, levels)
    said, left_out = [], {}
    for baseline in BASELINES:
        try:
            said.append(baseline(before, now))
        except ImportError as exc:
            left_out[baseline.__name__] = f"{exc.name} is not installed: pip install {exc.name}"
    return said, left_out


def _targets(
    artefact: Path, forecasts: Sequence[Forecast], panel: Panel, rows: IntArray, first: int, name: str
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return figures of every target that a model of several says something of; nothing of other models."""
    outputs = forecasts[0].spec.outputs
    specs = [spec for spec in specs_of(load_artefact(artefact).card.label) if spec.name in outputs]
    numbers = np.stack([one.values for one in forecasts]).astype(np.float64) if specs else np.empty((0, 0))
    said = {spec.name: numbers[:, outputs.index(spec.name)] for spec in specs}
    return judge_targets(specs, said, panel, rows, first, model=name, most=MOST_FITTED)


def _by_month(said: Said, came: Came) -> dict[str, float | None]:
    months = np.array([f"{utc(int(time)):%Y-%m}" for time in came.instants])
    figures = {}
    for month in np.unique(months):
        chosen = months == month
        part = Said(said.name, said.strength[chosen])
        figures[str(month)] = judge(part, Came(came.returns[chosen], came.instants[chosen]))["rank_ic"]
    return _known(figures)


def _traded(settings: Settings, panel: Panel, lookback: int, first: int) -> RunResult:
    """Run the strategy over what has not been seen; bars before warm its windows."""
    warm = (lookback + 1) * Timeframe.parse(panel.timeframe).duration
    begin = max(first - warm, int(panel.open_time.min()))
    if isinstance(settings.data, SyntheticData):  # another start would be another market
        before = int((panel.open_time[panel.symbol == 0] < begin).sum())
        data: DataSettings = settings.data.model_copy(update={"skip": settings.data.skip + before})
    else:
        data = settings.data.model_copy(update={"start": datetime.fromtimestamp(begin / 1e9, UTC)})
    silent = settings.journal.model_copy(update={"enabled": False})
    unseen = settings.model_copy(update={
        "data": data, "journal": silent, "report": settings.report.model_copy(update={"html": None}),
    })
    return run_backtest(unseen).result


def _run_figures(result: RunResult) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Return the run's figures, with the significance of its Sharpe ratio, and its curve by days."""
    statistics, curve = result.statistics, result.curve
    days = curve.time // DAY
    ends = np.flatnonzero(np.append(np.diff(days) != 0, True))
    equity = curve.equity[ends]
    returns = np.diff(equity) / equity[:-1]
    tested = block_bootstrap(returns, max(round(len(returns) ** (1 / 3)), 1), ratio=True)
    yearly = np.sqrt(float(statistics["sampling"]["periods_per_year"]))
    names = ("total_return", "sharpe", "max_drawdown", "turnover", "average_exposure", "fills", "total_costs",
             "benchmark_return", "benchmark_sharpe", "benchmark_max_drawdown", "excess_return")
    figures = {name: statistics.get(name) for name in names}
    figures |= {"sharpe_low": tested.low * yearly, "sharpe_high": tested.high * yearly, "p_no_edge": tested.p,
                "currency": curve.currency, "fills_hash": result.fills_hash}
    return (
        {name: None if isinstance(value, float) and value != value else value for name, value in figures.items()},
        {"time": curve.time[ends].tolist(), "equity": equity.tolist()},
    )


def _known(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else float(value) for name, value in figures.items()}


def as_json(made: Evaluation) -> dict[str, Any]:
    """Return it as JSON-ready values."""
    return asdict(made)


def figure_names(contenders: Figures) -> list[str]:
    """Return the figures that any of some contenders has, in order."""
    return list(dict.fromkeys(name for figures in contenders.values() for name in figures))
