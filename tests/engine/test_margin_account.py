"""What a margin account lets open, what it charges, and what it is worth at every close."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Instrument, OrderCancelled, OrderReduced, SettingsError, StrategyError
from engine.bars import DAY, HOUR
from engine.carry import CarryTerms, FixedFunding
from engine.costs import MakerTakerFees
from engine.margin import MarginSchedule, MarginTerms
from engine.portfolio import Portfolio
from engine.semantics import Switches
from engine.testing import NEW_YEAR_2024, Terms, make_bars, run_bars
from tests.engine.cases import merged, scripted
from tests.engine.test_liquidation import Ran, perpetual

D = Decimal
FIVE = MarginTerms(schedule=MarginSchedule(D(5)), liquidation_fee=D(0))
TERMS = Terms(cash=D(1000), margin=FIVE)


def spot(symbol: str = "TEST", **terms: Any) -> Instrument:
    return perpetual(symbol, kind="spot", **terms)


def ran(rows: Any, act: Callable[[Any], Any], terms: Terms = TERMS, instruments: Any = (), **steps: Any) -> Ran:
    return Ran(rows, scripted({0: act, **{int(k[1:]): v for k, v in steps.items()}}), terms, instruments)


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("instrument", [perpetual(), spot()], ids=["perpetual", "spot"])
def test_what_there_is_no_margin_for_is_cut_off_at_the_fill(instrument):
    outcome = ran([100, 100, 100], lambda s: s.buy("TEST", 60), instruments=[instrument])
    assert outcome.fills == [("buy", 1, 50, 100)]
    [cut] = [event for event in outcome.strategy.events if isinstance(event, OrderReduced)]
    assert cut.reason == "from 60.000 to 50.000: not enough margin: 1000.00000000 USD available"


def test_the_fee_has_to_fit_beside_the_margin():
    terms = replace(TERMS, fees=MakerTakerFees(D("0.001"), D("0.001")))
    outcome = ran([100, 100, 100], lambda s: s.buy("TEST", 60), terms)
    [fill] = outcome.record.fills
    # 20.1 a piece: 1 000 ÷ 20.1 = 49.751…
    assert (fill.quantity, fill.fee) == (49.751, 4.9751)


def test_with_no_margin_left_an_order_is_cancelled():
    outcome = ran([100, 100, 100, 100], lambda s: s.buy("TEST", 50), _1=lambda s: s.buy("TEST", 1))
    [event] = [event for event in outcome.strategy.events if isinstance(event, OrderCancelled)]
    assert event.reason == "not enough margin: 0.00000000 USD available"


def test_what_is_won_and_not_realised_counts_as_equity():
    # bought 50 at 100; at 110 equity is 1 500, which is margin for 7 500: 68.181 at 110
    outcome = ran([100, 100, 110, 110], lambda s: s.buy("TEST", 50), _1=lambda s: s.buy("TEST", 50))
    assert outcome.fills[1] == ("buy", 2, 18.181, 110)


@pytest.mark.parametrize("instrument", [perpetual(), spot()], ids=["perpetual", "spot"])
def test_what_reduces_is_always_let_through_and_what_turns_over_as_far_as_margin_goes(instrument):
    outcome = ran([100, 100, 90, 90], lambda s: s.buy("TEST", 50), _1=lambda s: s.sell("TEST", 50),
                  instruments=[instrument])
    assert outcome.fills[1:] == [("sell", 2, 50, 90)]
    assert outcome.cash == 500
    # 500 of equity at 90: margin for 27.777 short, once the 50 are gone
    outcome = ran([100, 100, 90, 90], lambda s: s.buy("TEST", 50), _1=lambda s: s.sell("TEST", 100),
                  instruments=[instrument])
    assert outcome.fills[1:] == [("sell", 2, 77.777, 90)]


def test_working_orders_reserve_nothing_until_they_fill():
    def act(s):
        s.buy("TEST", 50, limit=95)
        s.buy("TEST", 50, limit=90)

    outcome = ran([100, 100, [100, 100, 89, 89.5], 89.5], act)
    # 50 at 95: then 1 000 - 250 = 750 at 90, which keeps 3 750, so 41.666 in all: nothing is left for the second
    assert outcome.fills == [("buy", 2, 50, 95)]


def test_short_selling_of_what_has_to_be_borrowed_is_off_unless_it_is_allowed():
    terms = replace(TERMS, allow_short=False)
    assert ran([100, 100, 100], lambda s: s.sell("TEST", 5), terms, [spot()]).fills == []
    assert ran([100, 100, 100], lambda s: s.sell("TEST", 5), terms).fills == [("sell", 1, 5, 100)]


@pytest.mark.parametrize("exposure", [3.0, -2.5])
def test_a_target_may_be_as_large_as_the_leverage(exposure):
    outcome = ran([100, 100, 100], lambda s: s.target("TEST", exposure))
    [fill] = outcome.record.fills
    assert fill.position_after == exposure * 10


def test_a_target_beyond_the_leverage_is_refused_by_name():
    with pytest.raises(StrategyError, match="target for TEST is 6.0; expected a multiple of equity between -5 and 5"):
        ran([100, 100, 100], lambda s: s.target("TEST", 6.0))


def test_what_is_owed_does_not_turn_a_target_round():
    owed = replace(TERMS, margin=replace(FIVE, shortfall="owed"))
    outcome = ran([100, 100, 70, 70, 70, 70], lambda s: s.buy("TEST", 50), owed, _3=lambda s: s.target("TEST", 1.0))
    assert outcome.cash == -500
    assert len(outcome.record.orders) == 2


def test_isolated_margin_is_set_aside_from_cash_and_comes_back():
    terms = replace(TERMS, margin=replace(FIVE, mode="isolated"))
    seen = []

    def look(s):
        seen.append(s.cash())

    outcome = ran([100, 100, 100, 110, 110], lambda s: s.buy("TEST", 25), terms, _1=look,
                  _2=lambda s: s.sell("TEST", 5), _3=look)
    assert seen == [500, 650]  # 1 000 less 500; then 50 won and 100 of the 500 given back
    assert outcome.cash == 1050


@pytest.mark.parametrize(
    ("instrument", "margin", "message"),
    [
        (perpetual(), None, 'TEST is a perpetual, which a cash account cannot hold; set .account. kind = "margin"'),
        (spot(), replace(FIVE, mode="isolated"), "TEST is a spot instrument, and isolated margins are for perpetuals"),
    ],
)
def test_an_account_refuses_what_it_cannot_hold(instrument, margin, message):
    with pytest.raises(SettingsError, match=message):
        Portfolio({"USD": D(1)}, [instrument], margin=margin)


# ── books and equity ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_perpetual_moves_cash_by_results_and_fees_alone():
    terms = replace(TERMS, fees=MakerTakerFees(D(0), D("0.001")))
    outcome = ran([100, 100, [110, 110, 110, 120], 120], lambda s: s.buy("TEST", 10), terms,
                  _1=lambda s: s.sell("TEST", 4))
    first, second = outcome.record.fills
    assert (first.cash_after, second.cash_after) == (999, 999 + 40 - 0.44)
    curve = outcome.result.curve
    assert curve.cash.tolist() == [1000, 999, 1038.56, 1038.56]
    assert curve.equity.tolist() == [1000, 999, 1038.56 + 120, 1038.56 + 120]
    np.testing.assert_allclose(curve.exposure, [0, 1000 / 999, 720 / 1158.56, 720 / 1158.56])
    assert outcome.result.final_equity == D("1158.56")


def test_a_spot_position_in_a_margin_account_is_paid_for_with_borrowed_cash():
    outcome = ran([100, 100, 90, 90], lambda s: s.buy("TEST", 30), instruments=[spot()])
    assert outcome.result.curve.cash.tolist() == [1000, -2000, -2000, -2000]
    assert outcome.result.curve.equity.tolist() == [1000, 1000, 700, 700]


def test_a_contract_s_multiplier_counts_everywhere():
    outcome = ran([100, 100, 101, 101], lambda s: s.buy("TEST", 3), instruments=[perpetual(multiplier=D("10"))],
                  terms=replace(TERMS, switches=Switches(volume_cap=None)))
    assert outcome.result.final_equity == 1030


def test_interest_and_borrow_fees_are_charged_at_midnight_on_what_is_owed_then():
    bars = make_bars([100] * 60, timeframe="1h", start=NEW_YEAR_2024 + 12 * HOUR)
    carry = CarryTerms(interest_rate=D("0.365"), borrow_rate=D("0.73"))
    outcome = ran(bars, lambda s: s.buy("TEST", 30), replace(TERMS, carry=carry), [spot()])
    events = [event for event in outcome.record.account_events if event.kind == "interest"]
    assert [(event.time - NEW_YEAR_2024) // DAY for event in events] == [1, 2, 3]
    assert [event.amount for event in events] == [-2, -2.002, -2.004002]  # 0.1 % a day, with interest on interest
    assert events[0].note == "a day at 0.365 a year on 2000.00000000 USD borrowed"
    outcome = ran(bars, lambda s: s.sell("TEST", 10), replace(TERMS, carry=carry), [spot()])
    assert outcome.moved("borrow") == [-2, -2, -2]
    assert outcome.moved("interest") == []


def test_a_cash_account_pays_for_what_it_borrows_too():
    carry = CarryTerms(borrow_rate=D("0.73"))
    outcome = ran([100, 100, 100, 110], lambda s: s.sell("TEST", 2), Terms(cash=D(1000), carry=carry), [spot()])
    assert outcome.moved("borrow") == [-0.4, -0.4, -0.44]
    assert outcome.result.curve.equity.tolist() == pytest.approx([1000, 999.6, 999.2, 978.76])
    assert outcome.result.final_equity == D("978.76")


def test_nights_without_bars_are_charged_when_the_market_opens_again():
    bars = make_bars([100, 100, 100], timeframe="1h")
    late = make_bars([100], timeframe="1h", start=NEW_YEAR_2024 + 3 * DAY + HOUR)
    columns = {name: np.concatenate([getattr(bars, name), getattr(late, name)])
               for name in ("open_time", "close_time", "open", "high", "low", "close", "volume")}
    carry = CarryTerms(interest_rate=D("0.365"))
    outcome = ran(replace(bars, **columns), lambda s: s.buy("TEST", 30), replace(TERMS, carry=carry), [spot()])
    assert [(event.time - NEW_YEAR_2024) // DAY for event in outcome.record.account_events[1:]] == [1, 2, 3]


def test_the_result_does_not_depend_on_chunks_nor_on_how_the_run_is_made():
    rows = [[100 + n % 7, 103 + n % 7, 97 + n % 7, 100 + (n * 5) % 9] for n in range(60)]
    carry = CarryTerms({"TEST": FixedFunding(D("0.0005"))})
    terms = replace(TERMS, carry=carry, fees=MakerTakerFees(D("0.0002"), D("0.0005")))

    def strategy():
        return scripted({n: (lambda s, n=n: s.target("TEST", (-1) ** n * (n % 4))) for n in range(0, 60, 3)})

    whole = Ran(make_bars(rows), strategy(), terms)
    cut = Ran(make_bars(rows), strategy(), terms, chunk=7)
    assert len(whole.record.fills) > 10
    assert whole.record.fills == cut.record.fills
    assert whole.record.account_events == cut.record.account_events
    assert np.array_equal(whole.result.curve.equity, cut.result.curve.equity)
    final = float(whole.result.final_equity)
    assert abs(whole.result.curve.equity[-1] - final) <= 1e-12 * final


def test_leverage_one_and_no_shorts_is_a_cash_account():
    rows = [[100 + n % 7, 103 + n % 7, 97 + n % 7, 100 + (n * 5) % 9] for n in range(60)]
    fees = MakerTakerFees(D("0.0002"), D("0.0005"))
    one = MarginTerms(schedule=MarginSchedule(D(1)))

    def strategy():
        return scripted({n: (lambda s, n=n: s.target("TEST", (n % 5) / 4)) for n in range(60)})

    cash = run_bars(make_bars(rows), strategy(), Terms(cash=D(1000), fees=fees, allow_short=False),
                    instruments=[spot()])
    margin = run_bars(make_bars(rows), strategy(), Terms(cash=D(1000), fees=fees, allow_short=False, margin=one),
                      instruments=[spot()])
    assert len(cash.fills) > 20
    assert cash.fills_hash == margin.fills_hash
    assert cash.final_equity == margin.final_equity
    np.testing.assert_allclose(cash.curve.equity, margin.curve.equity, rtol=1e-14)


def test_margins_are_kept_for_several_symbols_at_once():
    bars = merged(make_bars([100] * 4, symbol="A"), make_bars([100] * 4, symbol="B"))
    outcome = ran(bars, lambda s: (s.buy("A", 30), s.buy("B", 30)))
    assert [(fill.symbol, fill.quantity) for fill in outcome.record.fills] == [("A", 30), ("B", 20)]
