"""`main.py replay RUN`: does a recorded session come about again, byte for byte?"""

from typing import Annotated

import typer

from config.commands.telling import told, write_json

Journal = Annotated[
    str | None, typer.Option(
        "--journal", metavar="URL", envvar="BARCAST_JOURNAL", help="Which journal: a file or a URL; runs/journal.db.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(told(replay))


def replay(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="The session; the last run if left out.")] = "last",
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write the certificate as JSON; - for the output.")
    ] = None,
    journal: Journal = None,
) -> None:
    """Run a recorded session again, and prove that its decisions, orders and fills are the same."""
    from config.assembly import open_journal
    from config.replaying import replay as run_again
    from config.risk import run_number
    from config.terminal import screen

    with open_journal(journal) as opened:
        came = run_again(opened, run_number(run))
    if json_path is not None:
        write_json(came.as_dict(), json_path)
    if json_path != "-":
        if came.is_same:
            said = f"the same, byte for byte: {came.inputs:,} inputs led to the same {came.rows:,} rows"
            screen.print(f"run {came.run_id}: {said}", soft_wrap=True)
            for name, value in came.hashes.items():
                screen.print(f"  {name:<13} {value}", soft_wrap=True)
        else:
            screen.print(f"run {came.run_id}: differs after {came.inputs:,} inputs and {came.rows:,} equal rows",
                         soft_wrap=True)
            screen.print(f"  {came.divergence}", soft_wrap=True, markup=False)
            if came.code_recorded != came.code_now:
                code = f"recorded by {came.code_recorded[:12]}, run again by {came.code_now[:12]}"
                screen.print(f"  {code}", soft_wrap=True)
    if not came.is_same:
        raise typer.Exit(1)
