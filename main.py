"""Barcast's command line: parse, load settings, assemble, run, print.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from config.commands import (
    calibrating,
    evaluation,
    explaining,
    fetching,
    forecasting,
    operating,
    paper,
    replaying,
    selecting,
    training,
)
from config.commands.forecast_store import forecasts
from config.commands.models import models
from config.commands.telling import command, told, write_json

ROOT = Path(__file__).resolve().parent
PYTHON = "python" if os.environ.get("VIRTUAL_ENV") else ".venv/bin/python"
"""What a user types to run this file from the checkout."""

app = typer.Typer(
    help="Barcast: backtest strategies, and prove every result.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)
data = typer.Typer(help="Import bars, list them, check them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")
new = typer.Typer(help="Write files to start from.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(new, name="new")
risk = typer.Typer(rich_markup_mode=None)
app.add_typer(risk, name="risk")
app.add_typer(models, name="models")
app.add_typer(forecasts, name="forecasts")

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as data.seed=7.")
]
Journal = Annotated[
    str | None, typer.Option(
        "--journal", metavar="URL", envvar="BARCAST_JOURNAL", help="Which journal: a file or a URL; runs/journal.db.")
]
CatalogFolder = Annotated[
    Path | None, typer.Option("--catalog", metavar="DIR", help="Which catalog; data/catalog if left out.")
]
Symbol = Annotated[str | None, typer.Option(help="The symbol; read off each file's name if left out.")]
Timeframe = Annotated[str | None, typer.Option(help="The length of a bar; read off each file if left out.")]
Calendar = Annotated[Literal["24/7", "sessions"] | None, typer.Option(help="When bars are to be expected.")]
Layout = Annotated[
    list[str] | None, typer.Option(
        "--layout", metavar="KEY=VALUE", help="How files are laid out, as in [data.layout]: timezone=UTC, stamp=close.")
]
Files = Annotated[list[Path], typer.Argument(help="Files, folders, or patterns in quotes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@command(app, "backtest")
def backtest(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The settings; config/examples has some.")],
    changes: Set = None,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write the result as JSON; - for the output.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="PATH", help="Write the HTML report.")] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Fill as another engine does: --set fills.profile=NAME.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Where models run: auto, cpu, cuda, cuda:1 or mps.")
    ] = None,
    journal: Journal = None,
    no_journal: Annotated[bool, typer.Option("--no-journal", help="Do not record the run.")] = False,
    bounds: Annotated[
        bool, typer.Option("--bounds", help="Work out what bars leave open, however long the run: docs/bounds.md.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with status 3 if a setting is known to flatter the result.")
    ] = False,
    isolated: Annotated[bool, typer.Option("--isolated", help="In a process under limits: see docs/check.md.")] = False,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="With --isolated: how much it may take.")] = "2GB",
    time: Annotated[str, typer.Option(metavar="SPAN", help="With --isolated: how long it may run.")] = "60s",
    network: Annotated[str, typer.Option(metavar="on|off", help="With --isolated: whether it may connect.")] = "off",
    inside: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a strategy over historical bars."""
    from config.settings import device_changes, journal_url, load_settings

    overrides = list(changes or ())
    if device:
        overrides += device_changes(load_settings(config, overrides), device)
    if profile:
        overrides.append(f"fills.profile={json.dumps(profile)}")
    if report:
        overrides.append(f"report.html={json.dumps(str(report.resolve()))}")
    if journal:
        overrides.append(f"journal.url={json.dumps(journal_url(journal, Path.cwd()))}")
    if no_journal:
        overrides.append("journal.enabled=false")
    if bounds:
        overrides.append("fills.bounds=true")
    if isolated:
        _isolated(config, overrides, json_path, (memory, time, network), ["--strict"] if strict else [])
    elif inside:
        from config.isolated import inside as limited

        with limited(inside) as remote:
            _backtest(config, overrides, json_path, journal_at=lambda _: remote, is_strict=strict)
    else:
        _backtest(config, overrides, json_path, is_strict=strict)


def _isolated(
    config: Path, overrides: list[str], json_path: str | None, limits: tuple[str, str, str], options: Sequence[str] = ()
) -> None:
    from config.isolation import Limits, allowed, run_isolated
    from config.settings import check_writable, load_settings

    settings = load_settings(config, overrides)
    files = allowed(settings, Path(json_path) if json_path not in (None, "-") else None)
    for path in files:
        check_writable(Path(path))
    again = ["backtest", str(config), *(part for change in overrides for part in ("--set", change))]
    if json_path is not None:
        again += ["--json", json_path]
    again += options
    code = run_isolated(settings, again, dataclasses.replace(Limits.parse(*limits), writable=files))
    if code:
        raise typer.Exit(code)


@command(app, "demo")
def demo() -> None:
    """Train a small network on a made-up market's first part, trade the rest with it, and write the report."""
    from config.demo import BACKTEST, LESSON, train_demo
    from config.settings import RUNS

    page = RUNS / "demo.html"
    trained = train_demo()
    typer.echo(LESSON)
    next_steps = (
        (str(page), "the report: open it in a browser"),
        (f"{PYTHON} main.py why 1", "why the first order was made: the forecast behind it, and its bars"),
        (f"{PYTHON} main.py runs", "every run so far"),
        (f"{PYTHON} main.py models show {trained.artefact}", "the network that was trained: docs/training.md"),
        (f"{PYTHON} main.py strategies", "what else there is to run"),
        (f"{PYTHON} main.py backtest config/examples/pairs.toml", "another; docs/settings.md explains the file"),
        (f"{PYTHON} main.py data import FILE", "bars of your own: CSV, Parquet, zips of klines"),
    )
    overrides = [
        f"models.ranker.artefact={json.dumps(str(trained.artefact))}", f"report.html={json.dumps(str(page))}"
    ]
    _backtest(BACKTEST, overrides, None, next_steps)


def _backtest(
    config: Path, overrides: list[str], json_path: str | None, next_steps: Sequence[tuple[str, str]] = (),
    journal_at: Callable[[str], Any] | None = None, *, is_strict: bool = False,
) -> None:
    from config.assembly import run_backtest
    from config.settings import check_writable, load_settings
    from config.terminal import progress, screen

    settings = load_settings(config, overrides)
    for path in (settings.report.html, Path(json_path) if json_path not in (None, "-") else None):
        if path is not None:
            check_writable(path)
    with progress(settings.run.name, "bars") as told:
        run = functools.partial(run_backtest, journal_at=journal_at) if journal_at else run_backtest
        done = run(settings, told, forecasts_told=told.forecasts if told is not None else None)
    if settings.report.html is not None:
        from engine.analysis.report import write_report

        write_report(done.report, settings.report.html)
    if json_path is not None:
        write_json(done.summary(), json_path)
    if json_path != "-":
        from engine.analysis.summary import print_summary

        if done.result.run_id is None:
            next_steps = ((f"{PYTHON} main.py backtest {config}", "the same, journalled: `why` and `report` need it"),)
        print_summary(done.report, console=screen, next_steps=next_steps)
    if is_strict and (flattering := done.report.flattering):
        for warning in flattering:
            typer.echo(f"strict: {warning}", err=True)
        raise typer.Exit(3)


@command(app, "scenarios")
def scenarios(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="A list of scenarios; see config/scenarios.py.")],
    profile: Annotated[str, typer.Option(metavar="NAME", help="Whose fills to make.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Run small scenarios of bars and orders, and print their fills."""
    from config.scenarios import run_scenarios
    from config.terminal import screen, table

    results = run_scenarios(file, profile)
    if as_json:
        write_json(results, "-")
        return
    rows = [
        (result["name"], "  ".join(f"{side} @{bar} {price:g}" for side, bar, price in result["fills"]))
        for result in results
    ]
    screen.print(table(("scenario", "fills (side @bar price)"), rows))


@command(app, "strategies")
def strategies(
    folder: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A further folder with strategy files.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the strategies there are, with their parameters."""
    from config.assembly import known_strategies
    from config.terminal import screen, strategy_lines

    found = known_strategies(folder or ())
    if as_json:
        write_json([dataclasses.asdict(info) for info in found], "-")
        return
    for info in found:
        screen.print(*strategy_lines(info), sep="\n")


@command(new, "strategy")
def new_strategy(
    name: Annotated[str, typer.Argument(help="In snake case, such as my_cross.")],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write it; my_strategies in the checkout if left out.")
    ] = None,
) -> None:
    """Write a strategy that runs, with its test and its settings."""
    from config import scaffold
    from config.terminal import screen, table

    made = scaffold.new_strategy(name, folder)
    for path in made[1:]:
        screen.print(f"wrote {path}")
    screen.print("", table(("next", ""), scaffold.next_steps(made, PYTHON)))


@command(app, "check")
def check(
    strategy: Annotated[str, typer.Argument(help="A name, module:Class, or a file.")],
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="On which market; one that suits it if left out.")
    ] = None,
    folder: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A further folder with strategy files.")
    ] = None,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write the results as JSON; - for the output.")
    ] = None,
) -> None:
    """Look for leaks, forgotten state, dishonest warm-up and more. Ends with 1 if a check fails."""
    from config import conformance
    from config.terminal import screen

    report = conformance.check(strategy, config, folder or (), lambda name: typer.echo(f"{name} …", err=True))
    if json_path is not None:
        write_json(report.as_dict(), json_path)
    if json_path != "-":
        screen.print(conformance.shown(report))
    if not report.is_passed:
        raise typer.Exit(1)


forecasting.register(app)
explaining.register(app)
calibrating.register(app)
training.register(app)
selecting.register(app)
paper.register(app)
replaying.register(app)
fetching.register(app)
operating.register(app)
evaluation.register(app)


# ── the journal ─────────────────────────────────────────────────────────────────────────────────────────────────────


@command(app, "runs")
def runs(
    journal: Journal = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs in the journal, newest first."""
    from config.assembly import open_journal
    from config.terminal import run_table, screen
    from engine.journal.lineage import list_runs

    with open_journal(journal) as opened:
        found = list_runs(opened, limit)
    if as_json:
        write_json([dataclasses.asdict(info) for info in found], "-")
    else:
        screen.print(run_table(found))


@command(app, "why")
def why(
    reference: Annotated[
        str, typer.Argument(metavar="ORDER_OR_FILL", help="r3-7: order 7 of run 3; r3-f12: its fill 12; 7: last run.")
    ],
    journal: Journal = None,
) -> None:
    """Tell why an order was made: fill, order, decision, what was seen, bar."""
    from config.assembly import open_journal
    from engine.journal import lineage

    with open_journal(journal) as opened:
        typer.echo(str(lineage.why(opened, reference)))


@command(app, "report")
def report(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's number; the last if left out.")] = "last",
    html: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to write it; runs/run-NUMBER.html if left out.")
    ] = None,
    journal: Journal = None,
) -> None:
    """Write the HTML report of a run in the journal, and print its summary."""
    from config.assembly import open_journal, report_of_run
    from config.settings import RUNS, check_writable
    from config.terminal import screen
    from engine.analysis.report import write_report
    from engine.analysis.summary import print_summary
    from engine.errors import JournalError

    if run != "last" and not run.removeprefix("r").isdecimal():
        raise JournalError(f"{run!r} is no run; expected its number, such as 3, or last")
    if html is not None:
        check_writable(html)
    with open_journal(journal) as opened:
        made = report_of_run(opened, None if run == "last" else int(run.removeprefix("r")))
    page = write_report(made, html or RUNS / f"run-{made.run_id}.html")
    print_summary(made, console=screen, next_steps=((str(page), "the report: open it in a browser"),))


@command(app, "rerun")
def rerun(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's number, or last.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Where its files or its catalog are now.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run although inputs differ, and compare.")] = False,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write what came of it as JSON; - for the output.")
    ] = None,
    journal: Journal = None,
) -> None:
    """Make a run again from the journal alone: 0 for the same orders, 1 for others, 2 if its inputs differ."""
    from config.rerun import make_again, rerun_lines
    from config.risk import run_number
    from config.settings import check_writable
    from config.terminal import progress, screen
    from engine.analysis.comparison_text import print_comparison

    if json_path not in (None, "-"):
        check_writable(Path(str(json_path)))
    with progress(f"rerun of {run}", "bars") as told:
        done = make_again(journal, run_number(run), data=data, force=force, progress=told)
    if json_path is not None:
        write_json(done.as_dict(), json_path)
    if json_path != "-":
        typer.echo("\n".join(rerun_lines(done)))
        if done.comparison is not None and done.status == "differs":
            typer.echo()
            print_comparison(done.comparison, screen)
    raise typer.Exit(done.exit_status)


@command(app, "compare")
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run's number, or last.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another.")],
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="Write the comparison as a page of HTML.")] = None,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="PATH", help="Write the comparison as JSON; - for the output.")
    ] = None,
    journal: Journal = None,
    second_journal: Annotated[
        str | None, typer.Option("--journal2", metavar="URL", help="The second run's journal, if it is another.")
    ] = None,
) -> None:
    """Say what differs between two runs: inputs, the first decision and fill, trades, statistics."""
    from config.rerun import compare_runs
    from config.risk import run_number
    from config.settings import check_writable
    from config.terminal import screen
    from engine.analysis.comparison_text import print_comparison, write_comparison

    for path in (html, Path(json_path) if json_path not in (None, "-") else None):
        if path is not None:
            check_writable(path)
    made = compare_runs(run_number(first), run_number(second), journal, second_journal)
    if html is not None:
        write_comparison(made, html)
    if json_path is not None:
        write_json(made.as_dict(), json_path)
    if json_path != "-":
        print_comparison(made, screen)


@risk.callback(invoke_without_command=True)
def newest_risk(context: typer.Context, journal: Journal = None) -> None:
    """Show what the newest run's risk gate has halted and refused; of another run, or lift a halt."""
    if context.invoked_subcommand is None:
        told(show_risk)("last", journal, as_json=False)


@command(risk, "show")
def show_risk(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's number; the last if left out.")] = "last",
    journal: Journal = None,
    as_json: AsJson = False,
) -> None:
    """Show a run's limits, its halts and lifts, and what was refused."""
    from config.assembly import open_journal
    from config.risk import risk_state, run_number
    from config.terminal import risk_lines, screen

    with open_journal(journal) as opened:
        state = risk_state(opened, run_number(run))
    if as_json:
        write_json(dataclasses.asdict(state), "-")
    else:
        screen.print(*risk_lines(state), sep="\n")


@command(risk, "lift")
def lift_risk(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's number, or last.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="Why trading may go on; it is recorded.")],
    rule: Annotated[str, typer.Option(metavar="NAME", help="Halts of this rule alone.")] = "",
    symbol: Annotated[str, typer.Option(metavar="SYMBOL", help="Halts of this symbol alone.")] = "",
    journal: Journal = None,
) -> None:
    """Let a paper trading run that its risk gate has halted go on."""
    from config.assembly import open_journal
    from config.risk import ask_lift, run_number

    with open_journal(journal) as opened:
        for halt in ask_lift(opened, run_number(run), why, rule, symbol):
            typer.echo(f"{halt.rule} ({halt.symbol or 'all'}): will be lifted at the run's next bar")


# ── data ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@command(data, "import")
def import_data(
    files: Files,
    symbol: Symbol = None,
    timeframe: Timeframe = None,
    catalog: CatalogFolder = None,
    on_conflict: Annotated[
        Literal["error", "keep", "replace"], typer.Option(help="Bars that are there with other values.")
    ] = "error",
    calendar: Calendar = None,
    sort: Annotated[bool, typer.Option("--sort", help="Put rows into time order instead of refusing them.")] = False,
    drop_bad_rows: Annotated[
        bool, typer.Option("--drop-bad-rows", help="Leave impossible rows out instead of refusing the file.")
    ] = False,
    layout: Layout = None,
) -> None:
    """Bring bars from files into the catalog: CSV, Parquet, Feather, klines (CSV or zip), ccxt's lists."""
    from config.data import expand, import_files, layout_from, open_catalog
    from config.terminal import progress, screen

    opened = open_catalog(catalog)
    with progress("importing", "files") as told:
        for one in import_files(
            opened, expand(files), symbol=symbol, timeframe=timeframe, layout=layout_from(layout or ()), sort=sort,
            bad_rows="drop" if drop_bad_rows else "error", on_conflict=on_conflict, calendar=calendar, progress=told,
        ):
            changed = f", {one.conflicting:,} differing" if one.conflicting else ""
            screen.print(
                f"{one.stream.symbol} {one.stream.timeframe}: {one.added:,} bars added, {one.known:,} known{changed}; "
                f"{one.entry.rows:,} in all")


@command(data, "list")
def list_data(catalog: CatalogFolder = None, as_json: AsJson = False) -> None:
    """List what the catalog has."""
    from config.data import open_catalog
    from config.terminal import catalog_table, screen

    opened = open_catalog(catalog)
    entries = opened.entries()
    if as_json:
        write_json([{**entry.stream._asdict(), **dataclasses.asdict(entry)} for entry in entries], "-")
    elif entries:
        screen.print(catalog_table(entries))
    else:
        screen.print(f"{opened.root}: the catalog is empty; python main.py data import FILE puts something in")


@command(data, "check")
def check_data(
    files: Annotated[list[Path] | None, typer.Argument(help="Files or folders; the whole catalog if left out.")] = None,
    symbol: Symbol = None,
    timeframe: Timeframe = None,
    catalog: CatalogFolder = None,
    calendar: Calendar = None,
    layout: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Tell what is really in files or in the catalog. Ends with 1 if something cannot be read at all."""
    from config.data import as_plain, check_catalog, check_paths, open_catalog
    from config.terminal import progress
    from engine.errors import DataError

    with progress("checking", "files" if files else "streams") as told:
        if files:
            reports = check_paths(files, symbol, timeframe, layout or (), calendar, progress=told)
        else:
            reports = check_catalog(open_catalog(catalog), calendar, progress=told)
    if as_json:
        write_json([{"error": str(one)} if isinstance(one, DataError) else as_plain(one) for one in reports], "-")
    else:
        for one in reports:
            typer.echo(str(one) if isinstance(one, DataError) else "\n".join(one.lines()))
    if any(isinstance(one, DataError) for one in reports):
        raise typer.Exit(1)


@command(data, "gaps")
def gaps_of_data(
    symbol: Annotated[str, typer.Argument(help="A symbol in the catalog.")],
    timeframe: Annotated[str, typer.Argument(help="The length of its bars.")],
    catalog: CatalogFolder = None,
    calendar: Calendar = None,
    as_json: AsJson = False,
) -> None:
    """List the bars that are missing in a stream of the catalog."""
    from config.data import gaps_in, open_catalog
    from config.terminal import gap_table, screen

    gaps = gaps_in(open_catalog(catalog), symbol, timeframe, calendar)
    if as_json:
        write_json([gap._asdict() for gap in gaps], "-")
    elif gaps:
        screen.print(gap_table(gaps))
    else:
        screen.print(f"{symbol} {timeframe}: no bar is missing")


if __name__ == "__main__":
    app()
