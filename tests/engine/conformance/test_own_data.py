"""Data that strategies bring along lose exactly their future."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import HOUR, iso
from engine.conformance.own_data import Instants
from engine.conformance.probes import Future

START = 1_704_067_200_000_000_000
TIMES = START + HOUR * np.arange(1, 101)


def at(place: int, future: Future) -> Instants:
    return Instants(TIMES, int(TIMES[place]), future)


@given(st.integers(0, 98), st.integers(0, 20))
def test_of_an_array_with_a_row_a_bar_the_rows_up_to_now_stay(place: int, more: int) -> None:
    values = np.random.default_rng(0).normal(size=100 + more)
    known = place + 1
    assert np.array_equal(at(place, Future.DELETED).hide(values), values[:known])
    spoilt = at(place, Future.SCALED).hide(values)
    assert np.array_equal(spoilt[:known], values[:known])
    assert np.array_equal(spoilt[known:], values[known:] * 1000)
    assert np.isnan(at(place, Future.NAN).hide(values)[known:]).all()
    assert at(place, Future.KEPT).hide(values) is values


@pytest.mark.parametrize("value", [
    np.zeros(200), np.arange(20.0), np.full(150, np.nan), [1.0, 2.0], {"weights": np.arange(5.0)}, "text", None,
    ["a"] * 200,
])
def test_what_is_no_series_of_the_run_stays_the_same_object(value: Any) -> None:
    for future in Future:
        assert at(50, future).hide(value) is value


@pytest.mark.parametrize("key", [int, lambda time: time // 10**6, lambda time: time / 10**9, str, iso])
def test_of_a_dict_by_time_the_keys_up_to_now_stay(key: Any) -> None:
    values = {key(int(time)): float(place) for place, time in enumerate(TIMES)}
    assert list(at(9, Future.DELETED).hide(values).values()) == [float(place) for place in range(10)]
    assert list(at(9, Future.SCALED).hide(values).values())[9:11] == [9.0, 10_000.0]


def test_records_go_by_their_time() -> None:
    records = [{"close_time": int(time), "value": 1.0, "note": "x"} for time in TIMES]
    assert len(at(29, Future.DELETED).hide(records)) == 30
    assert at(29, Future.SCALED).hide(records)[30] == {"close_time": int(TIMES[30]), "value": 1000.0, "note": "x"}


def test_a_table_of_bars_stamped_with_the_open_is_known_when_the_next_one_opens() -> None:
    table = pd.DataFrame({"time": pd.to_datetime(TIMES - HOUR), "close": 1.0})
    assert len(at(9, Future.DELETED).hide(table)) == 10
    covariate = pd.DataFrame({"time": pd.to_datetime(TIMES), "value": 1.0})
    assert len(at(9, Future.DELETED).hide(covariate)) == 10
    late = covariate.assign(available_at=pd.to_datetime(TIMES + 5 * HOUR))
    assert len(at(9, Future.DELETED).hide(late)) == 5


def test_a_series_goes_by_its_index() -> None:
    series = pd.Series(np.arange(100.0), index=pd.to_datetime(TIMES))
    assert at(9, Future.SCALED).hide(series).iloc[9:11].tolist() == [9.0, 10_000.0]
