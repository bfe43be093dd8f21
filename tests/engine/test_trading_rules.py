"""Shares bought today are sold tomorrow at the earliest, and nobody sells at the upper limit or buys at the lower."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Instrument, OrderCancelled, SettingsError, TimeInForce
from engine.bars import DAY, HOUR, MINUTE, Bar, nanoseconds, utc
from engine.costs import EquityFees, FixedSlippage
from engine.events import OrderHeld
from engine.orders import Side
from engine.testing import NEW_YEAR_2024, make_bars
from engine.trading_rules import TradingDays, TradingRules, price_limits
from feeds.files import read_bars
from feeds.layout import FileLayout
from tests.engine.cases import Outcome, scripted
from tests.engine.cases import run as run_case

D = Decimal
SHARE = Instrument("TEST", "CNY", price_increment=D("0.01"), quantity_increment=D(100))
T1 = TradingRules(settlement_days=1)
MARKET = Path(__file__).parents[3] / "shared" / "market"


def hourly(rows: list[Any], *, days: int = 1) -> Any:
    """Return four bars a day, from 01:30 UTC on."""
    bars = make_bars(rows, timeframe="1h")
    place = np.arange(len(rows))
    opens = NEW_YEAR_2024 + place // 4 * DAY * days + place % 4 * HOUR + 90 * MINUTE
    return replace(bars, open_time=opens, close_time=opens + HOUR)


def ran(rows: Any, steps: dict[int, Callable[[Any], Any]], rules: TradingRules, **terms: Any) -> Outcome:
    return run_case(rows, {}, strategy=scripted(steps), instruments=[SHARE], rules={"TEST": rules}, currency="CNY",
                    cash=D(100_000), allow_short=False, **terms)


def fills(outcome: Outcome) -> list[tuple[Any, ...]]:
    return [(fill.side, utc(fill.time).isoformat()[5:16], fill.quantity, fill.price) for fill in outcome.result.fills]


def held(outcome: Outcome) -> list[tuple[int, str]]:
    return outcome.told(OrderHeld)


# ── settlement ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_bought_today_waits_until_the_next_trading_day():
    outcome = ran(hourly([10] * 12), {0: lambda s: s.buy("TEST", 200), 1: lambda s: s.sell("TEST", 200)}, T1)
    assert fills(outcome) == [("buy", "01-01T02:30", 200, 10), ("sell", "01-02T01:30", 200, 10)]
    assert held(outcome) == [(2, "0 of 200 may be sold: the rest has not settled yet")]


def test_the_next_trading_day_may_be_after_a_holiday():
    outcome = ran(hourly([10] * 12, days=5), {0: lambda s: s.buy("TEST", 200), 1: lambda s: s.sell("TEST", 200)}, T1)
    assert fills(outcome)[1][1] == "01-06T01:30"


def test_what_has_settled_may_be_sold_beside_what_has_not():
    steps = {0: lambda s: s.buy("TEST", 300), 4: lambda s: s.buy("TEST", 200), 5: lambda s: s.sell("TEST", 500)}
    outcome = ran(hourly([10] * 12), steps, T1)
    assert fills(outcome)[2:] == [("sell", "01-02T03:30", 300, 10), ("sell", "01-03T01:30", 200, 10)]
    assert held(outcome) == [
        (3, "300 of 500 may be sold: the rest has not settled yet"),
        (3, "0 of 200 may be sold: the rest has not settled yet")]


def test_a_protecting_stop_waits_too():
    rows = [10, 10, [10, 10, 8, 8], 8, 8, 8, 8, 8]
    outcome = ran(hourly(rows), {0: lambda s: s.buy("TEST", 100, stop_loss=9)}, T1)
    assert fills(outcome) == [("buy", "01-01T02:30", 100, 10), ("sell", "01-02T01:30", 100, 8)]


def test_an_order_for_now_or_never_does_not_wait():
    steps = {0: lambda s: s.buy("TEST", 200),
             1: lambda s: (s.sell("TEST", 100, time_in_force=TimeInForce.IOC),
                           s.sell("TEST", 100, time_in_force=TimeInForce.FOK))}
    outcome = ran(hourly([10] * 12), steps, T1)
    assert len(fills(outcome)) == 1
    assert [number for number, _ in outcome.told(OrderCancelled)] == [2, 3]


def test_several_days_may_pass_before_a_purchase_settles():
    rules = TradingRules(settlement_days=2)
    outcome = ran(hourly([10] * 16), {0: lambda s: s.buy("TEST", 200), 1: lambda s: s.sell("TEST", 200)}, rules)
    assert fills(outcome)[1][1] == "01-03T01:30"


def test_a_trading_day_ends_at_midnight_where_the_exchange_is():
    bars = make_bars([10] * 30, timeframe="1h")  # midnight in Shanghai is 16:00 UTC
    rules = TradingRules(settlement_days=1, timezone="Asia/Shanghai")
    outcome = ran(bars, {0: lambda s: s.buy("TEST", 200), 1: lambda s: s.sell("TEST", 200)}, rules)
    assert fills(outcome)[1][1] == "01-01T16:00"


# ── price limits ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("close", "share", "limits"),
    [
        (1000, "0.1", (900, 1100)),
        (1127, "0.1", (1014, 1240)),    # 10.143 and 12.397
        (1005, "0.1", (905, 1106)),     # 9.045 and 11.055: a half goes up
        (1127, "0.2", (902, 1352)),
        (1127, "0.05", (1071, 1183)),
        (3, "0.1", (2, 4)),             # at least one increment
    ],
)
def test_limits_are_rounded_half_up(close, share, limits):
    assert price_limits(close, D(share)) == limits


TEN = TradingRules(price_limit=D("0.1"))
UP = [10, 10, [11, 11, 11, 11], [11, 11, 10.8, 10.9], 11]


def test_nobody_sells_at_the_upper_limit():
    outcome = ran(UP, {1: lambda s: s.buy("TEST", 100)}, TEN)
    # the day opens at 11.00 and stays there; on the next, the limit is 12.10
    assert fills(outcome) == [("buy", "01-04T00:00", 100, 11)]
    assert held(outcome) == [(1, "11.00 is today's upper price limit, where nobody takes the other side")]


def test_who_holds_may_sell_at_the_upper_limit():
    outcome = ran(UP, {0: lambda s: s.buy("TEST", 100), 1: lambda s: s.sell("TEST", 100)}, TEN)
    assert fills(outcome)[1] == ("sell", "01-03T00:00", 100, 11)


def test_nobody_buys_at_the_lower_limit():
    rows = [10, 10, [9, 9, 9, 9], [8.1, 8.5, 8.1, 8.4], 8.4]
    outcome = ran(rows, {0: lambda s: s.buy("TEST", 100), 1: lambda s: s.sell("TEST", 100)}, TEN)
    assert fills(outcome)[1] == ("sell", "01-05T00:00", 100, 8.4)
    assert [reason[:4] for _, reason in held(outcome)] == ["9.00", "8.10"]


def test_a_stop_that_the_limit_holds_back_goes_when_it_may():
    rows = [10, 10, [10, 10, 9, 9], [8.8, 9, 8.7, 8.9], 8.9]
    outcome = ran(rows, {0: lambda s: s.buy("TEST", 100, stop_loss=9)}, TEN)
    assert fills(outcome)[1] == ("sell", "01-04T00:00", 100, 8.8)


def test_costs_cannot_move_a_price_beyond_the_limit():
    outcome = ran([10, 10, [10.99, 11, 10.9, 11], 11], {1: lambda s: s.buy("TEST", 100)}, TEN,
                  slippage=FixedSlippage(100))
    assert fills(outcome) == [("buy", "01-03T00:00", 100, 11)]


def test_the_first_day_has_no_limit():
    days = TradingDays(SHARE, TEN)
    bar = Bar("TEST", NEW_YEAR_2024, NEW_YEAR_2024 + DAY, 10, 10, 10, 10, 1, "1d")
    days.begin(bar)
    assert days.limits is None
    assert not days.blocks(Side.BUY, 10**9)
    days.end(bar)
    days.begin(bar._replace(open_time=NEW_YEAR_2024 + DAY))
    assert days.limits == (900, 1100)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"settlement_days": 11}, "settlement_days is 11; expected 0 … 10"),
        ({"price_limit": D(10)}, "price_limit is 10; expected a fraction between 0 and 1"),
        ({"timezone": "Shanghai"}, "timezone is 'Shanghai'; expected a name such as UTC or Asia/Shanghai"),
    ],
)
def test_rules_that_cannot_be_are_refused(terms, message):
    with pytest.raises(SettingsError, match=message):
        TradingRules(**terms)


# ── real shares ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not MARKET.exists(), reason="the market data beside the checkout is not here")
def test_no_real_share_is_sold_on_the_day_it_was_bought_nor_traded_beyond_its_limits():
    file = MARKET / "ashare" / "XSHG_600977_5m.parquet"
    bars = read_bars(file, symbol="TEST", timeframe="5m", layout=FileLayout(stamp="close"))
    rules = TradingRules(settlement_days=1, price_limit=D("0.1"), timezone="Asia/Shanghai")
    steps = {n: (lambda s, n=n: s.buy("TEST", 300) if n % 14 == 0 else s.sell("TEST", 300)) for n in range(0, 2400, 7)}
    outcome = ran(bars, steps, rules, fees=EquityFees(rate=D("0.0003"), minimum=D(5), stamp_duty=D("0.0005")))
    assert len(outcome.result.fills) > 100
    bought: dict[int, float] = {}
    position = 0.0
    for fill in outcome.result.fills:
        day = (fill.time + 8 * HOUR) // DAY
        if fill.side == "buy":
            bought[day] = bought.get(day, 0) + fill.quantity
            position += fill.quantity
        else:
            position -= fill.quantity
            assert position >= bought.get(day, 0)
        assert fill.quantity % 100 == 0
    assert any("has not settled" in reason for _, reason in held(outcome))


@pytest.mark.skipif(not MARKET.exists(), reason="the market data beside the checkout is not here")
def test_no_real_price_of_fifty_shares_lies_beyond_the_limits():
    days = 0
    for file in sorted((MARKET / "ashare_sse50_1h_panel").glob("*.parquet")):
        bars = read_bars(file, symbol="TEST", timeframe="1h")
        trading_days = TradingDays(SHARE, replace(TEN, timezone="Asia/Shanghai"))
        for bar in bars.rows():
            trading_days.begin(bar)
            if trading_days.limits is not None:
                low, high = trading_days.limits
                ticks = SHARE.to_ticks(bar.low), SHARE.to_ticks(bar.high)
                assert low <= ticks[0] <= ticks[1] <= high, (file.name, utc(bar.open_time))
                days += 1
            trading_days.end(bar)
    assert days > 12_000


@pytest.mark.skipif(not MARKET.exists(), reason="the market data beside the checkout is not here")
def test_who_wants_to_sell_on_the_day_of_the_fall_waits_until_the_next():
    # 600030 opened at 21.51 after the long holiday of 2020, its lower limit, and traded nowhere else that day
    file = MARKET / "ashare_sse50_1h_panel" / "600030_1h.parquet"
    bars = read_bars(file, symbol="TEST", timeframe="1h")
    place = int(np.searchsorted(bars.open_time, nanoseconds(datetime(2020, 1, 23, 7, tzinfo=UTC))))
    steps = {0: lambda s: s.buy("TEST", 100), place: lambda s: s.sell("TEST", 100)}
    outcome = ran(bars, steps, replace(TEN, settlement_days=1, timezone="Asia/Shanghai"))
    sold = outcome.result.fills[1]
    assert utc(sold.time).date().isoformat() == "2020-02-04"
    assert held(outcome) == [(2, "21.51 is today's lower price limit, where nobody takes the other side")]
