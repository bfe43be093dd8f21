"""Alembic's way in: the connection, already in a transaction, is handed over by engine.journal.schema."""

from alembic import context

from engine.journal.schema import VERSION_TABLE
from engine.journal.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    compare_type=True,
    # SQLite alters a table by copying it; Alembic calls that a batch.
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
