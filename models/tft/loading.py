"""State dicts of pytorch-forecasting's TemporalFusionTransformer (v1), and of ours, to networks.

A weight that several parts share stands in a state dict under each part's prefix: a real's prescaler under up to four,
the gate after the LSTM under two. Some writers keep only one of the names; what is there must agree.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.errors import PluginError, nearest_name
from models.tft.configuration import TFTConfiguration
from models.tft.network import TFT

_NOT_OF_THE_NETWORK = ("loss.", "logging_metrics.", "output_transformer.")


def load_tft(weights: Mapping[str, Tensor], parameters: Mapping[str, Any]) -> TFT:
    """Return the network of a state dict, in eval mode.

    Args:
        weights: by the origin's names; parameters: its hyper-parameters, as JSON has them.
    Raises:
        PluginError: the hyper-parameters cannot be; weights are missing, foreign, of another shape, or differ between
            names of one weight.
    """
    network = TFT(TFTConfiguration.of(parameters))
    fill(network, {name: tensor for name, tensor in weights.items() if not name.startswith(_NOT_OF_THE_NETWORK)})
    return network.eval()


def fill(network: TFT, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network: every one of its own, and no other.

    Raises:
        PluginError: as `load_tft`.
    """
    aliases: dict[int, list[str]] = {}
    parameters = dict(network.named_parameters(remove_duplicate=False))
    for name, parameter in parameters.items():
        aliases.setdefault(id(parameter), []).append(name)
    foreign = [name for name in weights if name not in parameters]
    if foreign:
        raise PluginError(
            f"tft: the state dict has {foreign[0]!r}{_and_more(foreign)}, for which the hyper-parameters have no place"
            f"{nearest_name(foreign[0], list(parameters))}"
        )
    missing = [names[0] for names in aliases.values() if not any(name in weights for name in names)]
    if missing:
        raise PluginError(f"tft: the state dict has no {missing[0]!r}{_and_more(missing)}, which the network needs")
    with torch.no_grad():
        for names in aliases.values():
            given = [name for name in names if name in weights]
            parameter, value = parameters[names[0]], weights[given[0]]
            for other in given[1:]:
                if not torch.equal(weights[other], value):
                    raise PluginError(f"tft: {given[0]!r} and {other!r} are one weight, but differ in the state dict")
            if value.shape != parameter.shape:
                raise PluginError(
                    f"tft: {given[0]!r} has shape {list(value.shape)}; the hyper-parameters make it "
                    f"{list(parameter.shape)}"
                )
            parameter.copy_(value)


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
