"""The gate before the broker: what the venue would reject, rules of one's own, their order, and what is kept."""

import json
from decimal import Decimal
from typing import Any

import pytest

from engine import Instrument, Order, OrderType, Param, SettingsError, Side
from engine.bars import Bar
from engine.costs import EquityFees, FixedSlippage, MakerTakerFees, NoSlippage
from engine.moment import SingleMoment
from engine.portfolio import Portfolio
from engine.risk import AccountClose, Asked, Breach, Halt, Refusal, RiskGate, RiskRule, RiskView, headroom
from engine.risk.losses import DailyLoss, Drawdown
from engine.risk.sizes import MaxPosition

D = Decimal
VENUE = Instrument("X", "USDT", quantity_increment=D("0.001"), min_quantity=D("0.01"), min_notional=D(10))


def view(instrument: Instrument = VENUE, price: float = 100.0) -> RiskView:
    moment = SingleMoment(instrument.symbol)
    moment.bar = Bar(instrument.symbol, 0, 1, price, price, price, price, 1.0, "1d", 0)
    return RiskView(Portfolio({instrument.quote: D(1000)}, [instrument]), {}, moment)


def attached(*rules: RiskRule, instrument: Instrument = VENUE, price: float = 100.0) -> RiskGate:
    gate = RiskGate(rules)
    gate.attach(view(instrument, price))
    return gate


def order(lots: int, kind: OrderType = OrderType.MARKET, **terms: Any) -> Order:
    return Order(1, 1, VENUE, Side.BUY, kind, lots, 0, **terms)


@pytest.mark.parametrize(
    ("asked", "price", "reason"),
    [
        (order(0), 100.0, "quantity rounds to 0; the step of X is 0.001"),
        (order(9), 10_000.0, "quantity 0.009 is below the venue's minimum 0.01"),
        (order(99), 100.0, "notional 9.9 USDT is below the venue's minimum 10"),
        (order(100), 100.0, None),
        # a limit counts at its limit, a stop at its stop
        (order(100, OrderType.LIMIT, limit_ticks=9_999), 200.0, "notional 9.999 USDT is below the venue's minimum 10"),
        (order(100, OrderType.LIMIT, limit_ticks=10_000), 50.0, None),
        (order(100, OrderType.STOP, stop_ticks=9_000), 200.0, "notional 9 USDT is below the venue's minimum 10"),
        (order(100, OrderType.STOP_LIMIT, stop_ticks=9_000, limit_ticks=10_000), 50.0, None),
    ],
)
def test_the_venue_s_filters(asked: Order, price: float, reason: str | None) -> None:
    refusal = attached(price=price).refusal(asked)
    assert refusal == (None if reason is None else Refusal("venue", reason))
    assert reason is None or str(refusal) == reason, "the venue's filters stand without a rule's name"


def test_a_contract_s_multiplier_counts() -> None:
    contract = Instrument("X", quantity_increment=D(1), min_notional=D(10), multiplier=D("0.01"))
    asked = Order(1, 1, contract, Side.BUY, OrderType.MARKET, 9, 0)
    assert str(attached(instrument=contract).refusal(asked)) == "notional 9 USD is below the venue's minimum 10"


class No(RiskRule):
    def __init__(self, reason: str | None) -> None:
        self.reason = reason

    def refusal(self, asked: Asked) -> str | None:
        return self.reason


class NoAgain(No):
    """Its name is made of the class's."""


class NeverAsked(RiskRule):
    def refusal(self, asked: Asked) -> str | None:
        raise AssertionError("a rule before it has refused")


def test_the_first_refusal_counts_and_filters_come_first() -> None:
    gate = attached(No(None), NoAgain("enough for today"), NeverAsked())
    assert str(gate.refusal(order(100))) == "no_again: enough for today"
    assert str(gate.refusal(order(0))) == "quantity rounds to 0; the step of X is 0.001"
    assert gate.has_rules
    assert not gate.watches, "its rules look at orders alone"
    assert not RiskGate().has_rules


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="two risk rules are called 'no'; give one of the classes another `name`"):
        RiskGate([No(None), No("x")])


class Quiet(RiskRule):
    """Declares parameters as a strategy does."""

    most: int = Param(3, ge=1)
    word: str = Param("hush", choices=("hush", "shh"))


def test_a_rule_s_parameters_are_checked_and_are_its_card() -> None:
    assert RiskGate([Quiet(most=5)]).card() == {"quiet": {"most": 5, "word": "hush"}}
    with pytest.raises(SettingsError, match="Quiet: parameter most is 0; expected ≥ 1"):
        Quiet(most=0)
    with pytest.raises(SettingsError, match="Quiet: unknown parameter 'mots'; did you mean 'most'"):
        Quiet(mots=1)


def test_the_card_has_limits_and_what_halts_do() -> None:
    gate = RiskGate([MaxPosition(D(2), {"X": D("0.5")}), Drawdown(0.2, action="flatten", lift_after=10**9 * 3600)])
    assert gate.card() == {
        "max_position": {"default": "2", "X": "0.5"},
        "drawdown": {"fraction": 0.2, "action": "flatten", "lift_after": "3600 s"},
    }
    assert RiskGate().card() == {}


# ── lifting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def halted() -> RiskGate:
    gate = attached(Drawdown(0.1), DailyLoss(amount=50.0))
    assert gate.on_close(AccountClose(10, 1000.0)) == []
    facts = gate.on_close(AccountClose(20, 900.0))
    assert [type(fact) for fact in facts] == [Halt, Halt]
    return gate


def test_a_lift_names_who_and_why_and_the_rules_start_anew() -> None:
    gate = halted()
    refusal = gate.refusal(order(100))
    assert refusal is not None
    assert refusal.rule == "drawdown"
    assert refusal.text == (
        "halted since 1970-01-01T00:00Z until it is lifted: equity 900.00 is 10.00% below its highest "
        "1000.00; limit 10.00%"
    )

    lifts = gate.lift("checked", "ann", time=25, rule="drawdown")

    assert [(lift.time, lift.rule, lift.why, lift.by) for lift in lifts] == [(25, "drawdown", "checked", "ann")]
    assert [halt.rule for halt in gate.halts.values()] == ["daily_loss"]
    gate.lift("all clear", "ann", time=26)
    assert gate.refusal(order(100)) is None
    assert gate.on_close(AccountClose(30, 860.0)) == [], "less than a tenth, and less than 50, since the lift"
    assert {fact.rule for fact in gate.on_close(AccountClose(40, 810.0))} == {"drawdown", "daily_loss"}


def test_there_must_be_something_to_lift_and_a_reason() -> None:
    with pytest.raises(SettingsError, match="a lift needs a reason"):
        halted().lift("  ", "ann", time=30)
    with pytest.raises(
        SettingsError,
        match=r"no halt of drawdwon to lift; in force: drawdown \(all\), daily_loss \(all\); did you mean 'drawdown'",
    ):
        halted().lift("ok", "ann", time=30, rule="drawdwon")
    with pytest.raises(SettingsError, match="no halt of anything to lift; in force: none"):
        attached().lift("ok", "ann", time=30)


class Once(RiskRule):
    lift_after = 100

    def on_close(self, close: AccountClose, view: RiskView) -> list[Breach]:
        return [Breach(1, 1, "seen", "X")] if close.time == 10 else []


def test_a_halt_with_a_time_ends_by_itself_and_concerns_its_symbol() -> None:
    gate = attached(Once())
    [halt] = gate.on_close(AccountClose(10, 1.0))
    assert halt == Halt(10, "once", "X", 1, 1, "seen", "refuse", 110)
    assert gate.on_close(AccountClose(109, 1.0)) == []
    [lift] = gate.on_close(AccountClose(110, 1.0))
    assert (lift.rule, lift.symbol, lift.by) == ("once", "X", "schedule")
    assert not gate.halts


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_state_goes_through_json_and_the_halts_stay() -> None:
    gate = halted()
    state = json.loads(json.dumps(gate.save_state()))

    again = attached(Drawdown(0.1), DailyLoss(amount=50.0))
    again.load_state(state)

    assert again.halts == gate.halts
    assert again.save_state() == gate.save_state()
    assert again.watches
    assert str(again.refusal(order(100))) == str(gate.refusal(order(100)))


def test_a_halt_outlives_its_rule() -> None:
    gate = RiskGate()
    gate.load_state(halted().save_state())
    gate.attach(view())
    assert gate.has_rules
    assert gate.refusal(order(100)) is not None
    gate.lift("the rule is gone", "ann", time=30)
    assert gate.refusal(order(100)) is None


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(SettingsError, match="the risk gate's state is of version 7; expected 1"):
        RiskGate().load_state({"version": 7})


# ── headroom ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fees", "slippage", "share"),
    [
        (MakerTakerFees(), NoSlippage(), 1.0),
        (MakerTakerFees(D(0), D("0.001")), NoSlippage(), 1 / 1.001),
        (MakerTakerFees(D(0), D("-0.001")), NoSlippage(), 1.0),  # a rebate buys nothing ahead
        (MakerTakerFees(), FixedSlippage(7, 3), 1 / 1.001),
        (MakerTakerFees(D(0), D("0.001")), FixedSlippage(10), 1 / 1.001**2),
        (MakerTakerFees(per_symbol={"X": (D(0), D("0.01"))}), NoSlippage(), 1 / 1.01),
        (EquityFees(rate=D("0.0003")), NoSlippage(), 1 / 1.0003),
    ],
)
def test_headroom_leaves_what_costs_take(fees: Any, slippage: Any, share: float) -> None:
    assert headroom(fees, slippage, "X") == pytest.approx(share, rel=1e-12)
