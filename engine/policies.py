"""Policies: networks with a memory that turn what a model said, and what is held, into the share of equity to hold.

A policy keeps nothing between calls: the memory of each symbol goes in and comes out, JSON-ready, so that it can be
saved with the strategy that owns it. Backtest and paper trading call the same `step`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from engine.bars import FloatArray
from engine.forecasts import Float32Array

Memory = Mapping[str, Any]
"""What a policy remembers of a symbol; whatever JSON can hold."""


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and gives.

    Args:
        name: in the settings. inputs: names of a model's outputs that it is fed, in order.
        low, high: the least and the largest share that it may wish for.
        model_hash: of its weights and how it is served. reads: hash of the artefact of the model that it was trained
            on, as that model's spec has it; empty: any model with its inputs.
        trained_until: UTC nanoseconds of the last bar that training has seen; None: unknown. trained_on: symbols.
        device: where it computes.
    """

    name: str
    inputs: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0
    model_hash: str = ""
    trained_until: int | None = None
    trained_on: tuple[str, ...] = ()
    device: str = "cpu"
    reads: str = ""


class PolicyStep(NamedTuple):
    """A policy's answer, in the order of the symbols asked: shares [N]; what it remembers of each from now on, None of
    one that it has never answered for; which of them it remembered nothing of any more, because too many bars had been
    missed; and what is wrong with the answer, "" or "nan": such a one is what is held and what was remembered before,
    and not to be traded on. Empty: nothing is wrong."""

    shares: FloatArray
    memories: tuple[Memory | None, ...]
    restarted: tuple[bool, ...]
    faults: tuple[str, ...] = ()


class Policy(Protocol):
    """A policy at work. Same inputs and memories, same answers, in any batch."""

    @property
    def spec(self) -> PolicySpec: ...

    def step(
        self, features: Float32Array, memories: Sequence[Memory | None], held: FloatArray, time: int, interval: int,
        symbols: Sequence[str],
    ) -> PolicyStep:
        """Return the shares to hold.

        Args:
            features: float32 [N, inputs]; memories: of each symbol, None before its first step.
            held: [N], the share of each that is in fact held now.
            time: close of the bar that the features end at, UTC nanoseconds; interval: nanoseconds from one step to the
                next, where none is missed.
            symbols: [N] names.
        Raises:
            PluginError: a memory of another policy, or of a later bar; features of another shape.
        """
