"""The books balance to the last unit, whatever is traded under whatever terms."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.journal.lineage import load_run
from engine.journal.rebuild import Books, rebuild, snapped
from engine.orders import Side
from engine.records import FillRow
from tests.properties.worlds import Place, Step, Walk, World, any_terms, run, worlds

ROUNDED_OFF = Decimal("1e-9")


@given(worlds())
def test_cash_and_positions_are_what_the_fills_add_up_to_exactly(world):
    outcome = run(world)

    cash = {account.currency: Decimal(world.terms.cash) for account in outcome.portfolio.accounts.values()}
    held = dict.fromkeys(outcome.portfolio.instruments, Decimal(0))
    for fill in outcome.rows["fills"]:
        unit = outcome.portfolio.accounts[fill.currency].unit
        sign, price, quantity = _exact(outcome, fill)
        cash[fill.currency] -= sign * price * quantity + snapped(fill.fee, unit)
        held[fill.symbol] += sign * quantity
        assert fill.cash_after == float(cash[fill.currency])
        assert fill.position_after == float(held[fill.symbol])
    assert cash == {name: account.cash for name, account in outcome.portfolio.accounts.items()}
    assert held == {symbol: position.quantity for symbol, position in outcome.portfolio.positions.items()}


def _exact(outcome, fill: FillRow) -> tuple[int, Decimal, Decimal]:
    instrument = outcome.portfolio.instruments[fill.symbol]
    return (
        1 if fill.side == "buy" else -1, snapped(fill.price, instrument.price_increment),
        snapped(fill.quantity, instrument.quantity_increment))


@given(worlds())
def test_replaying_the_journal_rebuilds_the_portfolio_exactly(world):
    outcome = run(world)

    books = rebuild(load_run(outcome.journal, 1))

    portfolio = outcome.portfolio
    traded = {fill.symbol for fill in outcome.rows["fills"]}
    assert books == Books(
        {name: account.cash for name, account in portfolio.accounts.items()},
        {symbol: position.quantity for symbol, position in portfolio.positions.items() if symbol in traded})


@given(worlds(currencies=False))
def test_equity_is_cash_and_market_value_at_every_bar(world):
    outcome = run(world)
    curve, fills = outcome.result.curve, outcome.rows["fills"]

    cash, held, upcoming = float(world.terms.cash), dict.fromkeys(outcome.portfolio.instruments, 0.0), iter(fills)
    fill = next(upcoming, None)
    closes: dict[str, float] = {}
    bars = list(outcome.bars.rows())
    for time, equity in zip(curve.time.tolist(), curve.equity.tolist(), strict=True):
        while fill is not None and fill.bar_close_time <= time:
            cash, held[fill.symbol] = fill.cash_after, fill.position_after
            fill = next(upcoming, None)
        closes |= {bar.symbol: bar.close for bar in bars if bar.close_time == time}
        value = cash + sum(quantity * closes[symbol] for symbol, quantity in held.items() if quantity)
        assert abs(equity - value) <= 1e-9 * max(abs(value), world.terms.cash)
    assert float(outcome.result.final_equity) == curve.equity[-1] or abs(
        outcome.result.final_equity - Decimal(curve.equity[-1])) < ROUNDED_OFF * world.terms.cash


@given(worlds())
def test_in_a_market_that_does_not_move_nothing_is_won_or_lost_but_fees(world):
    """Where no switch declares fills at prices that did not trade."""
    terms = replace(world.terms, switches=replace(
        world.terms.switches, stop_gap="open", limit_gap="open", stop_limit_same_bar="if_certain"))
    flat = replace(world, walks=tuple(
        replace(walk, quote="USD", steps=tuple(Step(volume=step.volume) for step in walk.steps))
        for walk in world.walks))

    free = run(replace(flat, terms=replace(terms, fees="none", slippage="none")))
    paid = run(replace(flat, terms=replace(terms, slippage="none")))

    assert free.result.final_equity == terms.cash
    np.testing.assert_allclose(free.result.curve.equity, terms.cash, rtol=1e-12)
    fees = sum(snapped(fill.fee, paid.portfolio.accounts["USD"].unit) for fill in paid.rows["fills"])
    assert paid.result.final_equity == terms.cash - fees


@given(worlds(terms=lambda pick: replace(any_terms(pick), allow_short=False)))
def test_cash_never_runs_out_where_selling_short_is_off(world):
    """But for a minimum fee that is larger than what is sold brings in."""
    outcome = run(replace(world, terms=replace(world.terms, fees="tiered")))

    assert all(fill.cash_after >= 0 and fill.position_after >= 0 for fill in outcome.rows["fills"])


@given(worlds(), st.integers(1, 3))
def test_scaling_prices_and_cash_by_a_power_of_two_scales_the_result_exactly(world, scale):
    """Where fees are fractions of notional, and need no rounding to the currency's unit."""
    terms = replace(world.terms, fees="none" if world.terms.fees in ("equity", "tiered") else world.terms.fees)
    walks = tuple(replace(walk, lot=max(walk.lot, Decimal("0.01"))) for walk in world.walks)
    world = replace(world, terms=terms, walks=walks)
    factor = 2.0**scale

    plain, scaled = run(world), run(world, scale=scale)

    assert np.array_equal(plain.result.fill_keys[:, :5], scaled.result.fill_keys[:, :5])
    assert [(fill.price * factor, fill.fee * factor, fill.cash_after * factor) for fill in plain.rows["fills"]] == [
        (fill.price, fill.fee, fill.cash_after) for fill in scaled.rows["fills"]]
    assert [event[:4] for event in plain.rows["order_events"]] == [event[:4] for event in scaled.rows["order_events"]]
    assert plain.result.final_equity * Decimal(factor) == scaled.result.final_equity


def test_a_fill_s_row_tells_of_the_books_right_after_it_and_not_at_the_end_of_its_bar():
    walk = Walk("S0", (Step(volume=1_000_000),) * 3)
    world = World((walk,), ((0, 0, Place(Side.BUY, 100)), (0, 0, Place(Side.BUY, 200))))

    first, second = run(world).rows["fills"]

    assert (first.position_after, first.cash_after) == (1.0, 999_990.0)
    assert (second.position_after, second.cash_after) == (3.0, 999_970.0)


def test_a_round_trip_at_zero_cost_and_one_price_is_zero(one_price_world: World):
    outcome = run(one_price_world)

    assert len(outcome.rows["fills"]) == 2
    assert outcome.result.final_equity == one_price_world.terms.cash == outcome.portfolio.accounts["USD"].cash
    assert outcome.portfolio.positions["S0"].realised_units == 0
