"""What a model promises and what it answers, held against what can be."""

from collections.abc import Sequence
from types import NoneType

import numpy as np

from engine.bars import Timeframe
from engine.errors import PluginError
from engine.forecasting.computing import Answer
from engine.forecasting.history import check_inputs
from engine.forecasts import Float32Array, ForecastKind, ForecastSpec

_SLACK = 1e-6
"""Of chances and quantiles: what float32 may have rounded away."""


def check_spec(spec: ForecastSpec) -> None:
    """Refuse a spec that cannot be.

    Raises:
        PluginError: naming what is wrong with it.
    """
    _check_types(spec)
    Timeframe.parse(spec.timeframe)
    for one in spec.joined:
        Timeframe.parse(one.timeframe)
        if one.memory < 1:
            raise PluginError(f"forecaster {spec.name}: memory of joined bars is {one.memory}; expected 1 or more")
    check_inputs(spec.inputs, spec.name)
    for name in ("lookback", "horizon", "samples"):
        if getattr(spec, name) < 1:
            raise PluginError(f"forecaster {spec.name}: {name} is {getattr(spec, name)}; expected 1 or more")
    levels = spec.levels
    if spec.kind is ForecastKind.QUANTILES and not (
        levels and list(levels) == sorted(set(levels)) and levels[0] > 0 and levels[-1] < 1
    ):
        raise PluginError(
            f"forecaster {spec.name}: levels of its quantiles are {levels}; expected ascending ones between 0 and 1"
        )
    if spec.repairs and spec.kind is not ForecastKind.PATHS:
        raise PluginError(f"forecaster {spec.name}: repairs are of bars, and it gives {spec.kind}; leave them out")
    if spec.kind in (ForecastKind.PROBABILITY, ForecastKind.MULTI) and not spec.outputs:
        raise PluginError(f"forecaster {spec.name}: a {spec.kind} forecast needs names of its outputs")
    twice = sorted({name for name in spec.outputs if spec.outputs.count(name) > 1})
    if twice:
        raise PluginError(
            f"forecaster {spec.name}: its outputs have {', '.join(twice)} more than once; expected each name once"
        )


_TYPES: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("kind", ForecastKind, "a ForecastKind of engine.forecasts"),
    ("timeframe", str, "a text such as 1h"),
    ("model_hash", str, "a text"),
    ("lookback", int, "a whole number"),
    ("horizon", int, "a whole number"),
    ("samples", int, "a whole number"),
    ("inputs", (tuple, list), "names of bars' fields"),
    ("outputs", (tuple, list), "names"),
    ("levels", (tuple, list), "numbers between 0 and 1"),
    ("calendar", (tuple, list), "names of calendar columns"),
    ("trained_from", (int, NoneType), "UTC nanoseconds, or None"),
    ("trained_until", (int, NoneType), "UTC nanoseconds, or None"),
)


def _check_types(spec: ForecastSpec) -> None:
    for name, kind, wanted in _TYPES:
        value = getattr(spec, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise PluginError(f"forecaster {spec.name}: {name} is {value!r}; expected {wanted}")
    if not spec.inputs:
        raise PluginError(f"forecaster {spec.name}: it has no inputs; expected some fields of the bars, such as close")


def is_impossible(spec: ForecastSpec, values: Float32Array) -> bool:
    """Return whether a chance lies outside 0…1, or the lowest quantile of a bar above the highest."""
    quantiles = _quantiles_of(spec, values)
    if quantiles is not None and (quantiles[..., 0] > quantiles[..., -1] + _SLACK).any():
        return True
    if spec.kind is ForecastKind.MULTI and spec.up_output in spec.outputs:
        values = values[[spec.outputs.index(spec.up_output)]]
    elif spec.kind is not ForecastKind.PROBABILITY:
        return False
    return bool(((values < -_SLACK) | (values > 1 + _SLACK)).any())


def crosses(spec: ForecastSpec, values: Float32Array) -> bool:
    """Return whether a quantile lies below one of a lower level, by more than rounding."""
    quantiles = _quantiles_of(spec, values)
    return quantiles is not None and bool((np.diff(quantiles, axis=-1) < -_SLACK).any())


def in_order(spec: ForecastSpec, values: Float32Array) -> Float32Array:
    """Return values whose quantiles ascend: sorted where they cross, which makes their pinball loss no larger,
    whatever comes.

    Source: Chernozhukov, Fernández-Val and Galichon, Quantile and probability curves without crossing, 2010.
    """
    quantiles = _quantiles_of(spec, values)
    if quantiles is None or not (np.diff(quantiles, axis=-1) < 0).any():
        return values
    ordered = np.sort(quantiles, axis=-1)
    if spec.kind is ForecastKind.QUANTILES:
        return ordered
    changed = values.copy()
    changed[list(spec.return_quantiles.values())] = ordered
    return changed


def _quantiles_of(spec: ForecastSpec, values: Float32Array) -> Float32Array | None:
    """Return quantiles by ascending levels along the last axis; None where there are none."""
    if spec.kind is ForecastKind.MULTI and spec.return_quantiles:
        return values[list(spec.return_quantiles.values())]
    return values if spec.kind is ForecastKind.QUANTILES else None


def is_flat(answers: Sequence[Answer]) -> bool:
    """Return whether a model gives three symbols or more one and the same score."""
    return len(answers) >= 3 and len({answer.values.tobytes() for answer in answers}) == 1
