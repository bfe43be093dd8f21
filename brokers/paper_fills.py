"""The small print of paper fills: a resting order's share of a print, and what each fill cost."""

from decimal import Decimal
from typing import NamedTuple

from engine.live.reports import Report, ReportKind
from engine.orders import Order


def resting_share(
    order: Order, ahead: int | None, ticks: int, taker_side: str, lots: int, left: int
) -> tuple[int, int | None]:
    """Return how much of a print a resting order gets, and what is ahead of it in the queue afterwards.

    A print beyond its price means that the queue at its price is gone: it would have filled first. A print at its price
    goes to what is ahead, then to the order; one by a taker of its own side is none of its business.

    Args:
        ahead: lots in the queue before it; None where unknown, which nothing at its own price gets through.
        ticks, taker_side, lots: of the print; left: what other orders of ours have left of it.
    """
    assert order.limit_ticks is not None, "only limits rest"
    beyond = (order.limit_ticks - ticks) * order.side
    if beyond > 0:
        return min(order.open_lots, left), 0
    if beyond < 0 or taker_side == order.side.word or ahead is None:
        return 0, ahead
    taken = lots - left  # by our own orders, before it in the queue
    share = max(0, min(order.open_lots, lots - taken - ahead))
    return share, max(0, ahead - (lots - taken))


class PaperFill(NamedTuple):
    """A fill that is to be reported once its costs are known."""

    order: Order
    report: Report

    def as_maker(self) -> Report:
        """Return the report of a fill that had been resting: it paid its own price."""
        return self.report._replace(liquidity="maker", reference_ticks=self.report.ticks or 0)

    def as_taker(self, mid: float | None, best: int | None, untouched: float) -> Report:
        """Return the report of a fill that took, with what lies between the mid price and its own.

        From the mid price to the best is spread, from there to where it would have filled in a book that we never
        touched is slippage (the walk), from there on impact (what our earlier fills took away).
        """
        order, ticks = self.order, self.report.ticks
        assert ticks is not None, "a fill has a price"
        if mid is None or best is None:
            return self.report._replace(reference_ticks=ticks)
        side = int(order.side)
        # The mid may lie between two increments, and by the time a stop has walked the book beyond its best price: the
        # reference is whole, and never on the wrong side.
        reference = min(int(mid // 1), best) if side > 0 else max(int(-(-mid // 1)), best)
        size = order.instrument.float_quantity(self.report.lots) * float(order.instrument.multiplier)
        step = float(order.instrument.price_increment) * size
        return self.report._replace(
            reference_ticks=reference,
            spread_cost=max(0.0, side * (best - reference) * step),
            slippage_cost=max(0.0, side * (untouched - best) * step),
            impact_cost=max(0.0, side * (ticks - untouched) * step),
        )


def fill_report(
    order: Order, lots: int, ticks: int, now: int, sent_at: int, trade_id: str, fee: Decimal, currency: str
) -> PaperFill:
    """Return a fill, to be told as a maker's or a taker's."""
    report = Report(
        ReportKind.FILLED, now, now, order.id, venue_order_id=f"paper-{order.id}", sent_at=sent_at,
        symbol=order.symbol, lots=lots, ticks=ticks, trade_id=trade_id, fee=fee, fee_currency=currency,
    )
    return PaperFill(order, report)
