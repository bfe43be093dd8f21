"""The tables say what the rows of engine.records say."""

from typing import get_type_hints

import pytest

from engine.journal.reading import ROW_TYPES
from engine.journal.tables import FACTS, runs
from engine.records import Batch, RunEnd, RunStart


@pytest.mark.parametrize("table", FACTS)
def test_columns_are_the_fields_of_the_row_with_the_run_in_front(table: str) -> None:
    assert FACTS[table].columns.keys() == ["run_id", *ROW_TYPES[table]._fields]


@pytest.mark.parametrize("table", FACTS)
def test_a_column_may_be_empty_where_the_field_may_be_none(table: str) -> None:
    kinds = get_type_hints(ROW_TYPES[table])

    for column in FACTS[table].columns[1:]:
        assert column.nullable == (type(None) in getattr(kinds[column.name], "__args__", ())), column


@pytest.mark.parametrize("table", FACTS)
def test_a_column_holds_the_type_of_the_field(table: str) -> None:
    kinds = get_type_hints(ROW_TYPES[table])

    for column in FACTS[table].columns[1:]:
        if column.name != "saw":    # numbers in the row, a JSON array in the table
            assert kinds[column.name] in (column.type.python_type, column.type.python_type | None), column


def test_there_is_a_table_for_every_list_of_a_batch() -> None:
    assert list(FACTS) == list(ROW_TYPES) == list(Batch.__dataclass_fields__)


def test_a_run_holds_all_it_was_made_of_and_how_it_ended() -> None:
    assert {*RunStart.__dataclass_fields__, *RunEnd.__dataclass_fields__} <= set(runs.columns.keys())
