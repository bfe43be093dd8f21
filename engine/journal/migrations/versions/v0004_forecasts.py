"""Forecasts, the decisions that rest on them, their scores, and what skill meant for positions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_forecasts()
    _create_decision_forecasts()
    _create_forecast_scores()
    _create_forecast_skill()
    if op.get_context().dialect.name == "sqlite":
        for table, index, rows_found in (
            ("forecasts", "forecasts", "1000000 20000 1"),
            ("decision_forecasts", "decision_forecasts", "1000000 20000 2 1"),
            ("forecast_scores", "forecast_scores", "1000000 20000 1"),
            ("forecast_scores", "ix_forecast_scores_run_id_forecast_id", "1000000 20000 1"),
            ("forecast_skill", "forecast_skill", "1000 10 1"),
        ):
            op.execute(f"INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('{table}', '{index}', '{rows_found}')")
        op.execute("ANALYZE sqlite_schema")


def downgrade() -> None:
    for table in ("forecast_skill", "forecast_scores", "decision_forecasts", "forecasts"):
        op.drop_table(table)


def _needed(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _run_id() -> sa.Column[int]:
    return sa.Column("run_id", sa.Integer, nullable=False, autoincrement=False)


def _in_run(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["run_id", column], [f"{target}.run_id", f"{target}.id"], name=f"fk_{table}_run_id_{column}"
    )


def _create_forecasts() -> None:
    op.create_table(
        "forecasts",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("model", sa.Text),
        _needed("model_hash", sa.Text),
        _needed("kind", sa.Text),
        _needed("symbol", sa.Text),
        _needed("timeframe", sa.Text),
        _needed("as_of", sa.BigInteger),
        _needed("available_at", sa.BigInteger),
        _needed("horizon", sa.BigInteger),
        _needed("horizon_end", sa.BigInteger),
        _needed("last_close", sa.Double),
        _needed("lookback", sa.BigInteger),
        _needed("window_hash", sa.Text),
        _needed("store_key", sa.Text),
        _needed("seed", sa.BigInteger),
        _needed("flags", sa.Text),
        _needed("says", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_forecasts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_forecasts_run_id"),
        sqlite_with_rowid=False,
    )


def _create_decision_forecasts() -> None:
    op.create_table(
        "decision_forecasts",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("decision_id", sa.BigInteger),
        _needed("forecast_id", sa.BigInteger),
        sa.PrimaryKeyConstraint("run_id", "decision_id", "id", name="pk_decision_forecasts"),
        _in_run("decision_forecasts", "decision_id", "decisions"),
        _in_run("decision_forecasts", "forecast_id", "forecasts"),
        sqlite_with_rowid=False,
    )


def _create_forecast_scores() -> None:
    numbers = (
        "realised", "point", "error", "direction", "pinball", "crps", "cone", "covered", "nominal", "pit", "brier",
        "rank_ic",
    )
    op.create_table(
        "forecast_scores",
        _run_id(),
        _needed("id", sa.BigInteger),
        sa.Column("forecast_id", sa.BigInteger),
        _needed("model", sa.Text),
        _needed("symbol", sa.Text),
        _needed("as_of", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("members", sa.BigInteger),
        *(sa.Column(name, sa.Double) for name in numbers),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_forecast_scores"),
        _in_run("forecast_scores", "forecast_id", "forecasts"),
        sqlite_with_rowid=False,
    )
    where = sa.text("forecast_id IS NOT NULL")
    op.create_index(
        "ix_forecast_scores_run_id_forecast_id", "forecast_scores", ["run_id", "forecast_id"], sqlite_where=where,
        postgresql_where=where,
    )


def _create_forecast_skill() -> None:
    op.create_table(
        "forecast_skill",
        _run_id(),
        _needed("id", sa.BigInteger),
        _needed("time", sa.BigInteger),
        _needed("model", sa.Text),
        sa.Column("skill", sa.Double),
        _needed("threshold", sa.Double),
        _needed("scored", sa.BigInteger),
        _needed("scale", sa.Double),
        _needed("reason", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_forecast_skill"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_forecast_skill_run_id"),
        sqlite_with_rowid=False,
    )
