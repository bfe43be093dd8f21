"""Top-K with drop, against hand-made panels and against Qlib's rule written out again."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import SettingsError
from engine.bars import FloatArray
from strategies.top_k_dropout import TopKDropout

ROWS = 60


def panel(*columns: list[float]) -> FloatArray:
    """Return closes [instants, names] from one list a name: S0, S1, …"""
    return np.array(columns, dtype=np.float64).T


def noise(names: int, seed: int, rows: int = ROWS) -> FloatArray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, (rows, names)), axis=0))


def bought_and_sold(desk: Any, instant: int) -> tuple[set[str], set[str]]:
    """Return the names bought and sold at an instant."""
    asked = [(symbol, share) for time, symbol, share in desk.asked if time == instant]
    return {symbol for symbol, share in asked if share > 0}, {symbol for symbol, share in asked if share == 0}


def qlib(scores: dict[str, float], held: list[str], n_hold: int, n_drop: int) -> tuple[set[str], set[str]]:
    """Return what Qlib's TopkDropoutStrategy buys and sells, method_buy "top", method_sell "bottom", hold_thresh 1."""
    by_score = sorted(scores, key=lambda name: scores[name], reverse=True)
    new = [name for name in by_score if name not in held][: n_drop + n_hold - len(held)]
    together = [name for name in by_score if name in held or name in new]
    last = together[len(together) - min(n_drop, len(together)) :]
    sell = [name for name in held if name in last]
    return set(new[: len(sell) + n_hold - len(held)]), set(sell)


# ── hand-made panels ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_strongest_names_are_bought_with_equal_shares_of_the_cash(tools: Any) -> None:
    closes = panel([10, 11], [10, 13], [10, 12], [10, 9])
    desk = tools.drive(TopKDropout(n_hold=2, n_drop=1, lookback=1, exposure=0.9), closes)
    assert desk.asked == [(1, "S1", 0.45), (1, "S2", 0.45)]


@pytest.mark.parametrize(
    ("last", "n_drop", "bought", "sold"),
    [
        # held are S0 and S1; closes before were 100 each, so the last row is the ranking
        ([130, 120, 110, 90], 1, "", ""),  # the two strongest are held
        ([130, 90, 110, 80], 1, "S2", "S1"),  # S1 fell behind S2
        ([90, 80, 110, 120], 1, "S3", "S1"),  # both are weak, but one drop is allowed: the weaker goes
        ([90, 80, 110, 120], 2, "S2 S3", "S0 S1"),  # with two drops both go
        ([90, 80, 85, 70], 2, "S2", "S1"),  # S3 is weaker than S1: the last two of S0 S2 S1 S3 hold one holding only
        ([90, 80, 110, 120], 0, "", ""),  # no drops, no changes
    ],
)
def test_the_weakest_holdings_give_way_to_stronger_names(
    tools: Any, last: list[float], n_drop: int, bought: str, sold: str
) -> None:
    closes = panel([50, 100], [50, 100], [100, 100], [100, 100])
    strategy = TopKDropout(n_hold=2, n_drop=n_drop, lookback=1)
    desk = tools.drive(strategy, closes)
    assert bought_and_sold(desk, 1)[0] == {"S0", "S1"}
    tools.drive(strategy, np.vstack([closes, last]), desk=desk, first=2)
    assert bought_and_sold(desk, 2) == (set(bought.split()), set(sold.split()))


def test_a_name_is_kept_for_the_bars_it_must_be_held_and_nothing_replaces_it(tools: Any) -> None:
    #              bought after bar 1; the weakest from bar 2 on
    weak, strong = [10, 20, 19, 18, 17, 16], [10, 10, 11, 12, 13, 14]
    desk = tools.drive(TopKDropout(n_hold=1, n_drop=1, lookback=1, min_hold=3), panel(weak, strong))
    assert [ask[:2] for ask in desk.asked] == [(1, "S0"), (4, "S0"), (4, "S1")]
    assert desk.held["S0"] == 0


def test_the_ranking_is_looked_at_every_so_many_bars(tools: Any) -> None:
    closes = noise(8, seed=1)
    desk = tools.drive(TopKDropout(n_hold=3, n_drop=2, lookback=5, rebalance_every=7), closes)
    assert {time for time, _, _ in desk.asked} <= set(range(5, ROWS, 7))
    assert len({time for time, _, _ in desk.asked}) > 4


def test_the_rise_is_measured_over_the_lookback(tools: Any) -> None:
    #                   up over three bars       up over the last bar alone
    closes = panel([10, 12, 15, 14], [10, 8, 6, 9])
    assert tools.drive(TopKDropout(n_hold=1, n_drop=0, lookback=3), closes).asked[0][1] == "S0"
    late = tools.drive(TopKDropout(n_hold=1, n_drop=0, lookback=1), closes[2:])
    assert late.asked[0][1] == "S1"


def test_names_are_ranked_once_they_have_a_close_at_the_start_of_the_lookback(tools: Any) -> None:
    closes = panel([10, 11, 12, 13], [np.nan, np.nan, 10, 50])
    assert {symbol for _, symbol, _ in tools.drive(TopKDropout(n_hold=2, lookback=2), closes).asked} == {"S0"}


def test_a_holding_without_a_bar_is_neither_sold_nor_replaced(tools: Any) -> None:
    closes = panel([50, 100, np.nan, 60], [100, 100, 120, 130], [100, 100, 110, 140])
    desk = tools.drive(TopKDropout(n_hold=1, n_drop=1, lookback=1), closes)
    assert bought_and_sold(desk, 2) == (set(), set())
    assert bought_and_sold(desk, 3) == ({"S2"}, {"S0"})  # 60 after 100: the pause kept the last close


def test_a_purchase_that_came_to_nothing_frees_its_place(tools: Any) -> None:
    closes = panel([50, 100, 140, 150], [50, 90, 130, 140], [100, 100, 100, 100])
    desk = tools.Desk(["S0", "S1", "S2"])
    desk.fails = {"S0"}
    tools.drive(TopKDropout(n_hold=2, n_drop=0, lookback=1), closes, desk=desk)
    assert [ask[:2] for ask in desk.asked] == [(1, "S0"), (1, "S1"), (2, "S0"), (3, "S0")]


def test_fewer_names_than_places_are_all_held_and_none_is_sold_without_a_replacement(tools: Any) -> None:
    desk = tools.drive(TopKDropout(n_hold=5, n_drop=2, lookback=1), panel([10, 11, 12], [10, 9, 8]))
    assert [ask[:2] for ask in desk.asked] == [(1, "S0"), (1, "S1")]


def test_more_drops_than_names_are_refused(tools: Any) -> None:
    with pytest.raises(SettingsError, match=r"TopKDropout: n_drop is 3, n_hold 2; expected at most n_hold"):
        tools.drive(TopKDropout(n_hold=2, n_drop=3), panel([10, 11]))


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None)
@given(
    spare=st.integers(0, 8), seed=st.integers(0, 10_000), n_hold=st.integers(1, 8), drops=st.integers(0, 8),
    lookback=st.integers(1, 10),
)
def test_decisions_are_those_of_qlib_where_there_are_names_enough(
    tools: Any, spare: int, seed: int, n_hold: int, drops: int, lookback: int
) -> None:
    n_drop = min(drops, n_hold)
    closes = noise(n_hold + n_drop + spare, seed, rows=40)
    desk = tools.drive(TopKDropout(n_hold=n_hold, n_drop=n_drop, lookback=lookback), closes)
    held: set[str] = set()
    for instant in range(lookback, len(closes)):
        rises = closes[instant] / closes[instant - lookback]
        scores = {f"S{place}": float(rise) for place, rise in enumerate(rises)}
        bought, sold = qlib(scores, sorted(held), n_hold, n_drop)
        assert bought_and_sold(desk, instant) == (bought, sold)
        held = held - sold | bought


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000), n_hold=st.integers(1, 6), n_drop=st.integers(0, 6), min_hold=st.integers(1, 9),
    holes=st.floats(0, 0.3),
)
def test_the_bounds_hold_whatever_the_panel(
    tools: Any, seed: int, n_hold: int, n_drop: int, min_hold: int, holes: float
) -> None:
    n_drop = min(n_drop, n_hold)
    closes = noise(10, seed)
    closes[np.random.default_rng(seed).random(closes.shape) < holes] = np.nan
    desk = tools.drive(TopKDropout(n_hold=n_hold, n_drop=n_drop, min_hold=min_hold, lookback=3), closes)
    since: dict[str, int] = {}
    for instant in range(ROWS):
        bought, sold = bought_and_sold(desk, instant)
        assert len(sold) <= n_drop
        assert bought <= {f"S{place}" for place in np.flatnonzero(~np.isnan(closes[instant]))} - set(since)
        assert all(instant - since.pop(name) >= min_hold for name in sold)
        since.update(dict.fromkeys(bought, instant))
        assert len(sold) <= len(bought)
        assert len(since) <= n_hold


@pytest.mark.parametrize("cut", [2, 5, 20, 41])
def test_a_restart_changes_nothing(tools: Any, cut: int) -> None:
    parameters = {"n_hold": 4, "n_drop": 2, "lookback": 7, "min_hold": 3, "rebalance_every": 2}
    closes = noise(12, seed=5)
    closes[::7, 3] = np.nan
    whole = tools.drive(TopKDropout(**parameters), closes)
    before = TopKDropout(**parameters)
    desk = tools.drive(before, closes[:cut])
    after = TopKDropout(**parameters)
    after._context = desk
    after.on_start()
    after.load_state(json.loads(json.dumps(before.save_state(), allow_nan=False)))
    tools.drive(after, closes, desk=desk, first=cut)
    assert desk.asked == whole.asked


# ── a real run ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_sales_pay_for_purchases_within_the_same_bar(tools: Any) -> None:
    closes = noise(12, seed=9, rows=200)
    bars = [tools.bars_of(f"S{place:02}", column) for place, column in enumerate(closes.T)]
    ran = tools.run(TopKDropout(n_hold=4, n_drop=2, lookback=10), *bars, fee="0.001")
    first = min(bar for _, _, bar in ran.trades)
    by_bar = {bar: [side for side, _, other in ran.trades if other == bar] for _, _, bar in ran.trades}
    assert by_bar.pop(first) == ["buy"] * 4
    assert len(by_bar) > 50
    assert all(sides.count("buy") == sides.count("sell") <= 2 for sides in by_bar.values())


def test_other_timeframes_of_the_run_are_passed_over(tools: Any) -> None:
    closes = panel([10, 11], [10, 13])
    strategy = TopKDropout(n_hold=1, n_drop=1, lookback=1)
    desk = tools.drive(strategy, closes)
    seen = strategy.save_state()
    row = np.array([1.0, 99.0])
    strategy.on_slice(tools.Slice(9, "4h", desk.symbols, row > 0, row, row, row, row, row))
    assert strategy.save_state() == seen
