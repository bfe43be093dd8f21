"""A model that is trained again beside a session: recorded before it takes effect, through kill -9; its failures stop
nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from config.paper import check_paper
from config.replaying import replay
from config.retraining import Training, Watch, trained
from config.session_training import Artefacts, tidy
from config.settings import ROOT, Settings, load_settings
from config.training import run_training
from config.training_settings import load_training
from config.twins import make_twin
from engine.errors import PluginError, SettingsError
from engine.journal.lineage import load_run
from engine.journal.sql import SqlJournal
from tests.config.retrained_life import MARKET, SYMBOLS, Played, play
from tests.config.trainings import small_krnn

TRAINING = small_krnn(SYMBOLS, MARKET["bars"], MARKET["seed"])
SESSION = f"""
[run]
name = "trained beside"
[data]
source = "venue"
venue = "binance"
symbols = {SYMBOLS}
timeframe = "1h"
[models.ranker]
artefact = "ARTEFACT"
training = "training.toml"
retrain = "5d"
device = "cpu"
[strategy]
name = "RankRotation"
parameters = {{ model = "ranker", every = "4h", n_hold = 2, n_drop = 1 }}
[account]
cash = 10_000
[live]
broker = "simulated"
late_after = "1h"
heartbeat_seconds = 0.1
[journal]
url = "journal.db"
[forecasts]
store = "forecasts.db"
"""


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    (folder / "training.toml").write_text(TRAINING)
    return run_training("krnn", load_training(folder / "training.toml", [f"train.folder={folder}"])).artefact


@pytest.fixture
def file(tmp_path: Path, artefact: Path) -> Path:
    (tmp_path / "training.toml").write_text(TRAINING)
    (tmp_path / "session.toml").write_text(SESSION.replace("ARTEFACT", str(artefact)))
    return tmp_path / "session.toml"


@pytest.fixture
def settings(file: Path) -> Settings:
    return load_settings(file)


def test_a_session_killed_between_training_and_swap_swaps_and_replays_to_equality(
    file: Path, settings: Settings
) -> None:
    killed = subprocess.run([sys.executable, "-m", "tests.config.retrained_life", str(file)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    [made] = file.parent.glob("models/*/ranker/*")
    [log] = made.glob("train.log")
    before = log.stat().st_mtime_ns

    run_id = play(settings)

    assert log.stat().st_mtime_ns == before, "what was trained before it was killed is taken from its folder"
    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal, run_id), replay(journal, run_id)
        _, twin = make_twin(journal, run_id)
        of_twin = load_run(journal, twin)
    assert came.is_same, str(came.divergence)
    assert record.run.status == "completed"
    [swap] = [json.loads(row.body) for row in record.session_inputs if row.kind == "model_swapped"]
    assert Path(swap["artefact"]).is_relative_to(made)
    hashes = list(dict.fromkeys(row.model_hash for row in record.forecasts))
    assert len(hashes) == 2
    assert [row.model_hash for row in of_twin.forecasts] == [row.model_hash for row in record.forecasts]
    assert [alert.text.split(" ")[1] for alert in record.alerts if alert.source == "training"] == [
        "training", "training", f"{swap['hash'][:12]},"], "it began, began again, and took over"

    Path(swap["artefact"]).rename(made / "elsewhere")
    words = "the session swapped ranker for the artefact .* which cannot be loaded .*: put it back there: without it"
    with SqlJournal(settings.journal.url) as journal, pytest.raises(PluginError, match=words.replace(": put", "; put")):
        replay(journal, run_id)


class Fails(Played):
    """Goes on once it has heard that a training failed."""

    def is_awaited(self) -> bool:
        return any("it goes on with the model that it has" in text for text in self.said)


def test_a_training_that_fails_is_told_and_the_session_goes_on(
    file: Path, settings: Settings
) -> None:
    (file.parent / "training.toml").write_text(TRAINING.replace("bars = 640", "bars = 30"))
    run_id = play(settings, Fails())
    with SqlJournal(settings.journal.url) as journal:
        record, came = load_run(journal, run_id), replay(journal, run_id)
    assert came.is_same
    assert record.run.status == "completed"
    failed = [alert for alert in record.alerts if alert.level == "warning" and alert.source == "training"]
    assert failed[0].text.startswith("ranker: models.ranker.retrain until 2024-01-25T00:00Z failed: ")
    assert len({row.model_hash for row in record.forecasts}) == 1
    assert record.fills


def training_of(folder: Path, code: str) -> Training:
    return Training("m", 0, folder, (sys.executable, "-c", code))


MAKES = "import pathlib; p = pathlib.Path('run/artefact'); p.mkdir(parents=True); (p / 'artefact.json').write_text('')"


def test_a_training_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; "
        f"time.sleep(600)']); pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid)); time.sleep(600)"
    )
    watch = Watch(within=600.0, nice=10)
    refused: list[str] = []

    def train() -> None:
        try:
            trained(training_of(tmp_path / "t", code), watch)
        except PluginError as exc:
            refused.append(str(exc))

    thread = Thread(target=train)
    thread.start()
    end = time.monotonic() + 120
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    assert os.getpriority(os.PRIO_PROCESS, child) >= 10
    watch.stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert "was given up" in refused[0]
    while Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(PluginError, match=r"was not done within 0\.3 s .*models\.m\.retrain_within"):
        trained(training_of(tmp_path / "t", "import time; time.sleep(600)"), Watch(within=0.3))


def test_one_folder_is_trained_in_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Whoever comes second, a session that was killed and begun again say, waits and takes what the first has made."""
    slow = f"import os, time; os.chdir({str(tmp_path / 't')!r}); open('begun', 'a').write('x'); time.sleep(1); {MAKES}"
    found: list[Path] = []
    threads = [Thread(target=lambda: found.append(trained(training_of(tmp_path / "t", slow)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [tmp_path / "t" / "run" / "artefact"] * 2
    assert (tmp_path / "t" / "begun").read_text() == "x"


def test_a_training_that_says_why_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"failed: no bars at all \(.*train\.log\)"):
        trained(training_of(tmp_path / "t", "import sys; print('epoch 1'); sys.exit('no bars at all')"))


def test_older_trainings_keep_what_the_session_needs_and_nothing_else(tmp_path: Path) -> None:
    for number in range(4):
        run = tmp_path / f"t{number}" / "run"
        (run / "artefact").mkdir(parents=True)
        (run / "checkpoints").mkdir()
        (run / "metrics.jsonl").write_text("")
        os.utime(tmp_path / f"t{number}", (number, number))
    tidy(tmp_path, [tmp_path / f"t{number}" / "run" / "artefact" for number in (1, 3)], 2)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/run/*"))
    assert left == [
        "t1/run/artefact", "t2/run/artefact", "t2/run/checkpoints", "t2/run/metrics.jsonl", "t3/run/artefact",
        "t3/run/checkpoints", "t3/run/metrics.jsonl",
    ]
    assert not (tmp_path / "t0").exists()


def test_an_artefact_that_is_another_now_is_refused(settings: Settings, artefact: Path) -> None:
    artefacts = Artefacts(settings, "1h")
    with pytest.raises(PluginError, match=r"the artefact beef in .*, where [0-9a-f]{12} is now; put it back there"):
        artefacts("ranker", str(artefact), "beef")
    hash, ahead = artefacts.ahead("ranker", artefact)
    assert artefacts("ranker", str(artefact), hash) is ahead
    assert artefacts("ranker", str(artefact), hash).spec == ahead.spec


def test_what_cannot_be_trained_again_is_refused_before_the_session_begins(file: Path, settings: Settings) -> None:
    check_paper(settings)
    shares = TRAINING.replace("valid = 2024-01-15", "valid = 0.7").replace("end = 2024-01-20", "end = 0.85")
    (file.parent / "training.toml").write_text(shares)
    with pytest.raises(SettingsError, match=r"retrain needs split\.valid and split\.end as times"):
        check_paper(settings)


