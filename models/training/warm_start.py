"""Warm start: a fresh network takes over what fits of an artefact's weights, and says what did not."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from engine.errors import PluginError
from models.artefact import Tensors

Tables = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class WarmStart:
    """What was taken over.

    Args:
        loaded, missing, mismatched: parameters that were taken, that the artefact has not, and that have another shape
            there ("name [3, 2] ≠ [4, 2]"). remapped: tables whose rows were found by name, with how many of how many.
        share: of the network's numbers that were taken.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    remapped: Mapping[str, tuple[int, int]]
    share: float

    def __str__(self) -> str:
        text = f"warm start: {self.share:.0%} of the network, {len(self.loaded)} parameters"
        for name, (found, rows) in self.remapped.items():
            text += f"; {name}: {found} of {rows} rows by name"
        for what, names in (("missing", self.missing), ("of another shape", self.mismatched)):
            if names:
                text += f"; {what}: {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
        return text


def warm_start(
    network: nn.Module, weights: Tensors, *, least: float = 0.5, tables: Tables | None = None,
    old_vocabularies: Mapping[str, Mapping[str, int]] | None = None,
) -> WarmStart:
    """Load into a network what fits.

    Args:
        least: share of the network's numbers that must be taken over.
        tables: of the network: parameters whose rows belong to names (see Recipe.tables); old_vocabularies: of the
            artefact, by what they are of ("symbol"); a table takes the one that it shares most names with.
    Raises:
        PluginError: less than that was.
    """
    own = network.state_dict()
    loaded, missing, mismatched = [], [], []
    remapped: dict[str, tuple[int, int]] = {}
    taken = 0
    for name, parameter in own.items():
        old = weights.get(name)
        if old is None:
            missing.append(name)
        elif name in (tables or {}) and old.dim() == parameter.dim() and old.shape[1:] == parameter.shape[1:]:
            count = _by_name(parameter, old, (tables or {})[name], old_vocabularies or {})
            remapped[name] = (count, len(parameter))
            taken += count * parameter[0].numel()
        elif old.shape != parameter.shape:
            mismatched.append(f"{name} {list(old.shape)} ≠ {list(parameter.shape)}")
        else:
            parameter.copy_(old)
            loaded.append(name)
            taken += parameter.numel()
    network.load_state_dict(own)
    share = taken / max(sum(parameter.numel() for parameter in own.values()), 1)
    made = WarmStart(tuple(loaded), tuple(missing), tuple(mismatched), remapped, share)
    if share < least:
        raise PluginError(f"{made}; expected {least:.0%} at least: this artefact is of another network, or too far off")
    return made


def _by_name(table: torch.Tensor, old: torch.Tensor, names: Mapping[str, int], known: Tables) -> int:
    """Copy the rows of names that both have, and the first row (of unknown names); return how many."""
    before = max(known.values(), key=lambda one: len(names.keys() & one.keys()), default={})
    rows = {names[name]: before[name] for name in names.keys() & before.keys()}
    if 0 not in names.values() and 0 not in before.values():
        rows[0] = 0
    for new, row in rows.items():
        table[new] = old[row]
    return len(rows)
