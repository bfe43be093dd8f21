"""Finds strategies: in this folder, in folders given in the settings, as `module:Class`, and as installed entry points.

A strategy answers to its class name (`SmaCross`), to that name in snake case (`sma_cross`), and to its file's name if
it is the only one there. Workers on other processes are handed an `Address`, never a class.
"""

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from engine import EngineError, PluginError, Strategy
from engine.errors import nearest_name
from engine.parameters import checked_parameters, declared_parameters

ROOT = Path(__file__).resolve().parent
"""This folder; its strategies are always there."""

GROUP = "barcast.strategies"
"""The entry-point group of installed packages: `sma_cross = "my_package.trend:SmaCross"`."""

_PLUGINS = "barcast_plugins_"

Folders = Sequence[str | Path]


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter, for people. `range` is in words ("≥ 2, ≤ 500"), empty without limits."""

    name: str
    type: str
    default: Any
    range: str
    help: str


@dataclass(frozen=True)
class StrategyInfo:
    """A strategy that was found, or a file or entry point that should hold one and is broken.

    Args:
        name: in snake case, as settings and command line call it.
        source: how it was found: "built in", a folder, or "entry point NAME of PACKAGE".
        doc: the first line of its docstring.
        fault: why it cannot be used; empty if it can.
    """

    name: str
    class_name: str
    module: str
    file: Path | None
    source: str
    doc: str = ""
    parameters: tuple[ParameterInfo, ...] = ()
    fault: str = ""


class Address(NamedTuple):
    """What a worker process is handed in place of a class: `find(*address)` gives the class there."""

    name: str
    folders: tuple[str, ...] = ()


def find(name: str, folders: Folders = ()) -> type[Strategy]:
    """Return the strategy of that name, or at `module:Class`. The same one gives the same class every time.

    Raises:
        PluginError: there is none (with the nearest name that there is) or there are two (with both modules), its file
            cannot be loaded (with the line), what was found is no strategy, or a folder is missing.
    """
    if ":" in name:
        return _at_reference(name)
    places = [*_in_folders(folders), *_installed()]
    fitting: dict[type[Strategy], _Place] = {}
    for place in places:
        if isinstance(place.origin, Path) or name in place.names:
            place.load()
            fitting.update((one, place) for one in place.strategies if name in place.names_of(one))
    if len(fitting) > 1:
        raise PluginError(_ambiguous(name, fitting))
    if fitting:
        return next(iter(fitting))
    broken = [place for place in places if place.fault]
    for place in broken:
        if name in place.names:
            raise PluginError(place.fault)
    known = sorted({known for place in places for known in place.known_names()})
    there = ", ".join(one for one in known if one.islower())
    also = f"; not loaded: {broken[0].fault}" if broken else ""
    raise PluginError(f"unknown strategy {name!r}{nearest_name(name, known)} (there are: {there}){also}")


def available(folders: Folders = ()) -> list[StrategyInfo]:
    """Return every strategy there is, folder by folder, then what is installed; broken ones with their fault.

    Raises:
        PluginError: a folder is missing.
    """
    infos: dict[type[Strategy] | str, StrategyInfo] = {}
    named: dict[str, dict[type[Strategy], _Place]] = {}
    for place in [*_in_folders(folders), *_installed()]:
        place.load()
        if place.fault:
            infos[f"{place.source} {place.names[0]}"] = place.broken()
        for one in place.strategies:
            infos.setdefault(one, _described(one, place.source))
            named.setdefault(one.__name__, {}).setdefault(one, place)
    for name, places in named.items():
        if len(places) > 1:
            for one in places:
                infos[one] = replace(infos[one], fault=_ambiguous(name, places))
    return list(infos.values())


def address_of(strategy: type[Strategy]) -> Address:
    """Return where a worker process finds a class.

    Raises:
        PluginError: the class lives in no file that could be loaded there.
    """
    module = strategy.__module__
    file = _file_of(strategy)
    if file is not None and file.parent == ROOT:
        return Address(strategy.__name__)
    if file is not None and module.startswith(_PLUGINS):
        return Address(strategy.__name__, (str(file.parent),))
    if module == "__main__" or "<locals>" in strategy.__qualname__:
        raise PluginError(f"{strategy.__qualname__} of {module} cannot be loaded elsewhere; put it in a file")
    return Address(f"{module}:{strategy.__qualname__}")


# ── where strategies can be ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Place:
    """A file or an entry point: loaded at most once a search, with what it holds or why it is broken."""

    origin: Path | EntryPoint
    source: str
    names: tuple[str, ...]
    strategies: tuple[type[Strategy], ...] = ()
    fault: str = ""
    _is_loaded: bool = field(default=False, repr=False)

    def load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        try:
            if isinstance(self.origin, Path):
                self.strategies = _strategies_in(_load_file(self.origin))
            else:
                self.strategies = (_checked(self.origin.value, _load_entry_point(self.origin)),)
        except PluginError as error:
            self.fault = str(error)

    def names_of(self, strategy: type[Strategy]) -> tuple[str, ...]:
        own = (strategy.__name__, _snake_case(strategy.__name__))
        return (*own, *self.names) if len(self.strategies) == 1 else own

    def known_names(self) -> Iterator[str]:
        if isinstance(self.origin, EntryPoint):
            yield self.names[0]
        for one in self.strategies:
            yield from self.names_of(one)[:2]

    def broken(self) -> StrategyInfo:
        if isinstance(self.origin, Path):
            return StrategyInfo(self.names[0], "", self.origin.stem, self.origin, self.source, fault=self.fault)
        return StrategyInfo(self.names[0], self.names[1], self.origin.module, None, self.source, fault=self.fault)


def _in_folders(folders: Folders) -> Iterator[_Place]:
    for folder in dict.fromkeys([ROOT, *(Path(folder).expanduser().resolve() for folder in folders)]):
        _check_folder(folder)
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                yield _Place(path, "built in" if folder == ROOT else str(folder), (path.stem,))


def _installed() -> Iterator[_Place]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        package = point.dist.name if point.dist is not None else "an unknown package"
        class_name = point.attr.rpartition(".")[2] or point.name
        names = (point.name, class_name, _snake_case(class_name))
        yield _Place(point, f"entry point {point.name} of {package}", names)


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.exists():
        raise PluginError(f"strategy folder {folder} is a file; name the folder it lies in")
    beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    raise PluginError(f"strategy folder {folder} does not exist{nearest_name(folder.name, beside)}")


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _load_file(path: Path) -> ModuleType:
    """Return the module of a file, the same one every time, also if it was imported under another name before."""
    if (loaded := _loaded_from(path)) is not None:
        return loaded
    if path.parent == ROOT:
        return _imported(f"strategies.{path.stem}", path)
    # A package per folder, named by its path: namesakes in two folders stay apart, and `from .other import x` works.
    package = f"{_PLUGINS}{sha256(str(path.parent).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(path.parent)]
        sys.modules[package] = parent
    return _imported(f"{package}.{path.stem}", path)


def _loaded_from(path: Path) -> ModuleType | None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if file.endswith(path.name) and name != "__main__" and Path(file).resolve() == path:
            return module
    return None


def _imported(name: str, path: Path | None = None) -> ModuleType:
    """Import a module; what goes wrong inside becomes a PluginError with file and line."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever an author's file may raise becomes ours here, at the seam
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if path is None and missing is not None and (name == missing or name.startswith(f"{missing}.")):
            raise PluginError(f"there is no module {missing!r}; is the folder it lies in on PYTHONPATH?") from error
        raise PluginError(f"{_where(error, path) or name}: {type(error).__name__}: {_message(error)}") from error


def _where(error: BaseException, path: Path | None) -> str:
    """Return "file, line N": that of a syntax error, else the deepest line of the plugin that led to the error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(path)] if path is not None else frames[-1:]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else str(path or "")


def _message(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _load_entry_point(point: EntryPoint) -> object:
    if not point.attr:
        raise PluginError(f"entry point {point.name} is {point.value!r}; expected module:Class")
    return _attribute(_module_at(point.module), point.attr, point.value)


def _at_reference(reference: str) -> type[Strategy]:
    module_name, _, class_name = reference.partition(":")
    if not (module_name and class_name):
        raise PluginError(f"strategy {reference!r} is not understood; expected a name, or module:Class")
    return _checked(reference, _attribute(_module_at(module_name), class_name, reference))


def _module_at(name: str) -> ModuleType:
    """Return a module by name; the one of its file, if that was loaded from a folder before."""
    if name not in sys.modules:
        if parent := name.rpartition(".")[0]:
            _imported(parent)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin and (loaded := _loaded_from(Path(spec.origin).resolve())) is not None:
            return loaded
    return _imported(name)


def _attribute(module: ModuleType, path: str, reference: str) -> object:
    found: object = module
    for part in path.split("."):
        if not hasattr(found, part):
            known = [one.__name__ for one in _strategies_in(module)]
            there = ", ".join(known) or "none"
            raise PluginError(f"{reference}: no {part!r}{nearest_name(part, known)} (its strategies: {there})")
        found = getattr(found, part)
    return found


def _checked(reference: str, found: object) -> type[Strategy]:
    if not (isinstance(found, type) and issubclass(found, Strategy)) or found is Strategy:
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        raise PluginError(f"{reference} is {kind}; expected a class derived from engine.Strategy")
    return found


def _strategies_in(module: ModuleType) -> tuple[type[Strategy], ...]:
    """Return the strategies a module defines itself, in the order of its lines; abstract and private ones left out."""
    return tuple(
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__
        and not name.startswith("_") and name == value.__name__ and not inspect.isabstract(value)
    )


# ── describing ──────────────────────────────────────────────────────────────────────────────────────────────────


def _described(strategy: type[Strategy], source: str) -> StrategyInfo:
    parameters: tuple[ParameterInfo, ...] = ()
    fault = ""
    try:
        parameters = tuple(
            ParameterInfo(name, kind.__name__, one.default, one.range, one.help)
            for name, (kind, one) in declared_parameters(strategy).items()
        )
        checked_parameters(strategy, {})
    except EngineError as error:
        fault = str(error)
    doc = inspect.getdoc(strategy) if strategy.__doc__ else ""
    return StrategyInfo(
        _snake_case(strategy.__name__), strategy.__name__, strategy.__module__, _file_of(strategy), source,
        (doc or "").partition("\n")[0], parameters, fault,
    )


def _ambiguous(name: str, places: Iterable[type[Strategy]]) -> str:
    one, other, *_ = (f"{strategy.__module__}:{strategy.__qualname__} ({_file_of(strategy)})" for strategy in places)
    return f"two strategies are called {name!r}: {one} and {other}; rename one"


def _file_of(strategy: type[Strategy]) -> Path | None:
    file = getattr(sys.modules.get(strategy.__module__), "__file__", None)
    return Path(file) if file else None


def _snake_case(name: str) -> str:
    """Return SmaCross as sma_cross, TopKDropout as top_k_dropout, RSIReversion as rsi_reversion."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
