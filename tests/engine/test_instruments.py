"""Increments: where floats become whole counts, and back without losing anything."""

from decimal import Decimal
from fractions import Fraction
from random import Random

import numpy as np
import pytest

from engine import Instrument, SettingsError
from engine.instruments import currency_unit, infer_price_increment

D = Decimal


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("price_increment", D(0), "BTC: price_increment is 0; expected a number above 0, such as 0.01"),
        ("quantity_increment", D("-1"), "BTC: quantity_increment is -1; expected a number above 0"),
        ("multiplier", D("NaN"), "BTC: multiplier is NaN; expected a number above 0"),
        ("price_increment", D("Infinity"), "BTC: price_increment is Infinity; expected a number above 0"),
        ("min_notional", D(-1), "BTC: min_notional is -1; expected 0 or more"),
        ("min_quantity", D("NaN"), "BTC: min_quantity is NaN; expected 0 or more"),
    ],
)
def test_increments_that_make_no_sense(name: str, value: Decimal, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Instrument("BTC", **{name: value})


@pytest.mark.parametrize(
    ("increment", "price", "ticks"),
    [
        ("0.01", 0.29, 29),  # 0.29 / 0.01 is 28.999999999999996
        ("0.01", 1.15, 115),
        ("0.1", 0.3, 3),
        ("0.5", 100.25, 200),  # half-way: to even
        ("0.5", 100.75, 202),
        ("0.05", 100.07, 2001),
        ("0.00000001", 0.00000123, 123),
        ("5", 102.4, 20),
    ],
)
def test_a_price_snaps_to_the_nearest_increment(increment: str, price: float, ticks: int) -> None:
    instrument = Instrument("X", price_increment=D(increment))
    assert instrument.to_ticks(price) == ticks
    assert instrument.ticks_of(np.array([price])).tolist() == [ticks]
    assert instrument.to_price(ticks) == ticks * D(increment) == instrument.round_price(price)


@pytest.mark.parametrize("increment", ["0.01", "0.1", "0.05", "0.00000001", "0.5", "0.00025"])
def test_every_count_survives_the_way_through_float(increment: str) -> None:
    instrument = Instrument("X", price_increment=D(increment), quantity_increment=D(increment))
    random = Random(7)
    for _ in range(500):
        count = random.randrange(1, 10 ** random.randrange(1, 13))
        assert instrument.to_ticks(instrument.float_price(count)) == count
        assert instrument.to_lots(instrument.float_quantity(count)) == count
        assert Fraction(instrument.float_price(count)) == Fraction(float(count * D(increment)))


@pytest.mark.parametrize(
    ("quantity", "lots"),
    [
        (0.3, 3),  # 0.3 / 0.1 is 2.9999999999999996
        (0.39999, 3),
        (0.0999, 0),
        (D("0.39999"), 3),
        (D("0.3"), 3),
        (-0.35, -3),  # towards zero
    ],
)
def test_a_quantity_is_cut_down_never_rounded_up(quantity: float | Decimal, lots: int) -> None:
    instrument = Instrument("X", quantity_increment=D("0.1"))
    assert instrument.to_lots(quantity) == lots
    assert instrument.round_quantity(quantity) == lots * D("0.1")


def test_a_large_quantity_that_is_a_whole_count_loses_none_of_it() -> None:
    instrument = Instrument("X", quantity_increment=D("0.00001"))
    assert instrument.to_lots(1130288.14162) == 113_028_814_162


@pytest.mark.parametrize(
    ("price", "quantity", "multiplier", "unit"),
    [
        ("0.01", "0.00001", "1", "1e-8"),
        ("0.01", "0.00000001", "1", "1e-10"),
        ("0.5", "1", "0.01", "1e-8"),
        ("0.00000001", "0.1", "1", "1e-9"),
        ("0.25", "0.00000003", "1", "1e-10"),
    ],
)
def test_the_currency_unit_makes_every_sum_whole(price: str, quantity: str, multiplier: str, unit: str) -> None:
    instrument = Instrument("X", price_increment=D(price), quantity_increment=D(quantity), multiplier=D(multiplier))
    assert currency_unit([instrument, Instrument("Y")]) == D(unit)
    assert (instrument.increment_value / D(unit)) % 1 == 0


@pytest.mark.parametrize(
    ("prices", "increment"),
    [
        ([100.0, 101.0], "1"),
        ([100.5, 101.0], "0.1"),
        ([0.29, 1.15], "0.01"),
        ([43_210.12, 0.01], "0.01"),
        ([0.00001234], "0.00000001"),
        ([np.nan, 1.5], "0.1"),
        ([1 / 3], "0.00000001"),
        ([3.512e-7, 2.5e-7], "1e-10"),
        ([1.0035e-10, 5e-8], "1e-14"),
        ([0.0123456789], "1e-8"),
        ([], "1"),
    ],
)
def test_an_increment_can_be_guessed_from_prices(prices: list[float], increment: str) -> None:
    assert infer_price_increment(np.array(prices, np.float64)) == D(increment)
