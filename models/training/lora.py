"""LoRA: beside each frozen matrix of a network, the product of two thin ones that is trained; merged at the end.

Source: Hu et al. 2021, arXiv 2106.09685: W + (alpha / rank) · B A, A drawn, B zero, so that training begins where the
frozen network stands.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from engine.errors import SettingsError


class _LowRank(nn.Module):
    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down)


def attach(network: nn.Module, rank: int, chosen: Callable[[str], bool], alpha: float | None = None) -> int:
    """Put low-rank matrices beside the weights of chosen linear layers; return how many numbers are trained by them.

    Args:
        chosen: of a layer's name. alpha: 2 · rank if left out.
    Raises:
        SettingsError: no layer is chosen, or a rank below 1.
    """
    layers = [layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear) and chosen(name)]
    if rank < 1 or not layers:
        raise SettingsError(f"lora: rank {rank} beside {len(layers)} layers; expected 1 or more of each")
    count = 0
    for layer in layers:
        beside = _LowRank(layer.weight, rank, 2.0 * rank if alpha is None else alpha)
        parametrize.register_parametrization(layer, "weight", beside)
        count += beside.down.numel() + beside.up.numel()
    return count


def merge(network: nn.Module) -> None:
    """Add the products to the weights they stand beside, and take them away: the network has its own names again."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
