"""What can be fuzzed: for each, how a case is drawn and how it is run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import cases, catalogs, settings
from tests.fuzz.damage import WAYS
from tests.fuzz.files import FORMS


@dataclass(frozen=True)
class World:
    """One thing to fuzz.

    Args:
        draw: makes a case by chance; run: runs it in a folder and returns what came of it, or raises a Finding.
    """

    draw: Callable[[Random], Any]
    run: Callable[[Any, Path], str]


def _file_case(random: Random) -> cases.Case:
    ways = tuple(random.choices(list(WAYS), k=random.choice((0, 1, 1, 1, 2, 2, 3, 5))))
    return cases.Case(random.choice(FORMS), random.randrange(2**32), ways)


WORLDS: dict[str, World] = {
    "files": World(_file_case, cases.run),
    "catalogs": World(catalogs.draw, catalogs.run),
    "settings": World(settings.draw, settings.run),
}
