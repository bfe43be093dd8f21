"""Finds strategies: in this folder, in folders given in the settings, as `module:Class`, and as installed entry points.

A strategy answers to its class name (`SmaCross`), to that name in snake case (`sma_cross`), and to its file's name if it
is the only one in the file. Workers on other processes are handed an `Address`, never a class.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from engine import PluginError, Strategy
from engine.errors import nearest_name
from engine.parameters import declared_parameters

ROOT = Path(__file__).parent
"""This folder; its strategies are always there."""

GROUP = "barcast.strategies"
"""The entry-point group of installed packages."""

Folders = Sequence[str | Path]


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter, for people: `range` is in words ("≥ 2, ≤ 500"), empty without limits."""

    name: str
    type: str
    default: Any
    range: str
    help: str


@dataclass(frozen=True)
class StrategyInfo:
    """One strategy that was found, or a file or entry point that should have one and is broken.

    Args:
        name: in snake case, what settings and command line call it.
        module, file: where it is defined; `source` is how it was found: a folder, or "entry point NAME of PACKAGE".
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
    """What a worker process is handed in place of a class: `find(address.name, address.folders)` gives the class there."""

    name: str
    folders: tuple[str, ...] = ()


def find(name: str, folders: Folders = ()) -> type[Strategy]:
    """Return the strategy of that name, or at `module:Class`.

    Raises:
        PluginError: there is none (with the nearest name that there is), there are two (with both modules), its file cannot be
            loaded (with the line), what was found is no strategy, or a folder is missing.
    """
    raise NotImplementedError
