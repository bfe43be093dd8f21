"""The import arrows of STYLE, section 1, held by reading every import in the code, those inside functions included."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("brokers", "config", "engine", "feeds", "main", "models", "strategies")

MAY_IMPORT = {
    "engine": {"engine"},
    "strategies": {"strategies", "engine"},
    "models": {"models", "engine"},
    "feeds": {"feeds", "engine"},
    "brokers": {"brokers", "engine"},
    "config": {"config", "strategies", "models", "feeds", "brokers", "engine"},
    "main": {"config", "engine"},
}

# What a module may import beside the standard library and us; the longest name that fits decides.
LIBRARIES = {
    "engine": {"numpy"},
    "engine.forecasting.exchanges": {"exchange_calendars", "numpy", "pandas"},
    "engine.indicators": {"numpy", "talib"},
    "engine.indicator_talib": {"numpy", "talib"},
    "engine.jump": {"numpy", "numba"},
    "engine.kernel": {"numpy", "numba"},
    "engine.journal": {"alembic", "numpy", "orjson", "psycopg", "sqlalchemy"},
    "engine.live.coding": {"orjson"},
    "engine.analysis": {"jinja2", "numpy", "pandas", "plotly", "quantstats", "rich", "vectorbt"},
    "strategies": {"numpy"},
    "models": {"numpy", "safetensors", "torch"},
    "models.compiled": {"llvmlite", "numba", "numpy", "torch"},
    "models.kronos.loading": {"huggingface_hub", "torch"},
    "models.training": {"lightning_fabric", "numpy", "safetensors", "torch"},
    "models.training.selection": {"lightgbm", "numpy", "sklearn", "torch"},
    "feeds": {"ccxt", "fsspec", "numpy", "pandas", "pyarrow"},
    "brokers": {"aiohttp", "ccxt", "numpy"},
    "config": {"numpy", "pydantic", "pydantic_core", "rich"},
    "config.commands": {"typer"},
    "config.scheduling": {"apscheduler"},
    "config.evaluation_page": {"matplotlib"},
    "config.tft_plots": {"matplotlib", "numpy"},
    "config.pytest_plugin": {"pytest"},
    "main": {"rich", "typer"},
}

# Imported inside functions only, so that a command which does not need them does not wait for them. What is itself
# loaded only then may say so at its top: networks, and the migrations that alembic runs.
SLOW_OF_OURS = {"engine.kernel"}
DEFERRED = {
    "alembic", "apscheduler", "ccxt", "exchange_calendars", "fsspec", "matplotlib", "pandas", "plotly", "pyarrow",
    "quantstats", "torch", "vectorbt",
}


class Import(NamedTuple):
    """One imported module, where, and whether it is imported when the file is."""

    module: str
    file: str
    line: int
    is_at_top: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def code_files() -> Iterator[Path]:
    yield ROOT / "main.py"
    for folder in OURS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text("utf-8"))
    at_top = {id(node) for node in _at_top(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from engine import bars` may name a module; its own name is what matters then.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name if name in MODULES else node.module for name in names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in dict.fromkeys(modules):
            yield Import(module, str(path.relative_to(ROOT)), node.lineno, id(node) in at_top)


def _at_top(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _at_top(child)


def package(module: str) -> str:
    return module.partition(".")[0]


def allowed_libraries(module: str) -> set[str]:
    return LIBRARIES[max((name for name in LIBRARIES if f"{module}.".startswith(f"{name}.")), key=len)]


MODULES = {module_of(path): path for path in code_files()}
IMPORTS = {module: list(imports_of(path)) for module, path in MODULES.items()}


def test_every_arrow_between_packages_points_the_allowed_way():
    broken = [
        str(found) for module, imports in IMPORTS.items() for found in imports
        if package(found.module) in OURS and package(found.module) not in MAY_IMPORT[package(module)]
    ]
    assert broken == []


def test_every_package_imports_only_the_libraries_it_is_allowed():
    broken = [
        str(found) for module, imports in IMPORTS.items() for found in imports
        if package(found.module) not in {*OURS, *sys.stdlib_module_names, *allowed_libraries(module)}
    ]
    assert broken == []


def test_no_module_is_in_an_import_cycle_even_inside_functions():
    graph = {module: {found.module for found in imports} & set(MODULES) for module, imports in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_inside_functions_do_not_dodge_a_cycle():
    broken = [
        str(found) for module, imports in IMPORTS.items() for found in imports
        if not found.is_at_top and package(module) not in ("main", "config")
        and package(found.module) in OURS and found.module not in SLOW_OF_OURS
    ]
    assert broken == []


def test_slow_libraries_are_imported_inside_functions():
    broken = [
        str(found) for module, imports in IMPORTS.items() for found in imports
        if found.is_at_top and package(found.module) in DEFERRED
        and not module.startswith(("models.", "engine.journal.migrations."))
    ]
    assert broken == []


def test_the_public_surface_is_the_only_name_of_ours_in_a_sample_strategy():
    samples = [path for path in (ROOT / "strategies").glob("*.py") if path.stem not in ("__init__", "registry")]
    broken = [
        str(found) for path in samples for found in imports_of(path)
        if package(found.module) in OURS and found.module != "engine"
    ]
    assert broken == []


def test_every_code_folder_is_a_listed_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in code_files() if path.parent != ROOT}
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in folders)
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders)
    assert not list((ROOT / "tests").rglob("__init__.py"))
