"""Generation as the original does it: the whole window is run anew for every token of every sample.

For tests and benchmarks, which hold the fast way against it.
"""

import torch
from torch import Tensor

from models.kronos.network import Kronos
from models.kronos.sampling import Draw, Sampling


@torch.inference_mode()
def naive_generation(
    network: Kronos,
    sampling: Sampling,
    draw: Draw,
    max_context: int,
    s1: Tensor,
    s2: Tensor,
    stamp: Tensor,
    horizon: int,
    samples: int,
) -> tuple[Tensor, Tensor]:
    """Return what `Generation.run` returns; its arguments are the same."""
    s1, s2, stamp = (part.repeat_interleave(samples, 0) for part in (s1, s2, stamp))
    length = s1.shape[1]
    for step in range(horizon):
        window = slice(max(0, length + step - max_context), length + step)
        context = network.context(s1[:, window], s2[:, window], stamp[:, window])
        first = draw(sampling.chances(network.head.proj_s1(context)[:, -1]), step, 0)
        second = draw(sampling.chances(network.s2_logits(context, first[:, None])), step, 1)
        s1, s2 = torch.cat([s1, first[:, None]], 1), torch.cat([s2, second[:, None]], 1)
    return s1[:, length:], s2[:, length:]
