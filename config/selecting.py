"""What `main.py select` does: settings to a table, the choice of features, an allow-list and a report."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from config.data import bars_of, feed_of
from config.training import make_split
from config.training_data import make_table
from config.training_settings import TrainingSettings
from engine.errors import SettingsError
from models.artefact import load_artefact
from models.training.panel import Panel
from models.training.selection.core import CorePlan
from models.training.selection.gating import gating_of
from models.training.selection.genetic import Breeding
from models.training.selection.pipeline import Selection, SelectionPlan, as_allow_list, select
from models.training.selection.trees import TreePlan


def run_selection(
    settings: TrainingSettings, out: Path, *, gating: Path | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> Selection:
    """Choose features, and write the list and, beside it, why: <out>.json.

    Args:
        gating: an artefact of a transformer that was trained with these settings.
    Raises:
        SettingsError, DataError, PluginError: if anything does not fit.
    """
    bars = bars_of(feed_of(settings.data, settings.train.seed))
    if bars is None:
        raise SettingsError("the data has more bars than fit into memory; choose features on fewer")
    panel = Panel.of(bars, settings.timeframe or "", across_gaps=settings.data.calendar == "sessions")
    split = make_split(settings, panel)
    table = make_table(settings.tft, bars, across_gaps=panel.across_gaps)
    told(str(table.audit()))
    gates = None if gating is None else gating_of(load_artefact(gating), table, split.train)
    found = select(table, split, make_selection_plan(settings), gating=gates, told=told)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(as_allow_list(found), "utf-8")
    report = json.dumps(as_report(found, table.names), indent=1, allow_nan=False)
    out.with_suffix(f"{out.suffix}.json").write_text(report + "\n", "utf-8")
    return found


def make_selection_plan(settings: TrainingSettings) -> SelectionPlan:
    """Return how features are chosen."""
    of = settings.select
    return SelectionPlan(
        TreePlan(of.trees, of.tree_rounds, seed=settings.train.seed),
        CorePlan(of.keep, of.appearance, of.weights, of.bonus), of.folds, of.judging_folds, of.block, of.repeats,
        of.most_rows, of.rounds, of.share, settings.train.seed,
        Breeding(of.population, of.generations if of.search == "breed" else 0),
    )


def as_report(found: Selection, names: tuple[str, ...]) -> dict[str, Any]:
    """Return all that led to the choice, JSON-ready."""
    evidence = []
    for one in found.evidence:
        low, high = one.interval
        features = {
            name: {
                "tree": None if one.tree is None else float(one.tree[place]), "lost": float(one.lost[place]),
                "low": float(low[place]), "high": float(high[place]), "top": float(one.top[place]),
            }
            for place, name in enumerate(names)
        }
        evidence.append({"target": one.target, "period": one.period, "score": one.base, "features": features})
    return {
        "chosen": list(found.chosen), "ranked": [asdict(one) for one in found.ranked], "evidence": evidence,
        "steps": [{"features": count, "score": score} for count, score in found.steps],
        "judged": [asdict(one) for one in found.judged],
    }


def summary_of(found: Selection) -> list[tuple[str, str, str, str, str]]:
    """Return rows of a table: target, period, and the mean score of the choice, of all features, of a random choice."""

    def mean(values: tuple[float, ...]) -> str:
        return f"{np.mean(values):+.4f}" if values else "–"

    return [(one.target, one.period, mean(one.chosen), mean(one.every), mean(one.random)) for one in found.judged]
