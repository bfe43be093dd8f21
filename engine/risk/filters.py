"""The first rule: what the venue itself would reject."""

from engine.risk.rule import Asked, RiskRule


class VenueFilters(RiskRule):
    """Refuses an order below the venue's minimum quantity or minimum notional. It holds for every order."""

    name = "venue"

    def refusal(self, asked: Asked) -> str | None:
        """Return which filter the order does not pass, or None. Notional counts at the limit, else at the stop, else at
        the last close."""
        order, instrument = asked.order, asked.instrument
        if order.lots <= 0:
            return f"quantity rounds to 0; the step of {order.symbol} is {instrument.quantity_increment}"
        if order.quantity < instrument.min_quantity:
            return f"quantity {order.quantity} is below the venue's minimum {instrument.min_quantity}"
        if instrument.min_notional:
            ticks = order.limit_ticks or order.stop_ticks or instrument.to_ticks(asked.price)
            notional = instrument.to_price(ticks) * order.quantity * instrument.multiplier
            if notional < instrument.min_notional:
                worth = f"{notional.normalize():f} {instrument.quote}"
                return f"notional {worth} is below the venue's minimum {instrument.min_notional}"
        return None
