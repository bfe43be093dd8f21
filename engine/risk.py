"""Pre-trade checks: an order is approved, or refused with a reason.

The gate stands between a strategy's request and the broker, in backtest and paper trading alike. A rule is a small
class with one method; the venue's own filters are the first rule.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from engine.costs import FeeSchedule, FillTerms, Slippage
from engine.events import Liquidity
from engine.orders import Order, Side
from engine.portfolio import Portfolio


class RiskRule(Protocol):
    """One reason to say no."""

    def refusal(self, order: Order, price: float, portfolio: Portfolio) -> str | None:
        """Return why the order must not be sent, or None to let it pass. `price` is the last close."""


class VenueFilters:
    """What the venue would reject: an order below its minimum quantity or minimum notional."""

    def refusal(self, order: Order, price: float, portfolio: Portfolio) -> str | None:
        instrument = order.instrument
        if order.lots <= 0:
            return f"quantity rounds to 0; the step of {order.symbol} is {instrument.quantity_increment}"
        if order.quantity < instrument.min_quantity:
            return f"quantity {order.quantity} is below the venue's minimum {instrument.min_quantity}"
        if instrument.min_notional:
            ticks = order.limit_ticks or order.stop_ticks or instrument.to_ticks(price)
            notional = instrument.to_price(ticks) * order.quantity * instrument.multiplier
            if notional < instrument.min_notional:
                worth = f"{notional.normalize():f} {instrument.quote}"
                return f"notional {worth} is below the venue's minimum {instrument.min_notional}"
        return None


class RiskGate:
    """Asks each rule in turn; the first refusal counts."""

    def __init__(self, rules: Sequence[RiskRule] = ()) -> None:
        self._filters = VenueFilters()
        self._rules = tuple(rules)

    @property
    def has_rules(self) -> bool:
        """Whether there is any rule beside the venue's own filters."""
        return bool(self._rules)

    def refusal(self, order: Order, price: float, portfolio: Portfolio) -> str | None:
        """Return why an order must not be sent, or None."""
        instrument = order.instrument
        # Without minimums there is nothing to compute: the common case costs two comparisons.
        if order.lots <= 0 or instrument.min_notional or instrument.min_quantity:
            reason = self._filters.refusal(order, price, portfolio)
            if reason is not None:
                return reason
        for rule in self._rules:
            reason = rule.refusal(order, price, portfolio)
            if reason is not None:
                return reason
        return None


def headroom(fees: FeeSchedule, slippage: Slippage, symbol: str) -> float:
    """Return the largest share of equity that can be bought with, so that the fee and a constant price cost fit
    beside it."""
    notional = Decimal(1_000_000)
    fee = fees.fee(FillTerms(symbol, Side.BUY, Decimal(1), notional, Liquidity.TAKER, 0))
    half_spread, points = slippage.constant_basis_points() or (0.0, 0.0)
    return 1.0 / ((1.0 + max(float(fee / notional), 0.0)) * (1.0 + (half_spread + points) * 1e-4))
