"""Inputs and messages as JSON text, for the journal; every number comes back exactly as it was."""

from decimal import Decimal
from math import nan
from typing import Any

import orjson

from engine.bars import Bar
from engine.errors import JournalError
from engine.live.inputs import (
    BarsClosed,
    ClockTold,
    Commanded,
    FeedTold,
    ForecastsTimed,
    Input,
    ModelSwapped,
    SeriesTold,
    TrainingTold,
    VenueTold,
)
from engine.live.messages import OrderMessage
from engine.live.reports import Report, ReportKind

KINDS: dict[type[Any], str] = {
    BarsClosed: "bars_closed",
    VenueTold: "venue_told",
    ClockTold: "clock_told",
    Commanded: "commanded",
    FeedTold: "feed_told",
    ForecastsTimed: "forecasts_timed",
    ModelSwapped: "model_swapped",
    TrainingTold: "training_told",
    SeriesTold: "series_told",
}
_CLASSES = {name: kind for kind, name in KINDS.items()}
_AMOUNTS = ("fee", "amount")
"""Fields of a report that are Decimal, and go as text."""


def encoded(given: Input) -> tuple[str, str]:
    """Return the kind of an input and its fields as JSON."""
    fields: dict[str, Any] = given._asdict()
    if isinstance(given, VenueTold):
        report = given.report._asdict()
        plain = Report._field_defaults
        fields["report"] = {
            name: str(value) if name in _AMOUNTS else value
            for name, value in report.items() if name not in plain or value != plain[name]
        }
    elif isinstance(given, BarsClosed):
        fields["bars"] = [list(bar) for bar in given.bars]
    return KINDS[type(given)], orjson.dumps(fields).decode()


def decoded(kind: str, body: str) -> Input:
    """Return the input that `encoded` wrote.

    Raises:
        JournalError: a newer Barcast wrote it, or the journal is damaged.
    """
    if kind not in _CLASSES:
        raise JournalError(f"a session's input of kind {kind!r} is not known; expected one of {', '.join(_CLASSES)}; "
                           "a newer Barcast may have written it")
    try:
        fields = orjson.loads(body)
        if kind == "bars_closed":
            fields["bars"] = tuple(Bar(*bar) for bar in fields["bars"])
        elif kind == "venue_told":
            report = fields["report"]
            report |= {name: Decimal(report[name]) for name in _AMOUNTS if name in report}
            fields["report"] = Report(**{**report, "kind": ReportKind(report["kind"])})
        elif kind == "series_told":
            fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
            # JSON has no NaN: a number that is none comes back as null.
            fields["values"] = tuple(tuple(nan if one is None else one for one in row) for row in fields["values"])
        made: Input = _CLASSES[kind](**fields)
    except (ValueError, TypeError, KeyError) as exc:
        raise JournalError(f"an input of kind {kind} cannot be understood: {exc}; the journal is damaged") from exc
    return made


def encoded_message(message: OrderMessage) -> str:
    """Return a message's fields as JSON, those left at their defaults apart."""
    plain = OrderMessage._field_defaults
    return orjson.dumps(
        {name: value for name, value in message._asdict().items() if name not in plain or value != plain[name]}
    ).decode()


def decoded_message(text: str) -> OrderMessage:
    """Return the message that `encoded_message` wrote."""
    return OrderMessage(**orjson.loads(text))
