"""Cash of one currency, and what is held of one instrument: in a cash account, bought on margin, or as a contract.

Money is counted in whole units of its currency (`..._units`), quantities in lots, prices in ticks; the Decimal
properties are views for people.
"""

from decimal import Decimal

from engine.errors import SettingsError
from engine.instruments import Instrument
from engine.margin import UnitSchedule


class Account:
    """Cash of one currency at one venue.

    `locked_units` is cash that may not be spent. In a cash account it backs short positions: their proceeds and as much
    again as collateral, at entry prices. In a margin account it is the margin of isolated positions.
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
        """Return the signed market value (of a contract: notional) at a price, in currency units."""
        return self.lots * ticks * self.value_units

    def worth_units(self, ticks: int) -> int:
        """Return what the position adds to the cash of its account to make equity, at a price, in currency units."""
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


class MarginPosition(Position):
    """A position in a margin account: `schedule` says how much equity it needs."""

    __slots__ = ("schedule",)

    def __init__(self, instrument: Instrument, account: Account, schedule: UnitSchedule) -> None:
        super().__init__(instrument, account)
        self.schedule = schedule

    @property
    def signed_cost_units(self) -> int:
        """What the position was bought for, negative for what a short one was sold for."""
        return self.cost_units if self.lots > 0 else -self.cost_units

    def _take(self, side: int, price_ticks: int, lots: int) -> int:
        """Change quantity and cost by an execution; return what it realised, in currency units."""
        held, value, result = self.lots, self.value_units, 0
        if held * side >= 0:
            self.cost_units += price_ticks * lots * value
        else:
            closing = min(lots, abs(held))
            removed = self.cost_units * closing // abs(held)  # as in Position.apply: nothing is lost
            self.cost_units -= removed
            result = (price_ticks * closing * value - removed) * -side
            self.realised_units += result
            if lots > closing:
                self.cost_units = price_ticks * (lots - closing) * value
        self.lots = after = held + side * lots
        if not held:
            self.account.open_positions[self] = None
        elif not after:
            del self.account.open_positions[self]
        return result


class FinancedPosition(MarginPosition):
    """Bought with cash, own or borrowed, or sold short: the notional moves cash, which may fall below 0."""

    __slots__ = ()

    def apply(self, side: int, price_ticks: int, lots: int, fee_units: int) -> None:
        """Book an execution: the cash leg, the fee and the position."""
        self.account.cash_units -= side * price_ticks * lots * self.value_units + fee_units
        self._take(side, price_ticks, lots)


class ContractPosition(MarginPosition):
    """A linear perpetual: no cash moves for its notional, only results and fees do.

    `margin_units` is the position's own margin where margins are isolated, else 0; it is part of the account's cash and
    locked there.
    """

    __slots__ = ("is_isolated", "margin_units")

    def __init__(
        self, instrument: Instrument, account: Account, schedule: UnitSchedule, *, is_isolated: bool = False
    ) -> None:
        super().__init__(instrument, account, schedule)
        self.is_isolated = is_isolated
        self.margin_units = 0

    def worth_units(self, ticks: int) -> int:
        """Return the unrealised result at a price, in currency units."""
        return self.lots * ticks * self.value_units - self.signed_cost_units

    def apply(self, side: int, price_ticks: int, lots: int, fee_units: int) -> None:
        """Book an execution: what it realised, the fee, the position, and its margin where that is isolated."""
        held, cost = self.lots, self.cost_units
        result = self._take(side, price_ticks, lots)
        self.account.cash_units += result - fee_units
        if not self.is_isolated:
            return
        if held * side >= 0:
            self.move_margin(self.schedule.initial(self.cost_units) - self.schedule.initial(cost))
        else:
            closing = min(lots, abs(held))
            self.move_margin(-(self.margin_units * closing // abs(held)))
            if lots > closing:
                self.move_margin(self.schedule.initial(self.cost_units))

    def move_margin(self, units: int) -> None:
        """Set aside so much more of the account's cash for this position; negative gives it back."""
        self.margin_units += units
        self.account.locked_units += units
