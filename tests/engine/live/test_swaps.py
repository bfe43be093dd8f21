"""A model that takes over while a session goes on: recorded, from the next bar on, and the same when run again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from engine import Bar, Strategy
from engine.bars import HOUR, Stream
from engine.errors import PluginError, SettingsError
from engine.forecasting.book import ForecastTerms, Load
from engine.forecasting.store import ForecastStore
from engine.forecasting.testing import FunctionForecaster, spec_of
from engine.forecasts import Forecast, Forecaster, ForecastKind
from engine.journal.lineage import load_run
from engine.journal.memory import MemoryJournal
from engine.journal.sql import SqlJournal
from engine.live.coding import decoded, encoded
from engine.live.core import LiveCore
from engine.live.inputs import Input, ModelSwapped, TrainingTold
from engine.live.session import Recording, Session, SessionJournal, Timings
from engine.live.streams import LiveStreams
from engine.testing import Terms, parts_for
from tests.engine.live.market import BTC, START, closed, instants, run_start, walk

BARS = walk(40)
LATE = walk(40, symbol="ETH/USDT", seed=5)


def says(number: int, **changes: object) -> FunctionForecaster:
    """Return a model that expects `number` thousandths, and a little that depends on the window."""
    values = {"timeframe": "1h", "lookback": 3, "horizon": 1, "is_deterministic": True, **changes}
    spec = spec_of(ForecastKind.RETURN, version=str(number), **values)
    return FunctionForecaster(spec, lambda window: [number / 1000 + float(window[-1, 0] - window[0, 0]) / 1e6])


class Follows(Strategy):
    """Long by what the model expects; both models' forecasts are kept by close."""

    def on_start(self) -> None:
        self.heard: dict[int, str] = {}
        self.model = self.forecasts("m", every="bar")

    def on_forecast(self, forecast: Forecast) -> None:
        self.heard[forecast.as_of] = forecast.spec.model_hash
        self.target(forecast.symbol, 0.4 if forecast.expected_return > 0 else 0.0, why="expected")


SHELF: Mapping[str, Forecaster] = {"two": says(-2), "three": says(3), "longer": says(4, lookback=4)}


def on_shelf(model: str, artefact: str, hash: str) -> Forecaster:
    assert (model, artefact) == ("m", f"/models/{hash}")
    if hash not in SHELF:
        raise PluginError(f"the artefact {hash} is gone")
    return SHELF[hash]


def swap(name: str, time: int = START) -> ModelSwapped:
    return ModelSwapped(time, "m", f"/models/{name}", name, time, time)


def session_of(
    journal: SessionJournal, strategy: Strategy | None = None, *, symbols: Sequence[str] = (BTC,),
    load: Load | None = on_shelf, store: ForecastStore | None = None,
) -> Session:
    recording, timings = Recording(journal), Timings()
    feed = LiveStreams([Stream(symbol, "1h") for symbol in symbols])
    parts = parts_for(feed, strategy or Follows(), Terms(cash=Decimal(10_000)), journal=recording)
    terms = ForecastTerms(store=store, timed=timings, load=load)
    core = LiveCore(replace(parts, forecasters={"m": says(1)}, forecast_terms=terms), late_after=HOUR)
    return Session(core, recording, timings=timings, now=lambda: START)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    with SqlJournal(tmp_path / "journal.db", durable=True) as made:
        yield made


def inputs() -> list[Input]:
    bars = instants(BARS)
    told = TrainingTold(START, "m", "warning", "the training until then failed")
    return [*bars[:15], swap("two"), *bars[15:25], told, swap("three"), *bars[25:]]


def test_the_new_model_answers_from_the_next_bar_on_and_the_journal_tells_who_spoke(journal: SqlJournal) -> None:
    strategy = Follows()
    session = session_of(journal, strategy)
    run_id = session.begin(run_start())
    session.take(inputs())
    session.end()

    with journal.snapshot() as reader:
        assert session_of(MemoryJournal()).run_again(run_id, reader).rows > 100
    record = load_run(journal, run_id)
    first, second, third = (one.spec.model_hash for one in (says(1), SHELF["two"], SHELF["three"]))
    who = [first] * 13 + [second] * 10 + [third] * 15
    assert [row.model_hash for row in record.forecasts] == who
    assert list(strategy.heard.values()) == who
    assert [(row.level, row.source) for row in record.alerts] == [
        ("info", "training"), ("warning", "training"), ("info", "training")]
    assert "m: two, trained until 2024-01-01T00:00Z, answers for bars that close after" in record.alerts[0].text
    summary = session.core.running.book.summary()["models"]["m"]
    assert (summary["took_over"], summary["model_hash"]) == (2, third)
    assert summary["computed"] == len(who)


def test_bars_of_the_same_instant_that_come_late_are_the_old_model_s() -> None:
    first, second = says(1).spec.model_hash, SHELF["two"].spec.model_hash
    journal = MemoryJournal()
    session = session_of(journal, symbols=(BTC, "ETH/USDT"))
    session.begin(run_start())
    session.take(instants(BARS[:5], LATE[:5]))
    session.take([closed(BARS[5]), swap("two"), closed(LATE[5]), closed(BARS[6], LATE[6])])
    spoke = [(row.symbol, row.model_hash) for row in load_run(journal).forecasts][-4:]
    assert spoke == [(BTC, first), ("ETH/USDT", first), (BTC, second), ("ETH/USDT", second)]


@pytest.mark.parametrize("cut", [14, 15, 16, 30])
def test_a_session_left_around_a_swap_goes_on_and_comes_about_again(tmp_path: Path, cut: int) -> None:
    with SqlJournal(tmp_path / "whole.db", durable=True) as whole:
        session = session_of(whole)
        session.begin(run_start())
        session.take(inputs())
        expected = load_run(whole)
    store = ForecastStore(tmp_path / "f.db")
    later = False
    for some in (inputs()[:cut], inputs()[cut:]):
        with SqlJournal(tmp_path / "parts.db", durable=True) as parts:
            session = session_of(parts, store=store)
            if later:
                assert session.resume(1, parts) > cut, "what models took is recorded too"
            else:
                session.begin(run_start())
            session.take(some)
            later = True
    with SqlJournal(tmp_path / "parts.db") as parts:
        found = load_run(parts)
        for table in ("decisions", "orders", "order_events", "fills", "alerts"):
            assert getattr(found, table) == getattr(expected, table), table
        assert [row.model_hash for row in found.forecasts] == [row.model_hash for row in expected.forecasts]
        with parts.snapshot() as reader:
            assert session_of(MemoryJournal()).run_again(1, reader).rows > 100
    store.close()


def test_without_the_artefact_it_neither_goes_on_nor_comes_about_again(journal: SqlJournal) -> None:
    session = session_of(journal)
    run_id = session.begin(run_start())
    session.take(inputs())

    def gone(model: str, artefact: str, hash: str) -> Forecaster:
        raise PluginError(f"the artefact {hash} is gone")

    with journal.snapshot() as reader, pytest.raises(PluginError, match="the artefact two is gone"):
        session_of(MemoryJournal(), load=gone).run_again(run_id, reader)
    with journal.snapshot() as reader, pytest.raises(SettingsError, match="these settings have no models to swap"):
        session_of(MemoryJournal(), load=None).run_again(run_id, reader)


def test_a_model_of_another_kind_is_refused(journal: SqlJournal) -> None:
    session = session_of(journal)
    session.begin(run_start())
    with pytest.raises(PluginError, match="model m: its lookback was 3, then 4; retrain it alike"):
        session.take([*instants(BARS[:5]), swap("longer")])


def test_a_model_that_nobody_asks_for_changes_nothing(journal: SqlJournal) -> None:
    class Bare(Strategy):
        def on_bar(self, bar: Bar) -> None:
            self.target(bar.symbol, 0.5, why="always")

    session = session_of(journal, Bare())
    run_id = session.begin(run_start())
    session.take(inputs())
    assert load_run(journal, run_id).forecasts == ()


@pytest.mark.parametrize("given", [swap("two"), TrainingTold(START, "m", "error", "1 ≠ 2")])
def test_they_come_back_from_the_journal_as_they_were(given: Input) -> None:
    assert decoded(*encoded(given)) == given
