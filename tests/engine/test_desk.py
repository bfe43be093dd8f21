"""Between a strategy's wish and the broker: sizing, checks, refusals, and what is written down."""

from decimal import Decimal
from typing import Any

import pytest

from engine import Instrument, OrderStatus
from engine.costs import FixedSlippage, MakerTakerFees
from engine.errors import StrategyError
from engine.risk import Asked, RiskGate, RiskRule
from engine.testing import Terms, engine_for, make_bars
from tests.engine.cases import ListJournal, amend, buy, merged, run, scripted, sell, target

D = Decimal
FLAT = 100.0
STOCK = Instrument("TEST", quantity_increment=D(1))


@pytest.mark.parametrize(
    ("asks", "rows", "quantities"),
    [
        # half of 1000 at 100, bought at the open
        ({0: target(0.5)}, [FLAT, FLAT], [("buy", 1, 5, 100)]),
        ({0: target(-0.5)}, [FLAT, FLAT], [("sell", 1, 5, 100)]),
        ({0: target(0.55)}, [FLAT, FLAT], [("buy", 1, 5, 100)]),  # cut towards zero
        # repeating a target trades nothing, though the price has doubled
        ({0: target(0.5), 1: target(0.5)}, [FLAT, 200.0, 200.0], [("buy", 1, 5, 200)]),
        (
            {0: target(0.5), 1: target(0.5, rebalance=True)},
            [FLAT, (100, 200, 100, 200), 200.0],
            [("buy", 1, 5, 100), ("sell", 2, 2, 200)],
        ),
        # the difference to what is held is traded
        ({0: target(0.5), 1: target(0.8)}, [FLAT, FLAT, FLAT], [("buy", 1, 5, 100), ("buy", 2, 3, 100)]),
        ({0: target(0.5), 1: target(-0.5)}, [FLAT, FLAT, FLAT], [("buy", 1, 5, 100), ("sell", 2, 10, 100)]),
        ({0: target(0.5), 1: target(0.0)}, [FLAT, FLAT, FLAT], [("buy", 1, 5, 100), ("sell", 2, 5, 100)]),
        ({0: target(0.0)}, [FLAT, FLAT], []),
        ({0: target(0.004)}, [FLAT, FLAT], []),  # less than one share
    ],
)
def test_a_target_is_a_share_of_equity(asks: Any, rows: Any, quantities: Any) -> None:
    assert run(rows, asks, cash=D(1000), instruments=[STOCK]).quantities == quantities


def test_a_full_target_leaves_room_for_fee_and_slippage() -> None:
    outcome = run(
        [FLAT, FLAT], {0: target(1.0)}, cash=D(1000), fees=MakerTakerFees(D(0), D("0.01")), slippage=FixedSlippage(100)
    )
    assert outcome.reduced == []
    assert outcome.portfolio.accounts["USD"].cash < 2


def test_a_newer_target_withdraws_what_the_older_has_not_got() -> None:
    rows = [FLAT, (100, 100, 100, 100, 20), (100, 100, 100, 100, 20), (100, 100, 100, 100, 1000)]
    outcome = run(rows, {0: target(1.0), 1: target(0.3), 2: target(1.0)}, cash=D(1000), instruments=[STOCK])
    assert outcome.cancelled == [(1, "replaced by a newer target")]
    assert outcome.quantities == [("buy", 1, 2, 100), ("buy", 2, 1, 100), ("buy", 3, 7, 100)]


def test_a_target_that_is_reached_already_leaves_no_trace() -> None:
    journal = ListJournal()
    engine_for(make_bars([FLAT, FLAT]), scripted({0: target(0.0)}), journal=journal).run()
    assert journal.tables()["decisions"] == []


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (buy(0), "quantity to buy TEST is 0; expected a number above 0"),
        (sell(-1), "quantity to sell TEST is -1; expected a number above 0"),
        (buy(float("nan")), "quantity to buy TEST is nan"),
        (buy(float("inf")), "quantity to buy TEST is inf"),
        (buy(limit=-5), "limit for TEST is -5; expected a price above 0"),
        (buy(stop=float("nan")), "stop for TEST is nan; expected a price above 0"),
        (buy(stop_loss=0), "stop_loss for TEST is 0; expected a price above 0"),
        (buy(take_profit=float("inf")), "take_profit for TEST is inf; expected a price above 0"),
        (buy(trail_fraction=5), "trail_fraction for TEST is 5; expected a fraction between 0 and 1, such as 0.05"),
        (buy(trail_stop_fraction=0.0), "trail_stop_fraction for TEST is 0.0; expected a fraction between 0 and 1"),
        (buy(trail_amount=0), "trail_amount for TEST is 0; expected a price above 0"),
        (
            buy(trail_amount=5, trail_fraction=0.1),
            "was given trail_fraction, trail_amount; expected trail_fraction or trail_amount alone",
        ),
        (buy(trail_amount=5, limit=90), "a trailing stop for TEST was given limit, trail_amount"),
        (buy(limit=0.001), "0.001 for TEST rounds to 0; prices there go in steps of 0.01"),
        (
            buy(post_only=True),
            "post_only asks to rest in the book, which a market order for TEST never does; expected a limit",
        ),
        (buy(stop=105, limit=106, post_only=True), "which a stop_limit order for TEST never does"),
        (target(1.5), "target for TEST is 1.5; expected a fraction of equity between -1 and 1"),
        (target(float("nan")), "target for TEST is nan; expected a fraction of equity between -1 and 1"),
    ],
)
def test_requests_that_can_mean_nothing(ask: Any, message: str) -> None:
    with pytest.raises(StrategyError, match="OrderError: .*" + message):
        run([FLAT, FLAT], {0: ask})


def test_good_till_date_needs_the_date() -> None:
    from engine import TimeInForce

    with pytest.raises(StrategyError, match="TEST: good-till-date needs expire_at, UTC nanoseconds"):
        run([FLAT, FLAT], {0: buy(time_in_force=TimeInForce.GTD)})


@pytest.mark.parametrize("act", [lambda s: s.buy("TSET", 1), lambda s: s.target("TSET", 1.0)])
def test_what_is_not_in_the_run_cannot_be_traded(act: Any) -> None:
    with pytest.raises(StrategyError, match="no instrument 'TSET' in this run; there are A, B"):
        run(merged(make_bars([FLAT], symbol="A"), make_bars([FLAT], symbol="B")), {0: act})


@pytest.mark.parametrize("act", [lambda s: s.buy("B", 1), lambda s: s.target("B", 1.0)])
def test_what_has_no_bar_yet_cannot_be_traded(act: Any) -> None:
    late = make_bars([FLAT, FLAT, FLAT], symbol="B")[2:]
    with pytest.raises(StrategyError, match="B has no bar yet, so it cannot be traded; wait for its first bar"):
        run(merged(make_bars([FLAT] * 3, symbol="A"), late), {0: act})


def test_a_target_of_nothing_is_met_before_the_first_bar() -> None:
    late = make_bars([FLAT, FLAT, FLAT], symbol="B")[2:]
    outcome = run(merged(make_bars([FLAT] * 3, symbol="A"), late), {0: lambda s: s.target("B", 0.0)})
    assert outcome.result.order_count == 0


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (buy(0.4), "quantity rounds to 0; the step of TEST is 1"),
        (buy(1), "quantity 1 is below the venue's minimum 2"),
        (buy(4), "notional 400 USD is below the venue's minimum 500"),
        # its stop would sell for less than the venue takes: an entry without its stop is not what was asked for
        (buy(5, stop_loss=95), "its stop: notional 475 USD is below the venue's minimum 500"),
        (sell(5, take_profit=95), "its target: notional 475 USD is below the venue's minimum 500"),
        (buy(6, take_profit=90), "take_profit of a buy bracket is 90; expected a price above the last close, 100.00"),
        (buy(6, limit=90, stop_loss=92), "stop_loss of a buy bracket is 92; expected a price below its limit, 90.00"),
    ],
)
def test_a_refused_request_never_reaches_the_broker(ask: Any, reason: str) -> None:
    venue = Instrument("TEST", quantity_increment=D(1), min_quantity=D(2), min_notional=D(500))
    journal = ListJournal()
    strategy = scripted({0: ask})
    engine = engine_for(make_bars([FLAT, FLAT]), strategy, instruments=[venue], journal=journal)
    result = engine.run()
    assert [(type(event).__name__, event.order.id, event.reason) for event in strategy.events] == [
        ("RequestRefused", 1, reason)
    ]
    assert strategy.events[0].order.status is OrderStatus.REFUSED
    assert engine.broker.working == {}
    assert (result.order_count, result.refused_count, len(result.fills)) == (1, 1, 0)
    tables = journal.tables()
    assert [row[3:] for row in tables["order_events"]] == [("refused", reason)], "and it is on record"
    assert len(tables["decisions"]) == len(tables["orders"]) == 1


def test_the_order_that_comes_back_tells_of_its_refusal() -> None:
    seen: list[Any] = []
    run([FLAT, FLAT], {0: lambda s: seen.append(s.buy("TEST", 1e-9))})
    assert seen[0].status is OrderStatus.REFUSED


def test_a_rule_of_one_s_own_sees_every_order_and_the_books() -> None:
    class OnlyFlat(RiskRule):
        def refusal(self, asked: Asked) -> str | None:
            return "one position is enough" if asked.view.position(asked.symbol).lots else None

    outcome = run([FLAT, FLAT, FLAT], {0: buy(), 1: [buy(), target(0.9)]}, risk=RiskGate([OnlyFlat()]))
    assert outcome.refused == [(2, "only_flat: one position is enough"), (3, "only_flat: one position is enough")]
    assert outcome.position == 1


def test_a_bracket_is_one_decision_and_three_orders_numbered_in_a_row() -> None:
    journal = ListJournal()
    strategy = scripted({0: [buy(2, stop_loss=95, take_profit=110, why="breakout"), buy(1)]})
    engine_for(make_bars([FLAT, FLAT]), strategy, journal=journal).run()
    tables = journal.tables()
    assert [(row[0], row[6], row[8]) for row in tables["decisions"]] == [
        (1, "buy 2 market stop_loss 95 take_profit 110", "breakout"),
        (2, "buy 1 market", ""),
    ]
    # id, decision, side, type, reduce-only, parent, group
    assert [(row[0], row[1], row[4], row[5], row[13], row[14], row[15]) for row in tables["orders"]] == [
        (1, 1, "buy", "market", False, None, None),
        (2, 1, "sell", "stop", True, 1, 2),
        (3, 1, "sell", "limit", True, 1, 2),
        (4, 2, "buy", "market", False, None, None),
    ]


def test_a_bracket_may_trail_and_have_all_three() -> None:
    outcome = run(
        [FLAT, FLAT, (100, 120, 100, 119), (119, 119, 107, 108)],
        {0: buy(stop_loss=80, trail_stop_fraction=0.1, take_profit=150)},
    )
    assert [fill[:3] for fill in outcome.fills] == [("buy", 1, 100), ("sell", 3, 108)]
    assert sorted(number for number, _ in outcome.cancelled) == [2, 4]


def test_amending_below_what_has_filled_is_refused_with_the_numbers() -> None:
    rows = [FLAT, (100, 100, 100, 100, 20), FLAT]
    with pytest.raises(StrategyError, match="order 1 has filled 2; its quantity cannot be amended to 2, expected more"):
        run(rows, {0: buy(5), 1: amend(1, quantity=2)}, instruments=[STOCK])


def test_orders_carry_the_day_they_are_good_for() -> None:
    from engine import TimeInForce
    from engine.bars import DAY, HOUR
    from engine.testing import NEW_YEAR_2024

    strategy = scripted({0: buy(limit=90, time_in_force=TimeInForce.DAY)})
    engine_for(make_bars([FLAT, FLAT], timeframe="1h", start=NEW_YEAR_2024 + 5 * HOUR), strategy).run()
    assert strategy.events[0].order.expire_at == NEW_YEAR_2024 + DAY


def test_terms_have_sane_defaults() -> None:
    assert Terms().switches.volume_cap == 0.1
    assert Terms().allow_short


@pytest.mark.parametrize("act", [target(0.5), lambda s: s.quantity_for_exposure("TEST", 0.5)])
def test_a_price_below_half_an_increment_is_no_price(act: Any) -> None:
    with pytest.raises(StrategyError, match=r"0\.4 for TEST rounds to 0; prices there go in steps of 1"):
        run([0.4, 0.4], {0: act}, price_increment=D(1))
