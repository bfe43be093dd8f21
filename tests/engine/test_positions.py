"""Positions bought on margin and contracts: what each fill does to cost, cash and the margin set aside. By hand."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from engine import Instrument
from engine.margin import MarginSchedule, MarginTerms, MarginTier
from engine.portfolio import Portfolio
from engine.positions import ContractPosition, FinancedPosition, MarginPosition, Position

D = Decimal
UNIT = 10**8
STOCK = Instrument("X", price_increment=D(1), quantity_increment=D(1))
PERPETUAL = Instrument("X", price_increment=D(1), quantity_increment=D(1), kind="perpetual")
FIVE = MarginSchedule(D(5))


def opened(instrument: Instrument, mode: str = "cross", schedule: MarginSchedule = FIVE, cash: int = 1000) -> Any:
    portfolio = Portfolio({"USD": D(cash)}, [instrument], margin=MarginTerms(mode, schedule))
    return portfolio.positions["X"]


def trade(position: Position, fills: Sequence[tuple[int, int]], fee: int = 0) -> None:
    """Apply (signed lots, price) one after another, at a fee in whole dollars."""
    for lots, price in fills:
        position.apply(1 if lots > 0 else -1, price, abs(lots), fee * UNIT)


TRADES = [
    # fills, then lots, cost, realised
    ([(10, 20)], 10, 200, 0),
    ([(10, 20), (10, 30)], 20, 500, 0),
    ([(10, 20), (-4, 25)], 6, 120, 20),
    ([(10, 20), (-4, 25), (-2, 15)], 4, 80, 10),
    ([(10, 20), (-10, 15)], 0, 0, -50),
    ([(-10, 20)], -10, 200, 0),
    ([(-10, 20), (-10, 30)], -20, 500, 0),
    ([(-10, 20), (4, 15), (3, 30)], -3, 60, -10),
    ([(10, 20), (-15, 30)], -5, 150, 100),
    ([(-10, 20), (15, 10)], 5, 50, 100),
    ([(10, 20), (-10, 30), (-10, 30), (10, 31)], 0, 0, 90),
]


@pytest.mark.parametrize(("fills", "lots", "cost", "realised"), TRADES)
@pytest.mark.parametrize("instrument", [STOCK, PERPETUAL], ids=["financed", "contract"])
def test_a_position_on_margin(
    instrument: Instrument, fills: Sequence[tuple[int, int]], lots: int, cost: int, realised: int
) -> None:
    position = opened(instrument)
    trade(position, fills, fee=1)
    assert (position.lots, position.cost_units, position.realised_units) == (lots, cost * UNIT, realised * UNIT)
    assert position.signed_cost_units == (cost if lots > 0 else -cost) * UNIT
    assert (position in position.account.open_positions) is bool(lots)
    assert position.account.locked_units == 0, "nothing is locked where positions stand surety for one another"
    # A contract moves results alone; what is financed moves its whole price. Both are worth the same in the end.
    bought = sum(-size * price for size, price in fills)
    moved = realised if instrument.is_contract else bought
    assert position.account.cash == 1000 + moved - len(fills)
    assert position.market_units(40) == lots * 40 * UNIT
    equity = position.account.cash_units + position.worth_units(40)
    assert equity == (1000 - len(fills) + bought + lots * 40) * UNIT


@pytest.mark.parametrize(
    ("fills", "margin"),
    [
        ([(10, 20)], 40),  # a fifth of 200
        ([(10, 20), (10, 30)], 100),  # of 500
        ([(-10, 20), (-10, 30)], 100),
        ([(10, 20), (-4, 25)], 24),  # six tenths of it stay
        ([(10, 20), (-10, 25)], 0),
        ([(10, 20), (-15, 30)], 30),  # turned round: a fifth of 5 × 30
        ([(-10, 20), (15, 10)], 10),
    ],
)
def test_an_isolated_contract_sets_margin_aside(fills: Sequence[tuple[int, int]], margin: int) -> None:
    position = opened(PERPETUAL, "isolated")
    trade(position, fills)
    assert position.margin_units == margin * UNIT
    assert position.account.locked_units == margin * UNIT
    assert position.account.free_units == position.account.cash_units - margin * UNIT


def test_margin_added_by_hand_leaves_with_the_part_that_is_closed() -> None:
    position = opened(PERPETUAL, "isolated")
    trade(position, [(10, 20)])
    position.move_margin(20 * UNIT)
    trade(position, [(-5, 20)])
    assert position.margin_units == position.account.locked_units == 30 * UNIT, "half of 40 + 20"
    position.move_margin(-10 * UNIT)
    assert position.margin_units == position.account.locked_units == 20 * UNIT


def test_adding_to_an_isolated_contract_takes_what_its_tier_asks_for_the_whole() -> None:
    tiers = (MarginTier(D(0), D("0.01"), D(10)), MarginTier(D(300), D("0.02"), D(5)))
    position = opened(PERPETUAL, "isolated", MarginSchedule(D(10), tiers))
    trade(position, [(10, 20)])
    assert position.margin_units == 20 * UNIT
    trade(position, [(10, 20)])
    assert position.margin_units == 80 * UNIT, "400 lies in the tier of five"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("instrument", [STOCK, PERPETUAL], ids=["financed", "contract"])
def test_nothing_is_lost_in_many_odd_fills_on_margin(instrument: Instrument, seed: int) -> None:
    random = Random(seed)
    position = opened(instrument, "isolated" if instrument.is_contract else "cross", cash=10**6)
    account, cash, held, price = position.account, Fraction(10**6), 0, 100
    for _ in range(300):
        lots, price, side = random.randrange(1, 40), random.randrange(50, 150), random.choice((1, -1))
        position.apply(side, price, lots, 3)
        cash -= side * lots * price + Fraction(3, UNIT)
        held += side * lots
        assert position.lots == held
        assert (account.cash_units + position.worth_units(price)) == (cash + held * price) * UNIT
        assert position.cost_units >= 0
        if isinstance(position, ContractPosition):
            assert account.locked_units == position.margin_units >= 0
            assert type(position.margin_units) is int
    position.apply(-1 if held > 0 else 1, price, abs(held), 0)
    assert (position.cost_units, account.locked_units, list(account.open_positions)) == (0, 0, [])
    assert account.cash_units - 10**6 * UNIT == position.realised_units - 300 * 3


def test_which_kind_of_position_an_account_holds() -> None:
    assert type(Portfolio({"USD": D(0)}, [STOCK]).positions["X"]) is Position
    assert type(opened(STOCK)) is FinancedPosition
    crossed, isolated = opened(PERPETUAL), opened(PERPETUAL, "isolated")
    assert type(crossed) is type(isolated) is ContractPosition
    assert (crossed.is_isolated, isolated.is_isolated) == (False, True)
    bare = ContractPosition(PERPETUAL, crossed.account, crossed.schedule)
    assert not bare.is_isolated
    assert opened(STOCK).schedule.initial(1000) == 200
    assert isinstance(bare, MarginPosition)


def test_an_instrument_with_a_schedule_of_its_own_is_held_under_it() -> None:
    other = Instrument("Y", price_increment=D(1), quantity_increment=D(1), kind="perpetual")
    terms = MarginTerms(schedule=FIVE, schedules={"Y": MarginSchedule(D(2))})
    positions = Portfolio({"USD": D(0)}, [PERPETUAL, other], margin=terms).positions
    assert [positions[name].schedule.initial(1000) for name in "XY"] == [200, 500]  # type: ignore[attr-defined]


def test_a_position_is_restored_with_its_cost_and_result() -> None:
    position = opened(STOCK)
    position.restore(-5, 500 * UNIT, 7 * UNIT)
    assert (position.quantity, position.average_price, position.realised_units) == (-5, 100, 7 * UNIT)
    assert list(position.account.open_positions) == [position]
    trade(position, [(5, 90)])
    assert position.realised_units == 57 * UNIT
    assert list(position.account.open_positions) == []
