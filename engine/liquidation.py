"""When a margin pool is liquidated, and at which prices. Pure: nothing here changes a book.

A pool is what stands surety together: an account's cash and all its positions (cross), or one contract and the margin
set aside for it (isolated). It is liquidated once its equity is down to its maintenance margin.

Bars do not tell at which prices several symbols stood at one moment. What is taken for granted is the worst: within
an instant, every position of the pool moves from the open to the bar's bad end (low for long, high for short) in step,
all of them having gone the same share of their way. For one position that is the exact liquidation price. For
several it is a bound: no way through the bars has a lower equity than the point where all bad ends are reached.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from engine.positions import Account, ContractPosition, MarginPosition


class Reach(NamedTuple):
    """How a symbol's price may move within an instant, in ticks: where it starts, and the bar's two ends."""

    start: int
    low: int
    high: int

    def worst_for(self, lots: int) -> int:
        """Return the end that is bad for a position of so many lots."""
        return min(self.low, self.start) if lots > 0 else max(self.high, self.start)


@dataclass(frozen=True)
class Pool:
    """Positions and the cash that stands surety for them."""

    account: Account
    positions: tuple[MarginPosition, ...]

    @property
    def isolated(self) -> ContractPosition | None:
        """The position of an isolated pool; None for a cross pool."""
        if len(self.positions) == 1:
            [one] = self.positions
            if isinstance(one, ContractPosition) and one.is_isolated:
                return one
        return None

    @property
    def collateral_units(self) -> int:
        """The cash that stands surety, in currency units."""
        one = self.isolated
        return self.account.cash_units if one is None else one.margin_units

    @property
    def name(self) -> str:
        one = self.isolated
        return f"{self.account.currency} account" if one is None else f"{one.instrument.symbol} position"

    def equity_units(self, ticks: Mapping[str, int]) -> int:
        """Return the pool's equity at the prices given, in currency units."""
        worth = sum(position.worth_units(ticks[position.instrument.symbol]) for position in self.positions)
        return self.collateral_units + worth

    def maintenance_units(self, ticks: Mapping[str, int]) -> int:
        """Return the margin that keeps the pool's positions at the prices given, in currency units."""
        return sum(
            position.schedule.maintenance(abs(position.market_units(ticks[position.instrument.symbol])))
            for position in self.positions
        )

    def excess_units(self, ticks: Mapping[str, int]) -> int:
        """Return by how much equity exceeds the maintenance margin; the pool is liquidated at 0 and below."""
        return self.equity_units(ticks) - self.maintenance_units(ticks)


def pools_of(account: Account) -> list[Pool]:
    """Return the pools of an account that hold something: one, or one of each isolated position."""
    held = [position for position in account.open_positions if isinstance(position, MarginPosition)]
    if not held:
        return []
    if isinstance(held[0], ContractPosition) and held[0].is_isolated:
        return [Pool(account, (position,)) for position in held]
    return [Pool(account, tuple(held))]


def first_breach(pool: Pool, reaches: Mapping[str, Reach]) -> dict[str, int] | None:
    """Return the prices, in ticks, at which the pool is liquidated within an instant; None if it is not.

    Equity is linear on the way and the maintenance margin convex in prices, so the excess falls below 0 once: the
    point is found by bisection, on a grid as fine as the longest way has ticks.

    Args:
        reaches: of every symbol that the pool holds.
    """
    ways = {
        position.instrument.symbol: (
            reaches[position.instrument.symbol].start,
            reaches[position.instrument.symbol].worst_for(position.lots),
        )
        for position in pool.positions
    }
    steps = max(abs(worst - start) for start, worst in ways.values())
    last = _after(ways, steps, steps)
    if pool.excess_units(last) > 0:
        return None
    low, high = -1, steps
    while high - low > 1:
        middle = (low + high) // 2
        if pool.excess_units(_after(ways, middle, steps)) > 0:
            low = middle
        else:
            high = middle
    return _after(ways, high, steps)


def liquidation_ticks(pool: Pool, symbol: str, ticks: Mapping[str, int]) -> int | None:
    """Return the price of one symbol at which the pool is liquidated while the others stay at the prices given; None if
    there is none above 0 (or, for a short position, below a thousand times the price).

    For people; runs use `first_breach`.
    """
    still = {name: Reach(price, price, price) for name, price in ticks.items()}
    here = ticks[symbol]
    still[symbol] = Reach(here, 1, 1000 * here)
    found = first_breach(pool, still)
    return None if found is None else found[symbol]


def symbols_of(pools: Iterable[Pool]) -> set[str]:
    """Return the symbols that pools hold."""
    return {position.instrument.symbol for pool in pools for position in pool.positions}


def _after(ways: Mapping[str, tuple[int, int]], step: int, steps: int) -> dict[str, int]:
    """Return every price after `step` of `steps`, rounded towards the bad end."""
    if not steps:
        return {symbol: start for symbol, (start, _) in ways.items()}
    prices = {}
    for symbol, (start, worst) in ways.items():
        way = abs(worst - start)
        moved = -(-way * step // steps)
        prices[symbol] = start + moved if worst > start else start - moved
    return prices
