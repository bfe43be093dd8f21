"""`path="detail"`: finer bars tell what happened inside a coarse bar, and in which order."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import DAY, FORWARD_FILLED, HOUR, MINUTE, Bars
from engine.costs import ConstantLatency
from engine.detail import DetailBars, DetailCount
from engine.errors import SettingsError
from engine.testing import NEW_YEAR_2024, make_bars
from tests.engine.cases import Outcome, buy, run, sell

D = Decimal
FLAT = 100.0


def hours(*rows: Any) -> Bars:
    return make_bars(rows, timeframe="1h")


def quarters(of_hour: int, rows: Sequence[Any], *, symbol: str = "TEST", volume: float = 1e6) -> Bars:
    """Return 15m bars from the start of an hour on; there need not be four."""
    return make_bars(rows, timeframe="15m", start=NEW_YEAR_2024 + of_hour * HOUR, symbol=symbol, volume=volume)


def detailed(coarse: Bars, finer: Bars | None, asks: Any, **terms: Any) -> Outcome:
    switches = {"path": "detail", **terms.pop("switches", {})}
    detail = None if finer is None else DetailBars({"TEST": finer})
    return run(coarse, asks, switches=switches, detail=detail, **terms)


BRACKET = buy(stop_loss=90, take_profit=110)
UP_FIRST = [(100, 111, 100, 108), (108, 108, 95, 96), (96, 97, 88, 90), (90, 105, 90, 105)]
DOWN_FIRST = [(100, 101, 88, 90), (90, 95, 90, 95), (95, 111, 95, 108), (108, 108, 104, 105)]
BOTH = hours(FLAT, FLAT, (100, 111, 88, 105))


@pytest.mark.parametrize(
    ("finer", "exit_price", "minute"), [(UP_FIRST, 110, 15), (DOWN_FIRST, 90, 15)], ids=["up first", "down first"]
)
def test_finer_bars_decide_between_a_stop_and_a_target(finer: Any, exit_price: int, minute: int) -> None:
    outcome = detailed(BOTH, quarters(2, finer), {0: BRACKET})
    assert [(row.side, row.price) for row in outcome.result.fills] == [("buy", 100), ("sell", exit_price)]
    last = outcome.result.fills[-1]
    assert last.time == NEW_YEAR_2024 + 2 * HOUR + minute * MINUTE, "when the finer bar was over"
    assert last.bar_close_time == NEW_YEAR_2024 + 3 * HOUR, "known once the bar of the run was"
    assert outcome.result.detail == DetailCount(1, 1), "the entry's bar has no finer ones"


def test_without_finer_bars_every_bar_is_taken_at_its_worst_and_counted() -> None:
    outcome = detailed(BOTH, None, {0: BRACKET})
    assert [row.price for row in outcome.result.fills] == [100, 90]
    assert outcome.result.detail == DetailCount(0, 2)


def test_bars_in_which_no_order_can_act_are_not_counted() -> None:
    outcome = detailed(hours(*[FLAT] * 6), None, {0: buy(limit=98)})
    assert outcome.result.detail == DetailCount(0, 1), "the one it arrives in"


def test_other_paths_count_nothing() -> None:
    assert run([FLAT, FLAT], {0: buy(1)}).result.detail is None


@pytest.mark.parametrize(
    "finer",
    [
        [(100, 111, 100, 108), (108, 108, 95, 96), (96, 97, 89, 90), (90, 105, 90, 105)],  # the low is another
        [(100, 110.5, 100, 108), (108, 108, 95, 96), (96, 97, 88, 90), (90, 105, 90, 105)],  # the high
        [(100.01, 111, 100, 108), (108, 108, 95, 96), (96, 97, 88, 90), (90, 105, 90, 105)],  # the open
        [(100, 111, 100, 108), (108, 108, 95, 96), (96, 97, 88, 90), (90, 105, 90, 104)],  # the close
        [(100, 111, 88, 105)],  # one bar tells nothing
    ],
)
def test_finer_bars_that_do_not_make_up_the_bar_count_as_none(finer: Any) -> None:
    outcome = detailed(BOTH, quarters(2, finer), {0: BRACKET})
    assert [row.price for row in outcome.result.fills] == [100, 90]
    assert outcome.result.detail == DetailCount(0, 2)


def test_spans_without_trades_need_no_finer_bar() -> None:
    every = quarters(2, [(100, 111, 100, 108), (108, 108, 108, 108), (108, 108, 88, 105), (105, 105, 105, 105)])
    keep = np.array([True, False, True, False])
    sparse = Bars(every.streams, *(getattr(every, name)[keep] for name in _COLUMNS))
    outcome = detailed(BOTH, sparse, {0: BRACKET})
    assert [row.price for row in outcome.result.fills] == [100, 110]
    assert outcome.result.detail == DetailCount(1, 1)


_COLUMNS = ("open_time", "close_time", "open", "high", "low", "close", "volume")


def test_a_finer_bar_that_a_gap_policy_made_up_was_never_traded_in() -> None:
    made_up = quarters(2, [(100, 111, 100, 108), (108, 108, 88, 88), (88, 88, 88, 88), (88, 105, 88, 105)])
    flagged = Bars(
        made_up.streams,
        *(getattr(made_up, name) for name in _COLUMNS),
        None,
        np.array([0, 0, FORWARD_FILLED, 0], np.uint8),
    )
    outcome = detailed(BOTH, flagged, {1: [buy(5, limit=89), buy(5)]})
    assert [row.price for row in outcome.result.fills] == [100, 89]
    assert outcome.result.fills[1].time == NEW_YEAR_2024 + 2 * HOUR + 30 * MINUTE


def test_a_finer_bar_that_holds_both_is_taken_at_its_worst() -> None:
    finer = [(100, 102, 99, 100), (100, 111, 88, 100), (100, 105, 100, 105), (105, 105, 105, 105)]
    outcome = detailed(BOTH, quarters(2, finer), {0: BRACKET})
    assert [row.price for row in outcome.result.fills] == [100, 90]


def test_children_wake_in_the_finer_bar_after_their_entrys() -> None:
    # the high came before the entry: a coarse bar could not tell, and would not have let the target fill
    finer = [(100, 101, 97, 98), (98, 111, 98, 108), (108, 108, 104, 105), (105, 105, 88, 105)]
    outcome = detailed(BOTH, quarters(2, finer), {1: buy(limit=98, stop_loss=90, take_profit=110)})
    assert [row.price for row in outcome.result.fills] == [98, 110]


def test_each_finer_bar_gives_its_own_share_of_volume() -> None:
    finer = quarters(1, [FLAT, (101, 101, 101, 101), (102, 102, 102, 102), (103, 103, 103, 103)], volume=40.0)
    outcome = detailed(hours(FLAT, (100, 103, 100, 103, 160), (104, 104, 104, 104, 160)), finer, {0: buy(20)})
    assert [(row.price, row.quantity) for row in outcome.result.fills] == [
        (100, 4),
        (101, 4),
        (102, 4),
        (103, 4),
        (104, 4),
    ]


def test_a_market_order_that_waits_for_the_close_waits_for_that_of_the_run_s_bar() -> None:
    finer = quarters(1, [FLAT, (101, 101, 101, 101), (102, 102, 102, 102), (103, 103, 103, 103)])
    outcome = detailed(hours(FLAT, (100, 103, 100, 103)), finer, {0: buy(1)}, switches={"market_fill": "next_close"})
    assert [row.price for row in outcome.result.fills] == [103]


def test_an_order_and_its_cancel_arrive_between_finer_bars() -> None:
    finer = quarters(1, [(100, 100, 99, 99), (99, 99, 95, 96), (96, 98, 96, 97), (97, 98, 94, 97)])
    coarse = hours(FLAT, (100, 100, 94, 97), (97, 97, 97, 97))
    latency = ConstantLatency(35 * MINUTE)
    outcome = detailed(coarse, finer, {0: buy(limit=95.5)}, latency=latency)
    assert [(row.price, row.time) for row in outcome.result.fills] == [(95.5, NEW_YEAR_2024 + 2 * HOUR)]
    outcome = detailed(coarse, finer, {0: [buy(limit=95.5), cancel_newest]}, latency=latency)
    assert outcome.fills == []


def cancel_newest(strategy: Any) -> None:
    strategy.cancel(strategy.open_orders("TEST")[-1])


def test_a_trailing_stop_follows_the_finer_bars() -> None:
    finer = [(100, 108, 100, 107), (107, 111, 105, 106), (106, 106, 104, 105), (105, 105, 88, 105)]
    outcome = detailed(BOTH, quarters(2, finer), {0: buy(1), 1: sell(trail_amount=5)})
    assert [row.price for row in outcome.result.fills] == [100, 106], "it trails from 111 by the third quarter: 106"


def test_positions_and_equity_are_valued_at_the_bars_of_the_run() -> None:
    outcome = detailed(BOTH, quarters(2, UP_FIRST), {0: BRACKET}, cash=D(1000))
    assert outcome.result.curve.equity.tolist() == [1000, 1000, 1010]


TICKS = st.lists(st.integers(-3, 3), min_size=8, max_size=8)


@settings(max_examples=100)
@given(st.lists(TICKS, min_size=2, max_size=5), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_with_every_tick_as_detail_a_run_is_as_a_run_on_the_ticks(
    walks: list[list[int]], loss: int, gain: int, is_long: bool
) -> None:
    ticks = 100 + np.cumsum(np.concatenate([[0] * 8, *walks]))
    finer = make_bars([float(tick) for tick in ticks], timeframe="1m")
    parts = ticks.reshape(-1, 8)
    coarse = make_bars(
        [(float(p[0]), float(p.max()), float(p.min()), float(p[-1]), 8e6) for p in parts], timeframe="8m"
    )
    trade = buy if is_long else sell
    ask = trade(2, stop_loss=100 - loss if is_long else 100 + loss, take_profit=100 + gain if is_long else 100 - gain)
    terms: dict[str, Any] = {"children_same_bar": "always", "checks_brackets": False}
    resolved = detailed(coarse, finer, {0: ask}, switches=terms)
    truth = run(finer, {7: ask}, switches=terms)
    assert [(row.time, row.side, row.price, row.quantity) for row in resolved.result.fills] == [
        (row.time, row.side, row.price, row.quantity) for row in truth.result.fills
    ]


def test_detail_of_one_symbol_is_of_one_stream() -> None:
    mixed = Bars((*quarters(0, [FLAT]).streams, *hours(FLAT).streams), *(getattr(hours(FLAT), n) for n in _COLUMNS))
    with pytest.raises(SettingsError, match="detail of TEST has the streams TEST 15m, TEST 1h; expected one of them"):
        DetailBars({"TEST": mixed})


def test_finer_bars_are_found_by_time() -> None:
    detail = DetailBars({"TEST": quarters(0, [FLAT] * 96)})
    found = detail.bars_within("TEST", NEW_YEAR_2024 + HOUR, NEW_YEAR_2024 + 2 * HOUR)
    assert found is not None
    assert (found.open_time[0], found.close_time[-1], len(found)) == (NEW_YEAR_2024 + HOUR, NEW_YEAR_2024 + 2 * HOUR, 4)
    assert detail.bars_within("OTHER", 0, NEW_YEAR_2024 + DAY) is None
    assert detail.bars_within("TEST", NEW_YEAR_2024 + DAY, NEW_YEAR_2024 + 2 * DAY) is None
