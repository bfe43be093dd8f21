"""The simulated broker: fills from bars, with engine.exchange, for backtests and bar-for-bar paper runs."""

from engine.clearing import Clearing
from engine.costs import FeeSchedule, Slippage
from engine.exchange import SimulatedExchange
from engine.interfaces import Detail
from engine.portfolio import Portfolio
from engine.semantics import Switches


def simulated_broker(
    portfolio: Portfolio,
    switches: Switches,
    *,
    fees: FeeSchedule | None = None,
    slippage: Slippage | None = None,
    clearing: Clearing | None = None,
    detail: Detail | None = None,
) -> SimulatedExchange:
    """Return a broker that fills orders from the bars it is shown, under the switches and costs given.

    Args:
        clearing: margins, holding costs and trading days; None for a cash account without any.
        detail: finer bars, for `path="detail"`.
    """
    return SimulatedExchange(portfolio, switches, fees=fees, slippage=slippage, clearing=clearing, detail=detail)
