"""What a margin account may open: as much as its equity has initial margin for, at the price of the fill."""

from collections.abc import Callable

from engine.orders import Side
from engine.portfolio import Portfolio
from engine.positions import Account, ContractPosition, MarginPosition


class BuyingPower:
    """Reckons equity against initial margins.

    Args:
        here: gives where the price of a symbol stands, in ticks.
    """

    def __init__(self, portfolio: Portfolio, here: Callable[[str], int]) -> None:
        self._portfolio = portfolio
        self._here = here

    def most_that_opens(
        self, position: MarginPosition, side: Side, price: int, lots: int, fee_of: Callable[[int], int]
    ) -> int:
        """Return how many of an order's lots may fill at a price: all that reduce the position, and as many beyond as
        the equity has initial margin for.

        Args:
            price: in ticks; the position is valued at it, the others where their prices stand.
            fee_of: gives the fee of a number of lots, in currency units.
        """
        closing = min(lots, max(0, -position.lots * side))
        free_after = self._free_after_isolated if self._is_isolated(position) else self._free_after
        free = free_after(position, side, price)
        if free(lots) - fee_of(lots) >= 0:
            return lots
        low, high = closing, lots - 1
        while low < high:
            middle = (low + high + 1) // 2
            if free(middle) - fee_of(middle) >= 0:
                low = middle
            else:
                high = middle - 1
        return low

    def available_units(self, account: Account) -> int:
        """Return the equity of an account beyond the initial margin of what it holds, in its units."""
        if self._is_isolated_account:
            return account.free_units
        available = account.cash_units
        for one in account.open_positions:
            if isinstance(one, MarginPosition):
                ticks = self._here(one.instrument.symbol)
                available += one.worth_units(ticks) - one.schedule.initial(abs(one.market_units(ticks)))
        return available

    @property
    def _is_isolated_account(self) -> bool:
        return self._portfolio.margin is not None and self._portfolio.margin.mode == "isolated"

    @staticmethod
    def _is_isolated(position: MarginPosition) -> bool:
        return isinstance(position, ContractPosition) and position.is_isolated

    def _free_after(self, position: MarginPosition, side: Side, price: int) -> Callable[[int], int]:
        """Return what gives the equity beyond the initial margin once so many lots have filled, fee left out."""
        account = position.account
        free = account.cash_units + position.worth_units(price)
        for other in account.open_positions:
            if other is not position and isinstance(other, MarginPosition):
                ticks = self._here(other.instrument.symbol)
                free += other.worth_units(ticks) - other.schedule.initial(abs(other.market_units(ticks)))
        held, value, initial = position.lots, price * position.value_units, position.schedule.initial
        return lambda lots: free - initial(abs(held + side * lots) * value)

    def _free_after_isolated(self, position: MarginPosition, side: Side, price: int) -> Callable[[int], int]:
        """Return what gives the free cash once so many lots have filled and have been given their margin, fee left
        out."""
        assert isinstance(position, ContractPosition)
        free, held, initial = position.account.free_units, position.lots, position.schedule.initial
        value = price * position.value_units
        if held * side >= 0:
            cost, before = position.cost_units, initial(position.cost_units)
            return lambda lots: free - (initial(cost + lots * value) - before)
        # Over to the other side: the old position's result and margin are there first.
        freed = free + position.worth_units(price) + position.margin_units
        return lambda lots: freed - initial((lots - abs(held)) * value)
