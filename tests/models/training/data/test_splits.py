"""No label of one part is made of a bar of the next, and no decision falls into an embargo."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import HOUR
from engine.errors import SettingsError
from models.training.data.splits import Split, walk_forward


@given(
    rows=st.integers(20, 80),
    horizon=st.integers(1, 5),
    embargo=st.integers(0, 4),
    train=st.floats(0.3, 0.6),
    valid=st.floats(0.15, 0.3),
)
def test_targets_never_reach_across_a_boundary(rows, horizon, embargo, train, valid):
    times = np.arange(1, rows + 1) * HOUR
    label_times = times + horizon * HOUR
    try:
        split = Split.by_share(times, train, valid, embargo=embargo * HOUR)
    except SettingsError:
        return
    parts = [part.mask(times, label_times) for part in (split.train, split.valid, split.test)]
    assert (np.sum(parts, axis=0) <= 1).all()
    for earlier, later in ((parts[0], parts[1]), (parts[1], parts[2])):
        if earlier.any() and later.any():
            assert label_times[earlier].max() <= times[later].min() - (embargo + 1) * HOUR


def test_folds_follow_one_another_and_are_trained_on_what_was_before():
    folds = list(walk_forward(0, 100 * HOUR, folds=4, embargo=2 * HOUR))
    assert [fold.test.end for fold in folds] == [40 * HOUR, 60 * HOUR, 80 * HOUR, 100 * HOUR]
    for fold in folds:
        assert fold.train.end == fold.test.start
        assert not fold.test.mask(np.array([fold.train.end + 2 * HOUR]), np.array([fold.train.end + 3 * HOUR])).any()
        assert fold.test.mask(np.array([fold.train.end + 3 * HOUR]), np.array([fold.train.end + 4 * HOUR])).all()
    rolling = list(walk_forward(0, 100 * HOUR, folds=2, test=10 * HOUR, window=30 * HOUR))
    assert [(fold.train.start, fold.train.end) for fold in rolling] == [(50 * HOUR, 80 * HOUR), (60 * HOUR, 90 * HOUR)]


def test_an_empty_part_is_refused():
    with pytest.raises(SettingsError, match="a split from .* is empty"):
        Split.at(10 * HOUR, 12 * HOUR, embargo=2 * HOUR)
    with pytest.raises(SettingsError, match="shares of a split are 0.9 and 0.2"):
        Split.by_share(np.arange(10), 0.9, 0.2)
    with pytest.raises(SettingsError, match="5 folds of .* do not fit"):
        list(walk_forward(0, 10 * HOUR, folds=5, test=3 * HOUR))
