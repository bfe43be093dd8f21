"""The source files that decide a run's orders, each with a hash of its text.

A commit says less: a checkout may be dirty, an archive has none, and a strategy may lie outside the repository. What is
hashed is what decides orders and fills: the engine, brokers, feeds, the assembly of a run, and the strategy with
whatever of its author's files it imports. Reports, the journal's own code and the command line are left out: they may
change without changing a run.
"""

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from config.settings import ROOT, Settings
from engine.strategy import Strategy

_FOLDERS = ("brokers", "config", "engine", "feeds")
_LEFT_OUT = (
    "config/examples", "config/faults.py", "config/manifest.py", "config/reference.py", "config/rerun.py",
    "config/scenarios.py", "config/sources.py", "config/terminal.py", "engine/analysis", "engine/conformance",
    "engine/journal", "engine/testing.py",
)
"""Decide nothing about orders."""

_NAMED_OTHERWISE = ("data.paths", "data.folder", "strategy.folders", "report.html", "forecasts.store")
"""Paths whose content is compared as bars and as the strategy's files, or decides nothing."""

_LIBRARIES = tuple(
    Path(path).resolve()
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")} if path
)


@cache
def engine_sources() -> dict[str, str]:
    """Return the SHA-256 of each file of ours that decides orders, by its path within the checkout.

    Read once in a process: what is imported does not change after that.
    """
    files = [path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    named = {path.relative_to(ROOT).as_posix(): path for path in files}
    return {name: digest_of(path) for name, path in named.items() if not name.startswith(_LEFT_OUT)}


def strategy_sources(strategy: type[Strategy]) -> dict[str, str]:
    """Return the SHA-256 of the strategy's file and of what it imports beside libraries and the engine, by path: within
    the checkout if they lie there, else absolute."""
    return {shown(path): digest_of(path) for path in sorted(_files_of(strategy))}


def settings_files(settings: Settings) -> dict[str, str]:
    """Return the SHA-256 of each file that settings name beside the bars and the strategy: funding, margin brackets, …;
    by dotted key and the file's name."""
    named: dict[str, str] = {}
    for key, path in _paths(settings.model_dump(), ""):
        if key in _NAMED_OTHERWISE or (key.startswith("models.") and key.endswith((".artefact", ".folders"))):
            continue
        for file in sorted(path.rglob("*")) if path.is_dir() else sorted(path.parent.glob(path.name)):
            if file.is_file():
                named[f"{key}/{file.name}"] = sha256(file.read_bytes()).hexdigest()
    return named


def _paths(value: Any, key: str) -> Iterator[tuple[str, Path]]:
    match value:
        case Path():
            yield key, value
        case dict():
            for name, below in value.items():
                yield from _paths(below, f"{key}.{name}" if key else str(name))
        case list() | tuple():
            for below in value:
                yield from _paths(below, key)


def shown(path: Path) -> str:
    """Return a path as the journal keeps it: within the checkout if it lies there, else absolute."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's text, line ends as Python reads them."""
    return sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _files_of(strategy: type[Strategy]) -> set[Path]:
    """Return the files of the strategy and of its bases, and transitively of the author's modules that they import."""
    waiting = [sys.modules[one.__module__] for one in strategy.__mro__ if one.__module__ in sys.modules]
    own = {module.__name__.partition(".")[0] for module in waiting[:1]}
    found: dict[Path, ModuleType] = {}
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        is_own = module.__name__.partition(".")[0] in own
        if path is not None and path not in found and _is_authors(path, is_own=is_own):
            found[path] = module
            waiting += _imported_by(path, module)
    return set(found)


def _is_authors(path: Path, *, is_own: bool) -> bool:
    """Return whether a file belongs to the strategy rather than to us or to a library."""
    if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in _FOLDERS:
        return False
    # An installed strategy lies among the libraries: its own package counts, the others have versions.
    return is_own or not any(path.is_relative_to(folder) for folder in _LIBRARIES)


def _imported_by(path: Path, module: ModuleType) -> Iterator[ModuleType]:
    """Yield the modules that a file's import statements name, as far as they are loaded."""
    package = module.__package__ or ""
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level and not package:
                continue
            base = importlib.util.resolve_name(base, package) if node.level else base
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        yield from (sys.modules[name] for name in names if name in sys.modules)


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None
