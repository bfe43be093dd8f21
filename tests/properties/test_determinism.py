"""The same run, the same bytes: again, in another process, in chunks, by jumping, and compiled."""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import Bar, Bars, FloatArray
from engine.instruments import Instrument
from engine.semantics import Switches
from engine.strategy import Strategy
from tests.properties.worlds import (
    Looker,
    Outcome,
    Sleeper,
    Step,
    Terms,
    Walk,
    World,
    a_step,
    any_switches,
    bars_of,
    picks,
    run,
    run_strategy,
    worlds,
)

ROOT = Path(__file__).resolve().parents[2]


def assert_same(one: Outcome, other: Outcome, *, but: Sequence[str] = ()) -> None:
    for table, rows in one.rows.items():
        assert table in but or other.rows[table] == rows, table
    assert one.result.fills_hash == other.result.fills_hash
    assert list(one.result.fills) == list(other.result.fills)
    assert np.array_equal(one.result.curve.equity, other.result.curve.equity)
    assert one.result.final_equity == other.result.final_equity
    assert (one.result.order_count, one.result.refused_count) == (other.result.order_count, other.result.refused_count)


@given(worlds())
def test_two_runs_give_equal_journals(world):
    assert_same(run(world), run(world))


@given(worlds(), st.sampled_from((1, 2, 5)))
def test_a_run_in_chunks_equals_a_run_of_the_whole(world, chunk):
    """Equity rows are thinned out within each chunk, so they may differ."""
    assert_same(run(world, actor=Looker), run(world, actor=Looker, chunk=chunk), but=("equity",))


def test_two_processes_with_other_hash_seeds_give_equal_journals(tmp_path):
    found: list[World] = []

    @settings(max_examples=40)
    @given(worlds())
    def collect(world):
        found.append(world)

    collect()
    file = tmp_path / "worlds.pickle"
    file.write_bytes(pickle.dumps(found))
    program = (
        "import hashlib, pickle, sys; from tests.properties.worlds import run; "
        "worlds = pickle.load(open(sys.argv[1], 'rb')); "
        "print(hashlib.sha256(repr([sorted(run(world).rows.items()) for world in worlds]).encode()).hexdigest())")

    printed = [
        subprocess.run(
            [sys.executable, "-c", program, file], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, text=True,
            capture_output=True, check=True).stdout
        for seed in ("0", "4242")
    ]

    assert len(printed[0].strip()) == 64
    assert printed[0] == printed[1]


# ── jumping ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(worlds(most_symbols=1))
def test_jumping_between_timers_and_resting_orders_equals_stepping(world):
    stepped = run(world, actor=Sleeper, mode="step")
    jumped = run(world, actor=Sleeper, mode="jump")

    assert_same(stepped, jumped)


# ── targets: stepped, jumped, compiled, collected and settled in bulk ───────────────────────────────────────────────


class Column(Strategy):
    """Wants a column of targets, known ahead."""

    def __init__(self, exposures: FloatArray) -> None:
        super().__init__()
        self._exposures = exposures

    def targets(self, bars: Bars) -> FloatArray:
        return self._exposures[: len(bars)]


class Wishes(Strategy):
    """Wants the same bar by bar; at some bars it looks at what became of it, or asks for an order of another kind."""

    def __init__(self, exposures: FloatArray, looks: Sequence[int] = (), buys: Sequence[int] = ()) -> None:
        super().__init__()
        self._exposures = exposures.tolist()
        self._looks, self._buys = set(looks), set(buys)
        self.seen: list[tuple[int, Decimal, Decimal]] = []
        self._row = -1

    def on_bar(self, bar: Bar) -> None:
        self._row += 1
        exposure = self._exposures[self._row]
        if exposure == exposure:
            self.target(bar.symbol, exposure, why="target")
        if self._row in self._looks:
            self.seen.append((self._row, self.position(bar.symbol), self.cash()))
        if self._row in self._buys:
            self.buy(bar.symbol, 1, limit=round(bar.close * 0.99, 2))


EXPOSURES = (float("nan"), float("nan"), 0.0, 1.0, 0.5, -0.5, -1.0, 0.3)


@st.composite
def columns(draw) -> tuple[Bars, Instrument, FloatArray, Terms]:
    """Draw bars, a column of exposures and terms that are simple enough to be compiled, most of the time."""
    pick = draw(picks())
    steps = tuple(replace(a_step(pick), is_missing=False) for _ in range(pick(range(2, 41))))
    walk = Walk("S0", steps, lot=pick((Decimal("0.01"), Decimal(1), Decimal("0.00001"))))
    exposures = np.array([pick(EXPOSURES) for _ in steps])
    simple = Switches(volume_cap=pick((None, 0.5)))
    terms = Terms(
        pick((Switches(), simple, simple, any_switches(pick))), pick(("none", "maker_taker", "rebate")),
        pick(("none", "fixed")), "none", pick((1_000_000, 2_000, 15)), pick((True, False)), pick((1.0, 0.99)))
    return bars_of((walk,)), walk.instrument(), exposures, terms


@given(columns(), st.sampled_from((None, 1, 7)))
def test_a_column_of_targets_jumped_or_compiled_equals_it_stepped(drawn, chunk):
    bars, instrument, exposures, terms = drawn
    ways = ({"mode": "step"}, {"mode": "jump", "compile_from": 10**9}, {"mode": "auto", "compile_from": 1})

    stepped, jumped, compiled = (
        run_strategy(bars, Column(exposures), terms, [instrument], chunk=chunk, **way) for way in ways)

    assert_same(stepped, jumped, but=("equity",) if chunk else ())
    assert_same(stepped, compiled, but=("equity",) if chunk else ())


@given(columns(), st.sampled_from((None, 3)), st.lists(st.integers(0, 39), max_size=2),
       st.lists(st.integers(0, 39), max_size=2))
def test_targets_settled_in_bulk_equal_targets_dealt_with_one_by_one(drawn, chunk, looks, buys):
    bars, instrument, exposures, terms = drawn
    ways = ({"mode": "step"}, {"mode": "auto", "compile_from": 1})

    stepped, settled = (
        run_strategy(bars, Wishes(exposures, looks, buys), terms, [instrument], chunk=chunk, **way) for way in ways)

    assert stepped.actor.seen == settled.actor.seen
    assert_same(stepped, settled)


@pytest.mark.parametrize("compile_from", [10**9, 1])
def test_the_column_s_orders_do_trade(compile_from):
    """The parities above would hold for runs in which nothing happens."""
    walk = Walk("S0", (Step(body=2, volume=10**9),) * 30)
    exposures = np.tile([1.0, 0.0], 15)

    outcome = run_strategy(
        bars_of((walk,)), Column(exposures), Terms(), [walk.instrument()], compile_from=compile_from)

    assert len(outcome.rows["fills"]) == 29

