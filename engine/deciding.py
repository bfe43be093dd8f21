"""A policy at work in a run: what it is asked is counted, and an answer that is no number is flagged and kept from the
strategy, as one of a forecaster is."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite
from time import perf_counter
from typing import Any

import numpy as np

from engine.bars import FloatArray
from engine.errors import PluginError
from engine.forecasts import Float32Array
from engine.policies import Memory, Policy, PolicySpec, PolicyStep
from engine.recorder import Recorder


class WatchedPolicy:
    """A policy as the strategy gets it.

    Args:
        name: in the settings. recorder: is told, as an alert, when answers for a symbol begin to be nonsense.
    """

    def __init__(self, name: str, policy: Policy, recorder: Recorder) -> None:
        self.spec: PolicySpec = replace(policy.spec, name=name)
        self._policy = policy
        self._recorder = recorder
        self._calls = self._steps = self._restarted = 0
        self._seconds = 0.0
        self._flagged: dict[str, int] = {}
        self._broken: set[str] = set()
        """Symbols whose last answer was flagged."""

    def step(
        self, features: Float32Array, memories: Sequence[Memory | None], held: FloatArray, time: int, interval: int,
        symbols: Sequence[str],
    ) -> PolicyStep:
        """Return the shares to hold; see engine.policies.Policy.

        Where an answer or what is to be remembered has a number that is none, it has a fault: the share is what is
        held, and the memory that of before.

        Raises:
            PluginError: so many answers are not what was asked.
        """
        started = perf_counter()
        step = self._policy.step(features, memories, held, time, interval, symbols)
        self._seconds += perf_counter() - started
        self._calls += 1
        self._steps += len(symbols)
        shares = np.asarray(step.shares, np.float64)
        wanted = len(symbols)
        told = step.faults or ("",) * wanted
        if not shares.shape == (wanted,) or not len(step.memories) == len(step.restarted) == len(told) == wanted:
            raise PluginError(
                f"policy {self.spec.name} answered with shares of shape {list(shares.shape)}, {len(step.memories)} "
                f"memories, {len(step.restarted)} restarts and {len(told)} faults; expected {wanted} of each"
            )
        faults = tuple(
            fault or ("" if isfinite(share) and _is_finite(memory) else "nan")
            for fault, share, memory in zip(told, shares.tolist(), step.memories, strict=True)
        )
        self._note(faults, symbols, time)
        self._restarted += sum(step.restarted)
        if not any(faults):
            return step
        return PolicyStep(
            np.where([bool(fault) for fault in faults], held, shares),
            tuple(
                before if fault else after for fault, before, after in zip(faults, memories, step.memories, strict=True)
            ),
            step.restarted,
            faults,
        )

    def _note(self, faults: Sequence[str], symbols: Sequence[str], time: int) -> None:
        for symbol, fault in zip(symbols, faults, strict=True):
            if not fault:
                self._broken.discard(symbol)
                continue
            self._flagged[fault] = self._flagged.get(fault, 0) + 1
            if symbol not in self._broken:
                self._broken.add(symbol)
                words = f"{self.spec.name} answers {fault} for {symbol}: what is held is kept, and what it remembered"
                self._recorder.alert(time, "warning", "policy", words)

    def summary(self) -> dict[str, Any]:
        """Return what it took and what was wrong with it, JSON-ready."""
        spec = self.spec
        return {
            "model_hash": spec.model_hash, "trained_until": spec.trained_until, "trained_on": list(spec.trained_on),
            "device": spec.device, "calls": self._calls, "steps": self._steps, "model_seconds": self._seconds,
            "restarted": self._restarted, "flagged": dict(sorted(self._flagged.items())),
        }


def _is_finite(value: Any) -> bool:
    """Return whether all numbers within something that JSON can hold are finite."""
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, str):
        return True
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, Iterable) else True
