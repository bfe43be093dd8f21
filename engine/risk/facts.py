"""What the gate says and what it is told: immutable, with times in UTC nanoseconds and money in the account's
currency."""

from typing import NamedTuple

REFUSE, CANCEL, FLATTEN = "refuse", "cancel", "flatten"
ACTIONS = (REFUSE, CANCEL, FLATTEN)
"""What happens at a halt, beyond refusing what would grow a position and withdrawing working orders that could:
nothing; every working order is withdrawn; and every position is closed at market too."""


class Refusal(NamedTuple):
    """Why an order is not sent, and which rule says so: "venue" for the venue's own filters and "bracket" for a bracket
    that would protect nothing, whose texts stand without their name."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}" if self.rule not in ("venue", "bracket") else self.text


class AccountClose(NamedTuple):
    """Equity (cash + market value at the last closes, in the currency results are reported in) once every bar that
    closed at `time` has met the working orders. The number is that of the journal's equity row of the instant."""

    time: int
    equity: float


class Breach(NamedTuple):
    """What a rule that watches found too large.

    Args:
        value: what was found; limit: what was allowed, in the rule's own unit.
        reason: both in words.
        symbol: empty when it concerns the whole account.
        lift_at: when trading may go on by itself; None leaves it to the rule's `lift_after`.
    """

    value: float
    limit: float
    reason: str
    symbol: str = ""
    lift_at: int | None = None


class Halt(NamedTuple):
    """From `time` on nothing is sent for `symbol` (empty: for any) but what reduces a position, until it is lifted.

    Args:
        action: "refuse", "cancel" or "flatten", see ACTIONS.
        lift_at: when it is lifted by itself; None for never.
    """

    time: int
    rule: str
    symbol: str
    value: float
    limit: float
    reason: str
    action: str = REFUSE
    lift_at: int | None = None

    @property
    def scope(self) -> str:
        """What may not be traded, for people: "BTC/USDT", or "all"."""
        return self.symbol or "all"


class Lift(NamedTuple):
    """The end of a halt: why, and by whom ("schedule", or a person's name)."""

    time: int
    rule: str
    symbol: str
    why: str
    by: str
