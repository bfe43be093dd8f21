"""A session on the loopback venue, through ccxt's own client: left, gone on with, and run again to equality."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from config.market_clock import MarketClock
from config.paper import check_paper
from config.replaying import replay
from config.session import streams_of, venue_data
from config.settings import Settings, load_settings
from engine.errors import SettingsError, VenueUnavailable
from engine.journal.lineage import load_run, unresolved_fills, why
from engine.journal.sql import SqlJournal
from engine.live.status import read_status, status_path
from feeds.clients import make_client
from tests.config.sessions import journalled, run_until
from tests.engine.live.market import BTC
from tests.venue.client import connect
from tests.venue.demo import settings_of
from tests.venue.server import VenueServer
from tests.venue.sources import synthetic

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "config" / "examples" / "paper").glob("*.toml"))


@pytest.fixture
def venue() -> Iterator[VenueServer]:
    with VenueServer(synthetic([BTC], rows=4000, seed=7), speed=120, starts_now=True).start_in_thread() as server:
        yield server


def bars_in(settings: Settings) -> int:
    """Return how many instants of bars a session has journalled."""
    return len(journalled(settings, "SELECT id FROM session_inputs WHERE kind = 'bars_closed'"))


def test_a_session_on_a_venue_is_left_gone_on_with_and_replays(venue: VenueServer, tmp_path: Path) -> None:
    (tmp_path / "paper.toml").write_text(settings_of(venue.url))
    settings = load_settings(tmp_path / "paper.toml", ["live.late_after='1h'", "live.heartbeat_seconds=0.2"])
    first = run_until(settings, lambda: bars_in(settings) >= 72)
    again = run_until(settings, lambda: bars_in(settings) >= 84 and bool(journalled(settings, "SELECT * FROM fills")))
    assert again == first

    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal, first), replay(journal, first)
        assert unresolved_fills(journal, first) == ()
        assert "fast" in str(why(journal, f"r{first}-1"))
    bars = [row for row in record.session_inputs if row.kind == "bars_closed"]
    times = [row.time for row in bars]
    assert times == sorted(set(times)), "no bar twice, none out of order"
    assert {later - earlier for earlier, later in pairwise(times)} == {60 * 10**9}, "none missed"
    assert came.is_same, str(came.divergence)
    assert record.fills
    assert {row.kind for row in record.order_messages} == {"new"}
    assert venue.unknown_requests == []
    status = read_status(status_path(settings.journal.url, first, tmp_path))
    assert status is not None
    assert (status.state, status.fills) == ("stopped", len(record.fills))


def test_the_market_s_clock_is_that_of_a_venue_on_this_machine(venue: VenueServer) -> None:
    clock = MarketClock(f"{venue.url}/admin/state")
    try:
        assert clock.speed == 120
        assert abs(clock() - venue.clock.due() * 1_000_000) < 60 * 10**9
        assert clock() <= clock()
    finally:
        clock.close()
    with pytest.raises(VenueUnavailable, match="the market's clock at http://127.0.0.1:1/ does not answer"):
        MarketClock("http://127.0.0.1:1/")
    with pytest.raises(SettingsError, match="expected an address of this machine"):
        MarketClock("http://example.com/time")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_sample_settings_of_exchanges_need_no_key(path: Path) -> None:
    settings = load_settings(path)
    check_paper(settings)
    data = venue_data(settings)
    exchange = make_client(data.venue, symbols=data.symbols)
    assert not exchange.apiKey
    assert not exchange.secret
    assert data.timeframe[0] in exchange.timeframes
    assert len(streams_of(data)) == len(data.symbols)
    assert not [word for word in ("key", "secret", "password") if f"{word} =" in path.read_text().lower()]


def test_a_sandbox_session_agrees_with_the_venue_to_the_last_unit(
    venue: VenueServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARCAST_BINANCE_KEY", "key")
    monkeypatch.setenv("BARCAST_BINANCE_SECRET", "s3cret")
    (tmp_path / "paper.toml").write_text(settings_of(venue.url))
    settings = load_settings(
        tmp_path / "paper.toml",
        ["live.late_after='1h'", "live.broker=sandbox", "account.cash=10_000", "live.reconcile_every='1s'"])

    def is_settled() -> bool:
        """Say whether the market stands still, and every bar of it and every fill is in the journal."""
        [[fills]] = journalled(settings, "SELECT count(*) FROM fills")
        if not venue.clock.is_paused:
            if fills > before:
                venue.clock.pause()
                venue.clock.advance_to(venue.clock.now // 60_000 * 60_000 + 90_000)  # well after a bar has closed
            return False
        [[last]] = journalled(settings, "SELECT max(time) FROM session_inputs WHERE kind = 'bars_closed'")
        [[open_orders]] = journalled(
            settings, "SELECT count(*) FROM orders WHERE id NOT IN (SELECT order_id FROM fills)")
        is_last = last == venue.clock.now // 60_000 * 60_000 * 1_000_000
        return is_last and not open_orders and len(venue.truth.fills()) == fills

    run_id = run_until(settings, lambda: len(journalled(settings, "SELECT * FROM fills")) >= 2)
    [[before]] = journalled(settings, "SELECT count(*) FROM fills")
    assert run_until(settings, is_settled) == run_id

    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal, run_id), replay(journal, run_id)
    assert came.is_same, str(came.divergence)
    truth = venue.truth.fills()
    assert record.fills
    assert len(truth) == len(record.fills), [str(one) for one in record.alerts]
    booked = sum(row.quantity * (1 if row.side == "buy" else -1) for row in record.fills)
    assert booked == pytest.approx(record.fills[-1].position_after)
    text = (tmp_path / "journal.db").read_bytes()
    assert b"s3cret" not in text
    assert len({row.client_order_id for row in record.order_messages if row.kind == "new"}) == len(record.orders)


def test_a_session_follows_two_venues_of_one_market(tmp_path: Path) -> None:
    data = synthetic([BTC], rows=4000, seed=7)
    with VenueServer(data, venues=("binance", "okx"), speed=120, starts_now=True).start_in_thread() as server:
        okx = connect("okx", server.url, key="").urls["api"]
        text = settings_of(server.url) + "[[data.further]]\nvenue = 'okx'\nsymbols = ['BTC/USDT']\nprefix = 'okx:'\n"
        text = text.replace('"SmaCross"', '"BuyAndHold"').replace("{ fast = 3, slow = 8 }", "{ exposure = 0.9 }")
        (tmp_path / "paper.toml").write_text(text)  # less than all there is: a price that has risen is no refusal
        settings = load_settings(tmp_path / "paper.toml", ["live.late_after='2h'"])
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={
            "further": (settings.data.further[0].model_copy(update={"api_urls": okx}),)})})
        run_id = run_until(
            settings, lambda: len(journalled(settings, "SELECT DISTINCT symbol FROM fills")) == 2)
    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal, run_id), replay(journal, run_id)
    assert came.is_same, str(came.divergence)
    assert {row.symbol for row in record.fills} == {BTC, "okx:BTC/USDT"}
