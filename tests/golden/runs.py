"""The golden runs: what is run, by name. What came of each is in expected/, one file a run.

A run is added by a function under `@golden`, whose docstring says what it holds fast, and by
`python -m tests.golden --update NAME`. Accounts on margin, perpetual contracts and the rules of the risk gate fit in
alike: `Setup.portfolio`, `Setup.broker` and `Setup.parts` take what `Portfolio`, `SimulatedExchange` and
`engine.loop.Parts` do, and `Terms.risk` a gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from engine.bars import Bars
from engine.instruments import Instrument
from engine.strategy import Strategy
from engine.testing import Terms


@dataclass
class Setup:
    """What a run is made of.

    Args:
        instruments: those that differ from what `terms` says of every symbol.
        parts: of engine.loop.Parts, such as `mode` and `compile_from`; portfolio: keyword arguments of Portfolio, such
            as margin terms; broker: of SimulatedExchange, such as finer bars.
        draws: whether the engine itself draws random numbers, from numpy's streams.
    """

    strategy: Strategy
    bars: Bars
    terms: Terms = field(default_factory=Terms)
    instruments: tuple[Instrument, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)
    portfolio: Mapping[str, Any] = field(default_factory=dict)
    broker: Mapping[str, Any] = field(default_factory=dict)
    draws: bool = False


RUNS: dict[str, Callable[[], Setup]] = {}


def golden(make: Callable[[], Setup]) -> Callable[[], Setup]:
    """Register a run under the name of the function that makes it."""
    assert make.__doc__, f"golden run {make.__name__} must say what it holds fast"
    assert make.__name__ not in RUNS, f"there are two golden runs {make.__name__}"
    RUNS[make.__name__] = make
    return make


def coins(quote: str = "USD", *symbols: str, lot: str = "0.01", **rules: Any) -> tuple[Instrument, ...]:
    """Return instruments with a price increment of 0.01."""
    return tuple(Instrument(symbol, quote, price_increment=Decimal("0.01"), quantity_increment=Decimal(lot), **rules)
                 for symbol in symbols)
