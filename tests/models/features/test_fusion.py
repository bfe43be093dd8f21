"""A join knows what was known, and nothing more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import HOUR
from engine.errors import DataError
from models.features.fusion import Slow, as_of, beta


def _four_hours(rows: int = 10, lag: int = 0) -> Slow:
    closes = np.arange(1, rows + 1) * 4 * HOUR
    return Slow(("x",), closes + lag, np.arange(rows)[:, None] * 1.0, 4 * HOUR)


def test_a_bar_sees_the_last_one_that_closed_and_not_the_one_that_is_open():
    at = np.array([3, 4, 5, 8, 11]) * HOUR
    values, age = as_of(_four_hours(), at)
    np.testing.assert_array_equal(values[:, 0], [np.nan, 0, 0, 1, 1])
    np.testing.assert_array_equal(age, [np.nan, 0, 0.25, 0, 0.75])


def test_what_is_published_late_is_known_late():
    values, _ = as_of(_four_hours(lag=HOUR), np.array([4, 5]) * HOUR)
    np.testing.assert_array_equal(values[:, 0], [np.nan, 0])


def test_what_is_too_old_is_not_known():
    values, age = as_of(_four_hours(2), np.array([16, 17]) * HOUR)
    np.testing.assert_array_equal(values[:, 0], [1, np.nan])
    np.testing.assert_array_equal(age, [2, np.nan])


@given(
    slow=st.lists(st.integers(0, 200), min_size=1, max_size=30).map(sorted),
    fast=st.lists(st.integers(0, 220), min_size=1, max_size=30),
    cut=st.integers(0, 220),
)
def test_values_that_become_known_later_change_nothing_before(slow, fast, cut):
    times, at = np.array(slow, np.int64), np.array(fast, np.int64)
    rng = np.random.default_rng(len(slow))
    values = rng.normal(size=(len(times), 2))
    whole, age = as_of(Slow(("a", "b"), times, values, 10, 5), at)
    poisoned = np.where((times > cut)[:, None], 1e6, values)
    seen = at <= cut
    np.testing.assert_array_equal(as_of(Slow(("a", "b"), times, poisoned, 10, 5), at)[0][seen], whole[seen])
    kept = times <= cut
    if kept.any():
        part, part_age = as_of(Slow(("a", "b"), times[kept], values[kept], 10, 5), at)
        np.testing.assert_array_equal(part[seen], whole[seen])
        np.testing.assert_array_equal(part_age[seen], age[seen])
    # And a value that is there is the last one not later than the bar.
    for row, moment in enumerate(at):
        before = [place for place, time in enumerate(slow) if time <= moment]
        if before and (moment - slow[before[-1]]) / 10 <= 5:
            np.testing.assert_array_equal(whole[row], values[before[-1]])
        else:
            assert np.isnan(whole[row]).all()


def test_beta_is_the_slope_of_a_regression():
    rng = np.random.default_rng(1)
    other = rng.normal(size=200)
    own = 1.7 * other + rng.normal(size=200) * 0.1
    expected = np.polyfit(other[140:200], own[140:200], 1)[0]
    assert beta(own, other, 60)[-1] == pytest.approx(expected)


def test_series_out_of_order_are_refused():
    with pytest.raises(DataError, match="times at which x become known are not in order"):
        Slow(("x",), np.array([2, 1]), np.zeros((2, 1)), 1)
    with pytest.raises(DataError, match=r"values of shape \(2, 1\); expected \(2, 2\)"):
        Slow(("x", "y"), np.array([1, 2]), np.zeros((2, 1)), 1)
