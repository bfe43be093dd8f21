"""Rules about what decisions rest on while a market goes on: the feed's data, our clock, the age of forecasts.

The first three are told by a live session's edge (engine.live.inputs.FeedTold); a backtest's data are never late. A
halt of theirs needs a person, unless `lift_after` is FRESH: then it ends as soon as the feed says that all is well.
"""

from typing import Any, ClassVar

from engine.errors import SettingsError
from engine.live.inputs import FeedTold
from engine.risk.facts import REFUSE, AccountClose, Breach
from engine.risk.losses import Halting
from engine.risk.view import RiskView

FRESH = -2
"""A `lift_after`: until the feed says that what was wrong no longer is."""


class _FeedRule(Halting):
    """Halts when the feed says something of `kind` whose value is larger than allowed, either way.

    Args:
        seconds: what is allowed.
        lift_after: nanoseconds; None for never; FRESH.
    """

    kind: ClassVar[str]

    def __init__(self, seconds: float, *, action: str = REFUSE, lift_after: int | None = None) -> None:
        super().__init__(action, lift_after)
        if not 0 < seconds < float("inf"):
            raise SettingsError(f"{self.name}: {seconds} seconds; expected a number above 0")
        self._seconds = seconds

    def on_feed(self, told: FeedTold, view: RiskView) -> list[Breach]:
        if told.kind != self.kind or abs(told.value) <= self._seconds:
            return []
        reason = f"{self._words(told)}; limit {self._seconds:g} s" + (f" ({told.reason})" if told.reason else "")
        return [Breach(told.value, self._seconds, reason, told.symbol)]

    def ends(self, told: FeedTold) -> bool:
        return self.lift_after == FRESH and told.kind == self.kind and abs(told.value) <= self._seconds

    def _words(self, told: FeedTold) -> str:
        raise NotImplementedError

    def card(self) -> dict[str, Any]:
        return {"seconds": self._seconds}

    def halt_card(self) -> dict[str, Any]:
        return {**super().halt_card(), **({"lift_after": "fresh"} if self.lift_after == FRESH else {})}


class StaleData(_FeedRule):
    """Nothing was heard of a symbol, or of the whole venue, for too long."""

    kind = "stale"

    def ends(self, told: FeedTold) -> bool:
        return self.lift_after == FRESH and told.kind == "fresh"

    def _words(self, told: FeedTold) -> str:
        return f"nothing heard of {told.symbol or 'the venue'} for {told.value:g} s"


class FeedLag(_FeedRule):
    """Bars come too late to be acted on."""

    kind = "lag"

    def _words(self, told: FeedTold) -> str:
        return f"bars of {told.symbol or 'the venue'} come {told.value:g} s late"


class ClockSkew(_FeedRule):
    """Our clock and the venue's are too far apart to say when anything happened."""

    kind = "skew"

    def _words(self, told: FeedTold) -> str:
        return f"our clock is {abs(told.value):g} s {'ahead of' if told.value > 0 else 'behind'} the venue's"


class ForecastAge(Halting):
    """A position, or an order that could enlarge one, may not rest on a forecast that is too old.

    The age is counted from the bars that the forecast was made of to the close at which it is looked at, before the
    forecasts of that very close: a daily forecast is a day old then. Symbols without forecasts are let be.

    Args:
        nanoseconds: the most.
    """

    def __init__(self, nanoseconds: int, *, action: str = REFUSE, lift_after: int | None = None) -> None:
        super().__init__(action, lift_after)
        if nanoseconds < 1:
            raise SettingsError(f"{self.name}: {nanoseconds} ns; expected 1 or more")
        self._limit = nanoseconds
        self._lifted: dict[str, int] = {}
        """When a halt of a symbol was lifted: a person has taken over what was old by then."""

    def on_close(self, close: AccountClose, view: RiskView) -> list[Breach]:
        found = []
        for symbol in sorted(view.traded_symbols()):
            times = view.forecast_times(symbol)
            if not times:
                continue
            made = min(times)
            age = close.time - max(made, self._lifted.get(symbol, made))
            if age > self._limit:
                span, limit = age / 1e9, self._limit / 1e9
                reason = f"the forecast behind {symbol} is {span:g} s old; limit {limit:g} s"
                found.append(Breach(span, limit, reason, symbol))
        return found

    def on_lift(self, symbol: str, close: AccountClose) -> None:
        self._lifted[symbol] = close.time

    def card(self) -> dict[str, Any]:
        return {"limit": f"{self._limit / 1e9:g} s"}

    def save_state(self) -> dict[str, Any]:
        return {"lifted": dict(self._lifted)}

    def load_state(self, state: dict[str, Any]) -> None:
        self._lifted = dict(state["lifted"])
