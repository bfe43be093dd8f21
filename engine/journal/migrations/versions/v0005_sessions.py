"""Live sessions: what entered them, the messages that left them, and what a person should know."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create(
        "session_inputs",
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("kind", sa.Text),
        _needed("body", sa.Text),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_session_inputs_run_id"),
    )
    _create(
        "order_messages",
        _needed("id", sa.BigInteger),
        _needed("order_id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("kind", sa.Text),
        _needed("client_order_id", sa.Text),
        _needed("terms", sa.Text),
        sa.ForeignKeyConstraint(
            ["run_id", "order_id"], ["orders.run_id", "orders.id"], name="fk_order_messages_run_id_order_id"
        ),
        sa.CheckConstraint("kind IN ('new', 'cancel', 'amend')", name=op.f("ck_order_messages_kind")),
    )
    _create(
        "alerts",
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("level", sa.Text),
        _needed("source", sa.Text),
        _needed("text", sa.Text),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_alerts_run_id"),
        sa.CheckConstraint("level IN ('info', 'warning', 'error')", name=op.f("ck_alerts_level")),
    )
    if op.get_context().dialect.name == "sqlite":
        for table in ("session_inputs", "order_messages", "alerts"):
            op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('{table}', '{table}', '1000000 20000 1')")
        op.execute("ANALYZE sqlite_schema")


def downgrade() -> None:
    for table in ("alerts", "order_messages", "session_inputs"):
        op.drop_table(table)


def _needed(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _create(name: str, *items: Any) -> None:
    op.create_table(
        name,
        sa.Column("run_id", sa.Integer, nullable=False, autoincrement=False),
        *items,
        sa.PrimaryKeyConstraint("run_id", "id", name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )
