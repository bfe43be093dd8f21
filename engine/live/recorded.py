"""What a recorded session was told of its market."""

from engine.bars import Bar, Bars, Stream
from engine.journal.reading import RunRecord
from engine.live.coding import decoded
from engine.live.columns import bars_as_columns
from engine.live.inputs import BarsClosed


def session_bars(record: RunRecord, *, with_history: bool = False) -> Bars | None:
    """Return the bars that a session decided on, in the order in which it was told of them; None before the first.

    Args:
        with_history: the bars from before its first decision too.
    """
    streams = tuple(Stream(one["symbol"], one["timeframe"]) for one in record.run.start.data["streams"])
    told: list[Bar] = []
    for row in record.session_inputs:
        if row.kind == "bars_closed":
            given = decoded(row.kind, row.body)
            assert isinstance(given, BarsClosed), "it is of that kind"
            if with_history or not given.is_history:
                told.extend(given.bars)
    return bars_as_columns(told, streams) if told else None
