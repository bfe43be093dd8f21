"""What a run was made of: source files by hash, and checks that find a difference in its data later."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_inputs()
    _create_data_streams()
    if op.get_context().dialect.name == "sqlite":
        for table, index, rows_found in (
            ("inputs", "inputs", "100000 100 1"),
            ("data_streams", "data_streams", "10000 10 1"),
            ("data_streams", "ix_data_streams_digest", "1000 1"),
        ):
            op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('{table}', '{index}', '{rows_found}')")
        op.execute("ANALYZE sqlite_schema")


def downgrade() -> None:
    for table in ("data_streams", "inputs"):
        op.drop_table(table)


def _needed(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _run_id() -> sa.Column[int]:
    return sa.Column("run_id", sa.Integer, nullable=False, autoincrement=False)


def _create_inputs() -> None:
    op.create_table(
        "inputs",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("kind", sa.Text),
        _needed("name", sa.Text),
        _needed("value", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_inputs"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_inputs_run_id"),
        sqlite_with_rowid=False,
    )


def _create_data_streams() -> None:
    op.create_table(
        "data_streams",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("symbol", sa.Text),
        _needed("timeframe", sa.Text),
        _needed("bars", sa.BigInteger),
        _needed("first_open_time", sa.BigInteger),
        _needed("last_close_time", sa.BigInteger),
        _needed("digest", sa.Text),
        _needed("block_bars", sa.BigInteger),
        sa.Column("blocks", sa.LargeBinary),
        sa.Column("row_checks", sa.LargeBinary),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_data_streams"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_data_streams_run_id"),
        sqlite_with_rowid=False,
    )
    where = sa.text("blocks IS NOT NULL")
    op.create_index(
        "ix_data_streams_digest", "data_streams", ["digest"], sqlite_where=where, postgresql_where=where
    )
