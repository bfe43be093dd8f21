"""Everything that enters a live session, in the one order in which the engine takes it.

A session is a function of its settings and these: what is recorded here, replayed through the same engine, gives the
same decisions, orders and ids. Times are UTC nanoseconds; `received_at` is our own clock.
"""

from typing import NamedTuple

from engine.bars import Bar
from engine.live.reports import Report


class BarsClosed(NamedTuple):
    """Bars that closed at one instant, in feed order; none of them can change any more.

    `is_history`: they lie before the session's first decision. Lines, histories and forecasts' windows grow by them;
    the strategy is not asked, and nothing is traded.
    """

    time: int
    received_at: int
    bars: tuple[Bar, ...]
    is_history: bool = False


class VenueTold(NamedTuple):
    """The venue's answer to a message, or its word on what happened to an order or the account."""

    time: int
    report: Report


class ClockTold(NamedTuple):
    """It is `time`: timers due by then fire, although no bar has closed."""

    time: int


class Commanded(NamedTuple):
    """A person's wish, from another process: halt, lift, flatten, cancel_all or stop.

    `symbol` is empty for the whole account; `rule` names the halt to lift, empty for all. `number` is that of the row
    in the journal's `commands`, 0 for what did not come from there.
    """

    time: int
    kind: str
    why: str
    actor: str
    symbol: str = ""
    rule: str = ""
    number: int = 0


class FeedTold(NamedTuple):
    """What the edge knows of the quality of its data and that the risk gate may act on.

    `kind`: "stale" (nothing heard for `value` seconds), "fresh" (again), "lag" (bars come `value` seconds late), "gap"
    (bars are missing and cannot be had), "skew" (our clock is `value` seconds ahead of the venue's), "revised" (the
    venue changed a closed bar; what was decided on stays). `symbol` is empty for the whole venue.
    """

    time: int
    kind: str
    symbol: str
    value: float
    reason: str


class ForecastsTimed(NamedTuple):
    """How long a model took for the bars that closed at `as_of`: its forecasts become available `latency` ns after."""

    time: int
    model: str
    as_of: int
    latency: int


class ModelSwapped(NamedTuple):
    """A model that was trained while the session went on takes over under the name `model`: bars that close after those
    dealt with so far are answered by it.

    `artefact` is the folder that it lies in and `hash` that of its content: whoever runs the session again must have
    it. `due` is the time, UTC ns, for which it was trained, and `trained_until` the last close that it has seen.
    """

    time: int
    model: str
    artefact: str
    hash: str
    due: int
    trained_until: int


class SeriesTold(NamedTuple):
    """Further rows of a series of numbers that is the same for all symbols, in the order in which they became known:
    windows that end from now on have those that were known by then."""

    time: int
    columns: tuple[str, ...]
    available_at: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]


class TrainingTold(NamedTuple):
    """What became of a training beside the session, and that people should find in its record. `level`: info, warning
    or error."""

    time: int
    model: str
    level: str
    text: str


Input = (
    BarsClosed | VenueTold | ClockTold | Commanded | FeedTold | ForecastsTimed | ModelSwapped | SeriesTold
    | TrainingTold
)
