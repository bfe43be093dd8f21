"""How much of equity can be bought with, so that costs fit beside it."""

from decimal import Decimal

from engine.costs import FeeSchedule, FillTerms, Slippage
from engine.events import Liquidity
from engine.orders import Side


def headroom(fees: FeeSchedule, slippage: Slippage, symbol: str, leverage: float = 1.0) -> float:
    """Return the largest share of equity that can be bought with, so that the fee and a constant price cost fit
    beside it.

    Args:
        leverage: of a margin account: notional ÷ initial margin.
    """
    notional = Decimal(1_000_000)
    fee = fees.fee(FillTerms(symbol, Side.BUY, Decimal(1), notional, Liquidity.TAKER, 0))
    half_spread, points = slippage.constant_basis_points() or (0.0, 0.0)
    return 1.0 / ((1.0 / leverage + max(float(fee / notional), 0.0)) * (1.0 + (half_spread + points) * 1e-4))
