"""Sets of features are bred towards what scores; the same way every time, and no set is scored twice."""

from dataclasses import replace

import pytest

from engine.errors import SettingsError
from models.training.selection.genetic import Breeding, breed

NAMES = [f"f{place}" for place in range(12)]
PLAN = Breeding(population=16, generations=30)


def paired(chosen) -> float:
    """Two weak features that are worth something together alone, and a small price for each."""
    return ("f3" in chosen) + 2.0 * ({"f9", "f11"} <= set(chosen)) - 0.1 * len(chosen)


def test_features_that_are_strong_together_alone_are_found():
    chosen, steps = breed(NAMES, paired, PLAN, seed=0)
    assert chosen == ["f3", "f9", "f11"]
    assert steps[-1] == (3, pytest.approx(2.7))


def test_generations_never_get_worse_and_the_first_has_everything():
    _, steps = breed(NAMES, paired, PLAN, seed=1)
    scores = [score for _, score in steps]
    assert scores == sorted(scores)
    assert scores[0] >= paired(NAMES)
    assert len(steps) == PLAN.generations + 1


def test_of_equal_scores_the_smaller_set_is_taken():
    chosen, _ = breed(NAMES, lambda some: 1.0, PLAN, seed=0)
    assert len(chosen) == 1


def test_the_same_seed_breeds_the_same_and_no_set_is_scored_twice_or_empty():
    asked: list[tuple[str, ...]] = []

    def score(chosen):
        asked.append(chosen)
        return paired(chosen)

    first = breed(NAMES, score, PLAN, seed=5)
    assert len(asked) == len(set(asked)) <= PLAN.population * (PLAN.generations + 1)
    assert () not in asked
    assert breed(NAMES, score, PLAN, seed=5) == first


def test_one_feature_is_a_choice_too():
    assert breed(["a"], len, replace(PLAN, generations=2), seed=0)[0] == ["a"]


def test_what_cannot_be_bred_is_refused():
    with pytest.raises(SettingsError, match="population 3, generations 0, crossing 0.7, mutation 0.1; expected 4 or"):
        Breeding(population=3)
