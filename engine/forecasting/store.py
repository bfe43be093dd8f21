"""The store of forecasts, by content: what was asked once is never computed again, by any run or process.

One SQLite file: a key (see windows.WindowCutter.cut) leads to the float32 values of an answer. Nothing is ever changed
in place: a key stands for everything that decides its values. Writers append whole batches in transactions, so that a
process that dies leaves whole answers; several processes share one file. When it grows past its limit, what was not
used for longest goes.

Measured beside append-only segment files with an index in memory (100 000 answers of 480 bytes in batches of 256, one
core): see docs/forecasting.md. SQLite is the slower one, at a cost a network never notices, and brings what files would
have to be taught: shared use, eviction, and an index that needs no loading.
"""

import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from engine.errors import DataError
from engine.forecasts import Float32Array

DEFAULT_LIMIT = 4 * 1024**3
"""Bytes."""

_FORMAT = 1
_MANY = 500
"""Keys looked up in one statement."""
_STALE = 3600
"""Seconds after which a use is worth noting again: reading should seldom write."""
_CHECK_EVERY = 64
"""Batches between two looks at the size."""

_TABLES = (
    """CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, model TEXT NOT NULL, used INTEGER NOT NULL,
    checksum INTEGER NOT NULL, content BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS answers_used ON answers (used)",
)


class StoredModel(NamedTuple):
    """What the store has of one model: answers, bytes, and when one was last used (wall clock, seconds)."""

    model: str
    answers: int
    bytes: int
    used: int


class ForecastStore:
    """Answers by key.

    Args:
        path: of the file; made if there is none. limit: bytes beyond which the oldest answers are dropped.
        lock_timeout: seconds to wait while another process writes.
    Raises:
        DataError: the file cannot be opened, or is something else.
    """

    def __init__(self, path: Path, *, limit: int = DEFAULT_LIMIT, lock_timeout: float = 30.0) -> None:
        self.path = path
        self.limit = limit
        self._lock = Lock()
        self._puts = 0
        with self._told("open it"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # One connection, taken in turns: a producer thread and the loop both ask.
            self._database = sqlite3.connect(
                path, timeout=lock_timeout, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _FORMAT):
                raise DataError(f"forecast store {path} has format {version}; this version reads {_FORMAT}")
            if version == 0:
                with self._transaction():
                    for statement in _TABLES:
                        self._database.execute(statement)
                    self._database.execute(f"PRAGMA user_version = {_FORMAT}")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the contents of those keys that are known; a damaged one is dropped and counts as unknown."""
        found: dict[bytes, bytes] = {}
        damaged, stale = [], []
        now = int(time.time())
        with self._lock, self._told("read it"):
            for start in range(0, len(keys), _MANY):
                some = keys[start : start + _MANY]
                query = f"SELECT key, used, checksum, content FROM answers WHERE key IN ({','.join('?' * len(some))})"
                for key, used, checksum, content in self._database.execute(query, some):
                    if zlib.crc32(content) != checksum:
                        damaged.append((key,))
                        continue
                    found[key] = content
                    if now - used > _STALE:
                        stale.append((now, key))
            if damaged or stale:
                with self._transaction():
                    self._database.executemany("DELETE FROM answers WHERE key = ?", damaged)
                    self._database.executemany("UPDATE answers SET used = ? WHERE key = ?", stale)
        return found

    def put(self, model: str, answers: Iterable[tuple[bytes, bytes]]) -> None:
        """Add answers of a model, all or none; a key that is there already stays as it is."""
        now = int(time.time())
        rows = [(key, model, now, zlib.crc32(content), content) for key, content in answers]
        with self._lock, self._told("write it"):
            with self._transaction():
                self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", rows)
            self._puts += 1
            if self._puts % _CHECK_EVERY == 0:
                self._shrink(self.limit)

    # ── looking after it ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def size(self) -> int:
        """How many bytes its answers take, with what SQLite needs around them."""
        with self._lock, self._told("read it"):
            return self._size()

    def models(self) -> list[StoredModel]:
        """Return what there is of each model, the one used last first."""
        query = (
            "SELECT model, count(*), sum(length(content)), max(used) FROM answers GROUP BY model "
            "ORDER BY max(used) DESC"
        )
        with self._lock, self._told("read it"):
            return [StoredModel(*row) for row in self._database.execute(query)]

    def drop(self, *, model: str = "", limit: int | None = None) -> int:
        """Drop the answers of a model (its hash, or the beginning of it), or the oldest beyond a limit in bytes; give
        the space back, and return how many went."""
        with self._lock, self._told("clear it"):
            before = self._count()
            if model:
                with self._transaction():
                    self._database.execute("DELETE FROM answers WHERE substr(model, 1, ?) = ?", (len(model), model))
            if limit is not None:
                self._shrink(limit)
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return before - self._count()

    def verify(self) -> list[str]:
        """Return what is wrong, in words; damaged answers are named by key. Empty if all is well."""
        with self._lock, self._told("read it"):
            faults = [row[0] for row in self._database.execute("PRAGMA integrity_check") if row[0] != "ok"]
            for key, model, checksum, content in self._database.execute(
                "SELECT key, model, checksum, content FROM answers"
            ):
                if zlib.crc32(content) != checksum:
                    faults.append(f"answer {key.hex()} of model {model[:12]} is damaged; it will be computed again")
        return faults

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> "ForecastStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

    def _size(self) -> int:
        pages, free, size = (
            int(self._database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _shrink(self, limit: int) -> None:
        """Drop what was used least lately until a fifth below the limit."""
        while (size := self._size()) > limit and (count := self._count()):
            surplus = max(1, min(count, round(count * (1 - 0.8 * limit / size))))
            with self._transaction():
                oldest = "SELECT key FROM answers ORDER BY used, rowid LIMIT ?"
                self._database.execute(f"DELETE FROM answers WHERE key IN ({oldest})", (surplus,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._database.in_transaction:  # a full disk has rolled it back already
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            raise DataError(
                f"forecast store {self.path}: cannot {doing}: {exc}; it holds nothing that cannot be computed again: "
                "move it away, name another, or free space"
            ) from exc


def as_bytes(values: Float32Array) -> bytes:
    """Return values as the store keeps them: float32, little-endian."""
    return np.ascontiguousarray(values, "<f4").tobytes()


def from_bytes(content: bytes, shape: tuple[int, ...]) -> Float32Array | None:
    """Return stored values, None if they are not of this shape."""
    values = np.frombuffer(content, "<f4")
    return values.reshape(shape).astype(np.float32, copy=False) if values.size == int(np.prod(shape)) else None
