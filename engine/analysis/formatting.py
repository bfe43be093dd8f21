"""Numbers as people read them: the same in the terminal and on the page."""

from collections.abc import Sequence
from decimal import Decimal
from math import isfinite

from engine.analysis.definitions import DEFINITIONS
from engine.bars import DAY, HOUR, MINUTE, SECOND, iso

NOTHING = "–"


def minute(time: int) -> str:
    """Return a time, UTC ns, without the letters of ISO 8601: "2024-01-05 08:00"."""
    return iso(time).replace("T", " ").removesuffix("Z")


def percent(value: float | None, *, signed: bool = False, decimals: int = 2) -> str:
    """Return a fraction as a percentage: 0.1234 as "12.34 %"; large ones with fewer decimals."""
    if value is None or not isfinite(value):
        return NOTHING
    if abs(value) >= 10:
        decimals = 0 if abs(value) >= 100 else 1
    return _no_negative_zero(f"{100 * value:{'+' if signed else ''},.{decimals}f}") + " %"


def money(value: float | None, currency: str = "", *, signed: bool = False) -> str:
    """Return an amount with thousands separated; cents only where they can be told apart from noise."""
    if value is None or not isfinite(value):
        return NOTHING
    size = abs(value)
    decimals = 0 if size >= 10_000 else 2 if size >= 1 or size == 0 else 4 if size >= 0.01 else 8
    text = _no_negative_zero(f"{value:{'+' if signed else ''},.{decimals}f}")
    return f"{text} {currency}" if currency else text


def number(value: float | None, *, decimals: int = 2) -> str:
    """Return a plain number."""
    if value is None or not isfinite(value):
        return NOTHING
    if value and abs(value) < 10.0 ** -decimals:
        return f"{value:.2g}"
    return _no_negative_zero(f"{value:,.{decimals}f}")


def price(value: float | None) -> str:
    """Return a price or quantity with as many digits as it has, up to nine."""
    if value is None or not isfinite(value):
        return NOTHING
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{Decimal(f'{value:.6g}'):,f}"
    return f"{value:,.9g}"


def duration(nanoseconds: float | None) -> str:
    """Return a duration in its two largest units: "3 d 4 h", "12 min", "0.5 s"."""
    if nanoseconds is None:
        return NOTHING
    left = int(nanoseconds)
    if left < MINUTE:
        return f"{left / SECOND:g} s"
    parts: list[str] = []
    for name, unit in (("y", 365 * DAY), ("d", DAY), ("h", HOUR), ("min", MINUTE)):
        count, left = divmod(left, unit)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def listed(names: Sequence[str], most: int) -> str:
    """Return the first few names: "BTC/USDT, ETH/USDT and 33 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def short(count: float) -> str:
    """Return a count in at most four characters and a suffix: 1234567 as "1.23 M"."""
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(count) >= size:
            scaled = count / (size if suffix != " k" else 1e3)
            return f"{scaled:.3g}{suffix}" if abs(scaled) < 1000 else f"{scaled:,.0f}{suffix}"
    return f"{count:,.0f}"


def statistic(name: str, value: float | int | None, currency: str = "") -> str:
    """Return a statistic's value in its unit."""
    if value is None:
        return NOTHING
    match DEFINITIONS[name].unit:
        case "percent":
            return percent(value)
        case "money":
            return money(value, currency)
        case "count":
            return f"{value:,}"
        case "bars":
            return number(value, decimals=1)
        case "duration":
            return duration(value)
        case "basis_points":
            return f"{number(value)} bp"
        case _:
            return number(value)


def _no_negative_zero(text: str) -> str:
    return text.lstrip("+-") if not text.strip("+-0.,") else text
