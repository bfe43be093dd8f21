from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.analysis.trades import NO_TRADES, Trade, round_trips
from engine.bars import HOUR, Bars
from engine.records import FillRow

Make = Callable[..., Any]


def test_a_round_trip_is_one_trade_with_its_profit_after_fees_and_costs(make_bars: Make, make_book: Make) -> None:
    bars = make_bars([100, 100, 110, 120, 130])
    book = make_book(bars)
    book.trade(1, 2.0, fee=0.5, cost=1.0)  # reference 100, paid 101
    book.trade(3, -2.0, fee=0.5, cost=1.0)  # reference 110, received 109
    (trade,) = round_trips(book.fills, bars=bars).rows()
    assert (trade.direction, trade.quantity, trade.entry_price, trade.exit_price) == (1, 2.0, 101.0, 109.0)
    assert trade.net_profit == pytest.approx(16 - 1)  # (109 - 101) × 2 - fees
    assert trade.gross_profit == pytest.approx(20)  # (110 - 100) × 2, as if trading were free
    assert trade.costs == pytest.approx(1 + 4)
    assert trade.return_on_entry == pytest.approx(15 / 202)
    assert (trade.bars_held, trade.duration, trade.fills) == (2, 2 * HOUR, 2)
    assert not trade.is_open


def test_partial_fills_are_averaged_into_one_trade(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100, 110, 120, 130, 140]))
    for bar, quantity in ((1, 1.0), (2, 3.0), (3, -2.0), (4, -2.0)):
        book.trade(bar, quantity)
    (trade,) = round_trips(book.fills).rows()
    assert trade.entry_price == pytest.approx((100 * 1 + 110 * 3) / 4)
    assert trade.exit_price == pytest.approx((120 + 130) / 2)
    assert (trade.quantity, trade.fills, trade.entry_order_id, trade.exit_order_id) == (4.0, 4, 1, 4)


def test_a_reversal_ends_one_trade_and_begins_the_next_and_shares_its_fee(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100, 100, 110, 120, 120]))
    book.trade(1, 1.0)
    book.trade(2, -3.0, fee=3.0, cost=0.0)  # closes 1, opens 2 short
    book.trade(4, 2.0)
    long, short = round_trips(book.fills).rows()
    assert (long.direction, short.direction) == (1, -1)
    assert (long.fees, short.fees) == (pytest.approx(1.0), pytest.approx(2.0))
    assert long.net_profit == pytest.approx((100 - 100) * 1 - 1)
    assert short.net_profit == pytest.approx((100 - 120) * 2 - 2)
    assert long.exit_order_id == short.entry_order_id == 2


def test_a_short_trade_gains_when_the_price_falls(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100, 100, 90, 80]))
    book.trade(1, -1.0)
    book.trade(3, 1.0)
    (trade,) = round_trips(book.fills).rows()
    assert (trade.direction, trade.net_profit, trade.return_on_entry) == (-1, 10.0, 0.1)


def test_an_open_position_is_a_trade_valued_at_the_last_close(make_bars: Make, make_book: Make) -> None:
    bars = make_bars([100, 100, 110, 125])
    book = make_book(bars)
    book.trade(1, 2.0)
    book.trade(3, -1.0)
    trades = round_trips(book.fills, bars=bars)
    (trade,) = trades.rows()
    assert trade.is_open
    assert trade.exit_time is None
    assert trade.duration is None
    assert trade.net_profit == pytest.approx((110 - 100) + (125 - 100))
    assert len(trades.closed) == 0
    (unpriced,) = round_trips(book.fills).rows()
    assert np.isnan(unpriced.net_profit)


def test_symbols_do_not_mix_and_trades_are_listed_by_entry(make_bars: Make, make_book: Make) -> None:
    btc, eth = make_bars([100, 100, 110, 120, 130]), make_bars([10, 10, 9, 8, 7], "ETH/USDT")
    book = make_book(btc, eth)
    book.trade(1, 1.0, symbol="ETH/USDT")
    book.trade(2, 1.0)
    book.trade(3, -1.0, symbol="ETH/USDT")
    book.trade(4, -1.0)
    rows = list(round_trips(book.fills).rows())
    assert [(trade.symbol, trade.net_profit) for trade in rows] == [("ETH/USDT", -1.0), ("BTC/USDT", 20.0)]


def test_fills_of_a_position_from_before_the_record_are_left_out_and_counted(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100, 100, 110, 120, 130]))
    for bar, quantity in ((1, 1.0), (2, -1.0), (3, 1.0), (4, -1.0)):
        book.trade(bar, quantity)
    trades = round_trips(book.fills[1:])  # begins with a sale out of a position of 1
    assert len(trades) == 1
    assert trades.orphans == 1


def test_multipliers_scale_contracts_to_money(make_bars: Make, make_book: Make) -> None:
    book = make_book(make_bars([100, 100, 110]))
    book.trade(1, 3.0)
    book.trade(2, -3.0, price=110.0)
    (trade,) = round_trips(book.fills, multipliers={"BTC/USDT": 0.01}).rows()
    assert (trade.notional, trade.entry_price) == (pytest.approx(3.0), pytest.approx(100.0))
    assert trade.net_profit == pytest.approx(0.3)


def test_plain_tuples_will_do_and_no_fills_are_no_trades(make_bars: Make, make_book: Make) -> None:
    bars = make_bars([100, 100, 110])
    book = make_book(bars)
    book.trade(1, 1.0)
    book.trade(2, -1.0)
    plain = round_trips([tuple(fill) for fill in book.fills], bars=bars)
    assert list(plain.rows()) == list(round_trips(book.fills, bars=bars).rows())
    assert round_trips([]) is NO_TRADES
    assert list(NO_TRADES.rows()) == []


# (entry bar, inside it?, exit bar, inside it?) on closes 100 100 90 120 110 with wicks of 10 %: (worst, best)
EXCURSIONS = [
    # whole bars 1 and 2: low 90 × 0.9, high 100 × 1.1; the exit at the open of bar 3, 90
    ((1, False, 3, False), (81 / 100 - 1, 110 / 100 - 1)),
    # entered inside bar 1: of it, only the close (100) counts; then bar 2 whole
    ((1, True, 3, False), (81 / 100 - 1, 110 / 100 - 1)),
    # in and out inside one bar: nothing but the two fill prices
    ((2, True, 2, True), (0.0, 0.0)),
    # left inside bar 3 at its open price 90: bar 3's high of 132 is not ours
    ((2, False, 3, True), (81 / 100 - 1, 110 / 100 - 1)),
]


@pytest.mark.parametrize(("case", "expected"), EXCURSIONS)
def test_excursions_count_only_what_was_certainly_lived_through(
    make_bars: Make, make_book: Make, case: tuple[int, bool, int, bool], expected: tuple[float, float]
) -> None:
    bars = make_bars([100, 100, 90, 120, 110], wick=0.1)
    book = make_book(bars)
    entry, is_inside, leave, leaves_inside = case
    book.trade(entry, 1.0, inside=is_inside)
    book.trade(leave, -1.0, inside=leaves_inside)
    (trade,) = round_trips(book.fills, bars=bars).rows()
    assert (trade.worst_excursion, trade.best_excursion) == pytest.approx(expected)


def test_a_short_trade_suffers_from_highs(make_bars: Make, make_book: Make) -> None:
    bars = make_bars([100, 100, 120, 90])
    book = make_book(bars)
    book.trade(1, -1.0)
    book.trade(3, 1.0)
    (trade,) = round_trips(book.fills, bars=bars).rows()
    assert (trade.worst_excursion, trade.best_excursion) == pytest.approx((-0.2, 0.0))


def by_hand(fills: list[FillRow]) -> list[tuple[str, int, float, float, float]]:
    """Round trips the slow way: (symbol, direction, quantity, net, fees), closed ones only, one unit at a time."""
    done, state = [], {}
    for fill in fills:
        left, sign = fill.quantity, 1 if fill.side == "buy" else -1
        while left > 1e-9:
            held, direction, entered, cash, fees = state.get(fill.symbol, (0.0, 0, 0.0, 0.0, 0.0))
            direction = direction or sign
            part = left if sign == direction else min(left, held)
            fee = fill.fee * part / fill.quantity
            held += part if sign == direction else -part
            entered += part if sign == direction else 0.0
            cash, fees, left = cash - sign * part * fill.price - fee, fees + fee, left - part
            if held < 1e-9:
                done.append((fill.symbol, direction, entered, cash, fees))
                state.pop(fill.symbol, None)
            else:
                state[fill.symbol] = (held, direction, entered, cash, fees)
    return done


sizes = st.sampled_from([-3.0, -2.0, -1.0, -0.25, 0.25, 1.0, 2.0, 3.0])
quantities = st.lists(st.tuples(sizes, st.sampled_from("AB")), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=quantities, seed=st.integers(0, 1000))
def test_net_profits_add_up_to_the_change_of_equity(
    make_bars: Make, make_book: Make, moves: list[tuple[float, str]], seed: int
) -> None:
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, len(moves) + 2)))
    book = make_book(make_bars(closes, "A", wick=0.01), make_bars(closes[::-1] + 1, "B", wick=0.01))
    for place, (quantity, symbol) in enumerate(moves):
        book.trade(place + 1, quantity, symbol=symbol, fee=0.1 * abs(quantity), cost=0.02)
    prices = {symbol: float(rows.close[-1]) for symbol, rows in book.bars.items()}
    trades = round_trips(book.fills, last_prices=prices)
    curve = book.curve()
    assert trades.net_profit.sum() == pytest.approx(curve.equity[-1] - curve.equity[0], abs=1e-6)
    assert trades.fees.sum() == pytest.approx(sum(fill.fee for fill in book.fills))
    assert np.all(trades.gross_profit >= trades.net_profit - 1e-9)
    closed = trades.closed
    got = sorted(
        (closed.symbols[place], direction, quantity, net, fees)
        for place, direction, quantity, net, fees in zip(
            closed.symbol, closed.direction, closed.quantity, closed.net_profit, closed.fees, strict=True
        )
    )
    expected = sorted(by_hand(book.fills))
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2:] for row in got], [row[2:] for row in expected], atol=1e-6)


def test_rows_have_the_fields_of_a_trade_in_their_order(swinging: Any, wandering: Bars) -> None:
    trades = round_trips(swinging.fills, bars=wandering)
    for place, trade in enumerate(trades.rows()):
        assert isinstance(trade, Trade)
        assert trade.id == place + 1
        for name in ("entry_price", "net_profit", "worst_excursion", "bars_held", "fills", "exit_order_id"):
            assert getattr(trade, name) == getattr(trades, name)[place]
        assert trade.worst_excursion <= 0 <= trade.best_excursion
