import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import ccxt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError, VenueError, VenueUnavailable
from feeds.asking import Asker
from feeds.catalog import Catalog
from feeds.exchange_history import Fetched, fetch_history
from tests.feeds.fake_exchange import MINUTE, NOON, FakeExchange, ns, row

ROOT = Path(__file__).resolve().parents[2]


def fetch(exchange: FakeExchange, catalog: Catalog, *, since: int, until: int | None = None, **options) -> Fetched:
    async def run() -> list[Fetched]:
        asker = Asker(exchange, first_wait=0.001, longest_wait=0.002, seed=1)
        return await fetch_history(
            exchange, catalog, options.pop("symbols", ["BTC/USDT"]), options.pop("timeframe", "1m"), since=ns(since),
            until=None if until is None else ns(until), asker=asker, **options)

    return asyncio.run(run())[0]


def stored(catalog: Catalog) -> list[list[float]]:
    bars = catalog.read("BTC/USDT", "1m")
    columns = (bars.open_time // 1_000_000, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return [list(one) for one in zip(*(column.tolist() for column in columns), strict=True)]


def expected(first: int, last: int) -> list[list[float]]:
    return [row(time) for time in range(first, last, MINUTE)]


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog(tmp_path / "catalog")


def test_every_closed_candle_since_a_time_is_stored_and_the_forming_one_is_not(catalog):
    exchange = FakeExchange(now=NOON + 30_000)
    done = fetch(exchange, catalog, since=NOON - 1_000 * MINUTE)
    assert done.added == 1_000
    assert stored(catalog) == expected(NOON - 1_000 * MINUTE, NOON)


def test_a_candle_is_not_stored_within_its_grace(catalog):
    exchange = FakeExchange(now=NOON + 1_000)
    fetch(exchange, catalog, since=NOON - 5 * MINUTE)
    assert stored(catalog)[-1][0] == NOON - 2 * MINUTE


def test_the_newest_candle_of_the_venue_is_not_stored_although_our_clock_says_it_closed(catalog):
    exchange = FakeExchange(now=NOON + 30_000)
    exchange.fetch_time = lambda: asyncio.sleep(0, NOON + 60 * 60 * MINUTE)
    fetch(exchange, catalog, since=NOON - 5 * MINUTE, until=NOON + 30 * MINUTE)
    assert stored(catalog)[-1][0] == NOON - MINUTE


def test_a_second_fetch_asks_only_for_what_is_new(catalog):
    exchange = FakeExchange(now=NOON + 30_000)
    fetch(exchange, catalog, since=NOON - 1_000 * MINUTE)
    exchange.now += 250 * MINUTE
    exchange.calls.clear()
    done = fetch(exchange, catalog, since=NOON - 1_000 * MINUTE)
    assert done.added == 250
    assert len(exchange.calls["fetch_ohlcv"]) == 4
    assert stored(catalog) == expected(NOON - 1_000 * MINUTE, NOON + 250 * MINUTE)


def test_an_earlier_since_extends_what_is_there_backwards(catalog):
    exchange = FakeExchange(now=NOON + 30_000)
    fetch(exchange, catalog, since=NOON - 100 * MINUTE)
    assert fetch(exchange, catalog, since=NOON - 300 * MINUTE).added == 200
    assert stored(catalog) == expected(NOON - 300 * MINUTE, NOON)


def test_until_leaves_out_what_closes_later(catalog):
    fetch(FakeExchange(), catalog, since=NOON - 100 * MINUTE, until=NOON - 50 * MINUTE)
    assert stored(catalog) == expected(NOON - 100 * MINUTE, NOON - 50 * MINUTE)


@pytest.mark.parametrize("tells_listing", [True, False])
def test_before_the_listing_nothing_is_asked_for_in_vain_for_long(catalog, tells_listing):
    exchange = FakeExchange(now=NOON + 30_000, begins=NOON - 250 * MINUTE, tells_listing=tells_listing)
    done = fetch(exchange, catalog, since=NOON - 500_000 * MINUTE)
    assert stored(catalog) == expected(NOON - 250 * MINUTE, NOON)
    assert len(exchange.calls["fetch_ohlcv"]) < 15
    assert tells_listing or done.begins_at is not None
    assert not done.gaps


def test_a_venue_that_only_has_its_latest_candles_says_where_they_begin(catalog):
    exchange = FakeExchange(now=NOON + 30_000, ignores_since=True)
    done = fetch(exchange, catalog, since=NOON - 5_000 * MINUTE)
    assert stored(catalog) == expected(NOON - 99 * MINUTE, NOON)
    assert "the venue has none before 2024-03-01T10:2" in str(done)


def test_a_hole_is_repaired_from_trades(catalog):
    holes = frozenset(NOON - back * MINUTE for back in (50, 51, 52))
    done = fetch(FakeExchange(now=NOON + 30_000, holes=holes), catalog, since=NOON - 200 * MINUTE)
    assert (done.repaired, done.missing) == (3, 0)
    assert stored(catalog) == expected(NOON - 200 * MINUTE, NOON)


def test_a_hole_that_cannot_be_repaired_is_reported_and_asked_about_again(catalog):
    holes = frozenset(NOON - back * MINUTE for back in (50, 51))
    exchange = FakeExchange(now=NOON + 30_000, holes=holes, lost=holes)
    done = fetch(exchange, catalog, since=NOON - 200 * MINUTE)
    assert "2 missing, first BTC/USDT 1m: 2 bars missing between 2024-03-01T11:09Z and 11:11Z" in str(done)
    exchange.holes = frozenset()
    assert fetch(exchange, catalog, since=NOON - 200 * MINUTE).added == 2


def test_holes_larger_than_a_page_do_not_end_the_search(catalog):
    holes = frozenset(NOON - back * MINUTE for back in range(300, 1_000))
    exchange = FakeExchange(now=NOON + 30_000, holes=holes, lost=holes)
    done = fetch(exchange, catalog, since=NOON - 2_000 * MINUTE)
    assert done.added == 1_300
    assert (done.missing, done.begins_at) == (700, None)


HTML = "<html>We will be back soon</html>"
ILL_ANSWERS = {
    "an empty answer where there were candles": None,
    "a page of HTML": HTML,
    "rows of nothing": [[None] * 6],
    "half a row": [[NOON, 1.0, 2.0]],
    "a bool for a price": [[NOON, True, 2.0, 1.0, 1.0, 1.0]],
    "a high below the close": [[NOON, 1.0, 0.5, 1.0, 1.0, 1.0]],
    "an infinite price": [[NOON, 1.0, float("inf"), 1.0, 1.0, 1.0]],
    "an error of the parser": TypeError("'NoneType' object is not subscriptable"),
    "too many requests": ccxt.DDoSProtection("binance 429 Too Many Requests"),
    "a time-out": ccxt.RequestTimeout("binance GET"),
    "maintenance": ccxt.OnMaintenance("binance system upgrading"),
    "overloaded, which ccxt files under final errors": ccxt.ExchangeError('binance {"code":-1008,"msg":"overloaded"}'),
}


@pytest.mark.parametrize("fault", [pytest.param(fault, id=name) for name, fault in ILL_ANSWERS.items() if fault])
def test_an_ill_answer_is_asked_again_and_never_stored(catalog, fault):
    exchange = FakeExchange(now=NOON + 30_000)
    exchange.faults["fetch_ohlcv"] = [fault, None, fault, fault]
    fetch(exchange, catalog, since=NOON - 300 * MINUTE)
    assert stored(catalog) == expected(NOON - 300 * MINUTE, NOON)


def test_an_empty_answer_in_the_middle_is_a_hole_that_is_asked_about_again(catalog):
    exchange = FakeExchange(now=NOON + 30_000)
    exchange.faults["fetch_ohlcv"] = [None, None, []]
    done = fetch(exchange, catalog, since=NOON - 300 * MINUTE)
    assert stored(catalog) == expected(NOON - 300 * MINUTE, NOON)
    assert not done.gaps


@pytest.mark.parametrize("fault", [
    ccxt.AuthenticationError("binance bad key"), ccxt.PermissionDenied("binance no"), ccxt.BadRequest("binance what?"),
])
def test_what_is_refused_is_not_asked_again(catalog, fault):
    exchange = FakeExchange()
    exchange.faults["fetch_ohlcv"] = [fault]
    with pytest.raises(VenueError) as raised:
        fetch(exchange, catalog, since=NOON - 300 * MINUTE)
    assert not isinstance(raised.value, VenueUnavailable)
    assert len(exchange.calls["fetch_ohlcv"]) == 1


def test_a_venue_that_never_answers_is_named_with_what_to_do(catalog):
    exchange = FakeExchange()
    exchange.faults["load_markets"] = [ccxt.ExchangeNotAvailable("binance GET https://x 502 Bad Gateway")] * 6
    with pytest.raises(
        VenueUnavailable,
        match="binance: its markets: no usable answer, asked 6 times: ExchangeNotAvailable .*; look at the connection",
    ):
        fetch(exchange, catalog, since=NOON - 300 * MINUTE)


def test_what_was_fetched_before_a_failure_stays_and_is_gone_on_from(catalog):
    exchange = FakeExchange(now=NOON + 30_000)
    exchange.faults["fetch_ohlcv"] = [None] * 4 + [ccxt.RequestTimeout("binance GET")] * 6
    with pytest.raises(VenueUnavailable):
        fetch(exchange, catalog, since=NOON - 1_000 * MINUTE)
    there = len(stored(catalog))
    assert 0 < there < 1_000
    exchange.calls.clear()
    assert fetch(exchange, catalog, since=NOON - 1_000 * MINUTE).added == 1_000 - there
    assert stored(catalog) == expected(NOON - 1_000 * MINUTE, NOON)


def test_a_kill_loses_at_most_what_was_not_written_and_the_next_fetch_completes_it(tmp_path):
    program = textwrap.dedent(f"""
        import asyncio, os, signal
        from feeds.catalog import Catalog
        from feeds.exchange_history import fetch_history
        from tests.feeds.fake_exchange import FakeExchange, MINUTE, NOON, ns

        exchange = FakeExchange(now=NOON + 30_000)
        def die(name):
            if len(exchange.calls["fetch_ohlcv"]) == 9:
                os.kill(os.getpid(), signal.SIGKILL)
        exchange.on_call = die
        asyncio.run(fetch_history(
            exchange, Catalog({str(tmp_path / "catalog")!r}), ["BTC/USDT"], "1m", since=ns(NOON - 2_000 * MINUTE),
            write_rows=250))
    """)
    killed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
        check=False)
    assert killed.returncode == -signal.SIGKILL
    catalog = Catalog(tmp_path / "catalog")
    there = stored(catalog)
    assert there == expected(NOON - len(there) * MINUTE, NOON)
    assert len(there) == 600
    assert fetch(FakeExchange(now=NOON + 30_000), catalog, since=NOON - 2_000 * MINUTE).added == 1_400
    assert stored(catalog) == expected(NOON - 2_000 * MINUTE, NOON)
    catalog.verify("BTC/USDT", "1m")


def test_several_symbols_are_fetched_and_progress_adds_up(catalog):
    exchange = FakeExchange(now=NOON + 30_000, symbols=("BTC/USDT", "ETH/USDT"))
    told = []
    fetch(exchange, catalog, since=NOON - 300 * MINUTE, symbols=["BTC/USDT", "ETH/USDT"],
          progress=lambda done, total: told.append((done, total)))
    assert [entry.rows for entry in catalog.entries()] == [300, 300]
    assert told[-1] == (600, 600)
    assert all(before <= after for (before, _), (after, _) in pairwise(told))


@pytest.mark.parametrize(("options", "message"), [
    ({"symbols": ["BTC/USDD"]}, "BTC/USDD is not traded there; did you mean 'BTC/USDT'?; expected one of its 1"),
    ({"symbols": ["btc/usdt"]}, "did you mean 'BTC/USDT'?"),
    ({"timeframe": "10m"}, "binance: has no candles of 10m; .*expected one of 1m, 1h, 1d; fetch a shorter one"),
    ({"since": NOON + MINUTE}, "since is 2024-03-01T12:01Z, which is not before 2024-03-01T12:00Z"),
])
def test_what_the_venue_has_not_is_refused_with_what_is_near(catalog, options, message):
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        fetch(FakeExchange(), catalog, **{"since": NOON - 300 * MINUTE, **options})


def test_bars_from_elsewhere_are_not_added_to_unless_asked(catalog, make_bars):
    catalog.write(make_bars("BTC/USDT", "1m", 10, start="2024-03-01T00:00"), origin="history/BTCUSDT-1m.zip")
    with pytest.raises(DataError, match="its BTC/USDT 1m comes from history/BTCUSDT-1m.zip; expected bars of binance"):
        fetch(FakeExchange(), catalog, since=NOON - 300 * MINUTE)
    assert fetch(FakeExchange(), catalog, since=NOON - 300 * MINUTE, mixes_origins=True).added > 0


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 400)), min_size=1, max_size=5), st.integers(7, 150))
def test_whatever_was_fetched_before_the_catalog_ends_up_with_every_bar_once(tmp_path_factory, spans, page):
    catalog = Catalog(tmp_path_factory.mktemp("any"))
    exchange = FakeExchange(now=NOON + 30_000, page=page)
    for back, length in spans:
        first = NOON - (back + length) * MINUTE
        fetch(exchange, catalog, since=first, until=first + length * MINUTE)
    fetch(exchange, catalog, since=NOON - 1_300 * MINUTE)
    bars = catalog.read("BTC/USDT", "1m")
    assert np.array_equal(bars.open_time // 1_000_000, np.arange(NOON - 1_300 * MINUTE, NOON, MINUTE))


@pytest.mark.parametrize(("body", "is_good"), [
    ("[]", True), ('{"a": 1}', True), ("", False), ("<html>soon</html>", False),
    ('[[1, "2"], [3', False), ("[[1]", False),
])
def test_an_answer_that_is_no_json_is_an_error_that_may_pass(body, is_good):
    class Venue(ccxt.Exchange):
        """Only its hook is of interest."""

    async def run():
        exchange = Venue()
        Asker(exchange)
        return exchange.on_rest_response(200, "OK", "http://x", "GET", {}, body, {}, None)

    if is_good:
        assert asyncio.run(run()) == body.strip()
    else:
        with pytest.raises(ccxt.BadResponse, match="answered with .* which is not JSON"):
            asyncio.run(run())
