"""The made-up market: reproducible, on the grid, and shaped like a market."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from engine.bars import DAY, HOUR, Bars, Stream, Timeframe
from engine.errors import SettingsError
from feeds import synthetic
from feeds.chunks import join
from feeds.memory import MemoryFeed
from feeds.synthetic import SyntheticFeed, SyntheticMarket

ROOT = Path(__file__).parents[2]


def bars_of(market: SyntheticMarket) -> Bars:
    return join(list(SyntheticFeed(market).chunks()))


def test_its_bars_are_bars_that_any_feed_takes() -> None:
    bars = bars_of(SyntheticMarket(symbols=("A", "B"), rows=20_000))
    assert MemoryFeed(bars).gaps == ()


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    market = "SyntheticMarket(rows=3000, seed=7, symbols=('A', 'B'))"
    program = f"from feeds.synthetic import *; print(SyntheticFeed({market}).fingerprint)"
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert answers == {SyntheticFeed(SyntheticMarket(rows=3000, seed=7, symbols=("A", "B"))).fingerprint}


def test_another_seed_gives_another_market() -> None:
    assert (
        SyntheticFeed(SyntheticMarket(rows=100)).fingerprint
        != SyntheticFeed(SyntheticMarket(rows=100, seed=1)).fingerprint
    )


def test_a_symbol_does_not_depend_on_those_beside_it() -> None:
    alone = bars_of(SyntheticMarket(symbols=("B",), rows=500))
    among = bars_of(SyntheticMarket(symbols=("A", "B", "C"), rows=500)).of(Stream("B", "1m"))
    for column in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(alone, column), getattr(among, column)), column


def test_a_longer_run_begins_as_the_shorter_one_did() -> None:
    short, long = bars_of(SyntheticMarket(rows=1000)), bars_of(SyntheticMarket(rows=40_000))
    for column in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(short, column), getattr(long, column)[:1000]), column


def test_what_is_kept_and_what_is_made_anew_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    market = SyntheticMarket(symbols=("A", "B"), rows=20_000)
    kept = SyntheticFeed(market)
    fingerprint, column = kept.fingerprint, kept.column(Stream("B", "1m"), "close")
    monkeypatch.setattr(synthetic, "_KEPT_ROWS", 0)
    anew = SyntheticFeed(market, chunk_rows=777)
    assert anew.fingerprint == fingerprint
    assert np.array_equal(anew.column(Stream("B", "1m"), "close"), column)


@pytest.mark.parametrize("increment", ["0.01", "0.5", "0.00001", "1"])
def test_prices_are_the_floats_nearest_to_multiples_of_the_increment(increment: str) -> None:
    bars = bars_of(SyntheticMarket(rows=500, price_increment=Decimal(increment)))
    step = Decimal(increment)
    for price in (
        *bars.open[:100].tolist(),
        *bars.high[:100].tolist(),
        *bars.low[:100].tolist(),
        *bars.close[:100].tolist(),
    ):
        assert price == float(round(Decimal(price) / step) * step)


def test_the_volatility_asked_for_is_about_what_comes() -> None:
    close = bars_of(SyntheticMarket(rows=400_000, timeframe="5m", volatility=0.6)).close
    yearly = np.diff(np.log(close)).std() * np.sqrt(365 * DAY / Timeframe.parse("5m").duration)
    assert 0.45 < yearly < 0.85


def test_volatility_clusters_and_tails_are_fat() -> None:
    returns = np.diff(np.log(bars_of(SyntheticMarket(rows=200_000)).close))
    size = np.minimum(np.abs(returns), 8 * np.median(np.abs(returns)))
    assert np.corrcoef(size[:-60], size[60:])[0, 1] > 0.1
    assert abs(np.corrcoef(returns[:-1], returns[1:])[0, 1]) < 0.02
    assert ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2 > 5


def test_the_afternoon_is_livelier_than_the_night() -> None:
    bars = bars_of(SyntheticMarket(rows=200_000))
    hour = bars.open_time % DAY // HOUR
    spread = np.log(bars.high / bars.low)
    assert spread[hour == 14].mean() > 1.4 * spread[hour == 2].mean()
    assert np.median(bars.volume[hour == 14]) > 1.3 * np.median(bars.volume[hour == 2])


def test_symbols_move_together_as_asked() -> None:
    bars = bars_of(SyntheticMarket(symbols=("A", "B"), rows=50_000, correlation=0.7, jumps_per_day=0))
    a, b = (np.diff(np.log(bars.of(stream).close)) for stream in bars.streams)
    assert 0.5 < np.corrcoef(a, b)[0, 1] < 0.85
    apart = bars_of(SyntheticMarket(symbols=("A", "B"), rows=50_000, correlation=0))
    a, b = (np.diff(np.log(apart.of(stream).close)) for stream in apart.streams)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


@pytest.mark.parametrize("timeframe", ["1s", "1h", "1d", "1w"])
def test_any_timeframe_can_be_made(timeframe: str) -> None:
    feed = SyntheticFeed(SyntheticMarket(timeframe=timeframe, rows=600))
    assert MemoryFeed(join(list(feed.chunks()))).row_count == 600


def test_the_first_bar_opens_at_the_start_near_the_first_price() -> None:
    market = SyntheticMarket(rows=10, start=datetime(2020, 5, 4, 12, tzinfo=UTC), first_price=250.0)
    bars = bars_of(market)
    assert bars.open_time[0] == 1_588_593_600_000_000_000
    assert bars.open[0] == pytest.approx(250, abs=0.02)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("symbols", (), "one or more different names"),
        ("symbols", ("A", "A"), "one or more different names"),
        ("rows", 0, "1 or more"),
        ("seed", -1, "0 or more"),
        ("volatility", 0.0, "a yearly fraction above 0"),
        ("correlation", 1.0, "0 or more and below 1"),
        ("first_price", 0.0, "a price above 0"),
        ("price_increment", Decimal(0), "a number above 0"),
        ("daily_volume", -1.0, "a turnover above 0"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object, expected: str) -> None:
    with pytest.raises(SettingsError, match=f"synthetic market: {name} is .*; expected {expected}"):
        replace(SyntheticMarket(), **{name: value})  # type: ignore[arg-type]
