"""Networks rebuilt from artefacts, strictly: every weight that the card's sizes ask for, and no other."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from engine.errors import PluginError
from models.artefact import Artefact
from models.krnn import Layout, load_krnn
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.kronos.loading import fill
from models.kronos.network import Kronos
from models.kronos.tokenizer import KronosTokenizer
from models.position.loading import load_position_head, load_price_transformer
from models.tft.loading import load_tft
from models.verification import entry


def kronos_of(artefact: Artefact, where: str) -> tuple[Kronos, KronosTokenizer, int]:
    """Return the predictor, its tokenizer, and how many tokens it sees at once.

    Args:
        where: how messages name the artefact.
    Raises:
        PluginError: the card lacks sizes, or the tensors are not those of the sizes.
    """
    of = artefact.card.configuration
    model = Kronos(ModelSizes.of(entry(of, "model", dict, where), f"{where}: model"))
    tokenizer = KronosTokenizer(TokenizerSizes.of(entry(of, "tokenizer", dict, where), f"{where}: tokenizer"))
    if "tokenizer" not in artefact.tensors:
        raise PluginError(f"{where}: it has no tokenizer.safetensors; a Kronos needs both of its networks")
    fill(model, dict(artefact.weights), where)
    fill(tokenizer, dict(artefact.tensors["tokenizer"]), f"{where}: its tokenizer")
    return model, tokenizer, entry(of, "max_context", int, where)


def krnn_layout(artefact: Artefact) -> Layout:
    """Return how a KRNN's rows are laid out, as its card says."""
    card = artefact.card
    layout: Layout = card.layout or card.configuration.get("layout", "field_major")  # type: ignore[assignment]
    return layout


def rebuild(artefact: Artefact, where: str) -> list[nn.Module]:
    """Return the networks of an artefact.

    Raises:
        PluginError: its architecture is not known, or card and tensors do not fit each other.
    """
    make = _REBUILT.get(artefact.card.architecture)
    if make is None:
        raise PluginError(
            f"{where}: its architecture is {artefact.card.architecture!r}; expected one of {', '.join(_REBUILT)}"
        )
    return make(artefact, where)


_REBUILT: Mapping[str, Callable[[Artefact, str], list[Any]]] = {
    "kronos": lambda artefact, where: [*kronos_of(artefact, where)[:2]],
    "krnn": lambda artefact, where: [
        load_krnn(artefact.weights, krnn_layout(artefact), artefact.card.configuration.get("pool", "last"))],
    "price_transformer": lambda artefact, where: [load_price_transformer(artefact)],
    "position_head": lambda artefact, where: [load_position_head(artefact)[0]],
    "tft": lambda artefact, where: [load_tft(artefact.weights, artefact.card.configuration)],
}
