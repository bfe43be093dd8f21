"""The inside of an isolated run: limits are put on this process before any plugin is imported.

What holds where: memory and processor time are the kernel's limits. The network is taken away by a namespace of its own
where the kernel allows one, and refused by an audit hook in any case; files outside the temporary folder, and new
processes, are refused by the hook alone. Such a hook sees what Python does, not what native code does by itself: it
stops accidents and plain mischief, and is no wall against an attacker.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from config.wire import Channel, as_row
from engine.errors import PluginError, StrategyError
from engine.journal.reading import ROW_TYPES
from engine.records import Batch, DataStreamRow, RunEnd, RunStart

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000

_RESERVE = 48 * 2**20
"""Bytes put by, to be given back when memory has run out, so that the end can be journalled."""

_WRITES = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile", "sqlite3.connect",
)
_OF_TWO = ("os.rename", "os.link", "os.symlink", "shutil.move", "shutil.copyfile")
_PROCESSES = (
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill",
    "os.killpg", "pty.spawn",
)
_SOCKETS = (
    "socket.__new__", "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr",
)


class Refused(PermissionError):
    """The plugin asked for what an isolated run may not do."""


class TimeUp(BaseException):
    """The time limit was reached. No Exception, so that a plugin's own `except` does not take it for one of its."""


class RemoteJournal:
    """A journal that another process writes. It has what a backtest uses of engine.journal.sql.SqlJournal.

    Args:
        memory: the limit, as people write it.
    """

    def __init__(self, channel: Channel, memory: str) -> None:
        self._channel = channel
        self._memory = memory
        self._reserve: bytearray | None = bytearray(_RESERVE)

    def __enter__(self) -> "RemoteJournal":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the other process ends what is left open."""

    def begin(self, start: RunStart) -> int:
        """Open the run and return its number."""
        return int(self._ask({"begin": vars(start)})["run_id"])

    def write(self, batch: Batch) -> None:
        """Send rows."""
        self._send({"write": {name: list(rows) for name, rows in vars(batch).items() if len(rows)}})

    def flush(self) -> None:
        """Wait until the other process has everything on disk."""
        self._ask({"flush": True})

    def end(self, end: RunEnd) -> None:
        """Close the run."""
        if "MemoryError" in end.error:
            self.give_back()
            end = replace(end, error=f"{self.out_of_memory}: {end.error}")
        self._ask({"end": vars(end)})

    @property
    def out_of_memory(self) -> str:
        """What to say when the memory limit was reached."""
        return f"the isolated run needed more than --memory {self._memory}"

    @contextmanager
    def snapshot(self) -> Iterator["RemoteJournal"]:
        """Return what answers questions about the journal."""
        yield self

    def rows(self, row_type: type[Any], run_id: int) -> Sequence[Any]:
        """Return the rows of the run in one table."""
        table = next(name for name, kind in ROW_TYPES.items() if kind is row_type)
        return [row_type(*as_row(row)) for row in self._ask({"rows": table})["rows"]]

    def checked_stream(self, digest: str) -> DataStreamRow | None:
        """Return a stream of data that an earlier run has described."""
        found = self._ask({"stream": digest})["stream"]
        return None if found is None else DataStreamRow(*as_row(found))

    def tell_limit(self, fault: str) -> None:
        """Tell which limit was reached."""
        self._send({"limit": fault})

    def _ask(self, message: dict[str, Any]) -> Any:
        self._send(message)
        answer = self._channel.receive()
        if answer is None:
            raise PluginError("the process that keeps the journal is gone; the run cannot go on")
        return answer

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(message)
        except MemoryError:
            self.give_back()
            self._channel.send(message)

    def give_back(self) -> None:
        """Free the memory that was put by."""
        self._reserve = None


@contextmanager
def inside(told: str) -> Iterator[RemoteJournal]:
    """Put this process under the limits that it was told of, and give it its journal.

    Raises:
        PluginError: a limit was reached, named.
    """
    given = json.loads(told)
    network, seconds = bool(given["network"]), float(given["seconds"])
    memory = f"{given['memory'] / 10**9:g}GB"
    journal = RemoteJournal(Channel(socket.socket(fileno=given["fd"])), memory)
    force = "on" if network else _without_network()
    sys.stderr.write(f"isolated: memory {memory}, time {seconds:g}s, network {force}, writes to {given['folder']}\n")
    resource.setrlimit(resource.RLIMIT_AS, (given["memory"], given["memory"]))
    whole = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 2))
    sys.dont_write_bytecode = True
    warm_libraries()
    _guard([given["folder"], *given["writable"]], network=network)

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeUp(f"the isolated run took longer than --time {seconds:g}s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)  # once: what is journalled then must not be disturbed
    try:
        yield journal
    except TimeUp as limit:
        signal.setitimer(signal.ITIMER_REAL, 0)
        journal.tell_limit(str(limit))
        raise PluginError(str(limit)) from None
    except (MemoryError, StrategyError, PluginError) as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not _is_of_memory(error):
            raise
        journal.give_back()
        fault = f"{journal.out_of_memory}: {error}"
        journal.tell_limit(fault)
        raise PluginError(fault) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _is_of_memory(error: BaseException) -> bool:
    causes: list[BaseException | None] = [error, error.__cause__, error.__context__]
    return any(isinstance(one, MemoryError) for one in causes) or "MemoryError" in str(error)


def _without_network() -> str:
    """Leave the network for an empty one of our own; return what is in force."""
    if not sys.platform.startswith("linux"):
        return "off (refused by an audit hook; a namespace needs Linux)"
    user, group = os.getuid(), os.getgid()
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_NEW_USER | _NEW_NETWORK) != 0:
        why = os.strerror(ctypes.get_errno())
        return f"off (refused by an audit hook; a namespace is not permitted: {why})"
    for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", file).write_text(text)
    return "off (a network namespace without devices, and an audit hook)"


def warm_libraries() -> None:
    """Load what writes files or starts processes of its own when it is first used."""
    from config.manifest import code_version
    from engine.settlement import warm

    code_version()
    warm()


def _guard(writable: Sequence[str], *, network: bool) -> None:
    """Install the audit hook, for good."""
    folders = tuple(str(Path(path).resolve()) for path in writable)

    def may_write(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return True  # an open file, which was allowed when it was opened
        name = os.path.realpath(os.fsdecode(path))
        return name == os.devnull or any(name == one or name.startswith(one + os.sep) for one in folders)

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if writes and not may_write(path):
                raise Refused(f"writing {path} was refused: an isolated run writes to its temporary folder alone")
        elif event in _WRITES:
            for path in arguments[: 2 if event in _OF_TWO else 1]:
                if not may_write(path):
                    raise Refused(f"{event} of {path} was refused: an isolated run writes to its own folder alone")
        elif event in _PROCESSES:
            raise Refused(f"{event} was refused: an isolated run starts no processes")
        elif event in _SOCKETS and not network:
            raise Refused(f"{event} was refused: the run is isolated with --network off")

    sys.addaudithook(check)
