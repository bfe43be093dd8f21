"""What a venue reports, booked into the portfolio to the last unit: executions, fees in any currency, money that moved.

Venues take the fee of a purchase on a spot market out of what is bought. The position is then what arrived, in whole
increments; what lies beyond the last one is kept beside it as dust, so that everything that is held may be sold and no
more. The record has such a fee valued in the quote currency at the price of its execution; a "dust" event moves the
difference, so that cash is always what the venue says.
"""

from collections.abc import Callable
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from engine.errors import VenueError
from engine.events import CashMoved, Fill, Liquidity
from engine.live.reports import Report
from engine.orders import Order, OrderStatus
from engine.portfolio import Portfolio
from engine.positions import ContractPosition, Position

ZERO = Decimal(0)


class Booking:
    """Keeps the books of one session.

    Args:
        bar_close_of: gives the close time of the bar that an instant belongs to, of a symbol.
    """

    def __init__(self, portfolio: Portfolio, bar_close_of: Callable[[str, int], int]) -> None:
        self._portfolio = portfolio
        self._bar_close_of = bar_close_of
        self._carry: dict[str, Decimal] = {}
        """Money finer than a currency's unit, by currency: it counts once it makes a whole one."""
        self.dust: dict[str, Decimal] = {}
        """Base asset beyond whole increments, by symbol; from 0 up to one increment."""
        self.fill_count = 0

    def fill(self, order: Order, report: Report, time: int) -> list[Fill | CashMoved]:
        """Book an execution; return it, and the money that moved beside it.

        The fill's quantity is what the position changed by. An execution that its own fee eats up whole (one increment,
        on a spot market) is told as the money it cost alone.
        """
        assert report.ticks is not None
        position, instrument = self._portfolio.positions[order.symbol], order.instrument
        gross, ticks = report.lots, report.ticks
        moved: list[Fill | CashMoved] = []
        lots, fee_units = gross, 0
        if report.fee and report.fee_currency == instrument.base and not instrument.is_contract:
            fee_units = self._valued(position, report.fee, ticks)
            lots = self._arrived(order, position, report.fee, gross)
            value = position.value_units * ticks
            # What was paid at the venue is price × gross; the fill below says price × lots and the fee.
            units = order.side * (lots - gross) * value + fee_units
            if lots <= 0:
                note = f"{order.quantity} {instrument.base} bought or sold for a fee of as much: order {order.id}"
                return [*self._move(position, time, "dust", -order.side * gross * value, note)]
            note = f"fee of {report.fee} {instrument.base}, beside whole increments of {instrument.quantity_increment}"
            moved += self._move(position, time, "dust", units, note)
        elif report.fee and report.fee_currency in ("", instrument.quote):
            fee_units = self._whole(instrument.quote, report.fee)
        elif report.fee and instrument.base == report.fee_currency:
            fee_units = self._valued(position, report.fee, ticks)
        elif report.fee:
            moved += self.money(time, "fee", report.fee_currency, -report.fee, order.symbol, f"of order {order.id}")
        position.apply(order.side, ticks, lots, fee_units)
        self.fill_count += 1
        fill = Fill(
            self.fill_count, order, time, self._bar_close_of(order.symbol, time), order.side, ticks, lots,
            Liquidity(report.liquidity), fee_units, report.reference_ticks or ticks, report.spread_cost,
            report.slippage_cost, report.impact_cost, position.lots, position.account.cash_units,
        )
        return [fill, *moved]

    def money(
        self, time: int, kind: str, currency: str, amount: Decimal, symbol: str = "", note: str = ""
    ) -> list[CashMoved]:
        """Book money that moved other than by a fill; return it as events, none if it is less than a unit.

        What has no account here (a fee in a third currency) moves nothing, and is noted all the same.
        """
        account = self._portfolio.accounts.get(currency)
        if account is None:
            main = self._portfolio.accounts[self._portfolio.currency]
            words = f"{amount:f} {currency or 'of an unnamed currency'}, which has no account here{_and(note)}"
            return [CashMoved(time, kind, main.currency, 0, ZERO, symbol, words, main.cash_units)]
        units = -self._whole(currency, -amount)
        if not units and not note:
            return []
        account.cash_units += units
        position = self._portfolio.positions.get(symbol)
        if isinstance(position, ContractPosition) and position.is_isolated and position.lots and kind == "funding":
            position.move_margin(units)
        return [CashMoved(time, kind, currency, units, units * account.unit, symbol, note, account.cash_units)]

    def position_difference(self, order: Order, ticks: int, time: int, note: str) -> list[Fill | CashMoved]:
        """Book what the venue holds more (or less) than we do as an execution of a forced order, and give its cash
        back: the venue's cash is told apart."""
        position = self._portfolio.positions[order.symbol]
        position.apply(order.side, ticks, order.lots, 0)
        self.fill_count += 1
        order.record_fill(order.lots)
        fill = Fill(
            self.fill_count, order, time, self._bar_close_of(order.symbol, time), order.side, ticks, order.lots,
            Liquidity.TAKER, 0, ticks, lots_after=position.lots, cash_units_after=position.account.cash_units,
        )
        units = 0 if order.instrument.is_contract else order.side * order.lots * ticks * position.value_units
        return [fill, *self._move(position, time, "difference", units, note)]

    def _valued(self, position: Position, fee: Decimal, ticks: int) -> int:
        """Return a fee in base asset as units of the quote currency, at a price."""
        price = position.instrument.to_price(ticks)
        return int((fee * price / position.account.unit).to_integral_value(ROUND_HALF_EVEN))

    def _arrived(self, order: Order, position: Position, fee: Decimal, gross: int) -> int:
        """Return the lots by which the position changes, a fee in base asset taken out; keep the rest as dust."""
        instrument, symbol = order.instrument, order.symbol
        step = instrument.quantity_increment * instrument.multiplier
        balance = position.lots * step + self.dust.get(symbol, ZERO) + order.side * gross * step - fee
        whole = int((balance / step).to_integral_value(ROUND_FLOOR))
        change = (whole - position.lots) * order.side
        if change <= 0:  # the fee is all there was: no position changes, the whole of it is dust
            whole, change = position.lots, 0
        self.dust[symbol] = balance - whole * step
        return change

    def _whole(self, currency: str, amount: Decimal) -> int:
        """Return an amount as whole units; what is finer is carried over to the next one of the currency."""
        unit = self._portfolio.accounts[currency].unit
        total = amount + self._carry.get(currency, ZERO)
        units = int((total / unit).to_integral_value(ROUND_HALF_EVEN))
        self._carry[currency] = total - units * unit
        return units

    def _move(self, position: Position, time: int, kind: str, units: int, note: str) -> list[Fill | CashMoved]:
        account = position.account
        if not units and kind != "difference":
            return []
        account.cash_units += units
        symbol = position.instrument.symbol
        return [CashMoved(time, kind, account.currency, units, units * account.unit, symbol, note, account.cash_units)]


def count_execution(order: Order, report: Report) -> str:
    """Count an execution on its order, whatever state our books have it in: the venue's word wins.

    Returns:
        What is odd about it, in words; empty for what was to be expected.
    Raises:
        VenueError: the report names no price, no quantity or no trade id.
    """
    if report.ticks is None or report.lots <= 0 or not report.trade_id:
        raise VenueError(
            f"an execution of order {order.id} came as {report.lots} lots at {report.ticks} ticks with trade id "
            f"{report.trade_id!r}; expected a price, a quantity and an id by which to know it again"
        )
    odd = ""
    if report.lots > order.open_lots:
        asked, found = order.quantity, order.instrument.to_quantity(order.filled_lots + report.lots)
        odd = f"the venue filled {found} of order {order.id}, which asked for {asked}"
        order.lots = order.filled_lots + report.lots
    if order.is_open:
        order.record_fill(report.lots)
        return odd
    if order.status is OrderStatus.REJECTED:
        odd = odd or f"the venue filled order {order.id}, which it had said it never took"
    order.record_late_fill(report.lots)
    return odd


def _and(note: str) -> str:
    return f"; {note}" if note else ""
