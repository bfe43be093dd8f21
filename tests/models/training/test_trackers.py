"""Tracking services: nothing is lost while one is away, no training ends for one, and a run's end is told as it was.

The libraries are not here: small modules of their names stand in, with the calls that were seen to work with MLflow
3.17 and Comet 3.58.
"""

import sys
from dataclasses import replace

import pytest

from engine.errors import SettingsError
from models.training.checkpoints import TrainingState
from models.training.loop import train
from models.training.recipe import Loss
from models.training.trackers import Comet, MLflow, Tracker, flattened, is_online, noted

SETTINGS = {"train": {"seed": 3}, "tft": {"targets": ["a"]}}


class Away(Exception):
    """What no library of ours raises."""


class Desk:
    """A service that is away at some calls."""

    def __init__(self, away=()):
        self.away, self.calls, self.taken, self.outcome = set(away), 0, [], ""

    def open(self):
        self._answer("open")

    def send(self, point):
        self._answer("send")
        self.taken.append(point)

    def close(self, outcome):
        self._answer("close")
        self.outcome = outcome

    def _answer(self, what):
        self.calls += 1
        if self.calls in self.away or what in self.away:
            raise Away("the line is dead\nwith much advice")


def tracker(desk, now=None):
    said = []
    seconds = [0.0] if now is None else now
    return Tracker(desk, "log.x y", "leave it out", tell=said.append, now=lambda: seconds[0]), said


def epochs(of, count, seconds=None, step=0.0):
    for epoch in range(1, count + 1):
        of.judged(TrainingState(epoch=epoch, step=7 * epoch, metrics={"error": 1.0, "lost": float("nan")}), 0.5, 0.1, 1)
        if seconds is not None:
            seconds[0] += step


def test_every_epoch_is_sent_with_what_is_a_number():
    desk = Desk()
    of, said = tracker(desk)
    of.began(TrainingState(), 7, 3)
    epochs(of, 3)
    of.ended(TrainingState(), None)

    assert [(one.epoch, one.step) for one in desk.taken] == [(1, 7), (2, 14), (3, 21)]
    assert desk.taken[0].metrics == {"train/loss": 0.5, "train/rate": 0.1, "valid/error": 1.0}
    assert (desk.outcome, said) == ("finished", [])


def test_what_a_service_did_not_take_is_sent_later_and_said_once():
    desk, seconds = Desk(away={3, 4}), [0.0]
    of, said = tracker(desk, seconds)
    of.began(TrainingState(), 7, 9)
    epochs(of, 9, seconds, step=20.0)
    assert said == ["log.x y does not answer: Away: the line is dead; training goes on, and sends it later"]
    of.ended(TrainingState(), None)

    assert [one.epoch for one in desk.taken] == list(range(1, 10))
    assert desk.calls == 1 + 1 + 2 + 8 + 1, "it is not asked at every epoch while it is away"
    assert len(said) == 1


def test_a_service_that_stays_away_does_not_end_a_training():
    desk = Desk(away={"send", "close"})
    of, said = tracker(desk)
    of.began(TrainingState(), 7, 4)
    epochs(of, 4)
    of.ended(TrainingState(), None)

    assert len(said) == 2
    assert said[1] == "log.x y has not taken 4 epochs; metrics.jsonl has them"


def test_a_service_that_cannot_be_opened_is_refused_before_the_first_step(small, tmp_path):
    of, _ = tracker(Desk(away={"open"}))
    with pytest.raises(SettingsError, match=r"log.x y cannot be opened: Away: the line is dead; leave it out"):
        train(small.Small(), small.PLAN, tmp_path, watchers=[of])
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "finished"), (KeyboardInterrupt(), "stopped"), (OSError("full"), "failed")]
)
def test_the_end_is_told_as_it_was(small, error, outcome, tmp_path):
    class Ending(small.Small):
        def loss(self, network, rows, moment) -> Loss:
            if error is not None and moment.step == 9:
                raise error
            return super().loss(network, rows, moment)

    desk = Desk()
    of, _ = tracker(desk)
    if error is None:
        train(Ending(), replace(small.PLAN, epochs=2), tmp_path, watchers=[of])
    else:
        with pytest.raises(type(error)):
            train(Ending(), replace(small.PLAN, epochs=2), tmp_path, watchers=[of])
    assert desk.outcome == outcome
    assert len(desk.taken) == (2 if error is None else 1)


@pytest.fixture
def library(tmp_path):
    """Write a module of a library's name where it is found first, and return it; both are gone afterwards."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    sys.path.insert(0, str(folder))
    before = {name: sys.modules.pop(name, None) for name in ("mlflow", "comet_ml")}

    def written(name, text):
        (folder / f"{name}.py").write_text(text)
        return __import__(name)

    yield written
    sys.path.remove(str(folder))
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


MLFLOW = """
from types import SimpleNamespace as Of
calls, experiments, faults = [], {}, []
class Client:
    def __init__(self, tracking_uri):
        if faults:
            raise faults[0]
    def get_experiment_by_name(self, name):
        return experiments.get(name)
    def create_experiment(self, name):
        experiments[name] = Of(experiment_id=4, lifecycle_stage="active")
        return 4
    def create_run(self, experiment, run_name):
        calls.append(("create", experiment, run_name))
        return Of(info=Of(run_id="r1"))
    def update_run(self, run, status):
        calls.append(("update", run, status))
    def log_batch(self, run, metrics=(), params=()):
        calls.append(("batch", run, [*metrics, *params]))
    def set_terminated(self, run, status):
        calls.append(("end", run, status))
tracking = Of(MlflowClient=Client)
entities = Of(Metric=lambda *of: of, Param=lambda *of: of)
"""


def test_a_run_of_mlflow_is_gone_on_with(library, small, tmp_path):
    mlflow = library("mlflow", MLFLOW)
    of = Tracker(MLflow("sqlite:///x.db", tmp_path, SETTINGS), "log.mlflow", "")
    train(small.Small(), replace(small.PLAN, epochs=2), tmp_path, watchers=[of], stop_after=1)
    again = Tracker(MLflow("sqlite:///x.db", tmp_path, SETTINGS), "log.mlflow", "")
    train(small.Small(), replace(small.PLAN, epochs=2), tmp_path, watchers=[again])

    kinds = [call[0] for call in mlflow.calls]
    assert kinds == ["create", "batch", "batch", "end", "update", "batch", "end"]
    assert mlflow.calls[0] == ("create", "4", tmp_path.name)
    assert mlflow.calls[1] == ("batch", "r1", [("train.seed", "3"), ("tft.targets", "['a']")])
    assert {metric[0] for metric in mlflow.calls[2][2]} == {"train/loss", "train/rate", "valid/error"}
    assert [metric[3] for metric in mlflow.calls[5][2]] == [2, 2, 2], "by epochs"
    assert mlflow.calls[-1] == ("end", "r1", "FINISHED")
    assert noted(tmp_path) == {"mlflow": {"uri": "sqlite:///x.db", "run": "r1"}}


def test_names_of_metrics_are_those_that_mlflow_takes(library, tmp_path):
    mlflow = library("mlflow", MLFLOW)
    of = Tracker(MLflow("sqlite:///x.db", tmp_path, {}), "log.mlflow", "")
    of.began(TrainingState(), 1, 1)
    of.judged(TrainingState(epoch=1, metrics={"val_logreturn_rmse@1h": 0.5}), 1.0, 0.1, 1.0)
    assert mlflow.calls[-1][2][-1][0] == "valid/val_logreturn_rmse.1h"


def test_an_experiment_that_was_deleted_is_refused_with_the_way_back(library, tmp_path):
    mlflow = library("mlflow", MLFLOW)
    mlflow.experiments["barcast"] = mlflow.Of(experiment_id=9, lifecycle_stage="deleted")
    of = Tracker(MLflow("sqlite:///x.db", tmp_path, {}), "log.mlflow", "")
    with pytest.raises(SettingsError, match=r"the experiment barcast is deleted there; bring it back with .*-id 9"):
        of.began(TrainingState(), 1, 1)


COMET = """
calls = []
class Experiment:
    alive = True
    def log_parameters(self, of):
        calls.append(("settings", of))
    def log_metrics(self, of, step, epoch):
        calls.append(("metrics", sorted(of), step, epoch))
    def log_other(self, name, value):
        calls.append((name, value))
    def end(self):
        calls.append(("end",))
def ExperimentConfig(**of):
    return of
def start(**of):
    calls.append(("start", of))
    return Experiment()
"""


def test_an_experiment_of_comet_is_kept_in_a_folder_and_gone_on_with(library, small, tmp_path, monkeypatch):
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    monkeypatch.delenv("COMET_START_ONLINE", raising=False)
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", str(tmp_path / "kept"))
    comet = library("comet_ml", COMET)
    for stop_after in (1, 0):
        of = Tracker(Comet("barcast", tmp_path, SETTINGS), "log.comet", "")
        train(small.Small(), replace(small.PLAN, epochs=2), tmp_path, watchers=[of], stop_after=stop_after)

    assert [call[0] for call in comet.calls] == [
        "start", "settings", "metrics", "outcome", "end", "start", "metrics", "outcome", "end"]
    first, second = comet.calls[0][1], comet.calls[5][1]
    assert (first["online"], first["mode"], second["mode"]) == (False, "create", "get_or_create")
    assert first["experiment_key"] == second["experiment_key"] == noted(tmp_path)["comet"]["key"]
    assert first["experiment_config"]["log_code"] is False
    assert comet.calls[2] == ("metrics", ["train/loss", "train/rate", "valid/error"], 7, 1)


def test_an_experiment_that_comet_does_not_take_is_refused(library, tmp_path, monkeypatch):
    monkeypatch.setenv("COMET_API_KEY", "k" * 25)
    monkeypatch.delenv("COMET_START_ONLINE", raising=False)
    library("comet_ml", f"{COMET}\nExperiment.alive = False\n")
    of = Tracker(Comet("barcast", tmp_path, {}), "log.comet barcast", "look at COMET_API_KEY")
    with pytest.raises(SettingsError, match=r"log.comet barcast cannot be opened: .*does not take the run.*look at"):
        of.began(TrainingState(), 1, 1)
    monkeypatch.delenv("COMET_API_KEY")
    monkeypatch.delenv("COMET_OFFLINE_DIRECTORY", raising=False)
    with pytest.raises(SettingsError, match=r"COMET_API_KEY is not in the environment; .* COMET_OFFLINE_DIRECTORY"):
        Comet("barcast", tmp_path, {})


@pytest.mark.parametrize(
    ("environment", "is_asked"),
    [
        ({}, True), ({"COMET_API_KEY": "k"}, True), ({"COMET_OFFLINE_DIRECTORY": "d"}, False),
        ({"COMET_OFFLINE_DIRECTORY": "d", "COMET_API_KEY": "k"}, True), ({"COMET_START_ONLINE": "false"}, False),
        ({"COMET_OFFLINE_DIRECTORY": "d", "COMET_START_ONLINE": "1"}, True),
    ],
)
def test_the_environment_says_whether_comet_s_server_is_asked(environment, is_asked):
    assert is_online(environment) is is_asked


def test_settings_are_told_by_dotted_names():
    assert flattened(SETTINGS) == [("train.seed", "3"), ("tft.targets", "['a']")]
