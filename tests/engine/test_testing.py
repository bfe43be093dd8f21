"""The toolbox that tests and plugin authors use."""

from decimal import Decimal

import numpy as np
import pytest

from engine import Stream, Timeframe
from engine.bars import DAY, HOUR
from engine.testing import (
    NEW_YEAR_2024,
    BarsFeed,
    ScriptedStrategy,
    Terms,
    daily_index,
    engine_for,
    make_bars,
    run_bars,
)
from tests.engine.cases import merged


def test_rows_may_be_short() -> None:
    bars = make_bars([100, (1, 2, 0.5, 1.5), (1, 2, 0.5, 1.5, 7)], volume=9)
    assert [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars.rows()] == [
        (100, 100, 100, 100, 9),
        (1, 2, 0.5, 1.5, 9),
        (1, 2, 0.5, 1.5, 7),
    ]
    assert bars.open_time.tolist() == [NEW_YEAR_2024 + k * DAY for k in range(3)]
    assert [daily_index(bar.close_time) for bar in bars.rows()] == [0, 1, 2]
    assert make_bars([1], timeframe="4h").close_time.tolist() == [NEW_YEAR_2024 + 4 * HOUR]
    assert make_bars([]).close_time.tolist() == []


@pytest.mark.parametrize("chunk", [1, 2, 3, 100, None])
def test_a_feed_never_splits_an_instant(chunk: int | None) -> None:
    bars = merged(make_bars([1, 2, 3], symbol="A"), make_bars([4, 5, 6], symbol="B"))
    chunks = list(BarsFeed(bars, chunk=chunk).chunks())
    assert np.concatenate([part.close for part in chunks]).tolist() == bars.close.tolist()
    ends = [int(part.close_time[-1]) for part in chunks]
    assert ends == sorted(set(ends))
    assert all(int(after.close_time[0]) > end for end, after in zip(ends, chunks[1:], strict=False))


def test_a_feed_is_known_by_its_content() -> None:
    one, same, other = (BarsFeed(make_bars([1, 2, close])) for close in (3, 3, 4))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.fingerprint != BarsFeed(make_bars([1, 2, 3], symbol="X")).fingerprint
    assert one.column(Stream("TEST", "1d"), "close").tolist() == [1, 2, 3]
    assert one.row_count == 3


def test_a_script_counts_bars_and_remembers_what_it_was_told() -> None:
    strategy = ScriptedStrategy({1: lambda s, bar: s.buy(bar.symbol, 1)})
    result = run_bars(make_bars([100, 100, 101]), strategy)
    assert strategy.bars_seen == 3
    assert [type(event).__name__ for event in strategy.events] == ["OrderAccepted"]
    assert [float(fill.price) for fill in strategy.fills] == [101] == [row.price for row in result.fills]


def test_terms_decide_what_instruments_are_like() -> None:
    terms = Terms(
        cash=Decimal(5),
        currency="EUR",
        price_increment=Decimal("0.5"),
        quantity_increment=Decimal(1),
        min_notional=Decimal(10),
    )
    engine = engine_for(make_bars([100]), ScriptedStrategy({}), terms)
    instrument = engine.portfolio.instruments["TEST"]
    assert (instrument.quote, instrument.price_increment, instrument.quantity_increment, instrument.min_notional) == (
        "EUR",
        Decimal("0.5"),
        1,
        10,
    )
    assert engine.portfolio.accounts["EUR"].cash == 5
    assert Timeframe.parse("1d").duration == DAY
