"""The record that a run keeps of a model: calibration, and what it was worth month by month."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from engine.bars import DAY, HOUR, nanoseconds
from engine.forecasting.record import record_of
from engine.forecasting.scores import Score
from engine.forecasting.testing import spec_of
from engine.forecasts import ForecastKind

PATHS = spec_of(ForecastKind.PATHS)
START = nanoseconds(datetime.fromisoformat("2024-01-01T00:00+00:00"))


def scored(day: float, **values: float) -> Score:
    made = START + round(day * DAY)
    return Score(1, "m", "A", made, made + HOUR, **values)  # type: ignore[arg-type]


def test_calibration_is_the_share_of_outcomes_below_each_level() -> None:
    pits = np.linspace(0.005, 0.995, 100)
    honest = record_of(PATHS, [scored(1 + n / 100, pit=float(pit)) for n, pit in enumerate(pits)])["calibration"]
    assert honest["below"] == pytest.approx(honest["levels"])
    assert honest["count"] == 100
    assert honest["band"][9] == pytest.approx(1.96 * 0.05)  # of the level ½
    sure = record_of(PATHS, [scored(1, pit=float(n % 2)) for n in range(10)])["calibration"]
    assert set(sure["below"]) == {0.5}


def test_levels_are_those_of_the_model_where_it_has_its_own() -> None:
    spec = spec_of(ForecastKind.QUANTILES, levels=(0.1, 0.5, 0.9))
    told = record_of(spec, [scored(1, pit=pit) for pit in (0.05, 0.3, 0.7, 0.95)])["calibration"]
    assert told["levels"] == [0.1, 0.5, 0.9]
    assert told["below"] == [0.25, 0.5, 0.75]


def test_probabilities_are_read_off_their_brier_scores() -> None:
    said = [(0.8, 0.01), (0.8, 0.02), (0.8, -0.01), (0.15, -0.01)]
    scores = [scored(1, realised=came, brier=(up - (came > 0)) ** 2) for up, came in said]
    low, high = record_of(spec_of(ForecastKind.PROBABILITY, outputs=("up",)), scores)["reliability"]
    assert (low["said"], low["came"], low["count"]) == (pytest.approx(0.15), 0.0, 1)
    assert (high["said"], high["came"], high["count"]) == (pytest.approx(0.8), pytest.approx(2 / 3), 3)


@pytest.mark.parametrize(("days", "unit", "names"), [
    ((1, 3), "day", ["2024-01-01", "2024-01-03"]),
    ((1, 15), "week", ["2024-01-01", "2024-01-15"]),
    ((1, 31, 32, 91), "month", ["2024-01", "2024-02", "2024-03"]),
])  # fmt: skip
def test_a_record_is_told_by_months_weeks_or_days(days: tuple[int, ...], unit: str, names: list[str]) -> None:
    told = record_of(PATHS, [scored(day, error=0.1, realised=0.1) for day in days])
    assert told["unit"] == unit
    assert [one["period"] for one in told["periods"]] == names  # one made at midnight belongs to the day that ends


def test_periods_say_how_good_it_was_and_what_it_may_have_seen() -> None:
    spec = replace(PATHS, trained_until=START + 40 * DAY)
    scores = [scored(10, error=0.1, realised=0.2, covered=1.0, nominal=0.8), scored(35, error=0.2, realised=0.2),
              scored(50, error=0.4, realised=0.2), scored(100, error=0.0, realised=0.2)]
    january, february, april = record_of(spec, scores)["periods"]
    assert january["skill_walk"] == pytest.approx(0.75)
    assert (january["coverage"], february["coverage"]) == (1.0, None)
    assert [one["seen"] for one in (january, february, april)] == [1.0, 0.5, 0.0]


def test_the_ic_is_across_symbols_where_there_are_several_and_else_over_time() -> None:
    across = record_of(PATHS, [scored(1, rank_ic=0.5, members=5), scored(2, rank_ic=0.1, members=5)])
    assert across["ic_of"] == "symbols"
    assert [one["ic"] for one in across["periods"]] == [0.5, 0.1]
    rising = [scored(1, point=one, realised=one**3, error=0.0) for one in (-0.2, 0.1, 0.3)]
    over_time = record_of(PATHS, rising)
    assert (over_time["ic_of"], over_time["periods"][0]["ic"]) == ("time", pytest.approx(1.0))
    assert record_of(PATHS, rising[:2])["periods"][0]["ic"] is None  # two say nothing


def test_no_score_no_record() -> None:
    assert record_of(PATHS, []) == {}
