"""PriceTransformer and position head as artefacts."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from engine.errors import PluginError, nearest_name
from models.artefact import Artefact, ArtefactCard, Tensors, library_versions, save_artefact
from models.position.features import FIELDS
from models.position.head import HeadSizes, PositionHead, Serving
from models.position.price_transformer import LEVELS, LOOKBACK, PriceSizes, PriceTransformer

PRICE, HEAD = "price_transformer", "position_head"
READS = "reads"
"""A head's convention: the hash of the PriceTransformer's artefact that it was trained on."""

Network = TypeVar("Network", bound=nn.Module)


def quantile_names(sizes: PriceSizes) -> tuple[str, ...]:
    """Return the names of the quantiles, in the order of the network's output: q10_1 … q90_1, q10_2 …"""
    return tuple(f"q{round(100 * level)}_{step}" for step in range(1, sizes.horizons + 1) for level in LEVELS)


def feature_names(sizes: PriceSizes) -> tuple[str, ...]:
    """Return the names of what a position head is fed, in the order of PriceForecast.features."""
    return (*(f"hidden_{number}" for number in range(1, sizes.d_model + 1)), *quantile_names(sizes))


def save_price_transformer(
    folder: Path, network: PriceTransformer, *, timeframe: str, lookback: int = LOOKBACK,
    validation: Mapping[str, float] | None = None, **more: Any,
) -> Artefact:
    """Write a PriceTransformer.

    Args:
        validation: how it did on bars that it was not trained on, by metric.
        more: further entries of the card: trained_from, trained_until, trained_on, source.
    """
    card = ArtefactCard(
        PRICE,
        asdict(network.sizes),
        inputs=FIELDS[:5],
        timeframe=timeframe,
        lookback=lookback,
        horizon=network.sizes.horizons,
        label={
            "kind": "quantiles of log return over the window's volatility times √h",
            "levels": list(LEVELS),
            **_validated(validation),
        },
        conventions={"amount": "volume times (high + low + close) / 3", "clock": "UTC"},
        libraries=library_versions(),
        **more,
    )
    return save_artefact(folder, card, network.state_dict())


def load_price_transformer(artefact: Artefact) -> PriceTransformer:
    """Return the network of an artefact, in eval mode.

    Raises:
        PluginError: it is one of another network, or its weights are not those of its sizes.
    """
    sizes = _made(PriceSizes, _configuration(artefact, PRICE), PRICE)
    return _filled(PriceTransformer(sizes), artefact.weights, PRICE)


def save_position_head(
    folder: Path,
    head: PositionHead,
    inputs: tuple[str, ...],
    serving: Serving,
    *,
    reads: str = "",
    validation: Mapping[str, float] | None = None,
    **more: Any,
) -> Artefact:
    """Write a position head.

    Args:
        inputs: names of what it is fed, in order; `feature_names` of the PriceTransformer that it was trained on.
        reads: hash of that one's artefact: the head means nothing on another, though the names be the same.
        validation: as `save_price_transformer`.
        more: further entries of the card: trained_from, trained_until, trained_on, source.
    Raises:
        PluginError: it has another number of inputs.
    """
    if len(inputs) != head.sizes.features:
        raise PluginError(f"position head: {len(inputs)} names for {head.sizes.features} features; expected one each")
    card = ArtefactCard(
        HEAD,
        {"sizes": asdict(head.sizes), "serving": asdict(serving)},
        inputs=inputs,
        label={
            "kind": "share of equity",
            "grid": "tenths, from -1" if head.sizes.short else "tenths, from 0",
            **_validated(validation),
        },
        conventions={READS: reads} if reads else {},
        libraries=library_versions(),
        **more,
    )
    return save_artefact(folder, card, head.state_dict())


def load_position_head(artefact: Artefact) -> tuple[PositionHead, Serving]:
    """Return the network of an artefact, in eval mode, and how targets are taken from it.

    Raises:
        PluginError: it is one of another network, or its weights are not those of its sizes.
    """
    content = _configuration(artefact, HEAD)
    sizes = _made(HeadSizes, content.get("sizes", {}), HEAD)
    serving = _made(Serving, content.get("serving", {}), HEAD)
    return _filled(PositionHead(sizes), artefact.weights, HEAD), serving


def _validated(metrics: Mapping[str, float] | None) -> dict[str, Any]:
    return {} if metrics is None else {"validation": dict(metrics)}


def _configuration(artefact: Artefact, architecture: str) -> dict[str, Any]:
    found = artefact.card.architecture
    if found != architecture:
        raise PluginError(f"the artefact is of a {found}; expected a {architecture}")
    return artefact.card.configuration


def _made(kind: Any, content: dict[str, Any], what: str) -> Any:
    known = list(kind.__dataclass_fields__)
    for name in content:
        if name not in known:
            raise PluginError(f"{what}: its configuration has an unknown {name!r}{nearest_name(name, known)}")
    try:
        return kind(**content)
    except TypeError as exc:  # a size is missing
        raise PluginError(f"{what}: its configuration does not fit: {exc}; expected {', '.join(known)}") from exc


def _filled(network: Network, weights: Tensors, what: str) -> Network:
    try:
        network.load_state_dict(weights)
    except RuntimeError as exc:
        raise PluginError(f"{what}: its weights are not those of its sizes: {exc}") from exc
    return network.eval()
