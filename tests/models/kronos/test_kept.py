"""Attention to keys and values that are kept, against the formula, in each of its forms."""

import pytest
import torch

from models.kronos.kept import Kept


def by_the_formula(q, keys, values, seen):
    """One query [e] after another: softmax(q k) v over the tokens it may see."""
    return (q @ keys[:seen].T).softmax(-1) @ values[:seen]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("samples", "history", "own", "count"),
    [
        (1, 0, 6, 6),  # a window from its start
        (1, 0, 9, 1),  # one more token
        (1, 0, 9, 4),  # several more
        (3, 5, 0, 1),  # of history alone
        (3, 5, 4, 1),
        (2, 5, 7, 3),
    ],
)
def test_a_query_sees_history_and_its_own_row_up_to_itself(samples, history, own, count):
    series, heads, size = 2, 2, 4
    rows = series * samples
    common, since = random(2, series, heads, history, size), random(2, rows, heads, own, size, seed=1)
    q = random(rows, heads, count, size, seed=2)
    if history:
        begun = Kept(common, series, heads, size, history)
        begun.append(common)
        kept = begun.shared(samples, own)
    else:
        kept = Kept(since, rows, heads, size, own)
    kept.append(since[:, :, :, : own // 2])
    kept.append(since[:, :, :, own // 2 :])

    made = kept.attend(q).view(rows, count, heads, size)

    for row in range(rows):
        for head in range(heads):
            keys, values = (torch.cat([common[part, row // samples, head], since[part, row, head]]) for part in (0, 1))
            for place in range(count):
                seen = history + own - (count - 1 - place)
                expected = by_the_formula(q[row, head, place], keys, values, seen)
                torch.testing.assert_close(made[row, place, head], expected, atol=1e-6, rtol=1e-5)


def test_there_is_no_room_for_more_than_was_taken():
    kept = Kept(torch.empty(0), 1, 1, 4, 2)

    with pytest.raises(RuntimeError):
        kept.append(random(2, 1, 1, 3, 4))
