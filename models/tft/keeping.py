"""A trained transformer in an artefact: weights, scalers of features and targets, and what its outputs mean."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engine.errors import PluginError
from models.artefact import Artefact, ArtefactCard, Tensors, library_versions, save_artefact
from models.tft.heads import Target, check_targets
from models.tft.loading import load_tft
from models.tft.network import TFT
from models.tft.pipeline import TFTPipeline
from models.tft.scaling import TargetScales
from models.tft.windows import WindowAssembly

ARCHITECTURE = "tft"


def save_tft(
    folder: Path,
    network: TFT,
    assembly: WindowAssembly,
    targets: Sequence[Target],
    *,
    scales: TargetScales | None = None,
    horizon: int = 1,
    facts: ArtefactCard | None = None,
) -> Artefact:
    """Write all that a pipeline needs.

    Args:
        network, assembly, targets, scales, horizon: see `TFTPipeline`.
        facts: what else the card says: timeframe, vocabularies of codes, what was trained on and until when.
    Raises:
        PluginError: the targets do not fit the network.
    """
    of = network.configuration
    check_targets(targets, of.output_size)
    known = facts or ArtefactCard(ARCHITECTURE, {})
    scalers: Tensors = {"centre": assembly.centre, "scale": assembly.scale}
    words = {"features": "(value − centre) / scale"}
    if scales is not None:
        scalers |= scales.tensors()
        words["targets"] = "[symbol, period, target]; row 0: not seen in training"
    card = replace(
        known,
        architecture=ARCHITECTURE,
        configuration=asdict(of),
        inputs=assembly.features,
        lookback=of.max_encoder_length,
        horizon=horizon,
        label={**known.label, "targets": [target.as_json() for target in targets]},
        scalers=words,
        conventions={**known.conventions, "known_ahead": list(assembly.known)},
        libraries=known.libraries or library_versions(),
    )
    return save_artefact(folder, card, network.state_dict(), scalers=scalers)


def pipeline_of(artefact: Artefact, *, device: str = "cpu") -> TFTPipeline:
    """Return the pipeline of an artefact that `save_tft` wrote.

    Raises:
        PluginError: it is of another architecture, or does not say what its outputs mean, as a foreign checkpoint's.
    """
    card = artefact.card
    if card.architecture != ARCHITECTURE:
        raise PluginError(f"tft: the artefact is of architecture {card.architecture!r}; expected {ARCHITECTURE!r}")
    entries: Any = card.label.get("targets")
    if not isinstance(entries, list) or "scalers" not in artefact.tensors:
        raise PluginError(
            "tft: the artefact does not say what its outputs mean, or how its inputs were scaled: it has no "
            "label.targets or no scalers; build a WindowAssembly and Targets, and write it with save_tft"
        )
    network = load_tft(artefact.weights, card.configuration).to(device)
    scalers = artefact.tensors["scalers"]
    assembly = WindowAssembly(
        network.configuration,
        card.inputs,
        known=card.conventions.get("known_ahead", ()),
        centre=scalers["centre"],
        scale=scalers["scale"],
    )
    scales = None
    if "target_centre" in scalers:
        scales = TargetScales(scalers["target_centre"], scalers["target_scale"])
    targets = [Target.of(entry) for entry in entries]
    return TFTPipeline(network, assembly, targets, scales=scales, horizon=card.horizon)
