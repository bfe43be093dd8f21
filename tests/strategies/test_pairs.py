"""The spread of two symbols, traded back to its mean."""

import json
from typing import Any

import numpy as np
import pytest

from engine import SettingsError
from engine.bars import FloatArray
from strategies.pairs import Pairs


def spread_market(*, wave: float = 0.02, rows: int = 400) -> FloatArray:
    """Return two closes [rows, 2]: one common walk, and the first leg off it by a slow wave."""
    common = np.cumsum(np.random.default_rng(3).normal(0, 0.004, rows))
    off = wave * np.sin(np.arange(rows) / 9)
    return np.column_stack([100 * np.exp(common + off), 50 * np.exp(common)])


def quiet(rows: int = 60) -> FloatArray:
    """Return two closes that move together but for a little noise."""
    rng = np.random.default_rng(7)
    common = np.cumsum(rng.normal(0, 0.01, rows))
    return np.column_stack([100 * np.exp(common + rng.normal(0, 1e-4, rows)), 50 * np.exp(common)])


@pytest.mark.parametrize(("shock", "side"), [(0.01, -1), (-0.01, 1)])
def test_the_dear_leg_is_sold_and_the_cheap_one_bought_in_the_hedge_ratio(tools: Any, shock: float, side: int) -> None:
    closes = quiet()
    closes[-1, 0] *= 1 + shock
    desk = tools.drive(Pairs(lookback=50, entry=5.0), closes)
    (_, one, first), (_, two, second) = desk.asked
    assert (one, two) == ("S0", "S1")
    assert (np.sign(first), np.sign(second)) == (side, -side)
    assert abs(first) + abs(second) == pytest.approx(1.0)
    x, y = np.log(closes[-50:]).T
    assert -second / first == pytest.approx(np.polyfit(y, x, 1)[0])


def test_positions_are_held_until_the_spread_is_back_at_its_mean(tools: Any) -> None:
    closes = spread_market()
    desk = tools.drive(Pairs(lookback=100, entry=1.2), closes)
    assert len(desk.asked) > 8
    for opened, closed in zip(desk.asked[::4], desk.asked[2::4], strict=False):
        assert opened[2] != 0
        assert closed[2] == 0
        assert closed[0] > opened[0]
        x, y = np.log(closes[closed[0] - 99 : closed[0] + 1]).T
        slope, level = np.polyfit(y, x, 1)
        assert (x[-1] - slope * y[-1] - level) * np.sign(opened[2]) >= 0  # on the other side of the mean


def test_a_real_run_ends_each_trade_flat_in_both_legs(tools: Any) -> None:
    closes = spread_market()
    ran = tools.run(
        Pairs(lookback=100, entry=1.2, exposure=0.5), tools.bars_of("A", closes[:, 0]), tools.bars_of("B", closes[:, 1])
    )
    flat = [fill for fill in ran.fills if fill.position_after == 0]
    assert len(ran.fills) >= 8
    assert len(flat) == len(ran.fills) // 2


def test_bars_that_only_one_leg_has_are_passed_over(tools: Any) -> None:
    closes = quiet()
    closes[-1, 0] *= 1.01
    gaps = np.insert(closes, [20, 30], [[np.nan, 51.0], [99.0, np.nan]], axis=0)
    whole, gappy = (tools.drive(Pairs(lookback=50, entry=5.0), rows).asked for rows in (closes, gaps))
    assert [ask[1:] for ask in gappy] == [ask[1:] for ask in whole]


def test_legs_are_chosen_by_name(tools: Any) -> None:
    closes = np.column_stack([np.linspace(50, 60, 60), quiet()])
    closes[-1, 1] *= 1.01
    desk = tools.drive(Pairs(first="S1", second="S2", lookback=50, entry=5.0), closes)
    assert [symbol for _, symbol, _ in desk.asked] == ["S1", "S2"]


@pytest.mark.parametrize(
    ("symbols", "legs", "message"),
    [
        (["A"], {}, "cannot trade A against A; expected two of A"),
        (["A", "B"], {"second": "C"}, "cannot trade A against C; expected two of A, B"),
        (["A", "B"], {"first": "B"}, "cannot trade B against B; expected two of A, B"),
    ],
)
def test_two_different_symbols_of_the_run_are_needed(
    tools: Any, symbols: list[str], legs: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        tools.drive(Pairs(**legs), np.empty((0, len(symbols))), desk=tools.Desk(symbols))


def test_prices_that_stand_still_are_left_alone(tools: Any) -> None:
    assert tools.drive(Pairs(lookback=20), np.full((60, 2), 100.0)).asked == []


@pytest.mark.parametrize("cut", [50, 150, 233])
def test_a_restart_changes_nothing(tools: Any, cut: int) -> None:
    closes = spread_market()
    parameters = {"lookback": 100, "entry": 1.2}
    whole = tools.drive(Pairs(**parameters), closes)
    before = Pairs(**parameters)
    desk = tools.drive(before, closes[:cut])
    after = Pairs(**parameters)
    after._context = desk
    after.on_start()
    after.load_state(json.loads(json.dumps(before.save_state())))
    tools.drive(after, closes, desk=desk, first=cut)
    assert desk.asked == whole.asked
