"""A few dozen seeds of the kill -9 matrix; all of them: python -m tests.chaos --seeds 1000."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.chaos.killing import run_seed
from tests.chaos.points import POINTS
from tests.chaos.world import make_template

SEEDS = tuple(range(1, 25))


def test_there_are_more_than_thirty_points_and_each_has_its_number() -> None:
    assert len(POINTS) >= 30
    assert [point.number for point in POINTS] == list(range(1, len(POINTS) + 1))
    assert len({point[1:] for point in POINTS}) == len(POINTS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_session_loses_no_order_and_sends_none_twice(seed: int, tmp_path: Path) -> None:
    # A process of its own, with one thread: it forks those that are killed.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        outcome = pool.submit(run_seed, seed, make_template(tmp_path), bars=4).result(timeout=300)
    assert outcome.problems == ()
