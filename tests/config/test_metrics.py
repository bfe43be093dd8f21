"""Metrics are served on this machine, made of the last status."""

from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from config.metrics import Metrics
from engine.errors import SettingsError
from tests.engine.live.test_status import EMPTY, FULL, SECOND


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics(0, now=lambda: 100 * SECOND)
    yield made
    made.close()


def asked(metrics: Metrics) -> str:
    with urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def test_every_number_that_an_operator_watches_is_there(metrics: Metrics) -> None:
    metrics.show(FULL)
    text = asked(metrics)
    for line in (
        'barcast_bar_to_decision_seconds{quantile="0.99"} 0.02',
        'barcast_forecast_age_seconds{model="krnn"} 60.0',
        'barcast_feed_lag_seconds{symbol="BTC/USDT",timeframe="1m"} 0.4',
        'barcast_feed_stale{symbol="ETH/USDT",timeframe="1m"} 1.0',
        "barcast_queue_depth 0.0",
        "barcast_unresolved_orders 0.0",
        "barcast_reconnects 0.0",
        "barcast_clock_offset_seconds -0.02",
        'barcast_state{state="halted"} 1.0',
        'barcast_state{state="running"} 0.0',
        "barcast_halts 1.0",
        "barcast_equity 2.5",
        "barcast_up 1.0",
    ):
        assert line in text, line


def test_a_newer_status_replaces_the_one_before(metrics: Metrics) -> None:
    assert "barcast" not in asked(metrics), "nothing has been told yet"
    metrics.show(FULL)
    metrics.show(EMPTY)
    text = asked(metrics)
    assert 'barcast_state{state="running"} 1.0' in text
    assert "\nbarcast_clock_offset_seconds " not in text, "it is not known"


def test_it_listens_on_this_machine_alone_and_a_port_that_is_taken_is_said(metrics: Metrics) -> None:
    assert metrics._server.server_address[0] == "127.0.0.1"
    with pytest.raises(SettingsError, match=rf"live.metrics_port {metrics.port}: .*; name another port"):
        Metrics(metrics.port)
