"""What a target's raw numbers mean, and how they become a statement in the target's own unit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from engine.errors import PluginError, nearest_name
from models.tft.scaling import restore


class Head(Protocol):
    """How one target is read."""

    kind: ClassVar[str]

    @property
    def size(self) -> int:
        """How many raw numbers a step it takes."""

    def read(self, raw: Tensor, scale: Tensor) -> Tensor:
        """Return the statement of raw numbers [B, D, size], given centre and scale [B, 2] of each window."""


@dataclass(frozen=True)
class Point:
    """One number, in the target's unit: [B, D, 1]."""

    kind: ClassVar[str] = "point"

    @property
    def size(self) -> int:
        return 1

    def read(self, raw: Tensor, scale: Tensor) -> Tensor:
        return restore(raw, scale)


@dataclass(frozen=True)
class Quantiles:
    """Quantiles in the target's unit, [B, D, Q], ascending.

    Learned quantiles may cross; they are put in order, which is never further from the truth
    (Chernozhukov, Fernández-Val and Galichon 2010).
    """

    levels: tuple[float, ...]
    kind: ClassVar[str] = "quantiles"

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < level < 1 for level in self.levels):
            raise PluginError(f"tft: levels of quantiles are {self.levels}; expected numbers between 0 and 1")
        if any(one >= other for one, other in pairwise(self.levels)):
            raise PluginError(f"tft: levels of quantiles are {self.levels}; expected them ascending")

    @property
    def size(self) -> int:
        return len(self.levels)

    def read(self, raw: Tensor, scale: Tensor) -> Tensor:
        return restore(raw, scale).sort(dim=-1).values


@dataclass(frozen=True)
class Probability:
    """The probability that something happens, [B, D, 1], from a logit.

    Args:
        pos_weight: by which training weighed what happens. Weighing moves the logit by its logarithm; that is undone,
            or every probability would be too high.
    """

    pos_weight: float = 1.0
    kind: ClassVar[str] = "probability"

    def __post_init__(self) -> None:
        if not 0 < self.pos_weight < math.inf:
            raise PluginError(f"tft: pos_weight is {self.pos_weight}; expected a positive number")

    @property
    def size(self) -> int:
        return 1

    def read(self, raw: Tensor, scale: Tensor) -> Tensor:
        return (raw - math.log(self.pos_weight)).sigmoid()


@dataclass(frozen=True)
class Classes:
    """Probabilities of classes, [B, D, C], from logits; `weights` of training are undone. Empty: all were 1."""

    names: tuple[str, ...]
    weights: tuple[float, ...] = ()
    kind: ClassVar[str] = "classes"

    def __post_init__(self) -> None:
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise PluginError(f"tft: classes are {self.names}; expected two names or more, each once")
        if self.weights and (len(self.weights) != len(self.names) or min(self.weights) <= 0):
            raise PluginError(
                f"tft: weights of classes are {self.weights}; expected a positive number for each of {self.names}"
            )

    @property
    def size(self) -> int:
        return len(self.names)

    def read(self, raw: Tensor, scale: Tensor) -> Tensor:
        if self.weights:
            raw = raw - raw.new_tensor(self.weights).log()
        return raw.softmax(dim=-1)


_KINDS: Mapping[str, type] = {head.kind: head for head in (Point, Quantiles, Probability, Classes)}


@dataclass(frozen=True)
class Target:
    """Something that is forecast, and how it is read."""

    name: str
    head: Head

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Target":
        """Return the target of a mapping, as an artefact's card has it: name, kind, and what its head takes.

        Raises:
            PluginError: the kind is unknown, or does not take what is there.
        """
        rest = dict(content)
        name, kind = rest.pop("name", None), rest.pop("kind", None)
        if not isinstance(name, str) or kind not in _KINDS:
            known = ", ".join(_KINDS)
            raise PluginError(
                f"tft: a target is {dict(content)}; expected a name and a kind of {known}"
                f"{nearest_name(str(kind), list(_KINDS))}"
            )
        try:
            return cls(name, _KINDS[kind](**{key: _frozen(value) for key, value in rest.items()}))
        except TypeError as exc:
            raise PluginError(f"tft: target {name!r} of kind {kind!r}: {exc}") from exc

    def as_json(self) -> dict[str, Any]:
        """Return the mapping that `of` takes."""
        return {"name": self.name, "kind": self.head.kind, **asdict(self.head)}  # type: ignore[call-overload]


def read_all(targets: Sequence[Target], raw: Sequence[Tensor], scales: Tensor) -> dict[str, Tensor]:
    """Return every target's statement by name.

    Args:
        raw: of each target, [B, D, size]; scales: [B, R, 2].
    """
    return {
        target.name: target.head.read(numbers, scales[:, place])
        for place, (target, numbers) in enumerate(zip(targets, raw, strict=True))
    }


def check_targets(targets: Sequence[Target], output_size: Sequence[int]) -> None:
    """Hold targets against the sizes of a network's outputs.

    Raises:
        PluginError: there are more or fewer, two have one name, or one takes another number of outputs.
    """
    names = [target.name for target in targets]
    if len(names) != len(output_size) or len(set(names)) < len(names):
        raise PluginError(f"tft: targets are {', '.join(names)}; expected {len(output_size)} different ones")
    for target, size in zip(targets, output_size, strict=True):
        if target.head.size != size:
            raise PluginError(
                f"tft: target {target.name!r} ({target.head.kind}) takes {target.head.size} outputs; the network gives "
                f"it {size}"
            )


def pos_weight_of(happened: Tensor, most: float = 10.0) -> float:
    """Return negatives / positives of a training set, NaN left out, between 1 and `most`."""
    known = happened[~happened.isnan()]
    positives = float((known > 0.5).sum())
    return most if not positives else min(max((len(known) - positives) / positives, 1.0), most)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def quantile_loss(raw: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the mean pinball loss of quantiles [B, D, Q] for targets [B, D]; both in scales."""
    error = target[..., None] - raw
    level = raw.new_tensor(levels)
    return torch.maximum(level * error, (level - 1) * error).mean()
