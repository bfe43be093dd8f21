from engine.live.market import Trade
from feeds.candles import Candle
from feeds.trade_bars import TradeBars, candles_of_trades

MINUTE = 60


def trade(time: int, price: float, quantity: float = 1.0, number: int | str = "") -> Trade:
    return Trade("BTC/USDT", time, time, price, quantity, "buy", str(number))


def test_candles_are_made_of_the_trades_of_their_span_and_empty_ones_are_not_made():
    trades = [(0, 10.0, 0.1), (59, 12.0, 0.2), (60, 9.0, 1.0), (185, 8.0, 1.0), (240, 1.0, 1.0)]
    assert candles_of_trades(trades, MINUTE, 0, 240) == [
        Candle(0, 10, 12, 10, 12, 0.3), Candle(60, 9, 9, 9, 9, 1), Candle(180, 8, 8, 8, 8, 1)]


def test_volumes_add_up_as_decimal_numbers_do():
    trades = [(0, 1.0, 0.1)] * 3
    assert candles_of_trades(trades, MINUTE, 0, 60)[0].volume == 0.3


def test_a_candle_that_began_before_anything_was_heard_is_not_whole():
    made = TradeBars(MINUTE, anchor=0)
    assert made.add(trade(30, 10)) == (Candle(0, 10, 10, 10, 10, 1), False)
    assert made.add(trade(61, 11)) == (Candle(60, 11, 11, 11, 11, 1), True)
    assert made.add(trade(62, 12)) == (Candle(60, 11, 12, 11, 12, 2), True)


def test_a_missing_number_makes_the_candle_incomplete_and_the_next_one_whole_again():
    made = TradeBars(MINUTE, anchor=0)
    made.add(trade(1, 10, number=1))
    assert made.add(trade(60, 10, number=2))[1]
    assert not made.add(trade(70, 10, number=5))[1]
    assert made.add(trade(120, 10, number=6))[1]
    assert made.holes == 1


def test_a_trade_heard_twice_or_too_late_counts_once():
    made = TradeBars(MINUTE, anchor=0)
    made.add(trade(1, 10, number=7))
    assert made.add(trade(1, 10, number=7)) is None
    assert made.add(trade(0, 10, number=6)) is None
    made.add(trade(61, 10, number=8))
    assert made.add(trade(59, 10)) is None


def test_after_a_break_nothing_is_whole_until_a_candle_that_begins_later():
    made = TradeBars(MINUTE, anchor=0)
    made.add(trade(1, 10))
    assert made.add(trade(60, 10))[1]
    made.missed()
    assert not made.add(trade(100, 10))[1]
    assert made.add(trade(121, 10))[1]
