"""What a live feed says halts trading; a person's halts; the age of forecasts."""

from typing import Any

import pytest

from engine import SettingsError, Strategy
from engine.bars import DAY, HOUR
from engine.costs import MakerTakerFees
from engine.forecasting.testing import momentum, spec_of
from engine.forecasts import ForecastKind
from engine.live.inputs import FeedTold
from engine.risk import Halt, Lift, RiskGate, RiskRule
from engine.risk.live import FRESH, ClockSkew, FeedLag, ForecastAge, StaleData
from engine.risk.losses import Drawdown
from engine.running import Running
from engine.testing import NEW_YEAR_2024, BarsFeed, Terms, parts_for, run_bars
from engine.testing import engine_for as engine_of
from tests.engine.cases import Outcome, buy, make_bars, scripted
from tests.engine.forecasting.market import hours, walk

NEVER = Drawdown(0.99)
"""Watches, so that there is a watch, and never halts."""


def told(kind: str, value: float, symbol: str = "TEST", reason: str = "") -> FeedTold:
    return FeedTold(NEW_YEAR_2024, kind, symbol, value, reason)


def gate_of(*rules: RiskRule) -> tuple[RiskGate, Running]:
    """Return a gate that is wired into a run that has not started."""
    gate = RiskGate([Drawdown(0.99), *rules])
    engine = engine_of(make_bars([100.0] * 5), scripted({}), Terms(risk=gate))
    return gate, engine._running


@pytest.mark.parametrize(
    ("rule", "kind", "fine", "wrong", "reason"),
    [
        (StaleData(30), "stale", 30.0, 30.5, r"nothing heard of TEST for 30.5 s; limit 30 s"),
        (FeedLag(2), "lag", 2.0, 2.5, r"bars of TEST come 2.5 s late; limit 2 s"),
        (ClockSkew(0.5), "skew", 0.5, 0.75, r"our clock is 0.75 s ahead of the venue's; limit 0.5 s"),
        (ClockSkew(0.5), "skew", -0.5, -0.75, r"our clock is 0.75 s behind the venue's; limit 0.5 s"),
    ],
)
def test_what_the_feed_says_halts_beyond_the_limit(
    rule: Any, kind: str, fine: float, wrong: float, reason: str
) -> None:
    gate, _ = gate_of(rule)
    assert gate.on_feed(told(kind, fine)) == []
    assert gate.on_feed(told("revised", 1e9)) == []
    [halt] = gate.on_feed(told(kind, wrong))
    assert isinstance(halt, Halt)
    assert (halt.rule, halt.symbol, halt.value, halt.reason, halt.lift_at) == (rule.name, "TEST", wrong, reason, None)
    assert gate.on_feed(told(kind, wrong)) == [], "it is in force already"
    assert gate.on_feed(told(kind, 0.0)) == [], "a person has to lift it"


@pytest.mark.parametrize(
    ("rule", "kind", "well"),
    [
        (StaleData(30, lift_after=FRESH), "stale", "fresh"),
        (FeedLag(30, lift_after=FRESH), "lag", "lag"),
        (ClockSkew(30, lift_after=FRESH), "skew", "skew"),
    ],
)
def test_a_halt_may_last_until_the_feed_is_well_again(rule: Any, kind: str, well: str) -> None:
    gate, _ = gate_of(rule)
    assert len(gate.on_feed(told(kind, 31.0))) == 1
    assert gate.on_feed(told(well, 0.0, "OTHER")) == [], "another symbol's"
    [lift] = gate.on_feed(told(well, 0.0))
    assert lift == Lift(NEW_YEAR_2024, rule.name, "TEST", f"the feed is well again: {well}", "feed")
    assert gate.halts == {}
    assert gate.card()[rule.name] == {"seconds": 30, "action": "refuse", "lift_after": "fresh"}


def test_a_halt_of_the_feed_does_what_it_is_set_to() -> None:
    gate = RiskGate([StaleData(30, action="flatten"), Drawdown(0.99)])
    engine: list[Any] = []
    strategy = scripted({
        0: buy(2), 2: lambda _: engine[0]._running.watch.on_feed(told("stale", 60.0, "")), 3: buy(1)})
    engine.append(engine_of(make_bars([100.0] * 6), strategy, Terms(risk=gate, fees=MakerTakerFees())))
    outcome = Outcome(engine[0], strategy)
    assert [fill[:2] for fill in outcome.fills] == [("buy", 1), ("sell", 3)]
    assert [reason.split(":")[0] for _, reason in outcome.refused] == ["stale_data"]
    [event] = outcome.result.risk_events
    assert (event.rule, event.symbol) == ("stale_data", "")


def test_a_person_s_halt_is_recorded_and_only_a_stricter_one_adds_to_it() -> None:
    gate, running = gate_of()
    assert running.watch is not None
    watch = running.watch
    [halt] = watch.halt("strange prints", "ann", time=5)
    assert (halt.rule, halt.reason, halt.action) == ("operator", "strange prints (by ann)", "refuse")
    assert watch.halt("again", "bob", time=6) == []
    assert [one.action for one in watch.halt("out", "bob", time=7, action="flatten")] == ["flatten"]
    assert watch.halt("less", "bob", time=8, action="cancel") == []
    assert len(watch.halt("just this", "bob", time=8, symbol="TEST")) == 1
    assert [lift.rule for lift in watch.lift("all clear", "ann", time=9)] == ["operator", "operator"]
    assert [type(fact).__name__ for fact in watch.facts] == ["Halt", "Halt", "Halt", "Lift", "Lift"]
    assert not gate.halts


def test_a_halt_needs_a_reason_and_an_action_that_there_is() -> None:
    gate, _ = gate_of()
    with pytest.raises(SettingsError, match="a halt needs a reason, for the record"):
        gate.halt(" ", "ann", time=1)
    with pytest.raises(SettingsError, match="operator: action is 'explode'; expected one of refuse, cancel, flatten"):
        gate.halt("x", "ann", time=1, action="explode")
    with pytest.raises(SettingsError, match="stale_data: -1 seconds; expected a number above 0"):
        StaleData(-1)
    with pytest.raises(SettingsError, match="forecast_age: 0 ns; expected 1 or more"):
        ForecastAge(0)


class AsksOnce(Strategy):
    """Buys on the forecasts of the first day, and holds on."""

    def on_start(self) -> None:
        self.model = self.forecasts("model", every="ask")

    def on_bar(self, bar: Any) -> None:
        now = hours(bar.close_time)
        if now in (6, 20):
            self.model.ask("TEST")
            self.target("TEST", 0.5, why="asked")
        elif now == 16:
            self.target("TEST", 0.9, why="more")


@pytest.mark.parametrize("limit", [8, 30])
def test_a_position_may_not_rest_on_an_old_forecast(limit: int) -> None:
    spec = spec_of(ForecastKind.RETURN, timeframe="1h", is_deterministic=True)
    gate = RiskGate([ForecastAge(limit * HOUR, lift_after=3 * HOUR)])
    result = run_bars(walk(24), AsksOnce(), Terms(risk=gate), forecasters={"model": momentum(spec)})
    found = [(type(fact).__name__, hours(fact.time), fact.symbol) for fact in result.risk_events]
    # made at 6: at 15 it is nine hours old. A lift counts from there.
    assert found == ([("Halt", 15, "TEST"), ("Lift", 18, "TEST")] if limit == 8 else [])
    if limit == 8:
        assert result.risk_events[0].reason == "the forecast behind TEST is 32400 s old; limit 28800 s"


def test_what_the_rules_know_outlives_a_restart() -> None:
    rule = ForecastAge(DAY)
    gate, _ = gate_of(rule, StaleData(30))
    gate.on_feed(told("stale", 60.0))
    other, _ = gate_of(ForecastAge(DAY), StaleData(30, lift_after=FRESH))
    other.load_state(gate.save_state())
    assert list(other.halts) == [("stale_data", "TEST")]
    assert len(other.on_feed(told("fresh", 0.0))) == 1


def test_a_run_without_such_rules_is_not_slowed() -> None:
    assert not RiskGate([StaleData(30), ClockSkew(1)]).watches
    assert parts_for(BarsFeed(make_bars([100.0])), scripted({})).risk is None
