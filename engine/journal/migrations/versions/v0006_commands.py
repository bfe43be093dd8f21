"""What people ask of a session that goes on; until now, only that halts be lifted could be asked."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = "run_id, id, time, symbol, rule, why, actor"


def upgrade() -> None:
    op.create_table(
        "commands",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("kind", sa.Text),
        _needed("symbol", sa.Text),
        _needed("rule", sa.Text),
        _needed("why", sa.Text),
        _needed("actor", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_commands"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_commands_run_id"),
        sa.CheckConstraint(
            "kind IN ('halt', 'lift', 'flatten', 'cancel_all', 'stop')", name=op.f("ck_commands_kind")),
        sqlite_with_rowid=False,
    )
    op.execute(f"INSERT INTO commands ({COLUMNS}, kind) SELECT {COLUMNS}, 'lift' FROM risk_lifts")
    op.drop_table("risk_lifts")
    _estimate("commands", "risk_lifts")


def downgrade() -> None:
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
    op.execute(f"INSERT INTO risk_lifts ({COLUMNS}) SELECT {COLUMNS} FROM commands WHERE kind = 'lift'")
    op.drop_table("commands")
    _estimate("risk_lifts", "commands")


def _needed(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _run_id() -> sa.Column[int]:
    return sa.Column("run_id", sa.Integer, nullable=False, autoincrement=False)


def _estimate(table: str, gone: str) -> None:
    """Tell SQLite's planner how long the table is, as in revision 0001: few rows to a run."""
    if op.get_context().dialect.name == "sqlite":
        op.execute(f"DELETE FROM sqlite_stat1 WHERE tbl = '{gone}'")
        op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('{table}', '{table}', '1000 10 1')")
        op.execute("ANALYZE sqlite_schema")
