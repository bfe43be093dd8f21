"""Every target of a model on bars that it has not seen, beside what anyone could have said: numbers and events alike.

The contenders know what was known before the first decision, and at each decision the bars up to it:

    as before      the mean (an event's share) of what had come by the first decision
    last bars      what the target was over the last H bars: that things go on as they are
    LightGBM       trees on returns, ranges, volume and the hour (`models.training.baselines`)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.errors import SettingsError
from models.features.targets import TargetSpec
from models.training.baselines import LOOKBACK, Facts
from models.training.panel import FIELDS, Panel
from models.training.selection.trees import TreePlan
from models.training.tft.metrics import of_target

_TREES = TreePlan(rounds=200, rate=0.03, leaves=15, least_rows=200)

Figures = dict[str, float | None]


def specs_of(label: Mapping[str, Mapping[str, Mapping[str, object]]]) -> tuple[TargetSpec, ...]:
    """Return the targets that an artefact's label describes; none if it describes none."""
    found = []
    for name, of in label.get("specifications", {}).items():
        options = of["options"]
        assert isinstance(options, Mapping)
        found.append(TargetSpec(str(of["kind"]), int(str(of["horizon"])), dict(options), name=name))
    return tuple(found)


def judge_targets(
    specs: Sequence[TargetSpec], said: Mapping[str, FloatArray], panel: Panel, rows: IntArray, first: int,
    *, model: str = "model", most: int = 60_000,
) -> dict[str, dict[str, Figures]]:
    """Return figures by target and contender, the model first.

    Args:
        said: by target, float64 [N]: a number, or an event's probability. rows: int64 [N] of the panel.
        first: UTC ns of the first decision; what was known by then is what contenders are fitted on, at most so `most`
            rows, evenly spread. model: what to call the model.
    """
    judged = {}
    for spec in specs:
        plain = replace(spec, quantiles=())
        truth = true_values(plain, panel)
        known = panel.rows(LOOKBACK, spec.horizon)
        known = known[(panel.close_time[known + spec.horizon] <= first) & np.isfinite(truth[known])]
        known = known[:: max(len(known) // most, 1)]
        contenders = {model: said[spec.name], **_others(plain, truth, panel, known, rows)}
        came, times = truth[rows], panel.close_time[rows]
        judged[spec.name] = {
            name: _known(of_target(plain, values[:, None], came, times)) for name, values in contenders.items()
        }
    return judged


def true_values(spec: TargetSpec, panel: Panel) -> FloatArray:
    """Return a target at every row of a panel, float64 [rows]; worked out between gaps, NaN where it is not known."""
    out = np.full(len(panel), np.nan)
    numbers = panel.segments.numbers
    begins = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        for start, end in zip(begins, [*begins[1:], len(panel)], strict=True):
            out[start:end] = spec.values({name: panel.column(name)[start:end] for name in FIELDS})
    return out


def _others(
    spec: TargetSpec, truth: FloatArray, panel: Panel, known: IntArray, rows: IntArray
) -> dict[str, FloatArray]:
    before = rows - spec.horizon
    last = np.where(before >= panel.first[rows], truth[before.clip(0)], np.nan)
    found = {"last bars": last}
    if not len(known):
        return found
    came = truth[known]
    found = {"as before": np.full(len(rows), came.mean()), **found}
    is_event = spec.family.sort == "event"
    if is_event and len(np.unique(came)) < 2:
        return found
    fitted, asked = (Facts.of(panel, some, spec.horizon).features for some in (known, rows))
    try:
        found["LightGBM"] = _TREES.fit(fitted, came, is_event=is_event).predict(asked)
    except SettingsError:  # neither library is there; the evaluation says so of its other trees
        return found
    return found


def _known(figures: Mapping[str, float]) -> Figures:
    return {name: None if value != value else float(value) for name, value in figures.items()}
