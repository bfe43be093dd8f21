"""docs/journal.md says what is true: its queries run, and its table of columns is the tables'."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.journal.lineage import why
from engine.journal.sql import SqlJournal
from engine.journal.tables import metadata
from engine.journal.testing import bracket_batch, sample_batch, sample_end, sample_start
from engine.records import InputRow

PAGE = (Path(__file__).parents[3] / "docs" / "journal.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def journal(url: str, open_journal: Callable[..., SqlJournal]) -> SqlJournal:
    """Run 1 as in the page, and run 2 with brackets."""
    journal = open_journal(url)
    first, second = sample_batch(trades=40), bracket_batch()
    first.inputs = [InputRow(1, "source", "engine/loop.py", "ab")]
    second.inputs = [InputRow(1, "source", "engine/loop.py", "cd"), InputRow(2, "rerun", "run", "1")]
    for batch in (first, second):
        journal.begin(sample_start())
        journal.write(batch)
        journal.end(sample_end())
    return journal


def test_every_query_runs(journal: SqlJournal) -> None:
    assert len(QUERIES) == 11
    with journal._database.connect() as connection:
        for query in QUERIES:
            for run in (1, 2):
                asked = query.replace("run_id = 1", f"run_id = {run}")
                rows = connection.exec_driver_sql(asked).all()
                assert rows or "order_events" in query or "equity" in query, asked


def test_the_queries_answer_what_they_say(journal: SqlJournal) -> None:
    def answer(words: str) -> list[tuple[object, ...]]:
        query = next(query for query in QUERIES if words in query)
        with journal._database.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query).all()]

    assert [row[:5] for row in answer("d.why")] == [("sell", 0.5, "BTC/USDT", 20_002.25, "fast below slow")]
    assert answer("AS unresolved") == [(0,)]
    assert [row[:3] for row in answer("most_seconds")] == [("market", 40, 0.0)]
    assert answer("AS cash") == [("USDT", pytest.approx(10_000 + 20 * 0.5 - 40 * 5.00000625))]


def test_the_columns_are_those_of_the_tables() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([\w, ]+)` \| ([\w, ]+) \|$", PAGE, re.MULTILINE)

    assert {name: (key.split(", "), columns.split(", ")) for name, key, columns in rows} == {
        table.name: ([column.name for column in table.primary_key], table.columns.keys())
        for table in metadata.tables.values()
    }


def test_the_chain_is_told_as_the_page_shows(journal: SqlJournal) -> None:
    shown = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)

    assert shown is not None
    assert str(why(journal, "r1-f2")) == shown[1].rstrip()
