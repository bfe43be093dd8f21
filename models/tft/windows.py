"""From windows of features to the network's inputs.

A window ends at the last closed bar. What varies in time and is not known ahead (all that comes from bars) is an input
of the encoder alone; the decoder gets what the calendar says, and the relative index.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.errors import PluginError, nearest_name
from models.tft.configuration import TFTConfiguration
from models.tft.tensors import TFTInputs

RELATIVE_INDEX = "relative_time_idx"
"""(step − steps of the past) / max_encoder_length: −1 … 0 in the past of a full window, 0 for the first step ahead."""
ENCODER_LENGTH = "encoder_length"
"""2 (steps of the past − ½ max_encoder_length) / max_encoder_length: 1 for a full window."""

CYCLES: Mapping[str, int] = {"minute": 60, "hour": 24, "weekday": 7, "day": 31, "month": 12}
"""Calendar columns as whole numbers, and after how many they come round."""


class WindowAssembly:
    """Puts a network's inputs together.

    Args:
        of: the network's configuration.
        features: names of a window's columns, in order; centre, scale: float [F], how each is normalised: training's.
        known: names of columns known ahead: reals and codes of categoricals that vary in time.
    Raises:
        PluginError: an input of the network has no column, or one of the decoder is not known ahead.
    """

    def __init__(
        self,
        of: TFTConfiguration,
        features: Sequence[str],
        *,
        known: Sequence[str] = (),
        centre: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        self._of = of
        self.features, self.known = tuple(features), tuple(known)
        size = len(self.features)
        self.centre = torch.zeros(size) if centre is None else centre.float()
        self.scale = torch.ones(size) if scale is None else scale.float()
        if self.centre.shape != (size,) or self.scale.shape != (size,):
            raise PluginError(
                f"tft: scalers of features have {len(self.centre)} centres and {len(self.scale)} scales; "
                f"expected one for each of {size} features"
            )
        for name, one in zip(self.features, self.scale.tolist(), strict=True):
            if not 0 < one < float("inf"):
                raise PluginError(
                    f"tft: the scale of {name!r} is {one}; leave the feature out, or give it a scale of 1"
                )
        self._check()
        # Columns of the input, and where each comes from.
        self._from_features = [(place, self.features.index(n)) for place, n in self._reals(self.features)]
        self._from_known = [(place, self.known.index(n)) for place, n in self._reals(self.known)]
        self._index = of.x_reals.index(RELATIVE_INDEX) if RELATIVE_INDEX in of.reals else None
        self._length = of.x_reals.index(ENCODER_LENGTH) if ENCODER_LENGTH in of.reals else None
        # Names in one run are copied at once.
        places = [place for place, _ in self._from_features]
        self._in_one_run = places == list(range(len(places))) and [c for _, c in self._from_features] == places

    def __call__(
        self, values: Tensor, ahead: int, *, known: Tensor | None = None, codes: Mapping[str, Tensor] | None = None
    ) -> TFTInputs:
        """Return the network's inputs of windows.

        Args:
            values: float32 [N, T, F], features, oldest first. ahead: D, steps to forecast.
            known: float32 [N, T + D, K], what is known ahead; None if there is nothing.
            codes: of each categorical column, int64 [N] if it is static, else [N, T + D].
        Raises:
            PluginError: shapes do not fit, or codes are missing.
        """
        rows, past = self._shape(values, ahead, known)
        of = self._of
        encoder = values.new_zeros(rows, past, len(of.x_reals))
        decoder = values.new_zeros(rows, ahead, len(of.x_reals))
        normed = (values - self.centre.to(values)) / self.scale.to(values)
        if self._in_one_run:
            encoder[..., : len(self._from_features)] = normed[..., : len(self._from_features)]
        else:
            for place, column in self._from_features:
                encoder[..., place] = normed[..., column]
        for place, column in self._from_known:
            assert known is not None
            encoder[..., place], decoder[..., place] = known[:, :past, column], known[:, past:, column]
        if self._index is not None:
            index = torch.arange(-past, ahead, dtype=values.dtype, device=values.device) / of.max_encoder_length
            encoder[..., self._index], decoder[..., self._index] = index[:past], index[past:]
        if self._length is not None:
            encoder[..., self._length] = 2 * (past - 0.5 * of.max_encoder_length) / of.max_encoder_length
        return TFTInputs(encoder, decoder, *self._codes(codes or {}, rows, past, ahead, values.device))

    def _shape(self, values: Tensor, ahead: int, known: Tensor | None) -> tuple[int, int]:
        if values.dim() != 3 or values.shape[2] != len(self.features):
            raise PluginError(
                f"tft: windows have shape {list(values.shape)}; expected [N, T, {len(self.features)}]: "
                f"{', '.join(self.features)}"
            )
        rows, past = values.shape[:2]
        if past > self._of.max_encoder_length:
            raise PluginError(
                f"tft: windows have {past} steps; the network was trained on {self._of.max_encoder_length} at most"
            )
        wanted = (rows, past + ahead, len(self.known))
        if self.known and (known is None or tuple(known.shape) != wanted):
            found = "missing" if known is None else f"of shape {list(known.shape)}"
            raise PluginError(f"tft: what is known ahead is {found}; expected {list(wanted)}: {', '.join(self.known)}")
        return rows, past

    def _codes(
        self, codes: Mapping[str, Tensor], rows: int, past: int, ahead: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        of = self._of
        every = torch.zeros(rows, past + ahead, len(of.x_categoricals), dtype=torch.int64, device=device)
        wanted = {of.x_categoricals[column] for name in of.categoricals for column in of.code_columns(name)}
        for place, name in enumerate(of.x_categoricals):
            if name not in wanted:
                continue
            if name not in codes:
                raise PluginError(f"tft: there are no codes of {name!r}; expected int64 [N] or [N, T + D]")
            given = codes[name].to(device)
            if given.shape not in ((rows,), (rows, past + ahead)):
                raise PluginError(
                    f"tft: codes of {name!r} have shape {list(given.shape)}; expected [{rows}] or "
                    f"[{rows}, {past + ahead}]"
                )
            every[..., place] = given[:, None] if given.dim() == 1 else given
        return every[:, :past], every[:, past:]

    def _reals(self, names: Sequence[str]) -> list[tuple[int, str]]:
        of = self._of
        return [(of.x_reals.index(name), name) for name in of.reals if name in names]

    def _check(self) -> None:
        of = self._of
        made = (RELATIVE_INDEX, ENCODER_LENGTH)
        for name in of.reals:
            if name not in self.features and name not in self.known and name not in made:
                every = (*self.features, *self.known)
                raise PluginError(
                    f"tft: the network's real {name!r} is neither a feature nor known ahead; there are "
                    f"{', '.join(every)}{nearest_name(name, every)}"
                )
        for name in of.time_varying_reals_decoder:
            if name not in self.known and name != RELATIVE_INDEX:
                raise PluginError(
                    f"tft: the decoder takes {name!r}, which is a feature of bars and not known ahead; "
                    "the network cannot be used for forecasts"
                )


def calendar_reals(calendar: Tensor, columns: Sequence[str], names: Sequence[str]) -> Tensor:
    """Return sines and cosines of calendar columns, float32 [N, T + D, len(names)].

    Args:
        calendar: int64 [N, T + D, columns], of `columns` ("minute", "hour", "weekday", "day", "month").
        names: such as "hour_sin" or "weekday_cos", the angle being 2π · value / how many there are.
    Raises:
        PluginError: a name of another form, or of a column that is not there.
    """
    out = calendar.new_empty(*calendar.shape[:2], len(names), dtype=torch.float32)
    for place, name in enumerate(names):
        column, _, wave = name.rpartition("_")
        if wave not in ("sin", "cos") or column not in columns or column not in CYCLES:
            raise PluginError(f"tft: {name!r} is no wave of the calendar; expected <column>_sin or _cos of {columns}")
        angle = calendar[..., columns.index(column)].float() * (2 * torch.pi / CYCLES[column])
        out[..., place] = angle.sin() if wave == "sin" else angle.cos()
    return out
