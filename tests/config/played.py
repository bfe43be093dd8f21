"""A market that is played to a session instant by instant, through an edge that has no venue behind it."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from config.paper import VenueTerms
from config.session import SessionFacts
from engine.bars import Bar, Bars, Stream
from engine.instruments import Instrument
from engine.live.inputs import BarsClosed
from engine.live.ports import InputSource, VenueLink


def instants(bars: Bars | None, history: int) -> list[BarsClosed]:
    """Return bars as inputs, an instant each; so many of them are history."""
    assert bars is not None
    found: dict[int, list[Bar]] = {}
    for bar in bars.rows():
        found.setdefault(bar.close_time, []).append(bar)
    return [
        BarsClosed(close, close, tuple(some), is_history=row < history)
        for row, (close, some) in enumerate(sorted(found.items()))
    ]


class PlayedMarket:
    """What edges have in common that play inputs, less those that the session has already; `take` is their own."""

    def __init__(self, symbols: Sequence[str], inputs: Sequence[BarsClosed]) -> None:
        self._symbols, self._played = symbols, inputs

    def terms(self) -> VenueTerms:
        instruments = [
            Instrument(one, "USDT", base=one[:3], min_notional=Decimal(5), venue="x") for one in self._symbols
        ]
        return VenueTerms(tuple(instruments), dict.fromkeys(self._symbols, (Decimal("0.001"), Decimal("0.001"))))

    def open(
        self, facts: SessionFacts, last_closed: Mapping[Stream, int]
    ) -> tuple[InputSource, VenueLink | None]:
        since = max(last_closed.values(), default=0)
        self._inputs: Iterator[BarsClosed] = (one for one in self._played if one.time > since)
        return self, None

    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass
