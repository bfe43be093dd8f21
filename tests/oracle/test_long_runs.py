"""Whole strategies over thousands of bars: the same trades as the peers make, and the same money at every bar.

A part of what tests/oracle/long_sweep.py compares; docs/differential.md has the rest, and explains what differs.
"""

import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from engine.bars import Bars
from engine.loop import whole
from feeds.files import read_bars
from feeds.synthetic import SyntheticFeed, SyntheticMarket
from tests.oracle.long_engines import DIFFERENCES, Comparison, compare, first_difference, run_ours
from tests.oracle.long_peers import PEERS, NotExpressible, joined
from tests.oracle.long_plans import MARKET_ONLY, PLANS, Series, series_of
from tests.oracle.long_sweep import MARKET, SERIES

FIVE_BASIS_POINTS = Decimal("0.0005")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "differential.md"
FILES = {"crypto": "binance_spot_5m/BTCUSDT_5m", "equity": "us_equity_1d_panel/AAPL_1d"}
ROWS = 2500
FEWEST_FILLS = 5


@pytest.fixture(scope="module", params=["made_up", *FILES])
def series(request) -> Series:
    if request.param == "made_up":
        return series_of(whole(SyntheticFeed(SyntheticMarket(("SYN/USD",), rows=ROWS, seed=3, first_price=250.0))))
    path = MARKET / f"{FILES[request.param]}.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there: market data are kept beside the repository")
    return series_of(read_bars(path)[-ROWS:])


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("plan", PLANS)
def test_a_strategy_makes_the_peer_s_trades_and_its_money(series, plan, peer):
    try:
        result = compare(series, plan, FIVE_BASIS_POINTS, peer)
    except NotExpressible:
        assert peer == "vectorbt_next_open"
        return

    assert len(result.ours) >= FEWEST_FILLS
    assert result.is_equal, str(result)


def test_a_dash_stands_only_where_vectorbt_would_have_to_wait():
    bars = whole(SyntheticFeed(SyntheticMarket(("SYN/USD",), rows=200, seed=3, first_price=250.0)))
    expressible = set()
    for plan in PLANS:
        try:
            PEERS["vectorbt_next_open"](series_of(bars), plan, Decimal(0))
            expressible.add(plan)
        except NotExpressible:
            continue

    assert expressible == {*MARKET_ONLY, "rsi_brackets_half_steps", "trailing_stops"}


# ── the comparison itself: it must see what differs ─────────────────────────────────────────────────────────────────


def spiked(bars: Bars, row: int) -> Bars:
    """Return the bars with one open moved by an increment."""
    opens = bars.open.copy()
    opens[row] += 0.01
    return Bars(bars.streams, bars.open_time, bars.close_time, opens, np.maximum(bars.high, opens),
                np.minimum(bars.low, opens), bars.close, bars.volume)


def test_one_fill_at_an_increment_s_distance_is_a_difference():
    bars = whole(SyntheticFeed(SyntheticMarket(("SYN/USD",), rows=400, seed=3, first_price=250.0)))
    fills = run_ours(series_of(bars), "cross_long", Decimal(0), "default").fills
    moved = run_ours(series_of(spiked(bars, fills[3][0])), "cross_long", Decimal(0), "default").fills

    assert first_difference(fills, moved, 0.01) == 3
    assert first_difference(fills, fills[:-1], 0.01) == len(fills) - 1
    assert not Comparison(fills, fills, None, 2e-9).is_equal
    assert "fill 3 differs" in str(Comparison(fills, moved, 3, 0.0))


def test_only_legs_of_one_bar_side_and_price_are_put_together():
    legs = [(1, 1, 10.0, 2), (1, 1, 10.0, 3), (1, 1, 10.5, 1), (1, -1, 10.5, 1), (2, -1, 10.5, 1)]

    assert joined(legs) == [(1, 1, 10.0, 5), *legs[2:]]


def test_a_file_s_last_bits_are_rounded_off_before_any_engine_sees_them():
    bars = whole(SyntheticFeed(SyntheticMarket(("SYN/USD",), rows=200, seed=3, first_price=250.0)))
    noisy = Bars(bars.streams, bars.open_time, bars.close_time, bars.open, np.nextafter(bars.high, 0), bars.low,
                 bars.close, bars.volume)

    assert (series_of(noisy).bars.high == bars.high).all()
    assert series_of(noisy).increment == series_of(bars).increment == 0.01


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_tells_of_every_difference_and_of_nothing_else():
    told = set(re.findall(r"^\| `(\w+)`: ", PAGE.read_text("utf-8"), re.MULTILINE))

    assert told == set(DIFFERENCES)


def test_the_tables_hold_every_series_and_strategy_and_no_difference():
    text = PAGE.read_text("utf-8")
    everything = text.split("<!-- everything -->")[1]

    rows = re.findall(r"^\| ([^|]+) \| (\w+) \|", everything, re.MULTILINE)
    assert {row for row in rows if row[0] != "series"} == {
        (name.split("/")[1].replace("_", " "), plan) for name in SERIES for plan in PLANS}
    assert "differ**" not in text
