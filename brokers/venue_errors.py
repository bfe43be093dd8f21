"""What a failed request means for the order it was about: certainly not taken, or nobody knows.

Nothing is sent again on the strength of this: an order of which nobody knows is asked about by its client order id. A
refusal counts as certain only where the venue can have said it only before taking the order. ccxt's classes say it
mostly; where they do not, the venue's own words in the table below do.
"""

from enum import Enum
from typing import Any


class Verdict(Enum):
    """What became of a request."""

    REFUSED = "refused"
    """The venue has answered, and did not do it."""
    UNKNOWN = "unknown"
    """The answer is lost, or could be given of an order that was taken."""


REFUSALS = (
    "InsufficientFunds", "InvalidOrder", "BadRequest", "BadSymbol", "ArgumentsRequired", "AuthenticationError",
    "PermissionDenied", "AccountNotEnabled", "AccountSuspended", "InvalidNonce", "NotSupported", "OperationRejected",
    "MarketClosed", "RestrictedLocation", "RateLimitExceeded", "OrderImmediatelyFillable", "OrderNotFillable",
    "ContractUnavailable", "InvalidAddress", "ManualInteractionNeeded", "NoChange", "MarginModeAlreadySet",
)
"""ccxt's classes, with what descends from them, that a venue's refusal comes as."""
NOT_REFUSALS = ("DuplicateOrderId", "CancelPending", "OrderNotCached")
"""Descendants of those that say nothing of the kind: an order of this client id is there already."""

SAID_IN_WORDS: dict[str, tuple[str, ...]] = {
    "binance": ("-1013", "-1111", "-2010", "-2014", "-2015", "-1021", "-1022", "-1100", "-1102", "-1121"),
    "kraken": (
        "EOrder:Invalid price", "EOrder:Post only order", "EAPI:Invalid signature", "EAPI:Invalid key",
        "EOrder:Insufficient funds", "EOrder:Order minimum not met", "EOrder:Cost minimum not met",
        "EGeneral:Invalid arguments", "EGeneral:Permission denied",
    ),
    "okx": ("51008", "51020", "51121", "51000", "50113", "50111"),
    "bybit": ("170131", "170140", "170136", "110007", "10003", "10004"),
    "coinbase": ("INSUFFICIENT_FUND", "INVALID_LIMIT_PRICE_POST_ONLY", "PREVIEW_INSUFFICIENT_FUND"),
}
"""What venues say of a refusal that ccxt passes on as a class which could be anything."""
COULD_BE_ANYTHING = ("ExchangeError", "InvalidOrder", "BadRequest")
BUSY_WORDS: dict[str, tuple[str, ...]] = {
    "binance": ("-1006", "-1007", "-1000", "-1001", "-1008", "-1016"),
    "kraken": ("EService:", "EGeneral:Internal error", "EService:Busy"),
    "okx": ("50004", "50001", "50026", "50013"),
    "bybit": ("10016", "10000"),
    "coinbase": ("INTERNAL",),
}
"""What venues say while they are ill or away, whatever class ccxt makes of it (-1016 is a BadRequest to it)."""
AMBIGUOUS_WORDS: dict[str, tuple[str, ...]] = {
    "binance": ("-2026", "Duplicate order sent"), "okx": ("51016",), "bybit": ("170141", "110072"),
    "coinbase": ("UNKNOWN_FAILURE_REASON",),
}
"""What venues say when they do not know themselves, or have an order of this client id."""

RETRYABLE = ("OperationFailed", "NetworkError", "BadResponse", "NullResponse", "RateLimitExceeded", "DDoSProtection")
"""ccxt's classes of failures that may be over a little later; a question may be asked again after them."""


def verdict_of(venue: str, error: BaseException) -> Verdict:
    """Return what a failed request to make, change or cancel an order means."""
    text, names = str(error), _names(error)
    words = (*BUSY_WORDS.get(venue, ()), *AMBIGUOUS_WORDS.get(venue, ()))  # they go before all else
    if any(word in text for word in words) or names & set(NOT_REFUSALS):
        return Verdict.UNKNOWN
    if names & set(REFUSALS):
        return Verdict.REFUSED
    if type(error).__name__ in COULD_BE_ANYTHING and any(word in text for word in SAID_IN_WORDS.get(venue, ())):
        return Verdict.REFUSED
    return Verdict.UNKNOWN


def is_unknown_order(venue: str, error: BaseException) -> bool:
    """Say whether a venue has answered that it knows no such order."""
    text = str(error)
    if "OrderNotFound" in _names(error):
        return True
    words = {"kraken": ("EOrder:Unknown order", "EOrder:Invalid order"), "bybit": ("170213", "110001"),
             "okx": ("51603", "51400"), "binance": ("-2013", "-2011")}
    return any(word in text for word in words.get(venue, ()))


def may_pass(venue: str, error: BaseException) -> bool:
    """Say whether a question that failed so may be asked again."""
    if any(word in str(error) for word in BUSY_WORDS.get(venue, ())):
        return True
    return bool(_names(error) & set(RETRYABLE)) or isinstance(error, TimeoutError | OSError)


def faulty_order(found: Any, symbol: str, client_order_id: str) -> str:
    """Return what is wrong with a venue's answer about an order, in words; empty for an answer that can be believed.

    ccxt makes an order of anything, a page of HTML included: its id is None then.
    """
    if not isinstance(found, dict) or not found.get("id"):
        return "the venue's answer names no order"
    for name, expected in (("symbol", symbol), ("clientOrderId", client_order_id)):
        value = found.get(name)
        if value and value != expected:
            return f"the venue's answer is about {name} {value!r}, not {expected!r}"
    return ""


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
