"""Halts and lifts of the risk gate, and what people ask to be lifted."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_risk_events()
    _create_risk_lifts()
    if op.get_context().dialect.name == "sqlite":
        for table in ("risk_events", "risk_lifts"):  # as in revision 0001: few rows to a run
            op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('{table}', '{table}', '1000 10 1')")
        op.execute("ANALYZE sqlite_schema")


def downgrade() -> None:
    for table in ("risk_lifts", "risk_events"):
        op.drop_table(table)


def _needed(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _run_id() -> sa.Column[int]:
    return sa.Column("run_id", sa.Integer, nullable=False, autoincrement=False)


def _create_risk_events() -> None:
    op.create_table(
        "risk_events",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("kind", sa.Text),
        _needed("rule", sa.Text),
        _needed("symbol", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("threshold", sa.Double),
        _needed("action", sa.Text),
        sa.Column("lift_at", sa.BigInteger),
        _needed("reason", sa.Text),
        _needed("actor", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_risk_events"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_risk_events_run_id"),
        sa.CheckConstraint("kind IN ('halt', 'lift')", name=op.f("ck_risk_events_kind")),
        sqlite_with_rowid=False,
    )


def _create_risk_lifts() -> None:
    op.create_table(
        "risk_lifts",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("rule", sa.Text),
        _needed("symbol", sa.Text),
        _needed("why", sa.Text),
        _needed("actor", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_risk_lifts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_risk_lifts_run_id"),
        sqlite_with_rowid=False,
    )
