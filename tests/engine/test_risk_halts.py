"""Rules that watch: they halt at the close at which it happens, do what they are set to, and record it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from engine import Order, SettingsError
from engine.bars import DAY, HOUR
from engine.costs import MakerTakerFees
from engine.journal.lineage import load_run, unresolved_fills, why
from engine.journal.memory import MemoryJournal
from engine.risk import Halt, Lift, RiskGate, RiskRule
from engine.risk.flow import ReduceOnly
from engine.risk.losses import NEXT_DAY, CoolDown, DailyLoss, Drawdown
from engine.testing import NEW_YEAR_2024, Terms, daily_index, engine_for, make_bars
from tests.engine.cases import Outcome, amend, buy, merged, run, scripted, sell, target

D = Decimal
FREE = MakerTakerFees(D(0), D(0))
DOWN = [100, 100, 95, 90, 85, 80, 80, 80]
"""Closes of days, each open at its own close: a position of 10 bought after day 0 fills at 100 and loses 50 a day."""


def gated(rows: Any, asks: Any, *rules: RiskRule, cash: int = 1000, **options: Any) -> Outcome:
    return run(rows, asks, risk=RiskGate(rules), cash=D(cash), fees=FREE, **options)


def events(outcome: Outcome) -> list[tuple[str, int, str]]:
    """(halt or lift, day, rule) of every event of the gate."""
    return [
        ("halt" if isinstance(event, Halt) else "lift", daily_index(event.time), event.rule)
        for event in outcome.result.risk_events
    ]


# ── when ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "day"),
    [
        (Drawdown(0.10), 3),  # 900 of 1000: at the limit
        (Drawdown(0.1001), 4),
        (Drawdown(0.30), None),
        # each bar is a day: it opens at what the day before closed at, and loses 50
        (DailyLoss(amount=50), 2),
        (DailyLoss(amount=50.01), None),
        (DailyLoss(fraction=0.05), 2),
        (DailyLoss(fraction=0.0526), 3),  # 50 of 950
        (DailyLoss(fraction=0.9, amount=50), 2),  # the nearer of the two
        (DailyLoss(fraction=0.05, hour=12), 2),
    ],
)
def test_a_halt_comes_at_the_close_at_which_the_limit_is_reached(rule: RiskRule, day: int | None) -> None:
    outcome = gated(DOWN, {0: buy(10), **{bar: buy(0.1) for bar in range(1, 7)}}, rule)
    assert events(outcome) == ([] if day is None else [("halt", day, rule.name)])
    first = min([1 + bar for bar in range(1, 7) if day is not None and bar >= day], default=None)
    assert [number for number, _ in outcome.refused] == ([] if first is None else list(range(first, 8)))


def test_a_day_of_hours_opens_at_the_close_at_midnight_or_at_the_hour_named() -> None:
    # 100 until the close at 24:00, then 1 down an hour
    closes = [100.0] * 24 + [99.0 - hour for hour in range(20)]
    for hour, expected in ((0, 24 + 5), (6, 24 + 5), (3, 24 + 6)):
        bars = make_bars(closes, timeframe="1h")
        strategy = scripted({0: buy(10)})
        gate = RiskGate([DailyLoss(amount=55, hour=hour)])
        result = engine_for(bars, strategy, Terms(cash=D(10_000), fees=FREE, risk=gate)).run()
        assert [(event.time - NEW_YEAR_2024) // HOUR - 1 for event in result.risk_events] == [expected] or hour == 3
        if hour == 3:  # the day opened at the close at 03:00, 97: 55 lower is 91.5, at the next hour's 91
            assert [(event.time - NEW_YEAR_2024) // HOUR - 1 for event in result.risk_events] == [24 + 8]


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_equity_at_the_halt_is_the_curve_s(count: int) -> None:
    seen: list[tuple[int, float]] = []

    class Listens(RiskRule):
        def on_close(self, close: Any, view: Any) -> list[Any]:
            seen.append((close.time, close.equity))
            return []

    symbols = [f"S{place}" for place in range(count)]
    bars = merged(*(
        make_bars([100.1 + 3 * place + (day * (place + 7)) % 5 * 0.77 for day in range(30)], symbol=symbol)
        for place, symbol in enumerate(symbols)
    )) if count > 1 else make_bars([100.1 + day % 5 * 0.77 for day in range(30)], symbol="S0")  # fmt: skip

    def trade(strategy: Any) -> None:
        for place, symbol in enumerate(symbols):
            strategy.buy(symbol, 0.1 * (place + 1) / 3)

    strategy = scripted({bar * count: trade for bar in range(0, 28, 3)})
    result = engine_for(bars, strategy, Terms(risk=RiskGate([Listens()]))).run()
    assert dict(seen) == dict(zip(result.curve.time.tolist(), result.curve.equity.tolist(), strict=True))
    assert len(result.fills) > 5


def test_a_fill_at_the_very_close_is_seen_at_it() -> None:
    switches = {"market_fill": "same_close"}
    fees = MakerTakerFees(D(0), D("0.05"))
    outcome = run([100] * 5, {1: [buy(9), buy(0.1)]}, switches=switches, fees=fees, cash=D(1000),
                  risk=RiskGate([Drawdown(0.04, action="flatten")]))  # fmt: skip
    assert events(outcome) == [("halt", 1, "drawdown")]
    assert [(side, bar) for side, bar, *_ in outcome.fills] == [("buy", 1), ("buy", 1), ("sell", 1)]


# ── what ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_while_halted_only_what_reduces_passes_and_it_is_sent_as_reduce_only() -> None:
    outcome = gated(DOWN, {0: buy(10), 4: [buy(1), sell(11), sell(4), target(0.0)], 5: sell(1)}, Drawdown(0.1))
    assert [number for number, _ in outcome.refused] == [2, 3, 6]
    told = "drawdown: halted since 2024-01-05T00:00Z until it is lifted: equity 900.00"
    assert outcome.refused[0][1].startswith(told)
    assert outcome.order(4).reduce_only
    assert outcome.order(5).reduce_only
    assert outcome.position == 0, "two sales of what is held cannot open the other side"


@pytest.mark.parametrize(
    ("action", "gone"),
    [
        # the entries go in any case; a stop that protects stays unless every order is to go
        ("refuse", [2, 3]),
        ("cancel", [2, 3, 4]),
        ("flatten", [2, 3, 4]),
    ],
)
def test_what_a_halt_does_to_working_orders(action: str, gone: list[int]) -> None:
    resting = [buy(1, limit=50), buy(1, stop=150), sell(10, stop=60)]
    outcome = gated(DOWN, {0: buy(10), 1: resting}, Drawdown(0.1, action=action))
    assert [number for number, _ in outcome.cancelled] == gone
    assert all("halted by drawdown: equity 900.00 is 10.00%" in reason for _, reason in outcome.cancelled)
    assert outcome.position == (0 if action == "flatten" else 10)


def test_closing_while_a_stop_works_cannot_open_the_other_side() -> None:
    rows = [*DOWN[:6], [80, 80, 50, 50], 50, 50]
    outcome = gated(rows, {0: buy(10), 1: sell(10, stop=60), 5: sell(10, limit=80.5)}, Drawdown(0.1))
    # the stop may stay at the halt; once an order to close is sent beside it, it could go past flat
    assert [number for number, _ in outcome.cancelled] == [2]
    assert outcome.position == 10
    assert outcome.order(3).reduce_only


def test_flattening_is_an_order_with_its_decision_and_its_reason() -> None:
    journal = MemoryJournal()
    strategy = scripted({0: buy(10)})
    gate = RiskGate([Drawdown(0.1, action="flatten")])
    result = engine_for(make_bars(DOWN), strategy, Terms(cash=D(1000), fees=FREE, risk=gate), journal=journal).run()

    assert [(fill.side, daily_index(fill.bar_close_time), fill.quantity) for fill in result.fills] == [
        ("buy", 1, 10.0), ("sell", 4, 10.0),
    ]  # fmt: skip
    story = why(journal, "2")
    assert (story.order.type, story.order.side, story.order.reduce_only) == ("market", "sell", True)
    assert (story.decision.strategy, story.decision.action) == ("risk gate", "flatten")
    assert story.decision.why == (
        "halted by drawdown: equity 900.00 is 10.00% below its highest 1000.00; limit 10.00%"
    )
    assert story.bar.close_time == result.risk_events[0].time
    assert unresolved_fills(journal) == ()
    [row] = load_run(journal).risk_events
    assert row[1:] == (
        result.risk_events[0].time, "halt", "drawdown", "", 0.1, 0.1, "flatten", None,
        "equity 900.00 is 10.00% below its highest 1000.00; limit 10.00%", "",
    )  # fmt: skip
    [equity] = [one.equity for one in load_run(journal).equity if one.time == row.time]
    assert equity == 900


def test_shorts_are_flattened_too_and_every_symbol() -> None:
    rise = [100, 100, 110, 120, 130, 130]

    def steps(strategy: Any) -> None:
        strategy.sell("TEST", 5)
        strategy.buy("UP", 1)

    strategy = scripted({0: steps})
    bars = merged(make_bars(rise), make_bars(rise, symbol="UP"))
    strategy = scripted({1: steps})
    gate = RiskGate([Drawdown(0.05, action="flatten")])
    engine = engine_for(bars, strategy, Terms(cash=D(2000), fees=FREE, risk=gate))
    engine.run()
    assert {symbol: position.lots for symbol, position in engine.portfolio.positions.items()} == {"TEST": 0, "UP": 0}


def test_a_strategy_that_withdraws_the_closing_order_gets_another() -> None:
    def withdraw(strategy: Any) -> None:
        for order in strategy.open_orders():
            strategy.cancel(order)

    outcome = gated([*DOWN, 80], {0: buy(10), 3: withdraw, 4: withdraw}, Drawdown(0.1, action="flatten"))
    assert [(side, bar) for side, bar, *_ in outcome.fills] == [("buy", 1), ("sell", 6)]


def test_what_is_too_small_to_close_is_tried_once() -> None:
    outcome = gated(DOWN, {0: [buy(9), buy(0.95)], 1: sell(9)}, Drawdown(0.0001, action="flatten"), min_notional=D(94))
    assert outcome.result.refused_by == {"venue": 1}
    assert outcome.position == D("0.95")


def test_a_thin_market_is_left_as_fast_as_it_allows() -> None:
    rows = [[price, price, price, price, 40] for price in DOWN]
    outcome = gated(rows, {0: buy(4), 1: buy(4)}, Drawdown(0.05, action="flatten"))
    sold = [row.quantity for row in outcome.result.fills if row.side == "sell"]
    assert sum(sold) == 8
    assert len(sold) > 1


# ── until when ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_halt_is_lifted_by_itself_after_its_time() -> None:
    outcome = gated(DOWN, {0: buy(10), 4: buy(1), 5: buy(1), 6: buy(1)}, Drawdown(0.1, lift_after=3 * DAY))
    assert events(outcome) == [("halt", 3, "drawdown"), ("lift", 6, "drawdown")]
    assert [number for number, _ in outcome.refused] == [2, 3]
    assert isinstance(outcome.result.risk_events[1], Lift)
    assert outcome.result.risk_events[1].by == "schedule"


def test_a_day_s_loss_may_end_with_the_day() -> None:
    closes = [100.0, 100.0, 94.0, 94.0, 94.0] + [94.0] * 40
    strategy = scripted({0: buy(10), 4: buy(1), 22: buy(1), 23: buy(1)})
    gate = RiskGate([DailyLoss(amount=50, lift_after=NEXT_DAY)])
    result = engine_for(make_bars(closes, timeframe="1h"), strategy, Terms(risk=gate, fees=FREE)).run()
    assert [(type(event), (event.time - NEW_YEAR_2024) // HOUR) for event in result.risk_events] == [
        (Halt, 3), (Lift, 24),
    ]  # fmt: skip
    assert result.refused_by == {"daily_loss": 2}
    assert gate.card()["daily_loss"]["lift_after"] == "next_day"


# ── cool-down ───────────────────────────────────────────────────────────────────────────────────────────────────────


ROUND = {0: buy(1), 1: sell(1), 2: buy(1), 3: sell(1), 4: buy(1), 5: buy(1), 6: buy(1), 7: buy(1)}


@pytest.mark.parametrize(
    ("rows", "halts"),
    [
        ([100, 100, 99, 99, 98, 98, 98, 98, 98], [4]),  # two losses, the second known on day 4
        ([100, 100, 101, 99, 98, 98, 98, 98, 98], []),  # a win between
        ([100, 100, 100, 99, 98, 98, 98, 98, 98], []),  # exactly 0 is no loss
    ],
)
def test_cool_down_after_losing_trades_in_a_row(rows: Sequence[float], halts: list[int]) -> None:
    outcome = gated(rows, ROUND, CoolDown(2, 2 * DAY))
    assert [day for kind, day, _ in events(outcome) if kind == "halt"] == halts
    assert [number for number, _ in outcome.refused] == ([5, 6] if halts else [])


def test_fees_make_a_trade_a_loss() -> None:
    outcome = run([100] * 9, ROUND, risk=RiskGate([CoolDown(2, DAY)]), fees=MakerTakerFees(D(0), D("0.001")))
    assert [day for kind, day, _ in events(outcome) if kind == "halt"] == [4]


def test_a_reversal_ends_a_trade_and_begins_the_next() -> None:
    # long 1 from 100, reversed at 99 (a loss), short from 99, closed at 100 (a loss)
    asks = {0: buy(1), 1: sell(3), 2: buy(2), 4: buy(1)}
    outcome = gated([100, 100, 99, 100, 100, 100, 100], asks, CoolDown(2, 10 * DAY))
    assert events(outcome) == [("halt", 3, "cool_down")]
    assert [number for number, _ in outcome.refused] == [4]


@pytest.mark.parametrize(("per_symbol", "refused"), [(True, []), (False, ["B"])])
def test_losses_are_counted_by_symbol_or_in_all(per_symbol: bool, refused: list[str]) -> None:
    names: list[str] = []

    def at(*asks: Any) -> Any:
        def act(strategy: Any) -> None:
            for method, symbol in asks:
                order: Order = getattr(strategy, method)(symbol, 1)
                if order.status.value == "refused":
                    names.append(symbol)

        return act

    fall = [100, 100, 99, 98, 97, 96, 95, 94]
    steps = {1: at(("buy", "A"), ("buy", "B")), 3: at(("sell", "A"), ("sell", "B")), 9: at(("buy", "B"))}
    bars = merged(make_bars(fall, symbol="A"), make_bars(fall, symbol="B"))
    gate = RiskGate([CoolDown(2, 90 * DAY, per_symbol=per_symbol)])
    engine_for(bars, scripted(steps), Terms(risk=gate, fees=FREE)).run()
    assert names == refused


# ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_reduce_only_mode_lets_a_position_go() -> None:
    class FromDayTwo(ReduceOnly):
        name = "late"

        def refusal(self, asked: Any) -> str | None:
            return super().refusal(asked) if daily_index(asked.time) >= 2 else None

    outcome = gated(DOWN, {0: buy(10), 2: [buy(1), sell(5), sell(6)]}, FromDayTwo())
    assert [number for number, _ in outcome.refused] == [2]
    assert outcome.position == 0


def test_amendments_that_ask_for_no_more_pass_while_halted() -> None:
    asks = {0: buy(10), 1: sell(10, stop=60), 4: amend(2, stop=70), 5: amend(2, quantity=12)}
    outcome = gated(DOWN, asks, Drawdown(0.1))
    assert outcome.amended == [(2, "now 10.00000000 stop 70.00")]
    assert [number for number, _ in outcome.refused] == [2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DailyLoss(), r"daily_loss: expected a fraction \(such as 0.03\), an amount, or both"),
        (lambda: DailyLoss(fraction=0), "daily_loss: fraction is 0; expected a number above 0"),
        (lambda: DailyLoss(amount=1, hour=24), "daily_loss: hour is 24; expected 0 to 23, UTC"),
        (lambda: Drawdown(1), "drawdown: fraction is 1; expected a number between 0 and 1, such as 0.2"),
        (lambda: Drawdown(0.1, action="stop"), "drawdown: action is 'stop'; expected one of refuse, cancel, flatten"),
        (lambda: CoolDown(0, 1), "cool_down: 0 losses, 1 ns; expected at least 1 of each"),
    ],
)
def test_limits_that_mean_nothing_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_halts_do_not_depend_on_how_the_feed_is_cut(chunk: int | None) -> None:
    def result(size: int | None) -> Any:
        gate = RiskGate([Drawdown(0.1, action="flatten", lift_after=DAY), CoolDown(1, DAY)])
        asks = {bar: buy(3) for bar in range(7)}
        return engine_for(
            make_bars(DOWN), scripted(asks), Terms(cash=D(1000), fees=FREE, risk=gate), chunk=size
        ).run()

    assert result(chunk).risk_events == result(None).risk_events
    assert result(chunk).fills_hash == result(None).fills_hash
