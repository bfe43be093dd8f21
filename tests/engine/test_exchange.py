"""At which price, in which bar and whether at all: every order type under honest defaults, and what switches change.

Tables are written for a buyer's order unless they say otherwise, and each row is played upside down too: a rule that
holds for buying at 98 in a market around 100 holds for selling at 102.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine import TimeInForce
from engine.bars import DAY, FORWARD_FILLED, HOUR
from engine.costs import ConstantLatency
from engine.errors import OrderError
from engine.testing import NEW_YEAR_2024, make_bars
from tests.engine.cases import Case, amend, both_sides, buy, cancel, name_of, order_of, play, run, sell, upside_down

FLAT = 100.0
"""The first bar, after which something is asked."""

IOC, FOK, DAY_ONLY, GTD = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY, TimeInForce.GTD


def table(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", both_sides(cases), ids=name_of)


# ── market and limit ────────────────────────────────────────────────────────────────────────────────────────────────


@table(
    [
        Case(
            "market meets the next open, not the close it was decided at",
            buy(),
            [FLAT, (102, 104, 101, 103), 103],
            [("buy", 1, 102, "taker")],
        ),
        Case("nothing left to meet after the last bar", buy(), [FLAT], []),
    ]
)
def test_a_market_order_fills_at_the_next_open(case: Case) -> None:
    assert play(case) == case.fills


@table(
    [
        Case("an exact touch may have been someone else's fill", buy(limit=98), [FLAT, (100, 101, 98, 100), FLAT], []),
        Case(
            "one increment through: everyone at 98 has been filled",
            buy(limit=98),
            [FLAT, (100, 101, 97.99, 100), FLAT],
            [("buy", 1, 98, "maker")],
        ),
        Case("touched twice is still a touch", buy(limit=98), [FLAT, (100, 101, 98, 100), (100, 101, 98, 99)], []),
        Case(
            "not reached, then traded through a bar later",
            buy(limit=98),
            [FLAT, (100, 101, 99, 100), (99, 100, 97, 98)],
            [("buy", 2, 98, "maker")],
        ),
        Case(
            "resting, and the bar gaps below it: the open is better",
            buy(limit=98),
            [FLAT, (100, 101, 99, 100), (96, 97, 95, 96)],
            [("buy", 2, 96, "maker")],
        ),
        Case(
            "resting, and the bar opens exactly there: a touch",
            buy(limit=98),
            [FLAT, (100, 101, 99, 100), (98, 99, 98, 99)],
            [],
        ),
        Case(
            "resting, opens exactly there and goes through",
            buy(limit=98),
            [FLAT, (100, 101, 99, 100), (98, 99, 97, 99)],
            [("buy", 2, 98, "maker")],
        ),
        Case(
            "marketable as it arrives: it takes at the open",
            buy(limit=105),
            [FLAT, (101, 102, 100, 101), FLAT],
            [("buy", 1, 101, "taker")],
        ),
        Case(
            "the bar gaps below it before it has rested: it arrives at the open and takes",
            buy(limit=98),
            [FLAT, (97, 99, 96, 98), FLAT],
            [("buy", 1, 97, "taker")],
        ),
        Case(
            "arrives exactly at the open: it crosses the book",
            buy(limit=98),
            [FLAT, (98, 99, 98, 99), FLAT],
            [("buy", 1, 98, "taker")],
        ),
    ]
)
def test_a_limit_order(case: Case) -> None:
    assert play(case) == case.fills


@table(
    [
        Case(
            "a touch is enough",
            buy(limit=98),
            [FLAT, (100, 101, 98, 100), FLAT],
            [("buy", 1, 98, "maker")],
            {"limit_touch": "touch"},
        ),
        Case(
            "a touch by the open of one that rests",
            buy(limit=98),
            [FLAT, (100, 101, 99, 100), (98, 99, 98, 99)],
            [("buy", 2, 98, "maker")],
            {"limit_touch": "touch"},
        ),
        Case(
            "a touch with chance 1",
            buy(limit=98),
            [FLAT, (100, 101, 98, 100), FLAT],
            [("buy", 1, 98)],
            {"limit_touch": "probability", "touch_probability": 1.0},
        ),
        Case(
            "a touch with chance 0",
            buy(limit=98),
            [FLAT, (100, 101, 98, 100), FLAT],
            [],
            {"limit_touch": "probability", "touch_probability": 0.0},
        ),
        Case(
            "traded through with chance 0",
            buy(limit=98),
            [FLAT, (100, 101, 97, 100), FLAT],
            [("buy", 1, 98)],
            {"limit_touch": "probability", "touch_probability": 0.0},
        ),
        Case(
            "a gap gives no better price than the limit",
            buy(limit=98),
            [FLAT, (96, 97, 95, 96), FLAT],
            [("buy", 1, 98)],
            {"limit_gap": "limit"},
        ),
        Case(
            "a gap gives the bar's worst price, the limit at most",
            buy(limit=98),
            [FLAT, (96, 97, 95, 96), FLAT],
            [("buy", 1, 97)],
            {"limit_gap": "bar_extreme"},
        ),
        Case(
            "a gap that trades back to the limit",
            buy(limit=98),
            [FLAT, (96, 99, 95, 96), FLAT],
            [("buy", 1, 98)],
            {"limit_gap": "bar_extreme"},
        ),
    ]
)
def test_switches_of_limit_orders(case: Case) -> None:
    assert play(case) == case.fills


def test_a_touch_by_chance_follows_the_seed_and_nothing_else() -> None:
    def filled(seed: int) -> list[Any]:
        touches = [FLAT] + [(100, 101, 98, 100)] * 6
        return run(touches, {0: buy(limit=98)}, switches={"limit_touch": "probability", "seed": seed}).fills

    assert [filled(seed) for seed in range(20)] == [filled(seed) for seed in range(20)]
    assert len({bar for seed in range(20) for _, bar, *_ in filled(seed)}) > 2, (
        "at 0.5 some wait for a second touch, or a third"
    )


# ── stops ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@table(
    [
        Case("touched", buy(stop=105), [FLAT, (100, 105, 99, 103), FLAT], [("buy", 1, 105, "taker")]),
        Case("missed by one increment", buy(stop=105), [FLAT, (100, 104.99, 99, 103), FLAT], []),
        Case("traded through", buy(stop=105), [FLAT, (100, 107, 99, 106), FLAT], [("buy", 1, 105, "taker")]),
        Case(
            "gapped over: the open is what there was",
            buy(stop=105),
            [FLAT, (107, 108, 106, 107), FLAT],
            [("buy", 1, 107, "taker")],
        ),
        Case("opens exactly there", buy(stop=105), [FLAT, (105, 106, 104, 105), FLAT], [("buy", 1, 105, "taker")]),
        Case(
            "already beyond the market when it was sent",
            buy(stop=95),
            [FLAT, (101, 102, 99, 100), FLAT],
            [("buy", 1, 101, "taker")],
        ),
        Case("a touch is not enough", buy(stop=105), [FLAT, (100, 105, 99, 103), FLAT], [], {"stop_touch": "through"}),
        Case(
            "one increment through",
            buy(stop=105),
            [FLAT, (100, 105.01, 99, 103), FLAT],
            [("buy", 1, 105)],
            {"stop_touch": "through"},
        ),
        Case(
            "opens exactly there, through wanted",
            buy(stop=105),
            [FLAT, (105, 105, 103, 104), FLAT],
            [],
            {"stop_touch": "through"},
        ),
        Case(
            "an optimist's gap",
            buy(stop=105),
            [FLAT, (107, 108, 106, 107), FLAT],
            [("buy", 1, 105)],
            {"stop_gap": "trigger"},
        ),
        Case(
            "worse of trigger and close, closes beyond",
            buy(stop=105),
            [FLAT, (100, 109, 99, 108), FLAT],
            [("buy", 1, 108)],
            {"stop_price": "worst_of_trigger_and_close"},
        ),
        Case(
            "worse of trigger and close, falls back",
            buy(stop=105),
            [FLAT, (100, 109, 99, 103), FLAT],
            [("buy", 1, 105)],
            {"stop_price": "worst_of_trigger_and_close"},
        ),
    ]
)
def test_a_stop_order(case: Case) -> None:
    assert play(case) == case.fills


@table(
    [
        Case(
            "the limit lies beyond the stop: filled as it triggers",
            buy(stop=105, limit=106),
            [FLAT, (100, 105.5, 99, 105), FLAT],
            [("buy", 1, 105, "taker")],
        ),
        Case(
            "gaps over the stop, not over the limit",
            buy(stop=105, limit=106),
            [FLAT, (105.5, 107, 105, 106), FLAT],
            [("buy", 1, 105.5, "taker")],
        ),
        Case(
            "gaps past the limit and stays: triggered, resting, then traded through",
            buy(stop=105, limit=106),
            [FLAT, (107, 108, 106.5, 107), (107, 108, 105.5, 107)],
            [("buy", 2, 106, "maker")],
        ),
        Case(
            "gaps past the limit and comes back in the same bar: the open came first",
            buy(stop=105, limit=106),
            [FLAT, (107, 108, 105, 107), FLAT],
            [("buy", 1, 106, "maker")],
        ),
        Case(
            "gaps past the limit and comes back to it exactly: a touch",
            buy(stop=105, limit=106),
            [FLAT, (107, 108, 106, 107)],
            [],
        ),
        Case(
            "gaps past the limit, then gaps back below it",
            buy(stop=105, limit=106),
            [FLAT, (107, 108, 106.5, 107), (104, 105, 103, 104)],
            [("buy", 2, 104, "maker")],
        ),
        Case(
            "must fall back to the limit, and surely did: it closed below",
            buy(stop=105, limit=103),
            [FLAT, (100, 106, 99, 102), FLAT],
            [("buy", 1, 103)],
        ),
        Case(
            "the low may have come before the trigger", buy(stop=105, limit=103), [FLAT, (100, 106, 99, 104), 104], []
        ),
        Case(
            "the low may have come before the trigger; a later bar goes through",
            buy(stop=105, limit=103),
            [FLAT, (100, 106, 99, 104), (104, 104, 102, 104)],
            [("buy", 2, 103, "maker")],
        ),
        Case("closes on the limit: a touch", buy(stop=105, limit=103), [FLAT, (100, 106, 99, 103), 103.5], []),
        Case(
            "closes on the limit, and a touch counts",
            buy(stop=105, limit=103),
            [FLAT, (100, 106, 99, 103), FLAT],
            [("buy", 1, 103)],
            {"limit_touch": "touch"},
        ),
        Case(
            "a queue of whole bars, limit beyond stop: at the stop, even where the bar opened beyond it",
            buy(stop=105, limit=107),
            [FLAT, (106, 108, 105, 106), FLAT],
            [("buy", 1, 105)],
            {"path": "queue", "stop_limit_same_bar": "limit_beyond_stop"},
        ),
        Case(
            "a queue of whole bars, limit before stop: not in this bar",
            buy(stop=105, limit=103),
            [FLAT, (100, 106, 99, 102), 104],
            [],
            {"path": "queue", "stop_limit_same_bar": "limit_beyond_stop"},
        ),
        Case(
            "a falling bar is taken to have turned round after the trigger",
            buy(stop=105, limit=103),
            [FLAT, (101, 106, 99, 100), FLAT],
            [("buy", 1, 103)],
            {"path": "queue", "stop_limit_same_bar": "falling_close"},
        ),
        Case(
            "a rising bar is not",
            buy(stop=105, limit=103),
            [FLAT, (100, 106, 99, 102), 104],
            [],
            {"path": "queue", "stop_limit_same_bar": "falling_close"},
        ),
        Case(
            "a queue of whole bars, if certain",
            buy(stop=105, limit=103),
            [FLAT, (100, 106, 99, 102), FLAT],
            [("buy", 1, 103)],
            {"path": "queue"},
        ),
    ]
)
def test_a_stop_limit_order(case: Case) -> None:
    assert play(case) == case.fills


@table(
    [
        Case(
            "starts from the close it was decided at",
            sell(trail_amount=5),
            [FLAT, (100, 101, 95, 96), FLAT],
            [("sell", 1, 95, "taker")],
        ),
        Case(
            "this bar's high counts from the next bar on", sell(trail_amount=5), [FLAT, (100, 110, 104, 108), 108], []
        ),
        Case(
            "has followed the high of the bar before",
            sell(trail_amount=5),
            [FLAT, (100, 110, 104, 108), (108, 109, 105, 106)],
            [("sell", 2, 105)],
        ),
        Case(
            "missed by one increment", sell(trail_amount=5), [FLAT, (100, 110, 104, 108), (108, 109, 105.01, 106)], []
        ),
        Case(
            "never retreats though highs fall",
            sell(trail_amount=5),
            [FLAT, (100, 110, 104, 108), (108, 108, 106, 107), (107, 107, 105, 106)],
            [("sell", 3, 105)],
        ),
        Case(
            "gapped under: the open is what there was",
            sell(trail_amount=5),
            [FLAT, (100, 110, 104, 108), (101, 102, 100, 101)],
            [("sell", 2, 101)],
        ),
        Case(
            "follows the close",
            sell(trail_amount=5),
            [FLAT, (100, 110, 104, 108), (108, 108, 103, 104)],
            [("sell", 2, 103)],
            {"trail_reference": "close"},
        ),
        Case(
            "follows the close, not yet reached",
            sell(trail_amount=5),
            [FLAT, (100, 110, 104, 108), (108, 108, 104, 104)],
            [],
            {"trail_reference": "close"},
        ),
        Case(
            "follows the high before the low of one bar",
            sell(trail_amount=5),
            [FLAT, (100, 110, 104, 108), FLAT],
            [("sell", 1, 105)],
            {"trail_reference": "high_same_bar"},
        ),
    ]
)
def test_a_trailing_stop(case: Case) -> None:
    assert play(case) == case.fills


def test_a_trailing_stop_at_a_fraction_is_never_tighter_than_asked_for() -> None:
    # 5 % of 110.03 is 5.5015: the stop goes to 104.52, not to 104.53
    outcome = run(
        [FLAT, (100, 110.03, 99, 108), (108, 109, 104.53, 106), (106, 107, 104.52, 105)], {0: sell(trail_fraction=0.05)}
    )
    assert outcome.fills == [("sell", 3, 104.52, "taker")]


def test_a_trailing_child_waits_for_a_close_after_its_entry() -> None:
    switches = {
        "trail_reference": "close_after_entry",
        "path": "queue_stops_first",
        "children_same_bar": "if_unambiguous",
    }
    rows = [FLAT, (100, 120, 80, 110), (110, 112, 99, 100)]  # 10 % below the entry bar's close is 99
    assert run(rows, {0: buy(trail_stop_fraction=0.1)}, switches=switches).fills[1:] == [("sell", 2, 99, "taker")]


# ── brackets ────────────────────────────────────────────────────────────────────────────────────────────────────────

BRACKET = buy(stop_loss=95, take_profit=110)
IN, OUT = ("buy", 1, 100), "sell"
BOTH_REACHED = (100, 112, 94, 108)


@table(
    [
        Case("entered at the open, both within reach: the loss", BRACKET, [FLAT, BOTH_REACHED], [IN, (OUT, 1, 95)]),
        Case("entered at the open, the target alone", BRACKET, [FLAT, (100, 112, 96, 108)], [IN, (OUT, 1, 110)]),
        Case("entered at the open, a target touched is no fill", BRACKET, [FLAT, (100, 110, 96, 108), 108], [IN]),
        Case(
            "both within reach a bar later: the loss",
            BRACKET,
            [FLAT, (100, 101, 99, 100), BOTH_REACHED],
            [IN, (OUT, 2, 95)],
        ),
        Case("the target a bar later", BRACKET, [FLAT, (100, 101, 99, 100), (100, 112, 99, 108)], [IN, (OUT, 2, 110)]),
        Case(
            "opens beyond the target: the open is better",
            BRACKET,
            [FLAT, (100, 101, 99, 100), (113, 114, 112, 113)],
            [IN, (OUT, 2, 113)],
        ),
        Case(
            "opens exactly at the target, which has rested: a touch",
            BRACKET,
            [FLAT, (100, 101, 99, 100), (110, 110, 109, 109)],
            [IN],
        ),
        Case("opens beyond the stop", BRACKET, [FLAT, (100, 101, 99, 100), (92, 93, 91, 92)], [IN, (OUT, 2, 92)]),
        Case(
            "the entry itself opens beyond the stop: out at once",
            BRACKET,
            [FLAT, (93, 99, 92, 98)],
            [("buy", 1, 93), (OUT, 1, 93)],
        ),
        Case(
            "the entry itself opens beyond the target: out at once, at the market",
            BRACKET,
            [FLAT, (112, 113, 111, 112)],
            [("buy", 1, 112), (OUT, 1, 112)],
        ),
        Case("opens exactly at the stop", BRACKET, [FLAT, (95, 99, 95, 98)], [("buy", 1, 95), (OUT, 1, 95)]),
    ]
)
def test_a_bracket_entered_at_the_open(case: Case) -> None:
    assert play(case) == case.fills


@table(
    [
        # a limit entry: the price fell to it, so the low came after
        Case(
            "limit entry, the low is beyond the stop",
            buy(limit=98, stop_loss=95, take_profit=104),
            [FLAT, (100, 106, 94, 105)],
            [("buy", 1, 98), (OUT, 1, 95)],
        ),
        Case(
            "limit entry, the high may have come before it",
            buy(limit=98, stop_loss=95, take_profit=104),
            [FLAT, (100, 106, 97, 103)],
            [("buy", 1, 98)],
        ),
        Case(
            "limit entry, but the close is beyond the target",
            buy(limit=98, stop_loss=95, take_profit=104),
            [FLAT, (100, 106, 97, 105)],
            [("buy", 1, 98), (OUT, 1, 104)],
        ),
        Case(
            "limit entry, the close on the target: a touch",
            buy(limit=98, stop_loss=95, take_profit=104),
            [FLAT, (100, 106, 97, 104), 103],
            [("buy", 1, 98)],
        ),
        Case(
            "limit entry at the very open, having rested: the low came after",
            buy(limit=98, stop_loss=95, take_profit=104),
            [FLAT, (100, 101, 99, 100), (98, 99, 94, 97)],
            [("buy", 2, 98), (OUT, 2, 95)],
        ),
        # a stop entry: the price rose to it, so the high came after
        Case(
            "stop entry, the low may have come after it: the loss",
            buy(stop=103, stop_loss=99, take_profit=108),
            [FLAT, (100, 107, 98, 104), 104],
            [("buy", 1, 103), (OUT, 1, 99)],
        ),
        Case(
            "stop entry, the close is beyond the stop-loss",
            buy(stop=103, stop_loss=99, take_profit=108),
            [FLAT, (100, 107, 98, 98.5)],
            [("buy", 1, 103), (OUT, 1, 99)],
        ),
        Case(
            "stop entry, the high is beyond the target and the loss was not in reach",
            buy(stop=103, stop_loss=99, take_profit=108),
            [FLAT, (100, 109, 99.5, 107)],
            [("buy", 1, 103), (OUT, 1, 108)],
        ),
        Case(
            "stop entry, the target is certain but the loss possible: the loss",
            buy(stop=103, stop_loss=99, take_profit=108),
            [FLAT, (100, 109, 98, 107)],
            [("buy", 1, 103), (OUT, 1, 99)],
        ),
        # a stop-limit that fills on the way back: the extremes are behind it
        Case(
            "stop-limit entry on the way back, its target was passed before",
            buy(stop=105, limit=103, stop_loss=98, take_profit=106),
            [FLAT, (100, 108, 99, 102), 102],
            [("buy", 1, 103)],
        ),
        Case(
            "stop-limit entry on the way back, the close is beyond the stop-loss",
            buy(stop=105, limit=103, stop_loss=102.5, take_profit=106),
            [FLAT, (100, 108, 99, 102), 102],
            [("buy", 1, 103), (OUT, 1, 102.5)],
        ),
        Case(
            "stop-limit entry as it triggers: the high came after",
            buy(stop=103, limit=104, stop_loss=99, take_profit=108),
            [FLAT, (100, 109, 99.5, 107)],
            [("buy", 1, 103), (OUT, 1, 108)],
        ),
    ]
)
def test_a_bracket_entered_inside_the_bar_counts_only_what_came_after(case: Case) -> None:
    assert play(case) == case.fills


@table(
    [
        Case(
            "children wait: a reached stop is missed",
            BRACKET,
            [FLAT, BOTH_REACHED, (108, 109, 107, 108)],
            [IN],
            {"children_same_bar": "next_bar"},
        ),
        Case(
            "children wait one bar, no longer",
            BRACKET,
            [FLAT, BOTH_REACHED, BOTH_REACHED],
            [IN, (OUT, 2, 95)],
            {"children_same_bar": "next_bar"},
        ),
        Case(
            "a high that may have come before the entry counts",
            buy(limit=98, stop_loss=95, take_profit=104),
            [FLAT, (100, 106, 97, 103)],
            [("buy", 1, 98), (OUT, 1, 104)],
            {"children_same_bar": "always"},
        ),
        Case(
            "a market entry is unambiguous",
            BRACKET,
            [FLAT, BOTH_REACHED],
            [IN, (OUT, 1, 95)],
            {"children_same_bar": "if_unambiguous"},
        ),
        Case(
            "a limit entry is ambiguous",
            buy(limit=98, stop_loss=95, take_profit=104),
            [FLAT, (100, 103, 94, 102), 102],
            [("buy", 1, 98)],
            {"children_same_bar": "if_unambiguous"},
        ),
        Case(
            "a stop entry with the target alone in reach is not",
            buy(stop=103, stop_loss=99, take_profit=108),
            [FLAT, (100, 109, 99.5, 107)],
            [("buy", 1, 103), (OUT, 1, 108)],
            {"children_same_bar": "if_unambiguous"},
        ),
    ]
)
def test_when_children_wake(case: Case) -> None:
    assert play(case) == case.fills


GREEN, RED = BOTH_REACHED, (100, 112, 94, 98)
NEAR_HIGH = (100, 111, 80, 98)


@pytest.mark.parametrize(
    ("path", "bar", "long_out", "short_out"),
    [
        # long: stop 95, target 110; short: stop 110, target 95
        ("worst", GREEN, 95, 110),  # the loss, whichever side one is on
        ("worst", RED, 95, 110),
        ("detail", GREEN, 95, 110),  # there are no finer bars: the worst
        ("best", GREEN, 110, 95),  # the gain, whichever side one is on
        ("best", RED, 110, 95),
        ("ohlc", GREEN, 110, 110),  # the high first: longs are flattered, shorts punished
        ("olhc", GREEN, 95, 95),
        ("adaptive", GREEN, 95, 95),  # the low is nearer to the open: first
        ("adaptive", NEAR_HIGH, 110, 110),
        ("candle_colour", GREEN, 95, 95),  # a green candle fell first
        ("candle_colour", RED, 110, 110),
        ("queue", GREEN, 95, 110),  # the stop was sent first
        ("queue_stops_first", GREEN, 95, 110),
    ],
)
def test_paths_decide_what_comes_first(path: str, bar: tuple[float, ...], long_out: float, short_out: float) -> None:
    rows = [FLAT, (100, 101, 99, 100), bar]
    for ask, out in ((BRACKET, long_out), (sell(stop_loss=110, take_profit=95), short_out)):
        assert [fill[1:3] for fill in run(rows, {0: ask}, switches={"path": path}).fills][1:] == [(2, out)]


def test_a_random_path_follows_the_seed() -> None:
    def out(seed: int) -> Any:
        return run(
            [FLAT, (100, 101, 99, 100), BOTH_REACHED], {0: BRACKET}, switches={"path": "random", "seed": seed}
        ).fills[-1][2]

    drawn = [out(seed) for seed in range(24)]
    assert drawn == [out(seed) for seed in range(24)]
    assert set(drawn) == {95.0, 110.0}


def test_a_declared_path_is_walked_level_by_level() -> None:
    # O 100 → H 106 → L 94 → C 98: the stop entry at 104, its stop-loss at 101 on the way down, then the bid at 96
    rows = [FLAT, (100, 106, 94, 98)]
    asks = {0: [buy(stop=104, stop_loss=101, take_profit=120), buy(limit=96)]}
    assert [fill[:3] for fill in run(rows, asks, switches={"path": "ohlc"}).fills] == [
        ("buy", 1, 104),
        ("sell", 1, 101),
        ("buy", 1, 96),
    ]


def test_on_a_declared_path_a_stop_that_found_no_volume_has_triggered_all_the_same() -> None:
    # three stops are reached, the bar has volume for one; the others go to market at the next open
    rows = [FLAT, (100, 100, 94, 94, 10), (93, 94, 92, 93, 100)]
    outcome = run(rows, {0: [sell(1, stop=96), sell(1, stop=95), sell(1, stop=94.5)]}, switches={"path": "olhc"})
    assert outcome.triggered == [1, 2, 3]
    assert outcome.quantities == [("sell", 1, 1, 96), ("sell", 2, 1, 93), ("sell", 2, 1, 93)]


def test_the_worst_path_is_no_better_than_any_other() -> None:
    # a bracket entered at the open, whichever way the price went first
    generator = np.random.default_rng(11)
    for _ in range(60):
        rows: list[Any] = [FLAT]
        for _ in range(6):
            open_, close = (round(100 + float(x), 1) for x in generator.normal(0, 2, 2))
            up, down = (round(float(x), 1) for x in generator.exponential(2, 2))
            rows.append((open_, max(open_, close) + up, min(open_, close) - down, close))
        for ask in (buy(stop_loss=97, take_profit=103), sell(stop_loss=103, take_profit=97)):
            equity = {
                path: run(rows, {0: ask}, switches={"path": path}).result.final_equity
                for path in ("worst", "ohlc", "olhc", "adaptive", "candle_colour", "random")
            }
            assert equity["worst"] == min(equity.values())


def test_a_bracket_on_the_wrong_side_of_its_entry_is_refused() -> None:
    outcome = run([FLAT, FLAT], {0: buy(stop_loss=101)})
    assert outcome.refused == [(1, "stop_loss of a buy bracket is 101; expected a price below the last close, 100.00")]
    assert outcome.fills == []


def test_a_bracket_cancels_the_child_that_did_not_fill() -> None:
    outcome = run([FLAT, FLAT, BOTH_REACHED], {0: BRACKET})
    assert outcome.cancelled == [(3, "order 2 of its group filled")]
    assert outcome.engine.broker.working == {}


# ── groups ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_of_a_group_cancels_the_others() -> None:
    asks = {0: [buy(stop=105, oco_group="breakout"), sell(stop=95, oco_group="breakout")]}
    outcome = run([FLAT, (100, 101, 94, 95), (95, 107, 95, 106)], asks)
    assert outcome.fills == [("sell", 1, 95, "taker")]
    assert outcome.cancelled == [(1, "order 2 of its group filled")]


def test_brackets_in_one_group_keep_their_own_stops_and_targets() -> None:
    # the group is named after order 1, whose children once shared its number and were cancelled by its fill
    asks = {
        0: [
            buy(stop=105, stop_loss=101, take_profit=120, oco_group="b"),
            sell(stop=95, stop_loss=99, take_profit=80, oco_group="b"),
        ]
    }
    outcome = run([FLAT, (102, 106, 102, 105), (105, 105, 100, 102)], asks)
    assert [fill[:3] for fill in outcome.fills] == [("buy", 1, 105), ("sell", 2, 101)]
    assert [number for number, _ in outcome.cancelled] == [4, 5, 6, 3], (
        "the other entry with its children, then the target"
    )


def test_a_name_of_a_group_can_be_used_again() -> None:
    asks = {
        0: [buy(stop=105, oco_group="g"), sell(stop=95, oco_group="g")],
        1: [buy(stop=110, oco_group="g"), sell(stop=90, oco_group="g")],
    }
    outcome = run([FLAT, (100, 106, 100, 105), (105, 111, 104, 110), (110, 110, 80, 85)], asks)
    assert [fill[:3] for fill in outcome.fills] == [("buy", 1, 105), ("buy", 2, 110)]


def test_after_a_part_of_a_target_the_stop_protects_the_rest() -> None:
    # 30 held, 10 a bar may trade: the target takes 10, then the price collapses
    rows = [(100, 100, 100, 100, 1000), (100, 101, 99, 100, 1000), (100, 112, 100, 108, 100), (92, 93, 91, 92, 1000)]
    outcome = run(rows, {0: buy(30, stop_loss=95, take_profit=110)})
    assert outcome.quantities == [("buy", 1, 30, 100), ("sell", 2, 10, 110), ("sell", 3, 20, 92)]
    assert outcome.reduced == [(2, "from 30.00000000 to 20.00000000: order 3 of its group filled 10.00000000")]
    assert outcome.cancelled == [(3, "order 2 of its group filled")]


def test_after_a_part_of_a_breakout_the_opposite_entry_is_gone() -> None:
    asks = {0: [buy(20, stop=105, oco_group="b"), sell(20, stop=95, oco_group="b")]}
    outcome = run([FLAT, (100, 106, 100, 105, 100), (105, 105, 94, 95, 100)], asks)
    assert outcome.cancelled == [(2, "order 1 of its group filled")]
    assert outcome.position == 20


# ── entries that fill in parts, and their children ──────────────────────────────────────────────────────────────────


def test_what_has_filled_of_an_entry_is_protected_at_once() -> None:
    # 25 asked for, 10 a bar to be had: the stop must not wait for the last of them
    rows = [FLAT, (100, 101, 99, 100, 100), (100, 101, 94, 96, 100), (96, 97, 95, 96, 100)]
    outcome = run(rows, {0: buy(25, limit=101, stop_loss=95)})
    assert outcome.quantities == [
        ("buy", 1, 10, 100),
        ("buy", 2, 10, 100),
        ("sell", 3, 10, 96),
    ]


def test_children_grow_as_more_of_their_entry_fills() -> None:
    rows = [FLAT, *[(100, 101, 99, 100, 100)] * 3, (100, 101, 99, 100, 1000), (94, 95, 93, 94, 1000)]
    outcome = run(rows, {0: buy(25, stop_loss=95)})
    assert outcome.quantities == [("buy", 1, 10, 100), ("buy", 2, 10, 100), ("buy", 3, 5, 100), ("sell", 5, 25, 94)]
    assert outcome.reduced == [(2, "from 25.00000000 to 10.00000000: what order 1 has filled")]
    assert outcome.amended == [(2, "now 20.00000000: order 1 filled more"), (2, "now 25.00000000: order 1 filled more")]


def test_once_a_child_fills_the_rest_of_its_entry_is_withdrawn() -> None:
    # the idea is over; what the entry bought later would have nothing to protect it
    rows = [FLAT, (97, 99, 96, 97, 100), (94, 95, 93, 94, 1000), (94, 95, 93, 94, 1000)]
    outcome = run(rows, {0: buy(25, limit=98, stop_loss=95)})
    assert outcome.quantities == [("buy", 1, 10, 97), ("sell", 2, 10, 94)]
    assert outcome.cancelled == [(1, "order 2 that protects it filled")]
    assert outcome.position == 0


def test_an_entry_cancelled_after_a_part_leaves_that_part_protected() -> None:
    rows = [FLAT, (97, 99, 97, 98, 100), (98, 99, 97, 98, 0), (94, 95, 93, 94, 1000)]
    outcome = run(rows, {0: buy(25, limit=98, stop_loss=95), 1: cancel(1)})
    assert outcome.quantities == [("buy", 1, 10, 97), ("sell", 3, 10, 94)]


def test_an_entry_expired_after_a_part_leaves_that_part_protected() -> None:
    rows = [FLAT, (97, 99, 97, 98, 100), (99, 99.5, 98.5, 99, 1000), (94, 95, 93, 94, 1000)]
    outcome = run(rows, {0: buy(25, limit=98, stop_loss=95, time_in_force=DAY_ONLY)})
    assert outcome.expired == [(1, "day ended")]
    assert outcome.quantities == [("buy", 1, 10, 97), ("sell", 3, 10, 94)]


def test_an_entry_cut_to_the_cash_is_protected_to_what_it_bought() -> None:
    # a holding of other origin must not be sold by the bracket's stop
    rows = [FLAT, FLAT, FLAT, (94, 95, 93, 94)]
    outcome = run(rows, {0: buy(4), 1: buy(8, stop_loss=95)}, cash=1000)
    assert outcome.quantities == [("buy", 1, 4, 100), ("buy", 2, 6, 100), ("sell", 3, 6, 94)]
    assert outcome.position == 4


@pytest.mark.parametrize("asks", [{0: buy(limit=90, stop_loss=85, take_profit=120), 1: cancel(1)}])
def test_cancelling_an_entry_cancels_the_children_that_wait_for_it(asks: Any) -> None:
    outcome = run([FLAT, FLAT, (90, 90, 80, 80)], asks)
    assert outcome.cancelled == [
        (1, "asked for"),
        (2, "order 1 it depends on was cancelled"),
        (3, "order 1 it depends on was cancelled"),
    ]
    assert outcome.fills == []


def test_an_entry_that_expires_takes_its_children_along() -> None:
    outcome = run([FLAT, FLAT, (90, 90, 80, 80)], {0: buy(limit=90, stop_loss=85, time_in_force=DAY_ONLY)})
    assert outcome.expired == [(1, "day ended")]
    assert outcome.cancelled == [(2, "order 1 it depends on expired")]


def test_an_amended_entry_takes_its_waiting_children_along() -> None:
    rows = [FLAT, FLAT, (97, 99, 97, 98), (94, 95, 93, 94)]
    outcome = run(rows, {0: buy(10, limit=98, stop_loss=95), 1: amend(1, quantity=20)})
    assert outcome.quantities == [("buy", 2, 20, 97), ("sell", 3, 20, 94)]


# ── when a market order fills ───────────────────────────────────────────────────────────────────────────────────────


@table(
    [
        Case(
            "the declared exception: the close it was decided at",
            buy(),
            [FLAT, 101],
            [("buy", 0, 100, "taker")],
            {"market_fill": "same_close"},
        ),
        Case(
            "the next close",
            buy(),
            [FLAT, (101, 104, 100, 103)],
            [("buy", 1, 103, "taker")],
            {"market_fill": "next_close"},
        ),
        Case(
            "the next close, children from the bar after",
            BRACKET,
            [FLAT, (101, 104, 94, 103), BOTH_REACHED],
            [("buy", 1, 103), (OUT, 2, 95)],
            {"market_fill": "next_close"},
        ),
        Case(
            "the same close, children in the next bar",
            BRACKET,
            [FLAT, BOTH_REACHED],
            [("buy", 0, 100), (OUT, 1, 95)],
            {"market_fill": "same_close"},
        ),
        Case(
            "limits are not touched by it",
            buy(limit=98),
            [FLAT, (100, 101, 97, 100)],
            [("buy", 1, 98)],
            {"market_fill": "next_close"},
        ),
    ]
)
def test_market_fill(case: Case) -> None:
    assert play(case) == case.fills


def test_a_bracket_entered_at_the_same_close_is_cut_with_its_entry() -> None:
    outcome = run(
        [FLAT, (94, 95, 93, 94)], {0: buy(20, stop_loss=95)}, cash=1000, switches={"market_fill": "same_close"}
    )
    assert outcome.quantities == [("buy", 0, 10, 100), ("sell", 1, 10, 94)]
    assert outcome.cancelled == []


# ── netting, children that may open, prices finer than increments ───────────────────────────────────────────────────


def test_a_child_whose_position_is_gone_opens_a_new_one_where_that_is_declared() -> None:
    rows, asks = [FLAT, FLAT, FLAT, (94, 95, 93, 94)], {0: buy(stop_loss=95), 1: sell()}
    assert run(rows, asks).position == 0
    assert run(rows, asks, switches={"children_reduce_only": False}).position == -1


def test_under_oldest_entry_first_an_opposite_order_takes_the_children_of_what_it_closed_along() -> None:
    rows, asks = [FLAT, FLAT, FLAT, (94, 95, 93, 94)], {0: [buy(stop_loss=95), buy(stop_loss=94.5)], 1: sell()}
    assert [fill[:3] for fill in run(rows, asks).fills][-2:] == [("sell", 2, 100), ("sell", 3, 94)]
    outcome = run(rows, asks, switches={"netting": "oldest_entry_first", "path": "queue_stops_first"})
    assert (2, "order 5 closed what it protects") in outcome.cancelled
    assert outcome.position == 0


# ── time in force ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ask", "rows", "quantities", "reason"),
    [
        # a limit that the first open does not reach
        (buy(limit=99, time_in_force=IOC), [FLAT, (100, 101, 97, 98)], [], "immediate or cancel"),
        (buy(limit=99, time_in_force=FOK), [FLAT, (100, 101, 97, 98)], [], "fill or kill"),
        # what volume there is, the rest is cancelled
        (buy(25, time_in_force=IOC), [FLAT, (100, 101, 99, 100, 100)], [("buy", 1, 10, 100)], "immediate or cancel"),
        # all of it or nothing
        (buy(25, time_in_force=FOK), [FLAT, (100, 101, 99, 100, 100)], [], "fill or kill"),
        (buy(10, time_in_force=FOK), [FLAT, (100, 101, 99, 100, 100)], [("buy", 1, 10, 100)], None),
        (buy(limit=101, time_in_force=IOC), [FLAT, (100, 101, 99, 100)], [("buy", 1, 1, 100)], None),
        # an IOC stop rests until it triggers; what it does not find then is cancelled
        (
            buy(25, stop=105, time_in_force=IOC),
            [FLAT, (100, 101, 99, 100), (100, 106, 99, 105, 100)],
            [("buy", 2, 10, 105)],
            "immediate or cancel",
        ),
    ],
)
def test_at_once_or_not_at_all(ask: Any, rows: list[Any], quantities: list[Any], reason: str | None) -> None:
    outcome = run([*rows, (90, 120, 80, 100)], {0: ask})
    assert outcome.quantities == quantities
    assert outcome.cancelled == ([(1, reason)] if reason else [])


def test_fill_or_kill_is_not_cut_to_the_cash_or_to_the_position() -> None:
    outcome = run(
        [FLAT, FLAT, FLAT],
        {0: [buy(20, time_in_force=FOK), sell(1)], 1: buy(2, reduce_only=True, time_in_force=FOK)},
        cash=1000,
    )
    assert outcome.quantities == [("sell", 1, 1, 100)]
    assert outcome.cancelled == [
        (1, "fill or kill: not enough cash: 1000.0000000000 USD free"),
        (3, "fill or kill: reduce-only, and the position is -1.00000000"),
    ]


@pytest.mark.parametrize("market_fill", ["next_open", "next_close"])
def test_an_order_that_must_fill_at_once_never_rests(market_fill: str) -> None:
    rows = [FLAT, (100, 101, 99, 100, 100), (100, 120, 80, 100, 1000)]
    outcome = run(
        rows, {0: [buy(25, time_in_force=IOC), buy(limit=98, time_in_force=IOC)]}, switches={"market_fill": market_fill}
    )
    assert sorted(number for number, _ in outcome.cancelled) == [1, 2]
    assert outcome.position == 10


HALF_DAY = NEW_YEAR_2024 + DAY + 12 * HOUR


@pytest.mark.parametrize(
    ("ask", "rows", "fills", "expired"),
    [
        # good till noon of bar 1: it meets that bar's open and nothing after it
        (buy(limit=98, time_in_force=GTD, expire_at=HALF_DAY), [FLAT, (97, 99, 96, 98)], [("buy", 1, 97)], []),
        (buy(limit=98, time_in_force=GTD, expire_at=HALF_DAY), [FLAT, (100, 101, 96, 98)], [], [(1, "gtd ended")]),
        # to the very close: the whole bar
        (
            buy(limit=98, time_in_force=GTD, expire_at=NEW_YEAR_2024 + 2 * DAY),
            [FLAT, (100, 101, 96, 98)],
            [("buy", 1, 98)],
            [],
        ),
        (
            buy(limit=98, time_in_force=GTD, expire_at=NEW_YEAR_2024 + 2 * DAY),
            [FLAT, FLAT, (97, 98, 96, 97)],
            [],
            [(1, "gtd ended")],
        ),
        # over before it began
        (buy(limit=98, time_in_force=GTD, expire_at=NEW_YEAR_2024), [FLAT, (97, 98, 96, 97)], [], [(1, "gtd ended")]),
        # an expiry alone says as much
        (buy(limit=98, expire_at=HALF_DAY), [FLAT, (100, 101, 96, 98)], [], [(1, "gtd ended")]),
        # the day of the decision's close: the bar that begins there
        (buy(limit=98, time_in_force=DAY_ONLY), [FLAT, (100, 101, 97, 98)], [("buy", 1, 98)], []),
        (buy(limit=98, time_in_force=DAY_ONLY), [FLAT, FLAT, (97, 98, 96, 97)], [], [(1, "day ended")]),
        # a market order that would fill at the close is gone by then
        (buy(time_in_force=GTD, expire_at=HALF_DAY), [FLAT, (100, 101, 96, 98)], [("buy", 1, 100)], []),
    ],
)
def test_expiry(ask: Any, rows: list[Any], fills: list[Any], expired: list[Any]) -> None:
    outcome = run([*rows, 97], {0: ask})
    assert [fill[:3] for fill in outcome.fills] == fills
    assert outcome.expired == expired


def test_a_market_order_for_the_next_close_may_expire_before_it() -> None:
    outcome = run([FLAT, FLAT, FLAT], {0: buy(expire_at=HALF_DAY)}, switches={"market_fill": "next_close"})
    assert outcome.fills == []
    assert outcome.expired == [(1, "gtd ended")]


def test_an_order_that_would_arrive_after_its_expiry_never_fills() -> None:
    latency = ConstantLatency(DAY + 6 * HOUR)  # arrives at 06:00 of bar 2, which it would meet at its close
    outcome = run([FLAT, FLAT, FLAT, FLAT], {0: buy(expire_at=NEW_YEAR_2024 + 2 * DAY + 12 * HOUR)}, latency=latency)
    assert outcome.fills == []
    assert outcome.expired == [(1, "gtd ended")]


# ── post-only, reduce-only ──────────────────────────────────────────────────────────────────────────────────────────


@table(
    [
        Case(
            "rests and is traded through",
            buy(limit=98, post_only=True),
            [FLAT, (100, 101, 97, 98)],
            [("buy", 1, 98, "maker")],
        ),
        Case("would take at the last close", buy(limit=101, post_only=True), [FLAT, (102, 103, 100, 101)], []),
        Case(
            "would take where it arrives, at the open",
            buy(limit=98, post_only=True),
            [FLAT, (97, 99, 96, 98), (97, 99, 96, 98)],
            [],
        ),
        Case(
            "arrives exactly at the open: that takes",
            buy(limit=98, post_only=True),
            [FLAT, (98, 99, 96, 98), (97, 99, 96, 98)],
            [],
        ),
        Case(
            "has rested, then the bar gaps over it: it made",
            buy(limit=98, post_only=True),
            [FLAT, (100, 101, 99, 100), (97, 98, 96, 97)],
            [("buy", 2, 97, "maker")],
        ),
    ]
)
def test_post_only_makes_or_nothing(case: Case) -> None:
    assert play(case) == case.fills


def test_a_rejected_post_only_order_says_why_and_takes_no_children_along() -> None:
    outcome = run(
        [FLAT, (97, 99, 96, 98), FLAT],
        {0: [buy(limit=100, post_only=True, stop_loss=90), buy(limit=98, post_only=True, stop_loss=90)]},
    )
    assert outcome.rejected == [
        (1, "post-only limit 100.00 would take liquidity at 100.00"),
        (2, "post-only limit 98.00 would take liquidity at 97.00"),
    ]
    assert outcome.cancelled == [(3, "order 2 it depends on was rejected")]
    assert outcome.result.order_count == 3, "the first was rejected before its child was sent"


def test_reduce_only_closes_what_is_held_and_no_more() -> None:
    outcome = run([FLAT, FLAT, FLAT], {0: buy(3), 1: sell(10, reduce_only=True)})
    assert outcome.quantities == [("buy", 1, 3, 100), ("sell", 2, 3, 100)]
    assert outcome.reduced == [(2, "from 10.00000000 to 3.00000000: reduce-only, to the position held")]


def test_reduce_only_is_cancelled_where_there_is_nothing_to_reduce() -> None:
    outcome = run([FLAT, FLAT, FLAT], {0: [buy(3, reduce_only=True), sell(3, limit=99, reduce_only=True)]})
    reason = "reduce-only, and there is no position left to reduce"
    assert outcome.cancelled == [(2, reason), (1, reason)], "limits meet the open before market orders"
    assert outcome.fills == []


# ── amending and cancelling ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asks", "rows", "quantities"),
    [
        # a new limit from the next bar on
        (
            {0: buy(limit=90), 1: amend(1, limit=98)},
            [FLAT, (100, 101, 97, 100), (100, 101, 97, 100)],
            [("buy", 2, 1, 98)],
        ),
        # a limit moved into the market takes there
        ({0: buy(limit=90), 1: amend(1, limit=105)}, [FLAT, FLAT, (101, 102, 100, 101)], [("buy", 2, 1, 101)]),
        # the quantity is the total, what has filled included
        (
            {0: buy(30, limit=98), 1: amend(1, quantity=15)},
            [FLAT, (97, 99, 96, 97, 100), (97, 99, 96, 97, 100)],
            [("buy", 1, 10, 97), ("buy", 2, 5, 97)],
        ),
        (
            {0: sell(2), 1: [buy(2, stop=110)], 2: amend(2, stop=104)},
            [FLAT, FLAT, FLAT, (100, 105, 99, 104)],
            [("sell", 1, 2, 100), ("buy", 3, 2, 104)],
        ),
    ],
)
def test_an_amended_order(asks: Any, rows: list[Any], quantities: list[Any]) -> None:
    assert run(rows, asks).quantities == quantities


def test_a_limit_amended_into_the_market_pays_as_a_taker() -> None:
    outcome = run([FLAT, FLAT, (101, 102, 100, 101)], {0: buy(limit=90), 1: amend(1, limit=105)})
    assert outcome.fills == [("buy", 2, 101, "taker")]
    assert outcome.amended == [(1, "now 1.00000000 limit 105.00")]


def test_an_amended_quantity_keeps_what_the_order_has_earned_by_resting() -> None:
    # having rested, an open exactly at the limit is a touch; a newcomer would have crossed there
    outcome = run([FLAT, FLAT, (98, 99, 98, 99)], {0: buy(2, limit=98), 1: amend(1, quantity=1)})
    assert outcome.fills == []


def test_an_amended_order_keeps_its_place_in_the_queue() -> None:
    asks = {0: [buy(10, limit=90), buy(10, limit=98)], 1: amend(1, limit=98)}
    outcome = run([FLAT, FLAT, (100, 101, 97, 98, 100)], asks)
    assert [row.order_id for row in outcome.result.fills] == [1]


@pytest.mark.parametrize(
    ("asks", "message"),
    [
        ({0: buy(), 1: amend(1, quantity=2)}, "order 1 is filled and cannot be amended"),
        ({0: buy(limit=90), 1: [cancel(1), amend(1, limit=91)]}, "order 1 is cancelled and cannot be amended"),
        ({0: buy(limit=90), 1: amend(1, stop=91)}, "order 1 is a limit order and has no stop to amend"),
        (
            {0: buy(30), 1: amend(1, quantity=10)},
            "order 1 has filled 10.00000000; its quantity cannot be amended to 10, expected more",
        ),
        ({0: buy(limit=90), 1: amend(1, limit=-1)}, "order 1: limit cannot be amended to -1; expected a price above 0"),
        (
            {0: buy(limit=90), 1: amend(1, limit=float("nan"))},
            "order 1: limit cannot be amended to nan; expected a price above 0",
        ),
        ({0: buy(limit=90), 1: amend(1, quantity=0)}, "its quantity cannot be amended to 0, expected more"),
    ],
)
def test_amendments_that_make_no_sense(asks: Any, message: str) -> None:
    *before, last = asks[1] if isinstance(asks[1], list) else [asks[1]]

    def amended(strategy: Any) -> None:
        with pytest.raises(OrderError, match=message):
            last(strategy)

    run([FLAT, (100, 101, 99, 100, 100), FLAT], {0: asks[0], 1: [*before, amended]})


def test_cancelling_what_has_filled_does_nothing() -> None:
    outcome = run([FLAT, FLAT, FLAT], {0: buy(), 1: cancel(1)})
    assert outcome.cancelled == []
    assert outcome.position == 1


def test_a_fill_may_cancel_another_order_as_it_is_told() -> None:
    class CancelsOnFill(type(run([FLAT], {}).strategy)):  # type: ignore[misc]
        def on_fill(self, fill: Any) -> None:
            super().on_fill(fill)
            self.cancel(order_of(self, 2), why="done")

    strategy = CancelsOnFill({0: lambda s, bar: (s.buy("TEST", 1), s.buy("TEST", 1, limit=95))})
    outcome = run([FLAT, FLAT, (100, 100, 90, 92)], {}, strategy=strategy)
    assert outcome.fills == [("buy", 1, 100, "taker")]
    assert outcome.cancelled == [(2, "done")]


# ── rule 0 and latency ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("latency", "ask", "fills"),
    [
        (0, buy(), [("buy", 1, 101)]),
        (1, buy(), [("buy", 1, 101)]),  # shorter than a bar: the next open
        (DAY - 1, buy(), [("buy", 1, 101)]),
        (DAY, buy(), [("buy", 2, 111)]),  # arrives as bar 2 opens
        (DAY + 1, buy(), [("buy", 2, 115)]),  # arrives within bar 2: of that bar only the close is surely later
        (2 * DAY + HOUR, buy(), [("buy", 3, 125)]),
        (DAY + HOUR, buy(limit=112), [("buy", 3, 112)]),  # bar 2 closes at 115; bar 3 falls through 112
        (DAY + HOUR, buy(limit=116), [("buy", 2, 115)]),
        (DAY + HOUR, buy(stop=114), [("buy", 2, 115)]),
        (DAY + HOUR, buy(stop=119), [("buy", 3, 121)]),  # bar 2's high of 119 may have been before
    ],
)
def test_an_order_meets_only_prices_later_than_its_arrival(latency: int, ask: Any, fills: list[Any]) -> None:
    rows = [FLAT, (101, 109, 100, 105), (111, 119, 110, 115), (121, 129, 111, 125)]
    assert [fill[:3] for fill in run(rows, {0: ask}, latency=ConstantLatency(latency)).fills] == fills


def test_a_late_order_that_must_fill_at_once_does_not_stay() -> None:
    outcome = run(
        [FLAT, FLAT, FLAT, (97, 98, 96, 97)], {0: buy(limit=99, time_in_force=IOC)}, latency=ConstantLatency(DAY + HOUR)
    )
    assert outcome.fills == []
    assert outcome.cancelled == [(1, "immediate or cancel")]


def test_a_trailing_stop_that_is_still_on_its_way_follows_nothing() -> None:
    # bar 1's high of 120 came before the order did: the stop stays 10 below the close it was decided at
    rows = [FLAT, (100, 120, 99, 105), (105, 106, 104, 105), (105, 106, 100, 101)]
    assert run(rows, {0: sell(trail_amount=10)}, latency=ConstantLatency(2 * DAY)).fills == []


# ── volume ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def volumes(*each: float) -> list[Any]:
    return [FLAT, *[(100, 101, 99, 100, volume) for volume in each]]


@pytest.mark.parametrize(
    ("asks", "rows", "quantities", "share"),
    [
        (
            {0: buy(25)},
            volumes(100, 100, 100, 100),
            [("buy", 1, 10, 100), ("buy", 2, 10, 100), ("buy", 3, 5, 100)],
            0.1,
        ),
        ({0: buy(25)}, volumes(100), [("buy", 1, 25, 100)], None),
        ({0: buy(25)}, volumes(100, 100), [("buy", 1, 2.5, 100), ("buy", 2, 2.5, 100)], 0.025),
        ({0: buy(5)}, volumes(0, 100), [("buy", 2, 5, 100)], 0.1),  # nobody traded
        # one bar's volume is shared, the earlier order first
        ({0: [buy(6), buy(6)]}, volumes(100, 100), [("buy", 1, 6, 100), ("buy", 1, 4, 100), ("buy", 2, 2, 100)], 0.1),
        (
            {0: [buy(6), sell(6)]},
            volumes(100, 100),
            [("buy", 1, 6, 100), ("sell", 1, 4, 100), ("sell", 2, 2, 100)],
            0.1,
        ),
        # a resting order goes on from bar to bar
        ({0: buy(15, limit=99.5)}, volumes(100, 100), [("buy", 1, 10, 99.5), ("buy", 2, 5, 99.5)], 0.1),
        # a stop, once triggered, is a market order for the rest
        ({0: buy(15, stop=101)}, volumes(100, 100), [("buy", 1, 10, 101), ("buy", 2, 5, 100)], 0.1),
    ],
)
def test_volume_is_shared_and_the_rest_carried_over(
    asks: Any, rows: list[Any], quantities: list[Any], share: float | None
) -> None:
    assert run(rows, asks, switches={"volume_cap": share}).quantities == quantities


def test_a_bar_that_was_made_up_fills_nothing() -> None:
    bars = make_bars([FLAT, (97, 100, 96, 97), (97, 100, 96, 97)])
    flags = np.array([0, FORWARD_FILLED, 0], np.uint8)
    outcome = run(
        replace(bars, flags=flags),
        {0: [buy(), buy(limit=98), sell(stop=97), buy(time_in_force=IOC)]},
        switches={"volume_cap": None},
    )
    assert {fill[1] for fill in outcome.fills} == {2}
    assert len(outcome.fills) == 4


def test_a_gap_in_the_data_is_not_a_bar() -> None:
    bars = make_bars([FLAT, 101, 102, 103])
    rows = np.array([0, 2, 3])
    holed = replace(
        bars,
        **{
            name: getattr(bars, name)[rows]
            for name in ("open_time", "close_time", "open", "high", "low", "close", "volume")
        },
    )
    assert run(holed, {0: buy()}).fills == [("buy", 2, 102, "taker")]


def test_upside_down_twice_is_the_bar_itself() -> None:
    assert upside_down(upside_down((100, 112, 94, 108, 5), 100), 100) == [100, 112, 94, 108, 5]


# ── what the price passes first ───────────────────────────────────────────────────────────────────────────────────


def test_of_two_stops_below_a_position_the_higher_is_passed_first() -> None:
    outcome = run([FLAT, FLAT, (100, 100, 90, 92)], {0: buy(stop_loss=93, trail_stop_fraction=0.03)})
    assert [fill[:3] for fill in outcome.fills] == [IN, (OUT, 2, 97)]


@pytest.mark.parametrize("make", [buy, sell])
def test_limits_are_reached_in_the_order_of_their_prices(make: Any) -> None:
    # volume for one of them: the price passes 99 before 98, whichever was asked for first
    sign = 1 if make is buy else -1
    rows = [FLAT, (100, 101, 99.5, 100, 100), (100, 104, 96, 100, 100)]
    if make is sell:
        rows = [FLAT, (100, 100.5, 99, 100, 100), (100, 104, 96, 100, 100)]
    asks = {0: [make(10, limit=100 - 2 * sign), make(10, limit=100 - sign)]}
    assert [row.order_id for row in run(rows, asks).result.fills] == [2]


def test_a_trailing_stop_tightened_by_hand_does_not_fall_back() -> None:
    asks = {0: sell(trail_amount=5), 1: amend(1, stop=99)}
    rows = [FLAT, FLAT, (100, 101, 99.5, 100), (100, 100, 98, 99)]  # a high of 101 would put it to 96
    assert run(rows, asks).fills == [("sell", 3, 99, "taker")]


# ── children whose position is gone ───────────────────────────────────────────────────────────────────────────────


def test_children_end_with_the_position_they_protect() -> None:
    # the next position has its own stop, further away; the old one would have closed it at 95
    asks = {0: buy(stop_loss=95, take_profit=120), 1: sell(), 2: buy(stop_loss=80)}
    outcome = run([FLAT, FLAT, FLAT, FLAT, (100, 100, 90, 92)], asks)
    assert outcome.cancelled == [(2, "the position it protects is closed"), (3, "the position it protects is closed")]
    assert outcome.position == 1


def test_children_end_when_the_position_turns_over() -> None:
    asks = {0: buy(stop_loss=95), 1: sell(3, stop_loss=110)}
    outcome = run([FLAT, FLAT, FLAT, (100, 100, 90, 92), (100, 112, 99, 100)], asks)
    assert outcome.cancelled == [(2, "the position it protects is closed")]
    assert [fill[:3] for fill in outcome.fills] == [("buy", 1, 100), ("sell", 2, 100), ("buy", 4, 110)]


def test_children_stay_while_something_is_left_to_protect() -> None:
    asks = {0: buy(4, stop_loss=95), 1: sell(3)}
    outcome = run([FLAT, FLAT, FLAT, (100, 100, 90, 92)], asks)
    assert outcome.quantities[-1] == ("sell", 3, 1, 95)
    assert outcome.reduced == [(2, "from 4.00000000 to 1.00000000: reduce-only, to the position held")]


def test_nothing_is_kept_of_orders_that_are_over() -> None:
    asks = {
        bar: [
            buy(20, limit=99, stop_loss=90, take_profit=120, time_in_force=DAY_ONLY),
            sell(2, limit=101, oco_group=f"{bar}"),
            sell(2, stop=96, oco_group=f"{bar}"),
            buy(limit=101, post_only=True, oco_group=f"{bar}"),
        ]
        for bar in range(30)
    }
    rows = [FLAT, *[(100, 102, 98 - bar % 3, 99 + bar % 4, 100) for bar in range(34)], FLAT, FLAT]
    outcome = run(rows, {**asks, 33: lambda s: (s.cancel_all(), s.close("TEST"))})
    broker = outcome.engine.broker
    assert outcome.position == 0
    assert broker.working == {}
    assert broker.links.is_empty
