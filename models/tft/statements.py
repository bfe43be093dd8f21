"""What a pipeline says, as the columns of a forecast: one number a name, at the last step ahead."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from engine.forecasts import Float32Array
from models.tft.heads import Classes, Point, Probability, Quantiles, Target


def output_names(targets: Sequence[Target]) -> tuple[str, ...]:
    """Return the columns' names: a point's or a probability's own; of quantiles the median's and name_q10 …; of classes
    name_class."""
    names: list[str] = []
    for target in targets:
        head = target.head
        if isinstance(head, Quantiles):
            names += [target.name, *(f"{target.name}_q{100 * level:g}" for level in head.levels)]
        elif isinstance(head, Classes):
            names += [f"{target.name}_{one}" for one in head.names]
        else:
            names.append(target.name)
    return tuple(names)


def named_outputs(targets: Sequence[Target], values: Mapping[str, Tensor]) -> Float32Array:
    """Return the columns, float32 [N, names].

    Args:
        values: by target, [N, D, numbers], as TFTForecast's.
    """
    columns = []
    for target in targets:
        last = values[target.name][:, -1].float().cpu().numpy()  # [N, numbers]
        if isinstance(target.head, Quantiles):
            levels = target.head.levels
            columns.append(np.array([[np.interp(0.5, levels, row)] for row in last], np.float32).reshape(-1, 1))
        columns.append(last)
    return np.concatenate(columns, axis=1, dtype=np.float32)


def roles(targets: Sequence[Target], specifications: Mapping[str, Mapping[str, Any]], horizon: int) -> dict[str, str]:
    """Return which outputs say what a forecast is scored by, as arguments of a ForecastSpec; see there.

    Args:
        specifications: what each target was made of bars by, as an artefact's label has it; of its own horizon.
    """
    found: dict[str, str] = {}
    for role, kind, heads in (
        ("return_output", "logreturn", (Point, Quantiles)), ("up_output", "binarytrend", (Probability,))
    ):
        for target in targets:
            of = specifications.get(target.name, {})
            is_whole = not of.get("options", {}).get("dead_band")  # else it speaks of larger moves alone
            if of.get("kind") == kind and of.get("horizon") == horizon and is_whole and isinstance(target.head, heads):
                found.setdefault(role, target.name)
    return found


def are_quantiles_of_return(targets: Sequence[Target], steps: int, horizon: int) -> bool:
    """Return whether all that is said is quantiles of the log return to every bar of the horizon."""
    if len(targets) != 1 or targets[0].name != "return" or steps != horizon:
        return False
    head = targets[0].head
    return isinstance(head, Quantiles) and head.levels[0] > 0 and head.levels[-1] < 1
