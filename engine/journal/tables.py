"""The journal's tables. Times are UTC nanoseconds; money, prices and quantities are float64 that name whole increments.

Every table but `runs` is one NamedTuple of engine.records with the run's number in front; a test holds them equal. A
change here needs a migration (migrations/README.md); another test holds the two equal.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _needed(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _in_run(table: str, column: str, target: str) -> ForeignKeyConstraint:
    """Point from a column to another table's row of the same run."""
    return ForeignKeyConstraint(["run_id", column], [f"{target}.run_id", f"{target}.id"])


def _facts(name: str, *items: Any, key: tuple[str, ...] = ("run_id", "id")) -> Table:
    """Describe an append-only table whose rows belong to a run.

    On SQLite the rows live in the key's own tree (WITHOUT ROWID): one tree to write instead of two. Appending in
    order of the key costs no search.
    """
    return Table(
        name, metadata, Column("run_id", Integer, nullable=False, autoincrement=False), *items,
        PrimaryKeyConstraint(*key), sqlite_with_rowid=False,
    )


runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    _needed("kind", Text),
    _needed("strategy", Text),
    _needed("status", Text),
    _needed("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("bars", BigInteger),
    _needed("error", Text),
    _needed("data_fingerprint", Text),
    _needed("code_version", Text),
    Column("is_dirty", Boolean),
    _needed("determinism", Text),
    _needed("settings", JSON),
    _needed("assumptions", JSON),
    _needed("data", JSON),
    _needed("lines", JSON),
    _needed("instruments", JSON),
    _needed("seeds", JSON),
    _needed("libraries", JSON),
    _needed("result", JSON),
    _needed("pid", BigInteger),
    _needed("host", Text),
    _needed("boot", Text),
    _needed("pid_namespace", Text),
    _needed("process_started", Text),
    CheckConstraint("status IN ('running', 'completed', 'failed', 'interrupted', 'crashed')", name="status"),
    # References such as r3-7 stand in people's notes: the number of a deleted run is never given again.
    sqlite_autoincrement=True,
)
_is_running = text("status = 'running'")
Index("ix_runs_running", runs.c.id, sqlite_where=_is_running, postgresql_where=_is_running)

decisions = _facts(
    "decisions",
    _needed("id", BigInteger),
    _needed("time", BigInteger),
    _needed("strategy", Text),
    _needed("symbol", Text),
    _needed("bar_close_time", BigInteger),
    _needed("price", Double),
    _needed("action", Text),
    Column("saw", JSON),
    _needed("why", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)

SAW = decisions.columns.keys().index("saw") - 1
"""Where a DecisionRow has its numbers; the table has them as a JSON array."""

orders = _facts(
    "orders",
    _needed("id", BigInteger),
    _needed("decision_id", BigInteger),
    _needed("time", BigInteger),
    _needed("symbol", Text),
    _needed("side", Text),
    _needed("type", Text),
    _needed("quantity", Double),
    Column("limit_price", Double),
    Column("stop_price", Double),
    Column("trail", Double),
    _needed("time_in_force", Text),
    Column("expire_at", BigInteger),
    _needed("post_only", Boolean),
    _needed("reduce_only", Boolean),
    Column("parent_id", BigInteger),
    Column("oco_group", BigInteger),
    _in_run("orders", "decision_id", "decisions"),
    _in_run("orders", "parent_id", "orders"),
    CheckConstraint("side IN ('buy', 'sell')", name="side"),
    CheckConstraint("quantity >= 0", name="quantity"),
)
# Partial: an order without a parent or a group, which is most of them, costs nothing.
for _column in (orders.c.parent_id, orders.c.oco_group):
    _where = text(f"{_column.name} IS NOT NULL")
    Index(None, orders.c.run_id, _column, sqlite_where=_where, postgresql_where=_where)

order_events = _facts(
    "order_events",
    _needed("id", BigInteger),
    _needed("order_id", BigInteger),
    _needed("time", BigInteger),
    _needed("kind", Text),
    _needed("reason", Text),
    _in_run("order_events", "order_id", "orders"),
    # Nobody asks for an event by its number, always for those of an order: as the key, this saves an index, which
    # would cost a tenth of the whole journal's writing time.
    key=("run_id", "order_id", "id"),
)

fills = _facts(
    "fills",
    _needed("id", BigInteger),
    _needed("order_id", BigInteger),
    _needed("time", BigInteger),
    _needed("bar_close_time", BigInteger),
    _needed("symbol", Text),
    _needed("side", Text),
    _needed("price", Double),
    _needed("quantity", Double),
    _needed("liquidity", Text),
    _needed("fee", Double),
    _needed("currency", Text),
    _needed("reference_price", Double),
    _needed("spread_cost", Double),
    _needed("slippage_cost", Double),
    _needed("impact_cost", Double),
    _needed("position_after", Double),
    _needed("cash_after", Double),
    _in_run("fills", "order_id", "orders"),
    CheckConstraint("side IN ('buy', 'sell')", name="side"),
    CheckConstraint("quantity > 0", name="quantity"),
    CheckConstraint("liquidity IN ('maker', 'taker')", name="liquidity"),
)
Index(None, fills.c.run_id, fills.c.order_id)

account_events = _facts(
    "account_events",
    _needed("id", BigInteger),
    _needed("time", BigInteger),
    _needed("kind", Text),
    _needed("currency", Text),
    _needed("amount", Double),
    _needed("note", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)

equity = _facts(
    "equity",
    _needed("time", BigInteger),
    _needed("currency", Text),
    _needed("equity", Double),
    _needed("cash", Double),
    _needed("exposure", Double),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
    key=("run_id", "time", "currency"),
)

risk_events = _facts(
    "risk_events",
    _needed("id", BigInteger),
    _needed("time", BigInteger),
    _needed("kind", Text),
    _needed("rule", Text),
    _needed("symbol", Text),
    Column("value", Double),
    Column("threshold", Double),
    _needed("action", Text),
    Column("lift_at", BigInteger),
    _needed("reason", Text),
    _needed("actor", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
    CheckConstraint("kind IN ('halt', 'lift')", name="kind"),
)

commands = _facts(
    "commands",
    _needed("id", BigInteger),
    _needed("time", BigInteger),
    _needed("kind", Text),
    _needed("symbol", Text),
    _needed("rule", Text),
    _needed("why", Text),
    _needed("actor", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
    CheckConstraint("kind IN ('halt', 'lift', 'flatten', 'cancel_all', 'stop')", name="kind"),
)
"""Written beside a run, by whoever operates it: numbered apart from what the run itself writes."""

inputs = _facts(
    "inputs",
    _needed("id", BigInteger),
    _needed("kind", Text),
    _needed("name", Text),
    _needed("value", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)

data_streams = _facts(
    "data_streams",
    _needed("id", BigInteger),
    _needed("symbol", Text),
    _needed("timeframe", Text),
    _needed("bars", BigInteger),
    _needed("first_open_time", BigInteger),
    _needed("last_close_time", BigInteger),
    _needed("digest", Text),
    _needed("block_bars", BigInteger),
    Column("blocks", LargeBinary),
    Column("row_checks", LargeBinary),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)
# A data set's checks are kept once, with the first run that read it.
_has_blocks = text("blocks IS NOT NULL")
Index("ix_data_streams_digest", data_streams.c.digest, sqlite_where=_has_blocks, postgresql_where=_has_blocks)

forecasts = _facts(
    "forecasts",
    _needed("id", BigInteger),
    _needed("model", Text),
    _needed("model_hash", Text),
    _needed("kind", Text),
    _needed("symbol", Text),
    _needed("timeframe", Text),
    _needed("as_of", BigInteger),
    _needed("available_at", BigInteger),
    _needed("horizon", BigInteger),
    _needed("horizon_end", BigInteger),
    _needed("last_close", Double),
    _needed("lookback", BigInteger),
    _needed("window_hash", Text),
    _needed("store_key", Text),
    _needed("seed", BigInteger),
    _needed("flags", Text),
    _needed("says", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)

decision_forecasts = _facts(
    "decision_forecasts",
    _needed("id", BigInteger),
    _needed("decision_id", BigInteger),
    _needed("forecast_id", BigInteger),
    _in_run("decision_forecasts", "decision_id", "decisions"),
    _in_run("decision_forecasts", "forecast_id", "forecasts"),
    # As for order_events: asked for by decision.
    key=("run_id", "decision_id", "id"),
)

forecast_scores = _facts(
    "forecast_scores",
    _needed("id", BigInteger),
    Column("forecast_id", BigInteger),
    _needed("model", Text),
    _needed("symbol", Text),
    _needed("as_of", BigInteger),
    _needed("time", BigInteger),
    _needed("members", BigInteger),
    *(
        Column(name, Double)
        for name in (
            "realised", "point", "error", "direction", "pinball", "crps", "cone", "covered", "nominal", "pit", "brier",
            "rank_ic",
        )
    ),
    _in_run("forecast_scores", "forecast_id", "forecasts"),
)
_has_forecast = text("forecast_id IS NOT NULL")
Index(
    None, forecast_scores.c.run_id, forecast_scores.c.forecast_id, sqlite_where=_has_forecast,
    postgresql_where=_has_forecast,
)

forecast_skill = _facts(
    "forecast_skill",
    _needed("id", BigInteger),
    _needed("time", BigInteger),
    _needed("model", Text),
    Column("skill", Double),
    _needed("threshold", Double),
    _needed("scored", BigInteger),
    _needed("scale", Double),
    _needed("reason", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)

session_inputs = _facts(
    "session_inputs",
    _needed("id", BigInteger),
    _needed("time", BigInteger),
    _needed("kind", Text),
    _needed("body", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
)

order_messages = _facts(
    "order_messages",
    _needed("id", BigInteger),
    _needed("order_id", BigInteger),
    _needed("time", BigInteger),
    _needed("kind", Text),
    _needed("client_order_id", Text),
    _needed("terms", Text),
    _in_run("order_messages", "order_id", "orders"),
    CheckConstraint("kind IN ('new', 'cancel', 'amend')", name="kind"),
)

alerts = _facts(
    "alerts",
    _needed("id", BigInteger),
    _needed("time", BigInteger),
    _needed("level", Text),
    _needed("source", Text),
    _needed("text", Text),
    ForeignKeyConstraint(["run_id"], ["runs.id"]),
    CheckConstraint("level IN ('info', 'warning', 'error')", name="level"),
)

FACTS: dict[str, Table] = {
    table.name: table
    for table in (
        decisions, orders, order_events, fills, account_events, equity, risk_events, commands, inputs, data_streams,
        forecasts, decision_forecasts, forecast_scores, forecast_skill, session_inputs, order_messages, alerts,
    )
}
"""The tables of a Batch, in the order in which they are written: what is pointed at comes first."""
