"""Files of this machine, opened with faults in our words."""

import stat
from pathlib import Path

from engine.errors import DataError, nearest_name


def head_of(path: Path) -> bytes:
    """Return the first four bytes of a file, fewer if it is shorter.

    Raises:
        DataError: there is no such file, it cannot be opened, is empty, or is no plain file: of a pipe or a device
            nobody knows where it ends.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise _cannot_be_opened(path, "it is a folder" if stat.S_ISDIR(mode) else "it is a pipe or a device")
        with path.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError as problem:
        raise DataError(f"{path}: there is no such file{_nearest_file(path)}") from problem
    except (OSError, ValueError, RuntimeError) as problem:  # a name with a null byte is a ValueError
        raise _cannot_be_opened(path, _reason(problem)) from problem
    if not head:
        raise DataError(f"{path}: the file is empty; expected bars; fetch it again")
    return head


def bytes_of(path: Path) -> bytes:
    """Return a file whole.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as problem:
        raise _cannot_be_opened(path, _reason(problem)) from problem


def _cannot_be_opened(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: the file cannot be opened ({reason}); expected a file that can be read")


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)


def _nearest_file(path: Path) -> str:
    try:
        if not path.parent.is_dir():
            return f"; nor is there a folder {path.parent}"
        return nearest_name(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""  # a folder that may not be read has no names to offer
