"""`main.py forecast CONFIG`: one forecast, in words and as a page."""

from pathlib import Path
from typing import Annotated

import typer

from config.commands.telling import told, write_json

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as data.seed=7.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forecast")(told(forecast))


def forecast(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="Settings with [models]; config/examples has some.")
    ],
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When; the last bar of the data if left out.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Of which; the first of the data if left out.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Which, if the settings have several.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Where the model runs: auto, cpu, cuda, cuda:1 or mps.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to draw it; runs/forecast.html if left out.")
    ] = None,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write it as JSON; - for the output.")
    ] = None,
    changes: Set = None,
) -> None:
    """Ask a model for one forecast; print it, and draw it beside what came of it."""
    from config.asking import ask
    from config.settings import RUNS, check_writable, device_changes, load_settings
    from config.terminal import screen
    from engine.analysis.forecast_page import write_forecast
    from engine.analysis.forecast_text import as_json, print_forecast

    page = html or RUNS / "forecast.html"
    for path in (page, Path(json_path) if json_path not in (None, "-") else None):
        if path is not None:
            check_writable(path)
    settings = load_settings(config, changes or [])
    if device:
        settings = load_settings(config, [*(changes or []), *device_changes(settings, device)])
    view = ask(settings, model=model, symbol=symbol, at=at)
    write_forecast(view, page)
    if json_path is not None:
        write_json(as_json(view), json_path)
    if json_path != "-":
        print_forecast(view, screen)
        screen.print(f"\ndrawn in {page}", soft_wrap=True)
