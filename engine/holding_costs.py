"""Holding costs as they fall due: funding at its instants, interest and borrow fees at midnight UTC, booked exactly.

What each of them comes to is engine.carry; here is when, on what is held then, and the booking.
"""

from collections.abc import Callable, Iterable, Mapping

from engine.bars import DAY
from engine.carry import CarryTerms, Charge, FundingPayment, borrow_charge, funding_charge, interest_charge
from engine.events import CashMoved
from engine.portfolio import Portfolio
from engine.positions import Account, ContractPosition, Position


class HoldingCosts:
    """Charges the accounts of one run.

    Args:
        mark: gives the price of a symbol known at an instant, in ticks.
    """

    def __init__(self, portfolio: Portfolio, carry: CarryTerms, mark: Callable[[str, int], int]) -> None:
        self._portfolio = portfolio
        self._carry = carry
        self._mark = mark
        self._has_daily = carry.has_daily
        self._upcoming: dict[str, FundingPayment | None] = {}
        self._midnight = 0
        """The next instant at which interest and borrow fees are charged; 0 before the first bar."""

    @property
    def has_begun(self) -> bool:
        """Whether it is known when the run begins."""
        return self._midnight > 0

    @property
    def symbols(self) -> Iterable[str]:
        """The symbols that pay funding."""
        return self._upcoming

    def begin(self, first_open: int) -> None:
        """Take note of when the run begins: what was due before is none of its business."""
        self._midnight = -(-first_open // DAY) * DAY
        self._upcoming = {symbol: source.after(first_open - 1) for symbol, source in self._carry.funding.items()}

    def funding(self, until: Mapping[str, int]) -> list[CashMoved]:
        """Charge the payments due up to an instant, that instant included, of each symbol named; in order of time."""
        due: list[tuple[int, int, str, FundingPayment]] = []
        for place, (symbol, limit) in enumerate(until.items()):
            payment = self._upcoming.get(symbol)
            if payment is None or payment.time > limit:
                continue
            while payment is not None and payment.time <= limit:
                due.append((payment.time, place, symbol, payment))
                payment = self._carry.funding[symbol].after(payment.time)
            self._upcoming[symbol] = payment
        moved: list[CashMoved] = []
        for time, _, symbol, payment in sorted(due):
            position = self._portfolio.positions[symbol]
            if position.lots:
                charge = funding_charge(position, self._mark(symbol, time), payment)
                moved += booked(position.account, charge, time, position)
        return moved

    def daily(self, until: int) -> list[CashMoved]:
        """Charge interest and borrow fees of every midnight up to an instant, that instant included."""
        moved: list[CashMoved] = []
        while self._has_daily and self._midnight <= until:
            time, self._midnight = self._midnight, self._midnight + DAY
            for account in self._portfolio.accounts.values():
                moved += booked(account, interest_charge(account, self._carry.interest_rate), time)
                for position in account.open_positions:
                    symbol = position.instrument.symbol
                    if position.lots < 0:
                        fee = borrow_charge(position, self._mark(symbol, time), self._carry.borrow_rate_of(symbol))
                        moved += booked(account, fee, time, position)
        return moved


def booked(account: Account, charge: Charge | None, time: int, position: Position | None = None) -> list[CashMoved]:
    """Book a charge and return it as an event, none if it comes to nothing; that of an isolated position moves its
    margin too."""
    if charge is None or not charge.units:
        return []
    account.cash_units += charge.units
    if isinstance(position, ContractPosition) and position.is_isolated and position.lots:
        position.move_margin(charge.units)
    symbol = position.instrument.symbol if position is not None else ""
    amount = charge.units * account.unit
    return [
        CashMoved(time, charge.kind, account.currency, charge.units, amount, symbol, charge.note, account.cash_units)
    ]
