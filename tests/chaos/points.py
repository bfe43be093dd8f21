"""The numbered points of the order path and of recovery at which a process is killed.

Each is a place and a phase: in the life that begins the session, or in one that recovers from an earlier death.
"""

from typing import NamedTuple

SESSION = (
    "before an input", "an input dealt with", "before a commit", "rows handed over", "rows on disk", "committed",
    "before sending", "messages taken", "sent",
)
LINK = (
    "before the request of an order", "an order's answer heard", "an order's answer failed",
    "before asking about an order", "asked about an order", "before the request of a cancel",
    "a cancel's answer heard", "before asking for executions", "a report heard", "a report put in",
)
RECOVERY = ("taking over", "recovered from the journal", "before reconciling", "reconciled, before the reports")
RARE = (
    "before asking about an order", "asked about an order", "an order's answer failed",
    "before the request of a cancel", "a cancel's answer heard", "before asking for executions",
)
"""Places that a short session comes to once, or not at all."""


class Point(NamedTuple):
    """Where to kill: the place, and in which life (1 begins the session, 2 recovers)."""

    number: int
    place: str
    life: int


POINTS = tuple(
    Point(number, place, life)
    for number, (life, place) in enumerate(
        [
            *((1, place) for place in (*SESSION, *LINK)), *((2, place) for place in RECOVERY),
            *((2, place) for place in SESSION), *((2, place) for place in LINK),
        ],
        start=1,
    )
)
