"""`main.py models …`: verify networks, list and show artefacts, import foreign checkpoints."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from config.commands.telling import command, write_json

models = typer.Typer(
    help="Verify networks; list, show and import artefacts.", no_args_is_help=True, rich_markup_mode=None
)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]


@command(models, "verify")
def verify(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Golden folders, checkpoints or artefacts.")],
    as_json: AsJson = False,
) -> None:
    """Rebuild the network of each folder, run every tensor the folder has, and say how far off each is.

    Ends with status 1 if a tensor is out, or a network's folder is damaged or does not fit together; with 2 if what was
    named is no network's folder.
    """
    from config.models import verify as verified
    from config.terminal import errors, screen, verified_line, verified_summary

    found = verified(folders)
    if as_json:
        write_json([dataclasses.asdict(one) for one in found], "-")
    else:
        for one in found:
            screen.print(f"{one.folder}  {one.kind}", style="bold")
            for check in one.checks:
                screen.print(verified_line(check))
            if one.fault:
                errors.print(f"error: {one.fault}", style="red", soft_wrap=True)
        screen.print(verified_summary(found))
    if any(one.kind and not one.is_ok for one in found):
        raise typer.Exit(1)
    if not all(one.is_ok for one in found):
        raise typer.Exit(2)


@command(models, "list")
def list_artefacts(
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to look; runs/ in the checkout if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the artefacts below a folder. Ends with status 1 if one of them is damaged."""
    from config.models import show_all
    from config.settings import RUNS
    from config.terminal import artefact_table, errors, screen

    folder = folder or RUNS
    found, faults = show_all(folder)
    if as_json:
        write_json([dataclasses.asdict(one) for one in found], "-")
    elif found:
        screen.print(artefact_table(found))
    elif not faults:
        screen.print(f"no artefact below {folder}; `models import` makes one of a checkpoint")
    for fault in faults:
        errors.print(f"error: {fault}", style="red", soft_wrap=True)
    if faults:
        raise typer.Exit(1)


@command(models, "show")
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An artefact's folder.")], as_json: AsJson = False
) -> None:
    """Show what an artefact is: architecture, parameters, training span, hash."""
    from config.models import show as shown
    from config.terminal import artefact_lines, screen

    one = shown(folder)
    if as_json:
        write_json(dataclasses.asdict(one), "-")
    else:
        screen.print(*artefact_lines(one), sep="\n")


@command(models, "examples")
def examples(
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to write them; runs/models if left out.")
    ] = None,
) -> None:
    """Write small artefacts of random weights, to try models with. They know nothing of markets."""
    from config.models import write_examples
    from config.terminal import artefact_table, screen

    found = write_examples(to)
    screen.print(artefact_table(found))
    screen.print(
        "Untrained: for trying the plumbing. Runs with them are stamped as contaminated, for nothing says until when "
        "they were trained.", style="yellow",
    )
    if to is None:
        screen.print("Settings that use them: python main.py backtest config/examples/kronos_paths.toml")


@command(models, "import")
def import_checkpoint(
    kind: Annotated[Literal["kronos", "krnn", "tft"], typer.Argument(help="What the checkpoint is of.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, Hub id, or state dict's file.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The artefact's folder.")],
    tokenizer: Annotated[str | None, typer.Option(metavar="SOURCE", help="Kronos: its tokenizer.")] = None,
    max_context: Annotated[int | None, typer.Option(help="Kronos of other sizes: tokens that it sees.")] = None,
    layout: Annotated[
        Literal["field_major", "time_major", "qlib_raw"],
        typer.Option(help="KRNN: how the rows it was trained on were laid out; qlib_raw for Qlib's own class."),
    ] = "qlib_raw",
    scaler: Annotated[Path | None, typer.Option(help="KRNN: safetensors with its scaler's median and scale.")] = None,
    timeframe: Annotated[str, typer.Option(help="KRNN: of the bars it was trained on.")] = "1d",
    configuration: Annotated[Path | None, typer.Option("--config", help="TFT: JSON of its hyper-parameters.")] = None,
    clock: Annotated[
        str | None, typer.Option(metavar="ZONE", help="The wall clock of its calendar, such as Asia/Shanghai.")
    ] = None,
    future_stamps: Annotated[
        str | None, typer.Option(metavar="WHEN", help="When bars ahead come: 24/7, weekdays, or an exchange: XNYS.")
    ] = None,
) -> None:
    """Make an artefact of a foreign checkpoint."""
    from config.models import import_from
    from config.terminal import artefact_lines, screen

    one = import_from(
        kind, source, to, tokenizer=tokenizer, max_context=max_context, layout=layout, scaler=scaler,
        timeframe=timeframe, configuration=configuration, clock=clock, future_stamps=future_stamps,
    )
    screen.print(*artefact_lines(one), sep="\n")
