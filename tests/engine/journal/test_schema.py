"""Migrations: they make the tables, upgrade old journals, and are the same as tables.py, on both databases."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from engine.errors import JournalError
from engine.journal.lineage import list_runs, load_run
from engine.journal.schema import SCHEMA, VERSION_TABLE, Schema, revision_of
from engine.journal.sql import SqlJournal
from engine.journal.tables import metadata
from engine.journal.testing import sample_batch, sample_end, sample_start

OpenJournal = Callable[..., SqlJournal]

NEXT = f"{int(SCHEMA.head) + 1:04}"

NEXT_MIGRATION = f'''
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{SCHEMA.head}"


def upgrade():
    op.create_table("notes", sa.Column("id", sa.Integer, primary_key=True))
    with op.batch_alter_table("fills") as fills:
        fills.add_column(sa.Column("venue", sa.Text))
'''


@pytest.fixture
def next_schema(tmp_path: Path) -> Schema:
    """The migrations of a version to come: ours, and one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(SCHEMA.folder, folder)
    (folder / "versions" / f"v{NEXT}_alerts.py").write_text(NEXT_MIGRATION)
    return Schema(NEXT, folder)


def database(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)


def test_the_head_is_the_newest_migration() -> None:
    settings = Config()
    settings.set_main_option("script_location", str(SCHEMA.folder))

    assert ScriptDirectory.from_config(settings).get_current_head() == SCHEMA.head


def test_migrations_make_what_the_tables_say(url: str, open_journal: OpenJournal) -> None:
    open_journal(url)

    with database(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_migrations_and_tables_agree_to_the_letter(new_url: Callable[[], str], open_journal: OpenJournal) -> None:
    """Alembic compares neither checks nor keys nor WITHOUT ROWID; the database's own description has them all."""
    migrated_url, made_url = new_url(), new_url()
    open_journal(migrated_url)
    metadata.create_all(database(made_url))

    with database(migrated_url).connect() as migrated, database(made_url).connect() as made:
        assert description(migrated) == description(made)


def description(connection: Connection) -> set[str]:
    """Return what the database says of its own tables, keys, checks and indexes."""
    if connection.dialect.name == "sqlite":
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        statements = connection.execute(text(query)).scalars()
        return {part for sql in statements if VERSION_TABLE not in sql for part in parts_of(sql)}
    queries = (
        """SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype <> 'n'""",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        """SELECT concat_ws(' ', table_name, ordinal_position, column_name, data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'public'""",
    )
    rows = (row for query in queries for row in connection.execute(text(query)).scalars())
    return {row for row in rows if VERSION_TABLE not in row}


def parts_of(sql: str) -> set[str]:
    """Return the columns and each constraint of a CREATE statement; constraints may stand in any order."""
    head, *constraints = " ".join(sql.split()).split(", CONSTRAINT ")
    return {head, *(f"{head.split('(')[0]} {constraint}" for constraint in constraints)}


def test_an_open_journal_is_at_the_newest_revision(url: str, open_journal: OpenJournal) -> None:
    open_journal(url)

    with database(url).connect() as connection:
        assert revision_of(connection) == SCHEMA.head


def test_an_old_journal_is_upgraded_and_keeps_its_rows(
    url: str, open_journal: OpenJournal, next_schema: Schema
) -> None:
    with SqlJournal(url) as old:
        old.begin(sample_start())
        old.write(sample_batch(trades=200))
        old.end(sample_end())

    upgraded = open_journal(url, schema=next_schema)

    assert len(load_run(upgraded).fills) == 200
    with database(url).connect() as connection:
        assert revision_of(connection) == NEXT
        assert connection.execute(text("SELECT count(*) FROM fills WHERE venue IS NULL")).scalar_one() == 200
        assert connection.execute(text("SELECT count(*) FROM alerts")).scalar_one() == 0


def test_a_column_added_by_a_migration_does_not_disturb_writing(
    url: str, open_journal: OpenJournal, next_schema: Schema
) -> None:
    journal = open_journal(url, schema=next_schema)
    journal.begin(sample_start())
    journal.write(sample_batch(trades=200))
    journal.end(sample_end())

    assert list(load_run(journal).fills) == sample_batch(trades=200).fills


def test_a_journal_of_a_newer_version_is_left_alone(url: str, next_schema: Schema) -> None:
    SqlJournal(url, schema=next_schema).close()

    found = rf"tables are at revision {NEXT}, which is newer than this version's {SCHEMA.head}; "
    with pytest.raises(JournalError, match=found):
        SqlJournal(url)


def test_a_migration_that_fails_leaves_the_journal_as_it_was(url: str, next_schema: Schema) -> None:
    with SqlJournal(url) as old:
        old.begin(sample_start())
        old.end(sample_end())
    step = next_schema.folder / "versions" / f"v{NEXT}_alerts.py"
    step.write_text(NEXT_MIGRATION + "    op.execute('SELECT no_such_column FROM runs')\n")

    with pytest.raises(JournalError, match=r"cannot open it: .*no_such_column"):
        SqlJournal(url, schema=next_schema)

    with SqlJournal(url) as journal:
        assert [run.status for run in list_runs(journal)] == ["completed"]


def test_many_may_open_a_new_journal_at_once(url: str) -> None:
    def begin_and_end(_: int) -> int:
        with SqlJournal(url) as journal:
            run_id = journal.begin(sample_start())
            journal.write(sample_batch(trades=5))
            journal.end(sample_end())
        return run_id

    # Alembic keeps its context in a global, so threads take turns at the first opening; processes are in test_crash.py.
    SqlJournal(url).close()
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(begin_and_end, range(8))) == list(range(1, 9))
