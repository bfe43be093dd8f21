"""A session's numbers for Prometheus, on a port of this machine alone.

They are made of the last status whenever somebody asks, so that asking costs the session nothing.
"""

import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from engine.errors import SettingsError
from engine.live.status import STATES, Status

LOOPBACK = "127.0.0.1"

Sample = tuple[str, str, list[tuple[dict[str, str], float]]]
"""Name, meaning, and values by label."""


def samples(status: Status, now: int) -> Iterator[Sample]:
    """Yield what a status says as numbers.

    Args:
        now: our clock, UTC ns, for ages.
    """
    def one(name: str, meaning: str, value: float | None) -> Sample:
        return f"barcast_{name}", meaning, [] if value is None else [({}, float(value))]

    yield one("up", "1 while the session writes its status in time", 0.0 if status.is_silent(now) else 1.0)
    yield "barcast_state", "1 for the state that the session is in", [
        ({"state": state}, float(state == status.state)) for state in STATES]
    quantiles = zip(("0.5", "0.99"), status.decision_latency or (), strict=False)
    yield "barcast_bar_to_decision_seconds", "from a bar's arrival to the orders that follow", [
        ({"quantile": quantile}, seconds) for quantile, seconds in quantiles]
    yield "barcast_forecast_age_seconds", "since the bars that the last forecasts were made of", [
        ({"model": model.model}, (now - model.as_of) / 1e9) for model in status.forecasts if model.as_of]
    yield "barcast_feed_lag_seconds", "from a bar's close until it was heard", [
        ({"symbol": one.symbol, "timeframe": one.timeframe}, one.lag) for one in status.streams if one.last_close_time]
    yield "barcast_feed_stale", "1 while nothing is heard of a stream", [
        ({"symbol": one.symbol, "timeframe": one.timeframe}, float(one.is_stale)) for one in status.streams]
    yield one("queue_depth", "inputs that wait for the engine", status.queue_depth)
    yield one("unresolved_orders", "orders of which nobody knows whether the venue has them", status.unresolved)
    yield one("reconnects", "of all connections, since the process began", status.reconnects)
    yield one("clock_offset_seconds", "our clock less the venue's", status.clock_offset)
    yield one("halts", "halts in force", len(status.halts))
    yield one("open_orders", "orders that can still fill", len(status.orders))
    yield one("equity", "cash and positions at the last closes", status.equity)
    yield one("bars", "taken since the session began", status.bars)
    yield one("decisions", "made since the session began", status.decisions_made)
    yield one("fills", "booked since the session began", status.fills)


class Metrics:
    """Answers Prometheus.

    Args:
        port: 0 for any that is free. address: this machine alone, unless somebody means otherwise.
    Raises:
        SettingsError: prometheus-client is not installed, or the port is taken.
    """

    def __init__(
        self, port: int, *, address: str = LOOPBACK, now: Callable[[], int] = time.time_ns
    ) -> None:
        if find_spec("prometheus_client") is None:
            raise SettingsError("live.metrics_port needs the package prometheus-client: pip install -e '.[operate]'")
        client = import_module("prometheus_client")
        self._core = import_module("prometheus_client.core")
        self._now = now
        self._status: Status | None = None
        registry = client.CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = client.start_http_server(port, addr=address, registry=registry)
        except OSError as exc:
            raise SettingsError(f"live.metrics_port {port}: {exc.strerror or exc}; name another port") from exc

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def show(self, status: Status) -> None:
        """Answer with this status from now on."""
        self._status = status

    def collect(self) -> Iterator[Any]:
        """Yield every metric; prometheus-client asks."""
        status = self._status
        if status is None:
            return
        for name, meaning, values in samples(status, self._now()):
            labels = list(values[0][0]) if values else []
            family = self._core.GaugeMetricFamily(name, meaning, labels=labels)
            for labelled, value in values:
                family.add_metric(list(labelled.values()), value)
            yield family

    def close(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
