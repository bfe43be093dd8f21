"""What it costs to hold: funding, interest, borrow fees."""

from decimal import Decimal

import pytest

from engine import DataError, Instrument, SettingsError
from engine.bars import DAY, HOUR
from engine.carry import (
    CarryTerms,
    FixedFunding,
    FundingHistory,
    FundingPayment,
    borrow_charge,
    funding_charge,
    interest_charge,
)
from engine.margin import MarginSchedule, MarginTerms
from engine.portfolio import Portfolio

D = Decimal
ONE = D(1)


def books(kind: str = "perpetual", cash: int = 1000) -> Portfolio:
    instrument = Instrument("X", price_increment=ONE, quantity_increment=ONE, kind=kind)
    return Portfolio({"USD": D(cash)}, [instrument], margin=MarginTerms(schedule=MarginSchedule(D(5))))


@pytest.mark.parametrize(
    ("lots", "rate", "paid"),
    [(10, "0.0001", "-0.1"), (-10, "0.0001", "0.1"), (10, "-0.0003", "0.3"), (-10, "-0.0003", "-0.3"), (10, "0", "0")],
)
def test_longs_pay_shorts_where_the_rate_is_positive(lots, rate, paid):
    portfolio = books()
    position = portfolio.positions["X"]
    position.apply(1 if lots > 0 else -1, 90, abs(lots), 0)
    charge = funding_charge(position, 100, FundingPayment(0, D(rate)))
    assert charge is not None
    assert charge.units * portfolio.accounts["USD"].unit == D(paid)
    assert charge.note == f"X: rate {rate} on {lots} at 100"


def test_who_holds_nothing_pays_nothing():
    portfolio = books()
    assert funding_charge(portfolio.positions["X"], 100, FundingPayment(0, D("0.01"))) is None
    assert interest_charge(portfolio.accounts["USD"], D("0.05")) is None
    assert borrow_charge(portfolio.positions["X"], 100, D("0.05")) is None


def test_a_day_s_interest_is_a_365th_of_a_year_s_on_what_is_borrowed():
    portfolio = books("spot")
    portfolio.positions["X"].apply(1, 100, 46, 0)  # 4 600 for 1 000: 3 600 borrowed
    account = portfolio.accounts["USD"]
    charge = interest_charge(account, D("0.073"))
    assert charge is not None
    assert charge.units * account.unit == D("-0.72")  # 3 600 × 7.3 % ÷ 365


def test_a_day_s_borrow_fee_is_on_what_the_short_position_is_worth():
    portfolio = books("spot")
    portfolio.positions["X"].apply(-1, 100, 20, 0)
    charge = borrow_charge(portfolio.positions["X"], 110, D("0.365"))
    assert charge is not None
    assert charge.units * portfolio.accounts["USD"].unit == D("-2.2")  # 20 × 110 × 0.1 %


def test_payments_are_rounded_half_even_to_the_unit():
    portfolio = books()
    position = portfolio.positions["X"]
    position.apply(1, 1, 1, 0)
    for rate, units in (("0.000000005", 0), ("0.000000015", -2), ("0.000000025", -2), ("0.000000016", -2)):
        charge = funding_charge(position, 1, FundingPayment(0, D(rate)))
        assert charge is not None
        assert charge.units == units


def test_a_history_gives_the_next_payment_and_none_after_the_last():
    history = FundingHistory([10, 20], [D("0.1"), D("0.2")])
    assert history.after(9) == (10, D("0.1"))
    assert history.after(10) == (20, D("0.2"))
    assert history.after(20) is None


def test_a_fixed_rate_is_paid_at_whole_multiples_of_its_interval():
    fixed = FixedFunding(D("0.0001"))
    assert fixed.after(DAY) == (DAY + 8 * HOUR, D("0.0001"))
    assert fixed.after(DAY + 8 * HOUR - 1) == (DAY + 8 * HOUR, D("0.0001"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedFunding(D("0.2")), "funding rate is 0.2; expected between"),
        (lambda: FixedFunding(D("0.01"), 7 * HOUR), "funding interval is 7 h; expected hours that divide a day"),
        (lambda: CarryTerms(interest_rate=D(-1)), "interest rate is -1 a year; expected 0 … 10"),
        (lambda: CarryTerms(borrow_rates={"X": D(11)}), "X borrow rate is 11 a year"),
    ],
)
def test_rates_that_cannot_be_are_refused(make, message):
    with pytest.raises(SettingsError, match=message):
        make()


def test_a_history_out_of_order_is_refused():
    with pytest.raises(DataError, match="memory: funding at 1970-01-01T00:00Z follows 1970-01-01T00:00Z; expected asc"):
        FundingHistory([0, 0], [ONE, ONE])
    with pytest.raises(DataError, match="1 funding times and 2 rates"):
        FundingHistory([0], [ONE, ONE])
