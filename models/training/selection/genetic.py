"""A search through sets of features, by breeding those that score well (Holland 1975). Scores come from training alone.

It finds what leaving out the weakest one by one cannot: two features that are weak alone and strong together. It also
looks at many more sets, so that the best score is flattered more; what the choice is worth, judging tells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import SettingsError

Chosen = tuple[str, ...]


@dataclass(frozen=True)
class Breeding:
    """How sets are bred.

    Args:
        population: sets in a generation; generations: 0 for no search. crossing: chance that two sets are mixed,
            feature by feature, and not one of them kept. mutation: chance that a feature is put in or taken out.
    """

    population: int = 12
    generations: int = 0
    crossing: float = 0.7
    mutation: float = 0.1

    def __post_init__(self) -> None:
        if self.population < 4 or self.generations < 0 or not 0 <= self.crossing <= 1 or not 0 <= self.mutation <= 1:
            raise SettingsError(
                f"select: population {self.population}, generations {self.generations}, crossing {self.crossing}, "
                f"mutation {self.mutation}; expected 4 or more, 0 or more, and chances from 0 to 1"
            )


def breed(
    names: Sequence[str], score: Callable[[Chosen], float], plan: Breeding, seed: int
) -> tuple[list[str], list[tuple[int, float]]]:
    """Return the set that scores best, in the order of `names`, and the best of each generation: its size and score.

    The first generation has all features, the better halves of halves, and sets drawn with better ones more likely. Of
    equal scores the smaller set counts as better. A set is scored once.

    Args:
        names: the best first. score: of some of them, in their order; higher is better.
    """
    rng = np.random.default_rng(seed)
    count = len(names)
    known: dict[Chosen, float] = {}

    def worth(one: np.ndarray) -> tuple[float, int]:
        chosen = tuple(name for name, is_in in zip(names, one, strict=True) if is_in)
        if chosen not in known:
            known[chosen] = score(chosen)
        return known[chosen], -len(chosen)

    living = _first(count, plan.population, rng)
    steps = []
    for number in range(plan.generations + 1):
        living.sort(key=worth, reverse=True)
        steps.append((int(living[0].sum()), worth(living[0])[0]))
        if number < plan.generations:
            young = [_child(living, worth, plan, rng) for _ in range(plan.population - 1)]
            living = [living[0], *young]
    return [name for name, is_in in zip(names, living[0], strict=True) if is_in], steps


def _first(count: int, population: int, rng: np.random.Generator) -> list[np.ndarray]:
    sizes = [count]
    while sizes[-1] > 1 and len(sizes) < population // 2:
        sizes.append(sizes[-1] // 2)
    made = [np.arange(count) < size for size in sizes]
    chance = np.linspace(0.9, 0.1, count)
    return [*made, *(_filled(rng.random(count) < chance) for _ in range(population - len(made)))]


def _child(
    living: Sequence[np.ndarray], worth: Callable[[np.ndarray], tuple[float, int]], plan: Breeding,
    rng: np.random.Generator,
) -> np.ndarray:
    def parent() -> np.ndarray:
        one, other = (living[int(place)] for place in rng.integers(len(living), size=2))
        return one if worth(one) >= worth(other) else other

    mother, father = parent(), parent()
    is_mixed = rng.random() < plan.crossing
    child = np.where(rng.random(len(mother)) < 0.5, mother, father) if is_mixed else mother.copy()
    return _filled(child ^ (rng.random(len(child)) < plan.mutation))


def _filled(one: np.ndarray) -> np.ndarray:
    """Put the best feature into a set that has none."""
    if not one.any():
        one[0] = True
    return one
