"""The back door and the command line."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.venue.server import VenueServer
from tests.venue.sources import steady

ROOT = Path(__file__).resolve().parents[2]


def ask(url, content=None, method=None):
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def test_clock_faults_and_truth_are_reached_over_http():
    with VenueServer(steady(), paused=True).start_in_thread() as venue:
        admin = f"{venue.url}/admin"
        before = ask(f"{admin}/state")["now"]
        after = ask(f"{admin}/clock", {"advance": 60_000, "skew": 5})
        assert after["now"] == before + 60_000
        assert venue.clock.skew == 5
        assert ask(f"{admin}/faults", {"kind": "empty", "on": "fetch_time"})["on"] == "fetch_time"
        assert len(ask(f"{admin}/faults")["armed"]) == 1
        with pytest.raises(json.JSONDecodeError):
            ask(f"{venue.url}/binance/api/v3/time")
        assert ask(f"{admin}/faults")["struck"][0]["kind"] == "empty"
        ask(f"{admin}/faults", method="DELETE")
        assert ask(f"{admin}/balances")["USDT"] == {"free": "100000", "locked": "0"}
        assert ask(f"{admin}/orders") == ask(f"{admin}/fills") == []
        ask(f"{admin}/delist", {"symbol": "BTC/USDT"})
        assert ask(f"{venue.url}/binance/api/v3/exchangeInfo")["symbols"] == []


def test_what_the_back_door_does_not_know_is_named():
    with VenueServer(steady(), paused=True).start_in_thread() as venue:
        for path, content, words in (("clock", {"rewind": 1}, "the clock knows no 'rewind'"),
                                     ("faults", {"kind": "flood"}, "there is no fault 'flood'"),
                                     ("clock", {"advance_to": 1}, "cannot go back to 1")):
            with pytest.raises(urllib.error.HTTPError) as caught:
                ask(f"{venue.url}/admin/{path}", content)
            with caught.value as reply:
                assert words in reply.read().decode()
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(f"{venue.url}/elsewhere?x=1")
        caught.value.close()
        assert venue.unknown_requests == ["GET /elsewhere?x=1"]


def test_the_venue_starts_by_hand_prints_its_address_and_stops_on_a_signal():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.venue", "--bars", "200", "--history", "100", "--symbols", "BTC/USDT", "--paused"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        said = [process.stdout.readline() for _ in range(5)]
        url = said[0].split()[-1]
        assert ask(f"{url}/admin/state")["is_paused"] is True
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert "key key, secret s3cret" in said[3]


@pytest.mark.parametrize(("option", "words"), [
    (("--fault", "flood"), "there is no fault 'flood'"),
    (("--venues", "mtgox"), "the venue does not speak 'mtgox'; it speaks binance"),
])
def test_a_wrong_option_is_refused_with_the_way_out(option, words):
    done = subprocess.run([sys.executable, "-m", "tests.venue", "--bars", "20", *option], cwd=ROOT,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr
