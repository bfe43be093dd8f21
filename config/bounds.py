"""Three results out of one run: as declared, and as bad and as good as its bars allow.

Only where several orders could act in one bar. The two others are the orders as they were asked for; and beside them
the run is made twice more, so that the strategy can react. Only the declared run is journalled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from config.settings import Settings
from engine.ambiguity import AmbiguityWatch
from engine.analysis.as_asked import curve_with, fills_with
from engine.analysis.metrics import statistics
from engine.analysis.symbols import bars_by_symbol
from engine.analysis.thinning import extremes
from engine.analysis.trades import round_trips
from engine.bars import Bars
from engine.bounds import AmbiguousTrade, Ending, ambiguity
from engine.exchange import SimulatedExchange
from engine.interfaces import Detail
from engine.portfolio import Portfolio
from engine.results import EquityCurve, RunResult

ASKED_FROM = 250_000
"""Bars beyond which bounds are worked out only if they are asked for."""
CURVE_POINTS = 600
FIGURES = ("total_return", "net_profit", "max_drawdown", "sharpe", "trades", "win_rate", "profit_factor")
"""What is told of every result."""

Asked = tuple[tuple[int, str, int, str, int], ...]


class Finished(Protocol):
    """A run that is over, with its statistics."""

    @property
    def result(self) -> RunResult: ...

    @property
    def asked(self) -> Asked: ...


@dataclass(frozen=True)
class Declared:
    """The run whose bounds are wanted."""

    settings: Settings
    result: RunResult
    broker: SimulatedExchange
    portfolio: Portfolio
    bars: Bars | None
    finer: Callable[[], Detail | None] = lambda: None
    """Loads the finer bars that the data has, if it has any: only where something is left open."""


def bounds_of(run: Declared, run_again: Callable[[Settings], Finished]) -> dict[str, Any]:
    """Return the bounds of a run's result, JSON-ready: what `backtest --json` has under "bounds".

    Args:
        run_again: makes a run of other settings, without journal and report.
    """
    told = _told(run.result)
    found: dict[str, Any] = {
        "pessimistic": told, "declared": told, "optimistic": told, "contested": 0, "ambiguous": 0, "resolved": 0,
        "corrected": 0, "unknown": 0, "unlinked": 0, "again": {}, "note": "", "trades": [],
    }
    if run.result.detail is not None:
        found["resolved"] = run.result.detail.resolved
    watch = run.broker.watch
    wanted = run.settings.fills.bounds
    if not watch.count or run.bars is None:
        return found
    if wanted is False or (wanted == "auto" and run.result.bars > ASKED_FROM):
        why = "fills.bounds is false" if wanted is False else f"the run has more than {ASKED_FROM:,} bars"
        return {**found, "contested": watch.count, "pessimistic": None, "optimistic": None, "note": why}
    by_symbol, detail = bars_by_symbol(run.bars), run.finer()
    left = ambiguity(
        watch, by_symbol, run.result.fills, run.portfolio, run.broker.switches, run.broker.cost_of, detail
    )
    found |= {
        "contested": left.contested, "ambiguous": len(left.trades), "resolved": left.resolved,
        "corrected": len(left.corrected), "unknown": left.unknown, "unlinked": left.unlinked,
        "trades": [_trade(trade) for trade in left.trades],
    }
    changed = (*left.trades, *left.corrected)
    currency = run.result.curve.currency
    if any(trade.currency != currency for trade in changed):
        found |= {"pessimistic": None, "optimistic": None, "note": f"some trades are not in {currency}"}
    elif changed:
        for side in ("pessimistic", "optimistic"):
            found[side] = _as_asked(run, changed, side, by_symbol)
    if not left.is_clear and detail is None:  # the runs made again would know nothing of the finer bars
        found["again"] = _again(run, run_again)
    return found


def _as_asked(run: Declared, changed: Sequence[AmbiguousTrade], side: str, bars: Mapping[str, Bars]) -> dict[str, Any]:
    """Return the result with every ambiguous trade ended on one side, its statistics and its curve."""
    factors = {symbol: float(instrument.multiplier) for symbol, instrument in run.portfolio.instruments.items()}
    curve = curve_with(run.result.curve, changed, side, bars, factors)
    fills = fills_with(run.result.fills, changed, side)
    figures = statistics(
        curve, trades=round_trips(fills, bars=run.bars, multipliers=factors), fills=fills, multipliers=factors
    ).as_dict()
    more = sum(getattr(trade, side).net - trade.declared.net for trade in changed)
    final = float(run.result.final_equity) + more
    return {"final_equity": final, **_figures(figures), "statistics": figures, "curve": _curve(curve)}


def _again(run: Declared, run_again: Callable[[Settings], Finished]) -> dict[str, Any]:
    """Return what comes of the run where the strategy can react: made again at its worst and at its best."""
    made = {}
    for side, path in (("pessimistic", "worst"), ("optimistic", "best")):
        settings = as_path(run.settings, path)
        if settings is None:  # the declared run is that one
            made[side] = {**_told(run.result), "differs": {}}
            continue
        again = run_again(settings)
        made[side] = {**_told(again.result), "differs": _difference(run.broker.watch, again.asked)}
    return made


def as_path(settings: Settings, path: str) -> Settings | None:
    """Return the settings of the same run at its worst or best; None if those are the settings given.

    What says how often and when orders act is asked of the path alone: children may fill in the bar of their entry as
    far as that can be, and a limit that is touched fills by chance for the best and not for the worst.
    """
    seed = settings.run.seed
    declared = settings.fills.switches(seed)
    changes: dict[str, Any] = {"path": path, "children_same_bar": "if_path_decides", "bounds": False}
    if declared.limit_touch == "probability":
        changes["limit_touch"] = "through" if path == "worst" else "touch"
    fills = settings.fills.model_copy(update=changes)
    if fills.switches(seed) == declared:
        return None
    quiet = {"enabled": False}
    return settings.model_copy(update={
        "fills": fills, "journal": settings.journal.model_copy(update=quiet),
        "report": settings.report.model_copy(update={"html": None}),
    })


def asked_of(watch: AmbiguityWatch) -> Asked:
    """Return what was asked for, as far as it is linked: the decisions that must agree for bounds to hold."""
    return tuple(watch.asked)


def _told(result: RunResult) -> dict[str, Any]:
    return {"final_equity": float(result.final_equity), **_figures(result.statistics)}


def _figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figures.get(name) for name in FIGURES}


def _curve(curve: EquityCurve) -> dict[str, list[Any]]:
    """Return the equity in a few hundred points, extremes kept."""
    places = extremes(curve.equity, CURVE_POINTS)
    return {"time": curve.time[places].tolist(), "equity": np.round(curve.equity[places], 8).tolist()}


def _difference(watch: AmbiguityWatch, again: Asked) -> dict[str, Any]:
    """Return where the decisions of the run that was made again leave those of the declared one; empty if nowhere."""
    here = asked_of(watch)
    for one, other in zip(here, again, strict=False):
        if one[:4] != other[:4]:
            return {"from": min(one[0], other[0]), "what": "other orders"}
    if len(here) != len(again):
        longer = here if len(here) > len(again) else again
        return {"from": longer[min(len(here), len(again))][0], "what": "other orders"}
    sizes = [one[0] for one, other in zip(here, again, strict=True) if one != other]
    return {"from": sizes[0], "what": "other quantities"} if sizes else {}


def _trade(trade: AmbiguousTrade) -> dict[str, Any]:
    told = trade._asdict()
    for name in ("pessimistic", "declared", "optimistic"):
        ending: Ending = told[name]
        told[name] = {key: value for key, value in ending._asdict().items() if key != "fills"}
    del told["closed_bar"]
    return {**told, "orders": list(trade.orders), "bars": list(trade.bars)}
