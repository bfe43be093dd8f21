"""`main.py select`: choose features for training."""

from pathlib import Path
from typing import Annotated

import typer

from config.commands.telling import told


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("select")(told(select))


def select(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="The settings of `train tft`, with a section [select].")
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as select.keep=16.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The allow-list; runs/<name>.features.txt if left out.")
    ] = None,
    gating: Annotated[
        Path | None, typer.Option(metavar="DIR", help="An artefact of a transformer, whose own gates count, too.")
    ] = None,
) -> None:
    """Choose the features that tell most of the targets, by trees and by what is lost without each, inside the training
    part alone; say what the choice is worth on the judging part; write the list that tft.allow_list reads."""
    from config.selecting import run_selection, summary_of
    from config.settings import check_writable
    from config.terminal import errors, screen, table
    from config.training_settings import load_training

    settings = load_training(config, changes or [])
    path = out or settings.train.folder / f"{settings.train.name}.features.txt"
    check_writable(path)
    found = run_selection(
        settings, path, gating=gating, told=lambda text: errors.print(text, highlight=False, soft_wrap=True)
    )
    names = ("target", "period", "chosen", "all", "random")
    screen.print(table(names, summary_of(found), numbers=("chosen", "all", "random")))
    screen.print(
        f"{len(found.chosen)} of {len(found.evidence[0].lost)} features: {', '.join(found.chosen)}",
        f"tft.allow_list = \"{path}\"", sep="\n", soft_wrap=True, highlight=False,
    )
