"""`main.py forecasts …`: look after the store of forecasts."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.commands.telling import command, write_json

if TYPE_CHECKING:
    from engine.forecasting.store import ForecastStore

forecasts = typer.Typer(
    help="List, check and clear the forecasts that are stored.", no_args_is_help=True, rich_markup_mode=None
)

Store = Annotated[
    Path | None, typer.Option("--store", metavar="FILE", help="Which store; runs/forecasts.db if left out.")
]

_UNITS = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


@command(forecasts, "ls")
def list_models(
    store: Store = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List what is stored of each model, the one used last first."""
    from config.terminal import screen, table

    with _opened(store) as opened:
        found, size = opened.models(), opened.size
    if as_json:
        write_json({"bytes": size, "models": [one._asdict() for one in found]}, "-")
        return
    if not found:
        screen.print(f"{opened.path}: the store is empty; a run with models fills it")
        return
    rows = [
        (one.model[:16], f"{one.answers:,}", _shown(one.bytes), time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.used)))
        for one in found
    ]
    screen.print(table(("model", "answers", "bytes", "last used (UTC)"), rows, numbers=("answers", "bytes")))
    screen.print(f"{_shown(size)} in {opened.path}")


@command(forecasts, "gc")
def clear(
    store: Store = None,
    keep: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Drop the oldest beyond this, such as 500MB; 0 drops all.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="HASH", help="Drop those of one model, by how its hash begins.")] = "",
) -> None:
    """Drop stored forecasts and give their space back; they are computed again when they are asked for."""
    from config.terminal import screen
    from engine.errors import SettingsError

    if keep is None and not model:
        raise SettingsError("say what to drop: --keep SIZE, such as 500MB, or --model HASH; `forecasts ls` lists them")
    with _opened(store) as opened:
        dropped = opened.drop(model=model, limit=None if keep is None else _bytes(keep))
        screen.print(f"dropped {dropped:,} forecasts; {_shown(opened.size)} are left")


@command(forecasts, "verify")
def verify(store: Store = None) -> None:
    """Read every stored forecast and hold it against its checksum. Ends with 1 if one is damaged."""
    from config.terminal import screen

    with _opened(store) as opened:
        faults = opened.verify()
        count = sum(one.answers for one in opened.models())
    for fault in faults:
        screen.print(fault)
    screen.print(f"{count:,} forecasts, {len(faults):,} damaged" if faults else f"{count:,} forecasts, all as written")
    if faults:
        raise typer.Exit(1)


def _opened(store: Path | None) -> "ForecastStore":
    from config.settings import FORECAST_STORE
    from engine.errors import SettingsError
    from engine.forecasting.store import ForecastStore

    path = store or FORECAST_STORE
    if not path.is_file():
        raise SettingsError(f"there is no forecast store {path}; a run with models makes one, or name another: --store")
    return ForecastStore(path)


def _bytes(text: str) -> int:
    from engine.errors import SettingsError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    unit = "" if match is None else match[2] + ("B" if match[2] in tuple("KMGT") else "")
    if match is None:
        raise SettingsError(f"--keep is {text!r}; expected a size such as 500MB or 2GB")
    return round(float(match[1]) * _UNITS[unit])


def _shown(size: int) -> str:
    for unit in ("GB", "MB", "KB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f} {unit}"
    return f"{size} B"
