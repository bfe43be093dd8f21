"""KronosPaths: the exposure that grows wealth fastest over the paths, after costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import SettingsError
from engine.forecasts import ForecastKind
from strategies.kronos_paths import KronosPaths
from tests.strategies.forecast_runs import Says, hourly, kind_of, paths_to, run

FLAT = [100.0] * 10
GRID = np.linspace(-1, 1, 401)

returns = st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=12).map(np.array)
costs = st.floats(0.0, 0.02)


def best(returns: list[float] | np.ndarray, *, held: float = 0.0, cost: float = 0.0, aversion: float = 1.0) -> float:
    """Return the best of a fine grid from −1 to 1."""
    strategy = KronosPaths(cost=cost, aversion=aversion)
    return float(GRID[np.argmax(strategy.growth(GRID, np.asarray(returns), held))])


def test_without_costs_two_outcomes_give_kelly_s_fraction() -> None:
    up, down = 0.2, 0.15
    kelly = (0.5 * up - 0.5 * down) / (up * down)

    assert best([up, -down]) == pytest.approx(kelly, abs=0.005)


def test_growth_is_the_mean_of_log_wealth_after_both_trades() -> None:
    strategy = KronosPaths(cost=0.01, aversion=1.0)

    growth = strategy.growth(np.array([0.5]), np.array([0.1, -0.2]), held=0.2)

    # 0.3 is bought now, 0.5 is sold at the end, at 1 % each
    wealth = [1 + 0.5 * 0.1 - 0.01 * 0.3 - 0.01 * 0.5, 1 - 0.5 * 0.2 - 0.01 * 0.3 - 0.01 * 0.5]
    assert growth[0] == pytest.approx(np.mean(np.log(wealth)), rel=1e-12)


def test_aversion_two_holds_about_half() -> None:
    outcomes = [0.02, -0.0199]

    assert best(outcomes, aversion=2.0) == pytest.approx(best(outcomes) / 2, abs=0.01)
    assert 0 < best(outcomes, aversion=2.0) < best(outcomes)


def test_a_sure_loss_of_everything_is_weighed_not_an_error() -> None:
    growth = KronosPaths(aversion=1.0, cost=0.0).growth(np.array([0.0, 0.5, 1.0]), np.array([-1.0, 3.0]), held=0.0)

    assert np.isfinite(growth).all()
    assert np.argmax(growth) == 1


@given(returns, costs, costs, st.sampled_from([1.0, 2.0, 5.0]))
def test_dearer_trading_never_asks_for_a_larger_position(
    outcomes: np.ndarray, one: float, other: float, aversion: float
) -> None:
    dear, cheap = (abs(best(outcomes, cost=cost, aversion=aversion)) for cost in (max(one, other), min(one, other)))

    assert dear <= cheap + 1e-9


@given(returns, st.floats(-1, 1), costs)
def test_the_mirrored_market_is_traded_in_mirror_image(outcomes: np.ndarray, held: float, cost: float) -> None:
    strategy = KronosPaths(cost=cost, aversion=1.0)

    one, mirrored = strategy.growth(GRID, outcomes, held), strategy.growth(-GRID, -outcomes, -held)

    np.testing.assert_allclose(one, mirrored, atol=1e-12)


@given(returns, st.floats(-1, 1), costs, st.sampled_from([1.0, 3.0]))
def test_growth_is_concave_so_that_the_best_of_the_grid_is_next_to_the_best_of_all(
    outcomes: np.ndarray, held: float, cost: float, aversion: float
) -> None:
    growth = KronosPaths(cost=cost, aversion=aversion).growth(GRID, outcomes, held)

    assert (np.diff(growth, 2) <= 1e-9).all()


# ── in a run ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_paths_that_rise_beyond_the_costs_are_bought_and_held_while_they_do() -> None:
    model = paths_to(lambda _, bar: [102.0, 101.0] if bar < 5 else [98.0, 99.0], 2)

    found = run(KronosPaths(model="model", cost=0.002), [hourly(FLAT)], {"model": model}, fee="0.002")

    assert found.trades == [("buy", "BTC/USD", 2), ("sell", "BTC/USD", 6)]
    assert found.decisions[0][2] == "2 paths: mean +1.50%, 100% rise; 1.00 instead of 0.00 grows wealth by 1.092% more"


def test_nothing_is_traded_for_less_than_going_in_and_out_costs() -> None:
    model = paths_to(lambda _, bar: [100.38, 100.4], 2)

    assert not run(KronosPaths(model="model", cost=0.002), [hourly(FLAT)], {"model": model}).trades
    assert run(KronosPaths(model="model", cost=0.0015), [hourly(FLAT)], {"model": model}).trades


def test_a_position_is_kept_though_it_would_not_be_entered_now() -> None:
    model = paths_to(lambda _, bar: [102.0, 101.0] if bar < 3 else [100.1, 100.2], 2)

    assert run(KronosPaths(model="model", cost=0.002), [hourly(FLAT)], {"model": model}, fee="0.002").trades == [
        ("buy", "BTC/USD", 2)]


def test_it_sells_short_only_if_it_may() -> None:
    model = paths_to(lambda _, bar: [95.0, 96.0], 2)

    assert not run(KronosPaths(model="model"), [hourly(FLAT)], {"model": model}).trades
    assert run(KronosPaths(model="model", short=True), [hourly(FLAT)], {"model": model}).trades[0][0] == "sell"


def test_a_little_drift_beyond_the_bound_is_not_traded_back() -> None:
    model = paths_to(lambda symbol, bar: [200.0, 201.0] if symbol == "A/USD" else [99.0, 99.5], 2)
    bars = [hourly([100, 100, 100, 101, 102, 103, 104], "A/USD"), hourly([100.0] * 7, "B/USD")]

    assert run(KronosPaths(model="model", exposure=0.9), bars, {"model": model}).trades == [("buy", "A/USD", 2)]


def test_a_model_of_another_kind_is_refused() -> None:
    model = Says(kind_of(ForecastKind.SCORE), lambda symbol, bar: [0.0])

    with pytest.raises(SettingsError, match="KronosPaths: model gives score; expected a model of paths"):
        run(KronosPaths(model="model"), [hourly(FLAT)], {"model": model})
