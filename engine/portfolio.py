"""Accounts, positions and the portfolio: they change only by applying facts, and they balance to the last unit.

Money is counted in whole units of its currency (`..._units`), quantities in lots, prices in ticks; the Decimal
properties are views for people. Bar-by-bar valuation is nobody's job here: equity is computed when asked for.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from engine.errors import SettingsError
from engine.events import Fill
from engine.instruments import Instrument, currency_unit


class Account:
    """Cash of one currency at one venue.

    `locked_units` is cash that backs short positions: their proceeds and as much again as collateral, at entry prices.
    """

    __slots__ = ("cash_units", "currency", "locked_units", "open_positions", "unit", "unit_ratio")

    def __init__(self, currency: str, unit: Decimal) -> None:
        self.currency = currency
        self.unit = unit
        self.unit_ratio = unit.as_integer_ratio()
        self.open_positions: dict[Position, None] = {}
        """The positions paid for from here that are not flat, in the order in which they were opened."""
        self.cash_units = 0
        self.locked_units = 0

    @property
    def cash(self) -> Decimal:
        return self.cash_units * self.unit

    @property
    def free_units(self) -> int:
        """What may be spent on opening positions."""
        return self.cash_units - self.locked_units

    @property
    def free(self) -> Decimal:
        return self.free_units * self.unit

    def deposit(self, amount: Decimal) -> None:
        """Add (or, negative, take out) an amount that must be a whole number of units."""
        units = amount / self.unit
        if units != units.to_integral_value():
            raise SettingsError(f"{amount} {self.currency} is finer than {self.unit}; expected a multiple of it")
        self.cash_units += int(units)


class Position:
    """Signed net quantity of one instrument, made of fills and nothing else.

    `cost_units` is what the open quantity was bought (or, short, sold) for, ≥ 0, fees left out.
    """

    __slots__ = ("account", "cost_units", "instrument", "lots", "realised_units", "value_units")

    def __init__(self, instrument: Instrument, account: Account) -> None:
        value = instrument.increment_value / account.unit
        assert value == value.to_integral_value(), "the account's unit was chosen so that this is whole"
        self.instrument = instrument
        self.account = account
        self.value_units = int(value)
        """Currency units that one tick of one lot is worth."""
        self.lots = 0
        self.cost_units = 0
        self.realised_units = 0

    @property
    def quantity(self) -> Decimal:
        return self.instrument.to_quantity(self.lots)

    @property
    def average_price(self) -> Decimal | None:
        """Return the average entry price in quote currency; None when flat."""
        if not self.lots:
            return None
        return self.cost_units * self.account.unit / (abs(self.quantity) * self.instrument.multiplier)

    def market_units(self, ticks: int) -> int:
        """Return the signed market value at a price, in currency units."""
        return self.lots * ticks * self.value_units

    def apply(self, side: int, price_ticks: int, lots: int, fee_units: int) -> None:
        """Book an execution: the cash leg, the fee, the position and the cash that backs it."""
        account = self.account
        notional = price_ticks * lots * self.value_units
        account.cash_units -= side * notional + fee_units
        held = self.lots
        if held * side >= 0:  # opening or adding
            self.cost_units += notional
            if side < 0:
                account.locked_units += 2 * notional
        else:
            closing = min(lots, abs(held))
            # Floor division keeps cost whole; what it rounds off stays with the open part, so nothing is lost.
            removed = self.cost_units * closing // abs(held)
            self.cost_units -= removed
            self.realised_units += (price_ticks * closing * self.value_units - removed) * -side
            if held < 0:
                account.locked_units -= 2 * removed
            if lots > closing:
                opened = price_ticks * (lots - closing) * self.value_units
                self.cost_units = opened
                if side < 0:
                    account.locked_units += 2 * opened
        self.lots = after = held + side * lots
        if not held:
            account.open_positions[self] = None
        elif not after:
            del account.open_positions[self]

    def restore(self, lots: int, cost_units: int, realised_units: int) -> None:
        """Set the position to what was computed or recorded elsewhere; the account's cash is set apart."""
        self.lots, self.cost_units, self.realised_units = lots, cost_units, realised_units
        self.account.open_positions.pop(self, None)
        if lots:
            self.account.open_positions[self] = None


class Portfolio:
    """Accounts and positions, valued together.

    Args:
        cash: the opening balance of each currency; the first named is the one that is reported in.
        instruments: everything that may be traded.
        allow_short: whether selling more than is held opens a short position.
    Raises:
        SettingsError: an instrument is quoted in a currency that has no account.
    """

    def __init__(
        self, cash: Mapping[str, Decimal], instruments: Iterable[Instrument], *, allow_short: bool = True
    ) -> None:
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        self.allow_short = allow_short
        self.accounts: dict[str, Account] = {}
        for currency, amount in cash.items():
            quoted = [instrument for instrument in self.instruments.values() if instrument.quote == currency]
            self.accounts[currency] = Account(currency, currency_unit(quoted))
            self.accounts[currency].deposit(amount)
        self.positions: dict[str, Position] = {}
        for instrument in self.instruments.values():
            if instrument.quote not in self.accounts:
                known = ", ".join(self.accounts) or "none"
                raise SettingsError(
                    f"{instrument.symbol} is paid in {instrument.quote}, but the account has {known}; "
                    f"add cash in {instrument.quote} (0 will do)"
                )
            self.positions[instrument.symbol] = Position(instrument, self.accounts[instrument.quote])

    @property
    def currency(self) -> str:
        """The currency that results are reported in."""
        return next(iter(self.accounts))

    def apply(self, fill: Fill) -> None:
        """Book a fill."""
        self.positions[fill.order.symbol].apply(fill.side, fill.price_ticks, fill.lots, fill.fee_units)

    def equity_units(self, currency: str, price_of: Callable[[str], float | None]) -> int:
        """Return cash + market value of the positions quoted in a currency, in its units, at the given prices."""
        account = self.accounts[currency]
        total = account.cash_units
        for position in account.open_positions:
            price = price_of(position.instrument.symbol)
            assert price is not None, "what is held has been bought at a price"
            total += position.market_units(position.instrument.to_ticks(price))
        return total

    def equity(self, currency: str, price_of: Callable[[str], float | None]) -> Decimal:
        """Return cash + market value of the positions quoted in a currency, exact at prices snapped to increments."""
        return self.equity_units(currency, price_of) * self.accounts[currency].unit
