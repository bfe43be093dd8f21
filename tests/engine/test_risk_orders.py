"""Rules that look at orders: at the limit an order passes, above it is refused, and what only reduces passes."""

from decimal import Decimal
from typing import Any

import pytest

from engine import Instrument, SettingsError
from engine.bars import DAY
from engine.risk import RiskGate, RiskRule
from engine.risk.flow import AllowedInstruments, MaxOpenOrders, OrderRate, PriceBand, ReduceOnly, VolumeShare
from engine.risk.sizes import MaxLeverage, MaxOrderNotional, MaxPosition, MaxPositionNotional
from engine.testing import Terms, engine_for, make_bars
from tests.engine.cases import ListJournal, Outcome, Step, amend, buy, cancel, merged, run, scripted, sell, target

D = Decimal
FLAT = [100, 100, 100, 100]
TOO_LOW = "price_band: its stop: the stop 20.00 is 80.0000% from the last close 100.00; limit 10.0000%"


def gated(asks: Any, *rules: RiskRule, rows: Any = (FLAT,) * 8, **options: Any) -> Outcome:
    return run(rows, asks, risk=RiskGate(rules), **options)


def reasons(outcome: Outcome) -> list[str]:
    return [reason for _, reason in outcome.refused]


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        ({0: buy(2)}, []),
        ({0: buy(2.5)}, ["max_position: buying 2.5 could bring TEST to 2.5 long; limit 2"]),
        ({0: sell(2)}, []),
        ({0: sell(2.5)}, ["max_position: selling 2.5 could bring TEST to 2.5 short; limit 2"]),
        # what is working counts as if it had filled
        ({0: [buy(1.5), buy(0.6)]}, ["max_position: buying 0.6 could bring TEST to 2.1 long; limit 2"]),
        ({0: [buy(1.5, limit=50), buy(0.6)]}, ["max_position: buying 0.6 could bring TEST to 2.1 long; limit 2"]),
        ({0: [buy(1.5, limit=50)], 1: cancel(1), 2: buy(2)}, []),
        # of an OCO group one fills
        ({0: [buy(2, limit=50, oco_group="a"), buy(2, stop=150, oco_group="a")]}, []),
        # a reversal is as large as what it leaves
        ({0: buy(2), 2: sell(4)}, []),
        ({0: buy(2), 2: sell(4.5)}, ["max_position: selling 4.5 could bring TEST to 2.5 short; limit 2"]),
        # reducing passes, and a stop may stand beside it
        ({0: buy(2, stop_loss=90, take_profit=120), 2: sell(2)}, []),
        ({0: buy(2), 1: [sell(2, stop=90), sell(2, limit=120)]}, []),
        ({0: buy(2), 1: [sell(2, stop=90), sell(2, limit=120), sell(1, limit=130)]},
         ["max_position: selling 1 could bring TEST to 3 short; limit 2"]),
        ({0: sell(2), 1: [buy(2, stop=120), buy(2, limit=90), buy(1, limit=80)]},
         ["max_position: buying 1 could bring TEST to 3 long; limit 2"]),
    ],
)  # fmt: skip
def test_max_position(asks: Any, told: list[str]) -> None:
    assert reasons(gated(asks, MaxPosition(D(2)))) == told


def test_an_order_that_is_refused_even_as_reduce_only_is_recorded_as_it_was_asked_for() -> None:
    asks = {0: buy(2), 1: [sell(2, stop=90), sell(2, limit=120), sell(1, limit=130)]}
    outcome = gated(asks, MaxPosition(D(2)))
    assert not outcome.order(4).reduce_only


def test_a_limit_may_differ_by_symbol_and_none_is_none() -> None:
    assert reasons(gated({0: buy(2)}, MaxPosition(D(5), {"TEST": D(1)}))) != []
    assert reasons(gated({0: buy(2)}, MaxPosition(D(1), {"TEST": D(5)}))) == []
    assert reasons(gated({0: buy(2)}, MaxPosition(None, {"OTHER": D(1)}))) == []
    assert reasons(gated({0: buy(2)}, MaxPosition(D(0)))) == [
        "max_position: buying 2 could bring TEST to 2 long; limit 0"
    ]


def test_amending_asks_the_gate_and_a_refused_amendment_leaves_the_order_as_it_was() -> None:
    outcome = gated({0: buy(1, limit=50), 1: amend(1, quantity=3), 2: amend(1, quantity=2)}, MaxPosition(D(2)))
    assert outcome.refused == [
        (1, "amendment refused: max_position: buying 3 could bring TEST to 3 long; limit 2"),
    ]
    assert outcome.order(1).quantity == 2
    assert outcome.order(1).is_open
    assert outcome.result.refused_count == 0, "no order was refused"


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        ({0: buy(10)}, []),
        ({0: buy(10.1)}, ["max_order_notional: buying 10.1 is worth 1010 USD; limit 1000"]),
        # a limit or stop above the last close counts
        ({0: buy(9, stop=120)}, ["max_order_notional: buying 9 is worth 1080 USD; limit 1000"]),
        ({0: sell(9, limit=120)}, ["max_order_notional: selling 9 is worth 1080 USD; limit 1000"]),
        ({0: buy(10, limit=90)}, []),
        ({0: buy(10), 1: buy(10), 3: sell(20)}, []),  # it only reduces
    ],
)
def test_max_order_notional(asks: Any, told: list[str]) -> None:
    assert reasons(gated(asks, MaxOrderNotional(D(1000)))) == told


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        ({0: buy(5), 1: buy(5)}, []),
        ({0: buy(5), 1: buy(6)}, ["max_position_notional: buying 6 could bring TEST to 1100 USD; limit 1000"]),
        ({0: sell(5), 1: sell(6)}, ["max_position_notional: selling 6 could bring TEST to 1100 USD; limit 1000"]),
    ],
)
def test_max_position_notional(asks: Any, told: list[str]) -> None:
    assert reasons(gated(asks, MaxPositionNotional(D(1000)))) == told


def test_a_position_whose_price_ran_beyond_the_limit_may_be_closed_whatever_else_works() -> None:
    rows = [FLAT, FLAT, [100, 150, 100, 150], 150, 150, 150]
    outcome = gated({0: buy(10, stop_loss=90), 3: buy(1), 4: sell(10)}, MaxPositionNotional(D(1000)), rows=rows)
    assert reasons(outcome) == ["max_position_notional: buying 1 could bring TEST to 1650 USD; limit 1000"]
    assert outcome.position == 0
    assert outcome.order(4).reduce_only, "beside the stop it could have opened a short, so it was sent as reduce-only"


def test_a_contract_s_multiplier_counts() -> None:
    contract = Instrument("TEST", quantity_increment=D(1), multiplier=D("0.1"))
    outcome = gated({0: buy(100), 1: buy(1)}, MaxPositionNotional(D(1000)), instruments=[contract])
    assert reasons(outcome) == ["max_position_notional: buying 1 could bring TEST to 1010 USD; limit 1000"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (MaxLeverage(gross=D(1)), ["max_leverage: selling 6 could bring gross leverage to 1.1; limit 1"]),
        (MaxLeverage(gross=D("1.1")), []),
        (MaxLeverage(net=D("0.6")), []),
        (MaxLeverage(net=D("0.5")), ["max_leverage: selling 6 could bring net leverage to 0.6; limit 0.5"]),
    ],
)
def test_leverage_counts_the_whole_account_and_a_hedge_lowers_the_net(rule: RiskRule, told: list[str]) -> None:
    def steps(strategy: Any) -> None:
        strategy.buy("TEST", 5)
        strategy.sell("HEDGE", 6)

    bars = merged(make_bars([FLAT] * 4), make_bars([FLAT] * 4, symbol="HEDGE"))
    strategy = scripted({1: steps})
    outcome = Outcome(engine_for(bars, strategy, Terms(cash=D(1000), risk=RiskGate([rule]))), strategy)
    assert reasons(outcome) == told


def test_targets_at_all_of_equity_pass_a_leverage_of_one() -> None:
    outcome = gated({0: target(1.0), 2: target(-1.0), 4: target(0.0)}, MaxLeverage(gross=D(1)))
    assert reasons(outcome) == []
    assert outcome.position == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxPosition(D(-1)), "max_position: the limit of default is -1; expected 0 or more"),
        (lambda: MaxPosition(None, {"A": D("NaN")}), "max_position: the limit of A is NaN; expected 0 or more"),
        (lambda: MaxLeverage(gross=D(0)), "max_leverage: gross is 0; expected a number above 0, such as 2"),
        (lambda: OrderRate(0, DAY), "order_rate: 0 orders in 86400000000000 ns; expected at least 1 in at least 1 ns"),
        (lambda: MaxOpenOrders(0), "max_open_orders: orders is 0; expected 1 or more"),
        (lambda: PriceBand(0), "price_band: fraction is 0; expected a number above 0, such as 0.1"),
        (lambda: VolumeShare(0.1, 0), "volume_share: fraction 0.1 of 0 bars; expected above 0, of 1 or more"),
        (lambda: AllowedInstruments(["A"], ["A"]), "A is allowed and forbidden; expected one of the two"),
    ],
)
def test_limits_that_mean_nothing_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()


# ── flow ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_order_rate_counts_what_was_sent_within_the_window() -> None:
    asks: dict[int, Step] = {bar: buy(1) for bar in range(6)}
    outcome = gated(asks, OrderRate(2, 3 * DAY))
    # bars 0 and 1 fill the window; bar 3 sees one of them gone, and refused orders do not count
    assert outcome.refused == [
        (3, "order_rate: 2 orders were sent within 259200 s; limit 2"),
        (6, "order_rate: 2 orders were sent within 259200 s; limit 2"),
    ]


def test_order_rate_lets_pass_what_reduces_and_counts_it() -> None:
    outcome = gated({0: buy(1), 1: sell(0.5), 2: [sell(0.5), buy(1)]}, OrderRate(2, 10 * DAY))
    assert outcome.refused == [(4, "order_rate: 3 orders were sent within 864000 s; limit 2")]


def test_max_open_orders() -> None:
    low = [buy(1, limit=price) for price in (50, 51, 52)]
    assert reasons(gated({0: low}, MaxOpenOrders(2))) == ["max_open_orders: 2 orders are working; limit 2"]
    told = "max_open_orders: 1 orders of TEST are working; limit 1"
    assert reasons(gated({0: low}, MaxOpenOrders(9, 1))) == [told, told]
    assert reasons(gated({0: buy(1), 1: low[0], 2: sell(1, stop=90)}, MaxOpenOrders(1))) == []
    assert reasons(gated({0: low[0], 1: amend(1, quantity=2)}, MaxOpenOrders(1))) == []


def test_allowed_and_forbidden_instruments() -> None:
    assert reasons(gated({0: buy(1)}, AllowedInstruments(allow=["TEST"]))) == []
    assert reasons(gated({0: buy(1)}, AllowedInstruments(allow=["A", "B"]))) == [
        "allowed_instruments: TEST is not allowed; allowed are A, B"
    ]
    assert reasons(gated({0: buy(1)}, AllowedInstruments(forbid=["TEST"]))) == [
        "allowed_instruments: TEST is forbidden"
    ]


def test_reduce_only_lets_nothing_open_and_sends_what_closes_as_reduce_only() -> None:
    assert reasons(gated({0: buy(1)}, ReduceOnly())) == [
        "reduce_only: only what reduces a position may be sent, and 0 TEST is held"
    ]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (buy(1, limit=90), []),
        (buy(1, limit=110), []),
        (buy(1, limit=110.01), ["price_band: the limit 110.01 is 10.0100% from the last close 100.00; limit 10.0000%"]),
        (sell(1, stop=89.99), ["price_band: the stop 89.99 is 10.0100% from the last close 100.00; limit 10.0000%"]),
        (buy(1), []),
        # a bracket is refused whole: an entry without its stop is not what was asked for
        (buy(1, stop_loss=20), [TOO_LOW]),
    ],
)
def test_price_band(ask: Step, told: list[str]) -> None:
    assert reasons(gated({0: ask}, PriceBand(0.1))) == told


def test_volume_share_measures_against_the_bars_seen() -> None:
    rows = [[100, 100, 100, 100, volume] for volume in (10, 20, 30, 40, 50, 60)]
    asks = {1: [buy(1.5), buy(1.6)], 3: [buy(3.5), buy(3.6)]}
    outcome = gated(asks, VolumeShare(0.1, 2), rows=rows)
    assert reasons(outcome) == [
        "volume_share: 1.6 is 10.6667% of the average volume 15 of 2 bars; limit 10.0000%",
        "volume_share: 3.6 is 10.2857% of the average volume 35 of 2 bars; limit 10.0000%",
    ]


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_is_an_event_on_record_and_counted_by_rule() -> None:
    journal = ListJournal()
    strategy = scripted({0: [buy(3), buy(1, limit=10), buy(1e-12)]})
    rules = [MaxPosition(D(2)), PriceBand(0.5)]
    result = engine_for(
        make_bars([FLAT] * 3), strategy, Terms(risk=RiskGate(rules)), journal=journal  # type: ignore[arg-type]
    ).run()
    assert result.refused_by == {"max_position": 1, "price_band": 1, "venue": 1}
    assert result.refused_count == 3
    assert [row[3:] for row in journal.tables()["order_events"]] == [
        ("refused", "max_position: buying 3 could bring TEST to 3 long; limit 2"),
        ("refused", "price_band: the limit 10.00 is 90.0000% from the last close 100.00; limit 50.0000%"),
        ("refused", "quantity rounds to 0; the step of TEST is 1E-8"),
    ]
