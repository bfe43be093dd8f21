"""A simulated exchange: it takes orders, lets them meet bars, and says what became of them.

This file is the broker's surface. The order of things within a bar is engine.bar_matching (normative: docs/fills.md),
the books are met in engine.execution, orders that depend on each other are engine.links.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from engine.ambiguity import AmbiguityWatch
from engine.bar_matching import BarMatching, may_act
from engine.bars import FORWARD_FILLED, Bar
from engine.chance import Chance
from engine.changes import OrderChanges, Terms
from engine.charges import Charges
from engine.clearing import Clearing
from engine.costs import FeeSchedule, MakerTakerFees, NoSlippage, Slippage
from engine.detail import DetailCount, DetailReader
from engine.encounter import Encounter, Meeting, meets_open
from engine.events import Liquidity, OrderAccepted
from engine.execution import BarVolume, Execution
from engine.interfaces import Detail
from engine.links import OrderLinks
from engine.margin_watch import MarginWatch
from engine.matching import trail
from engine.orders import Order, OrderStatus, OrderType
from engine.paths import path_for
from engine.portfolio import Portfolio
from engine.semantics import Switches
from engine.working import WorkingOrders

_NO_EVENTS: tuple[Any, ...] = ()
_OF_TWO_PRICES = (OrderType.TRAILING_STOP, OrderType.STOP_LIMIT)


class SimulatedExchange:
    """A venue that fills orders from bars; a Broker.

    Order ids are the queue: lower ids go first where nothing else decides.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        switches: Switches | None = None,
        *,
        fees: FeeSchedule | None = None,
        slippage: Slippage | None = None,
        clearing: Clearing | None = None,
        detail: Detail | None = None,
    ) -> None:
        self.portfolio = portfolio
        if clearing is None and not portfolio.is_cash_account:
            clearing = Clearing(portfolio)
        self.clearing = clearing
        self.switches = switches = switches or Switches()
        # A copy: a schedule may remember the past, and two runs have nothing to do with each other.
        self.fees: FeeSchedule = deepcopy(fees) if fees is not None else MakerTakerFees()
        self.slippage: Slippage = slippage or NoSlippage()
        self._fills_when_decided = switches.market_fill == "same_close"
        # Orders that fill at a close share its bar's volume, so every bar has to be known.
        self.needs_every_bar = self.slippage.needs_market or clearing is not None or self._fills_when_decided
        self.watch = AmbiguityWatch()
        """Which linked orders there were, and which bars may have decided between them."""
        self._events: list[Any] = []
        """What the call at hand has caused so far; every part appends to it, and the call ends by handing it out."""
        self._charges = Charges(self.fees, self.slippage)
        self._orders = WorkingOrders(portfolio.instruments)
        self.working: Mapping[int, Order] = self._orders.all
        """Every order that may still fill, children that wait for their parent left out; oldest first."""
        self.links = OrderLinks(
            self._orders, portfolio, self._events, oldest_entry_first=switches.netting == "oldest_entry_first"
        )
        self._execution = Execution(
            portfolio, self._orders, self.links, self._charges, self._events, switches.volume_cap, clearing
        )
        margins: MarginWatch | None = None
        if clearing is not None:
            margins = MarginWatch(clearing, self._orders, self.links, self._execution, self._events)
        self.margins = margins
        """Liquidates what has no margin left; None where there is nothing to clear."""
        encounter = Encounter(switches, self._orders, self.links, self._execution, self._events)
        self._changes = OrderChanges(self._orders, self.links, self.watch, self._events)
        self._underway = self._changes.underway
        path = path_for(switches, Chance(switches), self.links, encounter, margins)
        self._matching = BarMatching(
            switches, self.links, self._execution, encounter, path, self._changes, self.watch, margins
        )
        self._detail = DetailReader(detail) if switches.path == "detail" else None
        self._arriving: dict[str, list[Order]] = {}
        """By symbol, the orders that the venue has not seen yet, their children left out."""

    # ── Broker ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, order: Order) -> Sequence[Any]:
        """Take an order. A post-only order that would take liquidity at the last close is rejected."""
        if order.status is not OrderStatus.CREATED:
            order.become(OrderStatus.IN_FLIGHT)  # raises: an order is submitted once
        order.status = OrderStatus.IN_FLIGHT
        self.links.join_group(order)
        is_there = order.arrives_at <= order.decided_at
        if (
            order.post_only
            and is_there
            and order.limit_ticks is not None
            and (order.decision_ticks - order.limit_ticks) * order.side <= 0
        ):
            price = order.instrument.to_price(order.decision_ticks)
            reason = f"post-only limit {order.limit} would take liquidity at {price}"
            self.links.reject(order, order.decided_at, reason)
            return self._handed_out()
        events: tuple[Any, ...] = ()
        if is_there:
            order.status = OrderStatus.ACCEPTED  # nobody saw it in flight
            events = (OrderAccepted(order, order.arrives_at),)
        if order.parent_id is not None or order.group is not None or order.type in _OF_TWO_PRICES:
            self.watch.linked(order, self.working.get(order.parent_id or 0))
        if order.parent_id is not None:
            order.reduce_only = order.reduce_only and self.switches.children_reduce_only
            if order.parent_id in self.working:
                self.links.wait(order)
                return events
        # A child whose parent is working no more: it filled as it was decided (market_fill="same_close").
        if order.type is OrderType.TRAILING_STOP:
            trail(order, order.decision_ticks)
        self._orders.add(order)
        if not is_there:
            self._arriving.setdefault(order.symbol, []).append(order)
        elif self._fills_when_decided and order.type is OrderType.MARKET:
            self._events.extend(events)
            self._execution.execute_at_close(order, order.decided_at)
            return self._handed_out()
        return events

    def _receive(self, bar: Bar) -> None:
        """Accept the orders of a symbol that arrive before its bar is over, or that its open waits for."""
        waiting = []
        for order in self._arriving.pop(bar.symbol):
            time = min(order.arrives_at, bar.open_time) if meets_open(order, bar) else order.arrives_at
            if not order.is_open or (order.expire_at is not None and order.expire_at <= time):
                continue
            if time < bar.close_time:
                self._accept(order, time)
            else:
                waiting.append(order)
        if waiting:
            self._arriving[bar.symbol] = waiting

    def _accept(self, order: Order, time: int) -> None:
        """Say that the venue holds an order now, and the children that came with it."""
        for each in (order, *self.links.children.get(order.id, ())):
            if each.status is OrderStatus.IN_FLIGHT:
                each.become(OrderStatus.ACCEPTED)
                self._events.append(OrderAccepted(each, time))

    def take_over(self, fill_count: int, order: Order | None) -> None:
        """Go on from fills that were made elsewhere, and hold the order they left open."""
        self._execution.fill_count = fill_count
        self.links.take_over()
        if order is not None:
            self._orders.add(order)

    def cancel(
        self, order: Order, time: int, reason: str = "asked for", *, arrives_at: int | None = None
    ) -> Sequence[Any]:
        """Withdraw an order, and with it the children that wait for it. One that is final stays as it is."""
        if not order.is_open:
            return _NO_EVENTS
        if arrives_at is not None and arrives_at > time:
            self._changes.send(order, None, arrives_at, reason)
        else:
            self._changes.cancel(order, time, reason)
        return self._handed_out()

    def amend(
        self,
        order: Order,
        time: int,
        *,
        lots: int,
        limit_ticks: int | None,
        stop_ticks: int | None,
        arrives_at: int | None = None,
    ) -> Sequence[Any]:
        """Change a working order's total quantity and prices; it keeps its place in the queue."""
        terms = Terms(
            None if lots == order.lots else lots,
            None if limit_ticks == order.limit_ticks else limit_ticks,
            None if stop_ticks == order.stop_ticks else stop_ticks,
        )
        if arrives_at is not None and arrives_at > time:
            self._changes.send(order, terms, arrives_at)
        else:
            self._changes.amend(order, time, terms)
        return self._handed_out()

    def on_bar(self, bar: Bar) -> Sequence[Any]:
        """Let the working orders of the bar's symbol meet it; return what happened, in order."""
        if self.clearing is not None and self.clearing.now != bar.close_time:
            self._events.extend(self.begin_instant((bar,)))  # nobody has said which bars belong together
        orders = self._orders.of_symbol[bar.symbol]
        if self._fills_when_decided:
            self._execution.begin_bar(bar.volume, self.portfolio.instruments[bar.symbol])
        if orders or self.margins is not None:
            if self._detail is None:
                self._meet(bar, orders, bar)
            else:
                self._meet_in_detail(self._detail, bar, orders)
        if self.needs_every_bar:
            self._follow(bar)
        return self._handed_out() if self._events else _NO_EVENTS

    def on_bars(self, bars: Sequence[Bar]) -> Sequence[Any]:
        """Let working orders meet the bars that close at one instant, at most one of each symbol, in the order given.

        Symbols whose orders cancel each other come last, and together: the opens of all of them before any path, the
        symbol with the oldest such order first.
        """
        if self.margins is not None:
            bars = self.margins.in_turn(bars)
        if not self.links.span_symbols or self._detail is not None:
            return [event for bar in bars for event in self.on_bar(bar)]
        since = {bar.symbol: self.links.spanning_since(bar.symbol) for bar in bars}
        happened = [event for bar in bars if since[bar.symbol] is None for event in self.on_bar(bar)]
        together = [bar for bar in bars if since[bar.symbol] is not None]
        together.sort(key=lambda bar: since[bar.symbol] or 0)
        self._meet_together(together)
        return [*happened, *self._handed_out()]

    def _meet_together(self, bars: Sequence[Bar]) -> None:
        """Let the orders of several symbols meet their bars, step by step."""
        execution, matching = self._execution, self._matching
        met: list[tuple[Bar, Meeting | None, BarVolume]] = []
        for bar in sorted(bars, key=lambda bar: bar.open_time):
            if self._fills_when_decided:
                execution.begin_bar(bar.volume, self.portfolio.instruments[bar.symbol])
            self._before(bar)
            meeting = None
            if not bar.flags & FORWARD_FILLED:
                meeting = matching.open(bar, self._orders.of_symbol[bar.symbol], bar)
            met.append((bar, meeting, execution.volume))
        met.sort(key=lambda each: bars.index(each[0]))
        for bar, meeting, volume in met:
            execution.volume = volume
            if meeting is not None:
                matching.go_on(meeting)
            self._after(bar)
            if self.needs_every_bar:
                self._follow(bar)

    def _meet_in_detail(self, detail: DetailReader, bar: Bar, orders: dict[int, Order]) -> None:
        """Let orders meet the finer bars of a bar one after the other, where it has some."""
        parts: Sequence[Bar] = (bar,)
        if not bar.flags & FORWARD_FILLED and may_act(orders, bar):
            parts = detail.parts(bar, self.portfolio.instruments[bar.symbol])
        for part in parts:
            if self.clearing is not None and len(parts) > 1:
                self.clearing.narrow(part)
            self._meet(part, orders, bar)
        if self.clearing is not None and len(parts) > 1:
            self.clearing.narrow(bar)

    def _meet(self, bar: Bar, orders: dict[int, Order], whole: Bar) -> None:
        """Let orders meet a bar, or a part of one: what was over or had arrived before it, the bar itself, what is over
        or arrives by its end."""
        is_calm = not (self._underway or self._arriving or self._orders.expiring)
        if not is_calm:
            self._before(bar)
        # A bar that a gap policy made up was never traded in: nothing can fill there.
        if not bar.flags & FORWARD_FILLED:
            matching = self._matching
            is_simple = len(orders) == 1 and self._detail is None
            if not is_simple or not matching.match_market_order(bar, next(iter(orders.values()))):
                matching.match(bar, orders, whole)
        if not is_calm:
            self._after(bar)

    def _before(self, bar: Bar) -> None:
        """Let pass what was over, or had arrived, before a bar."""
        if self._underway:
            self._changes.arrive(bar.symbol, bar.open_time)
        if self._orders.expiring:
            self.links.expire(bar.symbol, bar.open_time)
        if self._arriving and bar.symbol in self._arriving:
            self._receive(bar)

    def _after(self, bar: Bar) -> None:
        """Let pass what is over, or arrives, by the end of a bar."""
        if self._underway:
            self._changes.arrive(bar.symbol, bar.close_time)
        if self._orders.expiring:
            self.links.expire(bar.symbol, bar.close_time)

    def _follow(self, bar: Bar) -> None:
        """Take note of a bar that is over."""
        self._charges.watch(bar)
        if self._fills_when_decided:
            self._execution.end_bar(bar)
        if self.clearing is not None:
            self.clearing.after(bar)

    # ── ClearingBroker ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_clearing(self) -> bool:
        """Whether accounts are kept on margin, holding costs something, or trading days matter."""
        return self.clearing is not None

    def begin_instant(self, bars: Sequence[Bar]) -> Sequence[Any]:
        """Charge what was due before the bars that close at one instant; liquidate what their opens leave without
        margin."""
        assert self.clearing is not None
        assert self.margins is not None
        self._events.extend(self.clearing.begin(bars))
        self.margins.at_open(bars)
        return self._handed_out()

    def end_instant(self) -> Sequence[Any]:
        """Charge what is due at the instant itself."""
        assert self.clearing is not None
        return self.clearing.end()

    def cost_of(self, order: Order, ticks: int, lots: int, liquidity: Liquidity, time: int) -> tuple[int, int]:
        """Return the price in ticks after costs, and the fee in currency units, of a fill that might have been.

        Nothing is booked. Costs that depend on the market or on past volume are those of now.
        """
        limit = order.limit_ticks
        takes = liquidity is Liquidity.TAKER and (limit is None or (ticks - limit) * order.side <= 0)
        price = self._charges.price(order, ticks, lots)[0] if takes else ticks
        position = self.portfolio.positions[order.symbol]
        return price, self._charges.fee_units(order, position, price, lots, liquidity, time)

    @property
    def detail_count(self) -> DetailCount | None:
        """How many bars finer ones resolved, and how many they did not; None unless `path="detail"`."""
        return self._detail.count if self._detail is not None else None

    def _handed_out(self) -> Sequence[Any]:
        """Return what the call has caused; what the strategy asks for on hearing of it is another call."""
        events = self._events.copy()
        self._events.clear()
        if self.watch.has_ideas:
            self.watch.told(events)
        return events
