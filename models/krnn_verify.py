"""KRNN and Alpha360 held against tensors that Qlib made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.bars import FloatArray, IntArray
from engine.errors import PluginError
from models.alpha360 import COLUMNS, RobustScaler, alpha360, forward_return, rank_labels
from models.artefact import Tensors, load_tensors
from models.krnn import load_krnn
from models.verification import TensorCheck, compare, entry, read_config, tensors_to_match, tolerance_of, unknown

_TOLERANCE = 2e-6
_ROWS = ("row_date_instrument", "learn_row_date_instrument")
"""Tensors that say which rows the others have."""
_SIZES = ("fea_dim", "cnn_dim", "cnn_kernel_size", "rnn_dim", "rnn_dups", "rnn_layers")


def verify(folder: Path) -> Iterator[TensorCheck]:
    """Yield one check a tensor of the folder: a network's, or the feature pipeline's.

    Raises:
        PluginError: files are missing or do not fit their config.json.
    """
    config = read_config(folder)
    yield from (_network if "rnn_dim" in config else _pipeline)(folder, config)


def _network(folder: Path, config: dict[str, Any]) -> Iterator[TensorCheck]:
    network = load_krnn(load_tensors(folder / "state_dict.safetensors"), "qlib_raw")
    sizes = network.configuration
    for name in _SIZES:
        stated = entry(config, name, int, f"{folder}: config.json")
        if stated != getattr(sizes, name):
            raise PluginError(f"{folder}: config.json has {name} {stated}, the weights {getattr(sizes, name)}")
    x = _tensor(load_tensors(folder / "input.safetensors"), "x", folder).float()
    expected = tensors_to_match(folder / "output.safetensors")
    tolerance = tolerance_of(config, "tolerance_abs", _TOLERANCE, f"{folder}: config.json")
    with torch.inference_mode():
        convolved, encoded = network.encode(x)
        scores, fused = network(x), network.infer(x)
    found = {"cnn_out": convolved, "encoder_out": encoded, "y": scores}
    for name, tensor in expected.items():
        if name not in found:
            yield unknown(name)
            continue
        yield compare(name, _shaped(found[name], tensor), tensor, absolute=tolerance)
    if "y" in expected:
        yield compare("y (fused)", _shaped(fused, expected["y"]), expected["y"], absolute=tolerance)


def _shaped(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return a score of one row in Qlib's shape, which has no axis left."""
    return found.reshape(expected.shape) if found.numel() == expected.numel() == 1 else found


def _pipeline(folder: Path, config: dict[str, Any]) -> Iterator[TensorCheck]:
    where = f"{folder}: config.json"
    names, dates, instruments = (entry(config, name, list, where) for name in ("bar_fields", "dates", "instruments"))
    bars = _bars_in_order(_tensor(load_tensors(folder / "input.safetensors"), "bars", folder), names)
    if bars.shape[:2] != (len(instruments), len(dates)):
        raise PluginError(
            f"{folder}: bars are of {bars.shape[0]} symbols and {bars.shape[1]} dates; config.json has "
            f"{len(instruments)} and {len(dates)}"
        )
    expected = _matrices_in_order(tensors_to_match(folder / "output.safetensors"))
    tolerance = tolerance_of(config, "tolerance_rel", 1e-6, where)
    if tuple(entry({"columns": list(COLUMNS), **config}, "columns", list, where)) != COLUMNS:
        raise PluginError(f"{folder}: its columns are not those of Alpha360, or in another order")
    # Qlib keeps bars as float32.
    stored = bars.astype(np.float32).astype(np.float64)
    matrices = [
        alpha360({name: one[:, place] for place, name in enumerate(names)}, volume_rule="qlib") for one in stored
    ]
    returns = [forward_return(one[:, names.index("close")]) for one in stored]
    rows = _pairs(expected, "row_date_instrument", folder)
    named = _days(dates, entry(config, "row_dates", list, where), where)
    if len(rows) and not (rows.min() >= 0 and rows[:, 0].max() < len(named) and rows[:, 1].max() < len(instruments)):
        raise PluginError(f"{folder}: row_date_instrument points beyond row_dates or instruments")
    days = named[rows[:, 0]]
    raw = np.stack([matrices[symbol][day] for day, symbol in zip(days, rows[:, 1], strict=True)])
    labels = np.array([returns[symbol][day] for day, symbol in zip(days, rows[:, 1], strict=True)])
    first, last = (_day(dates, entry(config, name, str, where)) for name in ("fit_start", "fit_end"))
    fitted = (days >= first) & (days <= last)
    scaler = RobustScaler.fit(raw[fitted])
    learned = _pairs(expected, "learn_row_date_instrument", folder)
    row_of = {tuple(pair): place for place, pair in enumerate(rows.tolist())}
    kept = np.array([row_of[tuple(pair)] for pair in learned.tolist()])
    found = {
        "raw_feature": raw,
        "raw_label": labels.astype(np.float32),
        "robust_median": scaler.median,
        "robust_scale": scaler.scale,
        "infer_feature": scaler.transform(raw),
        "learn_label": rank_labels(labels[kept].astype(np.float32), days[kept]).astype(np.float32),
    }
    for name, tensor in expected.items():
        if name in found:
            ours = torch.from_numpy(np.ascontiguousarray(found[name]))
            yield compare(name, ours, tensor, absolute=tolerance, relative=tolerance)
        elif name not in _ROWS:
            yield unknown(name)


def _bars_in_order(bars: torch.Tensor, fields: list[str]) -> FloatArray:
    """Return bars [symbols, dates, fields], whichever of the two orders their bytes are in.

    Arrays that were transposed before they were saved stand in the file in their old order, under their new shape;
    which it is, is told by the law that a low is the lowest.
    """
    if bars.dim() != 3 or bars.shape[2] != len(fields):
        raise PluginError(f"bars have shape {list(bars.shape)}; expected [symbols, dates, {len(fields)} fields]")
    missing = [name for name in ("low", "close", "high") if name not in fields]
    if missing:
        raise PluginError(f"config.json: bar_fields has no {missing[0]!r}; there are {fields}")
    symbols, dates, count = bars.shape
    values = bars.double().numpy()
    low, close, high = (fields.index(name) for name in ("low", "close", "high"))
    for reading in (values, values.reshape(symbols, count, dates).transpose(0, 2, 1)):
        if (np.nan_to_num(reading[..., high] - reading[..., close]) >= 0).all() and (
            np.nan_to_num(reading[..., close] - reading[..., low]) >= 0
        ).all():
            return reading
    raise PluginError("the bars break low ≤ close ≤ high in either order of their bytes")


def _matrices_in_order(tensors: Tensors) -> Tensors:
    """Return the feature matrices [rows, 360] row by row; as for bars, told by CLOSE0, which is 1 throughout."""
    raw = tensors.get("raw_feature")
    column = COLUMNS.index("CLOSE0")
    if raw is None or raw.dim() != 2 or raw.shape[1] != len(COLUMNS):
        return tensors
    if bool(((raw[:, column] - 1).abs().nan_to_num() < 1e-3).all()):
        return tensors
    of_columns = {name for name, tensor in tensors.items() if tensor.dim() == 2 and tensor.shape[1] == len(COLUMNS)}
    return {
        name: tensor.reshape(tensor.shape[::-1]).T.contiguous() if name in of_columns else tensor
        for name, tensor in tensors.items()
    }


def _day(dates: list[str], date: str) -> int:
    """Return the place of a date, or of the first after it."""
    return int(np.searchsorted(np.array(dates), date))


def _days(dates: list[str], named: list[str], where: str) -> IntArray:
    """Return the places of dates among all."""
    if not all(isinstance(date, str) for date in dates):
        raise PluginError(f"{where}: dates has an entry that is no text; expected one such as 2020-01-02")
    day_of = {date: place for place, date in enumerate(dates)}
    foreign = [date for date in named if not isinstance(date, str) or date not in day_of]
    if foreign:
        raise PluginError(f"{where}: row_dates has {foreign[0]!r}, which is not among its dates")
    return np.array([day_of[date] for date in named], np.int64)


def _pairs(tensors: Tensors, name: str, folder: Path) -> IntArray:
    """Return the rows of a table: int64 [rows, 2], a date's place and a symbol's."""
    found = _tensor(tensors, name, folder)
    if found.dim() != 2 or found.shape[1] != 2 or found.is_floating_point():
        raise PluginError(f"{folder}: {name} is {found.dtype} {list(found.shape)}; expected whole numbers [rows, 2]")
    return np.asarray(found.numpy(), np.int64)


def _tensor(tensors: Tensors, name: str, folder: Path) -> torch.Tensor:
    if name not in tensors:
        raise PluginError(f"{folder}: there is no tensor {name!r}; there are {', '.join(tensors)}")
    return tensors[name]
