"""What a run's forecasts were worth, for the summary and the report: contamination first, then each model's record."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.analysis.definitions import DEFINITIONS
from engine.analysis.formatting import NOTHING, number, percent
from engine.analysis.metrics import statistics
from engine.bars import iso
from engine.results import EquityCurve

SPLIT = tuple(
    name for name, of in DEFINITIONS.items()
    if of.group in ("Return", "Risk") and name not in ("start_equity", "final_equity", "net_profit")
)
"""Statistics that are told apart before and after the instant from which no model had seen the data: all that are made
of the equity curve."""
PERIODS = "seen | unseen"
"""What the two halves of a divided figure are, in words."""


class ModelLine(NamedTuple):
    """A row of the table of models, ready to be shown. `period` is "all", "may have seen it" or "had not seen it"."""

    model: str
    period: str
    scored: str
    hit_rate: str
    skill_walk: str
    skill_cone: str
    rank_ic: str
    coverage: str
    crps: str


def with_split(forecasts: Mapping[str, Any], curve: EquityCurve) -> dict[str, Any]:
    """Return a run's forecasts with the strategy's own statistics before and after its models are clean.

    Args:
        forecasts: as ForecastBook.summary gives them; empty for a run without.
    """
    if not forecasts:
        return {}
    clean_from = forecasts["clean_from"]
    cut = len(curve.time) if clean_from is None else int(np.searchsorted(curve.time, clean_from))
    return {**forecasts, "before": _part(curve, 0, cut), "after": _part(curve, max(cut - 1, 0), len(curve.time))}


def _part(curve: EquityCurve, start: int, end: int) -> dict[str, Any]:
    if end - start < 2:
        return {}
    rows = slice(start, end)
    part = EquityCurve(curve.currency, curve.time[rows], curve.equity[rows], curve.cash[rows], curve.exposure[rows])
    figures = statistics(part)
    told = {name: figures.get(name) for name in SPLIT}
    periods = figures.sampling.periods if figures.sampling is not None else 0
    return {"from": int(part.time[0]), "to": int(part.time[-1]), "periods": periods, **told}


def is_divided(forecasts: Mapping[str, Any]) -> bool:
    """Return whether a run crosses the instant from which its models are clean: no figure may then be told of the
    whole, for it would mix what they may have seen with what they had not."""
    return bool(forecasts.get("contaminated") and forecasts.get("before") and forecasts.get("after"))


def halves(forecasts: Mapping[str, Any], name: str) -> tuple[float | None, float | None] | None:
    """Return a statistic before and after that instant; None if it is told of the whole run."""
    if name not in SPLIT or not is_divided(forecasts):
        return None
    return forecasts["before"].get(name), forecasts["after"].get(name)


def divided(forecasts: Mapping[str, Any], name: str, show: Callable[[float | None], str]) -> str | None:
    """Return both halves of a statistic as text, "seen | unseen"; None if it is told of the whole run."""
    both = halves(forecasts, name)
    return None if both is None else " | ".join(NOTHING if one is None else show(one) for one in both)


def forecast_lines(forecasts: Mapping[str, Any]) -> list[str]:
    """Return what the summary says of a run's forecasts, one fact a line."""
    lines = []
    if forecasts["contaminated"]:
        lines.append("CONTAMINATED: models may have seen in training the time they were asked about")
        lines += [f"  {reason}" for reason in forecasts["reasons"]]
    else:
        lines.append("No model was trained on any of this time")
    for name, words in (("before", "may have been seen"), ("after", "not seen")):
        part = forecasts.get(name)
        if part and forecasts["contaminated"]:
            lines.append(
                f"{words}: {iso(part['from'])} to {iso(part['to'])}: return {percent(part['total_return'])}, Sharpe "
                f"{number(part['sharpe'])}, deepest fall {percent(part['max_drawdown'])}"
            )
    if forecasts["contaminated"] and not forecasts.get("after"):
        lines.append("nothing of the run is known to be unseen")
    for name, model in forecasts["models"].items():
        lines += _of_model(name, model)
    for name, policy in forecasts.get("policies", {}).items():
        flagged = "".join(f", {count:,} {flag} (not traded on)" for flag, count in policy["flagged"].items())
        began = f", memory begun anew {policy['restarted']:,} times" if policy["restarted"] else ""
        lines.append(f"{name}: {policy['steps']:,} steps in {policy['calls']:,} calls{began}{flagged}")
    return lines


def _of_model(name: str, model: Mapping[str, Any]) -> list[str]:
    flagged = "".join(f", {count:,} {flag}" for flag, count in model["flagged"].items())
    computed = f"{model['computed']:,} computed in {model['calls']:,} calls, {model['stored']:,} from the store"
    lines = [f"{name}: {model['delivered']:,} forecasts ({computed}{flagged})"]
    if model.get("about"):
        lines.append(f"  {model['about']}")
    if model.get("unstored"):
        lines.append(f"  the store was given up in the midst of the run: {model['unstored']}")
    if short := model.get("too_short"):
        lines.append(
            f"  no symbol had the {short['lookback']:,} bars of its lookback; the longest history has "
            f"{short['longest']:,}"
        )
    if model.get("repaired"):
        lines.append(f"  {model['repaired']:,} values of forecast bars could not be, and were made possible")
    record = model["skill"]
    said = [f"{record['scored']:,} scored"]
    for key, words, show in (
        ("hit_rate", "hits", percent), ("skill_walk", "skill over a random walk", number),
        ("skill_cone", "over a volatility cone", number), ("skill_base", "over the base rate of rises", number),
        ("rank_ic", "rank IC", number),
        ("rank_ic_t", "t", number), ("coverage", "coverage", percent), ("nominal", "of", percent),
    ):
        if record.get(key) is not None:
            said.append(f"{words} {show(record[key])}")
    lines.append(f"  {', '.join(said)}")
    if model.get("unjudged"):
        scored, needed = model["unjudged"]
        lines.append(f"  skill was never judged: {scored:,} forecasts were scored of {needed:,} that its rule needs")
    if model["scale"] != 1:
        lines.append(f"  shows no skill: targets were × {model['scale']:g} in the end")
    return lines


def model_lines(forecasts: Mapping[str, Any]) -> list[ModelLine]:
    """Return the report's table of models, period by period."""
    lines = []
    for name, model in forecasts["models"].items():
        for period, key in (("all", "skill"), ("may have seen it", "skill_before"), ("had not seen it", "skill_after")):
            record = model[key]
            if key != "skill" and not (record["scored"] and forecasts["contaminated"]):
                continue
            coverage = percent(record["coverage"])
            if record["nominal"] is not None:
                coverage += f" of {percent(record['nominal'])}"
            lines.append(ModelLine(
                name if key == "skill" else "", period, f"{record['scored']:,}", percent(record["hit_rate"]),
                number(record["skill_walk"]), number(record["skill_cone"]), number(record["rank_ic"]), coverage,
                number(record["crps"]),
            ))
    return lines


def split_rows(forecasts: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return (period, span, return, Sharpe, deepest fall) of the strategy before and after its models are clean."""
    rows = []
    for key, words in (("before", "models may have seen it"), ("after", "no model had seen it")):
        part = forecasts.get(key)
        if part:
            span = f"{iso(part['from'])} to {iso(part['to'])}"
            figures = percent(part["total_return"]), number(part["sharpe"]), percent(part["max_drawdown"])
            rows.append((words, span, *figures))
    return rows
