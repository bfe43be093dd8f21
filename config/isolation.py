"""`backtest --isolated`: the run in a process of its own, under limits, its journal kept out of its reach.

This process never imports the plugin. It opens the journal and writes what the run sends; whatever becomes of the run,
what it sent is kept, and its row says how it ended.
"""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from config.settings import ROOT, Settings
from config.wire import Channel, as_row
from engine.errors import PluginError, SettingsError
from engine.journal.reading import ROW_TYPES
from engine.journal.sql import SqlJournal
from engine.records import Batch, RunEnd, RunStart

GRACE = 10.0
"""Seconds between the time limit, at which the run is asked to stop and journals what it has, and its end."""

_MEMORY = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_TIME = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Limits:
    """What an isolated run may use.

    Args:
        memory: bytes of address space; seconds: wall time; network: whether it may open sockets.
        writable: files outside its temporary folder that it may write, such as the report asked for.
    """

    memory: int
    seconds: float
    network: bool
    writable: tuple[str, ...] = ()

    @classmethod
    def parse(cls, memory: str, seconds: str, network: str) -> "Limits":
        """Return limits as the command line gives them: "2GB", "60s", "off".

        Raises:
            SettingsError: one is not understood.
        """
        size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?i?B?)", memory, re.IGNORECASE)
        unit = size[2].upper() if size else "?"
        if size is None or unit not in _MEMORY or float(size[1]) * _MEMORY[unit] < 2**28:
            raise SettingsError(f"--memory is {memory!r}; expected 256MiB or more, such as 2GB")
        span = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", seconds)
        if span is None or float(span[1]) <= 0:
            raise SettingsError(f"--time is {seconds!r}; expected a time above 0, such as 60s, 5m or 1h")
        if network not in ("on", "off"):
            raise SettingsError(f"--network is {network!r}; expected on or off")
        return cls(int(float(size[1]) * _MEMORY[unit]), float(span[1]) * _TIME[span[2]], network == "on")

    def card(self) -> dict[str, str]:
        """Return the limits for people."""
        return {
            "memory": f"{self.memory / 10**9:g}GB", "time": f"{self.seconds:g}s",
            "network": "on" if self.network else "off",
        }


def run_isolated(settings: Settings, command: Sequence[str], limits: Limits) -> int:
    """Run `main.py` with a command in a process under limits, journal what it sends, and return its exit status.

    Args:
        settings: of the run, for its journal.
        command: what follows main.py; the process takes it up with `--inside`.
    Raises:
        PluginError: a limit was reached, or the process ended without a word; the run is marked failed.
    """
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        stack.callback(ours.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="barcast-isolated-"))
        journal = stack.enter_context(SqlJournal(settings.journal.url)) if settings.journal.enabled else None
        keeper = _Keeper(journal, settings)
        told = json.dumps({"fd": theirs.fileno(), "folder": folder, **asdict(limits)})
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *command, "--inside", told], pass_fds=(theirs.fileno(),),
            env=_environment(folder), start_new_session=True,
        )
        theirs.close()
        stack.callback(_kill, process)
        fault = _serve(Channel(ours), ours, keeper, process, limits)
        if fault:
            keeper.fail(fault)
            raise PluginError(fault)
        return process.returncode


def _environment(folder: str) -> dict[str, str]:
    """Return the process's environment: without secrets, with one thread a library, since each reserves memory."""
    kept = {name: value for name, value in os.environ.items() if not _is_secret(name)}
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return {**kept, **one, "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def _is_secret(name: str) -> bool:
    return bool(re.search(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|BARCAST_JOURNAL", name, re.IGNORECASE))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started, if it is still there."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: nothing of ours is in it
        process.wait()


def _serve(
    channel: Channel, connection: socket.socket, keeper: "_Keeper", process: subprocess.Popen[bytes], limits: Limits
) -> str:
    """Do what the run asks for until it ends; return what limit it broke, or an empty string."""
    deadline = time.monotonic() + limits.seconds + GRACE
    fault = ""
    while True:
        wait = deadline - time.monotonic()
        ready = select.select([connection], [], [], max(wait, 0))[0]
        if not ready:
            _kill(process)
            return _out_of_time(limits) + ", and did not stop when it was asked to"
        message = channel.receive()
        if message is None:
            break
        if "limit" in message:
            fault = str(message["limit"])
        elif (answer := keeper.take(message)) is not None:
            channel.send(answer)
    try:
        code = process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        _kill(process)
        return fault or _out_of_time(limits)
    return fault or _ended(code, limits)


def _out_of_time(limits: Limits) -> str:
    return f"the isolated run took longer than --time {limits.card()['time']}"


def _ended(code: int, limits: Limits) -> str:
    if code >= 0:
        return ""
    if -code == signal.SIGXCPU:
        return _out_of_time(limits)
    name = signal.Signals(-code).name
    return (
        f"the isolated run was ended by {name}; native code may have reached --memory {limits.card()['memory']}, or "
        f"have crashed"
    )


class _Keeper:
    """Writes what the run sends into its journal, and answers what it asks of it."""

    def __init__(self, journal: SqlJournal | None, settings: Settings) -> None:
        self._journal = journal
        self._settings = settings
        self._run_id: int | None = None
        self._is_open = False

    def take(self, message: dict[str, Any]) -> Any:
        """Do what a message says; return the answer, None if it wants none."""
        journal = self._journal
        if journal is None:
            raise PluginError("the isolated run wants to journal, and its settings have no journal")
        match message:
            case {"begin": start}:
                self._run_id, self._is_open = journal.begin(RunStart(**{**start, "lines": tuple(start["lines"])})), True
                return {"run_id": self._run_id}
            case {"write": tables}:
                known = {one.name for one in fields(Batch)}
                rows = {name: [as_row(row) for row in table] for name, table in tables.items() if name in known}
                journal.write(Batch(**rows))
                return None
            case {"flush": _}:
                journal.flush()
                return {}
            case {"end": end}:
                journal.end(RunEnd(**end))
                self._is_open = False
                return {}
            case {"rows": table}:
                with journal.snapshot() as reader:
                    found: Sequence[Any] = reader.rows(ROW_TYPES[table], self._run_id or 0)
                return {"rows": [tuple(row) for row in found]}
            case {"stream": digest}:
                with journal.snapshot() as reader:
                    stream = reader.checked_stream(digest)
                return {"stream": None if stream is None else tuple(stream)}
        raise PluginError(f"the isolated run sent what is no message: {list(message)[:3]}")

    def fail(self, fault: str) -> None:
        """Mark the run failed; one that never began is entered as far as it is known."""
        if self._journal is None:
            return
        if self._run_id is None:
            settings = self._settings.model_dump(mode="json")
            name = self._settings.strategy.name
            start = RunStart("backtest", name, settings, {}, "", {"source": settings["data"]["source"], "streams": []},
                             started_at=time.time_ns())
            self._journal.begin(start)
            self._is_open = True
        if self._is_open:
            self._journal.end(RunEnd("failed", time.time_ns(), 0, fault))
            self._is_open = False


def allowed(settings: Settings, *paths: Path | None) -> tuple[str, ...]:
    """Return the files that a run may write though they lie outside its folder."""
    store = settings.forecasts.store
    stored = [store.with_name(f"{store.name}{end}") for end in ("", "-wal", "-shm")] if settings.models else []
    return tuple(str(path.resolve()) for path in (settings.report.html, *stored, *paths) if path is not None)
