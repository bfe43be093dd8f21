"""`main.py calibrate RUN…`: costs out of paper sessions' own fills."""

import dataclasses
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
    app.command("calibrate")(told(calibrate))


def calibrate(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Paper sessions: numbers, or last.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.toml", help="Write them there, for costs.calibrated; an "
                                  "older calibration there is compared, and replaced by a new version.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What to call it; the file's name.")] = None,
    minimum: Annotated[int, typer.Option(min=10, help="Fewest orders from which anything is fitted.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws that make the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    journal: Journal = None,
) -> None:
    """Fit spread, slippage, latency and fees from paper fills, with intervals. Ends with 1 if they have drifted from
    the calibration in the file."""
    from config.calibrating import calibrate_runs, keep
    from config.risk import run_number
    from config.settings import check_writable
    from config.terminal import screen
    from engine.analysis.calibration_text import print_calibration

    if out is not None:
        check_writable(out)
    fitted = calibrate_runs([run_number(run) for run in runs], journal, minimum=minimum, seed=seed)
    kept, drifts = keep(fitted, out, name) if out is not None else (None, [])
    if as_json:
        write_json({
            **dataclasses.asdict(fitted), "reference": kept.reference if kept else None,
            "drifted": [str(drift) for drift in drifts],
        }, "-")
    else:
        print_calibration(fitted.calibration, screen, notes=fitted.notes)
        if kept is not None:
            way = f'name it by [costs] calibrated = "{out}"'
            screen.print(f"\nwritten to {out}: {kept.reference}; {way}", soft_wrap=True, markup=False)
    for drift in drifts:
        typer.echo(f"drift: {drift}", err=True)
    if drifts:
        raise typer.Exit(1)
