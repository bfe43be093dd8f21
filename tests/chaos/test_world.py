"""A few dozen seeds of the simulated world; thousands: python -m tests.chaos --world --seeds 5000."""

from pathlib import Path

import pytest

from tests.chaos.world import Ill, World, make_template


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_whatever_happens_books_and_venue_are_equal_in_the_end(first: int, template: Path, tmp_path: Path) -> None:
    deaths = 0
    for seed in range(first, first + 8):
        world = World(seed, tmp_path, template=template)
        world.run()
        deaths += world.deaths.total()
    assert deaths > 4, "the world is ill enough to prove something"


def test_a_seed_is_the_same_world_again(template: Path, tmp_path: Path) -> None:
    seen = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        world = World(2, tmp_path / name, template=template)
        world.run()
        seen.append((world.deaths, world.arrivals, world.venue.ledger.balances, world.ticks))
    assert seen[0] == seen[1]


def test_the_comparison_can_fail(template: Path, tmp_path: Path) -> None:
    """A world in which the venue is told something behind the session's back."""
    world = World(5, tmp_path, template=template, ill=Ill(death=0, journal=0))
    world.venue.ledger.balances["USDT"] += 1
    with pytest.raises(AssertionError, match="seed 5: books have .* USDT, the venue"):
        world.run(bars=2)


def test_a_doubled_order_would_be_seen(template: Path, tmp_path: Path) -> None:
    world = World(7, tmp_path, template=template, ill=Ill(death=0, journal=0))
    arrive = world.arrive
    world.arrive = lambda message: (arrive(message), arrive(message))[0]  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match=r"seed 7: orders \[.*\] arrived twice"):
        world.run(bars=6)
