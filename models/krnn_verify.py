"""KRNN and Alpha360 held against tensors that Qlib made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.bars import FloatArray
from engine.errors import PluginError
from models.alpha360 import COLUMNS, RobustScaler, alpha360, forward_return, rank_labels
from models.artefact import Tensors, load_tensors
from models.krnn import load_krnn
from models.verification import TensorCheck, compare, read_config, tensors_to_match, unknown

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
        if config[name] != getattr(sizes, name):
            raise PluginError(f"{folder}: config.json has {name} {config[name]}, the weights {getattr(sizes, name)}")
    x = _tensor(load_tensors(folder / "input.safetensors"), "x", folder).float()
    expected = tensors_to_match(folder / "output.safetensors")
    tolerance = float(config.get("tolerance_abs", _TOLERANCE))
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
    bars = _bars_in_order(_tensor(load_tensors(folder / "input.safetensors"), "bars", folder), config["bar_fields"])
    expected = _matrices_in_order(tensors_to_match(folder / "output.safetensors"))
    tolerance = float(config.get("tolerance_rel", 1e-6))
    if tuple(config.get("columns", COLUMNS)) != COLUMNS:
        raise PluginError(f"{folder}: its columns are not those of Alpha360, or in another order")
    names, dates = config["bar_fields"], config["dates"]
    # Qlib keeps bars as float32.
    stored = bars.astype(np.float32).astype(np.float64)
    matrices = [
        alpha360({name: one[:, place] for place, name in enumerate(names)}, volume_rule="qlib") for one in stored
    ]
    returns = [forward_return(one[:, names.index("close")]) for one in stored]
    day_of = {date: place for place, date in enumerate(dates)}
    rows = _tensor(expected, "row_date_instrument", folder).numpy()
    days = np.array([day_of[date] for date in config["row_dates"]])[rows[:, 0]]
    raw = np.stack([matrices[symbol][day] for day, symbol in zip(days, rows[:, 1], strict=True)])
    labels = np.array([returns[symbol][day] for day, symbol in zip(days, rows[:, 1], strict=True)])
    fitted = (days >= _day(dates, config["fit_start"])) & (days <= _day(dates, config["fit_end"]))
    scaler = RobustScaler.fit(raw[fitted])
    learned = _tensor(expected, "learn_row_date_instrument", folder).numpy()
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
    if raw is None or bool(((raw[:, column] - 1).abs().nan_to_num() < 1e-3).all()):
        return tensors
    of_columns = {name for name, tensor in tensors.items() if tensor.dim() == 2 and tensor.shape[1] == len(COLUMNS)}
    return {
        name: tensor.reshape(tensor.shape[::-1]).T.contiguous() if name in of_columns else tensor
        for name, tensor in tensors.items()
    }


def _day(dates: list[str], date: str) -> int:
    """Return the place of a date, or of the first after it."""
    return int(np.searchsorted(np.array(dates), date))


def _tensor(tensors: Tensors, name: str, folder: Path) -> torch.Tensor:
    if name not in tensors:
        raise PluginError(f"{folder}: there is no tensor {name!r}; there are {', '.join(tensors)}")
    return tensors[name]
