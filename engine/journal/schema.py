"""Brings a database to the tables this version knows: creates them, or upgrades what an older version left.

Whether there is anything to do is one small query; Alembic (0.15 s to import) is loaded only when there is.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from engine.errors import JournalError

VERSION_TABLE = "journal_version"
"""Not Alembic's own name for it: a PostgreSQL database may be shared with another application that uses Alembic."""

_LOCK = 0x6261_7263
"""Names our advisory lock on PostgreSQL; any number that nobody else uses will do."""


@dataclass(frozen=True)
class Schema:
    """A folder of migrations and the newest revision in it (a test holds the two together)."""

    head: str
    folder: Path


SCHEMA = Schema("0006", Path(__file__).parent / "migrations")


def revision_of(connection: Connection) -> str | None:
    """Return which revision the database is at; None if it has no journal yet."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()


def bring_up_to_date(database: Engine, schema: Schema = SCHEMA) -> None:
    """Create or upgrade the tables, in one transaction. Two processes that come at once do it one after the other.

    Raises:
        JournalError: a newer version of Barcast wrote the journal.
    """
    with database.connect() as connection:
        if revision_of(connection) == schema.head:
            return
    with database.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if (found := revision_of(connection)) != schema.head:
            _upgrade(connection, schema, found)


def _upgrade(connection: Connection, schema: Schema, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    settings = Config()
    settings.set_main_option("script_location", str(schema.folder).replace("%", "%%"))
    settings.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    if found is not None and found not in known:
        shown = connection.engine.url.render_as_string(hide_password=True)
        raise JournalError(
            f"journal {shown}: its tables are at revision {found}, which is newer than this version's {schema.head}; "
            f"update Barcast, or name another journal"
        )
    command.upgrade(settings, schema.head)
