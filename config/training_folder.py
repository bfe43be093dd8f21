"""The folder of a training run: made, described, found again to go on, and held by one process at a time."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from config.manifest import code_version
from config.settings import RUNS
from config.training_settings import TrainingSettings
from engine.clock import WallClock
from engine.errors import SettingsError
from models.artefact import library_versions
from models.training.plan import Plan
from models.training.recipe import TrainingFacts

SETTINGS, CARD = "settings.json", "run.json"

MAY_CHANGE = (
    "train.epochs", "train.patience", "train.keep", "train.stop_after", "train.device", "train.threads", "train.folder",
    "train.checkpoint_steps", "train.name", "log",
)
"""What a run that goes on may have other than it began with."""


def _resolved(settings: TrainingSettings, kind: str) -> dict[str, Any]:
    return {"kind": kind, **settings.model_dump(mode="json")}


def new_folder(settings: TrainingSettings, kind: str, fingerprint: str) -> Path:
    """Make the folder of a new run, one that no other has."""
    text = json.dumps([_resolved(settings, kind), fingerprint, code_version()[0]], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    stamp = f"{datetime.fromtimestamp(WallClock().now / 1e9).astimezone():%Y%m%d-%H%M%S}"
    folder = settings.train.folder / f"{settings.train.name}-{stamp}-{digest}"
    number, given = 1, folder
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = given.with_name(f"{given.name}-{number}")
        else:
            return folder


@dataclass(frozen=True)
class Donor:
    """The artefact that a run's weights began with, and what it had seen; kept in the run's folder, for a run that goes
    on has seen it too."""

    artefact: str
    facts: TrainingFacts

    @classmethod
    def read(cls, artefact: Path) -> "Donor":
        """Return an artefact as a donor."""
        return cls(str(artefact), TrainingFacts.read(artefact))


def donor_of(folder: Path) -> Donor | None:
    """Return what the weights of a run began with; None: with themselves."""
    said = json.loads((folder / CARD).read_text("utf-8"))["warm_start"]
    match said:
        case None:
            return None
        case str():  # by a version that kept no more than its name
            return Donor(said, TrainingFacts(None, None, ()))
    facts = said["facts"]
    return Donor(said["artefact"], TrainingFacts(**{**facts, "trained_on": tuple(facts["trained_on"])}))


def write_card(folder: Path, settings: TrainingSettings, kind: str, fingerprint: str, donor: Donor | None) -> None:
    """Write what the run is made of; of one that goes on, what it is now.

    Args:
        donor: what its weights began with.
    """
    commit, is_changed = code_version()
    facts = {
        "kind": kind, "commit": commit, "is_changed": is_changed, "data_fingerprint": fingerprint,
        "libraries": library_versions(), "warm_start": None if donor is None else asdict(donor), "pid": os.getpid(),
    }
    for name, content in ((SETTINGS, _resolved(settings, kind)), (CARD, facts)):
        part = folder / f".{name}"
        part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
        part.replace(folder / name)


def resumed(
    run: str, settings: TrainingSettings, kind: str, fingerprint: str, plan: Plan, usual_epochs: int
) -> Path:
    """Return the folder of a run that goes on, if it may go on with these settings.

    Args:
        plan: what it would go on by. usual_epochs: of the recipe, where settings say none.
    Raises:
        SettingsError: there is none, or it began with other settings, or on other data.
    """
    folder = next((path for path in (Path(run), settings.train.folder / run, RUNS / run) if path.is_dir()), None)
    if folder is None:
        raise SettingsError(f"--resume {run}: there is no such run; expected the folder of one")
    try:
        began = json.loads((folder / SETTINGS).read_text("utf-8"))
        facts = json.loads((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise SettingsError(f"--resume {run}: {folder} is not the folder of a training run: {exc}") from exc
    if (other := began.get("kind")) != kind:
        raise SettingsError(
            f"--resume {run}: it trains {other}, not {kind}; go on with `train {other} …`, or name a run of {kind}"
        )
    for key, old, new in _differences(began, _resolved(settings, kind)):
        if key == "train.epochs" and (old or usual_epochs) != plan.epochs and (bent := _laid_out(kind, plan)):
            raise SettingsError(
                f"--resume {run}: it began with train.epochs = {old or usual_epochs}, now it is {plan.epochs}; {bent} "
                "is laid out for all epochs, and would jump: set it back (train.stop_after ends a sitting earlier), or "
                "begin anew with --warm-start, or with train.schedule_epochs, with which train.epochs may change"
            )
        if not key.startswith(MAY_CHANGE):
            raise SettingsError(f"--resume {run}: it began with {key} = {old!r}, now it is {new!r}; set it back")
    if facts["data_fingerprint"] != fingerprint:
        raise SettingsError(f"--resume {run}: the data is not what it began with; begin a new run, or --warm-start it")
    return folder


def _laid_out(kind: str, plan: Plan) -> str:
    """Return what another number of epochs would bend; empty if nothing."""
    if plan.schedule_epochs:
        return ""
    if plan.schedule.kind != "constant":
        return f"the {plan.schedule.kind} schedule of the learning rate"
    return "the head's temperature" if kind == "position" else ""


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], before: str = "") -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differences(one, other, f"{before}{name}.")
        elif one != other:
            found.append((f"{before}{name}", one, other))
    return found


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Have a run's folder for ourselves, until the process ends at the latest.

    Raises:
        SettingsError: another process has it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise SettingsError(
                f"another process is training in {folder}; wait for it, or begin a run of your own"
            ) from exc
        yield
    finally:
        os.close(handle)
