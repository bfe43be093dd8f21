"""What a rule is: derive from RiskRule and override what the rule needs; only what is overridden is called."""

import re
from functools import cached_property
from typing import Any, ClassVar

from engine.bars import Timeframe
from engine.errors import SettingsError
from engine.events import Fill
from engine.live.inputs import FeedTold
from engine.orders import Order, Side
from engine.parameters import checked_parameters
from engine.risk.facts import ACTIONS, REFUSE, AccountClose, Breach
from engine.risk.view import Reach, RiskView


class Asked:
    """An order about to be sent, with what a rule wants to know about it.

    Args:
        is_amendment: whether it works already, and is to become as it is here.
    """

    def __init__(self, order: Order, view: RiskView, *, is_amendment: bool = False) -> None:
        self.is_amendment = is_amendment
        self.order = order
        self.view = view
        self.instrument = order.instrument
        self.symbol = order.symbol

    @property
    def time(self) -> int:
        """UTC nanoseconds."""
        return self.view.time

    @property
    def price(self) -> float:
        """The last close, in quote currency."""
        return self.view.price(self.symbol)

    @cached_property
    def reach(self) -> Reach:
        """How far the position can go if this order is sent: the worst case over all working orders, in lots."""
        return self.view.reach(self.symbol, self.order)

    @cached_property
    def grows(self) -> bool:
        """Whether the order can make a position larger than it could become without it; if not, it only reduces."""
        without = self.view.reach(self.symbol)
        if self.order.side is Side.BUY:
            return self.reach.high > max(0, without.high)
        return self.reach.low < min(0, without.low)

    @property
    def only_reduces(self) -> bool:
        """Whether nothing but a smaller position can come of it, whatever else fills: it is a reduce-only order, or an
        amendment that asks for no more than before."""
        return self.order.reduce_only or (self.is_amendment and not self.grows)

    @property
    def reached_lots(self) -> int:
        """The worst case on the order's own side, in lots, ≥ 0."""
        return max(0, self.reach.high if self.order.side is Side.BUY else -self.reach.low)


class RiskRule:
    """One reason to say no, or to halt.

    Override `refusal` to look at orders, and `on_close`, `on_fill`, `on_bar` to watch; a run visits every bar only if a
    rule watches. A rule keeps what it has seen in itself, gives it to `save_state` and takes it back in `load_state`.

    Parameters are declared as a strategy's are, `most: int = Param(5, ge=1)`, and arrive as attributes.
    """

    name: ClassVar[str] = ""
    """What the rule is called in reasons and counts; the class's name in snake case if left out."""
    action: str = REFUSE
    """What happens at a halt: "refuse", "cancel" or "flatten"."""
    lift_after: int | None = None
    """Nanoseconds after which a halt is lifted by itself; None for never."""

    def __init__(self, **parameters: Any) -> None:
        for name, value in checked_parameters(type(self), parameters).items():
            setattr(self, name, value)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()

    def refusal(self, asked: Asked) -> str | None:
        """Return why the order must not be sent, with the value and the limit, or None to let it pass.

        It is asked for orders that may yet be refused by another rule, and may be asked twice: it changes nothing.
        """
        return None

    def on_sent(self, order: Order, view: RiskView) -> None:
        """Take note of an order that every rule let pass."""

    def on_fill(self, fill: Fill, view: RiskView) -> None:
        """Take note of a fill, which is booked already. Several of one bar come one after the other."""

    def on_bar(self, symbol: str, close: float, volume: float) -> None:
        """Take note of a bar that just closed, at the symbol's shortest timeframe."""

    def on_close(self, close: AccountClose, view: RiskView) -> list[Breach]:
        """Return what is too large now. Called at every instant at which bars close, after their fills and before the
        strategy; and once more if orders fill at that very close. A halt in force is not made a second time."""
        return []

    def on_feed(self, told: FeedTold, view: RiskView) -> list[Breach]:
        """Return what is wrong with what decisions rest on. Called in live trading, when the feed says something."""
        return []

    def ends(self, told: FeedTold) -> bool:
        """Return whether what the feed says ends a halt of this rule, of the same symbol, by itself."""
        return False

    def on_lift(self, symbol: str, close: AccountClose) -> None:
        """Start anew from here, or the halt that was lifted would be back at the next close."""

    def card(self) -> dict[str, Any]:
        """Return the limits in force, for the assumption card: plain values."""
        declared = checked_parameters(type(self), {})
        return {name: getattr(self, name) for name in declared}

    def save_state(self) -> dict[str, Any]:
        """Return what has been seen, JSON-ready."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `save_state` returned."""

    def halt_card(self) -> dict[str, Any]:
        """Return what a halt of this rule does, for its card."""
        lifted = "never" if self.lift_after is None else f"{self.lift_after / 1e9:.12g} s"
        return {"action": self.action, "lift_after": lifted}


def check_action(owner: str, action: str) -> str:
    """Return the action.

    Raises:
        SettingsError: there is none of that name.
    """
    if action not in ACTIONS:
        raise SettingsError(f"{owner}: action is {action!r}; expected one of {', '.join(ACTIONS)}")
    return action


def duration_of(text: str) -> int:
    """Return the nanoseconds of a span such as "1m", "4h", "1d".

    Raises:
        SettingsError: the text is not understood.
    """
    return Timeframe.parse(text).duration
