"""Runs and their facts: decisions, orders, order events, fills, account events, equity."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_runs()
    _create_decisions()
    _create_orders()
    _create_order_events()
    _create_fills()
    _create_account_events()
    _create_equity()
    if op.get_context().dialect.name == "sqlite":
        _tell_sqlite_what_is_selective()


def downgrade() -> None:
    for table in ("equity", "account_events", "fills", "order_events", "orders", "decisions", "runs"):
        op.drop_table(table)


def _tell_sqlite_what_is_selective() -> None:
    """Write down how many rows a value of each key finds: all rows; those of one run; those of one run and order; …

    Without it SQLite takes a run for ten rows and walks through them instead of using an index: `why` would read whole
    runs.
    """
    op.execute("ANALYZE")
    for table, index, rows_found in (
        ("decisions", "decisions", "1000000 20000 1"),
        ("orders", "orders", "1000000 20000 1"),
        ("orders", "ix_orders_run_id_parent_id", "100000 2000 2"),
        ("orders", "ix_orders_run_id_oco_group", "100000 2000 2"),
        ("order_events", "order_events", "2000000 40000 2 1"),
        ("fills", "fills", "1000000 20000 1"),
        ("fills", "ix_fills_run_id_order_id", "1000000 20000 1"),
        ("account_events", "account_events", "10000 100 1"),
        ("equity", "equity", "200000 2000 1 1"),
    ):
        op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('{table}', '{index}', '{rows_found}')")
    op.execute("ANALYZE sqlite_schema")    # makes this connection, too, read what was written


def _needed(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _run_id() -> sa.Column[int]:
    return sa.Column("run_id", sa.Integer, nullable=False, autoincrement=False)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        _needed("kind", sa.Text),
        _needed("strategy", sa.Text),
        _needed("status", sa.Text),
        _needed("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("bars", sa.BigInteger),
        _needed("error", sa.Text),
        _needed("data_fingerprint", sa.Text),
        _needed("code_version", sa.Text),
        sa.Column("is_dirty", sa.Boolean),
        _needed("determinism", sa.Text),
        _needed("settings", sa.JSON),
        _needed("assumptions", sa.JSON),
        _needed("data", sa.JSON),
        _needed("lines", sa.JSON),
        _needed("instruments", sa.JSON),
        _needed("seeds", sa.JSON),
        _needed("libraries", sa.JSON),
        _needed("result", sa.JSON),
        _needed("pid", sa.BigInteger),
        _needed("host", sa.Text),
        _needed("boot", sa.Text),
        _needed("pid_namespace", sa.Text),
        _needed("process_started", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'failed', 'interrupted', 'crashed')", name=op.f("ck_runs_status")
        ),
        sqlite_autoincrement=True,
    )
    where = sa.text("status = 'running'")
    op.create_index("ix_runs_running", "runs", ["id"], sqlite_where=where, postgresql_where=where)


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("strategy", sa.Text),
        _needed("symbol", sa.Text),
        _needed("bar_close_time", sa.BigInteger),
        _needed("price", sa.Double),
        _needed("action", sa.Text),
        sa.Column("saw", sa.JSON),
        _needed("why", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_decisions_run_id"),
        sqlite_with_rowid=False,
    )


def _create_orders() -> None:
    op.create_table(
        "orders",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("decision_id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("symbol", sa.Text),
        _needed("side", sa.Text),
        _needed("type", sa.Text),
        _needed("quantity", sa.Double),
        sa.Column("limit_price", sa.Double),
        sa.Column("stop_price", sa.Double),
        sa.Column("trail", sa.Double),
        _needed("time_in_force", sa.Text),
        sa.Column("expire_at", sa.BigInteger),
        _needed("post_only", sa.Boolean),
        _needed("reduce_only", sa.Boolean),
        sa.Column("parent_id", sa.BigInteger),
        sa.Column("oco_group", sa.BigInteger),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_orders"),
        sa.ForeignKeyConstraint(
            ["run_id", "decision_id"], ["decisions.run_id", "decisions.id"], name="fk_orders_run_id_decision_id"
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "parent_id"], ["orders.run_id", "orders.id"], name="fk_orders_run_id_parent_id"
        ),
        sa.CheckConstraint("side IN ('buy', 'sell')", name=op.f("ck_orders_side")),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_orders_quantity")),
        sqlite_with_rowid=False,
    )
    for column in ("parent_id", "oco_group"):
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_orders_run_id_{column}", "orders", ["run_id", column], sqlite_where=where, postgresql_where=where
        )


def _create_order_events() -> None:
    op.create_table(
        "order_events",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("order_id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("kind", sa.Text),
        _needed("reason", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "order_id", "id", name="pk_order_events"),
        sa.ForeignKeyConstraint(
            ["run_id", "order_id"], ["orders.run_id", "orders.id"], name="fk_order_events_run_id_order_id"
        ),
        sqlite_with_rowid=False,
    )


def _create_fills() -> None:
    op.create_table(
        "fills",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("order_id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("bar_close_time", sa.BigInteger),
        _needed("symbol", sa.Text),
        _needed("side", sa.Text),
        _needed("price", sa.Double),
        _needed("quantity", sa.Double),
        _needed("liquidity", sa.Text),
        _needed("fee", sa.Double),
        _needed("currency", sa.Text),
        _needed("reference_price", sa.Double),
        _needed("spread_cost", sa.Double),
        _needed("slippage_cost", sa.Double),
        _needed("impact_cost", sa.Double),
        _needed("position_after", sa.Double),
        _needed("cash_after", sa.Double),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_fills"),
        sa.ForeignKeyConstraint(
            ["run_id", "order_id"], ["orders.run_id", "orders.id"], name="fk_fills_run_id_order_id"
        ),
        sa.CheckConstraint("side IN ('buy', 'sell')", name=op.f("ck_fills_side")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_fills_quantity")),
        sa.CheckConstraint("liquidity IN ('maker', 'taker')", name=op.f("ck_fills_liquidity")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_fills_run_id_order_id", "fills", ["run_id", "order_id"])


def _create_account_events() -> None:
    op.create_table(
        "account_events",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("kind", sa.Text),
        _needed("currency", sa.Text),
        _needed("amount", sa.Double),
        _needed("note", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_account_events"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_account_events_run_id"),
        sqlite_with_rowid=False,
    )


def _create_equity() -> None:
    op.create_table(
        "equity",
        _run_id(),
        _needed("time", sa.BigInteger),
        _needed("currency", sa.Text),
        _needed("equity", sa.Double),
        _needed("cash", sa.Double),
        _needed("exposure", sa.Double),
        sa.PrimaryKeyConstraint("run_id", "time", "currency", name="pk_equity"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_equity_run_id"),
        sqlite_with_rowid=False,
    )
