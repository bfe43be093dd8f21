"""Bars of sample paths that cannot be, made possible: for models that promise nothing about the order of their numbers.

It is done where an answer is taken in, never in the store: that keeps what the model said.
"""

from dataclasses import dataclass

import numpy as np

from engine.forecasts import Float32Array


@dataclass(frozen=True)
class Repairs:
    """How many values of forecast bars could not be and were changed: highs below or lows above the body, volumes and
    amounts below 0."""

    highs: int = 0
    lows: int = 0
    volumes: int = 0

    @property
    def count(self) -> int:
        """All of them together."""
        return self.highs + self.lows + self.volumes


def repaired(paths: Float32Array) -> tuple[Float32Array, Repairs]:
    """Return paths [..., 6] whose bars could be: high the highest, low the lowest, volume and amount not below 0."""
    out = paths.copy()
    body = out[..., [0, 3]]
    high, low = np.maximum(out[..., 1], body.max(-1)), np.minimum(out[..., 2], body.min(-1))
    counts = Repairs(int((high != out[..., 1]).sum()), int((low != out[..., 2]).sum()), int((out[..., 4:] < 0).sum()))
    out[..., 1], out[..., 2] = high, low
    out[..., 4:] = np.maximum(out[..., 4:], 0)
    return out, counts
