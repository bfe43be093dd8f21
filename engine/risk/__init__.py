"""The risk gate: a request is approved, or refused with a reason; a loss that is too large halts the run.

The gate stands between a strategy's request and the broker, in backtest and paper trading alike. It knows nothing of
either: its facts are the books, the working orders, fills and closes, and its time is the loop's. A rule is a small
class derived from `RiskRule`; the venue's own filters come first. docs/risk.md has every rule and its limits.
"""

from engine.risk.facts import AccountClose, Breach, Halt, Lift, Refusal
from engine.risk.filters import VenueFilters
from engine.risk.gate import RiskGate
from engine.risk.headroom import headroom
from engine.risk.rule import Asked, RiskRule
from engine.risk.view import RiskView

__all__ = [
    "AccountClose",
    "Asked",
    "Breach",
    "Halt",
    "Lift",
    "Refusal",
    "RiskGate",
    "RiskRule",
    "RiskView",
    "VenueFilters",
    "headroom",
]
