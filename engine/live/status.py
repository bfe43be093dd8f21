"""What a session says of itself to other processes: one snapshot in a small file beside the journal, always whole.

Times are UTC nanoseconds (0: never), spans seconds, money in the currency named. The numbers are for people and for
dashboards; what is exact is in the journal.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, get_args, get_type_hints

from engine.errors import JournalError

VERSION = 1
STATES = ("starting", "recovering", "warming_up", "running", "halted", "stopping", "stopped", "failed")


class PositionStatus(NamedTuple):
    """What is held of a symbol. `quantity` is signed; `result` the unrealised profit at `last_price`."""

    symbol: str
    quantity: float
    entry_price: float
    last_price: float
    value: float
    result: float


class OrderStatusRow(NamedTuple):
    """An order that can still fill. `price` is its limit, else its stop; None for a market order."""

    id: int
    client_order_id: str
    symbol: str
    side: str
    type: str
    quantity: float
    filled: float
    price: float | None
    status: str
    since: int


class DecisionStatus(NamedTuple):
    """One of the last decisions, the newest first in a status."""

    time: int
    symbol: str
    action: str
    why: str


class ForecastStatus(NamedTuple):
    """A model: the bars its last forecasts were made of closed at `as_of`; it took `latency` seconds."""

    model: str
    as_of: int
    latency: float
    made: int


class StreamStatus(NamedTuple):
    """A stream of bars: when the last one closed, and how long after its close it was heard."""

    symbol: str
    timeframe: str
    last_close_time: int
    lag: float
    is_stale: bool


class HaltStatus(NamedTuple):
    """A halt in force; `symbol` is empty for the whole account, `lift_at` 0 where a person has to lift it."""

    time: int
    rule: str
    symbol: str
    action: str
    reason: str
    lift_at: int


class AlertStatus(NamedTuple):
    """Something that a person should know; `level` is "info", "warning" or "error". The newest first in a status."""

    time: int
    level: str
    source: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """A session at one moment.

    Args:
        state: one of STATES.
        time: of the event clock; written_at: our clock's, when this was made; heartbeat: seconds between two of these.
        clock_offset: our clock less the venue's; None while unknown.
        queue_depth: inputs that wait for the engine; unresolved: orders of which nobody knows whether the venue has
            them; reconnects: of all connections since the start.
        decision_latency: seconds from a bar's arrival to the orders that follow: median and 99th percentile of the
            last ones; None before the first.
    """

    run_id: int
    session: str
    strategy: str
    venue: str
    broker: str
    state: str
    started_at: int
    written_at: int
    pid: int
    heartbeat: float = 5.0
    time: int = 0
    currency: str = ""
    cash: float = 0.0
    equity: float = 0.0
    day_opening_equity: float | None = None
    bars: int = 0
    decisions_made: int = 0
    orders_sent: int = 0
    fills: int = 0
    clock_offset: float | None = None
    queue_depth: int = 0
    unresolved: int = 0
    reconnects: int = 0
    decision_latency: tuple[float, float] | None = None
    positions: tuple[PositionStatus, ...] = ()
    orders: tuple[OrderStatusRow, ...] = ()
    decisions: tuple[DecisionStatus, ...] = ()
    forecasts: tuple[ForecastStatus, ...] = ()
    streams: tuple[StreamStatus, ...] = ()
    halts: tuple[HaltStatus, ...] = ()
    alerts: tuple[AlertStatus, ...] = ()
    version: int = field(default=VERSION)

    @property
    def feed_lag(self) -> float | None:
        """The longest lag of all streams, seconds; None before the first bar."""
        return max((stream.lag for stream in self.streams if stream.last_close_time), default=None)

    def forecast_age(self, now: int) -> float | None:
        """Return the age of the oldest model's last forecasts, seconds; None where there are none."""
        times = [model.as_of for model in self.forecasts if model.as_of]
        return (now - min(times)) / 1e9 if times else None

    def is_silent(self, now: int) -> bool:
        """Return whether the session should have written a newer status by now: it hangs, or was killed."""
        return self.state not in ("stopped", "failed") and now - self.written_at > 4 * self.heartbeat * 1e9


def status_path(journal: str, run_id: int, folder: Path) -> Path:
    """Return where a run's status is.

    Args:
        journal: its URL or path; folder: where it is kept for a journal that is no file (PostgreSQL).
    """
    address = journal.removeprefix("sqlite:///")
    if "://" in address:
        return folder / f"run-{run_id}.status.json"
    path = Path(address)
    return path.with_name(f"{path.stem}.run-{run_id}.status.json")


def write_status(status: Status, path: Path) -> None:
    """Replace the file by this status; who reads it meanwhile sees the old one or the new one, whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(_plain(asdict(status)), allow_nan=False), "utf-8")
    partial.replace(path)


def read_status(path: Path) -> Status | None:
    """Return the status in a file; None if there is none.

    Raises:
        JournalError: the file holds something else, or was written by another version.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise JournalError(f"{path}: no status can be read from it ({exc}); the session writes it anew") from exc
    found = values.get("version") if isinstance(values, dict) else None
    if found != VERSION:
        raise JournalError(f"{path}: its version is {found!r}; expected {VERSION}: written by another Barcast")
    kinds = get_type_hints(Status)
    return Status(**{name: _value(kinds[name], value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    """Return what JSON can say: a number that is none becomes null."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _value(kind: Any, value: Any) -> Any:
    """Return lists as the tuples that they were."""
    if isinstance(kind, UnionType):
        return None if value is None else _value(get_args(kind)[0], value)
    if not isinstance(value, list):
        return value
    row = get_args(kind)[0]
    return tuple(row(*one) if hasattr(row, "_fields") else one for one in value)
