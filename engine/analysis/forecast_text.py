"""One forecast in the terminal and as JSON."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.analysis.formatting import percent, price
from engine.analysis.single_forecast import ForecastView, facts, fan, headline, heaviest, outputs
from engine.bars import iso

MOST_STEPS = 12
"""Lines of the table; of longer horizons, evenly picked steps and always the last."""
MOST_ROWS = 12
MOST_WEIGHTS = 5
"""Inputs of a group that are told; the page has all."""


def print_forecast(view: ForecastView, console: Console) -> None:
    """Print what the forecast says, step by step, and what came of it."""
    forecast = view.forecast
    console.print(f"{forecast.symbol} by {forecast.spec.name}", style="bold")
    console.print(headline(view), highlight=False)
    console.print()
    for part in (_steps(view), _outputs(view), _weights(view), _panel(view)):
        if part is not None:
            console.print(part)
            console.print()
    for name, text in facts(view).items():
        console.print(f"  {name:<22}{text}", highlight=False, soft_wrap=True)
    for reason in view.stamp:
        console.print(f"contaminated: {reason}", style="yellow", highlight=False, soft_wrap=True)


def _steps(view: ForecastView) -> Table | None:
    drawn = fan(view.forecast)
    if drawn is None:
        return None
    levels, returns = drawn.levels, drawn.returns
    names = ["expected"] if len(levels) == 1 else [f"{level:.0%}" for level in levels]
    table = _table("bar", "closes", *names, *(["came"] if len(view.ahead) else []))
    last = view.forecast.last_close
    for row in np.unique(np.linspace(0, len(returns) - 1, min(len(returns), MOST_STEPS)).round().astype(int)).tolist():
        step = int(drawn.steps[row]) - 1
        told = [price(float(f"{last * np.exp(one):.6g}")) for one in returns[row]]
        came = [price(float(view.ahead.close[step])) if step < len(view.ahead) else ""] if len(view.ahead) else []
        table.add_row(f"+{step + 1}", iso(int(view.due[step])), *told, *came)
    return table


def _outputs(view: ForecastView) -> Table | None:
    found = outputs(view.forecast)
    if not found:
        return None
    table = _table("output", "value")
    for name, value in found.items():
        table.add_row(name, f"{value:.6g}")
    return table


def _weights(view: ForecastView) -> Table | None:
    if view.explanation is None:
        return None
    table = _table("input", "of", "counted")
    for group, of in view.explanation.weights.items():
        for name, share in heaviest(of)[:MOST_WEIGHTS]:
            table.add_row(escape(name), group, percent(share))
    return table


def _panel(view: ForecastView) -> Table | None:
    if not view.panel:
        return None
    table = _table("rank", "symbol", "forecast", "came")
    for place, row in enumerate(view.panel[:MOST_ROWS], 1):
        came = "" if row.realised is None else percent(float(np.expm1(row.realised)), signed=True)
        mark = "bold" if row.symbol == view.forecast.symbol else None
        table.add_row(str(place), row.symbol, f"{row.strength:+.4g}", came, style=mark)
    if len(view.panel) > MOST_ROWS:
        table.caption = f"and {len(view.panel) - MOST_ROWS} more"
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="left" if name in ("closes", "symbol", "output", "input", "of") else "right")
    return table


def as_json(view: ForecastView) -> dict[str, Any]:
    """Return the forecast JSON-ready: its values whole, what it rests on, and what came of it."""
    forecast = view.forecast
    spec = forecast.spec
    return {
        "model": spec.name, "model_hash": spec.model_hash, "kind": spec.kind.value, "symbol": forecast.symbol,
        "timeframe": spec.timeframe, "as_of": iso(forecast.as_of), "horizon_end": iso(forecast.horizon_end),
        "last_close": forecast.last_close, "lookback": spec.lookback, "horizon": spec.horizon,
        "outputs": list(spec.outputs), "levels": list(spec.levels), "flags": sorted(forecast.flags),
        "contaminated": list(view.stamp), "window": view.window, "seed": view.seed,
        "values": [None if not np.isfinite(one) else one for one in forecast.values.ravel().tolist()],
        "shape": list(forecast.values.shape),
        "due": [iso(int(time)) for time in view.due],
        "realised": view.realised.tolist(),
        "score": None if view.score is None else {
            name: getattr(view.score, name) for name in view.score.__slots__ if getattr(view.score, name) is not None
        },
        "explanation": None if view.explanation is None else {
            "weights": view.explanation.weights, "bars": view.explanation.bars.tolist(),
        },
        "panel": [row.__dict__ for row in view.panel],
        "says": headline(view),
    }
