"""A session with a model that sees slower bars and a reference symbol: left, gone on with, replayed."""

from pathlib import Path
from threading import Event

import pytest

from config.data import bars_of, feed_of
from config.paper import PaperRun
from config.replaying import replay
from config.settings import ROOT, Settings, load_settings
from config.training import run_training
from config.training_settings import load_training
from engine.errors import PluginError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from engine.live.inputs import BarsClosed, Commanded, Input
from tests.config.played import PlayedMarket, instants

EXAMPLE = ROOT / "config" / "examples" / "training" / "joined.toml"
SMALL = ('tft.joined={"4h"=["momentum(3)"]}', 'data.resample=["4h"]', "data.bars=700", "train.epochs=1")
SYMBOLS = ["AAA/USDT", "BBB/USDT", "CCC/USDT"]
SESSION = """
[data]
source = "venue"
venue = "binance"
symbols = ["AAA/USDT", "BBB/USDT", "CCC/USDT"]
timeframe = ["1h", "4h"]
[models.tft]
artefact = "ARTEFACT"
device = "cpu"
[strategy]
name = "TftMulti"
parameters = { model = "tft", every = "4h", trend = "binarytrend", expected = "logreturn", drawdown = "max_drawdown" }
[account]
cash = 10_000
[live]
broker = "simulated"
late_after = "1h"
[journal]
url = "journal.db"
[forecasts]
store = "forecasts.db"
"""


class Plays(PlayedMarket):
    """An edge that plays bars up to a row, then sets an event, or stops the session for good."""

    def __init__(self, inputs: list[BarsClosed], last: int, event: Event | None) -> None:
        super().__init__(SYMBOLS, inputs[:last])
        self._ends, self._event = inputs[-1].time, event

    def take(self, timeout: float) -> Input | None:
        found = next(self._inputs, None)
        if found is None and self._event is None:
            return Commanded(self._ends, "stop", "enough", "ann")
        if found is None and self._event is not None:
            self._event.set()
        return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[BarsClosed]]:
    folder = tmp_path_factory.mktemp("joined")
    given = load_training(EXAMPLE, [*SMALL, f"train.folder={folder}", "log.tensorboard=false", "tft.plots_every=0"])
    inputs = instants(bars_of(feed_of(given.data, given.train.seed)), 150)
    return run_training("tft", given).artefact, inputs


@pytest.fixture
def settings(tmp_path: Path, trained: tuple[Path, list[BarsClosed]]) -> Settings:
    (tmp_path / "session.toml").write_text(SESSION.replace("ARTEFACT", str(trained[0])))
    return load_settings(tmp_path / "session.toml")


def play(settings: Settings, inputs: list[BarsClosed], last: int, event: Event | None = None) -> int:
    edge = Plays(inputs, last, event)
    return PaperRun(settings, lambda: edge, stop=event, now=lambda: inputs[-1].time).run()


def test_it_forecasts_trades_is_gone_on_with_and_replays(
    settings: Settings, trained: tuple[Path, list[BarsClosed]]
) -> None:
    inputs = trained[1]
    run_id = play(settings, inputs, 200, Event())
    assert play(settings, inputs, 300) == run_id
    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal, run_id), replay(journal, run_id)
    assert came.is_same, str(came.divergence)
    assert record.run.status == "completed"
    made = {(row.symbol, row.as_of) for row in record.forecasts}
    due = {one.time for one in inputs[150:300] if len(one.bars) == 6}
    assert made == {(symbol, time) for symbol in SYMBOLS for time in due}, "where the slower bars close with the others"
    assert {row.flags for row in record.forecasts} <= {"", "contaminated"}


def test_without_the_slower_bars_it_is_refused_with_the_way_out(
    settings: Settings, trained: tuple[Path, list[BarsClosed]], tmp_path: Path
) -> None:
    fast = load_settings(tmp_path / "session.toml", ['data.timeframe="1h"'])
    with pytest.raises(PluginError, match=r"joins bars of AAA/USDT of 4h .* in a session to data\.timeframe"):
        play(fast, trained[1], 200, Event())
