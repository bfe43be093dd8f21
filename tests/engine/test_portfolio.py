"""The books: they change only by what is applied to them, and balance to the last unit."""

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest

from engine import Instrument, Order, OrderType, SettingsError, Side
from engine.events import Fill, Liquidity
from engine.margin import MarginTerms
from engine.portfolio import Portfolio, Position

D = Decimal
STOCK = Instrument("X", price_increment=D(1), quantity_increment=D(1))


def books(cash: int = 1000, instrument: Instrument = STOCK) -> tuple[Portfolio, Position]:
    portfolio = Portfolio({"USD": D(cash)}, [instrument])
    return portfolio, portfolio.positions["X"]


def trade(position: Position, fills: Sequence[tuple[int, int]], fee: int = 0) -> None:
    """Apply (signed lots, price) one after another."""
    for lots, price in fills:
        position.apply(1 if lots > 0 else -1, price, abs(lots), fee)


@pytest.mark.parametrize(
    ("fills", "held", "average", "realised", "cash", "locked"),
    [
        ([(10, 20)], 10, 20, 0, 800, 0),
        ([(10, 20), (10, 30)], 20, 25, 0, 500, 0),
        ([(10, 20), (-4, 25)], 6, 20, 20, 900, 0),  # the average of what is left stays
        ([(10, 20), (-10, 15)], 0, None, -50, 950, 0),
        ([(-10, 20)], -10, 20, 0, 1200, 400),  # proceeds and as much again are locked
        ([(-10, 20), (-10, 30)], -20, 25, 0, 1500, 1000),
        ([(-10, 20), (4, 15)], -6, 20, 20, 1140, 240),
        ([(-10, 20), (10, 25)], 0, None, -50, 950, 0),
        ([(10, 20), (-15, 30)], -5, 30, 100, 1250, 300),  # over to the other side: the rest opens anew
        ([(-10, 20), (15, 10)], 5, 10, 100, 1050, 0),
    ],
)
def test_positions(
    fills: list[tuple[int, int]], held: int, average: int | None, realised: int, cash: int, locked: int
) -> None:
    portfolio, position = books()
    trade(position, fills)
    account = portfolio.accounts["USD"]
    assert (position.lots, position.average_price) == (held, average)
    assert position.realised_units * account.unit == realised
    assert (account.cash, account.locked_units * account.unit, account.free) == (cash, locked, cash - locked)
    assert (position in account.open_positions) is bool(held)


def test_a_fee_is_paid_from_cash_and_a_rebate_into_it() -> None:
    portfolio, position = books()
    trade(position, [(1, 100)], fee=5 * 10**8)
    trade(position, [(-1, 100)], fee=-(10**8))
    assert portfolio.accounts["USD"].cash == 1000 - 5 + 1


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_in_many_odd_fills(seed: int) -> None:
    # cost is kept whole; what floor division rounds off must stay with what is open
    random = Random(seed)
    portfolio, position = books(10**6)
    account, cash, held = portfolio.accounts["USD"], Fraction(10**6), 0
    for _ in range(400):
        lots, price, side = random.randrange(1, 40), random.randrange(50, 150), random.choice((1, -1))
        position.apply(side, price, lots, 3)
        cash -= side * lots * price + Fraction(3, 10**8)
        held += side * lots
        assert position.lots == held
        assert account.cash_units == cash * 10**8
        assert position.cost_units >= 0
        assert account.locked_units == (2 * position.cost_units if held < 0 else 0)
    position.apply(-1 if held > 0 else 1, 100, abs(held), 0)
    assert (position.cost_units, account.locked_units, list(account.open_positions)) == (0, 0, [])
    assert account.cash_units - 10**6 * 10**8 == position.realised_units - 400 * 3, (
        "all that was gained is realised, fees apart"
    )


def test_equity_is_cash_and_the_value_of_what_is_open_in_that_currency() -> None:
    instruments = [Instrument("A", "USD"), Instrument("B", "USD"), Instrument("C", "EUR")]
    portfolio = Portfolio({"USD": D(1000), "EUR": D(500)}, instruments)
    portfolio.positions["A"].apply(1, 10_000, 100_000, 0)  # 1 at 100.00
    portfolio.positions["B"].apply(-1, 5_000, 200_000, 0)  # 2 short at 50.00
    portfolio.positions["C"].apply(1, 1_000, 100_000, 0)
    prices = {"A": 110.0, "B": 40.0, "C": 20.0}
    assert portfolio.equity("USD", prices.get) == 1000 + 10 + 20
    assert portfolio.equity("EUR", prices.get) == 510
    assert portfolio.currency == "USD"


def test_an_account_takes_whole_units_alone() -> None:
    portfolio, _ = books()
    account = portfolio.accounts["USD"]
    account.deposit(D("-0.5"))
    assert account.cash == D("999.5")
    with pytest.raises(SettingsError, match="1E-9 USD is finer than 1E-8; expected a multiple of it"):
        account.deposit(D("0.000000001"))


def test_every_instrument_needs_an_account_of_its_currency() -> None:
    with pytest.raises(
        SettingsError, match=r"C is paid in EUR, but the account has USD; add cash in EUR \(0 will do\)"
    ):
        Portfolio({"USD": D(1)}, [Instrument("C", "EUR")])
    with pytest.raises(SettingsError, match="C is paid in EUR, but the account has none"):
        Portfolio({}, [Instrument("C", "EUR")])


def test_a_restored_position_is_among_the_open_ones() -> None:
    portfolio, position = books()
    position.restore(5, 500, 7)
    assert list(portfolio.accounts["USD"].open_positions) == [position]
    position.restore(0, 0, 7)
    assert list(portfolio.accounts["USD"].open_positions) == []


def test_open_positions_stand_in_the_order_they_were_opened_in() -> None:
    portfolio = Portfolio({"USD": D(10**6)}, [Instrument(name) for name in "ABC"])
    for name in "CAB":
        portfolio.positions[name].apply(1, 100, 10, 0)
    portfolio.positions["C"].apply(-1, 100, 10, 0)
    portfolio.positions["C"].apply(1, 100, 10, 0)
    assert [position.instrument.symbol for position in portfolio.accounts["USD"].open_positions] == ["A", "B", "C"]


def test_a_mark_price_goes_before_the_last_one_where_there_is_one() -> None:
    other = Instrument("Y", price_increment=D(1), quantity_increment=D(1))
    portfolio = Portfolio({"USD": D(1000)}, [STOCK, other])
    portfolio.positions["X"].apply(1, 20, 10, 0)
    portfolio.positions["Y"].apply(1, 30, 10, 0)
    last = {"X": 21.0, "Y": 32.0}
    assert portfolio.equity("USD", last.get) == 1000 + 10 + 20
    portfolio.mark_of = {"X": 25.0}.get
    assert portfolio.equity("USD", last.get) == 1000 + 50 + 20


def test_a_portfolio_books_a_fill_with_the_symbol_it_names() -> None:
    other = Instrument("Y", price_increment=D("0.5"), quantity_increment=D("0.1"))
    portfolio = Portfolio({"USD": D(1000)}, [STOCK, other])
    order = Order(1, 1, other, Side.SELL, OrderType.MARKET, 40, 0)
    portfolio.apply(Fill(1, order, 5, 5, Side.SELL, 100, 40, Liquidity.TAKER, 2 * 10**8, 101))
    assert (portfolio.positions["X"].lots, portfolio.positions["Y"].lots) == (0, -40)
    assert portfolio.positions["Y"].average_price == 50
    assert portfolio.accounts["USD"].cash == 1000 + 4 * 50 - 2


def test_an_account_that_is_short_in_one_symbol_keeps_that_locked_as_another_turns_round() -> None:
    whole = {"price_increment": D(1), "quantity_increment": D(1)}
    portfolio = Portfolio({"USD": D(1000)}, [Instrument(name, **whole) for name in "AB"])
    trade(portfolio.positions["A"], [(-5, 20)])
    trade(portfolio.positions["B"], [(3, 10), (-7, 12)])
    account = portfolio.accounts["USD"]
    assert account.locked_units * account.unit == 2 * (5 * 20 + 4 * 12)
    trade(portfolio.positions["B"], [(4, 10)])
    assert account.locked_units * account.unit == 2 * 5 * 20


def test_selling_short_is_allowed_unless_it_is_said_not_to_be() -> None:
    assert Portfolio({"USD": D(1)}, [STOCK]).allow_short
    assert not Portfolio({"USD": D(1)}, [STOCK], allow_short=False).allow_short


def test_the_accounts_there_are_are_named_where_one_is_missing() -> None:
    with pytest.raises(SettingsError, match="C is paid in CHF, but the account has USD, EUR; add cash in CHF"):
        Portfolio({"USD": D(1), "EUR": D(1)}, [Instrument("C", "CHF")])


def test_money_in_a_currency_that_nothing_is_paid_in_counts_where_currencies_are_converted() -> None:
    pair = Instrument("EUR/USD", "USD", "EUR")
    cash = {"USD": D(1000), "EUR": D(100)}
    price = {"EUR/USD": 1.25}.get
    assert Portfolio(cash, [pair], converts=True).equity("USD", price) == 1125
    assert Portfolio(cash, [pair]).equity("USD", price) == 1000


def test_a_reporting_currency_without_money_or_instruments_is_converted_to() -> None:
    pair = Instrument("USD/EUR", "EUR", "USD")
    portfolio = Portfolio({"USD": D(0), "EUR": D(100)}, [pair], converts=True)
    assert portfolio.equity("USD", {"USD/EUR": 0.8}.get) == 125
    assert not portfolio.is_plain
    assert Portfolio({"EUR": D(100)}, [pair], converts=True).is_plain, "one currency, and nothing to convert"


def test_cash_is_counted_as_finely_as_what_is_paid_in_it_asks_for() -> None:
    fine = Instrument("A", "EUR", price_increment=D("0.00001"), quantity_increment=D("0.00001"))
    accounts = Portfolio({"USD": D(1), "EUR": D(1)}, [fine, Instrument("B", "USD")]).accounts
    assert [accounts[name].unit for name in ("USD", "EUR")] == [D("1e-8"), D("1e-10")]
    assert [Fraction(*accounts[name].unit_ratio) for name in ("USD", "EUR")] == [
        Fraction(1, 10**8),
        Fraction(1, 10**10),
    ]


def test_what_an_account_cannot_hold_is_refused_with_the_way_out() -> None:
    contract = Instrument("X", kind="perpetual")
    in_cash = 'X is a perpetual, which a cash account cannot hold; set [account] kind = "margin"'
    with pytest.raises(SettingsError, match=f"^{re.escape(in_cash)}$"):
        Portfolio({"USD": D(1)}, [contract])
    isolated = (
        'X is a spot instrument, and isolated margins are for perpetuals; set its kind = "perpetual", '
        'or [account] margin_mode = "cross"'
    )
    with pytest.raises(SettingsError, match=f"^{re.escape(isolated)}$"):
        Portfolio({"USD": D(1)}, [STOCK], margin=MarginTerms("isolated"))
