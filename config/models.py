"""What `main.py models …` does: verify folders, list and show artefacts, import foreign checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.settings import RUNS
from engine.bars import iso
from engine.errors import EngineError, PluginError
from engine.forecasting.exchanges import check_exchange, clock_of
from engine.forecasting.sessions import ALWAYS, WEEKDAYS
from engine.forecasting.windows import check_clock
from models.artefact import CARD, Artefact, load_artefact, read_card
from models.devices import use_one_thread
from models.krnn import Layout
from models.verification import TensorCheck, kind_of, verify_folder


@dataclass(frozen=True)
class Verified:
    """What came of a folder: its kind, one check a tensor, or why it could not be read."""

    folder: Path
    kind: str
    checks: tuple[TensorCheck, ...]
    fault: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether nothing is wrong, and there was something that could have been."""
        return not self.fault and bool(self.checks) and all(check.is_ok for check in self.checks)

    @property
    def compared(self) -> int:
        """How many tensors were held against something, and not passed over."""
        return sum(not check.skipped for check in self.checks)


def verify(folders: Sequence[Path]) -> list[Verified]:
    """Verify folders; files among them (a README that a shell's * has caught) are passed over.

    Raises:
        PluginError: there is no folder among them.
    """
    use_one_thread()
    found = [folder for folder in folders if not folder.is_file()]
    if not found:
        raise PluginError(f"{', '.join(map(str, folders))}: no folder among them; expected golden folders or artefacts")
    return [_verified(folder) for folder in found]


def _verified(folder: Path) -> Verified:
    kind, fault = "", ""
    checks: list[TensorCheck] = []
    try:
        kind = kind_of(folder)
        checks.extend(verify_folder(folder))  # those before a fault are kept
        if not checks:
            fault = f"{folder} has nothing that a network could be held against"
    except EngineError as error:
        fault = str(error)
    except KeyError as error:
        fault = f"{folder} does not fit together: there is nothing of the name {error} in it"
    except _MISFITS as error:
        fault = f"{folder} does not fit together: {type(error).__name__}: {error}"
    return Verified(folder, kind, tuple(checks), fault)


_MISFITS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""Of a folder made elsewhere: tensors of other names or shapes than its config.json says."""


def artefacts_in(folder: Path) -> list[Path]:
    """Return the folders below one that hold an artefact, sorted."""
    return sorted(path.parent for path in folder.rglob(CARD)) if folder.is_dir() else []


@dataclass(frozen=True)
class Shown:
    """An artefact in words, JSON-ready."""

    folder: str
    architecture: str
    parameters: int
    hash: str
    timeframe: str
    lookback: int
    horizon: int
    trained: str
    trained_on: tuple[str, ...]
    source: str
    configuration: dict[str, Any]
    inputs: tuple[str, ...]
    conventions: dict[str, Any]


def show(folder: Path) -> Shown:
    """Return what an artefact is.

    Raises:
        PluginError: it is none, or was changed since it was written.
    """
    artefact = load_artefact(folder)
    card = artefact.card
    return Shown(
        str(folder), card.architecture, _size(artefact), artefact.hash, card.timeframe, card.lookback, card.horizon,
        _span(read_card(folder)), card.trained_on, card.source, card.configuration, card.inputs, card.conventions,
    )


def show_all(folder: Path) -> tuple[list[Shown], list[str]]:
    """Return the artefacts below a folder, and what is wrong with those that cannot be read."""
    found, faults = [], []
    for one in artefacts_in(folder):
        try:
            found.append(show(one))
        except PluginError as error:
            faults.append(str(error))
    return found, faults


def _size(artefact: Artefact) -> int:
    names = {name for name in artefact.tensors if name != "scalers"}
    return sum(tensor.numel() for name in names for tensor in artefact.tensors[name].values())


def _span(card: dict[str, Any]) -> str:
    first, last = card.get("trained_from"), card.get("trained_until")
    if last is None:
        return "unknown, which counts as contaminated"
    return f"{iso(first) if first is not None else '…'} to {iso(last)}"


def write_examples(to: Path | None) -> list[Shown]:
    """Write the example artefacts below a folder, runs/models if none is given; return what they are."""
    from models.examples import write_examples as write

    folder = to or RUNS / "models"
    return [show(folder / name) for name in write(folder)]


def import_from(
    kind: str, source: str, to: Path, *, tokenizer: str | None, max_context: int | None, layout: Layout,
    scaler: Path | None, timeframe: str, configuration: Path | None, clock: str | None, future_stamps: str | None,
) -> Shown:
    """Write an artefact of a foreign checkpoint; return what it is.

    Args:
        clock, future_stamps: recorded in it, as in a forecaster's spec.
    Raises:
        PluginError: it cannot be loaded, or something that its kind needs was not given.
    """
    from models.importing import import_krnn, import_kronos, import_tft

    conventions = _conventions(clock, future_stamps)

    if kind == "kronos":
        if tokenizer is None:
            raise PluginError("kronos has two networks; name the tokenizer's folder or Hub id, too: --tokenizer")
        import_kronos(source, tokenizer, to, max_context=max_context, conventions=conventions)
    elif kind == "krnn":
        import_krnn(
            Path(source), to, layout=layout, scaler=scaler, timeframe=timeframe, conventions=conventions
        )
    else:
        if configuration is None:
            raise PluginError("a TFT's sizes are not in its weights; name the JSON that has them: --config")
        import_tft(Path(source), configuration, to, conventions=conventions)
    return show(to)


def _conventions(clock: str | None, future_stamps: str | None) -> dict[str, str]:
    if future_stamps not in (None, ALWAYS, WEEKDAYS):
        check_exchange(future_stamps, "import")
        clock = clock or clock_of(future_stamps)
    if clock is not None:
        check_clock(clock, "import")
    given = {"clock": clock, "future_stamps": future_stamps}
    return {name: value for name, value in given.items() if value is not None}
