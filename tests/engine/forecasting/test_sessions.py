"""When bars ahead open: on the days of an exchange, at the times of day that the window's own bars show."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from engine.bars import HOUR, MINUTE, iso, nanoseconds
from engine.errors import PluginError
from engine.forecasting.exchanges import ahead_of, clock_of

NEW_YORK, SHANGHAI, LONDON = ZoneInfo("America/New_York"), ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/London")
DAY = 24 * HOUR


def at(text: str, zone: ZoneInfo) -> int:
    """Return a wall-clock time as UTC nanoseconds."""
    return nanoseconds(datetime.fromisoformat(text).replace(tzinfo=zone))


def session(day: str, times: list[str], zone: ZoneInfo) -> list[int]:
    return [at(f"{day}T{time}", zone) for time in times]


def told(stamps: np.ndarray, zone: ZoneInfo) -> list[str]:
    return [datetime.fromtimestamp(time / 1e9, zone).strftime("%m-%d %H:%M") for time in stamps.tolist()]


HOURS = ["10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]


def test_a_market_that_never_closes_goes_on_and_on() -> None:
    known = np.arange(3) * HOUR
    found = ahead_of("24/7", HOUR, "m")
    assert found.opens(known, 3 * HOUR, 2).tolist() == [3 * HOUR, 4 * HOUR]
    assert found.missing(known) == 0
    assert found.missing(known[[0, 2]]) == 1


def test_weekends_holidays_and_the_change_of_clocks_are_known() -> None:
    # Thursday before Good Friday 2024-03-29: the next session is Monday the first of April.
    known = np.array([at(f"2024-03-{day}T00:00", NEW_YORK) for day in (25, 26, 27, 28)])
    stamps = ahead_of("XNYS", DAY, "m").opens(known, int(known[-1]) + DAY, 3)
    assert told(stamps, NEW_YORK) == ["04-01 00:00", "04-02 00:00", "04-03 00:00"]
    # Clocks went forward on 2024-03-10: midnight in New York was 5:00 UTC before and 4:00 UTC after.
    known = np.array([at(f"2024-03-0{day}T00:00", NEW_YORK) for day in (6, 7, 8)])
    stamps = ahead_of("XNYS", DAY, "m").opens(known, int(known[-1]) + DAY, 1)
    assert [iso(int(known[-1])), iso(int(stamps[0]))] == ["2024-03-08T05:00Z", "2024-03-11T04:00Z"]


def test_an_early_close_cuts_the_day_short() -> None:
    # 2023-11-24, the day after Thanksgiving, ends at 13:00.
    known = np.array([*session("2023-11-20", HOURS, NEW_YORK), *session("2023-11-21", HOURS, NEW_YORK),
                      *session("2023-11-22", HOURS, NEW_YORK)])
    found = ahead_of("XNYS", HOUR, "m")
    stamps = found.opens(known, int(known[-1]) + HOUR, 5)
    assert told(stamps, NEW_YORK) == ["11-24 10:00", "11-24 11:00", "11-24 12:00", "11-27 10:00", "11-27 11:00"]
    short = np.concatenate([known, stamps])
    assert found.missing(short) == 0
    assert found.missing(np.delete(short, [4, 9])) == 2


def test_the_rest_of_the_day_comes_first() -> None:
    known = np.array([*session("2024-05-06", HOURS, NEW_YORK), *session("2024-05-07", HOURS, NEW_YORK),
                      *session("2024-05-08", HOURS[:4], NEW_YORK)])
    stamps = ahead_of("XNYS", HOUR, "m").opens(known, int(known[-1]) + HOUR, 3)
    assert told(stamps, NEW_YORK) == ["05-08 14:00", "05-08 15:00", "05-09 10:00"]


def test_a_break_at_noon_and_stamps_of_any_kind_are_taken_from_the_window() -> None:
    # This file stamps A-share hours by their close, but for the first.
    odd = ["09:30", "10:30", "11:30", "14:00", "15:00"]
    days = ["2020-01-20", "2020-01-21", "2020-01-22", "2020-01-23"]
    known = np.concatenate([session(day, odd, SHANGHAI) for day in days])
    found = ahead_of("XSHG", HOUR, "m")
    stamps = found.opens(known, int(known[-1]) + HOUR, 6)
    # The new year's holiday of 2020 was prolonged to the second of February.
    assert told(stamps, SHANGHAI) == [f"02-03 {time}" for time in odd] + ["02-04 09:30"]
    assert found.missing(np.concatenate([known, stamps])) == 0
    five = [f"{hour:02}:{minute:02}" for hour in (9, 10, 11, 13, 14) for minute in range(0, 60, 5)
            if (9, 30) <= (hour, minute) < (11, 30) or hour >= 13]
    known = np.concatenate([session(day, five, SHANGHAI) for day in days[:3]])
    stamps = ahead_of("XSHG", 5 * MINUTE, "m").opens(known, int(known[-1]) + 5 * MINUTE, 30)
    assert told(stamps[[0, 23, 24]], SHANGHAI) == ["01-23 09:30", "01-23 11:25", "01-23 13:00"]


def test_a_window_shorter_than_a_day_is_gone_on_with_in_steps() -> None:
    known = np.array(session("2024-05-07", ["14:30", "15:00"], LONDON))
    stamps = ahead_of("XLON", 30 * MINUTE, "m").opens(known, int(known[-1]) + 30 * MINUTE, 4)
    assert told(stamps, LONDON) == ["05-07 15:30", "05-07 16:00", "05-08 08:00", "05-08 08:30"]
    known = np.array(session("2024-05-07", ["11:00", "12:00"], NEW_YORK))  # an hour in which it opens at 9:30
    stamps = ahead_of("XNYS", HOUR, "m").opens(known, int(known[-1]) + HOUR, 5)
    assert told(stamps, NEW_YORK) == ["05-07 13:00", "05-07 14:00", "05-07 15:00", "05-08 09:00", "05-08 10:00"]


def test_beyond_what_the_exchange_has_announced_every_weekday_counts() -> None:
    known = np.concatenate([session(day, ["00:00"], SHANGHAI) for day in ("2026-12-29", "2026-12-30", "2026-12-31")])
    stamps = ahead_of("XSHG", DAY, "m").opens(known, int(known[-1]) + DAY, 8)
    weekdays = [datetime.fromtimestamp(time / 1e9, SHANGHAI).weekday() for time in stamps.tolist()]
    assert (np.diff(stamps) > 0).all()
    assert max(weekdays) < 5


def test_nothing_but_the_window_and_the_calendar_decides() -> None:
    days = [f"2024-05-{day:02}" for day in (6, 7, 8, 9, 10)]
    known = np.concatenate([session(day, HOURS, NEW_YORK) for day in days])
    found = ahead_of("XNYS", HOUR, "m")
    for end in range(18, len(known) - 1):
        first = found.opens(known[:end], int(known[end - 1]) + HOUR, 1)
        assert first[0] == known[end]  # what it says is next is what came


@pytest.mark.parametrize(("code", "message"), [
    ("XNSY", "future_stamps 'XNSY'; expected 24/7, weekdays, or the code of an exchange, .*; did you mean 'XNYS'"),
    ("CMES", "expected 24/7, weekdays, or the code"),
])  # fmt: skip
def test_what_is_no_exchange_is_refused(code: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        ahead_of(code, HOUR, "m")


def test_bars_of_a_time_that_no_calendar_knows_are_refused() -> None:
    known = np.array([at("1980-05-07T00:00", SHANGHAI)])
    with pytest.raises(PluginError, match=r"calendar of XSHG is known from 1990-12-03 on; there are bars of 1980"):
        ahead_of("XSHG", DAY, "m").opens(known, int(known[-1]) + DAY, 1)


def test_an_exchange_has_a_clock() -> None:
    assert [clock_of(code) for code in ("XNYS", "XSHG")] == ["America/New_York", "Asia/Shanghai"]
