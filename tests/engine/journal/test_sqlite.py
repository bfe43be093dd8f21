"""The SQLite journal: many rows to a statement, by look-up only, in WAL mode."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.bars import HOUR
from engine.errors import JournalError
from engine.journal import sqlite
from engine.journal.lineage import load_run, why
from engine.journal.sql import SqlJournal
from engine.journal.testing import START, bracket_batch, sample_batch, sample_end, sample_start
from engine.records import Batch, Columns, Constant, DecisionRow, OrderRow

OpenJournal = Callable[..., SqlJournal]


def write_run(journal: SqlJournal, *batches: Batch) -> int:
    run_id = journal.begin(sample_start())
    for batch in batches:
        journal.write(batch)
    journal.end(sample_end())
    return run_id


def plain(path: Path) -> sqlite3.Connection:
    """Return a connection of our own, apart from the journal's."""
    return sqlite3.connect(path, isolation_level=None)


def orders_of_every_kind(count: int) -> Batch:
    """Return orders whose columns change in different ways: never, always, now and then, from None to a number."""
    batch = Batch(decisions=[DecisionRow(1, START, "S", "A", START, 1.0, "rebalance", None, "")])
    for number in range(1, count + 1):
        is_limit = number % 3 == 0
        batch.orders.append(OrderRow(
            number, 1, START,
            symbol="A" if number % 5 else "B",
            side="buy" if number < count - 2 else "sell",
            type="limit" if is_limit else "market",
            quantity=1.0,
            limit_price=number / 8 if is_limit else None,
            expire_at=START if number == 7 else None,
            post_only=is_limit,
            reduce_only=number == count,
            parent_id=1 if number == 2 else None,
        ))
    return batch


@pytest.mark.parametrize("count", [sqlite._FEW - 1, sqlite._FEW, 427, sqlite._BLOCK + 401])
def test_rows_of_any_number_and_pattern_come_back(open_journal: OpenJournal, sqlite_path: Path, count: int) -> None:
    batch = orders_of_every_kind(count)
    journal = open_journal(sqlite_path)

    write_run(journal, batch)

    assert list(load_run(journal).orders) == batch.orders


def test_rows_held_as_columns_are_the_rows(open_journal: OpenJournal, sqlite_path: Path) -> None:
    batch = orders_of_every_kind(900)
    columns = zip(*batch.orders, strict=True)
    held = Columns(*(Constant(c[0]) if len(set(c)) == 1 else c for c in columns))
    journal = open_journal(sqlite_path)

    write_run(journal, Batch(decisions=batch.decisions, orders=held))

    assert list(held) == batch.orders
    assert list(load_run(journal).orders) == batch.orders


def test_rows_come_back_where_sqlite_takes_few_values_at_once() -> None:
    batch = orders_of_every_kind(900)
    names = ("run_id", *OrderRow._fields)

    columns = sqlite._columns(batch.orders, 0, len(batch.orders))
    statements = list(sqlite._statements("orders", names, 1, columns, most_values=999))

    assert max(len(values) for _, values in statements) <= 999
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE orders ({', '.join(names)})")
    for statement, values in statements:
        connection.execute(statement, values)
    assert connection.execute("SELECT * FROM orders").fetchall() == [(1, *order) for order in batch.orders]
    connection.close()


@pytest.mark.parametrize("count", [1, 500])
def test_a_row_of_the_wrong_width_is_refused(open_journal: OpenJournal, sqlite_path: Path, count: int) -> None:
    journal = open_journal(sqlite_path)
    journal.begin(sample_start())
    journal.write(Batch(fills=[(number, 1, START) for number in range(count)]))

    with pytest.raises(JournalError, match=r"cannot write run 1: .*(3 values; expected id, order_id|bindings)"):
        journal.end(sample_end())


def test_foreign_keys_hold_after_a_bulk_append(open_journal: OpenJournal, sqlite_path: Path) -> None:
    write_run(open_journal(sqlite_path), sample_batch(trades=1000))
    write_run(open_journal(sqlite_path), bracket_batch())

    connection = plain(sqlite_path)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_fill_without_an_order_is_found(open_journal: OpenJournal, sqlite_path: Path) -> None:
    journal = open_journal(sqlite_path)
    batch = sample_batch(trades=3)
    del batch.orders[1]
    write_run(journal, batch)

    with journal.snapshot() as reader:
        assert [fill.id for fill in reader.unresolved_fills(1)] == [2]


def test_a_durable_journal_refuses_a_fill_without_an_order(open_journal: OpenJournal, sqlite_path: Path) -> None:
    journal = open_journal(sqlite_path, durable=True)
    journal.begin(sample_start())
    journal.write(Batch(fills=sample_batch().fills))

    with pytest.raises(JournalError, match="FOREIGN KEY constraint failed"):
        journal.flush()


@pytest.mark.parametrize(("durable", "synchronous"), [(False, 1), (True, 2)])    # NORMAL, FULL
def test_the_log_is_written_ahead_and_synced_as_asked(
    open_journal: OpenJournal, sqlite_path: Path, durable: bool, synchronous: int
) -> None:
    journal = open_journal(sqlite_path, durable=durable)

    with journal._database.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == synchronous


def test_a_closed_journal_is_one_file(open_journal: OpenJournal, sqlite_path: Path) -> None:
    journal = open_journal(sqlite_path)
    write_run(journal, sample_batch())
    journal.close()

    assert [path.name for path in sqlite_path.parent.iterdir()] == ["journal.db"]


def test_why_only_looks_things_up(open_journal: OpenJournal, sqlite_path: Path) -> None:
    """Every query of `why` is planned as a search by key or index: a million rows make no difference."""
    journal = open_journal(sqlite_path)
    write_run(journal, bracket_batch())
    journal.close()
    queries: list[str] = []
    with journal._database.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(queries.append)  # type: ignore[union-attr]

    why(journal, "r1-f3")

    selects = [query for query in queries if query.startswith("SELECT")]
    assert len(selects) >= 7
    ours = plain(sqlite_path)
    for query in selects:
        plan = [step[3] for step in ours.execute(f"EXPLAIN QUERY PLAN {query}")]
        # The run alone would mean walking through all of its rows.
        assert all("SEARCH" in step and not step.endswith("(run_id=?)") for step in plan), (query, plan)
    ours.close()


def test_the_number_of_a_deleted_run_is_not_given_again(open_journal: OpenJournal, sqlite_path: Path) -> None:
    journal = open_journal(sqlite_path)
    write_run(journal)
    newest = write_run(journal)
    ours = plain(sqlite_path)
    ours.execute("DELETE FROM runs WHERE id = ?", (newest,))
    ours.close()

    assert write_run(journal) == newest + 1


def test_a_reader_sees_one_state_while_the_run_goes_on(open_journal: OpenJournal, sqlite_path: Path) -> None:
    journal = open_journal(sqlite_path)
    journal.begin(sample_start())
    journal.write(sample_batch(1, 10))
    journal.flush()

    with journal.snapshot() as reader:
        before = reader.rows(OrderRow, 1)
        journal.write(sample_batch(11, 10))
        journal.flush()
        assert reader.rows(OrderRow, 1) == before

    assert len(load_run(journal).orders) == 20
    assert load_run(journal).orders[-1].time == START + 20 * HOUR
