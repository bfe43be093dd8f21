"""Foreign checkpoints to artefacts: Kronos folders, Qlib's KRNN, pytorch-forecasting's TFT."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import PluginError
from models.alpha360 import COLUMNS, FIELDS, LOOKBACK
from models.artefact import Artefact, ArtefactCard, Tensors, library_versions, load_tensors, save_artefact
from models.foreign import check_numbers, read_state_dict, without_wrapper
from models.krnn import Layout, card_configuration, load_krnn
from models.kronos.configuration import MAX_CONTEXT, MODELS
from models.kronos.loading import load_model, load_tokenizer
from models.kronos.preparation import FIELDS as BAR_FIELDS
from models.tft.loading import load_tft

Conventions = Mapping[str, Any]
"""Further choices that decide numbers: `clock` and `future_stamps`, as in a forecaster's spec."""


def import_kronos(
    model: str, tokenizer: str, folder: Path, *, max_context: int | None = None, conventions: Conventions | None = None
) -> Artefact:
    """Write an artefact of a published predictor and its tokenizer.

    Args:
        model, tokenizer: folders or Hub ids. max_context: tokens it was trained to see; by its sizes if left out.
    Raises:
        PluginError: they cannot be loaded, or do not belong together.
    """
    network, coder = load_model(model), load_tokenizer(tokenizer)
    check_numbers(network.state_dict(), model)
    check_numbers(coder.state_dict(), tokenizer)
    if (network.sizes.s1_bits, network.sizes.s2_bits) != (coder.sizes.s1_bits, coder.sizes.s2_bits):
        raise PluginError(f"kronos: {model} and {tokenizer} have tokens of different bits; they do not belong together")
    if max_context is None:
        known = [MAX_CONTEXT[name] for name, sizes in MODELS.items() if sizes == network.sizes]
        if not known:
            raise PluginError(f"kronos: {model} has no published sizes, so its context is not known; give max_context")
        max_context = known[0]
    card = ArtefactCard(
        "kronos",
        {"model": vars(network.sizes), "tokenizer": vars(coder.sizes), "max_context": max_context},
        inputs=BAR_FIELDS,
        conventions={"calendar": "open times on the exchange's wall clock", "clip": 5.0, **(conventions or {})},
        libraries=library_versions(),
        source=f"{model} + {tokenizer}",
    )
    return save_artefact(folder, card, _shed(network.state_dict()), tokenizer=_shed(coder.state_dict()))


def _shed(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(("inv_freq", "basis"))}


def import_krnn(
    path: Path, folder: Path, *, layout: Layout, scaler: Path | None = None, timeframe: str = "1d", lag: int = 1,
    conventions: Conventions | None = None,
) -> Artefact:
    """Write an artefact of a KRNN that Qlib trained.

    Args:
        path: its state dict. layout: of the rows it was trained on: "qlib_raw" for all that Qlib's own class made.
        scaler: safetensors with `median` and `scale` [columns] of its RobustZScoreNorm, which Qlib keeps elsewhere;
            without it, features are used as they are.
        lag: bars from the decision to the trade, in its label.
    Raises:
        PluginError: it is not a KRNN.
    """
    weights = without_wrapper(read_state_dict(path), ("out_fc.weight",))
    network = load_krnn(weights, layout)
    check_numbers(weights, path)
    more: dict[str, Tensors] = {}
    scalers: dict[str, Any] = {}
    if scaler is not None:
        tensors = load_tensors(scaler)
        if set(tensors) != {"median", "scale"}:
            raise PluginError(f"{scaler} has {', '.join(tensors)}; expected median and scale")
        for name, tensor in tensors.items():
            if tensor.shape != (len(COLUMNS),):
                raise PluginError(f"{scaler}: {name} has shape {list(tensor.shape)}; expected [{len(COLUMNS)}]")
        check_numbers(tensors, scaler)
        more["scalers"], scalers = tensors, {"kind": "robust", "clip": 3.0}
    card = ArtefactCard(
        "krnn",
        card_configuration(network.configuration),
        inputs=FIELDS,
        layout=layout,
        timeframe=timeframe,
        lookback=LOOKBACK,
        horizon=1,
        label={"kind": "rank of forward return", "lag": lag, "horizon": 1},
        scalers=scalers,
        conventions={"vwap": "typical", "volume": "qlib", **(conventions or {})},
        libraries=library_versions(),
        source=str(path),
    )
    return save_artefact(folder, card, network.state_dict(), **more)


def import_tft(
    path: Path, configuration: Path, folder: Path, *, conventions: Conventions | None = None
) -> Artefact:
    """Write an artefact of a TFT that pytorch-forecasting (v1) trained.

    Args:
        path: its state dict; configuration: JSON with its hyper-parameters, as golden folders have under `hparams`.
    Raises:
        PluginError: they do not fit each other.
    """
    try:
        content = json.loads(configuration.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise PluginError(f"{configuration} cannot be read: {exc}") from exc
    if not isinstance(content, dict):
        raise PluginError(f"{configuration} is not an object; expected hyper-parameters by name")
    parameters = content.get("hparams", content)
    weights = without_wrapper(read_state_dict(path), ("lstm_encoder.weight_ih_l0",))
    network = load_tft(weights, parameters)
    check_numbers(weights, path)
    card = ArtefactCard(
        "tft",
        parameters,
        inputs=tuple(parameters.get("x_reals", ())),
        lookback=parameters.get("max_encoder_length", 0),
        conventions=dict(conventions or {}),
        libraries=library_versions(),
        source=str(path),
    )
    return save_artefact(folder, card, network.state_dict())
