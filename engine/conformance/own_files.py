"""Files that a strategy reads itself, with their future hidden: the path it opens is replaced by that of a copy.

For copies of a process only, which end after a run: `open` stays replaced there. Text tables (.csv, .tsv, .txt), .json
and .npy are understood; what else is read is told of, so that nobody takes it for checked.
"""

import builtins
import csv
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.conformance.own_data import Instants
from engine.conformance.probes import Future

_TABLES = (".csv", ".tsv", ".txt")
_CODE = (".py", ".pyc", ".so", ".pyi", ".toml", ".cfg", ".ini")


class OwnFiles:
    """Watches what is opened for reading, and hands out copies.

    Args:
        besides: names of files, without folder, that may look ahead by right.
    """

    def __init__(self, instants: Instants, besides: frozenset[str]) -> None:
        self._instants = instants
        self._besides = besides
        self._copies: dict[Path, Path] = {}
        self._is_busy = False
        self.not_understood: set[str] = set()

    def watch(self) -> None:
        """Replace `open` in this process, for good."""
        original = builtins.open

        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            return original(self._replaced(file, mode), mode, *arguments, **options)

        builtins.open = opened
        io.open = opened

    def remove_copies(self) -> None:
        """Delete the copies that were made."""
        for path, copy in self._copies.items():
            if copy != path:
                shutil.rmtree(copy.parent, ignore_errors=True)

    def _replaced(self, file: Any, mode: str) -> Any:
        if self._is_busy or not isinstance(file, str | Path) or any(letter in mode for letter in "wax+"):
            return file
        path = Path(file).resolve()
        if path.suffix in _CODE or path.name in self._besides or _is_of_python(path) or not path.is_file():
            return file
        if path not in self._copies:
            self._is_busy = True
            try:
                self._copies[path] = self._copy(path)
            finally:
                self._is_busy = False
        return self._copies[path]

    def _copy(self, path: Path) -> Path:
        makers: dict[str, Callable[[Path, Path], bool]] = {
            **dict.fromkeys(_TABLES, self._table), ".json": self._json, ".npy": self._npy,
        }
        make = makers.get(path.suffix.lower())
        if self._instants.future is Future.KEPT:
            if make is None:
                self.not_understood.add(path.name)
            return path
        target = Path(tempfile.mkdtemp(prefix="barcast-check-")) / path.name
        try:
            is_made = make is not None and make(path, target)
        except (ValueError, OSError, csv.Error):
            is_made = False
        if not is_made:
            shutil.rmtree(target.parent, ignore_errors=True)
        return target if is_made else path

    def _table(self, path: Path, target: Path) -> bool:
        text = path.read_text("utf-8")
        dialect = csv.Sniffer().sniff(text[:4096], ",;\t ")
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if row]
        has_header = not any(_number(cell) is not None for cell in rows[0])
        header, body = (rows[0], rows[1:]) if has_header else (None, rows)
        if header is not None:
            records: list[Any] = [
                {name: _value(cell) for name, cell in zip(header, row, strict=False)} for row in body
            ]
        else:
            records = [tuple(map(_value, row)) for row in body]
        made = self._hidden(records)
        if made is None:
            return False
        with target.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=dialect.delimiter)
            if header is not None:
                writer.writerow(header)
            writer.writerows(list(one.values()) if isinstance(one, dict) else one for one in made)
        return True

    def _hidden(self, records: list[Any]) -> list[Any] | None:
        """Return the records with their future hidden: by their times, else a row a bar."""
        made = self._instants.hide(records)
        if made is not records:
            return list(made)
        if len(records) < len(self._instants.times):
            return None
        known = self._instants.known
        if self._instants.future is Future.DELETED:
            return records[:known]
        return records[:known] + [self._instants.spoil_numbers(one) for one in records[known:]]

    def _json(self, path: Path, target: Path) -> bool:
        given = json.loads(path.read_text("utf-8"))
        made = self._instants.hide(given)
        target.write_text(json.dumps(made))
        return made is not given

    def _npy(self, path: Path, target: Path) -> bool:
        given = np.load(path)
        made = self._instants.hide(given)
        np.save(target, made)
        return made is not given


def _is_of_python(path: Path) -> bool:
    """Return whether a file belongs to Python, a library or the system."""
    roots = {Path(root).resolve() for root in (sys.prefix, sys.base_prefix)}
    return any(path.is_relative_to(root) for root in (*roots, Path("/proc"), Path("/sys"), Path("/dev"), Path("/etc"),
                                                       Path("/usr")))


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _value(cell: str) -> Any:
    number = _number(cell)
    if number is None:
        return cell
    return int(cell) if cell.strip().lstrip("-").isdecimal() else number
