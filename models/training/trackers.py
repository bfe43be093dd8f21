"""Tracking services: a run's metrics in MLflow or Comet as well.

They are guests: what a service does not take at a moment is kept and sent later, no training waits for one for long,
and none ends because of one. Only before the first step is a service that cannot be reached refused.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from engine.errors import SettingsError
from models.training.checkpoints import TrainingState
from models.training.records import needed

Outcome = Literal["finished", "stopped", "failed"]

TRACKING = "tracking.json"
"""In a run's folder: which run of which service it is, for when it goes on."""
EXPERIMENT = "barcast"
PAUSES = (30.0, 600.0)
"""Seconds until a service that failed is asked again: at first, and at most; each time twice as long."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own are 7 and 120 s: four minutes for a server that is not there."""
_AT_ONCE = 100
"""Settings in one request, of which MLflow takes no more."""
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true",
          "COMET_DISABLE_AUTO_LOGGING": "1"}


class Point(NamedTuple):
    """What an epoch came to; `time` in ms since 1970."""

    epoch: int
    step: int
    time: int
    metrics: Mapping[str, float]


class Service(Protocol):
    """Where a run is followed. Its methods may raise anything."""

    def open(self) -> None:
        """Begin a run, or go on with the one that the folder has begun."""

    def send(self, point: Point) -> None:
        """Take an epoch's metrics."""

    def close(self, outcome: Outcome) -> None:
        """End the run."""


class Tracker:
    """Tells a service how training goes; models.training.loop.Watcher.

    Args:
        setting: what asks for it, with its value. way_out: what else can be set. tell: told what the service does not
            take, once. now: seconds that go by.
    """

    def __init__(
        self, service: Service, setting: str, way_out: str, *, tell: Callable[[str], None] = lambda text: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service, self._setting, self._way_out = service, setting, way_out
        self._tell, self._now = tell, now
        self._waiting: list[Point] = []
        self._pause, self._not_before = PAUSES[0], 0.0
        self._is_told = False

    def began(self, state: TrainingState, in_epoch: int, epochs: int) -> None:
        """Open it.

        Raises:
            SettingsError: it cannot be opened.
        """
        try:
            self._service.open()
        except SettingsError:
            raise
        except Exception as exc:  # whatever the service, its database or its network raises
            raise SettingsError(f"{self._setting} cannot be opened: {_said(exc)}; {self._way_out}") from exc

    def stepped(self, state: TrainingState, loss: float, rate: float, rows: int, parts: Mapping[str, float]) -> None:
        """Nothing: a call to a server for each step would take longer than the step."""

    def judged(self, state: TrainingState, loss: float, rate: float, seconds: float) -> None:
        """Send the epoch's metrics, and those that wait."""
        valid = {f"valid/{name}": value for name, value in state.metrics.items() if value == value}
        metrics = {"train/loss": loss, "train/rate": rate, **valid}
        self._waiting.append(Point(state.epoch, state.step, round(time.time() * 1000), metrics))
        if self._now() >= self._not_before:
            self._send()

    def ended(self, state: TrainingState, error: BaseException | None) -> None:
        """Send what waits, and end the run there."""
        outcome: Outcome = "finished" if error is None else "failed" if isinstance(error, Exception) else "stopped"
        self._send()
        try:
            self._service.close(outcome)
        except Exception as exc:  # noqa: BLE001 – as in `began`; the training itself is done
            self._fail(exc)
        if self._waiting:
            self._tell(f"{self._setting} has not taken {len(self._waiting)} epochs; metrics.jsonl has them")

    def _send(self) -> None:
        while self._waiting:
            try:
                self._service.send(self._waiting[0])
            except Exception as exc:  # noqa: BLE001 – as in `began`; training is worth more than this
                self._fail(exc)
                return
            self._waiting.pop(0)
            self._pause, self._not_before = PAUSES[0], 0.0

    def _fail(self, error: Exception) -> None:
        self._not_before = self._now() + self._pause
        self._pause = min(2 * self._pause, PAUSES[1])
        if not self._is_told:
            self._tell(f"{self._setting} does not answer: {_said(error)}; training goes on, and sends it later")
            self._is_told = True


class MLflow:
    """A run in MLflow.

    Args:
        uri: of the tracking server, or of a database such as sqlite:///mlflow.db. folder: of the run, whose name it
            has. settings: shown as its parameters.
    Raises:
        SettingsError: the library is not installed.
    """

    def __init__(self, uri: str, folder: Path, settings: Mapping[str, Any]) -> None:
        for name, value in (*_PATIENCE.items(), *_QUIET.items()):
            os.environ.setdefault(name, value)
        self._mlflow = needed("mlflow", "mlflow", "leave log.mlflow out to do without")
        self._uri, self._folder, self._settings = uri, folder, settings

    def open(self) -> None:
        """Begin a run, or go on with the one that the folder has begun there."""
        self._client = self._mlflow.tracking.MlflowClient(tracking_uri=self._uri)
        known = noted(self._folder).get("mlflow", {})
        if known.get("uri") == self._uri:
            self._run = known["run"]
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(self._experiment(), run_name=self._folder.name).info.run_id
        note(self._folder, "mlflow", {"uri": self._uri, "run": self._run})
        made = [self._mlflow.entities.Param(_name(name), value) for name, value in flattened(self._settings)]
        for start in range(0, len(made), _AT_ONCE):
            self._client.log_batch(self._run, params=made[start : start + _AT_ONCE])

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            return str(self._client.create_experiment(EXPERIMENT))
        if found.lifecycle_stage != "active":
            raise SettingsError(
                f"log.mlflow: the experiment {EXPERIMENT} is {found.lifecycle_stage} there; bring it back with "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        return str(found.experiment_id)

    def send(self, point: Point) -> None:
        """Send metrics, by epochs."""
        made = self._mlflow.entities.Metric
        self._client.log_batch(
            self._run,
            metrics=[made(_name(name), value, point.time, point.epoch) for name, value in point.metrics.items()],
        )

    def close(self, outcome: Outcome) -> None:
        """Set the run's status."""
        self._client.set_terminated(
            self._run, status={"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[outcome]
        )


class Comet:
    """An experiment in Comet; its key comes from the environment, COMET_API_KEY.

    Without a server: where COMET_START_ONLINE is false, or COMET_OFFLINE_DIRECTORY is set and no key, it goes into an
    archive there, which `comet upload` takes to Comet. Metrics and settings are all that it is given: no code, output
    or facts of the machine.
    """

    def __init__(self, project: str, folder: Path, settings: Mapping[str, Any]) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        self._comet = needed("comet_ml", "comet-ml", "leave log.comet out to do without")
        self._is_online = is_online(os.environ)
        if self._is_online and not os.environ.get("COMET_API_KEY"):
            raise SettingsError(
                "log.comet is set, and COMET_API_KEY is not in the environment; Comet asks for it, or set "
                "COMET_OFFLINE_DIRECTORY to a folder that keeps the run for `comet upload`"
            )
        self._project, self._folder, self._settings = project, folder, settings

    def open(self) -> None:
        """Begin an experiment, or go on with the one that the folder has begun."""
        known = noted(self._folder).get("comet", {})
        is_known = known.get("project") == self._project
        key = known["key"] if is_known else uuid.uuid4().hex
        nothing = dict.fromkeys((
            "log_code", "log_graph", "log_git_metadata", "log_git_patch", "log_env_details", "parse_args",
            "auto_output_logging", "auto_param_logging", "auto_metric_logging", "auto_log_co2",
        ), False)  # fmt: skip
        self._experiment = self._comet.start(
            project_name=self._project, experiment_key=key, mode="get_or_create" if is_known else "create",
            online=self._is_online,
            experiment_config=self._comet.ExperimentConfig(name=self._folder.name, display_summary_level=0, **nothing),
        )
        if self._is_online and not self._experiment.alive:
            raise RuntimeError("Comet does not take the run, and has said why")
        note(self._folder, "comet", {"project": self._project, "key": key})
        if not is_known:
            self._experiment.log_parameters(dict(flattened(self._settings)))

    def send(self, point: Point) -> None:
        """Send metrics; Comet's own threads bring them there."""
        self._experiment.log_metrics(dict(point.metrics), step=point.step, epoch=point.epoch)

    def close(self, outcome: Outcome) -> None:
        """End the experiment."""
        self._experiment.log_other("outcome", outcome)
        self._experiment.end()


def is_online(environment: Mapping[str, str]) -> bool:
    """Return whether Comet's server is asked, by what the environment says."""
    said = environment.get("COMET_START_ONLINE", "").lower()
    if said:
        return said not in ("0", "false", "no", "off")
    return bool(environment.get("COMET_API_KEY")) or not environment.get("COMET_OFFLINE_DIRECTORY")


def noted(folder: Path) -> dict[str, Any]:
    """Return what was noted of services in a run's folder."""
    try:
        found = json.loads((folder / TRACKING).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(folder: Path, service: str, facts: Mapping[str, str]) -> None:
    """Note which run of a service it is."""
    part = folder / f".{TRACKING}"
    part.write_text(json.dumps({**noted(folder), service: facts}, indent=1) + "\n", "utf-8")
    part.replace(folder / TRACKING)


def flattened(tables: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Return nested tables as dotted names and texts."""
    found: list[tuple[str, str]] = []
    for name, value in tables.items():
        below = isinstance(value, Mapping)
        found += flattened(value, f"{before}{name}.") if below else [(f"{before}{name}", str(value))]
    return found


def _name(text: str) -> str:
    """Return a name that MLflow takes: valid/logreturn_rmse@1h is valid/logreturn_rmse.1h there."""
    return re.sub(r"[^\w. /:-]", ".", text)


def _said(error: Exception) -> str:
    """Return the first line of what a library said, not all of its advice."""
    lines = str(error).strip().splitlines() or [""]
    text = lines[0] if len(lines[0]) <= 200 else f"{lines[0][:200]} …"
    return f"{type(error).__name__}: {text}"
