"""Windows are cut as a loop would cut them, never across a group or a gap."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import HOUR
from engine.errors import DataError
from models.training.data.windows import Column, Segments, WindowSet


def _set(rows: int = 30, past: int = 4, ahead: int = 2) -> WindowSet:
    values = torch.arange(rows * 3).float().view(rows, 3)
    ends = np.arange(past - 1, rows - ahead)
    return WindowSet(
        {"values": Column(values, past), "known": Column(values, past, ahead), "target": Column(values[:, 0])},
        torch.from_numpy(ends),
        ends * HOUR,
        (ends + ahead) * HOUR,
        np.zeros(len(ends), np.int64),
        ("A 1h",),
    )


def test_a_gather_is_what_a_loop_over_windows_gives():
    windows = _set()
    places = torch.tensor([5, 0, 5, len(windows) - 1])
    found = windows.gather(places)
    for one, place in enumerate(places.tolist()):
        end = int(windows.rows[place])
        values = windows.columns["values"].values
        assert torch.equal(found["values"][one], values[end - 3 : end + 1])
        assert torch.equal(found["known"][one], values[end - 3 : end + 3])
        assert found["target"][one] == values[end, 0]


def test_what_is_gathered_is_a_copy():
    windows = _set()
    windows.gather(torch.tensor([0]))["values"].zero_()
    assert windows.columns["values"].values[1, 0] == 3


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    gaps=st.sets(st.integers(0, 40), max_size=4),
    past=st.integers(1, 5),
    ahead=st.integers(0, 3),
)
def test_windows_stay_within_their_group_and_cross_no_gap(sizes, gaps, past, ahead):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    steps = np.ones(len(groups), np.int64)
    steps[[gap for gap in gaps if gap < len(steps)]] = 3
    times = np.cumsum(steps) * HOUR
    segments = Segments(groups, times, np.full(len(sizes), HOUR))
    expected = [
        end
        for end in range(len(groups))
        if end - past + 1 >= 0
        and end + ahead < len(groups)
        and len(set(groups[end - past + 1 : end + ahead + 1])) == 1
        and (np.diff(times[end - past + 1 : end + ahead + 1]) == HOUR).all()
    ]
    assert segments.ends(past, ahead).tolist() == expected


def test_a_row_that_may_not_be_used_ends_and_enters_no_window():
    segments = Segments(np.zeros(10, np.int64), np.arange(10) * HOUR, np.array([HOUR]))
    usable = np.ones(10, bool)
    usable[4] = False
    assert segments.ends(3, 0, usable=usable).tolist() == [2, 3, 7, 8, 9]
    assert segments.ends(3, 1, usable=usable, label=np.arange(10) != 7).tolist() == [2, 3, 8]


def test_an_unknown_column_is_named_with_the_nearest():
    with pytest.raises(DataError, match="windows have no column 'target_'; did you mean 'target'"):
        _set().column("target_")


def test_windows_of_arrays_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="expected one length"):
        _set().with_columns(other=Column(torch.zeros(29)))
