"""What a forecast was made of, by name: how much each variable counted, and how much each bar of the past."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.tft.configuration import TFTConfiguration
from models.tft.tensors import TFTOutput


@dataclass(frozen=True)
class Explanation:
    """Shares of N windows; each group adds up to 1.

    Args:
        static, past, ahead: of each variable by name, [N]: its mean weight over the steps that are there.
        bars: of each bar of the past, [N, T], the last one last: the mean attention over heads and steps ahead. What
            the steps ahead give each other is left out of it.
    """

    static: dict[str, Tensor]
    past: dict[str, Tensor]
    ahead: dict[str, Tensor]
    bars: Tensor


def explain(
    output: TFTOutput,
    of: TFTConfiguration,
    *,
    encoder_lengths: Tensor | None = None,
    decoder_lengths: Tensor | None = None,
) -> Explanation:
    """Return what an output of the network was made of.

    Args:
        encoder_lengths, decoder_lengths: int64 [N], of the inputs; None: nothing was padded. Bars of a shorter past
            stand at the end, as those of a full one do.
    """
    past = _steps_there(output.encoder_variables.shape[1], encoder_lengths, output.encoder_variables)
    ahead = _steps_there(output.decoder_variables.shape[1], decoder_lengths, output.decoder_variables)
    static = output.static_variables.flatten(1)
    attention = (output.encoder_attention.mean(dim=2) * ahead[..., None]).sum(dim=1)  # [N, T]
    attention = attention / attention.sum(dim=1, keepdim=True)
    if encoder_lengths is not None:
        steps = torch.arange(attention.shape[1], device=attention.device)
        attention = attention.gather(1, (steps + encoder_lengths[:, None].to(steps)) % attention.shape[1])
    return Explanation(
        static={name: static[:, place] for place, name in enumerate(of.static_variables)},
        past=_by_name(of.encoder_variables, output.encoder_variables, past),
        ahead=_by_name(of.decoder_variables, output.decoder_variables, ahead),
        bars=attention,
    )


def _steps_there(steps: int, lengths: Tensor | None, like: Tensor) -> Tensor:
    """Return the share of each step in a mean over those that are there, [N, steps]."""
    if lengths is None:
        return like.new_full((len(like), steps), 1 / steps)
    lengths = lengths.to(like.device)
    there = torch.arange(steps, device=like.device) < lengths[:, None]
    return there.to(like) / lengths[:, None]


def _by_name(names: tuple[str, ...], weights: Tensor, steps: Tensor) -> dict[str, Tensor]:
    mean = (weights[:, :, 0] * steps[..., None]).sum(dim=1)  # [N, V]
    return {name: mean[:, place] for place, name in enumerate(names)}
