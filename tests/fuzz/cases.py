"""One case of the fuzzer: a damaged file, read in every way there is, and what is wrong with what came of it."""

import math
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

import numpy as np

from engine.bars import Bars
from engine.errors import DataError, EngineError
from feeds.files import read_bars
from feeds.reports import check_file
from tests.fuzz.damage import damaged
from tests.fuzz.files import Row, draft
from tests.fuzz.oracle import broken_law, is_bar, rows_of

DEADLINE = 10.0
"""Seconds a case may take. A file of forty rows takes some ms; the rest is for a busy machine."""


@dataclass(frozen=True)
class Case:
    """A file of a format, made from a seed and damaged in some ways."""

    form: str
    seed: int
    ways: tuple[str, ...]


class TooSlowError(Exception):
    """A case ran past its deadline."""


class Finding(AssertionError):
    """Something that the fuzzer does not put up with."""


@contextmanager
def deadline(seconds: float = DEADLINE) -> Iterator[None]:
    """Raise TooSlowError in the block once the time is up. (In C code it waits for that to return.)"""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlowError(f"still running after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ours(work: Callable[[], object], about: str, *, names: str = "") -> object:
    """Return what the work returns, or the error of ours that it raised; anything else is a finding.

    Args:
        names: what the error's message must name: the file.
    """
    started = time.monotonic()
    try:
        with deadline():
            return work()
    except EngineError as error:
        if names not in str(error):
            raise Finding(f"{about} | the message does not name {names}: {error}") from error
        if max(map(len, str(error).split("\n"))) > 1_500:
            raise Finding(f"{about} | a message of {len(str(error)):,} letters: {str(error)[:300]}") from error
        return error
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(where) if "/tests/" not in frame.filename), where[-1])
        raise Finding(
            f"{about} | {type(error).__name__} is not ours: {str(error)[:300]} "
            f"({Path(place.filename).name}:{place.lineno} {place.name}) after {time.monotonic() - started:.1f} s"
        ) from error


def run(case: Case, folder: Path) -> str:
    """Read a case in every way; return "read" or "refused".

    Raises:
        Finding: an error that is not ours, a hang, or bars that are not what the file says.
    """
    made = draft(case.form, Random(f"{case.form} {case.seed}"))
    content = damaged(made, list(case.ways), case.seed)
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        path = Path(inside) / made.name
        path.write_bytes(content)
        told = f"{case}"
        is_json = made.form == "json" or content.lstrip()[:1] in (b"[", b"{")
        expected = None if content[:4] in (b"PAR1", b"ARRO", b"FEA1") else rows_of(content, made.name, is_json=is_json)
        outcome = ours(lambda: read_bars(path), f"read {told}", names=made.name)
        if isinstance(outcome, Bars):
            _compare(outcome, expected, made.name, told, content)
        kept = ours(lambda: read_bars(path, sort=True, bad_rows="drop"), f"sort {told}", names=made.name)
        if isinstance(kept, Bars):
            rows = None if expected is None else sorted(row for row in expected if is_bar(row))
            _compare(kept, rows, made.name, told, content)
        if isinstance(outcome, Bars) and isinstance(kept, DataError):
            raise Finding(f"{told} | it is read, but not when sorted: {kept}")
        ours(lambda: check_file(path).lines(), f"check {told}")
    return "read" if isinstance(outcome, Bars) else "refused"


def as_rows(bars: Bars) -> list[Row]:
    """Return bars as rows of the oracle."""
    columns = (bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _compare(bars: Bars, expected: list[Row] | None, name: str, told: str, content: bytes) -> None:
    rows = as_rows(bars)
    if law := broken_law(bars.open_time.tolist(), bars.close_time.tolist(), rows):
        raise Finding(f"{told} | {law}")
    if bars.open.dtype != np.float64 or bars.open_time.dtype != np.int64:
        raise Finding(f"{told} | the columns are {bars.open.dtype} and {bars.open_time.dtype}")
    if content[:4] in (b"PAR1", b"ARRO", b"FEA1"):
        return
    if expected is None:
        raise Finding(f"{told} | {name} was read, but the oracle does not understand it: {content[:300]!r}")
    if len(expected) != len(rows):
        raise Finding(f"{told} | {len(rows)} bars; the oracle finds {len(expected)}")
    for got, said in zip(rows, expected, strict=True):
        # A count with a fraction is a float on its way: half a microsecond is what it has room for.
        if got[1:] != said[1:] or not math.isclose(
            got[0], said[0], rel_tol=0, abs_tol=1_000 * (said[0] % 1_000_000 != 0)
        ):
            raise Finding(f"{told} | {got} was read; the oracle finds {said}")
