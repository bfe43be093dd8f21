"""Who is checked, and on what market."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from engine.bars import Bars, IntArray
from engine.errors import PluginError
from engine.indicators import compute
from engine.interfaces import Feed
from engine.loop import Parts
from engine.strategy import Strategy
from engine.testing import Terms, parts_for

ENGINE = Path(__file__).resolve().parent.parent

FEWEST_INSTANTS = 60
"""Less is no run that could be cut in a hundred places."""


@dataclass(frozen=True)
class Subject:
    """A strategy with the market it is checked on.

    Args:
        make: makes a new instance with the same parameters each time.
        bars: the market: all streams, as a feed publishes them.
        parts: assembles a run of an instance over a feed, with new books each time.
        market: the market in words.
        elsewhere: runs the strategy in a new process with a given PYTHONHASHSEED and returns its `Trace.digest`;
            None where it cannot be loaded elsewhere.
    Raises:
        PluginError: there are too few bars.
    """

    make: Callable[[], Strategy]
    bars: Bars
    parts: Callable[[Feed, Strategy], Parts]
    market: str = "given bars"
    elsewhere: Callable[[int], str] | None = None

    def __post_init__(self) -> None:
        compute("SMA", np.arange(3.0), 2)  # loads TA-Lib here, once, instead of in every copy of the process
        if len(self.times) < FEWEST_INSTANTS:
            raise PluginError(
                f"a check needs {FEWEST_INSTANTS} instants, and the market has {len(self.times)}; give it more bars"
            )

    @cached_property
    def kind(self) -> type[Strategy]:
        """The strategy's class."""
        return type(self.make())

    @property
    def name(self) -> str:
        return self.kind.__name__

    @cached_property
    def times(self) -> IntArray:
        """Every instant at which a bar closes, ascending."""
        return np.unique(self.bars.close_time)

    @cached_property
    def classes(self) -> tuple[type, ...]:
        """The strategy's class and its bases, as far as an author wrote them."""
        return tuple(one for one in self.kind.__mro__ if one not in (Strategy, object))

    @cached_property
    def exemptions(self) -> Mapping[str, str]:
        """Checks that the author has switched off, with the reason: the class attribute `check_exemptions`."""
        return dict(getattr(self.kind, "check_exemptions", {}))

    @cached_property
    def known_in_advance(self) -> frozenset[str]:
        """Names of data that may look ahead by right, such as a calendar: the class attribute `known_in_advance`."""
        return frozenset(getattr(self.kind, "known_in_advance", ()))

    def is_own_code(self, file: str) -> bool:
        """Return whether a file is the author's: that of the strategy or of its bases, or one beside them that is no
        part of the engine."""
        return file in self._files or (
            file.endswith(".py") and Path(file).parent in self._folders and not Path(file).is_relative_to(ENGINE)
        )

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(filter(None, (file_of(one) for one in self.classes)))

    @cached_property
    def _folders(self) -> frozenset[Path]:
        return frozenset(Path(file).parent for file in self._files)

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The names of the loaded modules that are the author's."""
        files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
        return tuple(sorted(name for name, file in files.items() if file and self.is_own_code(file)))


def file_of(kind: type) -> str | None:
    """Return the file that a class is written in."""
    try:
        return inspect.getsourcefile(kind)
    except TypeError:  # a class made in an interpreter or out of a string has no file
        return None


def subject_of(
    make: Callable[[], Strategy], bars: Bars, terms: Terms | None = None, *, market: str = "given bars",
    elsewhere: Callable[[int], str] | None = None,
) -> Subject:
    """Return a subject that trades on a simulated exchange under given terms.

    Args:
        make: a class, or anything that makes a new instance when called.
    """
    agreed = terms or Terms()

    def parts(feed: Feed, strategy: Strategy) -> Parts:
        return parts_for(feed, strategy, agreed)

    return Subject(make, bars, parts, market, elsewhere)


def own_names(strategy: Strategy) -> dict[str, Any]:
    """Return the attributes that are the author's: parameters, and what the engine put there, left out."""
    engine_s = {"_context", "_wanted", "parameters", *strategy.parameters, *_HANDLERS}
    return {name: value for name, value in vars(strategy).items() if name not in engine_s}


_HANDLERS = frozenset(
    name for name in vars(Strategy) if name.startswith("on_") or name == "targets"
)
