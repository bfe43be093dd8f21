"""The gate: asks each rule in turn, keeps the halts in force, and can be saved and restored."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from engine.bars import iso
from engine.errors import SettingsError, nearest_name
from engine.events import Fill
from engine.live.inputs import FeedTold
from engine.orders import Order
from engine.risk.facts import ACTIONS, REFUSE, AccountClose, Breach, Halt, Lift, Refusal
from engine.risk.filters import VenueFilters
from engine.risk.rule import Asked, RiskRule, check_action
from engine.risk.view import RiskView

SCHEDULE = "schedule"
"""By whom a halt is lifted whose time has come."""
FEED = "feed"
"""By whom a halt is lifted that lasted until the data were as they should be."""
OPERATOR = "operator"
"""The rule that a person's halts are of."""


class RiskGate:
    """Asks each rule in turn; the first refusal counts. While a halt is in force, only what reduces a position passes.

    An order that by itself only reduces the position, and is refused because it could open the other side together with
    what else is working, is let pass as a reduce-only order if that is enough.

    Raises:
        SettingsError: two rules have one name.
    """

    def __init__(self, rules: Sequence[RiskRule] = ()) -> None:
        names = [rule.name for rule in rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"two risk rules are called {twice[0]!r}; give one of the classes another `name`")
        self._filters = VenueFilters()
        self._rules = tuple(rules)
        self._of_name = {rule.name: rule for rule in rules}
        self._asked = _overriding(rules, "refusal")
        self._told_sent = _overriding(rules, "on_sent")
        self._told_fill = _overriding(rules, "on_fill")
        self._told_bar = _overriding(rules, "on_bar")
        self._told_close = _overriding(rules, "on_close")
        self._told_feed = _overriding(rules, "on_feed")
        self._last_close = AccountClose(0, 0.0)
        self._view: RiskView | None = None
        self.when_sent_while_halted: Callable[[Order], None] = lambda order: None
        """Told of an order that was sent while a halt is in force."""
        self.halts: dict[tuple[str, str], Halt] = {}
        """In force, by rule and symbol."""

    def attach(self, view: RiskView) -> None:
        """Look at these books, orders and closes from now on."""
        self._view = view

    @property
    def view(self) -> RiskView:
        assert self._view is not None, "the desk attaches the gate to its books"
        return self._view

    @property
    def has_rules(self) -> bool:
        """Whether there is any rule, or halt, beside the venue's own filters."""
        return bool(self._rules or self.halts)

    @property
    def watches(self) -> bool:
        """Whether every bar must be visited: a rule watches, or a halt is in force."""
        return bool(self._told_fill or self._told_bar or self._told_close or self.halts)

    @property
    def watches_bars(self) -> bool:
        """Whether a rule wants to know of bars one by one."""
        return bool(self._told_bar)

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def refusal(self, order: Order) -> Refusal | None:
        """Return why an order must not be sent, or None. It may come out as a reduce-only order (see the class)."""
        instrument = order.instrument
        # Without minimums there is nothing to compute: the common case costs two comparisons.
        if order.lots <= 0 or instrument.min_notional or instrument.min_quantity:
            reason = self._filters.refusal(Asked(order, self.view))
            if reason is not None:
                return Refusal(self._filters.name, reason)
        if not self._asked and not self.halts:
            return None
        refusal = self._first_refusal(order)
        if refusal is None or order.reduce_only or not self.view.closes(order):
            return refusal
        order.reduce_only = True
        if self._first_refusal(order) is None:
            return None
        order.reduce_only = False
        return refusal

    def refusal_of_amendment(
        self, order: Order, lots: int, limit_ticks: int | None, stop_ticks: int | None
    ) -> Refusal | None:
        """Return why a working order must not become as it would be with this quantity and these prices, or None."""
        instrument = order.instrument
        if not (self._asked or self.halts or instrument.min_notional or instrument.min_quantity):
            return None
        amended = copy(order)
        amended.lots, amended.limit_ticks, amended.stop_ticks = lots, limit_ticks, stop_ticks
        reason = self._filters.refusal(Asked(amended, self.view, is_amendment=True))
        if reason is not None:
            return Refusal(self._filters.name, reason)
        return self._first_refusal(amended, is_amendment=True)

    def _first_refusal(self, order: Order, *, is_amendment: bool = False) -> Refusal | None:
        asked = Asked(order, self.view, is_amendment=is_amendment)
        if self.halts and not asked.only_reduces:
            for halt in self.halts.values():
                if halt.symbol in ("", order.symbol) and not _is_over(halt, asked.time):
                    return Refusal(halt.rule, _halted(halt))
        for rule in self._asked:
            reason = rule.refusal(asked)
            if reason is not None:
                return Refusal(rule.name, reason)
        return None

    def sent(self, order: Order) -> None:
        """Take note that an order was sent."""
        for rule in self._told_sent:
            rule.on_sent(order, self.view)
        if self.halts:
            self.when_sent_while_halted(order)

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_fill(self, fill: Fill) -> None:
        """Tell the rules of a fill, once it is booked."""
        for rule in self._told_fill:
            rule.on_fill(fill, self.view)

    def on_bar(self, symbol: str, close: float, volume: float) -> None:
        """Tell the rules of a bar that just closed."""
        for rule in self._told_bar:
            rule.on_bar(symbol, close, volume)

    def on_close(self, close: AccountClose) -> list[Halt | Lift]:
        """Lift what is due, let the rules look at the account, and return the lifts and halts that follow."""
        self._last_close = close
        due = [halt for halt in self.halts.values() if _is_over(halt, close.time)]
        facts: list[Halt | Lift] = [self._end(halt, close, "its time is over", SCHEDULE) for halt in due]
        for rule in self._told_close:
            found = rule.on_close(close, self.view)
            facts += [
                self._halt(rule, breach, close.time) for breach in found if (rule.name, breach.symbol) not in self.halts
            ]
        return facts

    def on_feed(self, told: FeedTold) -> list[Halt | Lift]:
        """Let the rules hear what a live feed says of its data, and return the lifts and halts that follow."""
        close = self._last_close._replace(time=told.time)
        facts: list[Halt | Lift] = []
        for rule in self._told_feed:
            halt = self.halts.get((rule.name, told.symbol))
            if halt is not None and rule.ends(told):
                facts.append(self._end(halt, close, told.reason or f"the feed is well again: {told.kind}", FEED))
            facts += [
                self._halt(rule, breach, told.time) for breach in rule.on_feed(told, self.view)
                if (rule.name, breach.symbol) not in self.halts
            ]
        return facts

    def halt(self, why: str, by: str, *, time: int, action: str = REFUSE, symbol: str = "") -> list[Halt]:
        """Halt trading because a person wants it; nothing new if that is so already and asks for no more.

        Args:
            why, by: the reason and the person, for the record. time: UTC nanoseconds of the event clock.
        Raises:
            SettingsError: there is no such action, or no reason is given.
        """
        check_action(OPERATOR, action)
        if not why.strip():
            raise SettingsError("a halt needs a reason, for the record")
        before = self.halts.get((OPERATOR, symbol))
        if before is not None and ACTIONS.index(before.action) >= ACTIONS.index(action):
            return []
        halt = Halt(time, OPERATOR, symbol, 0.0, 0.0, f"{why} (by {by})", action)
        self.halts[OPERATOR, symbol] = halt
        return [halt]

    def _halt(self, rule: RiskRule, breach: Breach, time: int) -> Halt:
        lift_at = breach.lift_at
        if lift_at is None and rule.lift_after is not None and rule.lift_after >= 0:
            lift_at = time + rule.lift_after
        halt = Halt(time, rule.name, breach.symbol, breach.value, breach.limit, breach.reason, rule.action, lift_at)
        self.halts[rule.name, breach.symbol] = halt
        return halt

    def lift(self, why: str, by: str, *, time: int, rule: str = "", symbol: str = "") -> list[Lift]:
        """End the halts in force: all of them, those of one rule, those of one symbol.

        Args:
            why, by: the reason and the person, for the record. time: UTC nanoseconds of the event clock.
        Raises:
            SettingsError: nothing of the kind is halted, or no reason is given.
        """
        if not why.strip():
            raise SettingsError("a lift needs a reason: why may trading go on?")
        found = [
            halt for halt in self.halts.values() if rule in ("", halt.rule) and symbol in ("", halt.symbol)
        ]
        if not found:
            there = ", ".join(f"{halt.rule} ({halt.scope})" for halt in self.halts.values()) or "none"
            names = [halt.rule for halt in self.halts.values()]
            asked = " ".join(filter(None, (rule, symbol))) or "anything"
            raise SettingsError(f"no halt of {asked} to lift; in force: {there}{nearest_name(rule, names)}")
        close = self._last_close._replace(time=time)
        return [self._end(halt, close, why, by) for halt in found]

    def _end(self, halt: Halt, close: AccountClose, why: str, by: str) -> Lift:
        del self.halts[halt.rule, halt.symbol]
        rule = self._of_name.get(halt.rule)
        if rule is not None:
            rule.on_lift(halt.symbol, close)
        return Lift(close.time, halt.rule, halt.symbol, why, by)

    # ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────

    def card(self) -> dict[str, Any]:
        """Return every rule's limits, for the assumption card; empty without rules."""
        watching = {*self._told_close, *self._told_feed}
        return {
            rule.name: {**rule.card(), **(rule.halt_card() if rule in watching else {})} for rule in self._rules
        }

    def save_state(self) -> dict[str, Any]:
        """Return halts and what the rules have seen, JSON-ready: what a restart goes on from."""
        return {
            "version": 1,
            "last_close": list(self._last_close),
            "halts": [halt._asdict() for halt in self.halts.values()],
            "rules": {rule.name: state for rule in self._rules if (state := rule.save_state())},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save_state` returned. A halt stays in force even if its rule is no longer there.

        Raises:
            SettingsError: the state is of another version.
        """
        if state.get("version") != 1:
            raise SettingsError(f"the risk gate's state is of version {state.get('version')!r}; expected 1")
        self._last_close = AccountClose(*state["last_close"])
        self.halts = {(halt["rule"], halt["symbol"]): Halt(**halt) for halt in state["halts"]}
        for name, seen in state["rules"].items():
            if name in self._of_name:
                self._of_name[name].load_state(seen)


def _overriding(rules: Sequence[RiskRule], method: str) -> tuple[RiskRule, ...]:
    return tuple(rule for rule in rules if getattr(type(rule), method) is not getattr(RiskRule, method))


def _is_over(halt: Halt, time: int) -> bool:
    return halt.lift_at is not None and halt.lift_at <= time


def _halted(halt: Halt) -> str:
    until = "until it is lifted" if halt.lift_at is None else f"until {iso(halt.lift_at)}"
    scope = f" for {halt.symbol}" if halt.symbol else ""
    return f"halted{scope} since {iso(halt.time)} {until}: {halt.reason}"
