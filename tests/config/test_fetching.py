"""`fetch` as a user types it, against the loopback venue."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import main
from feeds.catalog import Catalog
from tests.venue.server import VenueServer
from tests.venue.sources import synthetic

SETTINGS = """
[data]
source = "venue"
venue = "binance"
symbols = ["BTC/USDT", "ETH/USDT"]
timeframe = "1m"
api_urls = {{ public = "{url}/binance/api/v3", ws = {{ spot = "{ws}/binance/stream/ws" }} }}

[strategy]
name = "SmaCross"
"""


def barcast(*arguments: object):
    return CliRunner().invoke(main.app, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture
def venue():
    with VenueServer(synthetic(["BTC/USDT", "ETH/USDT"], rows=1_500, seed=5), paused=True, history=1_400,
                     ).start_in_thread() as made:
        yield made


@pytest.fixture
def config(venue, tmp_path) -> Path:
    path = tmp_path / "session.toml"
    path.write_text(SETTINGS.format(url=venue.url, ws=venue.url.replace("http", "ws")))
    return path


def test_what_a_session_will_follow_is_fetched_whatever_the_venue_does_and_gone_on_with(venue, config, tmp_path):
    venue.faults.schedule(
        {"html": 0.1, "empty": 0.05, "truncated": 0.1, "overloaded": 0.05, "lost_reply": 0.05}, on="fetch_ohlcv")
    venue.clock.advance(30_000)
    catalog = tmp_path / "catalog"
    done = barcast("fetch", "--config", config, "--since", "2024-01-01", "--catalog", catalog)
    assert done.exit_code == 0, done.output
    expected = "BTC/USDT 1m: 1,400 bars added; now 1,400 bars, 2024-01-01T00:00Z to 2024-01-01T23:20Z, no gaps"
    assert expected in done.output
    bars = Catalog(catalog).read("ETH/USDT", "1m")
    instrument = venue.exchange.markets["ETH/USDT"].instrument
    truth = venue.truth.candles("ETH/USDT")
    assert (bars.open_time // 1_000_000).tolist() == [one.open_time for one in truth]
    assert bars.close.tolist() == [float(instrument.price(one.close)) for one in truth]
    assert bars.volume.tolist() == [float(instrument.quantity(one.volume)) for one in truth]
    assert venue.faults.log
    venue.faults.clear()
    venue.clock.advance(10 * 60_000)
    again = barcast("fetch", "--config", config, "--since", "2024-01-01", "--catalog", catalog, "--json")
    assert [one["added"] for one in json.loads(again.stdout)] == [10, 10]
    assert venue.unknown_requests == []


@pytest.mark.parametrize(("options", "message"), [
    (("--since", "2024-01-01"), "--venue and --symbols and --timeframe missing; expected for example --venue binance"),
    (("--venue", "binanse", "--symbols", "BTC/USDT", "--timeframe", "1h", "--since", "2024-01-01"),
     "did you mean 'binance'?"),
    (("--venue", "binance", "--symbols", "BTC/USDT", "--timeframe", "1x", "--since", "2024-01-01"),
     "timeframe '1x' is not understood"),
    (("--venue", "binance", "--symbols", "BTC/USDT", "--timeframe", "1h"), "--since is missing; expected a time"),
    (("--venue", "binance", "--symbols", "BTC/USDT", "--timeframe", "1h", "--since", "soon"),
     "--since is 'soon'; expected a time such as 2024-01-31"),
    (("--config", "config/examples/demo.toml", "--since", "2024-01-01"), 'expected "venue", the settings of a live'),
])
def test_what_is_missing_or_wrong_is_said(options, message):
    done = barcast("fetch", *options)
    assert done.exit_code == 2
    assert message in done.output


def test_a_symbol_that_the_venue_lacks_is_refused_with_the_nearest(config, tmp_path):
    done = barcast(
        "fetch", "--config", config, "--symbols", "BTC/USDD", "--since", "2024-01-01", "--catalog", tmp_path / "c")
    assert done.exit_code == 2
    assert "binance: BTC/USDD is not traded there; did you mean 'BTC/USDT'?" in done.output
