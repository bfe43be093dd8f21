"""The watch: values the account at every close, tells the gate, and does what a halt asks for.

Only runs with rules that watch have one; the others pay nothing. It works through desk and broker alone, so that what
it does has its decision, order and events in the journal as a strategy's orders have.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from engine.bars import Bar
from engine.live.inputs import FeedTold
from engine.orders import Order, OrderStatus
from engine.portfolio import Portfolio
from engine.recorder import Recorder
from engine.risk.facts import FLATTEN, REFUSE, AccountClose, Halt, Lift
from engine.risk.gate import RiskGate

BY = "risk gate"
"""Who decided what a halt asks for, in the journal's decisions."""


class Desk(Protocol):
    """The part of the order desk that a halt needs."""

    def cancel(self, order: Order, why: str) -> None:
        """Withdraw an order."""

    def close_position(self, symbol: str, why: str, by: str) -> Order:
        """Send a reduce-only market order over all that is held."""


class LiveEquity:
    """Equity at the instant's closes.

    For a cash account in one currency: the arithmetic of engine.valuation.EquityTracker, operation by operation, so
    that the two give one number (a test holds them equal to the bit). For others, what the portfolio itself says.
    """

    def __init__(self, portfolio: Portfolio, price_of: Callable[[str], float | None]) -> None:
        self._portfolio = portfolio
        self._price_of = price_of
        self._account = portfolio.accounts[portfolio.currency]
        self._unit = float(self._account.unit)
        self._positions = list(portfolio.positions.values())
        self._place = {symbol: place for place, symbol in enumerate(portfolio.positions)}
        self._closes = [0.0] * len(self._positions)
        self._lot_value = [
            float(p.instrument.quantity_increment * p.instrument.multiplier)
            if p.instrument.quote == portfolio.currency
            else 0.0
            for p in self._positions
        ]

    def see(self, symbol: str, close: float) -> None:
        """Value a symbol at this close from now on."""
        self._closes[self._place[symbol]] = close

    def value(self) -> float:
        """Return cash + market value."""
        if not self._portfolio.is_plain:
            return float(self._portfolio.equity(self._account.currency, self._price_of))
        cash = self._account.cash_units * self._unit
        held = self._account.open_positions
        if len(held) < 3:  # with two terms the order of adding does not matter
            value = 0.0
            for position in held:
                place = self._place[position.instrument.symbol]
                value += position.lots * self._closes[place] * self._lot_value[place]
            return cash + value
        lots = np.array([[position.lots for position in self._positions]], np.float64)
        values = lots * np.array([self._closes]) * np.array(self._lot_value)
        return cash + float(values.sum(axis=1)[0])


class RiskWatch:
    """Connects the gate to a run's bars, desk and journal."""

    def __init__(self, gate: RiskGate, portfolio: Portfolio, desk: Desk, recorder: Recorder) -> None:
        self._gate = gate
        self._desk = desk
        self._recorder = recorder
        self._equity = LiveEquity(portfolio, gate.view.price)
        self._fills_seen = recorder.fill_count
        gate.when_sent_while_halted = self._when_sent
        self._closing: dict[str, tuple[Order, int]] = {}
        """The last order that closes a position, by symbol, with the lots that were held then."""
        self._withdrawn: set[int] = set()
        self.facts: list[Halt | Lift] = []
        """Every halt and lift of the run."""

    # ── from the loop ───────────────────────────────────────────────────────────────────────────────────────────────

    def around(self, decide: Callable[[Bar], None]) -> Callable[[Bar], None]:
        """Return a handler of bars that watches before and after another."""

        def watched(bar: Bar) -> None:
            self.on_bar(bar)
            decide(bar)
            self.after(bar.close_time)

        return watched

    def on_bar(self, bar: Bar) -> None:
        """Look at the account once the bar of a single stream has met the orders."""
        self.on_bars(bar.close_time, ((bar.symbol, bar.close, bar.volume),))

    def on_bars(self, time: int, bars: Iterable[tuple[str, float, float]]) -> None:
        """Look at the account once the bars of an instant, (symbol, close, volume) each, have met the orders."""
        gate = self._gate
        for symbol, close, volume in bars:
            self._equity.see(symbol, close)
            if gate.watches_bars:
                gate.on_bar(symbol, close, volume)
        self._look(time)

    def after(self, time: int) -> None:
        """Look once more if something filled at the very close at which the strategy decided it."""
        if self._recorder.fill_count != self._fills_seen:
            self._look(time)

    def lift(self, why: str, by: str, *, time: int, rule: str = "", symbol: str = "") -> list[Lift]:
        """Lift halts, see RiskGate.lift, and record it."""
        lifts = self._gate.lift(why, by, time=time, rule=rule, symbol=symbol)
        self._note(lifts)
        return lifts

    def on_feed(self, told: FeedTold) -> None:
        """Let the gate hear what a live feed says of its data, and do what follows."""
        self._act(self._gate.on_feed(told))

    def halt(self, why: str, by: str, *, time: int, action: str = REFUSE, symbol: str = "") -> list[Halt]:
        """Halt because a person wants it, see RiskGate.halt, record it and do what it asks for."""
        halts = self._gate.halt(why, by, time=time, action=action, symbol=symbol)
        self._act(halts)
        return halts

    @property
    def equity(self) -> float:
        """Cash + market value at the last closes seen."""
        return self._equity.value()

    def _look(self, time: int) -> None:
        self._fills_seen = self._recorder.fill_count
        self._act(self._gate.on_close(AccountClose(time, self._equity.value())))

    def _act(self, facts: Sequence[Halt | Lift]) -> None:
        self._note(facts)
        for fact in facts:
            if isinstance(fact, Halt) and fact.action != REFUSE:
                self._withdraw_all(fact)
        for halt in list(self._gate.halts.values()):
            self._enforce(halt)

    def _note(self, facts: Sequence[Halt | Lift]) -> None:
        self.facts.extend(facts)
        for fact in facts:
            self._recorder.risk_event(fact)

    # ── while halted ────────────────────────────────────────────────────────────────────────────────────────────────

    def _withdraw_all(self, halt: Halt) -> None:
        for symbol in self._symbols(halt):
            mine = self._closing.get(symbol)
            for order in self._gate.view.open_orders(symbol):
                if mine is None or order is not mine[0]:
                    self._withdraw(order, _why(halt))

    def _enforce(self, halt: Halt) -> None:
        """Withdraw what could open or enlarge a position, and close what has to be closed."""
        for symbol in self._symbols(halt):
            self._withdraw_growing(symbol, _why(halt))
            if halt.action == FLATTEN:
                self._flatten(symbol, _why(halt))

    def _when_sent(self, order: Order) -> None:
        """Withdraw what could go past flat together with an order that was let pass while halted."""
        for halt in self._gate.halts.values():
            if halt.symbol in ("", order.symbol):
                self._withdraw_growing(order.symbol, _why(halt))
                return

    def _withdraw_growing(self, symbol: str, why: str) -> None:
        for order in self._growing(symbol):
            self._withdraw(order, why)

    def _withdraw(self, order: Order, why: str) -> None:
        """Withdraw an order, once: with latency the venue has it for a while yet."""
        if order.is_open and order.id not in self._withdrawn:
            self._withdrawn.add(order.id)
            self._desk.cancel(order, why)

    def _symbols(self, halt: Halt) -> list[str]:
        return [halt.symbol] if halt.symbol else list(self._gate.view.portfolio.positions)

    def _growing(self, symbol: str) -> list[Order]:
        """Return the working orders that could open or enlarge a position, the oldest first.

        Of those against the position, only as many as could go past flat together with all others on their side.
        """
        view = self._gate.view
        held = view.position(symbol).lots
        free = [order for order in view.open_orders(symbol) if not order.reduce_only]
        doomed = [order for order in free if order.side * held >= 0]
        closing = [order for order in view.open_orders(symbol) if order.side * held < 0]
        for order in [order for order in free if order not in doomed]:
            if _lots_of(closing) <= abs(held):
                break
            closing.remove(order)
            doomed.append(order)
        return doomed

    def _flatten(self, symbol: str, why: str) -> None:
        held = self._gate.view.position(symbol).lots
        if not held:
            return
        last = self._closing.get(symbol)
        if last is not None:
            order, before = last
            turned_away = order.status in (OrderStatus.REFUSED, OrderStatus.REJECTED)
            if order.is_open or (turned_away and before == held):
                return
        self._closing[symbol] = (self._desk.close_position(symbol, why, BY), held)


def _why(halt: Halt) -> str:
    return f"halted by {halt.rule}: {halt.reason}"


def _lots_of(orders: Iterable[Order]) -> int:
    """Return how many lots orders of one side can fill; of an OCO group, its largest."""
    found: dict[object, int] = {}
    for order in orders:
        key = ("group", order.group) if order.group is not None else order.id
        found[key] = max(found.get(key, 0), order.open_lots)
    return sum(found.values())
