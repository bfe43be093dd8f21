"""Sessions of exchanges, from the library exchange_calendars: trading days, early closes, clocks.

It is asked for a few years around an instant, and only by a model that names an exchange.
"""

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from engine.bars import DAY, IntArray, iso
from engine.errors import PluginError, nearest_name
from engine.forecasting.sessions import ALWAYS, WEEKDAYS, Ahead, AtExchange, OneAfterAnother, OnWeekdays, Sessions

_YEARS = 2
"""Before and after the year of an instant: farther than a horizon reaches."""


def ahead_of(stamps: str, duration: int, whose: str) -> Ahead:
    """Return what says when bars ahead open.

    Args:
        stamps: "24/7", "weekdays", or the code of an exchange, such as XNYS.
        whose: name of the model, for messages.
    Raises:
        PluginError: there is no such exchange, or its sessions are not those of one day.
    """
    if stamps == ALWAYS:
        return OneAfterAnother(duration)
    if stamps == WEEKDAYS:
        return OnWeekdays(duration)
    check_exchange(stamps, whose)

    def around(time: int) -> Sessions:
        return _sessions(stamps, int(np.datetime64(time, "ns").astype("datetime64[Y]").astype(np.int64)) + 1970)

    return AtExchange(duration, around)


def check_exchange(code: str, whose: str) -> None:
    """Refuse a name that is no exchange's.

    Raises:
        PluginError: naming the nearest.
    """
    import exchange_calendars  # deferred: it brings pandas, and most models ask for no exchange

    known = [name for name in exchange_calendars.get_calendar_names(include_aliases=False) if name[0] == "X"]
    if code not in known:
        near = nearest_name(code, [ALWAYS, WEEKDAYS, *known])
        raise PluginError(
            f"forecaster {whose} has future_stamps {code!r}; expected 24/7, weekdays, or the code of an exchange, such "
            f"as {', '.join(known[:4])}{near}"
        )


def clock_of(code: str) -> str:
    """Return the wall clock of an exchange, the name of its zone."""
    return str(_calendar(code).tz)


@lru_cache(maxsize=64)
def _sessions(code: str, year: int) -> Sessions:
    import pandas as pd

    kind = type(_calendar(code))
    first, last = pd.Timestamp(f"{year - _YEARS}-01-01"), pd.Timestamp(f"{year + _YEARS}-12-31")
    earliest, latest = kind.bound_min(), kind.bound_max()
    if earliest is not None and first < earliest:
        first = earliest
    if latest is not None and last > latest:
        last = latest
    if first + pd.Timedelta(days=30) > last:
        raise PluginError(
            f"the calendar of {code} is known from {iso(0 if earliest is None else earliest.value)[:10]} on; there are "
            f"bars of {year}: use 24/7 or weekdays as future_stamps"
        )
    calendar = _calendar(code, start=first, end=last)
    opens, closes = calendar.schedule["open"], calendar.schedule["close"]
    opened = _nanoseconds(opens.dt.tz_localize(None))
    offset = _nanoseconds(opens.dt.tz_convert(calendar.tz).dt.tz_localize(None)) - opened
    day = _nanoseconds(calendar.schedule.index) // DAY
    made = Sessions(day, opened, _nanoseconds(closes.dt.tz_localize(None)), offset)
    if ((made.open + made.offset) // DAY != made.day).any():
        raise PluginError(
            f"{code} opens on the day before the one that its sessions count for, which bars of a day do not show; use "
            "24/7 or weekdays as future_stamps"
        )
    return made


def _calendar(code: str, **span: Any) -> Any:
    """Return a calendar of the library, whose warnings of what pandas will change are its own affair."""
    import exchange_calendars

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return exchange_calendars.get_calendar(code, **span)


def _nanoseconds(times: Any) -> IntArray:
    """Return naive times of pandas as int64 nanoseconds."""
    return np.asarray(times, "datetime64[ns]").astype(np.int64)
