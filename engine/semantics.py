"""The switches of fill simulation: each names a question that bars leave open, and the answers to choose from.

The defaults are the honest ones. A profile is one row of switch values under which fills equal another
engine's; it exists so that differential tests are crisp, and no code asks which profile is on. Normative:
docs/fills.md.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from engine.errors import SettingsError, nearest_name

CHOICES: dict[str, tuple[str, ...]] = {
    "market_fill": ("next_open", "same_close", "next_close"),
    "path": (
        "worst", "detail", "best", "adaptive", "ohlc", "olhc", "candle_colour", "random", "queue", "queue_stops_first",
    ),
    "limit_touch": ("through", "touch", "probability"),
    "limit_gap": ("open", "limit", "bar_extreme"),
    "stop_touch": ("touch", "through"),
    "stop_price": ("trigger", "worst_of_trigger_and_close"),
    "stop_gap": ("open", "trigger"),
    "children_same_bar": ("if_path_decides", "next_bar", "always", "if_unambiguous"),
    "trail_reference": ("high_lagged", "close", "high_same_bar", "close_after_entry"),
    "stop_limit_same_bar": ("if_certain", "limit_beyond_stop", "falling_close"),
    "netting": ("position", "oldest_entry_first"),
}


@dataclass(frozen=True)
class Switches:
    """How fills are simulated. See CHOICES for the values, docs/fills.md for what each means.

    Args:
        volume_cap: the largest share of a bar's volume that our fills may take, the rest is carried to the next bar;
            None for no cap.
        children_reduce_only: whether a bracket's children may only reduce a position; otherwise a child whose
            position is gone opens a new one.
        checks_brackets: whether a bracket is refused whose stop-loss or take-profit lies on the wrong side of its
            entry.
        on_increments: whether prices lie on the instrument's increments; otherwise they are counted a million times
            finer, for comparison with engines that know no increments (scenario files only).
        unseen_bars: bars at the start at which nothing can be decided, for comparison with engines that do not show
            them to a strategy (scenario files only).
        touch_probability: the chance that a limit order fills when its price is touched but not crossed, for
            `limit_touch="probability"`; seed: for that and for `path="random"`.
    Raises:
        SettingsError: a value is not among the choices, with the nearest that is.
    """

    market_fill: str = "next_open"
    path: str = "worst"
    limit_touch: str = "through"
    limit_gap: str = "open"
    stop_touch: str = "touch"
    stop_price: str = "trigger"
    stop_gap: str = "open"
    children_same_bar: str = "if_path_decides"
    trail_reference: str = "high_lagged"
    stop_limit_same_bar: str = "if_certain"
    netting: str = "position"
    volume_cap: float | None = 0.1
    children_reduce_only: bool = True
    checks_brackets: bool = True
    on_increments: bool = True
    unseen_bars: int = 0
    touch_probability: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise SettingsError(
                    f"switch {name} is {value!r}{nearest_name(str(value), choices)}; "
                    f"expected one of {', '.join(choices)}"
                )
        if self.volume_cap is not None and not 0 < self.volume_cap <= 1:
            raise SettingsError(
                f"switch volume_cap is {self.volume_cap}; expected a share above 0 and up to 1, or none"
            )
        if self.unseen_bars < 0:
            raise SettingsError(f"switch unseen_bars is {self.unseen_bars}; expected 0 or more")
        if not 0 <= self.touch_probability <= 1:
            raise SettingsError(f"switch touch_probability is {self.touch_probability}; expected 0 … 1")

    def card(self) -> dict[str, Any]:
        """Return name → value, for the assumption card."""
        return asdict(self)


PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "backtesting_py": {
        "path": "queue_stops_first",
        "limit_touch": "touch",
        "children_same_bar": "if_unambiguous",
        "trail_reference": "close_after_entry",
        "stop_limit_same_bar": "limit_beyond_stop",
        "netting": "oldest_entry_first",
        "volume_cap": None,
        "on_increments": False,
        "unseen_bars": 1,
    },
    "backtrader": {
        "path": "queue",
        "limit_touch": "touch",
        "children_same_bar": "next_bar",
        "trail_reference": "close",
        "stop_limit_same_bar": "falling_close",
        "volume_cap": None,
        "children_reduce_only": False,
        "checks_brackets": False,
        "on_increments": False,
    },
    "vectorbt_next_open": {
        "path": "queue",
        "limit_touch": "touch",
        "children_same_bar": "next_bar",
        "trail_reference": "high_lagged",
        "volume_cap": None,
        "on_increments": False,
    },
}


def profile(name: str, **changes: Any) -> Switches:
    """Return the switches of a profile, some of them changed.

    Raises:
        SettingsError: no such profile, or no such switch.
    """
    if name not in PROFILES:
        raise SettingsError(
            f"unknown profile {name!r}{nearest_name(name, list(PROFILES))}; expected one of {', '.join(PROFILES)}"
        )
    known = [field.name for field in fields(Switches)]
    for switch in changes:
        if switch not in known:
            raise SettingsError(
                f"unknown switch {switch!r}{nearest_name(switch, known)}; expected one of {', '.join(known)}"
            )
    return replace(Switches(), **{**PROFILES[name], **changes})
