"""Models that take over from each other: between bars, by the close alone, told by hash."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import PluginError
from engine.forecasts import ForecastKind, Forecasts, ForecastSpec, Windows
from models.succession import Succession, Version

SPEC = ForecastSpec("m", ForecastKind.SCORE, "1h", 2, 1, trained_until=100)


class Says:
    """Answers with a number and how many windows it was asked at once."""

    def __init__(self, value, **changes):
        self.spec = replace(SPEC, model_hash=f"hash {value}", **changes)
        self.value, self.asked = value, 0

    def forecast(self, windows):
        self.asked += len(windows)
        return Forecasts(np.full((len(windows), 1), self.value, np.float32))


def windows(*times):
    count = len(times)
    return Windows(np.zeros((count, 2, 5), np.float32), ("A",) * count, np.array(times, np.int64),
                   np.zeros(count, np.uint64))


def test_each_window_is_answered_by_the_version_in_force_at_its_close():
    one, two, three = Says(1), Says(2, trained_until=200), Says(3, trained_until=300)
    model = Succession([Version(100, one), Version(200, two), Version(300, three)])
    said = model.forecast(windows(50, 150, 199, 200, 299, 300, 900)).values[:, 0]

    assert said.tolist() == [1, 1, 1, 2, 2, 3, 3]
    assert (one.asked, two.asked, three.asked) == (3, 2, 2)
    assert [model.spec.hash_at(time) for time in (50, 199, 200, 300)] == ["hash 1", "hash 1", "hash 2", "hash 3"]
    assert model.spec.trained_until == 100, "no later version saw more than what lies before its own time"


def test_another_succession_has_another_hash():
    one, two = Says(1), Says(2)
    hashes = {Succession(parts).spec.model_hash for parts in (
        [Version(100, one)], [Version(100, one), Version(200, two)], [Version(100, one), Version(201, two)])}
    assert len(hashes) == 3


def test_versions_that_do_not_fit_together_are_refused():
    with pytest.raises(PluginError, match="model m: its lookback was 2, then 3; retrain it alike"):
        Succession([Version(1, Says(1)), Version(2, Says(2, lookback=3))])
    with pytest.raises(PluginError, match=r"a succession of models from \[2, 1\]; expected times that rise"):
        Succession([Version(2, Says(1)), Version(1, Says(2))])
