"""What a short command does not pay for."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = ("alembic", "sqlalchemy", "psycopg")


def loaded(code: str) -> set[str]:
    """Return which of the heavy libraries are in a fresh process after the code."""
    code += f"\nimport sys\nprint(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["engine", "engine.journal", "engine.journal.memory", "engine.journal.lineage"])
def test_a_run_without_sql_loads_no_database(module: str) -> None:
    assert loaded(f"import {module}") == set()


def test_migrations_are_loaded_only_where_there_is_something_to_migrate(tmp_path: Path) -> None:
    code = f"from engine.journal.sql import SqlJournal\nSqlJournal({str(tmp_path / 'journal.db')!r}).close()"

    assert loaded(code) == {"alembic", "sqlalchemy"}
    assert loaded(code) == {"sqlalchemy"}
