"""Numbers and settings as JSON that every database takes."""

from decimal import Decimal
from math import inf, isnan, nan

import pytest

from engine.journal.json_text import number_lists, to_json, with_numbers_at


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ([], []),
        ([None], [None]),
        ([()], ["[]"]),
        ([(1.5,)], ["[1.5]"]),
        ([(), (1.5, 2.0), None, (), (3.25,)], ["[]", "[1.5,2.0]", None, "[]", "[3.25]"]),
        ([(nan, 1.0), (inf, -inf)], ["[null,1.0]", "[null,null]"]),
        ([(1e300, -2.5e-8)], ["[1e+300,-2.5e-8]"]),
    ],
)
def test_rows_of_numbers_become_arrays(rows: list[tuple[float, ...] | None], texts: list[str | None]) -> None:
    assert number_lists(rows) == texts


def test_null_is_read_as_not_a_number() -> None:
    rows = with_numbers_at(1, [(1, "[1.5,null]", "a"), (2, None, "b"), (3, "[]", "c"), (4, "[2]", "d")])

    (_, (first, second), _), *others = rows
    assert (first, isnan(second)) == (1.5, True)
    assert others == [(2, None, "b"), (3, (), "c"), (4, (2.0,), "d")]
    assert with_numbers_at(1, []) == []


def test_settings_keep_their_order_and_decimals_their_digits() -> None:
    settings = {"b": Decimal("0.10"), "a": [1, (nan, "ü")], 3: None}

    assert to_json(settings) == '{"b": "0.10", "a": [1, [null, "ü"]], "3": null}'
