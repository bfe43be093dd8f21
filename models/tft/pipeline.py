"""A trained transformer at work: windows of features in, statements about each target out, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import PluginError
from models.devices import Batches
from models.tft.fused import FusedTFT
from models.tft.heads import Target, check_targets, read_all
from models.tft.network import TFT
from models.tft.scaling import TargetScales
from models.tft.tensors import TFTInputs, TFTOutput, concatenated
from models.tft.windows import WindowAssembly

BATCH = 512


@dataclass(frozen=True)
class TFTForecast:
    """What is said of N windows.

    Args:
        values: by target: points [N, D, 1], quantiles [N, D, Q], probabilities [N, D, 1 or C].
        output: what it was read from: raw numbers, attention, weights of variables.
    """

    values: Mapping[str, Tensor]
    output: TFTOutput


class TFTPipeline:
    """Forecasts of a network.

    Args:
        network: as it is now, with its device; assembly: makes its inputs; targets: how its outputs are read, in order.
        scales: of the targets; None: raw numbers are in the targets' own unit.
        horizon: D, steps ahead. batch: windows at a time; it shrinks when memory runs out.
    Raises:
        PluginError: targets or scales do not fit the network.
    """

    def __init__(
        self,
        network: TFT,
        assembly: WindowAssembly,
        targets: Sequence[Target],
        *,
        scales: TargetScales | None = None,
        horizon: int = 1,
        batch: int = BATCH,
    ) -> None:
        check_targets(targets, network.configuration.output_size)
        if scales is not None and scales.centre.shape[2] != len(targets):
            raise PluginError(f"tft: scales are of {scales.centre.shape[2]} targets; the network has {len(targets)}")
        if horizon < 1:
            raise PluginError(f"tft: horizon is {horizon}; expected 1 or more steps")
        self._network, self._assembly = FusedTFT(network), assembly
        self.configuration = network.configuration
        self.targets, self.horizon = tuple(targets), horizon
        self._scales = scales
        self._batches = Batches(batch)

    @torch.inference_mode()
    def forecast(
        self,
        values: Tensor,
        *,
        known: Tensor | None = None,
        codes: Mapping[str, Tensor] | None = None,
        symbols: Tensor | None = None,
        periods: Tensor | None = None,
    ) -> TFTForecast:
        """Return what the network says of windows. A window with NaN gets NaN; the others do not notice.

        Args:
            values, known, codes: see `WindowAssembly`. symbols, periods: int64 [N], rows of the scales; 0, or None for
                all: one that training has not seen.
        Raises:
            MemoryError: not even one window fits. PluginError: the inputs do not fit the network.
        """
        inputs = self._assembly(values, self.horizon, known=known, codes=codes)
        output = self._run(inputs)
        return TFTForecast(read_all(self.targets, output.raw, self._of_windows(len(inputs), symbols, periods)), output)

    def _run(self, inputs: TFTInputs) -> TFTOutput:
        device = self._network.device
        if len(inputs) <= 1:  # nothing to divide
            return _on_cpu(self._network(inputs.to(device)))
        runs = self._batches.run(lambda rows: _on_cpu(self._network(inputs.rows(rows).to(device))), len(inputs))
        return concatenated(list(runs))

    def _of_windows(self, rows: int, symbols: Tensor | None, periods: Tensor | None) -> Tensor:
        if self._scales is None:
            return torch.tensor([0.0, 1.0]).expand(rows, len(self.targets), 2)
        nobody = torch.zeros(rows, dtype=torch.int64)
        return self._scales.of(nobody if symbols is None else symbols.cpu(), None if periods is None else periods.cpu())


def _on_cpu(output: TFTOutput) -> TFTOutput:
    if output.encoder_attention.device.type == "cpu":
        return output
    rest = {name: tensor.cpu() for name, tensor in vars(output).items() if name != "raw"}
    return TFTOutput(raw=tuple(tensor.cpu() for tensor in output.raw), **rest)
