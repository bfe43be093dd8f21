"""`main.py status | halt | resume | flatten | stop [RUN]`: operating a session from another process."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.commands.telling import told, write_json

if TYPE_CHECKING:  # SQLAlchemy is loaded by a command that needs it
    from config.operating import Found
    from engine.journal.sql import SqlJournal

Journal = Annotated[
    str | None, typer.Option(
        "--journal", metavar="URL", envvar="BARCAST_JOURNAL", help="Which journal: a file or a URL; runs/journal.db.")
]
Run = Annotated[
    str, typer.Argument(metavar="[RUN]", help="The session's run; the newest that is running if left out.")
]
Why = Annotated[str, typer.Option(metavar="TEXT", help="The reason; it is recorded with your name.")]
OneSymbol = Annotated[str, typer.Option("--symbol", metavar="SYMBOL", help="This symbol alone.")]
Wait = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait until the session has heard.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, run in (
        ("status", status), ("halt", halt), ("resume", resume), ("flatten", flatten), ("stop", stop), ("daily", daily)
    ):
        app.command(name)(told(run))


def status(
    run: Run = "last",
    journal: Journal = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again; Ctrl-C ends that.")] = False,
) -> None:
    """Show how a session is: positions, orders, feed, forecasts, halts, alerts. Ends with 1 if it is halted, silent or
    not running."""
    from config.assembly import open_journal
    from config.dashboard import Dashboard, status_view
    from config.operating import find_session
    from config.risk import run_number
    from config.terminal import screen

    with open_journal(journal) as opened:
        found = find_session(opened, run_number(run))
        if watch and found.status is not None:
            with Dashboard(screen) as shown:
                while found.is_running and found.status is not None:
                    shown.show(found.status, time.time_ns())
                    time.sleep(min(found.status.heartbeat, 1.0))
                    found = find_session(opened, found.run.id)
    now, said = time.time_ns(), found.status
    is_well = found.is_running and said is not None and not said.is_silent(now) and said.state == "running"
    if as_json:
        body = dataclasses.asdict(said) if said is not None else None
        write_json({"run": found.run.id, "run_status": found.run.status, "well": is_well, "status": body}, "-")
    else:
        if said is not None:
            screen.print(status_view(said, now))
        else:
            screen.print(f"run {found.run.id} has left no status ({found.path} is not there)", soft_wrap=True)
        if not found.is_running:
            screen.print(f"run {found.run.id} is {found.run.status}{': ' if found.run.error else ''}{found.run.error}")
        if found.kill_switch is not None:
            screen.print(f"the kill switch {found.kill_switch} is there", style="bold red", soft_wrap=True)
    if not is_well:
        raise typer.Exit(1)


def halt(
    run: Run = "last",
    *,
    why: Why,
    symbol: OneSymbol = "",
    cancel: Annotated[bool, typer.Option("--cancel", help="Withdraw every working order, too.")] = False,
    wait: Wait = 10.0,
    journal: Journal = None,
) -> None:
    """Halt a session: from now on nothing is sent but what reduces a position, until `resume`."""
    _ask(run, "cancel_all" if cancel else "halt", why, symbol, wait, journal)


def flatten(run: Run = "last", *, why: Why, symbol: OneSymbol = "", wait: Wait = 10.0, journal: Journal = None) -> None:
    """Halt a session, withdraw its orders and close its positions at market."""
    _ask(run, "flatten", why, symbol, wait, journal)


def stop(run: Run = "last", *, why: Why, wait: Wait = 30.0, journal: Journal = None) -> None:
    """End a session for good; its orders and positions stay as they are. Ctrl-C in its terminal leaves it to be gone on
    with instead."""
    _ask(run, "stop", why, "", wait, journal)


def resume(
    run: Run = "last",
    *,
    why: Why,
    rule: Annotated[str, typer.Option(metavar="NAME", help="Halts of this rule alone.")] = "",
    symbol: OneSymbol = "",
    wait: Wait = 10.0,
    journal: Journal = None,
) -> None:
    """Lift the halts of a session: trading goes on."""
    from config.assembly import open_journal
    from config.operating import ask_resume
    from config.risk import run_number

    with open_journal(journal) as opened:
        found, number, halts = ask_resume(opened, run_number(run), why, rule, symbol)
        typer.echo(f"run {found.run.id}: lift {', '.join(halts)}")
        _tell_heard(opened, found, number, wait)


def daily(
    run: Run = "last",
    day: Annotated[
        str | None, typer.Option(metavar="DATE", help="Such as 2026-11-30, UTC; the last if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write it there, as text and HTML.")] = None,
    journal: Journal = None,
) -> None:
    """Tell what a session did in a day: result, trades, halts, forecasts, alerts."""
    from config.assembly import open_journal
    from config.daily import daily_report
    from config.risk import run_number
    from engine.analysis.daily import as_text

    with open_journal(journal) as opened:
        blocks, files = daily_report(opened, run_number(run), day, out)
    typer.echo(as_text(blocks), nl=False)
    for file in files:
        typer.echo(f"written to {file}")


def _ask(run: str, kind: str, why: str, symbol: str, wait: float, journal: str | None) -> None:
    from config.assembly import open_journal
    from config.operating import ask
    from config.risk import run_number

    with open_journal(journal) as opened:
        found, number = ask(opened, run_number(run), kind, why, symbol)
        typer.echo(f"run {found.run.id}: {kind}{f' {symbol}' if symbol else ''}")
        _tell_heard(opened, found, number, wait)


def _tell_heard(opened: "SqlJournal", found: "Found", number: int, wait: float) -> None:
    """Say whether the session has heard. Ends with 1 if it is there and has not."""
    from config.operating import was_heard

    if not found.is_running:
        typer.echo(f"it is {found.run.status}, and hears of it when it goes on")
    elif was_heard(opened, found.run.id, number, within=wait):
        typer.echo("the session has heard")
    else:
        typer.echo(
            f"not heard within {wait:g} s: it may be busy, or its process hangs; `python main.py status` tells, and "
            "the wish stays written", err=True)
        raise typer.Exit(1)
