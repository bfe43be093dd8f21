"""How commands are registered, and how they tell what went wrong."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer


def told(run: Callable[..., None]) -> Callable[..., None]:
    """Return a function whose errors become one message on the error stream, and Ctrl-C or SIGTERM a clean end."""

    @functools.wraps(run)
    def run_and_tell(*arguments: Any, **options: Any) -> None:
        from config.secrets import Redactor
        from config.stopping import Terminated, terminable
        from engine.errors import EngineError

        try:
            with terminable():
                run(*arguments, **options)
        except EngineError as error:
            typer.echo(Redactor().hidden(f"error: {error}"), err=True)
            raise typer.Exit(2) from None
        except BrokenPipeError:
            raise  # who read the output has enough of it: no error of ours
        except OSError as error:  # a full disk under the output, a name that no file can have
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            typer.echo("stopped", err=True)
            raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None

    return run_and_tell


def command(group: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command, its errors told in one message."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        group.command(name)(told(run))
        return run

    return register


def write_json(value: Any, path: str) -> None:
    """Write JSON to a file, or to the output for -."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, default=str)
    if path == "-":
        sys.stdout.write(f"{text}\n")
    else:
        Path(path).write_text(f"{text}\n", "utf-8")
