"""The position head as a policy: what a run asks of it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from engine.bars import FloatArray
from engine.errors import PluginError
from engine.forecasts import Float32Array
from engine.policies import Memory, PolicySpec, PolicyStep
from models.artefact import Artefact
from models.position.head import Policy, PolicyState
from models.position.loading import READS, load_position_head


class HeadPolicy:
    """A position head seen through engine.policies.Policy.

    Args:
        name: in the settings. device: where it runs. gap: bars that may be missed before its memory begins anew.
    Raises:
        PluginError: it is not the artefact of a position head.
    """

    def __init__(self, artefact: Artefact, name: str, *, device: str = "cpu", gap: int = 20) -> None:
        head, serving = load_position_head(artefact)
        self._device = device
        model_hash = _hash(artefact)
        self._policy = Policy(head.to(device), serving, model_hash, gap=gap)
        low = -1.0 if head.sizes.short else 0.0
        card = artefact.card
        self.spec = PolicySpec(
            name, card.inputs, low, 1.0, model_hash, card.trained_until, card.trained_on, device,
            card.conventions.get(READS, ""),
        )

    def step(
        self, features: Float32Array, memories: Sequence[Memory | None], held: FloatArray, time: int, interval: int,
        symbols: Sequence[str],
    ) -> PolicyStep:
        """Return the shares to hold; see engine.policies.Policy."""
        wanted = (len(memories), len(self.spec.inputs))
        if features.shape != wanted:
            raise PluginError(
                f"position head {self.spec.name}: features of shape {list(features.shape)}; expected {list(wanted)}"
            )
        states = {
            str(place): self._policy.begin() if memory is None else PolicyState.from_json(json.dumps(dict(memory)))
            for place, memory in enumerate(memories)
        }
        given = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(self._device)
        holding = {name: float(share) for name, share in zip(states, held, strict=True)}
        made = self._policy.step(given, states, holding, time, interval, symbols)
        return PolicyStep(
            self._kept(held, np.array([made.shares[name] for name in states])),
            tuple(asdict(made.states[name]) for name in states),
            tuple(name in made.restarted for name in states),
            tuple("nan" if name in made.broken else "" for name in states),
        )

    @staticmethod
    def _kept(held: FloatArray, shares: FloatArray) -> FloatArray:
        """Return the shares; where the head leaves things as they are, what is held to the last bit, not rounded to
        float32, which would look like a wish to trade."""
        return np.where(shares.astype(np.float32) == held.astype(np.float32), held, shares)


def _hash(artefact: Artefact) -> str:
    """Return the hash of an artefact and of the code that runs it."""
    digest = hashlib.sha256(artefact.hash.encode())
    for name in ("policy.py", "head.py"):
        digest.update((Path(__file__).parent / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()
