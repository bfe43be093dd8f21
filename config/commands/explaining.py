"""`main.py explain RUN RUN`: what the difference of two runs' profits is made of."""

from pathlib import Path
from typing import Annotated

import typer

from config.commands.telling import told, write_json

Journal = Annotated[
    str | None, typer.Option(
        "--journal", metavar="URL", envvar="BARCAST_JOURNAL", help="Which journal: a file or a URL; runs/journal.db.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(told(explain))


def explain(
    paper_run: Annotated[str, typer.Argument(metavar="PAPER_RUN", help="The run to be explained: a number, or last.")],
    backtest_run: Annotated[
        str | None, typer.Argument(metavar="[BACKTEST_RUN]", help="The run that it is held against; if left out, the "
                                   "session's own bars are filled as a backtest fills, and journalled as a run.")
    ] = None,
    listed: Annotated[int, typer.Option("--top", min=0, help="How many of the largest contributions to list.")] = 12,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write it all as JSON; - for the output.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Where a backtest's files or catalog are now.")
    ] = None,
    journal: Journal = None,
    second_journal: Annotated[
        str | None, typer.Option("--journal2", metavar="URL", help="The second run's journal, if it is another.")
    ] = None,
) -> None:
    """Say why two runs over the same time earned differently: parts that add up to the difference, and the orders
    behind them. Any two runs will do."""
    from config.assembly import open_journal
    from config.explaining import explain_runs
    from config.risk import run_number
    from config.settings import check_writable
    from config.terminal import screen
    from engine.analysis.explain_text import print_explanation

    if json_path not in (None, "-"):
        check_writable(Path(str(json_path)))
    first: int | None
    second: int | None
    if backtest_run is None:
        from config.twins import make_twin

        with open_journal(journal) as opened:
            first, second = make_twin(opened, run_number(paper_run))
        if json_path != "-":
            screen.print(f"run {second} is run {first} again, its bars filled as a backtest fills them")
    else:
        first, second = run_number(paper_run), run_number(backtest_run)
    found = explain_runs(first, second, journal, second_journal if backtest_run is not None else None, data)
    if json_path is not None:
        write_json(found.as_dict(), json_path)
    if json_path != "-":
        print_explanation(found, screen, listed)
