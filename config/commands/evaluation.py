"""`main.py evaluate ARTEFACT CONFIG`: a model judged on bars that it has not seen, and traded."""

from pathlib import Path
from typing import Annotated

import typer

from config.commands.telling import told, write_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(told(evaluate))


def evaluate(
    artefact: Annotated[Path, typer.Argument(metavar="ARTEFACT", help="The folder of a trained network.")],
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="Settings of a backtest whose strategy acts on a model.")
    ],
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Whose place in the settings it takes.")] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of the first decision; where its training ended if left out.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where the report goes; runs/evaluations if left out.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting.")
    ] = None,
) -> None:
    """Judge a model beside baselines on bars it has not seen, trade its forecasts after costs, and write a report."""
    from config import evaluation_page as pages
    from config.evaluation import as_json, evaluate, instant
    from config.settings import RUNS, check_writable, load_settings
    from config.terminal import screen, table

    moment = None if start is None else instant(start, "--start")
    folder = to or RUNS / "evaluations" / f"{artefact.resolve().parent.name}"
    check_writable(folder / "evaluation.json")
    made = evaluate(artefact.resolve(), load_settings(config, changes or []), model=model, start=moment)
    png = pages.picture(made)
    (folder / "evaluation.png").write_bytes(png)
    (folder / "evaluation.html").write_text(pages.page(made, png), "utf-8")
    write_json(as_json(made), str(folder / "evaluation.json"))
    screen.print(table(("", *made.contenders), pages.figure_rows(made.contenders), numbers=tuple(made.contenders)))
    for name, why in made.left_out.items():
        screen.print(f"left out: {name}: {why}", soft_wrap=True)
    for name, of in made.targets.items():
        screen.print(table((name, *of), pages.figure_rows(of), numbers=tuple(of)))
    screen.print(table(("traded after costs", ""), pages.traded_rows(made)))
    if made.unusable:
        screen.print(f"left out: {made.unusable:,} forecasts of what no price can do", style="yellow")
    if made.is_contaminated:
        screen.print("contaminated: decisions lie within what the model was trained on", style="yellow")
    screen.print(f"report: {folder / 'evaluation.html'}", soft_wrap=True)
