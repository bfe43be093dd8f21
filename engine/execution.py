"""An execution against the books: as much of an order as volume, position and cash allow, with its costs and its fee.

Every fill is booked into the portfolio at the moment it happens, so that the next order in the same bar meets the cash
and the position it left.
"""

from typing import Any

from engine.bars import FORWARD_FILLED, Bar
from engine.charges import FREE, Charges, in_quote
from engine.clearing import Clearing
from engine.events import Fill, Liquidity, OrderHeld
from engine.instruments import Instrument
from engine.links import OrderLinks
from engine.orders import Order, OrderStatus, Side, TimeInForce
from engine.portfolio import Portfolio, Position
from engine.positions import MarginPosition
from engine.working import WorkingOrders

BarVolume = tuple[float | None, int]
"""How much of a bar may be traded, in units of quantity (None for any amount), and what was, in lots."""


def cap_of(share: float, instrument: Instrument) -> float:
    """Return the quantity that fills may take of each unit of base asset traded: contracts, where one is worth several
    units."""
    return share / float(instrument.multiplier)


class Execution:
    """Fills orders at the prices it is told, and settles what a fill does to other orders.

    Args:
        events: where what happens is appended.
        volume_share: the largest share of a bar's volume that fills may take; None for no cap.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        working: WorkingOrders,
        links: OrderLinks,
        charges: Charges,
        events: list[Any],
        volume_share: float | None,
        clearing: Clearing | None = None,
    ) -> None:
        self._portfolio = portfolio
        self._working = working
        self._links = links
        self._charges = charges
        self._events = events
        self._volume_share = volume_share
        self._shares = {
            symbol: cap_of(volume_share or 1.0, instrument) for symbol, instrument in portfolio.instruments.items()
        }
        self._clearing = clearing
        self._held: dict[int, str] = {}
        """Why an order was held back last, of those that were: it is told once."""
        self._room: float | None = None
        """How much of the bar at hand may be traded, in units of quantity; None for any amount."""
        self._taken = 0
        """What has been traded of it, in lots."""
        self._left: dict[str, BarVolume | None] = {}
        """Room and what was taken of it, in the last bar of each symbol; None where it was not traded in."""
        self.fill_count = 0

    def begin_bar(self, volume: float, instrument: Instrument) -> None:
        """Let the executions that follow share the volume of a bar, in base asset."""
        if self._volume_share is not None:
            self._room, self._taken = volume * self._shares[instrument.symbol], 0

    @property
    def volume(self) -> BarVolume:
        """What the bar at hand may give, and what was taken of it."""
        return self._room, self._taken

    @volume.setter
    def volume(self, volume: BarVolume) -> None:
        self._room, self._taken = volume

    def end_bar(self, bar: Bar) -> None:
        """Remember what a bar has left, for orders that fill at its close once they are decided."""
        self._left[bar.symbol] = None if bar.flags & FORWARD_FILLED else self.volume

    def execute_at_close(self, order: Order, time: int) -> None:
        """Fill an order at the last close, from what that bar has left; a bar that was never traded in has nothing."""
        left = self._left.get(order.symbol)
        if left is not None:
            self.volume = left
            self.execute(order, order.decision_ticks, time, time, Liquidity.TAKER)
            self._left[order.symbol] = self.volume

    def execute_forced(
        self, order: Order, reference: int, time: int, bar_close_time: int, liquidity: Liquidity
    ) -> None:
        """Fill the whole of an order that the venue gives in our name: no volume and no trading rule holds it back."""
        room, taken, clearing = self._room, self._taken, self._clearing
        self._room = self._clearing = None
        self.execute(order, reference, time, bar_close_time, liquidity)
        self._room, self._taken, self._clearing = room, taken, clearing

    def execute(self, order: Order, reference: int, time: int, bar_close_time: int, liquidity: Liquidity) -> None:
        """Fill as much of an order as volume, position and cash allow, at `reference` ticks and the costs on top."""
        position = self._portfolio.positions[order.symbol]
        lots = order.lots - order.filled_lots
        if order.reduce_only:
            lots = self._reduced_to_position(order, position, lots, time)
        if self._clearing is not None and order.symbol in self._clearing.days:
            lots = self._tradable(self._clearing, order, position, reference, lots, time)
        room = self._room
        # A float comparison settles most: well below the cap, no count of lots is needed.
        if room is not None and (self._taken + lots) * order.instrument.lot >= room * 0.999999:
            left = order.instrument.to_lots(room) - self._taken
            if lots > left:
                if order.time_in_force is TimeInForce.FOK:
                    return
                lots = left
        if lots <= 0:
            return
        charges = self._charges
        price, costs = reference, FREE
        if charges.has_price_costs and liquidity is Liquidity.TAKER:
            price, costs = charges.price(order, reference, lots)
            if self._clearing is not None and order.symbol in self._clearing.days:
                price = self._clearing.days[order.symbol].within(price)  # a price beyond today's limit does not trade
        fee_units = charges.fee_units(order, position, price, lots, liquidity, time)
        held, side = position.lots, order.side
        if held * side >= 0 or lots > abs(held):  # some of it opens: it has to be paid for
            affordable = self._reduced_to_cash(order, position, price, lots, fee_units, liquidity, time)
            if affordable != lots:
                if not affordable:
                    return
                lots = affordable
                fee_units = charges.fee_units(order, position, price, lots, liquidity, time)
        if fee_units > 0 and held > 0 and side < 0:
            fee_units = _payable_fee(position, price, lots, fee_units)
        order.record_fill(lots)
        position.apply(side, price, lots, fee_units)
        if self._clearing is not None:
            self._clearing.filled(position, side, reference, lots)
        self._taken += lots
        self.fill_count = number = self.fill_count + 1
        if charges.depend_on_past:
            charges.record(order, position, price, lots, liquidity, time)
        if costs is not FREE:
            costs = in_quote(costs, order, lots)
        self._events.append(
            Fill(
                number,
                order,
                time,
                bar_close_time,
                side,
                price,
                lots,
                liquidity,
                fee_units,
                reference,
                *costs,
                position.lots,
                position.account.cash_units,
            )
        )
        working = self._working
        if order.status is OrderStatus.FILLED:
            working.remove(order)
        if order.group is not None or order.parent_id is not None or self._links.entries:
            self._settle_links(order, lots, time)
        if held * side < 0 and lots >= abs(held) and working.of_symbol[order.symbol]:
            self._links.end_protection(position, time)

    def _settle_links(self, order: Order, lots: int, time: int) -> None:
        """Let a fill end or shrink the orders of its group, its entry, and the children of the entries it closes."""
        links = self._links
        if order.group is not None:
            links.settle_group(order, lots, time)
        if order.parent_id is not None and order.parent_id in links.children:
            # Its entry is still working: what it filled later would be unprotected.
            links.withdraw(self._working.all[order.parent_id], time, f"order {order.id} that protects it filled")
        if links.entries:
            links.net(order, lots, time)

    # ── what position and cash allow ────────────────────────────────────────────────────────────────────────────────

    def _reduced_to_position(self, order: Order, position: Position, lots: int, time: int) -> int:
        """Return how much a reduce-only order may fill; cancel it when there is nothing to reduce."""
        reducible = max(0, -position.lots * order.side)
        if not reducible:
            self._links.withdraw(order, time, "reduce-only, and there is no position left to reduce")
            return 0
        if lots > reducible:
            if order.time_in_force is TimeInForce.FOK:
                self._links.withdraw(order, time, f"fill or kill: reduce-only, and the position is {position.quantity}")
                return 0
            self._links.cut(order, reducible, time, "reduce-only, to the position held")
        return min(lots, reducible)

    def _reduced_to_cash(
        self, order: Order, position: Position, price: int, lots: int, fee_units: int, liquidity: Liquidity, time: int
    ) -> int:
        """Return how many lots the account can pay for; the rest of the order is cut off, or the order cancelled.

        Args:
            fee_units: the fee of all the lots.
        """
        held, side = position.lots, order.side
        closing = min(lots, max(0, -held * side))
        opening = lots - closing
        account = position.account
        if isinstance(position, MarginPosition) and self._clearing is not None:
            return self._reduced_to_margin(self._clearing, order, position, price, lots, liquidity, time)
        lot_units = price * position.value_units
        if side < 0 and not self._portfolio.allow_short:
            affordable, reason, lack = 0, "short selling is off", "short selling is off"
        else:
            free = account.cash_units - account.locked_units
            if closing:
                if held > 0:
                    free += closing * lot_units
                else:
                    free += 2 * (position.cost_units * closing // -held) - closing * lot_units
            if opening * lot_units + fee_units <= free:
                return lots
            affordable = self._affordable(order, position, price, closing, opening, free, liquidity, time)
            reason = f"{account.free:f} {account.currency} free"
            lack = f"not enough cash: {reason}"
        lots = closing + affordable
        if lots and order.time_in_force is TimeInForce.FOK:
            self._links.withdraw(order, time, f"fill or kill: {lack}")
            return 0
        if lots:
            self._links.cut(order, lots, time, reason)
        else:
            self._links.withdraw(order, time, lack)
        return lots

    def _reduced_to_margin(
        self,
        clearing: Clearing,
        order: Order,
        position: MarginPosition,
        price: int,
        lots: int,
        liquidity: Liquidity,
        time: int,
    ) -> int:
        """Return how many lots there is margin for; the rest of the order is cut off, or the order cancelled."""
        side, account = order.side, position.account
        if side is Side.SELL and not self._portfolio.allow_short and not position.instrument.is_contract:
            most, reason = max(0, position.lots), "short selling is off"
        else:
            most = clearing.power.most_that_opens(
                position,
                side,
                price,
                lots,
                lambda wanted: self._charges.fee_units(order, position, price, wanted, liquidity, time),
            )
            if most == lots:
                return lots
            available = clearing.power.available_units(account) * account.unit
            reason = f"not enough margin: {available:f} {account.currency} available"
        if most and order.time_in_force is TimeInForce.FOK:
            self._links.withdraw(order, time, f"fill or kill: {reason}")
            return 0
        if most:
            self._links.cut(order, most, time, reason)
        else:
            self._links.withdraw(order, time, reason)
        return most

    def _tradable(
        self, clearing: Clearing, order: Order, position: Position, reference: int, lots: int, time: int
    ) -> int:
        """Return how many of the lots the exchange's rules let trade at a price; an order that is held back stays."""
        days = clearing.days[order.symbol]
        if days.blocks(order.side, reference):
            which = "upper" if order.side is Side.BUY else "lower"
            price = order.instrument.to_price(reference)
            self._hold(order, time, f"{price} is today's {which} price limit, where nobody takes the other side")
            return 0
        sellable = lots if order.side is Side.BUY else days.sellable(position.lots)
        if sellable < lots and position.lots > sellable:
            whole = order.instrument.to_quantity(sellable)
            self._hold(order, time, f"{whole} of {position.quantity} may be sold: the rest has not settled yet")
            return 0 if order.time_in_force is TimeInForce.FOK else sellable
        return lots

    def _hold(self, order: Order, time: int, reason: str) -> None:
        """Say why an order does not fill, once for each reason."""
        if self._held.get(order.id) != reason:
            self._held[order.id] = reason
            self._events.append(OrderHeld(order, time, reason))

    def _affordable(
        self,
        order: Order,
        position: Position,
        price: int,
        closing: int,
        opening: int,
        free: int,
        liquidity: Liquidity,
        time: int,
    ) -> int:
        """Return the largest opening quantity, in lots, whose cost and fee fit into `free` units; 0 if none does."""
        lot_units = price * position.value_units
        low, high = 0, min(opening, max(0, free) // lot_units) if lot_units > 0 else opening
        while low < high:  # fees may have minimums and steps: search, do not solve
            middle = (low + high + 1) // 2
            fee = self._charges.fee_units(order, position, price, closing + middle, liquidity, time)
            if middle * lot_units + fee <= free:
                low = middle
            else:
                high = middle - 1
        return low


def _payable_fee(position: Position, price: int, lots: int, fee_units: int) -> int:
    """Return the fee of a sale that closes: no more than there is once it is paid for, in a cash account.

    A minimum fee may be more than what is sold is worth. The position can be sold all the same, and nobody ends up
    owing the venue for it.
    """
    if isinstance(position, MarginPosition):
        return fee_units
    return max(0, min(fee_units, position.account.cash_units + price * lots * position.value_units))
