"""The tutorial's rule, per bar and vectorised: one rule, one set of trades."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import EngineError, Strategy
from strategies.sma_cross import SmaCross
from strategies.sma_cross_targets import SmaCrossTargets

BOTH = pytest.mark.parametrize("kind", [SmaCross, SmaCrossTargets])


@BOTH
def test_it_buys_when_the_fast_average_rises_above_the_slow_one_and_sells_when_it_falls_below(
    tools: Any, kind: type[Strategy]
) -> None:
    #            bar  0   1   2   3   4   5   6   7
    closes =         [10, 10, 10, 13, 14, 10, 9, 9]
    # mean of two         10  10 11.5 13.5 12 9.5 9
    # mean of three           10  11 12.3 12.3 11 9.3   fast > slow after bars 3 and 4; not after bar 5 (12 < 12.33)
    ran = tools.run(kind(fast=2, slow=3), tools.bars_of("BTC", closes))
    assert ran.trades == [("buy", "BTC", 4), ("sell", "BTC", 6)]


@BOTH
def test_nothing_is_traded_before_the_slow_average_is_warm(tools: Any, kind: type[Strategy]) -> None:
    assert tools.run(kind(fast=2, slow=50), tools.bars_of("BTC", range(100, 149))).trades == []
    assert tools.run(kind(fast=2, slow=50), tools.bars_of("BTC", range(100, 151))).trades == [("buy", "BTC", 50)]


@BOTH
def test_the_fast_average_must_be_the_shorter_one(tools: Any, kind: type[Strategy]) -> None:
    with pytest.raises(EngineError, match=rf"{kind.__name__}: fast is 50, slow 20; expected fast below slow"):
        tools.run(kind(fast=50, slow=20), tools.bars_of("BTC", [1, 2, 3]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 400), fast=st.integers(2, 20), gap=st.integers(1, 30))
def test_both_forms_make_the_same_fills(tools: Any, seed: int, rows: int, fast: int, gap: int) -> None:
    bars = tools.bars_of("BTC", tools.walk(rows, seed), wick=0.002)
    each = [tools.run(kind(fast=fast, slow=fast + gap), bars, fee="0.0005") for kind in (SmaCross, SmaCrossTargets)]
    assert each[0].fills_hash == each[1].fills_hash
    assert each[0].final_equity == each[1].final_equity
