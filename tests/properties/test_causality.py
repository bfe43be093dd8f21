"""Nothing that happens by the close of a bar depends on what comes after it."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.worlds import Actor, Looker, Outcome, World, a_step, picks, run, worlds

HAPPENED = ("account_events", "decisions", "orders", "order_events", "fills")


def assert_begins_like(longer: Outcome, shorter: Outcome) -> None:
    for table in HAPPENED:
        rows = shorter.rows[table]
        assert longer.rows[table][: len(rows)] == rows, table
    instants = len(shorter.result.curve.equity)
    assert np.array_equal(longer.result.curve.equity[:instants], shorter.result.curve.equity)


@given(worlds(), st.integers(0, 20), st.sampled_from((Actor, Looker)))
def test_deleting_the_bars_after_t_changes_nothing_before(world, place, actor):
    assert_begins_like(run(world, actor=actor), run(world.until(place), actor=actor))


@given(
    worlds(), st.integers(0, 20), st.lists(st.builds(a_step, picks()), min_size=1, max_size=4),
    st.sampled_from((Actor, Looker)))
def test_changing_the_bars_after_t_changes_nothing_before(world, place, others, actor):
    assert_begins_like(run(_poisoned(world, place, others), actor=actor), run(world.until(place), actor=actor))


def _poisoned(world: World, place: int, others: list) -> World:
    return replace(world, walks=tuple(
        replace(walk, steps=walk.steps[: place + 1] + tuple(others)) for walk in world.walks))


@given(worlds(most_symbols=1), st.integers(0, 20))
def test_deciding_later_changes_nothing_before(world, place):
    """What is asked for after a bar cannot change what happened up to it."""
    silent = replace(world, script=tuple(entry for entry in world.script if entry[0] <= place))

    assert_begins_like(run(world), run(silent.until(place)))
