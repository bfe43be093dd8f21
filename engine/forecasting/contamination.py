"""Contamination: which part of a run a model may have seen in training. What is not known counts as seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.bars import iso


class Trained(Protocol):
    """What is known of a model's training: the spec of a forecaster, or of a policy."""

    @property
    def name(self) -> str: ...
    @property
    def trained_until(self) -> int | None: ...
    @property
    def trained_on(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Stamp:
    """What may be said of a run's models. `clean_from`: the instant (UTC ns) from which no model has seen the data;
    None if that is not known of all."""

    is_contaminated: bool
    clean_from: int | None
    reasons: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "contaminated": self.is_contaminated, "clean_from": self.clean_from, "reasons": list(self.reasons),
        }


def is_contaminated(spec: Trained, as_of: int) -> bool:
    """Return whether a model may have seen, in training, what a forecast made at an instant speaks of.

    Symbols that it was not trained on count too: markets move together. Only time heals.
    """
    return spec.trained_until is None or as_of < spec.trained_until


def stamp(specs: Sequence[Trained], first: int, last: int, symbols: Sequence[str]) -> Stamp:
    """Return the stamp of a run over first … last (UTC ns) with these models."""
    reasons = []
    for spec in specs:
        if spec.trained_until is None:
            reasons.append(f"{spec.name}: nothing says until when it was trained")
        elif first < spec.trained_until:
            end = "the whole run" if last <= spec.trained_until else f"until {iso(spec.trained_until)}"
            reasons.append(f"{spec.name}: trained on data to {iso(spec.trained_until)}, which overlaps {end}"
                           f"{_which(spec, symbols)}")
    known = [spec.trained_until for spec in specs]
    clean_from = None if None in known or not known else max(time for time in known if time is not None)
    return Stamp(bool(reasons), clean_from, tuple(reasons))


def _which(spec: Trained, symbols: Sequence[str]) -> str:
    if not spec.trained_on:
        return ", on symbols that nothing names"
    common = [symbol for symbol in symbols if symbol in spec.trained_on]
    return f", on {', '.join(common[:5])}{' …' if len(common) > 5 else ''}" if common else ", on other symbols"
