"""Clearing: what a venue does to an account between fills. It charges what holding costs, watches margins, and knows
what may be opened and sold.

The order of things at an instant T is that of docs/accounts.md:

    begin(T)   funding, interest and borrow fees due up to the open of the bars that close at T; then margins there
    within     funding due inside a bar, after what fills at its open and before what fills on its path
    end(T)     what is due up to T itself

Nothing here fills an order: the exchange asks `breach` where it stands on the path, and closes what has to be closed.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from engine.bars import Bar
from engine.buying_power import BuyingPower
from engine.carry import CarryTerms, Charge
from engine.events import CashMoved
from engine.holding_costs import HoldingCosts, booked
from engine.interfaces import MarkPrices
from engine.liquidation import Pool, Reach, first_breach, pools_of
from engine.orders import Side
from engine.portfolio import Portfolio
from engine.positions import Account, ContractPosition, MarginPosition, Position
from engine.trading_rules import TradingDays, TradingRules


class Breach(NamedTuple):
    """A pool that is to be liquidated, and the prices of its symbols at that point, in ticks."""

    pool: Pool
    ticks: dict[str, int]

    @property
    def why(self) -> str:
        """The reason, in words."""
        pool, unit = self.pool, self.pool.account.unit
        equity, margin = pool.equity_units(self.ticks) * unit, pool.maintenance_units(self.ticks) * unit
        currency = pool.account.currency
        return f"liquidation: margin of the {pool.name}: equity {equity:f} of {margin:f} {currency} to maintain it"


class Clearing:
    """The venue's side of the accounts of one run.

    Args:
        rules: of the instruments that have any.
        marks: mark prices where the venue publishes some; None: the last close is the mark.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        carry: CarryTerms | None = None,
        rules: Mapping[str, TradingRules] | None = None,
        marks: MarkPrices | None = None,
    ) -> None:
        self.portfolio = portfolio
        self.carry = carry or CarryTerms()
        self.marks = marks
        self.days = {
            symbol: TradingDays(portfolio.instruments[symbol], one)
            for symbol, one in (rules or {}).items()
            if one.has_any
        }
        self.power = BuyingPower(portfolio, self._here)
        self._closes: dict[str, int] = {}
        """The last close of every symbol, in ticks."""
        self._reaches: dict[str, Reach] = {}
        self._holding = HoldingCosts(portfolio, self.carry, self._mark)
        self._now = 0
        """When the bars at hand close."""
        self._changes = 0
        """Counts what changes books, or how prices may still move, within an instant."""
        self._safe_since: dict[str, tuple[int, int]] = {}
        """Of accounts: the instant, and the count of changes, at which no price of the instant left it without
        margin."""
        self._levels: dict[str, tuple[tuple[int, ...], int | None]] = {}
        """Of symbols alone in their pool: its liquidation price in ticks, and the books it was worked out for."""
        if marks is not None:
            portfolio.mark_of = self._mark_now

    @property
    def now(self) -> int:
        """The instant that began last, UTC nanoseconds."""
        return self._now

    # ── the course of an instant ────────────────────────────────────────────────────────────────────────────────────

    def begin(self, bars: Sequence[Bar]) -> list[CashMoved]:
        """Take note of the bars that close at one instant, and charge what was due up to their open."""
        self._now = time = bars[0].close_time
        opens = {bar.symbol: bar.open_time for bar in bars}
        first_open = min(opens.values())
        holding = self._holding
        if not holding.has_begun:
            holding.begin(first_open)
        moved = holding.funding({symbol: opens.get(symbol, time - 1) for symbol in holding.symbols})
        moved += holding.daily(first_open)
        self._changes += 1
        for bar in bars:
            self._reaches[bar.symbol] = self._reach_within(bar)
            if bar.symbol in self.days:
                self.days[bar.symbol].begin(bar)
        return moved

    def narrow(self, bar: Bar) -> None:
        """Look at a finer part of a symbol's bar from now on, or at the whole of it again."""
        self._changes += 1
        self._reaches[bar.symbol] = self._reach_within(bar)

    def within(self, bar: Bar) -> list[CashMoved]:
        """Charge the funding of a symbol that is due after the open of its bar and before its close."""
        moved = self._holding.funding({bar.symbol: bar.close_time - 1})
        self._changes += len(moved)
        return moved

    def after(self, bar: Bar) -> None:
        """Take note that the orders of a symbol have met its bar."""
        ticks = self.portfolio.instruments[bar.symbol].to_ticks(bar.close)
        self._closes[bar.symbol] = ticks
        if bar.symbol in self.days:
            self.days[bar.symbol].end(bar)

    def end(self) -> list[CashMoved]:
        """Charge what is due at the instant itself."""
        time = self._now
        for symbol, close in self._closes.items():
            self._reaches[symbol] = Reach(close, close, close)
        return self._holding.funding(dict.fromkeys(self._holding.symbols, time)) + self._holding.daily(time)

    def filled(self, position: Position, side: Side, reference: int, lots: int) -> None:
        """Take note of a fill: what is left of the bar starts from its price."""
        symbol = position.instrument.symbol
        self._changes += 1
        reach = self._reaches[symbol]
        self._reaches[symbol] = Reach(reference, reach.low, reach.high)
        if side is Side.BUY and symbol in self.days:
            self.days[symbol].bought(lots)

    def _reach_within(self, bar: Bar) -> Reach:
        """Return how the price that margins are reckoned by may move within a bar."""
        to_ticks = self.portfolio.instruments[bar.symbol].to_ticks
        marks = self.marks.within(bar.symbol, bar.open_time, bar.close_time) if self.marks is not None else None
        return Reach(*map(to_ticks, marks or (bar.open, bar.low, bar.high)))

    # ── margins ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def breach_at_open(self) -> Breach | None:
        """Return a pool that is to be liquidated at the opens of the instant, None if there is none."""
        for account in self.portfolio.accounts.values():
            if not self._is_surely_safe(account, at_open=True):
                found = self._breach_at_open(account)
                if found is not None:
                    return found
        return None

    def _breach_at_open(self, account: Account) -> Breach | None:
        for pool in pools_of(account):
            ticks = {position.instrument.symbol: self._here(position.instrument.symbol) for position in pool.positions}
            if pool.excess_units(ticks) <= 0:
                return Breach(pool, ticks)
        return None

    def breach(self, symbol: str) -> Breach | None:
        """Return the pool of a symbol if it is to be liquidated between where prices stand and the bad ends of the
        bars."""
        account = self.portfolio.positions[symbol].account
        known = (self._now, self._changes)
        if self._is_surely_safe(account, at_open=False) or self._safe_since.get(account.currency) == known:
            return None
        for pool in pools_of(account):
            if pool.isolated is not None and pool.positions[0].instrument.symbol != symbol:
                continue
            if len(pool.positions) == 1 and self._is_safe(pool):
                continue
            reaches = {name: self.reach_of(name) for name in (one.instrument.symbol for one in pool.positions)}
            ticks = first_breach(pool, reaches)
            if ticks is not None:
                return Breach(pool, ticks)
            if pool.isolated is None:
                self._safe_since[account.currency] = known  # it is all there is: no other symbol need ask again
        return None

    def _is_surely_safe(self, account: Account, *, at_open: bool) -> bool:
        """Return whether nothing of an account can be short of margin, as far as that can be told without working
        anything out: it holds nothing, or one position whose liquidation price is known and out of reach."""
        held = account.open_positions
        if len(held) != 1:
            return not held
        position = next(iter(held))
        symbol = position.instrument.symbol
        known = self._levels.get(symbol)
        if not isinstance(position, MarginPosition):
            return True  # a cash account's
        if known is None:
            return False
        collateral = account.cash_units
        if isinstance(position, ContractPosition) and position.is_isolated:
            collateral = position.margin_units
        if known[0] != (collateral, position.lots, position.cost_units):
            return False
        level, reach = known[1], self.reach_of(symbol)
        ticks = reach.start if at_open else reach.worst_for(position.lots)
        return level is None or (ticks - level) * position.lots > 0

    def _is_safe(self, pool: Pool) -> bool:
        """Return whether the bar stays short of the liquidation price of a position that is alone in its pool.

        The price is worked out once for as long as the books stay as they are.
        """
        [position] = pool.positions
        symbol = position.instrument.symbol
        books = (pool.collateral_units, position.lots, position.cost_units)
        known, reach = self._levels.get(symbol), self.reach_of(symbol)
        if known is None or known[0] != books:
            far = first_breach(pool, {symbol: Reach(reach.start, 1, 1000 * reach.start)})
            known = self._levels[symbol] = books, None if far is None else far[symbol]
        level = known[1]
        return level is None or (reach.worst_for(position.lots) - level) * position.lots > 0

    def settle_liquidation(self, breach: Breach, notional: int, left: int, time: int) -> list[CashMoved]:
        """Charge the liquidation fee as far as what is left of the pool goes, and settle a loss beyond its margin.

        Args:
            notional: of what was closed, in currency units; left: of the pool's cash, once it was.
        """
        margin, account = self.portfolio.margin, breach.pool.account
        assert margin is not None
        position = breach.pool.isolated
        fee = min(round(notional * Fraction(margin.liquidation_fee)), max(left, 0))
        note = f"{margin.liquidation_fee:f} of {notional * account.unit:f} {account.currency} liquidated"
        moved = booked(account, Charge("liquidation_fee", -fee, note), time, position)
        if left < 0 and margin.shortfall == "covered":
            note = f"the venue takes over the loss beyond the margin of the {breach.pool.name}"
            moved += booked(account, Charge("insurance", -left, note), time, position)
        self._changes += 1
        return moved

    # ── prices ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def reach_of(self, symbol: str) -> Reach:
        """Return how a symbol's price may still move within the instant; its last close where it has no bar."""
        reach = self._reaches.get(symbol)
        if reach is None:
            close = self._closes[symbol]
            reach = Reach(close, close, close)
        return reach

    def _here(self, symbol: str) -> int:
        return self.reach_of(symbol).start

    def _mark(self, symbol: str, time: int) -> int:
        """Return the mark price known at an instant, in ticks; else the last close."""
        price = self.marks.at(symbol, time) if self.marks is not None else None
        return self._closes[symbol] if price is None else self.portfolio.instruments[symbol].to_ticks(price)

    def _mark_now(self, symbol: str) -> float | None:
        return self.marks.at(symbol, self._now) if self.marks is not None else None
