"""What a run leaves in memory."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from engine.records import FillRow
from engine.results import LazyRows
from engine.testing import make_bars
from tests.engine.cases import buy, run, sell


def test_rows_are_made_once_and_only_when_looked_at() -> None:
    made = []

    def make() -> list[FillRow]:
        made.append(1)
        return [
            FillRow(k, 1, 0, 0, "X", "buy", 1.0, 1.0, "taker", 0.0, "USD", 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
            for k in range(3)
        ]

    rows = LazyRows(3, make)
    assert len(rows) == 3
    assert made == []
    assert [row.id for row in rows] == [0, 1, 2]
    assert rows[-1].id == 2
    assert [row.id for row in rows[1:]] == [1, 2]
    assert made == [1]


def test_the_hash_is_that_of_the_fills_and_nothing_else() -> None:
    one = run([100.0, 100.0, 101.0], {0: buy(2), 1: sell(1)}).result
    same = run([100.0, 100.0, 101.0, 150.0], {0: buy(2), 1: sell(1)}).result
    assert one.fills_hash == same.fills_hash
    for other in (
        run([100.0, 100.0, 101.0], {0: buy(2), 1: sell(2)}).result,
        run([100.0, 100.0, 101.01], {0: buy(2), 1: sell(1)}).result,
        run([100.0, 100.0, 101.0], {0: buy(2)}).result,
        run(
            make_bars([100.0, 100.0, 101.0], symbol="OTHER"),
            {0: lambda s: s.buy("OTHER", 2), 1: lambda s: s.sell("OTHER", 1)},
        ).result,
    ):
        assert other.fills_hash != one.fills_hash


def test_the_hash_does_not_depend_on_how_keys_lie_in_memory() -> None:
    result = run([100.0, 100.0, 101.0], {0: buy(2), 1: sell(1)}).result
    moved = replace(result, fill_keys=np.asfortranarray(result.fill_keys))
    assert moved.fills_hash == result.fills_hash
    assert len(result.fills_hash) == 64


def test_figures_of_a_run() -> None:
    result = run([100.0, 100.0, 110.0], {0: buy(2)}).result
    assert (result.bars, result.order_count, result.refused_count, result.symbols) == (3, 1, 0, ("TEST",))
    assert result.final_equity == Decimal(1_000_020)
    assert result.bars_per_second == pytest.approx(3 / result.loop_seconds)
    assert replace(result, loop_seconds=0.0).bars_per_second == 0
    assert len(result.data_fingerprint) == 64
