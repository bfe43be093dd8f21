"""Kronos from bars to sample paths: normalise, tokenise, generate, decode, take the normalisation back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.bars import FloatArray, IntArray
from engine.errors import PluginError
from engine.forecasting.repair import Repairs, repaired
from models.kronos.decoder import FusedKronos
from models.kronos.generation import Generation, Overflow
from models.kronos.network import Kronos
from models.kronos.preparation import CLIP, Float32Array, Normalised, normalise
from models.kronos.sampling import Draw, OwnChance, Sampling
from models.kronos.tokenizer import KronosTokenizer


@dataclass(frozen=True)
class Paths:
    """Sample paths float32 [N, S, H, 6] in the units of the bars (open, high, low, close, volume, amount); the tokens
    behind them, int64 [N, S, H] each; the last close of each window, float64 [N]; and what was repaired, if that was
    asked for."""

    values: Float32Array
    s1: npt.NDArray[np.int64]
    s2: npt.NDArray[np.int64]
    last_close: FloatArray
    repairs: Repairs | None = None

    @property
    def mean(self) -> Float32Array:
        """float32 [N, H, 6], which is all the original returns."""
        return np.asarray(self.values.mean(axis=1), np.float32)

    def quantiles(self, levels: Sequence[float]) -> Float32Array:
        """Return quantiles over the samples, each bar and field by itself, linear between two samples: float32
        [N, Q, H, 6], in the order of the levels.

        Raises:
            PluginError: a level outside 0…1, or none.
        """
        if not levels or not all(0 <= level <= 1 for level in levels):
            raise PluginError(f"kronos: levels of quantiles are {list(levels)}; expected some between 0 and 1")
        found = np.quantile(self.values.astype(np.float64), levels, axis=1)  # [Q, N, H, 6]
        return np.moveaxis(found, 0, 1).astype(np.float32)

    @property
    def p_up(self) -> FloatArray:
        """The chance of a rise, float64 [N, H]: the share of paths whose close at each bar ahead lies above the last
        close of the window, ties counted as one half. Its last column speaks of the horizon's end."""
        closes, before = self.values[..., 3].astype(np.float64), self.last_close[:, None, None]
        return np.asarray(((closes > before) + 0.5 * (closes == before)).mean(axis=1))


class KronosPipeline:
    """A tokenizer and a predictor, ready to forecast.

    Args:
        max_context: tokens that the predictor sees at once (no checkpoint says it: 512, mini 2048).
        dtype: of the predictor's large matrices; see FusedKronos.
        overflow: what happens when history and horizon together are more; see generation.plan.
        repairs: whether bars that cannot be are repaired, and counted.
    """

    def __init__(
        self,
        tokenizer: KronosTokenizer,
        network: Kronos,
        max_context: int,
        *,
        clip: float = CLIP,
        dtype: torch.dtype = torch.float32,
        overflow: Overflow = "exact",
        repairs: bool = False,
    ) -> None:
        ours, theirs = (
            (tokenizer.sizes.s1_bits, tokenizer.sizes.s2_bits),
            (network.sizes.s1_bits, network.sizes.s2_bits),
        )
        if ours != theirs:
            raise PluginError(
                f"kronos: the tokenizer makes tokens of {ours} bits, the model reads {theirs}; they do not "
                "belong together"
            )
        self.tokenizer = tokenizer.eval()
        self.fused = FusedKronos(network.eval(), dtype)
        self.max_context = max_context
        self.clip = clip
        self.overflow: Overflow = overflow
        self.repairs = repairs

    @property
    def device(self) -> torch.device:
        return self.fused.device

    def paths(
        self,
        windows: Sequence[npt.NDArray[np.floating]],
        stamps: IntArray,
        horizon: int,
        *,
        samples: int = 1,
        seeds: Sequence[int] = (),
        sampling: Sampling | None = None,
        draw: Draw | None = None,
        told: Callable[[int, int], None] | None = None,
    ) -> Paths:
        """Return sample paths; one that a network made of numbers that are none, NaN or infinite, is NaN throughout.

        Args:
            windows: N of [L, 6], all of one length, oldest bar first, the last one closed at the decision.
            stamps: int64 [N, L + horizon, 5] (see preparation.stamps_of), of history and of the bars ahead.
            seeds: one a series: a path depends on its own window, its seed and its number, not on the batch.
            draw: how tokens are drawn instead (greedy, or the original's global generator).
        Raises:
            PluginError: windows that cannot be read, lengths that do not fit.
        """
        lengths = {len(window) for window in windows}
        if len(lengths) != 1:
            raise PluginError(f"kronos: windows of {sorted(lengths)} bars in one batch; expected one length")
        count, length = len(windows), lengths.pop()
        if stamps.shape != (count, length + horizon, 5):
            raise PluginError(
                f"kronos: stamps of shape {list(stamps.shape)}; expected [{count}, {length} + {horizon}, 5]"
            )
        if draw is None:
            if len(seeds) != count:
                raise PluginError(f"kronos: {len(seeds)} seeds for {count} windows; expected one each")
            draw = OwnChance(seeds, samples, horizon, self.device)
        normalised = [normalise(window, self.clip) for window in windows]
        with torch.inference_mode():
            s1, s2 = self._tokens(normalised)
            generation = Generation(self.fused, sampling or Sampling(), draw, self.max_context, self.overflow, told)
            stamp = torch.from_numpy(np.ascontiguousarray(stamps)).to(self.device)
            more1, more2 = generation.run(s1, s2, stamp, horizon, samples)
            ahead = self._decoded(s1, s2, more1, more2, samples)
            ahead[~generation.is_sound] = float("nan")
        values = self._back(normalised, ahead, samples)
        counts = None
        if self.repairs:
            values, counts = repaired(values)
        shape = (count, samples, horizon)
        last_close = np.array([window[-1, 3] for window in windows], np.float64)
        s1_ahead, s2_ahead = (more.cpu().numpy().reshape(shape) for more in (more1, more2))
        return Paths(values, s1_ahead, s2_ahead, last_close, counts)

    def _tokens(self, normalised: Sequence[Normalised]) -> tuple[Tensor, Tensor]:
        """Return the tokens of history; the tokenizer sees all of it, however long."""
        values = torch.from_numpy(np.stack([window.values for window in normalised])).to(self.device)
        return self.tokenizer.encode(values)

    def _decoded(self, s1: Tensor, s2: Tensor, more1: Tensor, more2: Tensor, samples: int) -> Tensor:
        """Return the normalised bars ahead, [N·S, H, 6]: decoded behind as much history as the network sees.

        A horizon longer than the context is decoded whole, behind one bar of history at least.
        """
        horizon = more1.shape[1]
        before = max(min(s1.shape[1], self.max_context - horizon), min(1, s1.shape[1]))
        past1, past2 = (part[:, -before:].repeat_interleave(samples, 0) for part in (s1, s2))
        both = self.tokenizer.decode(torch.cat([past1, more1], 1), torch.cat([past2, more2], 1))
        return both[:, -horizon:]

    def _back(self, normalised: Sequence[Normalised], ahead: Tensor, samples: int) -> Float32Array:
        values = ahead.float().cpu().numpy().reshape(len(normalised), samples, -1, 6)
        mean = np.stack([window.mean for window in normalised])[:, None, None]
        scale = np.stack([window.scale for window in normalised])[:, None, None]
        return np.asarray(values * scale + mean, np.float32)
