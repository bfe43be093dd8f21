"""The original's own regression test, for the published weights: greedy forecasts from a file of bars, and their error.

The weights are never fetched. They are looked for in the folders that the environment names, then in the local cache of
the Hub. Source: shiyu-coder/Kronos, tests/test_kronos_regression.py (MIT).
"""

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from engine.bars import FloatArray, IntArray
from engine.errors import PluginError
from models.kronos.configuration import MAX_CONTEXT
from models.kronos.loading import load_model, load_tokenizer
from models.kronos.pipeline import KronosPipeline
from models.kronos.preparation import FIELDS, stamps_of
from models.kronos.sampling import Sampling, greedy
from models.verification import TensorCheck, compare

INPUT = "regression_input.csv"
_OUTPUT = "regression_output_"
_RELATIVE = 1e-5
_NOTHING = 1e-9
"""Added to the relative tolerance, for values near 0."""

ERRORS = {512: 0.008979, 256: 0.003741}
"""Mean squared error of open, high, low and close over 30 bars, by bars of history."""
_ERROR_TOLERANCE = 1e-6
_ERROR_WINDOWS, _ERROR_BARS, _ERROR_SEED = 4, 30, 123


@dataclass(frozen=True)
class _Weights:
    """Where one network may lie: the variable that names its folder, its Hub id, the revision that was tested."""

    variable: str
    repository: str
    revision: str


_MODEL = _Weights("BARCAST_KRONOS_SMALL", "NeoQuasar/Kronos-small", "901c26c1332695a2a8f243eb2f37243a37bea320")
_TOKENIZER = _Weights(
    "BARCAST_KRONOS_TOKENIZER", "NeoQuasar/Kronos-Tokenizer-base", "0e0117387f39004a9016484a186a908917e22426"
)


def verify_published(
    folder: Path, environment: Mapping[str, str] = os.environ, errors: Mapping[int, float] = ERRORS
) -> Iterator[TensorCheck]:
    """Yield a check for each file of expected forecasts and each expected error; where the weights are not at hand, one
    that says so.

    Args:
        environment: variables that name the folders of the weights, or of the Hub's cache. errors: see ERRORS.
    Raises:
        PluginError: a named folder is not there; files are missing or are not what they should be.
    """
    found = {weights.repository: _folder_of(weights, environment) for weights in (_MODEL, _TOKENIZER)}
    missing = [weights for weights in (_MODEL, _TOKENIZER) if found[weights.repository] is None]
    if missing:
        names = " and ".join(f"{weights.repository} ({weights.variable} names its folder)" for weights in missing)
        yield TensorCheck(
            "published regression", 0.0, 0.0, True, skipped=f"it needs the published weights, not at hand here: {names}"
        )
        return
    tokenizer, model = load_tokenizer(found[_TOKENIZER.repository] or ""), load_model(found[_MODEL.repository] or "")
    pipeline = KronosPipeline(tokenizer, model, MAX_CONTEXT["small"])
    values, times = _read(folder / INPUT)
    contexts = sorted(
        int(path.stem.removeprefix(_OUTPUT)) for path in folder.glob(f"{_OUTPUT}*.csv") if path.stem[-1].isdigit()
    )
    for context in contexts:
        path = folder / f"{_OUTPUT}{context}.csv"
        expected, at = _read(path)
        if not np.array_equal(at, times[context : context + len(at)]):
            raise PluginError(f"{path}: its times are not those that follow the first {context} bars of {INPUT}")
        made = _forecast(pipeline, values, times, context, context, len(expected))
        yield compare(
            f"{len(expected)} bars after {context}",
            torch.from_numpy(made),
            torch.from_numpy(expected.astype(np.float32)),
            absolute=_NOTHING,
            relative=_RELATIVE,
        )
    for context, error in errors.items():
        found_error = _error(pipeline, values, times, context)
        off = abs(found_error - error)
        name = f"mean squared error of {_ERROR_WINDOWS} forecasts after {context} bars: {found_error:.6f}"
        yield TensorCheck(name, off, _ERROR_TOLERANCE, off <= _ERROR_TOLERANCE)


def _folder_of(weights: _Weights, environment: Mapping[str, str]) -> Path | None:
    named = environment.get(weights.variable)
    if named:
        folder = Path(named)
        if not (folder / "model.safetensors").is_file():
            raise PluginError(
                f"{weights.variable} is {named}, where there is no model.safetensors; expected the folder of "
                f"{weights.repository}"
            )
        return folder
    home = environment.get("HF_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache" / "huggingface"
    cache = Path(environment.get("HF_HUB_CACHE") or Path(home) / "hub")
    folder = cache / f"models--{weights.repository.replace('/', '--')}" / "snapshots" / weights.revision
    return folder if (folder / "model.safetensors").is_file() else None


def _forecast(
    pipeline: KronosPipeline, values: FloatArray, times: IntArray, start: int, context: int, horizon: int
) -> npt.NDArray[np.float32]:
    """Return the greedy forecast of the bars start … start + horizon from the `context` bars before, [horizon, 6]."""
    whole = slice(start - context, start + horizon)
    if len(times[whole]) != context + horizon:
        raise PluginError(f"{INPUT} has {len(times)} bars; expected {start + horizon} or more")
    paths = pipeline.paths(
        [values[start - context : start]],
        stamps_of(times[whole])[None],
        horizon,
        sampling=Sampling(1.0, 1, 1.0),
        draw=greedy,
    )
    return paths.mean[0]


def _error(pipeline: KronosPipeline, values: FloatArray, times: IntArray, context: int) -> float:
    """Return the mean squared error of prices, over windows drawn as pandas' DataFrame.sample draws rows."""
    count = len(values) - _ERROR_BARS - context
    if count < _ERROR_WINDOWS:
        raise PluginError(f"{INPUT} has {len(values)} bars; expected {context + _ERROR_BARS + _ERROR_WINDOWS} or more")
    drawn = np.random.RandomState(_ERROR_SEED).choice(count, _ERROR_WINDOWS, replace=False)
    squares = []
    for start in sorted(context + int(place) for place in drawn):
        made = _forecast(pipeline, values, times, start, context, _ERROR_BARS)[:, :4]
        real = values[start : start + _ERROR_BARS, :4].astype(np.float32)
        squares.append(float(np.mean((made - real) ** 2)))
    return float(np.mean(squares))


def _read(path: Path) -> tuple[FloatArray, IntArray]:
    """Return the six fields [bars, 6] and the times, UTC nanoseconds, of a CSV file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        values = np.array([[float(row[name]) for name in FIELDS] for row in rows], np.float64)
        times = np.array([row["timestamps"] for row in rows], "datetime64[ns]").astype(np.int64)
    except (OSError, KeyError, ValueError, TypeError) as exc:
        raise PluginError(f"{path} cannot be read: {exc!r}; expected timestamps, {', '.join(FIELDS)}") from exc
    return values, times
