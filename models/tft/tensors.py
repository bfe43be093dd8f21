"""What goes into the temporal fusion transformer and what comes out. B windows, T steps of the past, D steps ahead."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from engine.errors import PluginError
from models.tft.configuration import TFTConfiguration


@dataclass(frozen=True)
class TFTInputs:
    """Windows. The past begins at step 0; shorter ones are padded on the right, and so are shorter horizons.

    Args:
        encoder_cont: float32 [B, T, R], columns as x_reals; decoder_cont: [B, D, R]. What is not known ahead is not
            read there, and may be anything.
        encoder_cat, decoder_cat: int64 [B, T, C], [B, D, C], columns as x_categoricals.
        encoder_lengths, decoder_lengths: int64 [B], each 1 or more; None: nothing is padded.
    """

    encoder_cont: Tensor
    decoder_cont: Tensor
    encoder_cat: Tensor
    decoder_cat: Tensor
    encoder_lengths: Tensor | None = None
    decoder_lengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.encoder_cont)

    @property
    def lengths(self) -> tuple[Tensor, Tensor]:
        """The lengths of past and horizon, int64 [B] each, on the tensors' device."""
        full = (self.encoder_cont.shape[1], self.decoder_cont.shape[1])
        given = (self.encoder_lengths, self.decoder_lengths)
        rows, device = len(self), self.encoder_cont.device
        past, ahead = (
            torch.full((rows,), length, device=device) if lengths is None else lengths.to(device)
            for lengths, length in zip(given, full, strict=True)
        )
        return past, ahead

    def rows(self, rows: slice) -> Self:
        """Return some of the windows."""
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: str | torch.device) -> Self:
        """Return the windows on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def double(self) -> Self:
        """Return the windows with their reals in float64."""
        return replace(self, encoder_cont=self.encoder_cont.double(), decoder_cont=self.decoder_cont.double())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return replace(self, **{name: change(tensor) for name, tensor in given.items() if tensor is not None})

    def check(self, of: TFTConfiguration) -> None:
        """Hold shapes, lengths and codes against what the network takes.

        Raises:
            PluginError: they do not fit.
        """
        for name in ("encoder_cont", "decoder_cont"):
            if getattr(self, name).dim() != 3:
                raise PluginError(
                    f"tft: {name} has shape {list(getattr(self, name).shape)}; expected [windows, steps, reals]"
                )
        rows, past, ahead = len(self), self.encoder_cont.shape[1], self.decoder_cont.shape[1]
        if not rows:
            raise PluginError("tft: there are no windows; expected one or more")
        shapes = {
            "encoder_cont": (rows, past, len(of.x_reals)),
            "decoder_cont": (rows, ahead, len(of.x_reals)),
            "encoder_cat": (rows, past, len(of.x_categoricals)),
            "decoder_cat": (rows, ahead, len(of.x_categoricals)),
            "encoder_lengths": (rows,),
            "decoder_lengths": (rows,),
        }
        for name, shape in shapes.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise PluginError(f"tft: {name} has shape {list(tensor.shape)}; expected {list(shape)}")
        if not past or not ahead:
            raise PluginError(f"tft: {past} steps of the past and {ahead} ahead; expected one of each or more")
        for name, lengths, most in (
            ("encoder_lengths", self.encoder_lengths, past),
            ("decoder_lengths", self.decoder_lengths, ahead),
        ):
            if lengths is not None and not 1 <= int(lengths.min()) <= int(lengths.max()) <= most:
                raise PluginError(
                    f"tft: {name} from {int(lengths.min())} to {int(lengths.max())}; expected 1…{most}, "
                    "the steps that are there"
                )
        self._check_codes(of)

    def _check_codes(self, of: TFTConfiguration) -> None:
        if not of.categoricals:
            return
        ranges = [torch.aminmax(codes.flatten(0, 1), dim=0) for codes in (self.encoder_cat, self.decoder_cat)]
        lowest = torch.minimum(ranges[0].min, ranges[1].min).tolist()
        highest = torch.maximum(ranges[0].max, ranges[1].max).tolist()
        for name in of.categoricals:
            count = of.embedding_sizes[name][0]
            for column in of.code_columns(name):
                if lowest[column] < 0 or highest[column] >= count:
                    wrong = lowest[column] if lowest[column] < 0 else highest[column]
                    raise PluginError(
                        f"tft: {of.x_categoricals[column]!r} has the code {wrong}; expected 0…{count - 1}, the "
                        "categories that were trained"
                    )


@dataclass(frozen=True)
class TFTOutput:
    """What the network says, before heads and scales, and why.

    Args:
        raw: of each target, [B, D, its output size].
        encoder_attention, decoder_attention: how much each step ahead looks at the past [B, D, heads, T] and at the
            other steps ahead [B, D, heads, D]; together they sum to 1.
        static_variables: how much each static variable counts, [B, 1, V], or [B, 0] where there is none.
        encoder_variables, decoder_variables: the same at each step, [B, T, 1, V], [B, D, 1, V].
    """

    raw: tuple[Tensor, ...]
    encoder_attention: Tensor
    decoder_attention: Tensor
    static_variables: Tensor
    encoder_variables: Tensor
    decoder_variables: Tensor


def concatenated(outputs: list[TFTOutput]) -> TFTOutput:
    """Return outputs of several batches as those of one."""
    names = [entry.name for entry in fields(TFTOutput) if entry.name != "raw"]
    raw = tuple(torch.cat(parts) for parts in zip(*(output.raw for output in outputs), strict=True))
    return TFTOutput(raw, **{name: torch.cat([getattr(output, name) for output in outputs]) for name in names})
