"""Where a catalog lives: a folder, or any place fsspec can reach ("s3://bucket/bars", "memory://bars").

A file is written under a temporary name, then moved into place, so that a reader sees the old one or the new one,
whole.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from engine.errors import DataError


class Storage(Protocol):
    """Files under one root; names are relative, with forward slashes."""

    @property
    def root(self) -> str:
        """The folder or address, for messages."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None if there is no such file."""

    @contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to write; it takes its place, whole, when the block ends without an error."""

    def open(self, name: str) -> Any:
        """Open a file to read at any place. pyarrow takes what is returned."""

    def tail(self, name: str, size: int) -> bytes:
        """Return the last bytes of a file, all of it if it is shorter.

        Raises:
            OSError: there is no such file, or it cannot be read.
        """

    def names(self, suffix: str, *, under: str = "") -> list[str]:
        """Return the names of all files in a folder, and in those below, that end so, sorted."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, where the place can."""


def storage_at(root: str | Path) -> Storage:
    """Return the storage at a folder or an address."""
    if isinstance(root, str) and "://" in root:
        return RemoteStorage(root)
    return FolderStorage(Path(root))


class FolderStorage:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def root(self) -> str:
        return str(self._folder)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise DataError(f"{self._folder / name}: the file cannot be read ({problem.strerror})") from problem

    @contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        path = self._folder / name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as problem:
            raise DataError(
                f"{path}: the file cannot be written ({problem.strerror}); expected a folder with room that may be "
                "written to"
            ) from problem
        finally:
            temporary.unlink(missing_ok=True)

    def open(self, name: str) -> Any:
        return str(self._folder / name)

    def tail(self, name: str, size: int) -> bytes:
        with (self._folder / name).open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - size, 0))
            return file.read()

    def names(self, suffix: str, *, under: str = "") -> list[str]:
        files = (path for path in (self._folder / under).rglob(f"*{suffix}") if not path.name.startswith("."))
        return sorted(path.relative_to(self._folder).as_posix() for path in files)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / ".lock").open("w") as file:
                if sys.platform != "win32":
                    import fcntl

                    fcntl.flock(file, fcntl.LOCK_EX)  # freed by the system even if we are killed
                yield
        except (FileExistsError, NotADirectoryError, PermissionError) as problem:
            raise DataError(
                f"{self._folder}: the catalog cannot be written ({problem.strerror}); expected a folder that may be "
                "written to"
            ) from problem


class RemoteStorage:
    """A place that fsspec reaches. There is no lock: let one process import at a time."""

    def __init__(self, address: str) -> None:
        import fsspec

        self._address = address.rstrip("/")
        try:
            self._files, self._base = fsspec.core.url_to_fs(self._address)
        except (ImportError, ValueError) as problem:
            raise DataError(
                f"{address}: the address cannot be opened ({problem}); expected a folder, or a scheme that fsspec has "
                "installed"
            ) from problem

    @property
    def root(self) -> str:
        return self._address

    def read(self, name: str) -> bytes | None:
        try:
            return cast(bytes, self._files.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    @contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        path = self._path(name)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        with self._files.open(f"{path}.tmp", "wb") as file:
            yield file
        self._files.mv(f"{path}.tmp", path)

    def open(self, name: str) -> Any:
        return self._files.open(self._path(name), "rb")

    def tail(self, name: str, size: int) -> bytes:
        with self._files.open(self._path(name), "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - size, 0))
            return cast(bytes, file.read())

    def names(self, suffix: str, *, under: str = "") -> list[str]:
        folder = self._path(under) if under else self._base
        if not self._files.exists(folder):
            return []
        return sorted(
            path.removeprefix(self._base).lstrip("/") for path in self._files.find(folder) if path.endswith(suffix)
        )

    def remove(self, name: str) -> None:
        if self._files.exists(self._path(name)):
            self._files.rm_file(self._path(name))

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def _path(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{name}"
