"""How long from the bars of 500 symbols in a session's hands until their orders are committed and on their way.

    python benchmarks/session.py                            500 symbols, an order in each of them at every bar
    python benchmarks/session.py --model runs/models/krnn   with a forecast for each symbol first (models examples)

Every instant is one BarsClosed with all symbols. What is measured is wall time from handing it to the session until
the link has been given every message, with the journal an SQLite file that is synced to the disk before each send; one
thread. It counts only if every symbol's order was journalled, and if the session runs again to equality.
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine import Bar, Forecast, Instrument, Strategy, Stream
from engine.bars import HOUR
from engine.forecasting.book import ForecastTerms
from engine.journal.memory import MemoryJournal
from engine.journal.sql import SqlJournal
from engine.live.broker import VenueBroker
from engine.live.core import LiveCore
from engine.live.inputs import BarsClosed, VenueTold
from engine.live.messages import OrderMessage
from engine.live.ports import Known
from engine.live.reports import Report, ReportKind
from engine.live.session import Recording, Session, Timings
from engine.live.streams import LiveStreams
from engine.live.sweeping import Sweeping
from engine.portfolio import Portfolio
from engine.records import RunStart
from engine.running import Parts

FRAME = "1h"
START = 470_000 * HOUR
SWEEP = 10
"""Instants between two looks for garbage, which a session has while nothing waits: processor time, but no latency."""


class Turns(Strategy):
    """Buys and sells in turn, in every symbol, at every bar."""

    def on_start(self) -> None:
        self.lines = {symbol: self.indicator("SMA", "close", 20, symbol=symbol) for symbol in self.symbols}
        self.turns = 0

    def on_bar(self, bar: Bar) -> None:
        if self.lines[bar.symbol][-1] > 0:
            self.buy(bar.symbol, 1, limit=bar.close * 0.5, why="every bar")


class Follows(Strategy):
    """Asks a model for every symbol at every bar, and orders what it says."""

    def on_start(self) -> None:
        self.source = self.forecasts("krnn", every="bar")

    def on_forecast(self, forecast: Forecast) -> None:
        self.buy(forecast.symbol, 1, limit=self.price(forecast.symbol) * 0.5, why=f"score {forecast.strength:.3f}")


class Link:
    """Takes messages, and says at once that the venue has them and that they were cancelled."""

    def __init__(self) -> None:
        self.sent: list[OrderMessage] = []

    def send(self, messages: Sequence[OrderMessage]) -> None:
        self.sent.extend(messages)

    def answers(self, first: int, at: int) -> list[VenueTold]:
        """Return what the venue says of the messages from the first on: it has them, and they were cancelled."""
        kinds = (ReportKind.ACCEPTED, ReportKind.CANCELLED)
        return [VenueTold(at, Report(kind, at, at, one.order_id)) for one in self.sent[first:] for kind in kinds]

    def reconcile(self, known: Known) -> Sequence[Report]:
        return ()

    def close(self) -> None:
        pass


def main() -> int:
    """Measure, print, and return 1 if an order is missing."""
    parser = argparse.ArgumentParser(prog="benchmarks/session.py", description="From bars to orders on their way.")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--instants", type=int, default=60)
    parser.add_argument("--model", type=Path, metavar="DIR", help="an artefact that ranks symbols, such as KRNN")
    parser.add_argument("--json", type=Path, metavar="PATH")
    asked = parser.parse_args()
    found = measure(asked.symbols, asked.instants, asked.model)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    said = "every order journalled, and the same again" if found["equal"] else "ORDERS ARE MISSING"
    print(
        f"{found['symbols']} symbols, {found['instants']} instants, {found['model']}: bars to sent p50 "
        f"{found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms, largest {found['max_ms']:.1f} ms; "
        f"{found['cpu_ms']:.1f} ms of processor each, the reports that come back in it; {said}")
    return 0 if found["equal"] else 1


def measure(count: int, instants: int, artefact: Path | None) -> dict[str, Any]:
    """Return what was measured; times in milliseconds."""
    names = [f"S{number:03}/USDT" for number in range(count)]
    forecasters: dict[str, Any] = {}
    warm = 25
    if artefact is not None:
        import torch

        from models.forecasters import load_forecaster

        torch.set_num_threads(1)
        forecasters["krnn"] = load_forecaster("krnn", artefact, timeframe=FRAME, device="cpu", options={})
        warm = forecasters["krnn"].spec.lookback + 2
    bars = _walks(names, warm + instants)
    taken: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder, SqlJournal(Path(folder) / "journal.db", durable=True) as journal,
        Sweeping(),
    ):
        link = Link()
        session = session_of(names, journal, forecasters)
        session.link = link
        run_id = session.begin(RunStart("paper", "Benchmark", {}, {}, "live", {}, started_at=START))
        for row in bars[:warm]:
            session.take([BarsClosed(row[0].close_time, row[0].close_time, row, is_history=True)])
        cpu = time.process_time()
        for number, row in enumerate(bars[warm:]):
            if number % SWEEP == 0:
                gc.collect()
            first = len(link.sent)
            began = time.perf_counter()
            session.take([BarsClosed(row[0].close_time, row[0].close_time, row)])
            taken.append(time.perf_counter() - began)
            session.take(link.answers(first, row[0].close_time + 1))
        cpu = time.process_time() - cpu
        session.end("interrupted")
        with journal.snapshot() as reader:
            again = session_of(names, MemoryJournal(), forecasters).run_again(run_id, reader)
    ordered = np.sort(np.array(taken)) * 1000
    return {
        "symbols": count, "instants": instants, "model": "no model" if artefact is None else artefact.name,
        "p50_ms": float(np.quantile(ordered, 0.5)), "p99_ms": float(np.quantile(ordered, 0.99)),
        "max_ms": float(ordered[-1]), "cpu_ms": 1000 * cpu / instants,
        "equal": len(link.sent) == count * instants and again.inputs > instants,
    }


def session_of(
    names: Sequence[str], journal: Any, forecasters: dict[str, Any], *, frame: str = FRAME,
    now: Callable[[], int] = lambda: START,
) -> Session:
    """Return a session whose strategy orders in every symbol at every bar."""
    recording, timings = Recording(journal), Timings()
    instruments = [Instrument(name, "USDT", price_increment=Decimal("0.0001")) for name in names]
    portfolio = Portfolio({"USDT": Decimal(10**9)}, instruments)
    strategy: Strategy = Follows() if forecasters else Turns()
    parts = Parts(
        LiveStreams([Stream(name, frame) for name in names]), strategy, VenueBroker(portfolio, "benchmrk"), portfolio,
        journal=recording, forecasters=forecasters, forecast_terms=ForecastTerms(timed=timings, batch=len(names)),
    )
    return Session(LiveCore(parts, late_after=HOUR), recording, timings=timings, now=now)


def _walks(names: Sequence[str], count: int) -> list[tuple[Bar, ...]]:
    draws = np.random.default_rng(5)
    closes = np.round(100 * np.exp(np.cumsum(draws.normal(0, 0.001, (count, len(names))), axis=0)), 4)
    found = []
    for row in range(count):
        opened = closes[row - 1] if row else closes[0]
        high, low = np.maximum(opened, closes[row]), np.minimum(opened, closes[row])
        time_ = START + row * HOUR
        columns = (opened.tolist(), high.tolist(), low.tolist(), closes[row].tolist())
        found.append(tuple(
            Bar(name, time_, time_ + HOUR, *prices, 1000.0, FRAME)
            for name, prices in zip(names, zip(*columns, strict=True), strict=True)
        ))
    return found


if __name__ == "__main__":
    sys.exit(main())
