"""The watch over margins while bars are matched: what is liquidated, where on a bar's path, and by which orders.

A pool that is down to its maintenance margin is closed whole, at the prices of that moment and with the costs of
an order that takes liquidity; no volume is too thin for it. Its working orders are withdrawn first. A stop that lies
nearer than the liquidation price acts before it.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from engine.bars import Bar
from engine.clearing import Breach, Clearing
from engine.encounter import STOPS, Meeting
from engine.events import Liquidity, OrderAccepted
from engine.execution import Execution
from engine.interfaces import ForcedOrders
from engine.links import OrderLinks
from engine.orders import Order, OrderStatus, OrderType, Side
from engine.portfolio import Portfolio
from engine.working import WorkingOrders


class MarginWatch:
    """Liquidates what clearing says must be.

    Args:
        events: where what happens is appended.
    """

    def __init__(
        self,
        clearing: Clearing,
        working: WorkingOrders,
        links: OrderLinks,
        execution: Execution,
        events: list[Any],
    ) -> None:
        self._clearing = clearing
        self._working = working
        self._links = links
        self._execution = execution
        self._events = events
        self.forced: ForcedOrders = NumberedOrders(clearing.portfolio)

    def at_open(self, bars: Sequence[Bar]) -> None:
        """Liquidate what the opens of an instant's bars leave without margin."""
        opened = max(bar.open_time for bar in bars)
        while (breach := self._clearing.breach_at_open()) is not None:
            self._liquidate(breach, opened, bars[0].close_time)

    def in_turn(self, bars: Sequence[Bar]) -> Sequence[Bar]:
        """Return the bars of an instant in the order in which to match them.

        Where a pool of several symbols may be liquidated, those come first whose stops lie nearest: as a share of the
        way from the open to the bar's bad end, which all of them are taken to go in step.
        """
        shares: dict[str, Fraction] = {}
        for bar in bars:
            position = self._clearing.portfolio.positions[bar.symbol]
            if not position.lots or len(position.account.open_positions) < 2:
                continue
            if shares or self._clearing.breach(bar.symbol) is not None:
                share = self._share_of_nearest_stop(bar.symbol, position.lots)
                if share is not None:
                    shares[bar.symbol] = share
        return sorted(bars, key=lambda bar: shares.get(bar.symbol, 2)) if shares else bars

    def _share_of_nearest_stop(self, symbol: str, lots: int) -> Fraction | None:
        """Return how much of its way a symbol goes until it meets a stop that closes its position; None if it meets
        none."""
        reach = self._clearing.reach_of(symbol)
        way = reach.worst_for(lots) - reach.start
        found: Fraction | None = None
        for order in self._working.of_symbol[symbol].values():
            if order.type not in STOPS or order.stop_ticks is None or order.side * lots >= 0 or not way:
                continue
            share = Fraction(order.stop_ticks - reach.start, way)
            if share <= 1 and (found is None or share < found):
                found = share
        return found

    def after_gap(self, bar: Bar) -> None:
        """Charge the funding due inside a bar: what filled at its open pays, what fills on its path does not."""
        self._events.extend(self._clearing.within(bar))

    def pass_through(self, bar: Bar) -> None:
        """Let a bar pass in which no order acts."""
        self.after_gap(bar)
        while (breach := self._clearing.breach(bar.symbol)) is not None:
            self._liquidate(breach, bar.close_time, bar.close_time)

    def nearer_stop(self, meeting: Meeting, done: set[int]) -> Order | None:
        """Return the stop that the price passes before it comes to the liquidation price.

        Where there is a liquidation price in the bar but no such stop, liquidate and return None.
        """
        bar = meeting.bar
        while (breach := self._clearing.breach(bar.symbol)) is not None:
            stop = self._nearest_stop(meeting, done, breach)
            if stop is not None:
                meeting.known_after[stop.id] = meeting.ticks  # the price that liquidates has passed it
                return stop
            self._liquidate(breach, bar.close_time, bar.close_time)
        return None

    def on_leg(self, meeting: Meeting, start: int, end: int) -> bool:
        """Liquidate if the price comes to the liquidation price as it moves from start to end; return whether it
        did."""
        bar = meeting.bar
        breach = self._clearing.breach(bar.symbol)
        if breach is None:
            return False
        level = breach.ticks.get(bar.symbol, start)
        if (level - start) * (end - start) < 0 or abs(level - start) > abs(end - start):
            return False
        self._liquidate(breach, bar.close_time, bar.close_time)
        return True

    def _nearest_stop(self, meeting: Meeting, done: set[int], breach: Breach) -> Order | None:
        """Return the nearest stop that closes the symbol's position and lies before its liquidation price."""
        symbol = meeting.bar.symbol
        level = breach.ticks.get(symbol)
        position = self._clearing.portfolio.positions[symbol]
        found: Order | None = None
        for order in meeting.orders.values():
            is_waiting = order.type in STOPS and not order.is_triggered and order.stop_ticks is not None
            if order.id in done or not is_waiting or not meeting.meets_path(order) or order.side * position.lots >= 0:
                continue
            assert order.stop_ticks is not None
            if level is None or (level - order.stop_ticks) * order.side <= 0:
                continue
            if found is None or (order.stop_ticks - (found.stop_ticks or 0)) * order.side < 0:
                found = order
        return found

    def _liquidate(self, breach: Breach, time: int, bar_close_time: int) -> None:
        """Close a pool: withdraw its orders, close its positions at the prices of the breach, settle what is left."""
        pool, why = breach.pool, breach.why
        account, isolated = pool.account, pool.isolated
        ours = self._clearing.portfolio.positions
        for order in list(self._working.all.values()):
            if order.is_open and (
                order.symbol in breach.ticks if isolated is not None else ours[order.symbol].account is account
            ):
                self._links.withdraw(order, time, f"liquidation of the {pool.name}")
        before, collateral, notional = account.cash_units, pool.collateral_units, 0
        for position in pool.positions:
            symbol, ticks = position.instrument.symbol, breach.ticks[position.instrument.symbol]
            notional += abs(position.market_units(ticks))
            side = Side.SELL if position.lots > 0 else Side.BUY
            order = self.forced.forced_order(symbol, side, abs(position.lots), ticks, time, bar_close_time, why)
            order.reduce_only = True
            order.status = OrderStatus.ACCEPTED
            self._events.append(OrderAccepted(order, time))
            self._working.add(order)
            self._execution.execute_forced(order, ticks, time, bar_close_time, Liquidity.TAKER)
        left = collateral + account.cash_units - before
        self._events.extend(self._clearing.settle_liquidation(breach, notional, left, time))


class NumberedOrders:
    """Makes forced orders that nobody journals, numbered from -1 down: for an exchange without a desk."""

    def __init__(self, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        self._count = 0

    def forced_order(
        self, symbol: str, side: Side, lots: int, ticks: int, time: int, bar_close_time: int, why: str,
        action: str = "liquidate",
    ) -> Order:
        self._count += 1
        instrument = self._portfolio.instruments[symbol]
        return Order(-self._count, 0, instrument, side, OrderType.MARKET, lots, time, ticks)
