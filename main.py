"""Barcast's command line: parse, load settings, assemble, run, print.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parent
DEMO = ROOT / "config" / "examples" / "demo.toml"

app = typer.Typer(
    help="Barcast: backtest and paper-trade, and prove every result.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)
data = typer.Typer(
    help="Import bars into the catalog, list them, check files, show gaps.", no_args_is_help=True, rich_markup_mode=None,
)
app.add_typer(data, name="data")

Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as data.seed=7.")]
JournalUrl = Annotated[str | None, typer.Option("--journal", metavar="URL", envvar="BARCAST_JOURNAL", help="Which journal; runs/journal.db if left out.")]
CatalogFolder = Annotated[Path | None, typer.Option("--catalog", metavar="DIR", help="Which catalog; data/catalog if left out.")]
Folders = Annotated[list[Path] | None, typer.Option("--folder", metavar="DIR", help="A further folder with strategy files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def command(group: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command: its errors become one message on the error stream, and Ctrl-C a clean end."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(run)
        def told(*arguments: Any, **options: Any) -> None:
            from engine.errors import EngineError

            try:
                run(*arguments, **options)
            except EngineError as error:
                typer.echo(f"error: {error}", err=True)
                raise typer.Exit(2) from None
            except KeyboardInterrupt:
                typer.echo("stopped", err=True)
                raise typer.Exit(130) from None
            except BrokenPipeError:
                sys.stderr.close()  # whoever read our output has gone; there is nobody to tell
                raise typer.Exit(0) from None

        group.command(name)(told)
        return run

    return register


if __name__ == "__main__":
    app()
