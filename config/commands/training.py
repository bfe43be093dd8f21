"""`main.py train …`: train a network, go on with a run, begin with another's weights."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from config.commands.telling import told, write_json

Kind = Literal["krnn", "kronos-tokenizer", "kronos", "price", "position", "tft"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(told(train))


def train(
    kind: Annotated[Kind, typer.Argument(help="Which network.")],
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="The settings; config/examples/training has some.")
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as train.epochs=5.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run: its folder, or its name below runs/.")
    ] = None,
    warm_start: Annotated[
        Path | None, typer.Option("--warm-start", metavar="DIR", help="Begin with what fits of an artefact's weights.")
    ] = None,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write what came of it as JSON; - for the output.")
    ] = None,
) -> None:
    """Train a network on bars and write it as an artefact. Under torchrun, on several processes."""
    import dataclasses
    import os

    from config.settings import check_writable
    from config.terminal import errors, screen, table
    from config.training import run_training
    from config.training_progress import TrainingProgress
    from config.training_settings import load_training
    from engine.errors import SettingsError

    if resume is not None and warm_start is not None:
        raise SettingsError("both --resume and --warm-start are given; a run that goes on has its weights")
    if json_path not in (None, "-"):
        check_writable(Path(str(json_path)))
    settings = load_training(config, changes or [])
    is_first = os.environ.get("RANK", "0") == "0"
    watchers = [TrainingProgress(errors, settings.train.name)] if is_first else []
    done = run_training(
        kind, settings, resume=resume, warm=warm_start, watchers=watchers,
        say=lambda text: errors.print(text, highlight=False, soft_wrap=True),
    )
    if not is_first:
        return
    if json_path is not None:
        write_json(dataclasses.asdict(done), json_path)
    if json_path == "-":
        return
    if done.warm_start:
        screen.print(done.warm_start)
    figures = [(name, f"{value:+.5f}") for name, value in done.metrics.items()]
    screen.print(table(("best epoch's metric", "value"), figures, numbers=("value",)))
    screen.print(
        f"{done.epochs} epochs, {done.steps:,} steps; the best by {done.metric} was epoch {done.best_epoch}",
        f"artefact: {done.artefact}", sep="\n", soft_wrap=True,
    )
    if not done.is_finished:
        screen.print(f"not finished: --resume {done.folder} goes on", soft_wrap=True)
