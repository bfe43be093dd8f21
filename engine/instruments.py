"""What is traded, where, and in which steps.

An instrument owns the crossing between float64 (market data, signals) and whole increments
(orders, fills, books). Inside the engine a price is an integer count of price increments ("ticks" in
variable names only), a quantity an integer count of quantity increments ("lots"), and money an integer count of
the currency's unit, so that an exact touch is a touch and the books balance to the last unit.
"""

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from math import ceil, floor, log10

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.errors import SettingsError, nearest_name

SMALLEST_UNIT = Decimal("1e-8")
"""Money is counted at least this finely; venues keep balances to eight decimals."""

SIGNIFICANT = 6
"""Digits of the smallest price that a guessed increment keeps."""

KINDS = ("spot", "perpetual")
"""What an instrument may be."""


@dataclass(frozen=True)
class Instrument:
    """One thing that is traded at one venue.

    Args:
        symbol: the name in the feed, for example "BTC/USDT".
        base: the asset bought or sold; quote: the currency it is paid in.
        price_increment: the step between two valid prices, in quote currency.
        quantity_increment: the step between two valid quantities, in base asset (or contracts).
        min_quantity: the smallest order, in base asset; 0 for none.
        min_notional: the smallest price × quantity of an order, in quote currency; 0 for none.
        multiplier: base asset per unit of quantity (1 on spot markets).
        kind: "spot", or "perpetual": a linear contract without end, whose results are paid in the quote currency.
    Raises:
        SettingsError: an increment or the multiplier is not positive, a minimum is negative, or the kind is unknown.
    """

    symbol: str
    quote: str = "USD"
    base: str = ""
    price_increment: Decimal = Decimal("0.01")
    quantity_increment: Decimal = Decimal("0.00001")
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    multiplier: Decimal = Decimal(1)
    venue: str = ""
    kind: str = "spot"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError(
                f"{self.symbol}: kind is {self.kind!r}; expected one of {', '.join(KINDS)}"
                f"{nearest_name(self.kind, KINDS)}"
            )
        for name in ("price_increment", "quantity_increment", "multiplier"):
            value = getattr(self, name)
            if not (value.is_finite() and value > 0):
                raise SettingsError(f"{self.symbol}: {name} is {value}; expected a number above 0, such as 0.01")
        for name in ("min_quantity", "min_notional"):
            value = getattr(self, name)
            if not (value.is_finite() and value >= 0):
                raise SettingsError(f"{self.symbol}: {name} is {value}; expected 0 or more")
        object.__setattr__(self, "tick", float(self.price_increment))
        object.__setattr__(self, "lot", float(self.quantity_increment))
        object.__setattr__(self, "price_ratio", self.price_increment.as_integer_ratio())
        object.__setattr__(self, "quantity_ratio", self.quantity_increment.as_integer_ratio())

    tick: float = field(init=False, repr=False, compare=False, default=0.0)
    """The price increment as a float; `lot` is the quantity increment."""
    lot: float = field(init=False, repr=False, compare=False, default=0.0)
    price_ratio: tuple[int, int] = field(init=False, repr=False, compare=False, default=(1, 1))
    """The price increment as numerator and denominator; `quantity_ratio` likewise."""
    quantity_ratio: tuple[int, int] = field(init=False, repr=False, compare=False, default=(1, 1))

    @property
    def is_contract(self) -> bool:
        """Whether no cash moves for its notional: results alone are paid."""
        return self.kind != "spot"

    @property
    def increment_value(self) -> Decimal:
        """What one price increment of one quantity increment is worth, in quote currency."""
        return self.price_increment * self.quantity_increment * self.multiplier

    def to_ticks(self, price: float) -> int:
        """Return the price as a count of price increments, snapped to the nearest."""
        return round(price / self.tick)

    def to_ticks_beyond(self, price: float, direction: int) -> int:
        """Return the price as a count of price increments, moved up (`direction` 1) or down (-1) if it lies between
        two.

        A float within a millionth of a step (or its own rounding error) of a whole count is taken for that count.
        """
        steps = price / self.tick
        nearest = round(steps)
        if abs(steps - nearest) < 1e-6 + 4e-16 * abs(steps):
            return nearest
        return ceil(steps) if direction > 0 else floor(steps)

    def ticks_of(self, prices: FloatArray) -> IntArray:
        """Return a column of prices as int64 counts of price increments, snapped as `to_ticks` does."""
        return np.rint(prices / self.tick).astype(np.int64)

    def to_price(self, ticks: int) -> Decimal:
        """Return the exact price of a count of price increments."""
        return ticks * self.price_increment

    def float_price(self, ticks: int) -> float:
        """Return the float64 nearest to the exact price of a count of price increments."""
        return ticks * self.price_ratio[0] / self.price_ratio[1]

    def float_quantity(self, lots: int) -> float:
        """Return the float64 nearest to the exact quantity of a count of quantity increments."""
        return lots * self.quantity_ratio[0] / self.quantity_ratio[1]

    def to_lots(self, quantity: Decimal | float) -> int:
        """Return the quantity as a count of quantity increments, cut down towards zero.

        A float within a millionth of a step (or its own rounding error) below a whole count is taken for that count:
        0.3/0.1 is 3.
        """
        if isinstance(quantity, Decimal):
            return int((quantity / self.quantity_increment).to_integral_value(ROUND_DOWN))
        steps = quantity / self.lot
        nearest = round(steps)
        return nearest if abs(steps - nearest) < 1e-6 + 4e-16 * abs(steps) else int(steps)

    def to_quantity(self, lots: int) -> Decimal:
        """Return the exact quantity of a count of quantity increments."""
        return lots * self.quantity_increment

    def round_price(self, price: float | Decimal) -> Decimal:
        """Return the nearest valid price."""
        return self.to_price(self.to_ticks(float(price)))

    def round_quantity(self, quantity: float | Decimal) -> Decimal:
        """Return the largest valid quantity that is not above the one given."""
        return self.to_quantity(self.to_lots(quantity))


def currency_unit(instruments: list[Instrument] | tuple[Instrument, ...]) -> Decimal:
    """Return the unit in which cash of one quote currency is counted, so that price × quantity is always whole.

    It is a power of ten, 1e-8 or finer when an instrument's increments ask for it.
    """
    unit = SMALLEST_UNIT
    for instrument in instruments:
        exponent = instrument.increment_value.normalize().as_tuple().exponent
        assert isinstance(exponent, int)
        unit = min(unit, Decimal(1).scaleb(exponent))
    return unit


def infer_price_increment(prices: FloatArray, *, most_decimals: int = 8) -> Decimal:
    """Return the coarsest power of ten, 1 … 1e-8, of which every price is a multiple within float error.

    Prices below 0.1 may have more decimals: six digits that count, so that none is moved by more than a millionth.
    For data whose venue's increment is not known. Not a fact about the venue: 0.5-steps give 0.1.
    """
    finite = prices[np.isfinite(prices) & (prices != 0)]
    if len(finite):
        most_decimals = max(most_decimals, SIGNIFICANT - floor(log10(float(np.abs(finite).min()))))
    for decimals in range(most_decimals):
        whole = np.rint(scaled := finite * 10.0**decimals)
        tolerance = 1e-9 * np.maximum(np.abs(scaled), 1.0) + 1e-7
        if np.all((np.abs(scaled - whole) <= tolerance) & (whole != 0)):
            return Decimal(1).scaleb(-decimals)
    return Decimal(1).scaleb(-most_decimals)
