"""Numbers and settings as JSON that every database takes."""

from decimal import Decimal
from math import inf, nan

import pytest

from engine.journal.json_text import number_lists, numbers, to_json


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ([], []),
        ([None], [None]),
        ([()], ["[]"]),
        ([(1.5,)], ["[1.5]"]),
        ([(), (1.5, 2.0), None, (), (3.25,)], ["[]", "[1.5,2.0]", None, "[]", "[3.25]"]),
        ([(nan, 1.0), (inf, -inf)], ["[null,1.0]", "[null,null]"]),
        ([(1e300, -2.5e-8)], ["[1e+300,-2.5e-08]"]),
    ],
)
def test_rows_of_numbers_become_arrays(rows: list[tuple[float, ...] | None], texts: list[str | None]) -> None:
    assert number_lists(rows) == texts


def test_null_is_read_as_not_a_number() -> None:
    read = numbers([1.5, None])

    assert read is not None
    assert read[0] == 1.5
    assert read[1] != read[1]
    assert numbers(None) is None


def test_settings_keep_their_order_and_decimals_their_digits() -> None:
    settings = {"b": Decimal("0.10"), "a": [1, (nan, "ü")], 3: None}

    assert to_json(settings) == '{"b": "0.10", "a": [1, [null, "ü"]], "3": null}'
