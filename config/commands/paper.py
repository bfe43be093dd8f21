"""`main.py paper CONFIG.toml`: a live session with paper money."""

import signal
import sys
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import typer

from config.commands.telling import told

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as live.broker=paper.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("paper")(told(paper))


def paper(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Settings with data.source = \"venue\".")],
    changes: Set = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin a new session, though one was left that could be gone on with.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Go on with a session whose machine or container is gone for certain.")
    ] = False,
    span: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", help="Stop after so long, such as 2h; the market's time.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a dashboard, in a terminal too.")] = False,
    journal: Annotated[
        str | None, typer.Option(
            "--journal", metavar="URL", envvar="BARCAST_JOURNAL", help="Which journal: a file or a URL.")
    ] = None,
) -> None:
    """Trade with paper money on a live market, until it is stopped; go on where the session was left.

    Ctrl-C or SIGTERM stops the process, and the same command goes on; `stop RUN` ends the session for good.
    """
    import json

    from config.live import run_paper
    from config.settings import journal_url, load_settings

    overrides = list(changes or ())
    if journal:
        overrides.append(f"journal.url={json.dumps(journal_url(journal, Path.cwd()))}")
    settings = load_settings(config, overrides)
    stop = Event()
    with_signals(stop)
    run_id = run_paper(
        settings, stop=stop, fresh=fresh, take_over=take_over, span=span, is_plain=plain or not sys.stdout.isatty()
    )
    typer.echo(f"run {run_id}: `replay {run_id}` proves it, `report {run_id}` shows it, `why r{run_id}-1` explains it")


def with_signals(stop: Event) -> None:
    """Let the first Ctrl-C or SIGTERM ask for a clean stop, and a second one interrupt whatever goes on."""

    def ask(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
