"""What a fill costs on the simulated exchange: the price after spread, slippage and impact, and the fee in units.

Schedules come from engine.costs; here they meet ticks, lots and currency units.
"""

from decimal import ROUND_HALF_EVEN, Decimal
from math import ceil

from engine.bars import Bar
from engine.costs import FeeSchedule, FillTerms, Market, MarketGauge, NoSlippage, PriceCosts, Slippage
from engine.events import Liquidity
from engine.orders import Order
from engine.portfolio import Position

FREE = PriceCosts()


def round_half_even(numerator: int, denominator: int) -> int:
    """Return the quotient rounded to the nearest whole, a half to the even one."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient & 1))


class Charges:
    """Fees and price costs of one run, and the market gauges that some of them need."""

    def __init__(self, fees: FeeSchedule, slippage: Slippage) -> None:
        self.fees = fees
        self.slippage = slippage
        self.has_price_costs = not isinstance(slippage, NoSlippage)
        rates = fees.constant_rates()
        self.depend_on_past = rates is None
        """Whether `record` must be told of executions."""
        # As pairs: a Fraction's numerator is a property, in Python, and asked for at every fill.
        self._maker, self._taker = [(rate.numerator, rate.denominator) for rate in rates] if rates else [(0, 1)] * 2
        self._gauges: dict[str, MarketGauge] = {}

    # ── fees ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def fee_units(
        self, order: Order, position: Position, price: int, lots: int, liquidity: Liquidity, time: int
    ) -> int:
        """Return the fee of an execution in currency units, rounded half-even; negative for a rebate."""
        notional_units = abs(price * lots * position.value_units)
        if not self.depend_on_past:
            above, below = self._taker if liquidity is Liquidity.TAKER else self._maker
            return round_half_even(notional_units * above, below)
        terms = _terms(order, position, notional_units, lots, order.filled_lots, liquidity, time)
        return int((self.fees.fee(terms) / position.account.unit).to_integral_value(ROUND_HALF_EVEN))

    def record(self, order: Order, position: Position, price: int, lots: int, liquidity: Liquidity, time: int) -> None:
        """Take note of an execution that was just booked, for schedules that depend on the past."""
        notional_units = abs(price * lots * position.value_units)
        before = order.filled_lots - lots
        self.fees.record(_terms(order, position, notional_units, lots, before, liquidity, time))
        order.filled_notional_units += notional_units

    # ── prices ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def price(self, order: Order, reference: int, lots: int) -> tuple[int, PriceCosts]:
        """Return the price in ticks after spread, slippage and impact, and what they are per unit of base."""
        instrument = order.instrument
        gauge = self._gauges.get(order.symbol)
        market = gauge.market if gauge else Market(0.0, 0.0)
        quantity = instrument.float_quantity(lots) * float(instrument.multiplier)
        costs = self.slippage.costs(instrument.float_price(reference), quantity, market)
        # Rounded away from us; the share of a step that rounding adds is counted as slippage.
        total = costs.spread + costs.slippage + costs.impact
        steps = ceil(total / float(instrument.price_increment) - 1e-9)
        price = reference + order.side * steps
        if price <= 0:
            price = min(reference, 1)
        limit = order.limit_ticks
        if limit is not None and (price - limit) * order.side > 0:  # never worse than its limit: the costs stop there
            share = instrument.float_price(abs(limit - reference)) / total
            return limit, PriceCosts(costs.spread * share, costs.slippage * share, costs.impact * share)
        paid = instrument.float_price(abs(price - reference))
        return price, PriceCosts(costs.spread, costs.slippage + max(0.0, paid - total), costs.impact)

    def watch(self, bar: Bar) -> None:
        """Let the gauge of the bar's symbol follow a closed bar, for costs that depend on the market."""
        gauge = self._gauges.get(bar.symbol)
        if gauge is None:
            gauge = self._gauges[bar.symbol] = MarketGauge(bar.close_time - bar.open_time)
        gauge.update(bar)


def in_quote(costs: PriceCosts, order: Order, lots: int) -> PriceCosts:
    """Return costs per unit of base as quote currency for an execution of so many lots."""
    size = order.instrument.float_quantity(lots) * float(order.instrument.multiplier)
    return PriceCosts(costs.spread * size, costs.slippage * size, costs.impact * size)


def _terms(
    order: Order, position: Position, notional_units: int, lots: int, before: int, liquidity: Liquidity, time: int
) -> FillTerms:
    """Return what the fee depends on; `before` is what the order had filled before, in lots."""
    unit, to_quantity = position.account.unit, order.instrument.to_quantity
    notional: Decimal = notional_units * unit
    filled: Decimal = order.filled_notional_units * unit
    quantity, past = to_quantity(lots), to_quantity(before)
    return FillTerms(order.symbol, order.side, quantity, notional, liquidity, time, past, filled)
