"""The rows a run leaves behind: one NamedTuple per journal table, fields in the order of its columns.

`id`s count up within a run; the journal adds the run. Times are UTC nanoseconds. Prices, quantities and money are
float64 that name exactly one whole number of increments each, so that a rebuilt portfolio equals the books to the
last unit (a test holds it).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple, overload


class DecisionRow(NamedTuple):
    """Why something was asked for: the strategy's reason and what it saw at that bar.

    `bar_close_time` and `symbol` name the bar that was decided on, `price` its close. `saw` holds the
    values of the strategy's indicator lines, named in the run's manifest (a JSON array in SQL; NaN is null there).
    `action` is what was asked, in words.
    """

    id: int
    time: int
    strategy: str
    symbol: str
    bar_close_time: int
    price: float
    action: str
    saw: tuple[float, ...] | None
    why: str


class OrderRow(NamedTuple):
    """An order as it was first made. `type` and `time_in_force` are the enum values of engine.orders."""

    id: int
    decision_id: int
    time: int
    symbol: str
    side: str
    type: str
    quantity: float
    limit_price: float | None = None
    stop_price: float | None = None
    trail: float | None = None
    time_in_force: str = "gtc"
    expire_at: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    parent_id: int | None = None
    oco_group: int | None = None


class OrderEventRow(NamedTuple):
    """One step in an order's life: accepted, triggered, reduced, amended, held (by a rule of the venue), cancelled,
    expired, rejected, refused.

    Its executions are the rows of `fills`; an order whose fills add up to its quantity is filled.
    """

    id: int
    order_id: int
    time: int
    kind: str
    reason: str = ""


class FillRow(NamedTuple):
    """One execution. `fee`, and the costs inside the price, are in quote currency, each ≥ 0 (a fee may be a rebate).

    `position_after` is the signed quantity and `cash_after` the cash in `currency` once the fill was applied.
    """

    id: int
    order_id: int
    time: int
    bar_close_time: int
    symbol: str
    side: str
    price: float
    quantity: float
    liquidity: str
    fee: float
    currency: str
    reference_price: float
    spread_cost: float
    slippage_cost: float
    impact_cost: float
    position_after: float
    cash_after: float


class AccountEventRow(NamedTuple):
    """Money that moved other than by a fill. `amount` is signed: negative for what was paid.

    `kind` is deposit, funding, interest (on borrowed cash), borrow (of what is sold short), liquidation_fee or
    insurance (what the venue took over of a loss beyond the margin); in live trading also dust (a fee in base asset
    against whole increments), fee (in a third currency), transfer, and difference (reconciliation found that the
    venue's books differ from ours; they were made equal to the venue's).
    """

    id: int
    time: int
    kind: str
    currency: str
    amount: float
    note: str = ""


class EquityRow(NamedTuple):
    """The portfolio valued at a bar's close, thinned out to a few thousand rows a run. In `currency`."""

    time: int
    currency: str
    equity: float
    cash: float
    exposure: float


class RiskEventRow(NamedTuple):
    """What the risk gate did to trading as a whole: `kind` is "halt" or "lift".

    `symbol` is empty for the whole account. Of a halt, `value` is what `rule` found and `threshold` what it allows,
    `action` what happened beyond refusing ("refuse", "cancel", "flatten") and `lift_at` when it ends by itself (UTC
    ns); `reason` says it in words. Of a lift, `reason` is why, and `actor` who: "schedule", or a person's name.
    """

    id: int
    time: int
    kind: str
    rule: str
    symbol: str
    value: float | None
    threshold: float | None
    action: str
    lift_at: int | None
    reason: str
    actor: str


class CommandRow(NamedTuple):
    """What a person asks of a session that goes on, written by another process; the session reads it, and what it does
    about it is among its risk events and decisions.

    `kind` is "halt", "lift", "flatten", "cancel_all" or "stop"; `time` the wall clock's, UTC ns; `symbol` empty for the
    whole account; `rule` names the halt to lift, empty for all.
    """

    id: int
    time: int
    kind: str
    symbol: str
    rule: str
    why: str
    actor: str


class InputRow(NamedTuple):
    """Something that the run was made of and that `RunStart` has no field for: `kind` is what, `name` which, `value`
    its content or a hash of it.

    "source" and "strategy" are files that decide orders, by path, with the SHA-256 of their text; "model" is a model by
    its name in the settings, with its hash; "file" is what else
    settings name (funding, margin brackets), with the SHA-256 of its content; "platform" is the machine; "rerun" says
    of which run this one is a rerun.
    """

    id: int
    kind: str
    name: str
    value: str


class DataStreamRow(NamedTuple):
    """One stream of the data that a run read, and what finds a difference in it later (engine.journal.data_checks).

    `digest` is the SHA-256 of its bars as feeds take it. `blocks` and `row_checks` are None where an earlier run of the
    same journal has them for the same digest; `row_checks` also where the data were too long to keep one for each bar.
    """

    id: int
    symbol: str
    timeframe: str
    bars: int
    first_open_time: int
    last_close_time: int
    digest: str
    block_bars: int
    blocks: bytes | None
    row_checks: bytes | None


class ForecastRow(NamedTuple):
    """One forecast, as the model gave it. `horizon` and `lookback` count bars; times are UTC nanoseconds.

    `window_hash` is that of the window it was made from, `store_key` that of everything that decides its values, under
    which the forecast store has them (hex). `seed` is 0 for a model that needs none. `flags` are joined by commas:
    "nan", "impossible" and "constant" were not delivered. `says` is JSON: the values, or of sample paths their
    distribution at the end.
    """

    id: int
    model: str
    model_hash: str
    kind: str
    symbol: str
    timeframe: str
    as_of: int
    available_at: int
    horizon: int
    horizon_end: int
    last_close: float
    lookback: int
    window_hash: str
    store_key: str
    seed: int
    flags: str
    says: str


class DecisionForecastRow(NamedTuple):
    """A forecast that a decision rests on."""

    id: int
    decision_id: int
    forecast_id: int


class ForecastScoreRow(NamedTuple):
    """How a forecast did once its horizon had closed; fields as in engine.forecasting.scores.Score.

    Without a `forecast_id` it is about a cross-section: all forecasts of a model from one instant.
    """

    id: int
    forecast_id: int | None
    model: str
    symbol: str
    as_of: int
    time: int
    members: int
    realised: float | None
    point: float | None
    error: float | None
    direction: float | None
    pinball: float | None
    crps: float | None
    cone: float | None
    covered: float | None
    nominal: float | None
    pit: float | None
    brier: float | None
    rank_ic: float | None


class ForecastSkillRow(NamedTuple):
    """A change of what targets that rest on a model are multiplied with: `scale`, because its `skill` over the last
    scored forecasts (`scored` so far) fell below `threshold`, or no longer lies below it."""

    id: int
    time: int
    model: str
    skill: float | None
    threshold: float
    scored: int
    scale: float
    reason: str


class SessionInputRow(NamedTuple):
    """Something that entered a live session, in the order in which the engine took it: what `replay` runs again.

    `kind` is the name of a class of engine.live.inputs in small letters; `body` its fields as JSON.
    """

    id: int
    time: int
    kind: str
    body: str


class OrderMessageRow(NamedTuple):
    """A message about an order that was committed before it was sent to the venue: `kind` is new, cancel or amend, and
    `terms` the engine.live.messages.OrderMessage as JSON."""

    id: int
    order_id: int
    time: int
    kind: str
    client_order_id: str
    terms: str


class AlertRow(NamedTuple):
    """Something that a person should know of a live session. `level` is info, warning or error; `source` which part
    says it."""

    id: int
    time: int
    level: str
    source: str
    text: str


class Constant(NamedTuple):
    """A column that has one value throughout."""

    value: Any


class Columns(Sequence[tuple[Any, ...]]):
    """Rows of one table held as columns, so that a journal that writes by column need not take tuples apart again.

    Args:
        columns: in the field order of the table's row class, the first of them no Constant.
    """

    def __init__(self, *columns: Sequence[Any] | Constant) -> None:
        self.columns = columns
        self._count = len(columns[0])

    def part(self, start: int, end: int) -> "Columns":
        """Return the rows from start to end."""
        return Columns(*(c if isinstance(c, Constant) else c[start:end] for c in self.columns))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        count = self._count
        return zip(*(repeat(c.value, count) if isinstance(c, Constant) else c for c in self.columns), strict=True)

    @overload
    def __getitem__(self, place: int) -> tuple[Any, ...]: ...

    @overload
    def __getitem__(self, place: slice) -> list[tuple[Any, ...]]: ...

    def __getitem__(self, place: int | slice) -> tuple[Any, ...] | list[tuple[Any, ...]]:
        return list(self)[place]


@dataclass
class Batch:
    """Rows written together, in one transaction.

    Plain tuples in the field order of the classes above will do; a whole table's rows may also be `Columns`.
    """

    decisions: list[tuple[Any, ...]] = field(default_factory=list)
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    order_events: list[tuple[Any, ...]] = field(default_factory=list)
    fills: list[tuple[Any, ...]] = field(default_factory=list)
    account_events: list[tuple[Any, ...]] = field(default_factory=list)
    equity: list[tuple[Any, ...]] = field(default_factory=list)
    risk_events: list[tuple[Any, ...]] = field(default_factory=list)
    commands: list[tuple[Any, ...]] = field(default_factory=list)
    inputs: list[tuple[Any, ...]] = field(default_factory=list)
    data_streams: list[tuple[Any, ...]] = field(default_factory=list)
    forecasts: list[tuple[Any, ...]] = field(default_factory=list)
    decision_forecasts: list[tuple[Any, ...]] = field(default_factory=list)
    forecast_scores: list[tuple[Any, ...]] = field(default_factory=list)
    forecast_skill: list[tuple[Any, ...]] = field(default_factory=list)
    session_inputs: list[tuple[Any, ...]] = field(default_factory=list)
    order_messages: list[tuple[Any, ...]] = field(default_factory=list)
    alerts: list[tuple[Any, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, vars(self).values()))


@dataclass(frozen=True)
class RunStart:
    """What a run was made of. Everything is JSON-serialisable; a run is a pure function of it.

    Args:
        kind: "backtest" or "paper".
        strategy: its name; lines: the names of the indicator lines, in the order of `DecisionRow.saw`.
        settings: the resolved settings, whole.
        assumptions: the assumption card (switches and costs in force), without its hash.
        code_version: commit of the checkout; is_dirty: whether it had uncommitted changes (None if unknown).
        data_fingerprint: hash of every bar; data: what was read (streams, span, rows).
        seeds, libraries: whatever else decides the outcome. determinism: "bit-exact", "device-exact" or "tolerance".
        started_at: wall-clock UTC nanoseconds, for people only.
    """

    kind: str
    strategy: str
    settings: dict[str, Any]
    assumptions: dict[str, Any]
    data_fingerprint: str
    data: dict[str, Any]
    lines: tuple[str, ...] = ()
    instruments: dict[str, dict[str, str]] = field(default_factory=dict)
    code_version: str = "unknown"
    is_dirty: bool | None = None
    seeds: dict[str, int] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    determinism: str = "bit-exact"
    started_at: int = 0


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: status "completed", "failed" (the strategy or the data raised) or "interrupted"; and its
    result."""

    status: str
    finished_at: int
    bars: int
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
